//! Errors as clients of PostgreSQL know them: a code of five characters, and a place in the text.

use millstream_sql::SqlError;
use millstream_sql::query::QueryError;
use pgwire::error::{ErrorInfo, PgWireError};

use crate::parameters::BadParameter;

/// An error that ends the statement.
pub(crate) fn error(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(info("ERROR", code, message)))
}

/// An error that ends the connection.
pub(crate) fn fatal(code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(info("FATAL", code, message)))
}

/// Something to know.
pub(crate) fn warning(message: String) -> ErrorInfo {
    info("WARNING", "01000", message)
}

fn info(severity: &str, code: &str, message: impl Into<String>) -> ErrorInfo {
    let mut info = ErrorInfo::new(severity.to_owned(), code.to_owned(), message.into());
    info.severity_nonlocalized = Some(severity.to_owned());
    info
}

/// What is known of a text that was asked.
pub(crate) struct Asked<'a> {
    /// The whole text the client sent, in which places are counted.
    pub(crate) whole: &'a str,
    /// Where the statement begins in it, in bytes.
    pub(crate) at: usize,
    /// Whether the statement was run as it was written, so that places in it are places in the text.
    pub(crate) is_verbatim: bool,
}

impl Asked<'_> {
    /// Why a question has no answer.
    pub(crate) fn failed(&self, failure: &QueryError) -> PgWireError {
        let (code, hint) = match failure {
            QueryError::Statement(wrong) => return self.refused(wrong),
            QueryError::Memory(_) => ("53200", None),
            QueryError::Deadline(_) => ("57014", Some("set `statement_timeout` to give it more")),
            QueryError::Cancelled => ("57014", None),
            QueryError::Failed(_) => ("22000", None),
        };
        let mut told = info("ERROR", code, failure.to_string());
        told.hint = hint.map(str::to_owned);
        PgWireError::UserError(Box::new(told))
    }

    fn refused(&self, wrong: &SqlError) -> PgWireError {
        let mut told = info("ERROR", code(&wrong.message), wrong.message.clone());
        told.hint.clone_from(&wrong.hint);
        if self.is_verbatim {
            told.position = Some(self.position(wrong.line, wrong.column).to_string());
        }
        PgWireError::UserError(Box::new(told))
    }

    /// Characters from 1 in the whole text.
    fn position(&self, line: u32, column: u32) -> usize {
        let (before, statement) = self.whole.split_at(self.at);
        let count = |number: u32| usize::try_from(number.saturating_sub(1)).unwrap_or(0);
        let lines = statement.split_inclusive('\n').take(count(line));
        let above: usize = lines.map(|line| line.chars().count()).sum();
        before.chars().count() + above + count(column) + 1
    }
}

/// The class of a refusal, by its words.
fn code(message: &str) -> &'static str {
    let has = |words: &str| message.contains(words);
    if has("there is no column") {
        "42703"
    } else if has("there is no table") {
        "42P01"
    } else if has("no function") || has("invalid function") {
        "42883"
    } else if has("is no question") {
        // It would change something.
        "25006"
    } else if has("parameter without a value") || has("is no parameter") {
        "42P02"
    } else if has("ambiguous") {
        "42702"
    } else {
        "42601"
    }
}

impl From<BadParameter> for PgWireError {
    fn from(bad: BadParameter) -> Self {
        let code = match &bad {
            BadParameter::Value { .. } => "22P02",
            BadParameter::Type { .. } => "0A000",
        };
        error(code, bad.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_characters_of_the_whole_text() {
        let whole = "SELECT 'ä';\nSELECT a,\n  b FROM t";
        let asked = Asked {
            whole,
            at: 13,
            is_verbatim: true,
        };
        // The second statement begins at character 13, its second line at 23.
        assert_eq!(&whole[13..19], "SELECT");
        assert_eq!(asked.position(1, 8), 20);
        assert_eq!(asked.position(2, 3), 25);
        assert_eq!(whole.chars().nth(24), Some('b'));
    }
}
