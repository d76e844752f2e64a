//! Histories: what the stations of a test hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_nexmark::{COLUMNS, Generator, Random};
use millstream_pipeline::{Column, ColumnKind, Record};
use millstream_types::{HeadersBuilder, Message, Timestamp};
use serde_json::{Map, Value, json};

/// A second, in nanoseconds.
pub(crate) const SECOND: i64 = 1_000_000_000;
/// How far messages are out of order at most.
pub(crate) const DISORDER: i64 = 5 * SECOND;
/// 2024-01-01.
pub(crate) const START: i64 = 1_704_067_200 * SECOND;
/// Later than all others by far: brings event time forward.
pub(crate) const FAR: &str = "2100-01-01T00:00:00Z";

/// A row, or the columns of a message.
pub(crate) type Row = Map<String, Value>;

/// A station with all its messages, in the order in which they are stored.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) name: &'static str,
    pub(crate) columns: Vec<(&'static str, ColumnKind)>,
    /// The column that says when something happened; messages without it are rejected.
    pub(crate) event_time: Option<&'static str>,
    /// Whether each subject has one row, its last message.
    pub(crate) is_table: bool,
    pub(crate) messages: Vec<Stored>,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    /// `None` takes the row of its subject away.
    pub(crate) row: Option<Row>,
}

impl Station {
    pub(crate) fn columns(&self) -> Vec<Column> {
        let columns = self.columns.iter();
        columns
            .map(|(name, kind)| Column::new(*name, kind.clone(), true))
            .collect()
    }

    /// What a query over the whole history sees.
    pub(crate) fn rows(&self) -> Vec<Row> {
        if self.is_table {
            let mut last: BTreeMap<&str, &Row> = BTreeMap::new();
            for message in &self.messages {
                match &message.row {
                    Some(row) => last.insert(&message.subject, row),
                    None => last.remove(message.subject.as_str()),
                };
            }
            return last.into_values().cloned().collect();
        }
        let rows = self
            .messages
            .iter()
            .filter_map(|message| message.row.clone());
        rows.filter(|row| self.has_time(row)).collect()
    }

    /// The sequences of messages that have no event time where one is asked for.
    pub(crate) fn timeless(&self) -> Vec<u64> {
        let numbered = (1_u64..).zip(&self.messages);
        numbered
            .filter(|(_, message)| message.row.as_ref().is_some_and(|row| !self.has_time(row)))
            .map(|(sequence, _)| sequence)
            .collect()
    }

    fn has_time(&self, row: &Row) -> bool {
        self.event_time
            .is_none_or(|column| row.get(column).is_some_and(|time| !time.is_null()))
    }

    /// The message that brings event time forward. Its other columns are empty, so it meets nothing.
    pub(crate) fn flush(&self) -> Option<Stored> {
        let column = self.event_time?;
        Some(Stored {
            subject: format!("{}.flush", self.name),
            row: Some([(column.to_owned(), json!(FAR))].into_iter().collect()),
        })
    }
}

impl Stored {
    pub(crate) fn record(&self, sequence: u64) -> Record {
        let mut headers = HeadersBuilder::new();
        if self.row.is_none() {
            headers.push("KV-Operation", "DEL");
        }
        let payload = self
            .row
            .as_ref()
            .map(|row| Value::from(row.clone()).to_string());
        let message = Message {
            subject: Bytes::from(self.subject.clone()),
            reply: None,
            headers: if self.row.is_none() {
                headers.build()
            } else {
                Bytes::new()
            },
            payload: Bytes::from(payload.unwrap_or_default()),
        };
        let stored = START.saturating_add(i64::try_from(sequence).unwrap_or(0) * SECOND);
        Record {
            sequence: Some(sequence),
            ..Record::new(message, Timestamp(stored))
        }
    }
}

/// How random messages are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) messages: u64,
    /// No two messages of a station happen at the same time.
    pub(crate) distinct_times: bool,
    /// Whether `ts` is the event time of the streams; some messages have none.
    pub(crate) event_time: bool,
}

/// The stations of Nexmark, and what `q13` looks up.
pub(crate) fn auctions(seed: u64, events: u64) -> Vec<Station> {
    let generator = Generator {
        seed,
        start: START / 1_000_000,
        // Forty seconds per two thousand events.
        rate: 50,
        disorder: 40,
        ..Generator::default()
    };
    let mut stations: Vec<Station> = COLUMNS
        .iter()
        .map(|(station, columns)| Station {
            name: station.name(),
            columns: columns
                .iter()
                .map(|(name, kind)| (*name, kind_of(kind)))
                .collect(),
            event_time: None,
            is_table: false,
            messages: Vec::new(),
        })
        .collect();
    for event in generator.events(events) {
        let station = stations
            .iter_mut()
            .find(|station| station.name == event.station.name());
        let stored = Stored {
            subject: format!("nexmark.{}.{}", event.station.name(), event.id),
            row: serde_json::from_str(&event.json).ok(),
        };
        station.expect("one of the three").messages.push(stored);
    }
    let side = (900_u64..1100).map(|key| Stored {
        subject: format!("side.{key}"),
        row: json!({ "key": key, "value": format!("value {key}") })
            .as_object()
            .cloned(),
    });
    stations.push(Station {
        name: "side_input",
        columns: vec![("key", ColumnKind::Int64), ("value", ColumnKind::String)],
        event_time: None,
        is_table: true,
        messages: side.collect(),
    });
    stations
}

