//! The typed columns of a message, as SQL sees it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The type of a column. Serialised as the word of [`ColumnKind::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Float64,
    /// Text.
    String,
    /// A point in time, written as RFC 3339 text in JSON.
    Timestamp,
    /// Anything else, kept as JSON text.
    Json,
}

impl ColumnKind {
    const ALL: [Self; 6] = [
        Self::Bool,
        Self::Int64,
        Self::Float64,
        Self::String,
        Self::Timestamp,
        Self::Json,
    ];

    /// The word users write, as in `adds: { band: string }`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no column type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a column type; use one of `bool`, `int64`, `float64`, `string`, `timestamp`, `json`"
)]
pub struct UnknownKind(pub String);

impl FromStr for ColumnKind {
    type Err = UnknownKind;

    /// Reads the words of [`ColumnKind::as_str`], and JSON Schema's `boolean`, `integer` and `number`.
    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        match word {
            "boolean" => Ok(Self::Bool),
            "integer" => Ok(Self::Int64),
            "number" => Ok(Self::Float64),
            _ => Self::ALL
                .into_iter()
                .find(|kind| kind.as_str() == word)
                .ok_or_else(|| UnknownKind(word.to_owned())),
        }
    }
}

/// One column of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The property's name in the JSON object.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
    /// Whether it may be null or absent.
    pub nullable: bool,
}

impl Column {
    /// A column.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: ColumnKind, nullable: bool) -> Self {
        Self {
            name: name.into(),
            kind,
            nullable,
        }
    }

    /// `columns` with `added` behind them; a column of the same name is replaced where it stands.
    #[must_use]
    pub fn extend(mut columns: Vec<Self>, added: impl IntoIterator<Item = Self>) -> Vec<Self> {
        for new in added {
            match columns.iter_mut().find(|old| old.name == new.name) {
                Some(old) => *old = new,
                None => columns.push(new),
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, ColumnKind};

    #[test]
    fn every_word_reads_back() {
        for kind in ColumnKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("integer".parse(), Ok(ColumnKind::Int64));
        let error = "varchar"
            .parse::<ColumnKind>()
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("`varchar`") && error.contains("`string`"),
            "{error}"
        );
    }

    #[test]
    fn added_columns_replace_by_name() {
        let old = vec![
            Column::new("a", ColumnKind::Int64, false),
            Column::new("b", ColumnKind::String, true),
        ];
        let new = [
            Column::new("a", ColumnKind::String, true),
            Column::new("c", ColumnKind::Bool, false),
        ];
        let names: Vec<_> = Column::extend(old, new)
            .into_iter()
            .map(|c| (c.name, c.kind))
            .collect();
        let want = [
            ("a", ColumnKind::String),
            ("b", ColumnKind::String),
            ("c", ColumnKind::Bool),
        ];
        assert_eq!(names, want.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
