//! Deployed functions that SQL calls behind the log: in flows that are queries, and in what people ask.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::harness::{Server, eventually, folder, root, text};
use crate::postgres;
use crate::sql_stages::ENDLESS;

/// The functions, and the station that everybody reads. `late` is the first minute of delay that is late.
fn functions(late: u32) -> String {
    format!(
        r#"kind: function
name: delay-band
component: delay_band.wasm
config: {{ late_after_minutes: "{late}" }}
sql:
  arguments: {{ dep_delay: float, distance: float, air_time: float }}
  returns: "struct<band: string>"
---
kind: function
name: endless
component: endless.wasm
limits: {{ timeout: 20ms }}
sql: {{ arguments: {{ x: int }}, returns: string }}
---
kind: function
name: asking
component: delay_band.wasm
http: [api.example.org]
sql: {{ arguments: {{ x: int }}, returns: string }}
"#
    )
}

const FLIGHTS: &str = r#"---
kind: station
name: flights
subjects: ["flights.>"]
columns: { carrier: string, at: timestamp, dep_delay: int, distance: int, air_time: int }
---
kind: station
name: bands
subjects: ["bands"]
---
kind: station
name: windows
subjects: ["windows"]
---
kind: flow
name: bands
sql: |
  SELECT carrier, delay_band(dep_delay, distance, air_time)['band'] AS band,
         CASE WHEN carrier = 'slow' THEN endless(dep_delay) END AS never
  FROM flights WHERE delay_band(dep_delay, distance, air_time)['band'] <> 'early'
into: bands
"#;

const WINDOWED: &str = r#"---
kind: flow
name: per-minute
sql: |
  SELECT window_start, count(*) AS flights,
         sum(CASE WHEN delay_band(dep_delay, distance, air_time)['band'] = 'late' THEN 1 ELSE 0 END) AS late
  FROM TUMBLE(flights, at, INTERVAL '1 minute') WHERE carrier <> 'slow' GROUP BY window_start, window_end
into: windows
sources: { flights: { event_time: at, watermark: 0s, idle: 1h } }
"#;

fn modules(folder: &Path) {
    let module = root().join("examples/functions/delay-band/delay_band.wasm");
    fs::copy(module, folder.join("delay_band.wasm")).expect("copied");
    let endless = wat::parse_str(ENDLESS).expect("well formed");
    fs::write(folder.join("endless.wasm"), endless).expect("written");
}

