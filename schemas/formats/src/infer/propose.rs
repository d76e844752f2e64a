//! From what was seen to a shape and to a JSON Schema.

use serde_json::{Map, Value, json};

use super::names::Names;
use super::recognise::{
    self, DATE, DATE_TIME, LOCAL_DATE_TIME, LOCAL_DATE_TIME_PATTERN, LOCAL_TIME,
    LOCAL_TIME_PATTERN, UUID,
};
use super::rules;
use super::seen::{Arrays, Member, Members, Numbers, Objects, Seen, Strings};
use crate::{EnumShape, FieldShape, RecordShape, Shape, Unit};

/// Whole numbers up to here are proposed as 32 bits: half of what fits, for those to come.
const SMALL: i128 = 1 << 30;

/// Members in the order that documents have them, on the average.
pub(super) fn ordered(
    members: &std::collections::BTreeMap<Box<str>, Member>,
) -> Vec<(&str, &Member)> {
    let mut all: Vec<(&str, &Member)> = members
        .iter()
        .map(|(name, member)| (&**name, member))
        .collect();
    // The sort is stable, so the order is one of places and names, not of documents.
    all.sort_by(|(_, a), (_, b)| {
        let (mine, theirs) = (u128::from(a.seen.count()), u128::from(b.seen.count()));
        (u128::from(a.places) * theirs).cmp(&(u128::from(b.places) * mine))
    });
    all
}

/// What was seen as a shape. `word` is what the value is called where it stands.
pub(super) fn shape(seen: &Seen, word: &str, names: &mut Names) -> Shape {
    let mut branches = Vec::new();
    if seen.nulls > 0 {
        branches.push(Shape::Null);
    }
    if seen.booleans > 0 {
        branches.push(Shape::Bool);
    }
    branches.extend(seen.numbers.as_deref().map(number));
    if let Some(strings) = seen.strings.as_deref() {
        branches.push(string(strings, word, names));
    }
    if let Some(arrays) = seen.arrays.as_deref() {
        let items = arrays.items.as_ref();
        let items = items.map_or(Shape::Any, |items| shape(items, word, names));
        branches.push(Shape::List(Box::new(items)));
    }
    if let Some(objects) = seen.objects.as_deref() {
        branches.push(object(objects, word, names));
    }
    match branches.len() {
        0 => Shape::Any,
        1 => branches.swap_remove(0),
        _ => Shape::Union(branches),
    }
}

fn number(numbers: &Numbers) -> Shape {
    let (least, most) = (numbers.least, numbers.most);
    match numbers {
        _ if numbers.fractions > 0 => Shape::Double,
        _ if least >= -SMALL && most <= SMALL => Shape::Int32,
        _ if most <= i64::MAX.into() => Shape::Int64,
        _ if least >= 0 => Shape::UInt64,
        _ => Shape::Double,
    }
}

fn string(strings: &Strings, word: &str, names: &mut Names) -> Shape {
    if let Some(symbols) = rules::symbols(strings).filter(|symbols| symbols.iter().all(is_name)) {
        return Shape::Enum(EnumShape {
            name: names.give(word),
            symbols: symbols.into_iter().map(str::to_owned).collect(),
            default: None,
        });
    }
    let unit = match strings.digits {
        0..=3 => Some(Unit::Millis),
        4..=6 => Some(Unit::Micros),
        7..=9 => Some(Unit::Nanos),
        _ => None,
    };
    match (rules::kind(strings), unit) {
        (Some(DATE_TIME), Some(unit)) => Shape::Timestamp(unit),
        (Some(LOCAL_DATE_TIME), Some(unit)) => Shape::LocalTimestamp(unit),
        (Some(LOCAL_TIME), Some(unit)) => Shape::Time(unit),
        (Some(DATE), _) => Shape::Date,
        (Some(UUID), _) => Shape::Uuid,
        _ => Shape::String,
    }
}

