//! The supervisor of sources and sinks: what runs follows what the catalog declares.
//!
//! What lives here: starting, restarting and stopping connectors, and the broker's side of them over the door and the feed
//! of JetStream. What may not come in: retry and batching (`connectors/runtime`), any outside system.

mod sink;
mod source;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_cluster::{Command, Node};
use millstream_connector_api::{Config, Environment, Kind};
use millstream_connector_file::{FileSink, FileSource};
use millstream_connector_http::{HttpSink, HttpSource};
use millstream_connector_runtime::{Backoff, Catalog, Handle, State, Status, run_sink, run_source};
use millstream_jetstream::JetStream;
use millstream_pipeline::Reading;
use millstream_spec::SinkSpec;
use millstream_streams::Command as StreamCommand;
use tokio::task::JoinSet;
use tracing::{error, warn};

use self::sink::Outlet;
use self::source::{Gate, Inlet};
use crate::compile::format_of;
use crate::shelf::Shelf;

/// Description of the consumers that are sinks' cursors, as the feed makes them.
const CURSOR: &str = "cursor of a sink";

type Key = (Kind, String);

/// What the catalog asks for.
struct Wanted {
    version: u64,
    connector: String,
    config: Config,
    /// Empty for a source.
    station: String,
    /// In which form a sink wants its records, or why that cannot be read.
    reading: Result<Option<Reading>, String>,
    /// Number of the stream a sink reads: a station that was made anew needs a new cursor.
    stream: Option<u32>,
}

/// In which form a sink wants its records.
///
/// # Errors
/// What cannot be read.
pub(crate) fn reading_of(spec: &SinkSpec) -> Result<Option<Reading>, String> {
    let format = spec.decode.map(|format| format_of(format).as_str());
    let reading = Reading::parse(format, spec.read_as.as_deref(), None);
    reading.map_err(|error| error.to_string())
}

/// What is there.
struct Running {
    version: u64,
    stream: Option<u32>,
    gate: Gate,
    /// The reason when it could not be started.
    handle: Result<Handle, String>,
}

impl Running {
    fn status(&self) -> Status {
        match &self.handle {
            Ok(handle) => handle.status(),
            Err(reason) => Status {
                state: State::Failed,
                errors: 1,
                last_error: Some(reason.clone()),
                ..Status::default()
            },
        }
    }

    /// What failed is tried again whenever something is applied: the outside may have been mended meanwhile.
    fn serves(&self, wanted: &Wanted) -> bool {
        self.version == wanted.version
            && self.stream == wanted.stream
            && self.status().state != State::Failed
    }
}

#[derive(Default)]
struct Table {
    running: BTreeMap<Key, Running>,
    closed: bool,
}

/// All sources and sinks of this server.
pub(crate) struct Connectors {
    jetstream: JetStream,
    node: Arc<Node>,
    shelf: Arc<Shelf>,
    allow_private_addresses: bool,
    offered: Catalog,
    table: Mutex<Table>,
    /// Held while what runs is changed, which awaits: one change at a time.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Connectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connectors").finish_non_exhaustive()
    }
}

impl Connectors {
    /// Nothing runs before the first [`Connectors::sync`].
    pub(crate) fn new(
        jetstream: JetStream,
        node: Arc<Node>,
        shelf: Arc<Shelf>,
        allow_private_addresses: bool,
    ) -> Arc<Self> {
        let offered = Catalog::new(vec![
            Arc::new(FileSource),
            Arc::new(HttpSource),
            Arc::new(FileSink),
            Arc::new(HttpSink),
        ]);
        let (table, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self {
            jetstream,
            node,
            shelf,
            allow_private_addresses,
            offered,
            table,
            turn,
        })
    }

