//! What a schema means: JSON Schema texts are compiled once and check parsed documents.
//!
//! What lives here: compiled schemas, violations in words a person understands, the limits that keep a hostile schema or
//! document from hurting the server, and the columns a schema describes ([`Column`], the typing between the stages of a
//! pipeline). What may not come in: any IO (references are never fetched), the registry's names and versions, messages.

mod budget;
mod chains;
mod column;
mod columns;
mod describe;
mod error;
mod json_schema;
mod limits;
mod references;
mod violation;
mod visits;

pub use column::{Column, ColumnKind, UnknownKind};
pub use columns::columns_of_json_schema;
pub use error::SchemaError;
pub use json_schema::JsonSchema;
pub use limits::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};
pub use violation::Violation;
