//! Schemas inside the broker, for clients that know nothing of them: payloads of all formats are checked, framed ones are
//! unwrapped, versions are carried over, consumers get what they ask for.

use std::fs;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::pull, stream::RawMessageErrorKind};
use bytes::Bytes;
use futures_util::StreamExt as _;
use millstream_schema_formats::{Format, Schema};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, text};

pub const AVRO: &str = r#"{"type":"record","name":"Flight","namespace":"air","fields":[
    {"name":"carrier","type":"string"},{"name":"number","type":"int"},{"name":"delay","type":["null","int"],"default":null}]}"#;
pub const AVRO_2: &str = r#"{"type":"record","name":"Flight","namespace":"air","fields":[
    {"name":"carrier","type":"string"},{"name":"number","type":"long"},{"name":"delay","type":["null","int"],"default":null},
    {"name":"gate","type":"string","default":"?"}]}"#;
pub const PROTOBUF: &str = "syntax = \"proto3\";\npackage air;\nmessage Flight { string carrier = 1; int64 number = 2; optional int32 delay = 3; }\n\
    message Gate { string name = 1; }\n";
pub const JSON: &str = r#"{"title":"air.Flight","type":"object","properties":{"carrier":{"type":"string"},"number":{"type":"integer"},
    "delay":{"type":["integer","null"]}},"required":["carrier","number"],"additionalProperties":false}"#;

pub fn compiled(format: Format, text: &str) -> Schema {
    Schema::compile(format, text, &[]).expect("a schema")
}

pub fn encoded(schema: &Schema, document: &Value) -> Bytes {
    schema
        .encode(&document.clone().into())
        .expect("fits")
        .into()
}

pub fn flight() -> Value {
    json!({ "carrier": "UA", "number": 1117, "delay": 4 })
}

/// Writes the schema files and applies a station file that names them.
pub fn apply(server: &Server, yaml: &str) {
    for (name, text) in [
        ("a1.avsc", AVRO),
        ("a2.avsc", AVRO_2),
        ("p.proto", PROTOBUF),
        ("j.json", JSON),
    ] {
        fs::write(server.folder.join(name), text).expect("schema file");
    }
    let output = server.apply("schemas.yaml", yaml);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

pub fn schema(name: &str, format: &str, file: &str) -> String {
    format!("kind: schema\nname: {name}\nformat: {format}\nfile: {file}\n---\n")
}

pub fn station(name: &str, more: &str) -> String {
    format!("kind: station\nname: {name}\nsubjects: [\"{name}.>\"]\n{more}---\n")
}

pub async fn publish(
    server: &Server,
    subject: &str,
    headers: &[(&str, &str)],
    payload: &[u8],
) -> Value {
    let client = server.client().await;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let payload = Bytes::copy_from_slice(payload);
    let answer = client.request_with_headers(subject.to_owned(), map, payload);
    serde_json::from_slice(&answer.await.expect("answered").payload).expect("JSON")
}

/// Headers and payload of a stored message.
pub async fn stored(server: &Server, stream: &str, seq: u64) -> (HeaderMap, Bytes) {
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream(stream).await.expect("stream");
    let message = stream.get_raw_message(seq).await.expect("stored");
    (message.headers, message.payload)
}

pub fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name);
    value
        .map(|value| value.as_str().to_owned())
        .unwrap_or_default()
}

