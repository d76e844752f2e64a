//! The rows of a side, by number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::ends::{Deadlines, Idle};
use super::entry::Entry;

/// No row, key or change.
pub(super) const NONE: u32 = u32::MAX;
/// What a row costs besides its bytes: itself, its allocation, indexes and queues.
const OVERHEAD: u64 = 96;

/// A row.
#[derive(Debug)]
pub(super) struct Slot {
    /// A deadline for each clock, how long the join key is, the join key, the columns.
    pub(super) data: Box<[u8]>,
    /// Its number in the log.
    pub(super) id: u32,
    /// `NONE`: free.
    pub(super) key: u32,
    /// The others of the same key.
    pub(super) before: u32,
    pub(super) behind: u32,
    /// Which of the step's changes it is.
    pub(super) change: u32,
    /// How often it is there.
    pub(super) count: i64,
    /// Rows of the other side that match one of it, as far as they are not counted by key.
    pub(super) matches: i64,
    pub(super) touched: i64,
}

impl Slot {
    fn free() -> Self {
        Self {
            data: Box::default(),
            id: NONE,
            key: NONE,
            before: NONE,
            behind: NONE,
            change: NONE,
            count: 0,
            matches: 0,
            touched: 0,
        }
    }
}

/// A row as it was before the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) slot: u32,
    /// 0: it was not there.
    pub(super) count: i64,
    pub(super) matches: i64,
}

/// The rows of a side.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    /// Removed in this step: they are not used again in it, nor are their numbers.
    removed: Vec<u32>,
    ids: Ids,
    /// By key and columns, where equal rows are one.
    index: Option<HashTable<u32>>,
    hasher: DefaultHashBuilder,
    pub(super) queues: Vec<Deadlines>,
    pub(super) idle: Option<Idle>,
    pub(super) changes: Vec<Change>,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

impl Table {
    pub(super) fn new(merges: bool, queues: Vec<Deadlines>, ttl: Option<i64>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            removed: Vec::new(),
            ids: Ids::default(),
            index: merges.then(HashTable::new),
            hasher: DefaultHashBuilder::default(),
            queues,
            idle: ttl.map(Idle::new),
            changes: Vec::new(),
            bytes: 0,
            rows: 0,
        }
    }

    pub(super) fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    /// The join key and the columns of a row.
    pub(super) fn parts(&self, slot: u32) -> (&[u8], &[u8]) {
        parts(&self.slot(slot).data, self.queues.len())
    }

    pub(super) fn key(&self, slot: u32) -> &[u8] {
        self.parts(slot).0
    }

    pub(super) fn row(&self, slot: u32) -> &[u8] {
        self.parts(slot).1
    }

    pub(super) fn deadline(&self, slot: u32, queue: usize) -> i64 {
        let (numbers, _) = self.slot(slot).data.as_chunks::<8>();
        i64::from_be_bytes(numbers[queue])
    }

    /// A row as the log has it.
    pub(super) fn value(&self, slot: u32) -> Vec<u8> {
        let row = self.slot(slot);
        let value = Entry {
            count: row.count,
            matches: row.matches,
            touched: self.idle.as_ref().map(|_| row.touched),
            data: &row.data,
        };
        value.encode()
    }

    /// The row of these bytes, where equal rows are one.
    pub(super) fn find(&self, key: &[u8], row: &[u8]) -> Option<u32> {
        let index = self.index.as_ref()?;
        let same = |slot: &u32| self.parts(*slot) == (key, row);
        let hash = hash_both(&self.hasher, (key, row));
        index.find(hash, same).copied()
    }

    /// A new row, in no list of a key yet.
    pub(super) fn push(&mut self, deadlines: &[i64], key: &[u8], row: &[u8]) -> u32 {
        let slot = self.room();
        self.slot_mut(slot).id = self.ids.next();
        let mut data = Vec::with_capacity(8 * deadlines.len() + 4 + key.len() + row.len());
        for deadline in deadlines {
            data.extend_from_slice(&deadline.to_be_bytes());
        }
        data.extend_from_slice(&(key.len() as u32).to_be_bytes());
        data.extend_from_slice(key);
        data.extend_from_slice(row);
        self.fill(slot, data.into_boxed_slice());
        slot
    }

    fn room(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::free());
            (self.slots.len() - 1) as u32
        })
    }

    /// Puts a row back under its number; `None`: it is none.
    pub(super) fn put_back(&mut self, id: u32, data: &[u8]) -> Option<u32> {
        if id == NONE || !is_whole(data, self.queues.len()) {
            return None;
        }
        let slot = self.room();
        self.slot_mut(slot).id = id;
        self.fill(slot, data.into());
        Some(slot)
    }

    /// Notes that the log has a row of this number, before the first step; false: it is known already.
    pub(super) fn note(&mut self, id: u32) -> bool {
        self.ids.noted.insert(id)
    }

    fn fill(&mut self, slot: u32, data: Box<[u8]>) {
        self.bytes += data.len() as u64 + OVERHEAD;
        self.rows += 1;
        self.slot_mut(slot).data = data;
        for queue in 0..self.queues.len() {
            let deadline = self.deadline(slot, queue);
            self.queues[queue].insert(deadline, slot);
        }
        let (hasher, slots, queues) = (&self.hasher, &self.slots, self.queues.len());
        if let Some(index) = &mut self.index {
            let hash = |slot: &u32| hash_both(hasher, parts(&slots[*slot as usize].data, queues));
            index.insert_unique(hash(&slot), slot, hash);
        }
    }

    /// Forgets a row that is in no list of a key any more.
    pub(super) fn remove(&mut self, slot: u32) {
        self.clear(slot);
        self.removed.push(slot);
    }

    /// The same, where the log keeps it. Not within a step.
    pub(super) fn leave(&mut self, slot: u32) {
        self.clear(slot);
        self.free.push(slot);
        // A touch is noted where the row is, and it comes back elsewhere.
        if let Some(idle) = &mut self.idle
            && idle.is_crowded(self.rows)
        {
            idle.clear();
            let slots = (0..).zip(&self.slots);
            for (slot, row) in slots.filter(|(_, row)| row.key != NONE) {
                idle.note(row.touched, slot);
            }
        }
    }

    fn clear(&mut self, slot: u32) {
        for queue in 0..self.queues.len() {
            let deadline = self.deadline(slot, queue);
            self.queues[queue].remove(deadline, slot);
        }
        let hash = hash_both(&self.hasher, self.parts(slot));
        if let Some(index) = &mut self.index
            && let Ok(found) = index.find_entry(hash, |other| *other == slot)
        {
            found.remove();
        }
        let slot_mut = self.slot_mut(slot);
        let (change, id) = (slot_mut.change, slot_mut.id);
        let data = std::mem::take(&mut slot_mut.data);
        *slot_mut = Slot {
            change,
            id,
            ..Slot::free()
        };
        self.bytes -= data.len() as u64 + OVERHEAD;
        self.rows -= 1;
    }

    /// Remembers how a row was before the step.
    pub(super) fn change(&mut self, slot: u32) {
        let next = self.changes.len() as u32;
        let row = &mut self.slots[slot as usize];
        if row.change == NONE {
            row.change = next;
            self.changes.push(Change {
                slot,
                count: row.count,
                matches: row.matches,
            });
        }
    }

    /// Notes when a row was touched.
    pub(super) fn touch(&mut self, slot: u32, now: i64) {
        let Some(idle) = &mut self.idle else {
            return;
        };
        let row = &mut self.slots[slot as usize];
        let known = row.count != 0 && idle.bucket(row.touched) == idle.bucket(now);
        row.touched = now;
        if !known {
            idle.note(now, slot);
        }
    }

    /// The rows that nothing touched for too long.
    pub(super) fn idle(&mut self, now: i64) -> Vec<u32> {
        let mut found = Vec::new();
        let Some(idle) = &mut self.idle else {
            return found;
        };
        while let Some((bucket, slots)) = idle.take(now) {
            let last = |slot: &u32| {
                let row = self.slots.get(*slot as usize);
                row.is_some_and(|row| row.key != NONE && idle.bucket(row.touched) == bucket)
            };
            found.extend(slots.into_iter().filter(last));
        }
        found
    }

    /// Behind restoring: which numbers are free.
    pub(super) fn begin(&mut self) {
        self.ids.find_free();
    }

    /// Behind a step: numbers of rows that went may be used again.
    pub(super) fn end(&mut self) {
        for change in self.changes.drain(..) {
            self.slots[change.slot as usize].change = NONE;
        }
        let slots = &self.slots;
        let gone = self.removed.iter().map(|slot| slots[*slot as usize].id);
        self.ids.give_back(gone);
        self.free.append(&mut self.removed);
        if self.rows == 0 {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.index = self.index.take().map(|_| HashTable::new());
        }
    }
}

