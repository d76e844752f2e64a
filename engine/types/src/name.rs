//! Names of streams, consumers, stations, functions, schemas and connectors.

use thiserror::Error;

/// Longest name accepted, in bytes (nats-server's limit for streams and consumers).
const MAX: usize = 255;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// No characters at all.
    #[error("name is empty")]
    Empty,
    /// Longer than 255 bytes.
    #[error("name is longer than 255 bytes")]
    TooLong,
    /// Blanks, `.`, `*`, `>`, path separators or control characters.
    #[error(
        "name contains `{0}`; blanks, dots, `*`, `>`, slashes and control characters are not allowed"
    )]
    Character(char),
}

/// Checks a name against the rules nats-server has for streams and consumers.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX {
        return Err(NameError::TooLong);
    }
    let bad =
        |c: &char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
    name.chars()
        .find(bad)
        .map_or(Ok(()), |c| Err(NameError::Character(c)))
}
