//! The walk against the tree: over generated schemas and documents, whole, mutated and torn, both say the same.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::super::generated::{NAMES, dice, document, sample, schema, spelled};
use crate::{JsonSchema, Reference};

/// What the tree says.
fn tree(schema: &JsonSchema, payload: &[u8]) -> bool {
    serde_json::from_slice(payload)
        .is_ok_and(|document: Value| schema.inner.validator.is_valid(&document))
}

/// What the walk says.
fn walk(schema: &JsonSchema, payload: &[u8]) -> bool {
    let program = schema
        .inner
        .program
        .as_ref()
        .expect("a schema of common keywords");
    super::fits(program, payload)
}

fn compile(schema: &Value) -> JsonSchema {
    JsonSchema::compile(&schema.to_string(), &[])
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// Both say the same; the walk may leave a document to the tree only where `hard`.
fn agree(schema: &JsonSchema, payload: &[u8], hard: bool) -> Result<(), TestCaseError> {
    let shown = || {
        format!(
            "{} for {:?}",
            schema.document(),
            String::from_utf8_lossy(payload)
        )
    };
    let (walk, tree) = (walk(schema, payload), tree(schema, payload));
    prop_assert!(!walk || tree, "walk says yes: {}", shown());
    prop_assert!(walk || !tree || hard, "walk does not say yes: {}", shown());
    prop_assert_eq!(schema.check_bytes(payload).is_ok(), tree, "{}", shown());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_walk_says_what_the_tree_says(schema in schema(), document in document(), seed in any::<u64>()) {
        let Ok(compiled) = JsonSchema::compile(&schema.to_string(), &[]) else {
            return Ok(());
        };
        if !compiled.walks() {
            return Ok(());
        }
        let mut dice = dice(seed);
        let asked = sample(&schema, &schema, &mut dice, 0);
        for document in [document, asked] {
            agree(&compiled, document.to_string().as_bytes(), false)?;
            let mut text = String::new();
            spelled(&document, &mut dice, &mut text);
            agree(&compiled, text.as_bytes(), false)?;
            let mut bytes = text.into_bytes();
            let other = NAMES[dice(NAMES.len())].as_bytes();
            match dice(4) {
                0 => bytes.truncate(dice(bytes.len() + 1)),
                1 => { let at = dice(bytes.len()); bytes[at] = b"\"{}[],:0-9eE.\\u\x00\xff tfn"[dice(21)]; }
                2 => { let at = dice(bytes.len()); bytes.remove(at); }
                // Names that repeat.
                _ => {
                    let text = String::from_utf8_lossy(&bytes).replace("extra", &String::from_utf8_lossy(other).replace('"', "\\\""));
                    bytes = text.replace("legs", "from").replace("\"b\"", "\"a\"").into_bytes();
                }
            }
            agree(&compiled, &bytes, true)?;
        }
    }

    #[test]
    fn random_bytes_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[\\[\\]{}\",:0-9eE.a\\\\ud8-]{0,24}") {
        let schema = compile(&json!({"properties": {"a": {"type": "integer"}}, "items": {"type": "number"}}));
        agree(&schema, &bytes, true)?;
        agree(&schema, text.as_bytes(), false)?;
    }
}

#[test]
fn most_generated_schemas_walk() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut compiled, mut walking, mut fitting) = (0, 0, 0);
    for _ in 0..300 {
        let schema = schema().new_tree(&mut runner).expect("a schema").current();
        if let Ok(program) = JsonSchema::compile(&schema.to_string(), &[]) {
            compiled += 1;
            walking += usize::from(program.walks());
            let document =
                sample(&schema, &schema, &mut dice(compiled as u64 * 7919), 0).to_string();
            fitting += usize::from(program.walks() && walk(&program, document.as_bytes()));
        }
    }
    assert!(
        compiled > 200 && walking * 10 > compiled * 8 && fitting * 5 > walking,
        "{compiled} {walking} {fitting}"
    );
}

