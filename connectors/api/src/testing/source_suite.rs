//! What every source with a replayable input must survive. Panics with what went wrong.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{MemoryBroker, MemoryContext};
use crate::{ConnectorError, Source};

/// Far more than any step needs; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Awaits to die at, in the second half of [`each_record_once`].
const POLLS: usize = 40;

/// Kills the source at every step of every commit and at its first awaits, starts it again on the kept log, and checks that
/// the log holds each expected payload once, in order.
pub async fn each_record_once(build: impl Fn() -> Box<dyn Source>, expected: &[String]) {
    let mut step = 0;
    loop {
        step += 1;
        let broker = MemoryBroker::new();
        let died = run_until_killed(build(), broker.context(Some(step))).await;
        finish(build(), &broker).await;
        assert_eq!(broker.payloads(), expected, "killed at step {step}");
        if !died {
            break;
        }
    }
    for polls in 0..POLLS {
        let broker = MemoryBroker::new();
        drop_after_polls(build().run(broker.context(None)), polls).await;
        finish(build(), &broker).await;
        assert_eq!(broker.payloads(), expected, "dropped after {polls} polls");
    }
}

/// A failed commit ends the run with that error; the next run loses and repeats nothing.
pub async fn commit_errors_lose_nothing(build: impl Fn() -> Box<dyn Source>, expected: &[String]) {
    let broker = MemoryBroker::new();
    broker.fail_with([ConnectorError::retryable("journal is full")]);
    let answer = patient(build().run(broker.context(None))).await;
    assert_eq!(answer, Err(ConnectorError::retryable("journal is full")));
    assert_eq!(
        broker.stored_position(),
        None,
        "position moved without a commit"
    );
    finish(build(), &broker).await;
    assert_eq!(broker.payloads(), expected);
}

/// A source that waits for input ends with `Ok` when cancelled.
pub async fn stops_when_cancelled(
    source: Box<dyn Source>,
    broker: &Arc<MemoryBroker>,
    ready: impl Fn(&MemoryBroker) -> bool,
) {
    let context = broker.context(None);
    let mut run = source.run(context.clone());
    tokio::select! {
        answer = &mut run => panic!("ended by itself: {answer:?}"),
        () = patient(broker.until(ready)) => context.cancel(),
    }
    assert_eq!(patient(run).await, Ok(()));
}

async fn run_until_killed(source: Box<dyn Source>, context: Arc<MemoryContext>) -> bool {
    let run = source.run(context.clone());
    tokio::select! {
        biased;
        () = context.killed() => true,
        answer = patient(run) => {
            assert_eq!(answer, Ok(()), "a run without faults");
            false
        }
    }
}

async fn finish(source: Box<dyn Source>, broker: &Arc<MemoryBroker>) {
    assert_eq!(
        patient(source.run(broker.context(None))).await,
        Ok(()),
        "a run without faults"
    );
}

async fn drop_after_polls<T>(future: impl Future<Output = T>, polls: usize) {
    let mut future = pin!(future);
    let mut left = polls;
    patient(std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context).map(drop)
    }))
    .await;
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("no progress for 30 s")
}
