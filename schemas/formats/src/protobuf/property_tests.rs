//! Generated files and values: what is written is read, by us and by the library, and both judge any bytes alike.

use proptest::prelude::*;
use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message as _;
use serde_json::json;

use super::ProtobufSchema;
use super::generated::{Choices, Generated, Range, choices, file, value_of};
use crate::Value;

fn compiled(file: &Generated) -> ProtobufSchema {
    ProtobufSchema::compile(&file.text, &file.references)
        .unwrap_or_else(|why| panic!("{}\n{why}", file.text))
}

/// A file and the schema that it is, with any of its messages as what payloads are.
fn schema(choices: &mut Choices) -> (Generated, ProtobufSchema) {
    let file = file(choices);
    let schema = compiled(&file);
    let names = schema.messages();
    let schema = schema
        .select(&names[choices.below(names.len())])
        .expect("its own");
    (file, schema)
}

fn shown(value: &Value) -> String {
    // NaN equals itself here, and zeros keep their signs.
    format!("{value:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(mut choices in choices(400)) {
        let (file, schema) = schema(&mut choices);
        let value = value_of(&schema, &mut choices, Range::Full);
        let payload = schema.encode(&value).unwrap_or_else(|why| panic!("{}\n{value:?}\n{why:?}", file.text));
        prop_assert_eq!(schema.check(&payload), Ok(()), "{}\n{:?}", file.text, value);
        let back = schema.decode(&payload).expect("checked");
        prop_assert_eq!(shown(&back), shown(&value), "{}", file.text);
        let library = DynamicMessage::decode(schema.descriptor(), payload.as_slice()).expect("the library reads it");
        let again = schema.decode(&library.encode_to_vec()).expect("we read what the library writes");
        // It takes the negative zero for the default.
        let zeros = |value: &Value| shown(value).replace("(-0.0)", "(0.0)");
        prop_assert_eq!(zeros(&again), zeros(&value), "{}", file.text);
        let over = schema.encode(&value.to_json().into()).unwrap_or_else(|why| panic!("{}\n{}\n{why:?}", file.text, value.to_json()));
        prop_assert_eq!(shown(&schema.decode(&over).expect("written by us")), shown(&value), "over JSON: {}", file.text);
    }

    #[test]
    fn files_come_back_from_their_text(mut choices in choices(300)) {
        let file = file(&mut choices);
        let first = compiled(&file);
        for text in [first.canonical(), first.normalized()] {
            let again = ProtobufSchema::compile(&text, &file.references).unwrap_or_else(|why| panic!("{}\n{text}\n{why}", file.text));
            prop_assert_eq!(again.normalized(), first.normalized());
            prop_assert_eq!(again.messages(), first.messages());
            prop_assert_eq!(described(&again), described(&first), "{}\n{}", file.text, text);
        }
        let again = ProtobufSchema::compile(&first.canonical(), &file.references).expect("above");
        prop_assert_eq!(again.canonical(), first.canonical());
        let same = ProtobufSchema::compile(&first.descriptor_base64(), &file.references).expect("compiled once");
        prop_assert_eq!(same.canonical(), first.canonical(), "from the compiled file");
        prop_assert!(first.cannot_read(&again).is_empty() && again.cannot_read(&first).is_empty());
    }
}

/// The compiled file in one order: what stands in the text, whatever comes first.
fn described(schema: &ProtobufSchema) -> String {
    use prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto};
    fn symbols(own: &mut EnumDescriptorProto) {
        own.value
            .sort_by_key(|value| (value.number(), value.name().to_owned()));
    }
    fn message(own: &mut DescriptorProto) {
        // The order of oneofs follows that of their fields.
        let names: Vec<String> = own
            .oneof_decl
            .iter()
            .map(|oneof| oneof.name().to_owned())
            .collect();
        own.oneof_decl
            .sort_by(|one, other| one.name().cmp(other.name()));
        for field in &mut own.field {
            field.oneof_index = field.oneof_index.map(|index| {
                let name = &names[usize::try_from(index).expect("a place")];
                let place = own.oneof_decl.iter().position(|oneof| oneof.name() == name);
                i32::try_from(place.expect("its own")).expect("few")
            });
        }
        own.field.sort_by_key(|field| field.number());
        own.extension.sort_by_key(|field| field.number());
        own.nested_type
            .sort_by(|one, other| one.name().cmp(other.name()));
        own.enum_type
            .sort_by(|one, other| one.name().cmp(other.name()));
        own.nested_type.iter_mut().for_each(message);
        own.enum_type.iter_mut().for_each(symbols);
    }
    let mut file = schema
        .descriptor()
        .parent_file()
        .file_descriptor_proto()
        .clone();
    file.source_code_info = None;
    file.dependency.sort();
    file.extension.sort_by_key(|field| field.number());
    file.message_type.iter_mut().for_each(message);
    file.enum_type.iter_mut().for_each(symbols);
    format!("{file:#?}")
}

