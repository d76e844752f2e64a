//! What a source commits into.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::watch;

use super::steps::Steps;
use crate::{BoxFuture, ConnectorError, Progress, RecordResult, SourceContext, SourceRecord};

type Judge = Box<dyn Fn(&SourceRecord) -> Option<RecordResult> + Send + Sync>;

/// One commit as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The records, in order.
    pub records: Vec<SourceRecord>,
    /// The position that moved with them.
    pub position: Option<Bytes>,
}

#[derive(Default)]
struct Log {
    commits: Vec<Commit>,
    position: Option<Bytes>,
    failures: VecDeque<ConnectorError>,
    progress: Vec<Progress>,
    seq: u64,
    judge: Option<Judge>,
}

/// A log that survives its sources: give each run of a source its own [`MemoryBroker::context`].
#[derive(Default)]
pub struct MemoryBroker {
    log: Mutex<Log>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBroker")
            .field("commits", &self.log().commits.len())
            .finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// An empty log.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("invariant: no panic under the lock")
    }

    fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// The next commits fail with these errors, first come first.
    pub fn fail_with(&self, errors: impl IntoIterator<Item = ConnectorError>) {
        self.log().failures.extend(errors);
    }

    /// Decides records one by one; `None` stores. Without a judge everything without a fault is stored.
    pub fn judge(
        &self,
        judge: impl Fn(&SourceRecord) -> Option<RecordResult> + Send + Sync + 'static,
    ) {
        self.log().judge = Some(Box::new(judge));
    }

    /// All commits so far.
    #[must_use]
    pub fn commits(&self) -> Vec<Commit> {
        self.log().commits.clone()
    }

    /// All committed records, in order, whatever became of them.
    #[must_use]
    pub fn records(&self) -> Vec<SourceRecord> {
        self.log()
            .commits
            .iter()
            .flat_map(|commit| commit.records.clone())
            .collect()
    }

    /// The payloads of [`MemoryBroker::records`] as text.
    #[must_use]
    pub fn payloads(&self) -> Vec<String> {
        let text = |record: &SourceRecord| String::from_utf8_lossy(&record.payload).into_owned();
        self.records().iter().map(text).collect()
    }

    /// Everything the source reported.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.log().progress.clone()
    }

    /// The stored position.
    #[must_use]
    pub fn stored_position(&self) -> Option<Bytes> {
        self.log().position.clone()
    }

    /// Waits until a look at the broker is satisfied; looks after every change.
    pub async fn until(&self, satisfied: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !satisfied(self) {
            changed
                .changed()
                .await
                .expect("invariant: the sender lives in self");
        }
    }

    /// The address a listening source reported last; waits for it.
    pub async fn address(&self) -> std::net::SocketAddr {
        let find = |broker: &Self| {
            broker
                .progress()
                .iter()
                .rev()
                .find_map(|progress| match progress {
                    Progress::Listening(address) => Some(*address),
                    Progress::Behind(_) | Progress::Waiting(_) => None,
                })
        };
        self.until(|broker| find(broker).is_some()).await;
        find(self).expect("invariant: just seen, and nothing is removed")
    }

    /// A context for one run; it dies at step `stop_at` (from 1) when given.
    #[must_use]
    pub fn context(self: &Arc<Self>, stop_at: Option<u64>) -> Arc<MemoryContext> {
        Arc::new(MemoryContext {
            broker: self.clone(),
            steps: Steps::new(stop_at),
            cancelled: watch::Sender::new(false),
        })
    }

    fn apply(
        &self,
        records: Vec<SourceRecord>,
        position: Option<Bytes>,
    ) -> Result<Vec<RecordResult>, ConnectorError> {
        let mut log = self.log();
        if let Some(error) = log.failures.pop_front() {
            return Err(error);
        }
        let mut results = Vec::with_capacity(records.len());
        for record in &records {
            let judged = log.judge.as_ref().and_then(|judge| judge(record));
            results.push(match (&record.fault, judged) {
                (Some(fault), _) => RecordResult::Rejected {
                    code: fault.code.to_owned(),
                    reason: fault.reason.clone(),
                },
                (None, Some(result)) => result,
                (None, None) => {
                    log.seq += 1;
                    RecordResult::Stored {
                        stream: "memory".to_owned(),
                        seq: log.seq,
                    }
                }
            });
        }
        if position.is_some() {
            log.position.clone_from(&position);
        }
        log.commits.push(Commit { records, position });
        Ok(results)
    }
}

/// One run's view of a [`MemoryBroker`].
#[derive(Debug)]
pub struct MemoryContext {
    broker: Arc<MemoryBroker>,
    steps: Steps,
    cancelled: watch::Sender<bool>,
}

impl MemoryContext {
    /// Asks the source to stop.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Resolves when the step to die at was reached.
    pub async fn killed(&self) {
        self.steps.killed().await;
    }
}

impl SourceContext for MemoryContext {
    fn position(&self) -> BoxFuture<'_, Result<Option<Bytes>, ConnectorError>> {
        Box::pin(async {
            self.steps.pass().await;
            Ok(self.broker.stored_position())
        })
    }

    fn commit(
        &self,
        records: Vec<SourceRecord>,
        position: Option<Bytes>,
    ) -> BoxFuture<'_, Result<Vec<RecordResult>, ConnectorError>> {
        Box::pin(async move {
            self.steps.pass().await;
            let answer = self.broker.apply(records, position);
            self.broker.touch();
            self.steps.pass().await;
            answer
        })
    }

    fn cancelled(&self) -> BoxFuture<'_, ()> {
        let mut receiver = self.cancelled.subscribe();
        Box::pin(async move {
            // An error means the context is gone, which is as good as cancelled.
            let _ = receiver.wait_for(|cancelled| *cancelled).await;
        })
    }

    fn progress(&self, progress: Progress) {
        self.broker.log().progress.push(progress);
        self.broker.touch();
    }
}
