//! A file system in memory that can fail like a real one: it forgets what was not synced, tears writes, runs full,
//! errs, and flips bits. Deterministic: what fails is said in advance, by counting calls.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Storage, StorageFile};

/// Something that goes wrong at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this call and all later ones fail, and [`MemoryStorage::restart`] shows what was left.
    PowerCut,
    /// This call fails with an I/O error; later ones work.
    Error,
    /// This call finds no file descriptor; later ones do.
    NoFiles,
    /// This call finds no space; later ones do. A write leaves its first half behind, as a real one may.
    Full,
}

/// A change of a file's bytes that was not synced yet.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    /// Applies the change; of a write only the bytes that `keep` says.
    fn apply(&self, bytes: &mut Vec<u8>, mut keep: impl FnMut(usize) -> bool) {
        match self {
            Self::Write(offset, written) => {
                for (at, byte) in written.iter().enumerate() {
                    if keep(at) {
                        if bytes.len() <= offset + at {
                            bytes.resize(offset + at + 1, 0);
                        }
                        bytes[offset + at] = *byte;
                    }
                }
            }
            Self::Length(len) => {
                if keep(0) {
                    bytes.resize(*len, 0);
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// As a reader sees it now.
    now: Vec<u8>,
    /// As it is after a power cut.
    synced: Vec<u8>,
    /// What happened since the last sync, in order.
    unsynced: Vec<Change>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now, |_| true);
        self.unsynced.push(change);
    }
}

/// A change of the folder that was not synced yet.
#[derive(Clone, Debug)]
enum NameChange {
    Set(String, Shared),
    Removed(String),
    Renamed(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Shared>) {
        match self {
            Self::Set(name, content) => {
                names.insert(name.clone(), Arc::clone(content));
            }
            Self::Removed(name) => {
                names.remove(name);
            }
            Self::Renamed(from, to) => {
                if let Some(content) = names.remove(from) {
                    names.insert(to.clone(), content);
                }
            }
        }
    }
}

type Shared = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct World {
    names: BTreeMap<String, Shared>,
    synced_names: BTreeMap<String, Shared>,
    /// Changes of names since the last sync of the folder, in order.
    unsynced_names: Vec<NameChange>,
    /// How many of the next openings find no descriptor.
    no_opens: u64,
    /// Bytes that all files may take.
    space: Option<usize>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    dead: bool,
    unreadable: bool,
    /// How many reads there were, and which one fails.
    reads: u64,
    bad_read: Option<u64>,
    /// Writes that were to be synced next.
    to_sync: u64,
}

/// Files in memory. Cheap to clone; clones see the same files.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    world: Arc<Mutex<World>>,
    gate: Gate,
}

