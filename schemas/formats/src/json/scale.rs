//! Decimal numbers as JSON writes them, compared exactly.

use serde_json::Value;

/// Digits behind the point that are taken into account.
const MAX_SCALE: i32 = 30;

/// Whether `a` is a whole multiple of `b`; no for numbers too far apart to tell.
pub(super) fn multiple(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (parts(a), parts(b)) else {
        return false;
    };
    let scale = a.1.max(b.1);
    let scaled = |(digits, own): (i128, i32)| {
        let power = u32::try_from(scale - own).ok()?;
        digits.checked_mul(10_i128.checked_pow(power)?)
    };
    match (scaled(a), scaled(b)) {
        (Some(a), Some(b)) => b != 0 && a % b == 0,
        _ => false,
    }
}

/// Digits, and how many of them stand behind the point.
fn parts(value: &Value) -> Option<(i128, i32)> {
    let text = value.as_number()?.to_string();
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    (scale.abs() <= MAX_SCALE).then_some((digits, scale))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::multiple;

    #[test]
    fn multiples_are_exact() {
        for (a, b) in [
            (json!(6), json!(3)),
            (json!(0.3), json!(0.1)),
            (json!(1e3), json!(0.5)),
            (json!(1), json!(0.01)),
            (json!(-4), json!(2.0)),
        ] {
            assert!(multiple(&a, &b), "{a} {b}");
        }
        for (a, b) in [
            (json!(3), json!(6)),
            (json!(0.1), json!(0.3)),
            (json!(1), json!(0)),
            (json!(1e300), json!(3)),
            (json!("a"), json!(1)),
        ] {
            assert!(!multiple(&a, &b), "{a} {b}");
        }
    }
}