/// The numbers that rows have in the log, wherever the rows are.
#[derive(Debug, Default)]
struct Ids {
    next: u32,
    free: Vec<u32>,
    used: u64,
    /// Those of rows that were put back, before the first step.
    noted: HashSet<u32>,
}

impl Ids {
    fn next(&mut self) -> u32 {
        self.used += 1;
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn give_back(&mut self, ids: impl Iterator<Item = u32>) {
        let before = self.free.len();
        self.free.extend(ids);
        self.used -= (self.free.len() - before) as u64;
        if self.used == 0 {
            *self = Self::default();
        }
    }

    /// Those between the ones that were noted.
    fn find_free(&mut self) {
        if self.noted.is_empty() {
            return;
        }
        let mut noted: Vec<u32> = std::mem::take(&mut self.noted).into_iter().collect();
        noted.sort_unstable();
        self.used = noted.len() as u64;
        for id in noted {
            self.free.extend(self.next..id);
            self.next = id.saturating_add(1);
        }
        self.free.reverse();
    }
}

/// The join key and the columns in a row's bytes.
fn parts(data: &[u8], queues: usize) -> (&[u8], &[u8]) {
    let (length, rest) = data[8 * queues..].split_at(4);
    let length = length
        .iter()
        .fold(0, |all, byte| all << 8 | usize::from(*byte));
    rest.split_at(length)
}

/// Whether a row's bytes have all parts.
fn is_whole(data: &[u8], queues: usize) -> bool {
    let Some((length, rest)) = data
        .get(8 * queues..)
        .and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return false;
    };
    u32::from_be_bytes(*length) as usize <= rest.len()
}

fn hash_both(hasher: &DefaultHashBuilder, (key, row): (&[u8], &[u8])) -> u64 {
    hasher.hash_one(key) ^ hasher.hash_one(row).rotate_left(23)
}
