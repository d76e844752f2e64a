//! A JSON Schema (2020-12) for a shape, so that the shape comes back from it and every value of it fits.
//!
//! Records are closed. What is named and used again stands in `$defs`; what is nullable has null among its types. Of unions
//! with several alternatives, values are objects with one member, named by the alternative as in Avro's JSON encoding. Numbers
//! that JSON cannot say (NaN, the infinities) do not fit.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::shape::OWN;
use crate::{EnumShape, RecordShape, Shape, Unit};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
const CLOCK: &str = "[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?";

/// The text of a schema for `shape`.
pub(super) fn text(shape: &Shape) -> String {
    let mut writer = Writer {
        again: HashSet::new(),
        root: match shape {
            Shape::Record(record) => Some(record.name.clone()),
            Shape::Enum(symbols) => Some(symbols.name.clone()),
            _ => None,
        },
        definitions: Map::new(),
    };
    named(shape, &mut writer.again);
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), DRAFT.into());
    let body = match shape {
        Shape::Record(record) => writer.record(record),
        Shape::Enum(symbols) => enumeration(symbols),
        other => writer.schema(other, false),
    };
    if let Value::Object(body) = body {
        schema.extend(body);
    }
    if !writer.definitions.is_empty() {
        schema.insert("$defs".to_owned(), writer.definitions.into());
    }
    Value::Object(schema).to_string()
}

/// The names that are referred to.
fn named(shape: &Shape, names: &mut HashSet<String>) {
    match shape {
        Shape::Named(name) => drop(names.insert(name.clone())),
        Shape::List(inner) | Shape::Map(inner) => named(inner, names),
        Shape::Record(record) => record
            .fields
            .iter()
            .for_each(|field| named(&field.shape, names)),
        Shape::Union(shapes) => shapes.iter().for_each(|shape| named(shape, names)),
        _ => {}
    }
}

struct Writer {
    again: HashSet<String>,
    root: Option<String>,
    definitions: Map<String, Value>,
}

