//! The real `psql`, unmodified, and a driver, against a server with real flights.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tokio_postgres::NoTls;

use crate::harness::{PATIENCE, Server, binary, folder, text};
use crate::queries::fill;
use crate::schemas::{apply, publish, station};

/// A server that PostgreSQL's clients may ask, and its address.
pub fn start(place: &Path, more: &str) -> (Server, String) {
    start_door(place, "", more)
}

/// The same with more in the block of the door.
pub fn start_door(place: &Path, door: &str, more: &str) -> (Server, String) {
    let config = place.join("server.conf");
    let text = format!("millstream {{ postgres: {{ listen: \"127.0.0.1:-1\" {door} }} }}\n{more}");
    fs::write(&config, text).expect("configuration");
    let server = Server::start_with(place, &["-c", config.to_str().expect("UTF-8")]);
    let ports = fs::read_dir(place.join("ports")).expect("ports");
    let file = ports.flatten().next().expect("a ports file").path();
    let ports: Value = serde_json::from_slice(&fs::read(file).expect("ports")).expect("JSON");
    let address = ports["postgres"][0].as_str().expect("an address");
    (server, address.to_owned())
}

pub fn has_psql() -> bool {
    let found = Command::new("psql")
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    if found.is_err() {
        let _closed = writeln!(
            std::io::stderr(),
            "SKIPPED: the PostgreSQL protocol was NOT tested with psql, which is not installed here"
        );
    }
    found.is_ok()
}

fn psql(address: &str, arguments: &[&str]) -> Output {
    Command::new("psql")
        .arg(address)
        .args(["-X", "-v", "ON_ERROR_STOP=1"])
        .args(arguments)
        .env("PGUSER", "ann")
        .env("PGPASSWORD", "pw")
        .env("PGCONNECT_TIMEOUT", "20")
        .stdin(Stdio::null())
        .output()
        .expect("psql runs")
}

