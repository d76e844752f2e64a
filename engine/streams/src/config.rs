//! A stream's configuration, as the JetStream API reads and writes it, and the rules it must keep.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::{check_filter, check_name, filters_overlap};
use serde::{Deserialize, Serialize};

use crate::content::ContentRule;
use crate::errors::ApiError;
use crate::json::{is_default, nanos, null_is_default};

/// Longest description accepted, in bytes.
pub(crate) const MAX_DESCRIPTION: usize = 4 * 1024;
/// Longest metadata accepted: keys and values together, in bytes.
pub(crate) const MAX_METADATA: usize = 128 * 1024;
/// Length of a `duplicate_window` nobody set, unless `max_age` is shorter.
const DEFAULT_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Highest `first_seq`: as many sequences follow it as come before.
pub(crate) const MAX_FIRST_SEQ: u64 = i64::MAX as u64;
/// Shortest `max_age` and `duplicate_window`.
const MIN_WINDOW: Duration = Duration::from_millis(100);

/// What keeps a message in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionPolicy {
    /// The limits alone.
    #[default]
    Limits,
    /// The limits, and consumers that still want it.
    Interest,
    /// The limits, until the first acknowledgement.
    WorkQueue,
}

/// What gives way when a limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscardPolicy {
    /// The oldest messages.
    #[default]
    Old,
    /// The message that comes in.
    New,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// In the journal.
    #[default]
    File,
    /// In memory only; gone after a restart.
    Memory,
}

/// When a message is acknowledged (ADR-56).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistMode {
    /// When it is safe: synced to disk.
    #[default]
    Default,
    /// When it is written, before the sync: the newest messages may be lost when the power fails.
    Async,
}

/// Limits that consumers of a stream inherit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerLimits {
    /// Longest inactive threshold, and the default; zero is unlimited.
    #[serde(default, with = "nanos", skip_serializing_if = "is_default")]
    pub inactive_threshold: Duration,
    /// Largest `max_ack_pending`, and the default; zero is unlimited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
}

fn unlimited() -> i64 {
    -1
}

fn one() -> usize {
    1
}

/// A stream's configuration. Counts and sizes below 1 mean unlimited, durations of zero mean unset. Fields nobody knows
/// are ignored; fields that nats-server has and this release has not are kept in `unsupported` and refused by `checked`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamConfig {
    /// The stream's name.
    #[serde(default)]
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which subjects it stores; the stream's name when empty.
    #[serde(default, deserialize_with = "null_is_default")]
    pub subjects: Vec<String>,
    /// What keeps a message.
    #[serde(default)]
    pub retention: RetentionPolicy,
    /// Most consumers at a time.
    #[serde(default = "unlimited")]
    pub max_consumers: i64,
    /// Most messages.
    #[serde(default = "unlimited")]
    pub max_msgs: i64,
    /// Most bytes.
    #[serde(default = "unlimited")]
    pub max_bytes: i64,
    /// Longest time a message stays.
    #[serde(default, with = "nanos")]
    pub max_age: Duration,
    /// Most messages of one subject.
    #[serde(default = "unlimited")]
    pub max_msgs_per_subject: i64,
    /// Largest message: headers and payload, in bytes.
    #[serde(default = "unlimited")]
    pub max_msg_size: i64,
    /// What gives way at a limit.
    #[serde(default)]
    pub discard: DiscardPolicy,
    /// Where messages are kept.
    #[serde(default)]
    pub storage: StorageType,
    /// When a message is acknowledged.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_default"
    )]
    pub persist_mode: PersistMode,
    /// Copies kept; 1 in this release.
    #[serde(default = "one")]
    pub num_replicas: usize,
    /// Whether publishes go unanswered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_ack: bool,
    /// How long message ids are remembered.
    #[serde(default, with = "nanos")]
    pub duplicate_window: Duration,
    /// `none` or `s2`: whether messages are compressed on disk. The word is the one clients know; the algorithm is the
    /// journal's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// The first sequence to give, when not 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_seq: u64,
    /// Whether messages can be read by DIRECT.GET.
    #[serde(default)]
    pub allow_direct: bool,
    /// For mirrors; kept as sent.
    #[serde(default)]
    pub mirror_direct: bool,
    /// With discard `new`: whether a full subject refuses its next message instead of dropping its oldest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub discard_new_per_subject: bool,
    /// Whether nothing can be changed any more.
    #[serde(default)]
    pub sealed: bool,
    /// Whether deleting single messages is refused.
    #[serde(default)]
    pub deny_delete: bool,
    /// Whether purging is refused.
    #[serde(default)]
    pub deny_purge: bool,
    /// Whether `Nats-Rollup` is honoured.
    #[serde(default)]
    pub allow_rollup_hdrs: bool,
    /// Limits for consumers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub consumer_limits: ConsumerLimits,
    /// For people and tools.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub metadata: BTreeMap<String, String>,
    /// Whether `Nats-TTL` is honoured.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_msg_ttl: bool,
    /// How long a marker stays that takes the place of a subject's messages when the last of them reached its end; zero is none.
    #[serde(default, with = "nanos", skip_serializing_if = "is_default")]
    pub subject_delete_marker_ttl: Duration,
    /// Whether `Nats-Schedule` is honoured.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_msg_schedules: bool,
    /// Fields of nats-server that this release does not carry out.
    #[serde(flatten)]
    pub unsupported: Unsupported,
}

