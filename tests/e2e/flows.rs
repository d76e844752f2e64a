//! Flows with a real server: exactly once through kills, order, what is tried again, what a full station does, and how a
//! flow is told what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, root, text};

const KILLS: u64 = 12;
const PER_ROUND: u64 = 300;
/// What there is to do before the first kill; a batch is about a thousand.
const BACKLOG: u64 = 24_000;

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

fn refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    text(&output)
}

fn applied(server: &Server, yaml: &str) {
    let output = server.apply("flows.yaml", yaml);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

/// `delay-band`, and the guest of the host's own tests under the name `guest`: it does what a payload's first byte says.
fn functions(folder: &Path) -> &'static str {
    let band = root().join("examples/functions/delay-band/delay_band.wasm");
    fs::copy(band, folder.join("delay_band.wasm")).expect("copied");
    let guest = root().join("functions/host/tests/fixtures/guest.wat");
    let guest = wat::parse_str(fs::read_to_string(guest).expect("the guest")).expect("well formed");
    fs::write(folder.join("guest.wasm"), guest).expect("written");
    "kind: function\nname: delay-band\ncomponent: delay_band.wasm\n---\nkind: function\nname: guest\ncomponent: guest.wasm\n---\n"
}

fn stations() -> &'static str {
    "kind: station\nname: in\nsubjects: [\"in.>\"]\n---\nkind: station\nname: out\nsubjects: [\"out.>\"]\n---\n"
}

fn flow(name: &str, more: &str) -> String {
    format!(
        "kind: flow\nname: {name}\nfrom: in\nfilter: \"in.*\"\nto: out\nsubject: \"out.$1\"\n{more}\n---\n"
    )
}

