//! Batches before they are kept.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};

use crate::continuous::delta::Delta;
use crate::continuous::operator::Step;

/// Rows as bytes and back; the order of the bytes is the order of the rows.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// `None` without columns: all rows are equal.
    converter: Option<RowConverter>,
}

impl Encoder {
    /// # Errors
    /// When a type has no order.
    pub(crate) fn new(fields: Vec<SortField>) -> Result<Self> {
        let converter = if fields.is_empty() {
            None
        } else {
            Some(RowConverter::new(fields)?)
        };
        Ok(Self { converter })
    }

    /// One of all columns.
    ///
    /// # Errors
    /// When a type has no order.
    pub(crate) fn of(schema: &SchemaRef) -> Result<Self> {
        let types = schema.fields().iter().map(|field| field.data_type());
        Self::new(types.cloned().map(SortField::new).collect())
    }

    /// # Errors
    /// As Arrow's kernel.
    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        let rows = match &self.converter {
            Some(converter) => Some(converter.convert_columns(columns)?),
            None => None,
        };
        Ok(Encoded { rows })
    }

    /// # Errors
    /// When these are not bytes that [`Self::encode`] made.
    pub(crate) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        let rows: Vec<&[u8]> = rows.collect();
        Ok(converter.convert_rows(rows.iter().map(|row| parser.parse(row)))?)
    }
}

/// The rows of a batch as bytes; by default of no columns.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    rows: Option<Rows>,
}

impl Encoded {
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        self.rows.as_ref().map_or(&[], |rows| rows.row(row).data())
    }
}

/// Evaluates the rows of a delta; when that fails, its halves, until the rows that fail stand alone and are rejected.
pub(crate) fn each_evaluated<T>(
    delta: Delta,
    step: &mut Step<'_>,
    evaluate: &dyn Fn(&RecordBatch) -> Result<T>,
) -> Vec<(Delta, T)> {
    let mut done = Vec::new();
    let mut left = vec![delta];
    while let Some(delta) = left.pop() {
        if delta.is_empty() {
            continue;
        }
        match caught(|| evaluate(&delta.batch)) {
            Ok(evaluated) => done.push((delta, evaluated)),
            // One that is taken back was never added.
            Err(error) if delta.len() == 1 => {
                if delta.diff(0) > 0 {
                    step.reject(&delta, 0, &error);
                }
            }
            Err(_) => {
                let half = delta.len() / 2;
                left.push(delta.slice(half, delta.len() - half));
                left.push(delta.slice(0, half));
            }
        }
    }
    done
}

/// Kernels may panic at the ends of a type's range; that is the row's error, not the server's.
///
/// # Errors
/// Those of `run`, and its panics.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    let panicked = || -> DataFusionError { exec_datafusion_err!("evaluation panicked") };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked()))
}

/// The values of a column of times.
///
/// # Errors
/// When it is none.
pub(crate) fn times(
    batch: &RecordBatch,
    column: usize,
) -> Result<PrimitiveArray<TimestampNanosecondType>> {
    let column = batch.column(column);
    match column.as_primitive_opt::<TimestampNanosecondType>() {
        Some(times) => Ok(times.clone()),
        None => exec_err!("time is of type {}", column.data_type()),
    }
}

/// The rows whose time is not below `floor`; the others are late.
///
/// # Errors
/// When the column is none of times.
pub(crate) fn in_time(
    delta: Delta,
    column: usize,
    floor: i64,
    step: &mut Step<'_>,
) -> Result<Delta> {
    let times = times(&delta.batch, column)?;
    let late = |row: &usize| times.is_null(*row) || times.value(*row) < floor;
    if !(0..times.len()).any(|row| late(&row)) {
        return Ok(delta);
    }
    let (late, kept): (Vec<usize>, Vec<usize>) = (0..times.len()).partition(late);
    for row in late {
        if delta.diff(row) > 0 {
            step.late(&delta, row);
        }
    }
    delta.take(&kept)
}
