//! Stations over their life: applied, changed, deleted, applied anew; what clients and browsers may not do to them.

use std::fs;

use async_nats::jetstream;
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, http, text};

/// Applies a file that must be taken.
fn apply(server: &Server, yaml: &str) {
    let output = server.apply("stations.yaml", yaml);
    assert!(output.status.success(), "{}", text(&output));
}

fn schema(server: &Server) -> &'static str {
    let schema = r#"{"type":"object","properties":{"x":{"type":"integer"}}}"#;
    fs::write(server.folder.join("x.json"), schema).expect("schema");
    "kind: schema\nname: x\nformat: json\nfile: x.json\n---\n"
}

async fn request(server: &Server, subject: &str, body: &Value) -> Value {
    let client = server.client().await;
    let answer = client.request(subject.to_owned(), body.to_string().into());
    serde_json::from_slice(&answer.await.expect("answered").payload).expect("JSON")
}

#[tokio::test]
async fn a_station_applied_anew_has_its_new_stages() {
    let folder = folder();
    let server = Server::start(folder.path());
    let head = schema(&server);
    for word in ["OLD", "NEW"] {
        apply(
            &server,
            &format!(
                "{head}kind: station\nname: s\nsubjects: [\"s.>\"]\nschema: {{ subject: x }}\n\
                 stages:\n  - sql: SELECT x, '{word}' AS v FROM message\n"
            ),
        );
        let stored = request(&server, "s.1", &json!({ "x": 1 })).await;
        assert_eq!(stored["seq"], 1, "{stored}");
        let js = jetstream::new(server.client().await);
        let stream = js.get_stream("s").await.expect("stream");
        let message = stream.get_raw_message(1).await.expect("message");
        let message: Value = serde_json::from_slice(&message.payload).expect("JSON");
        assert_eq!(message, json!({ "x": 1, "v": word }));
        let deleted = server.cli(&["delete", "station", "s"]);
        assert!(deleted.status.success(), "{}", text(&deleted));
    }
}

#[tokio::test]
async fn stations_may_hand_subjects_over_and_an_apply_is_whole_or_nothing() {
    let folder = folder();
    let server = Server::start(folder.path());
    apply(
        &server,
        "kind: station\nname: old\nsubjects: [\"orders.>\", \"refunds.>\"]\n",
    );
    // The taker stands first.
    apply(
        &server,
        "kind: station\nname: a\nsubjects: [\"refunds.>\"]\n---\nkind: station\nname: old\nsubjects: [\"orders.>\"]\n",
    );
    assert_eq!(
        request(&server, "refunds.1", &json!(1)).await["stream"],
        "a"
    );
    assert_eq!(
        request(&server, "orders.1", &json!(1)).await["stream"],
        "old"
    );

    // And swap them.
    apply(
        &server,
        "kind: station\nname: a\nsubjects: [\"orders.>\"]\n---\nkind: station\nname: old\nsubjects: [\"refunds.>\"]\n",
    );
    assert_eq!(
        request(&server, "refunds.2", &json!(1)).await["stream"],
        "old"
    );
    assert_eq!(request(&server, "orders.2", &json!(1)).await["stream"], "a");

    // Two streams of one name: nothing of the file is there afterwards.
    let before = server.json(&["get", "stations"]);
    let refused = server.apply(
        "stations.yaml",
        "kind: station\nname: c\nsubjects: [\"c.>\"]\n---\nkind: station\nname: c-dead-letters\nsubjects: [\"d.>\"]\n",
    );
    assert!(!refused.status.success(), "{}", text(&refused));
    assert_eq!(server.json(&["get", "stations"]), before);
}

#[tokio::test]
async fn a_stations_stream_is_not_for_clients_to_delete() {
    let folder = folder();
    let server = Server::start(folder.path());
    apply(&server, "kind: station\nname: s\nsubjects: [\"s.>\"]\n");
    let js = jetstream::new(server.client().await);
    for name in ["s", "s-dead-letters"] {
        let answer = js.delete_stream(name).await.map(|_| ());
        let error = answer.expect_err("refused").to_string();
        assert!(error.contains("delete station s"), "{error}");
    }
}

#[tokio::test]
async fn management_over_nats_answers_whatever_was_asked_before() {
    let folder = folder();
    let server = Server::start(folder.path());
    apply(&server, "kind: station\nname: s\nsubjects: [\"s.>\"]\n");
    request(&server, "s.1", &json!(1)).await;
    let follow = json!({ "follow": true, "limit": u64::MAX });
    let messages = request(&server, "$MS.API.MESSAGES.s", &follow).await;
    assert_eq!(
        messages["items"].as_array().map(Vec::len),
        Some(1),
        "{messages}"
    );
    let status = request(&server, "$MS.API.STATUS", &json!({})).await;
    assert!(status.is_object(), "{status}");
}

