//! `kind: station`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AddedColumn, SchemaFormat, text};

/// A stream and what happens to a message on its way into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationSpec {
    /// Also the stream's name.
    pub name: String,
    /// Subject filters it stores. At least one, none overlapping another.
    pub subjects: Vec<String>,
    /// Always 1 in this release.
    pub replicas: u32,
    /// Where messages are kept.
    pub storage: Storage,
    /// When a message is acknowledged.
    #[serde(default, skip_serializing_if = "is_synced")]
    pub persist_mode: PersistMode,
    /// Whether a message may ask for others to be made at certain times, by the header `Nats-Schedule`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub schedules: bool,
    /// Whether they are compressed on disk.
    #[serde(default, skip_serializing_if = "Compression::is_none")]
    pub compression: Compression,
    /// How long and how much is kept.
    pub retention: RetentionSpec,
    /// When a message counts as one that was stored already.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dedup: DedupSpec,
    /// The check before everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaUse>,
    /// The columns that SQL sees where there is no schema; without either it sees the whole payload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<AddedColumn>,
    /// What happens to what a function or SQL stage rejects: `reject` or `dead_letter`.
    pub on_rejection: OnRejection,
    /// Applied in this order.
    #[serde(default)]
    pub stages: Vec<StageSpec>,
    /// How they are run.
    #[serde(default, skip_serializing_if = "RunningSpec::is_default")]
    pub running: RunningSpec,
    /// What is stored; absent: as the schema says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encode: Option<EncodeUse>,
    /// How long and how much of the rejected is kept.
    #[serde(default)]
    pub dead_letters: DeadLettersSpec,
}

/// How stages are run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunningSpec {
    /// What waits while a message is to be tried again.
    #[serde(skip_serializing_if = "is_station_order")]
    pub order: OrderSpec,
    /// What a message's key is: `subject`, `header:NAME` or `field:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Threads that run a batch at once; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// How often a message is tried again before it is rejected; 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}

impl RunningSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What waits while a message is to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderSpec {
    /// Everything behind it.
    #[default]
    Station,
    /// What has the same key.
    Key,
    /// Nothing.
    None,
}

fn is_station_order(order: &OrderSpec) -> bool {
    *order == OrderSpec::Station
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: gone after a restart.
    Memory,
}

/// When a message is acknowledged. The names are JetStream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersistMode {
    /// When it is safe: synced to disk.
    #[default]
    Default,
    /// When it is written, before the sync: the newest messages may be lost when the power fails.
    Async,
}

fn is_synced(mode: &PersistMode) -> bool {
    *mode == PersistMode::Default
}

fn is_default(dedup: &DedupSpec) -> bool {
    *dedup == DedupSpec::default()
}

/// When a message counts as one that was stored already. Ids count always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupSpec {
    /// What is compared.
    pub by: DedupBy,
    /// Headers that belong to the content; names compare byte for byte. Only with `content`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// For how long; absent is what the server takes.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

/// What makes two messages the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupBy {
    /// Their ids.
    #[default]
    Id,
    /// Their ids, or subject, payload and the chosen headers.
    Content,
}

/// Whether messages are compressed on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// With LZ4, a batch at a time.
    Lz4,
}

impl Compression {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How long and how much is kept; absent means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSpec {
    /// When a message may go.
    pub policy: Policy,
    /// Age at which a message goes.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Bytes kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Messages kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msgs: Option<u64>,
    /// Messages kept of each subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msgs_per_subject: Option<u64>,
    /// Largest message stored, in bytes with headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msg_size: Option<u64>,
    /// Whether a message may bring its own time to live along, as the header `Nats-TTL`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub message_ttl: bool,
    /// How long a marker stays that takes the place of a subject's last message when its time is over; absent is no marker.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub delete_markers: Option<Duration>,
    /// What gives way when a limit is reached.
    pub discard: Discard,
}

/// When a message may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// When a limit is reached.
    #[default]
    Limits,
    /// When a consumer has acknowledged it, or a limit is reached.
    Workqueue,
}

/// What gives way when a limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// The oldest messages.
    #[default]
    Old,
    /// The message that does not fit: its publisher gets an error.
    New,
}

