//! The schema registry as its users' programs see it: Confluent's Python client and a JavaScript one, unmodified, plain HTTP
//! and NATS requests, station files, and what is left after kill -9.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Server, folder, http, text};
use crate::python::{environment, run};

const JSON_SCRIPT: &str = include_str!("python/registry.py");
const FORMATS_SCRIPT: &str = include_str!("python/registry_formats.py");
const NODE_SCRIPT: &str = include_str!("javascript/registry.js");
const PYTHON_CLIENT: &str = "confluent-kafka[avro,json,protobuf,schemaregistry]==2.16.0";
const NODE_CLIENT: &str = "@kafkajs/confluent-schema-registry@3.9.0";

/// Runs a client's program against the server; it must end with `all done`.
fn must_run(command: &mut Command, server: &Server) {
    let output = command
        .arg(&server.http)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", server.log());
    assert!(said.ends_with("all done\n"), "{said}");
}

#[test]
fn confluents_python_client_works_unmodified() {
    let folder = folder();
    let python = match environment(folder.path(), PYTHON_CLIENT) {
        Ok(python) => python,
        Err(why) => {
            eprintln!(
                "SKIPPED: Confluent's Python client was NOT tested, it cannot be installed here: {why}"
            );
            return;
        }
    };
    let server = Server::start(folder.path());
    for (name, script) in [
        ("registry.py", JSON_SCRIPT),
        ("registry_formats.py", FORMATS_SCRIPT),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, script).expect("script");
        let mut command = Command::new(python.get_program());
        must_run(command.arg(&path), &server);
    }
}

/// A folder with the client in it.
fn node(folder: &Path) -> Result<(), String> {
    fs::write(folder.join("package.json"), "{\"private\":true}")
        .map_err(|error| error.to_string())?;
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        NODE_CLIENT,
    ]);
    run(&mut npm)
}

#[test]
fn a_javascript_client_works_unmodified() {
    let folder = folder();
    if let Err(why) = node(folder.path()) {
        eprintln!(
            "SKIPPED: the JavaScript client was NOT tested, it cannot be installed here: {why}"
        );
        return;
    }
    let script = folder.path().join("registry.js");
    fs::write(&script, NODE_SCRIPT).expect("script");
    let server = Server::start(folder.path());
    must_run(Command::new("node").arg(&script), &server);
}

pub async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let request = http()
        .post(format!("{}{path}", server.http))
        .header("Content-Type", "application/vnd.schemaregistry.v1+json")
        .body(body.to_string());
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

