//! Disks that break one law each. The checker of `crash.rs` must find every one of them out.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::{MemoryStorage, Storage, StorageFile};

/// Which law is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// Syncs of files do nothing: acknowledged before it is safe.
    NoSync,
    /// Syncs of the folder do nothing.
    NoFolderSync,
    /// Files are cut one byte too short.
    CutShort,
}

impl Mutation {
    pub(super) fn over(self, storage: &MemoryStorage) -> Arc<dyn Storage> {
        match self {
            Self::None => Arc::new(storage.clone()),
            _ => Arc::new(Mutated {
                storage: storage.clone(),
                mutation: self,
            }),
        }
    }
}

#[derive(Debug)]
struct Mutated {
    storage: MemoryStorage,
    mutation: Mutation,
}

impl Mutated {
    fn file(&self, file: io::Result<Arc<dyn StorageFile>>) -> io::Result<Arc<dyn StorageFile>> {
        let mutation = self.mutation;
        file.map(|file| Arc::new(MutatedFile { file, mutation }) as Arc<dyn StorageFile>)
    }
}

impl Storage for Mutated {
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.file(self.storage.create(name, size))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.file(self.storage.open(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.mutation {
            Mutation::NoFolderSync => Ok(()),
            _ => self.storage.sync_folder(),
        }
    }
}

#[derive(Debug)]
struct MutatedFile {
    file: Arc<dyn StorageFile>,
    mutation: Mutation,
}

impl StorageFile for MutatedFile {
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_at(slices, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match self.mutation {
            Mutation::NoSync => Ok(()),
            _ => self.file.sync(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.mutation {
            Mutation::CutShort => self.file.set_len(len.saturating_sub(1)),
            _ => self.file.set_len(len),
        }
    }

    fn reserve(&self, size: u64) -> io::Result<()> {
        self.file.reserve(size)
    }
}
