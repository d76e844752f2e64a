//! Why a statement cannot be a stage, and where in its text.

use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use millstream_types::{Domain, Retry};
use thiserror::Error;

/// A statement that is refused when it is deployed. Always the author's to mend.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {message}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct SqlError {
    /// What is wrong, without the place.
    pub message: String,
    /// Line in the statement, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SqlError {
    /// Whose fault: the author's.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Client
    }

    /// Whether trying again helps: never without another text.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }

    pub(crate) fn new(at: Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: at.line,
            column: at.column,
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A place in a statement, both numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// `None` for the empty span, which the parser gives to nodes whose place it does not keep.
    pub(crate) fn of(span: Span) -> Option<Self> {
        (span != Span::empty()).then(|| Self::from(span.start))
    }

    /// The place behind the last character.
    pub(crate) fn end_of(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            line: number(text.matches('\n').count() + 1),
            column: number(last.chars().count() + 1),
        }
    }
}

impl From<Location> for Place {
    fn from(at: Location) -> Self {
        let number = |of: u64| u32::try_from(of.max(1)).unwrap_or(u32::MAX);
        Self {
            line: number(at.line),
            column: number(at.column),
        }
    }
}
