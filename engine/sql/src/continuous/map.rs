//! Rows one by one: filters, projections, and lists that become rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::physical_expr::PhysicalExpr;
use millstream_pipeline::BrokenState;

use super::delta::Delta;
use super::operator::{Input, Operator, Step};
use super::parts::caught;

/// What is done to each row.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Keeps the rows for which this is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Replaces the columns.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Each element of a list becomes a row; without one there is no row, or one with NULL.
    Unnest(Unnest),
}

/// A list that becomes rows.
#[derive(Clone, Debug)]
pub(crate) struct Unnest {
    /// The column with the list.
    pub(crate) column: usize,
    /// Whether an empty or missing list leaves a row with NULL.
    pub(crate) preserve_nulls: bool,
    /// For each output column the input column it comes from.
    pub(crate) from: Vec<usize>,
    pub(crate) schema: SchemaRef,
}

/// Rows at once where lists become rows.
const SLICE: usize = 1024;

/// Changes row by row; it has no state.
pub(crate) struct Map {
    changes: Vec<Change>,
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

impl Map {
    pub(crate) fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// Whether one row may become many.
    fn spreads(&self) -> bool {
        let spreads = |change: &Change| matches!(change, Change::Unnest(_));
        self.changes.iter().any(spreads)
    }

    /// Runs a delta; when that fails, runs its halves, until the rows that fail stand alone.
    fn solve(&self, delta: Delta, step: &mut Step<'_>, made: &mut Vec<Delta>) {
        if delta.is_empty() {
            return;
        }
        let ran = caught(|| self.run(&delta));
        match ran {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => made.push(changed),
            // One that is taken back was never added.
            Err(error) if delta.len() == 1 => {
                if delta.diff(0) > 0 {
                    step.reject(&delta, 0, &error);
                }
            }
            Err(_) => {
                let half = delta.len() / 2;
                self.solve(delta.slice(0, half), step, made);
                self.solve(delta.slice(half, delta.len() - half), step, made);
            }
        }
    }

    fn run(&self, delta: &Delta) -> Result<Delta> {
        let mut delta = delta.clone();
        for change in &self.changes {
            delta = match change {
                Change::Filter(predicate) => {
                    let mask = predicate.evaluate(&delta.batch)?.into_array(delta.len())?;
                    delta.filter(as_boolean_array(&mask)?)?
                }
                Change::Project(exprs, schema) => {
                    let batch = project(&delta.batch, exprs, schema)?;
                    delta.with_batch(batch)
                }
                Change::Unnest(unnest) => unnest.run(&delta)?,
            };
            if delta.is_empty() {
                break;
            }
        }
        Ok(delta)
    }
}

/// A batch with other columns.
///
/// # Errors
/// When an expression fails for any of the rows.
pub(crate) fn project(
    batch: &RecordBatch,
    exprs: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let arrays = evaluate(batch, exprs)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        arrays,
        &options,
    )?)
}

/// Expressions over a batch.
///
/// # Errors
/// When one fails for any of the rows.
pub(crate) fn evaluate(
    batch: &RecordBatch,
    exprs: &[Arc<dyn PhysicalExpr>],
) -> Result<Vec<ArrayRef>> {
    let rows = batch.num_rows();
    exprs
        .iter()
        .map(|expr| expr.evaluate(batch)?.into_array(rows))
        .collect()
}

impl Unnest {
    fn run(&self, delta: &Delta) -> Result<Delta> {
        let list = delta.batch.column(self.column).as_list::<i32>();
        let values = list.values();
        let offsets = list.value_offsets();
        let (mut rows, mut elements) = (Vec::new(), Vec::new());
        for row in 0..list.len() {
            let range = offsets[row]..offsets[row + 1];
            if list.is_null(row) || range.is_empty() {
                if self.preserve_nulls {
                    rows.push(row);
                    elements.push(None);
                }
                continue;
            }
            for element in range {
                rows.push(row);
                elements.push(Some(element as u32));
            }
        }
        let whole = delta.take(&rows)?;
        let elements = take(values, &UInt32Array::from(elements), None)?;
        let columns = self.from.iter().map(|from| {
            if *from == self.column {
                Arc::clone(&elements)
            } else {
                Arc::clone(whole.batch.column(*from))
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns.collect(), &options)?;
        Ok(whole.with_batch(batch))
    }
}

impl Operator for Map {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let mut made = Vec::new();
        // A row of a list of thousands is as many rows.
        let most = if self.spreads() { SLICE } else { usize::MAX };
        let several = inputs.len() > 1;
        for mut delta in inputs.into_iter().flat_map(|input| input.deltas) {
            if several {
                // Time behind several inputs is not that of one of them.
                delta.mark = i64::MIN;
            }
            let mut start = 0;
            while start < delta.len() {
                let length = most.min(delta.len() - start);
                let slice = if length == delta.len() {
                    delta.clone()
                } else {
                    delta.slice(start, length)
                };
                self.solve(slice, step, &mut made);
                start += length;
            }
        }
        Ok(made)
    }

    fn restore(&mut self, _: &[u8], _: &[u8]) -> Result<(), BrokenState> {
        Err(BrokenState("an expression keeps nothing".to_owned()))
    }

    fn size(&self) -> (u64, u64) {
        (0, 0)
    }

    fn stays(&self) -> bool {
        false
    }
}
