//! Under a mix of a work queue, overwritten keys, a byte limit, purges and deletions, disk use keeps coming back to near what
//! is live, while somebody reads all the time and finds every message as it was stored.
//!
//! `MILLSTREAM_SOAK=N` makes it N rounds instead of the usual few.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_cluster::{Node, Outcome};
use millstream_consensus::{Group, Options, StateMachine};
use millstream_journal::{MemoryStorage, ReadError};
use millstream_streams::{
    Ack, AckKind, Acks, Command as StreamCommand, ConsumerConfig, Publish, Purge, RecordOutcome,
    RecordsBuilder, RetentionPolicy, StreamConfig, record_at,
};
use millstream_types::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod common;

use common::propose;

const FILE_SIZE: u64 = 64 * 1024;
const QUEUE: u32 = 1;
const KEYS: u32 = 2;
const BYTES: u32 = 3;
const PURGED: u32 = 4;
/// Messages per stream and round.
const MESSAGES: usize = 20;
const PAYLOAD: usize = 300;
/// So many rounds may pass until the last message of a round leaves the queue.
const LATE: usize = 50;
/// Disk use comes down to twice what is live, since files of which more is live stay, and some files beside: those that two
/// checkpoints begin in, those with their pages, and the newest.
const SPARE_FILES: u64 = 16;

type Stored = Arc<Mutex<HashMap<(u32, u64), u64>>>;

fn config(id: u32) -> StreamConfig {
    let config = StreamConfig {
        name: format!("S{id}"),
        subjects: vec![format!("s{id}.>")],
        ..StreamConfig::default()
    };
    let config = match id {
        QUEUE => StreamConfig {
            retention: RetentionPolicy::WorkQueue,
            ..config
        },
        KEYS => StreamConfig {
            max_msgs_per_subject: 1,
            ..config
        },
        BYTES => StreamConfig {
            max_bytes: 64 * 1024,
            ..config
        },
        _ => config,
    };
    config.checked().expect("valid")
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(PAYLOAD, number.to_le_bytes()[0]);
    payload
}

struct Soak {
    group: Group<Node>,
    node: Arc<Node>,
    stored: Stored,
    rng: StdRng,
    number: u64,
    round: usize,
    /// Messages of the queue that are not acknowledged yet, by round.
    waiting: Vec<(usize, u64)>,
}

impl Soak {
    async fn propose(&self, command: StreamCommand) -> Outcome {
        propose(&self.group, (0, 0), command).await
    }

    fn time(&self) -> Timestamp {
        Timestamp(i64::try_from(self.round).expect("small") * 1_000_000_000)
    }

    async fn publish(&mut self, stream: u32) {
        let mut records = RecordsBuilder::new();
        let first = self.number;
        for _ in 0..MESSAGES {
            let subject = format!("s{stream}.{}", self.rng.random_range(0..50));
            records.push(subject.as_bytes(), b"", &payload(self.number));
            self.number += 1;
        }
        let (records, count) = records.take();
        let publish = Publish {
            stream,
            time: self.time(),
            count,
            records,
        };
        // The reader must not find a message before it is known what it has to be.
        let stored = Arc::clone(&self.stored);
        let outcome = self.propose(StreamCommand::Publish(publish)).await;
        let Outcome::Records(outcomes) = outcome else {
            panic!("{outcome:?}")
        };
        let mut stored = stored.lock().expect("unpoisoned");
        for (number, outcome) in (first..).zip(outcomes) {
            let RecordOutcome::Stored(seq) = outcome else {
                panic!("{outcome:?}")
            };
            stored.insert((stream, seq), number);
            if stream == QUEUE {
                self.waiting.push((self.round, seq));
            }
        }
    }

