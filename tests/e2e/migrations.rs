//! Versions between which the formats' rules do not lead: what their owner declares is run, in SQL or by a function.

use std::fs;

use async_nats::jetstream::{self, consumer::pull};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Server, folder, text};
use crate::registry::{get, post};

const ONE: &str = r#"{"type":"object","properties":{"flight":{"type":"string"},"delay_minutes":{"type":"integer"}},
    "required":["flight","delay_minutes"],"additionalProperties":false}"#;
const TWO: &str = r#"{"type":"object","properties":{"flight":{"type":"string"},"delay":{"type":"integer"}},
    "required":["flight","delay"],"additionalProperties":false}"#;

const FIRST: &str =
    "kind: schema\nname: delay\nformat: json\nfile: one.json\ncompatibility: none\n";
const UP: &str = "SELECT flight, delay_minutes * 60 AS delay FROM message";
const DOWN: &str = "SELECT flight, delay / 60 AS delay_minutes FROM message";

fn second(up: &str, down: &str) -> String {
    format!(
        "kind: schema\nname: delay\nformat: json\nfile: two.json\ncompatibility: none\nmigrations:\n  upgrade: {{ sql: \"{up}\" }}\n  \
        downgrade: {{ sql: \"{down}\" }}\n"
    )
}

fn start(folder: &std::path::Path) -> Server {
    let server = Server::start(folder);
    fs::write(server.folder.join("one.json"), ONE).expect("schema file");
    fs::write(server.folder.join("two.json"), TWO).expect("schema file");
    server
}

fn apply(server: &Server, yaml: &str) {
    let output = server.apply("schemas.yaml", yaml);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

/// The first message of a stream as a consumer with this metadata gets it: its payload, and why it is as it is stored.
async fn read(server: &Server, stream: &str, wanted: &str) -> (Value, String) {
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream(stream).await.expect("stream");
    let config = pull::Config {
        metadata: [("ms.as".to_owned(), wanted.to_owned())].into(),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.expect("consumer");
    let batch = consumer.fetch().max_messages(1).messages().await;
    let message = batch
        .expect("batch")
        .next()
        .await
        .expect("a message")
        .expect("delivered");
    let headers = message.headers.clone().unwrap_or_default();
    let error = headers
        .get("Ms-Schema-Error")
        .map(|value| value.as_str().to_owned());
    let payload = serde_json::from_slice(&message.payload).expect("JSON");
    (payload, error.unwrap_or_default())
}

async fn publish(
    server: &Server,
    subject: &str,
    headers: &[(&str, &str)],
    document: &Value,
) -> Value {
    let client = server.client().await;
    let mut map = async_nats::HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let payload = document.to_string().into();
    let answer = client
        .request_with_headers(subject.to_owned(), map, payload)
        .await;
    serde_json::from_slice(&answer.expect("answered").payload).expect("JSON")
}

#[tokio::test]
async fn declared_migrations_carry_messages_both_ways() {
    let folder = folder();
    let server = start(folder.path());
    let station = "kind: station\nname: delays\nsubjects: [\"delays.>\"]\nschema: { subject: delay, on_violation: reject }\n";
    apply(&server, &format!("{FIRST}---\n{station}"));
    let old = json!({ "flight": "UA1117", "delay_minutes": 4 });
    assert_eq!(publish(&server, "delays.a", &[], &old).await["seq"], 1);
    apply(&server, &second(UP, DOWN));
    // Applied once more, nothing changes.
    let output = server.apply("again.yaml", &second(UP, DOWN));
    assert!(text(&output).contains("unchanged"), "{}", text(&output));
    // What is stored as version 1 is read as version 2, and the other way round; publishers may still send version 1.
    assert_eq!(
        read(&server, "delays", "delay:2").await,
        (json!({ "flight": "UA1117", "delay": 240 }), String::new())
    );
    let answer = publish(&server, "delays.a", &[("Ms-Schema", "delay:1")], &old).await;
    assert_eq!(answer["seq"], 2, "{answer}");
    let js = jetstream::new(server.client().await);
    let stored = js
        .get_stream("delays")
        .await
        .expect("stream")
        .get_raw_message(2)
        .await
        .expect("stored");
    let stored: Value = serde_json::from_slice(&stored.payload).expect("JSON");
    assert_eq!(stored, json!({ "flight": "UA1117", "delay": 240 }));
    js.get_stream("delays")
        .await
        .expect("stream")
        .delete_message(1)
        .await
        .expect("deleted");
    assert_eq!(
        read(&server, "delays", "delay:1").await,
        (old, String::new())
    );
}

#[tokio::test]
async fn a_migration_that_cannot_run_is_refused_and_says_why() {
    let folder = folder();
    let server = start(folder.path());
    apply(&server, FIRST);
    let output = server.apply(
        "wrong.yaml",
        &second("SELECT flight, dela_minutes FROM message", DOWN),
    );
    assert!(!output.status.success());
    let said = text(&output);
    assert!(
        said.contains("migration `upgrade` of schema `delay:2`") && said.contains("delay_minutes"),
        "{said}"
    );
    let function = second(UP, DOWN).replace(&format!("sql: \"{DOWN}\""), "function: nobody");
    let output = server.apply("wrong.yaml", &function);
    let said = text(&output);
    assert!(
        !output.status.success() && said.contains("there is no function `nobody`"),
        "{said}"
    );
    // The same over the interface that serializers speak, with the rule written as Confluent's clients write rules.
    let rule = |expr: &str| {
        json!({ "schema": TWO, "schemaType": "JSON", "ruleSet": { "migrationRules": [
            { "name": "seconds", "kind": "TRANSFORM", "mode": "UPGRADE", "type": "SQL", "expr": expr }] } })
    };
    let (status, body) = post(&server, "/subjects/delay/versions", &rule("SELEC 1")).await;
    assert_eq!(status, 422, "{body}");
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|text| text.contains("migration `seconds`")),
        "{body}"
    );
    let (status, body) = post(&server, "/subjects/delay/versions", &rule(UP)).await;
    assert_eq!(status, 200, "{body}");
    // A later version does not take the migration over.
    let three = TWO.replace(
        "\"flight\":{",
        "\"gate\":{\"type\":\"string\"},\"flight\":{",
    );
    let (status, body) = post(
        &server,
        "/subjects/delay/versions",
        &json!({ "schema": three, "schemaType": "JSON" }),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let body = get(&server, "/subjects/delay/versions/3").await;
    assert!(body.get("ruleSet").is_none(), "{body}");
}
