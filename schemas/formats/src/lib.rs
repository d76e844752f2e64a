//! What a schema means: JSON Schema, Avro and Protobuf texts are compiled once and check, read, write and convert payloads.
//!
//! What lives here: compiled schemas ([`Schema`]), decoded payloads ([`Value`]), what schemas say in common words ([`Shape`]),
//! which versions get along ([`Incompatibility`]), violations in words a person understands, the limits that keep a hostile
//! schema or document from hurting the server, and the columns a schema describes ([`Column`], the typing between the stages
//! of a pipeline). What may not come in: any IO (references are never fetched), the registry's names and versions, messages.

mod avro;
mod column;
#[cfg(test)]
mod convert_tests;
mod describe;
mod detail;
mod diff;
mod error;
mod fault;
mod format;
mod incompatibility;
mod infer;
mod json;
mod names;
mod protobuf;
mod scalars;
mod schema;
mod shape;
mod tags;
mod text;
mod value;
mod violation;

pub use avro::AvroSchema;
pub use column::{Column, ColumnKind, Item, UnknownKind};
pub use diff::{Difference, DifferenceKind, diff};
pub use error::SchemaError;
pub use format::{Format, UnknownFormat};
pub use incompatibility::{Incompatibility, Policy};
pub use infer::{Evidence, Inference, NotJson, Proposal};
pub use json::{
    JsonSchema, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES, columns_of_json_schema,
};
pub use protobuf::{ProtobufSchema, read_message_index, write_message_index};
pub use schema::{Reference, Schema};
pub use shape::{EnumShape, FieldShape, RecordShape, Shape, Unit};
pub use tags::{Entity, tagged};
pub use value::{Instant, Value};
pub use violation::Violation;
