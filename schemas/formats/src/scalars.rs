//! Single values in words, and as the numbers of fixed width that Avro and Protobuf share.

use crate::describe::cut;
use crate::fault::{Fault, fault};
use crate::{Value, text};

/// A value in a few words; what it holds is not looked at, so that this costs the same for each.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("string \"{}\"", cut(text, 64)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Decimal { unscaled, .. } if unscaled.len() > 32 => "a decimal".to_owned(),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Object(members) => match members.first() {
            Some((name, _)) => {
                let name = cut(name, 64);
                format!("an object with `{name}` and {} more", members.len() - 1)
            }
            None => "an object with nothing in it".to_owned(),
        },
        scalar => scalar.to_json().to_string(),
    }
}

/// The first of many words.
pub(crate) fn listed<'a>(words: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = words.len().saturating_sub(8);
    let first: Vec<String> = words.take(8).map(|word| format!("`{word}`")).collect();
    let first = first.join(", ");
    if more == 0 {
        first
    } else {
        format!("{first} and {more} more")
    }
}

/// A number of double precision: any that it holds exactly, or its text. `what` is told when it is none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "compared afterwards"
)]
pub(crate) fn to_double(value: &Value, what: &str) -> Result<f64, Fault> {
    let exact = |number: i128| Some(number as f64).filter(|double| *double as i128 == number);
    let found = match value {
        Value::Double(number) => Some(*number),
        Value::Float(number) => Some(f64::from(*number)),
        Value::Int(number) => exact((*number).into()),
        Value::UInt(number) => exact((*number).into()),
        Value::String(text) => text::parse_double(text),
        _ => None,
    };
    found.map_or_else(|| fault("type", what, shown(value)), Ok)
}

/// A number of single precision.
#[expect(clippy::cast_possible_truncation, reason = "compared afterwards")]
pub(crate) fn to_float(value: &Value, what: &str) -> Result<f32, Fault> {
    if let Value::Float(number) = value {
        return Ok(*number);
    }
    let double = to_double(value, what)?;
    let float = double as f32;
    // JSON has no single precision: its text is read as the nearest, but what is too large would become infinite.
    if float.is_infinite() && double.is_finite() {
        return fault("range", "a number of single precision", shown(value));
    }
    Ok(float)
}

#[cfg(test)]
mod tests {
    use super::{to_double, to_float};
    use crate::Value;

    #[test]
    fn numbers_are_never_rounded_silently() {
        for number in [u64::MAX, u64::MAX - 1, (1 << 63) + 1] {
            assert!(
                to_double(&Value::UInt(number), "a number").is_err(),
                "{number}"
            );
        }
        let exact = to_double(&Value::UInt(1 << 63), "a number");
        assert_eq!(exact.ok(), Some(9_223_372_036_854_775_808.0));
        assert!(to_double(&Value::Int(i64::MAX), "a number").is_err());
        assert_eq!(
            to_double(&Value::Int(i64::MIN), "a number").ok(),
            Some(-9_223_372_036_854_775_808.0)
        );
        assert!(to_float(&Value::Double(1e300), "a number").is_err());
    }
}
