//! `millstream sql` against a server with real flights.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use async_nats::jetstream;
use bytes::Bytes;
use millstream_schema_formats::Format;
use serde_json::{Value, json};

use crate::harness::{Server, binary, folder, http, root, text};
use crate::schemas::{AVRO, apply, compiled, encoded, flight, publish, schema, station};

/// A server with a station of flights without a schema; answers how many there are, and what one that knows only the file
/// says of some of them.
async fn flights(place: &std::path::Path) -> (Server, Vec<Value>) {
    let server = Server::start(place);
    let flights = fill(&server).await;
    (server, flights)
}

/// Makes a station of flights, and answers them.
pub async fn fill(server: &Server) -> Vec<Value> {
    apply(server, &station("flights", ""));
    let file = fs::read_to_string(root().join("examples/flights/flights.jsonl")).expect("flights");
    let flights: Vec<Value> = file
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let js = jetstream::new(server.client().await);
    let mut waiting = Vec::new();
    for flight in &flights {
        let carrier = flight["carrier"].as_str().expect("a carrier");
        let subject = format!("flights.{carrier}");
        let payload = Bytes::from(flight.to_string());
        waiting.push(js.publish(subject, payload).await.expect("published"));
    }
    for ack in waiting {
        ack.await.expect("stored");
    }
    flights
}

