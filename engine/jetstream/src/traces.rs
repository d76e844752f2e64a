//! Sends the traces of messages that asked for them, in the form of NATS's own (ADR-41) with events of type `ms_stage`.

use millstream_pipeline::{Ended, Trace};
use millstream_types::{HeaderBlock, Message, Timestamp};
use serde_json::{Map, Value, json};

use crate::service::Shared;

/// Tells what a station's or flow's stages did with a message. `place` is the station or flow.
pub(crate) fn send(
    shared: &Shared,
    trace: &Trace,
    place: (&str, &str),
    message: &Message,
    end: &Ended,
) {
    let now = Timestamp::now().to_rfc3339();
    let mut events = vec![json!({ "type": "in", "ts": now, "subj": message.subject_str() })];
    for step in trace.steps() {
        let mut event = json!(step);
        event["type"] = json!("ms_stage");
        event["ts"] = json!(now);
        events.push(event);
    }
    let (kind, name) = place;
    let result = match end {
        Ended::Stored(records) => json!({ "result": "stored", "records": records.len() }),
        Ended::Dropped { stage } => json!({ "result": "dropped", "stage": stage }),
        Ended::Retry { stage, after } => {
            json!({ "result": "retry", "stage": stage, "after_ms": u64::try_from(after.as_millis()).unwrap_or(u64::MAX) })
        }
        Ended::Rejected(why) => {
            json!({ "result": "rejected", "stage": why.stage, "error": why.reason, "code": why.code })
        }
    };
    let mut last = result;
    last["type"] = json!("js");
    last["ts"] = json!(now);
    last[kind] = json!(name);
    events.push(last);
    let size = message.subject.len() + message.headers.len() + message.payload.len();
    let body = json!({
        "server": { "name": shared.broker.options().server_name },
        "request": { "header": headers(message), "msgsize": size },
        "events": events,
    });
    shared.tell(trace.destination(), body.to_string().as_bytes());
}

/// All headers, among them those by which other systems know the trace.
fn headers(message: &Message) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for (name, value) in HeaderBlock::new(&message.headers).iter() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let values = all.entry(text(name)).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(text(value).into());
        }
    }
    all.into()
}