/// Fields that are read only to be refused in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsupported {
    #[serde(default, skip_serializing_if = "is_absent")]
    mirror: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    sources: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    republish: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    subject_transform: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    placement: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    allow_msg_counter: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    allow_atomic: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_absent")]
    allow_batched: serde_json::Value,
}

/// Whether a value says nothing: missing, `null`, `false`, `0`, empty, or the word `default`.
fn is_absent(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Bool(on) => !on,
        serde_json::Value::Number(number) => number.as_i64() == Some(0),
        serde_json::Value::String(text) => text.is_empty() || text == "default",
        serde_json::Value::Array(list) => list.is_empty(),
        serde_json::Value::Object(map) => map.values().all(is_absent),
    }
}

impl Unsupported {
    /// The first field that asks for something, by its JSON name.
    fn first(&self) -> Option<&'static str> {
        let fields = [
            ("mirror", &self.mirror),
            ("sources", &self.sources),
            ("republish", &self.republish),
            ("subject_transform", &self.subject_transform),
            ("placement", &self.placement),
            ("allow_msg_counter", &self.allow_msg_counter),
            ("allow_atomic", &self.allow_atomic),
            ("allow_batched", &self.allow_batched),
        ];
        fields
            .into_iter()
            .find(|(_, value)| !is_absent(value))
            .map(|(name, _)| name)
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: None,
            subjects: Vec::new(),
            retention: RetentionPolicy::Limits,
            max_consumers: -1,
            max_msgs: -1,
            max_bytes: -1,
            max_age: Duration::ZERO,
            max_msgs_per_subject: -1,
            max_msg_size: -1,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            persist_mode: PersistMode::Default,
            num_replicas: 1,
            no_ack: false,
            duplicate_window: Duration::ZERO,
            compression: None,
            first_seq: 0,
            allow_direct: false,
            mirror_direct: false,
            discard_new_per_subject: false,
            sealed: false,
            deny_delete: false,
            deny_purge: false,
            allow_rollup_hdrs: false,
            consumer_limits: ConsumerLimits::default(),
            metadata: BTreeMap::new(),
            allow_msg_ttl: false,
            subject_delete_marker_ttl: Duration::ZERO,
            allow_msg_schedules: false,
            unsupported: Unsupported::default(),
        }
    }
}

