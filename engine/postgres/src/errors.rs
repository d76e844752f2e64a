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
    /// Where the statement begins in it, in bytes; `None` where places in what was run are no places in it.
    pub(crate) at: Option<usize>,
}

impl Asked<'_> {
    /// Why a question has no answer.
    pub(crate) fn failed(&self, failure: &QueryError) -> PgWireError {
        let (code, hint) = match failure {
            QueryError::Statement(wrong) => return self.refused(wrong),
            QueryError::Memory(_) => ("53200", None),
            QueryError::Deadline(_) => ("57014", Some("set `statement_timeout` to give it more")),
            QueryError::Cancelled => ("57014", None),
            QueryError::Failed(why) => (class(why), None),
        };
        let mut told = info("ERROR", code, failure.to_string());
        told.hint = hint.map(str::to_owned);
        PgWireError::UserError(Box::new(told))
    }

    fn refused(&self, wrong: &SqlError) -> PgWireError {
        let mut told = info("ERROR", code(&wrong.message), wrong.message.clone());
        told.hint.clone_from(&wrong.hint);
        let place = self.position(wrong.line, wrong.column);
        told.position = place.map(|place| place.to_string());
        PgWireError::UserError(Box::new(told))
    }

    /// Characters from 1 in the whole text.
    fn position(&self, line: u32, column: u32) -> Option<usize> {
        let (before, statement) = self.whole.split_at_checked(self.at?)?;
        let count = |number: u32| usize::try_from(number.saturating_sub(1)).unwrap_or(0);
        let lines = statement.split_inclusive('\n').take(count(line));
        let above: usize = lines.map(|line| line.chars().count()).sum();
        Some(before.chars().count() + above + count(column) + 1)
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
    } else if has("must be in GROUP BY") {
        "42803"
    } else if has("cannot coerce") {
        "42804"
    } else if has("failed to coerce") || has("does not support type") {
        "42883"
    } else {
        match class(message) {
            "22000" => "42601",
            other => other,
        }
    }
}

/// The class of a value that cannot be, by the words.
fn class(message: &str) -> &'static str {
    let has = |words: &str| message.contains(words);
    if has("divide by zero") {
        "22012"
    } else if has("Cannot cast") || has("Error parsing") {
        "22P02"
    } else if has("overflow") || has("out of range") {
        "22003"
    } else {
        "22000"
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
            at: Some(13),
        };
        // The second statement begins at character 13, its second line at 23.
        assert_eq!(&whole[13..19], "SELECT");
        assert_eq!(asked.position(1, 8), Some(20));
        assert_eq!(asked.position(2, 3), Some(25));
        assert_eq!(whole.chars().nth(24), Some('b'));
    }
}
