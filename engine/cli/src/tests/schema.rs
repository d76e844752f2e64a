//! `schema` against a small server that answers as the registry and the management API do.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Asked, Cli, type_in};
use clap::Parser;

const AVRO: &str = r#"{"type":"record","name":"Flight","fields":[]}"#;

fn infer() -> String {
    let evidence = json!([
        { "path": "", "seen": 3, "of": 3, "nulls": 0, "types": [["object", 3]] },
        { "path": "/carrier", "seen": 3, "of": 3, "nulls": 0, "types": [["string", 3]], "length": [2, 2], "distinct": 2, "values": [["UA", 2], ["AA", 1]] },
        { "path": "/delay", "seen": 2, "of": 3, "nulls": 1, "types": [["integer", 1], ["string", 1]], "least": -4, "most": 9, "formats": [["date", 1]] },
    ]);
    let result = json!({ "station": "flights", "format": "json", "looked_at": 4, "observed": 3, "not_read": 1,
        "first_not_read": { "seq": 9, "reason": "no\nJSON" }, "schema": "{\"type\":\"object\"}", "evidence": evidence });
    format!(
        "{}\n{}\n",
        json!({ "progress": { "looked_at": 2, "seq": 2 } }),
        json!({ "result": result })
    )
}

fn checked(text: &str) -> String {
    if text.contains("broken") {
        return format!(
            "{}\n",
            json!({ "code": 14, "error": "schema is not JSON", "hint": "mend it" })
        );
    }
    let mut result = json!({ "subject": "flight", "version": 4, "compatible": true, "messages": [], "users": ["station `flights`", "sink `x`"], "breaks": [] });
    if text.contains("against_history") {
        result["compatible"] = false.into();
        result["messages"] = json!([
            "{errorType:\"TYPE\"}\n",
            "{oldSchema: '{}'}",
            "{compatibility: 'BACKWARD'}"
        ]);
        result["breaks"] = json!([{ "kind": "station", "name": "flights", "path": "stages[0].sql", "reason": "no column `delay`" }]);
        result["history"] = json!({ "station": "flights", "looked_at": 10, "fit": 7, "fail": 3, "others": 1, "violations": [
            { "count": 2, "keyword": "type", "seq": 5, "path": "/delay", "expected": "integer", "found": "string \"x\"" }] });
    }
    format!("{}\n", json!({ "result": result }))
}

