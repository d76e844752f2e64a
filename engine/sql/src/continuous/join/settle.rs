//! How a step ends: rows that stand alone are told, and rows that find nothing more are forgotten.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::operator::{Join, Out};
use super::probe::{CHUNK, batch, delta};
use super::table::{Change, NONE};
use crate::continuous::time::Marks;

/// What `NOT IN` has to know of the right side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotIn {
    /// The NULL key.
    key: Option<u32>,
    /// How many rows are NULL.
    nulls: i64,
    /// How many rows there are.
    all: i64,
}

/// A row and by how much it changes what is told.
type Told = Vec<(u32, i64)>;

impl Join {
    /// What is known now of the right side of `NOT IN`; `None` for any other join.
    pub(super) fn not_in(&self) -> Option<NotIn> {
        let key = self.store.find(self.null_aware.as_ref()?);
        Some(NotIn {
            key,
            nulls: key.map_or(0, |key| self.store.key(key).totals[1]),
            all: self.store.count(1),
        })
    }

    /// How many rows match one of this key, as far as they are counted by key.
    fn by_key(&self, side: usize, key: u32, totals: [i64; 2], set: Option<NotIn>) -> i64 {
        match set {
            _ if self.counts() => 0,
            Some(set) if set.key == Some(key) => set.all,
            Some(set) => totals[1 - side] + set.nulls,
            None => totals[1 - side],
        }
    }

    pub(super) fn settle(
        &mut self,
        before: Option<NotIn>,
        others: [Marks; 2],
        now: i64,
        out: &mut Out,
    ) -> Result<()> {
        let mut matched: [Vec<u32>; 2] = Default::default();
        for (side, final_rows) in matched.iter_mut().enumerate() {
            if self.shape.alone[side].any() {
                *final_rows = self.tell(side, before, out)?;
            }
        }
        // Rows that were taken back, and those that have told all they have to tell.
        let mut gone: [Vec<u32>; 2] = Default::default();
        for (side, gone) in gone.iter_mut().enumerate() {
            let changes = self.store.sides[side].changes.iter();
            let changed = changes.map(|change| change.slot);
            gone.extend(changed.filter(|slot| self.store.sides[side].slot(*slot).count == 0));
            gone.append(&mut matched[side]);
        }
        self.store.remove([&gone[0], &gone[1]], [false; 2]);
        loop {
            // What has left memory comes back some keys at a time, each with all of its rows.
            let some = self.store.admit_due(&others, now)?;
            self.expire(others, now, out)?;
            if !some || out.is_too_much() {
                return Ok(());
            }
        }
    }

    /// Tells how rows that stand alone changed; answers those of which nothing more is to be told.
    fn tell(&self, side: usize, before: Option<NotIn>, out: &mut Out) -> Result<Vec<u32>> {
        let after = self.not_in();
        // A NULL key that came or went is the same key.
        let before = before.map(|set| NotIn {
            key: after.and_then(|after| after.key).or(set.key),
            ..set
        });
        let (mut matched, mut unmatched, mut done) = (Told::new(), Told::new(), Vec::new());
        let table = &self.store.sides[side];
        let mut look = |change: Change| {
            let row = table.slot(change.slot);
            let totals = self.store.key(row.key).totals;
            let old_totals = self.store.old_totals(row.key);
            let old = change.matches + self.by_key(side, row.key, old_totals, before);
            let new = row.matches + self.by_key(side, row.key, totals, after);
            let if_true = |is: bool, count: i64| if is { count } else { 0 };
            let more = if_true(new > 0, row.count) - if_true(old > 0, change.count);
            if more != 0 && self.shape.alone[side].matched {
                matched.push((change.slot, more));
            }
            let more = if_true(new <= 0, row.count) - if_true(old <= 0, change.count);
            if more != 0 && self.shape.alone[side].unmatched && !self.waits {
                unmatched.push((change.slot, more));
            }
            if self.settled && new > 0 && row.count != 0 {
                done.push(change.slot);
            }
        };
        table.changes.iter().for_each(|change| look(*change));
        for slot in self.with_other_matches(side, before, after) {
            let row = table.slot(slot);
            look(Change {
                slot,
                count: row.count,
                matches: row.matches,
            });
        }
        self.tell_all(side, true, &matched, out)?;
        self.tell_all(side, false, &unmatched, out)?;
        Ok(done)
    }

