//! How far behind everybody is who reads a stream: consumers and flows.

use std::sync::Arc;

use millstream_cluster::StreamCell;
use millstream_types::Timestamp;
use serde_json::{Value, json};

use super::super::Manager;

/// A message may be this large to be looked at; only its time is wanted.
const MOST: usize = 1;

/// A row per consumer and per flow: messages not delivered, or not dealt with, and the age of the oldest of them.
pub(super) fn rows(manager: &Manager) -> Vec<Value> {
    let mut rows = Vec::new();
    for cell in manager.node.streams() {
        consumers(manager, &cell, &mut rows);
    }
    flows(manager, &mut rows);
    rows
}

fn consumers(manager: &Manager, cell: &Arc<StreamCell>, rows: &mut Vec<Value>) {
    let now = Timestamp::now();
    let found: Vec<_> = {
        let mut stream = cell.lock();
        let names: Vec<String> = stream.consumers.keys().cloned().collect();
        let info = |name: String| Some((stream.consumer_info(&name, now)?, name));
        names.into_iter().filter_map(info).collect()
    };
    for (info, name) in found {
        let config = json!(info.config);
        let several = config["filter_subjects"].as_array();
        let filters: Vec<&str> = match several {
            Some(several) => several.iter().filter_map(Value::as_str).collect(),
            None => vec![config["filter_subject"].as_str().unwrap_or(">")],
        };
        let next = info.delivered.stream_seq + 1;
        let oldest = if info.num_pending == 0 {
            None
        } else {
            filters
                .iter()
                .filter_map(|filter| first_time(manager, &cell.name, next, filter))
                .min()
        };
        rows.push(json!({
            "kind": "consumer", "stream": cell.name, "name": name, "messages": info.num_pending,
            "seconds": oldest.map_or(0, |time| now.since(time).as_secs()), "unacknowledged": info.num_ack_pending,
        }));
    }
}

/// When the first message from a sequence on was stored that a filter matches.
fn first_time(manager: &Manager, stream: &str, from: u64, filter: &str) -> Option<Timestamp> {
    let reader = manager.jetstream().ok()?.reader();
    let found = reader.matching(stream, from, filter.as_bytes(), (1, MOST));
    // What cannot be read is told by whoever wants to read it.
    Some(found.ok()?.first()?.time)
}

fn flows(manager: &Manager, rows: &mut Vec<Value>) {
    let Some(flows) = &manager.flows else { return };
    let catalog = manager.node.catalog();
    let names: Vec<(String, Value)> = catalog
        .flows
        .iter()
        .map(|(name, entry)| (name.clone(), json!(entry.spec.from)))
        .collect();
    drop(catalog);
    for (name, from) in names {
        if let Some(status) = flows.status(&name) {
            rows.push(json!({
                "kind": "flow", "stream": from, "name": name, "messages": status.lag_messages,
                "seconds": status.lag_seconds, "unacknowledged": status.parked,
            }));
        }
    }
}
