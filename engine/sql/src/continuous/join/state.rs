//! The rows of both sides by their join key.

use std::cell::Cell;
use std::hash::BuildHasher;

use datafusion::common::{Result, exec_datafusion_err};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use millstream_pipeline::BrokenState;

use super::ends::Idle;
use super::entry::{self, Entry};
use super::table::{NONE, Table};
use crate::continuous::operator::Step;
use crate::continuous::parts::{Cold, Leaving, Pair, Parcel, SOME};
use crate::continuous::time::{Clock, Marks};

/// What a key costs: itself and its place in the index.
const OVERHEAD: u64 = 48;

/// The queue of rows that nothing touches, behind one for each clock.
const IDLE: u8 = 2;

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
    /// Whether it was looked for since the hand came by.
    recent: Cell<bool>,
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
    /// Keys that have left memory, each with all rows of both sides.
    pub(super) cold: Cold,
    /// The key that was last asked to leave.
    hand: usize,
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
            cold: Cold::default(),
            hand: 0,
        }
    }

    pub(super) fn key(&self, key: u32) -> &Key {
        &self.keys[key as usize]
    }

    /// The key of these bytes, when some row has it.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes) as u32;
        let same = |key: &u32| self.key(*key).hash == hash && self.bytes_of(*key) == bytes;
        let found = self.index.find(spread(hash), same).copied()?;
        self.key(found).recent.set(true);
        Some(found)
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
            recent: Cell::new(false),
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
        let gone = self.detach(side, slot);
        self.sides[side].remove(slot);
        gone
    }

    fn detach(&mut self, side: usize, slot: u32) -> (u32, i64) {
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
                let key = entry::key(side, row.id);
                if row.key != NONE {
                    step.put(&key, Some(table.value(change.slot)));
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

    /// Puts back a row of the log, before the first step.
    ///
    /// # Errors
    /// When it is no row of a join.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let (side, id) = entry::read_key(key)?;
        self.put_back(side, id, value)?;
        match self.sides[side].note(id) {
            true => Ok(()),
            false => Err(BrokenState("row of a join is there twice".to_owned())),
        }
    }

    fn put_back(&mut self, side: usize, id: u32, value: &[u8]) -> Result<(), BrokenState> {
        let entry = Entry::decode(value)?;
        let table = &mut self.sides[side];
        let slot = table.put_back(id, entry.data);
        let slot = slot.ok_or_else(|| BrokenState("row of a join is not whole".to_owned()))?;
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

    /// Brings back those of these keys that have left memory.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(super) fn admit<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        if self.cold.is_empty() {
            return Ok(());
        }
        let groups = keys.map(|key| self.cold.group(key));
        let groups: Vec<u64> = groups.filter(|group| self.cold.holds(*group)).collect();
        for some in groups.chunks(SOME) {
            let pairs = self.cold.take(some.to_vec())?;
            self.came_back(pairs)?;
        }
        Ok(())
    }

    /// Brings back some of the keys with rows that end or were not touched for too long; false: there are no more.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(super) fn admit_due(&mut self, others: &[Marks; 2], now: i64) -> Result<bool> {
        let mut some = false;
        for (side, marks) in others.iter().enumerate() {
            let table = &self.sides[side];
            let ends = table.queues.iter().map(|queue| queue.mark(marks));
            let ends: Vec<i64> = ends.collect();
            let idle = table.idle.is_some().then(|| now.saturating_add(1));
            let queues = (0..).zip(ends).chain(idle.map(|now| (IDLE, now)));
            for (queue, below) in queues {
                let pairs = self.cold.take_due(queue_of(side, queue), below)?;
                some |= !pairs.is_empty();
                self.came_back(pairs)?;
            }
        }
        Ok(some)
    }

    fn came_back(&mut self, pairs: Vec<Pair>) -> Result<()> {
        let wrong = |broken: BrokenState| exec_datafusion_err!("{}", broken.0);
        for (key, value) in pairs {
            let (side, id) = entry::read_key(&key).map_err(wrong)?;
            self.put_back(side, id, &value).map_err(wrong)?;
        }
        Ok(())
    }

    /// Lets keys leave that were not looked for since the hand last came by, until memory has so many bytes.
    ///
    /// # Errors
    /// As [`Cold::put`].
    pub(super) fn evict(&mut self, bytes: u64) -> Result<()> {
        let mut parcel = Parcel::default();
        // Behind two rounds nothing is recent any more.
        for _ in 0..2 * self.keys.len() {
            if self.size().0 + parcel.memory() <= bytes {
                break;
            }
            self.hand = (self.hand + 1) % self.keys.len();
            let key = &self.keys[self.hand];
            if key.heads != [NONE; 2] && !key.recent.replace(false) {
                self.leave(self.hand as u32, &mut parcel);
            }
            if parcel.is_full() {
                self.cold.put(&mut parcel)?;
            }
        }
        self.cold.put(&mut parcel)
    }

    /// Behind restoring: of a key that left before all of its rows were back, the others follow.
    ///
    /// # Errors
    /// As [`Cold::put`].
    pub(super) fn gather(&mut self) -> Result<()> {
        if self.cold.is_empty() {
            return Ok(());
        }
        let mut parcel = Parcel::default();
        for key in 0..self.keys.len() as u32 {
            let there = self.key(key).heads != [NONE; 2];
            if there && self.cold.holds(self.cold.group(self.bytes_of(key))) {
                self.leave(key, &mut parcel);
            }
            if parcel.is_full() {
                self.cold.put(&mut parcel)?;
            }
        }
        self.cold.put(&mut parcel)
    }

    /// Takes a key with its rows out of memory.
    fn leave(&mut self, key: u32, parcel: &mut Parcel) {
        let group = self.cold.group(self.bytes_of(key));
        let mut dues = self.dues(key);
        for side in 0..2 {
            let rows: Vec<u32> = self.rows(side, key).collect();
            for slot in rows {
                let table = &self.sides[side];
                parcel.push(Leaving {
                    group,
                    key: entry::key(side, table.slot(slot).id).to_vec(),
                    value: table.value(slot),
                    dues: std::mem::take(&mut dues),
                });
                self.detach(side, slot);
                self.sides[side].leave(slot);
            }
        }
        self.bytes -= OVERHEAD;
        self.free.push(key);
    }

    /// When the first row of a key ends, by each clock of each side.
    fn dues(&self, key: u32) -> Vec<(u8, i64)> {
        let mut dues = Vec::new();
        for (side, table) in self.sides.iter().enumerate() {
            for queue in 0..table.queues.len() {
                let rows = self.rows(side, key);
                let first = rows.map(|slot| table.deadline(slot, queue)).min();
                let first = first.filter(|first| *first != i64::MAX);
                dues.extend(first.map(|first| (queue_of(side, queue as u8), first)));
            }
            if let Some(idle) = &table.idle {
                let rows = self.rows(side, key);
                let first = rows.map(|slot| idle.due_of(table.slot(slot).touched)).min();
                dues.extend(first.map(|first| (queue_of(side, IDLE), first)));
            }
        }
        dues
    }

    /// When rows are to be forgotten by the wall clock; `ends`: also when they end.
    pub(super) fn next_wake(&self, ends: bool) -> Option<i64> {
        let sides = self.sides.iter().enumerate();
        let wakes = sides.flat_map(|(side, table)| {
            let own = (0..).zip(&table.queues);
            let own = own.filter(move |(_, queue)| ends && queue.clock == Clock::Processing);
            let cold = move |queue| self.cold.first_due(queue_of(side, queue));
            let ends = own.flat_map(move |(queue, own)| own.first().into_iter().chain(cold(queue)));
            let idle = table.idle.as_ref().and_then(Idle::next);
            let idle = idle.into_iter().chain(cold(IDLE));
            ends.map(|end| end + 1).chain(idle)
        });
        wakes.min()
    }

    /// Bytes in memory, and all rows.
    pub(super) fn size(&self) -> (u64, u64) {
        let [left, right] = &self.sides;
        let bytes = self.bytes + left.bytes + right.bytes + self.cold.memory();
        (bytes, left.rows + right.rows + self.cold.size().1)
    }
}

/// The number of a queue of a side among those of what has left memory.
fn queue_of(side: usize, queue: u8) -> u8 {
    side as u8 * (IDLE + 1) + queue
}

/// A hash of 64 bits for the index: half of one is kept.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
