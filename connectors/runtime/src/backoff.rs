//! Pauses between attempts: doubled each time, bounded, with jitter so that many connectors do not knock together.

use std::time::Duration;

/// Longest pause a destination may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The pauses of one row of failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// 100 ms, doubled up to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Starts at `first` and never pauses longer than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest: longest.max(first),
            failures: 0,
        }
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure. `asked` is what the other side wants and is taken as it is, up to an hour; otherwise
    /// `random` in 0..1 places the pause in the upper half of its range.
    pub fn next(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        match asked {
            Some(asked) => asked.min(LONGEST_ASKED),
            None => doubled
                .min(self.longest)
                .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<u128> = (0..6)
            .map(|_| backoff.next(None, 1.0).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.failures(), 6);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0).as_millis(), 50);
        for _ in 0..100 {
            assert!(backoff.next(None, 1.0) <= Duration::from_secs(1));
        }
    }

    #[test]
    fn what_the_destination_asks_for_is_honoured() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.next(Some(Duration::from_secs(120)), 0.3),
            Duration::from_secs(120)
        );
        assert_eq!(
            backoff.next(Some(Duration::from_secs(90_000)), 0.3),
            Duration::from_secs(3600)
        );
    }
}
