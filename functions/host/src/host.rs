//! The host: one engine, its ticker, and the modules compiled so far.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_function_api::{Function, FunctionHost, Grants, LoadError, Manifest, Outside};
use thiserror::Error;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine};

use crate::artefacts::Artefacts;
use crate::cache::{self, Cache, Key};
use crate::calls;
use crate::compiler::Compiler;
use crate::function::WasmFunction;
use crate::instance::{Instance, Recipe, State};
use crate::module;
use crate::ticker::Ticker;

/// Limits of the host as a whole; those of one function are in its manifest.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where compiled modules are kept; `None`: only in memory.
    pub artefacts: Option<PathBuf>,
    /// How long the compiler may take for a module.
    pub compile_budget: Duration,
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
            artefacts: None,
            // Others go first: on a busy machine it takes several times as long as on an idle one.
            compile_budget: Duration::from_secs(600),
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
    /// No threads for the compiler.
    #[error("no threads for the compiler of functions, raise the limit of threads")]
    Compiler(#[source] rayon::ThreadPoolBuildError),
    /// The folder of compiled modules cannot be made.
    #[error("cannot keep compiled functions in `{folder}`; check that it may be written to")]
    Artefacts {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
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
    compiler: Compiler,
    artefacts: Option<Artefacts>,
    linker: Linker<State>,
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
            .max_wasm_stack(options.max_stack_bytes)
            // Nobody reads it, and it is a good part of what has to be read at a start.
            .generate_address_map(false)
            .native_unwind_info(false);
        let engine = Engine::new(&config).map_err(HostError::Engine)?;
        let ticker = Ticker::start(&engine, options.tick).map_err(HostError::Thread)?;
        let compiler = Compiler::start(options.compile_budget).map_err(HostError::Compiler)?;
        let artefacts = options.artefacts.as_ref().map(|folder| {
            Artefacts::open(folder, &engine).map_err(|source| HostError::Artefacts {
                folder: folder.clone(),
                source,
            })
        });
        let mut linker = Linker::new(&engine);
        calls::link(&mut linker).map_err(HostError::Engine)?;
        Ok(Self {
            shared: Arc::new(Shared {
                ticker,
                compiled: Cache::new(options.compiled_modules),
                compiler,
                artefacts: artefacts.transpose()?,
                linker,
                options,
                engine,
            }),
        })
    }

    /// A module that was compiled before: it is in memory, or on disk.
    fn kept(&self, key: &Key) -> Result<Option<InstancePre<State>>, LoadError> {
        if let Some(module) = self.shared.compiled.get(key) {
            return Ok(Some(module));
        }
        let shared = &self.shared;
        let kept = shared
            .artefacts
            .as_ref()
            .and_then(|kept| kept.get(&shared.engine, key));
        kept.map(|component| self.linked(key, &component))
            .transpose()
    }

    fn compiled(
        &self,
        key: &Key,
        wasm: &[u8],
        grants: &Grants,
    ) -> Result<InstancePre<State>, LoadError> {
        let shared = &self.shared;
        let bytes = module::component_bytes(wasm)?;
        let component = shared.compiler.compile(&shared.engine, &bytes)?;
        // What is refused is not kept either.
        module::check_imports(&shared.engine, &component, grants)?;
        if let Some(artefacts) = &shared.artefacts {
            artefacts.put(key, &component);
        }
        self.linked(key, &component)
    }

    fn linked(&self, key: &Key, component: &Component) -> Result<InstancePre<State>, LoadError> {
        let module = self.shared.linker.instantiate_pre(component);
        let module = module.map_err(|error| LoadError::Compile {
            reason: format!("{error:#}"),
        })?;
        self.shared.compiled.put(*key, module.clone());
        Ok(module)
    }

    /// Starts a first instance. What a module imports is checked whichever way it came.
    fn start(
        &self,
        module: InstancePre<State>,
        manifest: &Manifest,
        outside: Arc<dyn Outside>,
    ) -> Result<Arc<dyn Function>, LoadError> {
        let grants = &manifest.grants;
        module::check_imports(&self.shared.engine, module.component(), grants)?;
        let recipe = Recipe {
            shared: Arc::clone(&self.shared),
            module,
            grants: Arc::new(grants.clone()),
            manifest: Arc::new(manifest.clone()),
            outside,
        };
        let first = Instance::start(&recipe)?;
        tracing::debug!(target: "functions", name = manifest.name, version = manifest.version, "loaded");
        Ok(Arc::new(WasmFunction::new(recipe, first)))
    }
}

impl FunctionHost for WasmtimeHost {
    fn load(
        &self,
        wasm: &[u8],
        manifest: &Manifest,
        outside: Arc<dyn Outside>,
    ) -> Result<Arc<dyn Function>, LoadError> {
        let (size, limit) = (wasm.len() as u64, self.shared.options.max_module_bytes);
        if size > limit {
            return Err(LoadError::TooLarge { size, limit });
        }
        let key = cache::key(wasm);
        let module = match self.kept(&key)? {
            Some(module) => module,
            None => self.compiled(&key, wasm, &manifest.grants)?,
        };
        self.start(module, manifest, outside)
    }

    fn load_kept(
        &self,
        module: &Key,
        manifest: &Manifest,
        outside: Arc<dyn Outside>,
    ) -> Option<Result<Arc<dyn Function>, LoadError>> {
        let kept = self.kept(module).transpose()?;
        Some(kept.and_then(|module| self.start(module, manifest, outside)))
    }
}
