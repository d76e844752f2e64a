//! Against apache-avro where it has the same rules, against the specification where not.

#![expect(clippy::too_many_lines, reason = "a table reads best in one piece")]

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::AvroSchema;
use super::cursor::put_long;
use super::generated::Numbers;
use crate::{Format, Reference, Schema, Value};

fn compiled(schema: &Json) -> AvroSchema {
    AvroSchema::compile(&schema.to_string(), &[]).unwrap_or_else(|why| panic!("{schema}: {why}"))
}

fn peer(schema: &Json) -> apache_avro::Schema {
    apache_avro::Schema::parse(schema).unwrap_or_else(|why| panic!("{schema}: {why}"))
}

/// What apache-avro makes of a payload, and how many bytes it leaves.
fn peer_reads(
    schema: &apache_avro::Schema,
    payload: &[u8],
) -> Option<(apache_avro::types::Value, usize)> {
    // Room for more values without bytes than we take, so that this bound of its own never decides.
    apache_avro::util::max_allocation_bytes(256 << 20);
    let mut rest = payload;
    let reader = GenericDatumReader::builder(schema).build().ok()?;
    let value = reader.read_value(&mut rest).ok()?;
    Some((value, rest.len()))
}

fn compare(
    schema: &AvroSchema,
    peer: &apache_avro::Schema,
    payload: &[u8],
) -> Result<(), TestCaseError> {
    let own = schema.check(payload);
    let other = peer_reads(peer, payload);
    match (&own, &other) {
        (Ok(()), None) => {
            // Its bound for lists and maps is on memory, ours on the values without bytes.
            prop_assert!(
                payload.len() > 1000,
                "we take {payload:02x?}, the library does not"
            );
        }
        (Err(why), Some((_, 0))) => {
            let stricter = ["length", "depth", "items", "format", "truncated"];
            let long = why.expected == "a number of 64 bits";
            prop_assert!(
                long || stricter.contains(&why.keyword.as_str()),
                "we refuse {payload:02x?}: {why:?}"
            );
        }
        _ => {}
    }
    // What is decoded was checked the same.
    prop_assert_eq!(schema.decode(payload).is_ok(), own.is_ok());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn values_come_back_and_the_library_agrees(seed: u64) {
        let mut numbers = Numbers::new(seed);
        let json = numbers.record(3);
        let (schema, peer) = (compiled(&json), peer(&json));
        let table = &schema.inner.table;
        let value = numbers.value(table, table.root, 4);
        let payload = schema.encode(&value).unwrap_or_else(|why| panic!("{json}\n{value:?}\n{why:?}"));
        prop_assert_eq!(schema.check(&payload), Ok(()));
        prop_assert_eq!(&schema.decode(&payload).expect("checked"), &value);
        let (read, left) = peer_reads(&peer, &payload).expect("the library reads it");
        prop_assert_eq!(left, 0);
        let writer = GenericDatumWriter::builder(&peer).build().expect("resolves");
        let written = writer.write_value_to_vec(read).expect("the library writes it");
        // The library's maps have no order; JSON objects are compared without.
        let back = schema.decode(&written).expect("we read it");
        prop_assert_eq!(back.to_json(), value.to_json());
        // Over JSON nothing is lost either, but for what JSON cannot tell apart: see the next property.
        let over = schema.encode(&value.to_json().into()).unwrap_or_else(|why| panic!("{json}\n{}\n{why:?}", value.to_json()));
        prop_assert_eq!(&schema.decode(&over).expect("written by us").to_json(), &value.to_json());
        // A schema resolves to itself.
        prop_assert_eq!(&schema.resolve(&schema, &payload).expect("itself"), &payload);
        prop_assert!(schema.cannot_read(&schema).is_empty());
    }

    #[test]
    fn broken_payloads_get_the_same_verdict(seed: u64, cut in 0usize..200, flips in prop::collection::vec((0usize..400, 1u8..), 0..4)) {
        let mut numbers = Numbers::new(seed);
        let json = numbers.schema(3);
        let (schema, peer) = (compiled(&json), peer(&json));
        let table = &schema.inner.table;
        let mut payload = schema.encode(&numbers.value(table, table.root, 4)).expect("fits");
        compare(&schema, &peer, &payload)?;
        for (at, bits) in flips {
            if let Some(byte) = payload.get_mut(at) {
                *byte ^= bits;
            }
        }
        compare(&schema, &peer, &payload)?;
        payload.truncate(cut);
        compare(&schema, &peer, &payload)?;
        let noise: Vec<u8> = (0..numbers.below(40)).map(|_| numbers.next() as u8).collect();
        compare(&schema, &peer, &noise)?;
    }

    #[test]
    fn a_derived_schema_carries_every_value(seed: u64) {
        let mut numbers = Numbers::new(seed);
        let schema = compiled(&numbers.record(3));
        let table = &schema.inner.table;
        let value = numbers.value(table, table.root, 4);
        let text = AvroSchema::text_of(&schema.shape());
        let derived = AvroSchema::compile(&text, &[]).unwrap_or_else(|why| panic!("{text}: {why}"));
        let payload = derived.encode(&value).unwrap_or_else(|why| panic!("{text}\n{value:?}\n{why:?}"));
        let back = derived.decode(&payload).expect("written by us");
        let again = schema.encode(&back).unwrap_or_else(|why| panic!("{text}\n{back:?}\n{why:?}"));
        prop_assert_eq!(schema.decode(&again).expect("written by us"), value);
    }

    #[test]
    fn canonical_texts_are_the_same_schema(seed: u64) {
        let json = Numbers::new(seed).record(3);
        let schema = compiled(&json);
        for text in [schema.canonical(), schema.normalized()] {
            let same = AvroSchema::compile(&text, &[]).unwrap_or_else(|why| panic!("{text}: {why}"));
            prop_assert!(same.cannot_read(&schema).is_empty() && schema.cannot_read(&same).is_empty());
            prop_assert_eq!(same.normalized(), schema.normalized());
        }
        prop_assert_eq!(AvroSchema::compile(&schema.canonical(), &[]).expect("valid").canonical(), schema.canonical());
    }

    #[test]
    fn other_versions_are_read_or_refused(one: u64, other: u64) {
        let (first, second) = (Numbers::new(one).record(2), Numbers::new(other).record(2));
        let (writer, reader) = (compiled(&first), compiled(&second));
        let table = &writer.inner.table;
        let payload = writer.encode(&Numbers::new(one).value(table, table.root, 3)).expect("fits");
        let resolved = reader.resolve(&writer, &payload);
        if reader.cannot_read(&writer).is_empty() {
            // Bytes that are read as text must be text.
            let text = |why: &crate::Violation| matches!(why.keyword.as_str(), "utf8" | "format");
            prop_assert!(
                resolved.as_ref().map_or_else(text, |_| true), "{first}\n{second}\n{resolved:?}");
        }
        if let Ok(bytes) = resolved {
            prop_assert_eq!(reader.check(&bytes), Ok(()));
        }
    }
}

