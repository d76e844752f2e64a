//! A flow's declaration to its plan.

use std::sync::Arc;

use millstream_cluster::{Catalog, FlowEntry, FunctionEntry};
use millstream_pipeline::{OnRejection, Plan, Running};
use millstream_spec::StageSpec;

use crate::compile::{Compiler, running};
use crate::functions::{Place, State};
use crate::stages::{CompileProblem, Modules};

/// A flow, compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// `None` without stages; or why it cannot run.
    pub(super) plan: Result<Option<Arc<Plan>>, String>,
    pub(super) running: Running,
    /// The buckets of its functions.
    pub(super) states: Vec<Arc<State>>,
}

impl Compiled {
    pub(super) fn broken(why: String) -> Self {
        Self {
            plan: Err(why),
            running: Running::default(),
            states: Vec::new(),
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
        })
    }
}
