//! The contract of a query that never ends: messages of several streams in, results and changes of its state out.
//!
//! Whoever runs one reads the streams, calls [`Dataflow::step`], and stores what comes of it together with the positions it
//! has read up to, in one command. When that fails, the dataflow is thrown away and made anew from what is stored.

use std::fmt::Debug;

use bytes::Bytes;
use millstream_types::Timestamp;
use thiserror::Error;

use crate::{Record, Rejection};

/// A stream that a dataflow reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTable {
    /// The station or stream.
    pub station: String,
    /// Only messages on subjects that match.
    pub filter: Option<String>,
    /// Whether each subject has one row, its last message. It is read to its end before those that are none, once, when there
    /// is no state.
    pub is_table: bool,
}

/// A compiled query with its state.
pub trait Dataflow: Send + Debug {
    /// What it reads; [`Batch`]es count them.
    fn sources(&self) -> &[FlowTable];

    /// Puts back an entry of state, as a [`StateChange`] told it last. All of them come before the first step, in any order.
    ///
    /// # Errors
    /// When it is none of this query's.
    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState>;

    /// Takes in the next messages of its sources and brings event time forward. `now` is the wall clock; it never goes back.
    /// Called without messages as well, when [`DataflowStatus::next_wake`] has come.
    fn step(&mut self, batches: &[Batch<'_>], now: Timestamp) -> Effects;

    /// Numbers to show.
    fn status(&self) -> DataflowStatus;
}

/// The next messages of a source, in order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its place among [`Dataflow::sources`].
    pub source: usize,
    /// With JSON objects as payloads, and their sequences. None of them: there is more to be read of this source than was,
    /// which therefore is not idle.
    pub records: &'a [Record],
}

/// What a step comes to.
#[derive(Debug, Default)]
pub struct Effects {
    /// Results in the order in which they are to be stored.
    pub outputs: Vec<Output>,
    /// Messages that cannot be evaluated, and rows that cannot.
    pub rejected: Vec<(Origin, Rejection)>,
    /// Messages that come behind the end of their window, and why, when they are to be stored elsewhere.
    pub late: Vec<(Origin, Rejection)>,
    /// What changed of the state. The last change of a key counts.
    pub state: Vec<StateChange>,
    /// Why the query cannot go on, such as too much state. Nothing of the step may be stored then.
    pub failed: Option<String>,
}

/// Where a row came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A message of the step.
    Message {
        /// The number of the source.
        source: usize,
        /// Its sequence in the source.
        sequence: u64,
    },
    /// Several messages made it: the row itself, as JSON.
    Row(Bytes),
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where it is published.
    pub subject: Bytes,
    /// Empty when it takes the row of its subject away.
    pub payload: Bytes,
    /// Whether it takes the row of its subject away: it is published with `KV-Operation: DEL`.
    pub delete: bool,
    /// Of a window that is told once: the event time at which it closes. It is told in the step that brings
    /// [`DataflowStatus::watermark`] there.
    pub closes: Option<Timestamp>,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Short: what groups or joins by, and which operator's it is.
    pub key: Bytes,
    /// `None`: the entry is gone.
    pub value: Option<Bytes>,
}

/// A dataflow in numbers, since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataflowStatus {
    /// Event time: nothing earlier is expected.
    pub watermark: Option<Timestamp>,
    /// The same of each source.
    pub sources: Vec<Option<Timestamp>>,
    /// Bytes of state, in memory and on local disk.
    pub state_bytes: u64,
    /// Entries of state: groups, rows that wait for others.
    pub state_rows: u64,
    /// Of both, what is on local disk.
    pub spilled_bytes: u64,
    /// Its entries.
    pub spilled_rows: u64,
    /// Rows that came behind the end of their window.
    pub late: u64,
    /// When a step is due without messages: a window in processing time ends, a source becomes idle, state is to be forgotten.
    pub next_wake: Option<Timestamp>,
}

/// State that is none of the query's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("state cannot be read: {0}; start the flow anew to build it again from what is stored")]
pub struct BrokenState(pub String);
