//! Why the server did not do what a function asked of it.

use std::fmt;

use crate::{Outcome, Rejection};

/// The part of the outside world that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// [`crate::bucket`].
    Bucket,
    /// [`crate::stations`].
    Stations,
    /// [`crate::web`].
    Web,
}

impl Interface {
    /// Its name in the WIT package, which is the code of the rejection too.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Stations => "stations",
            Self::Web => "web",
        }
    }
}

/// The server said no. `?` makes a rejection of it in a function that answers `Result<Outcome, Rejection>`; match on
/// it instead where trying again makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What was asked.
    pub interface: Interface,
    /// The server's words.
    pub reason: String,
}

impl CallError {
    pub(crate) fn of(interface: Interface) -> impl FnOnce(String) -> Self {
        move |reason| Self { interface, reason }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface.as_str(), self.reason)
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for Rejection {
    fn from(error: CallError) -> Self {
        Self::new(error.interface.as_str(), error.reason)
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        Self::Reject(error.into())
    }
}
