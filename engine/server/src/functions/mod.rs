//! Functions as the server runs them: loading versions, the stages that run them, what they reach, their log.
//!
//! What lives here: from the catalog's entry to a stage of a plan or flow. What may not come in: WebAssembly (behind
//! `FunctionHost`), the management API's JSON.

mod gate;
mod logs;
mod outside;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use millstream_cluster::{FunctionEntry, FunctionVersion as Stored};
use millstream_function_api::{Function, FunctionHost, Grants, Limits, Manifest, Outside};
use millstream_jetstream::JetStream;
use millstream_pipeline::{
    FunctionMetrics, FunctionStage, FunctionVersion, Shadows, Share, Trial, TrialMode, TrialReport,
    TrialRules, TrialTable,
};
use millstream_spec::{FunctionSpec, Spec, TrialModeSpec, TrialSpec};
use tokio::sync::mpsc;

pub(crate) use self::gate::{Report, run_tests, shown};
use self::outside::Reach;
pub(crate) use self::outside::World;
pub(crate) use self::state::{State, States, bucket_stream};
use crate::blobs::Blobs;
use crate::stages::Modules;

/// Trials that stopped and are not yet out of the catalog.
const STOPS: usize = 64;

/// A trial that stopped by itself: function, version, why.
pub(crate) type Stop = (String, u64, String);

/// Where a function runs.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a station's pipeline, before the log.
    Station,
    /// In a flow, after the log, where it may have a bucket.
    Flow(Option<Arc<State>>),
}

/// See the module.
pub(crate) struct Functions {
    host: Option<Arc<dyn FunctionHost>>,
    blobs: Blobs,
    /// Loaded functions by all that makes them, while somebody uses them.
    loaded: Mutex<HashMap<String, Weak<dyn Function>>>,
    metrics: FunctionMetrics,
    trials: TrialTable,
    shadows: Shadows,
    world: Arc<World>,
    stopped: mpsc::Sender<Stop>,
    stops: Mutex<Option<mpsc::Receiver<Stop>>>,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

impl Functions {
    pub(crate) fn new(
        blobs: Blobs,
        world: World,
        metrics: FunctionMetrics,
    ) -> anyhow::Result<Self> {
        let (stopped, stops) = mpsc::channel(STOPS);
        Ok(Self {
            host: function_host(Some(blobs.artefacts()))?,
            blobs,
            loaded: Mutex::default(),
            metrics,
            trials: TrialTable::default(),
            shadows: Shadows::start()?,
            world: Arc::new(world),
            stopped,
            stops: Mutex::new(Some(stops)),
        })
    }

    /// From now on functions can read what is stored, and their lines are kept.
    pub(crate) fn open(&self, jetstream: &JetStream) {
        self.world.open(jetstream);
    }

