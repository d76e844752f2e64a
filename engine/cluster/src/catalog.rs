//! What users declared: schemas, functions, stations, connectors. Pure data, changed only by applied commands.

use std::collections::BTreeMap;

use millstream_schema_registry::{RegisterError, Registry, RegistryChange};
use millstream_spec::{
    FlowSpec, FlowStart, Kind, SinkSpec, SourceSpec, StageSpec, StationSpec, TrialSpec,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::flows::{FlowEntry, FlowRerun, build_key, flow_key, rerun_key, run_of};
use crate::functions::{Deployment, FunctionEntry, Switch};

/// A station as applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StationEntry {
    /// What the user wrote.
    pub spec: StationSpec,
    /// Counts up with every change, from 1.
    pub version: u64,
    /// When it was first applied.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
}

/// A source or sink as applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectorEntry<S> {
    /// What the user wrote; may hold secrets, so it is redacted before it is shown.
    pub spec: S,
    /// Counts up with every change, from 1.
    pub version: u64,
    /// When it was last changed.
    pub updated: i64,
}

/// One change of the catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum CatalogChange {
    /// Changes the schema registry.
    Registry {
        /// What was decided, whole. Not called `change`: that is the tag's name.
        registry: RegistryChange,
    },
    /// Registers a schema version, unless the same text is there. Written by releases before `Registry`, still applied.
    PutSchema {
        /// Registry subject.
        name: String,
        /// Always `json`.
        format: String,
        /// The schema itself.
        text: String,
        /// The subject's compatibility level.
        compatibility: String,
    },
    /// Deploys a function.
    PutFunction(Deployment),
    /// Deploys a version that is tried beside the one that runs. A change of its own kind: a release that does not know of
    /// trials must not take it for a deployment.
    TryFunction {
        /// The version.
        deployment: Deployment,
        /// How it is tried.
        trial: TrialSpec,
    },
    /// Makes another version of a function run, or ends the trial of one.
    SwitchFunction {
        /// Which function.
        name: String,
        /// What is done.
        switch: Switch,
        /// By whom.
        by: String,
        /// What for.
        why: String,
    },
    /// Creates or changes a station's declaration; its streams are commands of their own in the same entry.
    PutStation {
        /// What the user wrote.
        spec: StationSpec,
    },
    /// Attaches or changes a source.
    PutSource {
        /// What the user wrote.
        spec: SourceSpec,
    },
    /// Attaches or changes a sink.
    PutSink {
        /// What the user wrote.
        spec: SinkSpec,
    },
    /// Creates or changes a flow.
    PutFlow {
        /// What the user wrote.
        spec: FlowSpec,
    },
    /// Has a flow begin anew; its position is forgotten.
    RestartFlow {
        /// Which flow.
        name: String,
        /// Where it begins.
        start: FlowStart,
    },
    /// Has a flow read a range once more, beside what it does anyway; takes the place of the range before.
    RerunFlow {
        /// Which flow.
        name: String,
        /// The first sequence.
        from_seq: u64,
        /// The last sequence.
        to_seq: u64,
        /// The station that gets what keeps its subject; absent: the flow's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Has a changed query built beside the one that runs.
    BuildFlow {
        /// What the user wrote.
        spec: FlowSpec,
    },
    /// Gives up what is built; what runs goes on.
    CancelBuild {
        /// Which flow.
        name: String,
    },
    /// What was built takes over.
    SwitchFlow {
        /// Which flow.
        name: String,
        /// The run of the build.
        run: u64,
        /// Where what ran stands: it has not gone on since.
        before: String,
        /// Where what was built stands.
        position: String,
    },
    /// Removes a declaration.
    Delete {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// Changes that belong together, with the proposer's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CatalogCommand {
    /// The proposer's clock, nanoseconds since 1970.
    pub time: i64,
    /// Applied in order.
    pub changes: Vec<CatalogChange>,
}

/// Why a catalog cannot be changed or read.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The registry refused a schema.
    #[error("schema `{name}` is refused: {source}")]
    Schema {
        /// The registry subject.
        name: String,
        /// Why.
        source: RegisterError,
    },
    /// A checkpoint that does not parse.
    #[error("catalog checkpoint is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// The catalog.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Catalog {
    /// Schemas by subject.
    pub schemas: Registry,
    /// Functions by name.
    pub functions: BTreeMap<String, FunctionEntry>,
    /// Stations by name.
    pub stations: BTreeMap<String, StationEntry>,
    /// Sources by name.
    pub sources: BTreeMap<String, ConnectorEntry<SourceSpec>>,
    /// Sinks by name.
    pub sinks: BTreeMap<String, ConnectorEntry<SinkSpec>>,
    /// Flows by name. Absent in catalogs of releases before they were.
    #[serde(default)]
    pub flows: BTreeMap<String, FlowEntry>,
    /// Where each source and each flow stands.
    pub positions: BTreeMap<String, Vec<u8>>,
    /// Counts applied catalog commands.
    pub version: u64,
}

