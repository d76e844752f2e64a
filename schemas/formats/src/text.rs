//! How values that JSON has no kind for are written as text, and read back. Printing and parsing are each other's inverse.
//!
//! Times follow RFC 3339, with as many digits of a second as are needed; periods ISO 8601; bytes RFC 4648 base64 with padding;
//! numbers that JSON cannot say are `NaN`, `Infinity` and `-Infinity`, as in Protobuf's JSON mapping.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use chrono::{
    DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _,
};
use num_bigint::BigInt;

use crate::Instant;

const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * NANOS;
/// Digits of a decimal number that is read from text, so that a short text does not become a large number.
const MAX_DIGITS: usize = 10_000;

fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(1970, 1, 1).expect("invariant: a day of the calendar")
}

/// Years that RFC 3339 can write.
fn sayable(year: i32) -> bool {
    (0..=9999).contains(&year)
}

/// `2026-11-23`; `None` outside the years 0 to 9999.
pub(crate) fn date(days: i32) -> Option<String> {
    let day = epoch().checked_add_signed(TimeDelta::try_days(days.into())?)?;
    sayable(day.year()).then(|| day.format("%Y-%m-%d").to_string())
}

/// Days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let exact = text.len() == 10 && text.is_ascii();
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| exact)?;
    (day - epoch()).num_days().try_into().ok()
}

/// The digits of a second behind its point, without zeros at the end; empty for none.
fn fraction(nanos: u32) -> String {
    if nanos == 0 {
        return String::new();
    }
    format!(".{nanos:09}").trim_end_matches('0').to_owned()
}

fn clock(time: NaiveTime) -> String {
    format!(
        "{}{}",
        time.format("%H:%M:%S"),
        fraction(time.nanosecond() % 1_000_000_000)
    )
}

/// `13:05:09.25`; `None` outside one day.
pub(crate) fn time(nanos: i64) -> Option<String> {
    if !(0..DAY).contains(&nanos) {
        return None;
    }
    let (seconds, nanos) = (nanos / NANOS, nanos % NANOS);
    let time = NaiveTime::from_num_seconds_from_midnight_opt(
        seconds.try_into().ok()?,
        nanos.try_into().ok()?,
    )?;
    Some(clock(time))
}

/// Nanoseconds since midnight.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    // A leap second has no number of its own.
    let nanos = i64::from(time.nanosecond());
    (nanos < NANOS).then(|| i64::from(time.num_seconds_from_midnight()) * NANOS + nanos)
}

fn naive(at: Instant) -> Option<NaiveDateTime> {
    let at = DateTime::from_timestamp(at.seconds, at.nanos)?.naive_utc();
    sayable(at.year()).then_some(at)
}

fn instant(at: NaiveDateTime) -> Option<Instant> {
    let at = at.and_utc();
    let nanos = at.timestamp_subsec_nanos();
    (i64::from(nanos) < NANOS).then_some(Instant {
        seconds: at.timestamp(),
        nanos,
    })
}

/// `2026-11-23T13:05:09.25Z`; `None` outside the years 0 to 9999.
pub(crate) fn timestamp(at: Instant) -> Option<String> {
    local_timestamp(at).map(|text| text + "Z")
}

/// A time with its distance to UTC.
pub(crate) fn parse_timestamp(text: &str) -> Option<Instant> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    instant(at.naive_utc())
}

/// `2026-11-23T13:05:09.25`; `None` outside the years 0 to 9999.
pub(crate) fn local_timestamp(at: Instant) -> Option<String> {
    let at = naive(at)?;
    Some(format!("{}T{}", at.format("%Y-%m-%d"), clock(at.time())))
}

/// A time without a zone.
pub(crate) fn parse_local_timestamp(text: &str) -> Option<Instant> {
    instant(NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?)
}

/// `-12.50` for -1250 and two digits behind the point: the scale stays visible.
pub(crate) fn decimal(unscaled: &[u8], scale: u32) -> String {
    let number = BigInt::from_signed_bytes_be(unscaled).to_string();
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number.as_str()),
    };
    let scale = scale as usize;
    if scale == 0 {
        return number;
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{part}")
}

/// The unscaled number (shortest two's complement, big-endian) and its scale.
pub(crate) fn parse_decimal(text: &str) -> Option<(Vec<u8>, u32)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (whole, part) = rest.split_once('.').unwrap_or((rest, ""));
    let numeric = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let empty = whole.is_empty() || rest.ends_with('.');
    if empty || !numeric(whole) || !numeric(part) || rest.len() > MAX_DIGITS {
        return None;
    }
    let number: BigInt = format!("{sign}{whole}{part}").parse().ok()?;
    Some((number.to_signed_bytes_be(), u32::try_from(part.len()).ok()?))
}

