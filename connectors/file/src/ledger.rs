//! The open destination file: what is in it, durable appends, recovery after a crash. Blocking.
//!
//! Each line is one record as JSON with its `seq` and `time` (see `SinkRecord::write_json`), ended by a line feed. A batch is
//! one write and one fdatasync before it counts as accepted. What a crash leaves after the last whole line is cut off on the
//! next start; records whose lines survived although the cursor had not moved are known by their sequence and time, and are
//! not written again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use millstream_connector_api::SinkRecord;
use millstream_types::Timestamp;
use serde::Deserialize;

use crate::error::FileError;
use crate::rotate;

/// End of the file that is looked at for damage; more only when a single line is longer.
const WINDOW_BYTES: u64 = 8 << 20;

/// When a ledger starts a new file.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// A file of at least this many bytes is moved away before the next batch.
    pub(crate) bytes: Option<u64>,
    /// Files kept besides the active one.
    pub(crate) keep: usize,
}

/// The last record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    /// Bytes of whole, durable lines.
    length: u64,
    /// A write failed: the file may be longer than `length`.
    dirty: bool,
    last: Option<Last>,
}

impl Ledger {
    /// Opens or creates the file, cuts a torn end, finds the last record.
    ///
    /// # Errors
    /// When the file cannot be opened, is another sink's, or holds something else.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let file = lock(path)?;
        let io = |error| FileError::io("read", path, error);
        let length = file.metadata().map_err(io)?.len();
        let mut tail = whole_lines(&file, length, path)?;
        if tail.end < length {
            file.set_len(tail.end)
                .and_then(|()| file.sync_all())
                .map_err(|error| FileError::io("repair", path, error))?;
        }
        // After a rotation the active file is empty and the newest rotated one has the last record.
        if tail.last.is_none()
            && let Some(newest) = rotate::rotated(path).map_err(io)?.last()
        {
            let file = File::open(newest).map_err(|error| FileError::io("open", newest, error))?;
            let length = file.metadata().map_err(io)?.len();
            tail.last = whole_lines(&file, length, newest)?.last;
        }
        rotate::sync_folder(path).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length: tail.end,
            dirty: false,
            last: tail.last,
        })
    }

    /// Appends the records that are not in the file yet; answers when they are durable.
    ///
    /// # Errors
    /// Nothing counts as written; the next call first cuts off what may have been.
    pub(crate) fn append(
        &mut self,
        batch: &[SinkRecord],
        rotation: &Rotation,
    ) -> Result<(), FileError> {
        let io = |error| FileError::io("write to", &self.path, error);
        if self.dirty {
            self.file
                .set_len(self.length)
                .and_then(|()| self.file.sync_data())
                .map_err(io)?;
            self.dirty = false;
        }
        let mut lines = Vec::with_capacity(batch.iter().map(|record| record.weight() + 128).sum());
        let mut last = self.last;
        for record in batch {
            if !last.is_some_and(|last| record.seq <= last.seq && record.time <= last.time) {
                record.write_json(None, &mut lines);
                lines.push(b'\n');
                last = Some(Last {
                    seq: record.seq,
                    time: record.time,
                });
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        if rotation
            .bytes
            .is_some_and(|most| self.length > 0 && self.length + lines.len() as u64 > most)
        {
            self.rotate(rotation.keep)?;
        }
        self.dirty = true;
        let io = |error| FileError::io("write to", &self.path, error);
        self.file
            .write_all_at(&lines, self.length)
            .and_then(|()| self.file.sync_data())
            .map_err(io)?;
        self.dirty = false;
        self.length += lines.len() as u64;
        self.last = last;
        Ok(())
    }

    fn rotate(&mut self, keep: usize) -> Result<(), FileError> {
        let seq = self.last.map_or(0, |last| last.seq);
        rotate::rotate(&self.path, seq, keep)
            .map_err(|error| FileError::io("rotate", &self.path, error))?;
        self.file = lock(&self.path)?;
        self.length = self
            .file
            .metadata()
            .map_err(|error| FileError::io("open", &self.path, error))?
            .len();
        rotate::sync_folder(&self.path).map_err(|error| FileError::io("rotate", &self.path, error))
    }
}

/// Opens for this sink alone: two writers would tear each other's lines.
fn lock(path: &Path) -> Result<File, FileError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| FileError::io("open", path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FileError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(FileError::io("lock", path, error)),
    }
}

/// What is whole in a file.
#[derive(Debug)]
struct Tail {
    /// End of the last whole line before any damage.
    end: u64,
    last: Option<Last>,
}

#[derive(Deserialize)]
struct Stamp<'a> {
    seq: u64,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    #[expect(dead_code, reason = "its presence tells our lines from others")]
    subject: std::borrow::Cow<'a, str>,
}

fn stamp(line: &[u8]) -> Option<Last> {
    let stamp: Stamp<'_> = serde_json::from_slice(line).ok()?;
    Some(Last {
        seq: stamp.seq,
        time: Timestamp::parse_rfc3339(&stamp.time)?,
    })
}

/// Checks the lines at the end of the file. A power cut may leave damage before the end of what was written last, so not only
/// the last line is looked at.
fn whole_lines(file: &File, length: u64, path: &Path) -> Result<Tail, FileError> {
    let (start, window) =
        window(file, length).map_err(|error| FileError::io("read", path, error))?;
    let mut tail = Tail {
        end: start,
        last: None,
    };
    let mut rest = window.as_slice();
    while let Some(end) = memchr::memchr(b'\n', rest) {
        match stamp(&rest[..end]) {
            Some(last) => tail.last = Some(last),
            None if tail.last.is_none() => {
                return Err(FileError::Foreign {
                    path: path.to_owned(),
                });
            }
            None => return Ok(tail),
        }
        tail.end += end as u64 + 1;
        rest = &rest[end + 1..];
    }
    // Never cut what nobody here wrote: a torn first line of ours begins as our lines do.
    if tail.last.is_none() && start == 0 && !is_torn_start(rest) {
        return Err(FileError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(tail)
}

fn is_torn_start(rest: &[u8]) -> bool {
    const START: &[u8] = b"{\"seq\":";
    let common = rest.len().min(START.len());
    rest[..common] == START[..common] || rest.iter().all(|byte| *byte == 0)
}

/// The end of the file from the start of a line on: at least [`WINDOW_BYTES`] and one whole line, or all of it.
fn window(file: &File, length: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut size = WINDOW_BYTES;
    loop {
        let start = length.saturating_sub(size);
        let mut window = vec![0; usize::try_from(length - start).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut window, start)?;
        if start == 0 {
            return Ok((0, window));
        }
        if let Some(first) = memchr::memchr(b'\n', &window)
            && memchr::memchr(b'\n', &window[first + 1..]).is_some()
        {
            window.drain(..=first);
            return Ok((start + first as u64 + 1, window));
        }
        size = size.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests;
