//! What stages are made of: loaded functions and compiled statements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use millstream_cluster::FunctionEntry;
use millstream_function_api::{Function, FunctionHost, Limits, Manifest};
use millstream_pipeline::{Column, Stage};

use crate::blobs::Blobs;

/// Why something cannot run as declared: which field, and where in its text.
#[derive(Clone, Debug)]
pub(crate) struct CompileProblem {
    /// The field of the declaration, such as `stages[1].sql`.
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Line and column in the field's text, from 1.
    pub(crate) place: Option<(u32, u32)>,
}

impl std::fmt::Display for CompileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some((line, column)) = self.place {
            write!(f, " at line {line}, column {column}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl CompileProblem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: None,
            place: None,
        }
    }
}

/// Where modules' bytes come from: the store, or a request that is being checked.
pub(crate) type Modules<'a> = &'a dyn Fn(&str) -> anyhow::Result<Vec<u8>>;

/// Loads functions, and keeps those in use.
pub(crate) struct Stages {
    host: Option<Arc<dyn FunctionHost>>,
    blobs: Blobs,
    /// Loaded functions by digest, configuration and limits, while somebody uses them.
    functions: Mutex<HashMap<String, Weak<dyn Function>>>,
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stages").finish_non_exhaustive()
    }
}

impl Stages {
    pub(crate) fn new(blobs: Blobs) -> anyhow::Result<Self> {
        Ok(Self {
            host: function_host()?,
            blobs,
            functions: Mutex::default(),
        })
    }

    /// A stored module's bytes.
    pub(crate) fn module(&self, digest: &str) -> anyhow::Result<Vec<u8>> {
        self.blobs.get(digest)
    }

    /// Loads a function as it is declared; the same one again while it is in use.
    pub(crate) fn function(
        &self,
        entry: &FunctionEntry,
        modules: Modules<'_>,
    ) -> Result<Arc<dyn Function>, String> {
        let spec = &entry.spec;
        let key = format!(
            "{} {:?} {:?} {}",
            entry.digest, spec.config, spec.limits, spec.name
        );
        let known = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(function) = known.and_then(|known| known.upgrade()) {
            return Ok(function);
        }
        let host = self.host.as_ref().ok_or(
            "this build has no WASM functions; use one built with the feature `functions`",
        )?;
        let bytes = modules(&entry.digest).map_err(|error| error.to_string())?;
        let defaults = Limits::default();
        let small = |value: Option<u64>, default| value.unwrap_or(default);
        let limits = Limits {
            memory: small(spec.limits.memory, defaults.memory),
            timeout: spec.limits.timeout.unwrap_or(defaults.timeout),
            output_bytes: small(spec.limits.output_bytes, defaults.output_bytes),
            output_records: spec
                .limits
                .output_records
                .map_or(defaults.output_records, |records| {
                    records.try_into().unwrap_or(defaults.output_records)
                }),
        };
        let manifest = Manifest {
            name: spec.name.clone(),
            version: entry.version.to_string(),
            config: spec.config.clone(),
            limits,
        };
        let function = host
            .load(&bytes, &manifest)
            .map_err(|error| error.to_string())?;
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        functions.retain(|_, known| known.strong_count() > 0);
        functions.insert(key, Arc::downgrade(&function));
        Ok(function)
    }
}

pub(crate) type SqlCompiled = (Arc<dyn Stage>, Vec<Column>);

#[cfg(feature = "sql")]
pub(crate) fn sql(
    number: usize,
    text: &str,
    columns: Option<&[Column]>,
    path: &str,
) -> Result<SqlCompiled, CompileProblem> {
    let Some(columns) = columns else {
        return Err(CompileProblem {
            hint: Some("name one under the station's `schema:`".to_owned()),
            ..CompileProblem::new(
                path,
                "SQL needs to know the columns, and the station has no schema",
            )
        });
    };
    let stage = millstream_sql::SqlStage::compile(format!("sql:{number}"), text, columns).map_err(
        |error| CompileProblem {
            path: path.to_owned(),
            message: error.message,
            hint: error.hint,
            place: Some((error.line, error.column)),
        },
    )?;
    let output = stage.output().to_vec();
    Ok((Arc::new(stage), output))
}

#[cfg(not(feature = "sql"))]
pub(crate) fn sql(
    _number: usize,
    _text: &str,
    _columns: Option<&[Column]>,
    path: &str,
) -> Result<SqlCompiled, CompileProblem> {
    Err(CompileProblem::new(
        path,
        "this build has no SQL; use one built with the feature `sql`",
    ))
}

#[cfg(feature = "functions")]
fn function_host() -> anyhow::Result<Option<Arc<dyn FunctionHost>>> {
    let host =
        millstream_function_host::WasmtimeHost::new(millstream_function_host::Options::default())?;
    Ok(Some(Arc::new(host)))
}

#[cfg(not(feature = "functions"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the build with functions can fail"
)]
fn function_host() -> anyhow::Result<Option<Arc<dyn FunctionHost>>> {
    Ok(None)
}
