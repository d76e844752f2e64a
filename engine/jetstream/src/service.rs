//! The JetStream service: ties the node's streams to the broker and keeps the ties as streams come and go.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use millstream_broker::{Attachment, Broker, Publisher};
use millstream_cluster::{Command, Hooks, Node, Outcome, StreamCell, StreamChange};
use millstream_consensus::{Group, Proposal};
use millstream_journal::Durability;
use millstream_pipeline::Schemas;
use millstream_streams::ApiError;
use millstream_types::Message;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::ack_queue::AckQueue;
use crate::acks::AckDoor;
use crate::api::{self, ApiDoor};
use crate::due;
use crate::gather::Door;
use crate::give_way::Cores;
use crate::ingest::Ingest;
use crate::ingress::{Ingress, Pressure};
use crate::internal::is_internal;
use crate::plans::{PlanSource, Plans};
use crate::pump::Pumps;
use crate::read::Reader;
use crate::replies::Acker;

/// What the service is built from.
#[derive(Debug)]
pub struct Options {
    /// The broker whose clients it serves.
    pub broker: Broker,
    /// The log and its state.
    pub group: Group<Node>,
    /// The state the group applies to.
    pub node: Arc<Node>,
    /// Compiles stations' pipelines.
    pub plans: Arc<dyn PlanSource>,
    /// Compiled schemas, for consumers that want messages in another format or version than they are stored in.
    pub schemas: Arc<dyn Schemas>,
    /// Where `max_storage` and `max_memory` of account information come from; zero means unlimited.
    pub max_storage: u64,
    /// See `max_storage`.
    pub max_memory: u64,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker refused a subject.
    #[error("cannot attach to `{subject}`: {reason}")]
    Attach {
        /// Which subject.
        subject: String,
        /// Why.
        reason: String,
    },
}

/// What every part of the service shares.
pub(crate) struct Shared {
    pub(crate) broker: Broker,
    pub(crate) group: Group<Node>,
    pub(crate) node: Arc<Node>,
    pub(crate) acker: Acker,
    pub(crate) runtime: Handle,
    pub(crate) plans: Plans,
    pub(crate) schemas: Arc<dyn Schemas>,
    pub(crate) pumps: Pumps,
    pub(crate) ack_queue: AckQueue,
    pub(crate) cores: Cores,
    pub(crate) max_storage: u64,
    pub(crate) max_memory: u64,
    /// Publishes of the process itself to live subscribers; streams do not gather from it.
    live: Mutex<Publisher>,
    live_cid: u64,
    bound: RwLock<HashMap<u32, Bound>>,
    /// Flows, which look again when streams come or go.
    flows: Mutex<Vec<std::sync::Weak<Notify>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A stream's ties to the broker.
struct Bound {
    ingress: Arc<Ingress>,
    /// Its doors, by the subject they stand at.
    doors: BTreeMap<String, Attachment>,
}

/// A running JetStream service; cheap to clone.
#[derive(Clone, Debug)]
pub struct JetStream {
    pub(crate) shared: Arc<Shared>,
    _attachments: Arc<Vec<Attachment>>,
}

impl JetStream {
    /// Binds every recovered stream and starts serving. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the broker refuses one of the service's own subjects.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let broker = options.broker;
        let live = broker.publisher();
        let live_cid = live.origin().cid;
        let shared = Arc::new(Shared {
            acker: Acker::new(broker.publisher()),
            runtime: Handle::current(),
            plans: Plans::new(options.plans),
            schemas: options.schemas,
            pumps: Pumps::default(),
            ack_queue: AckQueue::default(),
            cores: Cores::default(),
            live: Mutex::new(live),
            live_cid,
            bound: RwLock::default(),
            flows: Mutex::default(),
            max_storage: options.max_storage,
            max_memory: options.max_memory,
            node: options.node,
            group: options.group,
            broker,
        });
        for cell in shared.node.streams() {
            shared.bind(&cell);
            let names: Vec<String> = cell.lock().consumers.keys().cloned().collect();
            for name in names {
                shared.pumps.ensure(&shared, &cell, &name);
            }
        }
        shared
            .node
            .set_hooks(Arc::new(ServiceHooks(Arc::downgrade(&shared))));
        let api = api::start(&shared);
        let attachments = vec![
            attach(
                &shared.broker,
                "$JS.API.>",
                Arc::new(ApiDoor::new(Arc::clone(&shared), api)),
            )?,
            attach(
                &shared.broker,
                "$JS.ACK.>",
                Arc::new(AckDoor(Arc::clone(&shared))),
            )?,
            attach(
                &shared.broker,
                "$JS.FC.>",
                Arc::new(crate::acks::FlowDoor(Arc::clone(&shared))),
            )?,
        ];
        due::start(&shared);
        Ok(Self {
            shared,
            _attachments: Arc::new(attachments),
        })
    }

