//! The management operations, behind HTTP and NATS alike.

mod apply;
mod checks;
mod describe;
mod flows;
mod functions;
mod journal;
mod letters;
mod messages;
#[cfg(feature = "sql")]
mod query;
mod remove;
mod scan;
mod schemas;
mod streams;

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use millstream_admin::{
    BoxFuture, Failure, FailureCode, Management, MonitorQuery, Operation, Reply, error_body,
    is_management, operation_of, reply_body, schema_request,
};
use millstream_broker::{Broker, Collector, Handler, Origin, Published};
use millstream_cluster::{Kind, Node};
use millstream_consensus::Group;
use millstream_jetstream::JetStream;
use millstream_schema_registry::{Compiled, RegistryError, Reply as SchemaReply, Request};
use millstream_streams::ApiError;
use millstream_types::Timestamp;
use serde_json::Value;

pub(crate) use self::functions::end_trials;
pub(crate) use self::journal::verify_offline;
#[cfg(feature = "sql")]
pub(crate) use self::query::postgres;
use crate::blobs::Blobs;
use crate::compile::Compiler;
use crate::connectors::Connectors;
use crate::flows::Flows;
use crate::metrics::Metrics;
use crate::monitor;

/// Everything the operations work on.
#[derive(Debug)]
pub(crate) struct Manager {
    /// Itself, for what goes on after the call that began it.
    #[cfg_attr(
        not(feature = "sql"),
        expect(dead_code, reason = "only queries use it")
    )]
    pub(crate) me: Weak<Self>,
    pub(crate) broker: Broker,
    pub(crate) group: Group<Node>,
    pub(crate) node: Arc<Node>,
    pub(crate) jetstream: Option<JetStream>,
    pub(crate) connectors: Option<Arc<Connectors>>,
    pub(crate) flows: Option<Arc<Flows>>,
    pub(crate) compiler: Arc<Compiler>,
    /// Compiled schemas of the registry, for checks.
    pub(crate) schemas: Arc<Compiled>,
    pub(crate) blobs: Blobs,
    pub(crate) metrics: Metrics,
    pub(crate) store: PathBuf,
    pub(crate) started: Timestamp,
    /// One apply or delete at a time: what is checked must still hold when it is proposed.
    pub(crate) apply: tokio::sync::Mutex<()>,
    /// A turn for each query that runs.
    #[cfg_attr(
        not(feature = "sql"),
        expect(dead_code, reason = "only queries use it")
    )]
    pub(crate) queries: Arc<tokio::sync::Semaphore>,
    /// The same for those that are only looked at, and may go on for long.
    #[cfg_attr(
        not(feature = "sql"),
        expect(dead_code, reason = "only queries use it")
    )]
    pub(crate) previews: Arc<tokio::sync::Semaphore>,
}

/// Queries at once: each has a thread and memory of its own.
const MAX_QUERIES: usize = 4;

/// A turn for each query that may run.
pub(crate) fn turns() -> Arc<tokio::sync::Semaphore> {
    Arc::new(tokio::sync::Semaphore::new(MAX_QUERIES))
}

impl Manager {
    fn jetstream(&self) -> Result<&JetStream, Failure> {
        self.jetstream.as_ref().ok_or_else(|| {
            Failure::new(
                FailureCode::Unavailable,
                "JetStream is off",
                "start the server with `-js`",
            )
        })
    }

    fn connectors(&self) -> Result<&Arc<Connectors>, Failure> {
        self.connectors.as_ref().ok_or_else(|| {
            Failure::new(
                FailureCode::Unavailable,
                "JetStream is off",
                "start the server with `-js`",
            )
        })
    }

    fn flows(&self) -> Result<&Arc<Flows>, Failure> {
        self.flows.as_ref().ok_or_else(|| {
            Failure::new(
                FailureCode::Unavailable,
                "JetStream is off",
                "start the server with `-js`",
            )
        })
    }

