//! One registered schema, and how it is asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use millstream_schema_formats::Format;

use crate::data::{Metadata, RuleSet, SchemaReference};
use crate::guid::guid;
use crate::{Compatibility, MissingError};

/// Which version of a subject is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// The newest one.
    #[default]
    Latest,
    /// This one, from 1.
    Number(u32),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for Version {
    type Err = MissingError;

    fn from_str(word: &str) -> Result<Self, MissingError> {
        if word.eq_ignore_ascii_case("latest") {
            return Ok(Self::Latest);
        }
        let number = word.parse().ok().filter(|number| *number > 0);
        number
            .map(Self::Number)
            .ok_or_else(|| MissingError::VersionWord {
                word: word.to_owned(),
            })
    }
}

/// A schema under its number; several subjects may have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its language.
    pub format: Format,
    /// The text as it was first registered.
    pub text: String,
    /// The text by which it is known to be the same; as `text` when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub canonical: String,
    /// What it refers to, versions resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<SchemaReference>,
    /// Free properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Rules for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<RuleSet>,
    /// A UUID that follows from all of the above; see `guid.rs`.
    pub guid: String,
}

impl Schema {
    /// A schema with its GUID.
    #[must_use]
    pub(crate) fn new(
        format: Format,
        text: String,
        canonical: String,
        references: Vec<SchemaReference>,
        metadata: Option<Metadata>,
        rule_set: Option<RuleSet>,
    ) -> Self {
        let guid = guid(
            format,
            &canonical,
            &references,
            metadata.as_ref(),
            rule_set.as_ref(),
        );
        let canonical = if canonical == text {
            String::new()
        } else {
            canonical
        };
        Self {
            format,
            text,
            canonical,
            references,
            metadata,
            rule_set,
            guid,
        }
    }

    /// The GUID as the number that the framing of payloads carries.
    #[must_use]
    pub fn guid_number(&self) -> u128 {
        u128::from_str_radix(&self.guid.replace('-', ""), 16).unwrap_or_default()
    }

    /// The text by which it is known to be the same.
    #[must_use]
    pub fn canonical(&self) -> &str {
        if self.canonical.is_empty() {
            &self.text
        } else {
            &self.canonical
        }
    }
}

/// One version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionView<'a> {
    /// The subject.
    pub subject: &'a str,
    /// The version, from 1.
    pub version: u32,
    /// The schema's number in this registry.
    pub id: u32,
    /// The schema's language.
    pub format: Format,
    /// The subject's level.
    pub compatibility: Compatibility,
    /// The schema's text.
    pub text: &'a str,
    /// The schema whole, with what it refers to.
    pub schema: &'a Schema,
}

/// A subject in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubjectView {
    /// Its name.
    pub name: String,
    /// The language of its schemas.
    pub format: Format,
    /// Which changes it allows.
    pub compatibility: Compatibility,
    /// Its newest version.
    pub latest: u32,
    /// The number of the newest version's schema.
    pub id: u32,
    /// How many versions it has.
    pub versions: usize,
}