impl Catalog {
    /// Applies one command; a refused schema leaves what came before it in the command applied, so callers check first.
    ///
    /// # Errors
    /// When the registry refuses a schema.
    pub fn apply(&mut self, command: CatalogCommand) -> Result<(), CatalogError> {
        let time = command.time;
        self.version += 1;
        for change in command.changes {
            self.change(change, time)?;
        }
        Ok(())
    }

    fn change(&mut self, change: CatalogChange, time: i64) -> Result<(), CatalogError> {
        match change {
            CatalogChange::Registry { registry } => self.schemas.apply(registry),
            CatalogChange::PutSchema {
                name,
                format,
                text,
                compatibility,
            } => {
                self.schemas
                    .register(&name, &format, &text, &compatibility)
                    .map_err(|source| CatalogError::Schema { name, source })?;
            }
            CatalogChange::PutFunction(deployment) => self.deploy(deployment, None, time),
            CatalogChange::TryFunction { deployment, trial } => {
                self.deploy(deployment, Some(trial), time);
            }
            CatalogChange::SwitchFunction {
                name,
                switch,
                by,
                why,
            } => {
                if let Some(entry) = self.functions.get_mut(&name) {
                    entry.switch(switch, time, by, why);
                }
            }
            CatalogChange::PutStation { spec } => {
                let old = self.stations.get(&spec.name);
                let entry = StationEntry {
                    version: old.map_or(0, |old| old.version) + 1,
                    created: old.map_or(time, |old| old.created),
                    updated: time,
                    spec,
                };
                self.stations.insert(entry.spec.name.clone(), entry);
            }
            CatalogChange::PutSource { spec } => {
                put_connector(&mut self.sources, spec.name.clone(), spec, time)
            }
            CatalogChange::PutSink { spec } => {
                put_connector(&mut self.sinks, spec.name.clone(), spec, time)
            }
            change @ (CatalogChange::PutFlow { .. }
            | CatalogChange::RestartFlow { .. }
            | CatalogChange::RerunFlow { .. }) => self.change_flow(change, time),
            change @ (CatalogChange::BuildFlow { .. }
            | CatalogChange::CancelBuild { .. }
            | CatalogChange::SwitchFlow { .. }) => self.change_build(change, time),
            CatalogChange::Delete { kind, name } => self.delete(kind, &name),
        }
        Ok(())
    }

    fn change_flow(&mut self, change: CatalogChange, time: i64) {
        let run = self.version;
        match change {
            CatalogChange::PutFlow { spec } => {
                let entry = match self.flows.remove(&spec.name) {
                    Some(old) => old.changed(spec, time),
                    None => FlowEntry::new(spec, run, time),
                };
                if entry.rerun.is_none() {
                    self.positions.remove(&rerun_key(&entry.spec.name));
                }
                self.flows.insert(entry.spec.name.clone(), entry);
            }
            CatalogChange::RestartFlow { name, start } => {
                if let Some(flow) = self.flows.get_mut(&name) {
                    (flow.run, flow.start) = (run, Some(start));
                    flow.updated = time;
                    // What was declared last begins anew, and nothing needs to be built beside it.
                    if let Some(build) = flow.build.take() {
                        (flow.spec, flow.version) = (build.spec, flow.version + 1);
                    }
                    self.positions.remove(&flow_key(&name));
                    self.positions.remove(&build_key(&name));
                }
            }
            CatalogChange::RerunFlow {
                name,
                from_seq,
                to_seq,
                to,
            } => {
                if let Some(flow) = self.flows.get_mut(&name) {
                    flow.rerun = Some(FlowRerun {
                        run,
                        from_seq,
                        to_seq,
                        to,
                        started: time,
                    });
                    self.positions.remove(&rerun_key(&name));
                }
            }
            _ => {}
        }
    }

    fn change_build(&mut self, change: CatalogChange, time: i64) {
        let run = self.version;
        match change {
            CatalogChange::BuildFlow { spec } => {
                if let Some(flow) = self.flows.get_mut(&spec.name) {
                    let name = spec.name.clone();
                    flow.build(spec, run, time);
                    if flow.build.as_ref().is_some_and(|build| build.run == run) {
                        self.positions.remove(&build_key(&name));
                    }
                }
            }
            CatalogChange::CancelBuild { name } => {
                if let Some(flow) = self.flows.get_mut(&name) {
                    flow.build = None;
                }
                self.positions.remove(&build_key(&name));
            }
            CatalogChange::SwitchFlow { name, position, .. } => {
                if let Some(mut flow) = self.flows.remove(&name) {
                    if let Some(build) = flow.build.take() {
                        flow = flow.switched(build, time);
                        self.positions.insert(flow_key(&name), position.into());
                        self.positions.remove(&build_key(&name));
                    }
                    self.flows.insert(name, flow);
                }
            }
            _ => {}
        }
    }

