//! SQL over messages. The only room that knows DataFusion and Arrow.
//!
//! What lives here: [`SqlStage`], one `SELECT … FROM message [WHERE …]` that is checked, typed and compiled when it is
//! deployed and then runs on batches of messages: JSON in, Arrow arrays between, JSON out. And [`query`], questions over
//! stored messages, on threads of their own. What may not come in: planning while messages pass; in a stage, anything that
//! needs more than one message; any IO: what a query reads is handed to it.
//!
//! The way through the files of a stage: `parse` (text to one `SELECT`) and `shape` (what a stage refuses), `catalog` (what a
//! statement may name), `compile` and `lower` (to physical expressions), `locate` (where an error stands); then, per
//! batch, `scan` and `cell` (JSON to arrays), `program` (evaluate), `print` (arrays to JSON).

mod catalog;
mod cell;
mod compile;
pub mod continuous;
mod error;
mod intervals;
mod locate;
mod lower;
mod overflow;
mod parse;
mod print;
mod program;
pub mod query;
mod scan;
mod shape;
mod stage;
#[cfg(test)]
mod tests;

pub use error::SqlError;
pub use millstream_pipeline::{Column, ColumnKind};
pub use stage::SqlStage;
