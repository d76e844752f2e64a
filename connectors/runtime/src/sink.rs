//! Supervises a sink: takes batches from the feed, has them delivered, ends cleanly.

use std::sync::Arc;
use std::time::Duration;

use millstream_connector_api::{
    BuildError, Config, Connector, ConnectorError, Environment, Kind, Settings, SinkFeed,
    SinkRecord,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::catalog::checked;
use crate::deliver::{Courier, End};
use crate::handle::stopped;
use crate::status::Board;
use crate::{Backoff, Handle, State};

/// Checks the configuration and starts the sink as a task of the current runtime.
///
/// # Errors
/// When the configuration is wrong or the connector is no sink.
pub fn run_sink(
    connector: Arc<dyn Connector>,
    config: Config,
    environment: Environment,
    feed: Arc<dyn SinkFeed>,
) -> Result<Handle, BuildError> {
    checked(&connector, &config, Kind::Sink)?;
    let settings = Settings::read(connector.all_options(), &config).map_err(|problems| {
        BuildError::Invalid {
            connector: connector.name(),
            problems,
        }
    })?;
    let sink = connector.build_sink(&config, &environment)?;
    let (board, status) = Board::new();
    let (stop, stopping) = watch::channel(false);
    let batching = Batching {
        records: settings.count("batch"),
        bytes: usize::try_from(settings.bytes("batch_bytes")).unwrap_or(usize::MAX),
        wait: settings.duration("batch_wait"),
    };
    let backoff = Backoff::new(
        settings.duration("backoff"),
        settings.duration("backoff_max"),
    );
    let max_attempts = u32::try_from(settings.integer("max_attempts")).unwrap_or(u32::MAX);
    let courier = Courier {
        connector,
        config,
        environment,
        feed,
        board,
        stop: stopping,
        backoff,
        max_attempts,
        sink: Some(sink),
    };
    let task = tokio::spawn(supervise(courier, batching));
    Ok(Handle::new(status, stop, task))
}

#[derive(Clone, Copy)]
struct Batching {
    records: usize,
    bytes: usize,
    wait: Duration,
}

async fn supervise(mut courier: Courier, batching: Batching) {
    let name = courier.environment.name.clone();
    info!(
        sink = name,
        connector = courier.connector.name(),
        "sink started"
    );
    courier.board.enter(State::Running);
    let end = loop {
        let delivered = match collect(&mut courier, batching).await {
            Ok(batch) => courier.deliver(batch).await,
            Err(end) => Err(end),
        };
        if let Err(end) = delivered {
            break end;
        }
    };
    if let Some(sink) = courier.sink.take() {
        sink.close().await;
    }
    match end {
        End::Stopped => {
            info!(sink = name, "sink ended");
            courier.board.enter(State::Stopped);
        }
        End::Failed(reason) => {
            warn!(sink = name, reason, "sink failed");
            courier
                .board
                .error(State::Failed, courier.backoff.failures(), &reason);
        }
    }
}

/// The next batch: waits for one record, then up to `wait` for more.
async fn collect(courier: &mut Courier, batching: Batching) -> Result<Vec<SinkRecord>, End> {
    let mut batch = loop {
        let stop = courier.stop.clone();
        let next = tokio::select! {
            biased;
            () = stopped(&stop) => return Err(End::Stopped),
            next = courier.feed.next(batching.records, batching.bytes) => next,
        };
        match next {
            Ok(batch) if batch.is_empty() => tokio::task::yield_now().await,
            Ok(batch) => break batch,
            Err(error) => courier.after_feed_error(error).await?,
        }
    };
    let mut bytes: usize = batch.iter().map(SinkRecord::weight).sum();
    let deadline = Instant::now() + batching.wait;
    while !batching.wait.is_zero() && batch.len() < batching.records && bytes < batching.bytes {
        let next = courier
            .feed
            .next(batching.records - batch.len(), batching.bytes - bytes);
        match timeout_at(deadline, next).await {
            Ok(Ok(more)) => {
                bytes += more.iter().map(SinkRecord::weight).sum::<usize>();
                batch.extend(more);
            }
            // What is in hand goes first; the error comes back with the next call.
            Ok(Err(ConnectorError::Retryable { .. } | ConnectorError::Fatal { .. })) | Err(_) => {
                break;
            }
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests;
