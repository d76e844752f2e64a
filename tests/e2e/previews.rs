//! Queries that never end, looked at before they are flows, with a real server: over what is stored and what comes, dry runs, and
//! how flows are shown.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};

use async_nats::jetstream;
use serde_json::{Value, json};

use crate::harness::{Server, binary, eventually, folder, http, text};

const STATIONS: &str = "kind: station\nname: flights\nsubjects: [\"flights.>\"]\n\
columns: { n: int, carrier: string, at: timestamp }\n---\n\
kind: station\nname: windows\nsubjects: [\"windows.>\"]\n";

const TABLE: &str =
    "CREATE TABLE flights (WATERMARK FOR at AS at - INTERVAL '5' SECOND) WITH (idle = '1h');\n";

const WINDOWS: &str = "SELECT carrier, window_start, count(*) AS flights FROM TUMBLE(flights, at, INTERVAL '1 minute') \
GROUP BY carrier, window_start";

/// A flight every ten seconds.
fn flight(number: u64) -> String {
    let (minute, second) = (number / 6, number % 6 * 10);
    let at = format!("2026-01-01T00:{minute:02}:{second:02}Z");
    let carrier = ["AA", "UA"][usize::try_from(number % 2).expect("small")];
    json!({ "n": number, "carrier": carrier, "at": at }).to_string()
}

async fn publish(server: &Server, payloads: impl IntoIterator<Item = String>) {
    let js = jetstream::new(server.client().await);
    for payload in payloads {
        let sent = js.publish("flights.new", payload.into()).await;
        sent.expect("sent").await.expect("stored");
    }
}

fn started(folder: &std::path::Path) -> Server {
    let server = Server::start(folder);
    let applied = server.apply("stations.yaml", STATIONS);
    assert!(applied.status.success(), "{}", text(&applied));
    server
}

fn preview(server: &Server, sql: &str, more: &[&str]) -> Output {
    let mut all = vec!["sql", "--preview", sql];
    all.extend(more);
    server.cli(&all)
}

