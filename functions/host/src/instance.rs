//! One running guest.

use std::sync::Arc;
use std::time::Duration;

use millstream_function_api::{Fault, LoadError, Manifest};
use wasmtime::component::{Func, InstancePre};
use wasmtime::{Store, UpdateDeadline};

use crate::abi::{Message, Outcome};
use crate::clock::Clock;
use crate::fault;
use crate::host::Shared;
use crate::limiter::Limiter;

/// Most bytes that come back from one call, however large its batch is.
const MAX_RESULT_BYTES: usize = 64 << 20;
/// What one outcome may need on the host besides the bytes that the limits count.
const RESULT_OVERHEAD_BYTES: usize = 4096;
/// What one output of an `emit` needs on the host besides its bytes.
const OUTPUT_OVERHEAD_BYTES: usize = 128;

/// What the host keeps beside a guest.
#[derive(Debug)]
pub(crate) struct State {
    limiter: Limiter,
    clock: Clock,
}

/// Everything it takes to start another instance of a function.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) shared: Arc<Shared>,
    pub(crate) module: InstancePre<State>,
    pub(crate) manifest: Arc<Manifest>,
}

impl Recipe {
    /// An empty store with all limits set, its clock started for the start of the guest.
    fn store(&self) -> Store<State> {
        let shared = Arc::clone(&self.shared);
        let limiter = Limiter::new(self.manifest.limits.memory);
        let mut clock = Clock::default();
        clock.start(shared.options.start_timeout);
        let mut store = Store::new(&self.shared.engine, State { limiter, clock });
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut store| {
            let left = store.data_mut().clock.left()?;
            Ok(UpdateDeadline::Continue(shared.ticker.ticks(left)))
        });
        store
    }
}

/// A guest with its memory. After an error it is in no state to be called again.
pub(crate) struct Instance {
    store: Store<State>,
    process: Func,
}

impl Instance {
    /// Instantiates and configures.
    pub(crate) fn start(recipe: &Recipe) -> Result<Self, LoadError> {
        let Recipe {
            shared,
            module,
            manifest,
        } = recipe;
        let limits = &manifest.limits;
        let mut store = recipe.store();
        let _running = shared.ticker.enter();
        let start_limits = millstream_function_api::Limits {
            timeout: shared.options.start_timeout,
            ..*limits
        };
        let failed = |error: wasmtime::Error, store: &Store<State>| LoadError::Start {
            fault: fault::of(&error, &store.data().limiter, &start_limits),
        };
        let instance = module
            .instantiate(&mut store)
            .map_err(|error| failed(error, &store))?;
        let missing = |export: &str| LoadError::Export {
            export: export.to_owned(),
            reason: "it is missing".to_owned(),
        };
        let other_type = |export: &str, error: wasmtime::Error| LoadError::Export {
            export: export.to_owned(),
            reason: format!("{error:#}"),
        };
        let process = instance
            .get_func(&mut store, "process")
            .ok_or_else(|| missing("process"))?;
        process
            .typed::<(&[Message<'_>],), (Vec<Outcome>,)>(&store)
            .map_err(|error| other_type("process", error))?;
        let configure = instance
            .get_func(&mut store, "configure")
            .ok_or_else(|| missing("configure"))?;
        let configure = configure
            .typed::<(&[(&str, &str)],), (Result<(), String>,)>(&store)
            .map_err(|error| other_type("configure", error))?;
        let config: Vec<(&str, &str)> = manifest
            .config
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let (answer,) = configure
            .call(&mut store, (&config,))
            .map_err(|error| failed(error, &store))?;
        answer.map_err(|reason| LoadError::Configure { reason })?;
        Ok(Self { store, process })
    }

    /// One call with a batch. The number of outcomes is not checked here.
    pub(crate) fn call(
        &mut self,
        recipe: &Recipe,
        batch: &[Message<'_>],
    ) -> Result<Vec<Outcome>, Fault> {
        let Recipe {
            shared, manifest, ..
        } = recipe;
        let limits = &manifest.limits;
        self.store.data_mut().limiter.refused = false;
        self.store.data_mut().clock.start(limits.timeout);
        self.store.set_epoch_deadline(1);
        let per_message = usize::try_from(limits.output_bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(limits.output_records as usize * OUTPUT_OVERHEAD_BYTES)
            .saturating_add(RESULT_OVERHEAD_BYTES);
        let result_bytes = per_message
            .saturating_mul(batch.len())
            .min(MAX_RESULT_BYTES.max(per_message));
        self.store.set_hostcall_fuel(result_bytes);
        let _running = shared.ticker.enter();
        // The type was checked at the start. It is checked again here because the parameters are borrowed, and a
        // typed function has the lifetime of its parameters in its type; it costs less than a message.
        let outcomes = self
            .process
            .typed::<(&[Message<'_>],), (Vec<Outcome>,)>(&self.store)
            .and_then(|process| process.call(&mut self.store, (batch,)));
        match outcomes {
            Ok((outcomes,)) => Ok(outcomes),
            Err(error) => Err(fault::of(&error, &self.store.data().limiter, limits)),
        }
    }

    /// Processor time of the last call; `None` when it was shorter than a tick.
    pub(crate) fn used(&self) -> Option<Duration> {
        self.store.data().clock.used()
    }
}
