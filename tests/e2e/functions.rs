//! The life of a function: gated by its tests, tried beside the version that runs, promoted, taken back; what it reaches
//! outside, what it writes to other stations, and how it asks for a message again.

use std::fs;
use std::path::Path;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::PullConsumer, kv};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, root, text};

/// The guest of the host's own tests: it does what a payload's first byte says.
fn guest() -> Vec<u8> {
    wat::parse_str(guest_text()).expect("well formed")
}

fn guest_text() -> String {
    let path = root().join("functions/host/tests/fixtures/guest.wat");
    fs::read_to_string(path).expect("the guest")
}

/// The same guest, but `k` makes it trap.
fn broken_guest() -> Vec<u8> {
    let before = "(i32.const 0x54)) (then unreachable)) ;; T";
    let after = "(i32.const 0x6b)) (then unreachable))";
    let text = guest_text();
    assert!(text.contains(before));
    wat::parse_str(text.replace(before, after)).expect("well formed")
}

/// An example's committed module.
fn example(name: &str, module: &str) -> Vec<u8> {
    let path = root().join("examples/functions").join(name).join(module);
    fs::read(path).expect("the module is committed")
}

fn write(folder: &Path, files: &[(&str, &[u8])]) -> String {
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("written");
    }
    let (first, _) = files[0];
    folder.join(first).to_str().expect("a path").to_owned()
}

fn done(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli(arguments);
    let text = text(&output);
    assert!(
        output.status.success(),
        "{arguments:?}: {text}\n{}",
        server.log()
    );
    text
}

fn station(name: &str, more: &str) -> String {
    format!("kind: station\nname: {name}\nsubjects: [\"{name}.>\"]\n{more}\n")
}

/// Applies function `f` from these bytes and a station `work` that runs it.
fn with_guest(server: &Server, module: &[u8], more: &str) {
    let yaml = format!(
        "kind: function\nname: f\ncomponent: f.wasm\n---\n{}",
        station("work", &format!("stages: [ {{ function: f }} ]\n{more}"))
    );
    let file = write(
        &server.folder,
        &[("f.yaml", yaml.as_bytes()), ("f.wasm", module)],
    );
    done(server, &["apply", "-f", &file]);
}

async fn payloads(server: &Server, stream: &str) -> Vec<String> {
    let js = jetstream::new(server.client().await);
    let mut stream = js.get_stream(stream).await.expect("stream");
    let count = stream.info().await.expect("info").state.messages;
    let consumer: PullConsumer = stream
        .create_consumer(jetstream::consumer::pull::Config {
            ack_policy: jetstream::consumer::AckPolicy::None,
            ..jetstream::consumer::pull::Config::default()
        })
        .await
        .expect("consumer");
    let messages = consumer.messages().await.expect("messages");
    let count = usize::try_from(count).expect("few");
    let found: Vec<_> = messages.take(count).try_collect().await.expect("read");
    let text =
        |message: &jetstream::Message| String::from_utf8_lossy(&message.payload).into_owned();
    found.iter().map(text).collect()
}

#[tokio::test]
async fn a_function_that_fails_its_tests_is_not_deployed() {
    let folder = folder();
    let server = Server::start(folder.path());
    let module = example("delay-band", "delay_band.wasm");
    let document = b"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\n";
    let tests = |band: &str| {
        format!(
            "tests:\n  - name: late\n    given: {{ subject: a, payload: {{ dep_delay: 20 }} }}\n    \
             expect: {{ replace: {{ payload: {{ dep_delay: 20, band: {band} }} }} }}\n"
        )
    };
    let file = write(
        folder.path(),
        &[
            ("band.yaml", document),
            ("band.wasm", &module),
            ("tests.yaml", tests("early").as_bytes()),
        ],
    );
    let refused = server.cli(&["function", "deploy", "-f", &file]);
    let told = text(&refused);
    assert!(!refused.status.success(), "{told}");
    assert!(
        told.contains("test `late`: expected payload {\"dep_delay\":20,\"band\":\"early\"}"),
        "{told}"
    );
    assert_eq!(server.json(&["get", "function"])["items"], json!([]));
    write(folder.path(), &[("tests.yaml", tests("late").as_bytes())]);
    done(
        &server,
        &["function", "deploy", "-f", &file, "--why", "first"],
    );
    let versions = server.json(&["function", "versions", "band"]);
    assert_eq!(
        (&versions["live"], &versions["versions"][0]["why"]),
        (&json!(1), &json!("first"))
    );
}

