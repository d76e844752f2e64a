//! Sources and sinks in a real server: exactly once into the log through kill -9, answers after the commit, webhooks with
//! their retries and refusals, files without a torn or repeated line.

mod receiver;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use self::receiver::{Receiver, signature};
use crate::harness::{Server, eventually, folder, http, text};

/// Applies what must be accepted.
fn applied(server: &Server, name: &str, yaml: &str) {
    let output = server.apply(name, yaml);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

/// The first value under this key, wherever in a description it stands.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => match fields.get(key) {
            Some(found) => Some(found),
            None => fields.values().find_map(|value| find(value, key)),
        },
        Value::Array(items) => items.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

/// Waits until a text in a connector's status satisfies, and answers it.
async fn status(
    server: &Server,
    kind: &str,
    name: &str,
    key: &str,
    satisfied: impl Fn(&str) -> bool,
) -> String {
    eventually(&format!("`{key}` of {kind} `{name}`"), || async {
        let (code, body) = server.get(&format!("/api/v1/{kind}s/{name}")).await;
        assert_eq!(code, 200, "{body}");
        let described: Value = serde_json::from_str(&body).expect("JSON");
        find(&described, key)?
            .as_str()
            .filter(|text| satisfied(text))
            .map(str::to_owned)
    })
    .await
}

async fn count(server: &Server, stream: &str) -> u64 {
    let js = jetstream::new(server.client().await);
    js.get_stream(stream)
        .await
        .expect("stream")
        .info()
        .await
        .expect("info")
        .state
        .messages
}

/// Waits until the stream holds at least this many, and answers how many.
async fn reached(server: &Server, stream: &str, least: u64) -> u64 {
    let js = jetstream::new(server.client().await);
    eventually(&format!("{least} messages in `{stream}`"), || async {
        let now = js
            .get_stream(stream)
            .await
            .ok()?
            .info()
            .await
            .ok()?
            .state
            .messages;
        (now >= least).then_some(now)
    })
    .await
}

/// Everything a stream holds: sequence and payload.
async fn stored(server: &Server, stream: &str) -> Vec<(u64, Value)> {
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream(stream).await.expect("stream");
    let total = usize::try_from(stream.cached_info().state.messages).expect("small");
    let ordered = jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(ordered).await.expect("consumer");
    let messages = consumer.messages().await.expect("messages").take(total);
    messages
        .map(|message| {
            let message = message.expect("message");
            let seq = message.info().expect("info").stream_sequence;
            (seq, serde_json::from_slice(&message.payload).expect("JSON"))
        })
        .collect()
        .await
}

