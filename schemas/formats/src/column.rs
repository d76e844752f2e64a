//! The typed columns of a message, as SQL sees it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The type of a column. Serialised as the word of [`ColumnKind::as_str`] where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// A day, written as text such as `2026-11-23` in JSON.
    Date,
    /// An exact number, a number or text in JSON.
    Decimal {
        /// Most digits, at most [`ColumnKind::MAX_PRECISION`].
        precision: u8,
        /// How many of them stand behind the point.
        scale: u8,
    },
    /// Values of one type; whether one may be null is the column's.
    List(Box<Item>),
    /// Named values of one type.
    Map(Box<Item>),
    /// Named values of their own types.
    Struct(Vec<Column>),
    /// Anything else, kept as JSON text.
    Json,
}

/// What a list or a map holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Item {
    /// The type of each value.
    pub kind: ColumnKind,
    /// Whether one may be null.
    pub nullable: bool,
}

impl ColumnKind {
    /// Most digits of a decimal.
    pub const MAX_PRECISION: u8 = 38;

    const WORDS: [(Self, &'static str); 7] = [
        (Self::Bool, "bool"),
        (Self::Int64, "int64"),
        (Self::Float64, "float64"),
        (Self::String, "string"),
        (Self::Timestamp, "timestamp"),
        (Self::Date, "date"),
        (Self::Json, "json"),
    ];

    /// A list of such values, none of which is null.
    #[must_use]
    pub fn list(self) -> Self {
        Self::List(Box::new(Item {
            kind: self,
            nullable: false,
        }))
    }

    /// Whether it is a list, a map or a struct.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_) | Self::Struct(_))
    }

    /// The word for its kind; the whole type is what it displays as.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Decimal { .. } => "decimal",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Struct(_) => "struct",
            Self::Bool => "bool",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::List(item) => write!(f, "list<{}>", item.kind),
            Self::Map(item) => write!(f, "map<{}>", item.kind),
            Self::Struct(members) => {
                f.write_str("struct<")?;
                for (index, member) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", member.name, member.kind)?;
                }
                f.write_str(">")
            }
            plain => f.write_str(plain.as_str()),
        }
    }
}

/// A word that names no column type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a column type; use one of `bool`, `int64`, `float64`, `string`, `timestamp`, `date`, `json`"
)]
pub struct UnknownKind(pub String);

impl FromStr for ColumnKind {
    type Err = UnknownKind;

    /// Reads the words of types that hold one value, those of station files (`int`, `float`), and JSON Schema's `boolean`,
    /// `integer` and `number`.
    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        match word {
            "boolean" => Ok(Self::Bool),
            "int" | "integer" => Ok(Self::Int64),
            "float" | "number" => Ok(Self::Float64),
            _ => Self::WORDS
                .into_iter()
                .find(|(_, known)| *known == word)
                .map(|(kind, _)| kind)
                .ok_or_else(|| UnknownKind(word.to_owned())),
        }
    }
}

/// One column of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
        for (kind, word) in ColumnKind::WORDS {
            assert_eq!(kind.as_str(), word);
            assert_eq!(word.parse(), Ok(kind));
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
    fn types_are_shown_as_they_are_written() {
        let price = ColumnKind::Decimal {
            precision: 12,
            scale: 2,
        };
        let members = vec![
            Column::new("sku", ColumnKind::String, false),
            Column::new("price", price, true),
        ];
        assert_eq!(
            ColumnKind::Struct(members).list().to_string(),
            "list<struct<sku: string, price: decimal(12, 2)>>"
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