pub async fn get(server: &Server, path: &str) -> Value {
    let (_, body) = server.get(path).await;
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn schema(text: &str) -> Value {
    json!({ "schemaType": "JSON", "schema": text })
}

#[tokio::test]
async fn ids_versions_and_settings_survive_kill_9() {
    let folder = folder();
    let server = Server::start(folder.path());
    let one = schema(r#"{"type":"object","title":"one"}"#);
    let two = schema(r#"{"type":"object","title":"two"}"#);
    for (subject, body, id) in [("a", &one, 1), ("b", &two, 2), ("b", &one, 1)] {
        let path = format!("/subjects/{subject}/versions");
        let (status, got) = post(&server, &path, body).await;
        assert_eq!((status, &got["id"]), (200, &json!(id)), "{got}");
    }
    let request = http().put(format!("{}/config/b", server.http));
    let set = request
        .json(&json!({ "compatibility": "FULL" }))
        .send()
        .await;
    assert!(set.expect("an answer").status().is_success());
    for path in [
        "/subjects/a",
        "/subjects/a?permanent=true",
        "/subjects/b/versions/2",
    ] {
        let gone = http().delete(format!("{}{path}", server.http)).send().await;
        assert!(gone.expect("an answer").status().is_success());
    }
    let pages = [
        "/subjects?deleted=true",
        "/subjects/b/versions?deleted=true&deletedAsNegative=true",
        "/schemas?deleted=true",
        "/config/b",
        "/schemas/ids/1",
    ];
    let mut before = Vec::new();
    for page in pages {
        before.push(get(&server, page).await);
    }
    assert_eq!(before[1], json!([1, -2]));
    let place = server.kill();
    let server = Server::start(&place);
    for (page, before) in pages.into_iter().zip(before) {
        assert_eq!(get(&server, page).await, before, "{page}");
    }
    // The ids go on where they were, and what was there is known.
    let (_, got) = post(&server, "/subjects/a/versions", &one).await;
    assert_eq!((&got["id"], &got["version"]), (&json!(1), &json!(1)));
    let (_, got) = post(&server, "/subjects/c/versions", &schema("{}")).await;
    assert_eq!((&got["id"], &got["version"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn station_files_nats_and_http_share_one_registry() {
    let folder = folder();
    let server = Server::start(folder.path());
    let first = "kind: schema\nname: flight\nschema: { type: object, properties: { n: { type: integer } }, additionalProperties: false }\n";
    let output = server.apply("flight.yaml", first);
    assert!(output.status.success(), "{}", text(&output));
    let latest = get(&server, "/subjects/flight/versions/latest").await;
    assert_eq!((&latest["id"], &latest["version"]), (&json!(1), &json!(1)));
    assert_eq!(
        get(&server, "/config/flight").await,
        json!({ "compatibilityLevel": "BACKWARD" })
    );
    // What the interface refuses a file may not do either.
    let broken = first.replace("integer", "string");
    let output = server.apply("broken.yaml", &broken);
    assert!(!output.status.success());
    let said = text(&output);
    assert!(
        said.contains("not compatible") && said.contains("BACKWARD"),
        "{said}"
    );
    let wider = first.replace("integer", "number");
    let output = server.apply("wider.yaml", &wider);
    assert!(output.status.success(), "{}", text(&output));
    let output = server.apply("wider.yaml", &wider);
    assert!(text(&output).contains("unchanged"), "{}", text(&output));
    // The same over NATS.
    let client = server.client().await;
    let ask = async |subject: &str, body: Value| -> Value {
        let payload = body.to_string().into();
        let answer = client.request(subject.to_owned(), payload).await;
        serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON")
    };
    let got = ask("$MS.API.SCHEMA.VERSIONS.flight", json!({})).await;
    assert_eq!(got, json!([1, 2]));
    let got = ask("$MS.API.SCHEMA.REGISTER.weather.eu", schema("{}")).await;
    assert_eq!((&got["id"], &got["version"]), (&json!(3), &json!(1)));
    let got = ask(
        "$MS.API.SCHEMA.VERSION",
        json!({ "subject": "none", "version": 1 }),
    )
    .await;
    assert_eq!(got["error_code"], 40_401);
    assert_eq!(
        get(&server, "/schema-registry/subjects").await,
        json!(["flight", "weather.eu"])
    );
    // What a station works with is not taken away.
    let station = "kind: station\nname: flights\nsubjects: [\"flights.>\"]\nschema: { subject: flight, version: 1 }\n";
    let output = server.apply("station.yaml", station);
    assert!(output.status.success(), "{}", text(&output));
    for (path, status) in [
        ("/subjects/flight", 422),
        ("/subjects/flight/versions/1", 422),
        ("/subjects/flight/versions/2", 200),
    ] {
        let gone = http().delete(format!("{}{path}", server.http)).send().await;
        let gone = gone.expect("an answer");
        assert_eq!(gone.status().as_u16(), status, "{path}");
        let said: Value = gone.json().await.expect("JSON");
        let named = said.to_string().contains("station `flights`");
        assert!(named == (status == 422), "{path}: {said}");
    }
    // What a schema refers to is not deleted under it.
    let outer = "kind: schema\nname: outer\nreferences: [{ name: flight.json, subject: flight, version: 1 }]\nschema: { $ref: flight.json }\n";
    let output = server.apply("outer.yaml", outer);
    assert!(output.status.success(), "{}", text(&output));
    let output = server.cli(&["delete", "schema", "flight"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("outer:1"), "{}", text(&output));
}

#[tokio::test]
async fn the_registry_has_a_port_of_its_own_when_configured() {
    let folder = folder();
    let config = folder.path().join("server.conf");
    let text = "millstream { schema_registry: { listen: \"127.0.0.1:-1\" } }\nauthorization { user: ann, password: pw }\n";
    fs::write(&config, text).expect("configuration");
    let path = config.to_str().expect("UTF-8");
    let server = Server::start_with(folder.path(), &["-c", path]);
    let ports = fs::read_dir(folder.path().join("ports")).expect("ports");
    let file = ports.flatten().next().expect("a ports file").path();
    let ports: Value = serde_json::from_slice(&fs::read(file).expect("ports")).expect("JSON");
    let own = ports["schema_registry"][0].as_str().expect("an address");
    for (url, root) in [(own.to_owned(), true), (server.http.clone(), false)] {
        let subjects = format!("{url}/subjects");
        let refused = http().get(&subjects).send().await.expect("an answer");
        assert_eq!(refused.status().as_u16(), 401);
        let asked = http().get(&subjects).basic_auth("ann", Some("pw"));
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.text().await.expect("a body"), "[]");
        let asked = http().get(format!("{url}/")).basic_auth("ann", Some("pw"));
        let body = asked.send().await.expect("an answer").text().await;
        assert_eq!(body.expect("a body") == "{}", root);
    }
}