    /// Publishing from inside the process.
    #[must_use]
    pub fn ingest(&self) -> Ingest {
        Ingest {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Reading stored messages.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Proposes a command and waits for what it came to.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn propose(&self, command: &Command) -> Result<Outcome, ApiError> {
        self.shared.propose_wait(command).await
    }

    /// Proposes the acknowledgements that are still gathered: before the log is closed.
    pub fn settle(&self) {
        self.shared.ack_queue.flush(&self.shared);
    }

    /// Compiles stations' plans anew after the catalog changed; each swaps in at its station's next batch.
    pub fn refresh_plans(&self) {
        self.shared.refresh_plans();
    }

    /// The compiled plan of a station, for its numbers.
    #[must_use]
    pub fn plan(&self, station: &str) -> Option<Arc<millstream_pipeline::Plan>> {
        let cell = self.shared.node.stream(station)?;
        let bound = self
            .shared
            .bound
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        bound.get(&cell.id)?.ingress.plan.load_full()
    }
}

impl JetStream {
    /// What waits at a station's door.
    #[must_use]
    pub fn pressure(&self, station: &str) -> Option<Pressure> {
        let cell = self.shared.node.stream(station)?;
        let bound = self
            .shared
            .bound
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Some(bound.get(&cell.id)?.ingress.pressure())
    }
}

fn attach(
    broker: &Broker,
    subject: &str,
    handler: Arc<dyn millstream_broker::Handler>,
) -> Result<Attachment, StartError> {
    broker
        .attach(subject, handler)
        .map_err(|error| StartError::Attach {
            subject: subject.to_owned(),
            reason: error.to_string(),
        })
}

/// How a command is kept in the log; by default synced and as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keep {
    /// What must have happened to it before it is acknowledged.
    pub(crate) durability: Durability,
    /// Compressed on disk.
    pub(crate) compress: bool,
}

impl Keep {
    /// As a stream wants its commands with `count` records. Those without are small.
    pub(crate) fn of(cell: &StreamCell, count: u32) -> Self {
        Self {
            durability: cell.durability,
            compress: count > 0 && cell.compresses(),
        }
    }

    /// What several commands that are kept together need.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            durability: self.durability.max(other.durability),
            compress: self.compress || other.compress,
        }
    }
}

impl Shared {
    /// Proposes a command of one stream; `done` runs on the apply thread, or here when the log refuses at once.
    pub(crate) fn propose(
        &self,
        cell: &StreamCell,
        count: u32,
        command: &Command,
        done: impl FnOnce(Result<Outcome, ApiError>) + Send + 'static,
    ) {
        let keep = Keep::of(cell, count);
        self.propose_raw(cell.id, count, keep, command, done);
    }

    pub(crate) fn propose_raw(
        &self,
        stream: u32,
        count: u32,
        keep: Keep,
        command: &Command,
        done: impl FnOnce(Result<Outcome, ApiError>) + Send + 'static,
    ) {
        self.propose_encoded(stream, count, keep, command.encode(), done);
    }

    pub(crate) fn propose_encoded(
        &self,
        stream: u32,
        count: u32,
        keep: Keep,
        (head, body): (Bytes, Bytes),
        done: impl FnOnce(Result<Outcome, ApiError>) + Send + 'static,
    ) {
        self.cores.published(count);
        let proposal = Proposal {
            stream,
            count,
            head,
            body,
            durability: keep.durability,
            compress: keep.compress,
            // Changes of streams, consumers and the catalog; not messages.
            important: stream == 0 && count == 0,
        };
        self.group.propose_with(
            proposal,
            Box::new(move |result| {
                done(result.map_err(|error| ApiError::internal(&error.to_string())))
            }),
        );
    }

    pub(crate) async fn propose_wait(
        self: &Arc<Self>,
        command: &Command,
    ) -> Result<Outcome, ApiError> {
        self.ack_queue.flush(self);
        let (tell, wait) = tokio::sync::oneshot::channel();
        self.propose_raw(0, 0, Keep::default(), command, move |outcome| {
            // A requester that went away needs no answer.
            let _gone = tell.send(outcome);
        });
        wait.await
            .unwrap_or_else(|_| Err(ApiError::internal("server is shutting down")))
    }

