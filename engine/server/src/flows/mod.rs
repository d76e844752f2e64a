//! The supervisor of flows: what runs follows what the catalog declares.
//!
//! What lives here: from the catalog's entry to a flow's setup, and starting, changing and stopping flows. What may not come
//! in: how a flow reads, runs and commits (that is JetStream's room).

mod build;
mod compile;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_cluster::{Catalog, FlowEntry, Node, flow_key, rerun_key};
use millstream_jetstream::{
    Flow, FlowEffects, FlowSetup, FlowStatus, JetStream, QuerySetup, state_stream,
};
use tracing::{error, warn};

pub(crate) use self::build::shape;
use self::compile::Compiled;
use crate::compile::Compiler;
use crate::functions::States;

/// How long a change waits for flows to begin: one that runs a slow function takes no notice until its batch has ended, and
/// nobody else is to wait for that. Its status tells.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Bytes of results that a query may keep back while it is built, unless its `state_limit` says so.
const KEPT: u64 = 1 << 30;

/// One that runs, and what it was made from.
struct Running {
    flow: Arc<Flow>,
    mark: String,
}

#[derive(Default)]
struct Table {
    /// By the key of the position.
    running: BTreeMap<String, Running>,
    closed: bool,
}

impl Table {
    /// The keys of those that the catalog does not have.
    fn unwanted(&self, catalog: &Catalog) -> Vec<String> {
        let flow = |name: &str| catalog.flows.get(name);
        let stays = |key: &str| {
            let name = name_of(key);
            if let Some(name) = name.strip_suffix("/rerun") {
                flow(name).is_some_and(|flow| flow.rerun.is_some())
            } else if let Some(name) = name.strip_suffix("/build") {
                flow(name).is_some_and(|flow| flow.build.is_some())
            } else {
                flow(name).is_some()
            }
        };
        let keys = self.running.keys().filter(|key| !stays(key));
        keys.cloned().collect()
    }
}

fn name_of(key: &str) -> &str {
    key.strip_prefix("flow/").unwrap_or(key)
}