#[tokio::test]
async fn a_version_is_tried_in_the_shadow_promoted_and_taken_back() {
    let folder = folder();
    let server = Server::start(folder.path());
    let module = example("delay-band", "delay_band.wasm");
    let document = |late: u32| {
        format!(
            "kind: function\nname: band\ncomponent: band.wasm\nconfig: {{ late_after_minutes: \"{late}\" }}\n"
        )
    };
    let both = format!(
        "{}---\n{}",
        document(15),
        station("flights", "stages: [ { function: band } ]")
    );
    let file = write(
        folder.path(),
        &[("all.yaml", both.as_bytes()), ("band.wasm", &module)],
    );
    done(&server, &["apply", "-f", &file]);
    let band = write(folder.path(), &[("band.yaml", document(30).as_bytes())]);
    done(
        &server,
        &[
            "function",
            "deploy",
            "-f",
            &band,
            "--shadow",
            "--why",
            "half an hour is late",
        ],
    );
    for delay in [5, 20, 40] {
        let payload = json!({ "dep_delay": delay }).to_string();
        done(&server, &["publish", "flights.UA", &payload]);
    }
    let report = eventually("the shadow has seen all", async || {
        let described = server.json(&["describe", "function", "band"]);
        let report = described["trial"]["report"].clone();
        (report["messages"] == 3).then_some(report)
    })
    .await;
    assert_eq!(
        (&report["different"], &report["errors"]),
        (&json!(1), &json!(0)),
        "{report}"
    );
    let sample = &report["samples"][0];
    assert!(
        sample["live"].as_str().expect("text").contains("late"),
        "{sample}"
    );
    assert!(
        sample["tried"].as_str().expect("text").contains("on_time"),
        "{sample}"
    );
    let band_of = |index: usize, all: &[String]| {
        let value: Value = serde_json::from_str(&all[index]).expect("JSON");
        value["band"].as_str().expect("a band").to_owned()
    };
    let stored = payloads(&server, "flights").await;
    assert_eq!(band_of(1, &stored), "late", "a shadow decides nothing");

    // Over what is stored, without any effect.
    let dry = server.json(&[
        "function",
        "deploy",
        "-f",
        &band,
        "--dry-run",
        "--station",
        "flights",
    ]);
    let dry = if dry["report"].is_object() {
        dry["report"].clone()
    } else {
        dry
    };
    assert_eq!(
        (&dry["looked_at"], &dry["different"]),
        (&json!(3), &json!(1)),
        "{dry}"
    );
    assert_eq!(dry["candidate"]["replace"], 3, "{dry}");

    done(&server, &["function", "promote", "band"]);
    done(&server, &["publish", "flights.UA", "{\"dep_delay\":20}"]);
    done(
        &server,
        &["function", "rollback", "band", "--why", "too soon"],
    );
    done(&server, &["publish", "flights.UA", "{\"dep_delay\":20}"]);
    let stored = payloads(&server, "flights").await;
    assert_eq!(
        (band_of(3, &stored), band_of(4, &stored)),
        ("on_time".to_owned(), "late".to_owned())
    );
    let versions = server.json(&["function", "versions", "band"]);
    let events: Vec<&str> = versions["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["what"].as_str().expect("text"))
        .collect();
    assert_eq!(
        events,
        [
            "version 1 runs",
            "version 2 is tried as shadow",
            "version 2 runs, promoted",
            "version 1 runs again"
        ]
    );
    // And all of it is there after a kill.
    let folder_of = server.kill();
    let server = Server::start(&folder_of);
    assert_eq!(server.json(&["function", "versions", "band"]), versions);
    done(&server, &["publish", "flights.UA", "{\"dep_delay\":20}"]);
    assert_eq!(band_of(5, &payloads(&server, "flights").await), "late");
}

#[tokio::test]
async fn a_canary_that_fails_costs_no_message_and_is_stopped() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "");
    let document = b"kind: function\nname: f\ncomponent: broken.wasm\n";
    let file = write(
        folder.path(),
        &[("broken.yaml", document), ("broken.wasm", &broken_guest())],
    );
    done(
        &server,
        &[
            "function",
            "deploy",
            "-f",
            &file,
            "--canary",
            "50%",
            "--min-messages",
            "20",
        ],
    );
    let js = jetstream::new(server.client().await);
    let versions = eventually("the trial is stopped", async || {
        for number in 0..50 {
            let ack = js
                .publish("work.a", format!("k{number}").into())
                .await
                .expect("sent");
            ack.await
                .expect("every message is stored, whichever version failed on it");
        }
        let versions = server.json(&["function", "versions", "f"]);
        versions["trial"].is_null().then_some(versions)
    })
    .await;
    let last = versions["events"]
        .as_array()
        .expect("events")
        .last()
        .expect("one")
        .clone();
    assert_eq!(
        (&last["by"], &last["what"]),
        (&json!("server"), &json!("the trial of version 2 ends"))
    );
    assert!(
        last["why"]
            .as_str()
            .expect("why")
            .contains("5.0 % are allowed"),
        "{last}"
    );
    assert_eq!(versions["live"], 1);
}

