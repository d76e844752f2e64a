//! The seam to the disk: one trait, so that every fault a disk has can be put under the journal in a test.

mod direct;
mod disk;
mod memory;

pub use disk::DiskStorage;
pub use memory::{Fault, MemoryStorage};

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// A folder of files with plain names.
pub trait Storage: Send + Sync + Debug {
    /// Creates an empty file and reserves `size` bytes for it. It is durable after [`Storage::sync_folder`].
    ///
    /// # Errors
    /// As the file system says; `StorageFull` when there is no room.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As the file system says; `NotFound` when there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Opens an existing file to read what the disk has of it, and not what the operating system remembers, where that is
    /// possible. Nobody should be writing it meanwhile.
    ///
    /// # Errors
    /// As [`Storage::open`].
    fn open_uncached(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.open(name)
    }

    /// All names.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file. Durable after [`Storage::sync_folder`].
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file over whatever has the new name. Durable after [`Storage::sync_folder`].
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes created, removed and renamed names durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "a file with reserved space is never empty"
)]
pub trait StorageFile: Send + Sync + Debug {
    /// Writes all of the slices, one after the other, from `offset` on.
    ///
    /// # Errors
    /// As the file system says; some of the bytes may be there then.
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// The same for what is synced next, and behind which the file holds nothing: it need not pass the operating system's memory.
    /// Zeros may follow it, as far as space is reserved.
    ///
    /// # Errors
    /// As [`StorageFile::write_at`].
    fn write_to_sync(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write_at(slices, offset)
    }

    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes what was written durable (fdatasync).
    ///
    /// # Errors
    /// As the file system says. What was written is in an unknown state then, and a later success does not mean it is safe.
    fn sync(&self) -> io::Result<()>;

    /// Bytes of the file, reserved ones included.
    ///
    /// # Errors
    /// As the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file off, or extends it with zeros.
    ///
    /// # Errors
    /// As the file system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `size`, so that writes there neither grow the file nor run out of space. A file system that
    /// cannot do so only loses that speed.
    ///
    /// # Errors
    /// As the file system says; `StorageFull` when there is no room.
    fn reserve(&self, size: u64) -> io::Result<()>;
}
