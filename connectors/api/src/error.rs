//! What can go wrong, by what helps: trying again, giving up one record, or a person.

use std::time::Duration;

use millstream_types::{Domain, Retry};
use thiserror::Error;

use crate::Problem;

/// Pause before the next attempt when the error names none.
const DEFAULT_RETRY: Duration = Duration::from_millis(100);

/// Why a source, or the broker's side of a connector, could not go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConnectorError {
    /// Trying again may help; the supervisor backs off and starts over from the stored position.
    #[error("{reason}")]
    Retryable {
        /// What happened and what to do, for the status.
        reason: String,
        /// The pause the other side asked for; `None` leaves it to the back-off.
        after: Option<Duration>,
    },
    /// A person has to change something; the connector stops in state `failed`.
    #[error("{reason}")]
    Fatal {
        /// What happened and what to do, for the status.
        reason: String,
    },
}

impl ConnectorError {
    /// An error that may pass by itself.
    pub fn retryable(reason: impl Into<String>) -> Self {
        Self::Retryable {
            reason: reason.into(),
            after: None,
        }
    }

    /// An error that needs a person.
    pub fn fatal(reason: impl Into<String>) -> Self {
        Self::Fatal {
            reason: reason.into(),
        }
    }

    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Self::Retryable { .. } => Domain::Transient,
            Self::Fatal { .. } => Domain::Client,
        }
    }

    /// Whether trying again helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Retryable { after, .. } => Retry::After(after.unwrap_or(DEFAULT_RETRY)),
            Self::Fatal { .. } => Retry::Never,
        }
    }
}

/// Why a destination did not accept a whole batch.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SinkError {
    /// Nothing of the batch counts as accepted; the same batch may be accepted later.
    #[error("{reason}")]
    Retryable {
        /// What happened.
        reason: String,
        /// The pause the destination asked for.
        after: Option<Duration>,
    },
    /// Only these records (index in the batch, reason) can never be accepted; all the others were.
    #[error("{} of the records were refused for good, the first because: {}", .0.len(), first_reason(.0))]
    Records(Vec<(usize, String)>),
    /// Nothing was accepted and nothing will be until a person changes something.
    #[error("{reason}")]
    Fatal {
        /// What happened and what to do.
        reason: String,
    },
}

impl SinkError {
    /// An error that may pass by itself.
    pub fn retryable(reason: impl Into<String>) -> Self {
        Self::Retryable {
            reason: reason.into(),
            after: None,
        }
    }

    /// An error that needs a person.
    pub fn fatal(reason: impl Into<String>) -> Self {
        Self::Fatal {
            reason: reason.into(),
        }
    }

    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Self::Retryable { .. } => Domain::Transient,
            Self::Records(_) | Self::Fatal { .. } => Domain::Client,
        }
    }

    /// Whether trying again helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Retryable { after, .. } => Retry::After(after.unwrap_or(DEFAULT_RETRY)),
            Self::Records(_) | Self::Fatal { .. } => Retry::Never,
        }
    }
}

fn first_reason(refused: &[(usize, String)]) -> &str {
    refused.first().map_or("none named", |(_, reason)| reason)
}

/// Why no source or sink could be made from a configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// The configuration does not fit the connector's options.
    #[error("configuration of connector `{connector}` is wrong: {}", join(.problems))]
    Invalid {
        /// The connector's name.
        connector: &'static str,
        /// Everything wrong with it.
        problems: Vec<Problem>,
    },
    /// A source was asked of a sink, or the other way round.
    #[error("connector `{connector}` is no {wanted}")]
    WrongKind {
        /// The connector's name.
        connector: &'static str,
        /// What was asked for.
        wanted: crate::Kind,
    },
}

fn join(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
