//! Where rows become messages.

use std::collections::HashMap;

use arrow::array::{Array, AsArray as _};
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use millstream_pipeline::{Effects, Origin, Output as Message, Rejection};
use millstream_spec::Results;
use millstream_types::Timestamp;

use super::delta::Delta;
use crate::lower::Output;
use crate::print::Printer;

/// How rows become messages.
#[derive(Debug)]
pub(crate) struct Sink {
    printer: Printer,
    /// The columns that are printed.
    columns: Vec<usize>,
    subject: Vec<Part>,
    /// `None`: rows are never taken back.
    results: Option<Results>,
    /// Of windows that are told when they close: columns with their times, and what is taken from one for the last moment in
    /// which the window is open.
    closes: Vec<(usize, i64)>,
}

/// A part of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Column(usize),
}

/// A row on its way out.
struct Row {
    subject: Bytes,
    payload: Bytes,
    /// How often it is added, or taken back.
    diff: i64,
    closes: Option<Timestamp>,
}

impl Sink {
    pub(crate) fn new(
        outputs: &[(usize, Output)],
        subject: Vec<Part>,
        results: Option<Results>,
        closes: Vec<(usize, i64)>,
    ) -> Self {
        let printed: Vec<Output> = outputs.iter().map(|(_, output)| output.clone()).collect();
        Self {
            printer: Printer::new(&printed),
            columns: outputs.iter().map(|(column, _)| *column).collect(),
            subject,
            results,
            closes,
        }
    }

    /// The messages of some rows.
    pub(crate) fn write(&self, deltas: &[Delta], effects: &mut Effects) {
        let mut rows = Vec::new();
        for delta in deltas {
            self.print(delta, &mut rows, effects);
        }
        match self.results {
            None => effects.outputs.extend(rows.into_iter().flat_map(|row| {
                let times = usize::try_from(row.diff).unwrap_or(0);
                let told = Message {
                    closes: row.closes,
                    ..message(row.subject, row.payload)
                };
                std::iter::repeat_n(told, times)
            })),
            Some(Results::Upsert) => upserts(net(rows), effects),
            Some(Results::Changelog) => changes(net(rows), effects),
        }
    }

    fn print(&self, delta: &Delta, rows: &mut Vec<Row>, effects: &mut Effects) {
        let batch = match delta.batch.project(&self.columns) {
            Ok(batch) => batch,
            Err(error) => {
                effects.failed = Some(error.to_string());
                return;
            }
        };
        let printed = self.printer.rows(&batch);
        let subjects = self.subjects(&delta.batch);
        let closes = self.closing(&delta.batch);
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(delta.len());
        for row in 0..delta.len() {
            let start = text.len();
            if let Err(why) = printed.put(row, &mut text) {
                text.truncate(start);
                // One that is taken back was never written.
                if delta.diff(row) > 0 {
                    let origin = match &delta.origins {
                        Some(origins) => Origin::Message {
                            source: origins.source,
                            sequence: origins.sequences[row],
                        },
                        None => Origin::Row(Bytes::from_static(b"{}")),
                    };
                    let why = Rejection::new("sql", "sql_error", &why);
                    effects.rejected.push((origin, why));
                }
                continue;
            }
            ends.push((row, start..text.len()));
        }
        let text = Bytes::from(text);
        rows.extend(ends.into_iter().map(|(row, range)| Row {
            subject: subjects(row),
            payload: text.slice(range),
            diff: delta.diff(row),
            closes: closes(row),
        }));
    }

    /// When the window of each row closes: a group ends with the first of its times.
    fn closing<'a>(&self, batch: &'a RecordBatch) -> impl Fn(usize) -> Option<Timestamp> + 'a {
        let times: Vec<_> = self
            .closes
            .iter()
            .filter_map(|(column, offset)| {
                let times = batch.column(*column);
                let times = times.as_primitive_opt::<TimestampNanosecondType>()?;
                Some((times, *offset))
            })
            .collect();
        move |row| {
            let known = times.iter().filter(|(times, _)| times.is_valid(row));
            let open = known.map(|(times, offset)| times.value(row).saturating_sub(*offset));
            open.min().map(|open| Timestamp(open.saturating_add(1)))
        }
    }

    /// The subject of each row.
    fn subjects<'a>(&'a self, batch: &'a RecordBatch) -> Box<dyn Fn(usize) -> Bytes + 'a> {
        if let [Part::Text(text)] = self.subject.as_slice() {
            let subject = Bytes::copy_from_slice(text.as_bytes());
            return Box::new(move |_| subject.clone());
        }
        static OPTIONS: FormatOptions<'static> = FormatOptions::new();
        let parts: Vec<_> = self
            .subject
            .iter()
            .map(|part| match part {
                Part::Text(text) => (text.as_str(), None),
                Part::Column(column) => {
                    let array = batch.column(*column);
                    let format = ArrayFormatter::try_new(array.as_ref(), &OPTIONS).ok();
                    ("", format.map(|format| (array, format)))
                }
            })
            .collect();
        Box::new(move |row| {
            let mut subject = String::new();
            for (text, column) in &parts {
                subject.push_str(text);
                if let Some((array, format)) = column {
                    if array.is_null(row) {
                        subject.push_str(NULL);
                    } else {
                        let value = format.value(row).try_to_string();
                        token(&value.unwrap_or_default(), &mut subject);
                    }
                }
            }
            subject.into()
        })
    }
}

