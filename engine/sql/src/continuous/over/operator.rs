//! Partitions that are evaluated anew when they change. State: rows, as `parts` keeps them.

use std::fmt;

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use millstream_pipeline::BrokenState;

use super::Made;
use super::evaluate::{Content, Evaluated, Evaluator};
use super::plan::OverPlan;
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::{Key, Put, Store, each_evaluated, in_time, times};

/// About how many rows are evaluated at once.
const MANY: usize = 8192;

pub(super) struct Windows {
    plan: OverPlan,
    evaluator: Evaluator,
    store: Store<Note>,
}

/// What is noted of a partition in a step.
#[derive(Debug, Default)]
struct Note {
    /// What it was before this step, once it changes.
    old: Option<Content>,
    /// What came in this step: the delta, the row, how often, and as it is kept.
    came: Vec<(usize, usize, i64, Key)>,
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows").finish_non_exhaustive()
    }
}

/// A partition that changed in a step.
struct Changed {
    slot: usize,
    old: Content,
    new: Content,
    came: Vec<(usize, usize, i64, Key)>,
}

impl Windows {
    pub(super) fn new(plan: OverPlan) -> Result<Self> {
        Ok(Self {
            evaluator: Evaluator::new(&plan)?,
            store: Store::new(plan.config.ttl),
            plan,
        })
    }

    /// Takes rows in; they are the delta of this number.
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
            let slot = self
                .store
                .table_mut()
                .find(evaluated.partitions.row(row), now);
            if let Some(ends) = &ends {
                self.store.table_mut().set_end(slot, Some(ends.value(row)));
            }
            let order = evaluated.order.row(row);
            let key = Key::new(&[order, rows.row(row)].concat(), order.len());
            let diff = delta.diff(row);
            if !self.plan.config.waits {
                let part = self.store.part_mut(slot);
                if part.note.old.is_none() {
                    part.note.old = Some(part.content());
                }
                part.note.came.push((number, row, diff, key.clone()));
            }
            let (key, split) = (key.bytes(), key.split());
            self.store.put(slot, Put { key, split, diff });
        }
        Ok(())
    }

    /// What partitions of this step are now, against what they were.
    fn tell(&mut self, active: &[usize], made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        let mut changed = Vec::new();
        let mut rows = 0;
        for slot in active {
            let part = self.store.part_mut(*slot);
            let came = std::mem::take(&mut part.note.came);
            if let Some(old) = part.note.old.take() {
                let new = part.content();
                rows += old.len() + new.len();
                changed.push(Changed {
                    slot: *slot,
                    old,
                    new,
                    came,
                });
            }
            if rows >= MANY {
                self.solve(&std::mem::take(&mut changed), made, step)?;
                rows = 0;
            }
        }
        self.solve(&changed, made, step)
    }

    /// Evaluates partitions before and behind this step; when that fails, half of them.
    fn solve(&mut self, changed: &[Changed], made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        let contents = changed.iter().flat_map(|each| [&each.old, &each.new]);
        match (
            self.evaluator.answers(&contents.collect::<Vec<_>>()),
            changed,
        ) {
            (Ok(answers), _) => {
                let (mut gone, mut come) = (Vec::new(), Vec::new());
                for each in 0..changed.len() {
                    let (old, new) = answers.difference(2 * each, 2 * each + 1);
                    gone.extend(old);
                    come.extend(new);
                }
                if !gone.is_empty() {
                    let diffs = Some(vec![-1; gone.len()]);
                    let batch = take_record_batch(&answers.batch, &UInt32Array::from(gone))?;
                    made.gone.push(Delta {
                        diffs,
                        ..Delta::added(batch)
                    });
                }
                if !come.is_empty() {
                    let batch = take_record_batch(&answers.batch, &UInt32Array::from(come))?;
                    made.come.push(Delta::added(batch));
                }
                Ok(())
            }
            (Err(error), [one]) => self.undo(one, error, &made.inputs, step),
            (Err(_), _) => {
                let (one, other) = changed.split_at(changed.len() / 2);
                self.solve(one, made, step)?;
                self.solve(other, made, step)
            }
        }
    }

    /// Rejects the rows of this step of a partition that cannot be evaluated with them.
    fn undo(
        &mut self,
        changed: &Changed,
        error: DataFusionError,
        deltas: &[Delta],
        step: &mut Step<'_>,
    ) -> Result<()> {
        if changed.came.iter().any(|(_, _, diff, _)| *diff < 0) {
            return Err(error);
        }
        for (delta, row, diff, key) in &changed.came {
            step.reject(&deltas[*delta], *row, &error);
            let (key, split, diff) = (key.bytes(), key.split(), -diff);
            self.store.put(changed.slot, Put { key, split, diff });
        }
        Ok(())
    }

    /// Tells and forgets partitions whose time has come.
    fn close(&mut self, floor: i64, made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        let ended = self.store.table_mut().ended(floor);
        if self.plan.config.waits {
            let mut contents = Vec::new();
            let mut rows = 0;
            for slot in &ended {
                let content = self.store.part(*slot).content();
                rows += content.len();
                contents.push(content);
                if rows >= MANY {
                    self.last(&std::mem::take(&mut contents), made, step)?;
                    rows = 0;
                }
            }
            self.last(&contents, made, step)?;
        }
        for slot in ended {
            self.store.remove(slot, step);
        }
        Ok(())
    }

    /// Tells partitions that ended; the rows of one that cannot be evaluated are rejected.
    fn last(&self, contents: &[Content], made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        if contents.is_empty() {
            return Ok(());
        }
        let all: Vec<&Content> = contents.iter().collect();
        match (self.evaluator.answers(&all), contents) {
            (Ok(answers), _) => made.come.push(Delta::added(answers.batch)),
            (Err(error), [one]) => {
                let rows = Delta::added(self.evaluator.decode(one.iter().map(|(key, _)| key))?);
                for row in 0..rows.len() {
                    step.reject(&rows, row, &error);
                }
            }
            (Err(_), _) => {
                let (one, other) = contents.split_at(contents.len() / 2);
                self.last(one, made, step)?;
                self.last(other, made, step)?;
            }
        }
        Ok(())
    }
}

impl Operator for Windows {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| internal_datafusion_err!("windows have no input"))?;
        let mut made = Made::default();
        for mut delta in input.deltas {
            if let Some((column, bound)) = self.plan.config.close {
                let floor = input.before.behind(delta.mark).floor(bound);
                delta = in_time(delta, column, floor, step)?;
            }
            let evaluated = each_evaluated(delta, step, &|batch| self.evaluator.evaluate(batch));
            for (delta, evaluated) in evaluated {
                self.take((made.inputs.len(), &delta), &evaluated, step.now)?;
                made.inputs.push(delta);
            }
        }
        let active = self.store.table_mut().take_active();
        self.tell(&active, &mut made, step)?;
        if let Some((_, bound)) = self.plan.config.close {
            self.close(input.after.floor(bound), &mut made, step)?;
        }
        for slot in self.store.table().expired(step.now) {
            self.store.remove(slot, step);
        }
        for slot in active {
            self.store.tell(slot, step);
        }
        Ok(made.deltas())
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        if let Some((slot, key)) = self.store.restore(key, value)?
            && let Some((column, _)) = self.plan.config.close
            && !self.store.table().has_end(slot)
        {
            let row = self.evaluator.decode(std::iter::once(&key));
            let end = row.and_then(|row| Ok(times(&row, column)?.value(0)));
            let end = end.map_err(|error| BrokenState(error.to_string()))?;
            self.store.table_mut().set_end(slot, Some(end));
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
