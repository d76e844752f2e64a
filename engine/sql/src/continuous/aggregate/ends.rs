//! When groups end: by a time of their own that only grows.

use std::collections::BTreeMap;

/// Times of groups, and the groups by time.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Of each group; `None`: there is no such group.
    at: Vec<Option<i64>>,
    /// May name groups that are gone or have another time by now.
    queue: BTreeMap<i64, Vec<usize>>,
}

impl Ends {
    pub(super) fn grow(&mut self, slots: usize) {
        self.at.resize(slots, None);
    }

    /// The time of a group, which was another one before, or none.
    pub(super) fn set(&mut self, slot: usize, time: i64) {
        if self.at[slot] != Some(time) {
            self.at[slot] = Some(time);
            self.queue.entry(time).or_default().push(slot);
        }
    }

    pub(super) fn get(&self, slot: usize) -> Option<i64> {
        self.at[slot]
    }

    /// Forgets a group.
    pub(super) fn clear(&mut self, slot: usize) {
        self.at[slot] = None;
    }

    /// Takes the groups with a time below `floor`, earliest first.
    pub(super) fn below(&mut self, floor: i64) -> Vec<usize> {
        let mut ended = Vec::new();
        while let Some(first) = self.queue.first_entry()
            && *first.key() < floor
        {
            let (time, slots) = first.remove_entry();
            for slot in slots {
                if self.at[slot] == Some(time) {
                    ended.push(slot);
                    self.at[slot] = None;
                }
            }
        }
        ended
    }

    /// The earliest time.
    pub(super) fn first(&self) -> Option<i64> {
        self.queue.first_key_value().map(|(time, _)| *time)
    }
}