impl StreamConfig {
    /// The configuration with every default filled in, if it keeps the rules.
    ///
    /// # Errors
    /// The first rule it breaks, with nats-server's number; a field this release does not carry out is named.
    pub fn checked(mut self) -> Result<Self, ApiError> {
        check_stream_name(&self.name)?;
        if let Some(field) = self.unsupported.first() {
            return Err(ApiError::stream_field_unsupported(field));
        }
        self.unsupported = Unsupported::default();
        if self.num_replicas > 1 {
            return Err(ApiError::replicas_not_supported());
        }
        self.fill();
        self.check_texts()?;
        self.check_subjects()?;
        self.check_limits()?;
        Ok(self)
    }

    fn fill(&mut self) {
        self.num_replicas = 1;
        for limit in [
            &mut self.max_consumers,
            &mut self.max_msgs,
            &mut self.max_bytes,
            &mut self.max_msgs_per_subject,
            &mut self.max_msg_size,
        ] {
            if *limit <= 0 {
                *limit = -1;
            }
        }
        if self.subjects.is_empty() {
            self.subjects.push(self.name.clone());
        }
        // Markers carry a time to live, and both roll up what is before them.
        if !self.subject_delete_marker_ttl.is_zero() {
            self.allow_msg_ttl = true;
        }
        if !self.subject_delete_marker_ttl.is_zero() || self.allow_msg_schedules {
            self.allow_rollup_hdrs = true;
            self.deny_purge = false;
        }
        if self.compression.is_none() {
            self.compression = Some("none".to_owned());
        }
        if self.duplicate_window.is_zero() {
            self.duplicate_window = match self.max_age {
                age if !age.is_zero() && age < DEFAULT_DUPLICATE_WINDOW => age,
                _ => DEFAULT_DUPLICATE_WINDOW,
            };
        }
    }

    fn check_texts(&self) -> Result<(), ApiError> {
        if self
            .description
            .as_ref()
            .is_some_and(|text| text.len() > MAX_DESCRIPTION)
        {
            let text =
                format!("stream description is too long, maximum allowed is {MAX_DESCRIPTION}");
            return Err(ApiError::stream_invalid_config(text));
        }
        if metadata_size(&self.metadata) > MAX_METADATA {
            let text = "stream metadata exceeds maximum size of 128.00 KB";
            return Err(ApiError::stream_invalid_config(text));
        }
        ContentRule::read(&self.metadata)?;
        match self.compression.as_deref() {
            None | Some("none" | "s2") => Ok(()),
            Some(other) => {
                let text = format!("compression `{other}` is unknown; use `none` or `s2`");
                Err(ApiError::stream_invalid_config(text))
            }
        }
    }

