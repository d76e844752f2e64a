//! Partitions by rank, and how they change in a step. State: rows, as `parts` keeps them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray, UInt64Array};
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::row::SortField;
use datafusion::common::{Result, exec_datafusion_err, internal_datafusion_err};
use millstream_pipeline::BrokenState;

use super::RankPlan;
use super::seen::{Range, Seen, difference};
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::{
    Encoder, Key, Pair, Put, Scratch, Store, each_evaluated, in_time, times,
};

/// Most rows of an output.
const MOST: usize = 8192;

pub(super) struct Ranking {
    plan: RankPlan,
    range: Range,
    partitions: Encoder,
    orders: Encoder,
    rows: Encoder,
    store: Store<Note>,
}

/// What is noted of a partition.
#[derive(Debug, Default)]
struct Note {
    /// The last row that counts; `None`: a row behind all may count.
    edge: Option<Key>,
    /// What was to be seen before this step, once that may change.
    old: Option<Vec<Seen>>,
}

impl fmt::Debug for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranking")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// What a batch says, evaluated.
struct Evaluated {
    partition: Vec<ArrayRef>,
    order: Vec<ArrayRef>,
}

impl Ranking {
    pub(super) fn new(plan: RankPlan) -> Result<Self> {
        let partitions = plan
            .partition
            .iter()
            .map(|expr| Ok(SortField::new(expr.data_type(&plan.input)?)))
            .collect::<Result<_>>()?;
        let orders = plan
            .order
            .iter()
            .map(|sort| {
                let order = sort.expr.data_type(&plan.input)?;
                Ok(SortField::new_with_options(order, sort.options))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            range: Range {
                function: plan.function,
                skip: plan.skip,
                last: plan.skip.saturating_add(plan.limit),
                numbered: plan.numbered,
            },
            partitions: Encoder::new(partitions)?,
            orders: Encoder::new(orders)?,
            rows: Encoder::of(&plan.input)?,
            store: Store::new(plan.ttl),
            plan,
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        let rows = batch.num_rows();
        let partition = self.plan.partition.iter();
        let order = self.plan.order.iter();
        Ok(Evaluated {
            partition: partition
                .map(|expr| expr.evaluate(batch)?.into_array(rows))
                .collect::<Result<_>>()?,
            order: order
                .map(|sort| sort.expr.evaluate(batch)?.into_array(rows))
                .collect::<Result<_>>()?,
        })
    }

    fn take(&mut self, delta: &Delta, evaluated: &Evaluated, now: i64) -> Result<()> {
        let partitions = self.partitions.encode(&evaluated.partition)?;
        let keys = (0..delta.len()).map(|row| partitions.row(row));
        let pairs = self.store.admit(keys)?;
        self.came_back(pairs)?;
        let orders = self.orders.encode(&evaluated.order)?;
        let rows = self.rows.encode(delta.batch.columns())?;
        let ends = self.ends(&delta.batch)?;
        let mut key = Vec::new();
        for row in 0..delta.len() {
            let slot = self.store.table_mut().find(partitions.row(row), now);
            if let Some(ends) = &ends {
                self.store.table_mut().set_end(slot, Some(ends.value(row)));
            }
            key.clear();
            key.extend_from_slice(orders.row(row));
            let split = key.len();
            key.extend_from_slice(rows.row(row));
            let diff = delta.diff(row);
            self.put(
                slot,
                Put {
                    key: &key,
                    split,
                    diff,
                },
            );
        }
        Ok(())
    }

    fn came_back(&mut self, pairs: Vec<Pair>) -> Result<()> {
        for (key, value) in pairs {
            let back = self.restore(&key, &value);
            back.map_err(|broken| exec_datafusion_err!("{}", broken.0))?;
        }
        Ok(())
    }

    /// Ends and forgets partitions whose time has come, those that have left memory some at a time.
    fn pass(&mut self, floor: Option<i64>, made: &mut Made, step: &mut Step<'_>) -> Result<()> {
        loop {
            let pairs = self.store.admit_due(floor, step.now)?;
            let some = !pairs.is_empty();
            self.came_back(pairs)?;
            if let Some(floor) = floor {
                self.close(floor, made, step);
            }
            for slot in self.store.table().expired(step.now) {
                self.store.remove(slot, step);
            }
            if !some {
                return Ok(());
            }
        }
    }

    fn ends(&self, batch: &RecordBatch) -> Result<Option<PrimitiveArray<TimestampNanosecondType>>> {
        let close = self.plan.close;
        close.map(|(column, _)| times(batch, column)).transpose()
    }

    fn put(&mut self, slot: usize, put: Put<'_>) {
        let part = self.store.part(slot);
        let edge = part.note.edge.as_ref();
        let order = &put.key[..put.split];
        let behind = edge.is_some_and(|edge| self.range.is_behind(edge, order, put.key));
        if behind && !self.plan.updating {
            return;
        }
        // All rows may count when a partition ends if some can be taken back until then.
        let watched = !(self.plan.waits && self.plan.updating);
        if !behind && watched && part.note.old.is_none() {
            let old = match self.plan.waits {
                true => Vec::new(),
                false => self.range.view(part.rows()).rows,
            };
            self.store.part_mut(slot).note.old = Some(old);
        }
        self.store.put(slot, put);
    }

    /// What partitions of this step show now, against what they did.
    fn tell(&mut self, active: &[usize], made: &mut Made) {
        for slot in active.iter().copied() {
            if let Some(old) = self.store.part_mut(slot).note.old.take() {
                let view = self.range.view(self.store.part(slot).rows());
                if let Some((edge, count)) = &view.edge
                    && !self.plan.updating
                {
                    self.store.cut(slot, edge, *count);
                }
                self.store.part_mut(slot).note.edge = view.edge.map(|(edge, _)| edge);
                if !self.plan.waits {
                    difference(old, view.rows, &mut made.gone, &mut made.come);
                }
            }
        }
    }

    /// Tells and forgets partitions whose time has come.
    fn close(&mut self, floor: i64, made: &mut Made, step: &mut Step<'_>) {
        for slot in self.store.table_mut().ended(floor) {
            if self.plan.waits {
                let view = self.range.view(self.store.part(slot).rows());
                made.come.extend(view.rows);
            }
            self.store.remove(slot, step);
        }
    }

    fn deltas(&self, made: Made) -> Result<Vec<Delta>> {
        let gone = made.gone.chunks(MOST).map(|rows| self.delta(rows, -1));
        let come = made.come.chunks(MOST).map(|rows| self.delta(rows, 1));
        gone.chain(come).collect()
    }

    fn delta(&self, rows: &[Seen], sign: i64) -> Result<Delta> {
        let mut columns = self.rows.decode(rows.iter().map(|seen| seen.key.row()))?;
        if self.plan.numbered {
            let ranks: UInt64Array = rows.iter().map(|seen| seen.rank).collect();
            columns.push(Arc::new(ranks));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.plan.output);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let once = sign > 0 && rows.iter().all(|seen| seen.count == 1);
        let diffs = rows.iter().map(|seen| sign * seen.count).collect();
        Ok(Delta {
            diffs: (!once).then_some(diffs),
            ..Delta::added(batch)
        })
    }

    /// When the partition of a row ends.
    fn end(&self, key: &Key, column: usize) -> Result<i64> {
        let columns = self.rows.decode(std::iter::once(key.row()))?;
        let batch = RecordBatch::try_new(Arc::clone(&self.plan.input), columns)?;
        Ok(times(&batch, column)?.value(0))
    }
}

/// Rows that go in a step, and rows that come.
#[derive(Debug, Default)]
struct Made {
    gone: Vec<Seen>,
    come: Vec<Seen>,
}

impl Operator for Ranking {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| internal_datafusion_err!("rank has no input"))?;
        for mut delta in input.deltas {
            if let Some((column, bound)) = self.plan.close {
                let floor = input.before.behind(delta.mark).floor(bound);
                delta = in_time(delta, column, floor, step)?;
            }
            let evaluated = each_evaluated(delta, step, &|batch| self.evaluate(batch));
            for (delta, evaluated) in evaluated {
                self.take(&delta, &evaluated, step.now)?;
            }
        }
        let mut made = Made::default();
        let active = self.store.table_mut().take_active();
        self.tell(&active, &mut made);
        let close = self.plan.close;
        let floor = close.map(|(_, bound)| input.after.floor(bound));
        self.pass(floor, &mut made, step)?;
        for slot in active {
            self.store.tell(slot, step);
        }
        self.deltas(made)
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        if let Some((slot, key)) = self.store.restore(key, value)?
            && let Some((column, _)) = self.plan.close
            && !self.store.table().has_end(slot)
        {
            let end = self.end(&key, column);
            let end = end.map_err(|error| BrokenState(error.to_string()))?;
            self.store.table_mut().set_end(slot, Some(end));
        }
        Ok(())
    }

    fn restored(&mut self) -> Result<()> {
        self.store.gather()
    }

    fn size(&self) -> (u64, u64) {
        self.store.size()
    }

    fn stays(&self) -> bool {
        // Without a key there is one partition.
        self.plan.partition.is_empty()
    }

    fn spill_to(&mut self, scratch: Scratch) {
        self.store.cold_mut().set(scratch);
    }

    fn evict(&mut self, bytes: u64) -> Result<()> {
        self.store.evict(bytes)
    }

    fn spilled(&self) -> (u64, u64) {
        self.store.cold().size()
    }

    fn next_wake(&self) -> Option<i64> {
        self.store.next_wake()
    }
}
