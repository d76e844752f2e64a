//! The columns of schemas in all three formats, in full.

use expect_test::expect;

use crate::{Format, Schema};

fn columns(format: Format, text: &str) -> String {
    let schema = Schema::compile(format, text, &[]).expect("a schema");
    let columns = schema.columns().expect("columns");
    let shown = columns.iter().map(|column| {
        let null = if column.nullable { "?" } else { "" };
        format!("{}: {}{null}", column.name, column.kind)
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn json_schema() {
    expect![[r#"
        id: int64
        items: list<struct<sku: string, price: float64>>?
        ship: struct<city: string, at: timestamp>?
        attrs: map<string>?
        day: date?
        open: map<json>?
        self: struct<next: json>?
        two: json?"#]]
    .assert_eq(&columns(
        Format::Json,
        r##"{"type":"object","required":["id"],"properties":{
            "id":{"type":"integer"},
            "items":{"type":["array","null"],"items":{"type":"object","required":["sku"],
                "properties":{"sku":{"type":"string"},"price":{"type":"number"}}}},
            "ship":{"type":"object","required":["city"],
                "properties":{"city":{"type":"string"},"at":{"type":"string","format":"date-time"}}},
            "attrs":{"type":"object","additionalProperties":{"type":"string"}},
            "day":{"type":"string","format":"date"},
            "open":{"type":"object"},
            "self":{"$ref":"#/$defs/node"},
            "two":{"type":["string","array"],"items":{"type":"string"}}},
            "$defs":{"node":{"type":"object","properties":{"next":{"$ref":"#/$defs/node"}}}}}"##,
    ));
}

#[test]
fn avro() {
    expect![[r#"
        id: int64
        price: decimal(12, 2)
        huge: string
        day: date?
        lines: list<struct<sku: string, qty: int64>>
        attrs: map<float64>
        either: json"#]]
    .assert_eq(&columns(
        Format::Avro,
        r#"{"type":"record","name":"Order","fields":[
            {"name":"id","type":"long"},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
            {"name":"huge","type":{"type":"bytes","logicalType":"decimal","precision":60,"scale":2}},
            {"name":"day","type":["null",{"type":"int","logicalType":"date"}]},
            {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
                {"name":"sku","type":"string"},{"name":"qty","type":["null","int"]}]}}},
            {"name":"attrs","type":{"type":"map","values":"double"}},
            {"name":"either","type":["string","long"]}]}"#,
    ));
}

#[test]
fn protobuf() {
    expect![[r#"
        id: int64
        lines: list<struct<sku: string, qty: int64>>
        ship: struct<city: string>?
        attrs: map<string>
        at: timestamp?
        big: json"#]]
    .assert_eq(&columns(
        Format::Protobuf,
        r#"syntax = "proto3";
        import "google/protobuf/timestamp.proto";
        message Order {
            int64 id = 1; repeated Line lines = 2; Place ship = 3; map<string, string> attrs = 4;
            google.protobuf.Timestamp at = 5; uint64 big = 6;
        }
        message Line { string sku = 1; int32 qty = 2; }
        message Place { string city = 1; }"#,
    ));
}
