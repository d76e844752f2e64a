//! Any bytes as payloads of fixed schemas: the walk and apache-avro's reader say the same, but for what the walk is stricter in.
//! Run with `cargo +nightly fuzz run avro_walk` in `schemas/formats`.
#![no_main]

use std::sync::LazyLock;

use apache_avro::reader::datum::GenericDatumReader;
use libfuzzer_sys::fuzz_target;
use millstream_schema_formats::{Format, Schema};

const SCHEMAS: [&str; 3] = [
    r#"{"type":"record","name":"R","fields":[
      {"name":"a","type":"int"},{"name":"b","type":["null","string","R"]},{"name":"c","type":{"type":"array","items":"long"}},
      {"name":"d","type":{"type":"map","values":["null","double"]}},{"name":"e","type":{"type":"enum","name":"E","symbols":["X","Y"]}},
      {"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"g","type":"bytes"},{"name":"h","type":"boolean"},{"name":"i","type":"float"}]}"#,
    r#"{"type":"array","items":{"type":"record","name":"P","fields":[{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
      {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},{"name":"id","type":{"type":"string","logicalType":"uuid"}},
      {"name":"day","type":{"type":"int","logicalType":"date"}},{"name":"more","type":["null","P"]}]}}"#,
    r#"{"type":"map","values":{"type":"array","items":["null","int",{"type":"map","values":"string"}]}}"#,
];

static COMPILED: LazyLock<Vec<(Schema, apache_avro::Schema)>> = LazyLock::new(|| {
    // Room for more values without bytes than the walk takes, so that this bound never decides.
    apache_avro::util::max_allocation_bytes(256 << 20);
    let compiled = |text: &&str| {
        let own = Schema::compile(Format::Avro, text, &[]).expect("fixed");
        (own, apache_avro::Schema::parse_str(text).expect("fixed"))
    };
    SCHEMAS.iter().map(compiled).collect()
});

fuzz_target!(|bytes: &[u8]| {
    for (schema, peer) in COMPILED.iter() {
        let walk = schema.check(bytes);
        let mut rest = bytes;
        let reader = GenericDatumReader::builder(peer).build().expect("fixed");
        let whole = reader.read_value(&mut rest).is_ok() && rest.is_empty();
        match &walk {
            Ok(()) => assert!(whole || bytes.len() > 1000, "the walk takes it, the library does not"),
            Err(why) if whole => {
                let stricter = ["length", "depth", "items", "format", "truncated"];
                let long = why.expected == "a number of 64 bits";
                assert!(long || stricter.contains(&why.keyword.as_str()), "the walk refuses it: {why:?}");
            }
            Err(_) => {}
        }
        let value = schema.decode(bytes);
        assert_eq!(value.is_ok(), walk.is_ok());
        if let Ok(value) = value {
            let again = schema.encode(&value).expect("what was read can be written");
            let back = schema.decode(&again).expect("written by us");
            assert_eq!(back.to_json(), value.to_json());
        }
    }
});
