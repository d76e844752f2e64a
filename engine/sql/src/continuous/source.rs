//! Where messages become rows, and event time begins.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use millstream_pipeline::{BrokenState, Effects, Origin, Record, Rejection, StateChange};
use millstream_types::HeaderBlock;

use super::delta::{Delta, Origins};
use crate::catalog::Source;
use crate::scan::Scan;

/// A source as it is compiled.
#[derive(Clone, Debug)]
pub(crate) struct SourcePlan {
    /// Its place among the flow's sources.
    pub(crate) number: usize,
    /// The columns that are read.
    pub(crate) columns: Vec<Source>,
    /// How many of them the query sees; its event time may be one more.
    pub(crate) shown: usize,
    pub(crate) time: Option<EventTime>,
    /// Whether each subject has one row.
    pub(crate) is_table: bool,
}

/// The event time of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventTime {
    /// Its column among those that are read.
    pub(crate) column: usize,
    /// Nanoseconds that messages may be out of order.
    pub(crate) lag: i64,
    /// Nanoseconds without messages after which others are not held up.
    pub(crate) idle: i64,
}

impl EventTime {
    /// The watermark when this is the largest event time.
    fn mark(&self, newest: i64) -> i64 {
        match newest {
            i64::MIN => i64::MIN,
            newest => newest.saturating_sub(self.lag),
        }
    }
}

/// A source with its state: how far its event time is and, of a table, its rows.
#[derive(Debug)]
pub(crate) struct SourceNode {
    plan: SourcePlan,
    scan: Scan,
    /// The largest event time.
    newest: i64,
    /// When it last had a message, by the wall clock.
    heard: Option<i64>,
    table: Option<Table>,
}

/// The rows of a table by subject.
#[derive(Debug)]
struct Table {
    converter: RowConverter,
    rows: HashMap<Box<[u8]>, Box<[u8]>>,
    bytes: u64,
}

/// State: the event time.
const NEWEST: u8 = 0;
/// State: a row of a table, by its subject.
const ROW: u8 = 1;

impl SourceNode {
    pub(crate) fn new(plan: SourcePlan) -> Result<Self> {
        let scan = Scan::any_payload(plan.columns.clone());
        let table = if plan.is_table {
            Some(Table {
                converter: converter(scan.schema())?,
                rows: HashMap::new(),
                bytes: 0,
            })
        } else {
            None
        };
        Ok(Self {
            scan,
            table,
            plan,
            newest: i64::MIN,
            heard: None,
        })
    }

    /// Its watermark; `i64::MAX` without event time.
    pub(crate) fn mark(&self) -> i64 {
        self.plan
            .time
            .map_or(i64::MAX, |time| time.mark(self.newest))
    }

    /// Whether it keeps the rows of a table.
    pub(crate) fn is_table(&self) -> bool {
        self.table.is_some()
    }

    pub(crate) fn number(&self) -> usize {
        self.plan.number
    }

    pub(crate) fn has_time(&self) -> bool {
        self.plan.time.is_some()
    }

    /// When it becomes idle; `None` when it cannot, or never had a clock to count from.
    pub(crate) fn idle_at(&self) -> Option<i64> {
        let time = self.plan.time?;
        Some(self.heard?.saturating_add(time.idle))
    }

    /// The wall clock goes on.
    pub(crate) fn hear(&mut self, now: i64, any: bool) {
        if any || self.heard.is_none() {
            self.heard = Some(now);
        }
    }

    /// The rows of some messages.
    ///
    /// # Errors
    /// When Arrow refuses arrays that were built to their schema.
    pub(crate) fn read(
        &mut self,
        records: &[Record],
        node: u16,
        effects: &mut Effects,
    ) -> Result<Vec<Delta>> {
        if self.table.is_some() {
            return self.changes(records, node, effects);
        }
        let sequences: Vec<u64> = records
            .iter()
            .map(|record| record.sequence.unwrap_or_default())
            .collect();
        let scanned = self.scan.read_numbered(records, &sequences)?;
        for (row, refusal) in scanned.refused {
            let why = Rejection::new("sql", &refusal.code, &refusal.reason);
            let why = match refusal.path {
                Some(path) => why.at(&path),
                None => why,
            };
            effects.rejected.push((self.origin(sequences[row]), why));
        }
        let rows = scanned.rows.iter();
        let origins = Origins {
            source: self.plan.number,
            sequences: rows.map(|row| sequences[*row]).collect(),
        };
        let mut delta = Delta::added(scanned.batch);
        delta.origins = Some(Arc::new(origins));
        let deltas = match self.plan.time {
            Some(time) => self.timed(delta, time, node, effects)?,
            None => vec![delta],
        };
        let deltas = deltas.into_iter().filter(|delta| !delta.is_empty());
        let shown = deltas.map(|delta| Ok(delta.with_batch(shown(&delta.batch, self.plan.shown)?)));
        shown.collect()
    }

