//! Every rule, both ways: what the newer of two schemas cannot read of the older one's documents, and the other way round.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::generated::{dice, document, sample, schema};
use crate::{JsonSchema, Policy, Reference};

fn compile(text: &str) -> JsonSchema {
    JsonSchema::compile(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `KIND@path`, separated by spaces.
fn found(writer: &JsonSchema, reader: &JsonSchema, policy: Policy) -> String {
    let found = reader.cannot_read(writer, policy);
    for one in &found {
        assert!(
            !one.message.is_empty() && one.message.len() < 1100 && one.path.starts_with("#/"),
            "{one}"
        );
    }
    let words: Vec<String> = found
        .iter()
        .map(|one| format!("{}@{}", one.kind, &one.path[2..]))
        .collect();
    words.join(" ")
}

/// Older schema, newer schema, what the newer one cannot read, what the older one cannot read.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str)] = &[
    (r##"{}"##, r##"{"type":"string"}"##,
        "TYPE_CHANGED@", ""),
    (r##"false"##, r##"{"type":"string"}"##,
        "", "TYPE_CHANGED@"),
    (r##"true"##, r##"false"##,
        "TYPE_CHANGED@", ""),
    (r##"{"type":"string"}"##, r##"{"type":"integer"}"##,
        "TYPE_CHANGED@", "TYPE_CHANGED@"),
    (r##"{"type":"integer"}"##, r##"{"type":"number"}"##,
        "", "TYPE_NARROWED@"),
    (r##"{"type":"string"}"##, r##"{"type":["string","null"]}"##,
        "", "TYPE_CHANGED@"),
    (r##"{"type":["string","integer"]}"##, r##"{"type":["integer","number","string"]}"##,
        "", "SUM_TYPE_NARROWED@"),
    (r##"{"type":["string","integer"]}"##, r##"{"type":["string","boolean"]}"##,
        "COMBINED_TYPE_SUBSCHEMAS_CHANGED@anyOf/1 TYPE_CHANGED@anyOf/1", "COMBINED_TYPE_SUBSCHEMAS_CHANGED@anyOf/1 TYPE_CHANGED@anyOf/1"),
    (r##"{"type":"null"}"##, r##"{"type":"boolean"}"##,
        "TYPE_CHANGED@", "TYPE_CHANGED@"),
    (r##"{"title":"a","description":"b","default":1,"$id":"http://a/b"}"##, r##"{"title":"c"}"##, "", ""),
    (r##"{"maxLength":3}"##, r##"{"type":"string","maxLength":3}"##,
        "TYPE_NARROWED@type", ""),
    (r##"{"type":"string"}"##, r##"{"type":"string","maxLength":5}"##,
        "MAX_LENGTH_ADDED@maxLength", ""),
    (r##"{"type":"string","maxLength":3}"##, r##"{"type":"string","maxLength":5}"##,
        "", "MAX_LENGTH_DECREASED@maxLength"),
    (r##"{"type":"string"}"##, r##"{"type":"string","minLength":5}"##,
        "MIN_LENGTH_ADDED@minLength", ""),
    (r##"{"type":"string","minLength":3}"##, r##"{"type":"string","minLength":5}"##,
        "MIN_LENGTH_INCREASED@minLength", ""),
    (r##"{"type":"string"}"##, r##"{"type":"string","pattern":"a"}"##,
        "PATTERN_ADDED@pattern", ""),
    (r##"{"type":"string","pattern":"a"}"##, r##"{"type":"string","pattern":"b"}"##,
        "PATTERN_CHANGED@pattern", "PATTERN_CHANGED@pattern"),
    (r##"{"type":"number"}"##, r##"{"type":"number","maximum":5}"##,
        "MAXIMUM_ADDED@maximum", ""),
    (r##"{"type":"number","maximum":3}"##, r##"{"type":"number","maximum":5}"##,
        "", "MAXIMUM_DECREASED@maximum"),
    (r##"{"type":"number"}"##, r##"{"type":"number","minimum":5}"##,
        "MINIMUM_ADDED@minimum", ""),
    (r##"{"type":"number","minimum":3}"##, r##"{"type":"number","minimum":5}"##,
        "MINIMUM_INCREASED@minimum", ""),
    (r##"{"type":"number"}"##, r##"{"type":"number","exclusiveMaximum":5}"##,
        "EXCLUSIVE_MAXIMUM_ADDED@exclusiveMaximum", ""),
    (r##"{"type":"number","exclusiveMaximum":3}"##, r##"{"type":"number","exclusiveMaximum":5}"##,
        "", "EXCLUSIVE_MAXIMUM_DECREASED@exclusiveMaximum"),
    (r##"{"type":"number"}"##, r##"{"type":"number","exclusiveMinimum":5}"##,
        "EXCLUSIVE_MINIMUM_ADDED@exclusiveMinimum", ""),
    (r##"{"type":"number","exclusiveMinimum":3}"##, r##"{"type":"number","exclusiveMinimum":5}"##,
        "EXCLUSIVE_MINIMUM_INCREASED@exclusiveMinimum", ""),
    (r##"{"$schema":"http://json-schema.org/draft-04/schema#","type":"number","minimum":5}"##, r##"{"$schema":"http://json-schema.org/draft-04/schema#","type":"number","minimum":5,"exclusiveMinimum":true}"##,
        "EXCLUSIVE_MINIMUM_ADDED@exclusiveMinimum", ""),
    (r##"{"type":"number"}"##, r##"{"type":"number","multipleOf":5}"##,
        "MULTIPLE_OF_ADDED@multipleOf", ""),
    (r##"{"type":"number","multipleOf":2}"##, r##"{"type":"number","multipleOf":4}"##,
        "MULTIPLE_OF_EXPANDED@multipleOf", ""),
    (r##"{"type":"number","multipleOf":2}"##, r##"{"type":"number","multipleOf":3}"##,
        "MULTIPLE_OF_CHANGED@multipleOf", "MULTIPLE_OF_CHANGED@multipleOf"),
    (r##"{"type":"number","multipleOf":0.1}"##, r##"{"type":"number","multipleOf":0.3}"##,
        "MULTIPLE_OF_EXPANDED@multipleOf", ""),
    (r##"{"enum":["a","b"]}"##, r##"{"enum":["a","b","c"]}"##,
        "", "ENUM_ARRAY_NARROWED@enum"),
    (r##"{"enum":["a","b"]}"##, r##"{"enum":["a","c"]}"##,
        "ENUM_ARRAY_CHANGED@enum", "ENUM_ARRAY_CHANGED@enum"),
    (r##"{"enum":[1]}"##, r##"{"enum":[1.0]}"##, "", ""),
    (r##"{"const":"a"}"##, r##"{"const":"b"}"##,
        "ENUM_ARRAY_CHANGED@const", "ENUM_ARRAY_CHANGED@const"),
    (r##"{"type":"string"}"##, r##"{"type":"string","enum":["a"]}"##,
        "TYPE_CHANGED@", ""),
    (r##"{"type":"string","enum":["a"]}"##, r##"{"type":"string","enum":["a","b"]}"##,
        "", "COMBINED_TYPE_SUBSCHEMAS_CHANGED@allOf/1 ENUM_ARRAY_NARROWED@allOf/1/enum"),
    (r##"{"type":"object"}"##, r##"{"type":"object","properties":{"a":{"type":"string"}}}"##,
        "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL@properties/a", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","properties":{"a":{}}}"##, "", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"##,
        "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL@properties/a", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","properties":{"a":{"type":"string","default":"x"}},"required":["a"]}"##,
        "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL@properties/a", ""),
    (r##"{"type":"object","additionalProperties":false}"##, r##"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"##,
        "", "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL@properties/a"),
    (r##"{"type":"object","additionalProperties":false}"##, r##"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"##,
        "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL@properties/a", "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL@properties/a"),
    (r##"{"type":"object","additionalProperties":false}"##, r##"{"type":"object","properties":{"a":{"type":"string","default":"x"}},"required":["a"],"additionalProperties":false}"##,
        "", "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL@properties/a"),
    (r##"{"type":"object","additionalProperties":false}"##, r##"{"type":"object","properties":{"a":false},"additionalProperties":false}"##, "", ""),
    (r##"{"type":"object","additionalProperties":{"type":"string"}}"##, r##"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":{"type":"string"}}"##, "", ""),
    (r##"{"type":"object","additionalProperties":{"type":"string"}}"##, r##"{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}}"##,
        "TYPE_CHANGED@properties/a PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL@properties/a", "TYPE_CHANGED@properties/a PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL@properties/a"),
    (r##"{"type":"object","patternProperties":{"^a":{"type":"string"}},"additionalProperties":false}"##, r##"{"type":"object","patternProperties":{"^a":{"type":"string"}},"properties":{"ab":{"type":["string","null"]}},"additionalProperties":false}"##,
        "", "TYPE_CHANGED@properties/ab PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL@properties/ab"),
    (r##"{"type":"object","patternProperties":{"^a":{"type":"string"}},"additionalProperties":false}"##, r##"{"type":"object","patternProperties":{"^a":{"type":"integer"}},"additionalProperties":false}"##,
        "TYPE_CHANGED@patternProperties/^a", "TYPE_CHANGED@patternProperties/^a"),
    (r##"{"type":"object"}"##, r##"{"type":"object","patternProperties":{"^a":{"type":"integer"}}}"##,
        "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL@patternProperties/^a", ""),
    (r##"{"type":"object","properties":{"ab":{"type":"string"}},"additionalProperties":false}"##, r##"{"type":"object","properties":{"ab":{"type":"string"}},"patternProperties":{"^a":{"type":"integer"}},"additionalProperties":false}"##,
        "TYPE_CHANGED@patternProperties/^a", "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL@patternProperties/^a"),
    (r##"{"type":"object","properties":{"a":{"type":"integer"}}}"##, r##"{"type":"object","properties":{"a":{"type":"string"}}}"##,
        "TYPE_CHANGED@properties/a", "TYPE_CHANGED@properties/a"),
    (r##"{"type":"object","properties":{"a/b":{"properties":{"~":{"type":"integer"}}}}}"##, r##"{"type":"object","properties":{"a/b":{"properties":{"~":{"type":"string"}}}}}"##,
        "TYPE_CHANGED@properties/a~1b/properties/~0", "TYPE_CHANGED@properties/a~1b/properties/~0"),
    (r##"{"type":"object","properties":{"a":{}}}"##, r##"{"type":"object","properties":{"a":{}},"required":["a"]}"##,
        "REQUIRED_ATTRIBUTE_ADDED@required/a", ""),
    (r##"{"type":"object","properties":{"a":{"default":1}}}"##, r##"{"type":"object","properties":{"a":{"default":1}},"required":["a"]}"##, "", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","required":["a"]}"##,
        "REQUIRED_ATTRIBUTE_ADDED@required/a", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","additionalProperties":false}"##,
        "ADDITIONAL_PROPERTIES_REMOVED@additionalProperties", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","additionalProperties":{"type":"string"}}"##,
        "ADDITIONAL_PROPERTIES_NARROWED@additionalProperties", ""),
    (r##"{"type":"object","additionalProperties":false}"##, r##"{"type":"object","additionalProperties":{"type":"string"}}"##,
        "", "ADDITIONAL_PROPERTIES_REMOVED@additionalProperties"),
    (r##"{"type":"object","additionalProperties":{"type":"string"}}"##, r##"{"type":"object","additionalProperties":{"type":["string","null"]}}"##,
        "", "TYPE_CHANGED@additionalProperties"),
    (r##"{"type":"object"}"##, r##"{"type":"object","unevaluatedProperties":false}"##,
        "UNEVALUATED_PROPERTIES_REMOVED@unevaluatedProperties", ""),
    (r##"{"type":"object","unevaluatedProperties":{"type":"string"}}"##, r##"{"type":"object","unevaluatedProperties":{"type":"integer"}}"##,
        "TYPE_CHANGED@unevaluatedProperties", "TYPE_CHANGED@unevaluatedProperties"),
    (r##"{"type":"object"}"##, r##"{"type":"object","maxProperties":3}"##,
        "MAX_PROPERTIES_ADDED@maxProperties", ""),
    (r##"{"type":"object","maxProperties":3}"##, r##"{"type":"object","maxProperties":4}"##,
        "", "MAX_PROPERTIES_DECREASED@maxProperties"),
    (r##"{"type":"object"}"##, r##"{"type":"object","minProperties":3}"##,
        "MIN_PROPERTIES_ADDED@minProperties", ""),
    (r##"{"type":"object","minProperties":3}"##, r##"{"type":"object","minProperties":4}"##,
        "MIN_PROPERTIES_INCREASED@minProperties", ""),
    (r##"{"type":"object"}"##, r##"{"type":"object","dependentRequired":{"a":["b"]}}"##,
        "DEPENDENCY_ARRAY_ADDED@dependencies/a", ""),
    (r##"{"type":"object","dependentRequired":{"a":["b"]}}"##, r##"{"type":"object","dependentRequired":{"a":["b","c"]}}"##,
        "DEPENDENCY_ARRAY_EXTENDED@dependencies/a", ""),
    (r##"{"type":"object","dependentRequired":{"a":["b"]}}"##, r##"{"type":"object","dependentRequired":{"a":["c"]}}"##,
        "DEPENDENCY_ARRAY_CHANGED@dependencies/a", "DEPENDENCY_ARRAY_CHANGED@dependencies/a"),
    (r##"{"type":"object"}"##, r##"{"type":"object","dependentSchemas":{"a":{"required":["b"]}}}"##,
        "DEPENDENCY_SCHEMA_ADDED@dependencies/a", ""),
    (r##"{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":{"maxProperties":3}}}"##, r##"{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":{"maxProperties":4}}}"##,
        "", "MAX_PROPERTIES_DECREASED@dependencies/a/maxProperties"),
    (r##"{"type":"object"}"##, r##"{"type":"object","propertyNames":{"maxLength":3}}"##,
        "SCHEMA_ADDED@propertyNames", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","items":{"type":"string"}}"##,
        "SCHEMA_ADDED@items", ""),
    (r##"{"type":"array","items":{"type":"integer"}}"##, r##"{"type":"array","items":{"type":"number"}}"##,
        "", "TYPE_NARROWED@items"),
    (r##"{"type":"array"}"##, r##"{"type":"array","maxItems":3}"##,
        "MAX_ITEMS_ADDED@maxItems", ""),
    (r##"{"type":"array","maxItems":3}"##, r##"{"type":"array","maxItems":4}"##,
        "", "MAX_ITEMS_DECREASED@maxItems"),
    (r##"{"type":"array"}"##, r##"{"type":"array","minItems":3}"##,
        "MIN_ITEMS_ADDED@minItems", ""),
    (r##"{"type":"array","minItems":3}"##, r##"{"type":"array","minItems":4}"##,
        "MIN_ITEMS_INCREASED@minItems", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","uniqueItems":true}"##,
        "UNIQUE_ITEMS_ADDED@uniqueItems", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","contains":{"type":"string"}}"##,
        "SCHEMA_ADDED@contains", ""),
    (r##"{"type":"array","contains":{"type":"integer"}}"##, r##"{"type":"array","contains":{"type":"number"}}"##,
        "", "TYPE_NARROWED@contains"),
    (r##"{"type":"array","contains":true,"minContains":1}"##, r##"{"type":"array","contains":true,"minContains":2,"maxContains":5}"##,
        "MAX_CONTAINS_ADDED@maxContains MIN_CONTAINS_INCREASED@minContains", ""),
    (r##"{"type":"array","contains":{"type":"null"},"minContains":0}"##, r##"{"type":"array","contains":{"type":"null"}}"##,
        "MIN_CONTAINS_INCREASED@minContains", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","prefixItems":[{"type":"string"}]}"##,
        "ITEM_ADDED_TO_OPEN_CONTENT_MODEL@items/0", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","prefixItems":[{}]}"##, "", ""),
    (r##"{"type":"array","prefixItems":[{"type":"string"}]}"##, r##"{"type":"array","prefixItems":[{"type":"integer"}]}"##,
        "TYPE_CHANGED@items/0", "TYPE_CHANGED@items/0"),
    (r##"{"type":"array","prefixItems":[{"type":"string"}],"items":false}"##, r##"{"type":"array","prefixItems":[{"type":"string"},{"type":"string"}],"items":false}"##,
        "", "ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL@items/1"),
    (r##"{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"string"}}"##, r##"{"type":"array","prefixItems":[{"type":"string"},{"type":"string"}],"items":{"type":"string"}}"##, "", ""),
    (r##"{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"string"}}"##, r##"{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"string"}}"##,
        "TYPE_CHANGED@items/1 ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL@items/1", "TYPE_CHANGED@items/1 ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL@items/1"),
    (r##"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{}]}"##, r##"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{}],"additionalItems":false}"##,
        "ADDITIONAL_ITEMS_REMOVED@additionalItems", ""),
    (r##"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{}]}"##, r##"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{}],"additionalItems":{"type":"string"}}"##,
        "ADDITIONAL_ITEMS_NARROWED@additionalItems", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","unevaluatedItems":false}"##,
        "UNEVALUATED_ITEMS_REMOVED@unevaluatedItems", ""),
    (r##"{"type":"array"}"##, r##"{"type":"array","unevaluatedItems":{"type":"string"}}"##,
        "UNEVALUATED_ITEMS_NARROWED@unevaluatedItems", ""),
    (r##"{"type":"array","prefixItems":[false],"items":false}"##, r##"{"type":"array","items":false}"##, "", ""),
    (r##"{"oneOf":[{"type":"string"},{"type":"integer"}]}"##, r##"{"oneOf":[{"type":"string"},{"type":"integer"},{"type":"null"}]}"##,
        "", "SUM_TYPE_NARROWED@"),
    (r##"{"oneOf":[{"type":"string"},{"type":"integer"}]}"##, r##"{"oneOf":[{"type":"integer"},{"type":"string"}]}"##, "", ""),
    (r##"{"oneOf":[{"type":"string"},{"type":"integer"}]}"##, r##"{"oneOf":[{"type":"string"},{"type":"boolean"}]}"##,
        "COMBINED_TYPE_SUBSCHEMAS_CHANGED@oneOf/1 TYPE_CHANGED@oneOf/1", "COMBINED_TYPE_SUBSCHEMAS_CHANGED@oneOf/1 TYPE_CHANGED@oneOf/1"),
    (r##"{"anyOf":[{"type":"string","maxLength":3},{"type":"integer"}]}"##, r##"{"anyOf":[{"type":"string","maxLength":2},{"type":"integer"}]}"##,
        "COMBINED_TYPE_SUBSCHEMAS_CHANGED@anyOf/0 MAX_LENGTH_DECREASED@anyOf/0/maxLength", ""),
    (r##"{"allOf":[{"maxLength":3},{"minLength":1}]}"##, r##"{"allOf":[{"maxLength":3}]}"##,
        "", "PRODUCT_TYPE_EXTENDED@"),
    (r##"{"allOf":[{"maxLength":3},{"minLength":1}]}"##, r##"{"allOf":[{"maxLength":3},{"minLength":2}]}"##,
        "COMBINED_TYPE_SUBSCHEMAS_CHANGED@allOf/1 MIN_LENGTH_INCREASED@allOf/1/minLength", ""),
    (r##"{"oneOf":[{"type":"string"},{"type":"integer"}]}"##, r##"{"anyOf":[{"type":"string"},{"type":"integer"}]}"##,
        "", "COMBINED_TYPE_CHANGED@"),
    (r##"{"allOf":[{"maxLength":3},{"minLength":1}]}"##, r##"{"anyOf":[{"maxLength":3},{"minLength":1}]}"##,
        "", "COMBINED_TYPE_CHANGED@"),
    (r##"{"anyOf":[{"type":"string"}]}"##, r##"{"allOf":[{"type":"string"}]}"##, "", ""),
    (r##"{"type":"string"}"##, r##"{"oneOf":[{"type":"string"}]}"##, "", ""),
    (r##"{"type":"string"}"##, r##"{"oneOf":[{"type":"string"},{"type":"integer"}]}"##,
        "", "TYPE_CHANGED@"),
    (r##"{"type":"string"}"##, r##"{"oneOf":[{"type":"boolean"},{"type":"integer"}]}"##,
        "TYPE_CHANGED@", "TYPE_CHANGED@"),
    (r##"{"type":"string"}"##, r##"{"allOf":[{"type":"string"},{"maxLength":3}]}"##,
        "MAX_LENGTH_ADDED@maxLength", ""),
    (r##"{"not":{"type":"string"}}"##, r##"{"not":{"type":["string","null"]}}"##,
        "NOT_TYPE_EXTENDED@not", ""),
    (r##"{"not":{"type":"string"}}"##, r##"{"not":{"type":"integer"}}"##,
        "NOT_TYPE_EXTENDED@not", "NOT_TYPE_EXTENDED@not"),
    (r##"{"if":{"type":"string"},"then":{"maxLength":3}}"##, r##"{"if":{"type":"string"},"then":{"maxLength":5}}"##,
        "", "MAX_LENGTH_DECREASED@then/maxLength"),
    (r##"{"if":{"type":"string"},"then":{"maxLength":3}}"##, r##"{"if":{"type":"integer"},"then":{"maxLength":3}}"##,
        "TYPE_CHANGED@if", "TYPE_CHANGED@if"),
    (r##"{"if":{"type":"string"},"then":true}"##, r##"{"if":{"type":"string"},"then":true,"else":{"type":"null"}}"##,
        "SCHEMA_ADDED@else", ""),
    (r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"integer"}}}"##, r##"{"type":"number"}"##,
        "", "TYPE_NARROWED@"),
    (r##"{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"integer"}}}"##, r##"{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"string"}}}"##,
        "TYPE_CHANGED@properties/a", "TYPE_CHANGED@properties/a"),
    (r##"{"$ref":"#n","$defs":{"a":{"$anchor":"n","type":"integer"}}}"##, r##"{"type":"string"}"##,
        "TYPE_CHANGED@", "TYPE_CHANGED@"),
    (r##"{"properties":{"next":{"$ref":"#"},"v":{"type":"integer"}}}"##, r##"{"properties":{"next":{"$ref":"#"},"v":{"type":"string"}}}"##,
        "TYPE_CHANGED@properties/v", "TYPE_CHANGED@properties/v"),
    (r##"{"$ref":"#/$defs/a","maxLength":3,"$defs":{"a":{"type":"string"}}}"##, r##"{"$ref":"#/$defs/a","maxLength":2,"$defs":{"a":{"type":"string"}}}"##,
        "COMBINED_TYPE_SUBSCHEMAS_CHANGED@allOf/1 MAX_LENGTH_DECREASED@allOf/1/maxLength", ""),
];

#[test]
fn every_rule_both_ways() {
    let mut wrong = String::new();
    for (old, new, forward, backward) in ROWS {
        let (old, new) = (compile(old), compile(new));
        let (there, back) = (
            found(&old, &new, Policy::Strict),
            found(&new, &old, Policy::Strict),
        );
        if (there.as_str(), back.as_str()) != (*forward, *backward) {
            writeln!(
                wrong,
                "    (r##\"{}\"##, r##\"{}\"##, \"{there}\", \"{back}\"),",
                old.document(),
                new.document()
            )
            .expect("a string");
        }
        assert_eq!(found(&old, &old, Policy::Strict), "");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn lenient_accepts_changes_of_the_content_model() {
    let closed =
        r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#;
    let empty = r#"{"type":"object","additionalProperties":false}"#;
    let open = r#"{"type":"object"}"#;
    let named = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
    let required = r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#;
    let default =
        r#"{"type":"object","properties":{"a":{"default":"","type":"string"}},"required":["a"]}"#;
    let accepted = [
        (open, named),
        (open, default),
        (named, closed),
        (open, empty),
        (closed, empty),
        (
            open,
            r#"{"type":"object","additionalProperties":{"type":"string"}}"#,
        ),
        (
            r#"{"type":"array"}"#,
            r#"{"type":"array","unevaluatedItems":false}"#,
        ),
    ];
    for (old, new) in accepted {
        let (old, new) = (compile(old), compile(new));
        assert_ne!(found(&old, &new, Policy::Strict), "");
        assert_eq!(
            found(&old, &new, Policy::Lenient),
            "",
            "{} {}",
            old.document(),
            new.document()
        );
    }
    for (old, new) in [
        (open, required),
        (named, required),
        (named, r#"{"properties":{"a":{"type":"integer"}}}"#),
    ] {
        assert_ne!(
            found(&compile(old), &compile(new), Policy::Lenient),
            "",
            "{old} {new}"
        );
    }
}

#[test]
fn all_that_breaks_is_said_and_what_it_was() {
    let old = compile(
        r#"{"properties":{"a":{"type":"integer"},"b":{"type":"string","maxLength":9}},"enum":[1]}"#,
    );
    let new = compile(
        r#"{"properties":{"a":{"type":"string"},"b":{"type":"string","maxLength":5}},"enum":[1]}"#,
    );
    let found = new.cannot_read(&old, Policy::Strict);
    let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
    assert!(
        messages.contains(&"was integer and is string")
            && messages.contains(&"`maxLength` was 9 and is 5"),
        "{messages:?}"
    );
}

#[test]
fn references_to_other_documents_are_compared_too() {
    let versions = [r#"{"type":"integer"}"#, r#"{"type":"string"}"#].map(|text| {
        let leg = Reference {
            name: "leg.json".to_owned(),
            text: text.to_owned(),
        };
        JsonSchema::compile(r#"{"properties":{"leg":{"$ref":"leg.json"}}}"#, &[leg])
            .expect("a schema")
    });
    assert_eq!(
        found(&versions[0], &versions[1], Policy::Strict),
        "TYPE_CHANGED@properties/leg"
    );
    assert_eq!(found(&versions[0], &versions[0], Policy::Strict), "");
}

/// Whatever the schemas, an answer comes soon and on a small stack.
#[test]
fn comparing_ends() {
    let run = || {
        let circle = |name: &str, end: &str| {
            let mut defs = Map::new();
            for at in 0..40 {
                let others: Vec<Value> = (0..40)
                    .map(|to| json!({"$ref": format!("#/$defs/d{to}")}))
                    .collect();
                let member = json!({"properties": {name: {"anyOf": others}, "end": {"type": end}}});
                defs.insert(format!("d{at}"), member);
            }
            json!({"$ref": "#/$defs/d0", "$defs": defs})
        };
        let chain = |end: &str| {
            let mut defs = Map::new();
            for at in 0..5_000 {
                defs.insert(
                    format!("d{at}"),
                    json!({"properties": {"n": {"$ref": format!("#/$defs/d{}", at + 1)}}}),
                );
            }
            defs.insert("d5000".to_owned(), json!({"type": end}));
            json!({"$ref": "#/$defs/d0", "$defs": defs})
        };
        let wide = |end: &str| {
            let branches: Vec<Value> = (0..2_000)
                .map(|at| json!({"type": end, "maxLength": at, "minimum": -at}))
                .collect();
            json!({ "anyOf": branches })
        };
        let pairs = [
            (circle("a", "string"), circle("a", "integer")),
            (chain("string"), chain("integer")),
            (wide("string"), wide("integer")),
        ];
        for (old, new) in pairs {
            let started = Instant::now();
            let (old, new) = (old.to_string(), new.to_string());
            let compiled = [&old, &new].map(|text| JsonSchema::compile(text, &[]));
            if let [Ok(old), Ok(new)] = compiled {
                assert_ne!(found(&old, &new, Policy::Strict), "");
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "{:?} {}",
                started.elapsed(),
                &old[..80]
            );
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .expect("a thread");
    thread.join().expect("enough stack");
}

/// Changes something, somewhere.
fn changed(schema: &mut Value, dice: &mut impl FnMut(usize) -> usize) {
    let Value::Object(words) = schema else {
        if dice(2) == 0 {
            *schema = json!({"type": "string"});
        }
        return;
    };
    let names: Vec<String> = words
        .keys()
        .filter(|name| !name.starts_with('$'))
        .cloned()
        .collect();
    if names.is_empty() {
        words.insert("type".to_owned(), json!("integer"));
        return;
    }
    let name = names[dice(names.len())].as_str();
    match (name, dice(3)) {
        (_, 0) => drop(words.remove(name)),
        ("properties" | "patternProperties", which) => {
            let Some(members) = words.get_mut(name).and_then(Value::as_object_mut) else {
                return;
            };
            let keys: Vec<String> = members.keys().cloned().collect();
            match keys.get(dice(keys.len() + 1)) {
                Some(key) if which == 1 => drop(members.remove(key)),
                Some(key) => changed(&mut members[key], dice),
                None => drop(members.insert("new".to_owned(), json!({"type": "string"}))),
            }
        }
        ("type", _) => {
            let other = [
                json!("string"),
                json!("number"),
                json!(["string", "null"]),
                json!(["object", "null", "integer"]),
            ];
            words.insert(name.to_owned(), other[dice(4)].clone());
        }
        ("enum", _) => drop(words.insert(name.to_owned(), json!([dice(3), "a", "EWR"]))),
        ("required", _) => {
            drop(words.insert(name.to_owned(), json!([(["a", "b", "from"][dice(3)])])))
        }
        ("allOf" | "anyOf", which) => {
            let Some(list) = words.get_mut(name).and_then(Value::as_array_mut) else {
                return;
            };
            let at = dice(list.len());
            if which == 1 {
                changed(&mut list[at], dice);
            } else {
                list.push(json!({"type": "null"}));
            }
        }
        (_, 1) if words[name].is_number() => drop(words.insert(name.to_owned(), json!(dice(6)))),
        (_, _) if words[name].is_object() => changed(&mut words[name], dice),
        _ => drop(words.insert(
            "additionalProperties".to_owned(),
            [json!(false), json!({"type": "string"})][dice(2)].clone(),
        )),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    /// What is called compatible is: a document that fits the old schema fits the new one.
    #[test]
    fn what_gets_along_reads(old in schema(), other in schema(), documents in prop::collection::vec(document(), 4), seed in any::<u64>()) {
        // Rules that are kept although they are not sound, and a draft whose words differ.
        let sound = |schema: &Value| schema.to_string().replace("oneOf", "anyOf").replace("\"format\"", "\"x-format\"");
        let old: Value = serde_json::from_str(&sound(&old)).expect("JSON");
        let mut dice = dice(seed);
        let mut new = old.clone();
        for _ in 0..=dice(3) {
            changed(&mut new, &mut dice);
        }
        let texts = [old.to_string(), if dice(10) == 0 { sound(&other) } else { new.to_string() }];
        let [Ok(writer), Ok(reader)] = texts.map(|text| JsonSchema::compile(&text, &[])) else {
            return Ok(());
        };
        prop_assert_eq!(found(&writer, &writer, Policy::Strict), "");
        let strict = reader.cannot_read(&writer, Policy::Strict);
        let lenient = reader.cannot_read(&writer, Policy::Lenient);
        prop_assert!(!strict.is_empty() || lenient.is_empty());
        if !strict.is_empty() {
            return Ok(());
        }
        let samples = (0..4).map(|_| sample(&old, &old, &mut dice, 0)).collect::<Vec<_>>();
        for document in documents.iter().chain(&samples) {
            let both = (writer.check(document).is_ok(), reader.check(document).is_ok());
            prop_assert!(both != (true, false), "{document}: {} -> {}", writer.document(), reader.document());
        }
    }
}
