//! Compiling, within a budget and on threads that carry no data: the lowest priority there is, two modules at a time.
//!
//! A compiler cannot be stopped. A module for which the time is not enough is refused, its thread goes on in the
//! background, and until it is done its place is taken; so whoever deploys the like again waits, and nobody else does.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_function_api::LoadError;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Modules that are compiled at once.
const PLACES: usize = 2;
/// Most bytes of one function of a module: the compiler takes more than linear time for large ones.
pub(crate) const MAX_FUNCTION_BYTES: usize = 2 << 20;

/// Places for compilations.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// The compiler's threads.
pub(crate) struct Compiler {
    threads: Arc<rayon::ThreadPool>,
    places: Arc<Places>,
    budget: Duration,
}

struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken -= 1;
        self.0.freed.notify_one();
    }
}

impl Compiler {
    pub(crate) fn start(budget: Duration) -> Result<Self, rayon::ThreadPoolBuildError> {
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|number| format!("function-compiler-{number}"))
            .start_handler(|_| {
                // Where the system does not know of it, compiling takes its share like everybody.
                #[cfg(target_os = "linux")]
                let _lower = rustix::process::nice(19);
            })
            .build()?;
        Ok(Self {
            threads: Arc::new(threads),
            places: Arc::default(),
            budget,
        })
    }

    fn place(&self, until: Instant) -> Option<Place> {
        let mut taken = self
            .places
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *taken >= PLACES {
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.places.freed.wait_timeout(taken, left);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += 1;
        Some(Place(Arc::clone(&self.places)))
    }

    /// Compiles a component; blocks the caller for as long as the budget at most.
    pub(crate) fn compile(&self, engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
        let over = || LoadError::Budget { after: self.budget };
        let until = Instant::now() + self.budget;
        let place = self.place(until).ok_or_else(over)?;
        let (tell, wait) = sync_channel(1);
        let (engine, bytes) = (engine.clone(), bytes.to_vec());
        self.threads.spawn(move || {
            let _place = place;
            // Nobody listens any more when the budget is over.
            let _gone = tell.send(Component::new(&engine, &bytes));
        });
        let left = until.saturating_duration_since(Instant::now());
        match wait.recv_timeout(left) {
            Ok(Ok(component)) => Ok(component),
            Ok(Err(error)) => Err(LoadError::Compile {
                reason: format!("{error:#}"),
            }),
            Err(RecvTimeoutError::Timeout) => Err(over()),
            Err(RecvTimeoutError::Disconnected) => Err(LoadError::Compile {
                reason: "the compiler failed; this is a bug of the server".to_owned(),
            }),
        }
    }
}
