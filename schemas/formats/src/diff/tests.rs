//! Differences as people read them.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Found, diff, keywords, shapes};
use crate::{EnumShape, FieldShape, Format, RecordShape, Schema, Shape, Unit};

fn field(name: &str, shape: Shape) -> FieldShape {
    FieldShape {
        name: name.to_owned(),
        shape,
        optional: false,
        default: None,
        doc: None,
    }
}

fn record(name: &str, fields: Vec<FieldShape>) -> Shape {
    Shape::Record(RecordShape {
        name: name.to_owned(),
        doc: None,
        fields,
    })
}

fn symbols(words: &[&str]) -> Shape {
    Shape::Enum(EnumShape {
        name: "Carrier".to_owned(),
        symbols: words.iter().map(|word| (*word).to_owned()).collect(),
        default: None,
    })
}

fn or_null(shape: Shape) -> Shape {
    Shape::Union(vec![Shape::Null, shape])
}

fn list(shape: Shape) -> Shape {
    Shape::List(Box::new(shape))
}

fn check(old: &Shape, new: &Shape, expected: Expect) {
    let mut found = Found::default();
    shapes(old, new, &mut found);
    let lines: Vec<String> = found.all.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
    let mut none = Found::default();
    shapes(new, new, &mut none);
    assert_eq!(none.all, []);
}

