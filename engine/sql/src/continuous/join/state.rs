//! The rows of both sides by their join key.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use millstream_pipeline::BrokenState;

use super::ends::Idle;
use super::entry::{self, Entry};
use super::table::{NONE, Table};
use crate::continuous::operator::Step;
use crate::continuous::time::Clock;

/// What a key costs: itself and its place in the index.
const OVERHEAD: u64 = 48;

/// A join key that some row has.
#[derive(Debug)]
pub(super) struct Key {
    /// The first row of each side.
    heads: [u32; 2],
    /// How many rows there are of each side.
    pub(super) totals: [i64; 2],
    hash: u32,
    /// Which of the step's changes it is.
    change: u32,
}

/// A key as it was before the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyChange {
    pub(super) key: u32,
    pub(super) totals: [i64; 2],
}

/// A row that is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRow<'a> {
    pub(super) deadlines: &'a [i64],
    pub(super) key: &'a [u8],
    pub(super) row: &'a [u8],
}

/// All rows.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) sides: [Table; 2],
    keys: Vec<Key>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    pub(super) changes: Vec<KeyChange>,
    bytes: u64,
    /// Rows of each side.
    counts: [i64; 2],
}

impl Store {
    pub(super) fn new(sides: [Table; 2]) -> Self {
        Self {
            sides,
            keys: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            changes: Vec::new(),
            bytes: 0,
            counts: [0; 2],
        }
    }

    pub(super) fn key(&self, key: u32) -> &Key {
        &self.keys[key as usize]
    }

