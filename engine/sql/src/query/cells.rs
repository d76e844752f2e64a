//! Rows as typed values, for who encodes them in a way of its own.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::print;

/// The type of a column's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// True or false.
    Bool,
    /// A whole number of 16 bits.
    Int16,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number of 32 bits.
    Float32,
    /// A number of 64 bits.
    Float64,
    /// A decimal number with so many digits, and so many of them behind the point.
    Decimal {
        /// All digits.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// A time without a zone.
    Timestamp,
    /// A point in time.
    TimestampUtc,
    /// JSON as text: what has parts.
    Json,
    /// A list of values of a type that is neither JSON nor a list.
    List(Box<CellKind>),
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Not known.
    Null,
    /// [`CellKind::Bool`].
    Bool(bool),
    /// A whole number of any width.
    Int(i64),
    /// [`CellKind::Float32`].
    Float32(f32),
    /// [`CellKind::Float64`].
    Float(f64),
    /// The digits of a decimal number, whose kind tells its scale.
    Decimal(i128),
    /// [`CellKind::Text`] and [`CellKind::Json`].
    Text(Cow<'a, str>),
    /// [`CellKind::Bytes`].
    Bytes(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01, in UTC where it is a point in time.
    Timestamp(i64),
    /// The values of a list.
    List(Vec<Cell<'a>>),
}

/// Reads a value of a column by its row.
pub type Reader<'a> = Box<dyn Fn(usize) -> Cell<'a> + 'a>;

/// Rows of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    rows: usize,
    columns: Vec<(CellKind, ArrayRef)>,
}

impl Cells {
    pub(super) fn new(batch: &RecordBatch, json: &[bool]) -> Result<Self, ArrowError> {
        let columns = batch.columns().iter().zip(json);
        let column = |(array, json): (&ArrayRef, &bool)| {
            let kind = kind(array.data_type(), *json);
            plain(array, &kind).map(|array| (kind, array))
        };
        Ok(Self {
            rows: batch.num_rows(),
            columns: columns.map(column).collect::<Result<_, _>>()?,
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// A reader for each column.
    #[must_use]
    pub fn readers(&self) -> Vec<Reader<'_>> {
        let columns = self.columns.iter();
        columns
            .map(|(kind, array)| reader(array.as_ref(), kind))
            .collect()
    }
}

/// Column names and kinds of a plan's answer.
pub(super) fn kinds(schema: &Schema, is_json: impl Fn(&Field) -> bool) -> Vec<(String, CellKind)> {
    let of = |field: &Arc<Field>| {
        let kind = kind(field.data_type(), is_json(field));
        (field.name().clone(), kind)
    };
    schema.fields().iter().map(of).collect()
}

pub(super) fn kind(data_type: &DataType, json: bool) -> CellKind {
    match data_type {
        _ if json => CellKind::Json,
        DataType::Boolean => CellKind::Bool,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => CellKind::Int16,
        DataType::Int32 | DataType::UInt16 => CellKind::Int32,
        DataType::Int64 | DataType::UInt32 => CellKind::Int64,
        DataType::UInt64 => CellKind::Decimal {
            precision: 20,
            scale: 0,
        },
        DataType::Float16 | DataType::Float32 => CellKind::Float32,
        DataType::Float64 => CellKind::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => CellKind::Decimal {
            precision: *precision,
            scale: *scale,
        },
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => CellKind::Bytes,
        DataType::Date32 | DataType::Date64 => CellKind::Date,
        DataType::Time32(_) | DataType::Time64(_) => CellKind::Time,
        DataType::Timestamp(_, None) => CellKind::Timestamp,
        DataType::Timestamp(_, Some(_)) => CellKind::TimestampUtc,
        DataType::Dictionary(_, value) => kind(value, false),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            match kind(of.data_type(), false) {
                CellKind::Json | CellKind::List(_) => CellKind::Json,
                element => CellKind::List(Box::new(element)),
            }
        }
        of if of.is_nested() => CellKind::Json,
        _ => CellKind::Text,
    }
}

/// The one type of arrays that values of a kind are read from; JSON stays as it is.
fn target(kind: &CellKind) -> Option<DataType> {
    Some(match kind {
        CellKind::Bool => DataType::Boolean,
        CellKind::Int16 | CellKind::Int32 | CellKind::Int64 => DataType::Int64,
        CellKind::Float32 => DataType::Float32,
        CellKind::Float64 => DataType::Float64,
        CellKind::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
        CellKind::Text => DataType::Utf8,
        CellKind::Bytes => DataType::Binary,
        CellKind::Date => DataType::Date32,
        CellKind::Time => DataType::Time64(TimeUnit::Microsecond),
        CellKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        CellKind::TimestampUtc => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        CellKind::List(element) => {
            DataType::List(Arc::new(Field::new("item", target(element)?, true)))
        }
        CellKind::Json => return None,
    })
}

fn plain(array: &ArrayRef, kind: &CellKind) -> Result<ArrayRef, ArrowError> {
    match target(kind) {
        Some(target) if target != *array.data_type() => cast(array, &target),
        _ => Ok(Arc::clone(array)),
    }
}

fn reader<'a>(array: &'a dyn Array, kind: &CellKind) -> Reader<'a> {
    let read = value_reader(array, kind);
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    match nulls {
        None => read,
        Some(nulls) => Box::new(move |row| {
            if nulls.is_null(row) {
                return Cell::Null;
            }
            read(row)
        }),
    }
}

fn value_reader<'a>(array: &'a dyn Array, kind: &CellKind) -> Reader<'a> {
    match kind {
        CellKind::Bool => {
            let array = array.as_boolean();
            Box::new(move |row| Cell::Bool(array.value(row)))
        }
        CellKind::Int16 | CellKind::Int32 | CellKind::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            Box::new(move |row| Cell::Int(array.value(row)))
        }
        CellKind::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(move |row| Cell::Float32(array.value(row)))
        }
        CellKind::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(move |row| Cell::Float(array.value(row)))
        }
        CellKind::Decimal { .. } => {
            let array = array.as_primitive::<Decimal128Type>();
            Box::new(move |row| Cell::Decimal(array.value(row)))
        }
        CellKind::Text => {
            let array = array.as_string::<i32>();
            Box::new(move |row| Cell::Text(array.value(row).into()))
        }
        CellKind::Bytes => {
            let array = array.as_binary::<i32>();
            Box::new(move |row| Cell::Bytes(array.value(row)))
        }
        CellKind::Date => {
            let array = array.as_primitive::<Date32Type>();
            Box::new(move |row| Cell::Date(array.value(row)))
        }
        CellKind::Time => {
            let array = array.as_primitive::<Time64MicrosecondType>();
            Box::new(move |row| Cell::Time(array.value(row)))
        }
        CellKind::Timestamp | CellKind::TimestampUtc => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |row| Cell::Timestamp(array.value(row)))
        }
        CellKind::List(element) => {
            let array = array.as_list::<i32>();
            let read = reader(array.values().as_ref(), element);
            let at = array.value_offsets();
            let at = move |row: usize| usize::try_from(at[row]).unwrap_or(0);
            Box::new(move |row| Cell::List((at(row)..at(row + 1)).map(&read).collect()))
        }
        CellKind::Json => json(array),
    }
}

/// Text that is JSON already as it is, what has parts as it is printed.
fn json(array: &dyn Array) -> Reader<'_> {
    match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Box::new(move |row| Cell::Text(array.value(row).into()))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Box::new(move |row| Cell::Text(array.value(row).into()))
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(move |row| Cell::Text(array.value(row).into()))
        }
        _ => {
            let write = print::writer(array, false);
            Box::new(move |row| {
                let mut text = Vec::new();
                // A number that JSON cannot hold, deep inside.
                if write(row, &mut text).is_err() {
                    return Cell::Null;
                }
                Cell::Text(String::from_utf8_lossy(&text).into_owned().into())
            })
        }
    }
}