#[tokio::test]
async fn only_the_server_writes_what_a_message_was_checked_against() {
    let folder = folder();
    let server = Server::start(folder.path());
    apply(&server, "kind: station\nname: s\nsubjects: [\"s.>\"]\n");
    let published = server.cli(&[
        "publish",
        "s.1",
        "x",
        "-H",
        "Ms-Schema=forged:9",
        "-H",
        "B=c",
    ]);
    assert!(published.status.success(), "{}", text(&published));
    let js = jetstream::new(server.client().await);
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Ms-Schema", "forged:9");
    headers.insert("B", "c");
    let ack = js.publish_with_headers("s.2", headers, "x".into()).await;
    ack.expect("sent").await.expect("stored");
    let stream = js.get_stream("s").await.expect("stream");
    for seq in [1, 2] {
        let message = stream.get_raw_message(seq).await.expect("message");
        assert!(message.headers.get("Ms-Schema").is_none());
        assert_eq!(message.headers.get("B").expect("kept").as_str(), "c");
    }
}

#[tokio::test]
async fn pages_of_other_sites_manage_nothing() {
    let folder = folder();
    let server = Server::start(folder.path());
    let url = format!("{}/api/v1/status", server.http);
    let own = server.http.trim_start_matches("http://");
    for (header, value, status) in [
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Host", "evil.example", 403),
        ("Origin", &*server.http, 200),
        ("Host", own, 200),
        ("Host", "localhost", 200),
    ] {
        let answer = http().get(&url).header(header, value).send().await;
        assert_eq!(
            answer.expect("answered").status(),
            status,
            "{header}: {value}"
        );
    }
}

#[tokio::test]
async fn payloads_over_the_limit_are_refused_at_every_door() {
    let folder = folder();
    let server = Server::start(folder.path());
    apply(&server, "kind: station\nname: s\nsubjects: [\"s.>\"]\n");
    fs::write(folder.path().join("large"), vec![b'x'; (1 << 20) + 1]).expect("file");
    let refused = server.cli(&["publish", "s.1", "--file", "large"]);
    assert!(text(&refused).contains("max_payload"), "{}", text(&refused));
    assert!(!refused.status.success());
}

#[tokio::test]
async fn a_file_holds_records_of_one_station() {
    let folder = folder();
    let server = Server::start(folder.path());
    let stations = "kind: station\nname: a\nsubjects: [\"a.>\"]\n---\nkind: station\nname: b\nsubjects: [\"b.>\"]\n---\n";
    let sink = |station: &str, path: &str| {
        let path = folder.path().join(path);
        format!(
            "{stations}kind: sink\nname: out\nconnector: file\nstation: {station}\nconfig: {{ path: \"{}\" }}\n",
            path.display()
        )
    };
    apply(&server, &sink("a", "one"));
    let refused = server.apply("stations.yaml", &sink("b", "one"));
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(
        text(&refused).contains("another `path`"),
        "{}",
        text(&refused)
    );
    apply(&server, &sink("b", "two"));
}

#[tokio::test]
async fn a_source_waits_for_the_station_of_its_records() {
    let folder = folder();
    let server = Server::start(folder.path());
    fs::write(
        folder.path().join("in.jsonl"),
        "{\"k\":\"a\"}\n{\"k\":\"b\"}\n",
    )
    .expect("input");
    apply(
        &server,
        &format!(
            "kind: source\nname: in\nconnector: file\nconfig: {{ path: \"{}\", subject: \"late.{{k}}\" }}\n",
            folder.path().join("in.jsonl").display()
        ),
    );
    eventually("the reason", async || {
        server
            .json(&["describe", "source", "in"])
            .to_string()
            .contains("no station takes `late.a`")
            .then_some(())
    })
    .await;
    apply(
        &server,
        "kind: station\nname: late\nsubjects: [\"late.>\"]\n",
    );
    let js = jetstream::new(server.client().await);
    eventually("both records", async || {
        let stream = js.get_stream("late").await.ok()?;
        (stream.cached_info().state.messages == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_station_that_acknowledges_before_the_sync_keeps_its_messages_through_a_kill() {
    let folder = folder();
    let server = Server::start(folder.path());
    let station = "kind: station\nname: quick\nsubjects: [\"quick.>\"]\npersist_mode: async\n";
    apply(&server, station);
    let info = request(&server, "$JS.API.STREAM.INFO.quick", &json!({})).await;
    assert_eq!(info["config"]["persist_mode"], "async", "{info}");
    for number in 1..=200 {
        let stored = request(&server, "quick.1", &json!(number)).await;
        assert_eq!(stored["seq"], number, "{stored}");
    }
    server.kill();
    let server = Server::start(folder.path());
    let info = request(&server, "$JS.API.STREAM.INFO.quick", &json!({})).await;
    assert_eq!(info["state"]["messages"], 200, "{info}");

    // It cannot be had in memory, nor changed.
    let output = server.apply("stations.yaml", &format!("{station}storage: memory\n"));
    assert!(!output.status.success());
    assert!(
        text(&output).contains("needs `storage: file`"),
        "{}",
        text(&output)
    );
    let output = server.apply("stations.yaml", &station.replace("async", "default"));
    assert!(!output.status.success());
    assert!(
        text(&output).contains("can not change persist mode"),
        "{}",
        text(&output)
    );
}
