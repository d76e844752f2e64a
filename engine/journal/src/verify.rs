//! Checking every byte that the journal wrote: headers, frames, second copies, footers, checkpoints. Nothing is changed.
//!
//! What is on the disk is what counts, so frames are read past the operating system's memory where the file system can do that, except
//! for those of the newest file beside a server.
//!
//! It may run beside a server. What is being written then is left out: the newest file counts up to where its frames
//! end, what looks damaged there is read twice, and the footer of the file before it may not be there yet.

use std::collections::BTreeMap;
use std::io;

use crate::checkpoint::{NAMES, look_at};
use crate::damage::{Damage, DamageKind};
use crate::error::OpenError;
use crate::footer::{Ending, Footer, read_footer};
use crate::frame::{
    FILE_HEADER, FRAME_HEADER, FileHeader, file_header, read_file_header, read_frame_header,
};
use crate::keyring;
use crate::recover::{file_id, file_name};
use crate::storage::{Storage, StorageFile};
use crate::walk::{Found, Limit, Walk};
use crate::window::Window;

/// Frames between two calls of the progress callback, unless 4 MiB come first.
const PROGRESS_BYTES: u64 = 4 << 20;

/// How to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Whether somebody may be writing meanwhile.
    pub running: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file's number.
    pub file: u32,
    /// Bytes checked so far, of all files.
    pub bytes: u64,
    /// Bytes of all files, reserved ones included: more than there will be to check.
    pub total: u64,
}

/// Something behind the last frame of the newest file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The file's number.
    pub file: u32,
    /// Where it begins.
    pub offset: u64,
}

/// What could not be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Journal files checked.
    pub files: u64,
    /// Whole frames, second copies not counted.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// Full files that have no footer yet.
    pub without_footer: u64,
    /// Checkpoints that are whole.
    pub checkpoints: u64,
    /// Everything that is damaged.
    pub damage: Vec<Damage>,
    /// Files that must be there and are not.
    pub missing: Vec<String>,
    /// What could not be checked.
    pub unreadable: Vec<Unreadable>,
    /// What a write left behind that was cut short, or is under way: no damage.
    pub tail: Option<Tail>,
}

impl Report {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.missing.is_empty() && self.unreadable.is_empty()
    }
}

/// Checks all that is in a storage. `progress` is called every few MiB.
///
/// # Errors
/// When its files cannot be listed.
pub fn verify(
    storage: &dyn Storage,
    options: VerifyOptions,
    progress: &mut dyn FnMut(&Progress),
) -> io::Result<Report> {
    let mut verifier = Verifier {
        storage,
        running: options.running,
        sizes: BTreeMap::new(),
        total: 0,
        told: 0,
        report: Report::default(),
        progress,
    };
    // Files that come meanwhile are not looked at; the checkpoint may be of one of those.
    let names = storage.list()?;
    let oldest = verifier.checkpoints();
    verifier.keys();
    for id in names.iter().filter_map(|name| file_id(name)) {
        let bytes = storage
            .open(&file_name(id))
            .and_then(|file| file.len())
            .unwrap_or(0);
        verifier.sizes.insert(id, bytes);
        verifier.total += bytes;
    }
    verifier.gaps(oldest);
    let ids: Vec<u32> = verifier.sizes.keys().copied().collect();
    for id in ids {
        let known = (
            verifier.report.damage.len(),
            verifier.report.unreadable.len(),
        );
        match verifier.file(id) {
            // A running server removes what nothing points to, and cuts it off before.
            _ if verifier.running && verifier.is_gone(id) => {
                verifier.report.damage.truncate(known.0);
                verifier.report.unreadable.truncate(known.1);
            }
            Ok(()) => verifier.report.files += 1,
            Err(error) => verifier.unreadable(file_name(id), &error),
        }
    }
    Ok(verifier.report)
}

struct Verifier<'a> {
    storage: &'a dyn Storage,
    running: bool,
    sizes: BTreeMap<u32, u64>,
    total: u64,
    /// Bytes checked when progress was told last.
    told: u64,
    report: Report,
    progress: &'a mut dyn FnMut(&Progress),
}

