//! The file source: formats, growing and replaced files, and positions.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_connector_api::testing::{
    MemoryBroker, commit_errors_lose_nothing, each_record_once, stops_when_cancelled,
};
use millstream_connector_api::{Config, Connector, ConnectorError, Environment, Progress, Source};
use millstream_connector_runtime::testing::patient;
use millstream_connector_runtime::{Backoff, State, run_source};
use serde_json::json;

use super::FileSource;

struct Case {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Case {
    fn new(name: &str, content: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("write");
        Self { folder, path }
    }

    fn config(&self, more: serde_json::Value) -> Config {
        let mut config = json!({"path": self.path, "subject": "n.{n}", "batch": 3});
        config
            .as_object_mut()
            .expect("object")
            .extend(more.as_object().expect("object").clone());
        config.as_object().expect("object").clone()
    }

    fn source(&self, more: serde_json::Value) -> Box<dyn Source> {
        FileSource
            .build_source(&self.config(more), &Environment::default())
            .expect("valid")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .expect("open");
        file.write_all(text.as_bytes()).expect("write");
    }
}

fn lines(numbers: std::ops::RangeInclusive<u32>) -> (String, Vec<String>) {
    let payloads: Vec<String> = numbers.map(|n| format!("{{\"n\":{n}}}")).collect();
    (
        payloads
            .iter()
            .map(|payload| format!("{payload}\n"))
            .collect(),
        payloads,
    )
}

async fn read_all(
    source: Box<dyn Source>,
    broker: &Arc<MemoryBroker>,
) -> Result<(), ConnectorError> {
    patient(source.run(broker.context(None))).await
}

#[tokio::test]
async fn json_lines_are_stored_once_whatever_is_killed() {
    let (content, expected) = lines(1..=11);
    let case = Case::new("a.jsonl", &content);
    each_record_once(|| case.source(json!({})), &expected).await;
    commit_errors_lose_nothing(|| case.source(json!({})), &expected).await;
}

#[tokio::test]
async fn csv_rows_are_stored_once_whatever_is_killed() {
    let content = "n,name\n1,\"a\nb\"\n2,x\n\n3,\"y\"\"z\"\n4,\n5,NA\n6,end";
    let expected = [
        r#"{"n":1,"name":"a\nb"}"#,
        r#"{"n":2,"name":"x"}"#,
        r#"{"n":3,"name":"y\"z"}"#,
        r#"{"n":4,"name":null}"#,
        r#"{"n":5,"name":null}"#,
        r#"{"n":6,"name":"end"}"#,
    ]
    .map(str::to_owned);
    let case = Case::new("a.csv", content);
    each_record_once(|| case.source(json!({"null": "NA", "batch": 2})), &expected).await;
}

#[tokio::test]
async fn every_record_gets_its_subject_and_bad_lines_a_fault() {
    let long = "x".repeat(5000);
    let content =
        format!("\u{feff}{{\"n\":1}}\r\n\nno json\n{{\"m\":1}}\n\"{long}\"\n{{\"n\":\"a b\"}}");
    let case = Case::new("a.ndjson", &content);
    let broker = MemoryBroker::new();
    read_all(case.source(json!({"max_line": 1000})), &broker)
        .await
        .expect("no fault");
    let records = broker.records();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.subject.as_str(),
                record.payload.len(),
                record.fault.as_ref().map(|fault| fault.code),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("n.1", 7, None),
            ("n._", 7, Some("invalid_json")),
            ("n._", 7, None),
            ("n._", 256, Some("line_too_long")),
            ("n.a_b", 11, None),
        ]
    );
    let reason = |at: usize| records[at].fault.as_ref().expect("a fault").reason.clone();
    assert_eq!(reason(1), "line 3 is no JSON: expected ident at column 2");
    assert_eq!(
        reason(3),
        "line 5 has 5002 bytes, more than `max_line` of 1000; only its beginning is kept"
    );
}

#[tokio::test]
async fn a_finished_file_that_grew_is_read_on() {
    let (content, _) = lines(1..=4);
    let case = Case::new("a.jsonl", &content);
    let broker = MemoryBroker::new();
    read_all(case.source(json!({})), &broker)
        .await
        .expect("no fault");
    case.append(&lines(5..=6).0);
    read_all(case.source(json!({})), &broker)
        .await
        .expect("no fault");
    read_all(case.source(json!({})), &broker)
        .await
        .expect("no fault");
    assert_eq!(broker.payloads(), lines(1..=6).1);
}

