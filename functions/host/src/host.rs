//! The host: one engine, its ticker, and the modules compiled so far.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_function_api::{Function, FunctionHost, LoadError, Manifest};
use thiserror::Error;
use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Config, Engine};

use crate::cache::{self, Cache};
use crate::function::WasmFunction;
use crate::instance::{Instance, Recipe, State};
use crate::module;
use crate::ticker::Ticker;

/// Limits of the host as a whole; those of one function are in its manifest.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Largest module in bytes.
    pub max_module_bytes: u64,
    /// Stack of a guest in bytes. The threads that call functions need half a mebibyte more than this.
    pub max_stack_bytes: usize,
    /// Processor time that a guest has to start and configure itself.
    pub start_timeout: Duration,
    /// How exactly time-outs are kept.
    pub tick: Duration,
    /// Compiled modules that are kept for another load.
    pub compiled_modules: usize,
    /// Instances of one function that are kept when no thread uses them.
    pub idle_instances: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_module_bytes: 64 << 20,
            max_stack_bytes: 512 << 10,
            start_timeout: Duration::from_secs(1),
            tick: Duration::from_millis(2),
            compiled_modules: 16,
            idle_instances: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// Why there is no host.
#[derive(Debug, Error)]
pub enum HostError {
    /// The engine does not work here.
    #[error("the WebAssembly engine does not start on this machine")]
    Engine(#[source] wasmtime::Error),
    /// No thread for the clock.
    #[error("no thread for the time-outs of functions, raise the limit of threads")]
    Thread(#[source] std::io::Error),
}

/// Loads and runs functions with wasmtime. Cheap to clone.
#[derive(Clone)]
pub struct WasmtimeHost {
    shared: Arc<Shared>,
}

/// What all functions of a host share; lives as long as the last of them.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) options: Options,
    compiled: Cache<InstancePre<State>>,
}

impl fmt::Debug for WasmtimeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeHost")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl WasmtimeHost {
    /// An engine without any function yet, and a sleeping thread.
    ///
    /// # Errors
    /// The engine does not support this machine or the thread cannot be started.
    pub fn new(options: Options) -> Result<Self, HostError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .concurrency_support(false)
            .max_wasm_stack(options.max_stack_bytes);
        let engine = Engine::new(&config).map_err(HostError::Engine)?;
        let ticker = Ticker::start(&engine, options.tick).map_err(HostError::Thread)?;
        let compiled = Cache::new(options.compiled_modules);
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                ticker,
                options,
                compiled,
            }),
        })
    }

    fn compiled(&self, wasm: &[u8]) -> Result<InstancePre<State>, LoadError> {
        let key = cache::key(wasm);
        if let Some(module) = self.shared.compiled.get(&key) {
            return Ok(module);
        }
        let bytes = module::component_bytes(wasm)?;
        let component = module::compile(&self.shared.engine, &bytes)?;
        // A function is granted nothing, so there is nothing to link.
        let module = Linker::new(&self.shared.engine)
            .instantiate_pre(&component)
            .map_err(|error| LoadError::Compile {
                reason: format!("{error:#}"),
            })?;
        self.shared.compiled.put(key, module.clone());
        Ok(module)
    }
}

impl FunctionHost for WasmtimeHost {
    fn load(&self, wasm: &[u8], manifest: &Manifest) -> Result<Arc<dyn Function>, LoadError> {
        let (size, limit) = (wasm.len() as u64, self.shared.options.max_module_bytes);
        if size > limit {
            return Err(LoadError::TooLarge { size, limit });
        }
        let recipe = Recipe {
            shared: Arc::clone(&self.shared),
            module: self.compiled(wasm)?,
            manifest: Arc::new(manifest.clone()),
        };
        let first = Instance::start(&recipe)?;
        tracing::debug!(target: "functions", name = manifest.name, version = manifest.version, bytes = size, "loaded");
        Ok(Arc::new(WasmFunction::new(recipe, first)))
    }
}
