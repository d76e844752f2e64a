//! How long a run goes on, how far it is, and what it came to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::latency::Latency;

/// What a run moves. It ends with whichever limit comes first.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes of a payload.
    pub bytes: usize,
    /// How long it may go on.
    pub time: Duration,
    /// How many messages it may move.
    pub messages: u64,
}

impl Plan {
    /// Payloads of `bytes` for `time`, however many they become.
    #[must_use]
    pub fn lasting(bytes: usize, time: Duration) -> Self {
        Self {
            bytes,
            time,
            messages: u64::MAX,
        }
    }

    /// `messages` payloads of `bytes`, however long they take.
    #[must_use]
    pub fn counting(bytes: usize, messages: u64) -> Self {
        Self {
            bytes,
            time: Duration::MAX,
            messages,
        }
    }

    /// The share of one of `many` that run at the same time: the shares add up to the whole.
    #[must_use]
    pub fn share(&self, index: usize, many: usize) -> Self {
        let (index, many) = (index as u64, many.max(1) as u64);
        let messages = match self.messages {
            u64::MAX => u64::MAX,
            all => all / many + u64::from(index < all % many),
        };
        Self { messages, ..*self }
    }
}

/// How far a run is, and the way to end it from another thread.
#[derive(Debug, Default)]
pub struct Watch {
    stopped: AtomicBool,
    moved: AtomicU64,
}

impl Watch {
    /// Ends the run at its next look: at once, unless it waits for the server.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether it was told to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Messages moved so far, of all runs that had this watch.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, messages: u64) {
        self.moved.fetch_add(messages, Ordering::Relaxed);
    }
}

/// A plan under way.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'w> {
    plan: Plan,
    since: Instant,
    watch: &'w Watch,
}

impl<'w> Ending<'w> {
    /// The plan begins now.
    #[must_use]
    pub fn new(plan: &Plan, watch: &'w Watch) -> Self {
        Self {
            plan: *plan,
            since: Instant::now(),
            watch,
        }
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The watch it reports to.
    #[must_use]
    pub fn watch(&self) -> &'w Watch {
        self.watch
    }

    /// How many more may be moved when `moved` were; none when time is up.
    #[must_use]
    pub fn left(&self, moved: u64) -> u64 {
        if self.watch.stopped() || self.since.elapsed() >= self.plan.time {
            return 0;
        }
        self.plan.messages.saturating_sub(moved)
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Messages moved.
    pub messages: u64,
    /// From the first byte sent until everything was dealt with.
    pub elapsed: Duration,
    /// Of each message, where the run measures it.
    pub latency: Latency,
}

impl Run {
    /// Messages per second; none for a run that took no time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.messages as f64 / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Ending, Plan, Watch};

    proptest! {
        #[test]
        fn shares_add_up(messages in 0..1_000_000_u64, many in 1..200_usize) {
            let plan = Plan::counting(16, messages);
            let sum: u64 = (0..many).map(|index| plan.share(index, many).messages).sum();
            prop_assert_eq!(sum, messages);
        }
    }

    #[test]
    fn whichever_limit_comes_first() {
        let watch = Watch::default();
        assert_eq!(Ending::new(&Plan::counting(1, 10), &watch).left(4), 6);
        assert_eq!(Ending::new(&Plan::counting(1, 10), &watch).left(11), 0);
        assert_eq!(
            Ending::new(&Plan::lasting(1, Duration::ZERO), &watch).left(0),
            0
        );
        let endless = Ending::new(&Plan::counting(1, u64::MAX), &watch);
        assert_eq!(endless.left(0), u64::MAX);
        watch.stop();
        assert_eq!(endless.left(0), 0);
    }
}
