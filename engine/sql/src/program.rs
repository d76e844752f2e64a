//! A compiled statement over batches: filter, project, print. No planning here.

use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{Array, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use millstream_pipeline::{Column, Rejection};

use crate::compile::root_text;
use crate::functions::{Remembered, refusal_of};
use crate::lower::{Lowered, Output, Role, Step};
use crate::parse::lower_first;
use crate::print::Printer;
use crate::scan::Scanned;

/// Why one message does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Cow<'static, str>,
    pub(crate) reason: String,
    /// JSON pointer into the payload.
    pub(crate) path: Option<String>,
    /// The version of the function that says so.
    pub(crate) version: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(
        code: impl Into<Cow<'static, str>>,
        reason: String,
        path: Option<String>,
    ) -> Self {
        Self {
            code: code.into(),
            reason,
            path,
            version: None,
        }
    }

    /// As a stage says it.
    pub(crate) fn rejection(&self, label: &str) -> Rejection {
        let rejection = Rejection::new(label, &self.code, &self.reason);
        let rejection = match &self.path {
            Some(path) => rejection.at(path),
            None => rejection,
        };
        match self.version {
            Some(version) => rejection.of_version(version),
            None => rejection,
        }
    }
}

/// What a row says of its message besides the payload; absent is what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) subject: Option<Bytes>,
    /// All headers as a block.
    pub(crate) headers: Option<Bytes>,
    pub(crate) key: Option<Option<Bytes>>,
}

/// A message in the making: its payload is part of the batch's text.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) text: Range<usize>,
    pub(crate) head: Option<Box<Head>>,
}

/// A statement, ready to run. Shared by threads; each batch is independent.
#[derive(Debug)]
pub(crate) struct Program {
    /// Which of the scanned columns it reads; all of them, in their order, when it says nothing.
    reads: Option<Vec<usize>>,
    steps: Vec<Step>,
    printer: Printer,
    columns: Vec<Column>,
}

impl Program {
    /// `scanned` are the numbers of the columns that are read for it and others.
    pub(crate) fn new(lowered: Lowered, scanned: &[usize]) -> Self {
        let members = lowered.outputs.iter();
        let members = members.filter(|output| output.role == Role::Member);
        let column =
            |output: &Output| Column::new(&output.name, output.kind.clone(), output.nullable);
        let at = |column: &usize| scanned.iter().position(|own| own == column);
        Self {
            reads: (lowered.scan != scanned).then(|| lowered.scan.iter().filter_map(at).collect()),
            columns: members.map(column).collect(),
            printer: Printer::of_messages(&lowered.outputs),
            steps: lowered.steps,
        }
    }

    /// The columns of the new payload.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How each of `count` messages ends; those that were refused before are filtered.
    pub(crate) fn run(&self, scanned: &Scanned, count: usize) -> Found {
        let mut found = Found {
            ends: (0..count).map(|_| End::Filtered).collect(),
            text: Vec::new(),
        };
        if scanned.rows.is_empty() {
            return found;
        }
        let _remembered = Remembered::for_batch();
        let batch = match &self.reads {
            None => Ok(scanned.batch.clone()),
            Some(columns) => scanned.batch.project(columns),
        };
        match batch {
            Ok(batch) => self.solve(&batch, &scanned.rows, &mut found),
            Err(error) => {
                let refusal = sql_error(&DataFusionError::from(error));
                for row in &scanned.rows {
                    found.refuse(*row, refusal.clone());
                }
            }
        }
        found
    }

    /// Runs the batch; when that fails, runs its halves, until the rows that fail stand alone. A row's answer does not
    /// depend on its neighbours, so few bad rows among many cost little.
    fn solve(&self, batch: &RecordBatch, rows: &[usize], found: &mut Found) {
        let error = match self.evaluate(batch, rows) {
            Ok(kept) => return self.printer.print(&kept.batch, &kept.rows, found),
            Err(error) => error,
        };
        if let [row] = rows {
            found.refuse(*row, sql_error(&error));
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
                Step::Spread(spread) => {
                    let (batch, from) = spread.run(&kept.batch)?;
                    let rows = from.into_iter().map(|row| kept.rows[row]).collect();
                    kept = Kept { batch, rows };
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

/// How a message ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Filtered,
    One(Made),
    Many(Vec<Made>),
    Refused(Refusal),
}

/// Most bytes of payload that a batch becomes; what would be more is refused.
const MAX_TEXT: usize = 256 << 20;

/// The ends of a batch in the making.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) ends: Vec<End>,
    /// All new payloads; the rows of a batch go into the log together, so they share one buffer.
    pub(crate) text: Vec<u8>,
}

impl Found {
    /// One more message made of `message`, unless it was refused for another.
    pub(crate) fn add(&mut self, message: usize, made: Made) {
        if made.text.end > MAX_TEXT {
            let reason = format!("messages of its batch have more than {MAX_TEXT} bytes");
            return self.refuse(message, Refusal::new("output_limit", reason, None));
        }
        let end = &mut self.ends[message];
        *end = match std::mem::replace(end, End::Filtered) {
            End::Filtered => End::One(made),
            End::One(first) => End::Many(vec![first, made]),
            End::Many(mut all) => {
                all.push(made);
                End::Many(all)
            }
            End::Refused(why) => End::Refused(why),
        };
    }

    pub(crate) fn refuse(&mut self, message: usize, why: Refusal) {
        self.ends[message] = End::Refused(why);
    }
}

/// The refusal of a row that cannot be evaluated.
pub(crate) fn sql_error(error: &DataFusionError) -> Refusal {
    if let Some(rejected) = refusal_of(error) {
        return rejected;
    }
    let text = root_text(error);
    let first = text.lines().next().unwrap_or_default();
    // Arrow puts the kind of the error in front of its text.
    let first = first.split_once(" error: ").map_or(first, |(_, rest)| rest);
    let first = first.replace("Overflow happened on: ", "");
    let reason = lower_first(first.trim_end_matches(".").trim_end_matches(" error"));
    Refusal::new("sql_error", reason, None)
}
