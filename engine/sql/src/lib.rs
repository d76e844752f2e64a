//! SQL over messages. The only room that knows DataFusion and Arrow.
//!
//! What lives here: [`SqlStage`], one `SELECT … FROM message [WHERE …]` that is checked, typed and compiled when it is
//! deployed and then runs on batches of messages: JSON in, Arrow arrays between, JSON out. What may not come in: planning
//! while messages pass, aggregates or anything else that needs more than one message, tokio, any IO, any clock.
//!
//! The way through the files: `parse` (text to one `SELECT`) and `shape` (what a stage refuses), `catalog` (what a
//! statement may name), `compile` and `lower` (to physical expressions), `locate` (where an error stands); then, per
//! batch, `scan` and `cell` (JSON to arrays), `program` (evaluate), `print` (arrays to JSON).

mod catalog;
mod cell;
mod compile;
mod error;
mod intervals;
mod locate;
mod lower;
mod overflow;
mod parse;
mod print;
mod program;
mod scan;
mod shape;
mod stage;
#[cfg(test)]
mod tests;

pub use error::SqlError;
pub use millstream_pipeline::{Column, ColumnKind};
pub use stage::SqlStage;
