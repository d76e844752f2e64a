//! What a connector is doing, as numbers and words for `describe`, the console and metrics.

use millstream_types::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

/// Where in its life a connector is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The task has begun, nothing is known yet.
    #[default]
    Starting,
    /// At work, or well and waiting for something to do.
    Running,
    /// In a pause after an error.
    Retrying,
    /// A source read all there is; final.
    Finished,
    /// Needs a person; final until it is applied again.
    Failed,
    /// Told to stop; final.
    Stopped,
}

impl State {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Stopped)
    }
}

/// A snapshot. Counters start at zero with the task, not with the connector's life.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// Where in its life it is.
    pub state: State,
    /// Source: records committed, whatever became of them. Sink: records the destination accepted.
    pub records: u64,
    /// Payload bytes of `records`.
    pub bytes: u64,
    /// Commits or writes that succeeded.
    pub batches: u64,
    /// Source: records that were stored.
    pub stored: u64,
    /// Source: records a stage dropped.
    pub dropped: u64,
    /// Source: records the station had already.
    pub duplicates: u64,
    /// Source: records a stage or the source itself refused.
    pub rejected: u64,
    /// Source: records no station took.
    pub no_station: u64,
    /// Sink: records given up.
    pub dead_letters: u64,
    /// Sink: the highest sequence that is done with.
    pub last_seq: u64,
    /// Errors so far.
    pub errors: u64,
    /// Failures in a row; 0 when all is well.
    pub attempts: u32,
    /// The last error, even when all is well again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_time: Option<String>,
    /// Source: bytes of known input not committed yet. Sink: records of the station not done yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Where a source listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// The writing side of a status, shared by a supervisor and what it wraps.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    sender: watch::Sender<Status>,
}

impl Board {
    pub(crate) fn new() -> (Self, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status::default());
        (Self { sender }, receiver)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.sender.send_modify(change);
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.sender.borrow())
    }

    pub(crate) fn enter(&self, state: State) {
        self.update(|status| status.state = state);
    }

    /// Counts an error and shows it.
    pub(crate) fn error(&self, state: State, attempts: u32, reason: &str) {
        self.update(|status| {
            status.state = state;
            status.attempts = attempts;
            status.errors += 1;
            status.last_error = Some(reason.to_owned());
            status.last_error_time = Some(Timestamp::now().to_rfc3339());
        });
    }
}
