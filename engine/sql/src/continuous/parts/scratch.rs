//! The file of what has left memory: it has no name, so that nothing is left of it whatever happens to the server, and it is
//! never synced, for what is in it is in the state stream, too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use redb::StorageBackend;

/// Where state goes that has no room in memory.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// On the disk of the store: a folder of the system for temporary files may be memory.
    pub(crate) folder: PathBuf,
    /// Bytes of memory that reading and writing may take.
    pub(crate) cache: u64,
    #[cfg(test)]
    pub(crate) fault: std::sync::Arc<Fault>,
}

impl Scratch {
    pub(crate) fn new(folder: PathBuf, cache: u64) -> Self {
        Self {
            folder,
            cache,
            #[cfg(test)]
            fault: std::sync::Arc::default(),
        }
    }

    /// A file without a name.
    ///
    /// # Errors
    /// When there cannot be one.
    pub(super) fn open(&self) -> io::Result<Unnamed> {
        Ok(Unnamed {
            file: tempfile::tempfile_in(&self.folder)?,
            #[cfg(test)]
            fault: std::sync::Arc::clone(&self.fault),
        })
    }
}

/// What a disk does to a test.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Fault {
    /// Nothing can be written.
    pub(crate) full: std::sync::atomic::AtomicBool,
    /// Nothing can be read.
    pub(crate) unreadable: std::sync::atomic::AtomicBool,
    /// A bit of each page that is read is another one.
    pub(crate) flips: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
impl Fault {
    fn check(switch: &std::sync::atomic::AtomicBool, why: io::ErrorKind) -> io::Result<()> {
        match switch.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(why.into()),
            false => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Unnamed {
    file: File,
    #[cfg(test)]
    fault: std::sync::Arc<Fault>,
}

impl StorageBackend for Unnamed {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        Fault::check(&self.fault.unreadable, io::ErrorKind::InvalidData)?;
        self.file.read_exact_at(out, offset)?;
        #[cfg(test)]
        if self.fault.flips.load(std::sync::atomic::Ordering::Relaxed) {
            // In the middle of a page, where entries are.
            let middle = out.len() * 3 / 4;
            out[middle] ^= 1;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        Fault::check(&self.fault.full, io::ErrorKind::StorageFull)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        Fault::check(&self.fault.full, io::ErrorKind::StorageFull)?;
        self.file.write_all_at(data, offset)
    }
}
