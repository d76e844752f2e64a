//! One JSON value on its way into a typed column.

mod exact;
pub(crate) mod nested;

use std::borrow::Cow;
use std::fmt;

use millstream_pipeline::ColumnKind;
use millstream_types::Timestamp;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A value that fits its column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text, or raw JSON in a column of that kind.
    Text(Cow<'a, str>),
    /// Nanoseconds since 1970 UTC.
    Time(i64),
    /// Days since 1970.
    Date(i32),
    /// Without its point.
    Decimal(i128),
    List(Vec<Self>),
    /// One for each member of the type.
    Struct(Vec<Self>),
    Map(Vec<(Cow<'a, str>, Self)>),
}

impl Cell<'_> {
    /// The same, holding on to nothing.
    pub(crate) fn into_owned(self) -> Cell<'static> {
        let all = |cells: Vec<Self>| cells.into_iter().map(Cell::into_owned).collect();
        match self {
            Self::Null => Cell::Null,
            Self::Bool(value) => Cell::Bool(value),
            Self::Int(value) => Cell::Int(value),
            Self::Float(value) => Cell::Float(value),
            Self::Text(value) => Cell::Text(Cow::Owned(value.into_owned())),
            Self::Time(value) => Cell::Time(value),
            Self::Date(value) => Cell::Date(value),
            Self::Decimal(value) => Cell::Decimal(value),
            Self::List(cells) => Cell::List(all(cells)),
            Self::Struct(cells) => Cell::Struct(all(cells)),
            Self::Map(entries) => {
                let own = |(name, cell): (Cow<'_, str>, Self)| {
                    (Cow::Owned(name.into_owned()), cell.into_owned())
                };
                Cell::Map(entries.into_iter().map(own).collect())
            }
        }
    }
}

/// A value as the JSON has it; objects and arrays only by their kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Loose<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the range of `i64`.
    Large(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
}

/// Whole numbers up to here are exact as floating point numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'a> Loose<'a> {
    /// The value in a column of this kind, which holds one value and is not JSON.
    ///
    /// # Errors
    /// The value itself when it does not fit.
    pub(crate) fn fit(self, kind: &ColumnKind) -> Result<Cell<'a>, Self> {
        match (kind, self) {
            (_, Self::Null) => Ok(Cell::Null),
            (ColumnKind::Bool, Self::Bool(value)) => Ok(Cell::Bool(value)),
            (ColumnKind::Int64, Self::Int(value)) => Ok(Cell::Int(value)),
            // JSON Schema counts 3.0 among the integers.
            (ColumnKind::Int64, Self::Float(value))
                if value.fract() == 0.0 && value.abs() <= EXACT =>
            {
                Ok(Cell::Int(value as i64))
            }
            (ColumnKind::Float64, Self::Float(value)) => Ok(Cell::Float(value)),
            (ColumnKind::Float64, Self::Int(value)) => Ok(Cell::Float(value as f64)),
            (ColumnKind::Float64, Self::Large(value)) => Ok(Cell::Float(value as f64)),
            (ColumnKind::String, Self::Text(value)) => Ok(Cell::Text(value)),
            (ColumnKind::Timestamp, Self::Text(value)) => match Timestamp::parse_rfc3339(&value) {
                Some(time) => Ok(Cell::Time(time.0)),
                None => Err(Self::Text(value)),
            },
            (ColumnKind::Date, Self::Text(value)) => match exact::date(&value) {
                Some(days) => Ok(Cell::Date(days)),
                None => Err(Self::Text(value)),
            },
            (ColumnKind::Decimal { precision, scale }, value) => {
                match exact::decimal(&value, *precision, *scale) {
                    Some(number) => Ok(Cell::Decimal(number)),
                    None => Err(value),
                }
            }
            (_, other) => Err(other),
        }
    }
}

/// What a column takes, for an error text.
pub(crate) fn expected(kind: &ColumnKind) -> Cow<'static, str> {
    let text = match kind {
        ColumnKind::Bool => "true or false",
        ColumnKind::Int64 => "a whole number of 64 bits",
        ColumnKind::Float64 => "a number",
        ColumnKind::String => "text",
        ColumnKind::Timestamp => "a time as RFC 3339 text between the years 1678 and 2261",
        ColumnKind::Date => "a date as text such as 2026-11-23",
        ColumnKind::Decimal { precision, scale } => {
            return format!(
                "a decimal of at most {precision} digits, {scale} of them behind the point"
            )
            .into();
        }
        ColumnKind::List(_) => "an array",
        ColumnKind::Map(_) | ColumnKind::Struct(_) => "an object",
        ColumnKind::Json => "any value",
    };
    text.into()
}

impl fmt::Display for Loose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 40;
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "number {value}"),
            Self::Large(value) => write!(f, "number {value}"),
            Self::Float(value) => write!(f, "number {value}"),
            Self::Text(value) if value.chars().count() > MOST => {
                write!(
                    f,
                    "text `{}…`",
                    value.chars().take(MOST).collect::<String>()
                )
            }
            Self::Text(value) => write!(f, "text `{value}`"),
            Self::Array => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
        }
    }
}

impl<'a> From<&'a Value> for Loose<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Large(value),
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => Self::Text(Cow::Borrowed(value)),
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

/// Reads any value; what it does not keep it still checks.
pub(crate) struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Loose::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Loose::Large(value), Loose::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Loose::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Object)
    }
}

/// Reads one value of any kind.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Loose<'de>, D::Error> {
    from.deserialize_any(LooseVisitor)
}
