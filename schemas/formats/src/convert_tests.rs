//! Values carried from one format to another and back: nothing is lost.

use proptest::prelude::*;

use crate::avro::generated::Numbers;
use crate::protobuf::generated::{Range, choices, file, value_of};
use crate::{AvroSchema, Format, ProtobufSchema, Schema, Value};

fn derived(format: Format, schema: &Schema) -> Schema {
    let text = Schema::text_of(format, &schema.shape());
    Schema::compile(format, &text, &[]).unwrap_or_else(|why| panic!("{text}\n{why}"))
}

/// `value`, which `schema` describes, over a payload of `other` and back.
fn carried(schema: &Schema, other: &Schema, value: &Value) -> Value {
    let payload = schema.encode(value).expect("the value is the schema's");
    let there = other
        .carry(schema, &payload)
        .unwrap_or_else(|why| panic!("{value:?}\n{:?}\n{} {why}", other.shape(), why.path));
    assert_eq!(other.check(&there), Ok(()));
    let back = schema
        .carry(other, &there)
        .unwrap_or_else(|why| panic!("{value:?}\n{:?}\n{} {why}", other.decode(&there), why.path));
    schema.decode(&back).expect("written by us")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn values_survive_other_formats(seed: u64) {
        let mut numbers = Numbers::new(seed);
        let text = numbers.record(3).to_string();
        let avro = AvroSchema::compile(&text, &[]).expect("generated");
        let value = numbers.any_of(&avro);
        let schema = Schema::Avro(avro);
        for format in Format::ALL {
            let other = derived(format, &schema);
            // NaN is not equal to itself, and texts of numbers are compared.
            let back = carried(&schema, &other, &value);
            prop_assert_eq!(back.to_json(), value.to_json(), "over {} by {}", format, text);
            // Also through two others.
            for last in Format::ALL {
                let third = derived(last, &other);
                let payload = other.carry(&schema, &schema.encode(&value).expect("fits")).expect("above");
                let there = third.carry(&other, &payload).unwrap_or_else(|why| panic!("{format} to {last}: {} {why}\n{text}", why.path));
                let again = other.carry(&third, &there).unwrap_or_else(|why| panic!("{last} to {format}: {} {why}\n{text}", why.path));
                prop_assert_eq!(
                    other.decode(&again).expect("ours").to_json(),
                    other.decode(&payload).expect("ours").to_json(),
                    "{} over {} of {}\n{:?}", format, last, text, third.shape()
                );
            }
        }
    }

    #[test]
    fn protobuf_values_survive_other_formats(mut choices in choices(400)) {
        let file = file(&mut choices);
        let all = ProtobufSchema::compile(&file.text, &file.references).expect("generated");
        let names = all.messages();
        let own = all.select(&names[choices.below(names.len())]).expect("its own");
        let value = value_of(&own, &mut choices, Range::Carried);
        let schema = Schema::Protobuf(own);
        // A derived Protobuf schema numbers fields in its own way, and two of that format are read by numbers.
        for format in [Format::Json, Format::Avro] {
            let other = derived(format, &schema);
            let back = carried(&schema, &other, &value);
            prop_assert_eq!(back.to_json(), value.to_json(), "over {} by {}", format, file.text);
            let payload = other.carry(&schema, &schema.encode(&value).expect("fits")).expect("above");
            for last in Format::ALL {
                let third = derived(last, &other);
                let again = carried(&other, &third, &other.decode(&payload).expect("ours"));
                prop_assert_eq!(again.to_json(), other.decode(&payload).expect("ours").to_json(), "{} over {} of {}", format, last, file.text);
            }
        }
    }
}
