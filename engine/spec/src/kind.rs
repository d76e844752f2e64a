//! The kinds of things a station file describes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A registry subject's next version.
    Schema,
    /// A WASM component.
    Function,
    /// A stream with its pipeline.
    Station,
    /// Reads a station and writes others.
    Flow,
    /// A connector that brings records in.
    Source,
    /// A connector that takes records out.
    Sink,
}

impl Kind {
    /// All kinds, in the order in which they can be applied: what is referred to comes first.
    pub const ALL: [Self; 6] = [
        Self::Schema,
        Self::Function,
        Self::Station,
        Self::Flow,
        Self::Source,
        Self::Sink,
    ];

    /// `station`, as in the file and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Function => "function",
            Self::Station => "station",
            Self::Flow => "flow",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    /// `stations`, as in the API's paths.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Schema => "schemas",
            Self::Function => "functions",
            Self::Station => "stations",
            Self::Flow => "flows",
            Self::Source => "sources",
            Self::Sink => "sinks",
        }
    }

    /// Reads `station` or `stations`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word || kind.plural() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
