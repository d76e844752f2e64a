//! The JetStream API: requests under `$JS.API.>`, answered as JSON with nats-server's types and error numbers.

mod consumer;
mod message;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_broker::{Collector, Handler, Origin, Published, Publisher};
use millstream_streams::ApiError;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::warn;

use crate::internal::shown_streams;
use crate::service::Shared;

pub(crate) use consumer::{put as put_consumer, remove as remove_consumer};

/// Requests that may wait; beyond it they are refused, as nats-server does with its `request_queue_limit`.
const QUEUE: usize = 10_000;
/// Bytes of answers that are sent together at most,
const MOST_HELD: usize = 64 * 1024;
/// and how long one waits for others, which may have to be read from disk: what else goes to its connection waits with it.
const LONGEST_HELD: Duration = Duration::from_micros(500);
const PREFIX: &str = "$JS.API.";

/// A request as it came in.
#[derive(Debug)]
pub(crate) struct Request {
    /// What follows `$JS.API.`.
    pub(crate) subject: String,
    pub(crate) reply: Bytes,
    pub(crate) payload: Bytes,
}

/// What a request is answered with.
pub(crate) enum Answer {
    /// A response of this type.
    Json(&'static str, Result<Value, ApiError>),
    /// A message: headers and payload.
    Message(Bytes, Bytes),
    /// Nothing: the answer comes later, or another part gives it.
    Nothing,
}

/// Gathers requests from connections.
#[derive(Debug)]
pub(crate) struct ApiDoor {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
}

impl ApiDoor {
    pub(crate) fn new(shared: Arc<Shared>, queue: mpsc::Sender<Request>) -> Self {
        Self { shared, queue }
    }
}

impl Handler for ApiDoor {
    fn collector(&self, _origin: &Arc<Origin>) -> Box<dyn Collector> {
        Box::new(Gather {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
        })
    }
}

struct Gather {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
}

impl Collector for Gather {
    fn push(&mut self, message: &Published<'_>) {
        let Some(reply) = message.reply else { return };
        let Ok(subject) = std::str::from_utf8(message.subject) else {
            return;
        };
        let Some(subject) = subject.strip_prefix(PREFIX) else {
            return;
        };
        // Pull requests are the hot path and only touch memory: they do not queue behind requests that wait for the log.
        if let Some(rest) = subject.strip_prefix("CONSUMER.MSG.NEXT.") {
            consumer::pull(&self.shared, rest, reply, message.payload);
            return;
        }
        let request = Request {
            subject: subject.to_owned(),
            reply: Bytes::copy_from_slice(reply),
            payload: Bytes::copy_from_slice(message.payload),
        };
        if self.queue.try_send(request).is_err() {
            warn!(target: "nats", "JetStream API queue limit of {QUEUE} reached, request dropped");
        }
    }

