//! A step of a join.

use arrow::array::UInt32Array;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, Result, internal_err, plan_err};
use millstream_pipeline::BrokenState;

use super::ends::Deadlines;
use super::probe::{MOST, Pairs, Probe, Refused, batch, delta};
use super::side::{Arrival, Arrived, Kept, Side};
use super::state::{NewRow, Store};
use super::table::{NONE, Table};
use super::{JoinPlan, On, SidePlan};
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::Scratch;

/// Which rows of a side are told by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Alone {
    /// Those with a match.
    pub(super) matched: bool,
    /// Those without.
    pub(super) unmatched: bool,
}

impl Alone {
    pub(super) fn any(self) -> bool {
        self.matched || self.unmatched
    }
}

/// What a kind of join tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Rows of both sides together.
    pub(super) pairs: bool,
    pub(super) alone: [Alone; 2],
    /// Whether a column says which of the rows that stand alone have a match.
    pub(super) mark: bool,
}

impl Shape {
    fn new(kind: JoinType) -> Self {
        let none = Alone::default();
        let unmatched = Alone {
            unmatched: true,
            ..none
        };
        let matched = Alone {
            matched: true,
            ..none
        };
        let both = Alone {
            matched: true,
            unmatched: true,
        };
        let (pairs, alone) = match kind {
            JoinType::Inner => (true, [none, none]),
            JoinType::Left => (true, [unmatched, none]),
            JoinType::Right => (true, [none, unmatched]),
            JoinType::Full => (true, [unmatched, unmatched]),
            JoinType::LeftSemi => (false, [matched, none]),
            JoinType::RightSemi => (false, [none, matched]),
            JoinType::LeftAnti => (false, [unmatched, none]),
            JoinType::RightAnti => (false, [none, unmatched]),
            JoinType::LeftMark => (false, [both, none]),
            JoinType::RightMark => (false, [none, both]),
        };
        let mark = matches!(kind, JoinType::LeftMark | JoinType::RightMark);
        Self { pairs, alone, mark }
    }
}

/// What a step made.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) deltas: Vec<Delta>,
    rows: usize,
}

impl Out {
    pub(super) fn push(&mut self, delta: Delta) {
        if !delta.is_empty() {
            self.rows += delta.len();
            self.deltas.push(delta);
        }
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.rows > MOST
    }
}

/// A join with its state.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) shape: Shape,
    pub(super) sides: [Side; 2],
    pub(super) store: Store,
    probe: Probe,
    pub(super) schemas: [SchemaRef; 2],
    pub(super) output: SchemaRef,
    null_equals_null: bool,
    /// `NOT IN`: the key that is NULL.
    pub(super) null_aware: Option<Vec<u8>>,
    pub(super) waits: bool,
    /// Whether a row that has a match has one for ever, and need not be kept for what it is told for.
    pub(super) settled: bool,
    ttl: bool,
    /// Whether there is a join key.
    keyed: bool,
    /// The condition, for people.
    name: String,
}

impl Join {
    pub(super) fn new(plan: &JoinPlan) -> Result<Self> {
        check(plan)?;
        let shape = Shape::new(plan.kind);
        let probes = shape.pairs || plan.filter.is_some();
        let merges =
            |which: usize| plan.sides[which].updating || !(probes || shape.alone[which].any());
        // What is in a set of values has no end while NULL may come.
        let expiry = |which: usize| {
            let own: &SidePlan = &plan.sides[which];
            if plan.null_aware {
                &[]
            } else {
                own.expiry.as_slice()
            }
        };
        let side = |which: usize| {
            let kept = Kept {
                whole: probes || shape.alone[which].any(),
                merges: merges(which),
                null_equals_null: plan.null_equals_null,
            };
            Side::new(
                which,
                &plan.sides[which].schema,
                &plan.on,
                kept,
                expiry(which),
            )
        };
        let table = |which: usize| {
            // A NULL in a set of values counts for every row: it is never forgotten.
            let ttl = plan.ttl.filter(|_| !(plan.null_aware && which == 1));
            Table::new(merges(which), Deadlines::all(expiry(which)), ttl)
        };
        let sides = [side(0)?, side(1)?];
        let schemas = [&plan.sides[0].schema, &plan.sides[1].schema];
        Ok(Self {
            shape,
            store: Store::new([table(0), table(1)]),
            probe: Probe::new(schemas[0], schemas[1], plan.filter.as_ref()),
            schemas: schemas.map(SchemaRef::clone),
            output: SchemaRef::clone(&plan.output),
            null_equals_null: plan.null_equals_null,
            null_aware: plan.null_aware.then(|| sides[0].keys.nulls()).transpose()?,
            sides,
            waits: plan.waits,
            settled: !shape.pairs && plan.sides.iter().all(|side| !side.updating),
            ttl: plan.ttl.is_some(),
            keyed: !plan.on.is_empty(),
            name: name(&plan.on),
        })
    }

