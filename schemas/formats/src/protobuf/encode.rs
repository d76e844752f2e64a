//! From a [`Value`] to the wire format: fields by their numbers, maps in the order of the value, so that the same value is
//! always the same bytes.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::decode::{JSON, VALUE, parse_duration, wrapped};
use super::{camel, label};
use crate::fault::{Fault, fault};
use crate::scalars::{listed, shown, to_double, to_float};
use crate::{Value, text};

/// Deepest nesting.
const MAX_DEPTH: usize = 100;

pub(super) fn encode(message: &MessageDescriptor, value: &Value) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    put_message(message, value, &mut out, 0)?;
    Ok(out)
}

fn put_message(
    message: &MessageDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return fault(
            "depth",
            format!("at most {MAX_DEPTH} levels"),
            "deeper nesting",
        );
    }
    if well_known(message, value, out, depth)? {
        return Ok(());
    }
    if let Some(only) = wrapped(message, VALUE) {
        return match value {
            Value::Null if only.supports_presence() => Ok(()),
            value => put_field(&only, value, out, depth),
        };
    }
    if let Some(only) = wrapped(message, JSON) {
        let text = Value::String(value.to_json().to_string());
        return put_field(&only, &text, out, depth);
    }
    let Value::Object(members) = value else {
        return fault("type", message.full_name(), shown(value));
    };
    let mut unknown = None;
    let mut given: Vec<(FieldDescriptor, &str, &Value)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        match called(message, name) {
            Some(field) => given.push((field, name, value)),
            None => unknown = unknown.or(Some(name)),
        }
    }
    given.sort_by_key(|(field, ..)| field.number());
    if let Some([_, (_, name, _)]) = given.array_windows().find(|[one, next]| one.0 == next.0) {
        let twice: Result<(), Fault> = fault("duplicate", "one value", "another of the same field");
        return twice.map_err(|fault| fault.within(*name));
    }
    let mut set_in: Vec<String> = Vec::new();
    for (field, name, value) in &given {
        // Null is how JSON says that there is nothing.
        if **value == Value::Null && !takes_null(field) {
            continue;
        }
        if let Some(oneof) = field.containing_oneof() {
            if set_in.iter().any(|name| name == oneof.name()) {
                let expected = format!("one field of `{}`", oneof.name());
                return fault("oneof", expected, "another one")
                    .map_err(|fault: Fault| fault.within(*name));
            }
            set_in.push(oneof.name().to_owned());
        }
        put_field(field, value, out, depth).map_err(|fault| fault.within(*name))?;
    }
    required(message, &given)?;
    if let Some(name) = unknown {
        let known = format!("a field of `{}`", message.full_name());
        let unknown: Result<(), Fault> = fault("unknown", known, format!("`{name}`"));
        return unknown.map_err(|fault| fault.within(name));
    }
    Ok(())
}

/// Whether all fields that must be there are.
fn required(
    message: &MessageDescriptor,
    given: &[(FieldDescriptor, &str, &Value)],
) -> Result<(), Fault> {
    for field in message.fields().filter(FieldDescriptor::is_required) {
        let value = given.iter().find(|(own, ..)| *own == field);
        let found = match value {
            None => "nothing",
            Some((.., Value::Null)) if !takes_null(&field) => "null",
            Some(_) => continue,
        };
        let missing: Result<(), Fault> = fault("required", "a value", found);
        return missing.map_err(|fault| fault.within(label(&field)));
    }
    Ok(())
}

/// The field that a member is of: the one that decoding calls so, else the one with that name or that name in JSON.
fn called(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let in_json = message.get_field_by_json_name(name);
    let named = message.get_field_by_name(name);
    match (in_json, named) {
        (Some(_), Some(named)) if label(&named) == name => Some(named),
        (Some(field), _) | (None, Some(field)) => Some(field),
        (None, None) => message.fields().find(|field| camel(field.name()) == name),
    }
}

fn takes_null(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => {
            let own = message.full_name() == "google.protobuf.Value";
            !field.is_list()
                && !field.is_map()
                && (own
                    || wrapped(&message, JSON).is_some()
                    || wrapped(&message, VALUE).is_some_and(|only| only.supports_presence()))
        }
        Kind::Enum(symbols) => symbols.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

fn put_field(
    field: &FieldDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let number = field.number();
    if field.is_map() {
        return put_map(field, value, out, depth);
    }
    if field.is_list() {
        let Value::List(items) = value else {
            return fault("type", "a list", shown(value));
        };
        let mut packed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let put = if field.is_packed() {
                put_bare(&field.kind(), item, &mut packed, depth)
            } else {
                put_tagged(field, number, &field.kind(), item, out, depth)
            };
            put.map_err(|fault| fault.within(index.to_string()))?;
        }
        if !packed.is_empty() {
            put_tag(out, number, 2);
            put_sized(out, &packed);
        }
        return Ok(());
    }
    let start = out.len();
    put_tagged(field, number, &field.kind(), value, out, depth)?;
    if !field.supports_presence() && is_default(&field.kind(), &out[start..]) {
        // proto3: what is the default is not written.
        out.truncate(start);
    }
    Ok(())
}