#[tokio::test]
async fn a_followed_file_gives_whole_lines_as_they_come() {
    let case = Case::new("a.jsonl", "{\"n\":1}\n{\"n\"");
    let broker = MemoryBroker::new();
    let context = broker.context(None);
    let run = tokio::spawn(case.source(json!({"follow": true})).run(context.clone()));
    let is_waiting = |broker: &MemoryBroker| {
        broker
            .progress()
            .iter()
            .any(|progress| matches!(progress, Progress::Waiting(_)))
    };
    patient(broker.until(is_waiting)).await;
    assert_eq!(broker.payloads(), [r#"{"n":1}"#]);
    case.append(":2}\n{\"n\":3}\n");
    patient(broker.until(|broker| broker.payloads().len() == 3)).await;
    context.cancel();
    assert_eq!(patient(run).await.expect("no panic"), Ok(()));
    assert_eq!(broker.payloads(), lines(1..=3).1);
    stops_when_cancelled(case.source(json!({"follow": true})), &broker, is_waiting).await;
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("write");
    fs::rename(new, path).expect("rename");
}

#[tokio::test]
async fn a_replaced_or_cut_file_is_an_error_unless_told_otherwise() {
    let (content, expected) = lines(1..=5);
    for cut in [false, true] {
        let case = Case::new("a.jsonl", &content);
        let broker = MemoryBroker::new();
        read_all(case.source(json!({})), &broker)
            .await
            .expect("no fault");
        if cut {
            fs::write(&case.path, lines(8..=9).0).expect("write");
        } else {
            replace(&case.path, &lines(8..=20).0);
        }
        let error = read_all(case.source(json!({})), &broker)
            .await
            .expect_err("refused");
        assert!(matches!(&error, ConnectorError::Fatal { reason }
            if reason.contains("was replaced or cut since line 5 was read") && reason.contains("on_truncate: restart")));
        read_all(case.source(json!({"on_truncate": "restart"})), &broker)
            .await
            .expect("no fault");
        let new = if cut { lines(8..=9) } else { lines(8..=20) };
        assert_eq!(broker.payloads(), [expected.clone(), new.1].concat());
    }
}

#[tokio::test]
async fn a_followed_file_that_is_rotated_goes_on_with_the_new_one() {
    let case = Case::new("a.jsonl", &lines(1..=2).0);
    let broker = MemoryBroker::new();
    let context = broker.context(None);
    let source = case.source(json!({"follow": true, "on_truncate": "restart"}));
    let run = tokio::spawn(source.run(context.clone()));
    patient(broker.until(|broker| broker.payloads().len() == 2)).await;
    replace(&case.path, &lines(3..=4).0);
    patient(broker.until(|broker| broker.payloads().len() == 4)).await;
    context.cancel();
    assert_eq!(patient(run).await.expect("no panic"), Ok(()));
    assert_eq!(broker.payloads(), lines(1..=4).1);
}

#[tokio::test]
async fn a_missing_file_is_waited_for_with_a_clear_status() {
    let case = Case::new("a.jsonl", "");
    fs::remove_file(&case.path).expect("remove");
    let broker = MemoryBroker::new();
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(5));
    let environment = Environment {
        base_dir: Some(case.folder.path().to_owned()),
        ..Environment::default()
    };
    let mut config = case.config(json!({}));
    config.insert("path".into(), "a.jsonl".into());
    let handle = run_source(
        Arc::new(FileSource),
        config,
        environment,
        broker.context(None),
        backoff,
    )
    .expect("valid");
    let status = patient(handle.until(|status| status.state == State::Retrying)).await;
    let expected = format!(
        "file `{}` does not exist: create it, or correct `path`",
        case.path.display()
    );
    assert_eq!(status.last_error.as_deref(), Some(expected.as_str()));
    fs::write(&case.path, lines(1..=3).0).expect("write");
    let status = patient(handle.ended()).await;
    assert_eq!(
        (status.state, status.records, status.behind),
        (State::Finished, 3, Some(0))
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let error = async |source: Box<dyn Source>| {
        read_all(source, &MemoryBroker::new())
            .await
            .expect_err("refused")
            .to_string()
    };
    let case = Case::new("a.csv", "n,n\n1,2\n");
    assert!(
        error(case.source(json!({})))
            .await
            .contains("is no CSV header: column `n` stands in it twice")
    );
    let folder = json!({"path": case.folder.path(), "format": "csv"});
    assert!(error(case.source(folder)).await.contains("is a folder"));
    let nowhere = json!({"path": case.folder.path().join("no/a.csv")});
    assert!(error(case.source(nowhere)).await.contains("folder `"));
}

#[test]
fn wrong_configurations_are_told() {
    let problem = |config: serde_json::Value| {
        let problems = FileSource
            .validate(config.as_object().expect("object"))
            .expect_err("refused");
        problems[0].to_string()
    };
    assert_eq!(
        problem(json!({"path": "a.gz", "subject": "s"})),
        "`a.gz` is compressed (decompress it first; compressed files are not supported yet)"
    );
    assert_eq!(
        problem(json!({"path": "a.txt", "subject": "s"})),
        "the extension of `a.txt` does not tell how it is written (set `format: jsonl` or `format: csv`)"
    );
    assert!(problem(json!({"path": "a.csv", "subject": "a.{b"})).contains("unmatched brace"));
    assert!(problem(json!({"path": "a.csv"})).contains("required option `subject` is missing"));
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept() {
    let case = Case::new("a.jsonl", &lines(1..=50).0);
    let broker = MemoryBroker::new();
    let started = tokio::time::Instant::now();
    case.source(json!({"rate": 100}))
        .run(broker.context(None))
        .await
        .expect("no fault");
    let batches = broker
        .commits()
        .iter()
        .map(|commit| commit.records.len())
        .collect::<Vec<_>>();
    assert!(batches.iter().all(|records| *records <= 10), "{batches:?}");
    // Virtual time: the last batch is due when all before it were sent at the rate.
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(400)..Duration::from_millis(600)).contains(&took),
        "{took:?}"
    );
}
