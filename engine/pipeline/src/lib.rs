//! The stages between permission and the log: what a station does to a batch of messages before they are stored.
//!
//! What lives here: the [`Stage`] contract, compiled plans and how a batch runs through one, the stages for schemas and
//! functions, dead letters, and the numbers each stage keeps. What may not come in: wasmtime and datafusion (they stand
//! behind traits), tokio, any IO, the log. The only clock read is the one that measures how long a stage took.

mod dataflow;
mod dead_letter;
mod function;
mod headers;
mod metrics;
mod order;
mod plan;
mod record;
mod run;
mod schema;
mod stage;
mod trace;
mod verdict;

pub use dataflow::{
    Batch, BrokenState, Dataflow, DataflowStatus, Effects, FlowTable, Origin, Output, StateChange,
};
pub use dead_letter::{DeadLetter, dead_letter, dead_letter_of_flow};
pub use function::{
    DeployedRows, Difference, FunctionMetrics, FunctionSnapshot, FunctionStage, FunctionVersion,
    RowFunction, Shadows, Share, Trial, TrialMode, TrialReport, TrialRules, TrialTable,
    VersionMetrics, seen,
};
pub use headers::{block, is_plain, unforged, without_orders};
pub use metrics::{PipelineMetrics, StageMetrics, StageSnapshot};
pub use millstream_schema_formats::{Column, ColumnKind, Item};
pub use order::{KeyRule, Order, Running};
pub use plan::Plan;
pub use record::Record;
pub use schema::{
    EncodeStage, Encoding, Framing, Migration, Migrations, Prefix, Reading, ReadingError, RuleFor,
    SchemaOptions, SchemaRule, SchemaStage, Schemas, SubjectSchemas, SubjectVersion, VersionSchema,
    Wanted,
};
pub use stage::{InPlace, Look, MakeVerdicts, Stage};
pub use trace::{Step, Trace};
pub use verdict::{Ended, OnRejection, Rejection, Verdict};
