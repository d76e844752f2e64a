//! Which changes a subject allows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RegisterError;

/// What a new version must get along with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compatibility {
    /// Anything goes.
    None,
    /// Readers of the new version read what the last one allowed.
    #[default]
    Backward,
    /// The same for all earlier versions.
    BackwardTransitive,
    /// Readers of the last version read what the new one allows.
    Forward,
    /// The same for all earlier versions.
    ForwardTransitive,
    /// Both directions.
    Full,
    /// Both directions, for all earlier versions.
    FullTransitive,
}

impl Compatibility {
    const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// Whether readers of the new version must read what was written before.
    #[must_use]
    pub fn backward(self) -> bool {
        matches!(
            self,
            Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    /// Whether readers of earlier versions must read what will be written.
    #[must_use]
    pub fn forward(self) -> bool {
        matches!(
            self,
            Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    /// Whether all earlier versions count, not only the newest.
    #[must_use]
    pub fn transitive(self) -> bool {
        matches!(
            self,
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive
        )
    }

    /// The word users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Backward => "backward",
            Self::BackwardTransitive => "backward_transitive",
            Self::Forward => "forward",
            Self::ForwardTransitive => "forward_transitive",
            Self::Full => "full",
            Self::FullTransitive => "full_transitive",
        }
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compatibility {
    type Err = RegisterError;

    /// Reads the words of [`Compatibility::as_str`] in any case; the empty word is the default.
    fn from_str(word: &str) -> Result<Self, RegisterError> {
        if word.is_empty() {
            return Ok(Self::default());
        }
        let known = Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(word));
        known.ok_or_else(|| RegisterError::Compatibility {
            word: word.to_owned(),
        })
    }
}
