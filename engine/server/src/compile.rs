//! Stations' declarations to running pipelines: the only place where schema, WASM and SQL come together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use millstream_cluster::{Catalog, FunctionEntry, Node, StationEntry};
use millstream_function_api::{Function, FunctionHost, Limits, Manifest};
use millstream_jetstream::PlanSource;
use millstream_pipeline::{
    Column, ColumnKind, FunctionStage, OnRejection, PipelineMetrics, Plan, SchemaStage, Stage,
};
use millstream_schema_formats::JsonSchema;
use millstream_schema_registry::Version;
use millstream_spec::{SchemaVersion, StageSpec, ValueType};

use crate::blobs::Blobs;

/// Why a station cannot run as declared: which field, and where in its text.
#[derive(Clone, Debug)]
pub(crate) struct CompileProblem {
    /// The field of the station, such as `stages[1].sql`.
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Line and column in the field's text, from 1.
    pub(crate) place: Option<(u32, u32)>,
}

impl CompileProblem {
    fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
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

/// What a plan was made from, and the plan.
type KnownPlan = (String, Option<Arc<Plan>>);

/// Compiles plans, and keeps what did not change.
pub(crate) struct Compiler {
    host: Option<Arc<dyn FunctionHost>>,
    blobs: Blobs,
    metrics: PipelineMetrics,
    /// Loaded functions by digest, configuration and limits, while some plan uses them.
    functions: Mutex<HashMap<String, Weak<dyn Function>>>,
    /// The last plan of each station with what it was compiled from.
    plans: Mutex<HashMap<String, KnownPlan>>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    pub(crate) fn new(blobs: Blobs, metrics: PipelineMetrics) -> anyhow::Result<Self> {
        Ok(Self {
            host: function_host()?,
            blobs,
            metrics,
            functions: Mutex::default(),
            plans: Mutex::default(),
        })
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

    /// Compiles a station against a catalog.
    pub(crate) fn plan(
        &self,
        catalog: &Catalog,
        station: &StationEntry,
        modules: Modules<'_>,
    ) -> Result<Option<Arc<Plan>>, CompileProblem> {
        let spec = &station.spec;
        if spec.schema.is_none() && spec.stages.is_empty() {
            return Ok(None);
        }
        let schema = schema_of(catalog, station)?;
        let schema_id = schema.as_ref().map(|schema| schema.id);
        let typed = spec
            .stages
            .iter()
            .any(|stage| matches!(stage, StageSpec::Sql(_)));
        let mut columns = match &schema {
            Some(schema) if typed => Some(schema.compiled.columns().map_err(|error| {
                CompileProblem::new("schema", format!("columns of the schema: {error}"))
            })?),
            _ => None,
        };
        let mut stages: Vec<Arc<dyn Stage>> = Vec::new();
        let mut statements = 0;
        for (number, stage) in spec.stages.iter().enumerate() {
            match stage {
                StageSpec::Function(name) => {
                    let path = format!("stages[{number}].function");
                    let entry = catalog.functions.get(name).ok_or_else(|| {
                        CompileProblem::new(&path, format!("there is no function `{name}`"))
                    })?;
                    let function = self
                        .function(entry, modules)
                        .map_err(|why| CompileProblem::new(&path, why))?;
                    stages.push(Arc::new(FunctionStage::new(function, schema_id)));
                    columns = columns.map(|columns| Column::extend(columns, added(entry)));
                }
                StageSpec::Sql(text) => {
                    statements += 1;
                    let path = format!("stages[{number}].sql");
                    let (stage, output) = sql(statements, text, columns.as_deref(), &path)?;
                    stages.push(stage);
                    columns = Some(output);
                }
            }
        }
        let schema = schema.map(|schema| schema.stage);
        let plan = Plan::new(
            station.version,
            schema,
            stages,
            on_rejection(spec.on_rejection),
        )
        .with_metrics(&self.metrics, &spec.name);
        Ok(Some(Arc::new(plan)))
    }

    /// What a station's plan is made from: when it is the same, so is the plan.
    fn key(catalog: &Catalog, station: &StationEntry) -> String {
        // A version comes again when something was deleted and applied anew; its time does not.
        let mut key = format!("{} {}", station.version, station.updated);
        if let Some(used) = &station.spec.schema
            && let Ok(view) = catalog.schemas.get(&used.subject, version_of(used.version))
        {
            key.push_str(&format!(" schema {}", view.id));
        }
        for stage in &station.spec.stages {
            if let StageSpec::Function(name) = stage
                && let Some(entry) = catalog.functions.get(name)
            {
                key.push_str(&format!(" {name} {} {}", entry.version, entry.updated));
            }
        }
        key
    }
}

impl PlanSource for Compiler {
    fn compile(&self, node: &Node, station: &str) -> Result<Option<Arc<Plan>>, String> {
        let catalog = node.catalog().clone();
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = catalog.stations.get(station) else {
            plans.remove(station);
            return Ok(None);
        };
        let key = Self::key(&catalog, entry);
        if let Some((known, plan)) = plans.get(station)
            && *known == key
        {
            return Ok(plan.clone());
        }
        drop(plans);
        let plan = self
            .plan(&catalog, entry, &|digest| self.blobs.get(digest))
            .map_err(|problem| format!("{}: {}", problem.path, problem.message))?;
        plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.insert(station.to_owned(), (key, plan.clone()));
        Ok(plan)
    }
}

struct SchemaOf {
    id: u32,
    compiled: Arc<JsonSchema>,
    stage: SchemaStage,
}

fn schema_of(
    catalog: &Catalog,
    station: &StationEntry,
) -> Result<Option<SchemaOf>, CompileProblem> {
    let Some(used) = &station.spec.schema else {
        return Ok(None);
    };
    let view = catalog
        .schemas
        .get(&used.subject, version_of(used.version))
        .map_err(|error| CompileProblem::new("schema.subject", error.to_string()))?;
    let compiled = JsonSchema::compile(view.text, &[])
        .map_err(|error| CompileProblem::new("schema.subject", error.to_string()))?;
    let compiled = Arc::new(compiled);
    let stage = SchemaStage::new(
        &used.subject,
        view.version,
        Arc::clone(&compiled),
        on_rejection(used.on_violation),
    );
    Ok(Some(SchemaOf {
        id: view.id,
        compiled,
        stage,
    }))
}

pub(crate) fn version_of(version: SchemaVersion) -> Version {
    match version {
        SchemaVersion::Latest => Version::Latest,
        SchemaVersion::Number(number) => Version::Number(number),
    }
}

fn on_rejection(spec: millstream_spec::OnRejection) -> OnRejection {
    match spec {
        millstream_spec::OnRejection::Reject => OnRejection::Reject,
        millstream_spec::OnRejection::DeadLetter => OnRejection::DeadLetter,
        millstream_spec::OnRejection::Tag => OnRejection::Tag,
    }
}

fn added(entry: &FunctionEntry) -> impl Iterator<Item = Column> + '_ {
    entry.spec.adds.iter().map(|column| {
        let kind = match column.kind {
            ValueType::Bool => ColumnKind::Bool,
            ValueType::Int => ColumnKind::Int64,
            ValueType::Float => ColumnKind::Float64,
            ValueType::String => ColumnKind::String,
            ValueType::Timestamp => ColumnKind::Timestamp,
            ValueType::Json => ColumnKind::Json,
        };
        Column::new(&column.name, kind, true)
    })
}

type SqlCompiled = (Arc<dyn Stage>, Vec<Column>);

#[cfg(feature = "sql")]
fn sql(
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
fn sql(
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