fn record(fields: &Json) -> Json {
    json!({ "type": "record", "name": "R", "fields": fields })
}

/// `reader` against `writer`: each kind with its path, on a line.
fn against(reader: &Json, writer: &Json) -> String {
    let found = compiled(reader).cannot_read(&compiled(writer));
    let lines: Vec<String> = found
        .iter()
        .map(|one| format!("{} {}", one.kind, one.path))
        .collect();
    lines.join("\n")
}

#[test]
fn each_rule_of_compatibility_holds_in_its_direction() {
    let of = |kind: Json| record(&json!([{ "name": "a", "type": kind }]));
    let with_default = |kind: Json, default: Json| {
        record(&json!([{ "name": "a", "type": kind, "default": default }]))
    };
    let symbols = |words: &[&str], default: Option<&str>| {
        let mut schema = json!({ "type": "enum", "name": "E", "symbols": words });
        if let Some(default) = default {
            schema["default"] = default.into();
        }
        schema
    };
    let fixed = |name: &str, size: u32| json!({ "type": "fixed", "name": name, "size": size });
    let empty = || record(&json!([]));
    let rows = [
        // A field more for the reader needs a default; one less is left out.
        (
            of(json!("int")),
            empty(),
            "READER_FIELD_MISSING_DEFAULT_VALUE /fields/0",
        ),
        (with_default(json!("int"), json!(1)), empty(), ""),
        (empty(), of(json!("int")), ""),
        (of(json!("long")), of(json!("int")), ""),
        (of(json!("float")), of(json!("int")), ""),
        (of(json!("float")), of(json!("long")), ""),
        (of(json!("double")), of(json!("float")), ""),
        (
            of(json!("int")),
            of(json!("long")),
            "TYPE_MISMATCH /fields/0/type",
        ),
        (
            of(json!("long")),
            of(json!("float")),
            "TYPE_MISMATCH /fields/0/type",
        ),
        (
            of(json!("float")),
            of(json!("double")),
            "TYPE_MISMATCH /fields/0/type",
        ),
        (of(json!("string")), of(json!("bytes")), ""),
        (of(json!("bytes")), of(json!("string")), ""),
        (
            of(json!("boolean")),
            of(json!("int")),
            "TYPE_MISMATCH /fields/0/type",
        ),
        (symbols(&["A", "B"], None), symbols(&["A"], None), ""),
        (
            symbols(&["A"], None),
            symbols(&["A", "B"], None),
            "MISSING_ENUM_SYMBOLS /symbols",
        ),
        (symbols(&["A"], Some("A")), symbols(&["A", "B"], None), ""),
        (fixed("F", 4), fixed("F", 4), ""),
        (fixed("F", 4), fixed("F", 5), "FIXED_SIZE_MISMATCH /size"),
        (fixed("G", 4), fixed("F", 4), "NAME_MISMATCH /name"),
        (json!(["null", "int"]), json!("int"), ""),
        (json!(["null", "long"]), json!(["null", "int"]), ""),
        (json!("int"), json!(["null", "int"]), "TYPE_MISMATCH /"),
        (
            json!(["int", "string"]),
            json!(["int", "boolean"]),
            "MISSING_UNION_BRANCH /1",
        ),
        (
            json!(["int", "string"]),
            json!("boolean"),
            "MISSING_UNION_BRANCH /",
        ),
        (
            json!({ "type": "array", "items": "long" }),
            json!({ "type": "array", "items": "int" }),
            "",
        ),
        (
            json!({ "type": "array", "items": "int" }),
            json!({ "type": "array", "items": "long" }),
            "TYPE_MISMATCH /items",
        ),
        (
            json!({ "type": "map", "values": "int" }),
            json!({ "type": "map", "values": "long" }),
            "TYPE_MISMATCH /values",
        ),
        (
            json!({ "type": "map", "values": "int" }),
            json!({ "type": "array", "items": "int" }),
            "TYPE_MISMATCH /",
        ),
    ];
    for (reader, writer, want) in rows {
        assert_eq!(against(&reader, &writer), want, "{reader} reads {writer}");
    }
    let renamed = json!({ "type": "record", "name": "New", "aliases": ["R"],
        "fields": [{ "name": "b", "aliases": ["a"], "type": "int" }] });
    assert_eq!(against(&renamed, &of(json!("int"))), "");
    assert!(against(&of(json!("int")), &renamed).contains("NAME_MISMATCH /name"));
    // All of them, not the first.
    let both = record(&json!([{ "name": "a", "type": "int" }, { "name": "b", "type": "int" }]));
    let neither = record(&json!([{ "name": "a", "type": "string" }]));
    assert_eq!(
        against(&both, &neither),
        "TYPE_MISMATCH /fields/0/type\nREADER_FIELD_MISSING_DEFAULT_VALUE /fields/1"
    );
    let list = |items: &str| {
        record(&json!([{ "name": "v", "type": items }, { "name": "next", "type": ["null", "R"] }]))
    };
    assert_eq!(against(&list("long"), &list("int")), "", "recursion ends");
}

