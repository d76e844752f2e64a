//! Which columns a JSON Schema describes.

use serde_json::{Map, Value};

use crate::{Column, ColumnKind, SchemaError};

/// References followed from one property before it is taken for untyped.
const MAX_HOPS: usize = 16;

/// The columns of the objects that a JSON Schema describes, in the order of its `properties`.
///
/// `integer` is [`ColumnKind::Int64`], `number` [`ColumnKind::Float64`], `string` with `format: date-time`
/// [`ColumnKind::Timestamp`]; objects, arrays and whatever has no single type are [`ColumnKind::Json`]. A column is
/// nullable when null is among its types or alternatives, or when the property is not required. References within the
/// document are followed.
///
/// # Errors
/// [`SchemaError::NotAnObject`] when the schema does not describe an object.
pub fn columns_of_json_schema(schema: &Value) -> Result<Vec<Column>, SchemaError> {
    let top = follow(schema, schema);
    let types = type_words(top);
    if top.get("properties").is_none() && !types.contains(&"object")
        || !types.is_empty() && !types.contains(&"object")
    {
        return Err(SchemaError::NotAnObject);
    }
    let none = Map::new();
    let properties = top
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let required: Vec<&str> = top
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let columns = properties
        .iter()
        .filter(|(_, property)| **property != Value::Bool(false));
    Ok(columns
        .map(|(name, property)| {
            let (kind, null) = kind_of(schema, property, 0);
            Column::new(name, kind, null || !required.contains(&name.as_str()))
        })
        .collect())
}

/// The schema behind local references.
fn follow<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..MAX_HOPS {
        let Some(pointer) = schema.get("$ref").and_then(Value::as_str) else {
            break;
        };
        let Some(target) = pointer
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
        else {
            break;
        };
        schema = target;
    }
    schema
}

fn type_words(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The type of one property, and whether null is allowed.
fn kind_of(root: &Value, property: &Value, hops: usize) -> (ColumnKind, bool) {
    let property = follow(root, property);
    let mut types = type_words(property);
    if types.is_empty() {
        return untyped(root, property, hops);
    }
    let null = types.contains(&"null");
    types.retain(|word| *word != "null");
    let kind = match types.as_slice() {
        ["boolean"] => ColumnKind::Bool,
        ["integer"] => ColumnKind::Int64,
        ["number"] | ["integer", "number"] | ["number", "integer"] => ColumnKind::Float64,
        ["string"] if property.get("format").and_then(Value::as_str) == Some("date-time") => {
            ColumnKind::Timestamp
        }
        ["string"] => ColumnKind::String,
        _ => ColumnKind::Json,
    };
    (kind, null)
}

/// A property without `type`: the values it lists, or the alternatives it has, may still agree on one.
fn untyped(root: &Value, property: &Value, hops: usize) -> (ColumnKind, bool) {
    let listed = property
        .get("enum")
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    if let Some(values) = listed.or_else(|| property.get("const").map(std::slice::from_ref)) {
        return agree(values.iter().map(|value| match value {
            Value::Null => (None, true),
            Value::Bool(_) => (Some(ColumnKind::Bool), false),
            Value::Number(number) if number.is_i64() => (Some(ColumnKind::Int64), false),
            Value::Number(_) => (Some(ColumnKind::Float64), false),
            Value::String(_) => (Some(ColumnKind::String), false),
            Value::Array(_) | Value::Object(_) => (Some(ColumnKind::Json), false),
        }));
    }
    let alternatives = ["anyOf", "oneOf"]
        .into_iter()
        .find_map(|word| property.get(word).and_then(Value::as_array));
    match alternatives {
        Some(each) if hops < MAX_HOPS => agree(each.iter().map(|alternative| {
            if type_words(follow(root, alternative)) == ["null"] {
                return (None, true);
            }
            let (kind, null) = kind_of(root, alternative, hops + 1);
            (Some(kind), null)
        })),
        _ => (ColumnKind::Json, true),
    }
}

fn agree(each: impl Iterator<Item = (Option<ColumnKind>, bool)>) -> (ColumnKind, bool) {
    let (mut kind, mut null) = (None, false);
    for (next, next_null) in each {
        null |= next_null;
        kind = match (kind, next) {
            (None, next) => next,
            (Some(old), Some(new)) if old != new => Some(ColumnKind::Json),
            (old, _) => old,
        };
    }
    (kind.unwrap_or(ColumnKind::Json), null)
}

#[cfg(test)]
mod tests;