    /// The key of these bytes, when some row has it.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes) as u32;
        let same = |key: &u32| self.key(*key).hash == hash && self.bytes_of(*key) == bytes;
        self.index.find(spread(hash), same).copied()
    }

    fn bytes_of(&self, key: u32) -> &[u8] {
        let heads = self.key(key).heads;
        let side = usize::from(heads[0] == NONE);
        self.sides[side].key(heads[side])
    }

    /// The first row of a key.
    pub(super) fn head(&self, side: usize, key: u32) -> u32 {
        self.key(key).heads[side]
    }

    /// How many rows a side has.
    pub(super) fn count(&self, side: usize) -> i64 {
        self.counts[side]
    }

    /// The rows of a key.
    pub(super) fn rows(&self, side: usize, key: u32) -> impl Iterator<Item = u32> {
        let mut next = self.key(key).heads[side];
        std::iter::from_fn(move || {
            let slot = next;
            if slot == NONE {
                return None;
            }
            next = self.sides[side].slot(slot).behind;
            Some(slot)
        })
    }

    /// The rows of a key before the step.
    pub(super) fn old_totals(&self, key: u32) -> [i64; 2] {
        match self.key(key).change {
            NONE => self.key(key).totals,
            change => self.changes[change as usize].totals,
        }
    }

    /// Adds a row so many times; answers where it is and whether it was not there.
    pub(super) fn add(
        &mut self,
        side: usize,
        new: &NewRow<'_>,
        diff: i64,
        now: i64,
    ) -> (u32, bool) {
        let known = self.sides[side].find(new.key, new.row);
        let slot = match known {
            Some(slot) => slot,
            None => {
                let key = self.find(new.key);
                let slot = self.sides[side].push(new.deadlines, new.key, new.row);
                self.link(side, slot, key);
                slot
            }
        };
        let table = &mut self.sides[side];
        table.change(slot);
        table.touch(slot, now);
        let row = table.slot_mut(slot);
        row.count += diff;
        let key = row.key;
        self.change_key(key);
        self.keys[key as usize].totals[side] += diff;
        self.counts[side] += diff;
        (slot, known.is_none())
    }

    /// Puts a row into the list of its key.
    fn link(&mut self, side: usize, slot: u32, key: Option<u32>) {
        let key = match key {
            Some(key) => key,
            None => self.new_key(side, slot),
        };
        // Behind the first, so that the first stays where it is.
        let head = self.keys[key as usize].heads[side];
        let table = &mut self.sides[side];
        table.slot_mut(slot).key = key;
        if head == NONE {
            self.keys[key as usize].heads[side] = slot;
            return;
        }
        if head == slot {
            return;
        }
        let second = table.slot(head).behind;
        table.slot_mut(head).behind = slot;
        let row = table.slot_mut(slot);
        (row.before, row.behind) = (head, second);
        if second != NONE {
            table.slot_mut(second).before = slot;
        }
    }

    fn new_key(&mut self, side: usize, slot: u32) -> u32 {
        let bytes = self.sides[side].key(slot);
        let hash = self.hasher.hash_one(bytes) as u32;
        let mut heads = [NONE; 2];
        heads[side] = slot;
        let new = Key {
            heads,
            totals: [0; 2],
            hash,
            change: NONE,
        };
        let key = match self.free.pop() {
            Some(key) => {
                self.keys[key as usize] = new;
                key
            }
            None => {
                self.keys.push(new);
                (self.keys.len() - 1) as u32
            }
        };
        let keys = &self.keys;
        let rehash = |key: &u32| spread(keys[*key as usize].hash);
        self.index.insert_unique(spread(hash), key, rehash);
        self.bytes += OVERHEAD;
        key
    }

    fn change_key(&mut self, key: u32) {
        let next = self.changes.len() as u32;
        let row = &mut self.keys[key as usize];
        if row.change == NONE {
            row.change = next;
            let totals = row.totals;
            self.changes.push(KeyChange { key, totals });
        }
    }

    /// Adds to what matches a row.
    pub(super) fn add_matches(&mut self, side: usize, slot: u32, matches: i64) {
        self.sides[side].change(slot);
        self.sides[side].slot_mut(slot).matches += matches;
    }

    /// Forgets rows. Where matches are counted by key, rows of the other side that stay keep them: told by `keeps`.
    pub(super) fn remove(&mut self, rows: [&[u32]; 2], keeps: [bool; 2]) {
        let mut gone: [HashMap<u32, i64>; 2] = Default::default();
        let mut emptied = Vec::new();
        for side in 0..2 {
            for slot in rows[side] {
                let (key, count) = self.unlink(side, *slot);
                if keeps[1 - side] {
                    *gone[side].entry(key).or_default() += count;
                }
                if self.key(key).heads == [NONE; 2] {
                    emptied.push(key);
                }
            }
        }
        for (side, gone) in gone.iter().enumerate() {
            for (key, count) in gone {
                let stay: Vec<u32> = self.rows(1 - side, *key).collect();
                for slot in stay {
                    self.add_matches(1 - side, slot, *count);
                }
            }
        }
        for key in emptied {
            self.bytes -= OVERHEAD;
            self.free.push(key);
        }
    }

    /// Takes a row out of its key, which goes out of the index with its last row.
    fn unlink(&mut self, side: usize, slot: u32) -> (u32, i64) {
        self.sides[side].change(slot);
        let row = self.sides[side].slot(slot);
        let (key, before, behind, count) = (row.key, row.before, row.behind, row.count);
        let entry = &mut self.keys[key as usize];
        entry.totals[side] -= count;
        self.counts[side] -= count;
        let table = &mut self.sides[side];
        match before {
            NONE => entry.heads[side] = behind,
            before => table.slot_mut(before).behind = behind,
        }
        if behind != NONE {
            table.slot_mut(behind).before = before;
        }
        let empty = entry.heads == [NONE; 2];
        let hash = spread(entry.hash);
        if empty && let Ok(found) = self.index.find_entry(hash, |other| *other == key) {
            found.remove();
        }
        table.remove(slot);
        (key, count)
    }

    pub(super) fn begin(&mut self) {
        self.sides.iter_mut().for_each(Table::begin);
    }

    /// Tells the log what became of the rows that changed, and ends the step.
    pub(super) fn end(&mut self, step: &mut Step<'_>) {
        for (side, table) in self.sides.iter_mut().enumerate() {
            for change in &table.changes {
                let row = table.slot(change.slot);
                let key = entry::key(side, change.slot);
                if row.key != NONE {
                    let value = Entry {
                        count: row.count,
                        matches: row.matches,
                        touched: table.idle.as_ref().map(|_| row.touched),
                        data: &row.data,
                    };
                    step.put(&key, Some(value.encode()));
                } else if change.count != 0 {
                    step.put(&key, None);
                }
            }
            table.end();
        }
        for change in self.changes.drain(..) {
            self.keys[change.key as usize].change = NONE;
        }
        if self.index.is_empty() {
            self.keys = Vec::new();
            self.free = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// # Errors
    /// When it is no row of a join.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let (side, slot) = entry::read_key(key)?;
        let entry = Entry::decode(value)?;
        let table = &mut self.sides[side];
        if !table.put_back(slot, entry.data) {
            return Err(BrokenState(
                "row of a join is there twice or is not whole".to_owned(),
            ));
        }
        if let Some(touched) = entry.touched {
            table.touch(slot, touched);
        }
        let row = table.slot_mut(slot);
        (row.count, row.matches) = (entry.count, entry.matches);
        let bytes = table.key(slot).to_vec();
        let key = self.find(&bytes);
        self.link(side, slot, key);
        let key = self.sides[side].slot(slot).key;
        self.keys[key as usize].totals[side] += entry.count;
        self.counts[side] += entry.count;
        Ok(())
    }

    /// When rows are to be forgotten by the wall clock; `ends`: also when they end.
    pub(super) fn next_wake(&self, ends: bool) -> Option<i64> {
        let sides = self.sides.iter();
        let wakes = sides.flat_map(|table| {
            let queues = table
                .queues
                .iter()
                .filter(move |queue| ends && queue.clock == Clock::Processing);
            let ends = queues.filter_map(|queue| queue.first());
            let idle = table.idle.as_ref().and_then(Idle::next);
            ends.map(|end| end + 1).chain(idle)
        });
        wakes.min()
    }

    pub(super) fn size(&self) -> (u64, u64) {
        let [left, right] = &self.sides;
        let bytes = self.bytes + left.bytes + right.bytes;
        (bytes, left.rows + right.rows)
    }
}

/// A hash of 64 bits for the index: half of one is kept.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
