//! Partitions of which a step evaluates no more rows than it touches. State: lines, as `store` keeps them.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use millstream_pipeline::BrokenState;

use super::Made;
use super::again::{Again, Carries, Piece, Retold};
use super::ends::Ends;
use super::evaluate::{Evaluated, Evaluator};
use super::lines::Line;
use super::plan::OverPlan;
use super::reach::Look;
use super::store::{Change, Store};
use super::stretch::{Spot, Stretch};
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::{caught, each_evaluated, in_time, times};

/// About how many rows are evaluated at once.
const MANY: usize = 8192;

pub(super) struct Incremental {
    plan: OverPlan,
    look: Look,
    evaluator: Evaluator,
    carries: Carries,
    store: Store,
    ends: Ends,
    /// Partitions that were put back since the last step.
    restored: Vec<usize>,
}

impl fmt::Debug for Incremental {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incremental").finish_non_exhaustive()
    }
}

/// A partition that changed in a step.
struct Work {
    slot: usize,
    stretches: Vec<Stretch>,
    gone: Vec<Line>,
    came: Vec<Change>,
}

/// A row and what is told of it.
struct Row {
    line: Line,
    answers: Box<[u8]>,
}

impl Incremental {
    pub(super) fn new(plan: OverPlan, look: Look) -> Result<Self> {
        Ok(Self {
            evaluator: Evaluator::new(&plan)?,
            carries: Carries::new(&plan)?,
            store: Store::new(plan.config.ttl),
            ends: Ends::of(&plan, &look),
            restored: Vec::new(),
            look,
            plan,
        })
    }

    /// How many rows were evaluated.
    #[cfg(test)]
    pub(super) fn seen(&self) -> usize {
        self.evaluator.seen()
    }

    /// Notes how rows change their partitions; they are those of the delta of this number.
    fn take(
        &mut self,
        (number, delta): (usize, &Delta),
        evaluated: &Evaluated,
        now: i64,
    ) -> Result<()> {
        let rows = self.evaluator.encode(&delta.batch)?;
        let ends = match self.plan.config.close {
            Some((column, _)) => Some(times(&delta.batch, column)?),
            None => None,
        };
        for row in 0..delta.len() {
            let table = self.store.table_mut();
            let slot = table.find(evaluated.partitions.row(row), now);
            if let Some(ends) = &ends {
                table.set_end(slot, Some(ends.value(row)));
            }
            let order = evaluated.order.row(row);
            table.part_mut(slot).changes.push(Change {
                bytes: [order, rows.row(row)].concat(),
                split: order.len(),
                diff: delta.diff(row),
                came: (number, row),
            });
        }
        Ok(())
    }

    /// Changes the partitions of this step and tells what that does to their rows.
    fn change(&mut self, active: &[usize], made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        let mut works = Vec::new();
        let mut rows = 0;
        for slot in active {
            let (mut work, spots) = self.apply(*slot);
            if spots.is_empty() {
                continue;
            }
            let lines = self.store.lines(*slot);
            let around = self.evaluator.surroundings(lines, &self.look);
            match caught(|| around.stretches(&spots)) {
                Ok(stretches) => work.stretches = stretches,
                Err(error) => {
                    self.undo(&work, error, &made.inputs, step)?;
                    continue;
                }
            }
            let stretches = work.stretches.iter();
            rows += stretches
                .map(|one| lines.count(one.from, one.to))
                .sum::<usize>();
            works.push(work);
            if rows >= MANY {
                self.solve(std::mem::take(&mut works), made, step)?;
                rows = 0;
            }
        }
        self.solve(works, made, step)
    }

