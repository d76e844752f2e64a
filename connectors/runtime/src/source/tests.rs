//! The source loop: the position moves only after the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millstream_connector_api::testing::MemoryBroker;
use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, ConnectorError, Environment, Fault, Kind,
    OptionDescriptor, Progress, RecordResult, Source, SourceContext, SourceRecord,
};

use crate::testing::patient;
use crate::{Backoff, Catalog, Handle, State, run_source};

/// Commits the numbers 1 to `upto`, one by one; after each start it first fails, panics or hangs as told.
#[derive(Debug)]
struct Counter {
    upto: u64,
    starts: AtomicU32,
    trouble: Trouble,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    FailTwice,
    PanicOnce,
    Fatal,
    HangAfter,
}

impl Counter {
    fn new(upto: u64, trouble: Trouble) -> Arc<Self> {
        // The check before the start builds once without running.
        Arc::new(Self {
            upto,
            starts: AtomicU32::new(0),
            trouble,
        })
    }
}

impl Connector for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }
    fn kind(&self) -> Kind {
        Kind::Source
    }
    fn doc(&self) -> &'static str {
        "a test"
    }
    fn options(&self) -> &'static [OptionDescriptor] {
        &[]
    }
    fn build_source(&self, _: &Config, _: &Environment) -> Result<Box<dyn Source>, BuildError> {
        let run = self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(CounterRun {
            upto: self.upto,
            run,
            trouble: self.trouble,
        }))
    }
}

struct CounterRun {
    upto: u64,
    run: u32,
    trouble: Trouble,
}

impl Source for CounterRun {
    fn run(
        self: Box<Self>,
        context: Arc<dyn SourceContext>,
    ) -> BoxFuture<'static, Result<(), ConnectorError>> {
        Box::pin(async move {
            match self.trouble {
                Trouble::FailTwice if self.run <= 2 => {
                    return Err(ConnectorError::retryable("not there yet"));
                }
                Trouble::PanicOnce if self.run <= 1 => panic!("a mistake in the connector"),
                Trouble::Fatal => {
                    return Err(ConnectorError::fatal("port is in use: choose another"));
                }
                _ => {}
            }
            let mut at = context
                .position()
                .await?
                .map_or(0, |bytes| u64::from(bytes[0]));
            while at < self.upto {
                at += 1;
                let fault = (at == 2).then(|| Fault {
                    code: "odd",
                    reason: "two is odd".into(),
                });
                let payload = Bytes::from(at.to_string());
                let record = SourceRecord {
                    subject: "n".into(),
                    payload,
                    fault,
                    ..SourceRecord::default()
                };
                context
                    .commit(vec![record], Some(Bytes::from(vec![at as u8])))
                    .await?;
            }
            if self.trouble == Trouble::HangAfter {
                context.progress(Progress::Waiting("more".into()));
                context.cancelled().await;
            }
            Ok(())
        })
    }
}

fn start(connector: Arc<Counter>, broker: &Arc<MemoryBroker>) -> Handle {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
    run_source(
        connector,
        Config::new(),
        Environment::default(),
        broker.context(None),
        backoff,
    )
    .expect("valid")
}

#[tokio::test]
async fn a_source_that_read_everything_is_finished() {
    let broker = MemoryBroker::new();
    broker.judge(|record| (record.payload == "3").then_some(RecordResult::NoStation));
    let status = patient(start(Counter::new(4, Trouble::None), &broker).ended()).await;
    assert_eq!(status.state, State::Finished);
    assert_eq!(
        (
            status.records,
            status.stored,
            status.rejected,
            status.no_station
        ),
        (4, 2, 1, 1)
    );
    assert_eq!((status.batches, status.bytes, status.errors), (4, 4, 0));
}

#[tokio::test]
async fn errors_and_panics_start_it_again_from_its_position() {
    for (trouble, errors) in [(Trouble::FailTwice, 2), (Trouble::PanicOnce, 1)] {
        let broker = MemoryBroker::new();
        broker.fail_with([ConnectorError::retryable("journal is full")]);
        let status = patient(start(Counter::new(3, trouble), &broker).ended()).await;
        assert_eq!(
            (status.state, status.errors, status.attempts),
            (State::Finished, errors + 1, 0)
        );
        assert_eq!(broker.payloads(), ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn a_fatal_error_is_final() {
    let status =
        patient(start(Counter::new(3, Trouble::Fatal), &MemoryBroker::new()).ended()).await;
    assert_eq!(status.state, State::Failed);
    assert_eq!(
        status.last_error.as_deref(),
        Some("port is in use: choose another")
    );
}

#[tokio::test]
async fn stop_and_the_brokers_cancel_both_end_it() {
    let broker = MemoryBroker::new();
    let handle = start(Counter::new(2, Trouble::HangAfter), &broker);
    let status = patient(handle.until(|status| status.waiting.is_some())).await;
    assert_eq!((status.state, status.records), (State::Running, 2));
    assert_eq!(patient(handle.stop()).await.state, State::Stopped);

    let context = broker.context(None);
    let connector = Counter::new(2, Trouble::HangAfter);
    let handle = run_source(
        connector,
        Config::new(),
        Environment::default(),
        context.clone(),
        Backoff::default(),
    )
    .expect("valid");
    patient(handle.until(|status| status.waiting.is_some())).await;
    context.cancel();
    assert_eq!(patient(handle.ended()).await.state, State::Stopped);
    assert_eq!(broker.payloads(), ["1", "2"]);
}

#[tokio::test]
async fn the_last_handle_dropped_stops_it() {
    let broker = MemoryBroker::new();
    let handle = start(Counter::new(1, Trouble::HangAfter), &broker);
    patient(handle.until(|status| status.waiting.is_some())).await;
    let context_alive = Arc::downgrade(&broker);
    drop((handle, broker));
    // The task holds the broker; it is gone when the task is.
    patient(async {
        while context_alive.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn the_catalog_names_the_nearest() {
    let catalog = Catalog::new(vec![Counter::new(1, Trouble::None)]);
    let problem = |name| {
        let problems = catalog
            .validate(Kind::Source, name, &Config::new())
            .expect_err("unknown");
        problems[0].to_string()
    };
    assert_eq!(
        problem("conter"),
        "there is no source connector `conter` (did you mean `counter`?)"
    );
    assert_eq!(
        problem("kafka"),
        "there is no source connector `kafka` (this server has `counter`)"
    );
    assert!(
        catalog
            .validate(Kind::Source, "counter", &Config::new())
            .is_ok()
    );
    assert_eq!(
        catalog
            .find(Kind::Sink, "counter")
            .map(|found| found.name()),
        None
    );
}
