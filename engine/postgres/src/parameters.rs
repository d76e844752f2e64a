//! The values that a client binds to the parameters of a statement.

use chrono::{DateTime, NaiveDate, TimeDelta};
use millstream_sql::query::{CellKind, Parameter};
use pgwire::api::Type;

use crate::encode::binary::{DAYS, MICROS};
use crate::encode::kind_of;

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadParameter {
    /// It is not what its type says.
    #[error("parameter ${number} is no value of type `{type_name}`")]
    Value { number: usize, type_name: String },
    /// Its type is not known here.
    #[error(
        "parameter ${number} is of type `{type_name}`, which is not supported: cast it to text in the statement"
    )]
    Type { number: usize, type_name: String },
}

/// The value of parameter `number`, counted from 1, in the form and of the type that the client says.
pub(crate) fn read(
    number: usize,
    bytes: Option<&[u8]>,
    is_binary: bool,
    declared: &Type,
    found: &CellKind,
) -> Result<Parameter, BadParameter> {
    let kind = match kind_of(declared) {
        Some(kind) => kind,
        None if *declared == Type::UNKNOWN => found.clone(),
        None => {
            return Err(BadParameter::Type {
                number,
                type_name: declared.name().to_owned(),
            });
        }
    };
    let Some(bytes) = bytes else {
        return Ok(Parameter::Null(kind));
    };
    let value = if is_binary && *declared == Type::UUID {
        uuid(bytes).map(|text| Parameter::Text(text, kind))
    } else if is_binary {
        binary(bytes, kind, *declared == Type::JSONB)
    } else {
        text(bytes, kind)
    };
    value.ok_or_else(|| BadParameter::Value {
        number,
        type_name: declared.name().to_owned(),
    })
}

/// Types of lists and of their values.
const LISTS: &[(Type, Type)] = &[
    (Type::BOOL_ARRAY, Type::BOOL),
    (Type::INT2_ARRAY, Type::INT2),
    (Type::INT4_ARRAY, Type::INT4),
    (Type::INT8_ARRAY, Type::INT8),
    (Type::OID_ARRAY, Type::OID),
    (Type::FLOAT4_ARRAY, Type::FLOAT4),
    (Type::FLOAT8_ARRAY, Type::FLOAT8),
    (Type::NUMERIC_ARRAY, Type::NUMERIC),
    (Type::TEXT_ARRAY, Type::TEXT),
    (Type::VARCHAR_ARRAY, Type::VARCHAR),
    (Type::BPCHAR_ARRAY, Type::BPCHAR),
    (Type::NAME_ARRAY, Type::NAME),
    (Type::DATE_ARRAY, Type::DATE),
    (Type::TIME_ARRAY, Type::TIME),
    (Type::TIMESTAMP_ARRAY, Type::TIMESTAMP),
    (Type::TIMESTAMPTZ_ARRAY, Type::TIMESTAMPTZ),
];

/// The type of a list's values.
pub(crate) fn element(list: &Type) -> Option<Type> {
    let found = LISTS.iter().find(|(own, _)| own == list);
    found.map(|(_, element)| element.clone())
}

