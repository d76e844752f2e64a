//! Two inputs whose rows find each other.
//!
//! What lives here: how inputs are joined ([`JoinPlan`]) and how rows look something up in a table ([`LookupPlan`]). The way
//! through the files: `side` (a batch before it is joined: keys, late rows, rows as bytes), `probe` (pairs of rows and the rest
//! of the condition), `operator` (a step), `settle` (rows that stand alone, and how a step ends); `lookup`; and what is kept:
//! `state` (rows by key), `table` (the rows of a side), `ends` (when they can be forgotten), `entry` (rows in the log).
//!
//! Rows of the left come before those of the right: a left row finds the right rows of earlier steps, a right row also the left
//! rows of its own step, and the diffs of both are multiplied. What is told of rows that stand alone (unmatched rows of outer
//! and anti joins, matched rows of semi joins) is the difference between before and behind the whole step.

mod ends;
mod entry;
mod lookup;
mod operator;
mod probe;
mod settle;
mod side;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::PhysicalExpr;

use self::lookup::Lookup;
use self::operator::Join;
use super::operator::Operator;
use super::time::Bound;

/// What must be equal: an expression over the left columns and one over the right columns.
pub(crate) type On = Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>;

/// How two inputs are joined.
#[derive(Clone, Debug)]
pub(crate) struct JoinPlan {
    pub(crate) kind: JoinType,
    /// May be empty: every row with every other.
    pub(crate) on: On,
    pub(crate) null_equals_null: bool,
    /// `NOT IN`: nothing passes when the right side has NULL. Anti joins of the left only.
    pub(crate) null_aware: bool,
    /// Over the left columns followed by the right columns; part of the condition.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) sides: [SidePlan; 2],
    pub(crate) output: SchemaRef,
    /// Rows without a match wait until none can come, so that nothing is taken back; else they are told at once and taken back
    /// when a match comes.
    pub(crate) waits: bool,
    /// Nanoseconds of the wall clock after which a row is forgotten that nothing touches.
    pub(crate) ttl: Option<i64>,
}

/// An input of a join.
#[derive(Clone, Debug)]
pub(crate) struct SidePlan {
    pub(crate) schema: SchemaRef,
    /// Whether rows are taken back.
    pub(crate) updating: bool,
    pub(crate) expiry: Vec<Expiry>,
}

/// When a row is dead: when `column` plus `slack` is below the floor of `bound` of the other side, no later row of that side can
/// match it. One without a time never matches.
#[derive(Clone, Debug)]
pub(crate) struct Expiry {
    /// A column of timestamps of this side.
    pub(crate) column: usize,
    /// What is known of the column itself: a row below its floor is late.
    pub(crate) own: Bound,
    /// Of the other side.
    pub(crate) bound: Bound,
    pub(crate) slack: i64,
}

/// A lookup: rows of the left find what the table on the right has at that moment, and changes of the table tell nothing.
#[derive(Clone, Debug)]
pub(crate) struct LookupPlan {
    /// Inner or left.
    pub(crate) kind: JoinType,
    pub(crate) on: On,
    pub(crate) null_equals_null: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) left: SchemaRef,
    pub(crate) right: SchemaRef,
    pub(crate) output: SchemaRef,
}

impl JoinPlan {
    /// The operator, without state.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Join::new(self)?))
    }
}

impl LookupPlan {
    /// The operator, without state.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Lookup::new(self)?))
    }
}
