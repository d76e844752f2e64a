//! What a sink is fed from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use millstream_types::Timestamp;
use tokio::sync::watch;

use super::steps::Steps;
use crate::{BoxFuture, ConnectorError, SinkFeed, SinkRecord};

/// A record that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Sequence of the record.
    pub seq: u64,
    /// The code given.
    pub code: String,
    /// The reason given.
    pub reason: String,
}

#[derive(Default)]
struct State {
    records: Vec<SinkRecord>,
    deliveries: BTreeMap<u64, u32>,
    accepted: BTreeSet<u64>,
    dead: Vec<DeadLetter>,
    failures: VecDeque<ConnectorError>,
}

impl State {
    fn is_done(&self, seq: u64) -> bool {
        self.accepted.contains(&seq) || self.dead.iter().any(|dead| dead.seq == seq)
    }
}

/// A station and its cursor; give each run of a sink its own [`MemoryFeed::handle`].
#[derive(Default)]
pub struct MemoryFeed {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for MemoryFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryFeed")
            .field("records", &self.state().records.len())
            .finish_non_exhaustive()
    }
}

/// `count` records of sequences 1, 2, … with payloads `{"n":1}`, `{"n":2}`, … and one second between their times.
#[must_use]
pub fn records(count: u64) -> Vec<SinkRecord> {
    (1..=count)
        .map(|seq| SinkRecord {
            seq,
            time: Timestamp(
                i64::try_from(seq)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(1_000_000_000),
            ),
            subject: Bytes::from_static(b"test.records"),
            headers: Bytes::new(),
            payload: Bytes::from(format!("{{\"n\":{seq}}}")),
            deliveries: 1,
        })
        .collect()
}

impl MemoryFeed {
    /// A station with these records.
    #[must_use]
    pub fn new(records: Vec<SinkRecord>) -> Arc<Self> {
        let feed = Self::default();
        feed.state().records = records;
        Arc::new(feed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("invariant: no panic under the lock")
    }

    fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Adds records to the station.
    pub fn push(&self, records: Vec<SinkRecord>) {
        self.state().records.extend(records);
        self.touch();
    }

    /// The next cursor moves fail with these errors, first come first.
    pub fn fail_with(&self, errors: impl IntoIterator<Item = ConnectorError>) {
        self.state().failures.extend(errors);
    }

    /// Sequences the cursor counts as accepted.
    #[must_use]
    pub fn accepted(&self) -> Vec<u64> {
        self.state().accepted.iter().copied().collect()
    }

    /// Records given up, in order.
    #[must_use]
    pub fn dead(&self) -> Vec<DeadLetter> {
        self.state().dead.clone()
    }

    /// Whether every record is accepted or a dead letter.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let state = self.state();
        state.records.iter().all(|record| state.is_done(record.seq))
    }

    /// Waits until a look at the feed is satisfied; looks after every change.
    pub async fn until(&self, satisfied: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !satisfied(self) {
            changed
                .changed()
                .await
                .expect("invariant: the sender lives in self");
        }
    }

    /// The feed for one run, starting at the first record not done; it dies at step `stop_at` (from 1) when given.
    #[must_use]
    pub fn handle(self: &Arc<Self>, stop_at: Option<u64>) -> Arc<MemoryFeedHandle> {
        Arc::new(MemoryFeedHandle {
            feed: self.clone(),
            steps: Steps::new(stop_at),
            handed: Mutex::new(0),
        })
    }
}

/// One run's view of a [`MemoryFeed`].
#[derive(Debug)]
pub struct MemoryFeedHandle {
    feed: Arc<MemoryFeed>,
    steps: Steps,
    handed: Mutex<u64>,
}

impl MemoryFeedHandle {
    /// Resolves when the step to die at was reached.
    pub async fn killed(&self) {
        self.steps.killed().await;
    }

    fn take(&self, max: usize, max_bytes: usize) -> Vec<SinkRecord> {
        let mut state = self.feed.state();
        let mut handed = self
            .handed
            .lock()
            .expect("invariant: no panic under the lock");
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for record in &state.records {
            if record.seq <= *handed || state.is_done(record.seq) {
                continue;
            }
            bytes += record.weight();
            if batch.len() == max || (!batch.is_empty() && bytes > max_bytes) {
                break;
            }
            batch.push(record.clone());
        }
        for record in &mut batch {
            let deliveries = state.deliveries.entry(record.seq).or_default();
            *deliveries += 1;
            record.deliveries = *deliveries;
            *handed = record.seq;
        }
        batch
    }

    fn fail(&self) -> Result<(), ConnectorError> {
        self.feed.state().failures.pop_front().map_or(Ok(()), Err)
    }
}

impl SinkFeed for MemoryFeedHandle {
    fn next(
        &self,
        max: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SinkRecord>, ConnectorError>> {
        Box::pin(async move {
            let mut changed = self.feed.changed.subscribe();
            loop {
                let batch = self.take(max, max_bytes);
                if !batch.is_empty() {
                    return Ok(batch);
                }
                changed
                    .changed()
                    .await
                    .expect("invariant: the sender lives in self");
            }
        })
    }

    fn accepted<'a>(&'a self, seqs: &'a [u64]) -> BoxFuture<'a, Result<(), ConnectorError>> {
        Box::pin(async move {
            self.steps.pass().await;
            self.fail()?;
            self.feed.state().accepted.extend(seqs);
            self.feed.touch();
            self.steps.pass().await;
            Ok(())
        })
    }

    fn dead_letter<'a>(
        &'a self,
        record: &'a SinkRecord,
        code: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), ConnectorError>> {
        Box::pin(async move {
            self.steps.pass().await;
            self.fail()?;
            let letter = DeadLetter {
                seq: record.seq,
                code: code.to_owned(),
                reason: reason.to_owned(),
            };
            self.feed.state().dead.push(letter);
            self.feed.touch();
            self.steps.pass().await;
            Ok(())
        })
    }
}
