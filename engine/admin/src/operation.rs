//! What can be asked of a server, whichever way it is asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use millstream_schema_registry::{RegistryError, Reply as SchemaReply, Request};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// A file of declarations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileText {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// `apply`: declarations and the files they name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplyRequest {
    /// Only say what would change.
    pub dry_run: bool,
    /// With `dry_run`: run queries of flows over what is stored, too, from here on, as in [`PreviewRequest`].
    pub history: Option<String>,
    /// The station files.
    pub files: Vec<FileText>,
    /// Files they name (`file:`, `component:`), in base64, by the path written there, resolved against the folder of the
    /// station file that names it.
    pub attachments: BTreeMap<String, String>,
    /// Values of `${NAME}`.
    pub variables: BTreeMap<String, String>,
    /// Who applies, as the history of functions shows it.
    pub by: Option<String>,
    /// What for.
    pub why: Option<String>,
    /// Functions of the files do not take over: they are tried beside the versions that run.
    pub trial: Option<TrialRequest>,
}

/// How a version of a function is tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrialRequest {
    /// `shadow` or `canary`.
    pub mode: String,
    /// A canary's share of messages, in percent.
    pub percent: Option<f64>,
    /// Instead: the subjects whose messages it gets.
    pub subjects: Option<String>,
    /// The part of its messages that may end badly, 0 to 1; 0.05 when absent.
    pub max_error_rate: Option<f64>,
    /// Messages before it is judged; 100 when absent.
    pub min_messages: Option<u64>,
}

/// A change of the version of a function that runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwitchRequest {
    /// Who.
    pub by: Option<String>,
    /// What for.
    pub why: Option<String>,
    /// `rollback`: to which version; the one that ran before when absent.
    pub to: Option<u64>,
}

/// Stored messages that a function is run over without any effect.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DryRunRequest {
    /// The station file with the function.
    pub files: Vec<FileText>,
    /// As in [`ApplyRequest`].
    pub attachments: BTreeMap<String, String>,
    /// As in [`ApplyRequest`].
    pub variables: BTreeMap<String, String>,
    /// Whose messages.
    pub station: String,
    /// The first sequence.
    pub from_seq: Option<u64>,
    /// Only messages stored since then, in RFC 3339.
    pub from_time: Option<String>,
    /// Most messages; all when absent.
    pub limit: Option<u64>,
}

/// `publish`: one message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishRequest {
    /// Where to.
    pub subject: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub payload: Option<String>,
    /// The body as bytes, in base64; instead of `payload`.
    pub payload_base64: Option<String>,
}

/// Which messages of a station to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessagesRequest {
    /// The first sequence; the oldest message when absent.
    pub from_seq: Option<u64>,
    /// Most messages; without `follow` 100 when absent.
    pub limit: Option<u64>,
    /// Go on with messages as they are stored.
    pub follow: bool,
    /// `json` for payloads as JSON whatever they are stored in, or the format that `as` has.
    pub decode: Option<String>,
    /// Payloads as this schema: `subject` or `subject:version`.
    pub r#as: Option<String>,
    /// Only messages on these subjects.
    pub subject: Option<String>,
}

/// Which messages to propose a schema from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InferRequest {
    /// `json`, `avro` or `protobuf`; `json` when absent.
    pub format: Option<String>,
    /// Most messages; 10,000 when absent.
    pub limit: Option<u64>,
    /// The first sequence; so that the newest are looked at when absent.
    pub from_seq: Option<u64>,
}

/// A schema that is registered (`subject`, `version`), or a text (`schema`, `format`, `references`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchemaText {
    /// The registry subject.
    pub subject: Option<String>,
    /// Its version; the newest when absent.
    pub version: Option<u32>,
    /// The text.
    pub schema: Option<String>,
    /// The text's language; `json` when absent.
    pub format: Option<String>,
    /// What the text refers to, as objects with `name`, `subject` and `version`.
    pub references: Vec<Value>,
}

/// Two schemas to compare.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffRequest {
    /// The one before.
    pub old: SchemaText,
    /// The one after.
    pub new: SchemaText,
}

/// Stored messages that a schema is held against.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryRange {
    /// The station.
    pub station: String,
    /// The first sequence.
    pub from_seq: Option<u64>,
    /// Only messages stored since then, in RFC 3339.
    pub from_time: Option<String>,
    /// Most messages; all when absent.
    pub limit: Option<u64>,
}

/// A schema that may become a version of a subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckRequest {
    /// The registry subject; it need not exist.
    pub subject: String,
    /// The text.
    pub schema: String,
    /// Its language; `json` when absent.
    pub format: Option<String>,
    /// What it refers to, as objects with `name`, `subject` and `version`.
    pub references: Vec<Value>,
    /// Messages that it is held against.
    pub against_history: Option<HistoryRange>,
}

