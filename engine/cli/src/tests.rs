//! Commands against a small server that answers as the management API does.

mod function;
mod schema;

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use clap::{CommandFactory, Parser};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::args::{Command, Connection};
use crate::console::Console;

#[derive(Debug, Parser)]
#[command(name = "millstream")]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// What the server was asked.
type Asked = Arc<Mutex<Vec<String>>>;

async fn answer(State(asked): State<Asked>, method: Method, uri: Uri, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body).into_owned();
    asked
        .lock()
        .unwrap()
        .push(format!("{method} {uri} {text}").trim_end().to_owned());
    let refuse = |status: StatusCode, body: Value| (status, axum::Json(body)).into_response();
    let fine = |body: Value| axum::Json(body).into_response();
    match (method.as_str(), uri.path()) {
        ("GET", "/api/v1/stations") => fine(json!({ "items": [
            { "subjects": ["flights.>", "x"], "name": "flights", "messages": 12, "state": { "a": 1 } },
            { "name": "late", "messages": 3, "note": "two\nlines" },
        ] })),
        ("GET", "/api/v1/sinks") => fine(json!({ "items": [] })),
        ("GET", "/api/v1/stations/flights") => fine(json!({ "spec": { "name": "flights", "stages": [{ "sql": "SELECT 1\nFROM x\n" }] } })),
        ("DELETE", "/api/v1/stations/a%2Fb%3F") => StatusCode::NO_CONTENT.into_response(),
        ("POST", "/api/v1/apply") if text.contains("refuse") => refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "code": 13, "error": "1 problem", "hint": "mend it",
                    "problems": [{ "file": "f.yaml", "line": 3, "column": 7, "message": "no such column `x`", "hint": "did you mean `y`?" }] }),
        ),
        ("POST", "/api/v1/apply") => fine(json!({ "changes": [
            { "kind": "schema", "name": "flight", "action": "unchanged", "diff": [] },
            { "kind": "station", "name": "flights", "action": "changed", "diff": ["retention.max_age: 1d -> 7d", { "path": "stages", "from": null, "to": ["a"] }] },
        ], "problems": [] })),
        ("POST", "/api/v1/journal/verify") => fine(json!({ "clean": false, "files": 2, "frames": 30, "records": 90, "bytes": 4000,
            "damage": [{ "file": "00000002.log", "offset": 88, "kind": "frame", "index": 17 }], "missing": [], "unreadable": [],
            "tail": { "file": "00000002.log", "offset": 900 } })),
        ("POST", "/api/v1/publish") if text.contains("bad") => refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "code": 14, "error": "schema `flight` refuses it", "hint": "see the path", "stage": "schema:flight" }),
        ),
        ("POST", "/api/v1/publish") if text.contains("nowhere") => fine(json!({ "stream": null, "seq": 0, "dropped": true })),
        ("POST", "/api/v1/publish") => fine(json!({ "stream": "flights", "seq": 7 })),
        ("GET", "/api/v1/stations/flights/messages") => {
            "{\"seq\":1,\"time\":\"2024-01-01T00:00:00Z\",\"subject\":\"a\",\"headers\":{},\"payload\":{\"x\":1}}\n\n{\"seq\":2,\"time\":\"t\",\"subject\":\"b\",\"headers\":{\"k\":\"v\"},\"payload\":\"te\\nxt\"}\n{\"seq\":3,\"time\":\"t\",\"subject\":\"c\",\"payload_base64\":\"/w==\"}".into_response()
        }
        ("GET", "/api/v1/stations/flights/dead-letters") => fine(json!({ "items": [
            { "id": 4, "time": "t", "subject": "a", "stage": "schema:flight", "code": "type", "reason": "no \u{1b}number" },
            { "id": 9, "time": "t", "subject": "b", "stage": "sql:1", "code": "eval", "reason": "overflow" },
        ] })),
        ("POST", "/api/v1/stations/flights/dead-letters/9/resend") => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, json!({ "code": 14, "error": "still no number", "hint": "" }))
        }
        (_, path) if path.contains("/dead-letters/4") => fine(json!({ "id": 4 })),
        ("GET", "/api/v1/status") => refuse(StatusCode::BAD_GATEWAY, json!("not ours")),
        _ => refuse(StatusCode::NOT_FOUND, json!({ "code": 11, "error": "there is no such thing", "hint": "look" })),
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

