//! One running guest.

use std::sync::Arc;
use std::time::Duration;

use millstream_function_api::{Fault, Grants, LoadError, Manifest, Outside};
use wasmtime::component::{Func, InstancePre};
use wasmtime::{Store, UpdateDeadline};

use crate::abi::{Message, Outcome, OutcomeV1};
use crate::calls::{Allowance, Calls};
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
    pub(crate) calls: Calls,
}

/// Which version of the package a guest was built for, as far as its types differ.
#[derive(Clone, Copy, Debug)]
enum Abi {
    V1,
    V2,
}

/// Everything it takes to start another instance of a function.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) shared: Arc<Shared>,
    pub(crate) module: InstancePre<State>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) outside: Arc<dyn Outside>,
}

impl Recipe {
    /// An empty store with all limits set, its clock started for the start of the guest.
    fn store(&self) -> Store<State> {
        let shared = Arc::clone(&self.shared);
        let limiter = Limiter::new(self.manifest.limits.memory);
        let mut clock = Clock::default();
        clock.start(shared.options.start_timeout);
        let mut calls = Calls::new(Arc::clone(&self.outside), Arc::clone(&self.grants));
        calls.begin(self.allowance(1, false));
        let state = State {
            limiter,
            clock,
            calls,
        };
        let mut store = Store::new(&self.shared.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut store| {
            let left = store.data_mut().clock.left()?;
            Ok(UpdateDeadline::Continue(shared.ticker.ticks(left)))
        });
        store
    }
}

impl Recipe {
    /// What a call with so many messages may use of the host.
    fn allowance(&self, messages: usize, running: bool) -> Allowance {
        let limits = &self.manifest.limits;
        Allowance {
            calls: u64::from(limits.host_calls) * messages as u64,
            lines: limits.log_lines,
            wait: limits.wait,
            running,
        }
    }
}

/// A guest with its memory. After an error it is in no state to be called again.
pub(crate) struct Instance {
    store: Store<State>,
    process: Func,
    abi: Abi,
}

impl Instance {
    /// Instantiates and configures.
    pub(crate) fn start(recipe: &Recipe) -> Result<Self, LoadError> {
        let Recipe {
            shared,
            module,
            manifest,
            ..
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
        let newest = process.typed::<(&[Message<'_>],), (Vec<Outcome>,)>(&store);
        let abi = match newest {
            Ok(_) => Abi::V2,
            Err(error) => {
                process
                    .typed::<(&[Message<'_>],), (Vec<OutcomeV1>,)>(&store)
                    .map_err(|_| other_type("process", error))?;
                Abi::V1
            }
        };
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
        store.data_mut().calls.tell_lost();
        Ok(Self {
            store,
            process,
            abi,
        })
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
        let allowance = recipe.allowance(batch.len(), true);
        self.store.data_mut().calls.begin(allowance);
        let _running = shared.ticker.enter();
        // The type was checked at the start. It is checked again here because the parameters are borrowed, and a
        // typed function has the lifetime of its parameters in its type; it costs less than a message.
        let outcomes = match self.abi {
            Abi::V2 => self
                .process
                .typed::<(&[Message<'_>],), (Vec<Outcome>,)>(&self.store)
                .and_then(|process| process.call(&mut self.store, (batch,)))
                .map(|(outcomes,)| outcomes),
            Abi::V1 => self
                .process
                .typed::<(&[Message<'_>],), (Vec<OutcomeV1>,)>(&self.store)
                .and_then(|process| process.call(&mut self.store, (batch,)))
                .map(|(outcomes,)| outcomes.into_iter().map(Outcome::from).collect()),
        };
        match outcomes {
            Ok(outcomes) => Ok(outcomes),
            Err(error) => {
                self.store.data_mut().calls.tell_lost();
                Err(fault::of(&error, &self.store.data().limiter, limits))
            }
        }
    }

    /// The last call ended well, and its answer as well: what it wrote to its bucket counts.
    pub(crate) fn commit(&mut self) {
        self.store.data_mut().calls.commit();
    }

    /// Linear memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.store.data().limiter.memory()
    }

    /// Processor time of the last call; `None` when it was shorter than a tick.
    pub(crate) fn used(&self) -> Option<Duration> {
        self.store.data().clock.used()
    }
}