/// What `describe flow` answers.
async fn described(server: &Server, name: &str) -> Value {
    let (status, body) = server.get(&format!("/api/v1/flows/{name}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Waits for a flow's status to be as wanted; answers it.
async fn until(server: &Server, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{what} of {name}\n{}", server.log()), async || {
        let status = described(server, name).await["status"].clone();
        wanted(&status).then_some(status)
    })
    .await
}

async fn caught_up(server: &Server, name: &str) -> Value {
    until(server, name, "end of the lag", |status| {
        status["lag_messages"] == 0 && status["state"] == "running"
    })
    .await
}

#[derive(Clone, Debug)]
struct Stored {
    seq: u64,
    subject: String,
    payload: String,
    headers: async_nats::HeaderMap,
}

impl Stored {
    fn header(&self, name: &str) -> String {
        let value = self.headers.get(name);
        value
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    }
}

async fn all(server: &Server, stream: &str) -> Vec<Stored> {
    let js = jetstream::new(server.client().await);
    let mut stream = js.get_stream(stream).await.expect("stream");
    let count = stream.info().await.expect("info").state.messages;
    if count == 0 {
        return Vec::new();
    }
    let config = jetstream::consumer::pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let consumer: PullConsumer = stream.create_consumer(config).await.expect("consumer");
    let messages = consumer.messages().await.expect("messages");
    let count = usize::try_from(count).expect("few");
    let found: Vec<_> = messages.take(count).try_collect().await.expect("read");
    let stored = |message: &jetstream::Message| Stored {
        seq: message.info().expect("info").stream_sequence,
        subject: message.subject.to_string(),
        payload: String::from_utf8_lossy(&message.payload).into_owned(),
        headers: message.headers.clone().unwrap_or_default(),
    };
    found.iter().map(stored).collect()
}

/// Publishes, a thousand at a time, and waits until everything is acknowledged; false when something is not.
async fn publish(server: &Server, messages: impl IntoIterator<Item = (String, String)>) -> bool {
    let js = jetstream::new(server.client().await);
    let all: Vec<_> = messages.into_iter().collect();
    for some in all.chunks(1000) {
        let mut acks = Vec::new();
        for (subject, payload) in some {
            match js.publish(subject.clone(), payload.clone().into()).await {
                Ok(ack) => acks.push(ack),
                Err(_) => return false,
            }
        }
        for ack in acks {
            if ack.await.is_err() {
                return false;
            }
        }
    }
    true
}

/// A flight; every seventh is impossibly fast.
fn flight(number: u64) -> (String, String) {
    let air_time = if number.is_multiple_of(7) { 1 } else { 100 };
    let payload =
        json!({ "n": number, "dep_delay": number % 40, "distance": 500, "air_time": air_time });
    (format!("in.{}", number % 5), payload.to_string())
}

fn number(stored: &Stored) -> u64 {
    let value: Value = serde_json::from_str(&stored.payload).expect("JSON");
    value["n"].as_u64().expect("a number")
}

fn numbers(stored: &[Stored]) -> Vec<u64> {
    stored.iter().map(number).collect()
}

/// Every input became one output or one letter, in the order of the inputs, whatever happened.
async fn check(server: &Server) {
    let (inputs, outputs, letters) = (
        all(server, "in").await,
        all(server, "out").await,
        all(server, "in-dead-letters").await,
    );
    let (bad, good): (Vec<u64>, Vec<u64>) = numbers(&inputs)
        .into_iter()
        .partition(|number| number.is_multiple_of(7));
    assert_eq!(
        numbers(&outputs),
        good,
        "outputs are the good inputs, in order"
    );
    assert_eq!(numbers(&letters), bad, "letters are the others, in order");
    for output in &outputs {
        let value: Value = serde_json::from_str(&output.payload).expect("JSON");
        assert!(value["band"].is_string(), "{value}");
        assert_eq!(output.subject, format!("out.{}", number(output) % 5));
    }
    for letter in &letters {
        assert_eq!(letter.header("Ms-Dead-Flow"), "band");
        let seq: u64 = letter
            .header("Ms-Dead-Sequence")
            .parse()
            .expect("a sequence");
        let input = inputs.iter().find(|input| input.seq == seq).expect("there");
        assert_eq!(input.payload, letter.payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_input_counts_once_however_often_the_process_is_killed() {
    let folder = folder();
    let mut path: PathBuf = folder.path().to_owned();
    let mut next = 1;
    let mut position = 0;
    let mut in_the_middle = 0;
    for round in 0..KILLS {
        let server = Server::start(&path);
        if round == 0 {
            let more = "stages: [ { function: delay-band } ]\nworkers: 2\npaused: true";
            let yaml = [functions(&path), stations(), &flow("band", more)].concat();
            applied(&server, &yaml);
            assert!(publish(&server, (next..=BACKLOG).map(flight)).await);
            next = BACKLOG + 1;
            done(&server, &["flow", "resume", "band"]);
        }
        // Nobody waits for these: some are stored when it is killed.
        let client = server.client().await;
        let js = jetstream::new(client.clone());
        let from = next;
        next += PER_ROUND;
        for (subject, payload) in (from..next).map(flight) {
            js.publish(subject, payload.into()).await.expect("sent");
        }
        client.flush().await.expect("flushed");
        // Killed as soon as it has moved on: the next commit is being made, written or synced.
        let status = until(&server, "band", "progress", |status| {
            status["position"].as_u64() > Some(position)
        })
        .await;
        position = status["position"].as_u64().unwrap_or(position);
        in_the_middle += u32::from(status["lag_messages"].as_u64() > Some(0));
        path = server.kill();
    }
    assert!(
        in_the_middle >= 10,
        "killed with work left: {in_the_middle}"
    );
    let server = Server::start(&path);
    let status = caught_up(&server, "band").await;
    check(&server).await;
    let inputs = all(&server, "in").await.len() as u64;
    assert!(inputs >= BACKLOG, "{inputs}");
    assert_eq!(
        status["inputs"], inputs,
        "totals are part of the position: {status}"
    );
    assert_eq!(
        status["outputs"].as_u64().unwrap_or(0) + status["rejected"].as_u64().unwrap_or(0),
        inputs
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_with_several_workers_under_load() {
    let folder = folder();
    let server = Server::start(folder.path());
    let more = "stages: [ { function: delay-band } ]\nworkers: 3";
    applied(
        &server,
        &[functions(folder.path()), stations(), &flow("band", more)].concat(),
    );
    for burst in 0..10 {
        assert!(publish(&server, (burst * 500 + 1..=burst * 500 + 500).map(flight)).await);
    }
    caught_up(&server, "band").await;
    check(&server).await;
    let (_, metrics) = server.get("/metrics").await;
    assert!(
        metrics.contains("millstream_flow_records_in{flow=\"band\"} 5000"),
        "{metrics}"
    );
    let answer = done(
        &server,
        &[
            "sql",
            "-c",
            "SELECT name, inputs, lag_messages FROM system.flows",
            "--csv",
        ],
    );
    assert!(answer.contains("band,5000,0"), "{answer}");
    assert_eq!(server.json(&["status"])["flows"], 1);
}

/// Inputs for the guest: subject token and payload.
async fn guest(server: &Server, inputs: &[(&str, &str)]) {
    let messages = inputs
        .iter()
        .map(|(subject, payload)| (format!("in.{subject}"), (*payload).to_owned()));
    assert!(publish(server, messages.collect::<Vec<_>>()).await);
}

fn payloads(stored: &[Stored]) -> Vec<&str> {
    stored
        .iter()
        .map(|stored| stored.payload.as_str())
        .collect()
}

#[tokio::test]
async fn inputs_are_tried_again_in_the_order_that_is_asked_for() {
    let inputs = [
        ("a", "k1"),
        ("a", "V2"),
        ("a", "k3"),
        ("b", "k4"),
        ("a", "Z5"),
        ("b", "V6"),
        ("b", "k7"),
    ];
    for order in ["station", "key", "none"] {
        let folder = folder();
        let server = Server::start(folder.path());
        let more = format!("stages: [ {{ function: guest }} ]\norder: {order}\npaused: true");
        applied(
            &server,
            &[functions(folder.path()), stations(), &flow("again", &more)].concat(),
        );
        guest(&server, &inputs).await;
        done(&server, &["flow", "resume", "again"]);
        let status = caught_up(&server, "again").await;
        assert_eq!(
            (&status["retried"], &status["dropped"]),
            (&json!(4), &json!(1)),
            "{status}"
        );
        let outputs = all(&server, "out").await;
        let mut seen = payloads(&outputs);
        let of = |subject: &str| {
            let own = outputs.iter().filter(|output| output.subject == subject);
            own.map(|output| output.payload.as_str())
                .collect::<Vec<_>>()
        };
        match order {
            "station" => assert_eq!(seen, ["k1", "V2", "k3", "k4", "V6", "k7"]),
            "key" => {
                assert_eq!(of("out.a"), ["k1", "V2", "k3"]);
                assert_eq!(of("out.b"), ["k4", "V6", "k7"]);
            }
            _ => assert_eq!(seen[..4], ["k1", "k3", "k4", "k7"]),
        }
        seen.sort_unstable();
        assert_eq!(seen, ["V2", "V6", "k1", "k3", "k4", "k7"]);
    }
}

#[tokio::test]
async fn what_never_stops_asking_is_rejected_and_can_be_sent_again() {
    let folder = folder();
    let server = Server::start(folder.path());
    let more = "stages: [ { function: guest } ]\norder: none\nmax_retries: 1";
    let yaml = [functions(folder.path()), stations(), &flow("again", more)].concat();
    applied(&server, &yaml);
    guest(&server, &[("a", "Y1"), ("a", "J2"), ("a", "k3")]).await;
    let status = caught_up(&server, "again").await;
    assert_eq!(
        (&status["rejected"], &status["outputs"]),
        (&json!(2), &json!(1)),
        "{status}"
    );
    let letters = server.json(&["dead-letters", "list", "in"]);
    let code = |at: usize| letters["items"][at]["code"].clone();
    assert_eq!(
        (code(0), code(1)),
        (json!("bad_flight"), json!("retries_exhausted"))
    );
    assert_eq!(letters["items"][0]["flow"], "again", "{letters}");

    // The guest rejects it once more: a new letter takes the place of the old one.
    let told = refused(&server, &["dead-letters", "resend", "in", "1"]);
    assert!(
        told.contains("bad_flight") && told.contains("letter 3"),
        "{told}"
    );
    assert_eq!(server.json(&["dead-letters", "list", "in"])["total"], 2);
    // A flow without that function takes it, and the station does not get it a second time.
    applied(&server, &flow("again", ""));
    done(&server, &["dead-letters", "resend", "in", "3"]);
    assert_eq!(payloads(&all(&server, "out").await), ["k3", "J2"]);
    assert_eq!(all(&server, "in").await.len(), 3);
    assert_eq!(server.json(&["dead-letters", "list", "in"])["total"], 1);
    done(&server, &["delete", "flow", "again"]);
    let told = refused(&server, &["dead-letters", "resend", "in", "2"]);
    assert!(told.contains("no flow `again`"), "{told}");
}

#[tokio::test]
async fn parked_inputs_survive_a_kill_and_removal() {
    let folder = folder();
    let server = Server::start(folder.path());
    let more = "stages: [ { function: guest } ]\norder: none\nmax_retries: 1000";
    applied(
        &server,
        &[functions(folder.path()), stations(), &flow("again", more)].concat(),
    );
    guest(&server, &[("a", "Y1"), ("a", "k2"), ("a", "Y3")]).await;
    until(&server, "again", "two parked", |status| {
        status["parked"] == 2
    })
    .await;
    let path = server.kill();
    let server = Server::start(&path);
    until(&server, "again", "two parked", |status| {
        status["parked"] == 2
    })
    .await;
    assert_eq!(payloads(&all(&server, "out").await), ["k2"]);
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream("in").await.expect("stream");
    let deleted = js
        .get_stream("in")
        .await
        .expect("stream")
        .delete_message(1)
        .await;
    if deleted.is_err() {
        stream.purge().sequence(2).await.expect("purged");
    }
    let status = until(&server, "again", "a lost one", |status| status["lost"] == 1).await;
    assert_eq!(status["parked"], 1, "{status}");
}

#[tokio::test]
async fn a_full_station_blocks_and_what_never_fits_is_rejected() {
    let folder = folder();
    let server = Server::start(folder.path());
    let out = "kind: station\nname: in\nsubjects: [\"in.>\"]\n---\nkind: station\nname: out\nsubjects: [\"out.>\"]\n\
               retention: { max_msgs: 5, discard: new, max_msg_size: 64 }\n---\n";
    applied(&server, &[out, &flow("copy", "")].concat());
    let large = "x".repeat(100);
    let inputs: Vec<(String, String)> = (1..=12)
        .map(|number| {
            let payload = if number == 3 {
                large.clone()
            } else {
                number.to_string()
            };
            ("in.a".to_owned(), payload)
        })
        .collect();
    assert!(publish(&server, inputs).await);
    let status = until(&server, "copy", "a block", |status| {
        status["state"] == "blocked"
    })
    .await;
    let reason = status["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("maximum messages exceeded"), "{status}");
    assert_eq!(
        payloads(&all(&server, "out").await),
        ["1", "2", "4", "5", "6"]
    );
    let letters = all(&server, "in-dead-letters").await;
    assert_eq!(payloads(&letters), [large.as_str()]);
    assert_eq!(letters[0].header("Ms-Dead-Code"), "too_large");
    let js = jetstream::new(server.client().await);
    let mut seen = vec![];
    for _ in 0..3 {
        let stored = all(&server, "out").await;
        seen.extend(stored.iter().map(|stored| stored.payload.clone()));
        let last = stored.last().map_or(0, |stored| stored.seq);
        js.get_stream("out")
            .await
            .expect("stream")
            .purge()
            .sequence(last + 1)
            .await
            .expect("purged");
        until(&server, "copy", "room is used", |status| {
            status["lag_messages"] == 0 || status["position"].as_u64() > Some(last + 1)
        })
        .await;
    }
    caught_up(&server, "copy").await;
    let stored = all(&server, "out").await;
    for stored in stored {
        if !seen.contains(&stored.payload) {
            seen.push(stored.payload);
        }
    }
    let wanted: Vec<String> = (1..=12)
        .filter(|number| *number != 3)
        .map(|number: i32| number.to_string())
        .collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_flow_does_what_it_is_told() {
    let folder = folder();
    let server = Server::start(folder.path());
    let other = "kind: station\nname: other\nsubjects: [\"out2.>\"]\n---\n";
    applied(&server, &[stations(), other, &flow("copy", "")].concat());
    let send = async |from: u64, to: u64| {
        let each = (from..=to).map(|number| ("in.a".to_owned(), number.to_string()));
        assert!(publish(&server, each.collect::<Vec<_>>()).await);
    };
    send(1, 3).await;
    caught_up(&server, "copy").await;
    done(&server, &["flow", "pause", "copy"]);
    send(4, 6).await;
    let status = until(&server, "copy", "a pause", |status| {
        status["state"] == "paused"
    })
    .await;
    assert_eq!(
        (&status["position"], &status["lag_messages"]),
        (&json!(3), &json!(3)),
        "{status}"
    );
    let path = server.kill();
    let server = Server::start(&path);
    until(&server, "copy", "a pause", |status| {
        status["state"] == "paused" && status["lag_messages"] == 3
    })
    .await;
    let out = async || {
        let stored = all(&server, "out").await;
        stored
            .iter()
            .map(|stored| stored.payload.parse::<u64>().expect("a number"))
            .collect::<Vec<_>>()
    };
    done(&server, &["flow", "resume", "copy"]);
    caught_up(&server, "copy").await;
    assert_eq!(out().await, [1, 2, 3, 4, 5, 6]);
    done(&server, &["flow", "restart", "copy", "--from-seq", "5"]);
    caught_up(&server, "copy").await;
    assert_eq!(out().await, [1, 2, 3, 4, 5, 6, 5, 6]);
    let told = refused(
        &server,
        &["flow", "rerun", "copy", "--from-seq", "2", "--to-seq", "9"],
    );
    assert!(told.contains("ends with 6"), "{told}");
    let told = refused(&server, &["flow", "rerun", "copy", "--to", "in"]);
    assert!(told.contains("loop"), "{told}");
    done(
        &server,
        &["flow", "rerun", "copy", "--from-seq", "2", "--to-seq", "4"],
    );
    eventually("the end of the rerun", async || {
        let flow = described(&server, "copy").await;
        (flow["rerun"]["status"]["state"] == "done").then_some(())
    })
    .await;
    assert_eq!(out().await, [1, 2, 3, 4, 5, 6, 5, 6, 2, 3, 4]);
    // Into a station that does not store the subject: what does not go there is told, and nothing of it is lost.
    done(
        &server,
        &["flow", "rerun", "copy", "--to-seq", "1", "--to", "other"],
    );
    eventually("the end of the rerun", async || {
        let flow = described(&server, "copy").await;
        let status = &flow["rerun"]["status"];
        (status["state"] == "done" && status["rejected"] == 1).then_some(())
    })
    .await;
    let time = "2001-01-01T00:00:00Z";
    done(&server, &["flow", "restart", "copy", "--from-time", time]);
    caught_up(&server, "copy").await;
    assert_eq!(out().await.len(), 17);
    done(&server, &["flow", "restart", "copy", "--from-end"]);
    let each = (7..=8).map(|number| ("in.a".to_owned(), number.to_string()));
    assert!(publish(&server, each.collect::<Vec<_>>()).await);
    until(&server, "copy", "two inputs", |status| {
        status["inputs"] == 2
    })
    .await;
    assert_eq!(out().await[17..], [7, 8]);
    assert!(refused(&server, &["flow", "pause", "cpy"]).contains("did you mean `copy`?"));

    // What it uses stays while it uses it.
    for thing in [["station", "in"], ["station", "out"]] {
        let told = refused(&server, &["delete", thing[0], thing[1]]);
        assert!(told.contains("flow `copy`"), "{told}");
    }
    let listed = server.json(&["get", "flows"]);
    assert_eq!(listed["items"][0]["name"], "copy", "{listed}");
    done(&server, &["delete", "flow", "copy"]);
    done(&server, &["delete", "station", "in"]);
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_applied() {
    let folder = folder();
    let server = Server::start(folder.path());
    functions(folder.path());
    let base = "kind: station\nname: in\nsubjects: [\"in.>\"]\n---\nkind: station\nname: out\nsubjects: [\"out.>\"]\n---\n\
                kind: station\nname: jobs\nsubjects: [\"jobs.>\"]\nretention: { policy: workqueue }\n---\n\
                kind: station\nname: short\nsubjects: [\"short.>\"]\nstorage: memory\n---\n";
    applied(&server, base);
    for (flow, why) in [
        ("from: inn\nto: out\nsubject: out.x", "did you mean `in`?"),
        ("from: in\nto: outt\nsubject: out.x", "did you mean `out`?"),
        ("from: in\nto: out", "messages keep their subjects"),
        (
            "from: in\nto: out\nsubject: other.$1\nfilter: in.*",
            "no subject of `out`",
        ),
        ("from: jobs\nto: out\nsubject: out.x", "acknowledged"),
        (
            "from: short\nto: out\nsubject: out.x",
            "`short` is in memory",
        ),
        (
            "from: in\nto: short\nsubject: short.x",
            "`short` is in memory",
        ),
        (
            "from: in\nto: out\nsubject: out.x\nstages: [{ function: none }]",
            "no function `none`",
        ),
        (
            "from: in\nto: out\nsubject: out.x\nstages: [{ sql: \"SELECT a FROM message\" }]",
            "columns",
        ),
    ] {
        let output = server.apply("wrong.yaml", &format!("kind: flow\nname: f\n{flow}\n"));
        let told = text(&output);
        assert!(
            !output.status.success() && told.contains(why),
            "{flow}: {told}"
        );
    }
    applied(
        &server,
        "kind: function\nname: guest\ncomponent: guest.wasm\n---\nkind: flow\nname: f\nfrom: in\nstages: [{ function: guest }]\n",
    );
    let told = refused(&server, &["delete", "function", "guest"]);
    assert!(told.contains("flow `f`"), "{told}");
    // Outputs without a place to go are the input's dead letters.
    guest(&server, &[("a", "k1"), ("a", "F2")]).await;
    caught_up(&server, "f").await;
    let letters = all(&server, "in-dead-letters").await;
    assert_eq!(letters[0].header("Ms-Dead-Code"), "loops");
    assert_eq!(letters.len(), 2);
}

#[tokio::test]
async fn plain_streams_and_ids_and_streams_that_are_made_anew() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = jetstream::new(server.client().await);
    let config = |name: &str| jetstream::stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        ..Default::default()
    };
    js.create_stream(config("raw")).await.expect("stream");
    js.create_stream(config("copy")).await.expect("stream");
    applied(
        &server,
        "kind: flow\nname: f\nfrom: raw\nto: copy\nsubject: \"copy.fixed\"\n",
    );
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "7");
    headers.insert("Nats-Expected-Last-Sequence", "0");
    headers.insert("Trace", "t");
    let sent = js.publish_with_headers("raw.a", headers, "1".into()).await;
    sent.expect("sent").await.expect("stored");
    caught_up(&server, "f").await;
    done(&server, &["flow", "restart", "f"]);
    caught_up(&server, "f").await;
    let stored = all(&server, "copy").await;
    assert_eq!(
        payloads(&stored),
        ["1", "1"],
        "the input's id does not count there"
    );
    assert_eq!(
        (stored[0].header("Trace"), stored[0].header("Nats-Msg-Id")),
        ("t".to_owned(), String::new())
    );

    js.delete_stream("raw").await.expect("deleted");
    until(&server, "f", "a block", |status| {
        status["state"] == "blocked"
    })
    .await;
    js.create_stream(config("raw")).await.expect("stream");
    assert!(publish(&server, [("raw.b".to_owned(), "2".to_owned())]).await);
    let status = until(&server, "f", "the new stream", |status| {
        status["inputs"] == 1
    })
    .await;
    assert_eq!(status["position"], 1, "{status}");
    assert_eq!(payloads(&all(&server, "copy").await), ["1", "1", "2"]);
}

#[tokio::test]
async fn stages_see_avro_as_json_with_the_schemas_columns() {
    let folder = folder();
    let server = Server::start(folder.path());
    let schema = json!({ "type": "record", "name": "Flight", "fields": [
        { "name": "carrier", "type": "string" }, { "name": "delay", "type": "int" } ] });
    let yaml = format!(
        "kind: schema\nname: flight\nformat: avro\nschema: '{schema}'\n---\n\
         kind: station\nname: in\nsubjects: [\"in.>\"]\nschema: {{ subject: flight }}\n---\n\
         kind: station\nname: out\nsubjects: [\"out.>\"]\n---\n{}",
        flow(
            "late",
            "stages: [ { sql: \"SELECT carrier, delay * 2 AS twice FROM message WHERE delay > 10\" } ]"
        )
    );
    applied(&server, &yaml);
    let js = jetstream::new(server.client().await);
    for (carrier, delay) in [("UA", 12u8), ("AA", 3)] {
        // A string with its length, and a small number, as zigzag numbers.
        let mut payload = vec![u8::try_from(carrier.len() * 2).expect("short")];
        payload.extend_from_slice(carrier.as_bytes());
        payload.push(delay * 2);
        let sent = js.publish(format!("in.{carrier}"), payload.into()).await;
        sent.expect("sent").await.expect("stored");
    }
    let status = caught_up(&server, "late").await;
    assert_eq!(
        (&status["outputs"], &status["dropped"]),
        (&json!(1), &json!(1)),
        "{status}"
    );
    let stored = all(&server, "out").await;
    let value: Value = serde_json::from_str(&stored[0].payload).expect("JSON");
    assert_eq!(value, json!({ "carrier": "UA", "twice": 24 }));
    assert_eq!(stored[0].subject, "out.UA");
}

#[tokio::test]
async fn a_slow_function_keeps_no_change_waiting() {
    let folder = folder();
    let server = Server::start(folder.path());
    let loops = functions(folder.path()).replace(
        "component: guest.wasm\n",
        "component: guest.wasm\nlimits: { timeout: 60s }\n",
    );
    let slow = flow("slow", "stages: [{ function: guest }]");
    applied(&server, &[stations(), &loops, &slow].concat());
    guest(&server, &[("a", "L1")]).await;
    // Its function has it when it cannot take notice of anything else.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    done(&server, &["flow", "pause", "slow"]);
    let other = "kind: station\nname: other\nsubjects: [\"other.>\"]\n";
    applied(&server, other);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let status = described(&server, "slow").await["status"].clone();
    assert_eq!(status["lag_messages"], 1, "{status}");
}