    fn flush(&mut self) {}
}

/// Starts answering.
pub(crate) fn start(shared: &Arc<Shared>) -> mpsc::Sender<Request> {
    let (queue, mut requests) = mpsc::channel::<Request>(QUEUE);
    let weak = Arc::downgrade(shared);
    let mut publisher = shared.broker.publisher();
    shared.runtime.spawn(async move {
        // Answers to requests that came together go together: since when some are not on their way, and their bytes.
        let mut held: Option<(Instant, usize)> = None;
        while let Some(request) = requests.recv().await {
            let Some(shared) = weak.upgrade() else { break };
            // Others may wait for the log.
            if held.is_some() && !request.subject.starts_with("DIRECT.") {
                publisher.flush();
                held = None;
            }
            let answer = handle(&shared, &request).await;
            let (since, bytes) = held.unwrap_or_else(|| (Instant::now(), 0));
            let bytes = bytes + respond(&mut publisher, &request.reply, answer);
            held = Some((since, bytes));
            if requests.is_empty() || bytes >= MOST_HELD || since.elapsed() >= LONGEST_HELD {
                publisher.flush();
                held = None;
            }
        }
        publisher.flush();
    });
    queue
}

/// Answers the bytes that were given to the publisher.
fn respond(publisher: &mut Publisher, reply: &[u8], answer: Answer) -> usize {
    match answer {
        Answer::Nothing => 0,
        Answer::Message(headers, payload) => {
            publisher.send(reply, None, &headers, &payload);
            headers.len() + payload.len()
        }
        Answer::Json(kind, result) => {
            let mut body = match result {
                Ok(value) => value,
                Err(error) => json!({ "error": error }),
            };
            if let Some(body) = body.as_object_mut() {
                body.insert(
                    "type".to_owned(),
                    format!("io.nats.jetstream.api.v1.{kind}").into(),
                );
            }
            let body = body.to_string();
            publisher.send(reply, None, &[], body.as_bytes());
            body.len()
        }
    }
}

async fn handle(shared: &Arc<Shared>, request: &Request) -> Answer {
    let parts: Vec<&str> = request.subject.split('.').collect();
    match parts.as_slice() {
        ["INFO"] => Answer::Json("account_info_response", Ok(account(shared))),
        ["STREAM", rest @ ..] => stream::handle(shared, rest, request).await,
        ["CONSUMER", rest @ ..] => consumer::handle(shared, rest, request).await,
        ["DIRECT", "GET", name] => message::direct(shared, name, None, request),
        ["DIRECT", "GET", name, subject @ ..] => {
            message::direct(shared, name, Some(subject.join(".")), request)
        }
        _ => Answer::Json("error_response", Err(not_supported(&request.subject))),
    }
}

/// An API subject nats-server has and this release has not, or nobody has.
fn not_supported(subject: &str) -> ApiError {
    ApiError {
        code: 400,
        err_code: 10003,
        description: format!("`$JS.API.{subject}` is not supported by this release of Millstream")
            .into(),
    }
}

/// Reads a request's JSON; an empty payload is an empty request.
fn body<T: serde::de::DeserializeOwned + Default>(request: &Request) -> Result<T, ApiError> {
    // Some clients send `null` where others send nothing.
    if matches!(request.payload.trim_ascii(), b"" | b"null") {
        return Ok(T::default());
    }
    serde_json::from_slice(&request.payload)
        .map_err(|error| ApiError::invalid_json(format!("invalid JSON: {error}")))
}

fn to_value(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("invariant: API types are plain data")
}

fn account(shared: &Shared) -> Value {
    let mut memory = 0;
    let mut storage = 0;
    let mut consumers = 0;
    let streams = shown_streams(&shared.node);
    for cell in &shared.node.streams() {
        let stream = cell.lock();
        let bytes = stream.state().bytes;
        match stream.config.storage {
            millstream_streams::StorageType::Memory => memory += bytes,
            millstream_streams::StorageType::File => storage += bytes,
        }
        consumers += stream.consumers.len();
    }
    let limit = |bytes: u64| if bytes == 0 { json!(-1) } else { json!(bytes) };
    json!({
        "memory": memory,
        "storage": storage,
        "reserved_memory": 0,
        "reserved_storage": 0,
        "streams": streams.len(),
        "consumers": consumers,
        "limits": {
            "max_memory": limit(shared.max_memory),
            "max_storage": limit(shared.max_storage),
            "max_streams": -1,
            "max_consumers": -1,
            "max_ack_pending": -1,
            "memory_max_stream_bytes": -1,
            "storage_max_stream_bytes": -1,
            "max_bytes_required": false,
        },
        "api": { "level": 2, "total": 0, "errors": 0 },
    })
}

/// A page of a listing, as nats-server cuts them.
fn page<T>(all: Vec<T>, offset: usize, limit: usize) -> (usize, Vec<T>) {
    let total = all.len();
    (total, all.into_iter().skip(offset).take(limit).collect())
}
