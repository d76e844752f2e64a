//! The file sink: batches, rotation, and no torn line after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_connector_api::testing::{MemoryFeed, records};
use millstream_connector_api::{Config, Connector};
use millstream_connector_runtime::State;
use millstream_connector_runtime::testing::{drain, patient, start, survives_kills};
use serde_json::json;

use super::FileSink;

fn config(path: &Path, more: serde_json::Value) -> Config {
    let mut config = json!({"path": path, "batch": 4, "backoff": "1ms", "backoff_max": "2ms"});
    config
        .as_object_mut()
        .expect("object")
        .extend(more.as_object().expect("object").clone());
    config.as_object().expect("object").clone()
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("out.jsonl");
    (folder, path)
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("read");
    assert!(text.ends_with('\n'), "torn: {text:?}");
    let number = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        value["payload"]["n"].as_u64().expect("a number")
    };
    text.lines().map(number).collect()
}

#[tokio::test]
async fn no_kill_leaves_a_torn_line_or_a_line_twice() {
    survives_kills(
        Arc::new(FileSink),
        10,
        async || {
            let (folder, path) = fresh();
            (config(&path, json!({})), (folder, path))
        },
        async |(_folder, path), feed| {
            assert_eq!(numbers(&path), (1..=10).collect::<Vec<_>>());
            assert_eq!(feed.accepted(), (1..=10).collect::<Vec<_>>());
            assert!(feed.dead().is_empty());
        },
    )
    .await;
}

#[tokio::test]
async fn lines_hold_the_record() {
    let (_folder, path) = fresh();
    drain(
        Arc::new(FileSink),
        config(&path, json!({})),
        &MemoryFeed::new(records(2)),
    )
    .await;
    assert_eq!(
        fs::read_to_string(&path).expect("read"),
        "{\"seq\":1,\"time\":\"1970-01-01T00:00:01Z\",\"subject\":\"test.records\",\"payload\":{\"n\":1}}\n\
         {\"seq\":2,\"time\":\"1970-01-01T00:00:02Z\",\"subject\":\"test.records\",\"payload\":{\"n\":2}}\n"
    );
}

#[tokio::test]
async fn a_missing_folder_is_waited_for() {
    let (folder, _) = fresh();
    let path = folder.path().join("later/out.jsonl");
    let feed = MemoryFeed::new(records(3));
    let handle = start(
        Arc::new(FileSink),
        config(&path, json!({"max_attempts": 0})),
        feed.handle(None),
    );
    let status = patient(handle.until(|status| status.state == State::Retrying)).await;
    let error = status.last_error.expect("an error");
    assert!(
        error.starts_with("folder `") && error.contains("does not exist: create it"),
        "{error}"
    );
    fs::create_dir(folder.path().join("later")).expect("create");
    patient(feed.until(MemoryFeed::is_drained)).await;
    patient(handle.stop()).await;
    assert_eq!(numbers(&path), [1, 2, 3]);
}

#[tokio::test]
async fn a_foreign_file_fails_the_sink_and_stays_as_it_is() {
    let (_folder, path) = fresh();
    fs::write(&path, "precious\n").expect("write");
    let feed = MemoryFeed::new(records(1));
    let handle = start(
        Arc::new(FileSink),
        config(&path, json!({})),
        feed.handle(None),
    );
    assert_eq!(patient(handle.ended()).await.state, State::Failed);
    assert_eq!(fs::read_to_string(&path).expect("read"), "precious\n");
    assert!(feed.accepted().is_empty());
}

#[test]
fn options_are_checked() {
    let config = config(
        Path::new("x"),
        json!({"rotate_bites": "1MiB", "rotate_keep": 0}),
    );
    let problems = FileSink.validate(&config).expect_err("refused");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts[0],
        "unknown option `rotate_bites` (did you mean `rotate_bytes`?)"
    );
    assert!(texts[1].starts_with("option `rotate_keep` must be a whole number from 1"));
}
