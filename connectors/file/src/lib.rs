//! Files in and out: JSON lines and CSV as a source, JSON lines as a sink.
//!
//! What lives here: [`FileSource`] (reads from a position that moves with the commit, so each record is stored once even
//! after kill -9) and [`FileSink`] (rotation, no torn line, no line twice).
//! What may not come in: supervision and retry (`connectors/runtime`), other systems, object stores.

mod csv_rows;
mod error;
mod follow;
mod json_lines;
mod ledger;
mod lines;
mod pace;
mod position;
mod reader;
mod rotate;
mod sink;
mod source;

pub use sink::FileSink;
pub use source::FileSource;
