//! What README says of readers: sinks, HTTP and the command line get the form they ask for, and are told where it cannot be had.

use std::fs;

use bytes::Bytes;
use millstream_schema_formats::{Format, Schema};
use serde_json::{Value, json};

use crate::harness::{Server, folder, http, text};
use crate::registry::{get, post};
use crate::schemas::{
    AVRO, AVRO_2, PROTOBUF, apply, compiled, encoded, flight, header, publish, read, schema,
    station, stored,
};

/// A Protobuf message whose number has 32 bits.
const NARROW: &str = "syntax = \"proto3\";\nmessage Narrow { string carrier = 1; int32 number = 2; optional int32 delay = 3; string gate = 4; }\n";
/// More than 32 bits hold.
const LARGE: u64 = 3_000_000_000;

/// A server with `legs`, of which flight numbers are long, and `narrow`, whose numbers are not; a small and a large one stored.
async fn legs(place: &std::path::Path, more: &str) -> Server {
    let server = Server::start(place);
    fs::write(place.join("narrow.proto"), NARROW).expect("schema file");
    apply(
        &server,
        &(schema("flight", "avro", "a2.avsc")
            + &schema("narrow", "protobuf", "narrow.proto")
            + &station(
                "legs",
                "schema: { subject: flight, on_violation: reject }\n",
            )
            + more),
    );
    let avro = compiled(Format::Avro, AVRO_2);
    for (seq, number) in [(1, 1117), (2, LARGE)] {
        let payload = encoded(&avro, &leg(number));
        let ack = publish(&server, "legs.a", &[], &payload).await;
        assert_eq!(ack["seq"], seq, "{ack}");
    }
    server
}

fn leg(number: u64) -> Value {
    json!({ "carrier": "UA", "number": number, "delay": 4, "gate": "C7" })
}

/// The lines of a file, as soon as there are as many.
fn lines(server: &mut Server, file: &str, count: usize) -> Vec<Value> {
    let path = server.folder.join(file);
    server.wait_for(file, || {
        let text = fs::read_to_string(&path).ok()?;
        let whole = text.ends_with('\n') && text.lines().count() >= count;
        whole.then(|| {
            let line = |line: &str| serde_json::from_str(line).expect("JSON");
            text.lines().map(line).collect()
        })
    })
}

#[tokio::test]
async fn a_sink_gets_what_it_reads_and_what_it_cannot_have_is_a_dead_letter() {
    let place = folder();
    let sink = |name: &str, asks: &str| {
        format!(
            "kind: sink\nname: {name}\nconnector: file\nstation: legs\n{asks}\nconfig: {{ path: \"{}\" }}\n---\n",
            place.path().join(name).display()
        )
    };
    let more = sink("json", "decode: json")
        + &sink("narrow", "read_as: narrow:1")
        + &sink("both", "read_as: narrow\ndecode: json");
    let mut server = legs(place.path(), &more).await;
    let payloads = |lines: Vec<Value>| -> Vec<Value> {
        lines
            .into_iter()
            .map(|mut line| line["payload"].take())
            .collect()
    };
    let all = payloads(lines(&mut server, "json", 2));
    assert_eq!(all, [leg(1117), leg(LARGE)]);
    // One letter of each of the two that cannot carry the large number.
    let letters = crate::harness::eventually("two letters", async || {
        let letters = server.json(&["dead-letters", "list", "legs"]);
        (letters["items"].as_array().map(Vec::len) == Some(2)).then_some(letters)
    })
    .await;
    for letter in letters["items"].as_array().expect("items") {
        let said = letter.to_string();
        assert!(said.contains("cannot_convert"), "{said}");
        assert!(said.contains("/number"), "{said}");
    }
    assert_eq!(payloads(lines(&mut server, "both", 1)), [leg(1117)]);
    let line = lines(&mut server, "narrow", 1).remove(0);
    let bytes = encoded(&compiled(Format::Protobuf, NARROW), &leg(1117));
    let told = line["payload_base64"].as_str().map(str::to_owned);
    let told = told.unwrap_or_else(|| line["payload"].to_string());
    use base64::Engine as _;
    assert_eq!(
        told,
        base64::engine::general_purpose::STANDARD.encode(bytes)
    );
}