/// NULL in a subject. No text becomes this.
const NULL: &str = "%00";

/// A value as one token of a subject. Different values stay different: what a token cannot have is written as in URLs.
fn token(value: &str, to: &mut String) {
    if value.is_empty() {
        to.push('%');
    }
    for c in value.chars() {
        if c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '%') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                to.push_str(&format!("%{byte:02X}"));
            }
        } else {
            to.push(c);
        }
    }
}

fn message(subject: Bytes, payload: Bytes) -> Message {
    Message {
        subject,
        payload,
        delete: false,
        closes: None,
    }
}

/// Rows without those that are added and taken back as often, in the order in which they came.
fn net(rows: Vec<Row>) -> Vec<Row> {
    let mut at: HashMap<(Bytes, Bytes), usize> = HashMap::new();
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let key = (row.subject.clone(), row.payload.clone());
        match at.get(&key) {
            Some(known) => kept[*known].diff += row.diff,
            None => {
                at.insert(key, kept.len());
                kept.push(row);
            }
        }
    }
    kept.retain(|row| row.diff != 0);
    kept
}

/// The last row of each subject, or that it has none any more.
fn upserts(rows: Vec<Row>, effects: &mut Effects) {
    let mut order: Vec<Bytes> = Vec::new();
    let mut last: HashMap<Bytes, Option<Bytes>> = HashMap::new();
    for row in rows {
        let there = last.entry(row.subject.clone()).or_insert_with(|| {
            order.push(row.subject.clone());
            None
        });
        if row.diff > 0 {
            *there = Some(row.payload);
        }
    }
    effects.outputs.extend(order.into_iter().map(
        |subject| match last.remove(&subject).flatten() {
            Some(payload) => message(subject, payload),
            None => Message {
                subject,
                payload: Bytes::new(),
                delete: true,
                closes: None,
            },
        },
    ));
}

/// Each change as a message, in the manner of Debezium.
fn changes(rows: Vec<Row>, effects: &mut Effects) {
    let mut gone: HashMap<Bytes, Vec<Bytes>> = HashMap::new();
    for row in rows.iter().filter(|row| row.diff < 0) {
        let gone = gone.entry(row.subject.clone()).or_default();
        for _ in 0..row.diff.unsigned_abs() {
            gone.push(row.payload.clone());
        }
    }
    for list in gone.values_mut() {
        list.reverse();
    }
    let mut made = Vec::new();
    for row in rows.iter().filter(|row| row.diff > 0) {
        for _ in 0..row.diff {
            let before = gone.get_mut(&row.subject).and_then(Vec::pop);
            made.push(change(&row.subject, before.as_ref(), Some(&row.payload)));
        }
    }
    // What has nothing in its place comes first: readers see no key twice.
    let deletes = rows.iter().filter(|row| row.diff < 0).flat_map(|row| {
        let left = gone.remove(&row.subject).unwrap_or_default();
        left.into_iter()
            .rev()
            .map(|before| change(&row.subject, Some(&before), None))
            .collect::<Vec<_>>()
    });
    effects.outputs.extend(deletes.collect::<Vec<_>>());
    effects.outputs.extend(made);
}

fn change(subject: &Bytes, before: Option<&Bytes>, after: Option<&Bytes>) -> Message {
    let op = match (before, after) {
        (None, _) => "insert",
        (Some(_), None) => "delete",
        (Some(_), Some(_)) => "update",
    };
    let mut text = format!("{{\"op\":\"{op}\",\"before\":").into_bytes();
    text.extend_from_slice(before.map_or(b"null", |row| row));
    text.extend_from_slice(b",\"after\":");
    text.extend_from_slice(after.map_or(b"null", |row| row));
    text.push(b'}');
    message(subject.clone(), text.into())
}

/// The parts of a subject like `delays.{carrier}`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parts(template: &str, columns: &[String]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, behind) = behind
            .split_once('}')
            .ok_or_else(|| format!("`subject: {template}` has a brace that is not closed"))?;
        let column = columns.iter().position(|column| column == name);
        let column = column.ok_or_else(|| {
            format!("`subject: {template}` names `{name}`, which is no column of the result; these are {}", columns.join(", "))
        })?;
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        parts.push(Part::Column(column));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}
