//! Tags in a schema's text: words such as `PII` on records and fields, which change nothing about payloads.
//!
//! They are written where Confluent's registry writes them: the property `confluent:tags` in Avro and JSON Schema, the option
//! `(confluent.field_meta)` or `(confluent.message_meta)` with `tags` in Protobuf.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};

use crate::{Format, Schema};

const TAGS: &str = "confluent:tags";
/// Deeper parts have no tags.
const MAX_DEPTH: usize = 100;

/// A part of a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entity {
    /// Avro: the record's full name, with `.field`. Protobuf: the names of messages around it, without the package. JSON
    /// Schema: the types from the top down, as `object.address.object.street`.
    pub path: String,
    /// A field, and no record.
    pub is_field: bool,
}

impl Schema {
    /// The parts that have tags, with them, in the order of `text`, from which this was compiled.
    #[must_use]
    pub fn tags(&self, text: &str) -> Vec<(Entity, BTreeSet<String>)> {
        let mut found = Vec::new();
        let mut add = |entity: Entity, tags: BTreeSet<String>| {
            if !tags.is_empty() {
                found.push((entity, tags));
            }
        };
        match self {
            Self::Protobuf(schema) => {
                for message in schema.descriptor().parent_file().messages() {
                    of_message(&message, "", &mut add);
                }
            }
            Self::Avro(_) | Self::Json(_) => {
                let mut text = serde_json::from_str(text).unwrap_or_default();
                walk(self.format(), &mut text, &mut |entities, part| {
                    if let Some(entity) = entities.into_iter().next() {
                        add(entity, tags_of(part));
                    }
                });
            }
        }
        found
    }
}

/// The text with tags added to a part, or taken from it; `None` when it has no such part, or its language is Protobuf, whose
/// texts are not written anew.
#[must_use]
pub fn tagged(
    format: Format,
    text: &str,
    entity: &Entity,
    tags: &[String],
    add: bool,
) -> Option<String> {
    if format == Format::Protobuf {
        return None;
    }
    let mut schema: Value = serde_json::from_str(text).ok()?;
    let wanted = entity.path.trim_start_matches('.');
    let mut found = false;
    walk(format, &mut schema, &mut |entities, part| {
        let mut meant = entities.iter();
        if !meant.any(|own| own.path == wanted && own.is_field == entity.is_field) {
            return;
        }
        found = true;
        let mut all = tags_of(part);
        for tag in tags {
            if add {
                all.insert(tag.clone());
            } else {
                all.remove(tag);
            }
        }
        if all.is_empty() {
            part.shift_remove(TAGS);
        } else {
            part.insert(TAGS.to_owned(), json!(all));
        }
    });
    found.then(|| schema.to_string())
}

fn tags_of(part: &Map<String, Value>) -> BTreeSet<String> {
    let list = part.get(TAGS).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// What a part is called: its own name first, then others.
type Visit<'v> = dyn FnMut(Vec<Entity>, &mut Map<String, Value>) + 'v;

fn walk(format: Format, schema: &mut Value, visit: &mut Visit<'_>) {
    match format {
        Format::Avro => avro(schema, "", 0, visit),
        Format::Json => json_schema(schema, "", Vec::new(), 0, visit),
        Format::Protobuf => {}
    }
}

fn record(path: String) -> Entity {
    Entity {
        path,
        is_field: false,
    }
}

fn field(path: String) -> Entity {
    Entity {
        path,
        is_field: true,
    }
}

fn avro(schema: &mut Value, namespace: &str, depth: usize, visit: &mut Visit<'_>) {
    if depth > MAX_DEPTH {
        return;
    }
    let part = match schema {
        Value::Array(branches) => {
            for branch in branches {
                avro(branch, namespace, depth + 1, visit);
            }
            return;
        }
        Value::Object(part) => part,
        _ => return,
    };
    let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default();
    if !matches!(text("type"), "record" | "error") {
        for key in ["type", "items", "values"] {
            if let Some(inner) = part.get_mut(key) {
                avro(inner, namespace, depth + 1, visit);
            }
        }
        return;
    }
    let own = part.get("namespace").and_then(Value::as_str);
    let name = match (text("name"), own.unwrap_or(namespace)) {
        (name, "") => name.to_owned(),
        (name, _) if name.contains('.') => name.to_owned(),
        (name, space) => format!("{space}.{name}"),
    };
    let space = name.rsplit_once('.').map_or("", |(space, _)| space);
    visit(vec![record(name.clone())], part);
    let fields = part.get_mut("fields").and_then(Value::as_array_mut);
    for own in fields
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let called = own.get("name").and_then(Value::as_str).unwrap_or_default();
        visit(vec![field(format!("{name}.{called}"))], own);
        if let Some(inner) = own.get_mut("type") {
            avro(inner, space, depth + 1, visit);
        }
    }
}

