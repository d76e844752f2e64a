//! A flow's declaration to its plan.

use std::path::Path;
use std::sync::Arc;

use millstream_cluster::{Catalog, FlowEntry, FunctionEntry};
use millstream_jetstream::shown_streams;
use millstream_pipeline::{Column, OnRejection, Plan, Running};
use millstream_spec::{QuerySpec, StageSpec};

use crate::compile::{Caller, Compiler, Named, running};
use crate::functions::{Place, State};
use crate::stages::{self, Callable, CompileProblem, Modules, QueryCompiled, Readable};

/// A flow, compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// `None` without stages; or why it cannot run.
    pub(super) plan: Result<Option<Arc<Plan>>, String>,
    pub(super) running: Running,
    /// The buckets of its functions.
    pub(super) states: Vec<Arc<State>>,
    /// Of a flow that is a query.
    pub(super) query: Option<QueryCompiled>,
}

impl Compiled {
    pub(super) fn broken(why: String) -> Self {
        Self {
            plan: Err(why),
            running: Running::default(),
            states: Vec::new(),
            query: None,
        }
    }
}

/// What a flow is made from: when it is the same, so is what runs.
pub(super) fn mark(catalog: &Catalog, entry: &FlowEntry) -> String {
    let rerun = entry.rerun.as_ref().map_or(0, |rerun| rerun.run);
    let mut mark = format!("{} {} {} {rerun}", entry.version, entry.updated, entry.run);
    for name in entry.spec.functions() {
        if let Some(function) = catalog.functions.get(name) {
            mark.push_str(&format!(
                " {name} {} {}",
                function.version, function.updated
            ));
        }
    }
    mark.push_str(&Compiler::sql_key(
        catalog,
        &entry.spec.from,
        &entry.spec.stages,
    ));
    if let Some(query) = &entry.spec.query {
        mark.push_str(&Compiler::functions_key(catalog, &query.sql));
        // More than it reads may be named there, and does no harm.
        let named = |name: &&String| query.sql.contains(name.as_str());
        let stations = catalog.stations.keys().filter(named);
        let stations = stations.map(String::as_str).chain(entry.spec.stations());
        for station in stations.filter_map(|name| catalog.stations.get(name)) {
            let key = Compiler::key(catalog, station);
            mark.push_str(&format!(" {} {key}", station.spec.name));
        }
    }
    if let Some(station) = catalog.stations.get(&entry.spec.from) {
        mark.push_str(&format!(" from {}", Compiler::key(catalog, station)));
    }
    mark
}

impl Compiler {
    /// Compiles a flow against a catalog.
    pub(crate) fn flow(
        &self,
        catalog: &Catalog,
        entry: &FlowEntry,
        modules: Modules<'_>,
    ) -> Result<Compiled, CompileProblem> {
        let spec = &entry.spec;
        if let Some(query) = &spec.query {
            let compiled = self.query(catalog, query, modules)?;
            return Ok(Compiled {
                plan: Ok(None),
                running: Running::default(),
                states: Vec::new(),
                query: Some(compiled),
            });
        }
        let running = running(&spec.running)?;
        let states: Vec<(String, Arc<State>)> = spec
            .functions()
            .filter_map(|name| {
                let bucket = catalog.functions.get(name)?.spec.bucket()?;
                Some((name.to_owned(), Arc::new(State::new(bucket))))
            })
            .collect();
        if !states.is_empty() && running.workers > 1 {
            let problem = CompileProblem::new(
                "workers",
                "a function that keeps state sees its messages one after the other",
            );
            return Err(CompileProblem {
                hint: Some("leave `workers` out".to_owned()),
                ..problem
            });
        }
        let typed = spec
            .stages
            .iter()
            .any(|stage| matches!(stage, StageSpec::Sql(_)));
        let station = catalog.stations.get(&spec.from);
        let columns = match station {
            Some(station) if typed => {
                self.stored_columns(catalog, station, modules)
                    .map_err(|problem| CompileProblem {
                        path: "from".to_owned(),
                        place: None,
                        ..problem
                    })?
            }
            _ => None,
        };
        let place = |function: &FunctionEntry| {
            let mut own = states.iter();
            let own = own.find(|(name, _)| *name == function.spec.name);
            Place::Flow(own.map(|(_, state)| Arc::clone(state)))
        };
        let chain = (spec.from.as_str(), spec.stages.as_slice());
        let (stages, _) = self.chain(catalog, chain, columns, (modules, &place))?;
        let plan = (!stages.is_empty()).then(|| {
            let plan = Plan::new(entry.version, None, stages, OnRejection::DeadLetter)
                .with_running(running.clone())
                .with_metrics(self.metrics(), &format!("flow:{}", spec.name));
            Arc::new(plan)
        });
        Ok(Compiled {
            plan: Ok(plan),
            running,
            states: states.into_iter().map(|(_, state)| state).collect(),
            query: None,
        })
    }

    /// Compiles a query against a catalog.
    pub(crate) fn query(
        &self,
        catalog: &Catalog,
        query: &QuerySpec,
        modules: Modules<'_>,
    ) -> Result<QueryCompiled, CompileProblem> {
        self.continuous(catalog, query, (modules, false))
    }

    /// Compiles a query whose results are shown and not stored.
    #[cfg(feature = "sql")]
    pub(crate) fn preview(
        &self,
        catalog: &Catalog,
        query: &QuerySpec,
        modules: Modules<'_>,
    ) -> Result<QueryCompiled, CompileProblem> {
        self.continuous(catalog, query, (modules, true))
    }

    fn continuous(
        &self,
        catalog: &Catalog,
        query: &QuerySpec,
        (modules, previews): (Modules<'_>, bool),
    ) -> Result<QueryCompiled, CompileProblem> {
        let known = Known {
            compiler: self,
            catalog,
            modules,
        };
        stages::query(query, &known, previews)
    }
}

/// What queries may read: stations, and other streams.
struct Known<'a> {
    compiler: &'a Compiler,
    catalog: &'a Catalog,
    modules: Modules<'a>,
}

impl Readable for Known<'_> {
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        let Some(station) = self.catalog.stations.get(name) else {
            let station = name.strip_suffix("-dead-letters");
            let letters = station.is_some_and(|name| self.catalog.stations.contains_key(name));
            let there = letters || self.compiler.node().stream(name).is_some();
            return Ok(there.then(Vec::new));
        };
        let columns = self
            .compiler
            .stored_columns(self.catalog, station, self.modules)
            .map_err(|problem| problem.to_string())?;
        Ok(Some(columns.unwrap_or_default()))
    }

    fn folder(&self) -> &Path {
        self.compiler.folder()
    }

    fn names(&self) -> Vec<String> {
        let streams = shown_streams(self.compiler.node());
        let streams = streams.iter().map(|cell| cell.name.clone());
        let mut names: Vec<String> = self.catalog.stations.keys().cloned().collect();
        names.extend(streams);
        names.sort();
        names.dedup();
        names
    }

    fn subjects(&self, name: &str) -> Vec<String> {
        if let Some(station) = self.catalog.stations.get(name) {
            return station.spec.subjects.clone();
        }
        let stream = self.compiler.node().stream(name);
        stream.map_or_else(Vec::new, |cell| cell.lock().config.subjects.clone())
    }

    fn functions(&self, text: &str) -> Result<Callable, String> {
        let named = Named::of(self.catalog, text, Caller::Query);
        self.compiler.load(named, self.modules)
    }
}