    fn origin(&self, sequence: u64) -> Origin {
        Origin::Message {
            source: self.plan.number,
            sequence,
        }
    }

    /// Only rows that say when they happened, each with how far time was before it, and how far time is now.
    fn timed(
        &mut self,
        delta: Delta,
        time: EventTime,
        node: u16,
        effects: &mut Effects,
    ) -> Result<Vec<Delta>> {
        let before = self.newest;
        let column = delta.batch.column(time.column);
        let times = column.as_primitive::<TimestampNanosecondType>();
        if let Some(newest) = arrow::compute::max(times)
            && newest > self.newest
        {
            self.newest = newest;
            let value = newest.to_be_bytes().to_vec();
            put(effects, node, &[NEWEST], Some(value));
        }
        if times.null_count() == 0 {
            return Ok(cut(delta, time, before));
        }
        let schema = delta.batch.schema();
        let name = schema.field(time.column).name();
        for row in (0..times.len()).filter(|row| times.is_null(*row)) {
            let reason = format!("column `{name}` is null, and it says when the message happened");
            let why = Rejection::new("sql", "null_event_time", &reason);
            let sequences = delta.origins.as_ref().map(|origins| origins.sequences[row]);
            let origin = self.origin(sequences.unwrap_or_default());
            effects.rejected.push((origin, why.at(&format!("/{name}"))));
        }
        let mask: BooleanArray = (0..times.len())
            .map(|row| Some(times.is_valid(row)))
            .collect();
        Ok(cut(delta.filter(&mask)?, time, before))
    }

    /// How the rows of a table change.
    fn changes(
        &mut self,
        records: &[Record],
        node: u16,
        effects: &mut Effects,
    ) -> Result<Vec<Delta>> {
        let mut last: HashMap<&[u8], usize> = HashMap::new();
        for (index, record) in records.iter().enumerate() {
            last.insert(&record.message.subject, index);
        }
        let kept: Vec<Record> = records
            .iter()
            .enumerate()
            .filter(|(index, record)| last[&*record.message.subject] == *index)
            .map(|(_, record)| record.clone())
            .collect();
        let (gone, there): (Vec<Record>, Vec<Record>) = kept.into_iter().partition(deletes);
        let sequences: Vec<u64> = there
            .iter()
            .map(|record| record.sequence.unwrap_or_default())
            .collect();
        let scanned = self.scan.read_numbered(&there, &sequences)?;
        for (row, refusal) in &scanned.refused {
            let why = Rejection::new("sql", &refusal.code, &refusal.reason);
            effects.rejected.push((self.origin(sequences[*row]), why));
        }
        let Some(table) = &mut self.table else {
            return Ok(Vec::new());
        };
        let rows = table.converter.convert_columns(scanned.batch.columns())?;
        let mut taken = Vec::new();
        for record in &gone {
            let subject: &[u8] = &record.message.subject;
            taken.extend(table.set(subject, None, node, effects));
        }
        for (at, index) in scanned.rows.iter().enumerate() {
            let subject: &[u8] = &there[*index].message.subject;
            taken.extend(table.set(subject, Some(rows.row(at).as_ref()), node, effects));
        }
        let mut deltas = Vec::new();
        if !taken.is_empty() {
            let parser = table.converter.parser();
            let old = taken.iter().map(|row| parser.parse(row));
            let columns = table.converter.convert_rows(old)?;
            let batch = RecordBatch::try_new(Arc::clone(self.scan.schema()), columns)?;
            let batch = shown(&batch, self.plan.shown)?;
            deltas.push(Delta {
                diffs: Some(vec![-1; batch.num_rows()]),
                ..Delta::added(batch)
            });
        }
        if scanned.batch.num_rows() > 0 {
            let batch = shown(&scanned.batch, self.plan.shown)?;
            deltas.push(Delta::added(batch));
        }
        Ok(deltas)
    }

    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        match (key.split_first(), &mut self.table) {
            (Some((&NEWEST, [])), _) => {
                let bytes = value.try_into();
                let bytes = bytes.map_err(|_| BrokenState("no event time".to_owned()))?;
                self.newest = i64::from_be_bytes(bytes);
                Ok(())
            }
            (Some((&ROW, subject)), Some(table)) => {
                table.bytes += weight(subject, value);
                table.rows.insert(subject.into(), value.into());
                Ok(())
            }
            _ => Err(BrokenState("entry of a source is none of its".to_owned())),
        }
    }

    pub(crate) fn size(&self) -> (u64, u64) {
        match &self.table {
            Some(table) => (table.bytes, table.rows.len() as u64),
            None => (0, 0),
        }
    }
}

