//! Documents of one version laid out for another; reading and writing payloads.

use serde_json::{Value, json};

use crate::{JsonSchema, Value as Payload};

fn compile(schema: &Value) -> JsonSchema {
    JsonSchema::compile(&schema.to_string(), &[])
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn resolved(reader: &Value, document: &Value) -> Result<Value, String> {
    let bytes = compile(reader)
        .resolve(&compile(&json!(true)), document.to_string().as_bytes())
        .map_err(|violation| format!("{} {violation}", violation.path))?;
    Ok(serde_json::from_slice(&bytes).expect("a document"))
}

#[test]
fn absent_properties_take_their_defaults() {
    let reader = json!({
        "properties": {
            "a": {"default": 1, "type": "integer"},
            "b": {"properties": {"c": {"$ref": "#/$defs/d"}}},
            "list": {"items": {"properties": {"x": {"default": null}}}},
        },
        "required": ["a"],
        "$defs": {"d": {"default": "D"}},
    });
    let cases = [
        (json!({}), json!({"a": 1})),
        (json!({"a": 5, "z": 0}), json!({"a": 5, "z": 0})),
        (json!({"b": {}}), json!({"b": {"c": "D"}, "a": 1})),
        (
            json!({"a": 2, "list": [{}, {"x": 1}, 5]}),
            json!({"a": 2, "list": [{"x": null}, {"x": 1}, 5]}),
        ),
    ];
    for (document, want) in cases {
        assert_eq!(resolved(&reader, &document), Ok(want), "{document}");
    }
}

#[test]
fn closed_schemas_leave_out_what_they_do_not_name() {
    let closed = json!({"properties": {"a": {}}, "additionalProperties": false});
    assert_eq!(
        resolved(&closed, &json!({"a": 1, "b": 2})),
        Ok(json!({"a": 1}))
    );
    let nested = json!({"additionalProperties": {"$ref": "#/$defs/c"}, "$defs": {"c": closed}});
    assert_eq!(
        resolved(&nested, &json!({"x": {"b": 1}})),
        Ok(json!({"x": {}}))
    );
    let patterns = json!({"patternProperties": {"^a": {}}, "additionalProperties": false});
    assert!(resolved(&patterns, &json!({"b": 1})).is_err());
}

#[test]
fn what_has_no_place_is_a_violation() {
    let reader = json!({"required": ["a"]});
    assert!(
        resolved(&reader, &json!({}))
            .expect_err("no default")
            .contains("`a`")
            || resolved(&reader, &json!({})).is_err()
    );
    let writer = compile(&json!({"type": "object"}));
    assert!(
        compile(&json!(true)).resolve(&writer, b"[]").is_err(),
        "not what the writer allows"
    );
    let violation = compile(&json!(true))
        .resolve(&writer, b"{\"a\":")
        .expect_err("no document");
    assert_eq!(violation.keyword, "json");
}

#[test]
fn a_default_that_holds_its_own_schema_is_taken_once() {
    let reader = json!({"properties": {"a": {"$ref": "#", "default": {}}}});
    assert_eq!(resolved(&reader, &json!({})), Ok(json!({"a": {}})));
    let deep = (0..120).fold(json!({}), |inner, _| json!({ "a": inner }));
    assert!(resolved(&reader, &deep).is_ok());
}

#[test]
fn payloads_are_read_and_written() {
    let schema =
        compile(&json!({"properties": {"n": {"type": "integer"}, "b": {"type": "string"}}}));
    let payload = br#"{"n":18446744073709551615,"b":"AQI=","f":1.5,"l":[null,true]}"#;
    let value = schema.decode(payload).expect("fits");
    let member = |name: &str, value| (name.to_owned(), value);
    let want = Payload::Object(vec![
        member("n", Payload::UInt(u64::MAX)),
        member("b", Payload::String("AQI=".to_owned())),
        member("f", Payload::Double(1.5)),
        member("l", Payload::List(vec![Payload::Null, Payload::Bool(true)])),
    ]);
    assert_eq!(value, want);
    assert_eq!(schema.encode(&value).expect("fits"), payload);
    let bytes = Payload::Object(vec![member("b", Payload::Bytes(vec![1, 2]))]);
    assert_eq!(schema.encode(&bytes).expect("fits"), br#"{"b":"AQI="}"#);
    let wrong = Payload::Object(vec![member("n", Payload::Bytes(vec![1]))]);
    assert_eq!(schema.encode(&wrong).expect_err("no integer").path, "/n");
    assert!(schema.decode(b"{\"n\": \"x\"}").is_err());
    for garbage in [
        &b""[..],
        b"{",
        b"nul",
        b"\"\xff\"",
        b"NaN",
        b"1 2",
        b"{\"a\":1,}",
        &[b'['; 100_000],
    ] {
        let violation = schema.decode(garbage).expect_err("no JSON");
        assert_eq!(violation.keyword, "json");
        assert!(violation.to_string().len() < 1000);
    }
}
