//! How long a guest has run, in processor time of its thread.
//!
//! Not wall-clock time: a pure guest never waits, so all it can be blamed for is what it computed. On a machine with
//! more to do than processors, wall-clock time would reject good messages because somebody else was busy.
//!
//! The processor clock costs a system call, so most calls never read it: they end before the first tick. It is read
//! at the first tick of a call, and the time before that counts as nothing.

use std::time::Duration;

use cpu_time::ThreadTime;
use wasmtime::Trap;

/// The clock of one instance.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    allowed: Duration,
    first_tick: Option<Duration>,
}

impl Clock {
    /// A call begins that may take `allowed`.
    pub(crate) fn start(&mut self, allowed: Duration) {
        *self = Self {
            allowed,
            first_tick: None,
        };
    }

    /// What is left, at a tick of the engine; an error interrupts the guest.
    pub(crate) fn left(&mut self) -> Result<Duration, Trap> {
        let now = now().ok_or(Trap::Interrupt)?;
        let used = now.saturating_sub(*self.first_tick.get_or_insert(now));
        if used >= self.allowed {
            Err(Trap::Interrupt)
        } else {
            Ok(self.allowed - used)
        }
    }

    /// What the call has taken so far; `None` when it has not lived to see a tick.
    pub(crate) fn used(&self) -> Option<Duration> {
        Some(now()?.saturating_sub(self.first_tick?))
    }
}

fn now() -> Option<Duration> {
    ThreadTime::try_now().ok().map(|time| time.as_duration())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Clock;

    #[test]
    fn waiting_costs_nothing_and_work_does() {
        let mut clock = Clock::default();
        clock.start(Duration::from_millis(5));
        assert_eq!(clock.used(), None);
        assert!(clock.left().is_ok());
        while clock.left().is_ok() {}
        assert!(clock.used() >= Some(Duration::from_millis(5)));
        clock.start(Duration::from_secs(60));
        assert!(clock.left().is_ok());
    }
}
