//! Station files: what a user writes in YAML, as typed values with their places in the text.
//!
//! What lives here: the YAML reading with positions, the typed specifications (also their stable
//! JSON form, which the catalog stores and `describe` shows), and every check that needs nothing
//! but the files. All problems of all files are reported at once.
//! What may not come in: reading files, the catalog, schemas' or SQL's own rules, tokio.

mod attachments;
mod document;
mod fields;
mod kind;
mod load;
mod node;
mod plain;
mod problem;
mod references;
mod shapes;
mod variables;

#[cfg(test)]
mod tests;

pub use attachments::{Attachment, attachment_key, attachments};
pub use document::{Document, Parsed, Spec, parse};
pub use kind::Kind;
pub use plain::yaml_value;
pub use problem::{At, Problem, SourceFile};
pub use shapes::{
    AddedColumn, Compatibility, Compression, ConnectorConfig, DeadLettersSpec, DedupBy, DedupSpec,
    Discard, Emit, EncodeUse, FlowSpec, FlowStart, Framing, FunctionLimits, FunctionSpec, Late,
    MigrationsSpec, OnRejection, OrderSpec, PersistMode, Policy, QuerySource, QuerySpec, Results,
    RetentionSpec, RunningSpec, SchemaFormat, SchemaReference, SchemaRule, SchemaSpec, SchemaText,
    SchemaUse, SchemaVersion, SinkSpec, SourceSpec, SqlCall, StageSpec, StateSpec, StationSpec,
    Storage, TrialModeSpec, TrialSpec, ValueType,
};
pub use variables::variable_names;
