//! Rows on their way between operators.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

/// The messages that rows came from: one each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origins {
    pub(crate) source: usize,
    /// As many as rows.
    pub(crate) sequences: Vec<u64>,
}

/// Rows, and how often each is added, or taken back when that is negative.
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    pub(crate) batch: RecordBatch,
    /// As many as rows, none of them 0; `None`: each is added once.
    pub(crate) diffs: Option<Vec<i64>>,
    /// `None`: several messages made them.
    pub(crate) origins: Option<Arc<Origins>>,
    /// The watermark of their source before these rows; `i64::MIN`: what is known of it is that of the step.
    pub(crate) mark: i64,
}

impl Delta {
    /// Rows that are added once, made of several messages.
    pub(crate) fn added(batch: RecordBatch) -> Self {
        Self {
            batch,
            diffs: None,
            origins: None,
            mark: i64::MIN,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a row is added.
    pub(crate) fn diff(&self, row: usize) -> i64 {
        self.diffs.as_ref().map_or(1, |diffs| diffs[row])
    }

    /// The same rows with other columns.
    pub(crate) fn with_batch(&self, batch: RecordBatch) -> Self {
        Self {
            batch,
            diffs: self.diffs.clone(),
            origins: self.origins.clone(),
            mark: self.mark,
        }
    }

    /// The rows for which `mask` is true.
    ///
    /// # Errors
    /// As Arrow's kernel.
    pub(crate) fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        if mask.null_count() == 0 && mask.true_count() == self.len() {
            return Ok(self.clone());
        }
        let rows: Vec<usize> = (0..mask.len())
            .filter(|row| mask.is_valid(*row) && mask.value(*row))
            .collect();
        Ok(self.chosen(filter_record_batch(&self.batch, mask)?, &rows))
    }

    /// These rows, in this order; one may come several times.
    ///
    /// # Errors
    /// As Arrow's kernel.
    pub(crate) fn take(&self, rows: &[usize]) -> Result<Self> {
        let indices: UInt32Array = rows.iter().map(|row| *row as u32).collect();
        Ok(self.chosen(take_record_batch(&self.batch, &indices)?, rows))
    }

    /// Some rows one after the other.
    pub(crate) fn slice(&self, start: usize, length: usize) -> Self {
        let rows: Vec<usize> = (start..start + length).collect();
        self.chosen(self.batch.slice(start, length), &rows)
    }

    fn chosen(&self, batch: RecordBatch, rows: &[usize]) -> Self {
        let origins = self.origins.as_ref().map(|origins| {
            Arc::new(Origins {
                source: origins.source,
                sequences: rows.iter().map(|row| origins.sequences[*row]).collect(),
            })
        });
        Self {
            batch,
            diffs: self
                .diffs
                .as_ref()
                .map(|diffs| rows.iter().map(|row| diffs[*row]).collect()),
            origins,
            mark: self.mark,
        }
    }
}