#[tokio::test]
async fn http_and_tail_show_messages_in_the_form_asked_for() {
    let place = folder();
    let server = legs(place.path(), "").await;
    let shown = async |query: &str| -> Vec<Value> {
        let path = format!("/api/v1/stations/legs/messages?limit=2{query}");
        let (status, body) = server.get(&path).await;
        assert_eq!(status, 200, "{body}");
        let line = |line: &str| serde_json::from_str(line).expect("JSON");
        body.lines().map(line).collect()
    };
    let stored = shown("").await;
    assert!(stored[0]["payload"].is_null() || stored[0]["payload"].is_string());
    let decoded = shown("&decode=json").await;
    assert_eq!(decoded[0]["payload"], leg(1117));
    assert_eq!(decoded[1]["payload"], leg(LARGE));
    let other = shown("&decode=json&as=narrow:1").await;
    assert_eq!(other[0]["payload"], leg(1117), "{}", other[0]);
    // What cannot be carried comes as it is stored and says why.
    let why = other[1]["schema_error"].to_string();
    assert!(why.contains("/number"), "{}", other[1]);
    let (status, body) = server
        .get("/api/v1/stations/legs/messages?decode=xml")
        .await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("decode=json"), "{body}");

    let tail = |more: &[&str]| {
        let output = server.cli(&[&["tail", "legs", "--no-follow", "--limit", "1"], more].concat());
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(tail(&[]).contains(r#""gate":"C7""#), "{}", tail(&[]));
    let other = tail(&["--as", "narrow:1"]);
    assert!(
        other.contains(r#""carrier":"UA""#) && other.contains("narrow:1"),
        "{other}"
    );
    assert!(
        !tail(&["--raw"]).contains("carrier"),
        "{}",
        tail(&["--raw"])
    );
}

#[tokio::test]
async fn a_consumer_is_told_why_a_message_is_not_as_it_asked() {
    let place = folder();
    let server = legs(place.path(), "").await;
    let kept = stored(&server, "legs", 2).await.1;
    let client = server.client().await;
    let js = async_nats::jetstream::new(client);
    let stream = js.get_stream("legs").await.expect("stream");
    stream.delete_message(1).await.expect("deleted");
    let (headers, payload) = read(&server, "legs", &[("ms.as", "narrow:1")]).await;
    assert_eq!(payload, kept, "as it is stored");
    let why = header(&headers, "Ms-Schema-Error");
    assert!(why.contains("/number"), "{why}");
    assert_eq!(header(&headers, "Ms-Schema"), "flight:1");

    // A GUID goes before the payload where that is asked for: it is the schema's own.
    let (_, payload) = read(&server, "legs", &[("ms.prefix", "guid")]).await;
    let (prefix, rest) = payload.split_at(17);
    assert_eq!(rest, kept);
    assert_eq!(prefix[0], 1);
    let known = get(&server, "/subjects/flight/versions/1").await;
    let guid = known["guid"].as_str().expect("a GUID").replace('-', "");
    let told: String = prefix[1..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(told, guid);
    let (status, by_guid) = server
        .get(&format!(
            "/schemas/guids/{}",
            known["guid"].as_str().expect("a GUID")
        ))
        .await;
    assert_eq!(status, 200, "{by_guid}");
}

#[tokio::test]
async fn framing_says_what_a_zero_at_the_front_means() {
    let place = folder();
    let server = Server::start(place.path());
    // A text of no characters comes first, so that a payload may begin like a prefix.
    let text = AVRO.replace("\"carrier\"", "\"airline\"");
    fs::write(place.path().join("f.avsc"), &text).expect("schema file");
    let used = |framing: &str| {
        station(
            framing,
            &format!("schema: {{ subject: f, framing: {framing}, on_violation: reject }}\n"),
        )
    };
    apply(
        &server,
        &(schema("f", "avro", "f.avsc") + &used("bare") + &used("prefixed")),
    );
    let own = compiled(Format::Avro, &text);
    let payload = encoded(&own, &json!({ "airline": "", "number": 0, "delay": null }));
    assert!(payload.starts_with(&[0, 0]), "{payload:?}");
    let framed = Bytes::from([&[0, 0, 0, 0, 1], &payload[..]].concat());
    let ack = publish(&server, "bare.1", &[], &payload).await;
    assert_eq!(ack["seq"], 1, "{ack}");
    let ack = publish(&server, "bare.1", &[], &framed).await;
    assert!(
        !ack["error"].is_null(),
        "its prefix is no part of the record: {ack}"
    );
    let ack = publish(&server, "prefixed.1", &[], &framed).await;
    assert_eq!(ack["seq"], 1, "{ack}");
    assert_eq!(stored(&server, "prefixed", 1).await.1, payload);
    let long = encoded(
        &own,
        &json!({ "airline": "United", "number": 7, "delay": null }),
    );
    let ack = publish(&server, "prefixed.1", &[], &long).await;
    let why = ack["error"]["description"].as_str().expect("refused");
    assert!(why.contains("does not begin with a schema id"), "{why}");
}

#[tokio::test]
async fn a_version_that_breaks_readers_is_registered_by_force_only() {
    let place = folder();
    let more = format!(
        "kind: sink\nname: out\nconnector: file\nstation: legs\nread_as: flight:1\nconfig: {{ path: \"{}\" }}\n",
        place.path().join("out").display()
    );
    let server = legs(place.path(), &more).await;
    let body = json!({ "compatibility": "NONE" });
    let request = http()
        .put(format!("{}/config/flight", server.http))
        .header("Content-Type", "application/json")
        .body(body.to_string());
    let status = request.send().await.expect("an answer").status();
    assert_eq!(status.as_u16(), 200);
    let other = json!({ "schema": r#"{"type":"record","name":"Flight","namespace":"air","fields":[{"name":"tail","type":"string"}]}"# });
    let (status, refused) = post(&server, "/subjects/flight/versions", &other).await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused.to_string().contains("`out`"), "{refused}");
    assert_eq!(get(&server, "/subjects/flight/versions").await, json!([1]));
    let (status, body) = post(&server, "/subjects/flight/versions?force=true", &other).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        get(&server, "/subjects/flight/versions").await,
        json!([1, 2])
    );
    server_log_names(&server, "by force");
}

fn server_log_names(server: &Server, what: &str) {
    assert!(server.log().contains(what), "{}", server.log());
}

#[tokio::test]
async fn a_message_of_a_file_that_is_not_its_first_may_be_named() {
    let place = folder();
    let server = Server::start(place.path());
    apply(
        &server,
        &(schema("p", "protobuf", "p.proto")
            + &station(
                "gates",
                "schema: { subject: p, message: air.Gate, on_violation: reject }\n",
            )),
    );
    let Schema::Protobuf(file) = compiled(Format::Protobuf, PROTOBUF) else {
        panic!("Protobuf")
    };
    let gate = Schema::Protobuf(file.select("air.Gate").expect("a message"));
    let document = json!({ "name": "C7" });
    // Confluent's prefix of the file's second message: one index, which is 1 (as zigzag numbers 2 and 2).
    let bare = encoded(&gate, &document);
    let framed = [&[0, 0, 0, 0, 1, 2, 2], &bare[..]].concat();
    for payload in [&bare[..], &framed] {
        let ack = publish(&server, "gates.1", &[], payload).await;
        let (_, kept) = stored(&server, "gates", ack["seq"].as_u64().expect("stored")).await;
        assert_eq!(kept, bare);
    }
    let (_, shown) = read(&server, "gates", &[("ms.decode", "json")]).await;
    let shown: Value = serde_json::from_slice(&shown).expect("JSON");
    assert_eq!(shown, document);
    let first = encoded(&Schema::Protobuf(file), &flight());
    let framed = [&[0, 0, 0, 0, 1, 0], &first[..]].concat();
    let ack = publish(&server, "gates.1", &[], &framed).await;
    assert!(!ack["error"].is_null(), "another message: {ack}");
}
