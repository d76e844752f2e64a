//! Subjects: dot-separated tokens; `*` stands for one token, a closing `>` for one or more.

use thiserror::Error;

/// Why a subject or filter is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SubjectError {
    /// No characters at all.
    #[error("subject is empty")]
    Empty,
    /// Two dots in a row, or a dot at either end.
    #[error("subject has an empty token")]
    EmptyToken,
    /// White space or a control character.
    #[error("subject contains white space or a control character")]
    Character,
    /// `>` anywhere but as the last token.
    #[error("`>` is allowed only as the last token")]
    FullWildcard,
    /// A wildcard where a literal subject is needed.
    #[error("subject contains a wildcard")]
    Wildcard,
    /// Not UTF-8.
    #[error("subject is not valid UTF-8")]
    Encoding,
}

/// The tokens of a subject or filter.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|byte| *byte == b'.')
}

/// Checks a literal subject, as publishers name it.
///
/// # Errors
/// The first rule it breaks.
pub fn check_subject(subject: &[u8]) -> Result<(), SubjectError> {
    check_filter(subject)?;
    if tokens(subject).any(|token| token == b"*" || token == b">") {
        return Err(SubjectError::Wildcard);
    }
    Ok(())
}

/// Checks a filter, as subscribers name it; a `*` or `>` inside a longer token is a plain character, as in nats-server.
///
/// # Errors
/// The first rule it breaks.
pub fn check_filter(filter: &[u8]) -> Result<(), SubjectError> {
    if filter.is_empty() {
        return Err(SubjectError::Empty);
    }
    if filter.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Err(SubjectError::Character);
    }
    if std::str::from_utf8(filter).is_err() {
        return Err(SubjectError::Encoding);
    }
    let mut closed = false;
    for token in tokens(filter) {
        if token.is_empty() {
            return Err(SubjectError::EmptyToken);
        }
        if closed {
            return Err(SubjectError::FullWildcard);
        }
        closed = token == b">";
    }
    Ok(())
}

/// Whether a literal subject matches a filter. Both must have passed their checks.
#[must_use]
pub fn matches(filter: &[u8], subject: &[u8]) -> bool {
    if filter == subject {
        return true;
    }
    let (mut pattern, mut literal) = (tokens(filter), tokens(subject));
    loop {
        match (pattern.next(), literal.next()) {
            (Some(b">"), Some(_)) | (None, None) => return true,
            (Some(b"*"), Some(_)) => {}
            (Some(want), Some(have)) if want == have => {}
            _ => return false,
        }
    }
}

/// Whether some literal subject matches both filters.
#[must_use]
pub fn filters_overlap(a: &[u8], b: &[u8]) -> bool {
    let (mut left, mut right) = (tokens(a), tokens(b));
    loop {
        match (left.next(), right.next()) {
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) | (None, None) => return true,
            (Some(b"*"), Some(_)) | (Some(_), Some(b"*")) => {}
            (Some(x), Some(y)) if x == y => {}
            _ => return false,
        }
    }
}

/// Whether every subject that matches `inner` matches `outer` too.
#[must_use]
pub fn filter_covers(outer: &[u8], inner: &[u8]) -> bool {
    let (mut wide, mut narrow) = (tokens(outer), tokens(inner));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(b">"), Some(_)) | (None, None) => return true,
            (Some(_), Some(b">")) => return false,
            (Some(b"*"), Some(_)) => {}
            (Some(x), Some(y)) if x == y => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