/// `P1M2DT3.004S`: months, days, milliseconds.
pub(crate) fn period(months: u32, days: u32, millis: u32) -> String {
    let fraction = fraction((millis % 1000) * 1_000_000);
    format!("P{months}M{days}DT{}{fraction}S", millis / 1000)
}

/// Months, days, milliseconds, as [`period`] writes them.
pub(crate) fn parse_period(text: &str) -> Option<(u32, u32, u32)> {
    let (months, rest) = text.strip_prefix('P')?.split_once('M')?;
    let (days, rest) = rest.split_once("DT")?;
    let (seconds, part) = match rest.strip_suffix('S')?.split_once('.') {
        Some((seconds, part)) => (seconds, part),
        None => (rest.strip_suffix('S')?, "0"),
    };
    let short = !part.is_empty() && part.len() <= 3;
    let part: u32 = format!("{part:0<3}").parse().ok().filter(|_| short)?;
    let millis = seconds
        .parse::<u32>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(part)?;
    Some((months.parse().ok()?, days.parse().ok()?, millis))
}

/// With padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The standard alphabet or the one for URLs, with padding.
pub(crate) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// The word for a number that JSON cannot say.
pub(crate) fn special(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// The shortest text that reads back as the same number.
pub(crate) fn double(number: f64) -> String {
    let mut text = String::new();
    match special(number) {
        Some(word) => text.push_str(word),
        // Writing to a string does not fail.
        None => drop(write!(text, "{number:?}")),
    }
    text
}

/// A number or one of the words of [`special`].
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust reads more words than JSON has numbers.
        _ if text
            .bytes()
            .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) =>
        {
            None
        }
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_look_as_people_expect() {
        assert_eq!(date(0).as_deref(), Some("1970-01-01"));
        assert_eq!(date(i32::MAX), None);
        assert_eq!(time(47_109_250_000_000).as_deref(), Some("13:05:09.25"));
        assert_eq!(time(DAY), None);
        let at = Instant {
            seconds: -1,
            nanos: 500_000_000,
        };
        assert_eq!(timestamp(at).as_deref(), Some("1969-12-31T23:59:59.5Z"));
        assert_eq!(parse_timestamp("1970-01-01T01:59:59.5+02:00"), Some(at));
        assert_eq!(decimal(&[0xfb, 0x1e], 2), "-12.50");
        assert_eq!(decimal(&[5], 3), "0.005");
        assert_eq!(period(1, 2, 3004), "P1M2DT3.004S");
        assert_eq!(double(f64::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn what_is_no_such_text_is_refused() {
        for text in ["", "-", ".5", "5.", "1e3", "1_000", "+1", "١"] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
        for text in ["2026-1-2", "2026-02-30", "20260230"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in ["inf", "nan", "0x1", "infinity", ""] {
            assert_eq!(parse_double(text), None, "{text}");
        }
        assert_eq!(parse_time("23:59:60"), None);
        assert_eq!(parse_period("P1M2DT3.0004S"), None);
    }

    proptest! {
        #[test]
        fn each_text_reads_back(
            days in any::<i32>(), nanos in 0..DAY, seconds in -62_167_219_200i64..253_402_300_800, fine in 0u32..1_000_000_000,
            unscaled in prop::collection::vec(any::<u8>(), 1..20), scale in 0u32..40, months in any::<u32>(), millis in any::<u32>(),
            number in any::<f64>(), bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            if let Some(text) = date(days) {
                prop_assert_eq!(parse_date(&text), Some(days));
            }
            prop_assert_eq!(time(nanos).and_then(|text| parse_time(&text)), Some(nanos));
            let at = Instant { seconds, nanos: fine };
            prop_assert_eq!(timestamp(at).and_then(|text| parse_timestamp(&text)), Some(at));
            prop_assert_eq!(local_timestamp(at).and_then(|text| parse_local_timestamp(&text)), Some(at));
            let (back, same) = parse_decimal(&decimal(&unscaled, scale)).expect("a decimal");
            prop_assert_eq!(BigInt::from_signed_bytes_be(&back), BigInt::from_signed_bytes_be(&unscaled));
            prop_assert_eq!(same, scale);
            prop_assert_eq!(parse_period(&period(months, months, millis)), Some((months, months, millis)));
            prop_assert_eq!(parse_double(&double(number)).map(f64::to_bits), Some(number.to_bits()).filter(|_| !number.is_nan()).or(Some(f64::NAN.to_bits())));
            prop_assert_eq!(parse_base64(&base64(&bytes)), Some(bytes));
        }
    }
}
