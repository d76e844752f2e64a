//! Which texts are dates, addresses and the like.
//!
//! Whether a text is of a JSON Schema format is asked of the library that checks documents later, so that what is proposed
//! fits what was seen; a look at a few characters decides first whether it is worth asking.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::text;

/// What is told apart, the first that fits is taken. The first eight are JSON Schema's words, the others have none there.
pub(super) const KINDS: [&str; 10] = [
    "date-time",
    "date",
    "time",
    "uuid",
    "email",
    "ipv4",
    "ipv6",
    "uri",
    "local-date-time",
    "local-time",
];

pub(super) const DATE_TIME: usize = 0;
pub(super) const DATE: usize = 1;
pub(super) const UUID: usize = 3;
const FORMATS: usize = 8;
pub(super) const LOCAL_DATE_TIME: usize = 8;
pub(super) const LOCAL_TIME: usize = 9;

/// Longer texts are none of these.
const MAX_LENGTH: usize = 512;

/// A text that was recognised.
pub(super) struct Found {
    /// Its place in [`KINDS`].
    pub(super) kind: usize,
    /// Digits behind the point of seconds.
    pub(super) digits: usize,
}

/// JSON Schema's word, where it has one.
pub(super) fn format(kind: usize) -> Option<&'static str> {
    KINDS[..FORMATS].get(kind).copied()
}

static LIBRARY: LazyLock<Vec<Option<Validator>>> = LazyLock::new(|| {
    let of = |word: &str| {
        jsonschema::options()
            .offline()
            .should_validate_formats(true)
            .build(&json!({ "format": word }))
            .ok()
    };
    KINDS[..FORMATS].iter().map(|word| of(word)).collect()
});

fn fits(kind: usize, text: &str) -> bool {
    let validator = LIBRARY.get(kind).and_then(Option::as_ref);
    validator.is_some_and(|validator| validator.is_valid(&Value::from(text)))
}

/// What a text is, if anything.
pub(super) fn kind(text: &str) -> Option<Found> {
    if text.len() > MAX_LENGTH || text.len() < 2 || !text.is_ascii() {
        return None;
    }
    let bytes = text.as_bytes();
    let digit = bytes[0].is_ascii_digit();
    let at = |place: usize, byte: u8| bytes.get(place) == Some(&byte);
    let found = if digit && at(4, b'-') && at(10, b'T') {
        if text::parse_timestamp(text).is_some() && fits(DATE_TIME, text) {
            Some(DATE_TIME)
        } else {
            let local = day(bytes) && bytes.len() >= 19 && clock(&bytes[11..]);
            (local && text::parse_local_timestamp(text).is_some()).then_some(LOCAL_DATE_TIME)
        }
    } else if digit && at(4, b'-') && bytes.len() == 10 {
        (text::parse_date(text).is_some() && fits(DATE, text)).then_some(DATE)
    } else if digit && at(2, b':') && at(5, b':') && bytes.len() >= 8 {
        let local = clock(bytes) && text::parse_time(text).is_some();
        local.then_some(LOCAL_TIME).or_else(|| ask(text, 2))
    } else {
        None
    };
    let found = found.or_else(|| other(text, bytes));
    let time = found.is_some_and(|kind| matches!(kind, 0 | 2 | LOCAL_DATE_TIME | LOCAL_TIME));
    found.map(|kind| Found {
        kind,
        digits: if time { digits(text) } else { 0 },
    })
}

fn other(text: &str, bytes: &[u8]) -> Option<usize> {
    let has = |byte: u8| bytes.contains(&byte);
    if bytes.len() == 36 && bytes[8] == b'-' {
        return ask(text, UUID);
    }
    if has(b'@') && !has(b' ') && !has(b'/') {
        return ask(text, 4);
    }
    if bytes.len() <= 15 && bytes.iter().filter(|byte| **byte == b'.').count() == 3 {
        return ask(text, 5);
    }
    if text.contains("://") {
        return ask(text, 7);
    }
    let two_colons = bytes.iter().filter(|byte| **byte == b':').count() >= 2;
    let hex = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    (two_colons && bytes.iter().all(hex))
        .then(|| ask(text, 6))
        .flatten()
}

fn ask(text: &str, kind: usize) -> Option<usize> {
    fits(kind, text).then_some(kind)
}

/// `2013-01-01`, by its digits.
fn day(bytes: &[u8]) -> bool {
    let digits = [0, 1, 2, 3, 5, 6, 8, 9];
    digits.iter().all(|at| bytes[*at].is_ascii_digit()) && bytes[7] == b'-'
}

/// `12:34:56` and perhaps a fraction: what [`LOCAL_TIME_PATTERN`] says.
fn clock(bytes: &[u8]) -> bool {
    let two = |at: usize| bytes[at].is_ascii_digit() && bytes[at + 1].is_ascii_digit();
    let rest = bytes.get(8..).unwrap_or_default();
    let fraction = match rest {
        [] => true,
        [b'.', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    two(0) && two(3) && two(6) && fraction
}

/// A time of day without its distance to UTC, which JSON Schema has no format for.
pub(super) const LOCAL_TIME_PATTERN: &str = r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?$";
/// The same with a date before it.
pub(super) const LOCAL_DATE_TIME_PATTERN: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?$";

fn digits(text: &str) -> usize {
    let part = text.split_once('.').map_or("", |(_, part)| part);
    part.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::{KINDS, kind};

    #[test]
    fn texts_are_recognised() {
        for (text, want) in [
            ("2013-01-01T10:00:00Z", Some("date-time")),
            ("2013-01-01T10:00:00.123456+01:00", Some("date-time")),
            ("2013-01-01T10:00:00", Some("local-date-time")),
            ("2013-01-01T25:00:00Z", None),
            ("2013-01-01", Some("date")),
            ("2013-13-01", None),
            ("10:00:00", Some("local-time")),
            ("10:00:00Z", Some("time")),
            ("67e55044-10b1-426f-9247-bb680e5fe0c8", Some("uuid")),
            ("ada@example.org", Some("email")),
            ("192.168.0.1", Some("ipv4")),
            ("192.168.0.1000", None),
            ("::1", Some("ipv6")),
            ("fe80::2:1", Some("ipv6")),
            ("https://example.org/a?b=c", Some("uri")),
            ("N14228", None),
            ("a:b:c", None),
            ("", None),
            ("ä@example.org", None),
        ] {
            let found = kind(text).map(|found| KINDS[found.kind]);
            assert_eq!(found, want, "{text}");
        }
        assert_eq!(
            kind("2013-01-01T10:00:00.1234Z").map(|found| found.digits),
            Some(4)
        );
    }
}
