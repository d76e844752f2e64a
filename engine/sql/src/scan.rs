//! From messages to arrays: the columns that a statement reads, and nothing else of the payload.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use millstream_pipeline::{ColumnKind, Record};
use millstream_types::HeaderBlock;
use serde_json::Value;

use crate::catalog::{Origin, Source, entry_names, timestamp};
use crate::cell::nested::{self, Misfit, pointer};
use crate::cell::{Cell, Loose, expected};
use crate::program::Refusal;

mod row;

pub(crate) use row::one_line;

/// The columns of a batch.
#[derive(Debug)]
pub(crate) struct Scan {
    schema: SchemaRef,
    sources: Vec<Source>,
    /// For each length of a member's name the columns with names of that length.
    by_length: Vec<Vec<usize>>,
    reads_payload: bool,
    /// Whether a payload is looked at even when no column comes from it.
    objects_only: bool,
}

/// Messages as arrays.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) batch: RecordBatch,
    /// Which message each row of the batch is.
    pub(crate) rows: Vec<usize>,
    /// Messages that are not in the batch, and why.
    pub(crate) refused: Vec<(usize, Refusal)>,
}

impl Scan {
    /// The columns' types.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let fields: Vec<_> = sources.iter().map(Source::field).collect();
        let mut by_length: Vec<Vec<usize>> = Vec::new();
        let mut reads_payload = false;
        for (index, source) in sources.iter().enumerate() {
            reads_payload |= source.origin == Origin::Payload;
            if let Some((member, _)) = source.member() {
                reads_payload = true;
                let length = member.len();
                by_length.resize(by_length.len().max(length + 1), Vec::new());
                by_length[length].push(index);
            }
        }
        let any = |source: &Source| source.origin == Origin::Payload;
        Self {
            schema: Arc::new(Schema::new(fields)),
            objects_only: !sources.iter().any(any),
            sources,
            by_length,
            reads_payload,
        }
    }

    /// One that leaves payloads alone which no column comes from.
    pub(crate) fn any_payload(sources: Vec<Source>) -> Self {
        Self {
            objects_only: false,
            ..Self::new(sources)
        }
    }

    /// Reads a batch. A payload that is no JSON object, or in which a column has a value of another type, is refused
    /// alone.
    ///
    /// # Errors
    /// Only when Arrow refuses the arrays, which were built to their schema.
    pub(crate) fn read(&self, records: &[Record]) -> Result<Scanned, ArrowError> {
        self.read_numbered(records, &[])
    }

    /// The same for stored messages, whose sequences come beside them.
    ///
    /// # Errors
    /// As [`Scan::read`].
    pub(crate) fn read_numbered(
        &self,
        records: &[Record],
        sequences: &[u64],
    ) -> Result<Scanned, ArrowError> {
        let mut columns: Vec<_> = self
            .sources
            .iter()
            .map(|source| ColumnBuilder::new(source, records.len()))
            .collect();
        let mut rows = Vec::with_capacity(records.len());
        let mut refused = Vec::new();
        let mut cells = Vec::with_capacity(self.sources.len());
        for (index, record) in records.iter().enumerate() {
            match self.row(record, &mut cells) {
                Err(refusal) => refused.push((index, refusal)),
                Ok(()) => {
                    rows.push(index);
                    let sequence = sequences.get(index).copied();
                    for ((column, cell), source) in
                        columns.iter_mut().zip(&mut cells).zip(&self.sources)
                    {
                        column.push(cell.take(), source, (record, sequence))?;
                    }
                }
            }
        }
        let arrays = columns.into_iter().map(ColumnBuilder::finish);
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        Ok(Scanned {
            batch,
            rows,
            refused,
        })
    }

    /// Fills `cells`, one for each column; those of metadata stay null.
    fn row<'a>(
        &self,
        record: &'a Record,
        cells: &mut Vec<Option<Cell<'a>>>,
    ) -> Result<(), Refusal> {
        cells.clear();
        cells.resize(self.sources.len(), None);
        if !self.reads_payload && !self.objects_only {
            return Ok(());
        }
        match &record.parsed {
            Some(value) => self.members(value, cells)?,
            // Even a statement that reads no member takes only objects: it says what becomes of a record.
            None => row::from_bytes(self, &record.message.payload, cells)?,
        }
        if !self.reads_payload {
            return Ok(());
        }
        for (source, cell) in self.sources.iter().zip(cells.iter_mut()) {
            if source.origin == Origin::Payload {
                let text = String::from_utf8_lossy(&record.message.payload);
                *cell = Some(Cell::Text(row::one_line(text)));
                continue;
            }
            let Some((_, kind)) = source.member() else {
                continue;
            };
            match cell {
                None if !source.nullable => return Err(missing(source, kind)),
                Some(Cell::Null) if !source.nullable => {
                    return Err(mismatch(source, kind, &Loose::Null));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn members<'a>(&self, value: &'a Value, cells: &mut [Option<Cell<'a>>]) -> Result<(), Refusal> {
        let Value::Object(members) = value else {
            return match self.objects() {
                true => Err(no_object(&Loose::from(value))),
                false => Ok(()),
            };
        };
        for (source, cell) in self.sources.iter().zip(cells) {
            let Some((member, kind)) = source.member() else {
                continue;
            };
            let Some(value) = members.get(member) else {
                continue;
            };
            *cell = Some(match kind {
                _ if value.is_null() => Cell::Null,
                ColumnKind::Json => Cell::Text(Cow::Owned(value.to_string())),
                kind if kind.is_nested() => {
                    nested::fit(value, kind).map_err(|why| misfit(source, why))?
                }
                kind => Loose::from(value)
                    .fit(kind)
                    .map_err(|found| mismatch(source, kind, &found))?,
            });
        }
        Ok(())
    }

    /// Whether a payload that is no object is wrong: where nothing is known of its members, any JSON will do.
    fn objects(&self) -> bool {
        self.objects_only
    }

    /// The columns that a member of the payload goes to: one, and perhaps its raw twin.
    fn columns(&self, name: &str) -> [Option<usize>; 2] {
        let candidates = self.by_length.get(name.len()).into_iter().flatten();
        let mut own = candidates.copied().filter(|index| {
            let member = self.sources[*index].member();
            member.is_some_and(|(member, _)| member == name)
        });
        [own.next(), own.next()]
    }
}

fn no_object(found: &Loose<'_>) -> Refusal {
    Refusal::new(
        "wrong_type",
        format!("payload is {found} where a JSON object is expected"),
        Some(String::new()),
    )
}

fn mismatch(source: &Source, kind: &ColumnKind, found: &Loose<'_>) -> Refusal {
    unlike(source, "", &expected(kind), &found.to_string())
}

fn misfit(source: &Source, why: Misfit) -> Refusal {
    unlike(source, &why.path, &why.expected, &why.found)
}

fn missing(source: &Source, kind: &ColumnKind) -> Refusal {
    unlike(source, "", &expected(kind), "nothing")
}

fn unlike(source: &Source, below: &str, expected: &str, found: &str) -> Refusal {
    let name = source
        .member()
        .map_or(source.name.as_str(), |(name, _)| name);
    Refusal::new(
        "wrong_type",
        format!("column `{name}`: expected {expected}, found {found}"),
        Some(format!("{}{below}", pointer(name))),
    )
}

enum ColumnBuilder<'a> {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    Time(TimestampNanosecondBuilder),
    Headers(Box<MapBuilder<StringBuilder, StringBuilder>>),
    /// All other types, built when all cells are there.
    Cells(ColumnKind, Vec<Cell<'a>>),
}

impl<'a> ColumnBuilder<'a> {
    fn new(source: &Source, rows: usize) -> Self {
        let text = || Self::Text(StringBuilder::with_capacity(rows, rows * 16));
        match &source.origin {
            Origin::Member(ColumnKind::Bool) => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Origin::Member(ColumnKind::Int64) | Origin::Sequence => {
                Self::Int(Int64Builder::with_capacity(rows))
            }
            Origin::Member(ColumnKind::Float64) => Self::Float(Float64Builder::with_capacity(rows)),
            Origin::Member(ColumnKind::String | ColumnKind::Json)
            | Origin::Raw(..)
            | Origin::Payload
            | Origin::Subject
            | Origin::Key => text(),
            Origin::Member(ColumnKind::Timestamp) | Origin::Time => Self::Time(
                TimestampNanosecondBuilder::with_capacity(rows).with_data_type(timestamp()),
            ),
            Origin::Member(kind) => Self::Cells(kind.clone(), Vec::with_capacity(rows)),
            Origin::Headers => Self::Headers(Box::new(MapBuilder::new(
                Some(entry_names()),
                StringBuilder::new(),
                StringBuilder::new(),
            ))),
        }
    }

    fn push(
        &mut self,
        cell: Option<Cell<'a>>,
        source: &Source,
        (record, sequence): (&Record, Option<u64>),
    ) -> Result<(), ArrowError> {
        match (self, cell) {
            (Self::Headers(builder), _) => push_headers(builder, &record.message.headers)?,
            (Self::Text(builder), _) if source.origin == Origin::Subject => {
                builder.append_value(record.message.subject_str());
            }
            (Self::Text(builder), _) if source.origin == Origin::Key => {
                let key = record.key.as_ref().map(|key| String::from_utf8_lossy(key));
                builder.append_option(key);
            }
            (Self::Time(builder), _) if source.origin == Origin::Time => {
                builder.append_value(record.time.0);
            }
            (Self::Int(builder), _) if source.origin == Origin::Sequence => {
                let sequence = sequence.or(record.sequence);
                builder.append_option(sequence.and_then(|sequence| i64::try_from(sequence).ok()));
            }
            (Self::Bool(builder), Some(Cell::Bool(value))) => builder.append_value(value),
            (Self::Int(builder), Some(Cell::Int(value))) => builder.append_value(value),
            (Self::Float(builder), Some(Cell::Float(value))) => builder.append_value(value),
            (Self::Text(builder), Some(Cell::Text(value))) => builder.append_value(value),
            (Self::Time(builder), Some(Cell::Time(value))) => builder.append_value(value),
            (Self::Cells(_, cells), cell) => cells.push(cell.unwrap_or(Cell::Null)),
            (Self::Bool(builder), _) => builder.append_null(),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Float(builder), _) => builder.append_null(),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Time(builder), _) => builder.append_null(),
        }
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Headers(mut builder) => Arc::new(builder.finish()),
            Self::Cells(kind, cells) => nested::array(&kind, &cells.iter().collect::<Vec<_>>())?,
        })
    }
}

/// A map has each key once, so the values of a repeated name are joined, as HTTP does it.
fn push_headers(
    builder: &mut MapBuilder<StringBuilder, StringBuilder>,
    raw: &[u8],
) -> Result<(), ArrowError> {
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (name, value) in HeaderBlock::new(raw).iter() {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, joined)) => *joined = Cow::Owned(format!("{joined}, {value}")),
            None => pairs.push((name, value)),
        }
    }
    for (name, value) in &pairs {
        builder.keys().append_value(name);
        builder.values().append_value(value);
    }
    builder.append(true)
}