#[test]
fn old_payloads_are_laid_out_for_new_readers() {
    let writer = json!({ "type": "record", "name": "R", "fields": [
        { "name": "gone", "type": "string" }, { "name": "a", "type": "int" }, { "name": "kind", "type":
            { "type": "enum", "name": "E", "symbols": ["X", "Y"] } }, { "name": "u", "type": ["null", "int", "string"] }] });
    let reader = json!({ "type": "record", "name": "R", "fields": [
        { "name": "kind", "type": { "type": "enum", "name": "E", "symbols": ["X"], "default": "X" } },
        { "name": "renamed", "aliases": ["a"], "type": "double" }, { "name": "u", "type": ["string", "long", "null"] },
        { "name": "raw", "type": "bytes", "default": "\u{ff}A" },
        { "name": "deep", "type": { "type": "record", "name": "D", "fields": [{ "name": "n", "type": "int", "default": 7 }] }, "default": {} },
        { "name": "maybe", "type": ["null", "int"], "default": null }] });
    let (writer, reader) = (compiled(&writer), compiled(&reader));
    let old = |u: Json| json!({ "gone": "x", "a": 5, "kind": "Y", "u": u });
    for (u, want) in [
        (json!({ "int": 3 }), json!({ "long": 3 })),
        (json!({ "string": "s" }), json!({ "string": "s" })),
        (Json::Null, Json::Null),
    ] {
        let payload = writer.encode(&old(u).into()).expect("fits");
        let resolved = reader.resolve(&writer, &payload).expect("resolves");
        let read = reader.decode(&resolved).expect("valid").to_json();
        assert_eq!(
            read,
            json!({ "kind": "X", "renamed": 5.0, "u": want, "raw": "/0E=", "deep": { "n": 7 }, "maybe": null })
        );
    }
    let strict = compiled(
        &json!({ "type": "record", "name": "R", "fields": [{ "name": "new", "type": "int" }] }),
    );
    let payload = writer.encode(&old(Json::Null).into()).expect("fits");
    let why = strict.resolve(&writer, &payload).expect_err("no default");
    assert_eq!(
        (why.path.as_str(), why.keyword.as_str()),
        ("/new", "required")
    );
}