/// Which schema messages must satisfy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaUse {
    /// The registry subject for whatever no rule takes; without it such messages are violations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Which of its versions.
    pub version: SchemaVersion,
    /// Which message of a Protobuf schema payloads are, by its full name; absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Other schemas for some of the messages; the first rule that takes a message counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<SchemaRule>,
    /// Whether payloads begin with a schema's id.
    #[serde(default, skip_serializing_if = "Framing::is_auto")]
    pub framing: Framing,
    /// What happens to a message that does not satisfy it. Absent in the file: as `on_rejection`.
    pub on_violation: OnRejection,
}

impl StationSpec {
    /// All registry subjects that it names, each with where.
    pub fn schemas(&self) -> impl Iterator<Item = (String, &str)> {
        let used = self.schema.iter();
        let own = used.clone().filter_map(|used| used.subject.as_deref());
        let own = own.map(|subject| ("schema.subject".to_owned(), subject));
        let rules = used.flat_map(|used| used.rules.iter().enumerate());
        let rules = rules.map(|(index, rule)| {
            let path = format!("schema.rules[{index}].subject");
            (path, rule.subject.as_str())
        });
        let encode = self.encode.iter();
        let encode = encode.filter_map(|encode| encode.subject.as_deref());
        let encode = encode.map(|subject| ("encode.subject".to_owned(), subject));
        own.chain(rules).chain(encode)
    }
}

/// A schema for some of a station's messages: those on subjects that match `match`, or those whose schema is called `record`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRule {
    /// A subject filter.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub subjects: Option<String>,
    /// The full name of a record or message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The registry subject.
    pub subject: String,
    /// Which of its versions.
    #[serde(default)]
    pub version: SchemaVersion,
    /// Which message of a Protobuf schema payloads are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether payloads begin with a schema's id, as Confluent's serializers write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// As they come.
    #[default]
    Auto,
    /// Never.
    Bare,
    /// Always.
    Prefixed,
}

impl Framing {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// What is stored after the stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeUse {
    /// The format: with a subject it must be the subject's, without one `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SchemaFormat>,
    /// The registry subject whose schema says how it is laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Which of its versions.
    #[serde(default)]
    pub version: SchemaVersion,
}

/// Versions of a schema: `"latest"`, `"compatible"` or a number from 1 in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "serde_json::Value", try_from = "serde_json::Value")]
pub enum SchemaVersion {
    /// Whatever is newest; follows the registry.
    #[default]
    Latest,
    /// Any of them, as the message came.
    Compatible,
    /// This one.
    Number(u32),
}

impl std::str::FromStr for SchemaVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u32>()) {
            ("latest", _) => Ok(Self::Latest),
            ("compatible", _) => Ok(Self::Compatible),
            (_, Ok(number)) if number > 0 => Ok(Self::Number(number)),
            _ => Err(format!(
                "`{text}` is neither `latest`, `compatible` nor a version number from 1"
            )),
        }
    }
}

impl From<SchemaVersion> for serde_json::Value {
    fn from(version: SchemaVersion) -> Self {
        match version {
            SchemaVersion::Latest => "latest".into(),
            SchemaVersion::Compatible => "compatible".into(),
            SchemaVersion::Number(number) => number.into(),
        }
    }
}

impl TryFrom<serde_json::Value> for SchemaVersion {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        match value.as_str() {
            Some("latest") => return Ok(Self::Latest),
            Some("compatible") => return Ok(Self::Compatible),
            _ => {}
        }
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| *number > 0)
            .map(Self::Number)
            .ok_or("neither `latest`, `compatible` nor a version number from 1")
    }
}

/// What happens to a message that is not good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRejection {
    /// A waiting publisher gets an error; nothing is stored.
    Reject,
    /// Kept in the station's dead letters with the reason.
    #[default]
    DeadLetter,
    /// Stored with a header that says what is wrong. Only for schemas.
    Tag,
}

/// One step: `{"function": name}` or `{"sql": text}` in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageSpec {
    /// A function's name.
    Function(String),
    /// A statement.
    Sql(String),
}

/// How long and how much of the rejected is kept; what is absent takes the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLettersSpec {
    /// Age at which a dead letter goes.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Bytes kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}
