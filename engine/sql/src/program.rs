//! A compiled statement over batches: filter, project, print. No planning here.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use millstream_pipeline::{Column, Record};

use crate::SqlError;
use crate::compile::{compile, root_text};
use crate::lower::{Output, Step};
use crate::parse::lower_first;
use crate::print::{Printer, kind_of};
use crate::scan::Scan;

/// Why one message does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    /// JSON pointer into the payload.
    pub(crate) path: Option<String>,
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its new payload.
    Row(Bytes),
    /// The filter is not true for it.
    Filtered,
    Refused(Refusal),
}

/// A statement, ready to run. Shared by threads; each batch is independent.
#[derive(Debug)]
pub(crate) struct Program {
    scan: Scan,
    steps: Vec<Step>,
    printer: Printer,
    columns: Vec<Column>,
}

impl Program {
    pub(crate) fn compile(text: &str, columns: &[Column]) -> Result<Self, SqlError> {
        let lowered = compile(text, columns)?;
        let column = |output: &Output| Column {
            name: output.name.clone(),
            kind: kind_of(&output.data_type, output.json),
            nullable: output.nullable,
        };
        Ok(Self {
            scan: Scan::new(lowered.scan),
            steps: lowered.steps,
            columns: lowered.outputs.iter().map(column).collect(),
            printer: Printer::new(&lowered.outputs),
        })
    }

    /// The columns of the new payload.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// One answer for each record, in the same order.
    pub(crate) fn run(&self, records: &[Record]) -> Vec<Answer> {
        let mut found = Found {
            ends: vec![End::Filtered; records.len()],
            text: Vec::new(),
        };
        match self.scan.read(records) {
            Ok(scanned) => {
                for (row, refusal) in scanned.refused {
                    found.ends[row] = End::Refused(refusal);
                }
                if !scanned.rows.is_empty() {
                    self.solve(&scanned.batch, &scanned.rows, &mut found);
                }
            }
            Err(error) => {
                let refusal = sql_error(&DataFusionError::from(error));
                found.ends.fill(End::Refused(refusal));
            }
        }
        found.answers()
    }

    /// Runs the batch; when that fails, runs its halves, until the rows that fail stand alone. A row's answer does not
    /// depend on its neighbours, so few bad rows among many cost little.
    fn solve(&self, batch: &RecordBatch, rows: &[usize], found: &mut Found) {
        let error = match self.evaluate(batch, rows) {
            Ok(kept) => return self.printer.print(&kept.batch, &kept.rows, found),
            Err(error) => error,
        };
        if let [row] = rows {
            found.ends[*row] = End::Refused(sql_error(&error));
            return;
        }
        let half = rows.len() / 2;
        let (first, second) = rows.split_at(half);
        self.solve(&batch.slice(0, half), first, found);
        self.solve(&batch.slice(half, second.len()), second, found);
    }

    fn evaluate(&self, batch: &RecordBatch, rows: &[usize]) -> Result<Kept, DataFusionError> {
        // Kernels may panic at the ends of a type's range; that is the row's error, not the server's.
        catch_unwind(AssertUnwindSafe(|| self.steps(batch, rows)))
            .unwrap_or_else(|_| Err(exec_datafusion_err!("evaluation panicked")))
    }

    fn steps(&self, batch: &RecordBatch, rows: &[usize]) -> Result<Kept, DataFusionError> {
        let mut kept = Kept {
            batch: batch.clone(),
            rows: rows.to_vec(),
        };
        for step in &self.steps {
            let count = kept.rows.len();
            match step {
                Step::Nothing => kept.rows.clear(),
                Step::Filter(predicate) => {
                    let mask = predicate.evaluate(&kept.batch)?.into_array(count)?;
                    kept = kept.filter(as_boolean_array(&mask)?)?;
                }
                Step::Project(exprs, schema) => {
                    let arrays = exprs
                        .iter()
                        .map(|expr| expr.evaluate(&kept.batch)?.into_array(count))
                        .collect::<Result<Vec<_>, _>>()?;
                    let options = RecordBatchOptions::new().with_row_count(Some(count));
                    kept.batch =
                        RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
                }
            }
            if kept.rows.is_empty() {
                break;
            }
        }
        Ok(kept)
    }
}

/// The rows that are left, and which message each of them is.
struct Kept {
    batch: RecordBatch,
    rows: Vec<usize>,
}

impl Kept {
    fn filter(self, mask: &BooleanArray) -> Result<Self, DataFusionError> {
        let passes = |row: usize| mask.is_valid(row) && mask.value(row);
        if mask.true_count() == self.rows.len() {
            return Ok(self);
        }
        let rows = self.rows.iter().enumerate().filter(|(row, _)| passes(*row));
        let rows = rows.map(|(_, message)| *message).collect();
        Ok(Self {
            batch: filter_record_batch(&self.batch, mask)?,
            rows,
        })
    }
}

/// How a message ended, while the batch's text still grows.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Filtered,
    Row(Range<usize>),
    Refused(Refusal),
}

/// The answers of a batch in the making.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) ends: Vec<End>,
    /// All new payloads; the rows of a batch go into the log together, so they share one buffer.
    pub(crate) text: Vec<u8>,
}

impl Found {
    fn answers(self) -> Vec<Answer> {
        let text = Bytes::from(self.text);
        let answer = |end| match end {
            End::Filtered => Answer::Filtered,
            End::Row(range) => Answer::Row(text.slice(range)),
            End::Refused(refusal) => Answer::Refused(refusal),
        };
        self.ends.into_iter().map(answer).collect()
    }
}

/// The refusal of a row that cannot be evaluated.
pub(crate) fn sql_error(error: &DataFusionError) -> Refusal {
    let text = root_text(error);
    let first = text.lines().next().unwrap_or_default();
    // Arrow puts the kind of the error in front of its text.
    let first = first.split_once(" error: ").map_or(first, |(_, rest)| rest);
    let first = first.replace("Overflow happened on: ", "");
    Refusal {
        code: "sql_error",
        reason: lower_first(first.trim_end_matches(".").trim_end_matches(" error")),
        path: None,
    }
}
