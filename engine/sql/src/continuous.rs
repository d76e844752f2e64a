//! Placeholder of the continuous engine: the door that the server is written against.

use millstream_pipeline::{Column, Dataflow, FlowTable};
use millstream_spec::QuerySpec;

use crate::SqlError;

/// What a query may read.
pub trait Stations {
    /// Columns of a station or stream; `None`: there is none.
    ///
    /// # Errors
    /// Why they cannot be told.
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String>;
    /// All of them.
    fn names(&self) -> Vec<String>;
    /// The subjects of one.
    fn subjects(&self, name: &str) -> Vec<String>;
}

/// A compiled query.
#[derive(Debug)]
pub enum Compiled {}

impl Compiled {
    /// Makes one without state.
    #[must_use]
    pub fn start(&self) -> Box<dyn Dataflow> {
        match *self {}
    }

    /// What it reads.
    #[must_use]
    pub fn sources(&self) -> &[FlowTable] {
        match *self {}
    }

    /// Its result.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        match *self {}
    }

    /// How it is computed.
    #[must_use]
    pub fn explain(&self) -> &str {
        match *self {}
    }

    /// Whether results change.
    #[must_use]
    pub fn is_updating(&self) -> bool {
        match *self {}
    }

    /// Equal: state of the one serves the other.
    #[must_use]
    pub fn layout(&self) -> u64 {
        match *self {}
    }
}

fn missing() -> SqlError {
    SqlError {
        message: "continuous queries come with the next merge".to_owned(),
        line: 1,
        column: 1,
        hint: None,
    }
}

/// Compiles a query.
///
/// # Errors
/// What is wrong with it.
pub fn compile(_: &QuerySpec, _: &dyn Stations) -> Result<Compiled, SqlError> {
    Err(missing())
}

/// `CREATE FLOW … AS SELECT …`.
///
/// # Errors
/// What is wrong with it.
pub fn declared(_: &str) -> Result<Vec<(String, QuerySpec)>, SqlError> {
    Err(missing())
}
