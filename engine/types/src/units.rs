//! Sizes and durations as people write them: `16MiB`, `10GB`, `50ms`, `7d`.

use std::time::Duration;

use thiserror::Error;

/// Why a size or duration is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnitError {
    /// Not a number followed by a known unit.
    #[error("`{text}` is not a {what}; write a number and a unit, such as {example}")]
    Form {
        /// What was read.
        text: String,
        /// `size` or `duration`.
        what: &'static str,
        /// A valid spelling.
        example: &'static str,
    },
    /// Larger than can be held.
    #[error("`{0}` is too large")]
    Overflow(String),
}

/// Bytes from `512`, `16KiB`, `10MB`, `1GiB` … Units ending in `iB` are powers of 1024, those ending in `B` powers of 1000.
///
/// # Errors
/// When the text is no number with a known unit, or too large.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "ti" | "tib" => 1 << 40,
        _ => return Err(form(text, "size", "`16MiB` or `10GB`")),
    };
    scale(number, u128::from(factor))
        .ok_or_else(|| form(text, "size", "`16MiB` or `10GB`"))?
        .try_into()
        .map_err(|_| UnitError::Overflow(text.to_owned()))
}

/// A duration from `50ms`, `2s`, `1m30s`, `7d` …; also `us`, `ns`, `h`, `w`.
///
/// # Errors
/// When the text is no number with a known unit, or too large.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || form(text, "duration", "`50ms` or `7d`");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let factor: u128 = match unit.trim() {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            "w" => 604_800 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        total = total.saturating_add(scale(number, factor).ok_or_else(wrong)?);
        rest = next;
    }
    u64::try_from(total)
        .map(Duration::from_nanos)
        .map_err(|_| UnitError::Overflow(text.to_owned()))
}

/// `16.0 MiB`, `3 B`: for people.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `7d`, `1m30s`, `50ms`: the shortest exact spelling [`parse_duration`] reads back.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 8] = [
        (604_800_000_000_000, "w"),
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (size, unit) in UNITS {
        // Weeks only when nothing is left over: `10d` reads better than `1w3d`.
        if rest >= size && (unit != "w" || rest.is_multiple_of(size)) {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// Splits `16MiB` into the number's text and the rest.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// `number` times `factor`, exact for up to nine decimals.
fn scale(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || whole.is_empty() {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    digits.checked_mul(factor).map(|value| value / divisor)
}

fn form(text: &str, what: &'static str, example: &'static str) -> UnitError {
    UnitError::Form {
        text: text.to_owned(),
        what,
        example,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{format_bytes, format_duration, parse_bytes, parse_duration};

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("1.5 kB"), Ok(1500));
        assert_eq!(parse_bytes("7"), Ok(7));
        assert!(parse_bytes("lots").is_err());
        assert!(parse_bytes("99999999999999TiB").is_err());
        assert_eq!(format_bytes(16 << 20), "16.0 MiB");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.5s"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("7").is_err());
        assert!(parse_duration("").is_err());
        for text in ["1w", "10d", "1m30s", "50ms", "0s"] {
            assert_eq!(format_duration(parse_duration(text).expect(text)), text);
        }
    }
}