#[tokio::test]
async fn a_canary_gets_the_subjects_it_was_given() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "");
    let text = guest_text();
    // Drops what it would keep.
    let dropping = text.replace(
        "(i32.const 0x5a)) (then ;; Z",
        "(i32.const 0x6b)) (then ;; k",
    );
    assert_ne!(text, dropping);
    let module = wat::parse_str(dropping).expect("well formed");
    let document = b"kind: function\nname: f\ncomponent: other.wasm\n";
    let file = write(
        folder.path(),
        &[("other.yaml", document), ("other.wasm", &module)],
    );
    done(
        &server,
        &[
            "function",
            "deploy",
            "-f",
            &file,
            "--canary-subjects",
            "work.b.>",
        ],
    );
    for subject in ["work.a", "work.b.1", "work.c", "work.b.2"] {
        done(&server, &["publish", subject, &format!("k {subject}")]);
    }
    assert_eq!(payloads(&server, "work").await, ["k work.a", "k work.c"]);
}

#[tokio::test]
async fn a_message_is_tried_again_and_others_wait_as_asked() {
    let folder = folder();
    let server = Server::start(folder.path());
    for (order, want) in [
        ("station", ["V a1", "k b1", "k a2"]),
        ("key", ["k b1", "V a1", "k a2"]),
        ("none", ["k b1", "k a2", "V a1"]),
    ] {
        with_guest(&server, &guest(), &format!("order: {order}"));
        let js = jetstream::new(server.client().await);
        js.get_stream("work")
            .await
            .expect("stream")
            .purge()
            .await
            .expect("purged");
        let mut acks = Vec::new();
        for (subject, payload) in [("work.a", "V a1"), ("work.b", "k b1"), ("work.a", "k a2")] {
            acks.push(js.publish(subject, payload.into()).await.expect("sent"));
        }
        for ack in acks {
            ack.await.expect("stored");
        }
        assert_eq!(payloads(&server, "work").await, want, "order: {order}");
    }
    // Many that wait for one of their key stay in order, batch after batch.
    with_guest(&server, &guest(), "order: key");
    let js = jetstream::new(server.client().await);
    js.get_stream("work")
        .await
        .expect("stream")
        .purge()
        .await
        .expect("purged");
    let mut acks = Vec::new();
    let payload = |number: usize| match number % 1000 {
        0 => format!("V {number}"),
        _ => format!("k {number}"),
    };
    for number in 0..4000 {
        let sent = js.publish("work.a", payload(number).into()).await;
        acks.push(sent.expect("sent"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
    let wanted: Vec<String> = (0..4000).map(payload).collect();
    assert_eq!(payloads(&server, "work").await, wanted);
    // Not for ever.
    with_guest(&server, &guest(), "max_retries: 2");
    let refused = server.cli(&["publish", "work.a", "Y"]);
    assert!(
        text(&refused).contains("retries_exhausted"),
        "{}",
        text(&refused)
    );
}

#[tokio::test]
async fn outputs_reach_other_stations_through_their_own_rules() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "");
    let refused = server.cli(&["publish", "work.a", "F"]);
    assert!(text(&refused).contains("no_station"), "{}", text(&refused));
    let file = write(
        folder.path(),
        &[("copies.yaml", station("copies", "").as_bytes())],
    );
    done(&server, &["apply", "-f", &file]);
    done(&server, &["publish", "work.a", "F"]);
    assert_eq!(payloads(&server, "work").await, [""]);
    assert_eq!(payloads(&server, "copies").await, [""]);
    // The other station checks what it gets, and keeps what it rejects.
    let schema = "kind: schema\nname: number\nschema: { type: number }\n---\n";
    let strict = station(
        "copies",
        "schema: { subject: number, on_violation: dead_letter }",
    );
    let file = write(
        folder.path(),
        &[("copies.yaml", format!("{schema}{strict}").as_bytes())],
    );
    done(&server, &["apply", "-f", &file]);
    done(&server, &["publish", "work.a", "F"]);
    assert_eq!(payloads(&server, "work").await.len(), 2);
    assert_eq!(payloads(&server, "copies").await.len(), 1);
    assert_eq!(payloads(&server, "copies-dead-letters").await, [""]);
    // What the other station has no room for is not acknowledged.
    let full = station("copies", "retention: { max_msgs: 1, discard: new }");
    let file = write(folder.path(), &[("copies.yaml", full.as_bytes())]);
    done(&server, &["apply", "-f", &file]);
    let refused = server.cli(&["publish", "work.a", "F"]);
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(
        text(&refused).contains("maximum messages exceeded"),
        "{}",
        text(&refused)
    );
}

#[tokio::test]
async fn a_function_looks_up_what_buckets_hold() {
    let folder = folder();
    let server = Server::start(folder.path());
    let yaml = |lookup: &str| {
        format!(
            "kind: function\nname: enrich\ncomponent: enrich.wasm\n{lookup}\n---\n{}",
            station("flights", "stages: [ { function: enrich } ]")
        )
    };
    let module = example("enrich", "enrich.wasm");
    let file = write(
        folder.path(),
        &[("f.yaml", yaml("").as_bytes()), ("enrich.wasm", &module)],
    );
    let refused = server.cli(&["apply", "-f", &file]);
    let told = text(&refused);
    assert!(
        told.contains("`millstream:function/stations@0.2.0`") && told.contains("`lookup:`"),
        "{told}"
    );
    write(
        folder.path(),
        &[("f.yaml", yaml("lookup: [planes, airports]").as_bytes())],
    );
    done(&server, &["apply", "-f", &file]);
    let js = jetstream::new(server.client().await);
    let bucket = async |name: &str| {
        let config = kv::Config {
            bucket: name.to_owned(),
            ..kv::Config::default()
        };
        js.create_key_value(config).await.expect("a bucket")
    };
    let (planes, _airports) = (bucket("planes").await, bucket("airports").await);
    planes
        .put("N1", "{\"model\":\"737\",\"seats\":149}".into())
        .await
        .expect("put");
    let flight = "{\"tailnum\":\"N1\",\"origin\":\"EWR\",\"dest\":\"IAH\"}";
    done(&server, &["publish", "flights.UA", flight]);
    planes
        .put("N1", "{\"model\":\"747\",\"seats\":400}".into())
        .await
        .expect("put");
    done(&server, &["publish", "flights.UA", flight]);
    planes.delete("N1").await.expect("deleted");
    done(&server, &["publish", "flights.UA", flight]);
    let stored = payloads(&server, "flights").await;
    let seats = |text: &String| serde_json::from_str::<Value>(text).expect("JSON")["seats"].clone();
    let seats: Vec<Value> = stored.iter().map(seats).collect();
    assert_eq!(seats, [json!(149), json!(400), Value::Null]);
}

#[tokio::test]
async fn what_functions_do_is_counted() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "");
    for payload in ["k", "P1", "F1", "Z", "J", "T"] {
        // Some of them are rejected, as they should be.
        let _refused = server.cli(&["publish", "work.a", payload]);
    }
    let numbers = server.json(&["describe", "function", "f"])["numbers"].clone();
    let of = |name: &str| numbers[name].as_u64().expect("a number");
    let counts = [
        "messages", "keep", "replace", "emit", "drop", "reject", "errors",
    ]
    .map(of);
    assert_eq!(counts, [6, 1, 1, 1, 1, 1, 1], "{numbers}");
    assert!(of("memory") >= 65536 && of("calls") >= 6, "{numbers}");
    let (_, metrics) = server.get("/metrics").await;
    let line =
        "millstream_function_messages_total{function=\"f\",version=\"1\",outcome=\"error\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let letters = server.json(&["dead-letters", "list", "work"]);
    let letters = letters["items"].as_array().expect("letters");
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                &letter["code"],
                &letter["function_version"],
                &letter["payload"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            // `copies.one`, the second subject that it emits on, is no station's.
            (&json!("no_station"), &Value::Null, &json!("F1")),
            (&json!("bad_flight"), &json!(1), &json!("J")),
            (&json!("trap"), &json!(1), &json!("T")),
        ]
    );
    // What is deleted is not counted any more.
    done(&server, &["delete", "station", "work"]);
    done(&server, &["delete", "function", "f"]);
    let (_, metrics) = server.get("/metrics").await;
    assert!(!metrics.contains("function=\"f\""), "{metrics}");
}

