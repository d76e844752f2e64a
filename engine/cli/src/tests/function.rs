//! `function` against a small server that answers as the management API does.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use clap::Parser;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Asked, Cli, type_in};

fn lines(values: &[Value]) -> Response {
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    lines.into_response()
}

fn dry_run(text: &str) -> Response {
    if text.contains("\"station\":\"nowhere\"") {
        return lines(&[
            json!({ "progress": { "looked_at": 1, "seq": 1 } }),
            json!({ "code": 11, "error": "there is no station `nowhere`", "hint": "did you mean `here`?" }),
        ]);
    }
    let counts = |reject: u64| json!({ "messages": 10, "keep": 6, "replace": 3, "emit": 0, "drop": 0, "retry": 0, "reject": reject, "errors": 0 });
    let mut report = json!({
        "looked_at": 10, "candidate": counts(1), "live": counts(0), "different": 1,
        "micros_per_message": { "candidate": 3.14, "live": 2.0, "p50": 2.96, "p99": 9.0 },
        "rejections": [{ "code": "not_json", "count": 1, "first": { "seq": 7, "reason": "expected\nvalue" } }],
        "samples": [{ "seq": 3, "subject": "flights.UA", "payload": { "dep_delay": 20 }, "answer": "replace {\"band\":\"late\"}" }],
        "differences": [{ "subject": "flights.AA", "payload": "x".repeat(300), "live": "keep", "tried": "reject not_json" }],
    });
    if text.contains("\"limit\":1") {
        report["live"] = Value::Null;
        report["micros_per_message"]["live"] = Value::Null;
        for list in ["rejections", "samples", "differences"] {
            report[list] = json!([]);
        }
    }
    lines(&[
        json!({ "progress": { "looked_at": 5, "seq": 5 } }),
        json!({ "report": report }),
    ])
}

async fn answer(State(asked): State<Asked>, method: Method, uri: Uri, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body).into_owned();
    let line = format!("{method} {uri} {text}").trim_end().to_owned();
    asked.lock().unwrap().push(line);
    let fine = |body: Value| axum::Json(body).into_response();
    let refuse = |status: StatusCode, body: Value| (status, axum::Json(body)).into_response();
    match (method.as_str(), uri.path()) {
        ("POST", "/api/v1/apply") if text.contains("refuse") => refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "code": 13, "error": "1 problem", "hint": "mend it",
                    "problems": [{ "file": "f.yaml", "line": 2, "column": 7, "message": "test `a late flight`: expected `drop`, got `keep`" }] }),
        ),
        ("POST", "/api/v1/apply") => fine(json!({ "changes": [
            { "kind": "function", "name": "band", "action": "changed", "diff": ["component: 3f2a -> 99b1"], "version": 4 },
            { "kind": "station", "name": "flights", "action": "unchanged", "diff": [] },
        ], "problems": [] })),
        ("POST", "/api/v1/functions-dry-run") => dry_run(&text),
        ("GET", "/api/v1/functions/band/versions") => fine(
            json!({ "name": "band", "live": 3, "trial": { "version": 4, "mode": "shadow" }, "versions": [
            { "version": 4, "digest": "99b1".repeat(16), "bytes": 20_000, "created": "2026-11-23T07:45:00Z", "by": "ann@desk", "why": "15 minutes", "state": "shadow" },
            { "version": 3, "digest": "3f2a".repeat(16), "bytes": 18_000, "created": "2026-11-22T07:45:00Z", "by": "bob@desk", "why": null, "state": "live" },
        ], "events": [{ "time": "2026-11-23T07:45:00Z", "by": "ann@desk", "what": "shadow 4", "why": "15 minutes" }] }),
        ),
        ("GET", "/api/v1/functions/band") => {
            fine(json!({ "spec": { "name": "band" }, "versions": 4,
            "trial": { "messages": 100, "different": 3, "rejected": 1, "errors": 0, "skipped": 0, "stopped": null, "samples": [] },
            "numbers": { "3": { "calls": 5, "messages": 100, "busy": 0.2, "memory": 1_100_000 } },
            "grants": { "state": false, "lookup": ["planes"], "http": [] } }))
        }
        ("POST", "/api/v1/functions/band/promote") => {
            fine(json!({ "name": "band", "version": 4, "before": 3, "action": "promote" }))
        }
        ("POST", "/api/v1/functions/band/stop") => {
            fine(json!({ "name": "band", "version": 3, "before": 4, "action": "stop" }))
        }
        ("POST", "/api/v1/functions/band/rollback") => {
            fine(json!({ "name": "band", "version": 2, "before": null, "action": "rollback" }))
        }
        ("GET", "/api/v1/stations/function-logs/messages")
            if uri.query().is_some_and(|query| query.contains("band")) =>
        {
            let line = |seq: u64, level: &str, payload: Value| {
                json!({ "seq": seq, "time": "t", "subject": "$MS.LOG.function.band",
                "headers": { "Ms-Level": level, "Ms-Version": "3" }, "payload": payload })
            };
            lines(&[
                line(1, "info", json!("late after 15\nminutes")),
                line(2, "warn", json!({ "a": 1 })),
                line(3, "error", json!("no bucket")),
                line(4, "debug", json!("5")),
            ])
        }
        _ => refuse(
            StatusCode::NOT_FOUND,
            json!({ "code": 11, "error": "there is no such thing", "hint": "look" }),
        ),
    }
}

