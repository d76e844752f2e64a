//! Values in PostgreSQL's binary form: numbers with the highest byte first, times from the year 2000.

use bytes::{BufMut, BytesMut};
use millstream_sql::query::{Cell, CellKind};

use super::{sized, text, type_of};

/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const MICROS: i64 = DAYS as i64 * 86_400_000_000;
/// Values of a digit of a number.
const BASE_DIGITS: usize = 4;
const NEGATIVE: i16 = 0x4000;

pub(super) fn put(cell: &Cell<'_>, kind: &CellKind, out: &mut BytesMut) {
    match cell {
        Cell::Null => {}
        Cell::Bool(truth) => out.put_u8(u8::from(*truth)),
        Cell::Int(number) => match kind {
            CellKind::Int16 => out.put_i16(i16::try_from(*number).unwrap_or(i16::MAX)),
            CellKind::Int32 => out.put_i32(i32::try_from(*number).unwrap_or(i32::MAX)),
            _ => out.put_i64(*number),
        },
        Cell::Float32(number) => out.put_f32(*number),
        Cell::Float(number) => out.put_f64(*number),
        Cell::Decimal(digits) => number(*digits, text::scale(kind), out),
        Cell::Text(text) => out.put_slice(text.as_bytes()),
        Cell::Bytes(bytes) => out.put_slice(bytes),
        Cell::Date(days) => out.put_i32(days.saturating_sub(DAYS)),
        Cell::Time(micros) => out.put_i64(*micros),
        Cell::Timestamp(micros) => out.put_i64(micros.saturating_sub(MICROS)),
        Cell::List(cells) => list(cells, kind, out),
    }
}

fn number(digits: i128, scale: i8, out: &mut BytesMut) {
    let shown = text::decimal(digits, scale);
    let shown = shown.trim_start_matches('-');
    let (whole, fraction) = shown.split_once('.').unwrap_or((shown, ""));
    // Groups of four digits, counted from the point.
    let ahead = whole.len().div_ceil(BASE_DIGITS);
    let behind = fraction.len().div_ceil(BASE_DIGITS);
    let padded = format!(
        "{whole:0>ahead$}{fraction:0<behind$}",
        ahead = ahead * BASE_DIGITS,
        behind = behind * BASE_DIGITS
    );
    let groups: Vec<i16> = padded
        .as_bytes()
        .chunks(BASE_DIGITS)
        .map(|group| {
            group
                .iter()
                .fold(0, |value, digit| value * 10 + i16::from(digit - b'0'))
        })
        .collect();
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    let end = groups
        .iter()
        .rposition(|group| *group != 0)
        .map_or(zeros, |last| last + 1);
    let shown = groups.get(zeros..end).unwrap_or_default();
    let short = |count: usize| i16::try_from(count).unwrap_or(i16::MAX);
    let weight = if shown.is_empty() {
        0
    } else {
        short(ahead) - 1 - short(zeros)
    };
    out.put_i16(short(shown.len()));
    out.put_i16(weight);
    out.put_i16(if digits < 0 { NEGATIVE } else { 0 });
    out.put_i16(i16::from(scale.max(0)));
    for group in shown {
        out.put_i16(*group);
    }
}

/// One dimension, whether there are NULLs, the type, how many from 1, and each behind its length.
fn list(cells: &[Cell<'_>], kind: &CellKind, out: &mut BytesMut) {
    let element = match kind {
        CellKind::List(of) => of,
        other => other,
    };
    let nulls = cells.contains(&Cell::Null);
    out.put_i32(i32::from(!cells.is_empty()));
    out.put_i32(i32::from(nulls));
    out.put_u32(type_of(element).oid());
    if cells.is_empty() {
        return;
    }
    out.put_i32(i32::try_from(cells.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    for cell in cells {
        match cell {
            Cell::Null => out.put_i32(-1),
            cell => sized(out, |out| put(cell, element, out)),
        }
    }
}
