//! From arrays to JSON objects, straight into one buffer.

use std::sync::Arc;

use arrow::array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use millstream_pipeline::{Column, ColumnKind, Item};
use serde::Serialize;

use crate::catalog::is_json;
use crate::lower::{Output, Role};
use crate::program::{Found, Head, Made, Refusal};

mod head;
mod nested;
mod time;

/// Writes one value of an array, or says why JSON cannot hold it.
pub(crate) type Writer<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), String> + 'a>;

/// Prints rows as objects with these members.
#[derive(Debug)]
pub(crate) struct Printer {
    members: Vec<Member>,
    /// Outputs that are no members: where they stand in a batch, and what they are.
    heads: Vec<(usize, Role)>,
}

#[derive(Debug)]
struct Member {
    name: Arc<str>,
    /// Where it stands in a batch.
    column: usize,
    /// What stands before the value: `{"first":` or `,"second":`.
    prefix: Vec<u8>,
    json: bool,
}

impl Printer {
    /// All outputs are members.
    pub(crate) fn new(outputs: &[Output]) -> Self {
        let member = |(index, output): (usize, &Output)| {
            let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
            put(&output.name, &mut prefix);
            prefix.push(b':');
            Member {
                name: output.name.as_str().into(),
                column: index,
                prefix,
                json: output.json,
            }
        };
        Self {
            members: outputs.iter().enumerate().map(member).collect(),
            heads: Vec::new(),
        }
    }

    /// Outputs that are a message's subject, headers or key are not members of its payload.
    pub(crate) fn of_messages(outputs: &[Output]) -> Self {
        let (members, others): (Vec<_>, Vec<_>) = outputs
            .iter()
            .enumerate()
            .partition(|(_, output)| output.role == Role::Member);
        let own: Vec<Output> = members
            .iter()
            .map(|(_, output)| (*output).clone())
            .collect();
        let mut printer = Self::new(&own);
        for (member, (column, _)) in printer.members.iter_mut().zip(&members) {
            member.column = *column;
        }
        let heads = others.iter().map(|(column, output)| (*column, output.role));
        printer.heads = heads.filter(|(_, role)| *role != Role::Same).collect();
        printer
    }

    /// Prints each row of `batch`; `rows` says which message it is. A value that JSON cannot hold refuses its message.
    pub(crate) fn print(&self, batch: &RecordBatch, rows: &[usize], found: &mut Found) {
        if rows.is_empty() {
            return;
        }
        let printed = self.rows(batch);
        for (row, message) in rows.iter().enumerate() {
            let start = found.text.len();
            let made = printed.put(row, &mut found.text).and_then(|()| {
                let head = self.head(batch, row)?;
                Ok(Made {
                    text: start..found.text.len(),
                    head,
                })
            });
            match made {
                Ok(made) => found.add(*message, made),
                Err(reason) => {
                    found.text.truncate(start);
                    found.refuse(*message, Refusal::new("sql_error", reason, None));
                }
            }
        }
    }

    /// What a row says of its message.
    fn head(&self, batch: &RecordBatch, row: usize) -> Result<Option<Box<Head>>, String> {
        if self.heads.is_empty() {
            return Ok(None);
        }
        let mut head = Head::default();
        for (column, role) in &self.heads {
            let array = batch.column(*column).as_ref();
            match role {
                Role::Subject => head.subject = Some(head::subject(array, row)?),
                Role::Headers => head.headers = Some(head::headers(array, row)?),
                Role::Key => head.key = Some(head::text(array, row).map(Bytes::from)),
                Role::Member | Role::Same => {}
            }
        }
        Ok(Some(Box::new(head)))
    }
}

/// Prints rows of a table, whose types pass [`check_printable`], one object each.
pub(crate) struct Rows<'a> {
    columns: Vec<(&'a Member, Writer<'a>)>,
}

impl Printer {
    /// The rows of a batch with this printer's columns.
    pub(crate) fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Rows<'a> {
        let columns = self.members.iter().map(|member| {
            let array = batch.column(member.column).as_ref();
            (member, writer(array, member.json))
        });
        Rows {
            columns: columns.collect(),
        }
    }
}

impl Rows<'_> {
    /// Appends a row as a JSON object.
    ///
    /// # Errors
    /// Which column has a value that JSON cannot hold.
    pub(crate) fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        object(&self.columns, row, out)
    }
}

fn object(columns: &[(&Member, Writer<'_>)], row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    for (member, write) in columns {
        out.extend_from_slice(&member.prefix);
        write(row, out).map_err(|why| format!("column `{}` is {why}", member.name))?;
    }
    if columns.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// A value as JSON. Numbers are the shortest that read back the same.
fn put<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("invariant: numbers and text always become JSON");
}

/// The kind of a column for the stage behind.
pub(crate) fn kind_of(data_type: &DataType, json: bool) -> ColumnKind {
    let inner = |field: &Field| {
        Box::new(Item {
            kind: kind_of(field.data_type(), is_json(field)),
            nullable: true,
        })
    };
    match data_type {
        _ if json => ColumnKind::Json,
        DataType::Boolean => ColumnKind::Bool,
        of if of.is_integer() => ColumnKind::Int64,
        DataType::Decimal128(precision, scale) if (0..=38).contains(scale) => ColumnKind::Decimal {
            precision: *precision,
            scale: scale.unsigned_abs(),
        },
        of if of.is_numeric() => ColumnKind::Float64,
        DataType::Timestamp(..) => ColumnKind::Timestamp,
        DataType::Date32 => ColumnKind::Date,
        DataType::Dictionary(_, value) => kind_of(value, false),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            ColumnKind::List(inner(of))
        }
        DataType::Struct(fields) => {
            let member = |field: &Arc<Field>| {
                Column::new(
                    field.name(),
                    kind_of(field.data_type(), is_json(field)),
                    true,
                )
            };
            ColumnKind::Struct(fields.iter().map(member).collect())
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => ColumnKind::Map(inner(&pair[1])),
            _ => ColumnKind::Json,
        },
        of if of.is_nested() || of.is_null() => ColumnKind::Json,
        _ => ColumnKind::String,
    }
}

