//! The subjects a stream holds messages of: text to number, and per number where its messages begin and end.
//!
//! Texts and entries lie in pages of 256 numbers, which may be on disk; the hash table (`table`) holds 32 bits of hash and the
//! number. So a subject costs 11 to 15 bytes that are always in memory, and 32 and its text while its page is. A freed
//! number is given again, the lowest first; nothing depends on the order of the hash table.

mod table;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use crate::codec::{CheckpointError, Reader, put_bytes, put_number};
use crate::pages::{Page, Pages, Slot};
use table::Table;

/// Numbers per page. Few in tests, so that they cross borders.
const PER_PAGE: usize = if cfg!(test) { 4 } else { 256 };
/// Layout version of a page.
const VERSION: u8 = 1;

/// Where a subject's messages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    at: u32,
    len: u16,
    /// Tells apart the subjects that have had this number.
    stamp: u32,
    /// Messages held; 0 means that the number is free.
    pub(crate) count: u32,
    /// Lowest sequence held.
    pub(crate) first: u64,
    /// Highest sequence held.
    pub(crate) last: u64,
}

/// The number that a subject seems to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    pub(crate) id: u32,
    /// The last message of whatever subject has it.
    pub(crate) last: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SubjectPage {
    arena: Vec<u8>,
    /// Bytes of the arena that no entry points to.
    garbage: usize,
    entries: Vec<Entry>,
}

impl SubjectPage {
    fn name(&self, place: usize) -> &[u8] {
        let entry = &self.entries[place];
        &self.arena[entry.at as usize..entry.at as usize + usize::from(entry.len)]
    }

