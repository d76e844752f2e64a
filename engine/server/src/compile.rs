//! Stations' declarations to running pipelines: the only place where schema, WASM and SQL come together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_cluster::{Catalog, FunctionEntry, Node, StationEntry};
use millstream_jetstream::PlanSource;
use millstream_pipeline::{
    Column, ColumnKind, EncodeStage, Encoding, Framing, KeyRule, OnRejection, Order,
    PipelineMetrics, Plan, RuleFor, Running, SchemaOptions, SchemaRule, SchemaStage, Stage,
    SubjectSchemas, Wanted,
};
use millstream_schema_formats::Format;
use millstream_schema_registry::Version;
use millstream_spec::{
    OrderSpec, RunningSpec, SchemaFormat, SchemaUse, SchemaVersion, StageSpec, StationSpec,
    ValueType,
};

use crate::functions::{Functions, Place};
use crate::shelf::Shelf;
use crate::stages::{CompileProblem, Modules, sql};

/// What a plan was made from, and the plan.
type KnownPlan = (String, Option<Arc<Plan>>);

/// Stages one after the other, and the columns behind them where they are known.
pub(crate) type Chain = (Vec<Arc<dyn Stage>>, Option<Vec<Column>>);

/// Compiles plans, and keeps what did not change.
pub(crate) struct Compiler {
    functions: Arc<Functions>,
    shelf: Arc<Shelf>,
    metrics: PipelineMetrics,
    /// Streams that are no stations.
    node: Arc<Node>,
    /// The last plan of each station with what it was compiled from.
    plans: Mutex<HashMap<String, KnownPlan>>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    pub(crate) fn new(
        functions: Arc<Functions>,
        shelf: Arc<Shelf>,
        metrics: PipelineMetrics,
        node: Arc<Node>,
    ) -> Self {
        Self {
            functions,
            shelf,
            metrics,
            node,
            plans: Mutex::default(),
        }
    }

    /// The functions.
    pub(crate) fn functions(&self) -> &Arc<Functions> {
        &self.functions
    }

    /// The streams.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The compiled schemas.
    pub(crate) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Compiles a station against a catalog.
    pub(crate) fn plan(
        &self,
        catalog: &Catalog,
        station: &StationEntry,
        modules: Modules<'_>,
    ) -> Result<Option<Arc<Plan>>, CompileProblem> {
        let spec = &station.spec;
        if spec.schema.is_none() && spec.stages.is_empty() && spec.encode.is_none() {
            return Ok(None);
        }
        let schema = match &spec.schema {
            Some(used) => Some(self.schema(catalog, spec, used, modules)?),
            None => None,
        };
        let encode = self.encoding(catalog, spec, schema.as_ref(), modules)?;
        let typed = spec
            .stages
            .iter()
            .any(|stage| matches!(stage, StageSpec::Sql(_)));
        let columns = match &schema {
            Some(schema) if typed => Some(columns_of(schema)?),
            _ => None,
        };
        let place = |_: &FunctionEntry| Place::Station;
        let (mut stages, _) = self.chain(catalog, &spec.stages, columns, (modules, &place))?;
        stages.extend(encode.map(|encode| Arc::new(EncodeStage::new(encode)) as Arc<dyn Stage>));
        let schema = schema.map(SchemaStage::new);
        let plan = Plan::new(
            station.version,
            schema,
            stages,
            on_rejection(spec.on_rejection),
        )
        .with_running(running(&spec.running)?)
        .with_metrics(&self.metrics, &spec.name);
        Ok(Some(Arc::new(plan)))
    }