    /// Puts the rows of a step into their partition; answers where it changed.
    fn apply(&mut self, slot: usize) -> (Work, Vec<Spot>) {
        let mut came = std::mem::take(&mut self.store.table_mut().part_mut(slot).changes);
        came.sort_by(|one, other| one.bytes.cmp(&other.bytes));
        let (mut spots, mut gone) = (Vec::new(), Vec::new());
        for equal in came.chunk_by(|one, other| one.bytes == other.bytes) {
            let (row, split) = (&equal[0].bytes, equal[0].split);
            let diff: i64 = equal.iter().map(|change| change.diff).sum();
            for _ in diff..0 {
                let Some((at, _)) = self.store.lines(slot).last_copy(row) else {
                    break;
                };
                let line = self.store.remove(slot, at);
                spots.push(Spot {
                    line: Line::of(Arc::clone(line.bytes()), line.split()),
                    came: false,
                });
                gone.push(line);
            }
            for _ in 0..diff {
                let last = self.store.lines(slot).last_copy(row);
                let line = Line::new(row, split, last.map_or(0, |(_, copy)| copy + 1));
                spots.push(Spot {
                    line: Line::of(Arc::clone(line.bytes()), line.split()),
                    came: true,
                });
                self.store.insert(slot, line);
            }
        }
        spots.sort_by(|one, other| one.line.bytes().cmp(other.line.bytes()));
        let work = Work {
            slot,
            stretches: Vec::new(),
            gone,
            came,
        };
        (work, spots)
    }

    /// Evaluates partitions; when that fails, half of them.
    fn solve(&mut self, mut works: Vec<Work>, made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        if works.is_empty() {
            return Ok(());
        }
        match caught(|| self.again(&works)) {
            Ok(retold) => self.tell(works, retold, made),
            Err(error) if works.len() == 1 => self.undo(&works[0], error, &made.inputs, step),
            Err(_) => {
                let rest = works.split_off(works.len() / 2);
                self.solve(works, made, step)?;
                self.solve(rest, made, step)
            }
        }
    }

    fn again(&self, works: &[Work]) -> Result<Vec<Retold>> {
        let mut pieces = Vec::new();
        for (number, work) in works.iter().enumerate() {
            let end = self.store.lines(work.slot).end();
            for (at, stretch) in work.stretches.iter().enumerate() {
                let next = work.stretches.get(at + 1);
                pieces.push(Piece {
                    work: number,
                    slot: work.slot,
                    stretch: *stretch,
                    limit: next.map_or(end, |next| next.first),
                });
            }
        }
        let again = Again {
            plan: &self.plan,
            look: &self.look,
            evaluator: &self.evaluator,
            carries: &self.carries,
            store: &self.store,
        };
        again.pieces(&pieces)
    }

    /// Keeps what windows say now, and tells how that differs from what they said.
    fn tell(&mut self, works: Vec<Work>, retold: Vec<Retold>, made: &mut Made) -> Result<()> {
        let mut sides: Vec<(Vec<Row>, Vec<Row>)> = Vec::new();
        let mut slots = Vec::new();
        for work in works {
            let gone = work.gone.into_iter().filter_map(Row::told).collect();
            sides.push((gone, Vec::new()));
            slots.push(work.slot);
        }
        for Retold { work, at, told } in retold {
            let slot = slots[work];
            let Some(line) = self.store.lines(slot).get(at) else {
                continue;
            };
            if line.told.as_ref() == Some(&told) {
                continue;
            }
            let bare = || Line::of(Arc::clone(line.bytes()), line.split());
            let was = line
                .told
                .as_ref()
                .map(|told| Row::of(bare(), told.answers()));
            let is = Row::of(bare(), told.answers());
            self.store.retell(slot, at, told);
            if was.as_ref().is_none_or(|was| was.answers != is.answers) {
                sides[work].0.extend(was);
                sides[work].1.push(is);
            }
        }
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for (was, is) in sides {
            differ(was, is, &mut gone, &mut come);
        }
        if !gone.is_empty() {
            let batch = self.batch(&gone)?;
            made.gone.push(Delta {
                diffs: Some(vec![-1; gone.len()]),
                ..Delta::added(batch)
            });
        }
        if !come.is_empty() {
            made.come.push(Delta::added(self.batch(&come)?));
        }
        Ok(())
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch> {
        let input = self
            .evaluator
            .batch(rows.iter().map(|row| row.line.row()))?;
        let mut columns = input.columns().to_vec();
        columns.extend(
            self.evaluator
                .answered(rows.iter().map(|row| &*row.answers))?,
        );
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.plan.output);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// Rejects the rows of this step of a partition that cannot be evaluated with them.
    fn undo(
        &mut self,
        work: &Work,
        error: DataFusionError,
        deltas: &[Delta],
        step: &mut Step<'_>,
    ) -> Result<()> {
        if work.came.iter().any(|change| change.diff < 0) {
            return Err(error);
        }
        for change in &work.came {
            let (delta, row) = change.came;
            step.reject(&deltas[delta], row, &error);
            for _ in 0..change.diff {
                if let Some((at, _)) = self.store.lines(work.slot).last_copy(&change.bytes) {
                    self.store.remove(work.slot, at);
                }
            }
        }
        Ok(())
    }
}

impl Row {
    fn of(line: Line, answers: &[u8]) -> Self {
        Self {
            line,
            answers: answers.into(),
        }
    }

