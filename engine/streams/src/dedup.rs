//! Message ids seen lately, so that a publish repeated within the window is answered and not stored again.
//!
//! Exact: 128 bits of a keyed hash stand for an id, with its sequence and its time in milliseconds, rounded up. An id is a
//! duplicate until its time lies more than the window back. Part of the replicated state, so the hash is fixed: SipHash-1-3
//! keyed with the stream's number and creation time.
//!
//! The newest ids are in a ring (`ring`) and leave it one by one. When it is full its older part becomes a page (`page`),
//! sorted and immutable, that leaves whole when its newest id does. A page that was stored in the journal is dropped from
//! memory and read back when needed; a few bits of each of its ids stay (`prints`). In front of the pages are Bloom filters
//! (`filter`), each over many pages, rotating with them: the usual id was never seen, and they say so, for many ids at once. A
//! "maybe" always goes on to the pages.
//!
//! Sizes follow how many ids there are, which bounds what dead ids and unused filters take: a page holds up to a 32nd of
//! them, and a filter is made for as many as there are in pages or more, and takes over what smaller ones before it hold, so that
//! there are few: each of them is asked about each id.

mod filter;
mod page;
mod prints;
mod ring;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_journal::{Position, ReadError};
use millstream_types::Timestamp;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::pages::PageSource;
use filter::Filter;
use page::{Base, View};
use prints::Prints;
use ring::Ring;

pub(crate) use snapshot::IdSnapshot;

const NANOS_PER_MILLI: i64 = 1_000_000;
/// How much is kept where. Tests have smaller ones.
#[derive(Debug)]
struct Sizes {
    /// Most ids in the ring, at most [`ring::MAX`].
    ring: usize,
    /// Fewest and most ids that are put away together.
    page: (usize, usize),
    /// Fewest and most ids a filter is made for.
    filter: (usize, usize),
    /// Most ids that a new filter takes over at once: somebody waits for it.
    takeover: usize,
    /// Bytes of stored pages that stay in memory all the same, the ones used last.
    cache: usize,
}

const SIZES: Sizes = Sizes {
    ring: ring::MAX,
    page: (1024, 16 * 1024),
    filter: (16 * 1024, 4 * 1024 * 1024),
    takeover: 128 * 1024,
    cache: 2 * 1024 * 1024,
};

/// The id as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdHash {
    high: u64,
    low: u64,
}

/// An id and what filters said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) id: IdHash,
    /// How many pages there had been when none of them held it, if that is known.
    absent: Option<u64>,
}

impl From<IdHash> for Asked {
    fn from(id: IdHash) -> Self {
        Self { id, absent: None }
    }
}

/// What is hashed. The same bytes of another kind are another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    /// What the publisher calls the message.
    Given,
    /// What is in the message.
    Content,
}

/// Ids that were put away together.
#[derive(Debug)]
struct Page {
    /// Since the stream began.
    number: u64,
    count: u32,
    /// Time of its newest id, in milliseconds since 1970.
    newest: i64,
    /// Absent when it is in the journal only.
    bytes: Option<Bytes>,
    /// Where in the journal, once stored.
    stored: Option<Position>,
    /// Of its ids, from when it first left memory.
    prints: Option<Prints>,
    /// When it was last looked into.
    used: u64,
}

impl Page {
    /// `bytes` are its own, checked when they came in.
    fn view<'a>(&self, bytes: &'a [u8]) -> View<'a> {
        View::open(bytes, self.count)
            .expect("invariant: a page's bytes are checked before they are kept")
    }
}

/// A filter over the ids of pages that follow each other.
#[derive(Debug)]
struct Front {
    filter: Filter,
    pages: usize,
    /// How many more ids it is good for.
    room: usize,
}

impl Front {
    /// Adds the page behind its last one.
    fn add(&mut self, page: View<'_>) {
        for slot in page.slots() {
            self.filter.insert(slot.id());
        }
        self.room -= page.len();
        self.pages += 1;
    }
}

#[derive(Debug)]
pub(crate) struct Dedup {
    key: (u64, u64),
    sizes: &'static Sizes,
    /// Ids from before this are forgotten; milliseconds since 1970.
    cutoff: i64,
    /// Time of the newest id.
    newest: i64,
    ring: Ring,
    /// Oldest first.
    pages: VecDeque<Page>,
    next_page: u64,
    /// Ids in pages.
    paged: usize,
    /// Oldest first; over the first `covered` pages.
    fronts: VecDeque<Front>,
    covered: usize,
    /// Bytes of stored pages that are in memory.
    cached: usize,
    /// Looks into pages so far.
    looks: u64,
    source: Option<Arc<dyn PageSource>>,
    /// Takes a filter's "maybe" for an answer, to show that tests notice.
    #[cfg(test)]
    trust_filters: bool,
}

