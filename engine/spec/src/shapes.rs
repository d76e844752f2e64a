//! The typed specifications: what is stored and shown, free of places in files.

mod connector;
mod flow;
mod function;
mod query;
mod read;
mod read_flow;
mod read_function;
mod read_query;
mod read_schema;
mod schema;
mod station;
mod text;
mod trial;
mod value_type;

pub use connector::{ConnectorConfig, SinkSpec, SourceSpec};
pub use flow::{FlowSpec, FlowStart};
pub use function::{AddedColumn, FunctionLimits, FunctionSpec, SqlCall, StateSpec};
pub use query::{Emit, Late, QuerySource, QuerySpec, Results};
pub(crate) use read::read_spec;
pub use schema::{
    Compatibility, MigrationsSpec, SchemaFormat, SchemaReference, SchemaSpec, SchemaText,
};
pub use station::{
    Compression, DeadLettersSpec, DedupBy, DedupSpec, Discard, EncodeUse, Framing, OnRejection,
    OrderSpec, PersistMode, Policy, RetentionSpec, RunningSpec, SchemaRule, SchemaUse,
    SchemaVersion, StageSpec, StationSpec, Storage,
};
pub use trial::{TrialModeSpec, TrialSpec};
pub use value_type::ValueType;
