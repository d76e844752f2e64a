//! Any bytes as documents of fixed schemas: what the walk finds to fit, the check takes, and the check says what jsonschema says.
//! Run with `cargo +nightly fuzz run json_walk` in `schemas/formats`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use millstream_schema_formats::{Format, Schema};
use serde_json::Value;

const SCHEMAS: [&str; 3] = [
    r##"{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":-3,"multipleOf":2},"b":{"type":["string","null"],"maxLength":3},
      "c":{"type":"array","items":{"$ref":"#"},"uniqueItems":true},"d":{"enum":[1,"x",null,[1]]},"e":{"oneOf":[{"const":1},{"type":"number"}]}},"additionalProperties":false}"##,
    r##"{"$defs":{"n":{"anyOf":[{"type":"number","exclusiveMaximum":1e19},{"type":"array","prefixItems":[{"$ref":"#/$defs/n"}],"items":{"type":"boolean"},"minItems":1}]}},
      "$ref":"#/$defs/n"}"##,
    r#"{"not":{"required":["x"]},"minProperties":1,"propertyNames":{"pattern":"^[a-z]"},"dependentRequired":{"a":["b"]},"if":{"properties":{"a":{"const":1}}},"then":{"maxProperties":2}}"#,
];

static COMPILED: LazyLock<Vec<(Schema, jsonschema::Validator)>> = LazyLock::new(|| {
    let compiled = |text: &&str| {
        let own = Schema::compile(Format::Json, text, &[]).expect("fixed");
        let json: Value = serde_json::from_str(text).expect("fixed");
        (own, jsonschema::validator_for(&json).expect("fixed"))
    };
    SCHEMAS.iter().map(compiled).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let document = serde_json::from_slice::<Value>(bytes);
    for (schema, peer) in COMPILED.iter() {
        let check = schema.check(bytes);
        assert!(check.is_ok() || !schema.fits(bytes), "the walk takes it, the check does not");
        let library = document.as_ref().is_ok_and(|document| peer.is_valid(document));
        assert_eq!(check.is_ok(), library, "{check:?}");
        assert_eq!(schema.decode(bytes).is_ok(), check.is_ok());
    }
});
