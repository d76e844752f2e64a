//! What every sink must survive. Panics with what went wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millstream_connector_api::testing::{MemoryFeed, records};
use millstream_connector_api::{Config, Connector, Environment, SinkFeed};

use crate::{Handle, run_sink};

/// Far more than any step needs; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits with a bound that only a hang reaches.
pub async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("no progress for 30 s")
}

/// Runs the sink until the feed is drained, then stops it.
pub async fn drain(connector: Arc<dyn Connector>, config: Config, feed: &Arc<MemoryFeed>) {
    let handle = start(connector, config, feed.handle(None));
    let failed = handle.until(|status| status.state == crate::State::Failed);
    tokio::select! {
        () = patient(feed.until(MemoryFeed::is_drained)) => {}
        status = failed => panic!("the sink failed: {status:?}"),
    }
    patient(handle.stop()).await;
}

/// Starts a sink named `test` that may use private addresses.
pub fn start(connector: Arc<dyn Connector>, config: Config, feed: Arc<dyn SinkFeed>) -> Handle {
    let environment = Environment {
        name: "test".into(),
        station: "station".into(),
        ..Environment::default()
    };
    run_sink(connector, config, environment, feed).expect("valid configuration")
}

/// Kills the sink at every step of every cursor move, starts it again on the kept cursor, and lets `check` look at the
/// destination when all records are done. `fresh` gives a configuration with a new, empty destination.
pub async fn survives_kills<D>(
    connector: Arc<dyn Connector>,
    count: u64,
    fresh: impl AsyncFn() -> (Config, D),
    check: impl AsyncFn(D, &MemoryFeed),
) {
    let mut step = 0;
    loop {
        step += 1;
        let (config, destination) = fresh().await;
        let feed = MemoryFeed::new(records(count));
        let run = feed.handle(Some(step));
        let handle = start(connector.clone(), config.clone(), run.clone());
        let died = tokio::select! {
            biased;
            () = run.killed() => true,
            () = patient(feed.until(MemoryFeed::is_drained)) => false,
        };
        handle.kill().await;
        drain(connector.clone(), config, &feed).await;
        check(destination, &feed).await;
        if !died {
            break;
        }
    }
}
