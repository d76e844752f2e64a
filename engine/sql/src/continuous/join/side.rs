//! The rows of an input before they are joined.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use hashbrown::HashMap;

use super::ends::{NEVER, deadline};
use super::{Expiry, On};
use crate::continuous::delta::Delta;
use crate::continuous::map::evaluate;
use crate::continuous::operator::{Input, Step};
use crate::continuous::parts::{self, Encoded, each_evaluated, times};
use crate::continuous::time::Clock;

/// Rows as bytes and back, in the types they had.
#[derive(Debug)]
pub(super) struct Encoder {
    rows: parts::Encoder,
    types: Vec<DataType>,
}

impl Encoder {
    fn new(types: Vec<DataType>) -> Result<Self> {
        let fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
        if !RowConverter::supports_fields(&fields) {
            return plan_err!("a join cannot keep columns of type {types:?}; leave them out");
        }
        let rows = parts::Encoder::new(fields)?;
        Ok(Self { rows, types })
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        self.rows.encode(columns)
    }

    pub(super) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let arrays = self.rows.decode(rows)?;
        // Dictionaries come back as what they hold.
        let typed = arrays.into_iter().zip(&self.types).map(|(array, to)| {
            if array.data_type() == to {
                Ok(array)
            } else {
                Ok(cast(&array, to)?)
            }
        });
        typed.collect()
    }

    /// The bytes of a row of NULLs.
    pub(super) fn nulls(&self) -> Result<Vec<u8>> {
        let nulls: Vec<ArrayRef> = self.types.iter().map(|of| new_null_array(of, 1)).collect();
        Ok(self.encode(&nulls)?.row(0).to_vec())
    }
}

/// How rows of a side are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Whole rows; else only their join keys.
    pub(super) whole: bool,
    /// Equal rows become one, and rows may be taken back.
    pub(super) merges: bool,
    /// NULL in a join key matches NULL.
    pub(super) null_equals_null: bool,
}

/// What is done to the rows of an input.
#[derive(Debug)]
pub(super) struct Side {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) keys: Encoder,
    /// `None`: only join keys are kept.
    rows: Option<Encoder>,
    kept: Kept,
    expiry: Vec<Expiry>,
    clocks: Vec<Clock>,
}

/// A row that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) row: usize,
    pub(super) diff: i64,
    pub(super) late: bool,
}

/// A batch that came, ready to be joined.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) delta: Delta,
    pub(super) keys: Encoded,
    pub(super) rows: Encoded,
    /// Rows whose key has a NULL are null here.
    pub(super) nulls: Option<NullBuffer>,
    /// For each row one deadline for each clock.
    deadlines: Vec<i64>,
    clocks: usize,
    pub(super) arrivals: Vec<Arrival>,
}

impl Arrived {
    pub(super) fn deadlines(&self, row: usize) -> &[i64] {
        &self.deadlines[row * self.clocks..(row + 1) * self.clocks]
    }

    /// The join keys of what came.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let rows = self.arrivals.iter().map(|arrival| arrival.row);
        rows.map(|row| self.keys.row(row))
    }

    pub(super) fn has_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

impl Side {
    /// A side of a join.
    ///
    /// # Errors
    /// When a type cannot be kept or keys have not the same type.
    pub(super) fn new(
        which: usize,
        schema: &SchemaRef,
        on: &On,
        kept: Kept,
        expiry: &[Expiry],
    ) -> Result<Self> {
        let exprs: Vec<_> = on.iter().map(|(left, right)| [left, right]).collect();
        let exprs: Vec<_> = exprs.iter().map(|both| Arc::clone(both[which])).collect();
        let types = exprs.iter().map(|expr| expr.data_type(schema));
        let types = types.collect::<Result<Vec<_>>>()?;
        let columns = schema.fields().iter().map(|field| field.data_type());
        let rows = if kept.whole {
            Some(Encoder::new(columns.cloned().collect())?)
        } else {
            None
        };
        let mut clocks = Vec::new();
        for expiry in expiry {
            if !clocks.contains(&expiry.bound.clock) {
                clocks.push(expiry.bound.clock);
            }
        }
        Ok(Self {
            exprs,
            keys: Encoder::new(types)?,
            rows,
            kept,
            expiry: expiry.to_vec(),
            clocks,
        })
    }

