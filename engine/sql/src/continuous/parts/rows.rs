//! The rows of a partition, in order.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a partition orders by, and the row behind it, which breaks ties.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    bytes: Arc<[u8]>,
    /// Where the row begins.
    split: u32,
}

impl Key {
    pub(crate) fn new(bytes: &[u8], split: usize) -> Self {
        Self {
            bytes: bytes.into(),
            split: split as u32,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn split(&self) -> usize {
        self.split as usize
    }

    pub(crate) fn order(&self) -> &[u8] {
        &self.bytes[..self.split()]
    }

    pub(crate) fn row(&self) -> &[u8] {
        &self.bytes[self.split()..]
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

/// A row that is kept.
#[derive(Debug)]
pub(crate) struct Entry {
    /// How often it is there; below 0 while a step takes it back before it adds it.
    pub(crate) count: i64,
    /// Its number in the log; `None`: it has none yet.
    pub(crate) id: Option<u64>,
    /// Whether the log does not know it as it is.
    pub(crate) dirty: bool,
}

/// More rows than this are kept in a tree; a tree's smallest node is larger than a few rows.
const FEW: usize = 16;

/// Rows by key.
#[derive(Debug)]
pub(crate) enum Sorted {
    Few(Vec<(Key, Entry)>),
    Many(BTreeMap<Key, Entry>),
}

impl Default for Sorted {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Sorted {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(rows) => rows.len(),
            Self::Many(rows) => rows.len(),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        match self {
            Self::Few(rows) => {
                let at = rows.binary_search_by(|(each, _)| each.bytes().cmp(key));
                at.ok().map(|at| &mut rows[at].1)
            }
            Self::Many(rows) => rows.get_mut(key),
        }
    }

    /// Adds a row that is not there.
    pub(crate) fn insert(&mut self, key: Key, entry: Entry) {
        if let Self::Few(rows) = self
            && rows.len() >= FEW
        {
            *self = Self::Many(std::mem::take(rows).into_iter().collect());
        }
        match self {
            Self::Few(rows) => {
                let at = rows.partition_point(|(each, _)| *each < key);
                rows.insert(at, (key, entry));
            }
            Self::Many(rows) => {
                rows.insert(key, entry);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        match self {
            Self::Few(rows) => {
                let at = rows.binary_search_by(|(each, _)| each.bytes().cmp(key));
                at.ok().map(|at| rows.remove(at).1)
            }
            Self::Many(rows) => rows.remove(key),
        }
    }

    /// Takes the last row away when it is behind `key`.
    pub(crate) fn pop_behind(&mut self, key: &Key) -> Option<(Key, Entry)> {
        match self {
            Self::Few(rows) => rows.pop_if(|(last, _)| &*last > key),
            Self::Many(rows) => {
                let last = rows.last_entry().filter(|last| last.key() > key)?;
                Some(last.remove_entry())
            }
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (&Key, &Entry)> + '_> {
        match self {
            Self::Few(rows) => Box::new(rows.iter().map(|(key, entry)| (key, entry))),
            Self::Many(rows) => Box::new(rows.iter()),
        }
    }
}
