//! Members that other formats leave out when they are null, put back where a schema requires them.

use serde_json::{Map, Value};

use super::documents::{Documents, Place};
use super::resolve::followed;

/// Alternatives within alternatives that are looked through.
const MAX_LOOK: usize = 8;

/// Adds null for each required member that is absent and may be null.
pub(super) fn fill(documents: &Documents, document: &mut Value) {
    visit(documents, documents.top(), document, MAX_LOOK);
}

fn visit(documents: &Documents, place: Place<'_>, value: &mut Value, look: usize) {
    let Some((place, keywords)) = followed(documents, place) else {
        return;
    };
    if let (Some(only), Some(look)) = (beside_null(documents, place, keywords), look.checked_sub(1))
    {
        visit(documents, only, value, look);
    }
    match value {
        Value::Object(members) => object(documents, place, keywords, members),
        Value::Array(items) => {
            if let Some(schema @ Value::Object(_)) = keywords.get("items") {
                for item in items {
                    visit(documents, place.at(schema), item, MAX_LOOK);
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
    let properties = keywords.get("properties").and_then(Value::as_object);
    let property = |name: &str| properties.and_then(|properties| properties.get(name));
    let additional = keywords.get("additionalProperties");
    for (name, member) in members.iter_mut() {
        if let Some(schema) = property(name).or(additional) {
            visit(documents, place.at(schema), member, MAX_LOOK);
        }
    }
    let required = keywords.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        let absent = !members.contains_key(name);
        if absent
            && let Some(schema) = property(name)
            && takes_null(documents, place.at(schema), MAX_LOOK)
        {
            members.insert(name.to_owned(), Value::Null);
        }
    }
}

/// The only alternative of a schema that is not null.
fn beside_null<'a>(
    documents: &'a Documents,
    place: Place<'a>,
    keywords: &'a Map<String, Value>,
) -> Option<Place<'a>> {
    let alternatives = keywords.get("anyOf").or_else(|| keywords.get("oneOf"))?;
    let mut others = alternatives
        .as_array()?
        .iter()
        .map(|schema| place.at(schema))
        .filter(|place| !only_null(documents, *place));
    let only = others.next()?;
    others.next().is_none().then_some(only)
}

fn only_null(documents: &Documents, place: Place<'_>) -> bool {
    followed(documents, place).is_some_and(|(_, keywords)| {
        keywords.get("type").is_some_and(|word| word == "null")
            || keywords.get("const") == Some(&Value::Null)
    })
}

fn takes_null(documents: &Documents, place: Place<'_>, look: usize) -> bool {
    let (Some((place, keywords)), Some(look)) = (followed(documents, place), look.checked_sub(1))
    else {
        return false;
    };
    let alternatives = keywords.get("anyOf").or_else(|| keywords.get("oneOf"));
    if let Some(Value::Array(alternatives)) = alternatives {
        let mut each = alternatives.iter();
        return each.any(|schema| takes_null(documents, place.at(schema), look));
    }
    match (keywords.get("type"), keywords.get("enum")) {
        (Some(Value::Array(words)), _) => words.iter().any(|word| word == "null"),
        (Some(word), _) => word == "null",
        (None, Some(Value::Array(values))) => values.contains(&Value::Null),
        (None, _) => false,
    }
}
