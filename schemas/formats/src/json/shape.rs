//! What a JSON Schema says in the words that all formats share.
//!
//! Whole numbers are as wide as their bounds, 64 bits without; numbers are doubles; text with a `format` or `contentEncoding`
//! that has a kind of its own is that; lists of words are enumerations; objects with `properties` are records, others maps.
//! `anyOf`, `oneOf` and several types are unions, in their order. `x-millstream` says what would be lost otherwise; it is
//! written by [`super::derive`]. What has no shape (`not`, conditions, patterns of names) is left out; what is nothing but
//! that is [`Shape::Any`].
//!
//! Records and enumerations are named by `title`, by the name they are referred to with, or by where they stand.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::documents::{Documents, Place};
use crate::{EnumShape, FieldShape, RecordShape, Shape, Unit};

/// Schemas within one another that are read.
const MAX_NESTING: usize = 60;
/// Schemas read, counting each place where one is used.
const MAX_READ: usize = 20_000;

/// The keyword for what JSON Schema has no word for.
pub(super) const OWN: &str = "x-millstream";

/// The shape of a schema.
pub(super) fn shape(documents: &Documents) -> Shape {
    let mut reader = Reader {
        documents,
        names: HashMap::new(),
        used: HashSet::new(),
        nesting: 0,
        read: 0,
    };
    let mut shape = reader.shape(documents.top(), "Record", false);
    let mut described = HashSet::new();
    names(&shape, &mut described);
    forget(&mut shape, &described);
    shape
}

/// The names that a shape describes.
fn names(shape: &Shape, into: &mut HashSet<String>) {
    match shape {
        Shape::Record(record) => {
            into.insert(record.name.clone());
            record
                .fields
                .iter()
                .for_each(|field| names(&field.shape, into));
        }
        Shape::Enum(EnumShape { name, .. }) | Shape::Fixed { name, .. } => {
            into.insert(name.clone());
        }
        Shape::List(inner) | Shape::Map(inner) => names(inner, into),
        Shape::Union(branches) => branches.iter().for_each(|branch| names(branch, into)),
        _ => {}
    }
}

/// What is named where its description was left out, as in a part of an `allOf` that says nothing more, is anything.
fn forget(shape: &mut Shape, described: &HashSet<String>) {
    match shape {
        Shape::Named(name) if !described.contains(name) => *shape = Shape::Any,
        Shape::Record(record) => {
            let fields = record.fields.iter_mut();
            fields.for_each(|field| forget(&mut field.shape, described));
        }
        Shape::List(inner) | Shape::Map(inner) => forget(inner, described),
        Shape::Union(branches) => {
            let branches = branches.iter_mut();
            branches.for_each(|branch| forget(branch, described));
        }
        _ => {}
    }
}

struct Reader<'a> {
    documents: &'a Documents,
    /// Records and enumerations described before, or further up.
    names: HashMap<*const Value, String>,
    used: HashSet<String>,
    nesting: usize,
    read: usize,
}

impl<'a> Reader<'a> {
    /// `hint` is the name for want of a better one; `described` when the description is somebody else's.
    fn shape(&mut self, place: Place<'a>, hint: &str, described: bool) -> Shape {
        self.read += 1;
        if self.nesting >= MAX_NESTING || self.read > MAX_READ {
            return Shape::Any;
        }
        self.nesting += 1;
        let shape = match place.schema {
            Value::Object(words) => self.words(place, words, hint, described),
            _ => Shape::Any,
        };
        self.nesting -= 1;
        shape
    }

    fn words(
        &mut self,
        place: Place<'a>,
        words: &'a Map<String, Value>,
        hint: &str,
        described: bool,
    ) -> Shape {
        if let Some(reference) = words.get("$ref").and_then(Value::as_str) {
            let Some(target) = self.documents.seek(place.part, reference) else {
                return Shape::Any;
            };
            let last = reference.rsplit(['/', '#']).next().unwrap_or_default();
            let last = last.trim_end_matches(".json");
            let hint = if last.is_empty() { hint } else { last };
            return self.shape(target, &hint.replace("~1", "/").replace("~0", "~"), false);
        }
        if own(words, "type") == Some("union") {
            return Shape::Union(self.tagged(place, words, hint));
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = words.get(word) {
                return self.branches(place, branches, hint);
            }
        }
        match words.get("type") {
            Some(Value::String(word)) => self.typed(place, words, word, hint, described),
            Some(Value::Array(types)) => {
                let types = types.iter().filter_map(Value::as_str);
                let each = types.map(|word| self.typed(place, words, word, hint, described));
                Shape::Union(each.collect())
            }
            _ => self.untyped(place, words, hint, described),
        }
    }

