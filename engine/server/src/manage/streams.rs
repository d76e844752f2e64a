//! The streams of a station: itself, and its dead letters.

use std::collections::BTreeMap;

use millstream_cluster::{Command, Node};
use millstream_jetstream::{state_stream, state_subjects};
use millstream_spec::{
    self as spec, Compression, DeadLettersSpec, DedupBy, DedupSpec, Discard, FunctionSpec, Policy,
    StationSpec, Storage,
};
use millstream_streams::{
    ApiError, Command as StreamCommand, DEDUP, DEDUP_HEADERS, DiscardPolicy, PersistMode,
    RetentionPolicy, StorageType, StreamConfig,
};
use millstream_types::Timestamp;

use crate::functions::bucket_stream;

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
        persist_mode: match spec.persist_mode {
            spec::PersistMode::Default => PersistMode::Default,
            spec::PersistMode::Async => PersistMode::Async,
        },
        compression: match spec.compression {
            Compression::None => None,
            // The word that JetStream clients know for it.
            Compression::Lz4 => Some("s2".to_owned()),
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
        duplicate_window: spec.dedup.window.unwrap_or_default(),
        metadata: dedup(&spec.dedup),
        allow_msg_ttl: retention.message_ttl,
        subject_delete_marker_ttl: retention.delete_markers.unwrap_or_default(),
        allow_msg_schedules: spec.schedules,
        allow_direct: true,
        ..blank()
    }
    .checked()
}

/// Stream metadata that says by what messages are compared; nothing where ids do.
fn dedup(spec: &DedupSpec) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    if spec.by == DedupBy::Content {
        metadata.insert(DEDUP.to_owned(), "content".to_owned());
        if !spec.headers.is_empty() {
            metadata.insert(DEDUP_HEADERS.to_owned(), spec.headers.join(","));
        }
    }
    metadata
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

/// The stream that keeps the state of a query.
pub(super) fn state(flow: &str) -> Result<StreamConfig, ApiError> {
    StreamConfig {
        name: state_stream(flow),
        description: Some(format!(
            "what flow `{flow}` remembers; only the flow writes it"
        )),
        subjects: vec![state_subjects(flow)],
        // The word that JetStream clients know for it.
        compression: Some("s2".to_owned()),
        ..blank()
    }
    .checked()
}

/// The stream of a function's bucket: one that any key-value client reads.
pub(super) fn bucket(
    node: &Node,
    function: &FunctionSpec,
) -> Option<Result<StreamConfig, ApiError>> {
    let state = function.state.as_ref()?;
    let bucket = function.bucket()?;
    let name = bucket_stream(bucket);
    let max_age = state.ttl.unwrap_or_default();
    let own = match node.stream(&name) {
        // Whatever else it is like is somebody's wish.
        Some(cell) => {
            let config = cell.lock().config.clone();
            StreamConfig { max_age, ..config }
        }
        None => StreamConfig {
            description: Some(format!("what function `{}` remembers", function.name)),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_msgs_per_subject: 1,
            max_age,
            discard: DiscardPolicy::New,
            deny_delete: true,
            allow_rollup_hdrs: true,
            allow_direct: true,
            name,
            ..blank()
        },
    };
    Some(own.checked())
}

/// Metadata that others set, and the station's own as its file says now.
fn merged(
    held: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut metadata = held.clone();
    metadata.retain(|key, _| key != DEDUP && key != DEDUP_HEADERS);
    metadata.extend(own.clone());
    metadata
}

/// The command that brings a stream into being or up to date; `None` when it is as it should be.
pub(super) fn command(
    node: &Node,
    config: StreamConfig,
    time: Timestamp,
) -> Result<Option<Command>, ApiError> {
    let Some(cell) = node.stream(&config.name) else {
        let config = Box::new(config);
        return Ok(Some(Command::Stream(StreamCommand::CreateStream {
            id: node.next_stream_id(),
            time,
            config,
        })));
    };
    let stream = cell.lock();
    // What nats clients set on the stream and a station file does not say stays.
    let config = StreamConfig {
        metadata: merged(&stream.config.metadata, &config.metadata),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millstream_spec::{SourceFile, Spec, parse};
    use millstream_streams::{DEDUP, DEDUP_HEADERS, StreamConfig};

    use super::{merged, station};

    fn config(dedup: &str) -> StreamConfig {
        let text = format!("kind: station\nname: s\nsubjects: [s]\n{dedup}\n");
        let name = "f.yaml".into();
        let parsed = parse(&[SourceFile { name, text }], &|_| None);
        let spec = parsed.into_result().expect("no problems").remove(0).spec;
        let Spec::Station(spec) = spec else {
            panic!("a station");
        };
        station(&spec).expect("valid")
    }

    #[test]
    fn dedup_becomes_metadata_and_window() {
        let config_of_ids = config("");
        assert!(config_of_ids.metadata.is_empty());
        assert_eq!(config_of_ids.duplicate_window, Duration::from_secs(120));
        let content = config("dedup: { by: content, headers: [A, B], window: 2d }");
        assert_eq!(content.metadata[DEDUP], "content");
        assert_eq!(content.metadata[DEDUP_HEADERS], "A,B");
        assert_eq!(content.duplicate_window, Duration::from_secs(2 * 86_400));

        let mut held = content.metadata;
        held.insert("owner".to_owned(), "ann".to_owned());
        let narrower = config("dedup: content");
        let after = merged(&held, &narrower.metadata);
        let keys: Vec<&String> = after.keys().collect();
        assert_eq!(keys, [DEDUP, "owner"]);
        let after = merged(&after, &config_of_ids.metadata);
        assert_eq!(after.keys().collect::<Vec<_>>(), ["owner"]);
    }
}
