//! When rows can be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use crate::continuous::join::Expiry;
use crate::continuous::time::{Clock, Marks};

/// The deadline of a row that never matches.
pub(super) const NEVER: i64 = i64::MIN;

/// So many notes are never too many.
const CROWDED: u64 = 4096;

/// Rows by the time at which no more partners of theirs can come, for one clock.
#[derive(Debug)]
pub(super) struct Deadlines {
    pub(super) clock: Clock,
    rows: BTreeSet<(i64, u32)>,
}

impl Deadlines {
    /// One queue for each clock that says when rows end.
    pub(super) fn all(expiry: &[Expiry]) -> Vec<Self> {
        let mut queues: Vec<Self> = Vec::new();
        for expiry in expiry {
            let clock = expiry.bound.clock;
            if queues.iter().all(|queue| queue.clock != clock) {
                let rows = BTreeSet::new();
                queues.push(Self { clock, rows });
            }
        }
        queues
    }

    pub(super) fn insert(&mut self, deadline: i64, slot: u32) {
        self.rows.insert((deadline, slot));
    }

    pub(super) fn remove(&mut self, deadline: i64, slot: u32) {
        self.rows.remove(&(deadline, slot));
    }

    /// The first one that is not [`NEVER`].
    pub(super) fn first(&self) -> Option<i64> {
        let mut later = self.rows.range((NEVER + 1, 0)..);
        later.next().map(|(deadline, _)| *deadline)
    }

    /// How far its time is.
    pub(super) fn mark(&self, marks: &Marks) -> i64 {
        match self.clock {
            Clock::Event => marks.event,
            Clock::Processing => marks.processing,
        }
    }

    /// The rows whose time has passed.
    pub(super) fn passed(&self, marks: &Marks) -> impl Iterator<Item = u32> {
        let mark = self.mark(marks);
        self.rows
            .iter()
            .take_while(move |(deadline, _)| *deadline == NEVER || *deadline < mark)
            .map(|(_, slot)| *slot)
    }
}

/// When a row ends: `value` plus slack is below a floor from when the clock's mark is above this.
pub(super) fn deadline(value: i64, expiry: &Expiry) -> i64 {
    let exact = i128::from(value) + i128::from(expiry.slack) - i128::from(expiry.bound.offset);
    // The last mark of all ends every row.
    exact.clamp(i128::from(NEVER) + 1, i128::from(i64::MAX) - 1) as i64
}

/// Rows by when they were touched, in buckets of a sixteenth of their time to live.
#[derive(Debug)]
pub(super) struct Idle {
    ttl: i64,
    width: i64,
    /// A row may be in several: the one of its last touch counts.
    buckets: BTreeMap<i64, Vec<u32>>,
    noted: u64,
}

impl Idle {
    pub(super) fn new(ttl: i64) -> Self {
        Self {
            ttl,
            width: (ttl / 16).max(1),
            buckets: BTreeMap::new(),
            noted: 0,
        }
    }

    pub(super) fn bucket(&self, touched: i64) -> i64 {
        touched.div_euclid(self.width)
    }

    pub(super) fn note(&mut self, touched: i64, slot: u32) {
        let bucket = self.bucket(touched);
        self.buckets.entry(bucket).or_default().push(slot);
        self.noted += 1;
    }

    /// Whether most of what is noted is of rows that are elsewhere by now.
    pub(super) fn is_crowded(&self, rows: u64) -> bool {
        self.noted > CROWDED + 32 * rows
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
        self.noted = 0;
    }

    /// When the rows that were touched with this one are forgotten.
    pub(super) fn due_of(&self, touched: i64) -> i64 {
        self.due(self.bucket(touched))
    }

    /// When the rows of a bucket are forgotten.
    fn due(&self, bucket: i64) -> i64 {
        let end = bucket.saturating_add(1).saturating_mul(self.width);
        end.saturating_add(self.ttl)
    }

    pub(super) fn next(&self) -> Option<i64> {
        self.buckets.keys().next().map(|bucket| self.due(*bucket))
    }

    /// Takes the next bucket that is due.
    pub(super) fn take(&mut self, now: i64) -> Option<(i64, Vec<u32>)> {
        let first = *self.buckets.keys().next()?;
        if self.due(first) > now {
            return None;
        }
        let taken = self.buckets.pop_first();
        self.noted -= taken.as_ref().map_or(0, |(_, slots)| slots.len() as u64);
        taken
    }
}
