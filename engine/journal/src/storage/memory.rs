//! A file system in memory that can fail like a real one: it forgets what was not synced, tears writes, runs full,
//! errs, and flips bits. Deterministic: what fails is said in advance, by counting calls.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Storage, StorageFile};

/// Something that goes wrong at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this call and all later ones fail, and [`MemoryStorage::restart`] shows what was left.
    PowerCut,
    /// This call fails with an I/O error; later ones work.
    Error,
    /// This call finds no space; later ones do.
    Full,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// As a reader sees it now.
    now: Vec<u8>,
    /// As it is after a power cut.
    synced: Vec<u8>,
    /// Writes since the last sync, in order: offset and bytes.
    unsynced: Vec<(u64, Vec<u8>)>,
}

type Shared = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct World {
    names: BTreeMap<String, Shared>,
    synced_names: BTreeMap<String, Shared>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    dead: bool,
}

/// Files in memory. Cheap to clone; clones see the same files.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    world: Arc<Mutex<World>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Counts a call that changes something, and fails it where that was asked for.
    fn call(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("power is off"));
        }
        self.calls += 1;
        match self.faults.remove(&self.calls) {
            None => Ok(()),
            Some(Fault::PowerCut) => {
                self.dead = true;
                Err(io::Error::other("power is off"))
            }
            Some(Fault::Error) => Err(io::Error::other("injected i/o error")),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl MemoryStorage {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changing calls so far, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        lock(&self.world).calls
    }

    /// Has the call with this number (from 1, see [`MemoryStorage::calls`]) fail.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        lock(&self.world).faults.insert(call, fault);
    }

    /// What a restart after a power cut finds: names and bytes that were synced, and of the writes that were not, those
    /// that `keep` says, byte by byte (file name, number of the write, byte in it).
    #[must_use]
    pub fn restart(&self, mut keep: impl FnMut(&str, usize, usize) -> bool) -> Self {
        let world = lock(&self.world);
        let mut names = BTreeMap::new();
        for (name, content) in &world.synced_names {
            let content = lock(content);
            let mut bytes = content.synced.clone();
            for (number, (offset, written)) in content.unsynced.iter().enumerate() {
                for (at, byte) in written.iter().enumerate() {
                    let place = usize::try_from(*offset).unwrap_or(usize::MAX) + at;
                    if keep(name, number, at) {
                        if bytes.len() <= place {
                            bytes.resize(place + 1, 0);
                        }
                        bytes[place] = *byte;
                    }
                }
            }
            let content = Content { now: bytes.clone(), synced: bytes, unsynced: Vec::new() };
            names.insert(name.clone(), Arc::new(Mutex::new(content)));
        }
        let world = World { synced_names: names.clone(), names, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// Flips one bit of a file, in what is seen and in what is synced.
    pub fn flip(&self, name: &str, byte: usize, bit: u8) {
        if let Some(content) = lock(&self.world).names.get(name) {
            let mut content = lock(content);
            let content = &mut *content;
            for bytes in [&mut content.now, &mut content.synced] {
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }
}

impl Storage for MemoryStorage {
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut world = lock(&self.world);
        world.call()?;
        let zeros = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let content = Content { now: zeros.clone(), synced: zeros, unsynced: Vec::new() };
        let content = Arc::new(Mutex::new(content));
        world.names.insert(name.to_owned(), Arc::clone(&content));
        Ok(Arc::new(MemoryFile { content, world: Arc::clone(&self.world) }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let world = lock(&self.world);
        let content = world.names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { content, world: Arc::clone(&self.world) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.world).names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.call()?;
        world.names.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.call()?;
        let content = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.call()?;
        world.synced_names = world.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Shared,
    world: Arc<Mutex<World>>,
}

impl StorageFile for MemoryFile {
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let failed = lock(&self.world).call();
        if let Err(error) = failed {
            // A write that fails may have written some of it.
            if error.kind() != io::ErrorKind::StorageFull {
                lock(&self.content).unsynced.push((offset, bytes));
            }
            return Err(error);
        }
        let mut content = lock(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if content.now.len() < start + bytes.len() {
            content.now.resize(start + bytes.len(), 0);
        }
        content.now[start..start + bytes.len()].copy_from_slice(&bytes);
        content.unsynced.push((offset, bytes));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.now.len());
        let count = buffer.len().min(content.now.len() - start);
        buffer[..count].copy_from_slice(&content.now[start..start + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        lock(&self.world).call()?;
        let mut content = lock(&self.content);
        content.synced = content.now.clone();
        content.unsynced.clear();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.content).now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.world).call()?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut content = lock(&self.content);
        content.now.resize(len, 0);
        Ok(())
    }
}
