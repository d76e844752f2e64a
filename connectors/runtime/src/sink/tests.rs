//! The sink loop: the cursor moves only after the destination accepted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use millstream_connector_api::testing::{DeadLetter, MemoryFeed, records};
use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, ConnectorError, Environment, Kind, OptionDescriptor,
    Sink, SinkError, SinkRecord,
};
use serde_json::json;

use crate::testing::{drain, patient, start, survives_kills};
use crate::{State, run_sink};

/// What the scripted destination does with one write.
type Reaction = Box<dyn Fn(&[SinkRecord]) -> Result<(), SinkError> + Send + Sync>;

/// A destination in memory: the reactions come first, then everything is accepted.
#[derive(Default)]
struct Scripted {
    reactions: Mutex<VecDeque<Reaction>>,
    written: Mutex<Vec<u64>>,
    writes: Mutex<Vec<usize>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl Scripted {
    fn new(reactions: Vec<Reaction>) -> Arc<Self> {
        Arc::new(Self {
            reactions: Mutex::new(reactions.into()),
            ..Self::default()
        })
    }

    fn written(&self) -> Vec<u64> {
        self.written.lock().expect("lock").clone()
    }
}

#[derive(Debug)]
struct TestConnector(Arc<Scripted>);

impl Connector for TestConnector {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn kind(&self) -> Kind {
        Kind::Sink
    }
    fn doc(&self) -> &'static str {
        "a test"
    }
    fn options(&self) -> &'static [OptionDescriptor] {
        &[]
    }
    fn build_sink(&self, _: &Config, _: &Environment) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(TestSink(self.0.clone())))
    }
}

struct TestSink(Arc<Scripted>);

impl Sink for TestSink {
    fn write<'a>(&'a mut self, batch: &'a [SinkRecord]) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.0.writes.lock().expect("lock").push(batch.len());
            let reaction = self.0.reactions.lock().expect("lock").pop_front();
            let answer = reaction.map_or(Ok(()), |react| react(batch));
            let refused: Vec<usize> = match &answer {
                Ok(()) => Vec::new(),
                Err(SinkError::Records(refused)) => {
                    refused.iter().map(|(index, _)| *index).collect()
                }
                Err(SinkError::Retryable { .. } | SinkError::Fatal { .. }) => return answer,
            };
            let taken = batch
                .iter()
                .enumerate()
                .filter(|(index, _)| !refused.contains(index));
            self.0
                .written
                .lock()
                .expect("lock")
                .extend(taken.map(|(_, record)| record.seq));
            answer
        })
    }
}

fn quick(more: serde_json::Value) -> Config {
    let mut config = json!({"batch": 4, "backoff": "1ms", "backoff_max": "2ms"});
    let map = config.as_object_mut().expect("object");
    map.extend(more.as_object().expect("object").clone());
    map.clone()
}

fn down() -> Reaction {
    Box::new(|_| Err(SinkError::retryable("destination is down")))
}