#[test]
fn violations_say_where_what_is_wanted_and_what_is_there() {
    let schema = compiled(&json!({ "type": "record", "name": "R", "fields": [
        { "name": "legs", "type": { "type": "array", "items": { "type": "record", "name": "L", "fields": [
            { "name": "carrier", "type": "string" }, { "name": "kind", "type": { "type": "enum", "name": "E", "symbols": ["A", "B"] } }] } } }] }));
    let mut payload = vec![4, 2, b'a', 0, 2, b'b', 6, 0];
    let why = schema.check(&payload).expect_err("no third symbol");
    assert_eq!(
        (why.path.as_str(), why.keyword.as_str()),
        ("/legs/1/kind", "symbol")
    );
    assert_eq!(
        why.to_string(),
        "expected the number of a symbol below 2, found 3"
    );
    payload[6] = 0;
    assert_eq!(schema.check(&payload), Ok(()));
    payload[5] = 0xff;
    assert_eq!(
        schema.check(&payload).expect_err("no UTF-8").path,
        "/legs/1/carrier"
    );
    payload.truncate(5);
    assert_eq!(
        schema.check(&payload).expect_err("cut").keyword,
        "truncated"
    );
    let value = json!({ "legs": [{ "carrier": "UA", "kind": "C" }] });
    let why = schema.encode(&value.into()).expect_err("no such symbol");
    assert_eq!(
        (why.path.as_str(), why.expected.as_str()),
        ("/legs/0/kind", "one of `A`, `B`")
    );
    let why = schema
        .encode(&json!({ "legs": [], "x": 1 }).into())
        .expect_err("unknown");
    assert_eq!(why.found, "`x`");
}

