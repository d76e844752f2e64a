//! The thread that makes time pass for guests: it moves the engine's epoch on while a guest runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// After so many ticks without a guest the thread goes to sleep, so that an idle server does not wake up for nothing.
const IDLE_TICKS: u32 = 64;

/// Owns the thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    period: Duration,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// While one of these lives, the epoch moves.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    pub(crate) fn start(engine: &Engine, period: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let engine = engine.weak();
        let thread = std::thread::Builder::new()
            .name("function-ticker".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || tick(&shared, &engine, period)
            })?;
        Ok(Self {
            shared,
            period,
            thread: Some(thread),
        })
    }

    /// How many ticks from now `time` is over, at least one.
    pub(crate) fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.period.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX / 2).max(1)
    }

    /// How often the epoch moves while a guest runs.
    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// Says that a guest is about to run.
    pub(crate) fn enter(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst)
            && self.shared.asleep.swap(false, Ordering::SeqCst)
        {
            self.unpark();
        }
        Running(&self.shared)
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // A panic of the ticker has been reported already; there is nothing to add while dropping.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared, engine: &EngineWeak, period: Duration) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        if idle >= IDLE_TICKS {
            shared.asleep.store(true, Ordering::SeqCst);
            // Whoever enters from here on sees `asleep` and unparks; whoever entered before is counted in `running`.
            while shared.asleep.load(Ordering::SeqCst)
                && shared.running.load(Ordering::SeqCst) == 0
                && !shared.stop.load(Ordering::SeqCst)
            {
                std::thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
        std::thread::park_timeout(period);
        let Some(engine) = engine.upgrade() else {
            return;
        };
        engine.increment_epoch();
        let running = shared.running.load(Ordering::SeqCst) > 0;
        idle = if running { 0 } else { idle + 1 };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wasmtime::Engine;

    use super::Ticker;

    #[test]
    fn ticks_cover_the_time() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(2)).unwrap();
        assert_eq!(ticker.ticks(Duration::from_millis(50)), 25);
        assert_eq!(ticker.ticks(Duration::from_millis(1)), 1);
        assert_eq!(ticker.ticks(Duration::ZERO), 1);
    }
}
