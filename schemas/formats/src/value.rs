//! A decoded payload: what the three formats have in common.

use serde_json::{Map, Number, Value as Json};

use crate::text;

/// A value between two formats. Records, maps and tagged unions are [`Value::Object`]s, as in JSON; what JSON has no
/// kind for keeps its own, so that nothing is lost on the way from one binary format to another.
///
/// How each format reads and writes it is told in its module; reading is generous: where a schema wants a timestamp, text
/// in RFC 3339 and a number of the schema's unit are taken as well, where it wants bytes, base64 text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number that fits 64 bits with a sign. Unsigned numbers that fit are this too.
    Int(i64),
    /// A whole number above `i64::MAX`.
    UInt(u64),
    /// A number of single precision; may be NaN or infinite.
    Float(f32),
    /// A number of double precision; may be NaN or infinite.
    Double(f64),
    /// Text; also symbols of enumerations and UUIDs.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A decimal number: `unscaled` (two's complement, big-endian, never empty) divided by ten to the `scale`.
    Decimal {
        /// Digits as one whole number.
        unscaled: Vec<u8>,
        /// How many of them stand behind the point.
        scale: u32,
    },
    /// Days since 1970-01-01.
    Date(i32),
    /// Nanoseconds since midnight.
    Time(i64),
    /// A point in time.
    Timestamp(Instant),
    /// Date and time of day at a place that is not told.
    LocalTimestamp(Instant),
    /// Months, days and milliseconds, each on its own (Avro's `duration`).
    Period {
        /// Months.
        months: u32,
        /// Days.
        days: u32,
        /// Milliseconds.
        millis: u32,
    },
    /// Values in order.
    List(Vec<Value>),
    /// Named values, in the order written; names do not repeat.
    Object(Vec<(String, Value)>),
}

/// Seconds since 1970 and the nanoseconds behind them (0 to 999,999,999), also for times before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Below 1,000,000,000.
    pub nanos: u32,
}

impl Value {
    /// The member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

impl Value {
    /// The value as JSON: what JSON has no kind for as the texts of `text.rs`, or, where the text has no way to say it, as the
    /// number it is: days, nanoseconds, or seconds for times.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let text = |text: Option<String>, number: i64| text.map_or(Json::from(number), Json::from);
        match self {
            Self::Null => Json::Null,
            Self::Bool(yes) => Json::from(*yes),
            Self::Int(number) => Json::from(*number),
            Self::UInt(number) => Json::from(*number),
            // By its shortest text, or 0.1 would become 0.10000000149011612.
            Self::Float(number) => double(number.to_string().parse().unwrap_or((*number).into())),
            Self::Double(number) => double(*number),
            Self::String(word) => Json::from(word.as_str()),
            Self::Bytes(bytes) => Json::from(text::base64(bytes)),
            Self::Decimal { unscaled, scale } => Json::from(text::decimal(unscaled, *scale)),
            Self::Date(days) => text(text::date(*days), (*days).into()),
            Self::Time(nanos) => text(text::time(*nanos), *nanos),
            Self::Timestamp(at) => text(text::timestamp(*at), at.seconds),
            Self::LocalTimestamp(at) => text(text::local_timestamp(*at), at.seconds),
            Self::Period {
                months,
                days,
                millis,
            } => Json::from(text::period(*months, *days, *millis)),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| (name.clone(), value.to_json());
                Json::Object(members.iter().map(member).collect::<Map<_, _>>())
            }
        }
    }
}

fn double(number: f64) -> Json {
    match Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None => Json::from(text::special(number).unwrap_or("NaN")),
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(yes) => Self::Bool(yes),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Self::Int(number),
                (None, Some(number)) => Self::UInt(number),
                _ => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::String(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name, Self::from(value)))
                    .collect(),
            ),
        }
    }
}