    /// Functions and statements one after the other, and the columns behind them.
    pub(crate) fn chain(
        &self,
        catalog: &Catalog,
        specs: &[StageSpec],
        mut columns: Option<Vec<Column>>,
        (modules, place): (Modules<'_>, &dyn Fn(&FunctionEntry) -> Place),
    ) -> Result<Chain, CompileProblem> {
        let mut stages: Vec<Arc<dyn Stage>> = Vec::new();
        let mut statements = 0;
        for (number, stage) in specs.iter().enumerate() {
            match stage {
                StageSpec::Function(name) => {
                    let path = format!("stages[{number}].function");
                    let entry = catalog.functions.get(name).ok_or_else(|| {
                        CompileProblem::new(&path, format!("there is no function `{name}`"))
                    })?;
                    let stage = self
                        .functions
                        .stage(entry, modules, &place(entry))
                        .map_err(|why| CompileProblem::new(&path, why))?;
                    stages.push(Arc::new(stage));
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
        Ok((stages, columns))
    }

    /// The columns of what a station stores; `None` when it has no schema.
    pub(crate) fn stored_columns(
        &self,
        catalog: &Catalog,
        station: &StationEntry,
        modules: Modules<'_>,
    ) -> Result<Option<Vec<Column>>, CompileProblem> {
        let spec = &station.spec;
        let target = spec.encode.as_ref();
        if let Some((encode, subject)) =
            target.and_then(|encode| Some((encode, encode.subject.as_ref()?)))
        {
            let wrong = |why: String| CompileProblem::new("from", why);
            let version = version_of(encode.version);
            let target = self.shelf.find(catalog, subject, version).map_err(wrong)?;
            let columns = target.schema.columns();
            return columns.map(Some).map_err(|error| wrong(error.to_string()));
        }
        let Some(used) = &spec.schema else {
            return Ok(None);
        };
        let columns = columns_of(&self.schema(catalog, spec, used, modules)?)?;
        let place = |_: &FunctionEntry| Place::Station;
        let chain = self.chain(catalog, &spec.stages, Some(columns), (modules, &place));
        Ok(chain?.1)
    }

    /// The numbers that stages count in.
    pub(crate) fn metrics(&self) -> &PipelineMetrics {
        &self.metrics
    }

    /// What a station's plan is made from: when it is the same, so is the plan.
    pub(crate) fn key(catalog: &Catalog, station: &StationEntry) -> String {
        // A version comes again when something was deleted and applied anew; its time does not.
        let mut key = format!("{} {}", station.version, station.updated);
        for (_, subject) in station.spec.schemas() {
            // Older versions count as well: messages may say that they are one of them.
            for view in catalog.schemas.versions(subject).into_iter().flatten() {
                key.push_str(&format!(" {subject}:{} {}", view.version, view.id));
            }
            key.push_str(&Shelf::migration_key(catalog, subject));
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
            .plan(&catalog, entry, &|digest| self.functions.module(digest))
            .map_err(|problem| format!("{}: {}", problem.path, problem.message))?;
        plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.insert(station.to_owned(), (key, plan.clone()));
        Ok(plan)
    }
}

impl Compiler {
    fn schema(
        &self,
        catalog: &Catalog,
        spec: &StationSpec,
        used: &SchemaUse,
        modules: Modules<'_>,
    ) -> Result<SchemaOptions, CompileProblem> {
        let subject = |path: &str, subject: &str, version, message: Option<&str>| {
            let found = self.shelf.subject(catalog, subject, version, message);
            let migrations = self.shelf.migrations_of(catalog, subject, modules);
            let found = found.and_then(|found| {
                Ok(SubjectSchemas {
                    migrations: migrations?,
                    ..found
                })
            });
            found.map_err(|why| CompileProblem::new(path, why))
        };
        let default = used.subject.as_deref().map(|name| {
            let message = used.message.as_deref();
            subject("schema.subject", name, used.version, message)
        });
        let rules = used.rules.iter().enumerate().map(|(index, rule)| {
            let path = format!("schema.rules[{index}].subject");
            let message = rule.message.as_deref();
            let schemas = subject(&path, &rule.subject, rule.version, message)?;
            let messages = match (&rule.subjects, &rule.record) {
                (Some(filter), _) => RuleFor::Subject(filter.clone()),
                (None, record) => RuleFor::Record(record.clone().unwrap_or_default()),
            };
            Ok(SchemaRule { messages, schemas })
        });
        Ok(SchemaOptions {
            rules: rules.collect::<Result<_, CompileProblem>>()?,
            default: default.transpose()?,
            framing: match used.framing {
                millstream_spec::Framing::Auto => Framing::Auto,
                millstream_spec::Framing::Bare => Framing::Bare,
                millstream_spec::Framing::Prefixed => Framing::Prefixed,
            },
            on_violation: on_rejection(used.on_violation),
            as_json: !spec.stages.is_empty() || spec.encode.is_some(),
        })
    }

    /// How records are laid out for the log, where stages had them as JSON.
    fn encoding(
        &self,
        catalog: &Catalog,
        spec: &StationSpec,
        schema: Option<&SchemaOptions>,
        modules: Modules<'_>,
    ) -> Result<Option<Encoding>, CompileProblem> {
        let Some(encode) = &spec.encode else {
            let came = schema.filter(|schema| schema.as_json);
            let other = |version: &SubjectSchemas| {
                let formats = version
                    .versions
                    .iter()
                    .map(|version| version.schema.format());
                formats.into_iter().any(|format| format != Format::Json)
            };
            let any = came.is_some_and(|schema| {
                let rules = schema.rules.iter().map(|rule| &rule.schemas);
                schema.default.iter().chain(rules).any(other)
            });
            return Ok(any.then_some(Encoding::AsItCame));
        };
        let Some(subject) = &encode.subject else {
            return Ok(Some(Encoding::Json));
        };
        let wrong = |why: String| CompileProblem::new("encode.subject", why);
        let target = self
            .shelf
            .find(catalog, subject, version_of(encode.version))
            .map_err(wrong)?;
        let has = target.schema.format();
        if let Some(wants) = encode.format.map(format_of)
            && wants != has
        {
            return Err(CompileProblem {
                hint: Some(format!("write `format: {has}`, or leave it out")),
                ..CompileProblem::new(
                    "encode.format",
                    format!("schema `{subject}` is {has}, not {wants}"),
                )
            });
        }
        let migrations = self.shelf.migrations_of(catalog, subject, modules);
        Ok(Some(Encoding::Version(target, migrations.map_err(wrong)?)))
    }
}

pub(crate) fn format_of(format: SchemaFormat) -> Format {
    match format {
        SchemaFormat::Json => Format::Json,
        SchemaFormat::Avro => Format::Avro,
        SchemaFormat::Protobuf => Format::Protobuf,
    }
}

/// The columns that SQL sees: of the one version that all messages are.
fn columns_of(schema: &SchemaOptions) -> Result<Vec<Column>, CompileProblem> {
    let one = match &schema.default {
        Some(default) if schema.rules.is_empty() => match default.wanted {
            Wanted::Exactly(number) => default
                .versions
                .iter()
                .find(|version| version.version == number),
            Wanted::Compatible => None,
        },
        _ => None,
    };
    let Some(version) = one else {
        return Err(CompileProblem {
            hint: Some("give the schema one `subject` and a version, without `rules`".to_owned()),
            ..CompileProblem::new(
                "schema",
                "SQL needs to know the columns, and messages may have several schemas",
            )
        });
    };
    let columns = version.schema.columns();
    columns
        .map_err(|error| CompileProblem::new("schema", format!("columns of the schema: {error}")))
}

pub(crate) fn version_of(version: SchemaVersion) -> Version {
    match version {
        SchemaVersion::Latest | SchemaVersion::Compatible => Version::Latest,
        SchemaVersion::Number(number) => Version::Number(number),
    }
}

/// How stages are run.
pub(crate) fn running(spec: &RunningSpec) -> Result<Running, CompileProblem> {
    let key = spec.key.as_deref().map(str::parse::<KeyRule>).transpose();
    let key = key.map_err(|why| CompileProblem::new("key", why))?;
    let order = match spec.order {
        OrderSpec::Station => Order::Station,
        OrderSpec::Key => Order::Key,
        OrderSpec::None => Order::None,
    };
    let defaults = Running::default();
    Ok(Running {
        // By which key messages are kept in order has to be known.
        key: key.or_else(|| (order == Order::Key).then(KeyRule::default)),
        order,
        workers: spec
            .workers
            .map_or(defaults.workers, |workers| workers as usize),
        max_retries: spec.max_retries.unwrap_or(defaults.max_retries),
    })
}

pub(crate) fn on_rejection(spec: millstream_spec::OnRejection) -> OnRejection {
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
