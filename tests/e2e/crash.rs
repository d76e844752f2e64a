//! kill -9 under load, many times: every acknowledged record is there afterwards, once, in order; none was made up.
//! The rules of the checker are those of the design's `reliability.md`, 3.5.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use futures_util::StreamExt as _;

use crate::harness::{Server, folder};

const ROUNDS: u64 = 12;
const PUBLISHERS: usize = 4;
/// Each round ends when this many more were acknowledged, at a moment that differs from round to round.
const PER_ROUND: u64 = 400;

/// What a publisher knows of its own messages.
#[derive(Debug, Default)]
struct History {
    /// Counter to sequence.
    acknowledged: BTreeMap<u64, u64>,
    /// Counters below this were sent, or may have been.
    attempted: u64,
}

type Shared = Arc<Mutex<History>>;

fn note<T>(history: &Shared, write: impl FnOnce(&mut History) -> T) -> T {
    write(&mut history.lock().expect("no publisher panics"))
}

/// Publishes `publisher:counter` until it is stopped; notes everything before and after.
async fn publish(server: String, publisher: usize, history: Shared, acked: Arc<AtomicU64>) {
    let client = async_nats::connect(&server).await.expect("connected");
    let js = jetstream::new(client);
    loop {
        let mut window = Vec::new();
        for _ in 0..32 {
            let counter = note(&history, |history| {
                history.attempted += 1;
                history.attempted - 1
            });
            match js
                .publish(
                    format!("load.{publisher}"),
                    format!("{publisher}:{counter}").into(),
                )
                .await
            {
                Ok(ack) => window.push((counter, ack)),
                Err(_) => return,
            }
        }
        for (counter, ack) in window {
            let Ok(ack) = ack.await else { return };
            note(&history, |history| {
                history.acknowledged.insert(counter, ack.sequence)
            });
            acked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_message_is_lost_when_the_process_is_killed() {
    kill_and_check(ROUNDS, None, &[]).await;
}

/// The same with messages compressed and encrypted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_message_is_lost_when_messages_are_compressed_and_encrypted() {
    let folder = folder();
    let configuration = folder.path().join("key.conf");
    let block = "jetstream { key: \"a key for this test, long enough\" }\n";
    std::fs::write(&configuration, block).expect("written");
    let arguments = ["-c", configuration.to_str().expect("path")];
    let compression = Some(jetstream::stream::Compression::S2);
    kill_and_check(ROUNDS / 3, compression, &arguments).await;
}

async fn kill_and_check(
    rounds: u64,
    compression: Option<jetstream::stream::Compression>,
    arguments: &[&str],
) {
    let folder = folder();
    let mut path = folder.path().to_owned();
    let histories: Vec<Shared> = (0..PUBLISHERS).map(|_| Shared::default()).collect();
    for round in 0..rounds {
        let server = Server::start_with(&path, arguments);
        if round == 0 {
            let js = jetstream::new(server.client().await);
            let config = jetstream::stream::Config {
                name: "load".to_owned(),
                subjects: vec!["load.>".to_owned()],
                compression: compression.clone(),
                ..Default::default()
            };
            js.create_stream(config).await.expect("stream");
        }
        let acked = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = histories
            .iter()
            .enumerate()
            .map(|(publisher, history)| {
                let (history, acked) = (Arc::clone(history), Arc::clone(&acked));
                tokio::spawn(publish(server.nats.clone(), publisher, history, acked))
            })
            .collect();
        // Another number each round, so that batches are caught at all stages.
        let enough = PER_ROUND + round * 37;
        while acked.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
        path = server.kill();
        for task in tasks {
            task.abort();
            // Cancelled, or ended by itself when the connection went: both are meant.
            let _ended = task.await;
        }
        check(&path, &histories, arguments).await;
    }
}

/// Reads everything back and compares.
async fn check(path: &Path, histories: &[Shared], arguments: &[&str]) {
    let server = Server::start_with(path, arguments);
    let js = jetstream::new(server.client().await);
    let mut stream = js.get_stream("load").await.expect("stream");
    let total = stream.info().await.expect("info").state.messages;
    let ordered = jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(ordered).await.expect("consumer");
    let mut messages = consumer
        .messages()
        .await
        .expect("messages")
        .take(usize::try_from(total).expect("small"));
    let mut stored: BTreeMap<(usize, u64), u64> = BTreeMap::new();
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    while let Some(message) = messages.next().await {
        let message = message.expect("message");
        let seq = message.info().expect("info").stream_sequence;
        let text = String::from_utf8(message.payload.to_vec()).expect("text");
        let (publisher, counter) = text.split_once(':').expect("publisher:counter");
        let id: (usize, u64) = (
            publisher.parse().expect("number"),
            counter.parse().expect("number"),
        );
        let attempted = note(&histories[id.0], |history| history.attempted);
        assert!(id.1 < attempted, "{text} was never published");
        assert_eq!(stored.insert(id, seq), None, "{text} is stored twice");
        let before = last.insert(id.0, id.1);
        assert!(
            before.is_none_or(|before| before < id.1),
            "publisher {} is out of order at {seq}",
            id.0
        );
    }
    for (publisher, history) in histories.iter().enumerate() {
        for (counter, seq) in note(history, |history| history.acknowledged.clone()) {
            assert_eq!(
                stored.get(&(publisher, counter)),
                Some(&seq),
                "{publisher}:{counter} was acknowledged as {seq}"
            );
        }
    }
}