/// A question in SQL.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryRequest {
    /// One `SELECT`, or `EXPLAIN` of one; `CREATE FLOW`, `DROP FLOW` or `SHOW FLOWS`.
    pub sql: String,
    /// How long it may take, in seconds; 60 when absent, or an hour of a preview; an hour at most.
    pub timeout: Option<u64>,
    /// The query never ends, as that of a flow, and is only looked at: a `SELECT`, or `CREATE FLOW` of which no flow is made.
    pub preview: Option<PreviewRequest>,
    /// Answer with a Parquet file; over HTTP by an `Accept` of `application/vnd.apache.parquet`.
    #[serde(skip)]
    pub parquet: bool,
    /// Set where who asks may not change anything by asking.
    #[serde(skip)]
    pub reads_only: bool,
}

/// How a query that never ends is looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreviewRequest {
    /// Where it begins: `beginning`, a time in RFC 3339, so long ago (`1h`), or a sequence. With what comes from now on when
    /// absent.
    pub from: Option<String>,
    /// Go on with what comes behind what is stored; always without `from`.
    pub follow: bool,
    /// End after this many results.
    pub limit: Option<u64>,
}

/// Where a flow begins anew, or what it reads once more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowRequest {
    /// The first sequence.
    pub from_seq: Option<u64>,
    /// The first message stored at this time or later, in RFC 3339; only of a restart.
    pub from_time: Option<String>,
    /// Only what comes from now on; only of a restart.
    pub from_end: bool,
    /// The last sequence; the newest message when absent; only of a rerun.
    pub to_seq: Option<u64>,
    /// The station that gets what keeps its subject; the flow's own when absent; only of a rerun.
    pub to: Option<String>,
}

/// Query of a monitoring page.
pub type MonitorQuery = BTreeMap<String, String>;

/// One request.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Applies declarations.
    Apply(ApplyRequest),
    /// Lists all of a kind.
    List {
        /// `station`, `flow`, `schema`, `function`, `source` or `sink`.
        kind: String,
    },
    /// Everything about one thing.
    Describe {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Removes one thing.
    Delete {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Publishes a message.
    Publish(PublishRequest),
    /// Lists stored messages.
    Messages {
        /// The station.
        station: String,
        /// Which.
        request: MessagesRequest,
    },
    /// Lists a station's dead letters.
    DeadLetters {
        /// The station.
        station: String,
        /// Most of them; 100 when absent.
        limit: Option<u64>,
    },
    /// Shows a dead letter.
    DeadLetter {
        /// The station.
        station: String,
        /// The letter's sequence.
        id: u64,
    },
    /// Publishes a dead letter's original message again and removes the letter when it was accepted.
    Resend {
        /// The station.
        station: String,
        /// The letter's sequence.
        id: u64,
    },
    /// Removes a dead letter.
    DropLetter {
        /// The station.
        station: String,
        /// The letter's sequence.
        id: u64,
    },
    /// Proposes a schema from stored messages.
    SchemaInfer {
        /// The station.
        station: String,
        /// Which messages, which format.
        request: InferRequest,
    },
    /// What changed between two schemas.
    SchemaDiff(DiffRequest),
    /// What would happen if a schema became the next version of a subject.
    SchemaCheck(CheckRequest),
    /// Every version of a function, and what was done with them.
    FunctionVersions {
        /// The function.
        name: String,
    },
    /// Makes another version of a function run.
    FunctionSwitch {
        /// The function.
        name: String,
        /// `promote`, `rollback` or `stop`.
        action: String,
        /// Who and why.
        request: SwitchRequest,
    },
    /// Runs a function over stored messages, beside the version that runs.
    FunctionDryRun(DryRunRequest),
    /// Has a flow stand still, go on, begin anew, read a range once more, or give up what is built of it.
    FlowAction {
        /// The flow.
        name: String,
        /// `pause`, `resume`, `restart`, `rerun` or `cancel`.
        action: String,
        /// From where to where, for `restart` and `rerun`; without anything from the beginning.
        request: FlowRequest,
    },
    /// Asks what is stored, in SQL.
    Query(QueryRequest),
    /// The server in a few numbers.
    Status,
    /// Check every byte of the log.
    VerifyJournal,
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// JSON.
    Value(Value),
    /// JSON values, one per line, as they come; ends when the sender is dropped.
    Lines(mpsc::Receiver<Bytes>),
    /// A file of a media type, in pieces as they come. One that fails has no end: what was sent is no whole file.
    File {
        /// The media type.
        kind: &'static str,
        /// Its bytes.
        pieces: mpsc::Receiver<Result<Bytes, Failure>>,
    },
}

/// The media type of Parquet files.
pub const PARQUET: &str = "application/vnd.apache.parquet";

/// A boxed future, so that [`Management`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the server can do. One handler behind HTTP and NATS.
pub trait Management: Send + Sync {
    /// Carries an operation out.
    fn call(&self, operation: Operation) -> BoxFuture<'_, Result<Reply, Failure>>;

    /// Answers a request to the schema registry; a change is committed when this returns.
    fn schema_registry(
        &self,
        request: Request,
    ) -> BoxFuture<'_, Result<SchemaReply, RegistryError>>;

    /// A monitoring page of nats-server (`varz`, `connz`, `jsz`, `healthz`); `None` when there is none of that name.
    /// The number is the HTTP status.
    fn monitor(&self, page: &str, query: &MonitorQuery) -> Option<(u16, Value)>;

    /// Prometheus text.
    fn metrics(&self) -> String;
}