/// Whether syncs wait, and what tells them that they need not any more.
type Gate = Arc<(Mutex<bool>, Condvar)>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_files() -> io::Error {
    rustix::io::Errno::MFILE.into()
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
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
            Some(Fault::NoFiles) => Err(no_files()),
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

    /// Calls of [`StorageFile::write_to_sync`] so far.
    #[must_use]
    pub fn writes_to_sync(&self) -> u64 {
        lock(&self.world).to_sync
    }

    /// Has the call with this number (from 1, see [`MemoryStorage::calls`]) fail.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        lock(&self.world).faults.insert(call, fault);
    }

    /// Has every read fail with an I/O error, or none.
    pub fn fail_reads(&self, fail: bool) {
        lock(&self.world).unreadable = fail;
    }

    /// Has one read fail with an I/O error: the `number`th from now on, counting from 1.
    pub fn fail_read(&self, number: u64) {
        let mut world = lock(&self.world);
        world.bad_read = Some(world.reads + number);
    }

    /// How many reads there were.
    #[must_use]
    pub fn reads(&self) -> u64 {
        lock(&self.world).reads
    }

    /// What a restart after a power cut finds: names and bytes that were synced, and of the changes that were not, those
    /// that `keep` says, byte by byte (file name, number of the change, byte in it).
    #[must_use]
    pub fn restart(&self, keep: impl FnMut(&str, usize, usize) -> bool) -> Self {
        let names = lock(&self.world).synced_names.clone();
        Self::restarted(&names, keep)
    }

    /// As [`MemoryStorage::restart`], but creations, removals and renames survive although nobody synced the folder: a
    /// real file system may write them whenever it likes.
    #[must_use]
    pub fn restart_with_names(&self, keep: impl FnMut(&str, usize, usize) -> bool) -> Self {
        let names = lock(&self.world).names.clone();
        Self::restarted(&names, keep)
    }

    /// As [`MemoryStorage::restart`], with the first `changes` of the creations, removals and renames that nobody synced.
    #[must_use]
    pub fn restart_with_some_names(
        &self,
        changes: usize,
        keep: impl FnMut(&str, usize, usize) -> bool,
    ) -> Self {
        let world = lock(&self.world);
        let mut names = world.synced_names.clone();
        for change in world.unsynced_names.iter().take(changes) {
            change.apply(&mut names);
        }
        drop(world);
        Self::restarted(&names, keep)
    }

    /// How many changes of names nobody synced.
    #[must_use]
    pub fn unsynced_names(&self) -> usize {
        lock(&self.world).unsynced_names.len()
    }

    /// Has the next few openings of files find no descriptor.
    pub fn fail_opens(&self, count: u64) {
        lock(&self.world).no_opens = count;
    }

    /// Has no space for another file that reserves some when all take more than so many bytes; `None` is no limit.
    pub fn set_space(&self, space: Option<usize>) {
        lock(&self.world).space = space;
    }

    /// Has every sync of a file wait until this is taken back.
    pub fn hold_syncs(&self, hold: bool) {
        *lock(&self.gate.0) = hold;
        self.gate.1.notify_all();
    }

    fn restarted(
        names: &BTreeMap<String, Shared>,
        mut keep: impl FnMut(&str, usize, usize) -> bool,
    ) -> Self {
        let mut left = BTreeMap::new();
        for (name, content) in names {
            let content = lock(content);
            let mut bytes = content.synced.clone();
            for (number, change) in content.unsynced.iter().enumerate() {
                change.apply(&mut bytes, |at| keep(name, number, at));
            }
            let content = Content {
                now: bytes.clone(),
                synced: bytes,
                unsynced: Vec::new(),
            };
            left.insert(name.clone(), Arc::new(Mutex::new(content)));
        }
        let world = World {
            synced_names: left.clone(),
            names: left,
            ..World::default()
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            gate: Gate::default(),
        }
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
        let taken = world.names.values().map(|file| lock(file).now.len());
        if size > 0
            && world
                .space
                .is_some_and(|space| taken.sum::<usize>() + place(size) > space)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; place(size)];
        let content = Content {
            now: zeros.clone(),
            synced: zeros,
            unsynced: Vec::new(),
        };
        let content = Arc::new(Mutex::new(content));
        world.names.insert(name.to_owned(), Arc::clone(&content));
        let change = NameChange::Set(name.to_owned(), Arc::clone(&content));
        world.unsynced_names.push(change);
        Ok(Arc::new(MemoryFile {
            content,
            world: Arc::clone(&self.world),
            gate: Arc::clone(&self.gate),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut world = lock(&self.world);
        if world.no_opens > 0 {
            world.no_opens -= 1;
            return Err(no_files());
        }
        let content = world
            .names
            .get(name)
            .cloned()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile {
            content,
            world: Arc::clone(&self.world),
            gate: Arc::clone(&self.gate),
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.world).names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.call()?;
        world
            .unsynced_names
            .push(NameChange::Removed(name.to_owned()));
        world
            .names
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.call()?;
        let content = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), content);
        let change = NameChange::Renamed(from.to_owned(), to.to_owned());
        world.unsynced_names.push(change);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.call()?;
        world.synced_names = world.names.clone();
        world.unsynced_names.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Shared,
    world: Arc<Mutex<World>>,
    gate: Gate,
}

impl StorageFile for MemoryFile {
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let (was_dead, called) = {
            let mut world = lock(&self.world);
            (world.dead, world.call())
        };
        if was_dead {
            return called;
        }
        if let Err(error) = &called
            && error.kind() == io::ErrorKind::StorageFull
        {
            bytes.truncate(bytes.len() / 2);
        }
        // A write that fails may have written some of it: a power cut decides how much.
        lock(&self.content).change(Change::Write(place(offset), bytes));
        called
    }

    fn write_to_sync(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        lock(&self.world).to_sync += 1;
        self.write_at(slices, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        world.reads += 1;
        if world.unreadable || world.bad_read == Some(world.reads) {
            return Err(io::Error::other("injected i/o error"));
        }
        drop(world);
        let content = lock(&self.content);
        let start = place(offset).min(content.now.len());
        let count = buffer.len().min(content.now.len() - start);
        buffer[..count].copy_from_slice(&content.now[start..start + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut held = lock(&self.gate.0);
        while *held {
            held = self
                .gate
                .1
                .wait(held)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(held);
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
        lock(&self.content).change(Change::Length(place(len)));
        Ok(())
    }

    fn reserve(&self, size: u64) -> io::Result<()> {
        lock(&self.world).call()?;
        let mut content = lock(&self.content);
        if content.now.len() < place(size) {
            content.change(Change::Length(place(size)));
        }
        Ok(())
    }
}
