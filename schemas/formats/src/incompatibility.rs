//! What keeps two versions of a schema from getting along.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing a reader's schema cannot do with what a writer's schema allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incompatibility {
    /// A word for programs, in the Confluent registry's spelling, such as `READER_FIELD_MISSING_DEFAULT_VALUE`.
    pub kind: String,
    /// Where in the reader's schema: a JSON pointer for JSON Schema and Avro (`/fields/3/type`), a dotted name for Protobuf.
    pub path: String,
    /// A sentence for a person that names the field, what it was and what it is.
    pub message: String,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at `{}`: {}", self.kind, self.path, self.message)
    }
}

/// How strictly JSON Schemas are compared (Confluent's `compatibilityPolicy`); the other formats know one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Policy {
    /// Every document the one allows must be allowed by the other.
    #[default]
    Strict,
    /// Changes of the content model that documents in practice survive are allowed.
    Lenient,
}
