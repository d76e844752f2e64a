//! Rows that look something up in a table.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, Result, internal_err, plan_err};
use millstream_pipeline::BrokenState;

use super::LookupPlan;
use super::operator::{name, too_much};
use super::probe::{CHUNK, MOST, Pairs, Probe, Refused, batch};
use super::side::{Arrived, Kept, Side};
use super::state::{NewRow, Store};
use super::table::{NONE, Table};
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::Scratch;

/// A lookup with its table. In a step the table changes first.
#[derive(Debug)]
pub(super) struct Lookup {
    sides: [Side; 2],
    /// The table is the right side.
    store: Store,
    probe: Probe,
    output: SchemaRef,
    /// Whether a row that finds nothing is told with NULLs.
    outer: bool,
    null_equals_null: bool,
    /// Whether there is a join key.
    keyed: bool,
    name: String,
}

/// Rows of a batch on their way, in their order.
#[derive(Debug, Default)]
struct Waiting {
    pairs: Pairs,
    /// Rows whose pairs all are there.
    whole: Vec<u32>,
    /// The row whose first pairs were told without the others.
    told: Option<u32>,
    refused: Refused,
}

impl Lookup {
    pub(super) fn new(plan: &LookupPlan) -> Result<Self> {
        let outer = match plan.kind {
            JoinType::Inner => false,
            JoinType::Left => true,
            kind => return plan_err!("a lookup cannot be a {kind} join"),
        };
        let side = |which, schema| {
            let kept = Kept {
                whole: true,
                merges: which == 1,
                null_equals_null: plan.null_equals_null,
            };
            Side::new(which, schema, &plan.on, kept, &[])
        };
        Ok(Self {
            sides: [side(0, &plan.left)?, side(1, &plan.right)?],
            store: Store::new([
                Table::new(false, Vec::new(), None),
                Table::new(true, Vec::new(), None),
            ]),
            probe: Probe::new(&plan.left, &plan.right, plan.filter.as_ref()),
            output: SchemaRef::clone(&plan.output),
            outer,
            null_equals_null: plan.null_equals_null,
            keyed: !plan.on.is_empty(),
            name: name(&plan.on),
        })
    }

    /// Changes the table.
    fn change(&mut self, input: &Input, step: &mut Step<'_>) -> Result<()> {
        for arrived in self.sides[1].arrive(input, step)? {
            self.store.admit(arrived.keys())?;
            for arrival in &arrived.arrivals {
                if arrived.has_null(arrival.row) && !self.null_equals_null {
                    continue;
                }
                let new = NewRow {
                    deadlines: &[],
                    key: arrived.keys.row(arrival.row),
                    row: arrived.rows.row(arrival.row),
                };
                self.store.add(1, &new, arrival.diff, step.now);
            }
        }
        let table = &self.store.sides[1];
        let changed = table.changes.iter().map(|change| change.slot);
        let gone: Vec<u32> = changed
            .filter(|slot| table.slot(*slot).count == 0)
            .collect();
        self.store.remove([&[], &gone], [false; 2]);
        self.store.end(step);
        Ok(())
    }

    fn look(&self, arrived: &Arrived, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let (mut out, mut made) = (Vec::new(), 0);
        let mut waiting = Waiting::default();
        for arrival in &arrived.arrivals {
            let matchless = arrived.has_null(arrival.row) && !self.null_equals_null;
            let key = self.store.find(arrived.keys.row(arrival.row));
            if let Some(key) = key.filter(|_| !matchless) {
                for kept in self.store.rows(1, key) {
                    let pairs = &mut waiting.pairs;
                    pairs.push(arrival.row, kept, NONE, arrival.diff);
                    if pairs.is_full() {
                        out.extend(self.tell(arrived, &mut waiting, step)?);
                        made += CHUNK;
                        if made > MOST {
                            step.effects.failed = Some(too_much(&self.name));
                            return Ok(Vec::new());
                        }
                    }
                }
            }
            waiting.whole.push(arrival.row as u32);
        }
        out.extend(self.tell(arrived, &mut waiting, step)?);
        Ok(out)
    }

    /// Tells the pairs that match and the rows that found nothing, in the order of the rows.
    fn tell(
        &self,
        arrived: &Arrived,
        waiting: &mut Waiting,
        step: &mut Step<'_>,
    ) -> Result<Option<Delta>> {
        let pairs = &waiting.pairs;
        let theirs = (&self.sides[1], &self.store.sides[1]);
        let own = (0, &arrived.delta);
        let made = self
            .probe
            .make(pairs, own, theirs, &mut waiting.refused, step)?;
        let mut rows: Vec<usize> = Vec::with_capacity(pairs.len());
        let mut found: Vec<Option<u32>> = Vec::with_capacity(pairs.len());
        let mut counts: Vec<i64> = Vec::with_capacity(pairs.len());
        let mut pair = 0;
        // A row that is not whole yet comes last.
        let last = pairs.came.last().copied();
        let open = last.filter(|row| waiting.whole.last().is_none_or(|whole| whole < row));
        for row in waiting.whole.iter().copied().chain(open) {
            let mut any = waiting.told.take_if(|told| *told == row).is_some();
            while pair < pairs.len() && pairs.came[pair] == row {
                if made.is_match(pair) {
                    rows.push(row as usize);
                    found.push(Some(pair as u32));
                    counts.push(theirs.1.slot(pairs.kept[pair]).count);
                    any = true;
                }
                pair += 1;
            }
            if open == Some(row) {
                waiting.told = any.then_some(row);
            } else if !any && self.outer {
                rows.push(row as usize);
                found.push(None);
                counts.push(1);
            }
        }
        waiting.whole.clear();
        waiting.pairs.clear();
        self.told(arrived, &made.columns, (&rows, found, &counts))
    }

    fn told(
        &self,
        arrived: &Arrived,
        columns: &[ArrayRef],
        (rows, found, counts): (&[usize], Vec<Option<u32>>, &[i64]),
    ) -> Result<Option<Delta>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let own = arrived.delta.take(rows)?;
        let found = UInt32Array::from(found);
        let theirs = columns[own.batch.num_columns()..].iter();
        let theirs = theirs.map(|column| Ok(take(column, &found, None)?));
        let theirs = theirs.collect::<Result<Vec<_>>>()?;
        let columns = [own.batch.columns().to_vec(), theirs].concat();
        let mut told = own.with_batch(batch(&self.output, columns, rows.len())?);
        if counts.iter().any(|count| *count != 1) {
            let diffs = counts.iter().enumerate();
            told.diffs = Some(diffs.map(|(row, count)| own.diff(row) * count).collect());
        }
        Ok(Some(told))
    }
}

impl Operator for Lookup {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let Ok([rows, table]) = <[Input; 2]>::try_from(inputs) else {
            return internal_err!("a lookup has two inputs");
        };
        self.store.begin();
        self.change(&table, step)?;
        let mut out = Vec::new();
        for arrived in self.sides[0].arrive(&rows, step)? {
            self.store.admit(arrived.keys())?;
            out.extend(self.look(&arrived, step)?);
            if step.effects.failed.is_some() {
                return Ok(Vec::new());
            }
        }
        Ok(out)
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
        !self.keyed
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
}
