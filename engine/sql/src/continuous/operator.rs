//! What the nodes of a dataflow are, and what they may do in a step.

use std::fmt::Debug;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use millstream_pipeline::{BrokenState, Effects, Origin, Rejection, StateChange};

use super::delta::Delta;
use super::parts::Scratch;
use super::time::Marks;
use crate::lower::Output;
use crate::print::{Printer, check_printable};
use crate::program::sql_error;

/// A node: it takes changes of its inputs and says how its own rows change.
pub(crate) trait Operator: Send + Debug {
    /// Takes what its inputs made in this step, and then time, which may end windows. All changes of its state are told to
    /// `step`.
    ///
    /// # Errors
    /// Only what no single row is to blame for: the flow stands still then.
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>>;

    /// Puts back an entry of state that a step told.
    ///
    /// # Errors
    /// When it is none of this operator's.
    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState>;

    /// All entries are put back, and the first step comes.
    ///
    /// # Errors
    /// As [`Operator::evict`].
    fn restored(&mut self) -> Result<()> {
        Ok(())
    }

    /// Bytes of its state in memory, and all entries.
    fn size(&self) -> (u64, u64);

    /// Whether its state stays in memory: there is some, and entries of it cannot leave.
    fn stays(&self) -> bool {
        true
    }

    /// Says where entries may go that have no room in memory. Called before anything else.
    fn spill_to(&mut self, _scratch: Scratch) {}

    /// Lets entries leave that nothing touched for long, until its state in memory is about so many bytes. Not within a step.
    ///
    /// # Errors
    /// When they have no place: the operator is of no use any more.
    fn evict(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// Bytes and entries of its state that are not in memory.
    fn spilled(&self) -> (u64, u64) {
        (0, 0)
    }

    /// When it wants a step without messages, in nanoseconds since 1970.
    fn next_wake(&self) -> Option<i64> {
        None
    }
}

/// What an input made in a step.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) deltas: Vec<Delta>,
    /// How far its time was before these rows: one below is late.
    pub(crate) before: Marks,
    /// How far its time is behind these rows.
    pub(crate) after: Marks,
}

/// A step of the whole dataflow, as the node sees it whose turn it is.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    /// The wall clock in nanoseconds since 1970.
    pub(crate) now: i64,
    /// The number of the node; its state is kept under it.
    pub(crate) node: u16,
    pub(crate) effects: &'a mut Effects,
    /// Rows that came behind the end of their window, of all nodes.
    pub(crate) late: &'a mut u64,
    /// Whether late messages are to be stored elsewhere.
    pub(crate) keeps_late: bool,
}

impl Step<'_> {
    /// An entry of state, as it is now; `None`: it is gone.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let mut whole = Vec::with_capacity(2 + key.len());
        whole.extend_from_slice(&self.node.to_be_bytes());
        whole.extend_from_slice(key);
        self.effects.state.push(StateChange {
            key: whole.into(),
            value: value.map(Bytes::from),
        });
    }

    /// A row that cannot be evaluated.
    pub(crate) fn reject(&mut self, delta: &Delta, row: usize, error: &DataFusionError) {
        let why = sql_error(error).rejection("sql");
        self.effects.rejected.push((origin(delta, row), why));
    }

    /// A row that comes behind the end of its window.
    pub(crate) fn late(&mut self, delta: &Delta, row: usize) {
        *self.late += 1;
        if self.keeps_late {
            let why = Rejection::new("sql", "late", "its window has ended");
            self.effects.late.push((origin(delta, row), why));
        }
    }
}

fn origin(delta: &Delta, row: usize) -> Origin {
    match &delta.origins {
        Some(origins) => Origin::Message {
            source: origins.source,
            sequence: origins.sequences[row],
        },
        None => Origin::Row(json(&delta.batch, row)),
    }
}

/// A row as a JSON object; what JSON cannot hold is left out.
fn json(batch: &RecordBatch, row: usize) -> Bytes {
    let schema = batch.schema();
    let fits: Vec<usize> = (0..batch.num_columns())
        .filter(|column| check_printable(schema.field(*column).data_type()).is_ok())
        .collect();
    let Ok(batch) = batch.slice(row, 1).project(&fits) else {
        return Bytes::from_static(b"{}");
    };
    let outputs: Vec<Output> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let json = crate::catalog::is_json(field);
            Output::member(field.name(), field.data_type().clone(), json)
        })
        .collect();
    let mut text = Vec::new();
    match Printer::new(&outputs).rows(&batch).put(0, &mut text) {
        Ok(()) if !text.is_empty() && outputs.len() == batch.num_columns() => text.into(),
        _ => Bytes::from_static(b"{}"),
    }
}
