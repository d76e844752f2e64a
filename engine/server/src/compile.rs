//! Stations' declarations to running pipelines: the only place where schema, WASM and SQL come together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_cluster::{Catalog, FunctionEntry, Node, StationEntry};
use millstream_jetstream::PlanSource;
use millstream_pipeline::{
    Column, ColumnKind, EncodeStage, Encoding, Framing, Item, KeyRule, OnRejection, Order,
    PipelineMetrics, Plan, RuleFor, Running, SchemaOptions, SchemaRule, SchemaStage, Stage,
    SubjectSchemas, Wanted,
};
use millstream_schema_formats::Format;
use millstream_schema_registry::Version;
use millstream_spec::{
    AddedColumn, FunctionSpec, OrderSpec, RunningSpec, SchemaFormat, SchemaUse, SchemaVersion,
    SqlCall, StageSpec, StationSpec, ValueType,
};

use crate::functions::{Functions, Place};
use crate::shelf::Shelf;
use crate::stages::{Callable, Called, CompileProblem, Modules, Statements, sql};

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
    /// The folder of the store, for state of queries that has no room in memory.
    folder: PathBuf,
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
        folder: PathBuf,
    ) -> Self {
        Self {
            functions,
            shelf,
            metrics,
            node,
            folder,
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

    /// The folder of the store.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
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
            _ => declared(spec),
        };
        let place = |_: &FunctionEntry| Place::Station;
        let chain = (spec.name.as_str(), spec.stages.as_slice());
        let (mut stages, _) = self.chain(catalog, chain, columns, (modules, &place))?;
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

    /// Functions and statements one after the other, and the columns behind them. `owner` is the station that they belong to,
    /// or that a flow reads.
    pub(crate) fn chain(
        &self,
        catalog: &Catalog,
        (owner, specs): (&str, &[StageSpec]),
        mut columns: Option<Vec<Column>>,
        (modules, place): (Modules<'_>, &dyn Fn(&FunctionEntry) -> Place),
    ) -> Result<Chain, CompileProblem> {
        let mut stages: Vec<Arc<dyn Stage>> = Vec::new();
        let mut statements = 0;
        let mut several: Option<usize> = None;
        for (number, stage) in specs.iter().enumerate() {
            if let Some(before) = several {
                return Err(CompileProblem {
                    hint: Some("make it the last stage".to_owned()),
                    ..CompileProblem::new(
                        format!("stages[{before}].sql"),
                        "the stage has several outputs, and none can stand behind it",
                    )
                });
            }
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
                    let wrong = |why| CompileProblem::new(&path, why);
                    let (stage, output) = sql(Statements {
                        number: statements,
                        text,
                        columns: columns.as_deref(),
                        functions: self
                            .load(Named::of(catalog, text, Caller::Stage), modules)
                            .map_err(wrong)?,
                        stations: others(catalog, owner),
                        path: &path,
                    })?;
                    stages.push(stage);
                    several = output.is_none().then_some(number);
                    columns = output;
                }
            }
        }
        Ok((stages, columns))
    }

    /// Loads the functions that a statement calls.
    pub(crate) fn load(&self, named: Named, modules: Modules<'_>) -> Result<Callable, String> {
        let called = named.called.iter().map(|(entry, call)| {
            Ok(Called {
                name: sql_name(&entry.spec.name),
                arguments: call.arguments.iter().map(column).collect(),
                returns: kind_of(&call.returns),
                version: self.functions.live(entry, modules)?,
            })
        });
        Ok(Callable {
            called: called.collect::<Result<_, String>>()?,
            ..named.others
        })
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
        let columns = match &spec.schema {
            Some(used) => Some(columns_of(&self.schema(catalog, spec, used, modules)?)?),
            None => declared(spec),
        };
        let place = |_: &FunctionEntry| Place::Station;
        let stages = (spec.name.as_str(), spec.stages.as_slice());
        let chain = self.chain(catalog, stages, columns, (modules, &place));
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
        key.push_str(&Self::sql_key(
            catalog,
            &station.spec.name,
            &station.spec.stages,
        ));
        key
    }

    /// What statements depend on: functions that they call, in their live version, and stations that they write to.
    pub(crate) fn sql_key(catalog: &Catalog, owner: &str, stages: &[StageSpec]) -> String {
        let mut key = String::new();
        let texts = stages.iter().filter_map(|stage| match stage {
            StageSpec::Sql(text) => Some(text),
            StageSpec::Function(_) => None,
        });
        for text in texts {
            key.push_str(&Self::functions_key(catalog, text));
            let named = others(catalog, owner).into_iter();
            for (station, subjects) in named.filter(|(name, _)| text.contains(name.as_str())) {
                key.push_str(&format!(" {station} {subjects:?}"));
            }
        }
        key
    }

    /// The functions that a text calls, in their live version.
    pub(crate) fn functions_key(catalog: &Catalog, text: &str) -> String {
        let mut key = String::new();
        for (entry, _) in sql_functions(catalog, text) {
            let name = &entry.spec.name;
            key.push_str(&format!(" {name} {} {}", entry.version, entry.updated));
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
    entry.spec.adds.iter().map(column)
}

/// The columns that a station without a schema declares.
fn declared(spec: &StationSpec) -> Option<Vec<Column>> {
    let columns: Vec<Column> = spec.columns.iter().map(column).collect();
    (!columns.is_empty()).then_some(columns)
}

fn column(declared: &AddedColumn) -> Column {
    Column::new(&declared.name, kind_of(&declared.kind), true)
}

fn kind_of(declared: &ValueType) -> ColumnKind {
    let item = |kind: &ValueType| {
        Box::new(Item {
            kind: kind_of(kind),
            nullable: true,
        })
    };
    match declared {
        ValueType::Bool => ColumnKind::Bool,
        ValueType::Int => ColumnKind::Int64,
        ValueType::Float => ColumnKind::Float64,
        ValueType::String => ColumnKind::String,
        ValueType::Timestamp => ColumnKind::Timestamp,
        ValueType::Date => ColumnKind::Date,
        ValueType::Decimal(precision, scale) => ColumnKind::Decimal {
            precision: *precision,
            scale: *scale,
        },
        ValueType::List(of) => ColumnKind::List(item(of)),
        ValueType::Map(of) => ColumnKind::Map(item(of)),
        ValueType::Struct(members) => ColumnKind::Struct(members.iter().map(column).collect()),
        ValueType::Json => ColumnKind::Json,
    }
}

/// What statements call a function: a `-` would be a minus.
fn sql_name(function: &str) -> String {
    function.replace('-', "_").to_lowercase()
}

/// How SQL calls a function, for people.
pub(crate) fn sql_form(spec: &FunctionSpec) -> Option<String> {
    let call = spec.sql.as_ref()?;
    let arguments = call.arguments.iter();
    let arguments = arguments.map(|column| format!("{} {}", column.name, column.kind));
    let arguments: Vec<String> = arguments.collect();
    Some(format!(
        "{}({}) returns {}",
        sql_name(&spec.name),
        arguments.join(", "),
        call.returns
    ))
}

/// Whether a text has the name of a function, as statements call it.
pub(crate) fn names_function(text: &str, function: &str) -> bool {
    let (text, name) = (text.to_lowercase(), sql_name(function));
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == name)
}