#[tokio::test]
async fn accepts_everything_in_batches() {
    let destination = Scripted::new(vec![]);
    let feed = MemoryFeed::new(records(10));
    drain(
        Arc::new(TestConnector(destination.clone())),
        quick(json!({})),
        &feed,
    )
    .await;
    assert_eq!(destination.written(), (1..=10).collect::<Vec<_>>());
    assert_eq!(*destination.writes.lock().expect("lock"), [4, 4, 2]);
    assert_eq!(feed.accepted(), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn batches_fill_up_while_there_is_time() {
    let destination = Scripted::new(vec![]);
    let feed = MemoryFeed::new(records(2));
    let config = quick(json!({"batch_wait": "1h"}));
    let handle = start(
        Arc::new(TestConnector(destination.clone())),
        config,
        feed.handle(None),
    );
    feed.push(records(4).split_off(2));
    patient(feed.until(MemoryFeed::is_drained)).await;
    patient(handle.stop()).await;
    assert_eq!(*destination.writes.lock().expect("lock"), [4]);
}

#[tokio::test]
async fn a_destination_that_is_down_is_tried_again_and_loses_nothing() {
    let destination = Scripted::new(vec![down(), down(), down()]);
    let feed = MemoryFeed::new(records(3));
    let handle = start(
        Arc::new(TestConnector(destination.clone())),
        quick(json!({})),
        feed.handle(None),
    );
    patient(feed.until(MemoryFeed::is_drained)).await;
    let status = patient(handle.until(|status| status.records == 3)).await;
    assert_eq!(
        (status.state, status.attempts, status.errors),
        (State::Running, 0, 3)
    );
    assert_eq!(status.last_error.as_deref(), Some("destination is down"));
    assert_eq!(status.last_seq, 3);
    assert_eq!(destination.written(), [1, 2, 3]);
    assert!(feed.dead().is_empty());
    assert_eq!(patient(handle.stop()).await.state, State::Stopped);
}

#[tokio::test]
async fn after_the_last_attempt_only_what_is_not_taken_is_a_dead_letter() {
    let poison = || -> Reaction {
        Box::new(|batch| match batch.iter().any(|record| record.seq == 2) {
            true => Err(SinkError::retryable("cannot digest")),
            false => Ok(()),
        })
    };
    let destination = Scripted::new((0..5).map(|_| poison()).collect());
    let feed = MemoryFeed::new(records(3));
    drain(
        Arc::new(TestConnector(destination.clone())),
        quick(json!({"max_attempts": 2})),
        &feed,
    )
    .await;
    assert_eq!(destination.written(), [1, 3]);
    assert_eq!(feed.accepted(), [1, 3]);
    let reason = "not accepted after 2 attempts, the last error: cannot digest".to_owned();
    assert_eq!(
        feed.dead(),
        [DeadLetter {
            seq: 2,
            code: "sink_attempts".into(),
            reason
        }]
    );
}

#[tokio::test]
async fn refused_records_are_dead_letters_and_the_others_are_accepted() {
    let refuse: Reaction = Box::new(|_| Err(SinkError::Records(vec![(1, "no such field".into())])));
    let destination = Scripted::new(vec![refuse]);
    let feed = MemoryFeed::new(records(3));
    drain(
        Arc::new(TestConnector(destination.clone())),
        quick(json!({})),
        &feed,
    )
    .await;
    assert_eq!(feed.accepted(), [1, 3]);
    assert_eq!(
        feed.dead(),
        [DeadLetter {
            seq: 2,
            code: "sink_refused".into(),
            reason: "no such field".into()
        }]
    );
}

#[tokio::test]
async fn a_fatal_error_stops_the_sink_and_moves_nothing() {
    let fatal: Reaction = Box::new(|_| Err(SinkError::fatal("no such table: create it")));
    let feed = MemoryFeed::new(records(3));
    let handle = start(
        Arc::new(TestConnector(Scripted::new(vec![fatal]))),
        quick(json!({})),
        feed.handle(None),
    );
    let status = patient(handle.ended()).await;
    assert_eq!(status.state, State::Failed);
    assert_eq!(
        status.last_error.as_deref(),
        Some("no such table: create it")
    );
    assert!(feed.accepted().is_empty() && feed.dead().is_empty());
}

#[tokio::test]
async fn a_panic_costs_an_attempt_and_no_record() {
    let panic: Reaction = Box::new(|_| panic!("a mistake in the connector"));
    let destination = Scripted::new(vec![panic]);
    let feed = MemoryFeed::new(records(2));
    drain(
        Arc::new(TestConnector(destination.clone())),
        quick(json!({})),
        &feed,
    )
    .await;
    assert_eq!(destination.written(), [1, 2]);
}

#[tokio::test]
async fn a_cursor_that_does_not_move_is_pushed_again_without_a_second_write() {
    let destination = Scripted::new(vec![]);
    let feed = MemoryFeed::new(records(2));
    feed.fail_with([
        ConnectorError::retryable("journal is full"),
        ConnectorError::retryable("journal is full"),
    ]);
    drain(
        Arc::new(TestConnector(destination.clone())),
        quick(json!({})),
        &feed,
    )
    .await;
    assert_eq!(destination.written(), [1, 2]);
    assert_eq!(feed.accepted(), [1, 2]);
}

#[tokio::test]
async fn stop_ends_a_long_pause() {
    let feed = MemoryFeed::new(records(1));
    let config = quick(json!({"backoff": "1h", "backoff_max": "1h"}));
    let handle = start(
        Arc::new(TestConnector(Scripted::new(vec![down()]))),
        config,
        feed.handle(None),
    );
    patient(handle.until(|status| status.state == State::Retrying)).await;
    assert_eq!(patient(handle.stop()).await.state, State::Stopped);
    assert!(feed.accepted().is_empty());
}

#[tokio::test]
async fn kills_repeat_at_most_the_batch_in_hand() {
    let config = quick(json!({}));
    let destination = Scripted::new(vec![]);
    let connector = Arc::new(TestConnector(destination.clone()));
    survives_kills(
        connector,
        10,
        async || {
            destination.written.lock().expect("lock").clear();
            (config.clone(), destination.clone())
        },
        async |destination, feed| {
            assert_eq!(feed.accepted(), (1..=10).collect::<Vec<_>>());
            let mut written = destination.written();
            assert!(
                written.len() <= 14,
                "more than one batch came twice: {written:?}"
            );
            written.sort_unstable();
            written.dedup();
            assert_eq!(written, (1..=10).collect::<Vec<_>>());
        },
    )
    .await;
}

#[tokio::test]
async fn a_wrong_configuration_starts_nothing() {
    let connector = Arc::new(TestConnector(Scripted::new(vec![])));
    let feed = MemoryFeed::new(vec![]).handle(None);
    let error = run_sink(
        connector,
        quick(json!({"bach": 1})),
        Environment::default(),
        feed,
    )
    .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "configuration of connector `scripted` is wrong: unknown option `bach` (did you mean `batch`?)"
    );
}
