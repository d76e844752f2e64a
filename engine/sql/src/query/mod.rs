//! A question to what is stored: one `SELECT` over tables that somebody else knows, with a limit of memory and a deadline.
//!
//! The way through the files: `question` (text and parameters), `tables` (what a statement may name), `star` (what `*` stands
//! for), `bounds` (which messages a filter leaves to be read), `source` (pages of messages to arrays), `plan` (to a plan, or to
//! why there is none), `run` (watch), `cells` and `parquet` (rows in other forms than JSON).

mod bounds;
mod cells;
mod pace;
mod parquet;
mod plan;
mod question;
mod run;
mod source;
mod star;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_pipeline::{Column, Record};
use millstream_types::{Domain, Retry, Timestamp};
use thiserror::Error;

use crate::{SqlError, SqlFunctions};

pub use self::cells::{Cell, CellKind, Cells, Reader};
pub use self::question::{Form, Parameter, Question};
pub use self::run::{Described, describe, on_a_thread, start};

/// What a statement may name. Asked on the query's own thread, where waiting for a disk is right.
pub trait Tables: fmt::Debug + Send + Sync {
    /// The groups of tables; the first needs not to be named in a statement.
    fn groups(&self) -> Vec<String>;

    /// The tables of a group.
    fn names(&self, group: &str) -> Vec<String>;

    /// One of them; `None` when there is none of that name.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String>;

    /// The deployed functions that a text may call.
    ///
    /// # Errors
    /// Why one of them cannot be run.
    fn functions(&self, text: &str) -> Result<SqlFunctions, String> {
        let _none_are_named = text;
        Ok(SqlFunctions::default())
    }
}

/// Something with rows.
pub trait Table: fmt::Debug + Send + Sync {
    /// Its columns, members of the JSON objects that its records have as payloads.
    fn columns(&self) -> Vec<Column>;

    /// Whether its records are stored messages, which have `_subject`, `_time`, `_headers` and `_sequence` as well.
    fn is_stored(&self) -> bool;

    /// Its records within bounds, oldest first. Others may come along: each is held against the whole filter again.
    fn pages(&self, bounds: &Bounds) -> Box<dyn Pages>;
}

/// Records as they are read.
pub trait Pages: Send {
    /// The next ones; an empty page is the end.
    ///
    /// # Errors
    /// Why they cannot be read; the query ends with that.
    fn next(&mut self) -> Result<Page, String>;
}

/// Some records, and the sequence of each where they are stored ones.
#[derive(Debug, Default)]
pub struct Page {
    /// With JSON objects as payloads.
    pub records: Vec<Record>,
    /// As many as records, or none.
    pub sequences: Vec<u64>,
}

/// Which stored messages can pass a filter: those for which all of it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first sequence.
    pub first: u64,
    /// The last sequence.
    pub last: u64,
    /// Stored then or later.
    pub from: Option<Timestamp>,
    /// Stored then or earlier.
    pub until: Option<Timestamp>,
    /// The subject, as text or as a pattern of NATS that ends with `>`.
    pub subject: Option<String>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            first: 0,
            last: u64::MAX,
            from: None,
            until: None,
            subject: None,
        }
    }
}

/// What a query may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that its operators may hold. There is no disk behind it.
    pub memory: usize,
    /// How long it may run, the time included that its reader takes.
    pub time: Duration,
}

/// What a query tells, in this order: columns, then rows with progress between, then the end. [`Form`] says which of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The columns of the answer, in order: name and type, a word of [`Column`]s.
    Columns(Vec<(String, &'static str)>),
    /// Rows, one JSON object a line, with the columns as members in their order.
    Rows(Vec<u8>),
    /// The columns of an answer in cells.
    Kinds(Vec<(String, CellKind)>),
    /// Rows as cells.
    Cells(Cells),
    /// The next bytes of a file.
    File(Vec<u8>),
    /// How far it is; told about twice a second.
    Progress(Looked),
    /// The last one: how it ended.
    End(Result<Looked, QueryError>),
}

/// What a query has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Records that were read.
    pub records: u64,
    /// Rows of the answer.
    pub rows: u64,
    /// Records that are no rows, because their payload has not the shape of the table.
    pub skipped: u64,
    /// What was wrong with the first of them.
    pub first_skipped: Option<String>,
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// The statement cannot be run.
    #[error(transparent)]
    Statement(#[from] SqlError),
    /// It needs more memory than it may take.
    #[error(
        "query needs more than {0} bytes of memory: filter by `_time`, `_sequence` or `_subject`, or aggregate over fewer groups"
    )]
    Memory(usize),
    /// It took too long.
    #[error(
        "query took longer than {0:?}: filter by `_time`, `_sequence` or `_subject`, or give it more time"
    )]
    Deadline(Duration),
    /// Nobody listens any more.
    #[error("query was cancelled")]
    Cancelled,
    /// A row cannot be evaluated, or records cannot be read.
    #[error("{0}")]
    Failed(String),
}

impl QueryError {
    /// Whose fault: the author's, but for what cannot be read.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Client
    }

    /// Whether trying again helps: not without another text.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}
