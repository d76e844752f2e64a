//! Schemas on a message's way in and out: which one it must be, what it says it is, what is stored, what readers ask for.

mod claim;
mod encode;
mod migrate;
mod reading;
mod stage;
mod subject;
mod version;

pub use claim::Framing;
pub use encode::{EncodeStage, Encoding};
pub use migrate::{Migration, Migrations};
pub use reading::{Prefix, Reading, ReadingError, Schemas, SubjectVersion};
pub(crate) use stage::violation_line;
pub use stage::{SchemaOptions, SchemaStage};
pub use subject::{RuleFor, SchemaRule, SubjectSchemas, Wanted};
pub use version::VersionSchema;
