//! Values as text, in the forms of PostgreSQL's ISO date style.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, NaiveDate, TimeDelta};
use millstream_sql::query::{Cell, CellKind};

pub(super) fn put(cell: &Cell<'_>, kind: &CellKind, out: &mut BytesMut) {
    match cell {
        Cell::Null => {}
        Cell::Bool(truth) => out.put_u8(if *truth { b't' } else { b'f' }),
        Cell::Int(number) => write(out, number),
        Cell::Float32(number) => float(out, f64::from(*number), number),
        Cell::Float(number) => float(out, *number, number),
        Cell::Decimal(digits) => out.put_slice(decimal(*digits, scale(kind)).as_bytes()),
        Cell::Text(text) => out.put_slice(text.as_bytes()),
        Cell::Bytes(bytes) => {
            out.put_slice(b"\\x");
            for byte in *bytes {
                write(out, format_args!("{byte:02x}"));
            }
        }
        Cell::Date(days) => match day(*days) {
            Some(day) => write(out, day),
            None => out.put_slice(if *days < 0 { b"-infinity" } else { b"infinity" }),
        },
        Cell::Time(micros) => {
            let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
            write(out, time.format("%H:%M:%S%.f"));
        }
        Cell::Timestamp(micros) => match DateTime::from_timestamp_micros(*micros) {
            Some(time) => {
                let zone = if *kind == CellKind::TimestampUtc {
                    "+00"
                } else {
                    ""
                };
                write(
                    out,
                    format_args!("{}{zone}", time.format("%Y-%m-%d %H:%M:%S%.f")),
                );
            }
            None => out.put_slice(if *micros < 0 {
                b"-infinity"
            } else {
                b"infinity"
            }),
        },
        Cell::List(cells) => list(cells, kind, out),
    }
}

/// Writing to a buffer in memory does not fail.
fn write(out: &mut BytesMut, value: impl std::fmt::Display) {
    let _written = write!(out, "{value}");
}

fn float(out: &mut BytesMut, number: f64, shown: impl std::fmt::Display) {
    match number {
        _ if number.is_nan() => out.put_slice(b"NaN"),
        f64::INFINITY => out.put_slice(b"Infinity"),
        f64::NEG_INFINITY => out.put_slice(b"-Infinity"),
        _ => write(out, shown),
    }
}

pub(super) fn scale(kind: &CellKind) -> i8 {
    match kind {
        CellKind::Decimal { scale, .. } => *scale,
        _ => 0,
    }
}

/// A decimal number with its point.
pub(super) fn decimal(digits: i128, scale: i8) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let all = digits.unsigned_abs().to_string();
    let Ok(behind) = usize::try_from(scale) else {
        let zeros = "0".repeat(usize::from(scale.unsigned_abs()));
        return format!("{sign}{all}{zeros}");
    };
    if behind == 0 {
        return format!("{sign}{all}");
    }
    let padded = format!("{all:0>width$}", width = behind + 1);
    let (whole, fraction) = padded.split_at(padded.len() - behind);
    format!("{sign}{whole}.{fraction}")
}

fn day(days: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::try_days(days.into())?)
}

/// `{…}`, values in quotes where they could be misread.
fn list(cells: &[Cell<'_>], kind: &CellKind, out: &mut BytesMut) {
    let element = match kind {
        CellKind::List(of) => of,
        other => other,
    };
    out.put_u8(b'{');
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        if *cell == Cell::Null {
            out.put_slice(b"NULL");
            continue;
        }
        let mut value = BytesMut::new();
        put(cell, element, &mut value);
        let special = |byte: &u8| b"{},\"\\".contains(byte) || byte.is_ascii_whitespace();
        if value.is_empty() || value.eq_ignore_ascii_case(b"null") || value.iter().any(special) {
            out.put_u8(b'"');
            for byte in value {
                if byte == b'"' || byte == b'\\' {
                    out.put_u8(b'\\');
                }
                out.put_u8(byte);
            }
            out.put_u8(b'"');
        } else {
            out.put_slice(&value);
        }
    }
    out.put_u8(b'}');
}
