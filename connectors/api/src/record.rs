//! The records that pass between a connector and the broker.

use bytes::Bytes;
use millstream_types::Timestamp;

/// One record on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRecord {
    /// Literal subject; the source has checked it with `check_subject`.
    pub subject: String,
    /// Raw header block (`NATS/1.0…`) or empty.
    pub headers: Bytes,
    /// The payload, as the system gave it.
    pub payload: Bytes,
    /// Set when the source itself found the record unfit (no JSON, too long). The broker treats it as rejected by stage
    /// `source:<name>` with this code and reason, without running the pipeline; it must not fail the commit.
    pub fault: Option<Fault>,
}

/// Why a source considers a record unfit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable word for programs, such as `invalid_json` or `line_too_long`.
    pub code: &'static str,
    /// Text for people, with the place in the input.
    pub reason: String,
}

/// What became of one record of a commit; one per record, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordResult {
    /// In the log.
    Stored {
        /// The stream that took it.
        stream: String,
        /// Its sequence there; the last one when the pipeline made several of it.
        seq: u64,
    },
    /// A stage dropped it on purpose.
    Dropped,
    /// The stream had it already (`Nats-Msg-Id`).
    Duplicate,
    /// A stage refused it; it is a dead letter, or gone if the station says so.
    Rejected {
        /// Stable word for programs.
        code: String,
        /// Text for people.
        reason: String,
    },
    /// No station takes this subject; nothing was stored.
    NoStation,
}

/// One record on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRecord {
    /// Sequence in the station.
    pub seq: u64,
    /// When the station stored it.
    pub time: Timestamp,
    /// Subject it is stored under.
    pub subject: Bytes,
    /// Raw header block or empty.
    pub headers: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// How often it was handed out, this time included; 1 at first.
    pub deliveries: u32,
}

impl SinkRecord {
    /// Bytes this record counts for in a batch's byte limit.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }
}
