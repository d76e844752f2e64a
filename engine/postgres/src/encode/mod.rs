//! Cells of an answer as the bytes of a row: which type a kind has, and how its values are written.

pub(crate) mod binary;
mod text;

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use millstream_sql::query::{Cell, CellKind, Cells};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::data::DataRow;

/// A column of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    kind: CellKind,
    format: FieldFormat,
}

/// How the columns of an answer are written.
pub(crate) fn fields(columns: &[(String, CellKind)], format: &Format) -> Vec<Field> {
    let field = |(index, (_, kind)): (usize, &(String, CellKind))| Field {
        kind: kind.clone(),
        format: format_of(format, index),
    };
    columns.iter().enumerate().map(field).collect()
}

/// What a client is told of the columns.
pub(crate) fn infos(columns: &[(String, CellKind)], format: &Format) -> Vec<FieldInfo> {
    let info = |(index, (name, kind)): (usize, &(String, CellKind))| {
        let info = FieldInfo::new(
            name.clone(),
            None,
            None,
            type_of(kind),
            format_of(format, index),
        );
        info.with_type_size(size(kind))
            .with_type_modifier(modifier(kind))
    };
    columns.iter().enumerate().map(info).collect()
}

/// A client may name formats for fewer columns than there are.
fn format_of(format: &Format, index: usize) -> FieldFormat {
    match format {
        Format::Individual(codes) => codes
            .get(index)
            .map_or(FieldFormat::Text, |code| FieldFormat::from(*code)),
        all => all.format_for(index),
    }
}

/// The rows of a batch.
pub(crate) fn rows(cells: &Cells, fields: &[Field]) -> Vec<DataRow> {
    let readers = cells.readers();
    let count = i16::try_from(fields.len()).unwrap_or(i16::MAX);
    let mut buffer = BytesMut::new();
    let row = |row| {
        for (read, field) in readers.iter().zip(fields) {
            put(&read(row), field, &mut buffer);
        }
        DataRow::new(buffer.split(), count)
    };
    (0..cells.rows()).map(row).collect()
}

/// A row of texts.
pub(crate) fn text_row(values: &[&str]) -> DataRow {
    let mut buffer = BytesMut::new();
    for value in values {
        sized(&mut buffer, |out| out.put_slice(value.as_bytes()));
    }
    let count = i16::try_from(values.len()).unwrap_or(i16::MAX);
    DataRow::new(buffer, count)
}

fn put(cell: &Cell<'_>, field: &Field, out: &mut BytesMut) {
    if *cell == Cell::Null {
        out.put_i32(-1);
        return;
    }
    sized(out, |out| match field.format {
        FieldFormat::Text => text::put(cell, &field.kind, out),
        FieldFormat::Binary => binary::put(cell, &field.kind, out),
    });
}

/// A value behind its length.
fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// The type that clients know a kind by.
pub(crate) fn type_of(kind: &CellKind) -> Type {
    match kind {
        CellKind::Bool => Type::BOOL,
        CellKind::Int16 => Type::INT2,
        CellKind::Int32 => Type::INT4,
        CellKind::Int64 => Type::INT8,
        CellKind::Float32 => Type::FLOAT4,
        CellKind::Float64 => Type::FLOAT8,
        CellKind::Decimal { .. } => Type::NUMERIC,
        CellKind::Text => Type::TEXT,
        CellKind::Bytes => Type::BYTEA,
        CellKind::Date => Type::DATE,
        CellKind::Time => Type::TIME,
        CellKind::Timestamp => Type::TIMESTAMP,
        CellKind::TimestampUtc => Type::TIMESTAMPTZ,
        CellKind::Json => Type::JSON,
        CellKind::List(of) => match **of {
            CellKind::Bool => Type::BOOL_ARRAY,
            CellKind::Int16 => Type::INT2_ARRAY,
            CellKind::Int32 => Type::INT4_ARRAY,
            CellKind::Int64 => Type::INT8_ARRAY,
            CellKind::Float32 => Type::FLOAT4_ARRAY,
            CellKind::Float64 => Type::FLOAT8_ARRAY,
            CellKind::Decimal { .. } => Type::NUMERIC_ARRAY,
            CellKind::Bytes => Type::BYTEA_ARRAY,
            CellKind::Date => Type::DATE_ARRAY,
            CellKind::Time => Type::TIME_ARRAY,
            CellKind::Timestamp => Type::TIMESTAMP_ARRAY,
            CellKind::TimestampUtc => Type::TIMESTAMPTZ_ARRAY,
            // Lists of these are JSON.
            CellKind::Text | CellKind::Json | CellKind::List(_) => Type::TEXT_ARRAY,
        },
    }
}

