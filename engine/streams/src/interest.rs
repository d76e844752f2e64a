//! Which consumers a subject is for, and which of them wait: a message wakes those it is for, and an idle or waiting
//! consumer costs a publish of other subjects nothing, however many there are.
//!
//! The filters are replicated state, because interest retention decides by them; who waits is the leader's own.

use std::collections::{HashMap, HashSet};

use millstream_router::{RouteCache, Router};

/// What a consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A message of its filters.
    Message,
    /// That something it was sent is acknowledged, or gone: it has had as many messages as it may.
    Room,
}

#[derive(Debug)]
struct Interested {
    number: u32,
    filters: Vec<Box<[u8]>>,
}

/// The filters of a stream's consumers.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    router: Router<u32>,
    cache: RouteCache<u32>,
    consumers: HashMap<String, Interested>,
    /// Numbers are never given twice, so that an old one wakes nobody else.
    last_number: u32,
    for_message: HashSet<u32, foldhash::fast::RandomState>,
    for_room: HashSet<u32, foldhash::fast::RandomState>,
    woken: Vec<u32>,
}

impl Interest {
    /// Takes a consumer's filters, in place of those it had; none are every subject.
    pub(crate) fn set<'a>(&mut self, name: &str, filters: impl Iterator<Item = &'a str>) {
        let mut filters: Vec<Box<[u8]>> = filters.map(|filter| filter.as_bytes().into()).collect();
        if filters.is_empty() {
            filters.push(b">".as_slice().into());
        }
        // The tree keeps one entry per number and filter.
        filters.sort();
        filters.dedup();
        if let Some(known) = self.consumers.get(name) {
            if known.filters == filters {
                return;
            }
            self.remove(name);
        }
        self.last_number += 1;
        let number = self.last_number;
        for filter in &filters {
            self.router.insert(filter, None, u64::from(number), number);
        }
        let interested = Interested { number, filters };
        self.consumers.insert(name.to_owned(), interested);
    }

    /// Forgets a consumer, and wakes it.
    pub(crate) fn remove(&mut self, name: &str) {
        let Some(Interested { number, filters }) = self.consumers.remove(name) else {
            return;
        };
        for filter in &filters {
            self.router.remove(filter, None, u64::from(number));
        }
        self.wake_number(number);
    }

    /// Whether a consumer's filters match a subject.
    pub(crate) fn has(&mut self, subject: &[u8]) -> bool {
        !self.cache.get(&self.router, subject).is_empty()
    }

    /// A consumer waits; answers the number it is woken by, once.
    pub(crate) fn wait(&mut self, name: &str, what: WaitsFor) -> Option<u32> {
        let number = self.consumers.get(name)?.number;
        let (waits, does_not) = match what {
            WaitsFor::Message => (&mut self.for_message, &mut self.for_room),
            WaitsFor::Room => (&mut self.for_room, &mut self.for_message),
        };
        waits.insert(number);
        does_not.remove(&number);
        Some(number)
    }

    /// A message was stored: wakes who waits for one like it.
    pub(crate) fn stored(&mut self, subject: &[u8]) {
        if self.for_message.is_empty() {
            return;
        }
        for number in &self.cache.get(&self.router, subject).plain {
            if self.for_message.remove(number) {
                self.woken.push(*number);
            }
        }
    }

    /// Whether anybody waits for room.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.for_room.is_empty()
    }

    /// A consumer may have room for more: wakes it if it waits for that.
    pub(crate) fn made_room(&mut self, name: &str) {
        if let Some(Interested { number, .. }) = self.consumers.get(name)
            && self.for_room.remove(number)
        {
            self.woken.push(*number);
        }
    }

    /// All of them may have room.
    pub(crate) fn made_all_room(&mut self) {
        self.woken.extend(self.for_room.drain());
    }

    /// Something about a consumer changed: wakes it whatever it waits for.
    pub(crate) fn wake(&mut self, name: &str) {
        if let Some(Interested { number, .. }) = self.consumers.get(name) {
            self.wake_number(*number);
        }
    }

    fn wake_number(&mut self, number: u32) {
        if self.for_message.remove(&number) | self.for_room.remove(&number) {
            self.woken.push(number);
        }
    }

    /// Whether somebody was woken since [`Self::take_woken`].
    pub(crate) fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// The numbers of those that were woken since the last call.
    pub(crate) fn take_woken(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.woken)
    }
}

#[cfg(test)]
mod tests;
