//! Pairs of rows: gathered over a batch, then made and filtered together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::physical_expr::PhysicalExpr;
use hashbrown::HashSet;

use super::side::Side;
use super::table::Table;
use crate::continuous::delta::Delta;
use crate::continuous::operator::Step;
use crate::continuous::parts::caught;

/// Most pairs that are made at once.
pub(super) const CHUNK: usize = 8192;
/// Most rows that a step may make.
pub(super) const MOST: usize = 10_000_000;

/// Rows that came and rows that are kept, which may match.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Rows of the batch that came.
    pub(super) came: Vec<u32>,
    /// Kept rows of the other side.
    pub(super) kept: Vec<u32>,
    /// Where what came is kept, when it was not there before; else `NONE`.
    pub(super) new: Vec<u32>,
    /// How often what came is added.
    pub(super) diffs: Vec<i64>,
}

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= CHUNK
    }

    pub(super) fn push(&mut self, came: usize, kept: u32, new: u32, diff: i64) {
        self.came.push(came as u32);
        self.kept.push(kept);
        self.new.push(new);
        self.diffs.push(diff);
    }

    pub(super) fn clear(&mut self) {
        self.came.clear();
        self.kept.clear();
        self.new.clear();
        self.diffs.clear();
    }
}

/// The columns of pairs: left, then right.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) columns: Vec<ArrayRef>,
    /// Which pairs match; `None`: all.
    pub(super) matches: Option<BooleanArray>,
}

impl Made {
    pub(super) fn is_match(&self, pair: usize) -> bool {
        self.matches
            .as_ref()
            .is_none_or(|matches| matches.value(pair))
    }

    /// The columns of the pairs that match.
    ///
    /// # Errors
    /// As Arrow's kernel.
    pub(super) fn matching(&self) -> Result<Vec<ArrayRef>> {
        let Some(matches) = &self.matches else {
            return Ok(self.columns.clone());
        };
        let columns = self
            .columns
            .iter()
            .map(|column| Ok(filter(column, matches)?));
        columns.collect()
    }
}

/// Makes pairs, and evaluates what more than equal keys they need.
#[derive(Debug)]
pub(super) struct Probe {
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// The left columns, then the right ones.
    schema: SchemaRef,
}

impl Probe {
    pub(super) fn new(
        left: &SchemaRef,
        right: &SchemaRef,
        filter: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Self {
        let fields = left.fields().iter().chain(right.fields()).cloned();
        let schema = arrow::datatypes::Schema::new(fields.collect::<Vec<_>>());
        Self {
            filter: filter.cloned(),
            schema: Arc::new(schema),
        }
    }

    pub(super) fn filters(&self) -> bool {
        self.filter.is_some()
    }

    /// The columns of pairs whose one half came as rows of `delta` from `side` and whose other half `table` keeps. A row whose
    /// condition cannot be evaluated matches nothing and is rejected.
    ///
    /// # Errors
    /// As Arrow's kernels.
    pub(super) fn make(
        &self,
        pairs: &Pairs,
        (side, delta): (usize, &Delta),
        (other, table): (&Side, &Table),
        refused: &mut Refused,
        step: &mut Step<'_>,
    ) -> Result<Made> {
        let came = UInt32Array::from(pairs.came.clone());
        let own = delta.batch.columns().iter();
        let own = own.map(|column| Ok(take(column, &came, None)?));
        let own = own.collect::<Result<Vec<_>>>()?;
        let theirs = other.decode(pairs.kept.iter().map(|slot| table.row(*slot)))?;
        let columns = if side == 0 {
            [own, theirs].concat()
        } else {
            [theirs, own].concat()
        };
        let Some(filter) = &self.filter else {
            return Ok(Made {
                columns,
                matches: None,
            });
        };
        let batch = batch(&self.schema, columns, pairs.len())?;
        let mut matches = vec![false; pairs.len()];
        let mut left = vec![(0, pairs.len())];
        while let Some((start, length)) = left.pop() {
            let error = match caught(|| evaluate(filter, &batch.slice(start, length))) {
                Ok(found) => {
                    for at in 0..length {
                        matches[start + at] = found.is_valid(at) && found.value(at);
                    }
                    continue;
                }
                Err(error) => error,
            };
            if length == 1 {
                let row = pairs.came[start];
                if pairs.diffs[start] > 0 && refused.rows.insert(row) {
                    step.reject(delta, row as usize, &error);
                }
                continue;
            }
            let half = length / 2;
            left.push((start + half, length - half));
            left.push((start, half));
        }
        Ok(Made {
            columns: batch.columns().to_vec(),
            matches: Some(BooleanArray::from(matches)),
        })
    }
}

/// Rows of a batch that were rejected: each is once.
#[derive(Debug, Default)]
pub(super) struct Refused {
    rows: HashSet<u32>,
}

fn evaluate(filter: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let array = filter.evaluate(batch)?.into_array(batch.num_rows())?;
    Ok(as_boolean_array(&array)?.clone())
}

/// A batch that may have no columns.
///
/// # Errors
/// When columns do not fit.
pub(super) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    count: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// A delta of rows with these diffs.
pub(super) fn delta(batch: RecordBatch, diffs: Vec<i64>) -> Delta {
    let once = diffs.iter().all(|diff| *diff == 1);
    Delta {
        diffs: (!once).then_some(diffs),
        ..Delta::added(batch)
    }
}