/// The kind of a parameter that a client says to be of a type; `None` for types that are left to be found out.
pub(crate) fn kind_of(of: &Type) -> Option<CellKind> {
    Some(match *of {
        Type::BOOL => CellKind::Bool,
        Type::INT2 => CellKind::Int16,
        Type::INT4 => CellKind::Int32,
        Type::INT8 | Type::OID => CellKind::Int64,
        Type::FLOAT4 => CellKind::Float32,
        Type::FLOAT8 => CellKind::Float64,
        Type::NUMERIC => CellKind::Decimal {
            precision: 38,
            scale: 10,
        },
        Type::DATE => CellKind::Date,
        Type::TIME => CellKind::Time,
        Type::TIMESTAMP => CellKind::Timestamp,
        Type::TIMESTAMPTZ => CellKind::TimestampUtc,
        Type::JSON | Type::JSONB => CellKind::Json,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UUID => CellKind::Text,
        _ => return None,
    })
}

/// Bytes of a value, or -1 where they differ.
pub(crate) fn size(kind: &CellKind) -> i16 {
    match kind {
        CellKind::Bool => 1,
        CellKind::Int16 => 2,
        CellKind::Int32 | CellKind::Float32 | CellKind::Date => 4,
        CellKind::Int64
        | CellKind::Float64
        | CellKind::Time
        | CellKind::Timestamp
        | CellKind::TimestampUtc => 8,
        _ => -1,
    }
}

/// Precision and scale in one number, as PostgreSQL packs them.
pub(crate) fn modifier(kind: &CellKind) -> i32 {
    match kind {
        CellKind::Decimal { precision, scale } if *scale >= 0 => {
            (i32::from(*precision) << 16 | i32::from(*scale)) + 4
        }
        _ => -1,
    }
}

/// Fields of texts only.
pub(crate) fn text_fields(names: &[&str]) -> Arc<Vec<FieldInfo>> {
    let columns: Vec<(String, CellKind)> = names
        .iter()
        .map(|name| ((*name).to_owned(), CellKind::Text))
        .collect();
    Arc::new(infos(&columns, &Format::UnifiedText))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(cell: &Cell<'_>, kind: &CellKind, format: FieldFormat) -> Vec<u8> {
        let mut out = BytesMut::new();
        let field = Field {
            kind: kind.clone(),
            format,
        };
        put(cell, &field, &mut out);
        out[4..].to_vec()
    }

    fn text(cell: &Cell<'_>, kind: &CellKind) -> String {
        String::from_utf8(bytes(cell, kind, FieldFormat::Text)).expect("text")
    }

    const fn decimal(scale: i8) -> CellKind {
        CellKind::Decimal {
            precision: 38,
            scale,
        }
    }

    #[test]
    fn values_are_written_as_postgresql_writes_them() {
        let list = CellKind::List(Box::new(CellKind::Text));
        let words = |words: &[&'static str]| {
            let words = words.iter().map(|word| Cell::Text((*word).into()));
            Cell::List(words.chain([Cell::Null]).collect())
        };
        for (cell, kind, want) in [
            (Cell::Bool(true), CellKind::Bool, "t"),
            (Cell::Int(-5), CellKind::Int64, "-5"),
            (Cell::Float(0.1), CellKind::Float64, "0.1"),
            (Cell::Float(f64::INFINITY), CellKind::Float64, "Infinity"),
            (Cell::Float(-f64::NAN), CellKind::Float64, "NaN"),
            (Cell::Decimal(-5), decimal(3), "-0.005"),
            (Cell::Decimal(12_340), decimal(3), "12.340"),
            (Cell::Decimal(7), decimal(0), "7"),
            (Cell::Decimal(7), decimal(-2), "700"),
            (Cell::Date(19_782), CellKind::Date, "2024-02-29"),
            (
                Cell::Time(36_001_000_001),
                CellKind::Time,
                "10:00:01.000001",
            ),
            (
                Cell::Timestamp(2_000_000),
                CellKind::Timestamp,
                "1970-01-01 00:00:02",
            ),
            (
                Cell::Timestamp(-1),
                CellKind::TimestampUtc,
                "1969-12-31 23:59:59.999999+00",
            ),
            (Cell::Bytes(&[0, 255]), CellKind::Bytes, "\\x00ff"),
            (
                words(&["a", "b c", "", "NULL", "d\"\\,"]),
                list,
                r#"{a,"b c","","NULL","d\"\\,",NULL}"#,
            ),
        ] {
            assert_eq!(text(&cell, &kind), want);
        }
    }

    #[test]
    fn numbers_in_binary_are_in_base_ten_thousand() {
        // Digits, weight, sign, digits behind the point; then the digits.
        for (value, scale, want) in [
            (0_i128, 2, vec![0, 0, 0, 2]),
            (12_340, 3, vec![2, 0, 0, 3, 12, 3400]),
            (-5, 3, vec![1, -1, 0x4000, 3, 50]),
            (100_000_000, 0, vec![1, 2, 0, 0, 1]),
            (10_001, 4, vec![2, 0, 0, 4, 1, 1]),
        ] {
            let want: Vec<u8> = want
                .iter()
                .flat_map(|word: &i16| word.to_be_bytes())
                .collect();
            let found = bytes(&Cell::Decimal(value), &decimal(scale), FieldFormat::Binary);
            assert_eq!(found, want, "{value} {scale}");
        }
    }
}
