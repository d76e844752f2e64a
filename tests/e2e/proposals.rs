//! `millstream schema` against a server with real flights: proposals, differences, and what would break.

use std::fs;
use std::process::Output;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::harness::{Server, folder, root, text};

const YAML: &str = "kind: schema\nname: flight\nformat: json\nfile: flight.json\n---\n\
    kind: station\nname: raw\nsubjects: [\"raw.>\"]\n---\n\
    kind: station\nname: late\nsubjects: [\"late.>\"]\nschema: { subject: flight, version: latest, on_violation: reject }\n";
const FLIGHT: &str = r#"{"title":"Flight","type":"object","properties":{"carrier":{"type":"string"},"dep_delay":{"type":["integer","null"]}},"required":["carrier"]}"#;

/// A server with one station that takes anything and one with a schema, and how many flights are stored in the first.
async fn start(place: &std::path::Path) -> (Server, u64) {
    let server = Server::start(place);
    fs::write(place.join("flight.json"), FLIGHT).expect("schema file");
    let applied = server.apply("stations.yaml", YAML);
    assert!(applied.status.success(), "{}", text(&applied));
    let flights =
        fs::read_to_string(root().join("examples/flights/flights.jsonl")).expect("flights");
    let client = server.client().await;
    let lines: Vec<&str> = flights.lines().filter(|line| !line.is_empty()).collect();
    let (last, others) = lines.split_last().expect("flights");
    for line in others {
        let payload = Bytes::copy_from_slice(line.as_bytes());
        client
            .publish("raw.flight", payload)
            .await
            .expect("published");
    }
    // The answer to the last one says that all before it are stored.
    let payload = Bytes::copy_from_slice(last.as_bytes());
    let stored = client.request("raw.flight", payload).await.expect("stored");
    let stored: Value = serde_json::from_slice(&stored.payload).expect("JSON");
    assert_eq!(stored["seq"], lines.len() as u64);
    (server, lines.len() as u64)
}

fn write(server: &Server, name: &str, schema: &str) {
    fs::write(server.folder.join(name), schema).expect("schema file");
}

