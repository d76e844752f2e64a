//! The way out: the broker hands batches to a sink and moves the cursor when the destination accepted them.

use crate::{BoxFuture, ConnectorError, OptionDescriptor, OptionType, SinkError, SinkRecord};

/// Writes to an outside system. The supervisor calls from one task, one batch at a time, in order.
pub trait Sink: Send {
    /// Writes one non-empty batch of ascending sequences; answers when the destination has accepted it durably, as far as
    /// the destination can say. A batch, or a part of it, may come again after a crash or an error.
    ///
    /// # Errors
    /// By what helps: see [`SinkError`].
    fn write<'a>(&'a mut self, batch: &'a [SinkRecord]) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Ends cleanly: called after the last write when the connector stops.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// The broker's side of a sink: a durable cursor over one station.
///
/// ```text
///   seq  1   2   3   4   5   6   7   8
///        accepted    ▲ handed out ▲ not yet
///                    cursor       next() goes on here
/// ```
/// Records come in ascending sequence. After a restart the first record handed out is the first one that is neither
/// accepted nor dead-lettered: an earlier record never comes after a later one was accepted. Sinks rely on that order.
pub trait SinkFeed: Send + Sync {
    /// The next records: at least one (waits for it), at most `max`, at most `max_bytes` unless the first alone is larger.
    /// Dropping the future loses nothing: what it would have given is given by the next call.
    ///
    /// # Errors
    /// When the station cannot be read now (retryable) or is gone (fatal).
    fn next(
        &self,
        max: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SinkRecord>, ConnectorError>>;

    /// Moves the cursor over these sequences; called only after the destination accepted them. Answers when the move is
    /// durable.
    ///
    /// # Errors
    /// When the move is not durable; the supervisor tries again with the same sequences.
    fn accepted<'a>(&'a self, seqs: &'a [u64]) -> BoxFuture<'a, Result<(), ConnectorError>>;

    /// Stores the record in the station's dead letters and, after that, moves the cursor over it. `code` is a stable word
    /// (`sink_refused`, `sink_attempts`), `reason` a text for people.
    ///
    /// # Errors
    /// When it is not stored; the supervisor tries again.
    fn dead_letter<'a>(
        &'a self,
        record: &'a SinkRecord,
        code: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), ConnectorError>>;

    /// The supervisor still holds these sequences (it backs off, or the destination is slow). A feed that hands records out
    /// with a deadline extends it.
    fn holding<'a>(&'a self, seqs: &'a [u64]) -> BoxFuture<'a, ()> {
        let _ = seqs;
        Box::pin(async {})
    }

    /// Records of the station the cursor has not passed yet, when that is cheap to know; for the status.
    fn behind(&self) -> Option<u64> {
        None
    }
}

/// Options every sink has; the supervisor reads them, not the connector.
pub const SINK_OPTIONS: &[OptionDescriptor] = &[
    OptionDescriptor {
        name: "batch",
        kind: OptionType::Integer {
            min: 1,
            max: 10_000,
        },
        default: Some("100"),
        required: false,
        secret: false,
        doc: "most records in one write",
    },
    OptionDescriptor {
        name: "batch_bytes",
        kind: OptionType::Bytes,
        default: Some("1MiB"),
        required: false,
        secret: false,
        doc: "most bytes of subjects, headers and payloads in one write; a single larger record still goes",
    },
    OptionDescriptor {
        name: "batch_wait",
        kind: OptionType::Duration,
        default: Some("0s"),
        required: false,
        secret: false,
        doc: "how long to wait for a batch to fill once it has a record",
    },
    OptionDescriptor {
        name: "max_attempts",
        kind: OptionType::Integer {
            min: 0,
            max: 1_000_000,
        },
        default: Some("20"),
        required: false,
        secret: false,
        doc: "writes of the same records before they become dead letters; 0 tries for ever",
    },
    OptionDescriptor {
        name: "backoff",
        kind: OptionType::Duration,
        default: Some("100ms"),
        required: false,
        secret: false,
        doc: "pause after the first failed write; doubles up to `backoff_max`, with jitter",
    },
    OptionDescriptor {
        name: "backoff_max",
        kind: OptionType::Duration,
        default: Some("30s"),
        required: false,
        secret: false,
        doc: "longest pause between two writes of the same records",
    },
];