/// Both verdicts on a payload.
fn compare(file: &Generated, schema: &ProtobufSchema, payload: &[u8]) -> Result<(), TestCaseError> {
    let own = schema.check(payload);
    let library = DynamicMessage::decode(schema.descriptor(), payload);
    match (&own, &library) {
        (Ok(()), Err(why)) => prop_assert!(false, "we take {payload:02x?}: {why}\n{}", file.text),
        (Err(why), Ok(_)) => {
            // The library asks for nothing that is required, and reads a map's entry whatever wire type it comes with.
            let stricter = why.keyword == "required"
                || (why.keyword == "type" && why.expected == "a map's entry (wire type 2)");
            prop_assert!(stricter, "we refuse {payload:02x?}: {why:?}\n{}", file.text);
        }
        _ => {}
    }
    prop_assert_eq!(
        schema.decode(payload).is_ok(),
        own.is_ok(),
        "{:02x?}\n{}",
        payload,
        file.text
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_get_the_same_verdict(
        mut choices in choices(300), cut in 0usize..200, flips in prop::collection::vec((0usize..200, 1u8..), 0..4), noise: Vec<u8>,
    ) {
        let (file, schema) = schema(&mut choices);
        let value = value_of(&schema, &mut choices, Range::Full);
        let mut payload = schema.encode(&value).expect("a value of its own");
        compare(&file, &schema, &payload[..cut.min(payload.len())])?;
        let mut mixed = payload.clone();
        mixed.splice(cut.min(payload.len()).., noise.iter().copied());
        compare(&file, &schema, &mixed)?;
        for (at, bits) in flips {
            if let Some(byte) = payload.get_mut(at) {
                *byte ^= bits;
            }
            compare(&file, &schema, &payload)?;
        }
        compare(&file, &schema, &noise)?;
        // Numbers and wire types that the schema may know, with anything behind them.
        let tags: Vec<u8> = noise.iter().flat_map(|byte| [byte & 0x3f, byte >> 5]).collect();
        compare(&file, &schema, &tags)?;
    }
}

#[test]
fn fields_that_share_a_name_are_told_apart() {
    let text = r#"syntax = "proto3"; message M {
        optional int32 f_1 = 1 [json_name = "x"]; optional int32 f_2 = 2 [json_name = "f_1"]; optional int32 f_3 = 3; optional int32 f_4 = 4 [json_name = "f_3"];
    }"#;
    let schema = ProtobufSchema::compile(text, &[]).expect("no two names in JSON are the same");
    let of = |members: serde_json::Value| schema.encode(&members.into());
    let bytes = of(json!({ "x": 1, "f_1": 2, "f3": 3, "f_3": 4 })).expect("each its own");
    assert_eq!(bytes, [8, 1, 16, 2, 24, 3, 32, 4]);
    let back = schema.decode(&bytes).expect("ours").to_json();
    assert_eq!(back, json!({ "x": 1, "f_1": 2, "f3": 3, "f_3": 4 }));
    assert_eq!(
        of(json!({ "f_1": 2 })).expect("one"),
        [16, 2],
        "and no other"
    );
    let twice = of(json!({ "f_2": 2, "f_1": 2 })).expect_err("one field by two names");
    assert_eq!(
        (twice.path.as_str(), twice.keyword.as_str()),
        ("/f_1", "duplicate")
    );
}