    /// All but one message of a round are acknowledged at once, and that one much later.
    async fn acknowledge(&mut self) {
        let round = self.round;
        let mut kept = None;
        let (done, waiting) =
            std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|(since, _)| {
                    let late = *since + LATE <= round;
                    late || (*since == round && kept.replace(()).is_some())
                });
        self.waiting = waiting;
        let done: Vec<(usize, u64)> = done;
        let acks = done.iter().map(|(_, seq)| Ack {
            stream_seq: *seq,
            kind: AckKind::Ack,
        });
        let acks = Acks {
            stream: QUEUE,
            consumer: "C".to_owned(),
            time: self.time(),
            acks: acks.collect(),
        };
        self.propose(StreamCommand::Acks(acks)).await;
    }

    async fn one_round(&mut self) {
        for stream in [QUEUE, KEYS, BYTES, PURGED] {
            self.publish(stream).await;
        }
        self.acknowledge().await;
        if self.round.is_multiple_of(25) {
            let purge = Purge {
                stream: PURGED,
                time: self.time(),
                filter: None,
                sequence: 0,
                keep: 5,
            };
            self.propose(StreamCommand::Purge(purge)).await;
        }
        let last = self.node.stream("S3").expect("there").lock().last_seq();
        let delete = StreamCommand::DeleteMessage {
            stream: BYTES,
            seq: last - self.rng.random_range(0..40).min(last - 1),
            erase: self.round.is_multiple_of(5),
        };
        self.propose(delete).await;
        self.round += 1;
    }

    fn live(&self) -> u64 {
        self.node.live_bytes().values().sum()
    }

    /// Waits until disk use is near the live size again.
    async fn settle(&mut self) {
        for tries in 0.. {
            let (disk, live) = (self.group.status().disk_bytes, self.live());
            let bound = 2 * live + SPARE_FILES * FILE_SIZE;
            if disk <= bound {
                return;
            }
            assert!(
                tries < 20_000,
                "round {}: {disk} bytes on disk, {live} live, at most {bound}",
                self.round
            );
            // Something has to happen for a checkpoint to have a reason.
            self.acknowledge().await;
            self.group.checkpoint_now();
            tokio::task::yield_now().await;
        }
    }
}

/// Reads all streams over and over; answers how many messages it compared.
fn read_on(group: &Group<Node>, node: &Node, stored: &Stored, ends: &AtomicBool) -> u64 {
    let mut compared = 0;
    while !ends.load(Ordering::Relaxed) {
        for cell in node.streams() {
            let mut next = 0;
            loop {
                let found = {
                    let stream = cell.lock();
                    let seq = stream.next_live(next);
                    seq.and_then(|seq| Some((seq, stream.locate(seq)?)))
                };
                let Some((seq, place)) = found else { break };
                let frame = match group.read(place.position) {
                    Ok(frame) => frame,
                    // It moved or went since it was looked up.
                    Err(ReadError::Missing(_)) => continue,
                    Err(error) => panic!("message {seq} of {}: {error}", cell.name),
                };
                let (record, _) = record_at(&frame, place.offset as usize).expect("whole");
                let known = stored
                    .lock()
                    .expect("unpoisoned")
                    .get(&(cell.id, seq))
                    .copied();
                if let Some(number) = known {
                    assert_eq!(record.payload, payload(number), "{seq} of {}", cell.name);
                    compared += 1;
                }
                next = seq + 1;
            }
        }
    }
    compared
}

#[tokio::test]
async fn disk_use_returns_to_near_the_live_size() {
    let rounds = std::env::var("MILLSTREAM_SOAK").ok();
    let rounds: usize = rounds.map_or(300, |rounds| rounds.parse().expect("a number"));
    let storage = MemoryStorage::new();
    let node = Arc::new(Node::default());
    let options = Options {
        journal: millstream_journal::Options {
            file_size: FILE_SIZE,
            tail_cache_bytes: 16 * 1024,
            ..Default::default()
        },
        storage: Arc::new(storage.clone()),
        look_after: Duration::from_millis(1),
    };
    let group = Group::open(options, Arc::clone(&node)).expect("opens");
    let mut soak = Soak {
        group: group.clone(),
        node: Arc::clone(&node),
        stored: Stored::default(),
        rng: StdRng::seed_from_u64(7),
        number: 0,
        round: 1,
        waiting: Vec::new(),
    };
    for id in [QUEUE, KEYS, BYTES, PURGED] {
        let create = StreamCommand::CreateStream {
            id,
            time: Timestamp(1),
            config: Box::new(config(id)),
        };
        soak.propose(create).await;
    }
    let consumer = StreamCommand::CreateConsumer {
        stream: QUEUE,
        name: "C".to_owned(),
        time: Timestamp(1),
        config: Box::new(ConsumerConfig {
            durable_name: Some("C".to_owned()),
            ack_policy: millstream_streams::AckPolicy::Explicit,
            ..ConsumerConfig::default()
        }),
    };
    soak.propose(consumer).await;
    let ends = Arc::new(AtomicBool::new(false));
    let compared = Arc::new(AtomicU64::new(0));
    let reader = {
        let (group, node, stored) = (group.clone(), Arc::clone(&node), Arc::clone(&soak.stored));
        let (ends, compared) = (Arc::clone(&ends), Arc::clone(&compared));
        std::thread::spawn(move || {
            let count = read_on(&group, &node, &stored, &ends);
            compared.store(count, Ordering::Relaxed);
        })
    };
    for round in 1..=rounds {
        soak.one_round().await;
        if round.is_multiple_of(100) {
            soak.settle().await;
        }
    }
    soak.settle().await;
    ends.store(true, Ordering::Relaxed);
    reader.join().expect("every message was as it was stored");
    assert!(compared.load(Ordering::Relaxed) > 1000);
    group.shutdown();
}