    fn told(line: Line) -> Option<Self> {
        let answers: Box<[u8]> = line.told.as_ref()?.answers().into();
        Some(Self { line, answers })
    }

    fn against(&self, other: &Self) -> std::cmp::Ordering {
        let rows = self.line.common().cmp(other.line.common());
        rows.then_with(|| self.answers.cmp(&other.answers))
    }
}

/// What is on one side only, where equal rows are one as good as the other.
fn differ(mut was: Vec<Row>, mut is: Vec<Row>, gone: &mut Vec<Row>, come: &mut Vec<Row>) {
    was.sort_by(Row::against);
    is.sort_by(Row::against);
    let (mut was, mut is) = (was.into_iter().peekable(), is.into_iter().peekable());
    loop {
        let order = match (was.peek(), is.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(was), Some(is)) => was.against(is),
        };
        if order.is_eq() {
            was.next();
            is.next();
        } else if order.is_lt() {
            gone.extend(was.next());
        } else {
            come.extend(is.next());
        }
    }
}

impl Operator for Incremental {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| internal_datafusion_err!("windows have no input"))?;
        let mut restored = std::mem::take(&mut self.restored);
        restored.sort_unstable();
        restored.dedup();
        self.ends.set(&mut self.store, &self.evaluator, &restored)?;
        let mut made = Made::default();
        for mut delta in input.deltas {
            if let Some((column, bound)) = self.ends.late() {
                let floor = input.before.behind(delta.mark).floor(bound);
                delta = in_time(delta, column, floor, step)?;
            }
            let evaluated = each_evaluated(delta, step, &|batch| self.evaluator.evaluate(batch));
            for (delta, evaluated) in evaluated {
                self.take((made.inputs.len(), &delta), &evaluated, step.now)?;
                made.inputs.push(delta);
            }
        }
        let mut active = self.store.table_mut().take_active();
        self.change(&active, &mut made, step)?;
        let (store, evaluator) = (&mut self.store, &self.evaluator);
        if matches!(self.ends, Ends::Rows(..)) {
            self.ends.set(store, evaluator, &active)?;
        }
        active.extend(self.ends.reach(store, evaluator, input.after, step)?);
        for slot in self.store.table().expired(step.now) {
            self.store.forget(slot, step);
        }
        for slot in active {
            self.store.tell(slot, step);
        }
        Ok(made.deltas())
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        if let Some(slot) = self.store.restore(key, value)?
            && self.restored.last() != Some(&slot)
        {
            self.restored.push(slot);
        }
        Ok(())
    }

    fn size(&self) -> (u64, u64) {
        self.store.size()
    }

    fn next_wake(&self) -> Option<i64> {
        self.store.table().next_wake()
    }
}