    fn untyped(
        &mut self,
        place: Place<'a>,
        words: &'a Map<String, Value>,
        hint: &str,
        described: bool,
    ) -> Shape {
        if let Some(Value::Array(values)) = words.get("enum") {
            let null = values.contains(&Value::Null);
            let texts = values
                .iter()
                .all(|value| value.is_string() || value.is_null());
            if texts && values.iter().any(Value::is_string) {
                let symbols = self.typed(place, words, "string", hint, described);
                return if null {
                    Shape::Union(vec![symbols, Shape::Null])
                } else {
                    symbols
                };
            }
            return agreed(values);
        }
        if let Some(value) = words.get("const") {
            return agreed(std::slice::from_ref(value));
        }
        let has = |known: &[&str]| known.iter().any(|word| words.contains_key(*word));
        if has(&["properties", "additionalProperties", "required"]) {
            return self.typed(place, words, "object", hint, described);
        }
        if has(&["items", "prefixItems"]) {
            return self.typed(place, words, "array", hint, described);
        }
        match words
            .get("allOf")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            Some(parts) => {
                let shapes = parts
                    .iter()
                    .map(|part| self.shape(place.at(part), hint, described));
                let told: Vec<Shape> = shapes.filter(|shape| *shape != Shape::Any).collect();
                merged(told)
            }
            None => Shape::Any,
        }
    }

    /// As one of the types that are allowed.
    fn typed(
        &mut self,
        place: Place<'a>,
        words: &'a Map<String, Value>,
        word: &str,
        hint: &str,
        described: bool,
    ) -> Shape {
        match word {
            "null" => Shape::Null,
            "boolean" => Shape::Bool,
            "integer" => whole(words),
            "number" if own(words, "type") == Some("float") => Shape::Float,
            "number" => Shape::Double,
            "string" => match words.get("enum") {
                Some(Value::Array(values)) => self.symbols(place, words, values, hint),
                _ => text(words),
            },
            "array" => {
                let items = words.get("items").filter(|items| items.is_object());
                let items = items.filter(|_| !words.contains_key("prefixItems"));
                Shape::List(Box::new(match items {
                    Some(items) => self.shape(place.at(items), &format!("{hint}_item"), false),
                    None => Shape::Any,
                }))
            }
            "object" => self.object(place, words, hint, described),
            _ => Shape::Any,
        }
    }

    fn object(
        &mut self,
        place: Place<'a>,
        words: &'a Map<String, Value>,
        hint: &str,
        described: bool,
    ) -> Shape {
        let properties = words.get("properties").and_then(Value::as_object);
        let record = own(words, "type") == Some("record");
        let Some(properties) = properties.filter(|properties| record || !properties.is_empty())
        else {
            let values = words
                .get("additionalProperties")
                .filter(|values| values.is_object());
            return Shape::Map(Box::new(match values {
                Some(values) => self.shape(place.at(values), &format!("{hint}_value"), false),
                None => Shape::Any,
            }));
        };
        if let Some(known) = self.names.get(&place.key()) {
            return Shape::Named(known.clone());
        }
        let name = self.name(place, words, hint);
        let required = words.get("required").and_then(Value::as_array);
        let required: HashSet<&str> = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut fields = Vec::new();
        for (field, property) in properties {
            if *property == Value::Bool(false) {
                continue;
            }
            let shape = self.shape(
                place.at(property),
                &format!("{name}_{}", plain(field)),
                true,
            );
            fields.push(FieldShape {
                name: field.clone(),
                shape,
                optional: !required.contains(field.as_str()),
                default: property.get("default").cloned(),
                doc: description(property),
            });
        }
        let doc = if described {
            None
        } else {
            description(place.schema)
        };
        Shape::Record(RecordShape { name, doc, fields })
    }

    fn symbols(
        &mut self,
        place: Place<'a>,
        words: &'a Map<String, Value>,
        values: &[Value],
        hint: &str,
    ) -> Shape {
        if let Some(known) = self.names.get(&place.key()) {
            return Shape::Named(known.clone());
        }
        let symbols = values.iter().filter_map(Value::as_str).map(str::to_owned);
        Shape::Enum(EnumShape {
            name: self.name(place, words, hint),
            symbols: symbols.collect(),
            default: own(words, "default").map(str::to_owned),
        })
    }

    /// A name that no other has, kept for where it is used again.
    fn name(&mut self, place: Place<'a>, words: &Map<String, Value>, hint: &str) -> String {
        let title = words.get("title").and_then(Value::as_str);
        let name = plain(title.filter(|title| !title.is_empty()).unwrap_or(hint));
        let mut free = name.clone();
        for number in 2.. {
            if self.used.insert(free.clone()) {
                break;
            }
            free = format!("{name}_{number}");
        }
        self.names.insert(place.key(), free.clone());
        free
    }

    fn branches(&mut self, place: Place<'a>, branches: &'a [Value], hint: &str) -> Shape {
        let mut shapes = Vec::new();
        for (at, branch) in branches.iter().enumerate() {
            let shape = self.shape(place.at(branch), &format!("{hint}_{}", at + 1), false);
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        Shape::Union(shapes)
    }

    /// Branches that are objects with one member, or null.
    fn tagged(
        &mut self,
        place: Place<'a>,
        words: &'a Map<String, Value>,
        hint: &str,
    ) -> Vec<Shape> {
        let branches = words.get("anyOf").and_then(Value::as_array);
        let each = branches.into_iter().flatten().map(|branch| {
            let members = branch.get("properties").and_then(Value::as_object);
            match members.and_then(|members| members.iter().next()) {
                Some((word, inner)) => {
                    self.shape(place.at(inner), &format!("{hint}_{}", plain(word)), false)
                }
                None => Shape::Null,
            }
        });
        each.collect()
    }
}