/// What a command that is refused shows.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(4), "{}", text(output));
    text(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proposed_fits_every_stored_message() {
    let place = folder();
    let (server, count) = start(place.path()).await;
    for (format, ending) in [("json", "json"), ("avro", "avsc"), ("protobuf", "proto")] {
        let answer = server.json(&["schema", "infer", "raw", "--format", format]);
        assert_eq!(answer["observed"], count);
        assert_eq!(answer["not_read"], 0);
        let file = format!("proposed.{ending}");
        write(&server, &file, answer["schema"].as_str().expect("a text"));
        let checked = server.json(&["schema", "check", "new", &file, "--against-history", "raw"]);
        assert_eq!(checked["compatible"], true, "{format}: {checked}");
        assert_eq!(
            checked["history"]["looked_at"], count,
            "{format}: {checked}"
        );
        assert_eq!(checked["history"]["fail"], 0, "{format}: {checked}");
    }
    let answer = server.json(&[
        "schema",
        "infer",
        "raw",
        "--register",
        "seen",
        "--limit",
        "100",
    ]);
    assert_eq!(answer["observed"], 100);
    assert_eq!(answer["registered"]["version"], 1);
    let origin = &answer["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .find(|place| place["path"] == "/origin");
    assert_eq!(origin.expect("seen")["seen"], 100);
    let none = server.cli(&["schema", "infer", "late"]);
    assert_eq!(none.status.code(), Some(3), "{}", text(&none));

    // The same over NATS, beside the registry's own requests.
    let client = server.client().await;
    let asked = client
        .request("$MS.API.SCHEMA.INFER.raw", "{\"limit\":50}".into())
        .await;
    let asked: Value = serde_json::from_slice(&asked.expect("an answer").payload).expect("JSON");
    assert_eq!(asked["items"][0]["result"]["observed"], 50, "{asked}");
    let asked = client.request("$MS.API.SCHEMA.SUBJECTS", "".into()).await;
    let asked: Value = serde_json::from_slice(&asked.expect("an answer").payload).expect("JSON");
    assert_eq!(asked, json!(["flight", "seen"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_breaks_is_known_before() {
    let place = folder();
    let (server, count) = start(place.path()).await;
    let narrow = FLIGHT.replace(r#"["integer","null"]"#, r#""integer""#);
    write(&server, "narrow.json", &narrow);
    let output = server.cli(&[
        "schema",
        "check",
        "flight",
        "narrow.json",
        "--against-history",
        "raw",
        "-o",
        "json",
    ]);
    refused(&output);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["compatible"], false, "{report}");
    assert_eq!(report["breaks"], json!([]), "{report}");
    let history = &report["history"];
    let cancelled = history["fail"].as_u64().expect("a count");
    assert!(
        cancelled > 0 && cancelled + history["fit"].as_u64().expect("a count") == count,
        "{history}"
    );
    let kinds = history["violations"].as_array().expect("kinds");
    assert_eq!(kinds.len(), 1, "{history}");
    assert_eq!(
        (&kinds[0]["path"], &kinds[0]["found"]),
        (&json!("/dep_delay"), &json!("null"))
    );
    let first = kinds[0]["seq"].as_u64().expect("a sequence").to_string();
    let message = server.cli(&[
        "tail",
        "raw",
        "--from-seq",
        &first,
        "--limit",
        "1",
        "--no-follow",
    ]);
    assert!(
        text(&message).contains("\"dep_delay\":null"),
        "{}",
        text(&message)
    );

    let gone = r#"{"title":"Flight","type":"object","properties":{"carrier":{"type":"string"}},"required":["carrier"]}"#;
    write(&server, "gone.json", gone);
    let versions = server.json(&["schema", "versions", "flight"]);
    assert_eq!(versions["items"].as_array().map(Vec::len), Some(1));
    let shown = text(&server.cli(&["schema", "diff", "flight:1", "gone.json"]));
    assert_eq!(shown, "- dep_delay: int64 or null, optional\n");
    let broken = refused(&server.cli(&[
        "schema",
        "check",
        "flight",
        "stations.yaml",
        "--format",
        "avro",
    ]));
    assert!(broken.contains("error: "), "{broken}");
}

/// A schema that was only tried has the number that the next one gets: it must not be taken for that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_was_tried_leaves_nothing_behind() {
    let place = folder();
    let (server, _) = start(place.path()).await;
    let with = |more: &str| FLIGHT.replace(r#""required":["carrier"]"#, more);
    write(
        &server,
        "tried.json",
        &with(r#""required":["carrier"],"maxProperties":1"#),
    );
    refused(&server.cli(&["schema", "check", "flight", "tried.json"]));
    write(
        &server,
        "next.json",
        &with(r#""required":["carrier"],"maxProperties":9"#),
    );
    let level = server.cli(&["schema", "compat", "flight", "none"]);
    assert!(level.status.success(), "{}", text(&level));
    let done = server.json(&["schema", "register", "flight", "next.json"]);
    assert_eq!(done["version"], 2);
    let stored = server.cli(&["publish", "late.f", r#"{"carrier":"UA","dep_delay":20}"#]);
    assert!(stored.status.success(), "{}", text(&stored));
}

/// A station that takes one message of a schema, and SQL that reads a column: both are named when what they need is gone.
#[tokio::test(flavor = "multi_thread")]
async fn stations_that_would_no_longer_work_are_named() {
    let place = folder();
    let server = Server::start(place.path());
    let message = |name: &str| {
        format!(
            "syntax = \"proto3\"; package air; message Other {{}} message {name} {{ int32 delay = 1; }}"
        )
    };
    write(&server, "gate.proto", &message("Gate"));
    let yaml = "kind: schema\nname: gate\nformat: protobuf\nfile: gate.proto\n---\n\
        kind: station\nname: gates\nsubjects: [\"gates.>\"]\nschema: { subject: gate, message: air.Gate }\n";
    let applied = server.apply("gates.yaml", yaml);
    assert!(applied.status.success(), "{}", text(&applied));
    write(&server, "door.proto", &message("Door"));
    let shown = refused(&server.cli(&["schema", "register", "gate", "door.proto", "--dry-run"]));
    assert!(
        shown.contains("station `gates` would no longer work: schema"),
        "{shown}"
    );
    if !cfg!(feature = "sql") {
        return;
    }
    fs::write(place.path().join("flight.json"), FLIGHT).expect("schema file");
    let yaml = "kind: schema\nname: flight\nformat: json\nfile: flight.json\n---\n\
        kind: station\nname: late\nsubjects: [\"late.>\"]\nschema: { subject: flight }\n\
        stages:\n  - sql: SELECT carrier, dep_delay FROM message WHERE dep_delay > 15\n";
    let applied = server.apply("late.yaml", yaml);
    assert!(applied.status.success(), "{}", text(&applied));
    let gone = r#"{"title":"Flight","type":"object","properties":{"carrier":{"type":"string"}},"required":["carrier"]}"#;
    write(&server, "gone.json", gone);
    let shown = refused(&server.cli(&["schema", "check", "flight", "gone.json"]));
    assert!(
        shown.contains("station `late` would no longer work: stages[0].sql"),
        "{shown}"
    );
}