impl Verifier<'_> {
    fn is_gone(&self, id: u32) -> bool {
        let file = self.storage.open(&file_name(id));
        file.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn unreadable(&mut self, name: String, error: &dyn ToString) {
        let reason = error.to_string();
        self.report.unreadable.push(Unreadable { name, reason });
    }

    fn damaged(&mut self, file: u32, name: String, offset: u64, kind: DamageKind) {
        self.report.damage.push(Damage {
            name,
            file,
            offset,
            kind,
            index: 0,
            frames: 0,
            told: None,
        });
    }

    /// Answers the file that the newest whole checkpoint goes on in; 1 without any.
    fn checkpoints(&mut self) -> u32 {
        let mut oldest = None;
        for name in NAMES {
            match look_at(self.storage, name) {
                Ok(None) => {}
                Ok(Some(Some(checkpoint))) => {
                    self.report.checkpoints += 1;
                    self.report.bytes += checkpoint.bytes.len() as u64;
                    oldest.get_or_insert(checkpoint.position.file);
                }
                Ok(Some(None)) => self.damaged(0, name.to_owned(), 0, DamageKind::Checkpoint),
                Err(error) => self.unreadable(name.to_owned(), &error),
            }
        }
        oldest.unwrap_or(1)
    }

    /// The list of keys; none of them is needed for any of this.
    fn keys(&mut self) {
        match keyring::damage(self.storage) {
            Ok(None) => {}
            Ok(Some(at)) => self.damaged(0, keyring::NAME.to_owned(), at, DamageKind::Keys),
            Err(error) => self.unreadable(keyring::NAME.to_owned(), &error),
        }
    }

    fn gaps(&mut self, oldest: u32) {
        let Some(last) = self.sizes.keys().next_back().copied() else {
            return;
        };
        let missing = (oldest..=last).filter(|id| !self.sizes.contains_key(id));
        self.report.missing.extend(missing.map(file_name));
    }

    fn advance(&mut self, file: u32, bytes: u64) {
        self.report.bytes += bytes;
        if self.report.bytes - self.told >= PROGRESS_BYTES {
            self.told = self.report.bytes;
            self.tell(file);
        }
    }

    fn tell(&mut self, file: u32) {
        (self.progress)(&Progress {
            file,
            bytes: self.report.bytes,
            total: self.total,
        });
    }

    fn file(&mut self, id: u32) -> io::Result<()> {
        let newest = self.sizes.keys().next_back() == Some(&id);
        let file = match newest && self.running {
            true => self.storage.open(&file_name(id))?,
            false => self.storage.open_uncached(&file_name(id))?,
        };
        let Some((first, chain)) = self.header(id, &*file, newest)? else {
            return Ok(());
        };
        let footer = self.footer(id, &*file, newest)?;
        let next = self.next_begins(id)?.map(|next| next - 1);
        let last = next.or_else(|| footer.as_ref().map(|footer| footer.last_index));
        let limit = match last {
            Some(last) if !newest => Limit::Last(last),
            _ => Limit::Open(0),
        };
        let window = Window::new(&*file)?;
        let mut walk = Walk::new(window, first, Some(chain), limit, footer.as_ref());
        let end = self.frames(id, &mut walk)?;
        if newest && !walk.window.is_zero_from(end)? {
            self.report.tail = Some(Tail {
                file: id,
                offset: end,
            });
        }
        if let Some(footer) = &footer {
            let bytes = file.len()?.saturating_sub(footer.end);
            self.advance(id, bytes);
        }
        self.tell(id);
        Ok(())
    }

    fn frames(&mut self, id: u32, walk: &mut Walk<'_>) -> io::Result<u64> {
        self.advance(id, FILE_HEADER as u64);
        loop {
            let at = walk.at;
            // Beside a server the newest file grows, and in others frames are erased.
            let found = if self.running {
                walk.step_twice()?
            } else {
                walk.step()?
            };
            self.report.damage.extend(found.damage(id));
            match found {
                Found::Frame { header, .. } => {
                    self.report.frames += 1;
                    self.report.records += u64::from(header.count);
                }
                Found::Copy { .. } | Found::BadCopy { .. } | Found::Lost { .. } => {}
                Found::Newer { at } => {
                    let name = file_name(id);
                    let reason = OpenError::Newer { name, offset: at };
                    self.unreadable(file_name(id), &reason);
                    return Ok(at);
                }
                Found::End { at } => return Ok(at),
            }
            self.advance(id, walk.at.saturating_sub(at));
        }
    }

    /// First index and chain; `None` when the file holds nothing, or nothing that can be read.
    fn header(
        &mut self,
        id: u32,
        file: &dyn StorageFile,
        newest: bool,
    ) -> io::Result<Option<(u64, u32)>> {
        let mut bytes = [0; FILE_HEADER];
        let count = file.read_at(&mut bytes, 0)?;
        match read_file_header(&bytes[..count], id) {
            FileHeader::Good { chain, first_index } => return Ok(Some((first_index, chain))),
            FileHeader::Version(version) => {
                let name = file_name(id);
                let reason = OpenError::Version { name, version };
                self.unreadable(file_name(id), &reason);
                return Ok(None);
            }
            FileHeader::Blank | FileHeader::Bad => {}
        }
        if newest && Window::new(file)?.is_zero_from(FILE_HEADER as u64)? {
            // The crash came while it was made.
            return Ok(None);
        }
        self.damaged(id, file_name(id), 0, DamageKind::Header);
        let first = match first_index(id, file)? {
            Some(first) => Some(first),
            None => match id.checked_sub(1).map(|before| self.last_index(before)) {
                Some(last) => last?.map(|last| last + 1),
                None => None,
            },
        };
        if first.is_none() {
            self.unreadable(file_name(id), &OpenError::Header(file_name(id)));
        }
        Ok(first.map(|first| (first, file_header(id, first).1)))
    }

    /// The last index of a file, as its footer says.
    fn last_index(&self, id: u32) -> io::Result<Option<u64>> {
        if !self.sizes.contains_key(&id) {
            return Ok(None);
        }
        match read_footer(&*self.storage.open(&file_name(id))?, id)? {
            Ending::Good(footer) => Ok(Some(footer.last_index)),
            Ending::None | Ending::Newer(_) | Ending::Bad => Ok(None),
        }
    }

    fn footer(
        &mut self,
        id: u32,
        file: &dyn StorageFile,
        newest: bool,
    ) -> io::Result<Option<Footer>> {
        let last_sealed = self.sizes.keys().rev().nth(1) == Some(&id);
        match read_footer(file, id)? {
            Ending::Good(footer) => return Ok(Some(footer)),
            Ending::None if newest => {}
            Ending::None => self.report.without_footer += 1,
            // It is being written.
            Ending::Bad if newest || self.running && last_sealed => self.report.without_footer += 1,
            Ending::Bad => self.damaged(id, file_name(id), file.len()?, DamageKind::Footer),
            Ending::Newer(version) => {
                let name = file_name(id);
                let reason = OpenError::Version { name, version };
                self.unreadable(file_name(id), &reason);
            }
        }
        Ok(None)
    }

    /// The first index of the file behind this one.
    fn next_begins(&self, id: u32) -> io::Result<Option<u64>> {
        if !self.sizes.contains_key(&(id + 1)) {
            return Ok(None);
        }
        let file = match self.storage.open(&file_name(id + 1)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = [0; FILE_HEADER];
        let count = file.read_at(&mut bytes, 0)?;
        match read_file_header(&bytes[..count], id + 1) {
            FileHeader::Good { first_index, .. } => Ok(Some(first_index)),
            _ => first_index(id + 1, &*file),
        }
    }
}

/// The first index of a file whose header is damaged, when its first frame proves it: a header is nothing but number and
/// index, and the frame continues its checksum.
fn first_index(id: u32, file: &dyn StorageFile) -> io::Result<Option<u64>> {
    let mut bytes = [0; FRAME_HEADER];
    let count = file.read_at(&mut bytes, FILE_HEADER as u64)?;
    Ok(read_frame_header(&bytes[..count])
        .filter(|frame| file_header(id, frame.index).1 == frame.chain)
        .map(|frame| frame.index))
}