    /// Whether matches are counted by row; else all rows of a key match all of the other side's.
    pub(super) fn counts(&self) -> bool {
        self.probe.filters()
    }

    /// Joins rows that came with the rows of the other side, and keeps them.
    fn take(
        &mut self,
        side: usize,
        arrived: &Arrived,
        step: &mut Step<'_>,
        out: &mut Out,
    ) -> Result<()> {
        let probes = self.shape.pairs || self.counts();
        let mut pairs = Pairs::default();
        let mut refused = Refused::default();
        let mut lonely: Vec<Arrival> = Vec::new();
        for arrival in &arrived.arrivals {
            let matchless = arrived.has_null(arrival.row) && !self.null_equals_null;
            if matchless && self.null_aware.is_none() {
                if self.shape.alone[side].unmatched && !arrival.late {
                    lonely.push(*arrival);
                }
                continue;
            }
            let Some((slot, new, diff)) = self.keep(side, arrived, arrival, step.now) else {
                continue;
            };
            if !probes {
                continue;
            }
            let key = self.store.sides[side].slot(slot).key;
            let new = if new { slot } else { NONE };
            let mut next = self.store.head(1 - side, key);
            while next != NONE {
                let kept = self.store.sides[1 - side].slot(next);
                let behind = kept.behind;
                if kept.count != 0 {
                    pairs.push(arrival.row, next, new, diff);
                }
                next = behind;
                if pairs.is_full() {
                    self.join(
                        side,
                        arrived,
                        &mut pairs,
                        &mut refused,
                        (&mut *step, &mut *out),
                    )?;
                    if out.is_too_much() {
                        return Ok(());
                    }
                }
            }
        }
        self.join(side, arrived, &mut pairs, &mut refused, (step, out))?;
        self.lonely(side, arrived, &lonely, out)
    }

    /// Adds a row to the state; answers where it is, whether it is new, and how often it was added. `None`: it is taken back but
    /// was never there.
    fn keep(
        &mut self,
        side: usize,
        arrived: &Arrived,
        arrival: &Arrival,
        now: i64,
    ) -> Option<(u32, bool, i64)> {
        let new = NewRow {
            deadlines: arrived.deadlines(arrival.row),
            key: arrived.keys.row(arrival.row),
            row: arrived.rows.row(arrival.row),
        };
        let mut diff = arrival.diff;
        if diff < 0 && (arrival.late || self.ttl) {
            let table = &self.store.sides[side];
            let known = table.find(new.key, new.row)?;
            diff = diff.max(-table.slot(known).count.max(0));
            if diff == 0 {
                return None;
            }
        }
        let (slot, is_new) = self.store.add(side, &new, diff, now);
        Some((slot, is_new, diff))
    }

    /// Makes pairs, tells those that match and counts them.
    fn join(
        &mut self,
        side: usize,
        arrived: &Arrived,
        pairs: &mut Pairs,
        refused: &mut Refused,
        (step, out): (&mut Step<'_>, &mut Out),
    ) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let other = 1 - side;
        let theirs = (&self.sides[other], &self.store.sides[other]);
        let own = (side, &arrived.delta);
        let made = self.probe.make(pairs, own, theirs, refused, step)?;
        let counted = |side: usize| self.probe.filters() && self.shape.alone[side].any();
        let (counts_own, counts_theirs) = (counted(side), counted(other));
        let mut diffs = Vec::with_capacity(pairs.len());
        for pair in (0..pairs.len()).filter(|pair| made.is_match(*pair)) {
            let (kept, new, diff) = (pairs.kept[pair], pairs.new[pair], pairs.diffs[pair]);
            let count = self.store.sides[other].slot(kept).count;
            diffs.push(diff.saturating_mul(count));
            if counts_own && new != NONE {
                self.store.add_matches(side, new, count);
            }
            if counts_theirs {
                self.store.add_matches(other, kept, diff);
            }
        }
        if self.shape.pairs && !diffs.is_empty() {
            let rows = batch(&self.output, made.matching()?, diffs.len())?;
            out.push(delta(rows, diffs));
        }
        pairs.clear();
        Ok(())
    }