const TEXTS: [&str; 53] = [
    "0",
    "-0",
    "-0.0",
    "01",
    "-",
    "1.",
    ".5",
    "1e5",
    "1E+5",
    "1e",
    "1e999",
    "-1e999",
    "1e-999",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1.0",
    "10000000000000000000000.0",
    "0e1",
    "NaN",
    "Infinity",
    "+1",
    "1 2",
    "\"\\ud834\\udd1e\"",
    "\"\\ud834\"",
    "\"\\udd1e\"",
    "\"\\ud834x\"",
    "\"\\u12\"",
    "\"\\x\"",
    "\"\\/\\b\"",
    "\"\t\"",
    "\"a",
    "\"\u{7f}\"",
    "\u{feff}1",
    "tru",
    "nulll",
    "[1,]",
    "[,1]",
    "{\"a\":1,}",
    "{a:1}",
    "{\"a\" 1}",
    "[1 2]",
    "{\"a\":{\"b\":\"\\ud834\"}}",
    "[\"\\ud834\"]",
    "",
    " ",
    "{\"a\":1e999}",
    "// c\n1",
    "{\"a\":1}}",
    "[[]",
    "{\"\\u0061\":\"x\"}",
    "{\"a\":\"x\",\"a\":1}",
    "{\"a\":1,\"a\":\"x\"}",
];

