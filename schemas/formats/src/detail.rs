//! Columns in full: what a shape says of lists, maps, records, decimals and days.

use crate::column::{Column, ColumnKind, Item};
use crate::{RecordShape, Shape};

/// Levels of types within types; what lies deeper stays JSON text.
const MAX_DEPTH: usize = 16;
/// Types within one column; one with more stays JSON text.
const MAX_TYPES: usize = 1_000;

/// The columns with the types that `shape`, which describes the same schema, has for those that a plain column cannot tell.
pub(crate) fn detailed(mut columns: Vec<Column>, shape: &Shape) -> Vec<Column> {
    let Shape::Record(RecordShape { fields, .. }) = shape else {
        return columns;
    };
    for column in &mut columns {
        let plain = matches!(column.kind, ColumnKind::Json | ColumnKind::String);
        let field = fields.iter().find(|field| field.name == column.name);
        let Some(field) = field.filter(|_| plain) else {
            continue;
        };
        let mut types = 0;
        let (kind, _) = kind(&field.shape, MAX_DEPTH, &mut types);
        let better =
            kind.is_nested() || matches!(kind, ColumnKind::Decimal { .. } | ColumnKind::Date);
        if better && types <= MAX_TYPES {
            column.kind = kind;
        }
    }
    columns
}

/// The type of a value, and whether it may be null.
fn kind(shape: &Shape, depth: usize, types: &mut usize) -> (ColumnKind, bool) {
    *types += 1;
    if depth == 0 || *types > MAX_TYPES {
        return (ColumnKind::Json, true);
    }
    let mut item = |inner: &Shape| {
        let (kind, nullable) = kind(inner, depth - 1, types);
        Box::new(Item { kind, nullable })
    };
    let kind = match shape {
        Shape::Bool => ColumnKind::Bool,
        Shape::Int32 | Shape::Int64 | Shape::UInt32 => ColumnKind::Int64,
        Shape::Float | Shape::Double => ColumnKind::Float64,
        Shape::Timestamp(_) => ColumnKind::Timestamp,
        Shape::Date => ColumnKind::Date,
        Shape::Decimal { precision, scale } => decimal(*precision, *scale),
        Shape::String
        | Shape::Bytes
        | Shape::Fixed { .. }
        | Shape::Time(_)
        | Shape::LocalTimestamp(_)
        | Shape::Period
        | Shape::Uuid
        | Shape::Enum(_) => ColumnKind::String,
        Shape::List(inner) => ColumnKind::List(item(inner)),
        Shape::Map(inner) => ColumnKind::Map(item(inner)),
        Shape::Record(record) => members(record, depth, types),
        Shape::Union(branches) => return one_of(branches, depth, types),
        // Numbers above 2^63 have no column type that holds them exactly.
        Shape::UInt64 | Shape::Any | Shape::Null | Shape::Named(_) => {
            return (ColumnKind::Json, true);
        }
    };
    (kind, false)
}

/// What has more digits than a column can hold stays the text it is in JSON.
fn decimal(precision: u32, scale: u32) -> ColumnKind {
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision), Ok(scale))
            if (1..=ColumnKind::MAX_PRECISION).contains(&precision) && scale <= precision =>
        {
            ColumnKind::Decimal { precision, scale }
        }
        _ => ColumnKind::String,
    }
}

fn members(record: &RecordShape, depth: usize, types: &mut usize) -> ColumnKind {
    let mut members: Vec<Column> = Vec::with_capacity(record.fields.len());
    for field in &record.fields {
        if members.iter().any(|known| known.name == field.name) {
            return ColumnKind::Json;
        }
        let (kind, nullable) = kind(&field.shape, depth - 1, types);
        members.push(Column::new(&field.name, kind, nullable || field.optional));
    }
    // A record of which no member is known says no more than JSON does.
    match members.is_empty() {
        true => ColumnKind::Json,
        false => ColumnKind::Struct(members),
    }
}

fn one_of(branches: &[Shape], depth: usize, types: &mut usize) -> (ColumnKind, bool) {
    let null = branches.contains(&Shape::Null);
    let mut others = branches.iter().filter(|branch| **branch != Shape::Null);
    match (others.next(), others.next()) {
        (Some(only), None) => {
            let (kind, nullable) = kind(only, depth, types);
            (kind, nullable || null)
        }
        _ => (ColumnKind::Json, true),
    }
}

#[cfg(test)]
mod tests;