#[test]
fn bombs_end_at_once() {
    let nulls = compiled(&json!({ "type": "array", "items": "null" }));
    let mut bomb = Vec::new();
    put_long(&mut bomb, i64::MAX);
    assert_eq!(nulls.check(&bomb).expect_err("too many").keyword, "items");
    let empty = compiled(
        &json!({ "type": "array", "items": { "type": "array", "items": { "type": "record", "name": "N", "fields": [] } } }),
    );
    assert!(empty.check(&bomb).is_err());
    let text = compiled(&json!("string"));
    assert_eq!(
        text.check(&bomb).expect_err("too long").keyword,
        "truncated"
    );
    put_long(&mut bomb, -1);
    assert!(text.check(&[1]).is_err(), "a length below zero");
    assert!(text.check(&[0xff; 11]).is_err(), "a number without end");
    // Nothing but itself.
    let endless = AvroSchema::compile(
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#,
        &[],
    );
    if let Ok(schema) = endless {
        assert!(schema.check(&[]).is_err());
    }
    let list = compiled(
        &json!({ "type": "record", "name": "L", "fields": [{ "name": "next", "type": ["null", "L"] }] }),
    );
    assert_eq!(
        list.check(&[2; 100_000]).expect_err("too deep").keyword,
        "depth"
    );
    let deep = format!(
        "{}\"int\"{}",
        r#"{"type":"array","items":"#.repeat(500),
        "}".repeat(500)
    );
    assert!(AvroSchema::compile(&deep, &[]).is_err());
}

#[test]
fn what_is_no_schema_is_refused_in_words() {
    for (text, word) in [
        ("{", "not JSON"),
        ("7", "schema"),
        (r#"{"type":"record","name":"R"}"#, "fields"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"Other"}]}"#,
            "Other",
        ),
        (r#"{"type":"record","name":"1R","fields":[]}"#, "1R"),
        (r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "A"),
    ] {
        let why = AvroSchema::compile(text, &[]).expect_err(text).to_string();
        assert!(why.contains(word), "{text}: {why}");
    }
}

#[test]
fn other_schemas_are_found_by_their_names() {
    let airport = Reference {
        name: "air.Airport".to_owned(),
        text: r#"{"type":"record","name":"Airport","namespace":"air","fields":[{"name":"code","type":"string"}]}"#.to_owned(),
    };
    let text = r#"{"type":"record","name":"Leg","namespace":"air","fields":[{"name":"from","type":"Airport"},{"name":"to","type":"air.Airport"}]}"#;
    let schema = AvroSchema::compile(text, &[airport]).expect("both are there");
    let leg = json!({ "from": { "code": "EWR" }, "to": { "code": "IAH" } });
    let payload = schema.encode(&leg.clone().into()).expect("fits");
    assert_eq!(schema.decode(&payload).expect("fits").to_json(), leg);
    assert_eq!(schema.name().as_deref(), Some("air.Leg"));
    assert_eq!(
        schema.canonical(),
        r#"{"type":"record","name":"Leg","namespace":"air","fields":[{"name":"from","type":"Airport"},{"name":"to","type":"Airport"}]}"#
    );
}

#[test]
fn prefixes_of_logical_types_are_told_in_json() {
    let schema = Schema::compile(Format::Avro, &record(&json!([
        { "name": "day", "type": { "type": "int", "logicalType": "date" } },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "price", "type": { "type": "fixed", "name": "P", "size": 6, "logicalType": "decimal", "precision": 8, "scale": 2 } },
        { "name": "id", "type": { "type": "fixed", "name": "U", "size": 16, "logicalType": "uuid" } }])).to_string(), &[]).expect("valid");
    let document = json!({ "day": "2026-11-23", "at": "2026-11-23T17:00:00.000001Z", "price": "-12.50",
        "id": "0190b6a2-5b4c-7a10-8e00-000000000001" });
    let payload = schema.encode(&document.clone().into()).expect("fits");
    assert_eq!(schema.decode(&payload).expect("fits").to_json(), document);
    let fine = json!({ "day": "2026-11-23", "at": "2026-11-23T17:00:00.0000001Z", "price": "1", "id": document["id"] });
    let why = schema
        .encode(&fine.into())
        .expect_err("finer than the schema");
    assert_eq!(why.path, "/at");
    let rounded = schema.encode(&Value::Object(vec![(
        "price".to_owned(),
        Value::String("1.005".to_owned()),
    )]));
    assert!(rounded.is_err());
}

