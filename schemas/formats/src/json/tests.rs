//! JSON Schema checks: verdicts, messages with paths, and hostile schemas.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::JsonSchema;
use crate::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES, SchemaError, Violation};

fn compile(schema: &Value) -> JsonSchema {
    JsonSchema::compile(&schema.to_string(), &[])
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn refused(schema: &Value) -> SchemaError {
    JsonSchema::compile(&schema.to_string(), &[]).expect_err("refused")
}

/// `path keyword: expected …, found …`, or `fits`.
fn verdict(schema: &Value, document: &Value) -> String {
    compile(schema).check(document).map_or_else(
        |violation| format!("{} {}: {violation}", violation.path, violation.keyword),
        |()| "fits".to_owned(),
    )
}

fn check_all(cases: &[(Value, Value, &str)]) {
    for (schema, document, want) in cases {
        assert_eq!(verdict(schema, document), *want, "{schema}");
    }
}

fn nested(levels: usize, inner: Value) -> Value {
    (0..levels).fold(inner, |inner, _| json!([inner]))
}

#[test]
fn a_violation_names_path_expectation_and_finding() {
    let cases = [
        (
            json!({"properties": {"a": {"type": ["integer", "null"]}}}),
            json!({"a": "abc"}),
            r#"/a type: expected null or integer, found string "abc""#,
        ),
        (
            json!({"properties": {"a/b": {"items": {"type": "string"}}}}),
            json!({"a/b": ["x", 5]}),
            "/a~1b/1 type: expected string, found integer 5",
        ),
        (
            json!({"required": ["dest"]}),
            json!({}),
            r#" required: expected property "dest", found no property "dest""#,
        ),
        (
            json!({"properties": {"a": {}}, "additionalProperties": false}),
            json!({"a": 1, "b": 1}),
            " additionalProperties: expected only the properties that the schema names, found unknown property `b`",
        ),
        (
            json!({"enum": ["EWR", "LGA"]}),
            json!("SFO"),
            r#" enum: expected "EWR" or "LGA", found string "SFO""#,
        ),
        (
            json!({"format": "date-time"}),
            json!("soon"),
            r#" format: expected a date-time, found string "soon""#,
        ),
        (
            json!({"pattern": "^[A-Z]{2}$"}),
            json!("x"),
            r#" pattern: expected text that matches `^[A-Z]{2}$`, found string "x""#,
        ),
    ];
    check_all(&cases);
}

#[test]
fn a_violation_of_bounds_and_alternatives_says_which() {
    let cases = [
        (
            json!({"minimum": 0}),
            json!(-3),
            " minimum: expected at least 0, found integer -3",
        ),
        (
            json!({"maxLength": 2}),
            json!("abc"),
            " maxLength: expected at most 2 characters, found 3 characters",
        ),
        (
            json!({"anyOf": [{"type": "null"}, {"type": "string"}]}),
            json!(1),
            " anyOf: expected null or string, found integer 1",
        ),
        // Of two alternatives the reason that lies deepest tells what was meant.
        (
            json!({"anyOf": [{"type": "null"}, {"properties": {"a": {"minimum": 3}}}]}),
            json!({"a": 1}),
            "/a minimum: expected at least 3, found integer 1",
        ),
        (
            json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
            json!(1),
            " oneOf: expected exactly one of 2 alternatives, found more than one that fits",
        ),
        (
            json!({"uniqueItems": true}),
            json!([1, 1]),
            " uniqueItems: expected items that all differ, found items that are equal",
        ),
        (
            json!({"type": "integer"}),
            json!(2.5),
            " type: expected integer, found number 2.5",
        ),
        (json!({"type": "integer"}), json!(2), "fits"),
    ];
    check_all(&cases);
}

#[test]
fn a_violation_is_short_whatever_the_document_holds() {
    let long = "x".repeat(1 << 20);
    let schema = json!({"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "integer"}});
    for document in [json!({"a": long}), json!({ long.as_str(): "x" })] {
        let violation: Violation = compile(&schema).check(&document).expect_err("no integer");
        assert!(violation.path.chars().count() <= 257 && violation.to_string().len() < 1000);
    }
}

#[test]
fn a_bad_schema_is_refused_with_place_and_advice() {
    let show = |schema: Value| refused(&schema).to_string();
    let error = show(json!({"properties": {"a": {"type": "integr"}}}));
    assert!(
        error.contains("`/properties/a/type`") && error.contains("\"integr\""),
        "{error}"
    );
    let error = show(json!({"required": "a"}));
    assert!(
        error.contains("`/required`: expected array, found string \"a\""),
        "{error}"
    );
    let error = show(json!(["a"]));
    assert_eq!(error, "schema must be a JSON object, found array of 1 item");
    let error = show(json!({"$schema": "https://example.com/own"}));
    assert!(
        error.contains("no known draft") && error.contains("2020-12"),
        "{error}"
    );
    let error = show(json!({"$ref": "#/$defs/gone"}));
    assert!(error.contains("/$defs/gone"), "{error}");
    let error = JsonSchema::compile("{\n  \"type\": oops }", &[])
        .expect_err("syntax")
        .to_string();
    assert_eq!(
        error,
        "schema is not JSON: expected value at line 2 column 11"
    );
}

#[test]
fn references_are_never_fetched() {
    for uri in [
        "https://example.com/x.json",
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
        "other.json",
    ] {
        let error = refused(&json!({"properties": {"a": {"$ref": uri}}}));
        assert!(
            matches!(&error, SchemaError::RemoteReference { uri: named } if named.contains(uri)),
            "{error}"
        );
    }
    let embedded = json!({
        "$id": "https://example.com/a",
        "properties": {"x": {"$ref": "b"}},
        "$defs": {"b": {"$id": "b", "type": "integer"}},
    });
    // Such references are followed, but not for an explanation.
    assert!(
        verdict(&embedded, &json!({"x": "y"}))
            .starts_with(" schema: expected a document that fits")
    );
    assert_eq!(verdict(&embedded, &json!({"x": 5})), "fits");
}

#[test]
fn patterns_take_linear_time() {
    for pattern in ["(?=a)b", "(a)\\1", "(", "((a{1000}){1000}){1000}"] {
        let error = refused(&json!({"pattern": pattern}));
        assert!(
            matches!(&error, SchemaError::Pattern { path, .. } if path == "/pattern"),
            "{error}"
        );
    }
    let error = refused(&json!({"patternProperties": {"(": {}}}));
    assert!(matches!(error, SchemaError::Pattern { .. }), "{error}");
    let evil = compile(&json!({"pattern": "^(a+)+$"}));
    let started = Instant::now();
    assert!(
        evil.check(&json!(format!("{}!", "a".repeat(100_000))))
            .is_err()
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_schema_larger_than_the_limits_is_refused() {
    let huge = format!("{{\"title\": \"{}\"}}", "x".repeat(MAX_SCHEMA_BYTES));
    assert!(matches!(
        JsonSchema::compile(&huge, &[]),
        Err(SchemaError::TooLarge { .. })
    ));
    let many = json!({"enum": (0..=MAX_SCHEMA_NODES).collect::<Vec<_>>()});
    assert_eq!(
        refused(&many),
        SchemaError::TooMany {
            limit: MAX_SCHEMA_NODES
        }
    );
    for levels in [MAX_SCHEMA_DEPTH, 200, 100_000] {
        let mut deep = "{\"not\":".repeat(levels);
        write!(deep, "true{}", "}".repeat(levels)).expect("a string");
        let error = JsonSchema::compile(&deep, &[]).expect_err("too deep");
        let expected = matches!(
            error,
            SchemaError::TooDeep { .. } | SchemaError::TooEntangled { .. }
        );
        assert!(expected, "{levels}: {error}");
    }
}

#[test]
fn references_in_a_circle_are_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"not": {"$ref": "#"}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"$ref": "#me", "$defs": {"a": {"$anchor": "me", "anyOf": [{"$ref": "#me"}]}}}),
        json!({"$id": "https://example.com/s", "if": {"$ref": "https://example.com/s"}}),
        json!({"properties": {"a%b": {"$ref": "#/properties/a%25b"}}}),
    ] {
        let error = refused(&schema);
        assert!(
            matches!(error, SchemaError::TooEntangled { .. }),
            "{schema}: {error}"
        );
    }
    let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}}});
    assert_eq!(
        verdict(&tree, &json!({"left": {"right": {"value": "x"}}})),
        r#"/left/right/value type: expected integer, found string "x""#
    );
}