    fn check_subjects(&self) -> Result<(), ApiError> {
        for (at, subject) in self.subjects.iter().enumerate() {
            if check_filter(subject.as_bytes()).is_err() {
                return Err(ApiError::stream_invalid_config("invalid subject"));
            }
            if self.subjects[..at].contains(subject) {
                return Err(ApiError::stream_invalid_config(
                    "duplicate subjects detected",
                ));
            }
            let overlaps = |other: &String| filters_overlap(other.as_bytes(), subject.as_bytes());
            if let Some(other) = self.subjects[..at].iter().find(|other| overlaps(other)) {
                let text = format!("subject \"{subject}\" overlaps with \"{other}\"");
                return Err(ApiError::stream_invalid_config(text));
            }
            let reserved = |filter: &str| filters_overlap(filter.as_bytes(), subject.as_bytes());
            if !self.no_ack && (reserved("$JS.>") || reserved("$JSC.>")) {
                let allowed = subject.starts_with("$JS.EVENT.");
                if subject == ">" || subject.starts_with('*') {
                    return Err(ApiError::stream_invalid_config(
                        "capturing all subjects requires no-ack to be true",
                    ));
                }
                if !allowed {
                    return Err(ApiError::stream_invalid_config(
                        "subjects that overlap with jetstream api require no-ack to be true",
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ApiError> {
        let bad = |text: &'static str| Err(ApiError::stream_invalid_config(text));
        if !self.max_age.is_zero() && self.max_age < MIN_WINDOW {
            return bad("max age needs to be >= 100ms");
        }
        let markers = self.subject_delete_marker_ttl;
        if !markers.is_zero() && markers < Duration::from_secs(1) {
            return bad("subject delete marker TTL must be at least 1 second");
        }
        if self.duplicate_window < MIN_WINDOW {
            return bad("duplicates window needs to be >= 100ms");
        }
        if !self.max_age.is_zero() && self.duplicate_window > self.max_age {
            return bad("duplicates window can not be larger then max age");
        }
        if self.discard_new_per_subject && self.discard != DiscardPolicy::New {
            return bad("discard new per subject requires discard new policy to be set");
        }
        if self.discard_new_per_subject && self.max_msgs_per_subject < 1 {
            return bad("discard new per subject requires max msgs per subject > 0");
        }
        if self.persist_mode == PersistMode::Async && self.storage != StorageType::File {
            return bad("async persist mode is only supported on file storage");
        }
        if self.first_seq > MAX_FIRST_SEQ {
            return bad("first sequence leaves no room for messages");
        }
        if self.deny_purge && self.allow_rollup_hdrs {
            return bad("roll-ups require the purge permission");
        }
        Ok(())
    }

    /// Whether its messages are compressed on disk.
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.compression.as_deref() == Some("s2")
    }

    /// Whether a limit value restricts anything.
    pub(crate) fn limit(value: i64) -> Option<u64> {
        u64::try_from(value).ok().filter(|value| *value > 0)
    }

    /// The update of this configuration to `new`, with defaults filled in, if nats-server would allow it.
    ///
    /// # Errors
    /// What is wrong with `new`, or what may not change.
    pub fn checked_update(&self, new: Self) -> Result<Self, ApiError> {
        let mut new = new;
        if new.name.is_empty() {
            new.name.clone_from(&self.name);
        }
        if new.subjects.is_empty() {
            new.subjects.clone_from(&self.subjects);
        }
        let new = new.checked()?;
        let bad = |text: &'static str| Err(ApiError::stream_invalid_config(text));
        if new.name != self.name {
            return bad("stream configuration name must match original");
        }
        if new.storage != self.storage {
            return bad("stream configuration update can not change storage type");
        }
        if new.persist_mode != self.persist_mode {
            return bad("stream configuration update can not change persist mode");
        }
        if new.max_consumers != self.max_consumers {
            return bad("stream configuration update can not change MaxConsumers");
        }
        if new.retention != self.retention
            && (new.retention == RetentionPolicy::WorkQueue
                || self.retention == RetentionPolicy::WorkQueue)
        {
            return bad(
                "stream configuration update can not change retention policy to/from workqueue",
            );
        }
        if self.sealed && !new.sealed {
            return bad("stream configuration update can not unseal a sealed stream");
        }
        if self.deny_delete && !new.deny_delete {
            return bad("stream configuration update can not cancel deny message deletes");
        }
        if self.deny_purge && !new.deny_purge {
            return bad("stream configuration update can not cancel deny purge");
        }
        if self.allow_msg_ttl && !new.allow_msg_ttl {
            return bad("message TTL status can not be disabled");
        }
        if self.allow_msg_schedules && !new.allow_msg_schedules {
            return bad("message schedules can not be disabled");
        }
        Ok(new)
    }
}

pub(crate) fn metadata_size(metadata: &BTreeMap<String, String>) -> usize {
    metadata
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

fn check_stream_name(name: &str) -> Result<(), ApiError> {
    if name.contains(['/', '\\']) {
        return Err(ApiError::stream_name_path());
    }
    if name.is_empty() {
        return Err(ApiError::stream_invalid_config("stream name is required"));
    }
    check_name(name).map_err(|error| ApiError::stream_invalid_config(format!("stream {error}")))
}
