//! SQL as a stage, in a real server: one message to many and to several stations, stations without a schema, functions that
//! statements call.

use std::fs;
use std::process::Output;

use async_nats::jetstream;
use serde_json::{Value, json};

use crate::harness::{Server, folder, root, text};

const ORDER: &str = r#"{"type":"object","required":["id"],"properties":{
    "id":{"type":"integer"},"total":{"type":"number"},
    "ship":{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}},
    "items":{"type":"array","items":{"type":"object","required":["sku"],
        "properties":{"sku":{"type":"string"},"qty":{"type":"integer"}}}}}}"#;

const ORDERS: &str = r#"
kind: schema
name: order
format: json
file: order.schema.json
---
kind: station
name: orders
subjects: ["orders.>"]
schema: { subject: order, version: latest }
key: "field:id"
stages:
  - sql: |
      INSERT INTO alerts SELECT id, total FROM message WHERE total > 100;
      INSERT INTO audit SELECT id, 'audit.' || ship.city AS _subject FROM message;
      SELECT id, item.sku, item.qty, _key AS k,
             'orders.items.' || item.sku AS _subject, set_header(_headers, 'Sku', item.sku) AS _headers
      FROM message, UNNEST(items) AS item
---
kind: station
name: alerts
subjects: ["alerts"]
---
kind: station
name: audit
subjects: ["audit.>"]
columns: { id: int }
stages:
  - sql: SELECT id * 10 AS tenfold FROM message WHERE id <> 2
---
kind: station
name: loose
subjects: ["loose.>"]
stages:
  - sql: SELECT payload->>'unit' AS unit, json_get_float(payload, 'temp') AS temp FROM message WHERE payload->>'unit' IS NOT NULL
"#;

fn applied(output: &Output, server: &Server) -> String {
    let told = text(output);
    assert!(output.status.success(), "{told}\n{}", server.log());
    told
}

async fn publish(server: &Server, subject: &str, payload: &Value) -> Value {
    let client = server.client().await;
    let answer = client
        .request(subject.to_owned(), payload.to_string().into())
        .await
        .expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

/// Subject, payload and header `Sku` of all that a stream holds.
async fn stored(server: &Server, stream: &str) -> Vec<String> {
    let js = jetstream::new(server.client().await);
    let mut stream = js.get_stream(stream).await.expect("stream");
    let last = stream.info().await.expect("info").state.last_sequence;
    let mut found = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("stored");
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        let sku = message.headers.get("Sku").map_or("", |sku| sku.as_str());
        found.push(
            format!("{} {payload} {sku}", message.subject)
                .trim_end()
                .to_owned(),
        );
    }
    found
}

/// Code and reason of each dead letter.
async fn letters(server: &Server, station: &str) -> Vec<String> {
    let listed = server.json(&["dead-letters", "list", station]);
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let word = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    items
        .iter()
        .map(|item| format!("{}: {}", word(item, "code"), word(item, "reason")))
        .collect()
}