/// The next message of a new consumer with this metadata.
pub async fn read(server: &Server, stream: &str, metadata: &[(&str, &str)]) -> (HeaderMap, Bytes) {
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream(stream).await.expect("stream");
    let metadata = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = pull::Config {
        metadata: metadata.collect(),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.expect("consumer");
    let mut batch = consumer
        .fetch()
        .max_messages(1)
        .messages()
        .await
        .expect("batch");
    let message = batch.next().await.expect("a message").expect("delivered");
    (
        message.headers.clone().unwrap_or_default(),
        message.payload.clone(),
    )
}

#[tokio::test]
async fn payloads_of_every_format_are_checked_for_clients_that_know_nothing_of_schemas() {
    let folder = folder();
    let server = Server::start(folder.path());
    let checked = |name: &str| {
        station(
            name,
            &format!("schema: {{ subject: {name}, on_violation: reject }}\n"),
        )
    };
    let yaml = [
        schema("avro", "avro", "a1.avsc") + &checked("avro"),
        schema("proto", "protobuf", "p.proto") + &checked("proto"),
        schema("json", "json", "j.json") + &checked("json"),
    ];
    apply(&server, &yaml.concat());
    for (name, format, source, broken, place) in [
        ("avro", Format::Avro, AVRO, &b"\x04UA\xff"[..], "/number"),
        (
            "proto",
            Format::Protobuf,
            PROTOBUF,
            &b"\x0a\x02\xff\xfe"[..],
            "/carrier",
        ),
        (
            "json",
            Format::Json,
            JSON,
            &br#"{"carrier":"UA","number":"x"}"#[..],
            "/number",
        ),
    ] {
        let payload = encoded(&compiled(format, source), &flight());
        let ack = publish(&server, &format!("{name}.1"), &[], &payload).await;
        assert_eq!(ack["seq"], 1, "{name}: {ack}");
        let (headers, bytes) = stored(&server, name, 1).await;
        assert_eq!(bytes, payload, "{name}: stored as it came");
        assert_eq!(header(&headers, "Ms-Schema"), format!("{name}:1"));
        let refused = publish(&server, &format!("{name}.1"), &[], broken).await;
        let why = refused["error"]["description"].as_str().expect("refused");
        assert!(why.contains(place), "{name}: {why}");
        let (headers, json) = read(&server, name, &[("ms.decode", "json")]).await;
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(json, flight(), "{name}");
        let as_json = header(&headers, "Ms-Schema-Format");
        assert_eq!(as_json, if name == "json" { "" } else { "json" }, "{name}");
    }
}

#[tokio::test]
async fn a_message_may_say_which_version_it_is_and_is_stored_as_the_one_wanted() {
    let folder = folder();
    let server = Server::start(folder.path());
    let used = |version: &str| {
        format!("schema: {{ subject: flight, version: {version}, on_violation: reject }}\n")
    };
    apply(
        &server,
        &(schema("flight", "avro", "a1.avsc")
            + &station("latest", &used("latest"))
            + &station("any", &used("compatible"))),
    );
    let (first, second) = (compiled(Format::Avro, AVRO), compiled(Format::Avro, AVRO_2));
    let old = encoded(&first, &flight());
    let framed = |id: u8, payload: &[u8]| [&[0, 0, 0, 0, id], payload].concat();
    // The prefix is taken off.
    let ack = publish(&server, "latest.1", &[], &framed(1, &old)).await;
    assert_eq!(ack["seq"], 1, "{ack}");
    assert_eq!(stored(&server, "latest", 1).await.1, old);
    // The new version takes effect by itself.
    apply(&server, &schema("flight", "avro", "a2.avsc"));
    let mut with_gate = flight();
    with_gate["gate"] = json!("C7");
    let new = encoded(&second, &with_gate);
    eventually("the new version is in use", async || {
        let ack = publish(&server, "latest.1", &[], &new).await;
        ack["error"].is_null().then_some(())
    })
    .await;
    let ack = publish(&server, "latest.1", &[], &framed(1, &old)).await;
    let seq = ack["seq"].as_u64().expect("stored");
    let (headers, payload) = stored(&server, "latest", seq).await;
    let mut carried = flight();
    carried["gate"] = json!("?");
    assert_eq!(
        payload,
        encoded(&second, &carried),
        "the field that is new has its default"
    );
    assert_eq!(header(&headers, "Ms-Schema"), "flight:2");
    // The same by header, as id or by name.
    for tag in [("Ms-Schema-Id", "1"), ("Ms-Schema", "flight:1")] {
        let ack = publish(&server, "latest.1", &[tag], &old).await;
        let (_, payload) = stored(&server, "latest", ack["seq"].as_u64().expect("stored")).await;
        assert_eq!(payload, encoded(&second, &carried), "{tag:?}");
    }
    // Where any version may come, each stays what it is.
    for (payload, version) in [
        (framed(1, &old), 1),
        (framed(2, &new), 2),
        (new.to_vec(), 2),
        (old.to_vec(), 1),
    ] {
        let ack = publish(&server, "any.1", &[], &payload).await;
        let (headers, _) = stored(&server, "any", ack["seq"].as_u64().expect("stored")).await;
        assert_eq!(header(&headers, "Ms-Schema"), format!("flight:{version}"));
    }
    let refused = publish(&server, "any.1", &[], &framed(9, &old)).await;
    let why = refused["error"]["description"].as_str().expect("refused");
    assert!(
        why.contains("id 9") && why.contains("1 (id 1), 2 (id 2)"),
        "{why}"
    );
    // Readers have the version they know.
    let (headers, payload) = read(
        &server,
        "latest",
        &[("ms.as", "flight:2"), ("ms.prefix", "id")],
    )
    .await;
    assert_eq!(payload, framed(2, &encoded(&second, &carried)));
    assert_eq!(header(&headers, "Ms-Schema"), "flight:2");
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream("latest").await.expect("stream");
    let bad = pull::Config {
        metadata: [("ms.decode".to_owned(), "xml".to_owned())].into(),
        ..pull::Config::default()
    };
    let refused = stream
        .create_consumer(bad)
        .await
        .expect_err("no such format")
        .to_string();
    assert!(
        refused.contains("use `json`, `avro` or `protobuf`"),
        "{refused}"
    );
}

#[tokio::test]
async fn stages_see_json_and_what_is_stored_is_encoded_again() {
    let folder = folder();
    let server = Server::start(folder.path());
    let more =
        "schema: { subject: j, on_violation: reject }\nencode: { format: avro, subject: a }\n";
    let kept = "schema: { subject: p, on_violation: reject }\nstages:\n  - sql: SELECT carrier, number, delay FROM message WHERE number > 5\n";
    apply(
        &server,
        &(schema("j", "json", "j.json")
            + &schema("a", "avro", "a1.avsc")
            + &schema("p", "protobuf", "p.proto")
            + &station("coded", more)
            + &station("kept", kept)),
    );
    let ack = publish(&server, "coded.1", &[], flight().to_string().as_bytes()).await;
    assert_eq!(ack["seq"], 1, "{ack}");
    let (headers, payload) = stored(&server, "coded", 1).await;
    assert_eq!(payload, encoded(&compiled(Format::Avro, AVRO), &flight()));
    assert_eq!(header(&headers, "Ms-Schema"), "a:1");
    let mut large = flight();
    large["number"] = json!(3_000_000_000_u64);
    let refused = publish(&server, "coded.1", &[], large.to_string().as_bytes()).await;
    let why = refused["error"]["description"]
        .as_str()
        .expect("does not fit an int");
    assert!(why.contains("/number"), "{why}");
    let protobuf = compiled(Format::Protobuf, PROTOBUF);
    let payload = encoded(&protobuf, &flight());
    let ack = publish(&server, "kept.1", &[], &payload).await;
    assert_eq!(ack["seq"], 1, "{ack}");
    assert_eq!(stored(&server, "kept", 1).await.1, payload);
    let mut small = flight();
    small["number"] = json!(3);
    let ack = publish(&server, "kept.1", &[], &encoded(&protobuf, &small)).await;
    assert_eq!(ack["dropped"], true, "{ack}");
    let (_, avro) = read(&server, "kept", &[("ms.as", "a")]).await;
    assert_eq!(
        avro,
        encoded(&compiled(Format::Avro, AVRO), &flight()),
        "from Protobuf to Avro"
    );
}

#[tokio::test]
async fn a_station_may_have_a_schema_for_each_kind_of_message() {
    let folder = folder();
    let server = Server::start(folder.path());
    let rules = "schema:\n  subject: j\n  on_violation: dead_letter\n  rules:\n    - { match: \"mixed.avro.>\", subject: a }\n    \
                 - { record: air.Gate, subject: p, message: air.Gate }\n";
    apply(
        &server,
        &(schema("j", "json", "j.json")
            + &schema("a", "avro", "a1.avsc")
            + &schema("p", "protobuf", "p.proto")
            + &station("mixed", rules)),
    );
    let avro = encoded(&compiled(Format::Avro, AVRO), &flight());
    let Schema::Protobuf(protobuf) = compiled(Format::Protobuf, PROTOBUF) else {
        panic!("Protobuf")
    };
    let gate = Schema::Protobuf(protobuf.select("air.Gate").expect("a message"));
    let gate = encoded(&gate, &json!({ "name": "C7" }));
    let json = flight().to_string();
    let record: &[(&str, &str)] = &[("Ms-Schema-Record", "air.Gate")];
    for (subject, headers, payload, mark) in [
        ("mixed.avro.1", &[][..], &avro[..], "a:1"),
        ("mixed.gate", record, &gate[..], "p:1"),
        ("mixed.other", &[][..], json.as_bytes(), "j:1"),
    ] {
        let ack = publish(&server, subject, headers, payload).await;
        let (headers, _) = stored(&server, "mixed", ack["seq"].as_u64().expect("stored")).await;
        assert_eq!(header(&headers, "Ms-Schema"), mark, "{subject}");
    }
    publish(&server, "mixed.other", &[], &avro).await;
    let letters = server.json(&["dead-letters", "list", "mixed"]);
    assert_eq!(
        letters["items"].as_array().expect("items").len(),
        1,
        "{letters}"
    );
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream("mixed").await.expect("stream");
    let missing = stream.get_raw_message(4).await.expect_err("not stored");
    assert_eq!(missing.kind(), RawMessageErrorKind::NoMessageFound);
}
