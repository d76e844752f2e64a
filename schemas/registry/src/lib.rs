//! Which schemas there are: subjects, their versions, and the numbers schemas are known by.
//!
//! What lives here: the registry's state and its rules, as plain data that changes only through commands and lies in the
//! catalog's checkpoint. What may not come in: compiling or checking schemas (that is `schemas/formats`), clocks, any IO.

mod canonical;
mod compatibility;
mod error;
mod registry;
mod schema;

pub use canonical::canonical;
pub use compatibility::Compatibility;
pub use error::{DecodeError, RegisterError, RegistryError};
pub use millstream_schema_formats::Format;
pub use registry::{Registered, Registry};
pub use schema::{Schema, SubjectView, Version, VersionView};