#[test]
fn defaults_that_hold_themselves_end() {
    for text in [
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A","default":{}}]}"#,
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"],"default":{}}]}"#,
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":["A","null"],"default":{}},{"name":"b","type":["A","null"],"default":{}}]}"#,
        r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":"A","default":{}}]},"default":{}}]}"#,
    ] {
        if let Ok(schema) = AvroSchema::compile(text, &[]) {
            assert!(schema.encode(&json!({}).into()).is_err(), "{text}");
        }
    }
}

#[test]
fn faults_of_a_schema_are_told_with_their_place() {
    let field = |of: Json| json!({ "type": "record", "name": "R", "fields": [of] });
    for (schema, path, words) in [
        (
            field(json!({ "name": "a", "type": "nothing" })),
            "/fields/0/type",
            "`nothing`",
        ),
        (
            field(json!({ "name": "a-b", "type": "int" })),
            "/fields/0",
            "`a-b` is not a name",
        ),
        (
            field(json!({ "name": "a", "type": "int", "default": "x" })),
            "/fields/0/default",
            "default of `a`",
        ),
        (
            field(
                json!({ "name": "a", "type": { "type": "array", "items": "int" }, "default": [1, null] }),
            ),
            "/fields/0/default/1",
            "expected int, found null",
        ),
        (
            field(json!({ "name": "a", "type": ["int", ["null"]] })),
            "/fields/0/type/1",
            "directly in a union",
        ),
        (
            field(json!({ "name": "a", "type": ["int", "int"] })),
            "/fields/0/type/1",
            "two branches of one type",
        ),
        (
            json!({ "type": "enum", "name": "E", "symbols": ["A", "A"] }),
            "/symbols/1",
            "`A` is there twice",
        ),
        (
            json!({ "type": "enum", "name": "E", "symbols": ["A"], "default": "B" }),
            "/default",
            "`B`",
        ),
        (
            json!({ "type": "bytes", "logicalType": "decimal", "precision": 4_000_000_000_u32 }),
            "",
            "at most 10000 digits",
        ),
        (
            field(json!({ "name": "a", "type": { "type": "record", "name": "R", "fields": [] } })),
            "/fields/0/type",
            "described twice",
        ),
        (
            field(json!({ "name": "a", "type": "R", "default": {} })),
            "/fields/0/default",
            "at most 128 levels",
        ),
    ] {
        let why = AvroSchema::compile(&schema.to_string(), &[]).expect_err("not valid");
        let crate::SchemaError::Invalid { path: at, reason } = &why else {
            panic!("{why}");
        };
        assert!(
            at.starts_with(path) && (at == path || path.ends_with("default")),
            "{at}: {why}"
        );
        assert!(reason.contains(words), "{why}");
    }
}

