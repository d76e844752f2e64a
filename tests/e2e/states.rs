//! Goal: what a flow's function remembers is exactly what its inputs made of it, however often the process is killed, and any
//! key-value client reads it. Method: the example that tells when a carrier is late several times in a row, over many
//! flights and kills, against a model of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, root, text};

/// How late a flight is that counts, as the example has it.
const LATE: i64 = 15;
/// How many in a row are told.
const TIMES: u32 = 3;
const ROUNDS: usize = 6;
const FLIGHTS: usize = 400;

const YAML: &str = r#"
kind: function
name: late
component: late.wasm
state: { bucket: late-flights, ttl: 36h }
---
kind: station
name: flights
subjects: ["flights.>"]
---
kind: station
name: alerts
subjects: ["alerts.>", "seen.>"]
---
kind: flow
name: watch
from: flights
filter: "flights.*"
to: alerts
subject: "seen.$1"
stages: [ { function: late } ]
"#;

/// What the example must have come to.
#[derive(Debug, Default, PartialEq)]
struct Model {
    /// Late flights in a row, by carrier.
    rows: BTreeMap<String, u32>,
    /// Alerts in order, as carrier and flight.
    alerts: Vec<(String, u64)>,
}

impl Model {
    fn flight(&mut self, carrier: &str, delay: i64, number: u64) {
        if delay < LATE {
            self.rows.remove(carrier);
            return;
        }
        let row = self.rows.entry(carrier.to_owned()).or_default();
        *row += 1;
        if *row == TIMES {
            self.alerts.push((carrier.to_owned(), number));
        }
    }
}

fn apply(server: &Server, yaml: &str) -> String {
    let module = root().join("examples/functions/late/late.wasm");
    fs::copy(module, server.folder.join("late.wasm")).expect("copied");
    text(&server.apply("flow.yaml", yaml))
}

/// What is in the bucket and among the alerts, when the flow has read everything.
async fn came_to(server: &Server) -> Model {
    eventually("the flow has read everything", async || {
        let described = server.json(&["describe", "flow", "watch"]);
        (described["status"]["lag_messages"] == 0 || described["lag_messages"] == 0).then_some(())
    })
    .await;
    let js = jetstream::new(server.client().await);
    let bucket = js.get_key_value("late-flights").await.expect("a bucket");
    let status = bucket.status().await.expect("status");
    assert_eq!(status.max_age(), Duration::from_secs(36 * 3600));
    let mut model = Model::default();
    let keys: Vec<String> = match bucket.keys().await {
        Ok(keys) => keys.try_collect().await.expect("keys"),
        Err(_) => Vec::new(),
    };
    for key in keys {
        let value = bucket.get(&key).await.expect("read").expect("there");
        let row = String::from_utf8_lossy(&value).parse().expect("a number");
        model.rows.insert(key, row);
    }
    let mut stream = js.get_stream("alerts").await.expect("stream");
    let last = stream.info().await.expect("info").state.last_sequence;
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("stored");
        if let Some(carrier) = message.subject.strip_prefix("alerts.late.") {
            let alert: Value = serde_json::from_slice(&message.payload).expect("JSON");
            let flight = alert["flight"].as_u64().expect("a number");
            model.alerts.push((carrier.to_owned(), flight));
        }
    }
    model
}

/// A number that looks like chance and is the same in every run.
fn mixed(number: usize) -> usize {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 40).expect("few bits")
}

#[tokio::test]
async fn state_counts_each_input_once_through_kills() {
    let folder = folder();
    let mut server = Server::start(folder.path());
    let told = apply(&server, YAML);
    assert!(told.contains("watch"), "{told}");
    let mut model = Model::default();
    for round in 0..ROUNDS {
        let js = jetstream::new(server.client().await);
        let mut acks = Vec::new();
        for number in 0..FLIGHTS {
            let number = round * FLIGHTS + number;
            let carrier = ["UA", "AA", "DL", "B6"][mixed(number) % 4];
            let delay = i64::try_from(mixed(number * 7 + 1) % 40).expect("small") - 5;
            let flight = json!({ "carrier": carrier, "dep_delay": delay, "flight": number });
            let ack = js.publish(format!("flights.{carrier}"), flight.to_string().into());
            acks.push(ack.await.expect("sent"));
            model.flight(carrier, delay, number as u64);
        }
        for ack in acks {
            ack.await.expect("stored");
        }
        // Killed while it is at work on these, as chance has it.
        let store = server.kill();
        server = Server::start(&store);
    }
    assert_eq!(came_to(&server).await, model);
}

#[tokio::test]
async fn state_belongs_into_a_flow_and_to_one_function() {
    let folder = folder();
    let server = Server::start(folder.path());
    let stage = "kind: function\nname: late\ncomponent: late.wasm\nstate: {}\n---\nkind: station\nname: flights\n\
                 subjects: [\"flights.>\"]\nstages: [ { function: late } ]\n";
    let told = apply(&server, stage);
    assert!(told.contains("use it in a `kind: flow`"), "{told}");
    let one = "kind: function\nname: late\ncomponent: late.wasm\nstate: {}\n";
    let told = apply(&server, one);
    assert!(told.contains("created"), "{told}");
    let other = format!("{one}config: {{ times: \"2\" }}\n");
    let file = server.folder.join("other.yaml");
    fs::write(&file, other).expect("written");
    let file = file.to_str().expect("a path");
    let told = text(&server.cli(&["function", "deploy", "-f", file, "--shadow"]));
    assert!(told.contains("both would write its bucket"), "{told}");
    let twice = "kind: function\nname: one\ncomponent: late.wasm\nstate: { bucket: b }\n---\n\
                 kind: function\nname: two\ncomponent: late.wasm\nstate: { bucket: b }\n";
    let told = apply(&server, twice);
    assert!(told.contains("bucket `b` is what function"), "{told}");
}

#[tokio::test]
async fn what_a_function_logs_is_a_stream() {
    let folder = folder();
    let server = Server::start(folder.path());
    let told = apply(&server, YAML);
    assert!(told.contains("watch"), "{told}");
    for number in 0..3 {
        let flight = json!({ "carrier": "UA", "dep_delay": 60, "flight": number });
        let published = server.cli(&["publish", "flights.UA", &flight.to_string()]);
        assert!(published.status.success(), "{}", text(&published));
    }
    let logged = eventually("the line is stored", async || {
        let logged = text(&server.cli(&["function", "logs", "late"]));
        logged.contains("was late").then_some(logged)
    })
    .await;
    assert!(
        logged.contains("info")
            && logged.contains("v1")
            && logged.contains("UA was late 3 times in a row"),
        "{logged}"
    );
}
