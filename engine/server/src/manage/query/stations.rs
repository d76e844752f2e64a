//! Stations and other streams as tables of their messages, as they were when a statement named them.

use std::sync::Arc;

use bytes::Bytes;
use millstream_jetstream::{Reader, StoredRecord};
use millstream_pipeline::{Column, ColumnKind, Reading, Record, Schemas as _};
use millstream_schema_formats::{Format, Inference, Schema};
use millstream_sql::query::{Bounds, Page, Pages, Table};

use millstream_types::Timestamp;

use super::super::Manager;
use crate::shelf::Shelf;

/// Messages of a page, and bytes of their payloads: what a scan holds.
const PAGE: (usize, usize) = (1024, 8 << 20);
/// Messages, the newest, that tell the columns which no schema tells.
const SAMPLE: u64 = 500;

/// A server's clock may have been set back by this much, so that times are not in order: nanoseconds.
const CLOCK_STEP: i64 = 60_000_000_000;

/// The messages of a stream up to the last one there was.
#[derive(Clone, Debug)]
struct Stored {
    stream: String,
    columns: Vec<Column>,
    last: u64,
    reader: Reader,
    shelf: Arc<Shelf>,
    manager: Arc<Manager>,
}

/// The messages of a stream; `None` when there is none of that name.
pub(super) fn table(manager: &Arc<Manager>, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
    let Some(cell) = manager.node.stream(name) else {
        return Ok(None);
    };
    let (first, last) = {
        let stream = cell.lock();
        (stream.first_seq(), stream.last_seq())
    };
    let jetstream = manager
        .jetstream()
        .map_err(|failure| failure.error.into_owned())?;
    let mut table = Stored {
        stream: name.to_owned(),
        columns: Vec::new(),
        last,
        reader: jetstream.reader(),
        shelf: Arc::clone(manager.compiler.shelf()),
        manager: Arc::clone(manager),
    };
    table.columns = table.known()?;
    let from = (last + 1).saturating_sub(SAMPLE).max(first);
    for column in table.observed(from)? {
        if table.columns.iter().all(|known| known.name != column.name) {
            table.columns.push(column);
        }
    }
    Ok(Some(Arc::new(table)))
}

/// How messages of all formats are read.
fn as_json() -> Reading {
    Reading {
        format: Some(Format::Json),
        ..Reading::default()
    }
}

impl Stored {
    /// The columns of the station's schemas, as far as no stage changes what they describe.
    fn known(&self) -> Result<Vec<Column>, String> {
        let catalog = self.manager.node.catalog().clone();
        let Some(entry) = catalog.stations.get(&self.stream) else {
            return Ok(Vec::new());
        };
        let changed = !entry.spec.stages.is_empty() || entry.spec.encode.is_some();
        let Some(schema) = entry.spec.schema.as_ref().filter(|_| !changed) else {
            return Ok(Vec::new());
        };
        let mut columns: Vec<Column> = Vec::new();
        let rules = schema.rules.iter();
        let rules = rules.map(|rule| (Some(&rule.subject), &rule.message));
        for (subject, message) in
            std::iter::once((schema.subject.as_ref(), &schema.message)).chain(rules)
        {
            let Some(subject) = subject else { continue };
            let version = self.shelf.version(subject, None)?;
            let version = match message {
                Some(message) => version.rooted(message).unwrap_or(version),
                None => version,
            };
            // What is no object has no columns.
            for column in version.schema.columns().unwrap_or_default() {
                match columns.iter_mut().find(|known| known.name == column.name) {
                    // Kinds of messages that do not agree leave it as it is written.
                    Some(known) if known.kind != column.kind => known.kind = ColumnKind::Json,
                    Some(_) => {}
                    None => columns.push(column),
                }
            }
        }
        Ok(columns)
    }

    /// The columns of the messages from a sequence on.
    fn observed(&self, from: u64) -> Result<Vec<Column>, String> {
        let mut inference = Inference::default();
        let limit = usize::try_from(SAMPLE).unwrap_or(usize::MAX);
        let records = self
            .reader
            .matching(&self.stream, from, b">", (limit, PAGE.1));
        for record in records.map_err(|error| error.to_string())? {
            // What is no JSON tells no columns.
            let _not_json = inference.observe(&self.payload(&record));
        }
        if inference.count() == 0 {
            return Ok(Vec::new());
        }
        let text = inference.proposal(&self.stream).json_schema;
        let schema = Schema::compile(Format::Json, &text, &[]);
        let columns = schema.and_then(|schema| schema.columns());
        // What is no object has no columns.
        Ok(columns.unwrap_or_default())
    }

    /// The payload as JSON where that can be had; what cannot is told as no JSON later.
    fn payload(&self, record: &StoredRecord) -> Bytes {
        let view = record.view();
        match as_json().convert(&*self.shelf, view.headers, view.payload) {
            Ok(Some((_, json))) => json,
            Ok(None) | Err(_) => record.payload(),
        }
    }
}

impl Table for Stored {
    fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    fn is_stored(&self) -> bool {
        true
    }

    fn pages(&self, bounds: &Bounds) -> Box<dyn Pages> {
        let since = |time: Timestamp| {
            let cell = self.manager.node.stream(&self.stream);
            cell.and_then(|cell| cell.lock().first_since(time))
        };
        let mut next = bounds.first;
        if let Some(from) = bounds.from {
            // Nothing may be that young.
            let found = since(Timestamp(from.0.saturating_sub(CLOCK_STEP)));
            next = next.max(found.unwrap_or(u64::MAX));
        }
        let mut last = bounds.last.min(self.last);
        if let Some(until) = bounds.until {
            let after = since(Timestamp(until.0.saturating_add(CLOCK_STEP)));
            last = last.min(after.unwrap_or(u64::MAX));
        }
        let subject = bounds.subject.clone().unwrap_or_else(|| ">".to_owned());
        Box::new(Read {
            table: self.clone(),
            next,
            last,
            subject: subject.into_bytes(),
        })
    }
}

struct Read {
    table: Stored,
    next: u64,
    last: u64,
    subject: Vec<u8>,
}

impl Pages for Read {
    fn next(&mut self) -> Result<Page, String> {
        let mut page = Page::default();
        if self.next > self.last {
            return Ok(page);
        }
        let table = &self.table;
        let found = table
            .reader
            .matching(&table.stream, self.next, &self.subject, PAGE);
        let found = found.map_err(|error| error.to_string())?;
        self.next = found.last().map_or(u64::MAX, |record| record.seq + 1);
        for record in found {
            if record.seq > self.last {
                break;
            }
            let mut message = record.message();
            message.payload = table.payload(&record);
            page.sequences.push(record.seq);
            page.records.push(Record::new(message, record.time));
        }
        Ok(page)
    }
}
