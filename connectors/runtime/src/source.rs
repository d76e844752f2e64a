//! Supervises a source: builds it, runs it, counts its commits, starts it again after errors.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, ConnectorError, Environment, Kind, Progress,
    RecordResult, SourceContext, SourceRecord,
};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::catalog::checked;
use crate::handle::{end_state, stopped};
use crate::status::Board;
use crate::{Backoff, Handle, State, Status};

/// How long a source may take to end after it was told to.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Checks the configuration and starts the source as a task of the current runtime.
///
/// # Errors
/// When the configuration is wrong or the connector is no source.
pub fn run_source(
    connector: Arc<dyn Connector>,
    config: Config,
    environment: Environment,
    context: Arc<dyn SourceContext>,
    backoff: Backoff,
) -> Result<Handle, BuildError> {
    checked(&connector, &config, Kind::Source)?;
    // Built once here so that what only building finds is told to the caller.
    drop(connector.build_source(&config, &environment)?);
    let (board, status) = Board::new();
    let (stop, stopping) = watch::channel(false);
    let supervisor = Supervisor {
        connector,
        config,
        environment,
        context,
        board,
        stop: stopping,
    };
    let task = tokio::spawn(supervisor.run(backoff));
    Ok(Handle::new(status, stop, task))
}

struct Supervisor {
    connector: Arc<dyn Connector>,
    config: Config,
    environment: Environment,
    context: Arc<dyn SourceContext>,
    board: Board,
    stop: watch::Receiver<bool>,
}

impl Supervisor {
    async fn run(self, mut backoff: Backoff) {
        let name = self.environment.name.clone();
        info!(
            source = name,
            connector = self.connector.name(),
            "source started"
        );
        let mut batches = 0;
        let last = loop {
            let error = match self.run_once().await {
                Ok(()) => break self.natural_end(),
                Err(error) => error,
            };
            let now = self.batches();
            if now > batches {
                backoff.reset();
                batches = now;
            }
            match error {
                ConnectorError::Fatal { reason } => {
                    warn!(source = name, reason, "source failed");
                    self.board.error(State::Failed, backoff.failures(), &reason);
                    return;
                }
                ConnectorError::Retryable { reason, after } => {
                    let pause = backoff.next(after, rand::random());
                    warn!(
                        source = name,
                        reason,
                        pause_ms = pause.as_millis(),
                        "source starts again after a pause"
                    );
                    self.board
                        .error(State::Retrying, backoff.failures(), &reason);
                    tokio::select! {
                        () = self.cancelled() => break State::Stopped,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        };
        info!(source = name, state = ?last, "source ended");
        self.board.enter(last);
    }

    async fn run_once(&self) -> Result<(), ConnectorError> {
        let source = self
            .connector
            .build_source(&self.config, &self.environment)
            .map_err(|error| ConnectorError::fatal(error.to_string()))?;
        let counted = Arc::new(Counted {
            inner: self.context.clone(),
            board: self.board.clone(),
            stop: self.stop.clone(),
        });
        let run = AssertUnwindSafe(source.run(counted)).catch_unwind();
        let overdue = async {
            self.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            answer = run => answer.unwrap_or_else(|_panic| {
                Err(ConnectorError::retryable("the connector panicked; the server's log has the place"))
            }),
            () = overdue => Ok(()),
        }
    }

    async fn cancelled(&self) {
        tokio::select! {
            () = stopped(&self.stop) => {}
            () = self.context.cancelled() => {}
        }
    }

    fn natural_end(&self) -> State {
        match self.context.cancelled().now_or_never() {
            Some(()) => State::Stopped,
            None => end_state(&self.stop),
        }
    }

    fn batches(&self) -> u64 {
        self.board.look(|status| status.batches)
    }
}

/// The context a source sees: the broker's, with counters and the handle's stop.
struct Counted {
    inner: Arc<dyn SourceContext>,
    board: Board,
    stop: watch::Receiver<bool>,
}

impl SourceContext for Counted {
    fn position(&self) -> BoxFuture<'_, Result<Option<bytes::Bytes>, ConnectorError>> {
        Box::pin(async {
            let position = self.inner.position().await?;
            self.board.enter(State::Running);
            Ok(position)
        })
    }

    fn commit(
        &self,
        records: Vec<SourceRecord>,
        position: Option<bytes::Bytes>,
    ) -> BoxFuture<'_, Result<Vec<RecordResult>, ConnectorError>> {
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        Box::pin(async move {
            let results = self.inner.commit(records, position).await?;
            self.board
                .update(|status| count(status, &results, bytes as u64));
            Ok(results)
        })
    }

    fn cancelled(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            tokio::select! {
                () = stopped(&self.stop) => {}
                () = self.inner.cancelled() => {}
            }
        })
    }

    fn progress(&self, progress: Progress) {
        self.board.update(|status| match &progress {
            Progress::Listening(address) => status.address = Some(address.to_string()),
            Progress::Behind(bytes) => status.behind = Some(*bytes),
            Progress::Waiting(what) => status.waiting = Some(what.clone()),
        });
        self.inner.progress(progress);
    }
}

fn count(status: &mut Status, results: &[RecordResult], bytes: u64) {
    status.state = State::Running;
    status.attempts = 0;
    status.waiting = None;
    status.batches += 1;
    status.bytes += bytes;
    status.records += results.len() as u64;
    for result in results {
        *match result {
            RecordResult::Stored { .. } => &mut status.stored,
            RecordResult::Dropped => &mut status.dropped,
            RecordResult::Duplicate => &mut status.duplicates,
            RecordResult::Rejected { .. } => &mut status.rejected,
            RecordResult::NoStation => &mut status.no_station,
        } += 1;
    }
}

#[cfg(test)]
mod tests;
