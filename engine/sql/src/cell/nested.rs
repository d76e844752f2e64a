//! A parsed value on its way into a column of lists, maps and structs; and such columns as arrays.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    MapArray, NullBufferBuilder, StringArray, StructArray, TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;
use millstream_pipeline::{Column, ColumnKind, Item};
use serde_json::Value;

use super::{Cell, Loose, expected};
use crate::catalog::data_type;

/// A part of a value that has another type than the column says.
#[derive(Debug, PartialEq)]
pub(crate) struct Misfit {
    /// JSON pointer from the column's value.
    pub(crate) path: String,
    pub(crate) expected: Cow<'static, str>,
    pub(crate) found: String,
}

/// The value in a column of this kind.
pub(crate) fn fit<'a>(value: &'a Value, kind: &ColumnKind) -> Result<Cell<'a>, Misfit> {
    let mut path = Vec::new();
    inner(value, kind, true, &mut path)
}

/// The way to a part, from the outside in.
type Path<'p> = Vec<Cow<'p, str>>;

fn inner<'a, 'p>(
    value: &'a Value,
    kind: &'p ColumnKind,
    nullable: bool,
    path: &mut Path<'p>,
) -> Result<Cell<'a>, Misfit> {
    match (kind, value) {
        (_, Value::Null) if nullable => Ok(Cell::Null),
        (ColumnKind::Json, value) => Ok(Cell::Text(Cow::Owned(value.to_string()))),
        (ColumnKind::List(item), Value::Array(values)) => {
            let mut cells = Vec::with_capacity(values.len());
            for (index, value) in values.iter().enumerate() {
                path.push(index.to_string().into());
                cells.push(inner(value, &item.kind, item.nullable, path)?);
                path.pop();
            }
            Ok(Cell::List(cells))
        }
        (ColumnKind::Map(item), Value::Object(members)) => {
            let mut cells = Vec::with_capacity(members.len());
            for (name, value) in members {
                path.push(name.clone().into());
                let cell = inner(value, &item.kind, item.nullable, path)?;
                cells.push((Cow::Borrowed(name.as_str()), cell));
                path.pop();
            }
            Ok(Cell::Map(cells))
        }
        (ColumnKind::Struct(columns), Value::Object(members)) => {
            let mut cells = Vec::with_capacity(columns.len());
            for column in columns {
                path.push(column.name.as_str().into());
                cells.push(match members.get(&column.name) {
                    Some(value) => inner(value, &column.kind, column.nullable, path)?,
                    None if column.nullable => Cell::Null,
                    None => return Err(misfit(&column.kind, "nothing".to_owned(), path)),
                });
                path.pop();
            }
            Ok(Cell::Struct(cells))
        }
        (_, Value::Null) => Err(misfit(kind, Loose::Null.to_string(), path)),
        (kind, value) => Loose::from(value)
            .fit(kind)
            .map_err(|found| misfit(kind, found.to_string(), path)),
    }
}

fn misfit(kind: &ColumnKind, found: String, path: &Path<'_>) -> Misfit {
    Misfit {
        path: path.iter().map(|part| pointer(part)).collect(),
        expected: expected(kind),
        found,
    }
}

/// One step of a JSON pointer (RFC 6901).
pub(crate) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Cells of one kind as an array; those of another kind are null.
///
/// # Errors
/// More values than an array holds.
pub(crate) fn array(kind: &ColumnKind, cells: &[&Cell<'_>]) -> Result<ArrayRef, ArrowError> {
    macro_rules! values {
        ($array:ty, $cell:ident) => {
            cells
                .iter()
                .map(|cell| match cell {
                    Cell::$cell(value) => Some(*value),
                    _ => None,
                })
                .collect::<$array>()
        };
    }
    let array: ArrayRef = match kind {
        ColumnKind::Bool => Arc::new(values!(BooleanArray, Bool)),
        ColumnKind::Int64 => Arc::new(values!(Int64Array, Int)),
        ColumnKind::Float64 => Arc::new(values!(Float64Array, Float)),
        ColumnKind::Date => Arc::new(values!(Date32Array, Date)),
        ColumnKind::Timestamp => {
            Arc::new(values!(TimestampNanosecondArray, Time).with_timezone("UTC"))
        }
        ColumnKind::Decimal { .. } => {
            Arc::new(values!(Decimal128Array, Decimal).with_data_type(data_type(kind)))
        }
        ColumnKind::String | ColumnKind::Json => {
            let text = |cell: &&Cell<'_>| match cell {
                Cell::Text(text) => Some(text.to_string()),
                _ => None,
            };
            Arc::new(cells.iter().map(text).collect::<StringArray>())
        }
        ColumnKind::List(item) => list(kind, item, cells)?,
        ColumnKind::Map(item) => map(kind, item, cells)?,
        ColumnKind::Struct(members) => structs(kind, members, cells)?,
    };
    Ok(array)
}