#[tokio::test]
async fn one_message_becomes_many_and_goes_to_several_stations() {
    let folder = folder();
    let server = Server::start(folder.path());
    fs::write(folder.path().join("order.schema.json"), ORDER).expect("written");
    applied(&server.apply("orders.yaml", ORDERS), &server);

    let first = json!({"id": 1, "total": 150, "ship": {"city": "Bern"},
        "items": [{"sku": "a", "qty": 2}, {"sku": "b"}]});
    let ack = publish(&server, "orders.new", &first).await;
    assert_eq!(
        (&ack["stream"], &ack["seq"]),
        (&json!("orders"), &json!(2)),
        "{ack}"
    );
    let second = json!({"id": 2, "total": 5, "ship": {"city": "Oslo"}, "items": []});
    publish(&server, "orders.new", &second).await;
    assert_eq!(
        stored(&server, "orders").await,
        [
            r#"orders.items.a {"id":1,"sku":"a","qty":2,"k":"1"} a"#,
            r#"orders.items.b {"id":1,"sku":"b","qty":null,"k":"1"} b"#,
        ]
    );
    assert_eq!(
        stored(&server, "alerts").await,
        [r#"alerts {"id":1,"total":150.0}"#]
    );
    // The other station's own rules: its stage, which leaves out the second.
    assert_eq!(
        stored(&server, "audit").await,
        [r#"audit.Bern {"tenfold":10}"#]
    );

    // All or nothing: a subject that cannot be rejects all that would be made of the message.
    let bad = json!({"id": 3, "total": 500, "ship": {"city": "New York"}, "items": [{"sku": "c"}]});
    let told = publish(&server, "orders.new", &bad).await;
    let description = told["error"]["description"].as_str().expect("an error");
    assert!(
        description.contains("`_subject` is `audit.New York`"),
        "{description}"
    );
    assert_eq!(stored(&server, "orders").await.len(), 2);
    assert_eq!(stored(&server, "alerts").await.len(), 1);
    assert_eq!(letters(&server, "orders").await.len(), 1);

    for payload in [json!({"unit": "C", "temp": 21.5}), json!([1])] {
        publish(&server, "loose.a", &payload).await;
    }
    assert_eq!(
        stored(&server, "loose").await,
        [r#"loose.a {"unit":"C","temp":21.5}"#]
    );

    // What another station's statement writes to cannot go.
    let refused = server.cli(&["delete", "station", "alerts"]);
    let told = text(&refused);
    assert!(
        !refused.status.success() && told.contains("used by station `orders`"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_statements_is_told_when_they_are_applied() {
    let folder = folder();
    let server = Server::start(folder.path());
    fs::write(folder.path().join("order.schema.json"), ORDER).expect("written");
    applied(&server.apply("orders.yaml", ORDERS), &server);
    let refused = |stages: &str| {
        let schema = "schema: { subject: order, version: latest }";
        let yaml =
            format!("kind: station\nname: s\nsubjects: [\"s.>\"]\n{schema}\nstages:\n{stages}\n");
        let output = server.apply("s.yaml", &yaml);
        let told = text(&output);
        assert!(!output.status.success(), "{told}");
        told
    };
    for (stages, expected) in [
        (
            "  - sql: INSERT INTO alrts SELECT id FROM message",
            "s.yaml:6:22: no other station `alrts`",
        ),
        (
            "  - sql: SELECT id, item.skuu FROM message, UNNEST(items) AS item",
            "did you mean `sku`?",
        ),
        (
            "  - sql: |\n      SELECT id FROM message;\n      SELECT totl FROM message",
            "s.yaml:8:14: no column `totl`",
        ),
        (
            "  - sql: SELECT id FROM message; SELECT total FROM message\n  - sql: SELECT id FROM message",
            "the stage has several outputs, and none can stand behind it",
        ),
        (
            "  - sql: SELECT risk(id) AS r FROM message",
            "no function `risk`",
        ),
        (
            "  - sql: SELECT id FROM message WHERE total ~ note",
            "no column `note`",
        ),
    ] {
        let told = refused(stages);
        assert!(told.contains(expected), "{stages}: {told}");
    }
}

/// A guest that never answers.
pub(crate) const ENDLESS: &str = r#"(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $next (i32.add (global.get $next) (i32.const 4096)))
    (i32.rem_u (global.get $next) (i32.const 200000)))
  (func (export "configure") (param i32 i32) (result i32) (i32.const 64))
  (func (export "process") (param i32 i32) (result i32) (loop $ever (br $ever)) (i32.const 0))
  (func (export "cabi_post_process") (param i32)))"#;

fn functions(late: u32, returns: &str) -> String {
    format!(
        r#"
kind: function
name: delay-band
component: delay_band.wasm
config: {{ late_after_minutes: "{late}" }}
sql:
  arguments: {{ dep_delay: float, distance: float, air_time: float }}
  returns: "{returns}"
---
kind: function
name: endless
component: endless.wasm
limits: {{ timeout: 20ms }}
sql: {{ arguments: {{ x: int }}, returns: string }}
"#
    )
}

const FLIGHTS: &str = r#"
---
kind: station
name: flights
subjects: ["flights.>"]
columns: { carrier: string, dep_delay: int, distance: int, air_time: int }
stages:
  - sql: |
      SELECT carrier, delay_band(dep_delay, distance, air_time)['band'] AS band,
             CASE WHEN carrier = 'slow' THEN endless(dep_delay) END AS never
      FROM message
"#;

#[tokio::test]
async fn a_deployed_function_is_called_in_sql() {
    let folder = folder();
    let server = Server::start(folder.path());
    let module = root().join("examples/functions/delay-band/delay_band.wasm");
    fs::copy(module, folder.path().join("delay_band.wasm")).expect("copied");
    let endless = wat::parse_str(ENDLESS).expect("well formed");
    fs::write(folder.path().join("endless.wasm"), endless).expect("written");
    let band = "struct<band: string>";
    let all = functions(15, band) + FLIGHTS;
    applied(&server.apply("flights.yaml", &all), &server);

    let flight = |carrier: &str, delay: Value, air_time: u32| json!({"carrier": carrier, "dep_delay": delay, "distance": 1400, "air_time": air_time});
    publish(&server, "flights.a", &flight("UA", json!(20), 200)).await;
    // The function keeps it: an object without a band.
    let ack = publish(&server, "flights.a", &flight("AA", Value::Null, 200)).await;
    assert_eq!(ack["seq"], json!(2), "{ack}");
    // It rejects impossible speeds; and what takes too long is that message's error alone.
    let told = publish(&server, "flights.a", &flight("B6", json!(1), 10)).await;
    let description = told["error"]["description"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(description.contains("impossible_speed"), "{description}");
    let told = publish(&server, "flights.a", &flight("slow", json!(1), 200)).await;
    let description = told["error"]["description"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(description.contains("timeout"), "{description}");
    publish(&server, "flights.a", &flight("DL", json!(0), 200)).await;
    let found = stored(&server, "flights").await;
    assert_eq!(
        found,
        [
            r#"flights.a {"carrier":"UA","band":"late","never":null}"#,
            r#"flights.a {"carrier":"AA","band":null,"never":null}"#,
            r#"flights.a {"carrier":"DL","band":"on_time","never":null}"#,
        ]
    );
    assert_eq!(letters(&server, "flights").await.len(), 2);

    // A new version of the function is what the statement calls from then on.
    applied(
        &server.apply("functions.yaml", &functions(60, band)),
        &server,
    );
    publish(&server, "flights.a", &flight("UA", json!(20), 200)).await;
    let found = stored(&server, "flights").await;
    assert_eq!(
        found[3],
        r#"flights.a {"carrier":"UA","band":"on_time","never":null}"#
    );

    // A change that breaks the statement is refused, and so is deleting what it calls.
    let output = server.apply("functions.yaml", &functions(60, "int"));
    let told = text(&output);
    assert!(
        !output.status.success() && told.contains("station `flights` would break"),
        "{told}"
    );
    let output = server.cli(&["delete", "function", "delay-band"]);
    let told = text(&output);
    assert!(
        !output.status.success() && told.contains("used by station `flights`"),
        "{told}"
    );
    let near = all.replace("delay_band(", "delay_bnd(");
    let told = text(&server.apply("flights.yaml", &near));
    assert!(
        told.contains("no function `delay_bnd`") && told.contains("did you mean `delay_band`?"),
        "{told}"
    );
}