    async fn operate(&self, operation: Operation) -> Result<Reply, Failure> {
        let value = match operation {
            Operation::Apply(request) => self.apply(request).await?,
            Operation::List { kind } => self.list(parse_kind(&kind)?)?,
            Operation::Describe { kind, name } => self.describe(parse_kind(&kind)?, &name)?,
            Operation::Delete { kind, name } => self.delete(parse_kind(&kind)?, &name).await?,
            Operation::Publish(request) => self.publish(request).await?,
            Operation::Messages { station, request } => return self.messages(&station, &request),
            Operation::DeadLetters { station, limit } => self.dead_letters(&station, limit)?,
            Operation::DeadLetter { station, id } => self.dead_letter(&station, id)?,
            Operation::Resend { station, id } => self.resend(&station, id).await?,
            Operation::DropLetter { station, id } => self.drop_letter(&station, id).await?,
            Operation::SchemaInfer { station, request } => {
                return self.schema_infer(&station, &request);
            }
            Operation::SchemaDiff(request) => self.schema_diff(request).await?,
            Operation::SchemaCheck(request) => return self.schema_check(request).await,
            Operation::FunctionVersions { name } => self.function_versions(&name)?,
            Operation::FunctionSwitch {
                name,
                action,
                request,
            } => self.function_switch(&name, &action, request).await?,
            Operation::FunctionDryRun(request) => return self.function_dry_run(request).await,
            Operation::FlowAction {
                name,
                action,
                request,
            } => self.flow_action(&name, &action, request).await?,
            #[cfg(feature = "sql")]
            Operation::Query(request) => return self.query(request).await,
            #[cfg(not(feature = "sql"))]
            Operation::Query(_) => return Err(no_sql()),
            Operation::Status => self.status(),
            Operation::VerifyJournal => self.verify_journal().await?,
        };
        Ok(Reply::Value(value))
    }
}

#[cfg(not(feature = "sql"))]
fn no_sql() -> Failure {
    Failure::new(
        FailureCode::BadRequest,
        "this build has no SQL",
        "use one built with the feature `sql`",
    )
}

fn parse_kind(word: &str) -> Result<Kind, Failure> {
    Kind::parse(word).ok_or_else(|| {
        Failure::new(
            FailureCode::NotFound,
            format!("there is no kind `{word}`"),
            "use station, flow, schema, function, source or sink",
        )
    })
}

/// Which way a connector of this kind moves records.
pub(crate) fn direction(kind: Kind) -> millstream_connector_api::Kind {
    match kind {
        Kind::Source => millstream_connector_api::Kind::Source,
        _ => millstream_connector_api::Kind::Sink,
    }
}

/// A refusal by the streams' rules.
fn refused(error: &ApiError) -> Failure {
    let code = match error.code {
        404 => FailureCode::NotFound,
        503 | 500 => FailureCode::Unavailable,
        _ => FailureCode::Refused,
    };
    Failure::new(
        code,
        error.to_string(),
        "see the message; nothing was changed",
    )
}

fn not_found(kind: Kind, name: &str, known: &[&str]) -> Failure {
    let near = millstream_types::nearest(name, known.iter().copied());
    let hint = near.map_or_else(
        || format!("`millstream get {}` lists what there is", kind.plural()),
        |near| format!("did you mean `{near}`?"),
    );
    Failure::new(
        FailureCode::NotFound,
        format!("there is no {kind} `{name}`"),
        hint,
    )
}

impl Management for Manager {
    fn call(&self, operation: Operation) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.operate(operation))
    }

    fn schema_registry(
        &self,
        request: Request,
    ) -> BoxFuture<'_, Result<SchemaReply, RegistryError>> {
        Box::pin(Self::schema_registry(self, request))
    }

    fn monitor(&self, page: &str, query: &MonitorQuery) -> Option<(u16, Value)> {
        monitor::page(self, page, query)
    }

    fn metrics(&self) -> String {
        self.metrics.text(self)
    }
}

/// Requests under `$MS.API.>`.
#[derive(Debug)]
pub(crate) struct NatsDoor {
    queue: tokio::sync::mpsc::Sender<(String, Bytes, Bytes)>,
}

/// Requests that may wait.
const QUEUE: usize = 1024;
/// Messages and bytes in one answer over NATS; who wants more asks again from the next sequence.
const MAX_ITEMS: u64 = 1000;
const MAX_ANSWER: usize = 512 * 1024;
/// Requests over NATS that look through stations' messages at once.
const MAX_SCANS: usize = 2;

/// An operation as one answer can carry it: without following, and with an end.
fn bounded(mut operation: Operation) -> Operation {
    if let Operation::Messages { request, .. } = &mut operation {
        request.follow = false;
        request.limit = Some(request.limit.unwrap_or(MAX_ITEMS).min(MAX_ITEMS));
    }
    operation
}

