//! Flows that are queries, with a real server: results are those of the whole history, whatever is killed when, and a flow is
//! told what to do as others are.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, text};

const KILLS: u64 = 8;
const PER_ROUND: u64 = 400;
/// Event time goes on by so many seconds with each flight; a window has a minute.
const STEP: u64 = 2;

const SCHEMA: &str = r#"kind: schema
name: flight
format: json
schema: |
  { "type": "object", "properties": { "n": { "type": "integer" }, "carrier": { "type": "string" },
    "at": { "type": "string", "format": "date-time" } }, "required": ["n", "carrier", "at"] }
---
"#;

const STATIONS: &str = "kind: station\nname: flights\nsubjects: [\"flights.>\"]\nschema: { subject: flight }\n---\n\
kind: station\nname: windows\nsubjects: [\"windows.>\"]\n---\nkind: station\nname: totals\nsubjects: [\"totals.>\"]\n---\n";

const FLOWS: &str = r#"kind: flow
name: per-minute
sql: |
  SELECT carrier, window_start, count(*) AS flights
  FROM TUMBLE(flights, at, INTERVAL '1 minute')
  GROUP BY carrier, window_start
into: windows
subject: "windows.{carrier}"
sources: { flights: { event_time: at, watermark: 5s, idle: 1h } }
emit: window_close
---
kind: flow
name: per-carrier
sql: SELECT carrier, count(*) AS flights, sum(n) AS total FROM flights GROUP BY carrier
into: totals
subject: "totals.{carrier}"
emit: update
results: upsert
"#;

fn applied(server: &Server, yaml: &str) {
    let output = server.apply("queries.yaml", yaml);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

fn time(number: u64) -> String {
    let seconds = number * STEP;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}Z")
}

fn carrier(number: u64) -> &'static str {
    ["AA", "DL", "UA"][usize::try_from(number % 7 % 3).expect("small")]
}

async fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    publish_to(server, "flights", numbers).await;
}

