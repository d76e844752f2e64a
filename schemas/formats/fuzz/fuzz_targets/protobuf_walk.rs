//! Any bytes as payloads of fixed files: the walk and prost-reflect's decoder say the same, and what is read is written again.
//! Run with `cargo +nightly fuzz run protobuf_walk` in `schemas/formats`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use millstream_schema_formats::{Format, ProtobufSchema, Schema};
use prost_reflect::DynamicMessage;

const FILES: [&str; 3] = [
    r#"syntax = "proto3"; import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
    message M {
      int32 a = 1; string b = 2; bytes c = 3; double d = 4; fixed32 e = 5; bool f = 6; optional sint64 g = 7; M inner = 8;
      repeated int32 packed = 9; repeated fixed64 words = 10 [packed = false]; map<int32, M> by_number = 11; map<string, bytes> by_name = 12;
      oneof choice { string x = 13; M y = 14; Kind z = 15; } google.protobuf.Struct free = 16; google.protobuf.Timestamp at = 17;
      google.protobuf.Int64Value wrapped = 18; repeated Kind kinds = 536870911; enum Kind { NONE = 0; LATE = -1; }
    }"#,
    r#"syntax = "proto2"; message M {
      required int32 id = 1; optional group G = 2 { optional M m = 1; repeated float f = 2 [packed = true]; } optional string s = 3; repeated group H = 4 { required bool b = 1; }
      extensions 100 to 110;
    } extend M { optional M e = 100; repeated string w = 101; optional group X = 102 { optional int32 i = 1; } }"#,
    r#"syntax = "proto3"; message M { map<bool, M> m = 1; repeated M r = 2; }"#,
];

static SCHEMAS: LazyLock<Vec<ProtobufSchema>> = LazyLock::new(|| {
    let each = FILES.iter().map(|text| ProtobufSchema::compile(text, &[]));
    each.collect::<Result<_, _>>().expect("fixed files")
});

fuzz_target!(|bytes: &[u8]| {
    for own in SCHEMAS.iter() {
        let schema = Schema::Protobuf(own.clone());
        debug_assert_eq!(schema.format(), Format::Protobuf);
        let walk = schema.check(bytes);
        let library = DynamicMessage::decode(own.descriptor(), bytes);
        match (&walk, &library) {
            (Ok(()), Err(why)) => panic!("the walk takes it: {why}"),
            (Err(why), Ok(_)) => assert!(
                why.keyword == "required" || why.expected == "a map's entry (wire type 2)",
                "the walk refuses it: {why:?}"
            ),
            _ => {}
        }
        let value = schema.decode(bytes);
        assert_eq!(value.is_ok(), walk.is_ok());
        // An entry of a map may lack a value, and that value's required fields with it.
        if let Ok(value) = value
            && let Ok(again) = schema.encode(&value)
        {
            let back = schema.decode(&again).expect("written by us");
            assert_eq!(back.to_json(), value.to_json());
        }
    }
});
