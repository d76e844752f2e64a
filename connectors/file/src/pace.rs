//! The pause that keeps a source at its rate.

use std::time::Duration;

/// Records per second, counted from the first record. Pure: the caller has the clock.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate: Option<u64>,
    sent: u64,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate, sent: 0 }
    }

    /// Most records in one batch, so that a slow rate flows and does not come in gushes: a tenth of a second's worth.
    pub(crate) fn batch(&self, most: usize) -> usize {
        match self.rate {
            Some(rate) => most.min(usize::try_from((rate / 10).max(1)).unwrap_or(usize::MAX)),
            None => most,
        }
    }

    /// How long after the start this many more records are due, all of them.
    pub(crate) fn due(&mut self, count: usize) -> Duration {
        let due = self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(self.sent as f64 / rate as f64)
        });
        self.sent = self.sent.saturating_add(count as u64);
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn batches_are_due_at_the_rate() {
        let mut pace = Pace::new(Some(1000));
        assert_eq!(pace.batch(500), 100);
        let due: Vec<u128> = (0..4).map(|_| pace.due(100).as_millis()).collect();
        assert_eq!(due, [0, 100, 200, 300]);
        assert_eq!(Pace::new(Some(3)).batch(500), 1);
        let mut free = Pace::new(None);
        assert_eq!(
            (free.batch(500), free.due(500), free.due(500)),
            (500, Duration::ZERO, Duration::ZERO)
        );
    }
}