impl Writer {
    /// `described` when a description there is the field's.
    fn schema(&mut self, shape: &Shape, described: bool) -> Value {
        match shape {
            Shape::Any => json!({}),
            Shape::Null => json!({"type": "null"}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Int32 => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
            Shape::Int64 => json!({"type": "integer"}),
            Shape::UInt32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Shape::UInt64 => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
            Shape::Float => json!({"type": "number", OWN: {"type": "float"}}),
            Shape::Double => json!({"type": "number"}),
            Shape::String => json!({"type": "string"}),
            Shape::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Shape::Fixed { name, size } => {
                let length = size.div_ceil(3) * 4;
                json!({"type": "string", "contentEncoding": "base64", "minLength": length, "maxLength": length,
                    OWN: {"type": "fixed", "name": name, "size": size}})
            }
            Shape::Decimal { precision, scale } => {
                json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$",
                    OWN: {"type": "decimal", "precision": precision, "scale": scale}})
            }
            Shape::Date => json!({"type": "string", "format": "date"}),
            Shape::Time(unit) => {
                json!({"type": "string", "pattern": format!("^{CLOCK}$"), OWN: {"type": "time", "unit": word(*unit)}})
            }
            Shape::Timestamp(Unit::Micros) => json!({"type": "string", "format": "date-time"}),
            Shape::Timestamp(unit) => {
                json!({"type": "string", "format": "date-time", OWN: {"unit": word(*unit)}})
            }
            Shape::LocalTimestamp(unit) => {
                json!({"type": "string", "pattern": format!("^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{CLOCK}$"),
                    OWN: {"type": "local-timestamp", "unit": word(*unit)}})
            }
            Shape::Period => {
                json!({"type": "string", "pattern": "^P[0-9A-Z.]+$", OWN: {"type": "period"}})
            }
            Shape::Uuid => json!({"type": "string", "format": "uuid"}),
            Shape::Enum(symbols) => {
                let schema = enumeration(symbols);
                self.placed(&symbols.name, schema, false)
            }
            Shape::List(inner) => {
                let items = self.schema(inner, false);
                json!({"type": "array", "items": items})
            }
            Shape::Map(inner) => {
                let values = self.schema(inner, false);
                json!({"type": "object", "additionalProperties": values})
            }
            Shape::Record(record) => {
                let schema = self.record(record);
                self.placed(&record.name, schema, described && record.doc.is_some())
            }
            Shape::Named(name) => self.reference(name),
            Shape::Union(shapes) => self.union(shapes, described),
        }
    }

    /// Where it stands, or in `$defs` when it is used again or its description would be taken for another's.
    fn placed(&mut self, name: &str, schema: Value, apart: bool) -> Value {
        if !apart && !self.again.contains(name) {
            return schema;
        }
        self.definitions.insert(name.to_owned(), schema);
        self.reference(name)
    }

    fn reference(&self, name: &str) -> Value {
        if self.root.as_deref() == Some(name) {
            return json!({"$ref": "#"});
        }
        let name = name
            .replace('~', "~0")
            .replace('/', "~1")
            .replace('%', "%25");
        json!({"$ref": format!("#/$defs/{name}")})
    }

    fn record(&mut self, record: &RecordShape) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &record.fields {
            let mut schema = self.schema(&field.shape, true);
            if let Some(doc) = &field.doc {
                schema["description"] = doc.as_str().into();
            }
            if let Some(default) = &field.default {
                schema["default"] = default.clone();
            }
            properties.insert(field.name.clone(), schema);
            if !field.optional {
                required.push(field.name.as_str());
            }
        }
        let mut schema = json!({"type": "object", "title": record.name});
        if let Some(doc) = &record.doc {
            schema["description"] = doc.as_str().into();
        }
        if properties.is_empty() {
            schema[OWN] = json!({"type": "record"});
        }
        schema["properties"] = properties.into();
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema["additionalProperties"] = false.into();
        schema
    }

    fn union(&mut self, shapes: &[Shape], described: bool) -> Value {
        if shapes.is_empty() {
            return json!({"not": {}, OWN: {"type": "union"}});
        }
        let several = shapes.iter().filter(|shape| **shape != Shape::Null).count() > 1;
        if let ([first @ Shape::Null, inner] | [inner, first @ Shape::Null], false) =
            (shapes, several)
        {
            let null_first = std::ptr::eq(first, &shapes[0]);
            let mut schema = self.schema(inner, described);
            // What has one type takes null as another; a list of values needs it listed.
            if let Some(Value::String(word)) = schema.get("type").cloned() {
                schema["type"] = if null_first {
                    json!(["null", word])
                } else {
                    json!([word, "null"])
                };
                if let Some(Value::Array(values)) = schema.get_mut("enum") {
                    values.push(Value::Null);
                }
                return schema;
            }
            let null = json!({"type": "null"});
            let both = if null_first {
                [null, schema]
            } else {
                [schema, null]
            };
            return json!({ "anyOf": both });
        }
        if !several {
            let branches: Vec<Value> = shapes
                .iter()
                .map(|shape| self.schema(shape, false))
                .collect();
            return json!({ "anyOf": branches });
        }
        let mut branches = Vec::new();
        for shape in shapes {
            branches.push(if *shape == Shape::Null {
                json!({"type": "null"})
            } else {
                let word = branch(shape);
                let inner = self.schema(shape, false);
                json!({"type": "object", "properties": {word: inner}, "required": [word], "additionalProperties": false})
            });
        }
        json!({"anyOf": branches, OWN: {"type": "union"}})
    }
}

fn enumeration(symbols: &EnumShape) -> Value {
    let mut schema = json!({"type": "string", "title": symbols.name, "enum": symbols.symbols});
    if let Some(default) = &symbols.default {
        schema[OWN] = json!({ "default": default });
    }
    schema
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis => "millis",
        Unit::Micros => "micros",
        Unit::Nanos => "nanos",
    }
}

/// The name of an alternative: the full name of what has one, else the word of Avro's type.
pub(super) fn branch(shape: &Shape) -> &str {
    match shape {
        Shape::Null => "null",
        Shape::Bool => "boolean",
        Shape::Int32 | Shape::Date | Shape::Time(Unit::Millis) => "int",
        Shape::Int64
        | Shape::UInt32
        | Shape::Time(_)
        | Shape::Timestamp(_)
        | Shape::LocalTimestamp(_) => "long",
        Shape::Float => "float",
        Shape::Double => "double",
        Shape::Any | Shape::String | Shape::Uuid | Shape::UInt64 => "string",
        Shape::Bytes | Shape::Decimal { .. } => "bytes",
        Shape::Fixed { name, .. } if !name.is_empty() => name,
        Shape::Fixed { .. } | Shape::Period => "fixed",
        Shape::Enum(symbols) => &symbols.name,
        Shape::Record(record) => &record.name,
        Shape::Named(name) => name,
        Shape::List(_) => "array",
        Shape::Map(_) => "map",
        Shape::Union(_) => "union",
    }
}