/// All flows of this server.
pub(crate) struct Flows {
    jetstream: JetStream,
    node: Arc<Node>,
    compiler: Arc<Compiler>,
    table: Mutex<Table>,
    /// Held while what runs is changed, which awaits: one change at a time.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

impl Flows {
    /// Nothing runs before the first [`Flows::sync`].
    pub(crate) fn new(jetstream: JetStream, node: Arc<Node>, compiler: Arc<Compiler>) -> Arc<Self> {
        let (table, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self {
            jetstream,
            node,
            compiler,
            table,
            turn,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flow of this name; `None` when the catalog had none at the last [`Flows::sync`].
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Flow>> {
        let table = self.table();
        Some(Arc::clone(&table.running.get(&flow_key(name))?.flow))
    }

    /// What a flow is doing.
    pub(crate) fn status(&self, name: &str) -> Option<FlowStatus> {
        self.get(name).map(|flow| flow.status())
    }

    /// What a flow's rerun is doing, when there was one.
    pub(crate) fn rerun_status(&self, name: &str) -> Option<FlowStatus> {
        let flow = {
            let table = self.table();
            Arc::clone(&table.running.get(&rerun_key(name))?.flow)
        };
        Some(flow.status())
    }

    /// Brings what runs in line with the catalog: a flow that was changed goes on as it is declared now with its next batch,
    /// and the place where a new one begins is in the log, unless that takes too long. Goes on to its end when the caller goes away.
    pub(crate) async fn sync(self: &Arc<Self>) {
        let own = Arc::clone(self);
        if let Err(panic) = tokio::spawn(async move { own.follow().await }).await {
            error!("flows could not follow the catalog: {panic}");
        }
    }

    /// Stops everything for good.
    pub(crate) async fn stop_all(&self) {
        let _turn = self.turn.lock().await;
        let all = {
            let mut table = self.table();
            table.closed = true;
            std::mem::take(&mut table.running)
        };
        for running in all.into_values() {
            running.flow.stop().await;
        }
    }

    async fn follow(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        let catalog = self.node.catalog().clone();
        let (mut gone, mut untidy) = (Vec::new(), BTreeSet::new());
        {
            let mut table = self.table();
            if table.closed {
                return;
            }
            let (names, ended) = table.promote(&catalog);
            untidy.extend(names);
            gone.extend(ended);
            for key in table.unwanted(&catalog) {
                gone.extend(table.running.remove(&key));
                untidy.extend(name_of(&key).strip_suffix("/build").map(str::to_owned));
            }
        }
        for running in gone {
            running.flow.stop().await;
        }
        let mut changed = Vec::new();
        for entry in catalog.flows.values() {
            if entry.spec.query.is_some() && self.get(&entry.spec.name).is_none() {
                untidy.insert(entry.spec.name.clone());
            }
            changed.extend(self.adjust(&catalog, entry).await);
            if let Some(build) = &entry.build
                && let Some(flow) = self.adjust_build(&catalog, entry, build).await
            {
                untidy.insert(entry.spec.name.clone());
                changed.push(flow);
            }
        }
        if !all_ready(&changed).await {
            warn!(target: "nats", "flows take their time to follow the catalog; see their status");
        }
        for name in untidy {
            self.jetstream.tidy_state(&name).await;
        }
    }

    /// Starts or changes a flow, and its rerun; answers those that did change.
    async fn adjust(&self, catalog: &Catalog, entry: &FlowEntry) -> Vec<Arc<Flow>> {
        let mark = compile::mark(catalog, entry);
        let name = &entry.spec.name;
        let (own_key, rerun_key) = (flow_key(name), rerun_key(name));
        let rerun = entry.rerun.as_ref();
        let same = |key: &str| {
            let table = self.table();
            table
                .running
                .get(key)
                .is_some_and(|known| known.mark == mark)
        };
        if same(&own_key) && (rerun.is_none() || same(&rerun_key)) {
            return Vec::new();
        }
        let compiled = self.compiled(catalog, entry).await;
        if let Err(why) = &compiled.plan {
            warn!(target: "nats", "flow `{name}` stands still: {why}");
        }
        let mut changed = vec![self.put(own_key, &mark, setup(entry, &compiled)).await];
        if let Some(rerun) = rerun {
            let setup = FlowSetup {
                key: rerun_key.clone(),
                run: rerun.run,
                start: millstream_cluster::FlowStart::Sequence(rerun.from_seq),
                until: Some(rerun.to_seq),
                to: rerun.to.clone().or_else(|| entry.spec.to.clone()),
                paused: false,
                ..setup(entry, &compiled)
            };
            changed.push(self.put(rerun_key, &mark, setup).await);
        }
        changed
    }

    async fn compiled(&self, catalog: &Catalog, entry: &FlowEntry) -> Compiled {
        let (compiler, catalog, entry) =
            (Arc::clone(&self.compiler), catalog.clone(), entry.clone());
        let compiled = tokio::task::spawn_blocking(move || {
            let modules = |digest: &str| compiler.functions().module(digest);
            compiler.flow(&catalog, &entry, &modules)
        });
        match compiled.await {
            Ok(Ok(compiled)) => compiled,
            Ok(Err(problem)) => Compiled::broken(format!("{}: {problem}", problem.path)),
            Err(error) => Compiled::broken(error.to_string()),
        }
    }

    async fn put(&self, key: String, mark: &str, setup: FlowSetup) -> Arc<Flow> {
        let known = self
            .table()
            .running
            .get(&key)
            .map(|known| Arc::clone(&known.flow));
        let is_query = setup.query.is_some();
        let flow = match known {
            Some(flow) if flow.setup().query.is_some() != is_query => {
                // Deleted and made anew in the other form, or compiled only now.
                flow.stop().await;
                Arc::new(self.jetstream.flow(setup))
            }
            Some(flow) => {
                flow.change(setup);
                flow
            }
            None => Arc::new(self.jetstream.flow(setup)),
        };
        let running = Running {
            flow: Arc::clone(&flow),
            mark: mark.to_owned(),
        };
        self.table().running.insert(key, running);
        flow
    }
}

/// Waits until flows have begun, but not for ever; false when they have not.
async fn all_ready(flows: &[Arc<Flow>]) -> bool {
    let all = async {
        for flow in flows {
            flow.ready().await;
        }
    };
    tokio::time::timeout(LONGEST_WAIT, all).await.is_ok()
}

fn setup(entry: &FlowEntry, compiled: &Compiled) -> FlowSetup {
    let spec = &entry.spec;
    let query = compiled.query.as_ref().map(|compiled| {
        Arc::new(QuerySetup {
            query: Arc::clone(&compiled.query),
            sources: compiled.sources.clone(),
            layout: compiled.layout,
            late: compiled.late.clone(),
            state: state_stream(&spec.name),
            part: entry.part,
            upserts: compiled.upserts(),
            limit: spec
                .query
                .as_ref()
                .and_then(|query| query.state_limit)
                .unwrap_or(KEPT),
        })
    });
    let effects = (!compiled.states.is_empty())
        .then(|| Arc::new(States(compiled.states.clone())) as Arc<dyn FlowEffects>);
    FlowSetup {
        name: spec.name.clone(),
        key: flow_key(&spec.name),
        run: entry.run,
        from: spec.from.clone(),
        filter: spec.filter().to_owned(),
        start: entry.start.unwrap_or(spec.start),
        until: None,
        to: match &spec.query {
            Some(query) => Some(query.into.clone()),
            None => spec.to.clone(),
        },
        // What was applied was checked.
        subject: spec.template().ok().flatten(),
        plan: compiled.plan.clone(),
        running: compiled.running.clone(),
        version: entry.version,
        paused: spec.paused,
        effects,
        query,
        build: None,
    }
}
