//! Entries of state that have left memory.
//!
//! An operator whose state is more than it may have in memory puts entries here in the form in which the log has them, and
//! takes them back before a step touches them. What is touched together, such as the rows of a join key, is a group with a
//! number (a hash, so that several may have the same one): it is taken back as a whole. A group says when it is due by itself,
//! for windows that end.
//!
//! Entries lie in a tree on disk (redb) by group. Memory knows which groups there are and how many entries each has, so that
//! a new key costs no look at the disk, and an entry that is missing is found out. Each entry is sealed with a key that only
//! this process has and that knows its place: what comes back is what was put, or an error, and an encrypted store stays one.
//!
//! Under a group and a number of its own an entry has, sealed: how many dues there are (`u8`), each a queue (`u8`) and a time
//! (`i64`), the length of the key (`u32`), the key and the value. Numbers are big-endian.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::path::Path;

use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use hashbrown::{DefaultHashBuilder, HashMap};
use redb::{
    Builder, Database, Durability, ReadableDatabase as _, TableDefinition, WriteTransaction,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::scratch::Scratch;
use super::table::{number, put_blob};

const ENTRIES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("entries");
/// Queue, time, group.
const DUES: TableDefinition<'_, (u8, i64, u64), ()> = TableDefinition::new("dues");

/// What memory needs for a group.
const GROUP: u64 = 24;
/// What the disk needs for an entry besides its bytes.
const OVERHEAD: u64 = 40;
/// Bytes of entries that are put at once.
const PARCEL: usize = 1 << 20;
/// Groups that are taken at once.
pub(crate) const SOME: usize = 1024;

/// A key and a value, as the log has them.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// An entry that leaves memory.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) group: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// When the group is to come back by itself: a queue and a time. One entry of a group says it.
    pub(crate) dues: Vec<(u8, i64)>,
}

/// Entries on their way out, put together so that the disk is asked seldom.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    entries: Vec<Leaving>,
    bytes: usize,
    groups: u64,
}

impl Parcel {
    /// Adds an entry; those of a group come one behind the other.
    pub(crate) fn push(&mut self, entry: Leaving) {
        let before = self.entries.last().map(|entry| entry.group);
        self.groups += u64::from(before != Some(entry.group));
        self.bytes += entry.key.len() + entry.value.len();
        self.entries.push(entry);
    }

    /// Bytes that memory will need for them.
    pub(crate) fn memory(&self) -> u64 {
        self.groups * GROUP
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= PARCEL
    }
}

/// What is on disk of an operator's state; nothing until something is put there.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    scratch: Option<Scratch>,
    file: Option<Tree>,
    /// How many entries each group has.
    groups: HashMap<u64, u32>,
    /// When something of a queue is due at the earliest.
    first: BTreeMap<u8, i64>,
    entries: u64,
    bytes: u64,
    hasher: DefaultHashBuilder,
}