    /// Gives the next place, or a free one, a text.
    fn put(&mut self, place: usize, subject: &[u8], stamp: u32) {
        let len = u16::try_from(subject.len())
            .expect("invariant: a record's subject has a 16 bit length");
        let is_new = place == self.entries.len();
        if is_new {
            self.entries.push(Entry::default());
        }
        self.garbage += usize::from(self.entries[place].len);
        self.entries[place] = Entry {
            stamp,
            ..Entry::default()
        };
        if self.garbage * 2 > self.arena.len() {
            self.compact();
        }
        let at = u32::try_from(self.arena.len()).expect("invariant: a page's texts fit 4 GiB");
        self.arena.extend_from_slice(subject);
        let entry = &mut self.entries[place];
        (entry.at, entry.len) = (at, len);
        if is_new && place + 1 == PER_PAGE {
            // Every place has had its text now, so few more may come, and half of the room could be free. The allocator does
            // not make a block smaller that is half full.
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for entry in &mut self.entries {
            let text = &self.arena[entry.at as usize..entry.at as usize + usize::from(entry.len)];
            entry.at = u32::try_from(arena.len()).expect("invariant: the arena only shrinks");
            arena.extend_from_slice(text);
        }
        self.arena = arena;
        self.garbage = 0;
    }
}

impl Page for SubjectPage {
    const WEIGHT: usize = PER_PAGE * 64;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_number(out, self.entries.len() as u64);
        for (place, entry) in self.entries.iter().enumerate() {
            put_number(out, u64::from(entry.count));
            if entry.count > 0 {
                put_bytes(out, self.name(place));
                put_number(out, u64::from(entry.stamp));
                put_number(out, entry.first);
                put_number(out, entry.last - entry.first);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, CheckpointError> {
        let version = from.byte()?;
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let mut page = Self::default();
        for place in 0..from.count()? {
            let count = from.small()?;
            if count == 0 {
                page.entries.push(Entry::default());
                continue;
            }
            let name = from.bytes()?;
            if name.len() > usize::from(u16::MAX) {
                return Err(from.damaged());
            }
            page.put(place, name, from.small()?);
            let first = from.number()?;
            let last = first
                .checked_add(from.number()?)
                .ok_or_else(|| from.damaged())?;
            let entry = &mut page.entries[place];
            (entry.count, entry.first, entry.last) = (count, first, last);
        }
        Ok(page)
    }
    /// Texts have long beginnings in common.
    fn may_shrink(&self, _: usize) -> bool {
        true
    }
}

#[derive(Debug, Default)]
pub(crate) struct Subjects {
    slots: Vec<Slot<SubjectPage>>,
    /// Numbers ever given.
    ids: u32,
    free: BinaryHeap<Reverse<u32>>,
    stamp: u32,
    table: Table,
    hasher: foldhash::fast::RandomState,
    pages: Option<Pages>,
}

impl Subjects {
    /// No subjects.
    pub(crate) fn new(pages: Option<Pages>) -> Self {
        Self {
            pages,
            ..Self::default()
        }
    }

    fn hash(&self, subject: &[u8]) -> u32 {
        (self.hasher.hash_one(subject) >> 32) as u32
    }

    fn page(&self, id: u32) -> (&SubjectPage, usize) {
        let id = id as usize;
        (
            self.slots[id / PER_PAGE].get(self.pages.as_ref()),
            id % PER_PAGE,
        )
    }

    fn page_mut(&mut self, id: u32) -> (&mut SubjectPage, usize) {
        let id = id as usize;
        (
            self.slots[id / PER_PAGE].get_mut(self.pages.as_ref()),
            id % PER_PAGE,
        )
    }

    /// The number of a subject that has messages.
    pub(crate) fn find(&self, subject: &[u8]) -> Option<u32> {
        self.lookup(self.hash(subject), subject)
    }

    fn lookup(&self, hash: u32, subject: &[u8]) -> Option<u32> {
        self.table.find(hash, |id| self.name(id) == subject)
    }

    /// Touches what adding messages with these subjects reads; answers for each the number it seems to have, and its last
    /// message. Each step does for all of them what does not depend on the others' memory, so that the processor has many loads
    /// under way.
    pub(crate) fn warm<'a>(&self, subjects: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Guess>> {
        let hashes: Vec<u32> = subjects.map(|subject| self.hash(subject)).collect();
        let touched = hashes.iter().map(|hash| self.table.touch(*hash));
        std::hint::black_box(touched.fold(0, |all, word| all ^ word));
        // The first number with the hash is the right one, mostly.
        let ids = hashes.iter();
        let ids: Vec<Option<u32>> = ids.map(|hash| self.table.find(*hash, |_| true)).collect();
        let guesses = ids.iter().map(|id| {
            let id = (*id)?;
            let last = self.get(id).last;
            Some(Guess { id, last })
        });
        let guesses = guesses.collect();
        let texts = ids.iter().flatten();
        let texts = texts.filter_map(|id| self.name(*id).first());
        std::hint::black_box(texts.fold(0, |all, byte| all ^ byte));
        guesses
    }

    /// Adds a message with a subject, known or new; answers the subject's number, and the message before. A `guess` of the
    /// number may be wrong.
    pub(crate) fn add(
        &mut self,
        subject: &[u8],
        guess: Option<u32>,
        seq: u64,
    ) -> (u32, Option<u64>) {
        let id = match guess.filter(|id| self.is(*id, subject)) {
            Some(id) => id,
            None => self.intern(subject),
        };
        let entry = self.get_mut(id);
        let before = (entry.count > 0).then_some(entry.last);
        if before.is_none() {
            entry.first = seq;
        }
        entry.last = seq;
        entry.count += 1;
        (id, before)
    }

    /// Whether this is the number of a subject that has messages.
    fn is(&self, id: u32, subject: &[u8]) -> bool {
        let (page, place) = self.page(id);
        page.entries[place].count > 0 && page.name(place) == subject
    }

    /// The number of a subject, known or new. A new one must get its first message at once.
    fn intern(&mut self, subject: &[u8]) -> u32 {
        let hash = self.hash(subject);
        if let Some(id) = self.lookup(hash, subject) {
            return id;
        }
        let id = match self.free.pop() {
            Some(Reverse(id)) => id,
            None => {
                let id = self.ids;
                self.ids = id
                    .checked_add(1)
                    .expect("invariant: fewer than 2^32 subjects");
                if (id as usize).is_multiple_of(PER_PAGE) {
                    self.slots
                        .push(Slot::new(SubjectPage::default(), self.pages.as_ref()));
                }
                id
            }
        };
        let stamp = self.stamp;
        self.stamp = stamp.wrapping_add(1);
        let (page, place) = self.page_mut(id);
        page.put(place, subject, stamp);
        self.table.insert(hash, id);
        id
    }

    /// Frees the number of a subject whose last message is gone. Its name stays readable until the next subject comes.
    pub(crate) fn release(&mut self, id: u32) {
        let hash = self.hash(self.name(id));
        self.table.remove(hash, id);
        let (page, place) = self.page_mut(id);
        page.entries[place].count = 0;
        self.free.push(Reverse(id));
    }

    pub(crate) fn name(&self, id: u32) -> &[u8] {
        let (page, place) = self.page(id);
        page.name(place)
    }

    /// What one subject has had since it was interned, and no other one.
    pub(crate) fn stamp(&self, id: u32) -> u32 {
        self.get(id).stamp
    }

    pub(crate) fn get(&self, id: u32) -> &Entry {
        let (page, place) = self.page(id);
        &page.entries[place]
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Entry {
        let (page, place) = self.page_mut(id);
        &mut page.entries[place]
    }

    /// Subjects with messages, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], &Entry)> {
        (0..self.ids).filter_map(|id| {
            let (page, place) = self.page(id);
            let entry = &page.entries[place];
            (entry.count > 0).then(|| (id, page.name(place), entry))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Takes every subject out.
    pub(crate) fn clear(&mut self) {
        let stamp = self.stamp;
        *self = Self::new(self.pages.take());
        self.stamp = stamp;
    }

    /// Lets go of the pages that can be read back.
    pub(crate) fn let_go(&mut self) {
        self.slots.iter_mut().for_each(Slot::let_go);
    }

    pub(crate) fn slots(&self) -> &[Slot<SubjectPage>] {
        &self.slots
    }

    pub(crate) fn slots_mut(&mut self) -> (&mut [Slot<SubjectPage>], Option<&Pages>) {
        (&mut self.slots, self.pages.as_ref())
    }

    /// What the root has of them besides where the pages are.
    pub(crate) fn counters(&self) -> (u32, u32) {
        (self.ids, self.stamp)
    }

    /// The subjects of a checkpoint. Reads every page once, for the hashes.
    pub(crate) fn restore(
        pages: Option<Pages>,
        (ids, stamp): (u32, u32),
        slots: Vec<Slot<SubjectPage>>,
        from: &Reader<'_>,
    ) -> Result<Self, CheckpointError> {
        if slots.len() != (ids as usize).div_ceil(PER_PAGE) {
            return Err(from.damaged());
        }
        let mut new = Self {
            slots,
            ids,
            stamp,
            ..Self::new(pages)
        };
        for number in 0..new.slots.len() {
            let page = new.slots[number].get(new.pages.as_ref());
            let first = number * PER_PAGE;
            if page.entries.len() != PER_PAGE.min(ids as usize - first) {
                return Err(from.damaged());
            }
            let mut found = Vec::with_capacity(PER_PAGE);
            for (place, entry) in page.entries.iter().enumerate() {
                let id = u32::try_from(first + place).expect("invariant: below `ids`");
                match entry.count {
                    0 => new.free.push(Reverse(id)),
                    _ => found.push((id, new.hash(page.name(place)))),
                }
            }
            for (id, hash) in found {
                new.table.insert(hash, id);
            }
            if new
                .pages
                .as_ref()
                .is_some_and(|pages| pages.cache.is_over())
            {
                new.slots[number].let_go();
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::{PER_PAGE, SubjectPage};

    #[test]
    fn a_page_that_was_filled_has_no_room_to_spare() {
        let mut page = SubjectPage::default();
        let texts: Vec<String> = (0..PER_PAGE).map(|place| format!("s.{place:05}")).collect();
        for (place, text) in texts.iter().enumerate() {
            page.put(place, text.as_bytes(), 0);
        }
        assert_eq!(page.arena.capacity(), page.arena.len());
        // And takes other texts all the same.
        page.put(1, b"another", 1);
        for (place, text) in texts.iter().enumerate() {
            let text = if place == 1 { "another" } else { text };
            assert_eq!(page.name(place), text.as_bytes());
        }
    }
}
