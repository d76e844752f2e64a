//! What is seen of a flow.

use millstream_types::Timestamp;
use serde::{Deserialize, Serialize};

/// What a flow is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowState {
    /// It looks where it stands.
    #[default]
    Starting,
    /// It takes what comes.
    Running,
    /// It reads what is stored, beside the version that runs.
    Building,
    /// It stands still because it was told to.
    Paused,
    /// It waits until an input may be tried again.
    Retrying,
    /// What it writes to cannot take it now, or what it reads is not there; it tries again.
    Blocked,
    /// It cannot go on as it is declared.
    Failed,
    /// It has read what it was to read.
    Done,
}

impl FlowState {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Building => "building",
            Self::Paused => "paused",
            Self::Retrying => "retrying",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

/// What became of inputs since the flow began or was restarted; part of its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowTotals {
    /// Inputs that ended.
    pub inputs: u64,
    /// Messages made of them.
    pub outputs: u64,
    /// Inputs of which nothing was made.
    pub dropped: u64,
    /// Inputs that became dead letters.
    pub rejected: u64,
    /// Times an input was to be tried again.
    pub retried: u64,
    /// Inputs that were gone when they were to be tried again, and those that were rejected and whose dead letter is never
    /// stored.
    pub lost: u64,
    /// Of a query: rows that came behind the end of their window.
    #[serde(skip_serializing_if = "is_zero")]
    pub late: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a query says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueryStatus {
    /// Event time: nothing earlier is expected.
    pub watermark: Option<String>,
    /// Bytes of state, in memory and on local disk.
    pub state_bytes: u64,
    /// Entries of state.
    pub state_rows: u64,
    /// Of both, what is on local disk.
    pub spilled_bytes: u64,
    /// Its entries.
    pub spilled_rows: u64,
    /// What it reads.
    pub sources: Vec<SourceStatus>,
}

/// A source of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// The station or stream.
    pub station: String,
    /// The last sequence it has looked at.
    pub position: u64,
    /// Messages it has still to deal with.
    pub lag_messages: u64,
    /// Age of the oldest of them in seconds.
    pub lag_seconds: u64,
    /// Event time of this source.
    pub watermark: Option<String>,
}

/// A flow in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowStatus {
    /// What it is doing.
    pub state: FlowState,
    /// Why it is not running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last sequence it has looked at.
    pub position: u64,
    /// Inputs that are put aside to be tried again, or to wait for one of them.
    pub parked: u64,
    /// When the first of them is tried again.
    #[serde(skip)]
    pub next_try: Option<Timestamp>,
    /// Messages it has still to deal with.
    pub lag_messages: u64,
    /// Age of the oldest of them in seconds.
    pub lag_seconds: u64,
    /// What became of the others.
    #[serde(flatten)]
    pub totals: FlowTotals,
    /// Things that went wrong since the server started; inputs that were rejected are none.
    pub errors: u64,
    /// The last of them.
    pub last_error: Option<String>,
    /// Of a query: what it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryStatus>,
}