/// What psql prints of a command that succeeds, without alignment.
fn plain(address: &str, command: &str) -> String {
    let output = psql(address, &["-A", "-t", "-c", command]);
    assert!(output.status.success(), "{command}: {}", text(&output));
    assert!(output.stderr.is_empty(), "{command}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_reads_stations_and_describes_them() {
    if !has_psql() {
        return;
    }
    let place = folder();
    let (server, address) = start(place.path(), "");
    let flights = fill(&server).await;
    let united = flights
        .iter()
        .filter(|flight| flight["carrier"] == "UA")
        .count();
    let sql = "SELECT carrier, count(*) FROM flights WHERE carrier = 'UA' GROUP BY carrier";
    assert_eq!(plain(&address, sql), format!("UA|{united}\n"));
    let sql = "SELECT * FROM flights WHERE _sequence = 1";
    let first = plain(&address, sql);
    assert!(
        !first.contains("flights.")
            && first.contains(flights[0]["carrier"].as_str().expect("text")),
        "{first}"
    );
    // Tables as people see them.
    let tables = plain(&address, "\\dt");
    assert!(
        tables.contains("stations|flights|table|millstream\n") && !tables.contains("pg_class"),
        "{tables}"
    );
    let described = plain(&address, "\\d flights");
    for line in [
        "carrier|text|||\n",
        "_time|timestamp with time zone|||\n",
        "_sequence|bigint|||\n",
    ] {
        assert!(described.contains(line), "{described}");
    }
    for (command, want) in [
        ("\\l", "millstream|millstream|UTF8"),
        ("\\dn", "system|millstream"),
        ("\\d", "stations|flights|table"),
        ("\\d+ flights", "carrier|text"),
        ("\\dt system.*", "system|streams|table"),
        ("\\du", "millstream"),
        ("\\df", ""),
        ("\\conninfo", ""),
        ("SELECT version()", "PostgreSQL 15.0 (Millstream)"),
        ("SHOW server_version", "15.0"),
        ("SET search_path TO stations", "SET"),
    ] {
        let said = plain(&address, command);
        assert!(said.contains(want), "{command}: {said}");
    }
    let output = psql(&address, &["-c", "\\d nobody"]);
    assert!(
        text(&output).contains("Did not find any relation named \"nobody\""),
        "{}",
        text(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_is_told_what_is_wrong_and_what_is_left_out() {
    if !has_psql() {
        return;
    }
    let place = folder();
    let login = "authorization { user: ann, password: pw }\n";
    let (server, address) = start(place.path(), login);
    // Somebody else is not let in.
    let output = Command::new("psql")
        .args([&address, "-X", "-c", "SELECT 1"])
        .env("PGUSER", "ann")
        .env("PGPASSWORD", "wrong")
        .stdin(Stdio::null())
        .output()
        .expect("psql runs");
    assert!(
        !output.status.success() && text(&output).contains("password authentication failed"),
        "{}",
        text(&output)
    );
    let with_login = server.http.replace("http://", "http://ann:pw@");
    let file = place.path().join("station.yaml");
    fs::write(&file, station("notes", "")).expect("a file");
    let applied = Command::new(binary())
        .args(["apply", "--server", &with_login, "-f"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert!(applied.status.success(), "{}", text(&applied));
    let client = async_nats::ConnectOptions::with_user_and_password("ann".into(), "pw".into());
    let client = client.connect(&server.nats).await.expect("connected");
    let js = async_nats::jetstream::new(client);
    for payload in [
        r#"{"who":"Ann, B.","n":1.5,"tags":["x"]}"#,
        r#"{"who":null,"n":2}"#,
        "no JSON",
    ] {
        let ack = js
            .publish("notes.a", payload.into())
            .await
            .expect("published");
        ack.await.expect("stored");
    }
    let output = psql(
        &address,
        &["-A", "-c", "SELECT who, n, tags FROM notes ORDER BY n"],
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "who|n|tags\nAnn, B.|1.5|[\"x\"]\n|2|\n(2 rows)\n",
        "{}",
        text(&output)
    );
    let said = text(&output);
    assert!(
        said.contains("WARNING:  1 of 3 records are left out"),
        "{said}"
    );
    // The place of an error, as psql points at it.
    let output = psql(&address, &["-c", "SELECT who,\n       whom FROM notes"]);
    let said = text(&output);
    assert!(
        !output.status.success()
            && said.contains("LINE 2:        whom FROM notes\n               ^"),
        "{said}"
    );
    assert!(said.contains("HINT:  did you mean `who`?"), "{said}");
    let output = psql(&address, &["-c", "INSERT INTO notes VALUES (1)"]);
    assert!(
        text(&output).contains("`INSERT` is no question"),
        "{}",
        text(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_copies_fetches_times_and_is_interrupted() {
    if !has_psql() {
        return;
    }
    let place = folder();
    let (server, address) = start(place.path(), "");
    let flights = fill(&server).await;
    let file = place.path().join("flights.csv");
    let name = file.to_str().expect("UTF-8");
    // As a person writes it: a question, and a whole table.
    let copy = format!(
        "\\copy (SELECT carrier, count(*) FROM flights GROUP BY 1 ORDER BY 1) TO '{name}' CSV HEADER"
    );
    let said = plain(&address, &copy);
    assert!(said.starts_with("COPY "), "{said}");
    let written = fs::read_to_string(&file).expect("a file");
    assert!(
        written.starts_with("carrier,count\n") && written.contains("\nUA,"),
        "{written}"
    );
    let said = plain(
        &address,
        &format!("\\copy flights (carrier, _headers) TO '{name}'"),
    );
    assert_eq!(said, format!("COPY {}\n", flights.len()));
    let written = fs::read_to_string(&file).expect("a file");
    assert_eq!(written.lines().count(), flights.len());
    assert!(
        written.lines().all(|line| line.ends_with("\t{}")),
        "{written}"
    );
    let output = psql(
        &address,
        &["-c", "COPY (SELECT nope FROM flights) TO STDOUT"],
    );
    let said = text(&output);
    assert!(
        said.contains("LINE 1: COPY (SELECT nope FROM") && said.contains("HINT:"),
        "{said}"
    );
    let output = psql(&address, &["-c", "COPY flights FROM STDIN"]);
    assert!(
        text(&output).contains("statements only read"),
        "{}",
        text(&output)
    );
    // Rows in parts, which is a setting of psql and a statement.
    let script =
        "\\timing on\n\\set FETCH_COUNT 100\nSELECT _sequence FROM flights ORDER BY _sequence;\n";
    let output = fed(&address, script);
    let said = text(&output);
    assert!(output.status.success() && said.contains("Time: "), "{said}");
    let rows = String::from_utf8_lossy(&output.stdout);
    let rows = rows
        .lines()
        .filter(|line| line.trim().parse::<u64>().is_ok());
    assert_eq!(rows.count(), flights.len());
    let script = "BEGIN;\nDECLARE c CURSOR FOR SELECT _sequence FROM flights ORDER BY _sequence;\nFETCH 2 FROM c;\nMOVE 3 IN c;\n\
                  FETCH NEXT FROM c;\nCLOSE c;\nCOMMIT;\n";
    let output = fed(&address, script);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said,
        "BEGIN\nDECLARE CURSOR\n1\n2\nMOVE 3\n6\nCLOSE CURSOR\nCOMMIT\n",
        "{}",
        text(&output)
    );
    interrupt(&address);
}

/// What psql says to a script.
fn fed(address: &str, script: &str) -> Output {
    let mut running = Command::new("psql")
        .args([address, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .env("PGUSER", "ann")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = running.stdin.take().expect("input");
    input.write_all(script.as_bytes()).expect("written");
    drop(input);
    running.wait_with_output().expect("it ends")
}

/// Ctrl-C in psql ends the question that runs.
fn interrupt(address: &str) {
    let endless =
        "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b";
    let mut running = Command::new("psql")
        .args([address, "-X", "-c", "\\echo begun", "-c", endless])
        .env("PGUSER", "ann")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut output = std::io::BufReader::new(running.stdout.take().expect("output"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    assert_eq!(line, "begun\n");
    let pid = running.id().to_string();
    let begin = std::time::Instant::now();
    // What comes before the question runs interrupts nothing, so it comes again.
    while running.try_wait().expect("a status").is_none() {
        assert!(begin.elapsed() < PATIENCE, "it goes on");
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        let sent = Command::new("kill").args(["-INT", &pid]).output();
        sent.expect("kill runs");
    }
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut running.stderr.take().expect("errors"), &mut errors)
        .expect("text");
    assert!(errors.contains("query was cancelled"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_prepares_statements_and_reads_large_answers() {
    let place = folder();
    let (server, address) = start(place.path(), "");
    apply(&server, &station("notes", ""));
    for n in 0..20 {
        let payload = format!(r#"{{"n":{n}}}"#);
        publish(&server, "notes.a", &[], payload.as_bytes()).await;
    }
    let (client, connection) = tokio_postgres::connect(&format!("{address}/any?user=ann"), NoTls)
        .await
        .expect("connected");
    tokio::spawn(connection);
    let sql = "SELECT n, _sequence FROM notes WHERE n >= $1 AND _subject = $2 ORDER BY n";
    let rows = client
        .query(sql, &[&18_i64, &"notes.a"])
        .await
        .expect("rows");
    let found: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, [(18, 19), (19, 20)]);
    // Rows pass through without being gathered.
    let before = most_memory(&server);
    let sql = "SELECT value, repeat('x', 1000) AS text FROM generate_series(1, 200000)";
    let rows = client
        .query_raw(sql, Vec::<i64>::new())
        .await
        .expect("rows");
    let mut rows = std::pin::pin!(rows);
    let mut count = 0;
    while let Some(row) = futures_util::StreamExt::next(&mut rows).await {
        row.expect("a row");
        count += 1;
    }
    assert_eq!(count, 200_000);
    let more = most_memory(&server) - before;
    assert!(more < 120_000, "the server held {more} KiB for 200 MB");
}

/// The most memory that a server had at a time, in KiB.
fn most_memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.expect("a number").trim().trim_end_matches(" kB");
    most.parse().expect("a number")
}