    /// Trials that stop by themselves, once.
    pub(crate) fn stops(&self) -> Option<mpsc::Receiver<Stop>> {
        self.stops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A stored module's bytes.
    pub(crate) fn module(&self, digest: &str) -> anyhow::Result<Vec<u8>> {
        self.blobs.get(digest)
    }

    /// What each version counts.
    pub(crate) fn metrics(&self) -> &FunctionMetrics {
        &self.metrics
    }

    /// What is known of a version's trial, while it runs somewhere.
    pub(crate) fn trial(&self, function: &str, version: u64) -> Option<TrialReport> {
        Some(self.trials.get(function, version)?.report())
    }

    /// The stage that runs a function: its live version, and the one that is tried.
    pub(crate) fn stage(
        &self,
        entry: &FunctionEntry,
        modules: Modules<'_>,
        place: &Place,
    ) -> Result<FunctionStage, String> {
        if let (Place::Station, Some(_)) = (place, &entry.spec.state) {
            return Err(format!(
                "function `{}` keeps state, which only a flow can commit with what it makes: use it in a `kind: flow`",
                entry.spec.name
            ));
        }
        let live = self.version(&entry.spec, &entry.digest, entry.version, modules, place)?;
        let trial = match entry.tried() {
            Some((trial, version)) => {
                Some(self.tried(trial.version, &trial.spec, version, modules, place)?)
            }
            None => None,
        };
        Ok(FunctionStage::new(live, trial))
    }

    /// A function as SQL calls it: its live version.
    pub(crate) fn live(
        &self,
        entry: &FunctionEntry,
        modules: Modules<'_>,
    ) -> Result<FunctionVersion, String> {
        let spec = &entry.spec;
        if spec.state.is_some() {
            return Err(format!(
                "function `{}` keeps state, which only a stage of its own in a flow can commit: SQL cannot call it",
                spec.name
            ));
        }
        self.version(spec, &entry.digest, entry.version, modules, &Place::Station)
    }

    /// A function that is nothing but a function of its message: for migrations.
    pub(crate) fn pure(
        &self,
        entry: &FunctionEntry,
        modules: Modules<'_>,
    ) -> Result<FunctionStage, String> {
        let spec = &entry.spec;
        if spec.state.is_some() || !spec.lookup.is_empty() || !spec.http.is_empty() {
            return Err(format!(
                "function `{}` reaches outside; here the same message must always become the same",
                spec.name
            ));
        }
        let place = Place::Station;
        let live = self.version(spec, &entry.digest, entry.version, modules, &place)?;
        Ok(FunctionStage::new(live, None))
    }

    fn tried(
        &self,
        number: u64,
        spec: &TrialSpec,
        version: &Stored,
        modules: Modules<'_>,
        place: &Place,
    ) -> Result<Arc<Trial>, String> {
        let name = &version.spec.name;
        let mode = mode(&spec.mode);
        self.trials.get_or_start(name, number, &mode, || {
            let loaded = self.version(&version.spec, &version.digest, number, modules, place)?;
            let rules = TrialRules {
                min_messages: spec.min_messages,
                max_error_rate: spec.max_error_rate,
            };
            let stopped = self.stopped.clone();
            let on_stop = move |function: &str, version: u64, why: &str| {
                tracing::warn!(target: "functions", function, version, "trial stopped: {why}");
                let stop = (function.to_owned(), version, why.to_owned());
                // So many cannot stop at once; and a trial that stopped takes no messages whatever the catalog says.
                let _told = stopped.try_send(stop);
            };
            let (shadows, mode) = (self.shadows.clone(), mode.clone());
            Ok(Trial::new(loaded, mode, rules, shadows, Arc::new(on_stop)))
        })
    }

    fn version(
        &self,
        spec: &FunctionSpec,
        digest: &str,
        number: u64,
        modules: Modules<'_>,
        place: &Place,
    ) -> Result<FunctionVersion, String> {
        let state = match place {
            Place::Station => None,
            Place::Flow(state) => state.clone(),
        };
        let reach = Reach {
            world: Arc::clone(&self.world),
            function: spec.name.clone(),
            version: number,
            state,
            spectator: false,
        };
        let function = self.load(spec, digest, number, modules, reach)?;
        Ok(FunctionVersion {
            function,
            number,
            metrics: self.metrics.version(&spec.name, number),
        })
    }

    /// Loads a version; the same one again while it is in use.
    fn load(
        &self,
        spec: &FunctionSpec,
        digest: &str,
        number: u64,
        modules: Modules<'_>,
        reach: Reach,
    ) -> Result<Arc<dyn Function>, String> {
        // Those with state are one flow's own.
        let shared = reach.state.is_none();
        let key = format!(
            "{digest} {:?} {:?} {:?} {:?} {} {number}",
            spec.config, spec.limits, spec.lookup, spec.http, spec.name
        );
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, known| known.strong_count() > 0);
        let known = loaded.get(&key).and_then(Weak::upgrade);
        drop(loaded);
        if let Some(function) = known.filter(|_| shared) {
            return Ok(function);
        }
        let reach = Arc::new(reach);
        let host = self.host.as_ref().ok_or(NO_FUNCTIONS)?;
        let kept = key_of(digest)
            .and_then(|key| host.load_kept(&key, &manifest(spec, number), Arc::clone(&reach) as _));
        let function = match kept {
            Some(loaded) => loaded.map_err(|error| error.to_string())?,
            None => {
                let bytes = modules(digest).map_err(|error| error.to_string())?;
                load_with(host.as_ref(), spec, &bytes, number, reach)?
            }
        };
        if shared {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.insert(key, Arc::downgrade(&function));
        }
        Ok(function)
    }

    fn load_bytes(
        &self,
        spec: &FunctionSpec,
        bytes: &[u8],
        number: u64,
        outside: Arc<dyn Outside>,
    ) -> Result<Arc<dyn Function>, String> {
        let host = self.host.as_ref().ok_or(NO_FUNCTIONS)?;
        load_with(host.as_ref(), spec, bytes, number, outside)
    }

    /// The versions a dry run compares, each with nothing that it could change.
    pub(crate) fn spectator(
        &self,
        spec: &FunctionSpec,
        bytes: &[u8],
        number: u64,
    ) -> Result<Arc<dyn Function>, String> {
        let state = spec.bucket().map(|bucket| Arc::new(State::new(bucket)));
        let reach = Reach {
            world: Arc::clone(&self.world),
            function: format!("{}-dry-run", spec.name),
            version: number,
            state,
            spectator: true,
        };
        self.load_bytes(spec, bytes, number, Arc::new(reach))
    }