/// Two alternatives that both go into the same child: naive validation takes two to the power of the depth.
#[test]
fn a_document_cannot_blow_up_validation() {
    let branch = |end: &str| json!({"properties": {"a": {"$ref": "#"}, "end": {"type": end}}});
    let document = (0..100).fold(json!({"end": 1}), |inner, _| json!({ "a": inner }));
    for word in ["anyOf", "oneOf", "allOf"] {
        let schema = json!({ word: [branch("string"), branch("null")] });
        let started = Instant::now();
        assert!(compile(&schema).check(&document).is_err());
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{word}: {:?}",
            started.elapsed()
        );
    }
}

/// Chains of definitions that each use the next one twice are accepted while short and refused when long.
#[test]
fn a_schema_cannot_multiply_itself() {
    let laughs = |levels: usize, twice: fn(Value) -> Value| {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), twice(next));
        }
        defs.insert(format!("d{levels}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    let same = |next: Value| json!({"allOf": [next, next, next, next]});
    let member =
        |next: Value| json!({"anyOf": [{"properties": {"a": next}}, {"properties": {"a": next}}]});
    let items = |next: Value| json!({"anyOf": [{"items": next}, {"prefixItems": [next]}]});
    let unevaluated = |next: Value| json!({"allOf": [next], "unevaluatedProperties": false});
    let refusals = [
        (15, same as fn(Value) -> Value),
        (60, member),
        (60, items),
        (15, unevaluated),
    ];
    for (levels, twice) in refusals {
        let error = refused(&laughs(levels, twice));
        assert!(matches!(error, SchemaError::TooWide { .. }), "{error}");
    }
    for (twice, document) in [
        (same as fn(Value) -> Value, json!(1)),
        (
            member,
            (0..6).fold(json!(1), |inner, _| json!({ "a": inner })),
        ),
        (items, nested(6, json!(1))),
    ] {
        let schema = compile(&laughs(6, twice));
        let started = Instant::now();
        assert!(schema.check(&json!("a")).is_ok() || !document.is_number());
        assert!(schema.check(&document).is_err());
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }
}

/// The longest chain that is accepted, for the deepest document that is parsed, on the stack a tokio worker has.
#[test]
fn the_deepest_accepted_check_fits_the_stack() {
    let deep = |keyword: &str| {
        let mut defs = Map::new();
        // Each `unevaluatedProperties` multiplies the work, so fewer of them are accepted.
        let first = if keyword == "unevaluatedProperties" {
            8
        } else {
            0
        };
        for level in first..15 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            let inner = match keyword {
                "if" => json!({"if": next, "else": false}),
                "dependentSchemas" => json!({"dependentSchemas": {"a": next}}),
                "unevaluatedProperties" => json!({"allOf": [next], "unevaluatedProperties": false}),
                _ => json!({ keyword: [next] }),
            };
            defs.insert(format!("d{level}"), inner);
        }
        let again = json!({"$ref": format!("#/$defs/d{first}")});
        defs.insert(
            "d15".to_owned(),
            json!({"items": again, "properties": {"a": again}, "not": {"type": "integer"}}),
        );
        json!({"$ref": format!("#/$defs/d{first}"), "$defs": defs})
    };
    let run = move || {
        for keyword in [
            "allOf",
            "anyOf",
            "oneOf",
            "if",
            "dependentSchemas",
            "unevaluatedProperties",
        ] {
            let schema = compile(&deep(keyword));
            for levels in [3, 8, 126] {
                let object = |inner| (0..levels).fold(inner, |inner, _| json!({ "a": inner }));
                assert_eq!(schema.check(&object(json!("x"))), Ok(()), "{keyword}");
                // Without the property, `dependentSchemas` has nothing to say about the innermost value.
                assert!(
                    keyword == "dependentSchemas" || schema.check(&object(json!(1))).is_err(),
                    "{keyword}"
                );
                assert!(
                    schema.check(&nested(levels, json!("x"))).is_ok(),
                    "{keyword}"
                );
            }
        }
    };
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .expect("a thread");
    thread.join().expect("enough stack");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever text comes in, compiling and checking end with an answer.
    #[test]
    fn no_text_panics(text in "[\\[\\]{}\":,a-z0-9$#/ ]{0,60}") {
        if let Ok(schema) = JsonSchema::compile(&text, &[]) {
            for document in [json!(null), json!({"a": [1, "b"]})] {
                let _either = schema.check(&document);
            }
        }
    }
}