struct Tree {
    database: Database,
    seal: LessSafeKey,
    /// The number of the next entry.
    next: u64,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Cold {
    /// Says where entries may go.
    pub(crate) fn set(&mut self, scratch: Scratch) {
        self.scratch = Some(scratch);
    }

    /// The number of the group of a key.
    pub(crate) fn group(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether there is something of this group.
    pub(crate) fn holds(&self, group: u64) -> bool {
        self.groups.contains_key(&group)
    }

    /// Bytes and entries on disk.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.bytes, self.entries)
    }

    /// Bytes in memory that know of them.
    pub(crate) fn memory(&self) -> u64 {
        let cache = self.scratch.as_ref().filter(|_| self.file.is_some());
        self.groups.len() as u64 * GROUP + cache.map_or(0, |scratch| scratch.cache)
    }

    /// Puts entries on disk. The parcel is empty then.
    ///
    /// # Errors
    /// When the disk takes nothing: the operator is of no use any more.
    pub(crate) fn put(&mut self, parcel: &mut Parcel) -> Result<()> {
        let Parcel { mut entries, .. } = std::mem::take(parcel);
        if entries.is_empty() {
            return Ok(());
        }
        let Some(scratch) = &self.scratch else {
            return Err(exec_datafusion_err!("state has no place but memory"));
        };
        let wrong = |why: redb::Error| unwritten(&scratch.folder, &why);
        if self.file.is_none() {
            self.file = Some(Tree::new(scratch).map_err(wrong)?);
        }
        let Some(tree) = &mut self.file else {
            return Ok(());
        };
        entries.sort_by_key(|entry| entry.group);
        self.bytes += tree.put(&entries).map_err(wrong)?;
        self.entries += entries.len() as u64;
        for entry in &entries {
            *self.groups.entry(entry.group).or_default() += 1;
            for (queue, time) in &entry.dues {
                let first = self.first.entry(*queue).or_insert(*time);
                *first = (*first).min(*time);
            }
        }
        Ok(())
    }

    /// Takes all of these groups that are there.
    ///
    /// # Errors
    /// When they cannot be read, or are not what was put.
    pub(crate) fn take(&mut self, mut groups: Vec<u64>) -> Result<Vec<Pair>> {
        groups.retain(|group| self.holds(*group));
        groups.sort_unstable();
        groups.dedup();
        let (Some(tree), Some(scratch)) = (&mut self.file, &self.scratch) else {
            return Ok(Vec::new());
        };
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let taken = tree.take(&groups, &self.groups);
        let taken = taken.map_err(|why| unread(&scratch.folder, &why))?;
        self.bytes -= taken.bytes;
        self.entries -= taken.pairs.len() as u64;
        for group in &groups {
            self.groups.remove(group);
        }
        if self.groups.is_empty() {
            self.groups = HashMap::new();
            self.first.clear();
        }
        Ok(taken.pairs)
    }

    /// Takes some of the groups that a queue has below a time; none: there are no more.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(crate) fn take_due(&mut self, queue: u8, below: i64) -> Result<Vec<Pair>> {
        while self.first.get(&queue).is_some_and(|first| *first < below) {
            let (Some(tree), Some(scratch)) = (&self.file, &self.scratch) else {
                return Ok(Vec::new());
            };
            let due = tree.due(queue, below);
            let (groups, next) = due.map_err(|why| unread(&scratch.folder, &why))?;
            match next {
                Some(next) => self.first.insert(queue, next),
                None => self.first.remove(&queue),
            };
            if !groups.is_empty() {
                return self.take(groups);
            }
        }
        Ok(Vec::new())
    }

    /// When something of a queue is due at the earliest; it may be later.
    pub(crate) fn first_due(&self, queue: u8) -> Option<i64> {
        self.first.get(&queue).copied()
    }
}

/// What was taken.
struct Taken {
    pairs: Vec<Pair>,
    bytes: u64,
}

impl Tree {
    fn new(scratch: &Scratch) -> Result<Self, redb::Error> {
        let mut key = [0; 32];
        let unsealed = |_| redb::Error::Corrupted("there are no random numbers".to_owned());
        SystemRandom::new().fill(&mut key).map_err(unsealed)?;
        let seal = UnboundKey::new(&AES_256_GCM, &key).map_err(unsealed)?;
        let cache = usize::try_from(scratch.cache).unwrap_or(usize::MAX);
        let file = scratch.open()?;
        Ok(Self {
            database: Builder::new()
                .set_cache_size(cache)
                .create_with_backend(file)?,
            seal: LessSafeKey::new(seal),
            next: 0,
        })
    }

    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        Ok(transaction)
    }

    /// Answers how many bytes they take.
    fn put(&mut self, leaving: &[Leaving]) -> Result<u64, redb::Error> {
        let transaction = self.begin()?;
        let mut bytes = 0;
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut dues = transaction.open_table(DUES)?;
            for entry in leaving {
                let place = (entry.group, self.next);
                self.next += 1;
                let sealed = sealed(&self.seal, place, entry)?;
                bytes += sealed.len() as u64 + OVERHEAD;
                entries.insert(place, sealed.as_slice())?;
                for (queue, time) in &entry.dues {
                    dues.insert((*queue, *time, entry.group), ())?;
                }
            }
        }
        transaction.commit()?;
        Ok(bytes)
    }

    fn take(&mut self, groups: &[u64], counts: &HashMap<u64, u32>) -> Result<Taken, redb::Error> {
        let transaction = self.begin()?;
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut dues = transaction.open_table(DUES)?;
            for group in groups {
                let mut found = 0;
                let whole = (*group, 0)..=(*group, u64::MAX);
                for entry in entries.extract_from_if(whole, |_, _| true)? {
                    let (place, value) = entry?;
                    let (place, value) = (place.value(), value.value());
                    bytes += value.len() as u64 + OVERHEAD;
                    let (pair, own) = opened(&self.seal, place, value)?;
                    for (queue, time) in own {
                        dues.remove((queue, time, *group))?;
                    }
                    pairs.push(pair);
                    found += 1;
                }
                if counts.get(group) != Some(&found) {
                    return Err(damaged());
                }
            }
        }
        transaction.commit()?;
        Ok(Taken { pairs, bytes })
    }

    /// Some groups of a queue below a time, and when the next one is due behind them.
    fn due(&self, queue: u8, below: i64) -> Result<(Vec<u64>, Option<i64>), redb::Error> {
        let transaction = self.database.begin_read()?;
        let dues = transaction.open_table(DUES)?;
        let mut groups = Vec::new();
        for due in dues.range((queue, i64::MIN, 0)..=(queue, i64::MAX, u64::MAX))? {
            let (_, time, group) = due?.0.value();
            if time >= below || groups.len() >= SOME {
                return Ok((groups, Some(time)));
            }
            groups.push(group);
        }
        Ok((groups, None))
    }
}

