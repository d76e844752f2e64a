//! When something is due in which stream: one alarm per stream that waits for a moment, so that all others cost nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use millstream_types::Timestamp;
use tokio::sync::Notify;

/// Nothing is due.
const IDLE: i64 = i64::MAX;
/// It rang, and somebody deals with it.
const RINGING: i64 = i64::MIN;

/// A stream's alarm.
#[derive(Debug)]
pub(crate) struct Alarm(AtomicI64);

impl Default for Alarm {
    fn default() -> Self {
        Self(AtomicI64::new(IDLE))
    }
}

/// The alarms of all streams, the first one first.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    /// May name times that were brought forward since; the stream's own alarm says which one counts.
    queue: Mutex<BinaryHeap<Reverse<(i64, u32)>>>,
    earlier: Notify,
}

impl Alarms {
    /// Something is due in a stream at `due`. Does nothing when its alarm is earlier, or rang and was not dealt with.
    pub(crate) fn set(&self, stream: u32, alarm: &Alarm, due: Option<Timestamp>) {
        let Some(Timestamp(due)) = due else { return };
        let due = due.clamp(RINGING + 1, IDLE - 1);
        if alarm.0.fetch_min(due, Ordering::AcqRel) <= due {
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = queue.peek().is_none_or(|Reverse((first, _))| due < *first);
        queue.push(Reverse((due, stream)));
        drop(queue);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// The stream whose alarm is due at `now`, with the time it was set to; it may be set to another one by now.
    pub(crate) fn next(&self, now: Timestamp) -> Option<(u32, Timestamp)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Reverse((due, stream)) = *queue.peek().filter(|Reverse((due, _))| *due <= now.0)?;
        queue.pop();
        Some((stream, Timestamp(due)))
    }

    pub(crate) fn first(&self) -> Option<Timestamp> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.peek().map(|Reverse((due, _))| Timestamp(*due))
    }

    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}

impl Alarm {
    /// Takes the turn to deal with it, when it is set to this time.
    pub(crate) fn ring(&self, due: Timestamp) -> bool {
        let (ordering, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.0
            .compare_exchange(due.0, RINGING, ordering, failed)
            .is_ok()
    }

    /// It was dealt with.
    pub(crate) fn quiet(&self) {
        self.0.store(IDLE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Alarm, Alarms};
    use millstream_types::Timestamp;

    #[test]
    fn only_the_earliest_time_of_a_stream_rings_and_once() {
        let (alarms, one, two) = (Alarms::default(), Alarm::default(), Alarm::default());
        alarms.set(1, &one, Some(Timestamp(30)));
        alarms.set(2, &two, Some(Timestamp(20)));
        alarms.set(1, &one, Some(Timestamp(10)));
        alarms.set(1, &one, Some(Timestamp(15)));
        alarms.set(1, &one, None);
        assert_eq!(alarms.first(), Some(Timestamp(10)));
        assert_eq!(alarms.next(Timestamp(9)), None);
        assert_eq!(alarms.next(Timestamp(40)), Some((1, Timestamp(10))));
        assert!(one.ring(Timestamp(10)));
        // While somebody deals with it, nothing sets it.
        alarms.set(1, &one, Some(Timestamp(5)));
        assert_eq!(alarms.next(Timestamp(40)), Some((2, Timestamp(20))));
        assert_eq!(alarms.next(Timestamp(40)), Some((1, Timestamp(30))));
        assert!(!one.ring(Timestamp(30)));
        one.quiet();
        alarms.set(1, &one, Some(Timestamp(50)));
        assert_eq!(alarms.first(), Some(Timestamp(50)));
    }
}
