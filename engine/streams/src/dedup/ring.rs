//! The newest ids: in the order they came, with a hash table beside them. Old ones leave one by one.
//!
//! Slots lie in small chunks that never change once they are full, so that a snapshot is a list of pointers and growth
//! copies nothing. The table has three bytes per place, a tag and the low bits of the slot's number, and is [`LOADED`] full when
//! it holds all that it is made for. Places of ids that left stay until the table is built anew: what they point at is either
//! no slot any more or another id's, and the hash is compared.

use std::collections::VecDeque;
use std::sync::Arc;

use super::IdHash;
use super::page::{Base, Slot};

/// Slots of a chunk.
const CHUNK: usize = 64;
/// Most slots: their numbers must differ in 16 bits.
pub(super) const MAX: usize = 32 * 1024;
/// How full the table is after it was built, and when it is built again, in 100ths.
const LOADED: usize = 68;
const FULL: usize = 82;
const SMALLEST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) base: Base,
    /// Number of the first chunk's first slot; only its low 16 bits matter.
    front: u16,
    /// How many slots of the first chunk have left.
    gone: usize,
    chunks: VecDeque<Arc<[Slot; CHUNK]>>,
    /// The chunk that is not full.
    tail: Vec<Slot>,
    table: Table,
    /// How many slots the table is made for at least: a larger one is made less often.
    pub(super) expected: usize,
}

/// Open addressing. A tag of 0 is a free place.
#[derive(Debug, Default)]
struct Table {
    tags: Box<[u8]>,
    numbers: Box<[u16]>,
    used: usize,
}

fn tag(id: IdHash) -> u8 {
    ((id.low >> 56) as u8).max(1)
}

impl Table {
    fn with_room_for(slots: usize) -> Self {
        let places = (slots * 100 / LOADED).max(SMALLEST);
        Self {
            tags: vec![0; places].into_boxed_slice(),
            numbers: vec![0; places].into_boxed_slice(),
            used: 0,
        }
    }

    fn is_full(&self) -> bool {
        (self.used + 1) * 100 > self.tags.len() * FULL
    }

    fn insert(&mut self, id: IdHash, number: u16) {
        let mut at = super::scaled(id, self.tags.len());
        while self.tags[at] != 0 {
            at = self.after(at);
        }
        self.tags[at] = tag(id);
        self.numbers[at] = number;
        self.used += 1;
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.tags.len() { 0 } else { at + 1 }
    }
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.chunks.len() * CHUNK + self.tail.len() - self.gone
    }

    /// The slot at a place counted from the first chunk's start.
    fn get(&self, at: usize) -> Slot {
        match self.chunks.get(at / CHUNK) {
            Some(chunk) => chunk[at % CHUNK],
            None => self.tail[at - self.chunks.len() * CHUNK],
        }
    }

    /// Slots in the order they came.
    fn iter(&self) -> impl Iterator<Item = Slot> {
        let chunks = self.chunks.iter().flat_map(|chunk| chunk.iter());
        chunks.chain(&self.tail).copied().skip(self.gone)
    }

    /// Something of the place where looking an id up begins, to have it at hand.
    pub(super) fn touch(&self, id: IdHash) -> u64 {
        let tags = &self.table.tags;
        let tag = tags.get(super::scaled(id, tags.len()));
        tag.map_or(0, |tag| u64::from(*tag))
    }

    /// The sequence of an id that came at `cutoff` or later.
    pub(super) fn find(&self, id: IdHash, cutoff: i64) -> Option<u64> {
        if self.table.used == 0 {
            return None;
        }
        let table = &self.table;
        let tag = tag(id);
        let end = self.gone + self.len();
        let mut place = super::scaled(id, table.tags.len());
        // Ends: a table always has free places.
        while table.tags[place] != 0 {
            if table.tags[place] == tag {
                let at = usize::from(table.numbers[place].wrapping_sub(self.front));
                if (self.gone..end).contains(&at) {
                    let slot = self.get(at);
                    if slot.id() == id && self.base.time_of(slot) >= cutoff {
                        return Some(self.base.seq_of(slot));
                    }
                }
            }
            place = table.after(place);
        }
        None
    }

    /// The slot of an id as it would be kept; `None` when it is too far from the base.
    pub(super) fn slot(&self, id: IdHash, seq: u64, time: i64) -> Option<Slot> {
        Some(Slot {
            high: id.high,
            low: id.low,
            seq: u32::try_from(seq.checked_sub(self.base.seq)?).ok()?,
            time: u32::try_from(time.checked_sub(self.base.time)?).ok()?,
        })
    }

    /// Adds the newest slot. There are fewer than [`MAX`].
    pub(super) fn push(&mut self, slot: Slot) {
        if self.table.is_full() {
            self.rebuild();
        }
        let at = self.chunks.len() * CHUNK + self.tail.len();
        self.table
            .insert(slot.id(), self.front.wrapping_add(at as u16));
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(CHUNK);
        }
        self.tail.push(slot);
        if let Ok(chunk) = <[Slot; CHUNK]>::try_from(self.tail.as_slice()) {
            self.chunks.push_back(Arc::new(chunk));
            self.tail.clear();
        }
    }

    fn rebuild(&mut self) {
        // The old one goes first: at no moment are there two.
        self.table = Table::default();
        let mut table = Table::with_room_for(self.expected.max(self.len() + 1));
        for (slot, at) in self.iter().zip(self.gone..) {
            table.insert(slot.id(), self.front.wrapping_add(at as u16));
        }
        self.table = table;
    }

    /// The time of the oldest slot, in milliseconds since 1970.
    pub(super) fn oldest(&self) -> Option<i64> {
        (self.len() > 0).then(|| self.base.time_of(self.get(self.gone)))
    }

    /// Takes the oldest slots out.
    pub(super) fn take(&mut self, count: usize) -> Vec<Slot> {
        let slots: Vec<Slot> = self.iter().take(count).collect();
        self.forget(count);
        slots
    }

    /// Drops the oldest slots.
    pub(super) fn forget(&mut self, count: usize) {
        if count >= self.len() {
            *self = Self::default();
            return;
        }
        self.gone += count;
        while self.gone >= CHUNK && self.chunks.pop_front().is_some() {
            self.gone -= CHUNK;
            self.front = self.front.wrapping_add(CHUNK as u16);
        }
    }

    /// The slots as they are now; later changes do not show.
    pub(super) fn slots(&self) -> Slots {
        Slots {
            gone: self.gone,
            chunks: self.chunks.iter().cloned().collect(),
            tail: self.tail.clone(),
        }
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.chunks.len() * (size_of::<[Slot; CHUNK]>() + 2 * size_of::<usize>())
            + self.chunks.capacity() * size_of::<usize>()
            + self.tail.capacity() * size_of::<Slot>()
            + self.table.tags.len() * 3
    }
}

/// The slots of a ring at one moment.
#[derive(Debug)]
pub(super) struct Slots {
    gone: usize,
    chunks: Vec<Arc<[Slot; CHUNK]>>,
    tail: Vec<Slot>,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.chunks.len() * CHUNK + self.tail.len() - self.gone
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        let chunks = self.chunks.iter().flat_map(|chunk| chunk.iter());
        chunks.chain(&self.tail).copied().skip(self.gone)
    }
}
