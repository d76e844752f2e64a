//! Single values that come in more than one way: numbers, times, decimals and bytes, also as their text.

use super::decode::{MAX_DECIMAL, per_second};
use super::table::Logical;
use super::walk::is_uuid;
use crate::fault::{Fault, fault};
use crate::scalars::shown;
use crate::{Instant, Unit, Value, text};

pub(super) fn to_long(value: &Value, logical: Option<Logical>, what: &str) -> Result<i64, Fault> {
    let by_text = |text: &str| match logical {
        Some(Logical::Date) => text::parse_date(text).map(i64::from),
        Some(Logical::Time(unit)) => text::parse_time(text).and_then(|nanos| whole(nanos, unit)),
        Some(Logical::Timestamp(unit)) => {
            text::parse_timestamp(text).and_then(|at| from_instant(at, unit))
        }
        Some(Logical::LocalTimestamp(unit)) => {
            text::parse_local_timestamp(text).and_then(|at| from_instant(at, unit))
        }
        Some(Logical::UInt32) => text.parse::<u32>().ok().map(i64::from),
        _ => text.parse().ok(),
    };
    let found = match (value, logical) {
        (Value::Int(number), Some(Logical::UInt32)) => u32::try_from(*number).ok().map(i64::from),
        (Value::Int(number), _) => Some(*number),
        (Value::Float(number), _) => exact(f64::from(*number)),
        (Value::Double(number), _) => exact(*number),
        (Value::String(text), _) => by_text(text),
        (Value::Date(days), Some(Logical::Date) | None) => Some(i64::from(*days)),
        (Value::Time(nanos), Some(Logical::Time(unit))) => whole(*nanos, unit),
        (Value::Timestamp(at), Some(Logical::Timestamp(unit)))
        | (Value::LocalTimestamp(at), Some(Logical::LocalTimestamp(unit))) => {
            from_instant(*at, unit)
        }
        _ => None,
    };
    let expected = match logical {
        Some(Logical::Date) => "a date such as `2026-11-23`",
        Some(Logical::Time(_)) => {
            "a time such as `13:05:09.25`, in the schema's unit without a rest"
        }
        Some(Logical::Timestamp(_)) => {
            "a time such as `2026-11-23T13:05:09Z`, in the schema's unit without a rest"
        }
        Some(Logical::LocalTimestamp(_)) => {
            "a time such as `2026-11-23T13:05:09`, in the schema's unit without a rest"
        }
        Some(Logical::UInt32) => "a whole number of 32 bits without a sign",
        _ => what,
    };
    found.map_or_else(|| fault("type", expected, shown(value)), Ok)
}

/// A whole number of an integer's range.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and in range"
)]
fn exact(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number)).then_some(number as i64)
}

fn whole(nanos: i64, unit: Unit) -> Option<i64> {
    let step = 1_000_000_000 / per_second(unit);
    (nanos % step == 0).then_some(nanos / step)
}

fn from_instant(at: Instant, unit: Unit) -> Option<i64> {
    let rest = whole(at.nanos.into(), unit)?;
    at.seconds.checked_mul(per_second(unit))?.checked_add(rest)
}

pub(super) fn to_bytes(
    value: &Value,
    logical: Option<Logical>,
    size: Option<usize>,
) -> Result<Vec<u8>, Fault> {
    match logical {
        Some(Logical::Decimal { precision, scale }) => to_decimal(value, precision, scale, size),
        Some(Logical::Uuid) => match value {
            Value::String(text) if is_uuid(text) => {
                let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
                let pairs = digits
                    .chunks(2)
                    .filter_map(|pair| std::str::from_utf8(pair).ok());
                Ok(pairs
                    .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
                    .collect())
            }
            Value::Bytes(bytes) => Ok(bytes.clone()),
            other => fault("format", "a UUID", shown(other)),
        },
        Some(Logical::Duration) => {
            let parts = match value {
                Value::Period {
                    months,
                    days,
                    millis,
                } => Some((*months, *days, *millis)),
                Value::String(text) => text::parse_period(text),
                _ => None,
            };
            let Some((months, days, millis)) = parts else {
                return fault("format", "a duration such as `P1M2DT3.5S`", shown(value));
            };
            Ok([months, days, millis]
                .iter()
                .flat_map(|part| part.to_le_bytes())
                .collect())
        }
        _ => match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            Value::String(text) => match text::parse_base64(text) {
                Some(bytes) => Ok(bytes),
                None => fault("format", "bytes as base64 text", shown(value)),
            },
            other => fault("type", "bytes", shown(other)),
        },
    }
}

