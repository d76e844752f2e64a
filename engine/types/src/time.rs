//! Points in time, as numbers that can be stored, compared and made up by tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

/// Nanoseconds since 1970-01-01 UTC. State machines get it as a value; only the edges read a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock. Never called by code that replays.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// This time moved forward, stopping at the end of the range.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with nanoseconds where there are any, as NATS clients expect it.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        DateTime::<Utc>::from_timestamp_nanos(self.0).to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// Reads RFC 3339 text; `None` when it is something else or out of range (years 1677 to 2262).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text)
            .ok()?
            .timestamp_nanos_opt()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn rfc3339_round_trip() {
        for text in ["2013-01-01T10:00:00Z", "2026-11-23T01:02:03.123456789Z"] {
            let time = Timestamp::parse_rfc3339(text).expect("valid");
            assert_eq!(time.to_rfc3339(), text);
        }
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
