//! Brings one batch to its destination: attempts, pauses, dead letters, cursor.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use millstream_connector_api::{
    BoxFuture, Config, Connector, ConnectorError, Environment, Sink, SinkError, SinkFeed,
    SinkRecord,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::handle::stopped;
use crate::status::Board;
use crate::{Backoff, State};

/// How often a feed hears that its records are still held.
const HOLD_EVERY: Duration = Duration::from_secs(5);
/// How long a write may take to end after the sink was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Why delivering ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Failed(String),
}

/// Everything a running sink consists of. The batch in hand lives here and not in the sink, so that a sink that panics loses
/// nothing.
pub(crate) struct Courier {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) config: Config,
    pub(crate) environment: Environment,
    pub(crate) feed: Arc<dyn SinkFeed>,
    pub(crate) board: Board,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) backoff: Backoff,
    pub(crate) max_attempts: u32,
    pub(crate) sink: Option<Box<dyn Sink>>,
}

impl Courier {
    /// Delivers a batch to the end: every record is accepted or a dead letter when this returns `Ok`.
    pub(crate) async fn deliver(&mut self, batch: Vec<SinkRecord>) -> Result<(), End> {
        let mut attempts = 0;
        loop {
            let (reason, after) = match self.write(&batch).await? {
                Ok(()) => return self.settle(&batch, &[]).await,
                Err(SinkError::Records(refused)) => return self.settle(&batch, &refused).await,
                Err(SinkError::Fatal { reason }) => return Err(End::Failed(reason)),
                Err(SinkError::Retryable { reason, after }) => (reason, after),
            };
            attempts += 1;
            if self.max_attempts != 0 && attempts >= self.max_attempts {
                return self.give_up(&batch, attempts, &reason).await;
            }
            self.pause(&batch, &reason, after).await?;
        }
    }

    /// The last attempt failed. Each record gets one more alone, so that only what the destination does not take is lost to
    /// the dead letters.
    async fn give_up(
        &mut self,
        batch: &[SinkRecord],
        attempts: u32,
        reason: &str,
    ) -> Result<(), End> {
        self.board.error(State::Running, attempts, reason);
        for record in batch {
            let one = std::slice::from_ref(record);
            let answer = if batch.len() == 1 {
                Err(SinkError::retryable(reason))
            } else {
                self.write(one).await?
            };
            match answer {
                Ok(()) => self.settle(one, &[]).await?,
                Err(SinkError::Records(refused)) => self.settle(one, &refused).await?,
                Err(SinkError::Fatal { reason }) => return Err(End::Failed(reason)),
                Err(SinkError::Retryable { reason, .. }) => {
                    let text =
                        format!("not accepted after {attempts} attempts, the last error: {reason}");
                    self.bury(record, "sink_attempts", &text).await?;
                }
            }
            if *self.stop.borrow() {
                return Err(End::Stopped);
            }
        }
        self.backoff.reset();
        Ok(())
    }

