//! Frames a node writes for itself: parts of its index, which no other node needs and no replay applies.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tracing::error;

use crate::cipher::{Keys, Opener};
use crate::error::{OpenError, ReadError};
use crate::journal::read_or_copy;
use crate::keyring;
use crate::position::Position;
use crate::recover::file_name;
use crate::storage::{Storage, StorageFile};

/// Where parts of an index are read back from.
pub trait PageSource: Debug + Send + Sync {
    /// The bytes of a page, verified.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    fn read(&self, at: Position) -> Result<Bytes, ReadError>;
}

/// Reads pages while the journal is not open yet.
#[derive(Debug)]
pub struct PageReader {
    storage: Arc<dyn Storage>,
    /// The file read last: pages stored together are read together.
    last: Mutex<Option<(u32, Arc<dyn StorageFile>)>>,
    opener: Opener,
}

impl PageReader {
    /// Reads from the files of this folder.
    ///
    /// # Errors
    /// When these keys do not read all that is in it.
    pub fn open(storage: Arc<dyn Storage>, keys: Option<&Keys>) -> Result<Self, OpenError> {
        keyring::check(&*storage, keys)?;
        Ok(Self {
            storage,
            last: Mutex::new(None),
            opener: Opener::new(keys),
        })
    }

    /// The body at a position, verified.
    ///
    /// # Errors
    /// When the file is gone, cannot be read, or holds something else there.
    pub fn read(&self, at: Position) -> Result<Bytes, ReadError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &*last {
            Some((id, file)) if *id == at.file => Arc::clone(file),
            _ => {
                let opened = self.storage.open(&file_name(at.file));
                let file = opened.map_err(|source| ReadError::Io {
                    file: at.file,
                    offset: at.offset,
                    source,
                })?;
                *last = Some((at.file, Arc::clone(&file)));
                file
            }
        };
        drop(last);
        read_or_copy(&*file, at, &self.opener, |from_copy| {
            error!(target: "nats", "journal file {} is damaged at {}; its second copy serves: {from_copy}", at.file, at.offset);
        })
    }
}
