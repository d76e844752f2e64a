//! SQL over messages. The only room that knows DataFusion and Arrow.
//!
//! What lives here: [`SqlStage`], statements `SELECT … FROM message [WHERE …]` that are checked, typed and compiled when they
//! are deployed and then run on batches of messages: JSON in, Arrow arrays between, JSON out. And [`query`], questions over
//! stored messages, on threads of their own. What may not come in: planning while messages pass; in a stage, anything that
//! needs more than one message; any IO: what a query reads is handed to it.
//!
//! The way through the files of a stage: `parse` (text to `SELECT`s) and `shape` (what a stage refuses, and `UNNEST`), `catalog`
//! and `functions` (what a statement may name), `compile`, `texts` (which texts are JSON) and `lower` (to physical expressions),
//! `locate` (where an error stands); then, per batch, `scan` and `cell` (JSON to arrays), `program` and `spread` (evaluate),
//! `print` (arrays to JSON, and to what a message is called).

mod catalog;
mod cell;
mod compile;
pub mod continuous;
mod error;
mod functions;
mod intervals;
mod locate;
mod lower;
mod overflow;
mod parse;
mod patterns;
mod print;
mod program;
pub mod query;
mod scan;
mod shape;
mod spread;
mod stage;
#[cfg(test)]
mod tests;
mod texts;

pub use compile::{Station, Surroundings};
pub use error::SqlError;
pub use functions::{SqlFunction, SqlFunctions};
pub use millstream_pipeline::{Column, ColumnKind, Item};
pub use stage::SqlStage;
