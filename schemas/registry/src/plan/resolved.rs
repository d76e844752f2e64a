//! `format=resolved`: an Avro schema with the types it refers to written out where they are used first; `format=serialized`: a
//! Protobuf schema as its compiled file in base64.

use std::collections::{BTreeMap, BTreeSet};

use millstream_schema_formats::{Format, ProtobufSchema};
use serde_json::Value;

use crate::name::Name;
use crate::registry::Registry;
use crate::schema::Schema;

/// Levels that are looked through; what is below stays as it is.
const MAX_DEPTH: usize = 256;

/// A schema's text as `format` wants it. What a format does not know stays the text.
pub(super) fn text(registry: &Registry, home: &Name, schema: &Schema, format: &str) -> String {
    if schema.format == Format::Protobuf && format.eq_ignore_ascii_case("serialized") {
        return serialized(registry, home, schema).unwrap_or_else(|| schema.text.clone());
    }
    let wanted = schema.format == Format::Avro && format.eq_ignore_ascii_case("resolved");
    if !wanted || schema.references.is_empty() {
        return schema.text.clone();
    }
    let Ok(references) = registry.references(home, &schema.references) else {
        return schema.text.clone();
    };
    let Ok(mut value) = serde_json::from_str::<Value>(&schema.text) else {
        return schema.text.clone();
    };
    let types = references.iter().filter_map(|reference| {
        let definition: Value = serde_json::from_str(&reference.text).ok()?;
        let (name, _) = full_name(&definition, "")?;
        Some((name, definition))
    });
    let mut writer = Writer {
        types: types.collect(),
        written: BTreeSet::new(),
    };
    writer.walk(&mut value, "", 0);
    value.to_string()
}

fn serialized(registry: &Registry, home: &Name, schema: &Schema) -> Option<String> {
    let references = registry.references(home, &schema.references).ok()?;
    let compiled = ProtobufSchema::compile(&schema.text, &references).ok()?;
    Some(compiled.descriptor_base64())
}

/// The full name of a definition and its namespace.
fn full_name(definition: &Value, around: &str) -> Option<(String, String)> {
    let name = definition.get("name")?.as_str()?;
    if let Some((namespace, _)) = name.rsplit_once('.') {
        return Some((name.to_owned(), namespace.to_owned()));
    }
    let namespace = definition.get("namespace").and_then(Value::as_str);
    let namespace = namespace.unwrap_or(around);
    Some((qualified(name, namespace), namespace.to_owned()))
}

fn qualified(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

struct Writer {
    types: BTreeMap<String, Value>,
    written: BTreeSet<String>,
}

impl Writer {
    /// Looks at a type; `namespace` is the one around it.
    fn walk(&mut self, value: &mut Value, namespace: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::String(name) => {
                let full = qualified(name, namespace);
                let Some(mut definition) = self.types.get(&full).cloned() else {
                    return;
                };
                if self.written.contains(&full) {
                    return;
                }
                if let Some((_, own)) = full_name(&definition, "") {
                    // Said, because it would be that of its new surroundings.
                    definition["namespace"] = own.into();
                }
                self.walk(&mut definition, "", depth + 1);
                *value = definition;
            }
            Value::Array(branches) => {
                for branch in branches {
                    self.walk(branch, namespace, depth + 1);
                }
            }
            Value::Object(_) => self.walk_object(value, namespace, depth),
            _ => {}
        }
    }

    fn walk_object(&mut self, value: &mut Value, namespace: &str, depth: usize) {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
        match kind {
            "record" | "error" | "enum" | "fixed" => {
                let (name, own) = full_name(value, namespace).unwrap_or_default();
                self.written.insert(name);
                let fields = value.get_mut("fields").and_then(Value::as_array_mut);
                for field in fields.into_iter().flatten() {
                    if let Some(inner) = field.get_mut("type") {
                        self.walk(inner, &own, depth + 1);
                    }
                }
            }
            _ => {
                for key in ["type", "items", "values"] {
                    if let Some(inner) = value.get_mut(key) {
                        self.walk(inner, namespace, depth + 1);
                    }
                }
            }
        }
    }
}
