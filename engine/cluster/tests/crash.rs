//! The power goes after any storage call of a random history: what was acknowledged is there, in order, and nothing else
//! but the one change that was under way. Messages, subjects, remembered ids, consumers and what files hold are compared
//! with a node that never crashed.
//!
//! `MILLSTREAM_SEEDS=N` runs N histories instead of the usual few.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_cluster::{Command, Node, Outcome};
use millstream_consensus::{Entry, Group, Options, Proposal, StateMachine};
use millstream_journal::{Cipher, Durability, Fault, Keys, MemoryStorage, Position};
use millstream_streams::{
    Ack, AckKind, Acks, Command as StreamCommand, ConsumerConfig, Due, Fire, Publish, Purge,
    RecordsBuilder, RetentionPolicy, StreamConfig, record_at,
};
use millstream_types::{HeadersBuilder, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SUBJECTS: [&str; 5] = ["a.1", "a.2", "a.3", "b.1", "b.2"];
const STEPS: usize = 60;
const LIVES: usize = 3;

/// A node that never crashes: it only applies.
struct Reference {
    node: Node,
    bodies: Vec<Bytes>,
}

impl Reference {
    fn of(history: &[Bytes]) -> Self {
        let mut new = Self {
            node: Node::default(),
            bodies: Vec::new(),
        };
        for body in history {
            new.apply(body);
        }
        new
    }

    fn apply(&mut self, body: &Bytes) -> Outcome {
        let position = Position {
            file: 1,
            offset: self.bodies.len() as u64,
            len: 0,
        };
        self.bodies.push(body.clone());
        self.node.apply(Entry {
            position,
            index: self.bodies.len() as u64,
            body,
        })
    }

    fn picture(&self) -> String {
        picture(&self.node, |at| {
            self.bodies[usize::try_from(at.offset).expect("small")].clone()
        })
    }
}

/// Everything a reader can ask for.
fn picture(node: &Node, read: impl Fn(Position) -> Bytes) -> String {
    let mut out = String::new();
    for cell in node.streams() {
        let mut stream = cell.lock();
        out += &format!(
            "{} {:?} {:?}\n",
            cell.name,
            stream.state(),
            stream.next_due()
        );
        for seq in stream.first_seq()..=stream.last_seq() {
            let Some(place) = stream.locate(seq) else {
                continue;
            };
            let body = read(place.position);
            let (view, _) = record_at(&body, place.offset as usize).expect("whole");
            out += &format!("  {seq} {:?} {view:?}\n", place.time);
            assert_eq!(stream.subject_of(seq), Some(view.subject));
        }
        for subject in SUBJECTS {
            out += &format!("  {subject} {:?}\n", stream.last_for(subject.as_bytes()));
        }
        let names: Vec<String> = stream.consumers.keys().cloned().collect();
        for name in names {
            let floor = stream.consumers[&name].floor();
            let info = stream
                .consumer_info(&name, Timestamp(1 << 50))
                .expect("there");
            out += &format!("  {name} {floor} {}\n", info.num_pending);
        }
    }
    out
}

fn publish(rng: &mut StdRng, stream: u32, time: Timestamp) -> StreamCommand {
    let mut builder = RecordsBuilder::new();
    for _ in 0..rng.random_range(1..5) {
        let mut headers = HeadersBuilder::default();
        match rng.random_range(0..9) {
            0..3 => headers.push("Nats-Msg-Id", &rng.random_range(0..30).to_string()),
            3 => headers.push("Nats-TTL", &rng.random_range(1..9).to_string()),
            4 => headers.push("Nats-TTL", "never"),
            5 => {
                headers.push("Nats-Schedule", "@every 3s");
                headers.push("Nats-Schedule-Target", &format!("x{stream}.made"));
            }
            _ => {}
        }
        let headers = match headers.build() {
            empty if empty.len() <= 12 => Bytes::new(),
            headers => headers,
        };
        let subject = SUBJECTS[rng.random_range(0..SUBJECTS.len())];
        let payload = vec![rng.random::<u8>(); rng.random_range(0..60)];
        builder.push(subject.as_bytes(), &headers, &payload);
    }
    let (records, count) = builder.take();
    StreamCommand::Publish(Publish {
        stream,
        time,
        count,
        records,
    })
}

/// Markers for all subjects, and schedules fired that may be there or not: applying it decides what becomes of them.
fn due(rng: &mut StdRng, stream: u32, now: Timestamp) -> StreamCommand {
    let mut builder = RecordsBuilder::new();
    let mut fires = Vec::new();
    for _ in 0..4 {
        let makes = rng.random();
        let next = now.plus(Duration::from_secs(rng.random_range(1..5)));
        fires.push(Fire {
            seq: rng.random_range(1..60),
            next: rng.random::<bool>().then_some(next),
            makes,
        });
        if makes {
            builder.push(format!("x{stream}.made").as_bytes(), b"", b"made");
        }
    }
    for subject in SUBJECTS {
        builder.push(subject.as_bytes(), b"", b"");
    }
    let (records, count) = builder.take();
    StreamCommand::Due(Due {
        stream,
        now,
        fires,
        count,
        records,
    })
}

fn stream_config(id: u32) -> StreamConfig {
    let config = StreamConfig {
        name: format!("S{id}"),
        subjects: vec![format!("x{id}.>")],
        ..StreamConfig::default()
    };
    let config = match id {
        1 => config,
        2 => StreamConfig {
            max_msgs_per_subject: 2,
            max_age: Duration::from_secs(20),
            subject_delete_marker_ttl: Duration::from_secs(2),
            allow_msg_schedules: true,
            ..config
        },
        _ => StreamConfig {
            retention: RetentionPolicy::WorkQueue,
            max_msgs: 40,
            allow_msg_ttl: true,
            ..config
        },
    };
    config.checked().expect("valid")
}

fn command(rng: &mut StdRng, step: usize) -> Command {
    let time = Timestamp(i64::try_from(step).expect("small") * 1_000_000_000);
    let stream = rng.random_range(1..4);
    let command = match rng.random_range(0..22) {
        0 => StreamCommand::DeleteStream { id: stream },
        1 | 2 => StreamCommand::CreateStream {
            id: stream,
            time,
            config: Box::new(stream_config(stream)),
        },
        3 => StreamCommand::Purge(Purge {
            stream,
            time,
            filter: rng.random::<bool>().then(|| "a.*".to_owned()),
            sequence: 0,
            keep: rng.random_range(0..3),
        }),
        4 | 5 => StreamCommand::DeleteMessage {
            stream,
            seq: rng.random_range(1..60),
            erase: rng.random(),
        },
        6 => StreamCommand::CreateConsumer {
            stream,
            name: "C".to_owned(),
            time,
            config: Box::new(ConsumerConfig {
                durable_name: Some("C".to_owned()),
                ..ConsumerConfig::default()
            }),
        },
        7 | 8 => StreamCommand::Acks(Acks {
            stream,
            consumer: "C".to_owned(),
            time,
            acks: (0..3)
                .map(|_| Ack {
                    stream_seq: rng.random_range(1..60),
                    kind: AckKind::Ack,
                })
                .collect(),
        }),
        9 => {
            let several = [publish(rng, 1, time), publish(rng, 2, time)];
            return Command::Several(several.map(Command::Stream).to_vec());
        }
        10 | 11 => due(rng, stream, time),
        _ => publish(rng, stream, time),
    };
    Command::Stream(command)
}

/// Every other history is compressed and encrypted, and its key goes to and fro.
fn keys(seed: u64, life: usize) -> Option<Keys> {
    let (key, previous) = match life % 2 {
        0 => ("one", "other"),
        _ => ("other", "one"),
    };
    is_sealed(seed).then(|| Keys::new(Cipher::Aes, Some(key), Some(previous)))
}

fn is_sealed(seed: u64) -> bool {
    seed % 2 == 1
}

fn open(storage: &MemoryStorage, keys: Option<Keys>) -> (Group<Node>, Arc<Node>) {
    // No index stays in memory that can be read back, and checkpoints come often.
    let node = Arc::new(Node::with_index_cache(0));
    let options = Options {
        journal: millstream_journal::Options {
            file_size: 2048,
            keys,
            ..Default::default()
        },
        storage: Arc::new(storage.clone()),
        look_after: Duration::from_millis(1),
    };
    let group = Group::open(options, Arc::clone(&node)).expect("opens");
    (group, node)
}

fn body_of(command: &Command) -> (Bytes, Bytes, Bytes) {
    let (head, body) = command.encode();
    let mut whole = BytesMut::from(&head[..]);
    whole.extend_from_slice(&body);
    (head, body, whole.freeze())
}

/// One history in some lives, each of which ends with a power cut at the given storage call, or in peace. Answers whether
/// every life ended in peace.
async fn live(seed: u64, call: u64) -> bool {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut storage = MemoryStorage::new();
    let mut history: Vec<Bytes> = (1..4)
        .map(|id| {
            body_of(&Command::Stream(StreamCommand::CreateStream {
                id,
                time: Timestamp(1),
                config: Box::new(stream_config(id)),
            }))
            .2
        })
        .collect();
    let (group, _) = open(&storage, keys(seed, 1));
    for body in &history {
        propose(&group, Bytes::new(), body.clone(), is_sealed(seed))
            .await
            .expect("committed");
    }
    group.shutdown();
    let mut under_way: Option<Bytes> = None;
    let mut in_peace = true;
    for life in 0..LIVES {
        storage = storage.restart(|_, change, byte| (change + byte) % 7 != 0);
        let (group, node) = open(&storage, keys(seed, life));
        let seen = picture(&node, |at| {
            let read = group.read(at);
            read.unwrap_or_else(|error| panic!("seed {seed}, call {call}, life {life}: {error}"))
        });
        let mut reference = Reference::of(&history);
        if seen != reference.picture() {
            let late = under_way.take();
            history.extend(late);
            reference = Reference::of(&history);
            assert_eq!(
                seen,
                reference.picture(),
                "seed {seed}, call {call}, life {life}"
            );
        }
        under_way = None;
        storage.fail_at(storage.calls() + call, Fault::PowerCut);
        for step in 0..STEPS {
            let command = command(&mut rng, life * STEPS + step + 2);
            let (head, body, whole) = body_of(&command);
            let Ok(outcome) = propose(&group, head, body, is_sealed(seed)).await else {
                under_way = Some(whole);
                in_peace = false;
                break;
            };
            let expected = reference.apply(&whole);
            assert_eq!(
                format!("{outcome:?}"),
                format!("{expected:?}"),
                "seed {seed}"
            );
            history.push(whole);
        }
        let same = picture(&node, |at| group.read(at).unwrap_or_default()) == reference.picture();
        assert!(same || !in_peace, "seed {seed}, call {call}, life {life}");
        group.shutdown();
    }
    in_peace
}

async fn propose(
    group: &Group<Node>,
    head: Bytes,
    body: Bytes,
    compress: bool,
) -> Result<Outcome, ()> {
    let proposal = Proposal {
        stream: 0,
        count: 0,
        head,
        body,
        durability: Durability::Synced,
        important: false,
        compress,
    };
    group.propose(proposal).await.map_err(drop)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_at_any_storage_call() {
    let seeds = std::env::var("MILLSTREAM_SEEDS").ok();
    let seeds: u64 = seeds.map_or(3, |seeds| seeds.parse().expect("a number"));
    let mut counts = BTreeMap::new();
    for seed in 0..seeds {
        for call in 1.. {
            if live(seed, call).await {
                counts.insert(seed, call);
                break;
            }
        }
    }
    assert!(
        counts.values().all(|calls| *calls > 2 * STEPS as u64),
        "{counts:?}"
    );
}