/// Where in a list of this length an evenly spread hash is expected.
fn scaled(id: IdHash, length: usize) -> usize {
    ((u128::from(id.high) * length as u128) >> 64) as usize
}

/// Milliseconds since 1970, rounded up.
fn millis(nanos: i64) -> i64 {
    nanos.div_euclid(NANOS_PER_MILLI) + i64::from(nanos.rem_euclid(NANOS_PER_MILLI) != 0)
}

impl Dedup {
    pub(crate) fn new(stream: u32, created: Timestamp) -> Self {
        Self {
            key: (u64::from(stream), created.0.cast_unsigned()),
            sizes: &SIZES,
            cutoff: i64::MIN,
            newest: i64::MIN,
            ring: Ring::default(),
            pages: VecDeque::new(),
            next_page: 0,
            paged: 0,
            fronts: VecDeque::new(),
            covered: 0,
            cached: 0,
            looks: 0,
            source: None,
            #[cfg(test)]
            trust_filters: false,
        }
    }

    /// The hash of what `parts` write into the hasher.
    pub(crate) fn hash(&self, kind: IdKind, parts: impl FnOnce(&mut SipHasher13)) -> IdHash {
        // Kinds differ in the half of the key that stream numbers leave free.
        let kind = u64::from(kind == IdKind::Content) << 63;
        let mut hasher = SipHasher13::new_with_keys(self.key.0 | kind, self.key.1);
        parts(&mut hasher);
        let hash = hasher.finish128();
        IdHash {
            high: hash.h1,
            low: hash.h2,
        }
    }

    /// The hash of an id that a publisher gave.
    pub(crate) fn hash_id(&self, id: &[u8]) -> IdHash {
        self.hash(IdKind::Given, |hasher| hasher.write(id))
    }

    /// How many ids are kept, counting those of pages that are not all out of the window.
    pub(crate) fn len(&self) -> usize {
        self.paged + self.ring.len()
    }

    /// Forgets ids older than the window.
    pub(crate) fn expire(&mut self, now: Timestamp, window: Duration) {
        self.cutoff = self.cutoff_at(now, window);
        while self
            .pages
            .front()
            .is_some_and(|page| page.newest < self.cutoff)
        {
            self.drop_page();
        }
        while self.ring.oldest().is_some_and(|time| time < self.cutoff) {
            self.ring.forget(1);
        }
    }

    /// Ids from before this are forgotten at a time.
    pub(crate) fn cutoff_at(&self, now: Timestamp, window: Duration) -> i64 {
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        // A window that was made longer does not bring ids back.
        self.cutoff.max(millis(now.0.saturating_sub(window)))
    }

    fn drop_page(&mut self) {
        let Some(page) = self.pages.pop_front() else {
            return;
        };
        self.paged -= page.count as usize;
        if page.stored.is_some() {
            self.cached -= page.bytes.map_or(0, |bytes| bytes.len());
        }
        if let Some(front) = self.fronts.front_mut() {
            self.covered -= 1;
            front.pages -= 1;
            if front.pages == 0 {
                self.fronts.pop_front();
            }
        }
    }

    /// Touches what looking these ids up is going to read first, for all of them before any is asked about, and without a branch,
    /// which would be a guess at what memory says: the processor has many loads under way then.
    pub(crate) fn warm(&self, ids: impl Iterator<Item = IdHash>) {
        let touched: u64 = ids
            .map(|id| {
                let fronts = self.fronts.iter().map(|front| front.filter.touch(id));
                self.ring.touch(id) + fronts.sum::<u64>()
            })
            .sum();
        std::hint::black_box(touched);
    }

