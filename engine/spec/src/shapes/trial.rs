//! How a version of a function is tried beside the one that runs.

use serde::{Deserialize, Serialize};

/// A trial, as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// Whether it decides about anything.
    #[serde(flatten)]
    pub mode: TrialModeSpec,
    /// The part of its messages that may end badly before it is stopped, 0 to 1.
    pub max_error_rate: f64,
    /// Messages that it must have seen before it is judged.
    pub min_messages: u64,
}

/// See [`TrialSpec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum TrialModeSpec {
    /// It sees all messages and decides nothing.
    Shadow,
    /// It decides about a part of the messages.
    Canary {
        /// So many of a hundred.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<f64>,
        /// Instead: those on these subjects.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subjects: Option<String>,
    },
}

impl TrialModeSpec {
    /// `shadow` or `canary`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary { .. } => "canary",
        }
    }
}