fn rows(server: &Server, sql: &str) -> Vec<Value> {
    let output = server.cli(&["sql", "-c", sql, "--output", "json"]);
    assert!(output.status.success(), "{sql}: {}", text(&output));
    let row = |line: &str| serde_json::from_str(line).expect("JSON");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(row)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_messages_are_asked_in_sql() {
    let place = folder();
    let (server, flights) = flights(place.path()).await;
    let united = flights.iter().filter(|flight| flight["carrier"] == "UA");
    let united = united.count();
    assert!(united > 10);
    assert_eq!(
        rows(&server, "SELECT count(*) AS n FROM flights"),
        [json!({ "n": flights.len() })]
    );
    // By the index, by the payload, by both.
    for filter in [
        "_subject = 'flights.UA'",
        "carrier = 'UA'",
        "_subject LIKE 'flights.UA%' AND carrier = 'UA' AND _time > now() - INTERVAL '1 hour'",
    ] {
        let sql = format!("SELECT count(*) AS n FROM flights WHERE {filter}");
        assert_eq!(rows(&server, &sql), [json!({ "n": united })], "{filter}");
    }
    let late = |flight: &&Value| flight["dep_delay"].as_f64();
    let worst = flights
        .iter()
        .filter_map(|flight| late(&flight))
        .fold(f64::MIN, f64::max);
    let found = rows(&server, "SELECT max(dep_delay) AS worst FROM flights");
    assert_eq!(found[0]["worst"].as_f64(), Some(worst));
    let sql =
        "SELECT _sequence AS seq, flight FROM flights WHERE _sequence BETWEEN 5 AND 7 ORDER BY 1";
    let want: Vec<Value> = (5..=7)
        .map(|seq| json!({ "seq": seq, "flight": flights[seq - 1]["flight"] }))
        .collect();
    assert_eq!(rows(&server, sql), want);
    // Only what the index leaves is read.
    let (status, body) = ask(
        &server,
        "SELECT flight FROM flights WHERE _subject = 'flights.UA'",
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let end: Value = serde_json::from_str(body.lines().last().expect("an end")).expect("JSON");
    assert_eq!(end, json!({ "end": { "rows": united, "records": united } }));

    // The server's own tables; a stream without messages has a row as well.
    let sql = "SELECT last_ts FROM system.streams WHERE name = 'flights-dead-letters'";
    assert_eq!(rows(&server, sql), [json!({ "last_ts": null })]);
    let found = rows(
        &server,
        "SELECT name, messages, last_seq FROM system.streams WHERE name = 'flights'",
    );
    assert_eq!(
        found,
        [json!({ "name": "flights", "messages": flights.len(), "last_seq": flights.len() })]
    );
    for table in [
        "streams",
        "stations",
        "consumers",
        "lag",
        "metrics",
        "tables",
        "schemas",
        "functions",
        "flows",
        "connectors",
        "dead_letters",
    ] {
        rows(&server, &format!("SELECT * FROM system.{table}"));
    }
    // Over NATS.
    let client = server.client().await;
    let asked = client
        .request("$MS.API.QUERY", r#"{"sql":"SELECT 1 AS one"}"#.into())
        .await;
    let asked: Value = serde_json::from_slice(&asked.expect("an answer").payload).expect("JSON");
    assert_eq!(asked["items"][1], json!({ "row": { "one": 1 } }), "{asked}");
}

async fn ask(server: &Server, sql: &str) -> (u16, String) {
    let request = http()
        .post(format!("{}/api/v1/query", server.http))
        .json(&json!({ "sql": sql }));
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_as_people_and_programs_want_them() {
    let place = folder();
    let server = Server::start(place.path());
    apply(&server, &station("notes", ""));
    for payload in [
        r#"{"who":"Ann, B.","n":1,"tags":["x"]}"#,
        r#"{"who":null,"n":2.5}"#,
        "no JSON",
    ] {
        publish(&server, "notes.a", &[], payload.as_bytes()).await;
    }
    let sql = "SELECT who, n, tags FROM notes";
    let output = server.cli(&["sql", "-c", sql]);
    let said = text(&output);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "who      n    tags\nAnn, B.  1.0  [\"x\"]\nNULL     2.5  NULL\n",
        "{said}"
    );
    assert!(
        said.contains("warning: 1 of 3 records are left out, the first because of this: message 3: payload is not JSON")
            && said.contains("(2 rows, 3 records read)"),
        "{said}"
    );
    let output = server.cli(&["sql", "--csv", "-c", sql]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "who,n,tags\n\"Ann, B.\",1.0,\"[\"\"x\"\"]\"\n,2.5,\n"
    );
    // What is wrong stands where it is wrong, with a status of its own.
    let output = server.cli(&["sql", "-c", "SELECT whom FROM notes"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(
        text(&output).contains("line 1, column 8: there is no column `whom`")
            && text(&output).contains("did you mean `who`?"),
        "{}",
        text(&output)
    );
    let (status, body) = ask(&server, "DELETE FROM notes").await;
    assert_eq!(status, 400, "{body}");
    let output = server.cli(&["sql", "-c", "EXPLAIN SELECT n FROM notes"]);
    let plan = text(&output);
    assert!(
        plan.starts_with("logical_plan:\n") && plan.contains("\nphysical_plan:\n"),
        "{plan}"
    );
    // Statements from a pipe.
    let mut child = Command::new(binary())
        .args(["sql", "--server", &server.http])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut input = child.stdin.take().expect("piped");
    input
        .write_all(b"SELECT 1\n  AS a;\nSELECT 2 AS b")
        .expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\n1\nb\n2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_in_other_formats_is_asked_as_if_it_were_json() {
    let place = folder();
    let server = Server::start(place.path());
    apply(
        &server,
        &(schema("flight", "avro", "a1.avsc")
            + &station(
                "legs",
                "schema: { subject: flight, on_violation: dead_letter }\n",
            )),
    );
    let avro = compiled(Format::Avro, AVRO);
    for _ in 0..3 {
        publish(&server, "legs.a", &[], &encoded(&avro, &flight())).await;
    }
    publish(&server, "legs.a", &[], b"\xff").await;
    let sql =
        "SELECT carrier, number + delay AS sum, _headers['Ms-Schema'] AS schema FROM legs LIMIT 1";
    assert_eq!(
        rows(&server, sql),
        [json!({ "carrier": "UA", "sum": 1121, "schema": "flight:1" })]
    );
    let sql = "SELECT station, code, count(*) AS n FROM system.dead_letters GROUP BY station, code";
    let letters = rows(&server, sql);
    assert_eq!(letters[0]["station"], "legs", "{letters:?}");
    assert_eq!(letters[0]["n"], 1);
    // A client that goes away ends its query; the next one has its turn.
    for _ in 0..8 {
        let request = http()
            .post(format!("{}/api/v1/query", server.http))
            .json(&json!({ "sql": "SELECT a.value FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b" }));
        let mut answer = crate::harness::eventually("a turn", async || {
            let answer = request
                .try_clone()
                .expect("a request")
                .send()
                .await
                .expect("an answer");
            (answer.status() == 200).then_some(answer)
        })
        .await;
        let first = answer.chunk().await.expect("a body");
        assert!(first.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_and_what_is_counted_are_tables() {
    let place = folder();
    let server = Server::start(place.path());
    apply(&server, &station("notes", ""));
    let js = jetstream::new(server.client().await);
    let stream = js.get_stream("notes").await.expect("a stream");
    for (name, filter) in [("all", ""), ("some", "notes.b")] {
        let config = jetstream::consumer::pull::Config {
            durable_name: Some(name.to_owned()),
            filter_subject: filter.to_owned(),
            ..Default::default()
        };
        stream.create_consumer(config).await.expect("a consumer");
    }
    for _ in 0..3 {
        publish(&server, "notes.a", &[], br#"{"n":1}"#).await;
    }
    let sql = "SELECT kind, stream, name, messages, seconds < 3600 AS young, unacknowledged FROM system.lag ORDER BY name";
    let row = |name: &str, messages: u64| json!({ "kind": "consumer", "stream": "notes", "name": name, "messages": messages, "young": true, "unacknowledged": 0 });
    assert_eq!(rows(&server, sql), [row("all", 3), row("some", 0)]);
    // The oldest message says how far behind.
    let sql = "SELECT seconds > 0 AS late FROM system.lag WHERE name = 'all'";
    crate::harness::eventually("a second", async || {
        (rows(&server, sql) == [json!({ "late": true })]).then_some(())
    })
    .await;
    let sql = "SELECT value, labels FROM system.metrics WHERE name = 'millstream_stream_messages' AND labels LIKE '%\"notes\"%'";
    assert_eq!(
        rows(&server, sql),
        [json!({ "value": 3.0, "labels": { "stream": "notes" } })]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_a_parquet_file() {
    let place = folder();
    let (server, flights) = flights(place.path()).await;
    let sql = "SELECT carrier, dep_delay, _time FROM flights";
    let output = server.cli(&["sql", "--parquet", "flights.parquet", "-c", sql]);
    assert!(output.status.success(), "{}", text(&output));
    let file = fs::read(place.path().join("flights.parquet")).expect("a file");
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    assert!(file.len() < flights.len() * 60, "{} bytes", file.len());
    // What cannot be made leaves what was there.
    for sql in [
        "SELECT whom FROM flights",
        "SELECT 1 / (dep_delay - dep_delay) AS a FROM flights WHERE CAST(carrier AS INT) = 1",
    ] {
        let output = server.cli(&["sql", "--parquet", "flights.parquet", "-c", sql]);
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    }
    let after = fs::read(place.path().join("flights.parquet")).expect("a file");
    assert_eq!(after, file);
    // Read by somebody else, where that can be had.
    let mut python = match crate::python::environment(place.path(), "pyarrow") {
        Ok(python) => python,
        Err(why) => {
            eprintln!(
                "SKIPPED: the file was NOT read by pyarrow, which cannot be installed here: {why}"
            );
            return;
        }
    };
    let script = "import sys, pyarrow.parquet as p; t = p.read_table(sys.argv[1]); print(t.num_rows, t.column_names, t.schema.field('_time').type)";
    let output = python
        .args(["-c", script])
        .arg(place.path().join("flights.parquet"))
        .output()
        .expect("python runs");
    assert_eq!(
        text(&output).trim(),
        format!(
            "{} ['carrier', 'dep_delay', '_time'] timestamp[ns, tz=UTC]",
            flights.len()
        )
    );
}