    /// Asks the filters about ids that are going to be looked up.
    pub(crate) fn ask<'a>(&mut self, ids: impl Iterator<Item = &'a mut Asked>) {
        // What cannot be read is told to who looks an id up.
        let known = self.cover().is_ok();
        for asked in ids {
            let mut fronts = self.fronts.iter();
            let maybe = fronts.any(|front| front.filter.contains(asked.id));
            asked.absent = (known && !maybe).then_some(self.next_page);
        }
    }

    /// The sequence an id was stored with.
    ///
    /// # Errors
    /// A page that may hold the id cannot be read: nobody knows.
    pub(crate) fn find(&mut self, id: impl Into<Asked>) -> Result<Option<u64>, ReadError> {
        let asked = id.into();
        match self.ring.find(asked.id, self.cutoff) {
            None if asked.absent != Some(self.next_page) => {
                self.find_in_pages(asked.id, self.cutoff)
            }
            found => Ok(found),
        }
    }

    /// The same without a question before, as if those from before `cutoff` were forgotten.
    ///
    /// # Errors
    /// As [`Dedup::find`].
    pub(crate) fn find_since(&mut self, id: IdHash, cutoff: i64) -> Result<Option<u64>, ReadError> {
        match self.ring.find(id, cutoff) {
            None => self.find_in_pages(id, cutoff),
            found => Ok(found),
        }
    }

    fn find_in_pages(&mut self, id: IdHash, cutoff: i64) -> Result<Option<u64>, ReadError> {
        if self.pages.is_empty() {
            return Ok(None);
        }
        self.cover()?;
        let mut end = self.pages.len();
        for front in (0..self.fronts.len()).rev() {
            let start = end - self.fronts[front].pages;
            if self.fronts[front].filter.contains(id) {
                #[cfg(test)]
                if self.trust_filters {
                    return Ok(Some(0));
                }
                for at in (start..end).rev() {
                    if let Some(seq) = self.find_in_page(at, id, cutoff)? {
                        return Ok(Some(seq));
                    }
                }
            }
            end = start;
        }
        Ok(None)
    }

    fn find_in_page(
        &mut self,
        at: usize,
        id: IdHash,
        cutoff: i64,
    ) -> Result<Option<u64>, ReadError> {
        let page = &mut self.pages[at];
        let prints = page.prints.as_ref();
        if prints.is_some_and(|prints| !prints.contains(id)) {
            return Ok(None);
        }
        self.looks += 1;
        page.used = self.looks;
        let known = page.bytes.clone();
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let bytes = self.read(at)?;
                self.cached += bytes.len();
                self.pages[at].bytes = Some(bytes.clone());
                self.shrink();
                bytes
            }
        };
        Ok(self.pages[at].view(&bytes).find(id, cutoff))
    }

    /// A page from the journal.
    fn read(&self, at: usize) -> Result<Bytes, ReadError> {
        let page = &self.pages[at];
        let place = page.stored.unwrap_or_default();
        let missing = ReadError::Missing(place.file);
        let bytes = self.source.as_ref().ok_or(missing)?.read(place)?;
        if View::open(&bytes, page.count).is_none_or(|view| !view.is_sorted()) {
            return Err(ReadError::Damaged {
                file: place.file,
                offset: place.offset,
            });
        }
        Ok(bytes)
    }

    /// Brings pages behind a filter: new ones, and after a restart all of them, which reads each once.
    fn cover(&mut self) -> Result<(), ReadError> {
        while self.covered < self.pages.len() {
            let page = &self.pages[self.covered];
            let (count, in_memory) = (page.count as usize, page.bytes.clone());
            let bytes = match &in_memory {
                Some(bytes) => bytes.clone(),
                None => self.read(self.covered)?,
            };
            let view = page.view(&bytes);
            if self.fronts.back().is_none_or(|front| front.room < count) {
                let front = self.new_front(count);
                self.fronts.push_back(front);
            }
            let Some(front) = self.fronts.back_mut() else {
                break;
            };
            front.add(view);
            if in_memory.is_none() {
                self.pages[self.covered].prints = Some(Prints::of(view));
            }
            self.covered += 1;
        }
        Ok(())
    }

    /// A filter for a page of `count` ids and what comes after it. It takes over what the filters before it hold, from the newest
    /// on, as long as their pages are in memory.
    fn new_front(&mut self, count: usize) -> Front {
        let (least, most) = self.sizes.filter;
        let at_hand = |page: &Page| page.bytes.is_some();
        let mut start = self.covered;
        let mut taken = 0;
        while let Some(front) = self.fronts.back() {
            let pages = self.pages.range(start - front.pages..start);
            let ids: usize = pages.clone().map(|page| page.count as usize).sum();
            if taken + ids > self.sizes.takeover || !pages.clone().all(at_hand) {
                break;
            }
            taken += ids;
            start -= front.pages;
            // The old one goes first: at no moment are there two.
            self.fronts.pop_back();
        }
        let unstored = self.pages.iter().filter(|page| page.stored.is_none());
        let unstored: usize = unstored.map(|page| page.count as usize).sum();
        // Where most ids are in the journal there is memory left for a larger one, and fewer.
        let grown = if unstored * 2 <= self.paged { 2 } else { 1 };
        // The half of it at least stays free: each id is taken over once, on average.
        let room = (self.paged * grown).max(taken * 2).clamp(least, most);
        let room = room.max(taken + count);
        let mut new = Front {
            filter: Filter::new(room),
            pages: 0,
            room,
        };
        for page in self.pages.range(start..self.covered) {
            if let Some(bytes) = &page.bytes {
                new.add(page.view(bytes));
            }
        }
        new
    }

    /// Lets go of the stored pages that were not looked into for longest, until the rest fit the cache.
    fn shrink(&mut self) {
        while self.cached > self.sizes.cache {
            let stored = self.pages.iter_mut().filter(|page| page.stored.is_some());
            let stored = stored.filter(|page| page.bytes.is_some());
            let Some(page) = stored.min_by_key(|page| page.used) else {
                return;
            };
            let Some(bytes) = page.bytes.take() else {
                return;
            };
            self.cached -= bytes.len();
            if page.prints.is_none() {
                page.prints = Some(Prints::of(page.view(&bytes)));
            }
        }
    }

    /// Remembers an id that is not there.
    pub(crate) fn insert(&mut self, id: IdHash, seq: u64, now: Timestamp) {
        let time = millis(now.0).max(self.newest);
        self.newest = time;
        if self.ring.slot(id, seq, time).is_none() {
            self.put_away(self.ring.len());
        }
        if self.ring.len() == 0 {
            self.ring.base = Base { seq, time };
        }
        // With that many ids in pages the ring fills again, and again; with more of them a larger table is no burden, which
        // has room for ids that left and is made anew more rarely.
        self.ring.expected = match self.paged / self.sizes.ring {
            0 if self.paged * 2 < self.sizes.ring => 0,
            0..16 => self.sizes.ring,
            _ => self.sizes.ring * 2,
        };
        let slot = self.ring.slot(id, seq, time);
        self.ring
            .push(slot.expect("invariant: an empty ring takes what its base was made of"));
        if self.ring.len() >= self.sizes.ring {
            let (least, most) = self.sizes.page;
            self.put_away((self.len() / 32).clamp(least, most));
        }
    }

    /// Makes a page of the ring's oldest ids.
    fn put_away(&mut self, count: usize) {
        let base = self.ring.base;
        let slots = self.ring.take(count);
        let Some(newest) = slots.last().map(|slot| base.time_of(*slot)) else {
            return;
        };
        self.paged += slots.len();
        self.pages.push_back(Page {
            number: self.next_page,
            count: slots.len() as u32,
            newest,
            bytes: Some(page::build(base, slots)),
            stored: None,
            prints: None,
            used: self.looks,
        });
        self.next_page += 1;
    }

    /// A page is in the journal now, or somewhere else in it: it need not stay in memory. Pages that are gone are ignored.
    pub(crate) fn stored(&mut self, number: u64, at: Position) {
        let first = self.pages.front().map_or(u64::MAX, |page| page.number);
        let Some(index) = number.checked_sub(first) else {
            return;
        };
        let Some(page) = self.pages.get_mut(index as usize) else {
            return;
        };
        if page.stored.replace(at).is_none() {
            self.cached += page.bytes.as_ref().map_or(0, Bytes::len);
            self.shrink();
        }
    }

    /// Where pages are read from once they are stored.
    pub(crate) fn read_from(&mut self, source: Arc<dyn PageSource>) {
        self.source = Some(source);
    }

    /// Where in the journal pages lie that are still needed.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        self.pages.iter().filter_map(|page| page.stored)
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let pages = self.pages.iter().map(|page| {
            let prints = page.prints.as_ref().map_or(0, Prints::memory);
            page.bytes.as_ref().map_or(0, Bytes::len) + prints
        });
        let fronts = self.fronts.iter().map(|front| front.filter.memory());
        size_of::<Self>()
            + self.ring.memory()
            + pages.sum::<usize>()
            + fronts.sum::<usize>()
            + self.pages.capacity() * size_of::<Page>()
            + self.fronts.capacity() * size_of::<Front>()
    }
}