#[tokio::test]
async fn a_file_enters_once_and_in_order_through_kill_9() {
    const LINES: u64 = 3000;
    const BROKEN: u64 = 1234;
    let folder = folder();
    let mut lines = String::new();
    for n in 0..LINES {
        if n == BROKEN {
            lines.push_str("{ \"n\": this is no JSON\n");
        }
        writeln!(lines, "{{\"n\":{n}}}").expect("a String takes all");
    }
    let file = folder.path().join("lines.jsonl");
    fs::write(&file, lines).expect("file");
    let mut server = Server::start(folder.path());
    // At this rate the whole takes three seconds, so that every kill hits the middle.
    applied(
        &server,
        "lines.yaml",
        &format!(
            "kind: station\nname: lines\nsubjects: [\"lines.>\"]\n---\nkind: source\nname: reader\nconnector: file\n\
             config: {{ path: \"{}\", subject: lines.in, rate: 1000, batch: 40 }}\n",
            file.display()
        ),
    );
    for least in [200, 900, 1700] {
        let seen = reached(&server, "lines", least).await;
        assert!(seen < LINES, "the kill must hit the middle");
        let folder = server.kill();
        server = Server::start(&folder);
    }
    status(&server, "source", "reader", "state", |state| {
        state == "finished"
    })
    .await;
    let stored = stored(&server, "lines").await;
    let expected: Vec<(u64, Value)> = (0..LINES).map(|n| (n + 1, json!({ "n": n }))).collect();
    assert_eq!(stored.len(), expected.len(), "none lost, none repeated");
    assert_eq!(stored, expected);

    let js = jetstream::new(server.client().await);
    let letters = js.get_stream("lines-dead-letters").await.expect("stream");
    assert_eq!(letters.cached_info().state.messages, 1);
    let letter = letters.get_raw_message(1).await.expect("letter");
    assert_eq!(letter.payload, "{ \"n\": this is no JSON");
    let header = |name: &str| {
        letter
            .headers
            .get(name)
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(header("Ms-Dead-Stage"), "source:reader");
    assert_eq!(header("Ms-Dead-Code"), "invalid_json");
    assert_eq!(header("Ms-Dead-Subject"), "lines.in");
    assert!(
        header("Ms-Dead-Reason").contains(&format!("line {}", BROKEN + 1)),
        "{}",
        header("Ms-Dead-Reason")
    );

    // A new version of the declaration goes on from the position; without it a new source begins at the start.
    applied(
        &server,
        "again.yaml",
        &format!(
            "kind: source\nname: reader\nconnector: file\nconfig: {{ path: \"{}\", subject: lines.in }}\n",
            file.display()
        ),
    );
    status(&server, "source", "reader", "state", |state| {
        state == "finished"
    })
    .await;
    assert_eq!(count(&server, "lines").await, LINES);
    assert!(server.cli(&["delete", "source", "reader"]).status.success());
    assert_eq!(server.get("/api/v1/sources/reader").await.0, 404);
}

const READINGS: &str = "kind: schema\nname: reading\nformat: json\n\
    schema: '{\"type\":\"object\",\"properties\":{\"value\":{\"type\":\"integer\"}},\"required\":[\"value\"]}'\n\
    ---\nkind: station\nname: readings\nsubjects: [\"readings.>\"]\nschema: { subject: reading }\n---\n";

async fn post(url: &str, headers: &[(&str, &str)], body: impl Into<String>) -> (u16, Value) {
    let mut request = http().post(url).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (
        status,
        serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON"),
    )
}

#[tokio::test]
async fn a_post_is_answered_after_the_commit_with_the_end_of_each_record() {
    let folder = folder();
    let server = Server::start(folder.path());
    let source = "kind: source\nname: door\nconnector: http\n\
        config: { listen: \"127.0.0.1:0\", path: /readings, subject: \"readings.{kind}\" }\n";
    applied(&server, "door.yaml", &format!("{READINGS}{source}"));
    let address = status(&server, "source", "door", "address", |_| true).await;
    let url = format!("http://{address}/readings");

    let (code, body) = post(&url, &[], "{\"kind\":\"a\",\"value\":1}").await;
    let one =
        json!({"accepted": 1, "results": [{"status": "stored", "stream": "readings", "seq": 1}]});
    assert_eq!((code, body), (200, one));
    // The answer means that it is on disk: a kill right after it takes nothing away.
    let folder = server.kill();
    let server = Server::start(&folder);
    assert_eq!(
        stored(&server, "readings").await,
        [(1, json!({"kind": "a", "value": 1}))]
    );
    let address = status(&server, "source", "door", "address", |_| true).await;
    let url = format!("http://{address}/readings");

    let many = "[{\"kind\":\"a\",\"value\":2},{\"kind\":\"b\",\"value\":\"x\"},{\"kind\":\"b\",\"value\":3}]";
    let (code, body) = post(&url, &[], many).await;
    assert_eq!(
        (code, &body["accepted"], &body["rejected"]),
        (422, &json!(2), &json!(1)),
        "{body}"
    );
    assert_eq!(
        body["results"][0],
        json!({"status": "stored", "stream": "readings", "seq": 2})
    );
    assert_eq!(body["results"][1]["status"], "rejected");
    assert!(
        !body["results"][1]["code"]
            .as_str()
            .expect("a code")
            .is_empty(),
        "{body}"
    );
    assert!(
        body["results"][1]["reason"]
            .as_str()
            .expect("a reason")
            .contains("integer"),
        "{body}"
    );
    assert_eq!(
        body["results"][2],
        json!({"status": "stored", "stream": "readings", "seq": 3})
    );
    let js = jetstream::new(server.client().await);
    let letter = js
        .get_stream("readings-dead-letters")
        .await
        .expect("stream")
        .get_raw_message(1)
        .await
        .expect("letter");
    assert_eq!(
        letter.payload, "{\"kind\":\"b\",\"value\":\"x\"}",
        "the bytes as they were sent"
    );
    assert_eq!(
        letter
            .headers
            .get("Ms-Dead-Subject")
            .map(|value| value.as_str()),
        Some("readings.b")
    );

    let lines = [("content-type", "application/x-ndjson")];
    let (code, body) = post(&url, &lines, "{\"value\":4}\n\n{\"value\":5}\n").await;
    assert_eq!(
        (code, &body["results"][1]["seq"]),
        (200, &json!(5)),
        "{body}"
    );
    let (code, body) = post(&url, &[], "{\"value\":6}\n{\"value\"\n").await;
    assert_eq!((code, &body["line"]), (400, &json!(2)), "{body}");
    assert_eq!(
        count(&server, "readings").await,
        5,
        "nothing of a malformed body is stored"
    );

    let once = [("idempotency-key", "k-1")];
    let (_, body) = post(&url, &once, "{\"value\":6}").await;
    assert_eq!(body["results"][0]["status"], "stored", "{body}");
    let (code, body) = post(&url, &once, "{\"value\":6}").await;
    assert_eq!(
        (code, &body["results"][0]["status"]),
        (200, &json!("duplicate")),
        "{body}"
    );
    assert_eq!(count(&server, "readings").await, 6);
    let (code, body) = post(&format!("http://{address}/other"), &[], "{}").await;
    assert_eq!(code, 404, "{body}");
}

#[tokio::test]
async fn a_post_to_a_source_with_a_secret_must_be_signed_and_a_taken_port_is_named() {
    let folder = folder();
    let server = Server::start(folder.path());
    let source = |name: &str, listen: &str| {
        format!(
            "kind: source\nname: {name}\nconnector: http\n\
             config: {{ listen: \"{listen}\", subject: readings.in, secret: open-sesame }}\n"
        )
    };
    applied(
        &server,
        "door.yaml",
        &format!("{READINGS}{}", source("door", "127.0.0.1:0")),
    );
    let address = status(&server, "source", "door", "address", |_| true).await;
    let url = format!("http://{address}/");
    let body = "{\"value\":1}";
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    assert_eq!(post(&url, &[], body).await.0, 401);
    let signed =
        |key: &str, time: u64| format!("t={time},v1={}", signature(key, time, body.as_bytes()));
    assert_eq!(
        post(
            &url,
            &[("millstream-signature", &signed("guess", now))],
            body
        )
        .await
        .0,
        401
    );
    assert_eq!(
        post(
            &url,
            &[("millstream-signature", &signed("open-sesame", now - 3600))],
            body
        )
        .await
        .0,
        401
    );
    let (code, answer) = post(
        &url,
        &[("millstream-signature", &signed("open-sesame", now))],
        body,
    )
    .await;
    assert_eq!((code, &answer["accepted"]), (200, &json!(1)), "{answer}");
    assert_eq!(count(&server, "readings").await, 1);

    // The secret is never shown.
    let (_, described) = server.get("/api/v1/sources/door").await;
    assert!(!described.contains("open-sesame"), "{described}");

    applied(&server, "second.yaml", &source("second", &address));
    let error = status(&server, "source", "second", "last_error", |_| true).await;
    assert!(
        error.contains(&address) && error.contains("in use"),
        "{error}"
    );
    // What failed for an outside reason is tried again with the next apply.
    assert!(server.cli(&["delete", "source", "door"]).status.success());
    applied(&server, "second.yaml", &source("second", &address));
    status(&server, "source", "second", "state", |state| {
        state == "running"
    })
    .await;
}

/// Publishes `{"n": …}` and waits for each to be stored.
async fn publish(server: &Server, subject: &str, numbers: std::ops::Range<u64>) {
    let js = jetstream::new(server.client().await);
    for n in numbers {
        let ack = js
            .publish(subject.to_owned(), json!({ "n": n }).to_string().into())
            .await
            .expect("sent");
        ack.await.expect("stored");
    }
}

fn hook(url: &str, more: &str) -> String {
    format!(
        "kind: sink\nname: hook\nconnector: http\nstation: events\n\
         config: {{ url: \"{url}\", secret: open-sesame, batch: 10, backoff: 10ms{more} }}\n"
    )
}

#[tokio::test]
async fn a_webhook_gets_signed_batches_with_retries_and_refusals_end_as_dead_letters() {
    let folder = folder();
    let server = Server::start(folder.path());
    applied(
        &server,
        "events.yaml",
        "kind: station\nname: events\nsubjects: [\"events.>\"]\n",
    );
    // All are there before the sink is, so that the batches are full.
    publish(&server, "events.x", 1..26).await;
    let receiver = Receiver::start(|index, request| match index {
        0 => 500,
        _ if request.numbers().contains(&17) => 400,
        _ => 200,
    })
    .await;
    applied(
        &server,
        "hook.yaml",
        &hook(&receiver.url(), ", allow_private: true"),
    );
    let open: BTreeSet<u64> = (1..26).filter(|n| *n != 17).collect();
    receiver
        .until("all but one record", |requests| {
            let accepted = requests.iter().filter(|request| request.answer == 200);
            accepted
                .flat_map(|request| request.numbers())
                .collect::<BTreeSet<_>>()
                == open
        })
        .await;
    reached(&server, "events-dead-letters", 1).await;

    let requests = receiver.requests();
    for request in &requests {
        let (time, given) = request
            .header("millstream-signature")
            .split_once(",v1=")
            .expect("`t=…,v1=…`");
        let time = time
            .strip_prefix("t=")
            .and_then(|time| time.parse().ok())
            .expect("a time");
        assert_eq!(given, signature("open-sesame", time, &request.body));
        assert_eq!(request.header("content-type"), "application/json");
    }
    assert_eq!(
        requests[0].numbers(),
        (1..11).collect::<Vec<_>>(),
        "a full batch in order"
    );
    assert_eq!(
        requests[0].body, requests[1].body,
        "the 500 is tried again with the same records"
    );
    let id = |index: usize| requests[index].header("millstream-batch-id");
    assert_eq!(id(0), id(1), "and under the same key");
    let first = &requests[0].records()[0];
    assert_eq!(
        (&first["station"], &first["seq"], &first["subject"]),
        (&json!("events"), &json!(1), &json!("events.x"))
    );
    let accepted: Vec<u64> = requests
        .iter()
        .filter(|request| request.answer == 200)
        .flat_map(|request| request.numbers())
        .collect();
    assert!(accepted.is_sorted(), "in order: {accepted:?}");

    let js = jetstream::new(server.client().await);
    let letters = js.get_stream("events-dead-letters").await.expect("stream");
    assert_eq!(letters.cached_info().state.messages, 1);
    let letter = letters.get_raw_message(1).await.expect("letter");
    assert_eq!(
        serde_json::from_slice::<Value>(&letter.payload).expect("JSON"),
        json!({ "n": 17 })
    );
    let header = |name: &str| {
        letter
            .headers
            .get(name)
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(header("Ms-Dead-Stage"), "sink:hook");
    assert!(
        header("Ms-Dead-Reason").contains("400"),
        "{}",
        header("Ms-Dead-Reason")
    );

    // The cursor is past all of them: after a clean stop only what is new is sent.
    let before = receiver.requests().len();
    let place = server.folder.clone();
    assert!(server.terminate().success());
    let server = Server::start(&place);
    publish(&server, "events.x", 26..27).await;
    receiver
        .until("the new record", |requests| requests.len() > before)
        .await;
    assert_eq!(receiver.requests()[before].numbers(), [26]);
}

#[tokio::test]
async fn a_private_address_is_refused_unless_allowed() {
    let folder = folder();
    let server = Server::start(folder.path());
    applied(
        &server,
        "events.yaml",
        "kind: station\nname: events\nsubjects: [\"events.>\"]\n",
    );
    publish(&server, "events.x", 1..4).await;
    let receiver = Receiver::start(|_, _| 200).await;
    applied(&server, "hook.yaml", &hook(&receiver.url(), ""));
    status(&server, "sink", "hook", "state", |state| state == "failed").await;
    let error = status(&server, "sink", "hook", "last_error", |_| true).await;
    assert!(
        error.contains("private") && error.contains("allow_private"),
        "{error}"
    );
    assert!(receiver.requests().is_empty());
    // A name that leads to a private address gains nothing.
    let by_name = receiver.url().replace("127.0.0.1", "localhost");
    applied(&server, "hook.yaml", &hook(&by_name, ""));
    let error = status(&server, "sink", "hook", "last_error", |error| {
        error.contains("localhost")
    })
    .await;
    assert!(error.contains("private"), "{error}");
    assert!(receiver.requests().is_empty());

    applied(
        &server,
        "hook.yaml",
        &hook(&receiver.url(), ", allow_private: true"),
    );
    receiver
        .until("all records", |requests| {
            requests
                .iter()
                .flat_map(|request| request.numbers())
                .count()
                == 3
        })
        .await;
    assert_eq!(
        receiver.requests()[0].numbers(),
        [1, 2, 3],
        "nothing was lost meanwhile"
    );
}

/// Whole lines of the sink's file.
fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| {
        bytes.iter().filter(|byte| **byte == b'\n').count()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_sink_writes_each_record_as_one_whole_line_through_kill_9() {
    const ROUNDS: usize = 5;
    let folder = folder();
    let file = folder.path().join("out.jsonl");
    let mut server = Server::start(folder.path());
    // Small batches: many writes, and a kill among them.
    applied(
        &server,
        "out.yaml",
        &format!(
            "kind: station\nname: load\nsubjects: [\"load.>\"]\n---\nkind: sink\nname: out\nconnector: file\n\
             station: load\nconfig: {{ path: \"{}\", batch: 7 }}\n",
            file.display()
        ),
    );
    for round in 0..ROUNDS {
        let client = server.client().await;
        let load = tokio::spawn(async move {
            let js = jetstream::new(client);
            // Ends when the server is killed.
            for n in 0_u64.. {
                let Ok(ack) = js
                    .publish(
                        "load.x",
                        json!({ "round": round, "n": n }).to_string().into(),
                    )
                    .await
                else {
                    return;
                };
                if n % 16 == 0 && ack.await.is_err() {
                    return;
                }
            }
        });
        let least = lines(&file) + 150 + round * 23;
        server.wait_for("lines in the file", || {
            (lines(&file) >= least).then_some(())
        });
        let place = server.kill();
        load.abort();
        // Cancelled, or ended by itself when the connection went: both are meant.
        let _ended = load.await;
        server = Server::start(&place);
    }
    let stored = stored(&server, "load").await;
    let total = stored.len();
    assert!(total >= ROUNDS * 150);
    server.wait_for("the last line", || (lines(&file) >= total).then_some(()));
    let written = fs::read_to_string(&file).expect("the file");
    assert!(written.ends_with('\n'), "no torn line");
    let written: Vec<(u64, Value)> = written
        .lines()
        .map(|line| {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            (
                line["seq"].as_u64().expect("a sequence"),
                line["payload"].clone(),
            )
        })
        .collect();
    assert_eq!(written.len(), total, "each once");
    assert_eq!(written, stored, "in order, with what is stored");
}
