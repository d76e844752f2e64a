//! Which schemas there are: subjects, their versions, the numbers schemas are known by, and which changes they allow.
//!
//! What lives here: the registry's state and its rules, as plain data that changes only through commands and lies in the
//! catalog's checkpoint, and every request of the Confluent-compatible interface as a function of that state ([`plan`]).
//! What may not come in: clocks, any IO, HTTP, messages. `apply` compiles nothing: schemas are compiled (`schemas/formats`)
//! before a change is proposed.

mod canonical;
mod change;
mod compatibility;
mod compiled;
mod data;
mod error;
mod guid;
mod name;
mod plan;
mod refusal;
mod registry;
mod request;
mod schema;
mod settings;
mod stored;

pub use canonical::canonical;
pub use change::RegistryChange;
pub use compatibility::Compatibility;
pub use compiled::Compiled;
pub use data::{Metadata, MigrationRule, Rule, RuleSet, SchemaReference};
pub use error::{DecodeError, MissingError, RegisterError};
pub use millstream_schema_formats::Format;
pub use name::{DEFAULT_CONTEXT, Name};
pub use plan::{Candidate, Planned, Prepared, TagChanges, plan, prepare_register};
pub use refusal::RegistryError;
pub use registry::{Registered, Registry};
pub use request::{Ask, Entity, EntityTags, Reply, Request, Verb};
pub use schema::{Schema, SubjectView, Version, VersionView};
pub use settings::{Config, Mode};