/// Exit status, then what was written to both streams.
async fn type_in(server: &str, args: &[&str], input: &str) -> String {
    let words = [&["millstream", "--server", server], args].concat();
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut input = Cursor::new(input.as_bytes().to_vec());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        input: &mut input,
        terminal: false,
        typed: false,
        variables: &|name| {
            let value = match name {
                "HOOK_SECRET" => "s3cret",
                "HOST" => "api.example.org",
                "USER" => "ann",
                "HOSTNAME" => "desk",
                _ => return None,
            };
            Some(value.to_owned())
        },
    };
    let status = crate::run(&cli.connection, &cli.command, &mut console).await;
    let (out, err) = (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    );
    format!("{out}{err}= {status}\n").replace(server, "SERVER")
}

async fn check(args: &[&str], expected: Expect) {
    let (server, _) = start().await;
    expected.assert_eq(&type_in(&server, args, "from input").await);
}

#[test]
fn the_arguments_are_sound() {
    Cli::command().debug_assert();
    let refused = |args: &[&str]| Cli::try_parse_from(args).unwrap_err().to_string();
    assert!(refused(&["millstream", "get", "statoin"]).contains("did you mean `station`?"));
    assert!(refused(&["millstream", "publish", "a", "b", "-H", "x"]).contains("NAME=VALUE"));
    assert!(refused(&["millstream", "apply"]).contains("--file"));
    assert!(refused(&["millstream", "dead-letters", "drop", "s"]).contains("<ID>"));
    assert!(
        refused(&["millstream", "dead-letters", "drop", "s", "1", "--all"])
            .contains("cannot be used")
    );
}

