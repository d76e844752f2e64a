//! What the server knows of itself as tables.

use std::sync::Arc;

use millstream_cluster::Kind;
use millstream_jetstream::shown_streams;
use millstream_pipeline::{Column, ColumnKind, Record};
use millstream_sql::query::{Bounds, Page, Pages, Table};
use millstream_types::{Message, Timestamp};
use serde_json::{Value, json};

use super::super::{Manager, streams};
use super::{lag, numbers};

use ColumnKind::{Int64, Json, String as Text, Timestamp as Time};

/// Messages of a station's dead letters that are shown, the oldest.
const LETTERS: u64 = 10_000;

/// A table: its name, its columns, and how its rows are found.
struct Known {
    name: &'static str,
    columns: &'static [(&'static str, ColumnKind)],
    rows: fn(&Manager) -> Vec<Value>,
}

const TABLES: &[Known] = &[
    Known {
        name: "streams",
        columns: &[
            ("name", Text),
            ("subjects", Json),
            ("messages", Int64),
            ("bytes", Int64),
            ("first_seq", Int64),
            ("first_ts", Time),
            ("last_seq", Int64),
            ("last_ts", Time),
            ("num_subjects", Int64),
            ("consumers", Int64),
            ("storage", Text),
            ("created", Time),
        ],
        rows: stream_rows,
    },
    Known {
        name: "stations",
        columns: &[
            ("name", Text),
            ("subjects", Text),
            ("messages", Int64),
            ("bytes", Int64),
            ("last_seq", Int64),
            ("dead_letters", Int64),
            ("schema", Text),
            ("stages", Int64),
            ("version", Int64),
        ],
        rows: |manager| listed(manager, Kind::Station),
    },
    Known {
        name: "consumers",
        columns: &[
            ("stream", Text),
            ("name", Text),
            ("durable", ColumnKind::Bool),
            ("filters", Json),
            ("delivered", Int64),
            ("acknowledged", Int64),
            ("ack_pending", Int64),
            ("redelivered", Int64),
            ("waiting", Int64),
            ("lag", Int64),
            ("created", Time),
        ],
        rows: consumer_rows,
    },
    Known {
        name: "lag",
        columns: &[
            ("kind", Text),
            ("stream", Text),
            ("name", Text),
            ("messages", Int64),
            ("seconds", Int64),
            ("unacknowledged", Int64),
        ],
        rows: lag::rows,
    },
    Known {
        name: "metrics",
        columns: &[
            ("name", Text),
            ("labels", Json),
            ("value", ColumnKind::Float64),
        ],
        rows: numbers::rows,
    },
    Known {
        name: "tables",
        columns: &[("group", Text), ("name", Text)],
        rows: table_rows,
    },
    Known {
        name: "schemas",
        columns: &[
            ("name", Text),
            ("format", Text),
            ("compatibility", Text),
            ("latest", Int64),
            ("id", Int64),
            ("versions", Int64),
        ],
        rows: |manager| listed(manager, Kind::Schema),
    },
    Known {
        name: "functions",
        columns: &[
            ("name", Text),
            ("version", Int64),
            ("bytes", Int64),
            ("digest", Text),
            ("updated", Time),
            ("sql", Text),
        ],
        rows: |manager| listed(manager, Kind::Function),
    },
    Known {
        name: "flows",
        columns: &[
            ("name", Text),
            ("from", Text),
            ("to", Text),
            ("state", Text),
            ("reason", Text),
            ("position", Int64),
            ("lag_messages", Int64),
            ("lag_seconds", Int64),
            ("inputs", Int64),
            ("outputs", Int64),
            ("dropped", Int64),
            ("rejected", Int64),
            ("parked", Int64),
            ("late", Int64),
            ("watermark", Time),
            ("state_bytes", Int64),
            ("state_rows", Int64),
            ("spilled_bytes", Int64),
            ("spilled_rows", Int64),
            ("errors", Int64),
            ("last_error", Text),
            ("version", Int64),
        ],
        rows: |manager| listed(manager, Kind::Flow),
    },
    Known {
        name: "connectors",
        columns: &[
            ("kind", Text),
            ("name", Text),
            ("connector", Text),
            ("state", Text),
            ("records", Int64),
            ("errors", Int64),
            ("last_error", Text),
            ("address", Text),
        ],
        rows: connector_rows,
    },
    Known {
        name: "dead_letters",
        columns: &[
            ("station", Text),
            ("id", Int64),
            ("time", Time),
            ("subject", Text),
            ("stage", Text),
            ("code", Text),
            ("reason", Text),
            ("path", Text),
        ],
        rows: letter_rows,
    },
];

/// Their names.
pub(super) fn names() -> Vec<String> {
    TABLES.iter().map(|table| table.name.to_owned()).collect()
}