impl Table {
    /// Sets a subject's row; answers the one it had.
    fn set(
        &mut self,
        subject: &[u8],
        row: Option<&[u8]>,
        node: u16,
        effects: &mut Effects,
    ) -> Option<Box<[u8]>> {
        let old = match row {
            Some(row) => {
                self.bytes += weight(subject, row);
                self.rows.insert(subject.into(), row.into())
            }
            None => self.rows.remove(subject),
        };
        if let Some(old) = &old {
            self.bytes -= weight(subject, old);
        }
        if old.is_some() || row.is_some() {
            let mut key = vec![ROW];
            key.extend_from_slice(subject);
            put(effects, node, &key, row.map(<[u8]>::to_vec));
        }
        old
    }
}

/// Cuts rows where one is behind the watermark of those before it: only there it matters how far that is. `newest` is the
/// largest event time before them.
fn cut(delta: Delta, time: EventTime, newest: i64) -> Vec<Delta> {
    let column = delta.batch.column(time.column);
    let times = column.as_primitive::<TimestampNanosecondType>().clone();
    let (least, most) = (arrow::compute::min(&times), arrow::compute::max(&times));
    let behind = |(least, most): (i64, i64)| least < time.mark(most.max(newest));
    let mut mark = time.mark(newest);
    if !least.zip(most).is_some_and(behind) {
        return vec![Delta { mark, ..delta }];
    }
    let (mut newest, mut start) = (newest, 0);
    let mut pieces = Vec::new();
    for (row, at) in times.values().iter().enumerate() {
        let now = time.mark(newest);
        if *at < now && now > mark {
            pieces.push(Delta {
                mark,
                ..delta.slice(start, row - start)
            });
            (start, mark) = (row, now);
        }
        newest = newest.max(*at);
    }
    pieces.push(Delta {
        mark,
        ..delta.slice(start, delta.len() - start)
    });
    pieces
}

/// The first columns.
fn shown(batch: &RecordBatch, count: usize) -> Result<RecordBatch> {
    if batch.num_columns() == count {
        return Ok(batch.clone());
    }
    let first: Vec<usize> = (0..count).collect();
    Ok(batch.project(&first)?)
}

fn put(effects: &mut Effects, node: u16, key: &[u8], value: Option<Vec<u8>>) {
    let key = [&node.to_be_bytes()[..], key].concat();
    effects.state.push(StateChange {
        key: key.into(),
        value: value.map(Into::into),
    });
}

/// Bytes of an entry with what a map needs for it.
fn weight(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len() + 64) as u64
}

/// Whether a message takes the row of its subject away.
fn deletes(record: &Record) -> bool {
    let message = &record.message;
    let operation = HeaderBlock::new(&message.headers).get("KV-Operation");
    message.payload.is_empty() || operation.is_some_and(|is| is == b"DEL" || is == b"PURGE")
}

/// Rows of a schema as bytes.
///
/// # Errors
/// When a type has no such form.
pub(crate) fn converter(schema: &SchemaRef) -> Result<RowConverter> {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| SortField::new(field.data_type().clone()));
    Ok(RowConverter::new(fields.collect())?)
}
