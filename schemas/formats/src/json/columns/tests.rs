//! Which columns a JSON Schema makes.

use serde_json::json;

use super::columns_of_json_schema;
use crate::{Column, SchemaError};

fn words(schema: serde_json::Value) -> Vec<String> {
    let show =
        |Column {
             name,
             kind,
             nullable,
         }| { format!("{name} {kind}{}", if nullable { " null" } else { "" }) };
    columns_of_json_schema(&schema)
        .expect("an object")
        .into_iter()
        .map(show)
        .collect()
}

#[test]
fn each_kind_of_property() {
    let columns = words(json!({
        "type": "object",
        "required": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"],
        "properties": {
            "a": { "type": "boolean" },
            "b": { "type": "integer" },
            "c": { "type": ["number", "null"] },
            "d": { "type": "string" },
            "e": { "type": "string", "format": "date-time" },
            "f": { "type": "array", "items": { "type": "integer" } },
            "g": { "type": ["string", "integer"] },
            "h": { "$ref": "#/$defs/code" },
            "i": { "enum": ["x", "y", null] },
            "j": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            "k": { "const": 2.5 },
            "l": {},
            "m": { "type": "integer" },
            "gone": false,
        },
        "$defs": { "code": { "$ref": "#/$defs/text" }, "text": { "type": "string" } },
    }));
    let want = [
        "a bool",
        "b int64",
        "c float64 null",
        "d string",
        "e timestamp",
        "f json",
        "g json",
        "h string",
        "i string null",
        "j int64 null",
        "k float64",
        "l json null",
        "m int64 null",
    ];
    assert_eq!(columns, want);
}

#[test]
fn references_that_run_in_a_circle_end() {
    let columns = words(json!({
        "properties": { "a": { "$ref": "#/$defs/a" } },
        "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/a" }] } },
    }));
    assert_eq!(columns, ["a json null"]);
}

#[test]
fn what_is_no_object_has_no_columns() {
    for schema in [
        json!({ "type": "array" }),
        json!(true),
        json!({ "type": "string", "properties": {} }),
    ] {
        assert_eq!(
            columns_of_json_schema(&schema),
            Err(SchemaError::NotAnObject),
            "{schema}"
        );
    }
    assert!(words(json!({ "type": "object" })).is_empty());
}
