//! The interface over HTTP, without a broker: every path, status, media type and error body.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use millstream_access::{Authenticator, User};
use millstream_schema_registry::{
    Compiled, Registry, RegistryError, Reply as SchemaReply, Request, plan,
};
use serde_json::{Value, json};

use super::{error_body, reply_body, schema_request};
use crate::failure::Failure;
use crate::http::{Admin, Options};
use crate::operation::{BoxFuture, Management, MonitorQuery, Operation, Reply};

/// A registry in memory; nothing else is managed.
#[derive(Default)]
struct Desk {
    registry: Mutex<Registry>,
    compiled: Compiled,
}

impl Desk {
    fn answer(&self, request: &Request) -> Result<SchemaReply, RegistryError> {
        let mut registry = self.registry.lock().expect("no panics");
        let planned = plan(&registry, &self.compiled, 7, request)?;
        for change in planned.changes {
            registry.apply(change);
        }
        Ok(planned.reply)
    }
}

impl Management for Desk {
    fn call(&self, _operation: Operation) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async { Ok(Reply::Value(json!("management"))) })
    }

    fn schema_registry(
        &self,
        request: Request,
    ) -> BoxFuture<'_, Result<SchemaReply, RegistryError>> {
        Box::pin(async move { self.answer(&request) })
    }

    fn monitor(&self, page: &str, _query: &MonitorQuery) -> Option<(u16, Value)> {
        (page == "varz").then(|| (200, json!({ "page": page })))
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

fn options(auth: Authenticator) -> Options {
    Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        auth,
    }
}

/// The two ports, and a client.
struct Doors {
    client: reqwest::Client,
    http: String,
    own: String,
    _open: [Admin; 2],
}

impl Doors {
    async fn open(auth: Authenticator) -> Self {
        // The second test to install it finds it installed.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let desk: Arc<dyn Management> = Arc::new(Desk::default());
        let shared = Admin::start(options(auth.clone()), Arc::clone(&desk));
        let shared = shared.await.expect("a free port");
        let own = Admin::start_registry(options(auth), desk);
        let own = own.await.expect("a free port");
        Self {
            client: reqwest::Client::new(),
            http: format!("http://{}", shared.address()),
            own: format!("http://{}", own.address()),
            _open: [shared, own],
        }
    }

    async fn ask(&self, method: &str, url: &str, body: Option<&Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            let kind = "application/vnd.schemaregistry.v1+json; charset=utf-8";
            request = request.header("Content-Type", kind).body(body.to_string());
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, value)
    }
}

fn schema(text: &str) -> Value {
    json!({ "schemaType": "JSON", "schema": text })
}

/// Method, path, body, status, and what of the answer is looked at: a member and its value, or all of it.
type Line = (&'static str, &'static str, Option<Value>, u16, Value);

