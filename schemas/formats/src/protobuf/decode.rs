//! From the wire format to a [`Value`].
//!
//! Well-known types are what their JSON mapping says (protobuf.dev, "ProtoJSON"), but times stay times. A message whose only
//! field is called `millstream_value` is that field, one with `millstream_json` the JSON that its text is.

use prost_reflect::ReflectMessage as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value as Wire,
};

use super::label;
use crate::{Instant, Value, text};

pub(super) const VALUE: &str = "millstream_value";
pub(super) const JSON: &str = "millstream_json";

/// The only field of a message that stands for it.
pub(super) fn wrapped(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let mut fields = message.fields();
    let only = fields.next().filter(|field| field.name() == name)?;
    fields.next().is_none().then_some(only)
}

pub(super) fn message(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    if let Some(known) = well_known(message, &descriptor) {
        return known;
    }
    if let Some(only) = wrapped(&descriptor, VALUE) {
        let present = !only.supports_presence() || message.has_field(&only);
        return if present {
            field(&message.get_field(&only), &only)
        } else {
            Value::Null
        };
    }
    if let Some(only) = wrapped(&descriptor, JSON) {
        let text = message.get_field(&only);
        let json = text.as_str().map(serde_json::from_str::<serde_json::Value>);
        // What is no JSON is still text.
        return match json {
            Some(Ok(json)) => json.into(),
            _ => field(&text, &only),
        };
    }
    let fields = descriptor.fields();
    let present = fields.filter(|field| !field.supports_presence() || message.has_field(field));
    let members = present.map(|own| (label(&own), field(&message.get_field(&own), &own)));
    Value::Object(members.collect())
}

fn field(value: &Wire, field: &FieldDescriptor) -> Value {
    match value {
        Wire::List(items) => Value::List(
            items
                .iter()
                .map(|item| single(item, &field.kind()))
                .collect(),
        ),
        Wire::Map(members) => {
            let Kind::Message(entry) = field.kind() else {
                return Value::Null;
            };
            let kind = entry.map_entry_value_field().kind();
            let members = members
                .iter()
                .map(|(key, value)| (of_key(key), single(value, &kind)));
            let mut members: Vec<(String, Value)> = members.collect();
            // The library's map has no order.
            members.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(members)
        }
        other => single(other, &field.kind()),
    }
}

fn of_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(yes) => yes.to_string(),
        MapKey::I32(number) => number.to_string(),
        MapKey::I64(number) => number.to_string(),
        MapKey::U32(number) => number.to_string(),
        MapKey::U64(number) => number.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

fn single(value: &Wire, kind: &Kind) -> Value {
    match value {
        Wire::Bool(yes) => Value::Bool(*yes),
        Wire::I32(number) => Value::Int((*number).into()),
        Wire::I64(number) => Value::Int(*number),
        Wire::U32(number) => Value::Int((*number).into()),
        Wire::U64(number) => i64::try_from(*number).map_or(Value::UInt(*number), Value::Int),
        Wire::F32(number) => Value::Float(*number),
        Wire::F64(number) => Value::Double(*number),
        Wire::String(text) => Value::String(text.clone()),
        Wire::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Wire::EnumNumber(number) => {
            let Kind::Enum(symbols) = kind else {
                return Value::Int((*number).into());
            };
            if symbols.full_name() == "google.protobuf.NullValue" {
                return Value::Null;
            }
            // Aliases share a number; the first one stands for it.
            let symbol = symbols.values().find(|symbol| symbol.number() == *number);
            symbol.map_or(Value::Int((*number).into()), |symbol| {
                Value::String(symbol.name().to_owned())
            })
        }
        Wire::Message(inner) => message(inner),
        Wire::List(_) | Wire::Map(_) => Value::Null,
    }
}

fn well_known(message: &DynamicMessage, descriptor: &MessageDescriptor) -> Option<Value> {
    let name = descriptor.full_name().strip_prefix("google.protobuf.")?;
    let get = |name: &str| {
        message
            .get_field_by_name(name)
            .map(std::borrow::Cow::into_owned)
    };
    let long = |name: &str| get(name).and_then(|value| value.as_i64()).unwrap_or(0);
    let int = |name: &str| get(name).and_then(|value| value.as_i32()).unwrap_or(0);
    match name {
        "Timestamp" => {
            let at = Instant {
                seconds: long("seconds"),
                nanos: u32::try_from(int("nanos"))
                    .ok()
                    .filter(|nanos| *nanos < 1_000_000_000)?,
            };
            text::timestamp(at).map(|_| Value::Timestamp(at))
        }
        "Duration" => duration(long("seconds"), int("nanos")).map(Value::String),
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
        | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => {
            let only = descriptor.get_field_by_name("value")?;
            Some(single(&message.get_field(&only), &only.kind()))
        }
        "Struct" => {
            let fields = descriptor.get_field_by_name("fields")?;
            Some(field(&message.get_field(&fields), &fields))
        }
        "ListValue" => {
            let values = descriptor.get_field_by_name("values")?;
            Some(field(&message.get_field(&values), &values))
        }
        "Value" => {
            let set = descriptor.fields().find(|field| message.has_field(field));
            Some(set.map_or(Value::Null, |set| field(&message.get_field(&set), &set)))
        }
        "FieldMask" => {
            let paths = get("paths")?;
            let paths = paths.as_list()?.iter().filter_map(Wire::as_str);
            let paths: Vec<&str> = paths.collect();
            // A comma within a path would be lost.
            let plain = paths
                .iter()
                .all(|path| !path.contains(',') && !path.is_empty());
            plain.then(|| Value::String(paths.join(",")))
        }
        "Any" => {
            let url = get("type_url")?.as_str()?.to_owned();
            let bytes = get("value")?.as_bytes()?.to_vec();
            let members = [
                ("@type", Value::String(url)),
                ("value", Value::Bytes(bytes)),
            ];
            Some(Value::Object(
                members.map(|(name, value)| (name.to_owned(), value)).into(),
            ))
        }
        _ => None,
    }
}

/// `1.5s`; `None` for what is no duration.
fn duration(seconds: i64, nanos: i32) -> Option<String> {
    let same_sign = nanos == 0 || seconds == 0 || (nanos > 0) == (seconds > 0);
    if nanos.unsigned_abs() >= 1_000_000_000 || !same_sign {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = match nanos {
        0 => String::new(),
        _ => format!(".{:09}", nanos.unsigned_abs())
            .trim_end_matches('0')
            .to_owned(),
    };
    Some(format!("{sign}{}{fraction}s", seconds.unsigned_abs()))
}

/// Seconds and nanoseconds of what [`duration`] writes.
pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let digits = text.strip_suffix('s')?;
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !numeric(part) || part.len() > 9 {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    let seconds = format!("{sign}{whole}").parse().ok()?;
    let nanos: i32 = format!("{part:0<9}").parse().ok()?;
    Some((seconds, if negative { -nanos } else { nanos }))
}
