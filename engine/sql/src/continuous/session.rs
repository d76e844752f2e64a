//! Session windows: rows of a partition that follow each other with less than a gap between them.
//!
//! What lives here: the sessions of a partition and how they grow into one another (`sessions`), and when their rows are told
//! (`operator`). Rows get the start and the end of their session; what is made of them is the matter of who comes behind.

mod operator;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::operator::Operator;
use super::time::Bound;

/// Sessions as they are compiled. Rows of the input are never taken back.
#[derive(Clone, Debug)]
pub(crate) struct SessionPlan {
    pub(crate) input: SchemaRef,
    /// May be empty: one partition.
    pub(crate) partition: Vec<Arc<dyn PhysicalExpr>>,
    /// The column of the input with the time of a row: nanoseconds, never NULL.
    pub(crate) time: usize,
    /// That of the time.
    pub(crate) bound: Bound,
    /// A session ends so many nanoseconds behind its last row.
    pub(crate) gap: i64,
    /// The columns of the input, then `window_start` and `window_end` in the type of the time.
    pub(crate) output: SchemaRef,
    /// Whether rows are told once, when their session has ended; or at once, and again with every change of its session.
    pub(crate) waits: bool,
}

impl SessionPlan {
    /// One without rows.
    ///
    /// # Errors
    /// When a type has no order.
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::Assignment::new(self.clone())?))
    }
}
