//! `bench` as a user runs it: against a running server and with one of its own; nothing of it stays.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::harness::{PATIENCE, Server, binary, eventually, folder, text};

fn bench(arguments: &[&str]) -> Output {
    Command::new(binary())
        .arg("bench")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the bench runs")
}

/// What the JSON says about a case.
fn case<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let cases = answer["cases"].as_array().expect("cases");
    let found = cases.iter().find(|case| case["case"] == name);
    found.unwrap_or_else(|| panic!("no `{name}` in {answer}"))
}

fn number(value: &Value, name: &str) -> f64 {
    let number = value[name].as_f64().filter(|number| *number > 0.0);
    number.unwrap_or_else(|| panic!("no `{name}` above 0 in {value}"))
}

/// How many streams there are.
async fn streams(server: &Server) -> u64 {
    let (_, body) = server.get("/jsz").await;
    let jsz: Value = serde_json::from_str(&body).expect("JSON");
    jsz["streams"].as_u64().expect("a number")
}

#[tokio::test]
async fn every_case_is_measured_and_nothing_stays() {
    let folder = folder();
    let server = Server::start(folder.path());
    let arguments = ["--server", &server.http, "-o", "json", "--messages", "300"];
    let output = bench(&[&arguments[..], &["--size", "100", "--window", "50"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        output.stderr.is_empty(),
        "no progress in a pipe: {}",
        text(&output)
    );
    let answer: Value = serde_json::from_slice(&output.stdout).expect("exactly one object");
    let names: Vec<&str> = answer["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .filter_map(|case| case["case"].as_str())
        .collect();
    let all = [
        "publish",
        "deliver",
        "request",
        "store",
        "store-sync",
        "push",
        "pull",
    ];
    assert_eq!(names, all);
    for name in all {
        let case = case(&answer, name);
        assert!((number(case, "messages") - 300.0).abs() < 0.5, "{case}");
        number(case, "per_second");
    }
    for name in ["request", "store", "store-sync"] {
        let latency = &case(&answer, name)["latency_us"];
        assert!(
            number(latency, "p50") <= number(latency, "p99"),
            "{latency}"
        );
        assert!(
            number(latency, "p99") <= number(latency, "max"),
            "{latency}"
        );
    }
    assert_eq!(streams(&server).await, 0, "streams stay");
}

#[test]
fn with_a_server_of_its_own_by_the_clock() {
    let folder = folder();
    let output = Command::new(binary())
        .args(["bench", "store", "deliver", "--local", "-o", "json"])
        .args([
            "--seconds",
            "0.2",
            "--rate",
            "2000",
            "--publishers",
            "2",
            "--subscribers",
            "3",
        ])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the bench runs");
    assert!(output.status.success(), "{}", text(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("exactly one object");
    number(&answer["fdatasync_us"], "p50");
    let store = case(&answer, "store");
    assert!((number(store, "rate") - 2000.0).abs() < 0.1, "{store}");
    // Two publishers, 1,000 a second each, for a fifth of a second.
    let messages = number(store, "messages");
    assert!((398.0..=402.0).contains(&messages), "{store}");
    number(&store["latency_us"], "p999");
    number(&store["generator_late_us"], "p50");
    let deliver = case(&answer, "deliver");
    let ratio = number(deliver, "delivered") / number(deliver, "messages");
    assert!((ratio - 3.0).abs() < 1e-9, "{deliver}");
    let left = std::fs::read_dir(folder.path()).expect("folder").count();
    assert_eq!(left, 0, "the temporary folder is removed");
}

#[test]
fn a_table_for_people() {
    let output = bench(&["request", "store-sync", "--local", "--messages", "20"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    for part in [
        "CASE",
        "PER SECOND",
        "P99.9",
        "request",
        "store-sync",
        "The disk alone",
        "128 bytes",
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, status, part) in [
        (&["--nats", "127.0.0.1:1"][..], 1, "--nats HOST:PORT"),
        (&["--server", "127.0.0.1:1"], 1, "millstream serve"),
        (&["--rate", "0"], 2, "above 0"),
        (&["--size", "0"], 2, "--size"),
        (&["nonsense"], 2, "store-sync"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        assert!(text(&output).contains(part), "{}", text(&output));
    }
}

#[tokio::test]
async fn interrupted_it_removes_its_streams() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut child = Command::new(binary())
        .args(["bench", "store", "--server", &server.http])
        .args(["--seconds", "3600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the bench runs");
    eventually("stream", async || {
        (streams(&server).await == 1).then_some(())
    })
    .await;
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status();
    assert!(status.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(streams(&server).await, 0, "its stream stays");
}

#[test]
fn who_is_asked_for_a_name_gives_it() {
    for (flags, login) in [
        (&["--user", "ann", "--pass", "a@b"][..], "ann:a%40b"),
        (&["--auth", "secret"], "secret"),
    ] {
        let folder = folder();
        let server = Server::start_with(folder.path(), flags);
        let nobody = ["store", "--server", &server.http, "--messages", "1"];
        let output = bench(&nobody);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains("say who you are"),
            "{}",
            text(&output)
        );
        let somebody = server.http.replace("http://", &format!("http://{login}@"));
        let output = bench(&["store", "--server", &somebody, "--messages", "1"]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn interrupted_it_ends_its_own_server() {
    let folder = folder();
    let mut child = Command::new(binary())
        .args(["bench", "store-sync", "--local", "--seconds", "3600"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the bench runs");
    // The store is made by the server it started.
    let since = Instant::now();
    while !std::fs::read_dir(folder.path())
        .expect("folder")
        .filter_map(Result::ok)
        .any(|entry| entry.path().join("store/journal").is_dir())
    {
        assert!(since.elapsed() < PATIENCE, "no server was started");
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(status.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let left = std::fs::read_dir(folder.path()).expect("folder").count();
    assert_eq!(left, 0, "the temporary folder is removed");
}