#[test]
fn numbers_and_strings_are_read_as_strictly_as_by_the_parser() {
    let schemas = [
        json!({}),
        json!({"type": "integer"}),
        json!({"type": "number"}),
        json!({"type": "string"}),
        json!({"minimum": 0}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}),
        json!({"enum": [0, "𝄞", 1.0]}),
        json!({"properties": {"a": {"type": "integer"}}}),
        json!({"oneOf": [{}, {"properties": {"a": {"type": "integer"}}}]}),
        json!({"maxProperties": 1}),
        json!({"minLength": 1, "maxLength": 1}),
        json!({"exclusiveMaximum": 9223372036854775807u64}),
        json!({"maximum": 18446744073709551615u64}),
        json!({"multipleOf": 0.5}),
    ];
    for schema in schemas {
        let schema = compile(&schema);
        for text in TEXTS {
            let hard = text.matches("\"a\"").count() > 1;
            agree(&schema, text.as_bytes(), hard).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn depth_is_bounded_as_by_the_parser() {
    for schema in [
        json!({}),
        json!({"items": {"$ref": "#"}}),
        json!({"properties": {"a": {"$ref": "#"}}}),
    ] {
        let schema = compile(&schema);
        for levels in [1, 100, 126, 127, 128, 129, 100_000] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let text = format!("{}1{}", open.repeat(levels), close.repeat(levels));
                agree(&schema, text.as_bytes(), false).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

/// References to other documents are walked through, keywords beyond the walk are left to the tree.
#[test]
fn what_walks_and_what_does_not() {
    let leg = Reference {
        name: "leg.json".to_owned(),
        text: r#"{"type":"object","required":["from"]}"#.to_owned(),
    };
    let schema = JsonSchema::compile(r#"{"properties":{"leg":{"$ref":"leg.json"}}}"#, &[leg])
        .expect("a schema");
    assert!(schema.walks());
    assert!(walk(&schema, b"{\"leg\":{\"from\":1}}") && !walk(&schema, b"{\"leg\":{}}"));
    for schema in [
        json!({"uniqueItems": true}),
        json!({"not": {}}),
        json!({"if": {}}),
        json!({"contains": {}}),
        json!({"minProperties": 2}),
        json!({"properties": {"a": {"unevaluatedProperties": false}}}),
        json!({"enum": [[1]]}),
        json!({"$defs": {"a": {"$id": "a", "type": "null"}}, "items": {"$ref": "a"}}),
    ] {
        assert!(!compile(&schema).walks(), "{schema}");
    }
}

fn within(limit: Duration, what: &str, run: impl FnOnce()) {
    let started = Instant::now();
    run();
    assert!(started.elapsed() < limit, "{what}: {:?}", started.elapsed());
}

#[test]
fn hostile_documents_cost_time_in_proportion_to_their_size() {
    let million = format!("[{}0]", "1,".repeat(1_000_000));
    let repeated = format!("{{{}\"a\":0}}", "\"a\":1,".repeat(200_000));
    let schemas = [
        json!({"uniqueItems": true}),
        json!({"contains": {"type": "string"}}),
        json!({"items": {"anyOf": [{"type": "string"}, {"minimum": 5}, {"maximum": 4}]}}),
        json!({"additionalProperties": {"oneOf": [{"minimum": 0}, {"type": "null"}]}}),
        json!({"oneOf": [{"type": "object"}, {"type": "array"}, {"properties": {"a": {}}}]}),
        json!({"items": {"pattern": "^(a+)+$"}, "additionalProperties": {"pattern": "^(a|a)*$"}}),
    ];
    for schema in schemas {
        let compiled = compile(&schema);
        for text in [
            &million,
            &repeated,
            &format!("[\"{}!\"]", "a".repeat(500_000)),
            &"9".repeat(500_000),
            &format!("1e{}", "9".repeat(500_000)),
        ] {
            within(Duration::from_secs(20), &schema.to_string(), || {
                let _either = compiled.check_bytes(text.as_bytes());
            });
        }
    }
    // A hundred alternatives for one large value: the walk gives up before it looks at it a hundred times.
    let branches: Vec<Value> = (0..100)
        .map(|at| json!({"required": [format!("n{at}")]}))
        .collect();
    let schema = compile(&json!({ "anyOf": branches }));
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(5_000_000));
    within(Duration::from_secs(10), "alternatives", || {
        assert!(schema.check_bytes(large.as_bytes()).is_err())
    });
}

const FLIGHT: &str = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"flight","type":"object",
"required":["year","month","day","carrier","flight","origin","dest"],"additionalProperties":false,"properties":{
"year":{"type":"integer","minimum":1900},"month":{"type":"integer","minimum":1,"maximum":12},"day":{"type":"integer","minimum":1,"maximum":31},
"dep_time":{"type":["integer","null"]},"dep_delay":{"type":["number","null"]},"arr_delay":{"type":["number","null"]},
"carrier":{"type":"string","minLength":2,"maxLength":3},"flight":{"type":"integer"},"tailnum":{"type":["string","null"]},
"origin":{"enum":["EWR","JFK","LGA"]},"dest":{"type":"string","maxLength":3},"distance":{"type":"number","minimum":0},
"time_hour":{"type":"string","format":"date-time"}}}"##;
const FLIGHT_DOCUMENT: &str = r#"{"year":2013,"month":1,"day":1,"dep_time":517,"dep_delay":2.0,"arr_delay":11.0,"carrier":"UA","flight":1545,"tailnum":"N14228","origin":"EWR","dest":"IAH","distance":1400.0,"time_hour":"2013-01-01T05:00:00Z"}"#;

/// The flight is checked alike by both; with `MILLSTREAM_TIMES` set, in a release build and with `--nocapture`, the times of
/// both are printed.
#[test]
fn the_time_of_a_walk() {
    let schema = JsonSchema::compile(FLIGHT, &[]).expect("a schema");
    let bytes = FLIGHT_DOCUMENT.as_bytes();
    let print = std::env::var_os("MILLSTREAM_TIMES").is_some();
    let rounds = if print { 200_000_u32 } else { 1 };
    let time = |run: &dyn Fn() -> bool| {
        let best = (0..7).map(|_| {
            let started = Instant::now();
            assert!((0..rounds).all(|_| std::hint::black_box(run())));
            started.elapsed() / rounds
        });
        best.min().unwrap_or_default()
    };
    let walked = time(&|| walk(&schema, std::hint::black_box(bytes)));
    let treed = time(&|| tree(&schema, std::hint::black_box(bytes)));
    let parsed = time(&|| serde_json::from_slice::<Value>(std::hint::black_box(bytes)).is_ok());
    if print {
        println!(
            "{} bytes: walk {walked:?}, parse and validate {treed:?} (parse alone {parsed:?})",
            bytes.len()
        );
    }
}