    /// Whether what was built may take over: it is what is to be built, and what runs stands where the other has caught up
    /// with it. Anything else may be changed.
    #[must_use]
    pub fn accepts_change(&self, change: &CatalogChange) -> bool {
        let CatalogChange::SwitchFlow {
            name, run, before, ..
        } = change
        else {
            return true;
        };
        let flow = self.flows.get(name);
        let build = flow.and_then(|flow| flow.build.as_ref());
        let stands = self.positions.get(&flow_key(name));
        build.is_some_and(|build| build.run == *run)
            && stands.is_some_and(|stands| stands == before.as_bytes())
    }

    /// Whether a position belongs to something that is there: a source, or a flow's run that was not restarted since.
    #[must_use]
    pub fn accepts_position(&self, key: &str, value: &[u8]) -> bool {
        let Some(flow) = key.strip_prefix("flow/") else {
            return self.sources.contains_key(key);
        };
        let run = if let Some(name) = flow.strip_suffix("/rerun") {
            let flow = self.flows.get(name);
            flow.and_then(|flow| Some(flow.rerun.as_ref()?.run))
        } else if let Some(name) = flow.strip_suffix("/build") {
            let flow = self.flows.get(name);
            flow.and_then(|flow| Some(flow.build.as_ref()?.run))
        } else {
            self.flows.get(flow).map(|flow| flow.run)
        };
        run.is_some() && run == run_of(value)
    }

    fn deploy(&mut self, deployment: Deployment, trial: Option<TrialSpec>, time: i64) {
        let name = deployment.spec.name.clone();
        let old = self.functions.remove(&name);
        let entry = FunctionEntry::deploy(old, deployment, trial, time);
        self.functions.insert(name, entry);
    }

    fn delete(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Schema => {
                // Deleting what is gone is no error on replay: the command was checked when it was proposed.
                let _gone = self.schemas.delete(name);
            }
            Kind::Function => {
                self.functions.remove(name);
            }
            Kind::Station => {
                self.stations.remove(name);
            }
            Kind::Flow => {
                self.flows.remove(name);
                self.positions.remove(&flow_key(name));
                self.positions.remove(&rerun_key(name));
                self.positions.remove(&build_key(name));
            }
            Kind::Source => {
                self.sources.remove(name);
                self.positions.remove(name);
            }
            Kind::Sink => {
                self.sinks.remove(name);
            }
        }
    }

    /// Which declarations would break if this one went away, as `kind name`.
    #[must_use]
    pub fn users_of(&self, kind: Kind, name: &str) -> Vec<String> {
        let stations = self.stations.values().filter(|entry| match kind {
            Kind::Schema => entry.spec.schemas().any(|(_, subject)| subject == name),
            Kind::Function => entry
                .spec
                .stages
                .iter()
                .any(|stage| matches!(stage, StageSpec::Function(own) if own == name)),
            Kind::Station | Kind::Flow | Kind::Source | Kind::Sink => false,
        });
        let sinks = self.sinks.values().filter(|entry| match kind {
            Kind::Station => entry.spec.station == name,
            Kind::Schema => entry.spec.schema() == Some(name),
            Kind::Function | Kind::Flow | Kind::Source | Kind::Sink => false,
        });
        let flows = self.flows.values().filter(|flow| match kind {
            Kind::Station => flow.uses_station(name),
            Kind::Function => flow.spec.functions().any(|own| own == name),
            Kind::Schema | Kind::Flow | Kind::Source | Kind::Sink => false,
        });
        let schemas = match kind {
            Kind::Function => self.schemas.migrated_by(name),
            _ => Vec::new(),
        };
        stations
            .map(|entry| format!("station `{}`", entry.spec.name))
            .chain(flows.map(|entry| format!("flow `{}`", entry.spec.name)))
            .chain(sinks.map(|entry| format!("sink `{}`", entry.spec.name)))
            .chain(
                schemas
                    .iter()
                    .map(|(subject, version)| format!("schema `{subject}:{version}`")),
            )
            .collect()
    }

    /// The catalog for a checkpoint.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: the catalog is plain data")
    }

    /// Reads a checkpoint's catalog.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, CatalogError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

fn put_connector<S>(
    map: &mut BTreeMap<String, ConnectorEntry<S>>,
    name: String,
    spec: S,
    time: i64,
) {
    let version = map.get(&name).map_or(0, |old| old.version) + 1;
    map.insert(
        name,
        ConnectorEntry {
            version,
            updated: time,
            spec,
        },
    );
}

#[cfg(test)]
mod tests;