/// Who calls functions in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A stage, which may do what a function that is a stage may.
    Stage,
    /// A query, of a flow or of somebody who asks: its functions are nothing but functions of their arguments.
    Query,
}

/// The functions around a text, not loaded yet.
#[derive(Debug)]
pub(crate) struct Named {
    called: Vec<(FunctionEntry, SqlCall)>,
    others: Callable,
}

impl Named {
    pub(crate) fn of(catalog: &Catalog, text: &str, caller: Caller) -> Self {
        let outside = |spec: &FunctionSpec| {
            caller == Caller::Query && !(spec.lookup.is_empty() && spec.http.is_empty())
        };
        let mut others = Callable::default();
        for entry in catalog.functions.values() {
            let spec = &entry.spec;
            let names = match &spec.sql {
                None => &mut others.not_for_sql,
                Some(_) if outside(spec) => &mut others.reaching_outside,
                Some(_) => &mut others.names,
            };
            names.push(sql_name(&spec.name));
        }
        let called = sql_functions(catalog, text).filter(|(entry, _)| !outside(&entry.spec));
        Self {
            called: called
                .map(|(entry, call)| (entry.clone(), call.clone()))
                .collect(),
            others,
        }
    }
}

/// The functions for SQL whose names stand in a text.
fn sql_functions<'a>(
    catalog: &'a Catalog,
    text: &'a str,
) -> impl Iterator<Item = (&'a FunctionEntry, &'a SqlCall)> {
    catalog.functions.values().filter_map(move |entry| {
        let call = entry.spec.sql.as_ref()?;
        names_function(text, &entry.spec.name).then_some((entry, call))
    })
}

/// The stations that statements of `owner` may write to.
fn others(catalog: &Catalog, owner: &str) -> Vec<(String, Vec<String>)> {
    let stations = catalog.stations.values().map(|entry| &entry.spec);
    let others = stations.filter(|spec| spec.name != owner);
    others
        .map(|spec| (spec.name.clone(), spec.subjects.clone()))
        .collect()
}