#[tokio::test]
async fn things() {
    check(
        &["get", "stations"],
        expect![[r#"
        NAME     SUBJECTS      MESSAGES  NOTE
        flights  flights.>, x  12
        late                   3         two\nlines
        = 0
    "#]],
    )
    .await;
    check(
        &["get", "station", "late"],
        expect![[r#"
        NAME  MESSAGES  NOTE
        late  3         two\nlines
        = 0
    "#]],
    )
    .await;
    check(
        &["get", "station", "fligths"],
        expect![[r#"
        error: there is no station `fligths`
        hint: did you mean `flights`?
        = 3
    "#]],
    )
    .await;
    check(
        &["get", "sinks"],
        expect![[r#"
        no sinks
        = 0
    "#]],
    )
    .await;
    check(
        &["get", "station", "late", "-o", "json"],
        expect![[r#"
        {
          "name": "late",
          "messages": 3,
          "note": "two\nlines"
        }
        = 0
    "#]],
    )
    .await;
}

#[tokio::test]
async fn one_thing() {
    check(
        &["describe", "station", "flights"],
        expect![[r#"
        spec:
          name: flights
          stages:
            - sql: |
                SELECT 1
                FROM x
        = 0
    "#]],
    )
    .await;
    check(
        &["describe", "station", "nope", "--output", "yaml"],
        expect![[r#"
            code: 11
            error: there is no such thing
            hint: look
            = 3
        "#]],
    )
    .await;
    check(
        &["delete", "station", "a/b?"],
        expect![[r#"
        deleted station `a/b?`
        = 0
    "#]],
    )
    .await;
    check(
        &["status"],
        expect![[r#"
        error: SERVER answers with status 502 and no error that can be read
        hint: is this the management port (`-m`) of a Millstream server?
        = 1
    "#]],
    )
    .await;
}

#[tokio::test]
async fn publishing() {
    check(
        &["publish", "a.b", "hello", "-H", "k=v=w"],
        expect![[r#"
        stored in `flights`, sequence 7
        = 0
    "#]],
    )
    .await;
    check(
        &["publish", "nowhere", "x"],
        expect![[r#"
        not stored: a stage of the station left it out
        = 0
    "#]],
    )
    .await;
    check(
        &["publish", "a.b", "bad"],
        expect![[r#"
        error: schema `flight` refuses it
        hint: see the path
        = 4
    "#]],
    )
    .await;
    check(
        &["publish", "a.b", "bad", "-o", "json"],
        expect![[r#"
        {
          "code": 14,
          "error": "schema `flight` refuses it",
          "hint": "see the path",
          "stage": "schema:flight"
        }
        = 4
    "#]],
    )
    .await;

    let (server, asked) = start().await;
    type_in(&server, &["publish", "a", "-", "-H", "k=v"], "from input").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.jsonl");
    std::fs::write(&path, b"one\n\nbad\r\n\xff").unwrap();
    let path = path.to_str().unwrap();
    let shown = type_in(&server, &["publish", "a", "--file", path], "").await;
    expect![[r#"
        stored 2 messages
        data.jsonl:3: schema `flight` refuses it
        error: 1 of 3 were refused
        = 4
    "#]]
    .assert_eq(&shown.replace(path, "data.jsonl"));
    expect![[r#"
        POST /api/v1/publish {"subject":"a","headers":{"k":"v"},"payload":"from input"}
        POST /api/v1/publish {"subject":"a","headers":{},"payload":"one"}
        POST /api/v1/publish {"subject":"a","headers":{},"payload":"bad"}
        POST /api/v1/publish {"subject":"a","headers":{},"payload_base64":"/w=="}"#]]
    .assert_eq(&asked.lock().unwrap().join("\n"));
}

#[tokio::test]
async fn tailing() {
    check(
        &["tail", "flights"],
        expect![[r#"
        1  2024-01-01T00:00:00Z  a  {"x":1}
        2  t  b  {"k":"v"}  te\nxt
        3  t  c  (base64) /w==
        = 0
    "#]],
    )
    .await;
    check(
        &["tail", "flights", "--limit", "1", "-o", "json"],
        expect![[r#"
            {"seq":1,"time":"2024-01-01T00:00:00Z","subject":"a","headers":{},"payload":{"x":1}}
            = 0
        "#]],
    )
    .await;
    check(
        &["tail", "nope"],
        expect![[r#"
        error: there is no such thing
        hint: look
        = 3
    "#]],
    )
    .await;
    let (server, asked) = start().await;
    type_in(
        &server,
        &["tail", "flights", "--no-follow", "--from-seq", "5"],
        "",
    )
    .await;
    assert_eq!(
        asked.lock().unwrap()[0],
        "GET /api/v1/stations/flights/messages?follow=false&from_seq=5&limit=4294967295&decode=json"
    );
}

#[tokio::test]
async fn dead_letters() {
    check(
        &["dead-letters", "list", "flights"],
        expect![[r#"
        ID  TIME  SUBJECT  STAGE          CODE  REASON
        4   t     a        schema:flight  type  no \u{1b}number
        9   t     b        sql:1          eval  overflow
        = 0
    "#]],
    )
    .await;
    check(
        &["dead-letters", "show", "flights", "4"],
        expect![[r#"
        id: 4
        = 0
    "#]],
    )
    .await;
    check(
        &["dead-letters", "resend", "flights", "4"],
        expect![[r#"
        resent 4
        = 0
    "#]],
    )
    .await;
    check(
        &["dead-letters", "resend", "flights", "--all"],
        expect![[r#"
            1 resent
            9: still no number
            error: 1 of 2 were refused
            = 4
        "#]],
    )
    .await;
    check(
        &["dead-letters", "drop", "flights", "5"],
        expect![[r#"
        error: there is no such thing
        hint: look
        = 3
    "#]],
    )
    .await;
}

#[tokio::test]
async fn verifying() {
    check(&["journal", "verify", "--online"], expect![[r#"
        2 files, 30 frames with 90 records, 4000 bytes checked

        damage:
        FILE          OFFSET  KIND   INDEX
        00000002.log  88      frame  17
        what follows byte 900 of `00000002.log` is left out: a write that was cut short, or is under way
        error: the log is damaged
        = 1
    "#]]).await;
    let refused = Cli::try_parse_from([
        "millstream",
        "journal",
        "verify",
        "--online",
        "--store",
        "d",
    ]);
    assert!(refused.unwrap_err().to_string().contains("cannot be used"));
}

#[tokio::test]
async fn no_server() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = free.local_addr().unwrap().to_string();
    drop(free);
    let shown = type_in(&server, &["status"], "").await;
    expect![[r#"
        error: cannot reach the server at http://SERVER: Connection refused (os error 111)
        hint: is it running? start it with `millstream serve`, or name another with `--server URL`
        = 1
    "#]]
    .assert_eq(&shown.replace(&format!("http://{server}"), "SERVER"));
    expect![[r#"
        error: `SERVER` is not a server's address: `ftp` is neither http nor https
        hint: write it like http://127.0.0.1:8222
        = 1
    "#]]
    .assert_eq(&type_in("ftp://x", &["status"], "").await);
    expect![[r#"
        error: `SERVER` is not a server's address: invalid international domain name
        hint: write it like http://127.0.0.1:8222
        = 1
    "#]]
    .assert_eq(&type_in("http://a b", &["status"], "").await);
}

/// A folder with a station file and what it refers to.
fn folder(schema: bool) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("files")).unwrap();
    let path = dir.path().join("files").join("f.yaml");
    let text = "kind: schema\nname: flight\nfile: ../flight.json\n---\nkind: sink\nname: s\nconnector: http\nstation: x\nconfig: { secret: \"${HOOK_SECRET}\" }\n";
    std::fs::write(&path, text).unwrap();
    if schema {
        std::fs::write(dir.path().join("flight.json"), "{}").unwrap();
    }
    (dir, path.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn applying() {
    let (server, asked) = start().await;
    let (dir, path) = folder(true);
    expect![[r#"
        ACTION     KIND     NAME
        unchanged  schema   flight
        changed    station  flights

        station flights
          retention.max_age: 1d -> 7d
          stages: (nothing) -> a

        nothing was applied (--dry-run)
        = 0
    "#]]
    .assert_eq(&type_in(&server, &["apply", "-f", &path, "--dry-run"], "").await);
    let sent = asked.lock().unwrap()[0].replace(dir.path().to_str().unwrap(), "DIR");
    expect![[r#"POST /api/v1/apply {"files":[{"name":"DIR/files/f.yaml","text":"kind: schema\nname: flight\nfile: ../flight.json\n---\nkind: sink\nname: s\nconnector: http\nstation: x\nconfig: { secret: \"${HOOK_SECRET}\" }\n"}],"attachments":{"DIR/flight.json":"e30="},"variables":{"HOOK_SECRET":"s3cret"},"dry_run":true}"#]].assert_eq(&sent);
    let text = "kind: source\nname: refuse\nconnector: file\n";
    expect![[r#"
        f.yaml:3:7: no such column `x`
            did you mean `y`?
        error: 1 problem
        hint: mend it
        = 4
    "#]]
    .assert_eq(&type_in(&server, &["apply", "-f", "-"], text).await);
}

#[tokio::test]
async fn what_is_wrong_with_the_files_shows_without_a_server() {
    let (dir, path) = folder(false);
    let other = dir.path().join("g.yaml");
    std::fs::write(&other, "kind: station\nname: a\nsubject: x\n").unwrap();
    let tidy = |text: String| text.replace(dir.path().to_str().unwrap(), "DIR");
    let args = ["apply", "-f", &path, "-f", other.to_str().unwrap()];
    expect![[r#"
        DIR/g.yaml:1:1: `subjects` of the station is missing
        DIR/g.yaml:3:1: unknown key `subject` of the station
            did you mean `subjects`?
        DIR/files/f.yaml:3:7: cannot read `DIR/flight.json`: No such file or directory (os error 2)
            paths are relative to the station file's folder
        error: 3 problems in the files; nothing was applied
        = 4
    "#]]
    .assert_eq(&tidy(type_in("127.0.0.1:1", &args, "").await));
    let args = [&["--output", "json"], &args[..]].concat();
    expect![[r#"
        {
          "error": "3 problems in the files; nothing was applied",
          "problems": [
            {
              "file": "DIR/g.yaml",
              "line": 1,
              "column": 1,
              "message": "`subjects` of the station is missing"
            },
            {
              "file": "DIR/g.yaml",
              "line": 3,
              "column": 1,
              "message": "unknown key `subject` of the station",
              "hint": "did you mean `subjects`?"
            },
            {
              "file": "DIR/files/f.yaml",
              "line": 3,
              "column": 7,
              "message": "cannot read `DIR/flight.json`: No such file or directory (os error 2)",
              "hint": "paths are relative to the station file's folder"
            }
          ]
        }
        = 4
    "#]]
    .assert_eq(&tidy(type_in("127.0.0.1:1", &args, "").await));
    let missing = dir.path().join("missing.yaml");
    let args = ["apply", "-f", missing.to_str().unwrap()];
    expect![[r#"
        error: cannot read `DIR/missing.yaml`: No such file or directory (os error 2)
        = 1
    "#]]
    .assert_eq(&tidy(type_in("127.0.0.1:1", &args, "").await));
}