/// The values of parameter `number`, which is a list; `None` is not known.
pub(crate) fn read_list(
    number: usize,
    bytes: Option<&[u8]>,
    is_binary: bool,
    declared: &Type,
    found: &CellKind,
) -> Result<Option<Vec<Parameter>>, BadParameter> {
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let element = element(declared).unwrap_or(Type::UNKNOWN);
    let values = if is_binary {
        binary_list(bytes)
    } else {
        text_list(bytes)
    };
    let values = values.ok_or_else(|| BadParameter::Value {
        number,
        type_name: declared.name().to_owned(),
    })?;
    let one = |value: Option<Vec<u8>>| read(number, value.as_deref(), is_binary, &element, found);
    values
        .into_iter()
        .map(one)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// One dimension, whether there are NULLs, the type, how many from where, and each behind its length.
fn binary_list(bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let number = |bytes: &mut &[u8]| {
        let (first, rest) = bytes.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(i32::from_be_bytes(*first))
    };
    let mut rest = bytes;
    let dimensions = number(&mut rest)?;
    let (_nulls, _type) = (number(&mut rest)?, number(&mut rest)?);
    match dimensions {
        0 => return Some(Vec::new()),
        1 => {}
        _ => return None,
    }
    let (count, _from) = (number(&mut rest)?, number(&mut rest)?);
    let mut values = Vec::new();
    for _ in 0..count {
        let Ok(length) = usize::try_from(number(&mut rest)?) else {
            values.push(None);
            continue;
        };
        let (value, behind) = rest.split_at_checked(length)?;
        values.push(Some(value.to_vec()));
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

/// `{a,"b, c",NULL}`
fn text_list(bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let text = bytes.trim_ascii();
    let inner = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut values = Vec::new();
    if inner.trim_ascii().is_empty() {
        return Some(values);
    }
    let mut rest = inner.iter().copied();
    loop {
        let (mut value, mut is_quoted, mut is_inside) = (Vec::new(), false, false);
        let is_last = loop {
            match rest.next() {
                None if is_inside => return None,
                None => break true,
                Some(b'\\') => value.push(rest.next()?),
                Some(b'"') => (is_quoted, is_inside) = (true, !is_inside),
                Some(b',') if !is_inside => break false,
                // Lists of lists are none.
                Some(b'{' | b'}') if !is_inside => return None,
                Some(byte) => value.push(byte),
            }
        };
        let is_null = !is_quoted && value.trim_ascii().eq_ignore_ascii_case(b"null");
        if !is_quoted && value.trim_ascii().is_empty() {
            return None;
        }
        values.push((!is_null).then_some(value));
        if is_last {
            return Some(values);
        }
    }
}

/// 16 bytes as people write them.
fn uuid(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let mut text = format!("{number:032x}");
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    Some(text)
}

fn text(bytes: &[u8], kind: CellKind) -> Option<Parameter> {
    let text = str::from_utf8(bytes).ok()?;
    Some(match kind {
        CellKind::Timestamp | CellKind::TimestampUtc => Parameter::Text(at_midnight(text), kind),
        CellKind::Bool => Parameter::Bool(truth(text.trim())?),
        CellKind::Int16 | CellKind::Int32 | CellKind::Int64 => {
            Parameter::Int(text.trim().parse().ok()?)
        }
        CellKind::Float32 | CellKind::Float64 => Parameter::Float(text.trim().parse().ok()?),
        kind => Parameter::Text(text.to_owned(), kind),
    })
}

/// A day with a zone behind it, as a driver writes one where a time is wanted, is its midnight.
fn at_midnight(text: &str) -> String {
    let trimmed = text.trim();
    match trimmed.split_once(' ') {
        Some((day, zone)) if zone.starts_with(['+', '-']) && day.parse::<NaiveDate>().is_ok() => {
            format!("{day} 00:00:00{zone}")
        }
        _ => trimmed.to_owned(),
    }
}

/// The words that PostgreSQL takes for a truth value.
fn truth(word: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "t" | "true" | "yes" | "y" | "on" | "1" => Some(true),
        "f" | "false" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn binary(bytes: &[u8], kind: CellKind, is_jsonb: bool) -> Option<Parameter> {
    let text = |text: String| Some(Parameter::Text(text, kind.clone()));
    match &kind {
        CellKind::Bool => Some(Parameter::Bool(*bytes.first()? != 0)),
        CellKind::Int16
        | CellKind::Int32
        | CellKind::Int64
        | CellKind::Float32
        | CellKind::Float64 => number(bytes, &kind),
        CellKind::Decimal { .. } => text(decimal(bytes)?),
        CellKind::Date => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?).checked_add(DAYS)?;
            let day = NaiveDate::default().checked_add_signed(TimeDelta::try_days(days.into())?)?;
            text(day.to_string())
        }
        CellKind::Time => {
            let time = DateTime::from_timestamp_micros(i64::from_be_bytes(bytes.try_into().ok()?))?;
            text(time.format("%H:%M:%S%.f").to_string())
        }
        CellKind::Timestamp | CellKind::TimestampUtc => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?).checked_add(MICROS)?;
            let time = DateTime::from_timestamp_micros(micros)?;
            let zone = if kind == CellKind::TimestampUtc {
                "Z"
            } else {
                ""
            };
            text(format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.f")))
        }
        CellKind::Json if is_jsonb => match bytes {
            // The version of the form.
            [1, json @ ..] => text(String::from_utf8(json.to_vec()).ok()?),
            _ => None,
        },
        CellKind::Text | CellKind::Json => text(String::from_utf8(bytes.to_vec()).ok()?),
        CellKind::Bytes | CellKind::List(_) => None,
    }
}

/// A number of as many bytes as were sent: a client may know a parameter by a narrower type than it is used as.
fn number(bytes: &[u8], kind: &CellKind) -> Option<Parameter> {
    if matches!(kind, CellKind::Float32 | CellKind::Float64) {
        return Some(Parameter::Float(match bytes.len() {
            4 => f32::from_be_bytes(bytes.try_into().ok()?).into(),
            _ => f64::from_be_bytes(bytes.try_into().ok()?),
        }));
    }
    Some(Parameter::Int(match bytes.len() {
        2 => i16::from_be_bytes(bytes.try_into().ok()?).into(),
        4 => i32::from_be_bytes(bytes.try_into().ok()?).into(),
        _ => i64::from_be_bytes(bytes.try_into().ok()?),
    }))
}

/// A number in base 10 000: digits, weight, sign, digits behind the point, then the digits. Not `NaN`.
fn decimal(bytes: &[u8]) -> Option<String> {
    let words: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|pair| i16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    let [count, weight, sign, scale, digits @ ..] = words.as_slice() else {
        return None;
    };
    let right = |digit: &i16| (0..10_000).contains(digit);
    // More is no number that a column here could hold.
    if usize::try_from(*count) != Ok(digits.len())
        || !digits.iter().all(right)
        || !(-20..20).contains(weight)
        || !(0..=38).contains(scale)
    {
        return None;
    }
    let sign = match sign {
        0 => "",
        0x4000 => "-",
        _ => return None,
    };
    let digit = |place: i16| {
        let index = usize::try_from(*weight - place).ok();
        index
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut whole: String = (0..=(*weight).max(0))
        .rev()
        .map(|place| format!("{:04}", digit(place)))
        .collect();
    let first = whole.len() - whole.trim_start_matches('0').len();
    whole.drain(..first.min(whole.len() - 1));
    let scale = usize::try_from(*scale).ok()?;
    if scale == 0 {
        return Some(format!("{sign}{whole}"));
    }
    let groups = i16::try_from(scale.div_ceil(4)).ok()?;
    let fraction: String = (1..=groups)
        .map(|place| format!("{:04}", digit(-place)))
        .collect();
    Some(format!("{sign}{whole}.{}", &fraction[..scale]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8], is_binary: bool, of: &Type) -> Result<Parameter, BadParameter> {
        read(1, Some(bytes), is_binary, of, &CellKind::Text)
    }

    #[test]
    fn values_are_read_as_their_type_says() {
        let text = |text: &str, kind| Parameter::Text(text.to_owned(), kind);
        let numeric = CellKind::Decimal {
            precision: 38,
            scale: 10,
        };
        let words = |words: &[i16]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        for (bytes, is_binary, of, want) in [
            (b"yes".to_vec(), false, Type::BOOL, Parameter::Bool(true)),
            (b" 12 ".to_vec(), false, Type::INT4, Parameter::Int(12)),
            (vec![0xff, 0xfe], true, Type::INT2, Parameter::Int(-2)),
            (vec![0, 0, 0, 7], true, Type::INT8, Parameter::Int(7)),
            (
                b"-inf".to_vec(),
                false,
                Type::FLOAT8,
                Parameter::Float(f64::NEG_INFINITY),
            ),
            (
                vec![0, 0, 0, 0],
                true,
                Type::DATE,
                text("2000-01-01", CellKind::Date),
            ),
            (
                1_500_000_i64.to_be_bytes().to_vec(),
                true,
                Type::TIMESTAMPTZ,
                text("2000-01-01T00:00:01.500Z", CellKind::TimestampUtc),
            ),
            (
                b"\x01{}".to_vec(),
                true,
                Type::JSONB,
                text("{}", CellKind::Json),
            ),
            (
                words(&[2, 0, 0, 3, 12, 3400]),
                true,
                Type::NUMERIC,
                text("12.340", numeric.clone()),
            ),
            (
                words(&[1, -1, 0x4000, 3, 50]),
                true,
                Type::NUMERIC,
                text("-0.005", numeric.clone()),
            ),
            (
                words(&[1, 2, 0, 0, 1]),
                true,
                Type::NUMERIC,
                text("100000000", numeric),
            ),
            (
                b"x".to_vec(),
                false,
                Type::UNKNOWN,
                text("x", CellKind::Text),
            ),
        ] {
            assert_eq!(value(&bytes, is_binary, &of), Ok(want), "{of}");
        }
        assert_eq!(
            read(1, None, true, &Type::INT4, &CellKind::Text),
            Ok(Parameter::Null(CellKind::Int32))
        );
    }

    #[test]
    fn lists_are_read_in_both_forms() {
        let text = |text: &str| Parameter::Text(text.to_owned(), CellKind::Text);
        let list = |bytes: &[u8], is_binary, of: &Type| {
            read_list(1, Some(bytes), is_binary, of, &CellKind::Text)
        };
        assert_eq!(
            list(br#"{a,"b, \"c\"",NULL,"NULL"}"#, false, &Type::TEXT_ARRAY),
            Ok(Some(vec![
                text("a"),
                text("b, \"c\""),
                Parameter::Null(CellKind::Text),
                text("NULL")
            ]))
        );
        assert_eq!(list(b"{}", false, &Type::UNKNOWN), Ok(Some(Vec::new())));
        let words = [1_i32, 0, 23, 2, 1, 4, 7, -1];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(
            list(&bytes, true, &Type::INT4_ARRAY),
            Ok(Some(vec![
                Parameter::Int(7),
                Parameter::Null(CellKind::Int32)
            ]))
        );
        assert_eq!(
            read_list(1, None, false, &Type::TEXT_ARRAY, &CellKind::Text),
            Ok(None)
        );
        for bad in ["a", "{a", "{a,}", "{\"a}", "{{a}}"] {
            let found = list(bad.as_bytes(), false, &Type::TEXT_ARRAY);
            assert!(matches!(found, Err(BadParameter::Value { .. })), "{bad}");
        }
        let found = list(&bytes[..30], true, &Type::INT4_ARRAY);
        assert!(matches!(found, Err(BadParameter::Value { .. })));
    }

    #[test]
    fn identifiers_are_read_as_people_write_them() {
        let number = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
        let shown = "01234567-89ab-cdef-0123-456789abcdef".to_owned();
        assert_eq!(
            value(&number.to_be_bytes(), true, &Type::UUID),
            Ok(Parameter::Text(shown, CellKind::Text))
        );
    }

    #[test]
    fn a_day_with_a_zone_is_its_midnight() {
        let of = |text: &str| value(text.as_bytes(), false, &Type::TIMESTAMPTZ);
        let want = |text: &str| Ok(Parameter::Text(text.to_owned(), CellKind::TimestampUtc));
        assert_eq!(of("1970-01-02 +00"), want("1970-01-02 00:00:00+00"));
        assert_eq!(of("1970-01-02 03:04:05+00"), want("1970-01-02 03:04:05+00"));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (bytes, is_binary, of) in [
            (&b"twelve"[..], false, Type::INT4),
            (b"\x00", true, Type::INT4),
            (b"maybe", false, Type::BOOL),
            (b"\xff", false, Type::TEXT),
            (b"\x00\x09\x00\x00", true, Type::NUMERIC),
            (b"", true, Type::BOOL),
        ] {
            let found = value(bytes, is_binary, &of);
            assert!(
                matches!(found, Err(BadParameter::Value { .. })),
                "{of}: {found:?}"
            );
        }
        let found = value(b"{1}", false, &Type::INT4_ARRAY);
        assert!(matches!(found, Err(BadParameter::Type { .. })), "{found:?}");
    }
}