    /// Tells rows that never have a match.
    fn lonely(
        &self,
        side: usize,
        arrived: &Arrived,
        rows: &[Arrival],
        out: &mut Out,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let diffs: Vec<i64> = rows.iter().map(|arrival| arrival.diff).collect();
        let rows: UInt32Array = rows.iter().map(|arrival| arrival.row as u32).collect();
        let columns = arrived.delta.batch.columns().iter();
        let columns = columns.map(|column| Ok(take(column, &rows, None)?));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = self.stand_alone(side, false, columns, diffs.len())?;
        out.push(delta(rows, diffs));
        Ok(())
    }

    fn all(&mut self, inputs: &[Input; 2], step: &mut Step<'_>, out: &mut Out) -> Result<()> {
        self.store.begin();
        let before = self.not_in();
        for (side, input) in inputs.iter().enumerate() {
            for arrived in self.sides[side].arrive(input, step)? {
                self.store.admit(arrived.keys())?;
                self.take(side, &arrived, step, out)?;
                if out.is_too_much() {
                    return Ok(());
                }
            }
        }
        self.settle(before, [inputs[1].after, inputs[0].after], step.now, out)?;
        self.store.end(step);
        Ok(())
    }
}

impl Operator for Join {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let Ok(inputs) = <[Input; 2]>::try_from(inputs) else {
            return internal_err!("a join has two inputs");
        };
        let mut out = Out::default();
        self.all(&inputs, step, &mut out)?;
        if out.is_too_much() {
            step.effects.failed = Some(too_much(&self.name));
            return Ok(Vec::new());
        }
        Ok(out.deltas)
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        self.store.restore(key, value)
    }

    fn restored(&mut self) -> Result<()> {
        self.store.gather()
    }

    fn size(&self) -> (u64, u64) {
        self.store.size()
    }

    fn stays(&self) -> bool {
        // Without a key there is one group, and `NOT IN` looks at all rows when a NULL comes.
        !self.keyed || self.null_aware.is_some()
    }

    fn spill_to(&mut self, scratch: Scratch) {
        self.store.cold.set(scratch);
    }

    fn evict(&mut self, bytes: u64) -> Result<()> {
        self.store.evict(bytes)
    }

    fn spilled(&self) -> (u64, u64) {
        self.store.cold.size()
    }

    fn next_wake(&self) -> Option<i64> {
        self.store.next_wake(self.waits)
    }
}

/// What cannot be done.
fn check(plan: &JoinPlan) -> Result<()> {
    for (left, right) in &plan.on {
        let types = [
            left.data_type(&plan.sides[0].schema)?,
            right.data_type(&plan.sides[1].schema)?,
        ];
        if types[0] != types[1] {
            return plan_err!(
                "`{left}` is of type {} and `{right}` of type {}; cast one to join them",
                types[0],
                types[1]
            );
        }
    }
    if !plan.null_aware {
        return Ok(());
    }
    if plan.on.len() != 1 || plan.filter.is_some() || plan.kind != JoinType::LeftAnti {
        return plan_err!(
            "`NOT IN` of a query that depends on the outer row cannot be kept up to date; write `NOT EXISTS`"
        );
    }
    if plan.waits {
        return plan_err!(
            "`NOT IN` is never final, for a NULL may come; write `NOT EXISTS` or `EMIT ON UPDATE`"
        );
    }
    Ok(())
}

/// A join, for people.
pub(super) fn name(on: &On) -> String {
    if on.is_empty() {
        return "the join of every row with every other".to_owned();
    }
    let pairs: Vec<String> = on.iter().map(|(l, r)| format!("{l} = {r}")).collect();
    format!("the join on `{}`", pairs.join(" AND "))
}

pub(super) fn too_much(name: &str) -> String {
    format!(
        "{name} makes more than {} million rows at once: add a condition, or join by a key that fewer rows share",
        MOST / 1_000_000
    )
}