    /// Rows that did not change themselves, but whose key's matches came or went.
    fn with_other_matches(
        &self,
        side: usize,
        before: Option<NotIn>,
        after: Option<NotIn>,
    ) -> Vec<u32> {
        let table = &self.store.sides[side];
        if self.counts() {
            return Vec::new();
        }
        let flips = |old: i64, new: i64| (old > 0) != (new > 0);
        if let (Some(before), Some(after)) = (before, after)
            && (flips(before.nulls, after.nulls) || flips(before.all, after.all))
        {
            let all = (0..table.slots.len() as u32).filter(|slot| {
                let row = table.slot(*slot);
                row.key != NONE && row.change == NONE
            });
            return all.collect();
        }
        let flipped = self.store.changes.iter().filter(|change| {
            let now = self.store.key(change.key).totals;
            let (old, new) = (change.totals[1 - side], now[1 - side]);
            // A row may have matches of its own that were forgotten, and one of these may be taken back.
            old != new && old.min(new) <= 0
        });
        let rows = flipped.flat_map(|change| self.store.rows(side, change.key));
        rows.filter(|slot| table.slot(*slot).change == NONE)
            .collect()
    }

    /// Forgets the rows that no later row can match, and those that nothing touched for too long. When rows without a match wait,
    /// those that end are told.
    fn expire(&mut self, others: [Marks; 2], now: i64, out: &mut Out) -> Result<()> {
        let mut gone: [Vec<u32>; 2] = Default::default();
        for side in 0..2 {
            let table = &mut self.store.sides[side];
            let mut passed: Vec<u32> = Vec::new();
            for queue in &table.queues {
                passed.extend(queue.passed(&others[side]));
            }
            let idle = table.idle(now);
            unique(&mut passed);
            if self.waits && self.shape.alone[side].unmatched {
                let alone = passed.iter().filter_map(|slot| {
                    let row = self.store.sides[side].slot(*slot);
                    let totals = self.store.key(row.key).totals;
                    let matches = row.matches + self.by_key(side, row.key, totals, None);
                    (matches <= 0).then_some((*slot, row.count))
                });
                let alone: Told = alone.collect();
                self.tell_all(side, false, &alone, out)?;
            }
            gone[side] = passed;
            gone[side].extend(idle);
            unique(&mut gone[side]);
        }
        let keeps = [0, 1].map(|side| self.shape.alone[side].any() && !self.counts());
        self.store.remove([&gone[0], &gone[1]], keeps);
        Ok(())
    }

    /// Tells rows of a side by themselves.
    fn tell_all(&self, side: usize, matched: bool, rows: &Told, out: &mut Out) -> Result<()> {
        for rows in rows.chunks(CHUNK) {
            if out.is_too_much() {
                break;
            }
            let table = &self.store.sides[side];
            let bytes = rows.iter().map(|(slot, _)| table.row(*slot));
            let columns = self.sides[side].decode(bytes)?;
            let batch = self.stand_alone(side, matched, columns, rows.len())?;
            let diffs = rows.iter().map(|(_, diff)| *diff).collect();
            out.push(delta(batch, diffs));
        }
        Ok(())
    }

    /// Rows of a side as results: with NULLs for the other side, or with whether they match.
    pub(super) fn stand_alone(
        &self,
        side: usize,
        matched: bool,
        mut columns: Vec<ArrayRef>,
        count: usize,
    ) -> Result<RecordBatch> {
        if self.shape.mark {
            columns.push(Arc::new(BooleanArray::from(vec![matched; count])));
        }
        if self.shape.pairs {
            let fields = self.schemas[1 - side].fields().iter();
            let nulls: Vec<ArrayRef> = fields
                .map(|field| new_null_array(field.data_type(), count))
                .collect();
            columns = match side {
                0 => [columns, nulls].concat(),
                _ => [nulls, columns].concat(),
            };
        }
        batch(&self.output, columns, count)
    }
}

fn unique(slots: &mut Vec<u32>) {
    slots.sort_unstable();
    slots.dedup();
}