    /// Reads what came: its keys, which rows are late, when rows end. Rows whose key cannot be evaluated are rejected; of rows
    /// that come and go in the same step the difference is left.
    ///
    /// # Errors
    /// As Arrow's kernels.
    pub(super) fn arrive(&self, input: &Input, step: &mut Step<'_>) -> Result<Vec<Arrived>> {
        let mut all = Vec::new();
        for delta in &input.deltas {
            let evaluate = |batch: &RecordBatch| evaluate(batch, &self.exprs);
            for (delta, keys) in each_evaluated(delta.clone(), step, &evaluate) {
                all.push(self.read(delta, &keys, input, step)?);
            }
        }
        if self.kept.merges {
            net(&mut all);
        }
        Ok(all)
    }

    fn read(
        &self,
        delta: Delta,
        keys: &[ArrayRef],
        input: &Input,
        step: &mut Step<'_>,
    ) -> Result<Arrived> {
        let mut arrivals: Vec<Arrival> = (0..delta.len())
            .map(|row| Arrival {
                row,
                diff: delta.diff(row),
                late: false,
            })
            .collect();
        let mut deadlines = vec![i64::MAX; delta.len() * self.clocks.len()];
        for expiry in &self.expiry {
            self.ends(&delta, expiry, &mut deadlines)?;
            let floor = input.before.behind(delta.mark).floor(expiry.own);
            let times = times(&delta.batch, expiry.column)?;
            for arrival in &mut arrivals {
                arrival.late |= times.is_valid(arrival.row) && times.value(arrival.row) < floor;
            }
        }
        // What is taken back late may have come in time.
        arrivals.retain(|arrival| {
            let dropped = arrival.late && arrival.diff > 0;
            if dropped {
                step.late(&delta, arrival.row);
            }
            !dropped
        });
        let nulls = keys.iter().fold(None, |nulls, key| {
            NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref())
        });
        let rows = match &self.rows {
            Some(rows) => rows.encode(delta.batch.columns())?,
            None => Encoded::default(),
        };
        Ok(Arrived {
            keys: self.keys.encode(keys)?,
            rows,
            nulls,
            deadlines,
            clocks: self.clocks.len(),
            arrivals,
            delta,
        })
    }

    /// Lowers deadlines to what a condition says.
    fn ends(&self, delta: &Delta, expiry: &Expiry, deadlines: &mut [i64]) -> Result<()> {
        let times = times(&delta.batch, expiry.column)?;
        // Where NULL is equal to NULL, a row without a time may match as long as one of the other side may come.
        let in_key = |expr: &Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(expr);
            columns.iter().any(|column| column.index() == expiry.column)
        };
        let null_matches = self.kept.null_equals_null && self.exprs.iter().any(in_key);
        let clock = self
            .clocks
            .iter()
            .position(|clock| *clock == expiry.bound.clock);
        let clock = clock.unwrap_or(0);
        for (row, deadlines) in deadlines.chunks_mut(self.clocks.len()).enumerate() {
            let end = match times.is_valid(row) {
                true => deadline(times.value(row), expiry),
                false if null_matches => i64::MAX,
                false => NEVER,
            };
            deadlines[clock] = deadlines[clock].min(end);
        }
        Ok(())
    }

    /// Rows of this side from what is kept of them.
    ///
    /// # Errors
    /// When it was not made here.
    pub(super) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        match &self.rows {
            Some(encoder) => encoder.decode(rows),
            None => exec_err!("rows of this side are not kept"),
        }
    }
}

/// The join key and the columns of a row.
type Bytes<'a> = (&'a [u8], &'a [u8]);

/// Keeps of equal rows one, with the sum of their diffs.
fn net(all: &mut [Arrived]) {
    let taken = |all: &[Arrived]| {
        let rows = all.iter().flat_map(|arrived| &arrived.arrivals);
        rows.clone().any(|arrival| arrival.diff < 0)
    };
    if !taken(all) {
        return;
    }
    let mut sums: HashMap<Bytes<'_>, (i64, bool)> = HashMap::new();
    for arrived in &*all {
        for arrival in &arrived.arrivals {
            let row = (arrived.keys.row(arrival.row), arrived.rows.row(arrival.row));
            sums.entry(row).or_insert((0, false)).0 += arrival.diff;
        }
    }
    let mut kept: Vec<Vec<Arrival>> = Vec::with_capacity(all.len());
    for arrived in &*all {
        let mut arrivals = Vec::new();
        for arrival in &arrived.arrivals {
            let row = (arrived.keys.row(arrival.row), arrived.rows.row(arrival.row));
            if let Some((diff, told)) = sums.get_mut(&row)
                && *diff != 0
                && !std::mem::replace(told, true)
            {
                arrivals.push(Arrival {
                    diff: *diff,
                    ..*arrival
                });
            }
        }
        kept.push(arrivals);
    }
    drop(sums);
    for (arrived, arrivals) in all.iter_mut().zip(kept) {
        arrived.arrivals = arrivals;
    }
}