/// Whether a tagged value without presence is all zeros.
fn is_default(kind: &Kind, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        rest = behind;
        if first & 0x80 == 0 {
            break;
        }
    }
    match kind {
        Kind::Message(_) => false,
        _ => rest.iter().all(|byte| *byte == 0) && (rest.len() == 1 || matches!(rest.len(), 4 | 8)),
    }
}

fn put_map(
    field: &FieldDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let (Value::Object(members), Kind::Message(entry)) = (value, field.kind()) else {
        return fault("type", "an object", shown(value));
    };
    let (key_kind, held) = (
        entry.map_entry_key_field().kind(),
        entry.map_entry_value_field(),
    );
    for (key, value) in members {
        let mut inner = Vec::new();
        put_tag(&mut inner, 1, wire(&key_kind));
        let key_value = Value::String(key.clone());
        let put = put_bare(&key_kind, &key_value, &mut inner, depth)
            .and_then(|()| put_tagged(&held, 2, &held.kind(), value, &mut inner, depth));
        put.map_err(|fault| fault.within(key))?;
        put_tag(out, field.number(), 2);
        put_sized(out, &inner);
    }
    Ok(())
}

fn put_tagged(
    field: &FieldDescriptor,
    number: u32,
    kind: &Kind,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let Kind::Message(message) = kind else {
        put_tag(out, number, wire(kind));
        return put_bare(kind, value, out, depth);
    };
    if field.is_group() {
        put_tag(out, number, 3);
        put_message(message, value, out, depth + 1)?;
        put_tag(out, number, 4);
        return Ok(());
    }
    let mut inner = Vec::new();
    put_message(message, value, &mut inner, depth + 1)?;
    put_tag(out, number, 2);
    put_sized(out, &inner);
    Ok(())
}

fn put_bare(kind: &Kind, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    match kind {
        Kind::Bool => {
            let yes = match value {
                Value::Bool(yes) => *yes,
                Value::String(word) if word == "true" => true,
                Value::String(word) if word == "false" => false,
                other => return fault("type", "true or false", shown(other)),
            };
            out.push(u8::from(yes));
        }
        Kind::Int32 => put_varint(out, i64::from(int32(value)?).cast_unsigned()),
        Kind::Sint32 => {
            let number = int32(value)?;
            put_varint(
                out,
                u64::from(((number << 1) ^ (number >> 31)).cast_unsigned()),
            );
        }
        Kind::Sfixed32 => out.extend_from_slice(&int32(value)?.to_le_bytes()),
        Kind::Int64 => put_varint(out, int64(value)?.cast_unsigned()),
        Kind::Sint64 => {
            let number = int64(value)?;
            put_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
        }
        Kind::Sfixed64 => out.extend_from_slice(&int64(value)?.to_le_bytes()),
        Kind::Uint32 => put_varint(out, uint32(value)?.into()),
        Kind::Fixed32 => out.extend_from_slice(&uint32(value)?.to_le_bytes()),
        Kind::Uint64 => put_varint(out, uint64(value)?),
        Kind::Fixed64 => out.extend_from_slice(&uint64(value)?.to_le_bytes()),
        Kind::Float => out.extend_from_slice(&to_float(value, "a number")?.to_le_bytes()),
        Kind::Double => out.extend_from_slice(&to_double(value, "a number")?.to_le_bytes()),
        Kind::String => put_sized(out, as_text(value)?.as_bytes()),
        Kind::Bytes => {
            let bytes = match value {
                Value::Bytes(bytes) => Some(bytes.clone()),
                Value::String(word) => text::parse_base64(word),
                _ => None,
            };
            match bytes {
                Some(bytes) => put_sized(out, &bytes),
                None => return fault("type", "bytes, or base64 text", shown(value)),
            }
        }
        Kind::Enum(symbols) => put_varint(out, i64::from(symbol(symbols, value)?).cast_unsigned()),
        Kind::Message(message) => {
            let mut inner = Vec::new();
            put_message(message, value, &mut inner, depth + 1)?;
            put_sized(out, &inner);
        }
    }
    Ok(())
}

/// Seconds and nanoseconds of a point in time.
fn point(value: &Value) -> Result<(i64, i32), Fault> {
    let at = match value {
        Value::Timestamp(at) => Some(*at),
        Value::String(word) => text::parse_timestamp(word),
        _ => None,
    };
    let at = at.filter(|at| text::timestamp(*at).is_some());
    match at {
        Some(at) => Ok((at.seconds, i32::try_from(at.nanos).unwrap_or(0))),
        None => fault(
            "type",
            "a time such as `2026-11-23T13:05:09Z`, in the years 0 to 9999",
            shown(value),
        ),
    }
}