#[tokio::test]
async fn a_message_that_asks_for_it_is_told_its_way() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "");
    let client = server.client().await;
    let mut traces = client.subscribe("trace.me").await.expect("subscribed");
    client.flush().await.expect("flushed");
    for (payload, outcomes, result) in [
        ("k", vec!["keep"], "stored"),
        ("V", vec!["retry", "retry", "keep"], "stored"),
        ("Z", vec!["drop"], "dropped"),
        ("J", vec!["reject"], "rejected"),
    ] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Trace-Dest", "trace.me");
        headers.insert(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        let answer = client
            .request_with_headers("work.a", headers, payload.into())
            .await;
        answer.expect("answered");
        let trace = traces.next().await.expect("a trace");
        let trace: Value = serde_json::from_slice(&trace.payload).expect("JSON");
        let events = trace["events"].as_array().expect("events");
        let steps: Vec<&Value> = events
            .iter()
            .filter(|event| event["type"] == "ms_stage")
            .collect();
        let got: Vec<&str> = steps
            .iter()
            .map(|step| step["outcome"].as_str().expect("text"))
            .collect();
        assert_eq!(got, outcomes, "{trace}");
        for step in steps {
            assert_eq!(
                (&step["stage"], &step["version"]),
                (&json!("function:f"), &json!(1)),
                "{trace}"
            );
            assert!(step["batch_ns"].as_u64() > Some(0), "{trace}");
        }
        let last = events.last().expect("an end");
        assert_eq!(
            (&last["result"], &last["stream"]),
            (&json!(result), &json!("work")),
            "{trace}"
        );
        assert!(
            trace["request"]["header"]["traceparent"][0].is_string(),
            "{trace}"
        );
    }
}

