//! Schemas that refer to other schemas: found by every way of naming, checked as one, never fetched.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{JsonSchema, Reference, SchemaError};

fn reference(name: &str, schema: &Value) -> Reference {
    Reference {
        name: name.to_owned(),
        text: schema.to_string(),
    }
}

fn compile(schema: &Value, references: &[Reference]) -> JsonSchema {
    JsonSchema::compile(&schema.to_string(), references)
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

#[test]
fn a_reference_is_found_by_its_name_from_wherever_it_is_named() {
    let leg = json!({"type": "object", "required": ["from"], "$defs": {"code": {"maxLength": 3}}});
    let with_id = json!({"$id": "https://example.com/s/leg.json", "type": "object", "required": ["from"],
        "$defs": {"code": {"maxLength": 3}}});
    let cases = [
        (json!({}), "leg.json", &leg, "leg.json"),
        (json!({}), "leg.json", &leg, "leg.json#"),
        (json!({}), "leg.json", &with_id, "leg.json"),
        (
            json!({"$id": "https://example.com/s/flight.json"}),
            "leg.json",
            &leg,
            "leg.json",
        ),
        (
            json!({"$id": "https://example.com/s/flight.json"}),
            "leg.json",
            &with_id,
            "leg.json",
        ),
        (
            json!({"$id": "https://example.com/s/flight.json"}),
            "https://example.com/s/leg.json",
            &leg,
            "leg.json",
        ),
        (json!({"$id": "flight.json"}), "leg.json", &leg, "leg.json"),
        (
            json!({}),
            "https://example.com/s/leg.json",
            &leg,
            "https://example.com/s/leg.json",
        ),
        (
            json!({}),
            "https://example.com/s/leg.json",
            &with_id,
            "https://example.com/s/leg.json",
        ),
        (json!({}), "urn:example:leg", &leg, "urn:example:leg"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            "parts/leg.json",
            &leg,
            "parts/leg.json",
        ),
    ];
    for (mut schema, name, text, uri) in cases {
        let code = format!("{}#/$defs/code", uri.trim_end_matches('#'));
        schema["properties"] = json!({"leg": {"$ref": uri}, "code": {"$ref": code}});
        let schema = compile(&schema, &[reference(name, text)]);
        let shown = format!("{name} as {uri} in {}", schema.document());
        assert_eq!(
            schema.check(&json!({"leg": {"from": 1}, "code": "EWR"})),
            Ok(()),
            "{shown}"
        );
        let violation = schema.check(&json!({"leg": {}})).expect_err(&shown);
        assert_eq!(
            (violation.path.as_str(), violation.keyword.as_str()),
            ("/leg", "required"),
            "{shown}"
        );
        assert!(schema.check(&json!({"code": "EWRX"})).is_err(), "{shown}");
    }
}

#[test]
fn references_of_references_are_found_and_circles_between_documents_too() {
    let references = [
        reference("c.json", &json!({"type": "integer"})),
        reference(
            "b.json",
            &json!({"properties": {"c": {"$ref": "c.json"}, "a": {"$ref": "a.json"}}}),
        ),
        reference("a.json", &json!({"properties": {"b": {"$ref": "b.json"}}})),
    ];
    let schema = compile(&json!({"$ref": "a.json"}), &references);
    assert_eq!(
        schema.check(&json!({"b": {"c": 1, "a": {"b": {"c": 2}}}})),
        Ok(())
    );
    let violation = schema
        .check(&json!({"b": {"a": {"b": {"c": "x"}}}}))
        .expect_err("no integer");
    assert_eq!(violation.path, "/b/a/b/c");
}

#[test]
fn what_is_not_among_the_references_is_not_fetched() {
    let known = [reference(
        "leg.json",
        &json!({"$ref": "http://127.0.0.1:1/other.json"}),
    )];
    for (schema, references) in [
        (json!({"$ref": "leg.json"}), &known[..]),
        (json!({"$ref": "egg.json"}), &known[..]),
        (json!({"$ref": "other/leg.jso"}), &known[..]),
        (json!({"$ref": "file:///etc/passwd"}), &[][..]),
    ] {
        let error = JsonSchema::compile(&schema.to_string(), references).expect_err("not fetched");
        assert!(
            matches!(error, SchemaError::RemoteReference { .. }),
            "{schema}: {error}"
        );
    }
    let error = JsonSchema::compile(
        r##"{"$ref": "leg.json#/$defs/gone"}"##,
        &[reference("leg.json", &json!({}))],
    );
    assert!(
        matches!(error, Err(SchemaError::Reference { .. })),
        "{error:?}"
    );
}

#[test]
fn bombs_are_seen_through_references() {
    let circle = [
        reference("a.json", &json!({"allOf": [{"$ref": "b.json"}]})),
        reference("b.json", &json!({"$ref": "a.json"})),
    ];
    let error = JsonSchema::compile(r#"{"$ref": "a.json"}"#, &circle).expect_err("a circle");
    assert!(matches!(error, SchemaError::TooEntangled { .. }), "{error}");
    let laughs: Vec<Reference> = (0..40)
        .map(|level| {
            let next = json!({"$ref": format!("d{}.json", level + 1)});
            let next = if level == 39 { json!({}) } else { next };
            let member = json!({"properties": {"a": next}});
            reference(
                &format!("d{level}.json"),
                &json!({"anyOf": [member, member]}),
            )
        })
        .collect();
    let started = Instant::now();
    let error = JsonSchema::compile(r#"{"$ref": "d0.json"}"#, &laughs).expect_err("too wide");
    assert!(matches!(error, SchemaError::TooWide { .. }), "{error}");
    let huge = reference("x.json", &json!({"title": "x".repeat(1_000_000)}));
    let many: Vec<Reference> = (0..5)
        .map(|at| Reference {
            name: format!("{at}.json"),
            ..huge.clone()
        })
        .collect();
    let error = JsonSchema::compile("{}", &many).expect_err("too large");
    assert!(matches!(error, SchemaError::TooLarge { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    // Alternatives that go into the same member, one document further each: verdicts stay cheap, explanations too.
    let branch = |end: &str| json!({"properties": {"a": {"$ref": "s.json"}, "end": {"type": end}}});
    let own = reference(
        "s.json",
        &json!({"anyOf": [branch("string"), branch("null")]}),
    );
    let document = (0..100).fold(json!({"end": 1}), |inner, _| json!({ "a": inner }));
    let started = Instant::now();
    assert!(
        compile(&json!({"$ref": "s.json"}), &[own])
            .check(&document)
            .is_err()
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_is_no_schema_is_no_reference() {
    for text in ["[]", "{", "5"] {
        let reference = Reference {
            name: "a.json".to_owned(),
            text: text.to_owned(),
        };
        assert!(JsonSchema::compile("{}", &[reference]).is_err(), "{text}");
    }
}

#[test]
fn texts_of_one_meaning_are_normalised_to_one() {
    let texts = [
        r#"{"type":"object","properties":{"b":{"type":"string"},"a":true}}"#,
        "{ \"properties\": {\"a\": true, \"b\": {\"type\": \"string\"}},\n \"type\": \"object\"}",
    ];
    let compiled = texts.map(|text| JsonSchema::compile(text, &[]).expect("a schema"));
    assert_eq!(compiled[0].canonical(), texts[0]);
    assert_ne!(compiled[0].canonical(), compiled[1].canonical());
    assert_eq!(compiled[0].normalized(), compiled[1].normalized());
    let again = JsonSchema::compile(&compiled[0].normalized(), &[]).expect("a schema");
    assert_eq!(again.normalized(), compiled[1].normalized());
}

#[test]
fn each_draft_is_known_by_its_name() {
    let cases = [
        (
            "http://json-schema.org/draft-04/schema#",
            json!({"minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            json!(2),
        ),
        (
            "http://json-schema.org/draft-06/schema#",
            json!({"const": 1}),
            json!(2),
            json!(1),
        ),
        (
            "http://json-schema.org/draft-07/schema#",
            json!({"if": {"type": "string"}, "then": false}),
            json!("a"),
            json!(1),
        ),
        (
            "https://json-schema.org/draft/2019-09/schema",
            json!({"items": [{"type": "null"}]}),
            json!([1]),
            json!([null, 1]),
        ),
        (
            "https://json-schema.org/draft/2020-12/schema",
            json!({"prefixItems": [{"type": "null"}]}),
            json!([1]),
            json!([null]),
        ),
    ];
    for (draft, mut schema, wrong, right) in cases {
        schema["$schema"] = Value::from(draft);
        let schema = compile(&schema, &[]);
        assert!(
            schema.check(&wrong).is_err() && schema.check(&right).is_ok(),
            "{draft}"
        );
    }
    assert!(compile(&json!(true), &[]).check(&json!(1)).is_ok());
    assert!(compile(&json!(false), &[]).check(&json!(1)).is_err());
}