    /// The connectors this server offers, to check and to redact configurations with.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.offered
    }

    /// What a source or sink is doing; `None` when the catalog had none of this name at the last [`Connectors::sync`].
    pub(crate) fn status(&self, kind: Kind, name: &str) -> Option<Status> {
        self.table()
            .running
            .get(&(kind, name.to_owned()))
            .map(Running::status)
    }

    /// Brings what runs in line with the catalog. Goes on to its end when the caller goes away.
    pub(crate) async fn sync(self: &Arc<Self>) {
        let own = Arc::clone(self);
        if let Err(panic) = tokio::spawn(async move { own.follow().await }).await {
            error!("sources and sinks could not follow the catalog: {panic}");
        }
    }

    /// Stops everything for good; each connector has about ten seconds.
    pub(crate) async fn stop_all(&self) {
        let _turn = self.turn.lock().await;
        let all = {
            let mut table = self.table();
            table.closed = true;
            std::mem::take(&mut table.running)
        };
        stop(all).await;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self) {
        let _turn = self.turn.lock().await;
        let mut wanted = self.wanted();
        let mut gates = BTreeMap::new();
        let gone = {
            let mut table = self.table();
            if table.closed {
                return;
            }
            let stays = |key: &Key, running: &Running| {
                wanted.get(key).is_some_and(|wanted| running.serves(wanted))
            };
            let (keep, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut table.running)
                .into_iter()
                .partition(|(key, running)| stays(key, running));
            wanted.retain(|key, _| !keep.contains_key(key));
            gates.extend(
                gone.iter()
                    .map(|(key, running)| (key.clone(), Arc::clone(&running.gate))),
            );
            table.running = keep;
            gone
        };
        stop(gone).await;
        self.drop_cursors().await;
        for (key, wanted) in wanted {
            let gate = gates.remove(&key).unwrap_or_default();
            let (version, stream) = (wanted.version, wanted.stream);
            let handle = self.start(&key, wanted, Arc::clone(&gate));
            if let Err(reason) = &handle {
                warn!("{} `{}` cannot be started: {reason}", key.0, key.1);
            }
            self.table().running.insert(
                key,
                Running {
                    version,
                    stream,
                    gate,
                    handle,
                },
            );
        }
    }

    fn wanted(&self) -> BTreeMap<Key, Wanted> {
        let mut wanted = BTreeMap::new();
        {
            let catalog = self.node.catalog();
            for (name, entry) in &catalog.sources {
                let (connector, config) = (entry.spec.connector.clone(), entry.spec.config.clone());
                let station = String::new();
                let source = Wanted {
                    version: entry.version,
                    connector,
                    config,
                    station,
                    reading: Ok(None),
                    stream: None,
                };
                wanted.insert((Kind::Source, name.clone()), source);
            }
            for (name, entry) in &catalog.sinks {
                let (connector, config) = (entry.spec.connector.clone(), entry.spec.config.clone());
                let station = entry.spec.station.clone();
                let sink = Wanted {
                    version: entry.version,
                    connector,
                    config,
                    station,
                    reading: reading_of(&entry.spec),
                    stream: None,
                };
                wanted.insert((Kind::Sink, name.clone()), sink);
            }
        }
        for sink in wanted
            .values_mut()
            .filter(|wanted| !wanted.station.is_empty())
        {
            sink.stream = self.node.stream(&sink.station).map(|cell| cell.id);
        }
        wanted
    }

    fn start(&self, (kind, name): &Key, wanted: Wanted, gate: Gate) -> Result<Handle, String> {
        let connector = self
            .offered
            .validate(*kind, &wanted.connector, &wanted.config)
            .map_err(|problems| {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                texts.join("; ")
            })?;
        let environment = Environment {
            name: name.clone(),
            station: wanted.station.clone(),
            base_dir: None,
            allow_private_addresses: self.allow_private_addresses,
        };
        let node = Arc::clone(&self.node);
        let started = match kind {
            Kind::Source => {
                let inlet = Inlet::new(name, self.jetstream.ingest(), node, gate);
                run_source(
                    connector,
                    wanted.config,
                    environment,
                    Arc::new(inlet),
                    Backoff::default(),
                )
            }
            Kind::Sink => {
                let (schemas, jetstream) = (Arc::clone(&self.shelf), self.jetstream.clone());
                let reading = wanted.reading?;
                let station = &wanted.station;
                let outlet = Outlet::new(name, station, reading, schemas, jetstream, node);
                run_sink(connector, wanted.config, environment, Arc::new(outlet))
            }
        };
        started.map_err(|error| error.to_string())
    }

    /// Removes the cursors of sinks that are gone or read another station now, also those that went while the server was
    /// down: a sink made anew begins anew.
    async fn drop_cursors(&self) {
        let sinks: BTreeMap<String, String> = {
            let catalog = self.node.catalog();
            catalog
                .sinks
                .iter()
                .map(|(name, entry)| (name.clone(), entry.spec.station.clone()))
                .collect()
        };
        let mut left = Vec::new();
        for cell in self.node.streams() {
            let stream = cell.lock();
            let cursors = stream
                .consumers
                .iter()
                .filter(|(_, consumer)| consumer.config.description.as_deref() == Some(CURSOR));
            let unused = cursors.map(|(name, _)| name).filter(|name| {
                let sink = name.strip_prefix("sink-");
                sink.is_some_and(|sink| sinks.get(sink) != Some(&cell.name))
            });
            left.extend(unused.map(|name| (cell.id, name.clone())));
        }
        for (stream, name) in left {
            let command = Command::Stream(StreamCommand::DeleteConsumer {
                stream,
                name: name.clone(),
            });
            if let Err(error) = self.jetstream.propose(&command).await {
                warn!("cursor `{name}` is not removed: {error}");
            }
        }
    }
}

async fn stop(gone: BTreeMap<Key, Running>) {
    let mut stopping = JoinSet::new();
    for ((kind, _), running) in gone {
        if let Ok(handle) = running.handle {
            stopping.spawn(async move {
                handle.stop().await;
                // A sink's feed gives back what it holds when its task is gone, a moment after its last status; only then may
                // the next one read. A listener's open connections keep that moment away, and have nothing to give back.
                if kind == Kind::Sink {
                    handle.kill().await;
                }
            });
        }
    }
    while let Some(ended) = stopping.join_next().await {
        if let Err(panic) = ended {
            error!("a connector did not stop: {panic}");
        }
    }
}