/// Whether values of this type become JSON; otherwise what the type is and what to do about it.
pub(crate) fn check_printable(data_type: &DataType) -> Result<(), String> {
    match data_type {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            Err("binary, which JSON cannot hold. Write `encode(…, 'base64')`".to_owned())
        }
        DataType::Float32 | DataType::Float64 => Ok(()),
        DataType::Float16 => Err("a number of 16 bits. Write `CAST(… AS DOUBLE)`".to_owned()),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            check_printable(of.data_type())
        }
        DataType::Struct(fields) => fields
            .iter()
            .try_for_each(|field| check_printable(field.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair)
                if pair.first().is_some_and(|key| key.data_type().is_string()) =>
            {
                pair.iter()
                    .try_for_each(|field| check_printable(field.data_type()))
            }
            _ => Err("a map whose keys are no text, which JSON cannot hold".to_owned()),
        },
        DataType::Dictionary(_, value) => check_printable(value),
        of if of.is_numeric() || of.is_temporal() || of.is_string() || of.is_null() => Ok(()),
        DataType::Boolean => Ok(()),
        other => Err(format!("of type {other}, which JSON cannot hold")),
    }
}

/// A writer for values of `array`; with `json` its text is JSON already.
pub(crate) fn writer<'a>(array: &'a dyn Array, json: bool) -> Writer<'a> {
    let write = value_writer(array, json);
    if array.logical_null_count() == 0 {
        return write;
    }
    let nulls = array.logical_nulls();
    Box::new(move |row, out| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        write(row, out)
    })
}

fn value_writer<'a>(array: &'a dyn Array, json: bool) -> Writer<'a> {
    match array.data_type() {
        DataType::Null => Box::new(|_, out| {
            out.extend_from_slice(b"null");
            Ok(())
        }),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| {
                put(&array.value(row), out);
                Ok(())
            })
        }
        DataType::Int8 => whole::<Int8Type>(array),
        DataType::Int16 => whole::<Int16Type>(array),
        DataType::Int32 => whole::<Int32Type>(array),
        DataType::Int64 => whole::<Int64Type>(array),
        DataType::UInt8 => whole::<UInt8Type>(array),
        DataType::UInt16 => whole::<UInt16Type>(array),
        DataType::UInt32 => whole::<UInt32Type>(array),
        DataType::UInt64 => whole::<UInt64Type>(array),
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(move |row, out| finite(array.value(row), array.value(row).is_finite(), out))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| finite(array.value(row), array.value(row).is_finite(), out))
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            text(move |row| array.value(row), json)
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            text(move |row| array.value(row), json)
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            text(move |row| array.value(row), json)
        }
        DataType::Timestamp(unit, zone) => time::writer(array, *unit, zone.as_deref()),
        DataType::Decimal128(..) | DataType::Decimal256(..) => decimal(array),
        of if of.is_nested() => nested::writer(array),
        DataType::Dictionary(..) => nested::dictionary(array),
        of => formatted(array, of.is_numeric()),
    }
}

fn whole<'a, T>(array: &'a dyn Array) -> Writer<'a>
where
    T: ArrowPrimitiveType,
    T::Native: Serialize,
{
    let array = array.as_primitive::<T>();
    Box::new(move |row, out| {
        put(&array.value(row), out);
        Ok(())
    })
}

fn finite<T: Serialize + std::fmt::Display>(
    value: T,
    is_finite: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    if !is_finite {
        return Err(format!("{value}, which JSON cannot hold"));
    }
    put(&value, out);
    Ok(())
}

fn text<'a>(value: impl Fn(usize) -> &'a str + 'a, json: bool) -> Writer<'a> {
    if json {
        return Box::new(move |row, out| {
            out.extend_from_slice(value(row).as_bytes());
            Ok(())
        });
    }
    Box::new(move |row, out| {
        put(value(row), out);
        Ok(())
    })
}

/// Digits that every reader of JSON keeps.
const SAFE_DIGITS: usize = 15;

/// A number; text where it has so many digits that readers would round it.
fn decimal(array: &dyn Array) -> Writer<'_> {
    static OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(array, &OPTIONS)
        .expect("invariant: only types that can be printed pass the compiler");
    Box::new(move |row, out| {
        let value = formatter.value(row).try_to_string();
        let value = value.map_err(|error| error.to_string())?;
        let digits = value.trim_start_matches(['-', '0', '.']);
        if digits.bytes().filter(u8::is_ascii_digit).count() > SAFE_DIGITS {
            put(&value, out);
        } else {
            out.extend_from_slice(value.as_bytes());
        }
        Ok(())
    })
}

/// Types that are rare in messages, in Arrow's own form: dates, times of day and intervals as text.
fn formatted<'a>(array: &'a dyn Array, number: bool) -> Writer<'a> {
    static OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(array, &OPTIONS)
        .expect("invariant: only types that can be printed pass the compiler");
    Box::new(move |row, out| {
        let value = formatter
            .value(row)
            .try_to_string()
            .map_err(|error| error.to_string())?;
        if number {
            out.extend_from_slice(value.as_bytes());
        } else {
            put(&value, out);
        }
        Ok(())
    })
}
