//! Types, fields and defaults in a few words.

use serde_json::Value;

use crate::{FieldShape, Shape, Unit};

/// Characters of a name or text that are shown.
const MAX_TEXT: usize = 80;
/// Symbols of an enumeration that are shown.
const MAX_SYMBOLS: usize = 8;

/// At most [`MAX_TEXT`] characters, on one line.
pub(super) fn cut(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < text.len() && text.chars().count() > MAX_TEXT {
        shown.push('…');
    }
    shown
}

/// A text in quotation marks.
pub(super) fn text(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// A value as JSON.
pub(super) fn json(value: &Value) -> String {
    cut(&value.to_string())
}

/// A default.
pub(super) fn default(value: Option<&Value>) -> String {
    value.map_or_else(
        || "no default".to_owned(),
        |value| format!("default {}", json(value)),
    )
}

/// A field: its type, whether it is optional, its default.
pub(super) fn field(field: &FieldShape) -> String {
    let optional = if field.optional { ", optional" } else { "" };
    let default = match &field.default {
        Some(value) => format!(" (default {})", json(value)),
        None => String::new(),
    };
    format!("{}{optional}{default}", word(&field.shape))
}

/// A type, without what lies inside of records.
pub(super) fn word(shape: &Shape) -> String {
    let plain = match shape {
        Shape::Any => "anything",
        Shape::Null => "null",
        Shape::Bool => "bool",
        Shape::Int32 => "int32",
        Shape::Int64 => "int64",
        Shape::UInt32 => "uint32",
        Shape::UInt64 => "uint64",
        Shape::Float => "float",
        Shape::Double => "double",
        Shape::String => "string",
        Shape::Bytes => "bytes",
        Shape::Date => "date",
        Shape::Period => "period",
        Shape::Uuid => "uuid",
        Shape::Time(unit) => return format!("time in {}", of_unit(*unit)),
        Shape::Timestamp(unit) => return format!("timestamp in {}", of_unit(*unit)),
        Shape::LocalTimestamp(unit) => return format!("local timestamp in {}", of_unit(*unit)),
        Shape::Fixed { size, .. } => return format!("{size} bytes"),
        Shape::Decimal { precision, scale } => return format!("decimal({precision}, {scale})"),
        Shape::Enum(one) => {
            let mut symbols: Vec<String> = one.symbols.iter().map(|word| cut(word)).collect();
            if symbols.len() > MAX_SYMBOLS {
                symbols.truncate(MAX_SYMBOLS);
                symbols.push("…".to_owned());
            }
            return format!("enum {} ({})", cut(&one.name), symbols.join(", "));
        }
        Shape::List(inner) => return format!("list of {}", inner_word(inner)),
        Shape::Map(inner) => return format!("map of {}", inner_word(inner)),
        Shape::Record(record) => return format!("record {}", cut(&record.name)),
        Shape::Named(name) => return cut(name),
        Shape::Union(branches) => return union(branches),
    };
    plain.to_owned()
}

fn inner_word(shape: &Shape) -> String {
    match shape {
        Shape::Union(branches) if branches.len() > 1 => format!("({})", union(branches)),
        one => word(one),
    }
}

/// Null goes last, as people say it.
fn union(branches: &[Shape]) -> String {
    let null = branches.iter().filter(|one| **one == Shape::Null);
    let others = branches.iter().filter(|one| **one != Shape::Null);
    let words: Vec<String> = others.chain(null).map(word).collect();
    words.join(" or ")
}

fn of_unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis => "ms",
        Unit::Micros => "µs",
        Unit::Nanos => "ns",
    }
}
