//! A consumer against a naive model: random publishes, deletions, pulls, acknowledgements, refusals, pauses and restarts.
//! Checked at every delivery: it is wanted, it is held, it was not acknowledged, first deliveries come in order and without
//! gaps, nothing comes again before its time, nothing comes more often than allowed, the count of what is ahead is right.
//! At the end everything wanted was acknowledged or given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use millstream_types::{Timestamp, matches};
use proptest::prelude::*;

use crate::config::{RetentionPolicy, StreamConfig};
use crate::{
    Ack, AckKind, AckPolicy, Acks, Action, Command, ConsumerAction, ConsumerConfig, Deliver,
    DeliverPolicy, Publish, PullRequest, Purge, RecordsBuilder, Stream,
};
use millstream_journal::Position;

const SUBJECTS: [&str; 4] = ["a", "a.b", "a.c", "b"];
const FILTERS: [&[&str]; 5] = [&[], &["a.b"], &["a.*"], &["a", "b"], &["a.>"]];
const WAIT: Duration = Duration::from_secs(10);
const NAME: &str = "c";

#[derive(Clone, Debug)]
enum Op {
    Publish(Vec<u8>),
    Pull { batch: u32, no_wait: bool },
    Ack(u8),
    AckUncommitted(u8),
    Nak { pick: u8, delay: Option<u16> },
    Progress(u8),
    Term(u8),
    Pass(u32),
    Delete(u8),
    PurgeSubject(u8),
    Restart,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    delivered: u64,
    /// When it may come again; `None` is now.
    due: Option<Timestamp>,
}

struct World {
    stream: Stream,
    /// Gets the same commands, and is never asked anything: what a replay of the log comes to.
    twin: Stream,
    config: ConsumerConfig,
    now: Timestamp,
    /// Everything published: subject by sequence; `None` once it is gone.
    held: BTreeMap<u64, Option<&'static str>>,
    wanted_first: u64,
    list: Option<(BTreeSet<u64>, u64)>,
    cursor: u64,
    out: BTreeMap<u64, Out>,
    /// Acknowledged, in the log.
    done: BTreeSet<u64>,
    /// Acknowledged, and lost if the process dies now.
    said: BTreeSet<u64>,
    deliveries: usize,
}

fn stream_with(retention: RetentionPolicy) -> Stream {
    let config = StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["a".to_owned(), "a.>".to_owned(), "b".to_owned()],
        retention,
        ..StreamConfig::default()
    };
    Stream::new(1, config.checked().expect("valid"), Timestamp(0), None)
}

fn publish(stream: &mut Stream, subjects: &[&str], now: Timestamp) {
    let mut builder = RecordsBuilder::new();
    for subject in subjects {
        builder.push(subject.as_bytes(), b"", b"payload");
    }
    let (records, count) = builder.take();
    let position = Position {
        file: 1,
        offset: stream.last_seq(),
        len: 0,
    };
    stream.publish(
        position,
        0,
        &Publish {
            stream: 1,
            time: now,
            count,
            records,
        },
        &mut Vec::new(),
    );
}

fn create(stream: &mut Stream, config: &ConsumerConfig) -> ConsumerConfig {
    let config = config.clone().checked(&stream.config).expect("valid");
    stream
        .check_consumer(NAME, &config, ConsumerAction::Create)
        .expect("allowed");
    let command = Command::CreateConsumer {
        stream: 1,
        name: NAME.to_owned(),
        time: Timestamp(0),
        config: Box::new(config.clone()),
    };
    stream.apply(command).expect("allowed");
    config
}

fn commit(stream: &mut Stream, acks: Vec<Ack>, now: Timestamp) {
    let acks = stream.acknowledge(NAME, acks, now);
    stream
        .apply(Command::Acks(Acks {
            stream: 1,
            consumer: NAME.to_owned(),
            time: now,
            acks,
        }))
        .expect("allowed");
}

fn pull(batch: u32) -> PullRequest {
    PullRequest {
        reply: Bytes::from_static(b"inbox"),
        batch,
        expires: None,
        no_wait: false,
        max_bytes: 0,
        idle_heartbeat: None,
    }
}

