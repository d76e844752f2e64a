//! Sealing: what happens to a file when the next one was begun. It gets its footer, and the rest of its reserved space
//! goes back.
//!
//! It is done on a thread of its own: cutting a file off and syncing it takes as long as dozens of batches, and no publisher
//! is to wait for it. Nothing depends on it: a file without a footer is scanned at the next start, so a failure is logged and
//! that is all.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tracing::warn;

use crate::damage::Watch;
use crate::footer::Builder;
use crate::frame::{FILE_HEADER, FileHeader, read_file_header};
use crate::journal::Inner;
use crate::storage::StorageFile;
use crate::walk::{Found, Limit, Walk};
use crate::window::Window;

/// A file that is full.
#[derive(Debug)]
pub(crate) struct Seal {
    pub(crate) id: u32,
    /// Open, where it was at hand.
    pub(crate) file: Option<Arc<dyn StorageFile>>,
    pub(crate) last_index: u64,
    /// What is in it, when all its frames were seen; else it is scanned.
    pub(crate) content: Option<Content>,
}

/// What is in a file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) footer: Builder,
    /// Where its frames end.
    pub(crate) end: u64,
    pub(crate) chain: u32,
}

/// Gives a file its footer, and says in the journal what it takes on disk then.
pub(crate) fn seal<T: Send + 'static>(inner: &Inner<T>, seal: Seal) {
    // What a failed write left behind is unknown; the next start looks at all of it.
    if inner.failed.get().is_none() {
        let id = seal.id;
        let file = match &seal.file {
            Some(file) => Ok(Arc::clone(file)),
            None => inner.file(id),
        };
        match file.and_then(|file| seal.write(&*file, &inner.watch)) {
            Ok(bytes) => {
                let mut files = inner.files.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(size) = files.get_mut(&id) {
                    *size = bytes;
                }
            }
            Err(error) => {
                warn!(target: "nats", "journal file {id} has no footer and is scanned at the next start: {error}");
            }
        }
    }
    inner.unsealed.fetch_sub(1, Ordering::Release);
}

impl Seal {
    /// Writes the footer and syncs it; answers the file's bytes.
    pub(crate) fn write(self, file: &dyn StorageFile, watch: &Watch) -> io::Result<u64> {
        let content = match self.content {
            Some(content) => content,
            None => scan(self.id, file, self.last_index, watch)?,
        };
        let Content { footer, end, chain } = content;
        let bytes = footer.finish(self.id, end, self.last_index, chain);
        let length = end + bytes.len() as u64;
        file.write_at(&mut [IoSlice::new(&bytes)], end)?;
        file.set_len(length)?;
        file.sync()?;
        Ok(length)
    }
}

/// What is in a file whose frames were not all looked at when it was opened.
fn scan(id: u32, file: &dyn StorageFile, last_index: u64, watch: &Watch) -> io::Result<Content> {
    let mut header = [0; FILE_HEADER];
    let count = file.read_at(&mut header, 0)?;
    let FileHeader::Good { chain, first_index } = read_file_header(&header[..count], id) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let window = Window::new(file)?;
    let mut walk = Walk::new(
        window,
        first_index,
        Some(chain),
        Limit::Last(last_index),
        None,
    );
    let (mut footer, mut chain) = (Builder::new(), chain);
    loop {
        let found = walk.step()?;
        if let Some(damage) = found.damage(id) {
            watch.report(damage);
        }
        found.infos().for_each(|info| footer.push(&info));
        chain = walk.chain.unwrap_or(chain);
        match found {
            Found::Newer { .. } => return Err(io::ErrorKind::InvalidData.into()),
            Found::End { at } => {
                return Ok(Content {
                    footer,
                    end: at,
                    chain,
                });
            }
            Found::Frame { .. }
            | Found::Copy { .. }
            | Found::BadCopy { .. }
            | Found::Lost { .. } => {}
        }
    }
}
