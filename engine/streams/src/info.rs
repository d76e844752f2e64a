//! What the JetStream API answers: states and infos of streams and consumers, acknowledgements of publishes.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ack::Decimal;
use crate::config::StreamConfig;
use crate::consumer_config::ConsumerConfig;
use crate::errors::ApiError;
use crate::json::{is_default, nanos, rfc3339, rfc3339_option};

/// What a stream holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Messages held.
    pub messages: u64,
    /// Bytes they count for in `max_bytes`.
    pub bytes: u64,
    /// The lowest sequence held; one above the last when empty.
    pub first_seq: u64,
    /// When the first message held was stored.
    #[serde(with = "rfc3339_option")]
    pub first_ts: Option<Timestamp>,
    /// The highest sequence ever given.
    pub last_seq: u64,
    /// When it was given.
    #[serde(with = "rfc3339_option")]
    pub last_ts: Option<Timestamp>,
    /// Distinct subjects held.
    #[serde(default, skip_serializing_if = "is_default")]
    pub num_subjects: u64,
    /// Messages per subject, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<BTreeMap<String, u64>>,
    /// Sequences between first and last that are gone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub num_deleted: u64,
    /// Which ones, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Vec<u64>>,
    /// Consumers of the stream.
    pub consumer_count: usize,
}

/// Where a stream lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// The cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The server that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// A stream with its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its configuration with all defaults.
    pub config: StreamConfig,
    /// When it was created.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// What it holds.
    pub state: StreamState,
    /// Where it lives, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    /// When this was answered.
    #[serde(with = "rfc3339")]
    pub ts: Timestamp,
}

/// How far a consumer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceInfo {
    /// Counted in the consumer's deliveries.
    pub consumer_seq: u64,
    /// Counted in the stream's messages.
    pub stream_seq: u64,
    /// When it last moved.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339_option"
    )]
    pub last_active: Option<Timestamp>,
}

/// A consumer with its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsumerInfo {
    /// The stream it reads.
    pub stream_name: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Its configuration with all defaults.
    pub config: ConsumerConfig,
    /// The last delivery.
    pub delivered: SequenceInfo,
    /// Everything up to here is acknowledged.
    pub ack_floor: SequenceInfo,
    /// Deliveries out for acknowledgement.
    pub num_ack_pending: usize,
    /// Those of them delivered more than once.
    pub num_redelivered: usize,
    /// Pull requests that wait.
    pub num_waiting: usize,
    /// Messages not delivered yet.
    pub num_pending: u64,
    /// Where it lives, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    /// Whether somebody listens on the deliver subject.
    #[serde(default, skip_serializing_if = "is_default")]
    pub push_bound: bool,
    /// Whether deliveries are held back until `pause_until`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// For how long yet.
    #[serde(default, skip_serializing_if = "is_default", with = "nanos")]
    pub pause_remaining: Duration,
    /// When this was answered.
    #[serde(with = "rfc3339")]
    pub ts: Timestamp,
}

/// The answer to a publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PubAck {
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// The stream that stored it.
    pub stream: String,
    /// The sequence it has; 0 when refused.
    pub seq: u64,
    /// The JetStream domain, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Whether it was there already.
    #[serde(default, skip_serializing_if = "is_default")]
    pub duplicate: bool,
}

impl PubAck {
    /// Appends the JSON of an acknowledgement without building one. Stream names need no escaping: `check_name`
    /// refuses control characters, and quotes and backslashes go through the slow way.
    pub fn write(out: &mut Vec<u8>, stream: &str, seq: u64, duplicate: bool) {
        out.extend_from_slice(b"{\"stream\":");
        if stream.bytes().any(|byte| matches!(byte, b'"' | b'\\')) {
            let quoted = serde_json::to_vec(stream).expect("invariant: a string serializes");
            out.extend_from_slice(&quoted);
        } else {
            out.push(b'"');
            out.extend_from_slice(stream.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"seq\":");
        out.extend_from_slice(Decimal::new(seq).as_bytes());
        if duplicate {
            out.extend_from_slice(b",\"duplicate\":true");
        }
        out.push(b'}');
    }
}

/// A message as MSG.GET answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its sequence.
    pub seq: u64,
    /// The raw header block in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdrs: Option<String>,
    /// The payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// When it was stored.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
}

impl StoredMessage {
    /// The answer for a stored record.
    #[must_use]
    pub fn new(seq: u64, time: Timestamp, record: &crate::RecordView<'_>) -> Self {
        let encode = |bytes: &[u8]| (!bytes.is_empty()).then(|| STANDARD.encode(bytes));
        Self {
            subject: String::from_utf8_lossy(record.subject).into_owned(),
            seq,
            hdrs: encode(record.headers),
            data: encode(record.payload),
            time,
        }
    }
}

#[cfg(test)]
mod tests;