#[test]
fn fields_come_go_and_change() {
    let old = record(
        "Flight",
        vec![
            field("carrier", symbols(&["UA", "AA"])),
            field("tailnum", Shape::String),
            field("dep_delay", Shape::Int32),
            field("time", Shape::Timestamp(Unit::Millis)),
            field(
                "price",
                Shape::Decimal {
                    precision: 8,
                    scale: 2,
                },
            ),
            field("origin", Shape::String),
        ],
    );
    let mut reason = field("delay_reason", or_null(Shape::String));
    reason.default = Some(Value::Null);
    let mut origin = field("origin", Shape::String);
    origin.optional = true;
    origin.default = Some(json!("EWR"));
    origin.doc = Some("IATA code\nof the airport".to_owned());
    let new = record(
        "Flight",
        vec![
            field("carrier", symbols(&["UA", "B6"])),
            reason,
            field("dep_delay", Shape::Int64),
            field("time", Shape::Timestamp(Unit::Micros)),
            field(
                "price",
                or_null(Shape::Decimal {
                    precision: 9,
                    scale: 2,
                }),
            ),
            origin,
        ],
    );
    check(
        &old,
        &new,
        expect![[r#"
        - carrier: symbol AA
        + carrier: symbol B6
        - tailnum: string
        ~ dep_delay: int32 -> int64
        ~ time: timestamp in ms -> timestamp in µs
        ~ price: decimal(8, 2) -> decimal(9, 2) or null
        ~ origin: required -> optional
        ~ origin: no default -> default "EWR"
        + origin: doc "IATA code of the airport"
        + delay_reason: string or null (default null)"#]],
    );
}

#[test]
fn what_lies_inside_is_told_by_its_path() {
    let leg = |to: Shape| {
        record(
            "Leg",
            vec![
                field("to", to),
                field("next", or_null(Shape::Named("Leg".to_owned()))),
            ],
        )
    };
    let of = |to: Shape| {
        record(
            "Flight",
            vec![
                field("legs", list(leg(to))),
                field("last", Shape::Named("Leg".to_owned())),
            ],
        )
    };
    check(
        &of(Shape::String),
        &of(or_null(symbols(&["EWR"]))),
        expect!["~ legs[].to: string -> enum Carrier (EWR) or null"],
    );
    let map = |shape: Shape| record("Flight", vec![field("gates", Shape::Map(Box::new(shape)))]);
    check(
        &map(list(Shape::Int32)),
        &map(list(Shape::Union(vec![Shape::Int32, Shape::String]))),
        expect!["~ gates{}[]: int32 -> int32 or string"],
    );
    check(
        &map(Shape::Any),
        &of(Shape::String),
        expect![[r#"
        - gates: map of anything
        + legs: list of record Leg
        + last: Leg"#]],
    );
}

#[test]
fn alternatives_are_paired_by_name() {
    let one = |shape: Shape| record("One", vec![field("a", shape)]);
    let two = |shape: Shape| record("Two", vec![field("b", shape)]);
    let old = Shape::Union(vec![Shape::Null, one(Shape::Int32), two(Shape::Int32)]);
    let new = Shape::Union(vec![two(Shape::Int64), Shape::Null, one(Shape::Int32)]);
    check(&old, &new, expect!["~ b: int32 -> int64"]);
    check(
        &one(Shape::Bool),
        &two(Shape::Bool),
        expect![[r#"
        ~ record One -> record Two
        - a: bool
        + b: bool"#]],
    );
    check(
        &old,
        &one(Shape::Bool),
        expect![[r#"
        ~ record One or record Two or null -> record One
        ~ a: int32 -> bool"#]],
    );
}

#[test]
fn long_and_strange_names_stay_on_their_line() {
    let name = format!("a\n\u{1b}[1m{}", "x".repeat(200));
    check(
        &record("R", vec![]),
        &record("R", vec![field(&name, Shape::Bool)]),
        expect![
            "+ a  [1mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: bool"
        ],
    );
}

fn check_keywords(old: &Value, new: &Value, expected: Expect) {
    let mut found = Found::default();
    keywords::compare(old, new, &mut found);
    let lines: Vec<String> = found.all.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
    let mut none = Found::default();
    keywords::compare(new, new, &mut none);
    assert_eq!(none.all, []);
}

#[test]
fn what_only_json_schema_says() {
    let old = json!({
        "type": "object",
        "title": "Flight",
        "additionalProperties": false,
        "properties": {
            "delay": { "type": "integer", "minimum": -60, "maximum": 1440 },
            "tailnum": { "$ref": "#/$defs/tail" },
            "legs": { "type": "array", "items": { "type": "string", "maxLength": 3 }, "maxItems": 9 },
        },
        "$defs": { "tail": { "type": "string", "pattern": "^N" } },
    });
    let new = json!({
        "type": "object",
        "title": "A flight",
        "properties": {
            "delay": { "type": "integer", "minimum": -90, "multipleOf": 1 },
            "tailnum": { "type": "string", "pattern": "^[A-Z]" },
            "legs": { "type": "array", "items": { "type": "string", "maxLength": 4 }, "maxItems": 9, "uniqueItems": true },
        },
        "if": { "required": ["delay"] },
    });
    check_keywords(
        &old,
        &new,
        expect![[r#"
        - additionalProperties false
        + if {"required":["delay"]}
        ~ delay: minimum -60 -> -90
        - delay: maximum 1440
        + delay: multipleOf 1
        ~ tailnum: pattern "^N" -> "^[A-Z]"
        + legs: uniqueItems true
        ~ legs[]: maxLength 3 -> 4"#]],
    );
}

#[test]
fn schemas_that_contain_themselves_end() {
    let tree = |most: u32| json!({ "properties": { "left": { "$ref": "#" }, "value": { "maximum": most } } });
    check_keywords(&tree(1), &tree(2), expect!["~ value: maximum 1 -> 2"]);
    let node = || {
        Shape::Record(RecordShape {
            name: "Node".to_owned(),
            doc: None,
            fields: vec![field("left", or_null(Shape::Named("Node".to_owned())))],
        })
    };
    check(&node(), &node(), expect![[r#""#]]);
}

fn check_texts(format: (Format, Format), old: &str, new: &str, expected: Expect) {
    let compiled = |format, text: &str| Schema::compile(format, text, &[]).expect("a schema");
    let (old, new) = (compiled(format.0, old), compiled(format.1, new));
    let lines: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
    assert_eq!(diff(&old, &old), []);
    assert_eq!(diff(&new, &new), []);
}

#[test]
fn json_schemas() {
    let old = r#"{"title":"Flight","type":"object","properties":{"delay":{"type":"integer","maximum":99},"carrier":{"enum":["UA","AA"]},"tail":{"type":"string"}},"required":["delay"]}"#;
    let new = r##"{"title":"Flight","type":"object","properties":{"delay":{"type":["integer","null"],"maximum":9},"carrier":{"enum":["UA"]},"gate":{"$ref":"#/$defs/g"}},"$defs":{"g":{"type":"string","pattern":"^[A-Z]"}}}"##;
    check_texts(
        (Format::Json, Format::Json),
        old,
        new,
        expect![[r#"
        ~ delay: int64 -> int64 or null
        ~ delay: required -> optional
        - carrier: symbol AA
        - tail: string, optional
        + gate: string, optional
        ~ delay: maximum 99 -> 9"#]],
    );
}

#[test]
fn avro_schemas() {
    let old = r#"{"type":"record","name":"Flight","fields":[{"name":"delay","type":"int"},{"name":"tail","type":"string","doc":"mark"},{"name":"legs","type":{"type":"array","items":{"type":"record","name":"Leg","fields":[{"name":"to","type":"string"}]}}}]}"#;
    let new = r#"{"type":"record","name":"Flight","fields":[{"name":"delay","type":"long"},{"name":"reason","type":["null","string"],"default":null},{"name":"legs","type":{"type":"array","items":{"type":"record","name":"Leg","fields":[{"name":"to","type":"string"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}}}]}"#;
    check_texts(
        (Format::Avro, Format::Avro),
        old,
        new,
        expect![[r#"
        ~ delay: int32 -> int64
        - tail: string
        + legs[].at: timestamp in µs
        + reason: string or null (default null)"#]],
    );
}

#[test]
fn protobuf_schemas() {
    let old = "syntax = \"proto3\"; message Flight { int32 delay = 1; string tail = 2; enum Kind { A = 0; B = 1; } Kind kind = 3; }";
    let new = "syntax = \"proto3\"; message Flight { int64 delay = 1; optional string reason = 4; enum Kind { A = 0; C = 2; } Kind kind = 3; map<string, int32> gates = 5; }";
    check_texts(
        (Format::Protobuf, Format::Protobuf),
        old,
        new,
        expect![[r#"
            ~ delay: int32 -> int64
            - tail: string
            - kind: symbol B
            + kind: symbol C
            + reason: string, optional
            + gates: map of int32"#]],
    );
}

#[test]
fn schemas_of_two_formats() {
    let old = r#"{"type":"record","name":"Flight","fields":[{"name":"delay","type":"int"},{"name":"tail","type":"string"}]}"#;
    let new = "syntax = \"proto3\"; message Flight { int32 delay = 1; optional string tail = 2; }";
    check_texts(
        (Format::Avro, Format::Protobuf),
        old,
        new,
        expect![[r#"
        ~ format avro -> format protobuf
        ~ tail: required -> optional"#]],
    );
}
