//! How long a message stays, when it says so itself: `Nats-TTL` (ADR-43 of nats-architecture-and-design, as nats-server
//! 2.15 reads it).

use std::time::Duration;

use millstream_types::{Timestamp, parse_duration};

use crate::errors::ApiError;

/// A message's own time to live. The stream's `max_age` holds beside it, and the shorter one wins, unless it is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl(u32);

impl Ttl {
    /// `never`: neither this nor the stream's `max_age` removes it.
    pub(crate) const FOR_EVER: Self = Self(0);

    /// Zero is for ever.
    pub(crate) fn of_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Whole seconds; zero is for ever.
    pub(crate) fn seconds(self) -> u32 {
        self.0
    }

    /// Of a time at least a second long, in whole seconds; 136 years at most.
    pub(crate) fn of(time: Duration) -> Self {
        Self(u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1))
    }

    /// Reads a header's value: seconds, a duration such as `1h30m`, or `never`.
    ///
    /// # Errors
    /// 10165 for anything else, and for less than a second.
    pub(crate) fn read(value: &[u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(value).map_err(|_| ApiError::ttl_invalid())?;
        if text.eq_ignore_ascii_case("never") {
            return Ok(Self::FOR_EVER);
        }
        let time = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => parse_duration(text).map_err(|_| ApiError::ttl_invalid())?,
        };
        if time < Duration::from_secs(1) {
            return Err(ApiError::ttl_invalid());
        }
        Ok(Self::of(time))
    }

    /// The end of a message that was stored at `time`; `None` when there is none.
    pub(crate) fn end(self, time: Timestamp) -> Option<Timestamp> {
        (self != Self::FOR_EVER).then(|| time.plus(Duration::from_secs(u64::from(self.0))))
    }

    /// This, but not less than `least`: a message must not go before the marker that would take its place.
    pub(crate) fn at_least(self, least: Option<Self>) -> Self {
        match least {
            Some(least) if self != Self::FOR_EVER => Self(self.0.max(least.0)),
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn values_of_the_header() {
        let read = |text: &str| Ttl::read(text.as_bytes()).map(Ttl::seconds).ok();
        let good = [
            ("1s", 1),
            ("1", 1),
            ("never", 0),
            ("NEVER", 0),
            ("1.5s", 1),
            ("2m3s", 123),
            ("99999999999", u32::MAX),
            ("300000h", 1_080_000_000),
        ];
        for (text, seconds) in good {
            assert_eq!(read(text), Some(seconds), "{text}");
        }
        for text in ["500ms", "0", "-1", "abc", "", "1x"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(Ttl::read(b"\xff").map(Ttl::seconds).ok(), None);
    }
}
