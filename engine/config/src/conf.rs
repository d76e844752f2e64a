//! nats-server's configuration language: a superset of JSON with bare words, comments, units,
//! block texts, includes and variables (the facts are in nats-server's public documentation).
//!
//! ```text
//! # comment, also with //
//! port: 4222              key, then `:`, `=` or a blank
//! max_payload = 8MB       k, m, g … are decimal; kb, ki, kib … binary
//! authorization { user: a, password: $PASSWORD }
//! include "more.conf"     relative to the including file
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

mod parse;
mod scalar;

#[cfg(test)]
mod tests;

pub use scalar::{Data, parse_size};

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where it starts; for a variable, where it is used.
    pub at: At,
    /// What it is.
    pub data: Data,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As written.
    pub key: String,
    /// Where the key stands.
    pub at: At,
    /// What it is set to.
    pub value: Value,
    /// Some `$KEY` refers to it: it may be there for that only.
    pub is_variable: bool,
}

/// Why a text is no configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{at}: {message}")]
pub struct ParseError {
    /// Where reading stopped.
    pub at: At,
    /// What is wrong there and what to do.
    pub message: String,
}

/// Where the language finds what is not in the text.
pub trait Surroundings {
    /// The text of an included file. `path` is already relative to the including file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path) -> std::io::Result<String>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Reads a configuration. `file` is how it is called in errors and the base of its includes.
/// The entries keep their order; a key may come twice, then the last one counts.
///
/// # Errors
/// The first thing that is not in the language, a missing include or a missing variable.
pub fn parse(
    text: &str,
    file: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Vec<Entry>, ParseError> {
    parse::parse(text, file, surroundings)
}