fn symbol(symbols: &EnumDescriptor, value: &Value) -> Result<i32, Fault> {
    let number = match value {
        Value::Null if symbols.full_name() == "google.protobuf.NullValue" => Some(0),
        Value::String(word) => symbols
            .get_value_by_name(word)
            .map(|symbol| symbol.number()),
        Value::Int(number) => i32::try_from(*number).ok(),
        _ => None,
    };
    if let Some(number) = number {
        return Ok(number);
    }
    let known: Vec<_> = symbols.values().collect();
    let expected = format!(
        "one of {}",
        listed(known.iter().map(|symbol| symbol.name()))
    );
    fault("symbol", expected, shown(value))
}

/// Writes the fields of a well-known type, if the message is one and the value is said as its JSON.
fn well_known(
    message: &MessageDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<bool, Fault> {
    let Some(name) = message.full_name().strip_prefix("google.protobuf.") else {
        return Ok(false);
    };
    let field = |name: &str| message.get_field_by_name(name);
    let mut parts = |seconds: i64, nanos: i32| -> Result<bool, Fault> {
        for (name, number) in [("seconds", seconds), ("nanos", i64::from(nanos))] {
            if let Some(field) = field(name) {
                put_field(&field, &Value::Int(number), out, depth)?;
            }
        }
        Ok(true)
    };
    match (name, value) {
        ("Timestamp", Value::Object(_)) | ("Duration", Value::Object(_)) => Ok(false),
        ("Timestamp", value) => {
            let (seconds, nanos) = point(value)?;
            parts(seconds, nanos)
        }
        ("Duration", Value::String(word)) => match parse_duration(word) {
            Some((seconds, nanos)) => parts(seconds, nanos),
            None => fault("type", "a duration such as `1.5s`", shown(value)),
        },
        (
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue",
            value,
        ) => {
            if let Some(only) = field("value") {
                put_field(&only, value, out, depth)?;
            }
            Ok(true)
        }
        ("Struct", value @ Value::Object(_)) => inner(field("fields"), value, out, depth),
        ("ListValue", value @ Value::List(_)) => inner(field("values"), value, out, depth),
        ("Value", value) => {
            let set = match value {
                Value::Null => "null_value",
                Value::Bool(_) => "bool_value",
                Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Double(_) => {
                    "number_value"
                }
                Value::List(_) => "list_value",
                Value::Object(_) => "struct_value",
                _ => "string_value",
            };
            inner(field(set), value, out, depth)
        }
        ("FieldMask", Value::String(word)) => {
            let paths = word.split(',').filter(|path| !path.is_empty());
            let paths = paths.map(|path| Value::String(path.to_owned())).collect();
            inner(field("paths"), &Value::List(paths), out, depth)
        }
        ("Any", value) if value.get("@type").is_some() => {
            for (own, name) in [("type_url", "@type"), ("value", "value")] {
                if let (Some(field), Some(value)) = (field(own), value.get(name)) {
                    put_field(&field, value, out, depth)?;
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn inner(
    field: Option<FieldDescriptor>,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<bool, Fault> {
    if let Some(field) = field {
        put_field(&field, value, out, depth)?;
    }
    Ok(true)
}

fn wire(kind: &Kind) -> u32 {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::String | Kind::Bytes | Kind::Message(_) => 2,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    put_varint(out, u64::from(number << 3 | wire));
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A whole number of any kind.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and in range"
)]
fn whole(value: &Value) -> Option<i128> {
    let exact = |number: f64| {
        let fits = number.fract() == 0.0 && number.abs() < 1.9e19;
        fits.then_some(number as i128)
    };
    match value {
        Value::Int(number) => Some((*number).into()),
        Value::UInt(number) => Some((*number).into()),
        Value::Float(number) => exact((*number).into()),
        Value::Double(number) => exact(*number),
        Value::String(text) => text.parse().ok(),
        Value::Date(days) => Some((*days).into()),
        _ => None,
    }
}

fn number<T: TryFrom<i128>>(value: &Value, expected: &str) -> Result<T, Fault> {
    let found = whole(value).and_then(|number| T::try_from(number).ok());
    match (found, whole(value)) {
        (Some(number), _) => Ok(number),
        (None, Some(_)) => fault("range", expected, shown(value)),
        (None, None) => fault("type", expected, shown(value)),
    }
}

fn int32(value: &Value) -> Result<i32, Fault> {
    number(value, "a whole number of 32 bits")
}

fn int64(value: &Value) -> Result<i64, Fault> {
    number(value, "a whole number of 64 bits")
}

fn uint32(value: &Value) -> Result<u32, Fault> {
    number(value, "a whole number of 32 bits without a sign")
}

fn uint64(value: &Value) -> Result<u64, Fault> {
    number(value, "a whole number of 64 bits without a sign")
}

fn as_text(value: &Value) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text.clone()),
        // What has a text form of its own.
        Value::Decimal { .. }
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::LocalTimestamp(_)
        | Value::Period { .. } => match value.to_json() {
            serde_json::Value::String(text) => Ok(text),
            other => fault("type", "text", other.to_string()),
        },
        other => fault("type", "text", shown(other)),
    }
}