impl World {
    fn new(config: &ConsumerConfig, retention: RetentionPolicy, before: &[u8]) -> Self {
        let mut stream = stream_with(retention);
        let mut twin = stream_with(retention);
        let now = Timestamp(1_000_000_000_000);
        let mut held = BTreeMap::new();
        for pick in before {
            let subject = SUBJECTS[usize::from(*pick) % 4];
            publish(&mut stream, &[subject], now);
            publish(&mut twin, &[subject], now);
            held.insert(stream.last_seq(), Some(subject));
        }
        create(&mut twin, config);
        let config = create(&mut stream, config);
        let hits = |subject: &str| {
            config.filters().next().is_none()
                || config
                    .filters()
                    .any(|f| matches(f.as_bytes(), subject.as_bytes()))
        };
        let hit_seqs: Vec<u64> = held
            .iter()
            .filter(|(_, s)| s.is_some_and(hits))
            .map(|(seq, _)| *seq)
            .collect();
        let end = stream.last_seq() + 1;
        let mut list = None;
        let wanted_first = match config.deliver_policy {
            DeliverPolicy::All => 1,
            DeliverPolicy::New => end,
            DeliverPolicy::Last => hit_seqs.last().copied().unwrap_or(end),
            DeliverPolicy::LastPerSubject => {
                let mut last = BTreeMap::new();
                for seq in hit_seqs {
                    last.insert(held[&seq], seq);
                }
                list = Some((last.into_values().collect(), end - 1));
                1
            }
            DeliverPolicy::ByStartSequence => config.opt_start_seq.expect("set").min(end),
            DeliverPolicy::ByStartTime => unreachable!("not drawn"),
        };
        Self {
            stream,
            twin,
            config,
            now,
            held,
            wanted_first,
            list,
            cursor: wanted_first,
            out: BTreeMap::new(),
            done: BTreeSet::new(),
            said: BTreeSet::new(),
            deliveries: 0,
        }
    }

    fn wanted(&self, seq: u64) -> bool {
        let hits = |subject: &str| {
            self.config.filters().next().is_none()
                || self
                    .config
                    .filters()
                    .any(|filter| matches(filter.as_bytes(), subject.as_bytes()))
        };
        let listed = match &self.list {
            Some((list, resume)) if seq <= *resume => list.contains(&seq),
            _ => seq >= self.wanted_first,
        };
        listed && self.held.get(&seq).copied().flatten().is_some_and(hits)
    }

    fn ahead(&self) -> Vec<u64> {
        let undone = |seq: &u64| self.wanted(*seq) && !self.done.contains(seq);
        self.held
            .range(self.cursor..)
            .map(|(seq, _)| *seq)
            .filter(undone)
            .collect()
    }

    fn is_all(&self) -> bool {
        self.config.ack_policy == AckPolicy::All
    }

