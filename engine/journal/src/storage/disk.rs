//! The real file system.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{FallocateFlags, fallocate};

use super::direct::{Direct, Reader};
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
    /// What open files are written to with, past the page cache, by name: all who have one open share it.
    direct: Mutex<HashMap<String, Weak<Mutex<Direct>>>>,
}

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
                direct: Mutex::default(),
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
            direct: Mutex::default(),
        })
    }

    /// Whether another process has the folder's lock now.
    #[must_use]
    pub fn is_in_use(folder: &Path) -> bool {
        File::open(folder.join(LOCK))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// The file that is open as `name`.
    fn file(&self, name: &str, file: File) -> DiskFile {
        let mut known = locked(&self.direct);
        let direct = known.get(name).and_then(Weak::upgrade).unwrap_or_default();
        known.retain(|_, direct| direct.strong_count() > 0);
        known.insert(name.to_owned(), Arc::downgrade(&direct));
        DiskFile {
            file,
            path: self.folder.join(name),
            direct,
            reader: None,
        }
    }

    /// Ends direct writes to all files that `which` names.
    fn end_direct(&self, which: impl Fn(&str) -> bool) {
        let known = locked(&self.direct);
        let named = known.iter().filter(|(name, _)| which(name));
        for direct in named.filter_map(|(_, direct)| direct.upgrade()) {
            *locked(&direct) = Direct::Off;
        }
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
        // Whoever has it open by that name begins anew, too.
        self.end_direct(|known| known == name);
        locked(&self.direct).remove(name);
        let file = self.file(name, file);
        if let Err(error) = file.reserve(size) {
            // The first error is what counts.
            let _left = fs::remove_file(&path);
            return Err(error);
        }
        if size > 0 {
            // One file is appended to at a time.
            self.end_direct(|known| known != name);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(self.lock.is_some())
            .open(self.folder.join(name))?;
        Ok(Arc::new(self.file(name, file)))
    }

    fn open_uncached(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.folder.join(name);
        // Nothing is written by this handle, so it has no part in direct writes.
        let file = File::open(&path)?;
        Ok(Arc::new(DiskFile {
            reader: Reader::open(&path, &file),
            direct: Arc::default(),
            file,
            path,
        }))
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
        // Whoever has it open must not keep its space.
        self.end_direct(|known| known == name);
        locked(&self.direct).remove(name);
        fs::remove_file(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_lock()?;
        self.end_direct(|known| [from, to].contains(&known));
        locked(&self.direct).retain(|known, _| ![from, to].contains(&known.as_str()));
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    path: PathBuf,
    direct: Arc<Mutex<Direct>>,
    /// Where it is read past the page cache.
    reader: Option<Reader>,
}

impl StorageFile for DiskFile {
    fn write_at(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        // Held to the end: nothing else may be under way in the block that a direct write begins with.
        let mut direct = locked(&self.direct);
        direct.outdate();
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

    fn write_to_sync(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let direct = locked(&self.direct).write(&self.path, &self.file, slices, offset);
        match direct? {
            true => Ok(()),
            false => self.write_at(slices, offset),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(reader) = &self.reader
            && let Some(count) = reader.read_at(buffer, offset)?
        {
            return Ok(count);
        }
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
        *locked(&self.direct) = Direct::Off;
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
    use std::sync::Arc;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use tempfile::TempDir;

    use super::{DiskStorage, locked};
    use crate::storage::direct::{Direct, Reader};
    use crate::storage::{Storage as _, StorageFile};

    #[derive(Clone, Debug)]
    enum Op {
        /// Appends pieces of so many bytes, with a sync behind it or not.
        Append(Vec<usize>, bool),
        /// Overwrites a few bytes that are there, by another handle, as an erased frame does.
        Overwrite(Index, u8),
        /// Cuts off what is behind.
        Cut(Index),
        /// Makes another file, and goes on with this one.
        Another,
        /// Opens the file anew.
        Reopen,
    }

    fn op() -> impl Strategy<Value = Op> {
        let piece = prop_oneof![
            4 => 0usize..300,
            2 => 3000usize..9000,
            1 => 1_000_000usize..1_100_000,
        ];
        let pieces = prop::collection::vec(piece, 1..6);
        prop_oneof![
            12 => (pieces, prop::bool::weighted(0.8)).prop_map(|(pieces, synced)| Op::Append(pieces, synced)),
            3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Op::Overwrite(at, byte)),
            1 => any::<Index>().prop_map(Op::Cut),
            1 => Just(Op::Another),
            1 => Just(Op::Reopen),
        ]
    }

    /// A file and what it should hold.
    struct World {
        _folder: TempDir,
        storage: DiskStorage,
        file: Arc<dyn StorageFile>,
        model: Vec<u8>,
        others: usize,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let storage = DiskStorage::open(folder.path()).expect("opens");
            Self {
                file: storage.create("a", 1_000_001).expect("creates"),
                _folder: folder,
                storage,
                model: Vec::new(),
                others: 0,
            }
        }

        fn step(&mut self, op: &Op) {
            match op {
                Op::Append(lengths, synced) => self.append(lengths, *synced),
                Op::Overwrite(at, byte) if self.model.len() > 4 => {
                    // Mostly near the end, where the block is that is kept.
                    let near = self.model.len().saturating_sub(5000);
                    let at = near + at.index(self.model.len() - 4 - near);
                    self.model[at..at + 4].fill(*byte);
                    let other = self.storage.open("a").expect("opens");
                    let bytes = [*byte; 4];
                    let written = other.write_at(&mut [IoSlice::new(&bytes)], at as u64);
                    written.expect("writes");
                }
                Op::Cut(at) if !self.model.is_empty() => {
                    self.model.truncate(at.index(self.model.len()));
                    self.file.set_len(self.model.len() as u64).expect("cuts");
                    self.file.reserve(1_000_001).expect("reserves");
                }
                Op::Overwrite(..) | Op::Cut(_) => {}
                Op::Another => {
                    let name = format!("b{}", self.others);
                    self.others += 1;
                    self.storage.create(&name, 4096).expect("creates");
                }
                Op::Reopen => self.file = self.storage.open("a").expect("opens"),
            }
        }

        fn append(&mut self, lengths: &[usize], synced: bool) {
            let start = self.model.len();
            let bytes = (0..lengths.iter().sum()).map(|at: usize| (start + at) as u8 | 1);
            self.model.extend(bytes);
            let mut rest = &self.model[start..];
            let pieces = lengths.iter().map(|length| {
                let (piece, left) = rest.split_at(*length);
                rest = left;
                IoSlice::new(piece)
            });
            let mut pieces: Vec<IoSlice<'_>> = pieces.collect();
            let written = match synced {
                true => self.file.write_to_sync(&mut pieces, start as u64),
                false => self.file.write_at(&mut pieces, start as u64),
            };
            written.and_then(|()| self.file.sync()).expect("writes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn a_file_holds_what_was_written_whatever_way(ops in prop::collection::vec(op(), 1..24)) {
            let mut world = World::new();
            for op in &ops {
                world.step(op);
                let mut held = vec![0; world.model.len() + 5000];
                let count = world.file.read_at(&mut held, 0).expect("reads");
                let (written, behind) = held[..count].split_at(world.model.len());
                prop_assert!(written == world.model);
                prop_assert!(behind.iter().all(|byte| *byte == 0));
                // From anywhere, past the page cache, and to the end, which is in the middle of a block.
                let uncached = world.storage.open_uncached("a").expect("opens");
                for from in [0, count / 3, count] {
                    let mut read = vec![7; held.len() - from];
                    let count = uncached.read_at(&mut read, from as u64).expect("reads");
                    prop_assert!(held[from..].starts_with(&read[..count]));
                    prop_assert_eq!(count, world.file.read_at(&mut read, from as u64).expect("reads"));
                }
            }
        }
    }

    /// What the page cache has of a file says nothing of the disk.
    #[test]
    fn uncached_reads_are_the_disks() {
        /// Bytes that this thread had from the disk.
        fn from_disk() -> u64 {
            let io = std::fs::read_to_string("/proc/thread-self/io").expect("counted");
            let line = io
                .lines()
                .find_map(|line| line.strip_prefix("read_bytes: "));
            line.expect("a count").parse().expect("a number")
        }
        let folder = tempfile::tempdir().expect("a folder");
        let storage = DiskStorage::open(folder.path()).expect("opens");
        let bytes: Vec<u8> = (0..1_234_567).map(|at: u32| at as u8).collect();
        let file = storage.create("a", 0).expect("creates");
        let written = file.write_at(&mut [IoSlice::new(&bytes)], 0);
        written.and_then(|()| file.sync()).expect("writes");
        let path = folder.path().join("a");
        let cached = std::fs::File::open(&path).expect("opens");
        if Reader::open(&path, &cached).is_none() {
            eprintln!("skipped: the file system of the test's folder has no direct reads");
            return;
        }
        let read = |file: &dyn StorageFile| {
            let before = from_disk();
            let mut read = vec![0; bytes.len() + 1];
            let count = file.read_at(&mut read, 0).expect("reads");
            assert!(read[..count] == bytes);
            from_disk() - before
        };
        // It is in the page cache by now, if it ever was not.
        read(&*file);
        let uncached = storage.open_uncached("a").expect("opens");
        assert!(read(&*uncached) >= bytes.len() as u64);
        let written = uncached.write_at(&mut [IoSlice::new(b"one")], 0);
        written.expect_err("it is open for reading");
    }

    #[test]
    fn small_writes_take_zeros_along_and_large_ones_do_not() {
        // The kernel tells reserved blocks without data as a hole.
        let hole = |folder: &TempDir| {
            let file = std::fs::File::open(folder.path().join("a")).expect("opens");
            rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).expect("seeks")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let storage = DiskStorage::open(folder.path()).expect("opens");
        let size = 300_000;
        let file = storage.create("a", size).expect("creates");
        let mut end = 0;
        let mut append = |count: usize| {
            let bytes = vec![1; count];
            let written = file.write_to_sync(&mut [IoSlice::new(&bytes)], end);
            written.and_then(|()| file.sync()).expect("writes");
            end += count as u64;
        };
        append(100_000);
        if hole(&folder) != 102_400 {
            eprintln!("skipped: the file system of the test's folder has no direct writes");
            return;
        }
        append(2_000);
        assert_eq!(hole(&folder), 102_400, "there was room in the last block");
        append(1_000);
        let ahead = hole(&folder);
        assert!((200_000..250_000).contains(&ahead), "{ahead}");
        append(30_000);
        assert_eq!(hole(&folder), ahead);
        append(70_000);
        append(90_000);
        append(100);
        assert_eq!(hole(&folder), 294_912, "behind a large one");
        append(2_500);
        assert_eq!(hole(&folder), 299_008, "no more than is reserved");
        assert_eq!(file.len().expect("a length"), size);
    }

    #[test]
    fn one_file_at_a_time_is_written_past_the_page_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = DiskStorage::open(folder.path()).expect("opens");
        let is_on = |name: &str| {
            let known = locked(&storage.direct)
                .get(name)
                .and_then(std::sync::Weak::upgrade);
            known.is_some_and(|direct| matches!(*locked(&direct), Direct::On(_)))
        };
        let first = storage.create("first", 8192).expect("creates");
        let small = storage.create("small", 0).expect("creates");
        small
            .write_at(&mut [IoSlice::new(b"one")], 0)
            .expect("writes");
        first
            .write_to_sync(&mut [IoSlice::new(b"one")], 0)
            .expect("writes");
        if !is_on("first") {
            eprintln!("skipped: the file system of the test's folder has no direct writes");
            return;
        }
        assert!(!is_on("small"));
        let second = storage.create("second", 8192).expect("creates");
        second
            .write_to_sync(&mut [IoSlice::new(b"two")], 0)
            .expect("writes");
        assert!(is_on("second") && !is_on("first"));
        storage.remove("second").expect("removes");
        let again = storage.create("second", 8192).expect("creates");
        again
            .write_to_sync(&mut [IoSlice::new(b"three")], 0)
            .expect("writes");
        assert!(is_on("second"));
        again.set_len(5).expect("cuts");
        assert!(!is_on("second"));
    }
}