fn nonce((_, entry): (u64, u64)) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&entry.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// What a seal knows besides the entry.
fn aad((group, entry): (u64, u64)) -> Aad<[u8; 16]> {
    let both = u128::from(group) << 64 | u128::from(entry);
    Aad::from(both.to_be_bytes())
}

fn sealed(seal: &LessSafeKey, place: (u64, u64), entry: &Leaving) -> Result<Vec<u8>, redb::Error> {
    let mut text = Vec::with_capacity(entry.key.len() + entry.value.len() + 48);
    text.push(entry.dues.len() as u8);
    for (queue, time) in &entry.dues {
        text.push(*queue);
        text.extend_from_slice(&time.to_be_bytes());
    }
    put_blob(&entry.key, &mut text);
    text.extend_from_slice(&entry.value);
    let done = seal.seal_in_place_append_tag(nonce(place), aad(place), &mut text);
    done.map_err(|_| redb::Error::ValueTooLarge(text.len()))?;
    Ok(text)
}

/// An entry, and when its group was due.
fn opened(
    seal: &LessSafeKey,
    place: (u64, u64),
    sealed: &[u8],
) -> Result<(Pair, Vec<(u8, i64)>), redb::Error> {
    let mut text = sealed.to_vec();
    let opened = seal.open_in_place(nonce(place), aad(place), &mut text);
    let mut rest: &[u8] = opened.map_err(|_| damaged())?;
    let mut read = || {
        let [count] = number(&mut rest)?;
        let mut dues = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let [queue] = number(&mut rest)?;
            dues.push((queue, i64::from_be_bytes(number(&mut rest)?)));
        }
        let key = super::table::blob(&mut rest)?.to_vec();
        Ok::<_, millstream_pipeline::BrokenState>(((key, rest.to_vec()), dues))
    };
    read().map_err(|_| damaged())
}

fn damaged() -> redb::Error {
    redb::Error::Corrupted("an entry is not what was written".to_owned())
}

fn unwritten(folder: &Path, why: &redb::Error) -> DataFusionError {
    exec_datafusion_err!(
        "state that has no room in memory cannot be written to `{}`: {}; make room there or raise `memory_limit`, and pause and resume the flow",
        folder.display(),
        told(why)
    )
}

fn unread(folder: &Path, why: &redb::Error) -> DataFusionError {
    exec_datafusion_err!(
        "state that was written to `{}` cannot be read: {}; pause and resume the flow, which takes it from its state stream again",
        folder.display(),
        told(why)
    )
}

/// Without the words in front that are no news.
fn told(why: &redb::Error) -> String {
    why.to_string().replace(" error: ", ": ")
}

#[cfg(test)]
mod tests;