async fn publish_to(server: &Server, station: &str, numbers: impl Iterator<Item = u64>) {
    let js = jetstream::new(server.client().await);
    let mut acks = Vec::new();
    for number in numbers {
        let payload = json!({ "n": number, "carrier": carrier(number), "at": time(number) });
        let subject = format!("{station}.{}", carrier(number));
        let sent = js.publish(subject, payload.to_string().into()).await;
        acks.push(sent.expect("sent"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
}

async fn all(server: &Server, stream: &str) -> Vec<(String, Value)> {
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
    let read = |message: &jetstream::Message| {
        let value = serde_json::from_slice(&message.payload).expect("JSON");
        (message.subject.to_string(), value)
    };
    found.iter().map(read).collect()
}

async fn status(server: &Server, name: &str) -> Value {
    let (code, body) = server.get(&format!("/api/v1/flows/{name}")).await;
    assert_eq!(code, 200, "{body}");
    let described: Value = serde_json::from_str(&body).expect("JSON");
    described["status"].clone()
}

async fn caught_up(server: &Server, name: &str, inputs: u64) -> Value {
    eventually(&format!("end of {name}\n{}", server.log()), async || {
        let status = status(server, name).await;
        let done = status["lag_messages"] == 0 && status["inputs"] == inputs;
        done.then_some(status)
    })
    .await
}

/// Windows that are closed hold what was published, once; the last result of a carrier is its total.
async fn check(server: &Server, published: u64) {
    let mut windows: BTreeMap<(String, u64), u64> = BTreeMap::new();
    let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    // What is behind the watermark: five seconds before the last one.
    let closed = ((published - 1) * STEP).saturating_sub(5) / 60;
    for number in 0..published {
        let minute = number * STEP / 60;
        let carrier = carrier(number).to_owned();
        if minute < closed {
            *windows.entry((carrier.clone(), minute)).or_insert(0) += 1;
        }
        let total = totals.entry(carrier).or_insert((0, 0));
        *total = (total.0 + 1, total.1 + number);
    }
    let mut found = BTreeMap::new();
    for (subject, value) in all(server, "windows").await {
        let carrier = value["carrier"].as_str().expect("a carrier").to_owned();
        assert_eq!(subject, format!("windows.{carrier}"));
        let start = value["window_start"].as_str().expect("a time");
        let part = |range: std::ops::Range<usize>| {
            start
                .get(range)
                .expect("long enough")
                .parse::<u64>()
                .expect("digits")
        };
        let minute = part(11..13) * 60 + part(14..16);
        let flights = value["flights"].as_u64().expect("a count");
        assert_eq!(
            found.insert((carrier, minute), flights),
            None,
            "a window came twice: {value}"
        );
    }
    assert_eq!(found, windows);
    let mut last = BTreeMap::new();
    for (subject, value) in all(server, "totals").await {
        let carrier = subject
            .strip_prefix("totals.")
            .expect("its subject")
            .to_owned();
        let number = |name: &str| value[name].as_u64().expect("a number");
        last.insert(carrier, (number("flights"), number("total")));
    }
    assert_eq!(last, totals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_those_of_the_whole_history_through_kills() {
    let folder = folder();
    let mut server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}{FLOWS}"));
    for round in 0..KILLS {
        publish(&server, round * PER_ROUND..(round + 1) * PER_ROUND).await;
        // At different places of what it does.
        tokio::time::timeout(
            Duration::from_millis(round * 7),
            std::future::pending::<()>(),
        )
        .await
        .expect_err("never");
        server.kill();
        server = Server::start(folder.path());
    }
    let published = KILLS * PER_ROUND;
    let windows = caught_up(&server, "per-minute", published).await;
    assert!(windows["query"]["watermark"].is_string(), "{windows}");
    let totals = caught_up(&server, "per-carrier", published).await;
    assert_eq!(totals["query"]["state_rows"], 3, "{totals}");
    check(&server, published).await;
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_are_made_changed_and_dropped_by_statements() {
    let folder = folder();
    let server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}"));
    let run = |sql: &str| text(&server.cli(&["sql", "-c", sql]));
    let made = run(
        "CREATE FLOW per_carrier INTO totals SUBJECT 'totals.{carrier}' AS SELECT carrier, count(*) AS flights, sum(n) AS total FROM flights GROUP BY carrier",
    );
    assert!(made.contains("created"), "{made}");
    publish(&server, 0..100).await;
    caught_up(&server, "per_carrier", 100).await;
    let shown = run("SHOW FLOWS");
    assert!(
        shown.contains("per_carrier") && shown.contains("running"),
        "{shown}"
    );
    let dropped = run("DROP FLOW per_carrier");
    assert!(dropped.contains("deleted"), "{dropped}");
    let (code, _) = server.get("/api/v1/flows/per_carrier").await;
    assert_eq!(code, 404);
    // What is to be known of a table stands before the flow, and late messages go where the text says.
    applied(
        &server,
        "kind: station\nname: too-late\nsubjects: [\"too-late.>\"]\n",
    );
    let made = run(
        "CREATE TABLE flights (WATERMARK FOR at AS at - INTERVAL '5' SECOND) WITH (idle = '1h');\n\
         CREATE FLOW per_minute INTO windows SUBJECT 'windows.{carrier}' AS \
         SELECT carrier, window_start, count(*) AS flights FROM TUMBLE(flights, at, INTERVAL '1 minute') \
         GROUP BY carrier, window_start EMIT ON WINDOW CLOSE LATE SIDE OUTPUT TO \"too-late\"",
    );
    assert!(made.contains("created"), "{made}");
    caught_up(&server, "per_minute", 100).await;
    publish(&server, 0..1).await;
    let status = caught_up(&server, "per_minute", 101).await;
    assert_eq!(status["late"], 1, "{status}");
    let late = all(&server, "too-late").await;
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0].1["n"], 0, "{late:?}");
    assert!(run("DROP FLOW per_minute").contains("deleted"));
    let streams = run("SELECT name FROM system.streams");
    assert!(!streams.contains("FLOWSTATE"), "{streams}");
    server.terminate();
}

async fn asked(server: &Server, subject: &str, body: &Value) -> Value {
    let client = server.client().await;
    let payload = body.to_string().into();
    let reply = client.request(subject.to_owned(), payload).await;
    serde_json::from_slice(&reply.expect("an answer").payload).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_flow_remembers_is_its_own() {
    const STATE: &str = "FLOWSTATE_per-carrier";
    let folder = folder();
    let server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}{FLOWS}"));
    publish(&server, 0..10).await;
    caught_up(&server, "per-carrier", 10).await;
    let names = asked(&server, "$JS.API.STREAM.NAMES", &json!({})).await;
    let names = names["streams"].to_string();
    assert!(
        names.contains("\"totals\"") && !names.contains("FLOWSTATE"),
        "{names}"
    );
    let list = asked(&server, "$JS.API.STREAM.LIST", &json!({})).await;
    assert!(!list.to_string().contains("FLOWSTATE"), "{list}");
    for sql in [
        "SELECT name FROM system.streams",
        "SELECT name FROM system.tables",
    ] {
        let shown = text(&server.cli(&["sql", "-c", sql]));
        assert!(
            shown.contains("totals") && !shown.contains("FLOWSTATE"),
            "{shown}"
        );
    }
    // It is there for who asks for it, and nobody but the flow changes it.
    let info = asked(&server, &format!("$JS.API.STREAM.INFO.{STATE}"), &json!({})).await;
    let stored = info["state"]["messages"].clone();
    assert!(stored.as_u64() > Some(0), "{info}");
    let config = info["config"].clone();
    for (action, body) in [
        ("UPDATE", &config),
        ("PURGE", &json!({})),
        ("MSG.DELETE", &json!({ "seq": 1 })),
        ("DELETE", &json!({})),
    ] {
        let subject = format!("$JS.API.STREAM.{action}.{STATE}");
        let refused = asked(&server, &subject, body).await;
        let why = refused["error"]["description"].to_string();
        assert!(
            why.contains("only flow `per-carrier` writes it"),
            "{refused}"
        );
    }
    let body = json!({ "name": "FLOWSTATE_mine", "subjects": ["mine"] });
    let refused = asked(&server, "$JS.API.STREAM.CREATE.FLOWSTATE_mine", &body).await;
    assert!(refused["error"].is_object(), "{refused}");
    let refused = asked(&server, "$FLOWSTATE.per-carrier.00", &json!({})).await;
    let why = refused["error"]["description"].to_string();
    assert!(
        why.contains("only flow `per-carrier` writes it"),
        "{refused}"
    );
    let info = asked(&server, &format!("$JS.API.STREAM.INFO.{STATE}"), &json!({})).await;
    assert_eq!(info["state"]["messages"], stored);
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_flow_stays_paused_and_its_station_keeps_its_subjects() {
    let folder = folder();
    let server = Server::start(folder.path());
    let files = format!("{SCHEMA}{STATIONS}{FLOWS}");
    applied(&server, &files);
    let paused = server.cli(&["flow", "pause", "per-carrier"]);
    assert!(paused.status.success(), "{}", text(&paused));
    let again = server.apply("queries.yaml", &files);
    assert!(
        text(&again).contains("millstream flow resume per-carrier"),
        "{}",
        text(&again)
    );
    eventually("a pause", async || {
        let status = status(&server, "per-carrier").await;
        (status["state"] == "paused").then_some(())
    })
    .await;
    publish(&server, 0..10).await;
    let said = files.replace("results: upsert", "results: upsert\npaused: false");
    applied(&server, &said);
    caught_up(&server, "per-carrier", 10).await;
    // Without the subjects that a flow writes, its station is refused as it is not deleted.
    let other = "kind: station\nname: totals\nsubjects: [\"sums.>\"]\n";
    let refused = server.apply("station.yaml", other);
    let why = text(&refused);
    assert!(!refused.status.success(), "{why}");
    assert!(
        why.contains("flow `per-carrier` writes there") && why.contains("totals.{carrier}"),
        "{why}"
    );
    let wider = "kind: station\nname: totals\nsubjects: [\"totals.>\", \"sums.>\"]\n";
    applied(&server, wider);
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_statement_is_told_where_it_stands() {
    let folder = folder();
    let server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}"));
    let refused = |sql: &str| {
        let output = server.cli(&["sql", "-c", sql]);
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    };
    let why = refused(
        "CREATE FLOW f INTO totals SUBJECT 'totals.{carrier}' AS\n  SELECT carrier,\n    numbr FROM flights",
    );
    assert!(
        why.contains("3:5") && why.contains("there is no column `numbr`"),
        "{why}"
    );
    let why = refused("CREATE FLOW f\n  INTO total AS SELECT carrier FROM flights");
    assert!(
        why.contains("2:8") && why.contains("did you mean `totals`?"),
        "{why}"
    );
    let why = refused(
        "CREATE FLOW f INTO totals\n WITH (state_limit = 'much') AS SELECT carrier FROM flights",
    );
    assert!(
        why.contains("line 2, column 8") && why.contains("`much` is not a size"),
        "{why}"
    );
    let made = text(&server.cli(&[
        "sql",
        "-c",
        "CREATE FLOW f INTO totals SUBJECT 'totals.{carrier}' WITH (state_limit = '1GiB') AS SELECT carrier, count(*) AS n FROM flights GROUP BY carrier",
    ]));
    assert!(made.contains("created"), "{made}");
    server.terminate();
}

const JOIN: &str = r#"kind: station
name: crews
subjects: ["crews.>"]
schema: { subject: flight }
---
kind: station
name: joined
subjects: ["joined.>"]
---
kind: flow
name: manned
sql: |
  SELECT f.n, f.at AS departs, c.carrier AS crew, count(*) AS rows
  FROM flights f JOIN crews c ON f.n = c.n GROUP BY f.n, f.at, c.carrier
into: joined
subject: "joined.{n}"
emit: update
results: changelog
memory_limit: 64KiB
"#;

/// State is many times what memory may have of it; every flight finds its crew, also behind a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_has_no_room_in_memory_is_on_disk() {
    const FLIGHTS: u64 = 3000;
    let folder = folder();
    let mut server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}{JOIN}"));
    publish(&server, 0..FLIGHTS).await;
    let waits = caught_up(&server, "manned", FLIGHTS).await;
    let spilled = |status: &Value| status["query"]["spilled_rows"].as_u64().expect("a number");
    assert_eq!(waits["query"]["state_rows"], FLIGHTS, "{waits}");
    assert!(spilled(&waits) > FLIGHTS * 3 / 4, "{waits}");
    let metrics = server.get("/metrics").await.1;
    assert!(
        metrics.contains("millstream_flow_spilled_rows{flow=\"manned\"}"),
        "{metrics}"
    );
    // Those that wait for longest come first, and half of them behind a kill.
    publish_to(&server, "crews", 0..FLIGHTS / 2).await;
    server.kill();
    server = Server::start(folder.path());
    publish_to(&server, "crews", (FLIGHTS / 2..FLIGHTS).rev()).await;
    let done = caught_up(&server, "manned", 2 * FLIGHTS).await;
    assert!(spilled(&done) > FLIGHTS, "{done}");
    let mut found = BTreeMap::new();
    for (subject, value) in all(&server, "joined").await {
        assert_eq!(value["op"], "insert", "{value}");
        let row = &value["after"];
        let number = row["n"].as_u64().expect("a number");
        assert_eq!(subject, format!("joined.{number}"));
        assert_eq!(row["crew"], carrier(number), "{value}");
        assert_eq!(row["rows"], 1, "{value}");
        assert_eq!(found.insert(number, ()), None, "it came twice: {value}");
    }
    assert_eq!(found.len() as u64, FLIGHTS);
    server.terminate();
}

/// The same queries with more columns, which need other state.
fn more_columns() -> String {
    let windows = FLOWS.replace(
        "window_start, count(*) AS flights",
        "window_start, count(*) AS flights, max(n) AS last",
    );
    windows.replace("sum(n) AS total", "sum(n) AS total, max(n) AS last")
}

async fn described(server: &Server, name: &str) -> Value {
    let (code, body) = server.get(&format!("/api/v1/flows/{name}")).await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Until what is declared of a flow runs.
async fn switched(server: &Server, name: &str, sql: &str) -> Value {
    eventually(&format!("switch of {name}\n{}", server.log()), async || {
        let flow = described(server, name).await;
        let text = flow["spec"]["query"]["sql"].as_str().unwrap_or_default();
        (flow["build"].is_null() && text.contains(sql)).then_some(flow)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_flows_take_over_through_kills_and_publish_once() {
    let folder = folder();
    let mut server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}{FLOWS}"));
    publish(&server, 0..PER_ROUND).await;
    caught_up(&server, "per-minute", PER_ROUND).await;
    for round in 1..KILLS {
        let texts = [FLOWS.to_owned(), more_columns()];
        applied(&server, &texts[usize::try_from(round % 2).expect("small")]);
        publish(&server, round * PER_ROUND..(round + 1) * PER_ROUND).await;
        // At different places of what it builds.
        tokio::time::timeout(
            Duration::from_millis(round * 11),
            std::future::pending::<()>(),
        )
        .await
        .expect_err("never");
        server.kill();
        server = Server::start(folder.path());
    }
    applied(&server, &more_columns());
    for name in ["per-minute", "per-carrier"] {
        let flow = switched(&server, name, "last").await;
        assert!(flow["version"].as_u64() > Some(1), "{flow}");
    }
    let published = (KILLS + 1) * PER_ROUND;
    publish(&server, KILLS * PER_ROUND..published).await;
    caught_up(&server, "per-minute", published).await;
    caught_up(&server, "per-carrier", published).await;
    check(&server, published).await;
    for station in ["windows", "totals"] {
        let (_, last) = all(&server, station).await.pop().expect("one");
        assert!(last["last"].is_u64(), "{last}");
    }
    // The state of versions that ran is gone.
    let js = jetstream::new(server.client().await);
    let state = js.get_stream("FLOWSTATE_per-carrier").await.expect("there");
    let mut subjects = state.info_with_subjects(">").await.expect("subjects");
    let mut parts = std::collections::BTreeSet::new();
    while let Some((subject, _)) = subjects.try_next().await.expect("one") {
        parts.insert(subject.split('.').nth(2).map(str::to_owned));
    }
    assert_eq!(parts.len(), 1, "{parts:?}");
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_says_what_becomes_of_state_and_builds_are_given_up() {
    let folder = folder();
    let server = Server::start(folder.path());
    applied(&server, &format!("{SCHEMA}{STATIONS}{FLOWS}"));
    publish(&server, 0..100).await;
    caught_up(&server, "per-carrier", 100).await;
    std::fs::write(folder.path().join("more.yaml"), more_columns()).expect("written");
    let path = folder.path().join("more.yaml");
    let path = path.to_str().expect("UTF-8");
    let dry = text(&server.cli(&["apply", "--dry-run", "-f", path]));
    assert!(dry.contains("rebuilt in the background"), "{dry}");
    let flow = described(&server, "per-carrier").await;
    assert!(flow["version"] == 1 && flow["build"].is_null(), "{flow}");
    let refused = text(&server.cli(&["flow", "cancel", "per-carrier"]));
    assert!(refused.contains("nothing is built"), "{refused}");
    let kept = FLOWS.replace("emit: update", "emit: update\nstate_limit: 64MiB");
    let told = text(&server.apply("kept.yaml", &kept));
    assert!(told.contains("keeps its state: the limit"), "{told}");
    // One that cannot hold its state leaves what runs alone, until it is given up.
    let small = more_columns().replace("emit: update", "emit: update\nstate_limit: 1");
    let told = text(&server.apply("small.yaml", &small));
    assert!(told.contains("rebuilt in the background"), "{told}");
    let failed = eventually("failure", async || {
        let flow = described(&server, "per-carrier").await;
        (flow["build"]["status"]["state"] == "failed").then_some(flow)
    })
    .await;
    let why = failed["build"]["status"]["reason"].as_str();
    assert!(
        why.is_some_and(|why| why.contains("state_limit")),
        "{failed}"
    );
    assert_eq!(failed["status"]["state"], "running", "{failed}");
    let listed = text(&server.cli(&["get", "flows"]));
    assert!(listed.contains("is failed"), "{listed}");
    publish(&server, 100..150).await;
    caught_up(&server, "per-carrier", 150).await;
    let done = text(&server.cli(&["flow", "cancel", "per-carrier"]));
    assert!(done.contains("gave up"), "{done}");
    let flow = described(&server, "per-carrier").await;
    assert!(flow["build"].is_null(), "{flow}");
    // A restart begins anew at once with what was declared last.
    applied(&server, &small);
    server.cli(&["flow", "restart", "per-carrier"]);
    let flow = described(&server, "per-carrier").await;
    assert!(flow["build"].is_null(), "{flow}");
    let sql = flow["spec"]["query"]["sql"].as_str();
    assert!(sql.is_some_and(|sql| sql.contains("last")), "{flow}");
    server.terminate();
}
