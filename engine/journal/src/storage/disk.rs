//! The real file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

use super::direct::Appender;
use super::{Storage, StorageFile};
use crate::error::OpenError;

/// Slices per system call; Linux takes no more (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;
const LOCK: &str = "lock";

/// A folder on a disk, locked against other processes while it is open.
#[derive(Debug)]
pub struct DiskStorage {
    folder: PathBuf,
    /// Keeps the lock; nobody may write without.
    lock: Option<File>,
    /// The newest file with reserved space, which whoever opens it shares the appender of.
    newest: Mutex<Option<(String, Arc<Direct>)>>,
}

/// What appends to a file past the page cache, as long as nobody does anything else to it.
type Direct = Mutex<Option<Appender>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DiskStorage {
    /// Opens a folder, making it where needed.
    ///
    /// # Errors
    /// When it cannot be made or written to, or another process has it.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.to_owned(),
                lock: Some(lock),
                newest: Mutex::default(),
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Opens a folder to read in it only, beside whoever has its lock. Every change is refused.
    ///
    /// # Errors
    /// When there is no such folder or it cannot be listed.
    pub fn read_only(folder: &Path) -> Result<Self, OpenError> {
        fs::read_dir(folder).map_err(|source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            lock: None,
            newest: Mutex::default(),
        })
    }

    /// Whether another process has the folder's lock now.
    #[must_use]
    pub fn is_in_use(folder: &Path) -> bool {
        File::open(folder.join(LOCK))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn check_lock(&self) -> io::Result<()> {
        match &self.lock {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }
}

impl Storage for DiskStorage {
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.check_lock()?;
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let file = DiskFile {
            file,
            direct: Arc::default(),
        };
        if let Err(error) = file.reserve(size) {
            // The first error is what counts.
            let _left = fs::remove_file(&path);
            return Err(error);
        }
        if size > 0 {
            *locked(&file.direct) = Appender::open(&path);
            *locked(&self.newest) = Some((name.to_owned(), Arc::clone(&file.direct)));
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(self.lock.is_some())
            .open(self.folder.join(name))?;
        let newest = locked(&self.newest);
        let known = newest.as_ref().filter(|(newest, _)| newest == name);
        let direct = known.map_or_else(Arc::default, |(_, direct)| Arc::clone(direct));
        Ok(Arc::new(DiskFile { file, direct }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.retain(|name| name != LOCK);
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_lock()?;
        fs::remove_file(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_lock()?;
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    direct: Arc<Direct>,
}

impl StorageFile for DiskFile {
    fn write_at(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        // Held to the end: nothing else may be under way in the block that an appender writes again.
        let mut direct = locked(&self.direct);
        // Taken out: after a failure, or a write elsewhere, the block that it keeps is not what the file holds.
        if let Some(mut appender) = direct.take()
            && appender.end() == offset
        {
            match appender.append(slices) {
                Ok(()) => {
                    *direct = Some(appender);
                    return Ok(());
                }
                // A file system that takes no such writes after all: they go the other way, from the start.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        while !slices.is_empty() {
            let batch = &slices[..slices.len().min(MAX_SLICES)];
            match rustix::io::pwritev(&self.file, batch, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        *locked(&self.direct) = None;
        self.file.set_len(len)
    }

    fn reserve(&self, size: u64) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, size) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use proptest::prelude::*;

    use super::{DiskStorage, locked};
    use crate::storage::{Storage as _, StorageFile};

    #[derive(Clone, Debug)]
    enum Op {
        /// Appends pieces of so many bytes.
        Append(Vec<usize>),
        /// Overwrites a few bytes that are there, by another handle.
        Overwrite(prop::sample::Index, u8),
        /// Cuts off what is behind.
        Cut(prop::sample::Index),
    }

    fn op() -> impl Strategy<Value = Op> {
        let piece =
            prop_oneof![4 => 0usize..300, 2 => 3000usize..9000, 1 => 1_000_000usize..1_100_000];
        prop_oneof![
            12 => prop::collection::vec(piece, 1..6).prop_map(Op::Append),
            1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Op::Overwrite(at, byte)),
            1 => any::<prop::sample::Index>().prop_map(Op::Cut),
        ]
    }

    fn contents(file: &dyn StorageFile, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let count = file.read_at(&mut bytes, 0).expect("reads");
        bytes.truncate(count);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn what_is_appended_is_read_whatever_else_happens_to_the_file(ops in prop::collection::vec(op(), 1..24)) {
            let folder = tempfile::tempdir().expect("a folder");
            let storage = DiskStorage::open(folder.path()).expect("opens");
            let file = storage.create("a", 1 << 20).expect("creates");
            let mut model: Vec<u8> = Vec::new();
            for op in &ops {
                match op {
                    Op::Append(lengths) => {
                        let start = model.len();
                        model.extend((0..lengths.iter().sum::<usize>()).map(|at| (start + at) as u8 | 1));
                        let mut rest = &model[start..];
                        let pieces = lengths.iter().map(|length| {
                            let (piece, left) = rest.split_at(*length);
                            rest = left;
                            IoSlice::new(piece)
                        });
                        let mut pieces: Vec<IoSlice<'_>> = pieces.collect();
                        file.write_at(&mut pieces, start as u64).expect("writes");
                    }
                    Op::Overwrite(at, byte) if model.len() > 4 => {
                        let at = at.index(model.len() - 4);
                        model[at..at + 4].fill(*byte);
                        let other = storage.open("a").expect("opens");
                        other.write_at(&mut [IoSlice::new(&[*byte; 4])], at as u64).expect("writes");
                    }
                    Op::Cut(at) if !model.is_empty() => {
                        model.truncate(at.index(model.len()));
                        let cut = file.set_len(model.len() as u64).and_then(|()| file.reserve(1 << 20));
                        cut.expect("cuts");
                    }
                    Op::Overwrite(..) | Op::Cut(_) => {}
                }
                file.sync().expect("syncs");
                let held = contents(&*file, model.len() + 5000);
                prop_assert!(held[..model.len()] == model[..]);
                prop_assert!(held[model.len()..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn only_files_with_reserved_space_are_written_past_the_page_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = DiskStorage::open(folder.path()).expect("opens");
        let direct = |name: &str| {
            let newest = locked(&storage.newest);
            let known = newest
                .as_ref()
                .is_some_and(|(newest, direct)| newest == name && locked(direct).is_some());
            drop(newest);
            known
        };
        storage.create("log", 8192).expect("creates");
        storage.create("small", 0).expect("creates");
        if !direct("log") {
            eprintln!("skipped: the file system of the test's folder has no direct writes");
            return;
        }
        assert!(!direct("small"));
        let other = storage.open("log").expect("opens");
        other
            .write_at(&mut [IoSlice::new(b"log")], 0)
            .expect("writes");
        assert!(direct("log"));
        // Not where it ends: from here on the page cache has it.
        other
            .write_at(&mut [IoSlice::new(b"L")], 0)
            .expect("writes");
        assert!(!direct("log"));
    }
}