async fn start() -> (String, Asked) {
    let asked = Asked::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(asked.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (server, asked)
}

/// What is shown, then what the server was asked.
async fn check(args: &[&str], expected: Expect) {
    let (server, asked) = start().await;
    let shown = type_in(&server, args, "").await;
    let asked = asked.lock().unwrap().join("\n");
    expected.assert_eq(&format!("{shown}{asked}\n"));
}

/// The same for a function in a folder.
async fn check_file(args: &[&str], text: &str, expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("function.yaml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join("band.wasm"), "wasm").unwrap();
    std::fs::write(dir.path().join("tests.yaml"), "tests: []\n").unwrap();
    let (server, asked) = start().await;
    let args = [args, &["-f", path.to_str().unwrap()]].concat();
    let shown = type_in(&server, &args, "").await;
    let asked = asked.lock().unwrap().join("\n");
    let shown = format!("{shown}{asked}\n").replace(dir.path().to_str().unwrap(), "DIR");
    expected.assert_eq(&shown);
}

const FILE: &str =
    "kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n";

#[test]
fn the_arguments_are_sound() {
    let typed = |args: &[&str]| {
        let args = [&["millstream", "function"], args].concat();
        Cli::try_parse_from(args)
    };
    for (args, want) in [
        (&["init", "x"][..], "--language"),
        (&["init", "x", "--language", "cobol"], "javascript"),
        (&["deploy", "--canary", "0"], "5%"),
        (&["deploy", "--canary", "5%", "--shadow"], "cannot be used"),
        (
            &["deploy", "--canary-subjects", "a.>", "--shadow"],
            "cannot be used",
        ),
        (&["deploy", "--max-error-rate", "5%"], "--shadow"),
        (&["deploy", "--shadow", "--max-error-rate", "5"], "0.05"),
        (&["deploy", "--dry-run"], "--station"),
        (&["deploy", "--station", "s"], "--dry-run"),
        (
            &["deploy", "--shadow", "--dry-run", "--station", "s"],
            "cannot be used",
        ),
        (
            &["deploy", "--dry-run", "--station", "s", "--from", "soon"],
            "beginning",
        ),
        (&["rollback", "x", "--to", "0"], "1.."),
        (&["logs", "x", "--level", "loud"], "warn"),
    ] {
        let error = typed(args).unwrap_err().to_string();
        assert!(error.contains(want), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn deploying() {
    check_file(&["function", "deploy"], FILE, expect![[r#"
        ACTION     KIND      NAME     VERSION
        changed    function  band     4
        unchanged  station   flights

        function band
          component: 3f2a -> 99b1
        = 0
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk"}
    "#]]).await;
    let all = [
        "function",
        "deploy",
        "--why",
        "15 minutes",
        "--canary",
        "2.5%",
        "--max-error-rate",
        "1%",
        "--min-messages",
        "50",
    ];
    check_file(&all, FILE, expect![[r#"
        ACTION     KIND      NAME     VERSION
        changed    function  band     4
        unchanged  station   flights

        function band
          component: 3f2a -> 99b1

        version 4 of `band` is tried: `millstream describe function band` shows how it does, `millstream function promote band` makes it run, `millstream function stop band` ends the trial
        = 0
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk","why":"15 minutes","trial":{"mode":"canary","percent":2.5,"max_error_rate":0.01,"min_messages":50}}
    "#]]).await;
    let subjects = [
        "function",
        "deploy",
        "--canary-subjects",
        "flights.UA.>",
        "-o",
        "json",
    ];
    check_file(&subjects, FILE, expect![[r#"
        {
          "changes": [
            {
              "kind": "function",
              "name": "band",
              "action": "changed",
              "diff": [
                "component: 3f2a -> 99b1"
              ],
              "version": 4
            },
            {
              "kind": "station",
              "name": "flights",
              "action": "unchanged",
              "diff": []
            }
          ],
          "problems": []
        }
        = 0
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk","trial":{"mode":"canary","subjects":"flights.UA.>"}}
    "#]]).await;
    check_file(
        &["function", "deploy", "--shadow"],
        &FILE.replace("band\n", "refuse\n"),
        expect![[r#"
            f.yaml:2:7: test `a late flight`: expected `drop`, got `keep`
            error: 1 problem
            hint: mend it
            = 4
            POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: refuse\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk","trial":{"mode":"shadow"}}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_deployed_shows_without_a_server() {
    let deploy = ["function", "deploy"];
    check_file(
        &deploy,
        "kind: station\nname: a\nsubjects: [a]\n",
        expect![[r#"
            error: `DIR/function.yaml` describes no function
            hint: `kind: function` begins one
            = 1

        "#]],
    )
    .await;
    check_file(
        &deploy,
        &FILE.replace("tests.yaml", "test.yaml"),
        expect![[r#"
            DIR/function.yaml:4:8: cannot read `DIR/test.yaml`: No such file or directory (os error 2)
                paths are relative to the station file's folder
            error: 1 problem in the files; nothing was applied
            = 4

        "#]],
    )
    .await;
    check(
        &["function", "deploy"],
        expect![[r#"
        error: cannot read `function.yaml`: No such file or directory (os error 2)
        = 1

    "#]],
    )
    .await;
}

#[tokio::test]
async fn dry_runs() {
    let args = |more: &[&'static str]| {
        [&["function", "deploy", "--dry-run", "--station"][..], more].concat()
    };
    check_file(&args(&["flights"]), FILE, expect![[r#"
        10 messages looked at; 1 with another outcome than the version that runs gives

                        CANDIDATE  LIVE
        keep            6          6
        replace         3          3
        emit            0          0
        drop            0          0
        retry           0          0
        reject          1          0
        errors          0          0
        us per message  3.1        2.0
        us, p50         3.0
        us, p99         9.0

        rejected:
        COUNT  CODE      FIRST SEQ  REASON
        1      not_json  7          expected\nvalue

        differences:
          flights.AA  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
            - keep
            + reject not_json

        samples:
          3  flights.UA  {"dep_delay":20}
            replace {"band":"late"}
        = 0
        POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"flights"}
    "#]]).await;
    check_file(
        &args(&["flights", "--limit", "1", "--from", "7"]),
        FILE,
        expect![[r#"
            10 messages looked at; no version runs to compare with

                            CANDIDATE
            keep            6
            replace         3
            emit            0
            drop            0
            retry           0
            reject          1
            errors          0
            us per message  3.1
            us, p50         3.0
            us, p99         9.0
            = 0
            POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"flights","from_seq":7,"limit":1}
        "#]],
    )
    .await;
    check_file(
        &args(&[
            "flights",
            "--limit",
            "1",
            "--from",
            "2026-11-23T07:45:00Z",
            "-o",
            "json",
        ]),
        FILE,
        expect![[r#"
            {
              "looked_at": 10,
              "candidate": {
                "messages": 10,
                "keep": 6,
                "replace": 3,
                "emit": 0,
                "drop": 0,
                "retry": 0,
                "reject": 1,
                "errors": 0
              },
              "live": null,
              "different": 1,
              "micros_per_message": {
                "candidate": 3.14,
                "live": null,
                "p50": 2.96,
                "p99": 9.0
              },
              "rejections": [],
              "samples": [],
              "differences": []
            }
            = 0
            POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"flights","from_time":"2026-11-23T07:45:00Z","limit":1}
        "#]],
    )
    .await;
    check_file(
        &args(&["nowhere", "--from", "beginning"]),
        FILE,
        expect![[r#"
            error: there is no station `nowhere`
            hint: did you mean `here`?
            = 3
            POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"nowhere"}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_dry_run_from_an_hour_ago() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("f.yaml"),
        FILE.replace("tests: tests.yaml\n", ""),
    )
    .unwrap();
    std::fs::write(dir.path().join("band.wasm"), "wasm").unwrap();
    let path = dir.path().join("f.yaml");
    let (server, asked) = start().await;
    let args = [
        "function",
        "deploy",
        "--dry-run",
        "--station",
        "flights",
        "--from",
        "1h",
        "-f",
    ];
    let args = [&args[..], &[path.to_str().unwrap()]].concat();
    let before = millstream_types::Timestamp::now();
    type_in(&server, &args, "").await;
    let sent = asked.lock().unwrap()[0].clone();
    let body: Value = serde_json::from_str(
        sent.split_once('{')
            .map(|(_, rest)| format!("{{{rest}"))
            .unwrap()
            .as_str(),
    )
    .unwrap();
    let from = body["from_time"].as_str().unwrap();
    let from = millstream_types::Timestamp::parse_rfc3339(from).unwrap();
    let ago = before.since(from).as_secs();
    assert!((3590..=3600).contains(&ago), "{ago}");
}

#[tokio::test]
async fn versions() {
    check(
        &["function", "versions", "band"],
        expect![[r#"
        VERSION  STATE   CREATED               BY        BYTES  DIGEST        WHY
        4        shadow  2026-11-23T07:45:00Z  ann@desk  20000  99b199b199b1  15 minutes
        3        live    2026-11-22T07:45:00Z  bob@desk  18000  3f2a3f2a3f2a

        trial:
          version: 4
          mode: shadow

        TIME                  BY        WHAT      WHY
        2026-11-23T07:45:00Z  ann@desk  shadow 4  15 minutes
        = 0
        GET /api/v1/functions/band/versions
    "#]],
    )
    .await;
    check(
        &["function", "versions", "a/b"],
        expect![[r#"
        error: there is no such thing
        hint: look
        = 3
        GET /api/v1/functions/a%2Fb/versions
    "#]],
    )
    .await;
    check(
        &["describe", "function", "band"],
        expect![[r#"
        spec:
          name: band
        versions: 4
        trial:
          messages: 100
          different: 3
          rejected: 1
          errors: 0
          skipped: 0
          stopped: null
          samples: []
        numbers:
          "3":
            calls: 5
            messages: 100
            busy: 0.2
            memory: 1100000
        grants:
          state: false
          lookup:
            - planes
          http: []
        = 0
        GET /api/v1/functions/band
    "#]],
    )
    .await;
}

#[tokio::test]
async fn switching() {
    check(
        &["function", "promote", "band", "--why", "no difference"],
        expect![[r#"
            version 4 of `band` runs, in place of version 3
            = 0
            POST /api/v1/functions/band/promote {"by":"ann@desk","why":"no difference"}
        "#]],
    )
    .await;
    check(
        &["function", "stop", "band"],
        expect![[r#"
        the trial is over; version 3 of `band` runs
        = 0
        POST /api/v1/functions/band/stop {"by":"ann@desk"}
    "#]],
    )
    .await;
    check(
        &[
            "function", "rollback", "band", "--to", "2", "--why", "too slow",
        ],
        expect![[r#"
            version 2 of `band` runs
            = 0
            POST /api/v1/functions/band/rollback {"by":"ann@desk","why":"too slow","to":2}
        "#]],
    )
    .await;
    check(
        &["function", "rollback", "band", "-o", "yaml"],
        expect![[r#"
            name: band
            version: 2
            before: null
            action: rollback
            = 0
            POST /api/v1/functions/band/rollback {"by":"ann@desk"}
        "#]],
    )
    .await;
    check(
        &["function", "promote", "bend"],
        expect![[r#"
        error: there is no such thing
        hint: look
        = 3
        POST /api/v1/functions/bend/promote {"by":"ann@desk"}
    "#]],
    )
    .await;
}

#[tokio::test]
async fn logs() {
    check(&["function", "logs", "band"], expect![[r#"
        t  info   v3  late after 15\nminutes
        t  warn   v3  {"a":1}
        t  error  v3  no bucket
        t  debug  v3  5
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=false&limit=4294967295
    "#]]).await;
    check(
        &[
            "function", "logs", "band", "--level", "warn", "--limit", "1",
        ],
        expect![[r#"
            t  error  v3  no bucket
            = 0
            GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=false&limit=4294967295
        "#]],
    )
    .await;
    check(
        &["function", "logs", "band", "-f", "--limit", "2"],
        expect![[r#"
            t  info   v3  late after 15\nminutes
            t  warn   v3  {"a":1}
            = 0
            GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=true&limit=2
        "#]],
    )
    .await;
    check(
        &[
            "function", "logs", "band", "-f", "--level", "warn", "--limit", "1", "-o", "json",
        ],
        expect![[r#"
            {"seq":2,"time":"t","subject":"$MS.LOG.function.band","headers":{"Ms-Level":"warn","Ms-Version":"3"},"payload":{"a":1}}
            = 0
            GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=true
        "#]],
    )
    .await;
    check(&["function", "logs", "new"], expect![[r#"
        no lines yet
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.new&follow=false&limit=4294967295
    "#]]).await;
    check(&["function", "logs", "new", "-o", "json"], expect![[r#"
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.new&follow=false&limit=4294967295
    "#]]).await;
}

#[test]
fn reports_of_tests() {
    let report = json!({ "function": "band", "passed": 1, "failed": 1, "tests": [
        { "name": "a late flight", "ok": true, "ms": 0.24 },
        { "name": "a cancelled flight", "ok": false, "problems": ["message 1: expected `drop`, got `replace {...}`"] },
    ] });
    let shown = |report: &Value, format: &str| {
        let cli = Cli::try_parse_from(["millstream", "-o", format, "function", "test"]).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = crate::Console {
            out: &mut out,
            err: &mut err,
            input: &mut std::io::empty(),
            terminal: false,
            typed: false,
            variables: &|_| None,
        };
        let status = crate::tested(&cli.connection, report, &mut console);
        let text = [out, err].concat();
        format!("{}= {status}\n", String::from_utf8(text).unwrap())
    };
    expect![[r#"
        ok      a late flight  (0.2 ms)
        FAILED  a cancelled flight
                message 1: expected `drop`, got `replace {...}`
        `band`: 1 passed, 1 failed
        error: 1 of 2 tests failed
        = 1
    "#]]
    .assert_eq(&shown(&report, "table"));
    expect![[r#"
        ok      a
        `band`: 1 passed
        = 0
    "#]].assert_eq(&shown(&json!({ "function": "band", "passed": 1, "failed": 0, "tests": [{ "name": "a", "ok": true }] }), "table"));
    assert!(shown(&report, "json").ends_with("= 1\n"));
}

#[tokio::test]
async fn tests_need_the_servers_program() {
    check(
        &["function", "test"],
        expect![[r#"
        error: functions can be tested by the server's own program only
        = 1

    "#]],
    )
    .await;
}
