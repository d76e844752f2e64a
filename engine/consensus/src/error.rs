//! What can go wrong with a group.

use millstream_journal::{AppendError, CheckpointError};
use millstream_types::{Domain, Retry};
use thiserror::Error;

/// Why a proposal was not committed.
#[derive(Clone, Debug, Error)]
pub enum ProposeError {
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// The group was shut down while the proposal waited.
    #[error("the server is shutting down")]
    Closed,
}

impl ProposeError {
    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Transient
    }

    /// Whether the same proposal may succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Log(error) => error.retry(),
            Self::Closed => Retry::Never,
        }
    }
}

/// Why a state machine cannot read its checkpoint.
#[derive(Debug, Error)]
#[error("checkpoint cannot be restored: {reason}")]
pub struct RestoreError {
    reason: String,
}

impl RestoreError {
    /// An error with this reason.
    #[must_use]
    pub fn new(reason: String) -> Self {
        Self { reason }
    }
}

/// Why a group does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The journal does not open.
    #[error(transparent)]
    Journal(#[from] millstream_journal::OpenError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state machine does not understand it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A thread cannot be started.
    #[error("apply thread cannot be started: {0}")]
    Thread(std::io::Error),
}
