//! What is wrong with a configuration, and where.

use std::fmt;

use thiserror::Error;

use crate::conf::At;

/// One thing that keeps the server from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; none for what flags or defaults bring in.
    pub at: Option<At>,
    /// What is wrong: lower case, names in backticks.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(at: Option<&At>, message: impl Into<String>) -> Self {
        Self {
            at: at.cloned(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        f.write_str(&self.message)?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// A configuration that cannot be used. Displays one problem a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// All that is wrong with it; never empty.
    pub problems: Vec<Problem>,
}
