//! Days and exact numbers from what JSON has.

use chrono::NaiveDate;

use super::Loose;

/// Days since 1970 of a text such as `2026-11-23`.
pub(super) fn date(text: &str) -> Option<i32> {
    let date: NaiveDate = text.parse().ok().filter(|_| text.len() == 10)?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).ok()
}

/// The digits of a number or a text, without the point: `12.5` with two digits behind it is 1250. Nothing is rounded.
pub(super) fn decimal(value: &Loose<'_>, precision: u8, scale: u8) -> Option<i128> {
    match value {
        Loose::Int(number) => digits(&number.to_string(), precision, scale),
        Loose::Large(number) => digits(&number.to_string(), precision, scale),
        // The shortest text that is this number.
        Loose::Float(number) => digits(&number.to_string(), precision, scale),
        Loose::Text(text) => digits(text, precision, scale),
        _ => None,
    }
}

fn digits(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let scale = usize::from(scale);
    let (minus, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let point = text.contains('.');
    if whole.is_empty() || point && part.is_empty() || !numeric(whole) || !numeric(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    if part.len() > scale || whole.trim_start_matches('0').len() + scale > usize::from(precision) {
        return None;
    }
    let number: i128 = format!("{whole}{part:0<scale$}").parse().ok()?;
    Some(if minus { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::{date, digits};

    #[test]
    fn decimals_keep_every_digit() {
        for (text, number) in [
            ("0", Some(0)),
            ("12.5", Some(1250)),
            ("-12.50", Some(-1250)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("1.005", None),
            ("1.", None),
            (".5", None),
            ("1e2", None),
            ("", None),
            ("-", None),
            ("--1", None),
        ] {
            assert_eq!(digits(text, 5, 2), number, "{text}");
        }
        assert_eq!(
            digits("12345678901234567890123456789012345678", 38, 0),
            Some(12_345_678_901_234_567_890_123_456_789_012_345_678)
        );
    }

    #[test]
    fn days() {
        assert_eq!(date("1970-01-02"), Some(1));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("2026-02-30"), None);
        assert_eq!(date("2026-2-3"), None);
    }
}
