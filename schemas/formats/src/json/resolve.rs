//! A document of another version of a schema, laid out for this one.
//!
//! Absent properties take their `default`, at the top and in properties and items below; members that a closed schema
//! (`additionalProperties: false`) does not name are left out. Schemas in combinations (`anyOf` …) are not looked into: which
//! of them holds is only known afterwards.

use serde_json::{Map, Value};

use super::documents::{Documents, Place};

/// References followed for one value.
const MAX_HOPS: usize = 32;

/// Fills defaults in and leaves unknown members out.
pub(super) fn fit(documents: &Documents, document: &mut Value) {
    visit(documents, documents.top(), document);
}

fn visit(documents: &Documents, place: Place<'_>, value: &mut Value) {
    let Some((place, keywords)) = followed(documents, place) else {
        return;
    };
    match value {
        Value::Object(members) => object(documents, place, keywords, members),
        Value::Array(items) => {
            let first = match (keywords.get("prefixItems"), keywords.get("items")) {
                (Some(Value::Array(first)), _) | (None, Some(Value::Array(first))) => {
                    first.as_slice()
                }
                _ => &[],
            };
            let rest = match keywords.get("items") {
                Some(Value::Array(_)) => keywords.get("additionalItems"),
                other => other,
            };
            for (at, item) in items.iter_mut().enumerate() {
                if let Some(schema) = first.get(at).or(rest) {
                    visit(documents, place.at(schema), item);
                }
            }
        }
        _ => {}
    }
}

fn object(
    documents: &Documents,
    place: Place<'_>,
    keywords: &Map<String, Value>,
    members: &mut Map<String, Value>,
) {
    let none = Map::new();
    let properties = keywords
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let additional = keywords.get("additionalProperties");
    let open = keywords.contains_key("patternProperties");
    if additional == Some(&Value::Bool(false)) && !open {
        members.retain(|name, _| properties.contains_key(name));
    }
    for (name, member) in members.iter_mut() {
        if let Some(schema) = properties.get(name).or(additional.filter(|_| !open)) {
            visit(documents, place.at(schema), member);
        }
    }
    // Last, so that a default is taken as it stands: a schema may hold itself in one.
    for (name, property) in properties {
        if !members.contains_key(name) {
            let default = property.get("default").cloned();
            let default = default.or_else(|| {
                let (_, keywords) = followed(documents, place.at(property))?;
                keywords.get("default").cloned()
            });
            if let Some(default) = default {
                members.insert(name.clone(), default);
            }
        }
    }
}

/// The schema behind references.
pub(super) fn followed<'a>(
    documents: &'a Documents,
    mut place: Place<'a>,
) -> Option<(Place<'a>, &'a Map<String, Value>)> {
    for _ in 0..MAX_HOPS {
        let keywords = place.schema.as_object()?;
        match keywords.get("$ref").and_then(Value::as_str) {
            Some(reference) => place = documents.follow(place.part, reference)?,
            None => return Some((place, keywords)),
        }
    }
    None
}

#[cfg(test)]
mod tests;
