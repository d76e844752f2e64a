//! Which consumers a subject is for, and which of them wait: a message wakes those it is for, and an idle or waiting
//! consumer costs a publish of other subjects nothing, however many there are.
//!
//! The filters are replicated state, because interest retention decides by them; who waits is the leader's own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use millstream_router::{RouteCache, Router};

use crate::consumer::Consumer;

/// What a consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A message of its filters.
    Message,
    /// That something it was sent is acknowledged, or gone: it has had as many messages as it may.
    Room,
}

/// A consumer as the tree names it.
#[derive(Debug)]
struct Tag {
    number: u32,
    name: Box<str>,
}

#[derive(Debug)]
struct Interested {
    tag: Arc<Tag>,
    filters: Vec<Box<[u8]>>,
}

/// The filters of a stream's consumers.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    router: Router<Arc<Tag>>,
    cache: RouteCache<Arc<Tag>>,
    consumers: HashMap<String, Interested>,
    /// Numbers are never given twice, so that an old one wakes nobody else.
    last_number: u32,
    for_message: HashSet<u32, foldhash::fast::RandomState>,
    for_room: HashSet<u32, foldhash::fast::RandomState>,
    woken: Vec<u32>,
    /// Consumers whose filters were others once: what they were sent then may match none of today's.
    changed: Vec<Arc<Tag>>,
    /// Removals told since the floor was looked for.
    told: usize,
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
        let known = self.consumers.get(name);
        if known.is_some_and(|known| known.filters == filters) {
            return;
        }
        let changed = known.is_some();
        self.remove(name);
        self.last_number += 1;
        let tag = Arc::new(Tag {
            number: self.last_number,
            name: name.into(),
        });
        for filter in &filters {
            let id = u64::from(tag.number);
            self.router.insert(filter, None, id, Arc::clone(&tag));
        }
        if changed {
            self.changed.push(Arc::clone(&tag));
        }
        self.consumers
            .insert(name.to_owned(), Interested { tag, filters });
    }

    /// Forgets a consumer, and wakes it.
    pub(crate) fn remove(&mut self, name: &str) {
        let Some(Interested { tag, filters }) = self.consumers.remove(name) else {
            return;
        };
        for filter in &filters {
            self.router.remove(filter, None, u64::from(tag.number));
        }
        self.changed.retain(|other| other.number != tag.number);
        self.wake_number(tag.number);
    }

    /// Whether a consumer's filters match a subject.
    pub(crate) fn has(&mut self, subject: &[u8]) -> bool {
        !self.cache.get(&self.router, subject).is_empty()
    }

    /// A consumer waits; answers the number it is woken by, once.
    pub(crate) fn wait(&mut self, name: &str, what: WaitsFor) -> Option<u32> {
        let number = self.consumers.get(name)?.tag.number;
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
        for tag in &self.cache.get(&self.router, subject).plain {
            if self.for_message.remove(&tag.number) {
                self.woken.push(tag.number);
            }
        }
    }

    /// A message is gone: calls `tell` with each consumer that may have counted it or sent it.
    pub(crate) fn removed(
        &mut self,
        consumers: &mut BTreeMap<String, Consumer>,
        subject: &[u8],
        mut tell: impl FnMut(&mut Consumer),
    ) {
        let now = &self.cache.get(&self.router, subject).plain;
        for tag in now.iter().chain(&self.changed) {
            if let Some(consumer) = consumers.get_mut(&*tag.name) {
                tell(consumer);
                if self.for_room.contains(&tag.number) && !consumer.is_full() {
                    self.for_room.remove(&tag.number);
                    self.woken.push(tag.number);
                }
            }
        }
        self.told += 1;
    }

    /// Whether it is time to look for the floor again, below which removals are told to nobody: that asks every consumer,
    /// so it is done so seldom that it does not count.
    pub(crate) fn floor_is_due(&mut self) -> bool {
        let due = self.told >= 16 * self.consumers.len();
        if due {
            self.told = 0;
        }
        due
    }

    /// A consumer may have room for more: wakes it if it waits for that.
    pub(crate) fn made_room(&mut self, name: &str) {
        if let Some(Interested { tag, .. }) = self.consumers.get(name)
            && self.for_room.remove(&tag.number)
        {
            self.woken.push(tag.number);
        }
    }

    /// All of them may have room.
    pub(crate) fn made_all_room(&mut self) {
        self.woken.extend(self.for_room.drain());
    }

    /// Something about a consumer changed: wakes it whatever it waits for.
    pub(crate) fn wake(&mut self, name: &str) {
        if let Some(Interested { tag, .. }) = self.consumers.get(name) {
            self.wake_number(tag.number);
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