/// What Avro and Protobuf take for a symbol.
fn is_name(word: &&str) -> bool {
    let mut bytes = word.bytes();
    let first = bytes.next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn object(objects: &Objects, word: &str, names: &mut Names) -> Shape {
    if let Some(values) = rules::map(objects) {
        return Shape::Map(Box::new(shape(&values, word, names)));
    }
    match &objects.members {
        Members::Named(members) if !members.is_empty() => {
            let name = names.give(word);
            let field = |(name, member): (&str, &Member)| FieldShape {
                name: name.to_owned(),
                shape: shape(&member.seen, name, names),
                optional: member.seen.count() < objects.count,
                default: None,
                doc: None,
            };
            let fields = ordered(members).into_iter().map(field).collect();
            Shape::Record(RecordShape {
                name,
                doc: None,
                fields,
            })
        }
        _ => Shape::Map(Box::new(Shape::Any)),
    }
}

/// What was seen as a JSON Schema.
pub(super) fn json_schema(seen: &Seen) -> Value {
    let mut branches: Vec<Map<String, Value>> = Vec::new();
    let bare = |word: &str| Map::from_iter([("type".to_owned(), json!(word))]);
    if seen.booleans > 0 {
        branches.push(bare("boolean"));
    }
    branches.extend(seen.numbers.as_deref().map(json_number));
    branches.extend(seen.strings.as_deref().map(json_string));
    branches.extend(seen.arrays.as_deref().map(json_array));
    branches.extend(seen.objects.as_deref().map(json_object));
    match branches.len() {
        0 if seen.nulls > 0 => json!({ "type": "null" }),
        0 => json!({}),
        1 => {
            let mut only = branches.swap_remove(0);
            if seen.nulls > 0 {
                let word = only.get("type").cloned().unwrap_or_default();
                only.insert("type".to_owned(), json!([word, "null"]));
                if let Some(Value::Array(words)) = only.get_mut("enum") {
                    words.push(Value::Null);
                }
            }
            Value::Object(only)
        }
        _ => {
            if seen.nulls > 0 {
                branches.push(bare("null"));
            }
            json!({ "anyOf": branches })
        }
    }
}

fn json_number(numbers: &Numbers) -> Map<String, Value> {
    let whole = numbers.fractions == 0;
    let word = if whole { "integer" } else { "number" };
    let mut schema = Map::from_iter([("type".to_owned(), json!(word))]);
    let (least, most) = rules::range(numbers);
    for (keyword, bound) in [("minimum", least), ("maximum", most)] {
        if let Some(bound) = bound.and_then(|bound| i64::try_from(bound).ok()) {
            schema.insert(keyword.to_owned(), bound.into());
        }
    }
    schema
}

fn json_string(strings: &Strings) -> Map<String, Value> {
    let mut schema = Map::from_iter([("type".to_owned(), json!("string"))]);
    if let Some(symbols) = rules::symbols(strings) {
        schema.insert("enum".to_owned(), json!(symbols));
    } else if let Some(kind) = rules::kind(strings) {
        let (keyword, word) = match recognise::format(kind) {
            Some(word) => ("format", word),
            None if kind == LOCAL_TIME => ("pattern", LOCAL_TIME_PATTERN),
            None => ("pattern", LOCAL_DATE_TIME_PATTERN),
        };
        schema.insert(keyword.to_owned(), word.into());
    }
    schema
}

fn json_array(arrays: &Arrays) -> Map<String, Value> {
    let mut schema = Map::from_iter([("type".to_owned(), json!("array"))]);
    if let Some(items) = arrays.items.as_ref().filter(|items| items.count() > 0) {
        schema.insert("items".to_owned(), json_schema(items));
    }
    schema
}

fn json_object(objects: &Objects) -> Map<String, Value> {
    let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
    if let Some(values) = rules::map(objects) {
        schema.insert("additionalProperties".to_owned(), json_schema(&values));
        return schema;
    }
    let Members::Named(members) = &objects.members else {
        return schema;
    };
    if members.is_empty() {
        return schema;
    }
    let members = ordered(members);
    let properties: Map<String, Value> = members
        .iter()
        .map(|(name, member)| ((*name).to_owned(), json_schema(&member.seen)))
        .collect();
    schema.insert("properties".to_owned(), properties.into());
    let always = |(name, member): &(&str, &Member)| {
        (member.seen.count() == objects.count).then(|| Value::from(*name))
    };
    let required: Vec<Value> = members.iter().filter_map(always).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}