#[test]
fn large_decimals_and_values_cost_little() {
    let schema =
        compiled(&json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 }));
    let mut payload = Vec::new();
    super::cursor::put_sized(&mut payload, &vec![0x55; 1 << 20]);
    let value = schema.decode(&payload).expect("any length is valid");
    assert!(
        matches!(value, Value::Bytes(_)),
        "its digits are never written"
    );
    assert_eq!(schema.encode(&value).expect("as it was"), payload);
    let text = value.to_json().into();
    assert_eq!(schema.encode(&text).expect("as it was"), payload);
    // Branches are tried, and what does not fit is told in few words each time.
    let union = compiled(
        &json!({ "type": "array", "items": ["int", "boolean", { "type": "array", "items": "int" }] }),
    );
    let many = Value::List(vec![Value::List(vec![Value::Int(1); 1000]); 1000]);
    assert!(union.encode(&many).is_ok());
    let nested = (0..60).fold(Value::String("x".repeat(1000)), |inner, _| {
        Value::List(vec![inner; 2].split_off(1))
    });
    assert!(union.encode(&nested).is_err());
}

#[test]
fn long_chains_are_read_as_they_were_written() {
    let list = json!({ "type": "record", "name": "L", "fields": [{ "name": "v", "type": "int" }, { "name": "next", "type": ["null", "L"] }] });
    let schema = compiled(&list);
    let of = |length: usize| {
        let link = |next, _| {
            Value::Object(vec![
                ("v".to_owned(), Value::Int(1)),
                ("next".to_owned(), next),
            ])
        };
        (0..length).fold(Value::Null, link)
    };
    let payload = schema.encode(&of(128)).expect("128 levels");
    assert_eq!(schema.decode(&payload), Ok(of(128)));
    assert_eq!(
        schema.encode(&of(129)).expect_err("too deep").keyword,
        "depth"
    );
    let mut deeper = vec![2, 2];
    deeper.extend_from_slice(&payload);
    assert_eq!(
        schema.check(&deeper).expect_err("too deep").keyword,
        "depth"
    );
}

#[test]
fn entangled_unions_are_compared_in_bounded_time() {
    // Each record holds a union of all of them: paths through them are without number.
    let names: Vec<String> = (0..40).map(|n| format!("R{n}")).collect();
    let of = |last: &str| {
        let mut branches: Vec<Json> = Vec::new();
        for name in &names {
            let first = json!({ "name": "v", "type": if name == "R39" { last } else { "int" } });
            branches.push(json!({ "type": "record", "name": name, "fields": [first, { "name": "all", "type": "int" }] }));
        }
        let holder = json!({ "name": "one", "type": branches });
        json!({ "type": "record", "name": "Holder", "fields": [holder] })
    };
    // The first record holds the union, the others are described in it and hold it as well.
    let knot = |last: &str| {
        let inner: Vec<Json> = names[1..].iter().map(|name| {
            let v = if name == "R39" { last } else { "int" };
            json!({ "type": "record", "name": name, "fields": [{ "name": "v", "type": v }, { "name": "all", "type": ["null", "R0"] }] })
        }).collect();
        let mut branches = vec![json!("null"), json!("R0")];
        branches.extend(inner);
        json!({ "type": "record", "name": "R0", "fields": [{ "name": "all", "type": branches }, { "name": "again", "type": names.iter().map(|name| json!(name)).collect::<Vec<_>>() }] })
    };
    for make in [&of as &dyn Fn(&str) -> Json, &knot] {
        assert_eq!(against(&make("int"), &make("int")), "");
        assert_eq!(against(&make("long"), &make("int")), "");
        assert!(against(&make("int"), &make("long")).contains("MISSING_UNION_BRANCH"));
    }
}

#[test]
fn an_enums_default_is_for_symbols_and_not_for_fields() {
    let symbols = json!({ "type": "enum", "name": "E", "symbols": ["A"], "default": "A" });
    let reader = record(&json!([{ "name": "e", "type": symbols }]));
    let writer = record(&json!([]));
    assert_eq!(
        against(&reader, &writer),
        "READER_FIELD_MISSING_DEFAULT_VALUE /fields/0"
    );
    assert!(compiled(&reader).resolve(&compiled(&writer), &[]).is_err());
}
