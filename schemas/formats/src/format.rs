//! The languages a schema can be written in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A schema language, and with it how payloads are laid out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON Schema, drafts 4 to 2020-12; payloads are JSON texts.
    #[default]
    Json,
    /// Apache Avro 1.12; payloads are single datums in the binary encoding.
    Avro,
    /// Protocol Buffers, proto2 and proto3; payloads are one message in the binary encoding.
    Protobuf,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Json, Self::Avro, Self::Protobuf];

    /// The word users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no schema language.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("schema format `{0}` is not known; use `json`, `avro` or `protobuf`")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Reads the words of [`Format::as_str`] in any case, as the Confluent registry writes them.
    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}
