//! The first rows of each partition: Top-N, the newest row of each key, `ORDER BY … LIMIT`.
//!
//! What lives here: which rows of a partition are to be seen (`seen`), and how that changes in a step (`operator`). Rows that
//! no later change can bring forth are not kept.

mod operator;
mod seen;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::operator::Operator;
use super::time::Bound;

/// Rows of partitions by rank, as it is compiled.
#[derive(Clone, Debug)]
pub(crate) struct RankPlan {
    pub(crate) input: SchemaRef,
    /// Whether rows of the input are taken back.
    pub(crate) updating: bool,
    /// May be empty: one partition.
    pub(crate) partition: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) order: Vec<PhysicalSortExpr>,
    pub(crate) function: RankFunction,
    /// Rows with `skip` < rank <= `skip` + `limit` are kept.
    pub(crate) skip: u64,
    pub(crate) limit: u64,
    /// Whether the rank is the last column of the output, as UInt64.
    pub(crate) numbered: bool,
    pub(crate) output: SchemaRef,
    /// The column of the input that ends a partition, which is among those of the partition, and its bound.
    pub(crate) close: Option<(usize, Bound)>,
    /// Whether a partition is told once, when it ends.
    pub(crate) waits: bool,
    /// Nanoseconds of the wall clock after which a partition is forgotten that nothing touches.
    pub(crate) ttl: Option<i64>,
}

/// How rows that are equal in order are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RankFunction {
    /// One after the other, by the rows themselves.
    RowNumber,
    /// Alike, and the next ones by how many rows are before them.
    Rank,
    /// Alike, and the next ones by how many different ones are before them.
    DenseRank,
}

impl RankPlan {
    /// One without rows.
    ///
    /// # Errors
    /// When a type has no order.
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::Ranking::new(self.clone())?))
    }
}