    /// One write; tells the feed now and then that the batch is still in hand. Outer error: stopped meanwhile.
    async fn write(&mut self, batch: &[SinkRecord]) -> Result<Result<(), SinkError>, End> {
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => self
                .connector
                .build_sink(&self.config, &self.environment)
                .map_err(|error| End::Failed(error.to_string()))?,
        };
        let seqs: Vec<u64> = batch.iter().map(|record| record.seq).collect();
        let answer = {
            let write = AssertUnwindSafe(sink.write(batch)).catch_unwind();
            tokio::pin!(write);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut write => break answer,
                    () = overdue(&self.stop) => return Err(End::Stopped),
                    () = sleep(HOLD_EVERY) => self.feed.holding(&seqs).await,
                }
            }
        };
        Ok(match answer {
            Ok(answer) => {
                self.sink = Some(sink);
                answer
            }
            // The sink is dropped with whatever state it was left in.
            Err(_panic) => Err(SinkError::retryable(
                "the connector panicked; the server's log has the place",
            )),
        })
    }

    /// Refused records become dead letters first, in order, then the cursor moves over the others: so no earlier record can
    /// come again after a later one was accepted and then be taken for written.
    async fn settle(
        &mut self,
        batch: &[SinkRecord],
        refused: &[(usize, String)],
    ) -> Result<(), End> {
        for (index, reason) in refused {
            if let Some(record) = batch.get(*index) {
                self.bury(record, "sink_refused", reason).await?;
            }
        }
        let is_refused = |index: usize| refused.iter().any(|(refused, _)| *refused == index);
        let taken = || {
            batch
                .iter()
                .enumerate()
                .filter(|(index, _)| !is_refused(*index))
                .map(|(_, record)| record)
        };
        let seqs: Vec<u64> = taken().map(|record| record.seq).collect();
        if !seqs.is_empty() {
            let feed = self.feed.clone();
            self.insist(|| feed.accepted(&seqs)).await?;
        }
        let bytes: usize = taken().map(|record| record.payload.len()).sum();
        self.backoff.reset();
        let behind = self.feed.behind();
        self.board.update(|status| {
            status.state = State::Running;
            status.attempts = 0;
            status.batches += 1;
            status.records += seqs.len() as u64;
            status.bytes += bytes as u64;
            status.last_seq = status.last_seq.max(seqs.last().copied().unwrap_or(0));
            status.behind = behind;
        });
        Ok(())
    }

    async fn bury(&mut self, record: &SinkRecord, code: &str, reason: &str) -> Result<(), End> {
        warn!(
            sink = self.environment.name,
            seq = record.seq,
            code,
            reason,
            "record goes to the dead letters"
        );
        let feed = self.feed.clone();
        self.insist(|| feed.dead_letter(record, code, reason))
            .await?;
        self.board.update(|status| {
            status.dead_letters += 1;
            status.last_seq = status.last_seq.max(record.seq);
        });
        Ok(())
    }

    /// Repeats a cursor move until it is durable.
    async fn insist<'f>(
        &mut self,
        step: impl Fn() -> BoxFuture<'f, Result<(), ConnectorError>>,
    ) -> Result<(), End> {
        loop {
            let answer = {
                let stop = self.stop.clone();
                tokio::select! {
                    biased;
                    answer = step() => answer,
                    () = overdue(&stop) => return Err(End::Stopped),
                }
            };
            match answer {
                Ok(()) => return Ok(()),
                Err(error) => self.after_feed_error(error).await?,
            }
        }
    }

    /// What to do about an error of the broker's side: pause or fail.
    pub(crate) async fn after_feed_error(&mut self, error: ConnectorError) -> Result<(), End> {
        match error {
            ConnectorError::Fatal { reason } => Err(End::Failed(reason)),
            ConnectorError::Retryable { reason, after } => self.pause(&[], &reason, after).await,
        }
    }

    async fn pause(
        &mut self,
        held: &[SinkRecord],
        reason: &str,
        after: Option<Duration>,
    ) -> Result<(), End> {
        let pause = self.backoff.next(after, rand::random());
        let attempts = self.backoff.failures();
        warn!(
            sink = self.environment.name,
            reason,
            attempts,
            pause_ms = pause.as_millis(),
            "sink tries again after a pause"
        );
        self.board.error(State::Retrying, attempts, reason);
        let seqs: Vec<u64> = held.iter().map(|record| record.seq).collect();
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                () = stopped(&self.stop) => return Err(End::Stopped),
                () = sleep(left.min(HOLD_EVERY)) => {}
            }
            if left <= HOLD_EVERY {
                return Ok(());
            }
            self.feed.holding(&seqs).await;
        }
    }
}

/// Resolves when the sink was told to stop and the grace for what it is doing is over.
async fn overdue(stop: &watch::Receiver<bool>) {
    stopped(stop).await;
    sleep(STOP_GRACE).await;
}
