//! Schema, function and SQL inside the broker: what is stored, what is dropped, what is rejected and why, and that a new
//! version takes over at a batch border.

use std::fs;

use async_nats::jetstream;
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, root, text};

/// Applies the flights example.
fn with_flights(server: &Server) {
    let file = root().join("examples/flights/flights.yaml");
    let output = server.cli(&["apply", "-f", file.to_str().expect("path")]);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

fn flight() -> Value {
    let all =
        fs::read_to_string(root().join("examples/flights/flights.jsonl")).expect("the sample");
    let line = all
        .lines()
        .find(|line| line.contains("\"dep_delay\":2,") && !line.contains("ALAA"))
        .expect("a flight");
    serde_json::from_str(line).expect("JSON")
}

async fn publish(server: &Server, subject: &str, payload: &Value) -> Value {
    let client = server.client().await;
    let answer = client
        .request(subject.to_owned(), payload.to_string().into())
        .await
        .expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

#[tokio::test]
async fn each_message_ends_where_its_content_sends_it() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_flights(&server);
    let good = flight();
    let ack = publish(&server, "flights.UA", &good).await;
    assert_eq!(
        (&ack["stream"], &ack["seq"]),
        (&json!("flights"), &json!(1)),
        "{ack}"
    );

    let js = jetstream::new(server.client().await);
    let stored = js
        .get_stream("flights")
        .await
        .expect("stream")
        .get_raw_message(1)
        .await
        .expect("stored");
    let stored: Value = serde_json::from_slice(&stored.payload).expect("JSON");
    assert_eq!(stored["band"], "on_time");
    assert_eq!(stored["carrier"], good["carrier"]);
    assert!(stored.get("tailnum").is_none(), "SQL left it out: {stored}");

    let mut cancelled = good.clone();
    cancelled["dep_delay"] = Value::Null;
    let ack = publish(&server, "flights.UA", &cancelled).await;
    assert_eq!(
        (&ack["seq"], &ack["dropped"]),
        (&json!(0), &json!(true)),
        "{ack}"
    );

    let mut late = good.clone();
    late["dep_time"] = json!(2400);
    let ack = publish(&server, "flights.UA", &late).await;
    let description = ack["error"]["description"].as_str().expect("an error");
    assert!(
        description.contains("schema") && description.contains("dep_time"),
        "{description}"
    );

    let mut fast = good.clone();
    fast["air_time"] = json!(10);
    let ack = publish(&server, "flights.UA", &fast).await;
    let description = ack["error"]["description"].as_str().expect("an error");
    assert!(description.contains("impossible_speed"), "{description}");

    let ack = publish(&server, "flights.UA", &json!("no object")).await;
    assert!(ack["error"].is_object(), "{ack}");
    let client = server.client().await;
    let answer = client
        .request("flights.UA", "not { json".into())
        .await
        .expect("an answer");
    assert!(String::from_utf8_lossy(&answer.payload).contains("error"));

    // The dead letters are an ordinary stream: the original bytes, and why.
    let mut letters = js.get_stream("flights-dead-letters").await.expect("stream");
    assert_eq!(letters.info().await.expect("info").state.messages, 4);
    let letter = letters.get_raw_message(1).await.expect("letter");
    assert_eq!(
        serde_json::from_slice::<Value>(&letter.payload).expect("JSON"),
        late
    );
    let header = |name: &str| {
        letter
            .headers
            .get(name)
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(header("Ms-Dead-Subject"), "flights.UA");
    assert!(header("Ms-Dead-Stage").starts_with("schema"));
    assert!(header("Ms-Dead-Path").contains("dep_time"));
    assert!(!header("Ms-Dead-Reason").is_empty() && !header("Ms-Dead-Time").is_empty());

    let listed = server.json(&["dead-letters", "list", "flights"]);
    assert_eq!(
        listed["items"].as_array().expect("items").len(),
        4,
        "{listed}"
    );
}

#[tokio::test]
async fn an_update_swaps_at_a_batch_border_under_load() {
    let folder = folder();
    let server = Server::start(folder.path());
    let station = |version: u32| {
        format!(
            "kind: schema\nname: n\nformat: json\nschema: '{{\"type\":\"object\",\"properties\":{{\"n\":{{\"type\":\"integer\"}}}},\
             \"required\":[\"n\"]}}'\n---\nkind: station\nname: swap\nsubjects: [\"swap.>\"]\n\
             schema: {{ subject: n, version: latest }}\nstages:\n  - sql: \"SELECT n, {version} AS a, {version} AS b FROM message\"\n"
        )
    };
    let output = server.apply("swap.yaml", &station(1));
    assert!(output.status.success(), "{}", text(&output));
    let js = jetstream::new(server.client().await);
    const COUNT: u64 = 6000;
    let publishing = tokio::spawn({
        let js = js.clone();
        async move {
            for first in (0..COUNT).step_by(100) {
                let mut window = Vec::new();
                for n in first..first + 100 {
                    window.push(
                        js.publish("swap.x", json!({ "n": n }).to_string().into())
                            .await
                            .expect("sent"),
                    );
                }
                for ack in window {
                    ack.await.expect("stored");
                }
            }
        }
    });
    let mut stream = js.get_stream("swap").await.expect("stream");
    for version in 2..=4 {
        // Each version waits until the one before it has been at work.
        let before = stream.info().await.expect("info").state.messages;
        let look = tokio::sync::Mutex::new(&mut stream);
        eventually("progress", || async {
            let now = look.lock().await.info().await.ok()?.state.messages;
            (now > before + 200 || now == COUNT).then_some(())
        })
        .await;
        let output = server.apply("swap.yaml", &station(version));
        assert!(output.status.success(), "{}", text(&output));
    }
    publishing.await.expect("all stored");
    let (mut expected, mut version) = (0, 1);
    let mut versions = std::collections::BTreeSet::new();
    for seq in 1..=COUNT {
        let message = stream.get_raw_message(seq).await.expect("stored");
        let value: Value = serde_json::from_slice(&message.payload).expect("JSON");
        assert_eq!(value["n"], expected, "none lost, none repeated, in order");
        assert_eq!(value["a"], value["b"], "no message is half old, half new");
        let now = value["a"].as_u64().expect("number");
        assert!(now >= version, "version {version} came back as {now}");
        version = now;
        versions.insert(now);
        expected += 1;
    }
    assert!(
        versions.len() >= 2,
        "the load met at least one swap: {versions:?}"
    );
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_its_place_and_changes_nothing() {
    let folder = folder();
    let server = Server::start(folder.path());
    with_flights(&server);
    publish(&server, "flights.UA", &flight()).await;
    fs::write(folder.path().join("garbage.wasm"), "not wasm").expect("file");
    fs::write(folder.path().join("bad.json"), "{ \"type\": 7 }").expect("file");
    let station = |stage: &str| {
        format!(
            "kind: station\nname: s\nsubjects: [\"s.>\"]\nschema: {{ subject: flight }}\nstages:\n  - {stage}\n"
        )
    };
    let cases = [
        (
            "kind: station\nname: s\nsubjcts: [\"s.>\"]\n".to_owned(),
            vec!["bad.yaml:3", "subjcts", "subjects"],
        ),
        (
            "kind: staton\nname: s\n".to_owned(),
            vec!["bad.yaml:1", "staton", "station"],
        ),
        (
            "kind: station\nname: s\nsubjects: [\"s.>\"]\nretention: { max_age: 7 parsecs }\n"
                .to_owned(),
            vec!["bad.yaml:4", "parsecs"],
        ),
        (
            "kind: schema\nname: x\nformat: json\nfile: bad.json\n".to_owned(),
            vec!["bad.yaml:4", "bad.json"],
        ),
        (
            "kind: schema\nname: x\nformat: json\nfile: absent.json\n".to_owned(),
            vec!["bad.yaml:4", "absent.json"],
        ),
        (
            "kind: function\nname: f\ncomponent: garbage.wasm\n".to_owned(),
            vec!["bad.yaml:3", "garbage.wasm"],
        ),
        (
            station("function: dely-band"),
            vec!["bad.yaml:6", "dely-band", "delay-band"],
        ),
        (
            station("sql: SELECT carier FROM message"),
            vec!["bad.yaml:6", "carier", "carrier"],
        ),
        (station("sql: SELEC 1"), vec!["bad.yaml:6"]),
        (
            station("sql: SELECT carrier + 1 FROM nowhere"),
            vec!["bad.yaml:6", "nowhere", "message"],
        ),
        (
            "kind: sink\nname: k\nconnector: htp\nstation: flights\n".to_owned(),
            vec!["bad.yaml:3", "htp", "http"],
        ),
        (
            "kind: sink\nname: k\nconnector: file\nstation: flihts\nconfig: { path: x }\n"
                .to_owned(),
            vec!["bad.yaml:4", "flihts", "flights"],
        ),
        (
            "kind: station\nname: other\nsubjects: [\"flights.UA\"]\n".to_owned(),
            vec!["bad.yaml:3", "flights"],
        ),
    ];
    for (yaml, expected) in cases {
        let output = server.apply("bad.yaml", &yaml);
        let said = text(&output);
        assert!(!output.status.success(), "{yaml}\n{said}");
        for part in expected {
            assert!(
                said.contains(part),
                "`{part}` is not in:\n{said}\nfor\n{yaml}"
            );
        }
    }
    let js = jetstream::new(server.client().await);
    let mut stream = js.get_stream("flights").await.expect("stream");
    assert_eq!(stream.info().await.expect("info").state.messages, 1);
    let stations = server.json(&["get", "stations"]);
    assert_eq!(
        stations["items"].as_array().expect("items").len(),
        1,
        "{stations}"
    );
}

#[tokio::test]
async fn apply_is_idempotent_and_dry_run_changes_nothing() {
    let folder = folder();
    let server = Server::start(folder.path());
    let file = root().join("examples/flights/flights.yaml");
    let file = file.to_str().expect("path");
    let dry = server.json(&["apply", "-f", file, "--dry-run"]);
    assert!(
        dry["changes"]
            .as_array()
            .expect("changes")
            .iter()
            .all(|change| change["action"] == "created"),
        "{dry}"
    );
    assert_eq!(server.json(&["get", "stations"])["items"], json!([]));
    with_flights(&server);
    let again = server.json(&["apply", "-f", file]);
    assert!(
        again["changes"]
            .as_array()
            .expect("changes")
            .iter()
            .all(|change| change["action"] == "unchanged"),
        "{again}"
    );

    let described = server.json(&["describe", "station", "flights"]);
    assert_eq!(described["name"], "flights", "{described}");
    let refused = server.cli(&["delete", "schema", "flight"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused));
    assert!(text(&refused).contains("flights"), "{}", text(&refused));
    let missing = server.cli(&["describe", "station", "flihts"]);
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing));
    assert!(
        server
            .cli(&["delete", "station", "flights"])
            .status
            .success()
    );
    assert!(
        server
            .cli(&["delete", "function", "delay-band"])
            .status
            .success()
    );
    assert!(server.cli(&["delete", "schema", "flight"]).status.success());
}