fn done(output: &Output) -> (Vec<Value>, String) {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let rows = String::from_utf8_lossy(&output.stdout);
    let rows = rows
        .lines()
        .map(|row| serde_json::from_str(row).expect("a row"));
    (rows.collect(), told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_previewed_and_nothing_is_left_behind() {
    let folder = folder();
    let server = started(folder.path());
    publish(&server, (0..60).map(flight)).await;
    let streams = || {
        text(&server.cli(&[
            "sql",
            "-c",
            "SELECT name, messages FROM system.streams ORDER BY 1",
        ]))
    };
    let before = streams();

    let query = format!("{TABLE}{WINDOWS} EMIT ON WINDOW CLOSE");
    let (rows, told) = done(&preview(
        &server,
        &query,
        &["--from", "beginning", "-o", "json"],
    ));
    // The last window is still open: no flight is five seconds behind it.
    assert_eq!(rows.len(), 18, "{rows:?}\n{told}");
    assert!(rows.iter().all(|row| row["flights"] == 3), "{rows:?}");
    assert!(told.contains("reading flights: 60 messages"), "{told}");
    assert!(told.contains("(60 messages read, 18 results, 0 late, 0 rejected, watermark 2026-01-01T00:09:45Z, state 2 entries"), "{told}");
    assert!(told.contains("note: 2 entries of state wait"), "{told}");

    // As a flow that is not made, from a place, and with its subjects.
    let flow =
        format!("{TABLE}CREATE FLOW f INTO windows SUBJECT 'windows.{{carrier}}' AS {WINDOWS}");
    let (rows, _) = done(&preview(&server, &flow, &["--from", "49", "-o", "json"]));
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0]["window_start"], "2026-01-01T00:08:00Z");
    assert_eq!(rows[0]["_subject"], "windows.AA");
    let csv = text(&preview(&server, &flow, &["--from", "49", "--csv"]));
    assert!(
        csv.starts_with(
            "carrier,window_start,flights,_subject\nAA,2026-01-01T00:08:00Z,3,windows.AA\n"
        ),
        "{csv}"
    );
    let (rows, told) = done(&preview(
        &server,
        &flow,
        &["--from", "1h", "--limit", "5", "-o", "json"],
    ));
    assert_eq!(rows.len(), 5, "{told}");

    // Results that change say how.
    let totals = "SELECT carrier, count(*) AS n FROM flights WHERE carrier = 'UA' GROUP BY carrier";
    let shown = text(&preview(&server, totals, &["--from", "beginning"]));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.contains(&"op      carrier  n"), "{shown}");
    assert!(lines.contains(&"insert  UA       30"), "{shown}");

    // What a row cannot be evaluated for is shown with the message.
    let (rows, told) = done(&preview(
        &server,
        "SELECT n, 10 / (n - 7) AS q FROM flights",
        &["--from", "beginning", "-o", "json"],
    ));
    assert_eq!(rows.len(), 59, "{told}");
    assert!(told.contains("rejected: message 8 of flights, "), "{told}");
    assert!(told.contains("1 rejected"), "{told}");

    assert_eq!(streams(), before);
    assert_eq!(server.json(&["get", "flows"])["items"], json!([]));
    server.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_queries_are_told_where_and_bounds_hold() {
    let folder = folder();
    let server = started(folder.path());
    publish(&server, (0..60).map(flight)).await;
    let refused = |sql: &str, more: &[&str]| {
        let output = preview(&server, sql, more);
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(4), "{shown}");
        shown
    };
    let shown = refused(&format!("{TABLE}SELECT n,\n  carier FROM flights"), &[]);
    assert!(shown.contains("  carier FROM flights\n  ^\n"), "{shown}");
    assert!(
        shown.contains("line 3, column 3: there is no column `carier`"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `carrier`?"), "{shown}");
    let shown = refused("SELECT n FROM flight", &["--from", "beginning"]);
    assert!(shown.contains("did you mean `flights`?"), "{shown}");
    let shown = refused("SELECT 1; SELECT 2", &[]);
    assert!(
        shown.contains("line 1, column 11: one query is previewed at a time"),
        "{shown}"
    );
    refused("DROP FLOW x", &[]);
    let shown = text(&preview(
        &server,
        "SELECT n FROM flights",
        &["--from", "soon"],
    ));
    assert!(shown.contains("write 1h"), "{shown}");
    // State has a bound, also below the one of all previews.
    let flow = "CREATE FLOW f INTO windows SUBJECT 'windows.x' WITH (state_limit = '100') AS SELECT n, count(*) AS c FROM flights GROUP BY n";
    let shown = refused(flow, &["--from", "beginning"]);
    assert!(shown.contains("its state has"), "{shown}");

    let ask = async |body: Value| {
        let request = http()
            .post(format!("{}/api/v1/query", server.http))
            .json(&body);
        let answer = request.send().await.expect("an answer");
        answer.text().await.expect("a body")
    };
    // One that nobody ends, ends by its time.
    let lines = ask(json!({ "sql": "SELECT n FROM flights", "timeout": 1, "preview": {} })).await;
    let last: Value = serde_json::from_str(lines.lines().last().expect("lines")).expect("JSON");
    assert_eq!(last["end"]["ended"], "deadline", "{lines}");
    let wrong = ask(json!({ "sql": "SELECT n FROM flights", "preview": { "limit": 0 } })).await;
    assert!(wrong.contains("`limit` is 0"), "{wrong}");
    // Over NATS an answer has an end.
    let client = server.client().await;
    let asked = async |body: Value| {
        let answer = client
            .request("$MS.API.QUERY", body.to_string().into())
            .await;
        let payload = answer.expect("an answer").payload;
        serde_json::from_slice::<Value>(&payload).expect("JSON")
    };
    let sql = "SELECT n FROM flights WHERE n >= 57";
    let past = asked(json!({ "sql": sql, "preview": { "from": "beginning" } })).await;
    let items = past["items"].as_array().expect("lines");
    let rows: Vec<&Value> = items
        .iter()
        .map(|item| &item["row"]["n"])
        .filter(|n| !n.is_null())
        .collect();
    assert_eq!(rows, [57, 58, 59], "{past}");
    assert_eq!(
        items.last().expect("an end")["end"]["messages"],
        60,
        "{past}"
    );
    let live = asked(json!({ "sql": sql, "preview": {} })).await;
    assert!(
        live["error"]
            .as_str()
            .is_some_and(|error| error.contains("NATS")),
        "{live}"
    );
    server.terminate();
}

/// A preview that runs, of which lines are read one by one.
struct Live {
    child: std::process::Child,
    out: BufReader<std::process::ChildStdout>,
    err: BufReader<std::process::ChildStderr>,
}

impl Live {
    fn start(server: &Server, sql: &str, more: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args([
                "sql",
                "--preview",
                sql,
                "--server",
                &server.http,
                "-o",
                "json",
            ])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let mut err = BufReader::new(child.stderr.take().expect("piped"));
        let mut begins = String::new();
        err.read_line(&mut begins).expect("a line");
        assert!(begins.starts_with("reading flights"), "{begins}");
        Self { child, out, err }
    }

    fn row(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Presses Ctrl-C.
    fn interrupt(mut self) -> String {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.expect("kill runs").success());
        let mut told = String::new();
        self.err.read_to_string(&mut told).expect("text");
        let ended = self.child.wait().expect("ends");
        assert!(ended.success(), "{ended}: {told}");
        told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_is_previewed_until_ctrl_c() {
    let folder = folder();
    let server = started(folder.path());
    publish(&server, (0..4).map(flight)).await;
    let sql = "SELECT n, carrier FROM flights";
    // More than may run at the same time: one that is ended makes room at once.
    for round in 0..6_u64 {
        let mut live = Live::start(&server, sql, &[]);
        publish(&server, [flight(10 + round)]).await;
        assert_eq!(live.row()["n"], 10 + round);
        let told = live.interrupt();
        assert!(told.contains(", 1 results"), "{told}");
        let run = format!("{sql} WHERE n < 4");
        let past = eventually("room for another", async || {
            let output = preview(&server, &run, &["--from", "beginning", "-o", "json"]);
            output.status.success().then_some(output)
        })
        .await;
        assert_eq!(done(&past).0.len(), 4);
    }
    // Results change.
    let totals = "SELECT carrier, count(*) AS c FROM flights WHERE n < 4 GROUP BY carrier HAVING count(*) < 4";
    let mut live = Live::start(&server, totals, &["--from", "beginning", "--follow"]);
    let totals = json!({ "carrier": "AA", "c": 2 });
    let first = [live.row(), live.row()];
    assert!(
        first
            .iter()
            .any(|row| *row == json!({ "op": "insert", "before": null, "after": totals })),
        "{first:?}"
    );
    publish(&server, [flight(2)]).await;
    let more = json!({ "carrier": "AA", "c": 3 });
    assert_eq!(
        live.row(),
        json!({ "op": "update", "before": totals, "after": more })
    );
    publish(&server, [flight(2)]).await;
    assert_eq!(
        live.row(),
        json!({ "op": "delete", "before": more, "after": null })
    );
    let told = live.interrupt();
    assert!(told.contains("4 results"), "{told}");
    // One that comes when its minute is over.
    let windows = format!("{TABLE}{WINDOWS}");
    let mut live = Live::start(&server, &windows, &["--from", "beginning", "--follow"]);
    assert_eq!(live.row()["window_start"], "2026-01-01T00:00:00Z");
    publish(&server, [flight(1)]).await;
    // Two of those that are stored were late as well, though they were read together with what made them so.
    for (sequence, n) in [(11, 2), (12, 2), (13, 1)] {
        let mut late = String::new();
        live.err.read_line(&mut late).expect("a line");
        let told =
            format!("late: message {sequence} of flights, its window has ended: {{\"n\":{n},");
        assert!(late.starts_with(&told), "{late}");
    }
    live.interrupt();
    // What is stored, and then what comes.
    let mut live = Live::start(
        &server,
        "SELECT n FROM flights WHERE n > 13",
        &["--from", "beginning", "--follow"],
    );
    assert_eq!([live.row()["n"].clone(), live.row()["n"].clone()], [14, 15]);
    publish(&server, [flight(2), flight(20)]).await;
    assert_eq!(live.row()["n"], 20);
    // Whoever reads a stream that goes away is told.
    let gone = server.cli(&["delete", "station", "flights"]);
    assert!(gone.status.success(), "{}", text(&gone));
    let mut told = String::new();
    live.err.read_to_string(&mut told).expect("text");
    assert!(told.contains("there is no stream `flights`"), "{told}");
    assert_eq!(live.child.wait().expect("ends").code(), Some(4));
    server.terminate();
}

const FLOW: &str = r#"kind: flow
name: per-minute
sql: |
  SELECT carrier, window_start, count(*) AS flights, avg(n) AS middle
  FROM TUMBLE(flights, at, INTERVAL '1 minute')
  GROUP BY carrier, window_start
into: windows
subject: "windows.{carrier}"
sources: { flights: { event_time: at, watermark: 5s, idle: 1h } }
emit: window_close
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_a_flow_would_do_and_describe_what_it_does() {
    let folder = folder();
    let server = started(folder.path());
    publish(&server, (0..60).map(flight)).await;
    std::fs::write(folder.path().join("flow.yaml"), FLOW).expect("a file");
    let dry = text(&server.cli(&["apply", "-f", "flow.yaml", "--dry-run"]));
    let plan = [
        "append to windows as windows.{carrier}",
        "  project carrier, window_start, count(*) as flights, avg(n) as middle",
        "    aggregate count(*), avg(CAST(n AS Float64)) by carrier, window_start, on window close",
        "      project n, carrier, tumble 1m over at as window_start",
        "read flights: ",
    ];
    for line in [
        "flow per-minute would",
        "begin    with the oldest message",
        "read     flights: 60 messages now",
        "make     carrier string, window_start timestamp, flights int64, middle float64",
        "write    append: windows as windows.{carrier}",
        "late     dropped and counted",
        "nothing was applied",
    ] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert!(!dry.contains("history"), "{dry}");
    for line in plan {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    let run = [
        "apply",
        "-f",
        "flow.yaml",
        "--dry-run",
        "--from",
        "beginning",
    ];
    let dry = text(&server.cli(&run));
    assert!(dry.contains("history  60 messages in "), "{dry}");
    assert!(dry.contains(": 18 results, 0 late, 0 rejected"), "{dry}");
    assert!(dry.contains("state at the end: 2 entries"), "{dry}");
    assert!(dry.contains("\"carrier\":\"AA\""), "{dry}");
    let would = &server.json(&run)["changes"][0]["would"];
    assert_eq!(
        would["history"]["samples"].as_array().map(Vec::len),
        Some(5),
        "{would}"
    );
    assert_eq!(text(&server.cli(&["flow", "list"])), "no flows\n");
    let wet = text(&server.cli(&["apply", "-f", "flow.yaml", "--from", "beginning"]));
    assert!(wet.contains("--dry-run"), "{wet}");

    let applied = server.apply("flow.yaml", FLOW);
    assert!(applied.status.success(), "{}", text(&applied));
    eventually("most of the flow", async || {
        let shown = text(&server.cli(&["flow", "describe", "per-minute"]));
        shown
            .contains("60 in, 18 out, 0 late, 0 rejected")
            .then_some(())
    })
    .await;
    publish(&server, [flight(0)]).await;
    let shown = eventually("end of the flow", async || {
        let shown = text(&server.cli(&["flow", "describe", "per-minute"]));
        shown
            .contains("61 in, 18 out, 1 late, 0 rejected")
            .then_some(shown)
    })
    .await;
    for line in [
        "per-minute: running, version 1",
        "  reads      flights up to 61, nothing left, watermark 2026-01-01T00:09:45Z",
        "  writes     windows as windows.{carrier}",
        "  watermark  2026-01-01T00:09:45Z",
        "  state      2 entries, ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    for line in plan {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let list = text(&server.cli(&["flow", "list"]));
    assert!(
        list.starts_with("NAME        STATE    FROM     TO       WATERMARK"),
        "{list}"
    );
    // The same once more would go on; another one would not.
    let again = text(&server.cli(&["apply", "-f", "flow.yaml", "--dry-run"]));
    assert!(
        again.contains("begin    where it stands, with its state"),
        "{again}"
    );
    let deleted = text(&server.cli(&["flow", "delete", "per-minute"]));
    assert_eq!(deleted, "deleted flow `per-minute`\n");
    let missing = server.cli(&["flow", "describe", "per-minute"]);
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing));
    server.terminate();
}
