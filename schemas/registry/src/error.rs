//! Why a registry refuses what the catalog asks of it; the interface's own refusals are in `refusal.rs`.

use millstream_types::{Domain, NameError, Retry};
use thiserror::Error;

/// Why a schema is not registered. Nothing has changed then.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The subject cannot be used as a name.
    #[error("schema name `{subject}` cannot be used: {source}")]
    Subject {
        /// What was asked for.
        subject: String,
        /// The rule it breaks.
        source: NameError,
    },
    /// The format is not one this release knows.
    #[error("schema format `{format}` is not supported yet; use `json`")]
    Format {
        /// What was asked for.
        format: String,
    },
    /// The subject holds schemas of another format.
    #[error(
        "schema `{subject}` has format `{has}` and cannot become `{wants}`; register it under another name"
    )]
    FormatChange {
        /// The subject.
        subject: String,
        /// Its format.
        has: String,
        /// The format asked for.
        wants: String,
    },
    /// The text is not of its format.
    #[error("schema `{subject}` is not JSON: {reason}")]
    Text {
        /// The subject.
        subject: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// No such level.
    #[error(
        "`{word}` is no compatibility level; use one of `none`, `backward`, `backward_transitive`, `forward`, `forward_transitive`, `full`, `full_transitive`"
    )]
    Compatibility {
        /// What was asked for.
        word: String,
    },
    /// All numbers are used up.
    #[error("registry has no free schema numbers left; delete schemas that are not used")]
    Full,
}

/// Why a schema is not found or not deleted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingError {
    /// No such subject.
    #[error("schema `{subject}` not found{}", hint(nearest.as_deref()))]
    Subject {
        /// What was asked for.
        subject: String,
        /// A subject with a similar name.
        nearest: Option<String>,
    },
    /// No such version of the subject.
    #[error("schema `{subject}` has no version {version}; its latest is {latest}")]
    Version {
        /// The subject.
        subject: String,
        /// What was asked for.
        version: u32,
        /// The newest version it has.
        latest: u32,
    },
    /// No schema has this number.
    #[error("schema with id {id} not found; ids go up to {last}")]
    Id {
        /// What was asked for.
        id: u32,
        /// The highest id given out.
        last: u32,
    },
    /// The word is neither `latest` nor a number from 1.
    #[error("`{word}` is no schema version; use `latest` or a number from 1")]
    VersionWord {
        /// What was asked for.
        word: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `get schemas` lists what there is".to_owned(),
        |name| format!("; did you mean `{name}`?"),
    )
}

impl RegisterError {
    /// The request's.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Client
    }

    /// The same request is refused again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl MissingError {
    /// The request's.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Client
    }

    /// The same request fails again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Why stored registry bytes cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Written by a newer release.
    #[error(
        "schema registry was written in layout {found} and this release reads up to {known}; use the release that wrote it"
    )]
    Newer {
        /// The layout found.
        found: u32,
        /// The newest this release knows.
        known: u32,
    },
    /// Not what was written.
    #[error("schema registry is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// It parses, but contradicts itself.
    #[error(
        "schema registry is damaged: subject `{subject}` version {version} points to schema {id}, which is not there"
    )]
    Dangling {
        /// The subject.
        subject: String,
        /// Its version.
        version: u32,
        /// The missing schema.
        id: u32,
    },
}

impl DecodeError {
    /// Stored data's.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Self::Newer { .. } => Domain::Client,
            Self::Damaged(_) | Self::Dangling { .. } => Domain::Corruption,
        }
    }

    /// The same bytes read the same.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}