#[tokio::test]
async fn status_says_which_stage_a_station_waits_for() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "max_retries: 1000");
    assert_eq!(server.json(&["status"])["held_back"], json!([]));
    let client = server.client().await;
    for payload in ["Y", "k", "k"] {
        client
            .publish("work.a", payload.into())
            .await
            .expect("sent");
        client.flush().await.expect("flushed");
    }
    let held = eventually("the station waits", async || {
        let held = server.json(&["status"])["held_back"][0].clone();
        (held["retrying"].is_string()).then_some(held)
    })
    .await;
    assert_eq!(
        (&held["station"], &held["retrying"], &held["slowest_stage"]),
        (&json!("work"), &json!("function:f"), &json!("function:f")),
        "{held}"
    );
}

/// Publishes at once, and gathers the answers in order.
async fn answers(server: &Server, station: &str, batch: &[(HeaderMap, String)]) -> Vec<Value> {
    let client = server.client().await;
    let mut inbox = client
        .subscribe(format!("answers.{station}.*"))
        .await
        .expect("subscribed");
    for (number, (headers, payload)) in batch.iter().enumerate() {
        let (subject, reply) = (
            format!("{station}.a"),
            format!("answers.{station}.{number}"),
        );
        client
            .publish_with_reply_and_headers(subject, reply, headers.clone(), payload.clone().into())
            .await
            .expect("sent");
    }
    let mut answers = vec![Value::Null; batch.len()];
    for _ in batch {
        let answer = inbox.next().await.expect("an answer");
        let number = answer.subject.rsplit('.').next().expect("a number");
        let text = String::from_utf8_lossy(&answer.payload).replace(station, "it");
        answers[number.parse::<usize>().expect("a number")] =
            serde_json::from_str(&text).expect("JSON");
    }
    answers
}

