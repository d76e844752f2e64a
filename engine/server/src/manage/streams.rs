//! The streams of a station: itself, and its dead letters.

use millstream_cluster::{Command, Node};
use millstream_spec::{DeadLettersSpec, Discard, Policy, StationSpec, Storage};
use millstream_streams::{
    ApiError, Command as StreamCommand, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig,
};
use millstream_types::Timestamp;

/// Prefix of the stage's subject in dead letters, see `millstream_pipeline::dead_letter`.
const DEAD: &str = "$MS.DEAD";

fn blank() -> StreamConfig {
    serde_json::from_str("{}").expect("invariant: every field has a default")
}

fn limit(value: Option<u64>) -> i64 {
    value
        .and_then(|value| i64::try_from(value).ok())
        .unwrap_or(-1)
}

/// The station's stream.
pub(super) fn station(spec: &StationSpec) -> Result<StreamConfig, ApiError> {
    let retention = &spec.retention;
    StreamConfig {
        name: spec.name.clone(),
        subjects: spec.subjects.clone(),
        retention: match retention.policy {
            Policy::Limits => RetentionPolicy::Limits,
            Policy::Workqueue => RetentionPolicy::WorkQueue,
        },
        storage: match spec.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        },
        discard: match retention.discard {
            Discard::Old => DiscardPolicy::Old,
            Discard::New => DiscardPolicy::New,
        },
        max_age: retention.max_age.unwrap_or_default(),
        max_bytes: limit(retention.max_bytes),
        max_msgs: limit(retention.max_msgs),
        max_msgs_per_subject: limit(retention.max_msgs_per_subject),
        max_msg_size: limit(retention.max_msg_size),
        allow_direct: true,
        ..blank()
    }
    .checked()
}

/// The name of the stream a station's dead letters go to.
pub(super) fn letters_name(station: &str) -> String {
    format!("{station}-dead-letters")
}

/// The dead letters' stream: an ordinary one.
pub(super) fn dead_letters(
    station: &str,
    spec: &DeadLettersSpec,
) -> Result<StreamConfig, ApiError> {
    StreamConfig {
        name: letters_name(station),
        description: Some(format!(
            "what station `{station}` rejected, with the reasons"
        )),
        subjects: vec![format!("{DEAD}.{station}.>")],
        max_age: spec.max_age.unwrap_or_default(),
        max_bytes: limit(spec.max_bytes),
        allow_direct: true,
        ..blank()
    }
    .checked()
}

/// The command that brings a stream into being or up to date; `None` when it is as it should be.
pub(super) fn command(
    node: &Node,
    id: u32,
    config: StreamConfig,
    time: Timestamp,
) -> Result<Option<Command>, ApiError> {
    let Some(cell) = node.stream(&config.name) else {
        let config = Box::new(config);
        return Ok(Some(Command::Stream(StreamCommand::CreateStream {
            id,
            time,
            config,
        })));
    };
    let stream = cell.lock();
    // What nats clients set on the stream and a station file does not say stays.
    let config = StreamConfig {
        metadata: stream.config.metadata.clone(),
        ..config
    };
    let config = stream.config.checked_update(config)?;
    if stream.config == config {
        return Ok(None);
    }
    let config = Box::new(config);
    Ok(Some(Command::Stream(StreamCommand::UpdateStream {
        id: cell.id,
        time,
        config,
    })))
}