fn list(kind: &ColumnKind, item: &Item, cells: &[&Cell<'_>]) -> Result<ArrayRef, ArrowError> {
    let DataType::List(field) = data_type(kind) else {
        return Err(unlike(kind));
    };
    let mut values = Vec::new();
    let lengths = cells.iter().map(|cell| match cell {
        Cell::List(items) => {
            values.extend(items);
            items.len()
        }
        _ => 0,
    });
    let lengths: Vec<usize> = lengths.collect();
    let offsets = offsets(&lengths)?;
    let valid = valid(cells, |cell| matches!(cell, Cell::List(_)));
    let array = ListArray::try_new(field, offsets, array(&item.kind, &values)?, valid)?;
    Ok(Arc::new(array))
}

fn map(kind: &ColumnKind, item: &Item, cells: &[&Cell<'_>]) -> Result<ArrayRef, ArrowError> {
    let DataType::Map(field, sorted) = data_type(kind) else {
        return Err(unlike(kind));
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let lengths = cells.iter().map(|cell| match cell {
        Cell::Map(entries) => {
            names.extend(entries.iter().map(|(name, _)| name.as_ref()));
            values.extend(entries.iter().map(|(_, value)| value));
            entries.len()
        }
        _ => 0,
    });
    let lengths: Vec<usize> = lengths.collect();
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let columns = vec![names, array(&item.kind, &values)?];
    let entries = StructArray::try_new(fields(field.data_type()), columns, None)?;
    let valid = valid(cells, |cell| matches!(cell, Cell::Map(_)));
    let array = MapArray::try_new(field, offsets(&lengths)?, entries, valid, sorted)?;
    Ok(Arc::new(array))
}

fn structs(
    kind: &ColumnKind,
    members: &[Column],
    cells: &[&Cell<'_>],
) -> Result<ArrayRef, ArrowError> {
    const NOTHING: &Cell<'static> = &Cell::Null;
    let columns = members.iter().enumerate().map(|(index, member)| {
        let own = cells.iter().map(|cell| match cell {
            Cell::Struct(members) => members.get(index).unwrap_or(NOTHING),
            _ => NOTHING,
        });
        array(&member.kind, &own.collect::<Vec<_>>())
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let valid = valid(cells, |cell| matches!(cell, Cell::Struct(_)));
    let array =
        StructArray::try_new_with_length(fields(&data_type(kind)), columns, valid, cells.len())?;
    Ok(Arc::new(array))
}

fn fields(data_type: &DataType) -> Fields {
    match data_type {
        DataType::Struct(fields) => fields.clone(),
        other => Fields::from(vec![Field::new("value", other.clone(), true)]),
    }
}

fn offsets(lengths: &[usize]) -> Result<OffsetBuffer<i32>, ArrowError> {
    let all: usize = lengths.iter().sum();
    if i32::try_from(all).is_err() {
        return Err(ArrowError::OffsetOverflowError(all));
    }
    Ok(OffsetBuffer::from_lengths(lengths.iter().copied()))
}

fn valid(cells: &[&Cell<'_>], is: impl Fn(&Cell<'_>) -> bool) -> Option<NullBuffer> {
    let mut nulls = NullBufferBuilder::new(cells.len());
    for cell in cells {
        nulls.append(is(cell));
    }
    nulls.finish()
}

fn unlike(kind: &ColumnKind) -> ArrowError {
    ArrowError::SchemaError(format!("`{kind}` has another array"))
}
