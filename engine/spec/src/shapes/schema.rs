//! `kind: schema`.

use serde::{Deserialize, Serialize};

/// A schema to be the registry subject's newest version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaSpec {
    /// The registry subject.
    pub name: String,
    /// The language it is written in.
    pub format: SchemaFormat,
    /// Where its text is.
    pub text: SchemaText,
    /// What a new version may change.
    pub compatibility: Compatibility,
}

/// Schema languages of this release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaFormat {
    /// JSON Schema.
    #[default]
    Json,
    /// Apache Avro.
    Avro,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaFormat {
    /// The words users write.
    pub(crate) const WORDS: [(&'static str, Self); 3] = [
        ("json", Self::Json),
        ("avro", Self::Avro),
        ("protobuf", Self::Protobuf),
    ];
}

/// Where a schema's text is: `{"file": path}` or `{"inline": text}` in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaText {
    /// In an attachment, a path relative to the station file.
    File(String),
    /// In the station file itself, under `schema:`.
    Inline(String),
}

/// What a new version of a schema may change, in the words of the Confluent registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compatibility {
    /// Anything.
    None,
    /// The new version reads what the last one wrote.
    #[default]
    Backward,
    /// The new version reads what any earlier one wrote.
    BackwardTransitive,
    /// The last version reads what the new one writes.
    Forward,
    /// All earlier versions read what the new one writes.
    ForwardTransitive,
    /// Backward and forward.
    Full,
    /// Backward and forward with all earlier versions.
    FullTransitive,
}