    /// Runs the tests that come with a function.
    pub(crate) fn test(
        &self,
        spec: &FunctionSpec,
        bytes: &[u8],
        tests: &str,
    ) -> Result<Report, String> {
        let host = self.host.as_ref().ok_or(NO_FUNCTIONS)?;
        run_tests(host.as_ref(), spec, bytes, tests)
    }
}

const NO_FUNCTIONS: &str =
    "this build has no WASM functions; use one built with the feature `functions`";

/// Loads a function as its document says.
fn load_with(
    host: &dyn FunctionHost,
    spec: &FunctionSpec,
    bytes: &[u8],
    number: u64,
    outside: Arc<dyn Outside>,
) -> Result<Arc<dyn Function>, String> {
    host.load(bytes, &manifest(spec, number), outside)
        .map_err(|error| error.to_string())
}

/// What the host is told of a version.
fn manifest(spec: &FunctionSpec, number: u64) -> Manifest {
    Manifest {
        name: spec.name.clone(),
        version: number.to_string(),
        config: spec.config.clone(),
        limits: limits(spec),
        grants: Grants {
            state: spec.state.is_some(),
            lookup: spec.lookup.clone(),
            http: spec.http.clone(),
        },
    }
}

/// A digest in hex as bytes.
fn key_of(digest: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if digest.len() != 2 * key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digest.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

fn limits(spec: &FunctionSpec) -> Limits {
    let (own, defaults) = (&spec.limits, Limits::default());
    let small = |value: Option<u64>, default: u32| {
        value.map_or(default, |value| u32::try_from(value).unwrap_or(u32::MAX))
    };
    Limits {
        memory: own.memory.unwrap_or(defaults.memory),
        timeout: own.timeout.unwrap_or(defaults.timeout),
        wait: own.wait.unwrap_or(defaults.wait).min(MAX_WAIT),
        output_bytes: own.output_bytes.unwrap_or(defaults.output_bytes),
        output_records: small(own.output_records, defaults.output_records),
        log_lines: small(own.log_lines, defaults.log_lines),
        host_calls: small(own.host_calls, defaults.host_calls),
    }
}

/// Longest time one call may wait for other hosts: somebody waits for the station's answer.
const MAX_WAIT: Duration = Duration::from_secs(60);

fn mode(spec: &TrialModeSpec) -> TrialMode {
    match spec {
        TrialModeSpec::Shadow => TrialMode::Shadow,
        TrialModeSpec::Canary {
            subjects: Some(subjects),
            ..
        } => TrialMode::Canary(Share::Subjects(subjects.clone())),
        TrialModeSpec::Canary { percent, .. } => {
            TrialMode::Canary(Share::Percent(percent.unwrap_or_default()))
        }
    }
}

/// Runs the tests of the one function that a command's files describe, without a server.
///
/// # Errors
/// There is not one function, it has no tests, or it does not load.
pub(crate) fn test_bundle(bundle: &millstream_cli::Bundle) -> anyhow::Result<serde_json::Value> {
    let functions = bundle
        .documents
        .iter()
        .filter(|document| matches!(document.spec, Spec::Function(_)));
    let functions: Vec<_> = functions.collect();
    let [document] = functions.as_slice() else {
        anyhow::bail!(
            "the file describes {} functions; name one with a single function by `-f`",
            functions.len()
        );
    };
    let Spec::Function(spec) = &document.spec else {
        unreachable!("invariant: filtered above");
    };
    let Some(tests) = document.tests() else {
        anyhow::bail!(
            "function `{}` has no tests; write `tests: tests.yaml` into its document",
            spec.name
        );
    };
    let file = |attachment: Option<millstream_spec::Attachment>| {
        attachment.and_then(|attachment| bundle.attachments.get(&attachment.key).cloned())
    };
    let module = file(document.attachment()).unwrap_or_default();
    let tests = file(Some(tests)).unwrap_or_default();
    let report = test_offline(spec, &module, &String::from_utf8_lossy(&tests))?;
    Ok(serde_json::to_value(report)?)
}

/// Runs a function's tests without a server.
fn test_offline(spec: &FunctionSpec, bytes: &[u8], tests: &str) -> anyhow::Result<Report> {
    let host = function_host(None)?.ok_or_else(|| anyhow::anyhow!(NO_FUNCTIONS))?;
    run_tests(host.as_ref(), spec, bytes, tests).map_err(anyhow::Error::msg)
}

#[cfg(feature = "functions")]
fn function_host(
    artefacts: Option<std::path::PathBuf>,
) -> anyhow::Result<Option<Arc<dyn FunctionHost>>> {
    let options = millstream_function_host::Options {
        artefacts,
        ..millstream_function_host::Options::default()
    };
    let host = millstream_function_host::WasmtimeHost::new(options)?;
    Ok(Some(Arc::new(host)))
}

#[cfg(not(feature = "functions"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the build with functions can fail"
)]
fn function_host(
    _artefacts: Option<std::path::PathBuf>,
) -> anyhow::Result<Option<Arc<dyn FunctionHost>>> {
    Ok(None)
}
