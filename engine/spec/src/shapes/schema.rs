//! `kind: schema`.

use serde::{Deserialize, Serialize};

use super::StageSpec;

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
    /// Other subjects' schemas that the text refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<SchemaReference>,
    /// How messages get from the version before to this one and back, where the format's rules do not say enough.
    #[serde(default, skip_serializing_if = "MigrationsSpec::is_empty")]
    pub migrations: MigrationsSpec,
}

/// `migrations` of a schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MigrationsSpec {
    /// From the version before to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<StageSpec>,
    /// From this version to the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<StageSpec>,
}

impl MigrationsSpec {
    /// Whether none is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each with its direction, as the field is called.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &StageSpec)> {
        let both = [("upgrade", &self.upgrade), ("downgrade", &self.downgrade)];
        both.into_iter()
            .filter_map(|(word, stage)| Some((word, stage.as_ref()?)))
    }
}

/// Another subject's schema that a schema refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaReference {
    /// How the text refers to it: the import path in Protobuf, the `$ref` URI in JSON Schema, the full name in Avro.
    pub name: String,
    /// The registry subject.
    pub subject: String,
    /// Its version; the latest at the time of applying when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Schema languages.
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

    /// The word users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }

    /// What a file's name says it is written in: `.avsc` is Avro, `.proto` Protobuf, anything else JSON Schema.
    #[must_use]
    pub fn of_file(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, end)| end) {
            Some("avsc") => Self::Avro,
            Some("proto") => Self::Protobuf,
            _ => Self::Json,
        }
    }
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