fn to_decimal(
    value: &Value,
    precision: u32,
    scale: u32,
    size: Option<usize>,
) -> Result<Vec<u8>, Fault> {
    use num_bigint::BigInt;
    let wrong = || {
        let expected =
            format!("a decimal of at most {precision} digits, {scale} of them behind the point");
        fault("format", expected, shown(value))
    };
    let parts = match value {
        Value::Decimal { unscaled, scale } => Some((unscaled.clone(), *scale)),
        Value::String(text) => text::parse_decimal(text),
        Value::Int(number) => text::parse_decimal(&number.to_string()),
        Value::UInt(number) => text::parse_decimal(&number.to_string()),
        Value::Double(number) => text::parse_decimal(&text::double(*number)),
        _ => None,
    };
    let Some((unscaled, has)) = parts else {
        // What has more digits than a text is read and written as its bytes.
        return match value {
            Value::Bytes(bytes) if bytes.len() > MAX_DECIMAL => Ok(bytes.clone()),
            Value::String(text) if text.len() > MAX_DECIMAL => match text::parse_base64(text) {
                Some(bytes) if bytes.len() > MAX_DECIMAL => Ok(bytes),
                _ => wrong(),
            },
            _ => wrong(),
        };
    };
    if unscaled.len() > MAX_DECIMAL {
        return wrong();
    }
    let same = matches!(value, Value::Decimal { .. }) && has == scale;
    if same && size.is_none_or(|size| size == unscaled.len()) {
        return Ok(unscaled);
    }
    let mut number = BigInt::from_signed_bytes_be(&unscaled);
    let ten = BigInt::from(10);
    if has > precision.saturating_add(scale).saturating_add(10_000) {
        return wrong();
    }
    for _ in has..scale {
        number *= &ten;
    }
    for _ in scale..has {
        if &number % &ten != BigInt::ZERO {
            return wrong();
        }
        number /= &ten;
    }
    let digits = number.to_string();
    if digits.trim_start_matches('-').len() > precision as usize {
        return wrong();
    }
    let bytes = number.to_signed_bytes_be();
    match size {
        None => Ok(bytes),
        Some(size) if bytes.len() <= size => {
            let sign = if digits.starts_with('-') { 0xff } else { 0 };
            let mut wide = vec![sign; size - bytes.len()];
            wide.extend_from_slice(&bytes);
            Ok(wide)
        }
        Some(_) => wrong(),
    }
}

pub(super) fn to_text(value: &Value, logical: Option<Logical>) -> Result<String, Fault> {
    match (logical, value) {
        (Some(Logical::Json), value) => Ok(value.to_json().to_string()),
        (Some(Logical::Uuid), Value::String(text)) if is_uuid(text) => Ok(text.clone()),
        (Some(Logical::Uuid), value) => fault("format", "a UUID", shown(value)),
        (Some(Logical::UInt64), value) => {
            let number = match value {
                Value::Int(number) => u64::try_from(*number).ok(),
                Value::UInt(number) => Some(*number),
                Value::String(text) => text.parse().ok(),
                _ => None,
            };
            number.map_or_else(
                || fault("range", "a whole number without a sign", shown(value)),
                |number| Ok(number.to_string()),
            )
        }
        (_, Value::String(text)) => Ok(text.clone()),
        // Times and decimals have a text of their own; a number or a list does not become text by itself.
        (
            _,
            Value::Decimal { .. }
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::LocalTimestamp(_)
            | Value::Period { .. }
            | Value::Bytes(_),
        ) => match value.to_json() {
            serde_json::Value::String(text) => Ok(text),
            other => fault("type", "string", other.to_string()),
        },
        (_, other) => fault("type", "string", shown(other)),
    }
}