/// A message in a message, `times` over: the field `tag` of each holds the next.
fn nested(tag: &[u8], times: usize, innermost: &[u8]) -> Vec<u8> {
    (0..times).fold(innermost.to_vec(), |inner, _| {
        let mut out = tag.to_vec();
        prost_reflect::prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend(inner);
        out
    })
}

#[test]
fn levels_are_counted_as_the_library_counts_them() {
    let text = r#"syntax = "proto2"; message M { optional M inner = 1; map<int32, M> more = 2; optional group G = 3 { optional M m = 1; } optional string s = 4; }"#;
    let file = Generated {
        text: text.to_owned(),
        references: Vec::new(),
    };
    let schema = compiled(&file);
    for depth in 95..104 {
        let entries = (0..depth).fold(Vec::new(), |inner, _| {
            nested(&[0x12], 1, &nested(&[0x12], 1, &inner))
        });
        let unknown: [&[u8]; 4] = [
            &[0x28, 0],
            &[0x2a, 0],
            &[0x2b, 0x2c],
            &[0x2b, 0x30, 0, 0x2c],
        ];
        let mut payloads = vec![nested(&[0x0a], depth, b""), entries];
        payloads.push([vec![0x1b; depth], vec![0x1c; depth]].concat());
        payloads.push([vec![0x2b; depth], vec![0x28, 0], vec![0x2c; depth]].concat());
        payloads.extend(
            unknown
                .iter()
                .map(|unknown| nested(&[0x0a], depth, unknown)),
        );
        payloads.extend(
            unknown
                .iter()
                .map(|unknown| nested(&[0x0a], depth, &nested(&[0x12], 1, unknown))),
        );
        for payload in payloads {
            compare(&file, &schema, &payload).unwrap_or_else(|why| panic!("at {depth}: {why}"));
        }
    }
    let value = (0..99).fold(Value::Object(Vec::new()), |inner, _| {
        Value::Object(vec![(
            "more".to_owned(),
            Value::Object(vec![("0".to_owned(), inner)]),
        )])
    });
    let payload = schema.encode(&value).expect("not too deep");
    assert_eq!(
        schema.check(&payload),
        Ok(()),
        "what is written can be read"
    );
}

#[test]
fn each_of_many_required_fields_must_be_there() {
    let fields: Vec<String> = (1..=200)
        .map(|number| format!("required bool b{number} = {number};"))
        .collect();
    let schema = ProtobufSchema::compile(
        &format!("syntax = \"proto2\"; message M {{ {} }}", fields.concat()),
        &[],
    )
    .expect("compiles");
    let payload = |without: u32| -> Vec<u8> {
        let mut out = Vec::new();
        for number in (1..=200).filter(|number| *number != without) {
            prost_reflect::prost::encoding::bool::encode(number, &true, &mut out);
        }
        out
    };
    assert_eq!(schema.check(&payload(0)), Ok(()));
    for without in [1, 127, 128, 129, 199, 200] {
        let why = schema.check(&payload(without)).expect_err("one is missing");
        assert_eq!(
            (why.path, why.keyword),
            (format!("/b{without}"), "required".to_owned())
        );
    }
}

#[test]
fn extensions_are_checked_as_fields_are() {
    let text = r#"syntax = "proto2"; message M { extensions 100 to 200; } extend M { optional string word = 100; repeated int32 many = 101; optional group G = 102 { required bool yes = 1; } }"#;
    let file = Generated {
        text: text.to_owned(),
        references: Vec::new(),
    };
    let schema = compiled(&file);
    for (payload, keyword) in [
        (&b"\xa2\x06\x01a"[..], ""),
        (b"\xa2\x06\x01\xff", "utf8"),
        (b"\xa0\x06\x01", "type"),
        (b"\xaa\x06\x02\x01\x02", ""),
        (b"\xaa\x06\x01\x80", "truncated"),
        (b"\xb3\x06\xb4\x06", "required"),
    ] {
        compare(&file, &schema, payload).expect("as the library");
        let found = schema.check(payload).err().map(|why| why.keyword);
        assert_eq!(found.unwrap_or_default(), keyword, "{payload:02x?}");
    }
}
