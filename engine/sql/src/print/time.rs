//! Timestamps as RFC 3339 text.

use arrow::array::timezone::Tz;
use arrow::array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimeUnit;
use chrono::{DateTime, Datelike, Duration, NaiveDateTime, Offset, TimeZone, Timelike};

use super::Writer;

/// A writer for timestamps. Those without a zone, or in UTC, end in `Z`; others carry their zone's offset at that time.
pub(super) fn writer<'a>(array: &'a dyn Array, unit: TimeUnit, zone: Option<&str>) -> Writer<'a> {
    let (values, per_second): (&[i64], i64) = match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().values(), 1),
        TimeUnit::Millisecond => (
            array.as_primitive::<TimestampMillisecondType>().values(),
            1_000,
        ),
        TimeUnit::Microsecond => (
            array.as_primitive::<TimestampMicrosecondType>().values(),
            1_000_000,
        ),
        TimeUnit::Nanosecond => (
            array.as_primitive::<TimestampNanosecondType>().values(),
            1_000_000_000,
        ),
    };
    let utc = matches!(zone, None | Some("UTC" | "Z" | "+00:00" | "+00"));
    let zone: Option<Tz> = if utc {
        None
    } else {
        zone.and_then(|zone| zone.parse().ok())
    };
    Box::new(move |row, out| {
        let value = values[row];
        let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
        let time = u32::try_from(nanos)
            .ok()
            .and_then(|nanos| DateTime::from_timestamp(value.div_euclid(per_second), nanos))
            .ok_or_else(|| OUT_OF_RANGE.to_owned())?;
        match &zone {
            None => put(time.naive_utc(), None, out),
            Some(zone) => {
                let offset = zone
                    .offset_from_utc_datetime(&time.naive_utc())
                    .fix()
                    .local_minus_utc();
                let local = time
                    .naive_utc()
                    .checked_add_signed(Duration::seconds(offset.into()));
                put(
                    local.ok_or_else(|| OUT_OF_RANGE.to_owned())?,
                    Some(offset),
                    out,
                )
            }
        }
    })
}

const OUT_OF_RANGE: &str = "a time outside the years 0 to 9999, which RFC 3339 cannot hold";

/// By hand, because chrono's formatting costs more than all the rest of a row.
fn put(time: NaiveDateTime, offset: Option<i32>, out: &mut Vec<u8>) -> Result<(), String> {
    let year = u32::try_from(time.year()).ok().filter(|year| *year <= 9999);
    digits(out, b'"', year.ok_or_else(|| OUT_OF_RANGE.to_owned())?, 4);
    digits(out, b'-', time.month(), 2);
    digits(out, b'-', time.day(), 2);
    digits(out, b'T', time.hour(), 2);
    digits(out, b':', time.minute(), 2);
    digits(out, b':', time.second(), 2);
    // As few groups of three digits as hold the fraction.
    match time.nanosecond() {
        0 => {}
        nanos if nanos % 1_000_000 == 0 => digits(out, b'.', nanos / 1_000_000, 3),
        nanos if nanos % 1_000 == 0 => digits(out, b'.', nanos / 1_000, 6),
        nanos => digits(out, b'.', nanos, 9),
    }
    match offset {
        None => out.push(b'Z'),
        Some(seconds) => {
            let minutes = seconds.unsigned_abs() / 60;
            digits(out, if seconds < 0 { b'-' } else { b'+' }, minutes / 60, 2);
            digits(out, b':', minutes % 60, 2);
        }
    }
    out.push(b'"');
    Ok(())
}

/// `before` and `value` with at least `width` digits.
fn digits(out: &mut Vec<u8>, before: u8, value: u32, width: usize) {
    out.push(before);
    let end = out.len() + width;
    out.resize(end, b'0');
    let mut rest = value;
    for digit in out[end - width..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}
