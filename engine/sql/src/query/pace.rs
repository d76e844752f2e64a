//! How fast a question may go beside publishing.
//!
//! Threads of questions are idle ones to the scheduler and get what others leave. That is not enough: on a machine that is busy they
//! still take caches, memory bandwidth and the moments between two wake-ups of a publisher. So questions take turns, fewer than
//! there are cores, and one that finds that others wanted its core while it computed rests before it goes on.

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Sleep, sleep};

/// Of the time that a turn took, what others must have had of it for the core to be wanted.
const WANTED: f64 = 0.1;
/// How many times as long as it computed a question rests then, and how long at most.
const REST: u32 = 12;
const LONGEST: Duration = Duration::from_secs(1);
/// Until the next look whether there is a turn.
const LOOK: Duration = Duration::from_millis(2);

/// Half of the cores.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, usize::from);
    Semaphore::new((cores / 2).max(1))
});

/// The pace of one question.
#[derive(Default)]
pub(super) struct Pace {
    waits: Option<Pin<Box<Sleep>>>,
    /// Kept while it rests, so that another one does not go on in its place.
    turn: Option<SemaphorePermit<'static>>,
}

impl Pace {
    /// Polls what a question computes, when it is its turn.
    pub(super) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let turn = loop {
            if let Some(waits) = &mut self.waits {
                ready!(waits.as_mut().poll(context));
                self.waits = None;
            }
            match self.turn.take().map_or_else(|| TURNS.try_acquire(), Ok) {
                Ok(turn) => break turn,
                Err(_) => self.waits = Some(Box::pin(sleep(LOOK))),
            }
        };
        let (begun, computed) = (Instant::now(), ThreadTime::now());
        let polled = work(context);
        let rest = rest(begun.elapsed(), computed.elapsed());
        if !rest.is_zero() {
            let mut waits = Box::pin(sleep(rest));
            // Whatever wakes it, it goes on behind this.
            let _not_yet = waits.as_mut().poll(context);
            (self.waits, self.turn) = (Some(waits), Some(turn));
        }
        polled
    }

    /// Lets others have the turn while what was found is told, which may take as long as its reader likes.
    pub(super) fn leave(&mut self) {
        self.turn = None;
    }
}

/// How long to rest behind a turn that took so long, in which so much was computed.
fn rest(took: Duration, computed: Duration) -> Duration {
    let others = took.saturating_sub(computed);
    if others.as_secs_f64() <= took.as_secs_f64() * WANTED {
        return Duration::ZERO;
    }
    (computed * REST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LONGEST, Pace, TURNS, rest};

    #[test]
    fn a_turn_is_left_while_something_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        // As where it rests.
        let mut pace = Pace {
            turn: Some(runtime.block_on(TURNS.acquire()).expect("open")),
            ..Pace::default()
        };
        pace.leave();
        assert!(pace.turn.is_none());
    }

    #[test]
    fn a_question_rests_only_when_others_want_its_core() {
        let millis = Duration::from_millis;
        assert_eq!(rest(millis(100), millis(100)), Duration::ZERO);
        assert_eq!(rest(millis(100), millis(95)), Duration::ZERO);
        assert_eq!(rest(millis(100), millis(50)), millis(600));
        assert_eq!(rest(millis(900), millis(300)), LONGEST);
        // Clocks do not agree to the nanosecond.
        assert_eq!(rest(millis(9), millis(10)), Duration::ZERO);
    }
}
