//! Functions' log lines on their way into the stream `function-logs`.
//!
//! Lines are taken without waiting: a function that logs more than can be stored loses lines and no time, and how many it
//! lost is said in a line of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_cluster::{Command, Node};
use millstream_function_api::LogLevel;
use millstream_jetstream::{IngestRecord, JetStream};
use millstream_streams::{Command as StreamCommand, PersistMode, StreamConfig};
use millstream_types::{HeadersBuilder, Message, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Where lines are stored.
pub(crate) const STREAM: &str = "function-logs";
const SUBJECTS: &str = "$MS.LOG.function.>";
/// Lines that wait.
const WAITING: usize = 4096;
/// Lines that are stored at once.
const TOGETHER: usize = 512;
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_BYTES: i64 = 256 << 20;

/// A line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) function: String,
    pub(crate) version: u64,
    pub(crate) level: LogLevel,
    pub(crate) text: String,
}

impl Line {
    fn message(self) -> Message {
        Message {
            subject: Bytes::from(format!("$MS.LOG.function.{}", self.function)),
            reply: None,
            headers: HeadersBuilder::new()
                .with("Ms-Function", &self.function)
                .with("Ms-Version", &self.version.to_string())
                .with("Ms-Level", self.level.as_str())
                .build(),
            payload: Bytes::from(self.text),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Logs {
    lines: mpsc::Sender<Line>,
    /// Given to the task that stores lines when there is where to store them.
    waiting: Mutex<Option<mpsc::Receiver<Line>>>,
    lost: Arc<AtomicU64>,
    runtime: Handle,
}

impl Logs {
    pub(crate) fn new(runtime: &Handle) -> Self {
        let (lines, waiting) = mpsc::channel(WAITING);
        Self {
            lines,
            waiting: Mutex::new(Some(waiting)),
            lost: Arc::default(),
            runtime: runtime.clone(),
        }
    }

    pub(crate) fn push(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines are stored from now on. The task ends when the last function is gone.
    pub(crate) fn open(&self, jetstream: JetStream, node: Arc<Node>) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(lines) = waiting {
            let lost = Arc::clone(&self.lost);
            self.runtime.spawn(store(lines, lost, jetstream, node));
        }
    }
}

async fn store(
    mut lines: mpsc::Receiver<Line>,
    lost: Arc<AtomicU64>,
    jetstream: JetStream,
    node: Arc<Node>,
) {
    let mut batch = Vec::with_capacity(TOGETHER);
    while lines.recv_many(&mut batch, TOGETHER).await > 0 {
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            batch.push(Line {
                function: "server".to_owned(),
                version: 0,
                level: LogLevel::Warn,
                text: format!("{missing} lines of functions came too fast and are lost"),
            });
        }
        if let Err(why) = ensure(&jetstream, &node).await {
            tracing::warn!(target: "functions", "log lines of functions are not stored: {why}");
            batch.clear();
            continue;
        }
        let records = batch
            .drain(..)
            .map(|line| IngestRecord::from(line.message()));
        if let Err(error) = jetstream.ingest().commit(records.collect(), None).await {
            tracing::warn!(target: "functions", "log lines of functions are not stored: {error}");
        }
    }
}

/// The stream is there, or is made.
async fn ensure(jetstream: &JetStream, node: &Node) -> Result<(), String> {
    if node.stream(STREAM).is_some() {
        return Ok(());
    }
    let config = config().map_err(|error| error.to_string())?;
    let command = Command::Stream(StreamCommand::CreateStream {
        id: node.next_stream_id(),
        time: Timestamp::now(),
        config: Box::new(config),
    });
    // Refused when somebody else was quicker, which is as well.
    let _made = jetstream
        .propose(&command)
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}

fn config() -> Result<StreamConfig, millstream_streams::ApiError> {
    let blank: StreamConfig =
        serde_json::from_str("{}").expect("invariant: every field has a default");
    StreamConfig {
        name: STREAM.to_owned(),
        description: Some("what functions log".to_owned()),
        subjects: vec![SUBJECTS.to_owned()],
        persist_mode: PersistMode::Async,
        max_age: MAX_AGE,
        max_bytes: MAX_BYTES,
        allow_direct: true,
        ..blank
    }
    .checked()
}