fn kind_of(word: &str) -> ColumnKind {
    match word {
        "int64" => ColumnKind::Int64,
        "timestamp" => ColumnKind::Timestamp,
        _ => ColumnKind::String,
    }
}

/// Two streams `a` and `b`, and a table `dim`.
pub(crate) fn history(random: &mut Random, shape: Shape) -> Vec<Station> {
    vec![
        stream("a", random, shape),
        stream("b", random, shape),
        dimension(random),
    ]
}

fn stream(name: &'static str, random: &mut Random, shape: Shape) -> Station {
    let count = 1 + random.below(shape.messages);
    let mut messages: Vec<(i64, Stored)> = (0..count)
        .map(|number| {
            let time = if shape.distinct_times {
                START + i64::try_from(random.below(120) * 1000 + number).unwrap_or(0) * 500_000
            } else {
                // Half seconds: ties, and rows at the very edges of windows.
                START + i64::try_from(random.below(120)).unwrap_or(0) * SECOND / 2
            };
            let arrives = time + i64::try_from(random.below(DISORDER.unsigned_abs())).unwrap_or(0);
            let timeless = shape.event_time && random.below(20) == 0;
            let row = row(random, number, (!timeless).then_some(time));
            let stored = Stored {
                subject: format!("{name}.x"),
                row: Some(row),
            };
            (arrives, stored)
        })
        .collect();
    messages.sort_by_key(|(arrives, _)| *arrives);
    Station {
        name,
        columns: vec![
            ("id", ColumnKind::Int64),
            ("k", ColumnKind::String),
            ("g", ColumnKind::Int64),
            ("v", ColumnKind::Int64),
            ("f", ColumnKind::Float64),
            ("flag", ColumnKind::Bool),
            ("big", ColumnKind::Int64),
            ("text", ColumnKind::String),
            ("ts", ColumnKind::Timestamp),
        ],
        event_time: shape.event_time.then_some("ts"),
        is_table: false,
        messages: messages.into_iter().map(|(_, stored)| stored).collect(),
    }
}

fn row(random: &mut Random, id: u64, time: Option<i64>) -> Row {
    let mut row = Row::new();
    row.insert("id".to_owned(), json!(id));
    let text = random.pick(&["", "x", "y.z", "Ä ö", "10", "\"quoted\"", "*"]);
    // Sums of quarters are exact in any order.
    let quarters = i64::try_from(random.below(200)).unwrap_or(0) - 80;
    let values = [
        ("k", json!(random.pick(&["u", "v", "w", "v v"]))),
        ("g", json!(i64::try_from(random.below(4)).unwrap_or(0) - 1)),
        ("v", json!(i64::try_from(random.below(30)).unwrap_or(0) - 9)),
        (
            "f",
            json!(f64::from(i32::try_from(quarters).unwrap_or(0)) / 4.0),
        ),
        ("flag", json!(random.below(2) == 0)),
        (
            "big",
            json!(random.pick(&[i64::MIN, i64::MAX, -1, 0, 1, 1 << 53])),
        ),
        ("text", json!(text)),
    ];
    for (name, value) in values {
        match random.below(12) {
            0 => row.insert(name.to_owned(), Value::Null),
            1 => None,
            _ => row.insert(name.to_owned(), value),
        };
    }
    if let Some(time) = time {
        row.insert("ts".to_owned(), json!(Timestamp(time).to_rfc3339()));
    } else if random.below(2) == 0 {
        row.insert("ts".to_owned(), Value::Null);
    }
    row
}

/// Groups by number, changed and taken away before anybody reads them.
fn dimension(random: &mut Random) -> Station {
    let messages = (0..random.below(12)).map(|number| {
        let group = i64::try_from(random.below(4)).unwrap_or(0) - 1;
        let row = json!({ "g": group, "name": format!("group {group}, {number}") });
        Stored {
            subject: format!("dim.{group}"),
            row: (random.below(5) > 0).then(|| row.as_object().cloned().unwrap_or_default()),
        }
    });
    let messages = messages.collect();
    Station {
        name: "dim",
        columns: vec![("g", ColumnKind::Int64), ("name", ColumnKind::String)],
        event_time: None,
        is_table: true,
        messages,
    }
}