    fn tracks(&self) -> bool {
        self.config.ack_policy != AckPolicy::None
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Publish(picks) => {
                let subjects: Vec<&'static str> = picks
                    .iter()
                    .map(|pick| SUBJECTS[usize::from(*pick) % 4])
                    .collect();
                let first = self.stream.last_seq() + 1;
                publish(&mut self.stream, &subjects, self.now);
                publish(&mut self.twin, &subjects, self.now);
                self.held
                    .extend((first..).zip(subjects.into_iter().map(Some)));
            }
            Op::Pull { batch, no_wait } => {
                let request = PullRequest {
                    no_wait: *no_wait,
                    ..pull(*batch)
                };
                self.stream.pull(NAME, request, self.now).expect("allowed");
            }
            Op::Ack(pick) => self.settle(*pick, AckKind::Ack, true),
            Op::Term(pick) => self.settle(*pick, AckKind::Term, true),
            Op::AckUncommitted(pick) => self.settle(*pick, AckKind::Ack, false),
            Op::Nak { pick, delay } => {
                let delay = delay.map(|delay| Duration::from_millis(u64::from(delay)));
                self.nak(*pick, delay);
            }
            Op::Progress(pick) => self.progress(*pick),
            Op::Pass(millis) => self.now = self.now.plus(Duration::from_millis(u64::from(*millis))),
            Op::Delete(pick) => {
                let live: Vec<u64> = self.live();
                if !live.is_empty() {
                    let seq = live[usize::from(*pick) % live.len()];
                    self.apply(Command::DeleteMessage {
                        stream: 1,
                        seq,
                        erase: false,
                    });
                    self.gone(seq);
                }
            }
            Op::PurgeSubject(pick) => {
                let subject = SUBJECTS[usize::from(*pick) % 4];
                let purge = Purge {
                    stream: 1,
                    filter: Some(subject.to_owned()),
                    ..Purge::default()
                };
                self.apply(Command::Purge(purge));
                for seq in self.live() {
                    if self.held[&seq] == Some(subject) {
                        self.gone(seq);
                    }
                }
            }
            Op::Restart => self.restart(),
        }
        self.drain();
        self.check_info();
    }

    fn nak(&mut self, pick: u8, delay: Option<Duration>) {
        let Some((seq, out)) = self.pick(pick) else {
            return;
        };
        if out.due.is_none_or(|due| due <= self.now) {
            return;
        }
        assert!(self.stream.nak(NAME, seq, out.delivered, delay, self.now));
        let due = delay.map(|delay| self.now.plus(delay));
        self.out.insert(seq, Out { due, ..out });
    }

    fn progress(&mut self, pick: u8) {
        let Some((seq, out)) = self.pick(pick) else {
            return;
        };
        assert!(self.stream.progress(NAME, seq, self.now));
        let due = Some(self.now.plus(WAIT));
        self.out.insert(seq, Out { due, ..out });
    }

    fn apply(&mut self, command: Command) {
        self.stream.apply(command.clone()).expect("allowed");
        self.twin.apply(command).expect("allowed");
    }

    fn live(&self) -> Vec<u64> {
        self.held
            .iter()
            .filter(|(_, subject)| subject.is_some())
            .map(|(seq, _)| *seq)
            .collect()
    }

    fn gone(&mut self, seq: u64) {
        self.held.insert(seq, None);
        self.out.remove(&seq);
    }

    fn pick(&self, pick: u8) -> Option<(u64, Out)> {
        let at = usize::from(pick) % self.out.len().max(1);
        self.out.iter().nth(at).map(|(seq, out)| (*seq, *out))
    }

    fn settle(&mut self, pick: u8, kind: AckKind, committed: bool) {
        let Some((seq, _)) = self.pick(pick) else {
            return;
        };
        let acks = self.stream.acknowledge(
            NAME,
            vec![Ack {
                stream_seq: seq,
                kind,
            }],
            self.now,
        );
        assert_eq!(acks.len(), 1, "an acknowledgement of what is out is news");
        // Said twice is no news.
        assert!(
            self.stream
                .acknowledge(NAME, acks.clone(), self.now)
                .is_empty()
        );
        let range = if self.is_all() { 0..=seq } else { seq..=seq };
        let settled: Vec<u64> = self.out.range(range).map(|(seq, _)| *seq).collect();
        for seq in &settled {
            self.out.remove(seq);
        }
        if !committed {
            self.said.extend(settled);
            return;
        }
        self.apply(Command::Acks(Acks {
            stream: 1,
            consumer: NAME.to_owned(),
            time: self.now,
            acks,
        }));
        if self.is_all() {
            let covered: Vec<u64> = self.held.range(..=seq).map(|(seq, _)| *seq).collect();
            self.done.extend(covered);
        } else {
            self.done.extend(settled.iter().copied());
        }
        if self.stream.config.retention == RetentionPolicy::WorkQueue {
            for seq in settled {
                assert!(self.stream.locate(seq).is_none(), "done is gone");
                self.gone(seq);
            }
        }
    }

    fn restart(&mut self) {
        let bytes = self.stream.encode_checkpoint();
        self.stream = Stream::decode_checkpoint(&bytes).expect("reads back");
        assert_eq!(self.stream.encode_checkpoint(), bytes);
        let floor = self.stream.consumers[NAME].floor();
        self.cursor = self.wanted_first.max(floor + 1);
        self.out.clear();
        self.said.clear();
    }

    /// Carries out what the consumer wants, until it wants nothing.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            match self
                .stream
                .poll_consumer(NAME, self.now)
                .expect("there is one")
            {
                Action::Deliver(deliver) => self.delivered(&deliver),
                Action::Status { headers, .. } => {
                    let text = String::from_utf8_lossy(&headers).into_owned();
                    assert!(
                        text.contains("404 No Messages") || text.contains("408 Request Timeout"),
                        "{text}"
                    );
                    let exhausted = self.ahead().is_empty() || self.is_full();
                    assert!(
                        exhausted,
                        "a request was sent away while there were messages"
                    );
                }
                Action::MaxDeliveries { seq, deliveries } => {
                    assert_eq!(i64::try_from(deliveries), Ok(self.config.max_deliver));
                    let out = self.out.remove(&seq).expect("it was out");
                    assert_eq!(out.delivered, deliveries);
                    let give_up = vec![Ack {
                        stream_seq: seq,
                        kind: AckKind::GiveUp,
                    }];
                    let acks = self.stream.acknowledge(NAME, give_up, self.now);
                    assert_eq!(acks.len(), 1);
                    self.apply(Command::Acks(Acks {
                        stream: 1,
                        consumer: NAME.to_owned(),
                        time: self.now,
                        acks,
                    }));
                    self.done.insert(seq);
                }
                Action::WaitUntil { time, .. } => {
                    assert!(time > self.now);
                    return self.quiet();
                }
                Action::Idle { .. } => return self.quiet(),
                Action::Expired => panic!("a durable does not expire"),
            }
        }
        panic!("the consumer never comes to rest");
    }

    /// At rest with somebody waiting: nothing that could be delivered is left.
    fn quiet(&mut self) {
        let waiting = self
            .stream
            .consumer_info(NAME, self.now)
            .expect("there is one")
            .num_waiting;
        if waiting == 0 {
            return;
        }
        assert!(
            self.out
                .values()
                .all(|out| out.due.is_some_and(|due| due > self.now)),
            "nothing due stays"
        );
        assert!(
            self.ahead().is_empty() || self.is_full(),
            "nothing new stays"
        );
    }

    fn is_full(&self) -> bool {
        let most = usize::try_from(self.config.max_ack_pending).unwrap_or(usize::MAX);
        self.tracks() && self.out.len() >= most
    }

    fn delivered(&mut self, deliver: &Deliver) {
        let seq = deliver.seq;
        self.deliveries += 1;
        assert!(self.wanted(seq), "message {seq} is not wanted");
        assert!(!self.done.contains(&seq), "message {seq} is done");
        assert!(!self.said.contains(&seq), "message {seq} was acknowledged");
        match self.out.get(&seq) {
            Some(out) => {
                assert_eq!(deliver.delivered, out.delivered + 1);
                assert!(
                    out.due.is_none_or(|due| due <= self.now),
                    "message {seq} came again too early"
                );
            }
            None => {
                assert_eq!(deliver.delivered, 1);
                assert_eq!(
                    self.ahead().first(),
                    Some(&seq),
                    "first deliveries come in order"
                );
                assert!(!self.is_full());
                self.cursor = seq + 1;
            }
        }
        assert_eq!(deliver.pending, self.ahead().len() as u64);
        let reply = String::from_utf8(deliver.reply.to_vec()).expect("text");
        let numbers = (
            deliver.delivered,
            seq,
            deliver.consumer_seq,
            deliver.place.time.0,
            deliver.pending,
        );
        let want = format!(
            "$JS.ACK.S.c.{}.{}.{}.{}.{}",
            numbers.0, numbers.1, numbers.2, numbers.3, numbers.4
        );
        assert_eq!(reply, want);
        if self.tracks() {
            let due = Some(self.now.plus(WAIT));
            self.out.insert(
                seq,
                Out {
                    delivered: deliver.delivered,
                    due,
                },
            );
        }
    }

    fn check_info(&mut self) {
        let ahead = self.ahead().len() as u64;
        let info = self
            .stream
            .consumer_info(NAME, self.now)
            .expect("there is one");
        assert_eq!(info.num_pending, ahead);
        assert_eq!(info.num_ack_pending, self.out.len());
        assert_eq!(
            info.num_redelivered,
            self.out.values().filter(|out| out.delivered > 1).count()
        );
        if let Some(first) = self.out.keys().next() {
            assert_eq!(info.ack_floor.stream_seq, first - 1);
        }
        let floor = self.stream.consumers[NAME].floor();
        let undone = self
            .held
            .range(..=floor)
            .map(|(seq, _)| *seq)
            .filter(|seq| self.wanted(*seq) && !self.done.contains(seq));
        assert_eq!(undone.count(), 0, "the floor stands on what is done");
    }

    /// Acknowledges everything until nothing comes any more.
    fn finish(&mut self) {
        for _ in 0..1_000 {
            self.step(&Op::Pull {
                batch: 50,
                no_wait: true,
            });
            while !self.out.is_empty() {
                self.settle(0, AckKind::Ack, true);
            }
            if self.ahead().is_empty() {
                break;
            }
        }
        if self.tracks() {
            let lost: Vec<u64> = self
                .held
                .keys()
                .copied()
                .filter(|seq| {
                    self.wanted(*seq) && !self.done.contains(seq) && !self.said.contains(seq)
                })
                .collect();
            assert_eq!(lost, Vec::<u64>::new());
        }
        let bytes = self.stream.encode_checkpoint();
        let mut again = Stream::decode_checkpoint(&bytes).expect("reads back");
        assert_eq!(again.encode_checkpoint(), bytes);
        assert_eq!(
            self.twin.encode_checkpoint(),
            bytes,
            "what is replicated depends on the log alone"
        );
    }
}