fn json_schema(
    schema: &mut Value,
    prefix: &str,
    mut called: Vec<Entity>,
    depth: usize,
    visit: &mut Visit<'_>,
) {
    let Value::Object(part) = schema else { return };
    if depth > MAX_DEPTH {
        return;
    }
    let below = |word: &str| match prefix {
        "" => word.to_owned(),
        prefix => format!("{prefix}.{word}"),
    };
    let word = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let object = word == "object" || part.contains_key("properties");
    let array = word == "array" || part.contains_key("items");
    if object {
        called.push(record(below("object")));
    }
    if !called.is_empty() {
        visit(called, part);
    }
    if let Some(Value::Object(properties)) = part.get_mut("properties") {
        for (name, inner) in properties {
            let path = below(&format!("object.{name}"));
            json_schema(inner, &path, vec![field(path.clone())], depth + 1, visit);
        }
    }
    if array && let Some(inner) = part.get_mut("items") {
        json_schema(inner, &below("array"), Vec::new(), depth + 1, visit);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let branches = part.get_mut(key).and_then(Value::as_array_mut);
        for (number, inner) in branches.into_iter().flatten().enumerate() {
            let path = below(&format!("{}.{number}", key.to_ascii_lowercase()));
            json_schema(inner, &path, Vec::new(), depth + 1, visit);
        }
    }
    if let Some(inner) = part.get_mut("not") {
        json_schema(inner, &below("not"), Vec::new(), depth + 1, visit);
    }
}

fn of_message(
    message: &MessageDescriptor,
    around: &str,
    add: &mut impl FnMut(Entity, BTreeSet<String>),
) {
    if message.is_map_entry() {
        return;
    }
    let pool = message.parent_pool();
    let path = match around {
        "" => message.name().to_owned(),
        around => format!("{around}.{}", message.name()),
    };
    let tags = of_options(pool, "confluent.message_meta", &message.options());
    add(record(path.clone()), tags);
    for own in message.fields() {
        let tags = of_options(pool, "confluent.field_meta", &own.options());
        add(field(format!("{path}.{}", own.name())), tags);
    }
    for inner in message.child_messages() {
        of_message(&inner, &path, add);
    }
}