/// What is stored under a sequence: headers and payload.
async fn stored(server: &Server, station: &str) -> Vec<(Option<HeaderMap>, String)> {
    let js = jetstream::new(server.client().await);
    let mut stream = js.get_stream(station).await.expect("stream");
    let last = stream.info().await.expect("info").state.last_sequence;
    let mut all = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("stored");
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        all.push((Some(message.headers).filter(|all| !all.is_empty()), payload));
    }
    all
}

#[tokio::test]
async fn what_a_function_keeps_is_stored_as_if_there_were_none() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_guest(&server, &guest(), "");
    let output = server.apply("plain.yaml", &station("plain", ""));
    assert!(output.status.success(), "{}", text(&output));
    let with = |name: &str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("Carrier", "UA");
        headers.insert(name, value);
        headers
    };
    let mut batch: Vec<(HeaderMap, String)> = (0..600)
        .map(|number| {
            let headers = match number % 5 {
                0 => HeaderMap::new(),
                1 => with("Nats-Msg-Id", &(number / 20).to_string()),
                2 => with("Nats-Expected-Last-Sequence", "7"),
                _ => with("Late", "no"),
            };
            (headers, format!("k{number}"))
        })
        .collect();
    let alone = answers(&server, "plain", &batch).await;
    assert_eq!(answers(&server, "work", &batch).await, alone);
    let duplicates = |all: &[Value]| all.iter().filter(|it| it["duplicate"] == true).count();
    assert!(duplicates(&alone) > 50 && alone[2]["error"].is_object());
    let plain = stored(&server, "plain").await;
    assert_eq!(stored(&server, "work").await, plain);

    // Headers that only the server may write are taken away, and what is not kept does not hinder the others.
    batch.truncate(7);
    batch[0].0 = with("Ms-Schema", "forged");
    batch[2] = (with("Late", "no"), "Z2".to_owned());
    batch[3] = (with("Late", "yes"), "P3".to_owned());
    batch[4] = (HeaderMap::new(), "J4".to_owned());
    let ends = answers(&server, "work", &batch).await;
    assert_eq!(ends[2]["dropped"], true, "{ends:?}");
    assert_eq!(ends[4]["error"]["err_code"], 20002, "{ends:?}");
    let more = stored(&server, "work").await.split_off(plain.len());
    let text: Vec<&str> = more.iter().map(|(_, payload)| payload.as_str()).collect();
    assert_eq!(text, ["k0", "P3", "k5"], "{ends:?}");
    let names = more[0].0.as_ref().expect("headers").iter();
    let names: Vec<String> = names.map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["Carrier"]);
}
