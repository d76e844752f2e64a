//! The subjects a stream holds messages of: text to number, and per number where its messages begin and end.
//!
//! Texts lie in one arena, entries in one vector, and the hash table holds only numbers, so a subject costs its text and
//! about 45 bytes. Numbers are given in log order and reused after the last message of a subject is gone; that makes them
//! part of the replicated state, and nothing depends on the order of the hash table.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Where a subject's messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    at: u32,
    len: u16,
    /// Messages held; 0 means that the number is free.
    pub(crate) count: u32,
    /// Lowest sequence held.
    pub(crate) first: u64,
    /// Highest sequence held.
    pub(crate) last: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Subjects {
    arena: Vec<u8>,
    garbage: usize,
    epoch: u64,
    entries: Vec<Entry>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// Garbage below this is not worth copying the arena for.
const MIN_GARBAGE: usize = 64 * 1024;

impl Subjects {
    /// The number of a subject that has messages.
    pub(crate) fn find(&self, subject: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(subject);
        self.table
            .find(hash, |id| self.name(*id) == subject)
            .copied()
    }

    /// The number of a subject, known or new. A new one must get its first message at once.
    pub(crate) fn intern(&mut self, subject: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(subject);
        let (arena, entries) = (&self.arena, &self.entries);
        if let Some(id) = self
            .table
            .find(hash, |id| name_in(arena, &entries[*id as usize]) == subject)
        {
            return *id;
        }
        self.compact();
        let at =
            u32::try_from(self.arena.len()).expect("invariant: subjects of one stream fit 4 GiB");
        let len = u16::try_from(subject.len())
            .expect("invariant: a record's subject has a 16 bit length");
        self.arena.extend_from_slice(subject);
        let entry = Entry {
            at,
            len,
            count: 0,
            first: 0,
            last: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("invariant: fewer than 2^32 subjects")
            }
        };
        let (arena, entries, hasher) = (&self.arena, &self.entries, &self.hasher);
        self.table.insert_unique(hash, id, |id| {
            hasher.hash_one(name_in(arena, &entries[*id as usize]))
        });
        id
    }

    /// Frees the number of a subject whose last message is gone. Its name stays readable until the next `intern`.
    pub(crate) fn release(&mut self, id: u32) {
        let hash = self.hasher.hash_one(self.name(id));
        if let Ok(slot) = self.table.find_entry(hash, |known| *known == id) {
            slot.remove();
        }
        self.garbage += usize::from(self.entries[id as usize].len);
        self.entries[id as usize].count = 0;
        self.free.push(id);
    }

    pub(crate) fn name(&self, id: u32) -> &[u8] {
        name_in(&self.arena, &self.entries[id as usize])
    }

    /// Counts how often texts were moved: a [`Subjects::tag`] names one subject as long as this stays.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where a subject's text lies.
    pub(crate) fn tag(&self, id: u32) -> u32 {
        self.entries[id as usize].at
    }

    pub(crate) fn get(&self, id: u32) -> &Entry {
        &self.entries[id as usize]
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Entry {
        &mut self.entries[id as usize]
    }

    /// Subjects with messages, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], &Entry)> {
        (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.count > 0)
            .map(|(id, entry)| (id, name_in(&self.arena, entry), entry))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Numbers ever given, for checkpoints: free ones have a count of 0.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|entry| {
            (
                if entry.count > 0 {
                    name_in(&self.arena, entry)
                } else {
                    b""
                },
                entry,
            )
        })
    }

    pub(crate) fn free_list(&self) -> &[u32] {
        &self.free
    }

    /// Rebuilds the table from a checkpoint: names by number (empty for free ones) and the free numbers in their order.
    pub(crate) fn restore<'a>(names: impl Iterator<Item = &'a [u8]>, free: Vec<u32>) -> Self {
        let mut new = Self::default();
        for name in names {
            if name.is_empty() {
                new.entries.push(Entry {
                    at: 0,
                    len: 0,
                    count: 0,
                    first: 0,
                    last: 0,
                });
            } else {
                new.intern(name);
            }
        }
        new.free = free;
        new
    }

    fn compact(&mut self) {
        if self.garbage < MIN_GARBAGE || self.garbage * 2 < self.arena.len() {
            return;
        }
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for entry in &mut self.entries {
            if entry.count == 0 {
                (entry.at, entry.len) = (0, 0);
                continue;
            }
            let name = name_in(&self.arena, entry);
            let at = u32::try_from(arena.len()).expect("invariant: the arena only shrinks");
            arena.extend_from_slice(name);
            entry.at = at;
        }
        self.arena = arena;
        self.garbage = 0;
        self.epoch += 1;
    }
}

fn name_in<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    &arena[entry.at as usize..entry.at as usize + usize::from(entry.len)]
}