/// One of them.
pub(super) fn table(manager: &Arc<Manager>, name: &str) -> Option<Arc<dyn Table>> {
    let known = TABLES.iter().find(|table| table.name == name)?;
    Some(Arc::new(Rows {
        known,
        manager: Arc::clone(manager),
    }))
}

fn listed(manager: &Manager, kind: Kind) -> Vec<Value> {
    let mut found = manager.list(kind).unwrap_or_default();
    match found.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn table_rows(manager: &Manager) -> Vec<Value> {
    let streams = shown_streams(&manager.node);
    let stations = streams
        .iter()
        .map(|cell| json!({ "group": super::STATIONS, "name": cell.name }));
    let own = TABLES
        .iter()
        .map(|table| json!({ "group": super::SYSTEM, "name": table.name }));
    stations.chain(own).collect()
}

fn stream_rows(manager: &Manager) -> Vec<Value> {
    let row = |cell: &Arc<millstream_cluster::StreamCell>| {
        let stream = cell.lock();
        let mut row = json!(stream.state());
        if stream.messages() == 0 {
            // JetStream's time of nothing is no time that a column holds.
            row["first_ts"] = Value::Null;
            row["last_ts"] = Value::Null;
        }
        row["name"] = json!(cell.name);
        row["subjects"] = json!(stream.config.subjects);
        row["consumers"] = json!(stream.consumers.len());
        row["storage"] = json!(stream.config.storage);
        row["created"] = json!(stream.created.to_rfc3339());
        row
    };
    shown_streams(&manager.node).iter().map(row).collect()
}

fn consumer_rows(manager: &Manager) -> Vec<Value> {
    let mut rows = Vec::new();
    for cell in manager.node.streams() {
        let mut stream = cell.lock();
        let names: Vec<String> = stream.consumers.keys().cloned().collect();
        for name in names {
            let Some(info) = stream.consumer_info(&name, Timestamp::now()) else {
                continue;
            };
            let config = json!(info.config);
            let filters = match (config.get("filter_subject"), config.get("filter_subjects")) {
                (_, Some(several)) => several.clone(),
                (Some(one), None) => json!([one]),
                (None, None) => json!([]),
            };
            rows.push(json!({
                "stream": cell.name, "name": name, "durable": config.get("durable_name").is_some(), "filters": filters,
                "delivered": info.delivered.stream_seq, "acknowledged": info.ack_floor.stream_seq,
                "ack_pending": info.num_ack_pending, "redelivered": info.num_redelivered, "waiting": info.num_waiting,
                "lag": info.num_pending, "created": info.created.to_rfc3339(),
            }));
        }
    }
    rows
}

fn connector_rows(manager: &Manager) -> Vec<Value> {
    let of = |kind: Kind| {
        let word = kind.to_string();
        listed(manager, kind).into_iter().map(move |mut row| {
            row["kind"] = json!(word);
            row
        })
    };
    of(Kind::Source).chain(of(Kind::Sink)).collect()
}

fn letter_rows(manager: &Manager) -> Vec<Value> {
    let stations: Vec<String> = manager.node.catalog().stations.keys().cloned().collect();
    let mut rows = Vec::new();
    for station in stations {
        if manager
            .node
            .stream(&streams::letters_name(&station))
            .is_none()
        {
            continue;
        }
        let mut found = manager
            .dead_letters(&station, Some(LETTERS))
            .unwrap_or_default();
        if let Some(Value::Array(items)) = found.get_mut("items").map(Value::take) {
            rows.extend(items.into_iter().map(|mut item| {
                item["station"] = json!(station);
                item
            }));
        }
    }
    rows
}

struct Rows {
    known: &'static Known,
    manager: Arc<Manager>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.known.name)
    }
}

impl Table for Rows {
    fn columns(&self) -> Vec<Column> {
        let column = |(name, kind): &(&str, ColumnKind)| Column {
            name: (*name).to_owned(),
            kind: kind.clone(),
            nullable: true,
        };
        self.known.columns.iter().map(column).collect()
    }

    fn is_stored(&self) -> bool {
        false
    }

    fn pages(&self, _: &Bounds) -> Box<dyn Pages> {
        Box::new(Once((self.known.rows)(&self.manager)))
    }
}

/// All rows as one page.
struct Once(Vec<Value>);

impl Pages for Once {
    fn next(&mut self) -> Result<Page, String> {
        let record = |row: Value| {
            let message = Message {
                payload: row.to_string().into(),
                ..Message::default()
            };
            Record::new(message, Timestamp::default())
        };
        Ok(Page {
            records: std::mem::take(&mut self.0)
                .into_iter()
                .map(record)
                .collect(),
            sequences: Vec::new(),
        })
    }
}