    /// The entrance of the stream that stores this subject.
    pub(crate) fn ingress_for(&self, subject: &[u8]) -> Option<Arc<Ingress>> {
        let bound = self.bound.read().unwrap_or_else(PoisonError::into_inner);
        let found = bound
            .values()
            .find(|bound| bound.ingress.cell.lock().captures(subject));
        let found = found.filter(|bound| !is_internal(&bound.ingress.cell.name));
        found.map(|bound| Arc::clone(&bound.ingress))
    }

    pub(crate) fn flows_wake(&self) -> std::sync::MutexGuard<'_, Vec<std::sync::Weak<Notify>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams came or went: flows may read or write them.
    fn wake_flows(&self) {
        self.flows_wake().retain(|flow| {
            let flow = flow.upgrade();
            flow.is_some_and(|flow| {
                flow.notify_one();
                true
            })
        });
    }

    /// The entrance of a stream.
    pub(crate) fn ingress_of(&self, cell: &StreamCell) -> Option<Arc<Ingress>> {
        let bound = self.bound.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&bound.get(&cell.id)?.ingress))
    }

    /// Whether messages of this origin were already handed to the streams by [`Ingest`].
    pub(crate) fn is_live(&self, cid: u64) -> bool {
        self.live_cid == cid
    }

    /// Sends ingested messages to live subscribers, as the network path does.
    pub(crate) fn broadcast(&self, messages: &[Message]) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            live.send(
                &message.subject,
                message.reply.as_deref(),
                &message.headers,
                &message.payload,
            );
        }
        live.flush();
    }

    /// Sends one message to live subscribers; no stream gathers it.
    pub(crate) fn tell(&self, subject: &[u8], payload: &[u8]) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.send(subject, None, &[], payload);
        live.flush();
    }

    fn bind(self: &Arc<Self>, cell: &Arc<StreamCell>) {
        let (subjects, answers) = {
            let stream = cell.lock();
            (stream.config.subjects.clone(), !stream.config.no_ack)
        };
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        let bound = all.entry(cell.id).or_insert_with(|| {
            let plan = self.plans.compile(&self.node, &cell.name);
            Bound {
                ingress: Arc::new(Ingress::new(Arc::clone(cell), Arc::clone(self), plan)),
                doors: BTreeMap::new(),
            }
        });
        bound.ingress.answers.store(answers, Ordering::Relaxed);
        // A subject that stays keeps its door: with two for a moment a message would be stored twice, with none not at all.
        bound.doors.retain(|subject, _| subjects.contains(subject));
        for subject in subjects {
            let Entry::Vacant(place) = bound.doors.entry(subject) else {
                continue;
            };
            let door = Arc::new(Door(Arc::clone(&bound.ingress)));
            match self.broker.attach(place.key(), door) {
                Ok(attachment) => {
                    place.insert(attachment);
                }
                Err(error) => {
                    tracing::error!(target: "nats", "stream `{}` cannot take `{}`: {error}", cell.name, place.key());
                }
            }
        }
    }

    fn unbind(&self, cell: &StreamCell) {
        let gone = self
            .bound
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&cell.id);
        drop(gone.map(|bound| bound.doors));
    }

    fn refresh_plans(&self) {
        let all: Vec<Arc<Ingress>> = {
            let bound = self.bound.read().unwrap_or_else(PoisonError::into_inner);
            bound
                .values()
                .map(|bound| Arc::clone(&bound.ingress))
                .collect()
        };
        for ingress in all {
            self.plans.refresh(&self.node, &ingress);
        }
    }
}

/// Hears of applied changes; holds the service weakly, because the node outlives it in tests.
struct ServiceHooks(std::sync::Weak<Shared>);

impl Hooks for ServiceHooks {
    fn stream_changed(&self, change: StreamChange) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        match change {
            StreamChange::Created(cell) | StreamChange::Updated(cell) => {
                shared.bind(&cell);
                shared.wake_flows();
            }
            StreamChange::Deleted(cell) => {
                shared.unbind(&cell);
                shared.pumps.stop_all(&cell);
                shared.wake_flows();
            }
            StreamChange::Consumer(cell, name) => shared.pumps.ensure(&shared, &cell, &name),
            StreamChange::ConsumerDeleted(cell, name) => shared.pumps.stop(&cell, &name),
        }
    }

    fn catalog_changed(&self) {}

    fn applied(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.acker.flush();
        }
    }
}