#[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
fn table() -> Vec<Line> {
    let one = || Some(schema(r#"{"type":"object"}"#));
    let two = || Some(schema(r#"{"title":"two"}"#));
    let error = |code: u32, text: &str| json!({ "error_code": code, "message": text });
    vec![
        (
            "GET",
            "/schemas/types",
            None,
            200,
            json!(["JSON", "PROTOBUF", "AVRO"]),
        ),
        ("GET", "/subjects", None, 200, json!([])),
        (
            "POST",
            "/subjects/a%2Fb/versions",
            one(),
            200,
            json!({ "id": 1, "version": 1 }),
        ),
        (
            "POST",
            "/subjects/a%2Fb/versions?normalize=true",
            one(),
            200,
            json!({ "id": 1, "version": 1 }),
        ),
        (
            "PUT",
            "/config",
            Some(json!({ "compatibility": "none" })),
            200,
            json!({ "compatibility": "none" }),
        ),
        (
            "POST",
            "/subjects/a%2Fb/versions",
            two(),
            200,
            json!({ "id": 2, "version": 2 }),
        ),
        (
            "POST",
            "/subjects/a%2Fb",
            two(),
            200,
            json!({ "id": 2, "version": 2, "subject": "a/b" }),
        ),
        (
            "POST",
            "/subjects/a%2Fb",
            Some(schema("{}")),
            404,
            error(40_403, "Schema not found"),
        ),
        (
            "POST",
            "/subjects/x",
            two(),
            404,
            error(40_401, "Subject 'x' not found."),
        ),
        (
            "GET",
            "/schemas",
            None,
            200,
            json!([{ "version": 1 }, { "version": 2 }]),
        ),
        (
            "GET",
            "/schemas?latestOnly=true&subjectPrefix=a",
            None,
            200,
            json!([{ "version": 2 }]),
        ),
        (
            "GET",
            "/schemas/ids/1",
            None,
            200,
            json!({ "schema": r#"{"type":"object"}"#, "schemaType": "JSON" }),
        ),
        (
            "GET",
            "/schemas/ids/1?fetchMaxId=true",
            None,
            200,
            json!({ "maxId": 2 }),
        ),
        (
            "GET",
            "/schemas/ids/1/schema",
            None,
            200,
            json!({ "type": "object" }),
        ),
        ("GET", "/schemas/ids/1/subjects", None, 200, json!(["a/b"])),
        (
            "GET",
            "/schemas/ids/2/versions",
            None,
            200,
            json!([{ "subject": "a/b", "version": 2 }]),
        ),
        (
            "GET",
            "/schemas/ids/99",
            None,
            404,
            error(40_403, "Schema 99 not found"),
        ),
        (
            "GET",
            "/schemas/ids/x",
            None,
            404,
            error(404, "HTTP 404 Not Found"),
        ),
        (
            "GET",
            "/schemas/guids/no",
            None,
            404,
            error(40_403, "Schema no not found"),
        ),
        (
            "GET",
            "/schemas/guids/no/ids",
            None,
            404,
            error(40_403, "Schema no not found"),
        ),
        ("GET", "/subjects/a%2Fb/versions", None, 200, json!([1, 2])),
        (
            "GET",
            "/subjects/a%2Fb/versions?offset=1&limit=5",
            None,
            200,
            json!([2]),
        ),
        (
            "GET",
            "/subjects/a%2Fb/versions/latest",
            None,
            200,
            json!({ "version": 2, "ts": 7 }),
        ),
        (
            "GET",
            "/subjects/a%2Fb/versions/-1",
            None,
            200,
            json!({ "version": 2 }),
        ),
        (
            "GET",
            "/subjects/a%2Fb/versions/1/schema",
            None,
            200,
            json!({ "type": "object" }),
        ),
        (
            "GET",
            "/subjects/a%2Fb/versions/1/referencedby",
            None,
            200,
            json!([]),
        ),
        (
            "GET",
            "/subjects/a%2Fb/versions/3",
            None,
            404,
            error(40_402, "Version 3 not found."),
        ),
        (
            "GET",
            "/subjects/a%2Fb/metadata?key=k&value=v",
            None,
            404,
            error(40_403, "Schema not found"),
        ),
        (
            "POST",
            "/subjects/a%2Fb/versions/1/tags",
            Some(
                json!({ "tagsToAdd": [{ "schemaEntity": { "entityPath": "object", "entityType": "sr_record" }, "tags": ["PII"] }] }),
            ),
            200,
            json!({ "id": 3, "version": 3 }),
        ),
        (
            "POST",
            "/compatibility/subjects/a%2Fb/versions/latest?verbose=true",
            one(),
            200,
            json!({ "is_compatible": true, "messages": [] }),
        ),
        (
            "POST",
            "/compatibility/subjects/new/versions",
            one(),
            200,
            json!({ "is_compatible": true }),
        ),
        (
            "POST",
            "/compatibility/subjects/new/versions/latest",
            one(),
            404,
            error(40_401, "Subject 'new' not found."),
        ),
        (
            "GET",
            "/config",
            None,
            200,
            json!({ "compatibilityLevel": "NONE" }),
        ),
        (
            "DELETE",
            "/config",
            None,
            200,
            json!({ "compatibilityLevel": "NONE" }),
        ),
        (
            "GET",
            "/config",
            None,
            200,
            json!({ "compatibilityLevel": "BACKWARD" }),
        ),
        (
            "PUT",
            "/config/a%2Fb",
            Some(json!({ "compatibility": "FULL" })),
            200,
            json!({ "compatibility": "FULL" }),
        ),
        (
            "GET",
            "/config/a%2Fb",
            None,
            200,
            json!({ "compatibilityLevel": "FULL" }),
        ),
        (
            "GET",
            "/config/z?defaultToGlobal=true",
            None,
            200,
            json!({ "compatibilityLevel": "BACKWARD" }),
        ),
        (
            "GET",
            "/config/z",
            None,
            404,
            error(
                40_408,
                "Subject 'z' does not have subject-level compatibility configured",
            ),
        ),
        (
            "DELETE",
            "/config/z",
            None,
            404,
            error(40_401, "Subject 'z' not found."),
        ),
        ("GET", "/mode", None, 200, json!({ "mode": "READWRITE" })),
        (
            "PUT",
            "/mode/z",
            Some(json!({ "mode": "READONLY" })),
            200,
            json!({ "mode": "READONLY" }),
        ),
        ("GET", "/mode/z", None, 200, json!({ "mode": "READONLY" })),
        (
            "POST",
            "/subjects/z/versions",
            one(),
            422,
            error(42_205, "Subject z in context . is in read-only mode"),
        ),
        (
            "DELETE",
            "/mode/z",
            None,
            200,
            json!({ "mode": "READONLY" }),
        ),
        (
            "GET",
            "/mode/z",
            None,
            404,
            error(
                40_409,
                "Subject 'z' does not have subject-level mode configured",
            ),
        ),
        (
            "PUT",
            "/mode",
            Some(json!({ "mode": "IMPORT" })),
            422,
            error(42_205, "Cannot import since found existing subjects"),
        ),
        (
            "POST",
            "/contexts/.eu/subjects/c/versions",
            one(),
            200,
            json!({ "id": 1, "version": 1 }),
        ),
        ("GET", "/contexts", None, 200, json!([".", ".eu"])),
        (
            "GET",
            "/contexts/.eu/subjects",
            None,
            200,
            json!([":.eu:c"]),
        ),
        ("GET", "/subjects?subjectPrefix=", None, 200, json!(["a/b"])),
        ("GET", "/subjects/:.eu:c/versions", None, 200, json!([1])),
        (
            "DELETE",
            "/contexts/.eu",
            None,
            422,
            error(42_211, "The specified context '.eu' is not empty."),
        ),
        ("DELETE", "/contexts/.eu/subjects/c", None, 200, json!([1])),
        (
            "DELETE",
            "/contexts/.eu/subjects/c?permanent=true",
            None,
            200,
            json!([1]),
        ),
        ("DELETE", "/contexts/.eu", None, 204, json!("")),
        ("DELETE", "/subjects/a%2Fb/versions/3", None, 200, json!(3)),
        (
            "DELETE",
            "/subjects/a%2Fb/versions/3",
            None,
            404,
            error(
                40_406,
                "Subject 'a/b' Version 3 was soft deleted. Set permanent=true to delete permanently",
            ),
        ),
        ("DELETE", "/subjects/a%2Fb", None, 200, json!([1, 2])),
        (
            "GET",
            "/subjects?deletedOnly=true",
            None,
            200,
            json!(["a/b"]),
        ),
        (
            "DELETE",
            "/subjects/a%2Fb",
            None,
            404,
            error(
                40_404,
                "Subject 'a/b' was soft deleted. Set permanent=true to delete permanently",
            ),
        ),
        ("GET", "/v1/metadata/id", None, 200, json!({ "id": "" })),
        (
            "GET",
            "/v1/metadata/version",
            None,
            200,
            json!({ "version": env!("CARGO_PKG_VERSION") }),
        ),
        (
            "GET",
            "/v1/metadata/deployment",
            None,
            200,
            json!({ "attributes": [] }),
        ),
        (
            "PUT",
            "/subjects",
            Some(json!({})),
            405,
            error(405, "HTTP 405 Method Not Allowed"),
        ),
        (
            "GET",
            "/subjects/a/b/c",
            None,
            404,
            error(404, "HTTP 404 Not Found"),
        ),
        (
            "PUT",
            "/config",
            Some(json!([1])),
            422,
            json!({ "error_code": 422 }),
        ),
    ]
}

/// Whether everything `wanted` says is in `found`.
fn says(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|own| says(own, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| says(a, b))
        }
        _ => found == wanted,
    }
}

#[tokio::test]
async fn every_path_in_all_three_places() {
    for place in 0..3 {
        let doors = Doors::open(Authenticator::none()).await;
        let base = match place {
            0 => doors.http.clone(),
            1 => format!("{}/schema-registry", doors.http),
            _ => doors.own.clone(),
        };
        for (method, path, body, status, wanted) in table() {
            let (found, value) = doors
                .ask(method, &format!("{base}{path}"), body.as_ref())
                .await;
            assert_eq!(found, status, "{method} {path}: {value}");
            assert!(says(&value, &wanted), "{method} {path}: {value}");
        }
        let (status, _) = doors
            .ask("GET", &format!("{}/varz", doors.http), None)
            .await;
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn media_types_and_bodies() {
    let doors = Doors::open(Authenticator::none()).await;
    let root = format!("{}/", doors.own);
    assert_eq!(doors.ask("GET", &root, None).await, (200, json!({})));
    let url = format!("{}/subjects", doors.own);
    let ours = "application/vnd.schemaregistry.v1+json";
    for (accept, status, kind) in [
        ("*/*", 200, ours),
        ("application/*", 200, ours),
        ("application/json", 200, "application/json"),
        (
            "text/html, application/vnd.schemaregistry+json; q=0.9, application/json; q=0.5",
            200,
            "application/vnd.schemaregistry+json",
        ),
        ("text/html", 406, ours),
        ("application/json; q=0", 406, ours),
    ] {
        let answer = doors.client.get(&url).header("Accept", accept).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{accept}");
        assert_eq!(answer.headers()["content-type"], kind, "{accept}");
    }
    let url = format!("{}/subjects/s/versions", doors.own);
    let text = schema("{}").to_string();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (kind, body, status, code) in [
        ("text/plain", text.clone().into_bytes(), 415, 415),
        ("application/json", b"{".to_vec(), 422, 422),
        ("application/json", Vec::new(), 422, 422),
        (
            "application/octet-stream",
            text.clone().into_bytes(),
            200,
            0,
        ),
        ("application/json; charset=utf-16", wide, 200, 0),
    ] {
        let sent = doors
            .client
            .post(&url)
            .header("Content-Type", kind)
            .body(body);
        let answer = sent.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{kind}");
        let value: Value = answer.json().await.expect("JSON");
        assert_eq!(
            value["error_code"].as_u64().unwrap_or(0),
            code,
            "{kind}: {value}"
        );
    }
}

#[tokio::test]
async fn who_may_not_log_in_is_told_so_in_the_clients_words() {
    let user = User {
        name: "ann".to_owned(),
        password: "pw".to_owned(),
    };
    let doors = Doors::open(Authenticator::users(vec![user])).await;
    for base in [&doors.http, &doors.own] {
        let url = format!("{base}/subjects");
        let (status, value) = doors.ask("GET", &url, None).await;
        assert_eq!((status, &value["error_code"]), (401, &json!(401)));
        let asked = doors.client.get(&url).basic_auth("ann", Some("pw"));
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
    }
}

#[test]
fn the_same_over_nats() {
    let desk = Desk::default();
    let ask = |subject: &str, body: Value| {
        let request = schema_request(subject, body.to_string().as_bytes());
        let answer = request.and_then(|request| desk.answer(&request));
        answer.map_or_else(|error| error_body(&error), reply_body)
    };
    let got = ask("$MS.API.SCHEMA.REGISTER.flights.ua-value", schema("{}"));
    assert_eq!(got["id"], 1, "{got}");
    let got = ask("$MS.API.SCHEMA.SUBJECTS", json!({}));
    assert_eq!(got, json!(["flights.ua-value"]));
    let got = ask(
        "$MS.API.SCHEMA.VERSION",
        json!({ "subject": "flights.ua-value", "version": "latest" }),
    );
    assert_eq!(got["schema"], "{}");
    let got = ask(
        "$MS.API.SCHEMA.SET_CONFIG",
        json!({ "subject": "flights.ua-value", "compatibility": "FULL", "normalize": true }),
    );
    assert_eq!(got, json!({ "compatibility": "FULL", "normalize": true }));
    let got = ask("$MS.API.SCHEMA.CONFIG.flights.ua-value", json!({}));
    assert_eq!(got["compatibilityLevel"], "FULL");
    let got = ask("$MS.API.SCHEMA.VERSIONS.x", json!({}));
    assert_eq!(
        got,
        json!({ "error_code": 40_401, "message": "Subject 'x' not found." })
    );
    assert_eq!(ask("$MS.API.SCHEMA.FLY", json!({}))["error_code"], 404);
}
