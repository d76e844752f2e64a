//! How much less the walk takes than decoding to the library's values. Not a gate, because a busy machine decides with:
//! `cargo test --release -p millstream-schema-formats -- --ignored --nocapture avro::tests::speed`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value as Json, json};

use super::{compiled, peer};

/// A flight with `legs` parts of its way.
fn flight(legs: usize) -> (Json, Json) {
    let schema = json!({ "type": "record", "name": "Flight", "namespace": "air", "fields": [
        { "name": "id", "type": { "type": "string", "logicalType": "uuid" } },
        { "name": "carrier", "type": { "type": "enum", "name": "Carrier", "symbols": ["AA", "B6", "DL", "UA"] } },
        { "name": "number", "type": "int" },
        { "name": "tail", "type": ["null", "string"], "default": null },
        { "name": "scheduled", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "delay", "type": ["null", "double"], "default": null },
        { "name": "cancelled", "type": "boolean" },
        { "name": "remarks", "type": { "type": "map", "values": "string" } },
        { "name": "legs", "type": { "type": "array", "items": { "type": "record", "name": "Leg", "fields": [
            { "name": "from", "type": "string" },
            { "name": "to", "type": "string" },
            { "name": "airborne", "type": ["null", { "type": "long", "logicalType": "timestamp-millis" }] },
            { "name": "distance", "type": "float" },
            { "name": "gate", "type": ["null", "string"] }] } } }] });
    let leg = json!({ "from": "EWR", "to": "IAH", "airborne": 1_357_034_400_000_i64, "distance": 1400.0, "gate": "C71" });
    let value = json!({ "id": "0190b6a2-5b4c-7a10-8e00-000000000001", "carrier": "UA", "number": 1545, "tail": "N14228",
        "scheduled": 1_357_034_400_000_i64, "delay": 2.5, "cancelled": false,
        "remarks": { "weather": "light rain, wind from the north-west", "crew": "ready" }, "legs": vec![leg; legs] });
    (schema, value)
}

/// The least of many runs: what the machine does beside only adds.
fn least(mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..200 {
            run();
        }
        best = best.min(start.elapsed() / 200);
    }
    best
}

#[test]
#[ignore = "prints figures"]
fn the_walk_beside_the_librarys_decoder() {
    for legs in [3, 35] {
        let (schema, value) = flight(legs);
        let (own, peer) = (compiled(&schema), peer(&schema));
        let payload = own.encode(&value.into()).expect("fits");
        let reader = GenericDatumReader::builder(&peer)
            .build()
            .expect("resolves");
        let decoded = least(|| {
            drop(black_box(
                reader.read_value(&mut black_box(payload.as_slice())),
            ));
        });
        let walked = least(|| assert!(own.check(black_box(&payload)).is_ok()));
        let read = least(|| drop(black_box(own.decode(black_box(&payload)))));
        println!(
            "{} bytes: check {walked:?}, decode {read:?}, apache-avro {decoded:?}: {:.1} times",
            payload.len(),
            decoded.as_secs_f64() / walked.as_secs_f64()
        );
    }
}
