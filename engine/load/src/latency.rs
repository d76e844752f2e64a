//! Latencies in an HDR histogram: three significant digits from a nanosecond to an hour.

use std::time::Duration;

use hdrhistogram::Histogram;

/// An hour in nanoseconds; longer ones are counted as this.
const MOST: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// How long many things took.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MOST, DIGITS);
        Self(histogram.expect("invariant: the bounds are constants the histogram takes"))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(MOST)
}

impl Latency {
    /// One more.
    pub fn record(&mut self, time: Duration) {
        self.record_n(time, 1);
    }

    /// `count` more that took the same.
    pub fn record_n(&mut self, time: Duration, count: u64) {
        self.0.saturating_record_n(nanos(time), count);
    }

    /// Takes another's over.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so that adding cannot fail.
        let _same_bounds = self.0.add(&other.0);
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What the share `quantile` of them (0 to 1) did not exceed; zero when there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// [`Self::quantile`] in microseconds.
    #[must_use]
    pub fn micros(&self, quantile: f64) -> f64 {
        self.quantile(quantile).as_secs_f64() * 1e6
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latency;

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let mut other = Latency::default();
        other.record_n(Duration::from_secs(1), 1);
        latency.merge(&other);
        assert_eq!(latency.count(), 1001);
        for (quantile, micros) in [(0.5, 501.0), (0.99, 991.0), (0.999, 1000.0)] {
            let got = latency.micros(quantile);
            assert!((got / micros - 1.0).abs() < 0.002, "{quantile}: {got}");
        }
        assert!((latency.max().as_secs_f64() - 1.0).abs() < 0.002);
    }

    #[test]
    fn none_is_zero_and_days_are_an_hour() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.99), Duration::ZERO);
        latency.record(Duration::from_secs(100_000));
        assert!(latency.max() >= Duration::from_secs(3600));
        assert!(latency.max() < Duration::from_secs(3700));
    }
}