fn op() -> impl Strategy<Value = Op> {
    let delay = prop_oneof![Just(None), (1u16..20_000).prop_map(Some)];
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 1..6).prop_map(Op::Publish),
        8 => (1u32..8, any::<bool>()).prop_map(|(batch, no_wait)| Op::Pull { batch, no_wait }),
        8 => any::<u8>().prop_map(Op::Ack),
        2 => any::<u8>().prop_map(Op::AckUncommitted),
        3 => (any::<u8>(), delay).prop_map(|(pick, delay)| Op::Nak { pick, delay }),
        1 => any::<u8>().prop_map(Op::Progress),
        1 => any::<u8>().prop_map(Op::Term),
        4 => (0u32..15_000).prop_map(Op::Pass),
        2 => any::<u8>().prop_map(Op::Delete),
        1 => any::<u8>().prop_map(Op::PurgeSubject),
        1 => Just(Op::Restart),
    ]
}

fn config() -> impl Strategy<Value = ConsumerConfig> {
    let policy = prop_oneof![
        4 => Just(AckPolicy::Explicit),
        1 => Just(AckPolicy::All),
        1 => Just(AckPolicy::None),
    ];
    let start = prop_oneof![
        3 => Just(DeliverPolicy::All),
        1 => Just(DeliverPolicy::New),
        1 => Just(DeliverPolicy::Last),
        1 => Just(DeliverPolicy::LastPerSubject),
        1 => Just(DeliverPolicy::ByStartSequence),
    ];
    (
        policy,
        start,
        0usize..5,
        1u64..20,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(ack_policy, deliver_policy, filter, seq, few, limited)| {
            let mut filters: Vec<String> = FILTERS[filter]
                .iter()
                .map(|filter| (*filter).to_owned())
                .collect();
            if deliver_policy == DeliverPolicy::LastPerSubject && filters.is_empty() {
                filters.push("a.>".to_owned());
            }
            let tracks = ack_policy != AckPolicy::None;
            ConsumerConfig {
                durable_name: Some(NAME.to_owned()),
                ack_policy,
                deliver_policy,
                opt_start_seq: (deliver_policy == DeliverPolicy::ByStartSequence).then_some(seq),
                filter_subjects: filters,
                ack_wait: WAIT,
                max_ack_pending: if tracks && few { 3 } else { 0 },
                max_deliver: if tracks && limited { 3 } else { -1 },
                max_waiting: 100_000,
                ..ConsumerConfig::default()
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn delivers_everything_wanted_until_it_is_done(
        config in config(),
        before in prop::collection::vec(any::<u8>(), 0..30),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(&config, RetentionPolicy::Limits, &before);
        for op in &ops {
            world.step(op);
        }
        world.finish();
    }

    #[test]
    fn a_work_queue_forgets_what_is_done(
        filter in 0usize..5,
        before in prop::collection::vec(any::<u8>(), 0..30),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let config = ConsumerConfig {
            durable_name: Some(NAME.to_owned()),
            ack_policy: AckPolicy::Explicit,
            filter_subjects: FILTERS[filter].iter().map(|filter| (*filter).to_owned()).collect(),
            ack_wait: WAIT,
            max_waiting: 100_000,
            ..ConsumerConfig::default()
        };
        let mut world = World::new(&config, RetentionPolicy::WorkQueue, &before);
        for op in &ops {
            world.step(op);
        }
        world.finish();
        let kept = world.said.iter().filter(|seq| world.held[seq].is_some()).count() as u64;
        prop_assert_eq!(world.stream.count_matching(0, &crate::Filters::new(config.filters())), kept);
    }
}

mod examples;
mod pullers;
