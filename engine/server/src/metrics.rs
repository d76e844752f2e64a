//! `/metrics`: Prometheus (OpenMetrics) text. Stages count as they work; the rest is read when asked.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use millstream_cluster::Kind;
use millstream_jetstream::FlowState;
use millstream_pipeline::{FunctionMetrics, PipelineMetrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::manage::{Manager, direction};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stream {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Consumer {
    stream: String,
    consumer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connector {
    kind: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowName {
    flow: String,
}

type Flows = Family<FlowName, Gauge>;
type Streams = Family<Stream, Gauge>;
type Consumers = Family<Consumer, Gauge>;
type Connectors = Family<Connector, Gauge>;

/// Values that are set when the page is asked for.
#[derive(Default)]
struct Read {
    plain: Vec<(&'static str, Gauge)>,
    messages: Streams,
    bytes: Streams,
    last_seq: Streams,
    pending: Consumers,
    unacknowledged: Consumers,
    records: Connectors,
    errors: Connectors,
    flows: Vec<(&'static str, Flows)>,
}

/// The metrics of a server.
pub(crate) struct Metrics {
    inside: Mutex<(Registry, Read)>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

const FLOWS: [(&str, &str); 12] = [
    ("lag_messages", "Messages a flow has still to deal with"),
    (
        "lag_seconds",
        "Age of the oldest message a flow has still to deal with",
    ),
    (
        "records_in",
        "Messages that a flow has dealt with since it began or was restarted",
    ),
    ("records_out", "Messages that a flow made of them"),
    ("records_rejected", "Messages that became dead letters"),
    (
        "records_parked",
        "Messages that are put aside to be tried again",
    ),
    (
        "records_late",
        "Rows that came behind the end of their window, of a query",
    ),
    (
        "state_bytes",
        "Bytes of state that a query has, in memory and on local disk",
    ),
    ("state_rows", "Entries of state that a query has"),
    (
        "spilled_bytes",
        "Bytes of a query's state that are on local disk",
    ),
    (
        "spilled_rows",
        "Entries of a query's state that are on local disk",
    ),
    ("running", "1 while a flow takes what comes"),
];

const PLAIN: [(&str, &str); 15] = [
    ("connections", "Clients connected now"),
    ("subscriptions", "Subscriptions now"),
    ("in_messages", "Messages from clients since the start"),
    ("out_messages", "Messages to clients since the start"),
    ("in_bytes", "Bytes from clients since the start"),
    ("out_bytes", "Bytes to clients since the start"),
    (
        "slow_consumers",
        "Clients cut off because they read too slowly",
    ),
    ("log_healthy", "1 while the log takes writes"),
    (
        "log_full",
        "1 when there was no space on the disk when messages came last: they were refused",
    ),
    ("log_disk_bytes", "Bytes of the log's files"),
    (
        "log_written_bytes",
        "Bytes written to the log since the start",
    ),
    ("log_syncs", "Syncs of the log since the start"),
    ("log_queued_bytes", "Bytes that wait to be written"),
    (
        "log_damaged_places",
        "Places of the log that are not as they were written",
    ),
    (
        "index_bytes",
        "Bytes of the streams' indexes that are in memory",
    ),
];

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    pub(crate) fn new(pipelines: &PipelineMetrics, functions: &FunctionMetrics) -> Self {
        let mut registry = Registry::with_prefix("millstream");
        pipelines.register(&mut registry);
        functions.register(&mut registry);
        let mut read = Read::default();
        for (name, help) in PLAIN {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            read.plain.push((name, gauge));
        }
        registry.register(
            "stream_messages",
            "Messages a stream holds",
            read.messages.clone(),
        );
        registry.register("stream_bytes", "Bytes a stream holds", read.bytes.clone());
        registry.register(
            "stream_last_sequence",
            "The last sequence a stream gave",
            read.last_seq.clone(),
        );
        registry.register(
            "consumer_pending",
            "Messages not delivered yet",
            read.pending.clone(),
        );
        registry.register(
            "consumer_unacknowledged",
            "Deliveries that wait for their acknowledgement",
            read.unacknowledged.clone(),
        );
        registry.register(
            "connector_records",
            "Records a connector moved since its start",
            read.records.clone(),
        );
        registry.register(
            "connector_errors",
            "Errors of a connector since its start",
            read.errors.clone(),
        );
        for (name, help) in FLOWS {
            let family = Flows::default();
            registry.register(format!("flow_{name}"), help, family.clone());
            read.flows.push((name, family));
        }
        Self {
            inside: Mutex::new((registry, read)),
        }
    }

    /// The page.
    pub(crate) fn text(&self, manager: &Manager) -> String {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let (registry, read) = &*inside;
        read.plain(manager);
        read.flows(manager);
        read.streams(manager);
        read.connectors(manager);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _infallible = encode(&mut text, registry);
        text
    }
}

impl Read {
    fn plain(&self, manager: &Manager) {
        let stats = manager.broker.stats();
        let log = manager.group.status();
        for (name, gauge) in &self.plain {
            gauge.set(match *name {
                "connections" => whole(stats.connections as u64),
                "subscriptions" => whole(stats.subscriptions as u64),
                "in_messages" => whole(stats.in_msgs),
                "out_messages" => whole(stats.out_msgs),
                "in_bytes" => whole(stats.in_bytes),
                "out_bytes" => whole(stats.out_bytes),
                "slow_consumers" => whole(stats.slow_consumers),
                "log_healthy" => i64::from(log.journal.failed.is_none()),
                "log_full" => i64::from(log.journal.full),
                "log_disk_bytes" => whole(log.disk_bytes),
                "log_written_bytes" => whole(log.journal.written),
                "log_syncs" => whole(log.journal.syncs),
                "log_damaged_places" => whole(log.journal.damaged),
                "index_bytes" => whole(manager.node.index_bytes() as u64),
                _ => whole(log.journal.queued as u64),
            });
        }
    }

    fn streams(&self, manager: &Manager) {
        // What is gone must not stay on the page.
        self.messages.clear();
        self.bytes.clear();
        self.last_seq.clear();
        self.pending.clear();
        self.unacknowledged.clear();
        let now = millstream_types::Timestamp::now();
        for cell in manager.node.streams() {
            let labels = Stream {
                stream: cell.name.clone(),
            };
            let mut stream = cell.lock();
            self.messages
                .get_or_create(&labels)
                .set(whole(stream.messages()));
            self.bytes.get_or_create(&labels).set(whole(stream.bytes()));
            self.last_seq
                .get_or_create(&labels)
                .set(whole(stream.last_seq()));
            let names: Vec<String> = stream.consumers.keys().cloned().collect();
            for name in names {
                let Some(info) = stream.consumer_info(&name, now) else {
                    continue;
                };
                let labels = Consumer {
                    stream: cell.name.clone(),
                    consumer: name,
                };
                self.pending
                    .get_or_create(&labels)
                    .set(whole(info.num_pending));
                self.unacknowledged
                    .get_or_create(&labels)
                    .set(whole(info.num_ack_pending as u64));
            }
        }
    }

    fn flows(&self, manager: &Manager) {
        for (_, family) in &self.flows {
            family.clear();
        }
        let Some(flows) = &manager.flows else { return };
        let names: Vec<String> = manager.node.catalog().flows.keys().cloned().collect();
        for flow in names {
            let Some(status) = flows.status(&flow) else {
                continue;
            };
            let labels = FlowName { flow };
            for (name, family) in &self.flows {
                let value = match *name {
                    "lag_messages" => status.lag_messages,
                    "lag_seconds" => status.lag_seconds,
                    "records_in" => status.totals.inputs,
                    "records_out" => status.totals.outputs,
                    "records_rejected" => status.totals.rejected,
                    "records_parked" => status.parked,
                    "records_late" => status.totals.late,
                    "state_bytes" => status.query.as_ref().map_or(0, |query| query.state_bytes),
                    "state_rows" => status.query.as_ref().map_or(0, |query| query.state_rows),
                    "spilled_bytes" => status.query.as_ref().map_or(0, |query| query.spilled_bytes),
                    "spilled_rows" => status.query.as_ref().map_or(0, |query| query.spilled_rows),
                    _ => u64::from(status.state == FlowState::Running),
                };
                family.get_or_create(&labels).set(whole(value));
            }
        }
    }

    fn connectors(&self, manager: &Manager) {
        self.records.clear();
        self.errors.clear();
        let Some(connectors) = &manager.connectors else {
            return;
        };
        let catalog = manager.node.catalog().clone();
        let sources = catalog.sources.keys().map(|name| (Kind::Source, name));
        for (kind, name) in sources.chain(catalog.sinks.keys().map(|name| (Kind::Sink, name))) {
            let Some(status) = connectors.status(direction(kind), name) else {
                continue;
            };
            let labels = Connector {
                kind: kind.to_string(),
                name: name.clone(),
            };
            self.records
                .get_or_create(&labels)
                .set(whole(status.records));
            self.errors.get_or_create(&labels).set(whole(status.errors));
        }
    }
}