/// Whether it looks through a station's messages.
fn looks_through(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::SchemaInfer { .. }
            | Operation::SchemaCheck(_)
            | Operation::FunctionDryRun(_)
            | Operation::Query(_)
    )
}

fn busy() -> Value {
    Failure::new(
        FailureCode::Unavailable,
        format!("{MAX_SCANS} requests look through messages already"),
        "try again when they are done",
    )
    .body()
}

/// The answer as one value.
async fn answered(
    manager: &Manager,
    subject: &str,
    reply: &[u8],
    operation: Result<Operation, Failure>,
) -> Value {
    let answer = match operation {
        Ok(operation) => manager.operate(operation).await,
        Err(failure) => Err(failure),
    };
    // A request's reply subject is its own.
    let request = String::from_utf8_lossy(reply);
    let code = answer
        .as_ref()
        .err()
        .map_or(0, |failure| failure.code.number());
    tracing::debug!(target: "nats", %request, code, "{subject}");
    match answer {
        Ok(Reply::Value(value)) => value,
        Ok(Reply::Lines(mut lines)) => {
            // A request has one answer: the lines that are there, as a list, and as many as fit.
            let (mut items, mut bytes) = (Vec::new(), 0);
            while let Some(line) = lines.recv().await {
                bytes += line.len();
                if bytes > MAX_ANSWER && !items.is_empty() {
                    break;
                }
                let several = line.split(|byte| *byte == b'\n');
                items.extend(several.filter_map(|line| serde_json::from_slice::<Value>(line).ok()));
            }
            serde_json::json!({ "items": items })
        }
        Ok(Reply::File { .. }) => {
            let hint = "ask for it over HTTP";
            Failure::new(
                FailureCode::BadRequest,
                "a file is no answer over NATS",
                hint,
            )
            .body()
        }
        Err(failure) => failure.body(),
    }
}

impl NatsDoor {
    pub(crate) fn start(manager: Arc<Manager>) -> Self {
        let (queue, mut requests) = tokio::sync::mpsc::channel::<(String, Bytes, Bytes)>(QUEUE);
        let mut publisher = manager.broker.publisher();
        let turns = Arc::new(tokio::sync::Semaphore::new(MAX_SCANS));
        tokio::spawn(async move {
            while let Some((subject, reply, payload)) = requests.recv().await {
                if !is_management(&subject) {
                    let answer = match schema_request(&subject, &payload) {
                        Ok(request) => manager.schema_registry(request).await,
                        Err(error) => Err(error),
                    };
                    let body = answer.map_or_else(|error| error_body(&error), reply_body);
                    publisher.send(&reply, None, &[], body.to_string().as_bytes());
                    publisher.flush();
                    continue;
                }
                let operation = operation_of(&subject, &payload).map(bounded);
                if operation.as_ref().is_ok_and(looks_through) {
                    // Requests behind it need not wait for it.
                    let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
                        publisher.send(&reply, None, &[], busy().to_string().as_bytes());
                        publisher.flush();
                        continue;
                    };
                    let (manager, mut publisher) =
                        (Arc::clone(&manager), manager.broker.publisher());
                    tokio::spawn(async move {
                        let body = answered(&manager, &subject, &reply, operation).await;
                        publisher.send(&reply, None, &[], body.to_string().as_bytes());
                        publisher.flush();
                        drop(turn);
                    });
                    continue;
                }
                let body = answered(&manager, &subject, &reply, operation).await;
                publisher.send(&reply, None, &[], body.to_string().as_bytes());
                publisher.flush();
            }
        });
        Self { queue }
    }
}

impl Handler for NatsDoor {
    fn collector(&self, _origin: &Arc<Origin>) -> Box<dyn Collector> {
        Box::new(Gather(self.queue.clone()))
    }
}

struct Gather(tokio::sync::mpsc::Sender<(String, Bytes, Bytes)>);

impl Collector for Gather {
    fn push(&mut self, message: &Published<'_>) {
        let Some(reply) = message.reply else { return };
        let subject = String::from_utf8_lossy(message.subject).into_owned();
        let request = (
            subject,
            Bytes::copy_from_slice(reply),
            Bytes::copy_from_slice(message.payload),
        );
        if self.0.try_send(request).is_err() {
            tracing::warn!(target: "nats", "management request limit of {QUEUE} reached, request dropped");
        }
    }

    fn flush(&mut self) {}
}
