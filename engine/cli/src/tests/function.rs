//! `function` against a small server that answers as the management API does.

mod building;
mod deploying;
mod making;
mod place;

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
        "micros_per_message": { "candidate": 3.16, "live": 2.0, "p50": 2.96, "p99": 9.0 },
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

/// What is shown, then what the server was asked. Words are between blanks.
async fn check(words: &str, expected: Expect) {
    let (server, asked) = start().await;
    let words: Vec<&str> = words.split(' ').collect();
    let shown = type_in(&server, &words, "").await;
    let asked = asked.lock().unwrap().join("\n");
    expected.assert_eq(&format!("{shown}{asked}\n"));
}

#[test]
fn the_arguments_are_sound() {
    for (words, want) in [
        ("init x", "--language"),
        ("init x --language cobol", "javascript"),
        ("deploy --canary 0", "5%"),
        ("deploy --canary 5% --shadow", "cannot be used"),
        ("deploy --canary-subjects a.> --shadow", "cannot be used"),
        ("deploy --max-error-rate 5%", "--shadow"),
        ("deploy --shadow --max-error-rate 5", "0.05"),
        ("deploy --dry-run", "--station"),
        ("deploy --station s", "--dry-run"),
        ("deploy --shadow --dry-run --station s", "cannot be used"),
        ("deploy --dry-run --station s --from soon", "beginning"),
        ("rollback x --to 0", "1.."),
        ("logs x --level loud", "warn"),
    ] {
        let words = ["millstream", "function"]
            .into_iter()
            .chain(words.split(' '));
        let error = Cli::try_parse_from(words).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[tokio::test]
async fn versions() {
    check(
        "function versions band",
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
        "function versions a/b",
        expect![[r#"
        error: there is no such thing
        hint: look
        = 3
        GET /api/v1/functions/a%2Fb/versions
    "#]],
    )
    .await;
    check(
        "describe function band",
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
        "function promote band --why same_results",
        expect![[r#"
        version 4 of `band` runs, in place of version 3
        = 0
        POST /api/v1/functions/band/promote {"by":"ann@desk","why":"same_results"}
    "#]],
    )
    .await;
    check(
        "function stop band",
        expect![[r#"
        the trial is over; version 3 of `band` runs
        = 0
        POST /api/v1/functions/band/stop {"by":"ann@desk"}
    "#]],
    )
    .await;
    check(
        "function rollback band --to 2 --why too_slow",
        expect![[r#"
            version 2 of `band` runs
            = 0
            POST /api/v1/functions/band/rollback {"by":"ann@desk","why":"too_slow","to":2}
        "#]],
    )
    .await;
    check(
        "function rollback band -o yaml",
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
        "function promote bend",
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
    check("function logs band", expect![[r#"
        t  info   v3  late after 15\nminutes
        t  warn   v3  {"a":1}
        t  error  v3  no bucket
        t  debug  v3  5
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=false&limit=4294967295
    "#]]).await;
    check("function logs band --level warn --limit 1", expect![[r#"
        t  error  v3  no bucket
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=false&limit=4294967295
    "#]]).await;
    check("function logs band -f --limit 2", expect![[r#"
        t  info   v3  late after 15\nminutes
        t  warn   v3  {"a":1}
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=true&limit=2
    "#]]).await;
    check(
        "function logs band -f --level warn --limit 1 -o json",
        expect![[r#"
            {"seq":2,"time":"t","subject":"$MS.LOG.function.band","headers":{"Ms-Level":"warn","Ms-Version":"3"},"payload":{"a":1}}
            = 0
            GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.band&follow=true
        "#]],
    )
    .await;
    check("function logs new", expect![[r#"
        no lines yet
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.new&follow=false&limit=4294967295
    "#]]).await;
    check("function logs new -o json", expect![[r#"
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.new&follow=false&limit=4294967295
    "#]]).await;
    check(
        "function logs new -f",
        expect![[r#"
        no lines yet
        = 0
        GET /api/v1/stations/function-logs/messages?subject=%24MS.LOG.function.new&follow=true
    "#]],
    )
    .await;
}

#[test]
fn reports_of_tests() {
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
    let report = json!({ "function": "band", "passed": 1, "failed": 1, "tests": [
        { "name": "a late flight", "ok": true, "ms": 0.24 },
        { "name": "a cancelled flight", "ok": false, "problems": ["message 1: expected `drop`, got `replace {...}`"] },
    ] });
    expect![[r#"
        ok      a late flight  (0.2 ms)
        FAILED  a cancelled flight
                message 1: expected `drop`, got `replace {...}`
        `band`: 1 passed, 1 failed
        error: 1 of 2 tests failed
        = 1
    "#]]
    .assert_eq(&shown(&report, "table"));
    let fine = json!({ "function": "band", "passed": 1, "failed": 0, "tests": [{ "name": "a", "ok": true }] });
    expect![[r#"
        ok      a
        `band`: 1 passed
        = 0
    "#]]
    .assert_eq(&shown(&fine, "table"));
    assert!(
        shown(&report, "json")
            .ends_with("error\": \"1 of 2 tests failed\",\n  \"hint\": null\n}\n= 1\n")
    );
}

#[tokio::test]
async fn tests_need_the_servers_program() {
    check(
        "function test",
        expect![[r#"
        error: functions can be tested by the server's own program only
        = 1

    "#]],
    )
    .await;
}