/// A word of `x-millstream`.
fn own<'a>(words: &'a Map<String, Value>, word: &str) -> Option<&'a str> {
    words.get(OWN)?.get(word)?.as_str()
}

fn own_number(words: &Map<String, Value>, word: &str) -> Option<u64> {
    words.get(OWN)?.get(word)?.as_u64()
}

fn description(schema: &Value) -> Option<String> {
    schema
        .get("description")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

/// Letters, digits, `_` and the dots between parts.
fn plain(name: &str) -> String {
    let mut plain: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() || char == '.' {
                char
            } else {
                '_'
            }
        })
        .collect();
    if plain.starts_with(|char: char| char.is_ascii_digit() || char == '.') || plain.is_empty() {
        plain.insert(0, '_');
    }
    plain
}

fn whole(words: &Map<String, Value>) -> Shape {
    let low = words.get("minimum").and_then(Value::as_i64);
    let high = words.get("maximum").and_then(Value::as_u64);
    let below = words.get("maximum").and_then(Value::as_i64);
    match (low, below, high) {
        (Some(low), Some(high), _) if low >= i32::MIN.into() && high <= i32::MAX.into() => {
            Shape::Int32
        }
        (Some(0..), _, Some(high)) if high <= u32::MAX.into() => Shape::UInt32,
        (Some(0..), None, Some(_)) => Shape::UInt64,
        _ => Shape::Int64,
    }
}

fn unit(words: &Map<String, Value>) -> Unit {
    match own(words, "unit") {
        Some("millis") => Unit::Millis,
        Some("nanos") => Unit::Nanos,
        _ => Unit::Micros,
    }
}

fn text(words: &Map<String, Value>) -> Shape {
    let number = |word: &str| own_number(words, word).and_then(|number| u32::try_from(number).ok());
    match own(words, "type") {
        Some("fixed") => {
            return Shape::Fixed {
                name: own(words, "name").unwrap_or_default().to_owned(),
                size: number("size").unwrap_or_default() as usize,
            };
        }
        Some("decimal") => {
            return Shape::Decimal {
                precision: number("precision").unwrap_or_default(),
                scale: number("scale").unwrap_or_default(),
            };
        }
        Some("time") => return Shape::Time(unit(words)),
        Some("local-timestamp") => return Shape::LocalTimestamp(unit(words)),
        Some("period") => return Shape::Period,
        _ => {}
    }
    let format = words.get("format").and_then(Value::as_str);
    let encoding = words.get("contentEncoding").and_then(Value::as_str);
    match (format, encoding) {
        (_, Some("base64")) => Shape::Bytes,
        (Some("date"), _) => Shape::Date,
        (Some("date-time"), _) => Shape::Timestamp(unit(words)),
        (Some("uuid"), _) => Shape::Uuid,
        _ => Shape::String,
    }
}

/// What values that are listed are all of.
fn agreed(values: &[Value]) -> Shape {
    let of = |value: &Value| match value {
        Value::Null => Shape::Null,
        Value::Bool(_) => Shape::Bool,
        Value::Number(number) if number.is_i64() => Shape::Int64,
        Value::Number(number) if number.is_u64() => Shape::UInt64,
        Value::Number(_) => Shape::Double,
        Value::String(_) => Shape::String,
        Value::Array(_) | Value::Object(_) => Shape::Any,
    };
    let mut shapes: Vec<Shape> = Vec::new();
    for shape in values.iter().map(of) {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    match shapes.len() {
        _ if shapes.contains(&Shape::Any) => Shape::Any,
        1 => shapes.remove(0),
        _ => Shape::Union(shapes),
    }
}

/// Of the parts of an `allOf`: records are put together, otherwise the first says it.
fn merged(mut shapes: Vec<Shape>) -> Shape {
    if shapes.is_empty() {
        return Shape::Any;
    }
    let first = shapes.remove(0);
    let Shape::Record(mut record) = first else {
        return first;
    };
    for shape in shapes {
        if let Shape::Record(other) = shape {
            for field in other.fields {
                if !record.fields.iter().any(|known| known.name == field.name) {
                    record.fields.push(field);
                }
            }
        }
    }
    Shape::Record(record)
}

#[cfg(test)]
mod tests;
