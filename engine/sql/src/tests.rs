//! Shared by the tests of this room: flights as columns, and runs as text.

mod cases;
mod depth;
mod errors;
mod functions;
mod oracle;
mod rows;
mod statements;

use bytes::Bytes;
use millstream_pipeline::{Column, ColumnKind, Record, Stage, Verdict};
use millstream_types::{HeaderBlock, HeadersBuilder, Message, Timestamp};

use crate::SqlStage;

fn column(name: &str, kind: ColumnKind, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        nullable,
    }
}

/// The columns of most tests.
fn flight() -> Vec<Column> {
    vec![
        column("carrier", ColumnKind::String, false),
        column("flight", ColumnKind::Int64, false),
        column("dep_delay", ColumnKind::Int64, true),
        column("speed", ColumnKind::Float64, true),
        column("late", ColumnKind::Bool, true),
        column("time_hour", ColumnKind::Timestamp, true),
        column("extra", ColumnKind::Json, true),
        column("tailNum", ColumnKind::String, true),
        column("band", ColumnKind::String, true),
    ]
}

const UA: &str = r#"{"carrier":"UA","flight":1545,"dep_delay":2,"speed":1.5,"late":false,
    "time_hour":"2013-01-01T10:00:00Z","extra":{"a":[1,2.5]},"tailNum":"N14228","unknown":1}"#;
const AA: &str = r#"{"carrier":"AA","flight":7,"dep_delay":33,"speed":1e300,"late":true}"#;
const NULLS: &str = r#"{"carrier":"","flight":0,"dep_delay":null,"speed":null,"late":null,
    "time_hour":null,"extra":null,"tailNum":null}"#;

fn record(payload: &str) -> Record {
    let mut headers = HeadersBuilder::new();
    headers.push("Nats-Msg-Id", "m1");
    headers.push("Tag", "a");
    headers.push("Tag", "b");
    let message = Message {
        subject: Bytes::from_static(b"flights.UA"),
        reply: None,
        headers: headers.build(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    };
    Record::new(message, Timestamp(1_700_000_000_123_000_000))
}

fn records(payloads: &[&str]) -> Vec<Record> {
    payloads.iter().map(|payload| record(payload)).collect()
}

fn compile(text: &str) -> SqlStage {
    SqlStage::compile("sql:1", text, &flight()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Each verdict on a line. The answer is the same whether the JSON was parsed before or not.
fn run(text: &str, payloads: &[&str]) -> String {
    let stage = compile(text);
    let raw = show(&stage.process(&mut records(payloads)));
    let mut parsed = records(payloads);
    for record in &mut parsed {
        let _ = record.json("test");
    }
    assert_eq!(
        raw,
        show(&stage.process(&mut parsed)),
        "with parsed JSON: {text}"
    );
    raw
}

/// A message: its payload, and what of it is not as it came.
fn made(record: &Record) -> String {
    let came = self::record("");
    let mut text = String::from_utf8_lossy(&record.message.payload).into_owned();
    if record.message.subject != came.message.subject {
        text = format!("{} {text}", record.message.subject_str());
    }
    if record.elsewhere {
        text = format!("-> {text}");
    }
    if record.message.headers != came.message.headers {
        let headers = HeaderBlock::new(&record.message.headers);
        let headers = headers.iter().map(|(name, value)| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )
        });
        text = format!("{text} ({})", headers.collect::<Vec<_>>().join(", "));
    }
    if record.key != came.key {
        let key = record.key.as_ref().map(|key| String::from_utf8_lossy(key));
        text = format!("{text} key {key:?}");
    }
    text
}

fn show(verdicts: &[Verdict]) -> String {
    let line = |verdict: &Verdict| match verdict {
        Verdict::Replace(record) => made(record),
        Verdict::Emit(records) => {
            let each: Vec<_> = records.iter().map(made).collect();
            format!(
                "[{}\n]",
                each.iter()
                    .map(|one| format!("\n  {one}"))
                    .collect::<String>()
            )
        }
        Verdict::Drop => "-".to_owned(),
        Verdict::Reject(why) => {
            let path = why
                .path
                .as_ref()
                .map(|path| format!(" at `{path}`"))
                .unwrap_or_default();
            format!("! {} {}{path}: {}", why.stage, why.code, why.reason)
        }
        other => format!("unexpected {other:?}"),
    };
    verdicts.iter().map(line).collect::<Vec<_>>().join("\n")
}
