//! Writing past the page cache (`O_DIRECT`) what is synced next, and reading past it what is verified: what the disk has, and
//! not what the kernel remembers of it.
//!
//! What is written is copied once, into a block of memory that the disk reads from, and is not copied into pages of the kernel that are found,
//! filled, written and waited for one by one: writing and syncing 20 kB took 138 us and not 161 to 218, and two thirds of the
//! processor time (decision 016). The kernel keeps nothing of it. Readers of what is new have the journal's own cache, and
//! others the disk.
//!
//! Such writes are whole blocks. The block that the last one ended in is kept and written again with what follows it, as the page
//! cache would do, too: a power cut that tears a block costs no more than it does there.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{OFlags, fstatfs};
use tracing::debug;

/// What places, lengths and memory of such writes are a multiple of. A disk with larger sectors takes none, and is written to
/// through the page cache.
const BLOCK: u64 = 4096;
/// Bytes written at once.
const ROOM: usize = 1 << 20;
/// A write of at most [`SMALL`] bytes behind another such takes zeros along, up to so many bytes, where the file has no written blocks
/// yet. A block that is only reserved costs the sync behind its first write a commit of the file system's own journal, half as long
/// again as the sync of written ones; to write the blocks of the next few small ones at once costs less than that. Large writes have
/// that commit less often, and would wait for the bytes.
const AHEAD: usize = 128 << 10;
const SMALL: usize = 32 << 10;

/// `statfs(2)`: those that have such writes, and keep them and the page cache apart. On others a reader that comes at the wrong
/// moment can make the next sync fail.
const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;

/// What a file is written to with, past the page cache.
#[derive(Debug, Default)]
pub(super) enum Direct {
    /// Nobody tried yet.
    #[default]
    Untried,
    /// Not this file, or not any more.
    Off,
    On(Appender),
}

pub(super) struct Appender {
    file: File,
    room: Room,
    /// Where the last write ended, unless something else was written since. What its block holds before that lies at the beginning
    /// of the room.
    end: Option<u64>,
    /// Up to where there are written blocks, as far as is known, and up to where there are any.
    written: u64,
    reserved: u64,
    /// Whether the last write was small.
    small: bool,
}

/// Without the memory, which holds messages.
impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// [`ROOM`] bytes of memory that the disk can take from and bring to, from `start` on.
struct Room {
    memory: Vec<u8>,
    start: usize,
}

impl Room {
    fn new() -> Self {
        let memory = vec![0; ROOM + BLOCK as usize];
        Self {
            start: memory.as_ptr().align_offset(BLOCK as usize),
            memory,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + ROOM]
    }
}

/// A file opened once more, with such reads and writes; `None` where there are none.
fn open(path: &Path, cached: &File, options: &mut OpenOptions) -> Option<File> {
    let kind = fstatfs(cached).ok()?.f_type;
    if ![EXT4, XFS].contains(&u64::try_from(kind).ok()?) {
        return None;
    }
    options
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(path)
        .ok()
}

/// Such reads, or such writes at that place, are not taken, as behind one that the disk took a part of.
fn is_not_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// What a file is read with, past the page cache.
pub(super) struct Reader {
    file: File,
    room: Mutex<Room>,
}

/// Without the memory, which holds messages.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// `None` where there are no such reads.
    pub(super) fn open(path: &Path, cached: &File) -> Option<Self> {
        Some(Self {
            file: open(path, cached, OpenOptions::new().read(true))?,
            room: Mutex::new(Room::new()),
        })
    }

    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end of the file. `None`: they are to be read another way.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let room = room.bytes();
        let mut filled = 0;
        while filled < buffer.len() {
            let left = &mut buffer[filled..];
            let at = offset + filled as u64;
            let before = (at % BLOCK) as usize;
            let whole = (before + left.len()).next_multiple_of(BLOCK as usize);
            let read = self
                .file
                .read_at(&mut room[..whole.min(ROOM)], at - before as u64);
            let count = match read {
                Ok(count) => count.saturating_sub(before).min(left.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_not_taken(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            if count == 0 {
                break;
            }
            left[..count].copy_from_slice(&room[before..before + count]);
            filled += count;
        }
        Ok(Some(filled))
    }
}

impl Direct {
    /// Writes slices from `offset` on to the file that `cached` has open, and zeros behind them, where nothing is. Answers whether
    /// that was possible; when it was not, all of them are to be written another way.
    ///
    /// # Errors
    /// As the file system says; some of the bytes may be there then.
    pub(super) fn write(
        &mut self,
        path: &Path,
        cached: &File,
        slices: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        if matches!(self, Self::Untried) {
            *self = Appender::open(path, cached).map_or(Self::Off, Self::On);
        }
        let Self::On(appender) = self else {
            return Ok(false);
        };
        match appender.write(cached, slices, offset) {
            Ok(()) => Ok(true),
            Err(error) => {
                *self = Self::Off;
                debug!(target: "nats", "{} is written through the page cache: {error}", path.display());
                match is_not_taken(&error) {
                    true => Ok(false),
                    false => Err(error),
                }
            }
        }
    }

    /// Something else is written to the file: the block that is kept is not what it holds.
    pub(super) fn outdate(&mut self) {
        if let Self::On(appender) = self {
            appender.end = None;
        }
    }
}

impl Appender {
    /// `None` where there are no such writes.
    fn open(path: &Path, cached: &File) -> Option<Self> {
        Some(Self {
            file: open(path, cached, OpenOptions::new().write(true))?,
            room: Room::new(),
            end: None,
            written: 0,
            small: false,
            reserved: cached.metadata().ok()?.len(),
        })
    }

    fn write(&mut self, cached: &File, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let room = self.room.bytes();
        let mut filled = (offset % BLOCK) as usize;
        let mut at = offset - filled as u64;
        if self.end.take() != Some(offset) {
            cached.read_exact_at(&mut room[..filled], at)?;
        }
        for slice in slices {
            let mut bytes: &[u8] = slice;
            while !bytes.is_empty() {
                let now = bytes.len().min(ROOM - filled);
                room[filled..filled + now].copy_from_slice(&bytes[..now]);
                bytes = &bytes[now..];
                filled += now;
                if filled == ROOM {
                    self.file.write_all_at(room, at)?;
                    at += ROOM as u64;
                    filled = 0;
                }
            }
        }
        let mut whole = filled.next_multiple_of(BLOCK as usize);
        let reaches = at + whole as u64;
        let small = reaches - offset <= SMALL as u64;
        let begins = reaches > self.written && at + AHEAD as u64 <= self.reserved;
        if small && self.small && begins {
            whole = AHEAD;
        }
        self.small = small;
        room[filled..whole].fill(0);
        if whole > 0 {
            self.file.write_all_at(&room[..whole], at)?;
        }
        self.written = self.written.max(at + whole as u64);
        self.end = Some(at + filled as u64);
        let begun = filled - filled % BLOCK as usize;
        room.copy_within(begun..filled, 0);
        Ok(())
    }
}