fn of_options(pool: &DescriptorPool, name: &str, options: &DynamicMessage) -> BTreeSet<String> {
    let Some(extension) = pool.get_extension_by_name(name) else {
        return BTreeSet::new();
    };
    let meta = options.get_extension(&extension);
    let tags = meta.as_message().and_then(|meta| {
        let tags = meta.get_field_by_name("tags")?;
        let texts = tags.as_list()?.iter().filter_map(Reflected::as_str);
        Some(texts.map(str::to_owned).collect())
    });
    tags.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Entity, tagged};
    use crate::{Format, Schema};

    const AVRO: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"id","type":"long","confluent:tags":["KEY"]},
        {"name":"buyer","type":["null",{"type":"record","name":"Person","fields":[{"name":"mail","type":"string"}]}]},
        {"name":"lines","type":{"type":"array","items":{"type":"record","name":"b.Line","fields":[{"name":"sku","type":"string"}]}}}]}"#;
    const JSON: &str = r#"{"type":"object","properties":{"id":{"type":"integer","confluent:tags":["KEY"]},
        "buyer":{"type":"object","properties":{"mail":{"type":"string"}}},
        "lines":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"}}}},
        "way":{"oneOf":[{"type":"null"},{"type":"object","properties":{"road":{"type":"string"}}}],"not":{"type":"object","properties":{"x":{}}}}}}"#;
    const PROTOBUF: &str = r#"syntax = "proto3"; package shop; import "confluent/meta.proto";
        message Order { option (confluent.message_meta) = { tags: ["ROW"] };
          int64 id = 1 [(confluent.field_meta).tags = "KEY"]; Person buyer = 2;
          message Person { string mail = 1 [(confluent.field_meta) = { doc: "where to", tags: ["PII", "MAIL"] }]; } }"#;

    fn found(format: Format, text: &str) -> Vec<String> {
        let schema = Schema::compile(format, text, &[]).expect("a schema");
        let tags = schema.tags(text).into_iter().map(|(entity, tags)| {
            let kind = if entity.is_field { "field" } else { "record" };
            format!(
                "{kind} {} {}",
                entity.path,
                tags.into_iter().collect::<Vec<_>>().join(" ")
            )
        });
        tags.collect()
    }

    #[test]
    fn tags_are_found_where_they_are_written() {
        assert_eq!(found(Format::Avro, AVRO), ["field shop.Order.id KEY"]);
        assert_eq!(found(Format::Json, JSON), ["field object.id KEY"]);
        assert_eq!(
            found(Format::Protobuf, PROTOBUF),
            [
                "record Order ROW",
                "field Order.id KEY",
                "field Order.Person.mail MAIL PII"
            ]
        );
    }

    #[test]
    fn what_is_added_is_found_and_what_is_taken_away_is_gone() {
        let tags = ["PII".to_owned(), "ME".to_owned()];
        for (format, text, path, is_field) in [
            (Format::Avro, AVRO, "shop.Order", false),
            (Format::Avro, AVRO, "shop.Order.buyer", true),
            (Format::Avro, AVRO, ".shop.Person.mail", true),
            (Format::Avro, AVRO, "shop.Person", false),
            (Format::Avro, AVRO, "b.Line.sku", true),
            (Format::Json, JSON, "object", false),
            (Format::Json, JSON, "object.buyer", true),
            (Format::Json, JSON, "object.buyer.object.mail", true),
            (Format::Json, JSON, "object.lines.array.object", false),
            (Format::Json, JSON, "object.lines.array.object.sku", true),
            (Format::Json, JSON, "object.way.oneof.1.object.road", true),
            (Format::Json, JSON, "object.way.not.object.x", true),
        ] {
            let entity = Entity {
                path: path.to_owned(),
                is_field,
            };
            let with =
                tagged(format, text, &entity, &tags, true).unwrap_or_else(|| panic!("{path}"));
            let kind = if is_field { "field" } else { "record" };
            let line = format!("{kind} {} ME PII", path.trim_start_matches('.'));
            assert!(found(format, &with).contains(&line), "{path}: {with}");
            let (plain, new) = (
                Schema::compile(format, text, &[]),
                Schema::compile(format, &with, &[]),
            );
            let (plain, new) = (plain.expect("a schema"), new.expect("a schema"));
            let strict = crate::Policy::Strict;
            assert!(
                plain.cannot_read(&new, strict).is_empty()
                    && new.cannot_read(&plain, strict).is_empty()
            );
            let without = tagged(format, &with, &entity, &tags, false).expect("known");
            assert_eq!(found(format, &without), found(format, text), "{path}");
            assert!(!without.contains("PII"), "{without}");
        }
        for (format, text, path, is_field) in [
            (Format::Avro, AVRO, "Order.id", true),
            (Format::Avro, AVRO, "shop.Order.id", false),
            (Format::Json, JSON, "object.nothing", true),
            (Format::Protobuf, PROTOBUF, "Order.id", true),
        ] {
            let entity = Entity {
                path: path.to_owned(),
                is_field,
            };
            assert_eq!(tagged(format, text, &entity, &tags, true), None, "{path}");
        }
    }
}
