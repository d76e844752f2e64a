//! A schema's text in one spelling: attributes in the order in which Java's `Schema.toString()` writes them, names with
//! their namespace where it is not the one around them, no white space.

use serde_json::{Map, Value as Json};

use super::table::{full_name, primitive};

/// Attributes in order; all others follow as they were.
const TYPE: [&str; 10] = [
    "type",
    "name",
    "namespace",
    "doc",
    "fields",
    "symbols",
    "size",
    "items",
    "values",
    "default",
];
const FIELD: [&str; 4] = ["name", "type", "doc", "default"];

/// The text by which two schemas are known to be the same.
pub(super) fn canonical(document: &Json) -> String {
    of_type(document, "").to_string()
}

/// The same with all attributes sorted and all names in full.
pub(super) fn normalized(document: &Json) -> String {
    sorted(&of_type(document, "")).to_string()
}

fn of_type(json: &Json, space: &str) -> Json {
    match json {
        Json::String(word) if primitive(word).is_none() => {
            let full = full_name(word, space);
            let (own, short) = full.rsplit_once('.').unwrap_or(("", &full));
            // Only a name of the namespace around it is written without it.
            Json::from(if own == space { short } else { &full })
        }
        Json::Array(branches) => branches
            .iter()
            .map(|branch| of_type(branch, space))
            .collect(),
        Json::Object(members) => of_object(members, space),
        other => other.clone(),
    }
}

fn of_object(members: &Map<String, Json>, space: &str) -> Json {
    let text = |key: &str| members.get(key).and_then(Json::as_str);
    let named = matches!(text("type"), Some("record" | "error" | "enum" | "fixed"));
    let full = full_name(
        text("name").unwrap_or_default(),
        text("namespace").unwrap_or(space),
    );
    let (own, short) = full.rsplit_once('.').unwrap_or(("", &full));
    let inner = if named { own } else { space };
    let value = |key: &str, json: &Json| match key {
        "name" if named => Json::from(short),
        "type" if !json.is_string() => of_type(json, inner),
        "type" if !named => of_type(json, inner),
        "items" | "values" => of_type(json, inner),
        "fields" => {
            let fields = json.as_array().into_iter().flatten();
            fields.map(|field| of_field(field, inner)).collect()
        }
        _ => json.clone(),
    };
    let mut out = Map::new();
    for key in TYPE {
        // Where the namespace is that of what is around it, it is not said again.
        let printed = if key == "namespace" {
            (named && own != space).then(|| own.into())
        } else {
            members.get(key).map(|json| value(key, json))
        };
        out.extend(printed.map(|json| (key.to_owned(), json)));
    }
    for (key, json) in members {
        if !TYPE.contains(&key.as_str()) {
            out.insert(key.clone(), json.clone());
        }
    }
    // `{"type":"string"}` says no more than `"string"`.
    match (out.len(), out.get("type")) {
        (1, Some(only)) => only.clone(),
        _ => Json::Object(out),
    }
}

fn of_field(field: &Json, space: &str) -> Json {
    let Json::Object(members) = field else {
        return field.clone();
    };
    let mut out = Map::new();
    for key in FIELD {
        if let Some(json) = members.get(key) {
            let json = if key == "type" {
                of_type(json, space)
            } else {
                json.clone()
            };
            out.insert(key.to_owned(), json);
        }
    }
    for (key, json) in members {
        let usual = key == "order" && json == "ascending";
        if !FIELD.contains(&key.as_str()) && !usual {
            out.insert(key.clone(), json.clone());
        }
    }
    Json::Object(out)
}

fn sorted(json: &Json) -> Json {
    match json {
        Json::Array(items) => items.iter().map(sorted).collect(),
        Json::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort();
            let each = keys
                .into_iter()
                .map(|key| (key.clone(), sorted(&members[key])));
            Json::Object(each.collect())
        }
        other => other.clone(),
    }
}