fn applied(server: &Server, yaml: &str) {
    let output = server.apply("all.yaml", yaml);
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

fn refused(server: &Server, yaml: &str) -> String {
    let output = server.apply("all.yaml", yaml);
    let told = text(&output);
    assert!(!output.status.success(), "{told}");
    told
}

async fn fly(server: &Server, carrier: &str, second: u32, delay: i64, air_time: u32) {
    let (minute, second) = (second / 60, second % 60);
    let at = format!("2026-01-01T00:{minute:02}:{second:02}Z");
    let payload = json!({"carrier": carrier, "at": at, "dep_delay": delay, "distance": 1400, "air_time": air_time});
    let js = jetstream::new(server.client().await);
    let ack = js.publish(format!("flights.{carrier}"), payload.to_string().into());
    ack.await.expect("sent").await.expect("stored");
}

/// The payloads of all that a stream holds, when there are so many.
async fn stored(server: &Server, stream: &str, count: u64) -> Vec<String> {
    let js = jetstream::new(server.client().await);
    let name = stream;
    let stream = js.get_stream(name).await.expect("stream");
    let what = format!("{count} messages of `{name}`\n{}", server.log());
    let last = eventually(&what, async || {
        let info = stream.get_info().await.expect("info");
        let last = info.state.last_sequence;
        (last >= count).then_some(last)
    })
    .await;
    let mut found = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("stored");
        found.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    found
}

/// Code, sequence of the message, and version of the function of each dead letter.
async fn letters(server: &Server, count: u64) -> Vec<String> {
    let js = jetstream::new(server.client().await);
    let stored = stored(server, "flights-dead-letters", count).await;
    let stream = js.get_stream("flights-dead-letters").await.expect("stream");
    let mut found = Vec::new();
    for sequence in 1..=stored.len() as u64 {
        let message = stream.get_raw_message(sequence).await.expect("stored");
        let header = |name: &str| {
            let value = message.headers.get(name);
            value.map_or_else(String::new, |value| value.as_str().to_owned())
        };
        found.push(format!(
            "{} {}",
            header("Ms-Dead-Code"),
            header("Ms-Dead-Function-Version")
        ));
    }
    found.sort();
    found
}

async fn state(server: &Server, flow: &str) -> Value {
    let (code, body) = server.get(&format!("/api/v1/flows/{flow}")).await;
    assert_eq!(code, 200, "{body}");
    let described: Value = serde_json::from_str(&body).expect("JSON");
    described["status"].clone()
}

#[tokio::test]
async fn flows_call_functions_over_stored_messages() {
    let folder = folder();
    let server = Server::start(folder.path());
    modules(folder.path());
    applied(&server, &(functions(15) + FLIGHTS + WINDOWED));
    fly(&server, "UA", 0, 20, 200).await;
    fly(&server, "AA", 1, -3, 200).await;
    // Two that fail, each by itself: an impossible speed, and one whose function hangs. Publishing does not wait for it.
    fly(&server, "B6", 2, 1, 10).await;
    fly(&server, "slow", 3, 1, 200).await;
    fly(&server, "DL", 4, 0, 200).await;
    assert_eq!(
        stored(&server, "bands", 2).await,
        [
            r#"{"carrier":"UA","band":"late","never":null}"#,
            r#"{"carrier":"DL","band":"on_time","never":null}"#
        ]
    );
    // The second flow rejects the impossible one as well.
    fly(&server, "UA", 60, 0, 200).await;
    assert_eq!(
        stored(&server, "windows", 1).await,
        [r#"{"window_start":"2026-01-01T00:00:00Z","flights":3,"late":1}"#]
    );
    assert_eq!(
        letters(&server, 3).await,
        ["impossible_speed 1", "impossible_speed 1", "timeout 1"]
    );

    // What flows call stays, and what their state is made of stays as it is.
    let output = server.cli(&["delete", "function", "endless"]);
    let told = text(&output);
    assert!(
        !output.status.success() && told.contains("used by flow `bands`"),
        "{told}"
    );
    let told = refused(&server, &functions(60));
    assert!(
        told.contains("flow `per-minute` keeps what the version that runs has answered"),
        "{told}"
    );
    // A flow that keeps nothing goes on with the new version, once the other one stands still.
    let paused = server.cli(&["flow", "pause", "per-minute"]);
    assert!(paused.status.success(), "{}", text(&paused));
    applied(&server, &functions(60));
    fly(&server, "UA", 61, 20, 200).await;
    assert_eq!(
        stored(&server, "bands", 4).await[3],
        r#"{"carrier":"UA","band":"on_time","never":null}"#
    );
    let resumed = server.cli(&["flow", "resume", "per-minute"]);
    assert!(resumed.status.success(), "{}", text(&resumed));
    eventually("state of another version", async || {
        let state = state(&server, "per-minute").await;
        let reason = state["reason"].as_str().unwrap_or_default();
        reason
            .contains("another version of the query")
            .then_some(())
    })
    .await;
    let restarted = server.cli(&["flow", "restart", "per-minute", "--from-beginning"]);
    assert!(restarted.status.success(), "{}", text(&restarted));
    assert_eq!(
        stored(&server, "windows", 2).await[1],
        r#"{"window_start":"2026-01-01T00:00:00Z","flights":3,"late":0}"#
    );
    // Back again: refused for the same reason.
    let output = server.cli(&["function", "rollback", "delay-band"]);
    let told = text(&output);
    assert!(
        !output.status.success() && told.contains("flow `per-minute` keeps"),
        "{told}"
    );
}

#[tokio::test]
async fn what_a_flow_cannot_call_is_told_when_it_is_applied() {
    let folder = folder();
    let server = Server::start(folder.path());
    modules(folder.path());
    applied(&server, &(functions(15) + FLIGHTS));
    // Without a message nothing is known of a table's columns.
    fly(&server, "DL", 4, 0, 200).await;
    for (call, expected) in [
        (
            "delay_bnd(dep_delay, 1, 1)['band']",
            "there is no function `delay_bnd`",
        ),
        ("endles(dep_delay)", "did you mean `endless`?"),
        (
            "endless(carrier)",
            "argument `x` of `endless` is int64, not String",
        ),
        (
            "asking(dep_delay)",
            "what it reads or asks outside (`lookup`, `http`)",
        ),
    ] {
        let sql = format!("SELECT carrier, {call} AS a FROM flights");
        let told = refused(
            &server,
            &format!("kind: flow\nname: other\nsql: {sql}\ninto: bands\n"),
        );
        assert!(
            told.contains(expected) && told.contains("all.yaml:3:"),
            "{call}: {told}"
        );
        let told = text(&server.cli(&["sql", "-c", &sql]));
        assert!(told.contains(expected), "{call}: {told}");
    }
    let made = "CREATE FLOW other INTO bands AS SELECT carrier, delay_band(dep_delay, 1, 1)['band'] AS band FROM flights";
    let output = server.cli(&["sql", "-c", made]);
    assert!(output.status.success(), "{}", text(&output));
    let found = stored(&server, "bands", 2).await;
    assert!(
        found.contains(&r#"{"carrier":"DL","band":"on_time"}"#.to_owned()),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_call_functions() {
    let folder = folder();
    let (server, address) = postgres::start(folder.path(), "");
    modules(folder.path());
    let stations = FLIGHTS.split("---\nkind: flow").next().expect("stations");
    applied(&server, &(functions(15) + stations));
    fly(&server, "UA", 0, 20, 200).await;
    fly(&server, "DL", 1, 0, 200).await;
    fly(&server, "B6", 2, 1, 10).await;

    let asked = "SELECT delay_band(dep_delay, distance, air_time)['band'] AS band, count(*) AS n FROM flights \
                 WHERE carrier <> 'B6' GROUP BY 1 ORDER BY 1";
    let output = server.cli(&["sql", "-c", asked, "--output", "json"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"band\":\"late\",\"n\":1}\n{\"band\":\"on_time\",\"n\":1}\n",
        "{}",
        text(&output)
    );
    let (client, connection) = tokio_postgres::connect(&format!("{address}/any?user=ann"), NoTls)
        .await
        .expect("connected");
    let connection = tokio::spawn(connection);
    let rows = client.query(asked, &[]).await.expect("an answer");
    let rows: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [("late".to_owned(), 1), ("on_time".to_owned(), 1)]);

    // One that fails ends the question, and names function and message.
    let asked = "SELECT delay_band(dep_delay, distance, air_time)['band'] AS band FROM flights";
    let failed = "function `delay-band`, version 1, fails on message 3 with `impossible_speed`: ";
    let told = text(&server.cli(&["sql", "-c", asked]));
    assert!(told.contains(failed), "{told}");
    let error = client.query(asked, &[]).await.expect_err("one fails");
    let error = error.as_db_error().expect("from the server").message();
    assert!(error.contains(failed), "{error}");
    drop(client);
    connection.await.expect("ends").expect("well");

    // A function that hangs ends the question by its own limit, and nobody who publishes waits for it.
    let begun = Instant::now();
    let server = &server;
    let (told, ()) = tokio::join!(
        async {
            let sql = json!({ "sql": "SELECT endless(dep_delay) AS e FROM flights" });
            let request = crate::harness::http().post(format!("{}/api/v1/query", server.http));
            let answer = request.json(&sql).send().await.expect("an answer");
            answer.text().await.expect("a body")
        },
        fly(server, "UA", 3, 1, 200)
    );
    assert!(
        told.contains("function `endless`, version 1, fails on message 1 with `timeout`"),
        "{told}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));

    // What can be called is listed.
    let output = server.cli(&["sql", "-c", "SHOW FUNCTIONS", "--output", "json"]);
    let told = text(&output);
    assert!(
        told.contains(r#""function":"delay_band(dep_delay float, distance float, air_time float) returns struct<band: string>""#),
        "{told}"
    );
}