async fn answer(State(asked): State<Asked>, method: Method, uri: Uri, body: Bytes) -> Response {
    let text = String::from_utf8_lossy(&body).into_owned();
    let line = format!("{method} {uri} {text}").trim_end().to_owned();
    asked.lock().unwrap().push(line);
    let fine = |body: Value| axum::Json(body).into_response();
    let refuse = |status: u16, code: u64, message: &str| {
        let body = json!({ "error_code": code, "message": message });
        (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
    };
    let version = |version: u32| json!({ "subject": "flight", "version": version, "id": 6 + version, "schemaType": "AVRO", "schema": AVRO, "guid": "g" });
    let path = uri.path();
    let own = path.strip_prefix("/schema-registry").unwrap_or(path);
    match (method.as_str(), own) {
        ("GET", "/schemas") => fine(
            json!([version(2), { "subject": "a/b", "version": 1, "id": 3, "schemaType": "PROTOBUF",
            "schema": "message A {}", "references": [{ "name": "b.proto", "subject": "b", "version": 4 }] }]),
        ),
        ("GET", "/schemas/ids/3") => {
            fine(json!({ "schema": "syntax = \"proto3\";\n\n\n", "schemaType": "PROTOBUF" }))
        }
        ("GET", "/subjects/flight/versions") => fine(json!([1, 2])),
        ("GET", "/subjects/flight/versions/1") => fine(version(1)),
        ("GET", "/subjects/flight/versions/2" | "/subjects/flight/versions/latest") => {
            fine(version(2))
        }
        ("POST", "/subjects/flight/versions") if text.contains("worse") => refuse(
            409,
            409,
            "Schema being registered is incompatible, details: [{errorType:'A'}, {oldSchema: '{}'}, {compatibility: 'FULL'}]",
        ),
        ("POST", "/subjects/flight/versions") if text.contains("newer") => {
            fine(json!({ "id": 9, "version": 3 }))
        }
        // Older registries answer with the id alone.
        ("POST", "/subjects/flight/versions") => fine(json!({ "id": 8 })),
        ("POST", "/subjects/flight") => fine(json!({ "id": 8, "version": 2 })),
        ("DELETE", "/subjects/old") if uri.query().is_none() => {
            refuse(404, 40404, "Subject 'old' was soft deleted.")
        }
        ("DELETE", "/subjects/old") => fine(json!([1, 2])),
        ("DELETE", "/subjects/flight/versions/2") => fine(json!(2)),
        ("GET" | "PUT", "/config/flight" | "/config") => {
            fine(json!({ "compatibilityLevel": "FULL" }))
        }
        ("POST", "/api/v1/schema-diff")
            if text.contains("\"old\":{\"subject\":\"flight\",\"version\":2}") =>
        {
            fine(json!({ "differences": [], "lines": [] }))
        }
        ("POST", "/api/v1/schema-diff") => fine(
            json!({ "differences": [], "lines": ["~ delay: int32 -> int64", "- gate: string"] }),
        ),
        ("POST", "/api/v1/schema-check") => checked(&text).into_response(),
        ("GET", "/api/v1/stations/flights/infer") => infer().into_response(),
        ("GET", "/api/v1/stations/empty/infer") => {
            "{\"code\":11,\"error\":\"no messages\",\"hint\":\"publish some\"}\n".into_response()
        }
        _ => refuse(404, 40401, "Subject 'x' not found."),
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
async fn check(args: &[&str], input: &str, expected: Expect) {
    let (server, asked) = start().await;
    let args = [&["schema"], args].concat();
    let shown = type_in(&server, &args, input).await;
    let asked = asked.lock().unwrap().join("\n");
    expected.assert_eq(&format!("{shown}{asked}\n"));
}

#[test]
fn the_arguments_are_sound() {
    let refused = |args: &[&str]| {
        let args = [&["millstream", "schema"], args].concat();
        Cli::try_parse_from(args).unwrap_err().to_string()
    };
    assert!(refused(&["register", "s"]).contains("<FILE>"));
    assert!(
        refused(&["register", "s", "f", "--reference", "a=b"]).contains("NAME=SUBJECT:VERSION")
    );
    assert!(refused(&["get"]).contains("SUBJECT"));
    assert!(refused(&["get", "s", "--id", "3"]).contains("cannot be used"));
    assert!(refused(&["check", "s", "f", "--from", "3"]).contains("--against-history"));
}

#[tokio::test]
async fn registering() {
    let avro = ["register", "flight", "-", "--format", "avro"];
    check(&avro, "same", expect![[r#"
        `flight` has it already as version 2, id 8
        = 0
        GET /schema-registry/subjects/flight/versions?deleted=true
        POST /schema-registry/subjects/flight/versions?normalize=false {"schema":"same","schemaType":"AVRO","references":[]}
        POST /schema-registry/subjects/flight?normalize=false {"schema":"same","schemaType":"AVRO","references":[]}
    "#]]).await;
    check(&avro, "newer", expect![[r#"
        registered `flight` version 3, id 9
        = 0
        GET /schema-registry/subjects/flight/versions?deleted=true
        POST /schema-registry/subjects/flight/versions?normalize=false {"schema":"newer","schemaType":"AVRO","references":[]}
    "#]]).await;
    check(&avro, "worse", expect![[r#"
        error: Schema being registered is incompatible, details: [{errorType:'A'}, {compatibility: 'FULL'}]
        hint: `millstream schema check` shows what would break; `millstream schema compat` allows more, or less
        = 4
        GET /schema-registry/subjects/flight/versions?deleted=true
        POST /schema-registry/subjects/flight/versions?normalize=false {"schema":"worse","schemaType":"AVRO","references":[]}
    "#]]).await;
}

#[tokio::test]
async fn registering_with_everything() {
    let all = [
        "register",
        "flight",
        "-",
        "--format",
        "protobuf",
        "--reference",
        "a=b.proto=b:4",
        "--compatibility",
        "full",
        "--normalize",
        "-o",
        "json",
    ];
    check(&all, "newer", expect![[r#"
        {
          "subject": "flight",
          "version": 3,
          "id": 9,
          "new": true
        }
        = 0
        PUT /schema-registry/config/flight {"compatibility":"FULL"}
        GET /schema-registry/subjects/flight/versions?deleted=true
        POST /schema-registry/subjects/flight/versions?normalize=true {"schema":"newer","schemaType":"PROTOBUF","references":[{"name":"a=b.proto","subject":"b","version":4}]}
    "#]]).await;
    check(
        &["register", "flight", "-"],
        "{}",
        expect![[r#"
            error: `-` does not say which schema language it is in
            hint: say it with `--format json|avro|protobuf`
            = 2

        "#]],
    )
    .await;
    check(
        &["register", "flight", "missing.avsc"],
        "",
        expect![[r#"
            error: cannot read `missing.avsc`: No such file or directory (os error 2)
            = 1

        "#]],
    )
    .await;
    check(
        &["register", "flight", "-", "--format", "json", "--dry-run"],
        "{}",
        expect![[r#"
            compatible, as version 4 of `flight`
            used by station `flights`, sink `x`
            = 0
            POST /api/v1/schema-check {"subject":"flight","schema":"{}","format":"json","references":[]}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn reading() {
    check(
        &["list"],
        "",
        expect![[r#"
        SUBJECT  VERSION  ID  FORMAT    REFERS TO
        flight   2        8   avro
        a/b      1        3   protobuf  b:4
        = 0
        GET /schema-registry/schemas?latestOnly=true
    "#]],
    )
    .await;
    check(
        &["versions", "flight"],
        "",
        expect![[r#"
        VERSION  ID  FORMAT  BYTES  GUID
        1        7   avro    45     g
        2        8   avro    45     g
        = 0
        GET /schema-registry/subjects/flight/versions
        GET /schema-registry/subjects/flight/versions/1
        GET /schema-registry/subjects/flight/versions/2
    "#]],
    )
    .await;
    check(
        &["get", "flight"],
        "",
        expect![[r#"
        {
          "type": "record",
          "name": "Flight",
          "fields": []
        }
        = 0
        GET /schema-registry/subjects/flight/versions/latest
    "#]],
    )
    .await;
    check(
        &["get", "flight:1", "-o", "json"],
        "",
        expect![[r#"
        {
          "subject": "flight",
          "version": 1,
          "id": 7,
          "schemaType": "AVRO",
          "schema": "{\"type\":\"record\",\"name\":\"Flight\",\"fields\":[]}",
          "guid": "g"
        }
        = 0
        GET /schema-registry/subjects/flight/versions/1
    "#]],
    )
    .await;
}

#[tokio::test]
async fn reading_by_id_and_what_is_not_there() {
    check(
        &["get", "--id", "3"],
        "",
        expect![[r#"
        syntax = "proto3";
        = 0
        GET /schema-registry/schemas/ids/3
    "#]],
    )
    .await;
    check(
        &["get", "nope"],
        "",
        expect![[r#"
        error: Subject 'x' not found.
        hint: `millstream schema list` lists subjects, `millstream schema versions` their versions
        = 3
        GET /schema-registry/subjects/nope/versions/latest
    "#]],
    )
    .await;
    check(
        &["get", "flight:x"],
        "",
        expect![[r#"
            error: `flight:x` names no version
            hint: write SUBJECT, SUBJECT:3 or SUBJECT:latest
            = 2

        "#]],
    )
    .await;
}

#[tokio::test]
async fn differences() {
    check(&["diff", "flight:1", "flight:2"], "", expect![[r#"
        ~ delay: int32 -> int64
        - gate: string
        = 0
        POST /api/v1/schema-diff {"old":{"subject":"flight","version":1},"new":{"subject":"flight","version":2}}
    "#]]).await;
    check(&["diff", "flight:2", "flight"], "", expect![[r#"
        no differences
        = 0
        POST /api/v1/schema-diff {"old":{"subject":"flight","version":2},"new":{"subject":"flight","version":null}}
    "#]]).await;
    check(
        &["diff", "flight", "-", "--format", "avro"],
        "{}",
        expect![[r#"
            ~ delay: int32 -> int64
            - gate: string
            = 0
            POST /api/v1/schema-diff {"old":{"subject":"flight","version":null},"new":{"schema":"{}","format":"avro"}}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_would_break() {
    let plain = ["check", "flight", "-", "--format", "json"];
    check(
        &plain,
        "{}",
        expect![[r#"
        compatible, as version 4 of `flight`
        used by station `flights`, sink `x`
        = 0
        POST /api/v1/schema-check {"subject":"flight","schema":"{}","format":"json","references":[]}
    "#]],
    )
    .await;
    let history = [
        &plain[..],
        &[
            "--against-history",
            "flights",
            "--from",
            "2026-11-23T00:00:00Z",
            "--limit",
            "10",
        ],
    ]
    .concat();
    check(&history, "{}", expect![[r#"
        not compatible, as version 4 of `flight`
          {errorType:"TYPE"}\n
          {compatibility: 'BACKWARD'}
        used by station `flights`, sink `x`
        station `flights` would no longer work: stages[0].sql: no column `delay`
        of 10 messages of `flights`, 7 fit and 3 do not
        COUNT  FIRST SEQ  PATH    EXPECTED  FOUND
        2      5          /delay  integer   string "x"
        and 1 of other kinds
        error: the schema would break what there is; nothing was changed
        = 4
        POST /api/v1/schema-check {"subject":"flight","schema":"{}","format":"json","references":[],"against_history":{"station":"flights","from_seq":null,"limit":10,"from_time":"2026-11-23T00:00:00Z"}}
    "#]]).await;
    check(&plain, "broken", expect![[r#"
        error: schema is not JSON
        hint: mend it
        = 4
        POST /api/v1/schema-check {"subject":"flight","schema":"broken","format":"json","references":[]}
    "#]]).await;
}

#[tokio::test]
async fn proposals() {
    check(
        &["infer", "flights", "--limit", "5"],
        "",
        expect![[r#"
        {
          "type": "object"
        }
        PATH       SEEN    NULL  TYPES                       RANGE         DISTINCT  VALUES
        (message)  3 of 3  0     object
        /carrier   3 of 3  0     string                      2 characters  2         "UA" 2, "AA" 1
        /delay     2 of 3  1     integer 1, string 1 (date)  -4 to 9
        from 3 messages of `flights`
        1 could not be read; the first is 9: no\nJSON
        = 0
        GET /api/v1/stations/flights/infer?format=json&limit=5
    "#]],
    )
    .await;
    check(
        &["infer", "flights", "--register", "flight"],
        "",
        expect![[r#"
            {
              "type": "object"
            }
            PATH       SEEN    NULL  TYPES                       RANGE         DISTINCT  VALUES
            (message)  3 of 3  0     object
            /carrier   3 of 3  0     string                      2 characters  2         "UA" 2, "AA" 1
            /delay     2 of 3  1     integer 1, string 1 (date)  -4 to 9
            from 3 messages of `flights`
            1 could not be read; the first is 9: no\nJSON
            `flight` has it already as version 2, id 8
            = 0
            GET /api/v1/stations/flights/infer?format=json
            GET /schema-registry/subjects/flight/versions?deleted=true
            POST /schema-registry/subjects/flight/versions?normalize=false {"schema":"{\"type\":\"object\"}","schemaType":"JSON"}
            POST /schema-registry/subjects/flight?normalize=false {"schema":"{\"type\":\"object\"}","schemaType":"JSON"}
        "#]],
    )
    .await;
    check(
        &["infer", "empty", "--format", "avro"],
        "",
        expect![[r#"
            error: no messages
            hint: publish some
            = 3
            GET /api/v1/stations/empty/infer?format=avro
        "#]],
    )
    .await;
}

#[tokio::test]
async fn deleting() {
    check(
        &["delete", "flight:2"],
        "",
        expect![[r#"
        deleted `flight` version 2; `--permanent` deletes it for good
        = 0
        DELETE /schema-registry/subjects/flight/versions/2
    "#]],
    )
    .await;
    check(
        &["delete", "old", "--permanent"],
        "",
        expect![[r#"
        deleted `old` for good
        = 0
        DELETE /schema-registry/subjects/old
        DELETE /schema-registry/subjects/old?permanent=true
    "#]],
    )
    .await;
    check(
        &["delete", "old"],
        "",
        expect![[r#"
            error: Subject 'old' was soft deleted.
            hint: `--permanent` deletes it for good
            = 3
            DELETE /schema-registry/subjects/old
        "#]],
    )
    .await;
}

#[tokio::test]
async fn levels() {
    check(
        &["compat", "flight"],
        "",
        expect![[r#"
        `flight`: FULL
        = 0
        GET /schema-registry/config/flight?defaultToGlobal=true
    "#]],
    )
    .await;
    check(
        &["compat", "flight", "full"],
        "",
        expect![[r#"
        `flight`: FULL
        = 0
        PUT /schema-registry/config/flight {"compatibility":"FULL"}
        GET /schema-registry/config/flight?defaultToGlobal=true
    "#]],
    )
    .await;
    check(
        &["compat", "backward_transitive"],
        "",
        expect![[r#"
        all subjects without a level of their own: FULL
        = 0
        PUT /schema-registry/config {"compatibility":"BACKWARD_TRANSITIVE"}
        GET /schema-registry/config?defaultToGlobal=true
    "#]],
    )
    .await;
    check(
        &["compat", "flight", "most"],
        "",
        expect![[r#"
            error: `MOST` is no compatibility level
            hint: use NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE
            = 2

        "#]],
    )
    .await;
}
