//! The stream against a naive model: a vector of messages. Random publishes with every kind of header, limits, deletions,
//! purges, expiry and configuration changes; after every step everything a reader can ask must be the same, and so must it
//! after a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::{HeadersBuilder, Timestamp, matches};
use proptest::prelude::*;

use super::Stream;
use crate::StreamSnapshot;
use crate::checkpoint::testing::Stored;
use crate::config::{DiscardPolicy, StreamConfig};
use crate::filters::Filters;
use crate::pages::Pages;
use crate::{ApiError, Command, Due, Publish, Purge, RecordOutcome, RecordsBuilder, record_at};
use millstream_journal::Position;

mod edges;
mod foretold;
mod strategies;

use strategies::{config, op};

const SUBJECTS: [&str; 6] = ["a", "a.b", "a.c", "b.b", "b.b.c", "c"];
const FILTERS: [&str; 6] = [">", "a.*", "a", "b.>", "*.b", "c"];

#[derive(Clone, Debug)]
struct Entry {
    subject: usize,
    id: Option<u8>,
    expect: Expect,
    rollup: Option<bool>,
    /// In seconds, 0 for ever.
    ttl: Option<u32>,
    size: usize,
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    Nothing,
    Last(i8),
    Subject(i8),
    Id(u8),
}

#[derive(Clone, Debug)]
enum Op {
    Publish(Vec<Entry>),
    Delete(u8),
    Purge {
        filter: Option<usize>,
        sequence: Option<u8>,
        keep: Option<u8>,
    },
    Pass(u16),
    Due,
    Limits {
        msgs: i64,
        bytes: i64,
        per_subject: i64,
    },
    Checkpoint,
    /// Some of what one journal file holds is stored elsewhere; the flag: and deleted before the index knows.
    Move(u8, bool),
    /// Begins a snapshot, which is stored while other steps happen.
    Snapshot,
    /// Stores it; `false` when its checkpoint was not written.
    Finish(bool),
}

#[derive(Clone, Debug)]
struct Message {
    seq: u64,
    subject: &'static str,
    cost: u64,
    time: Timestamp,
    ttl: Option<u32>,
    is_marker: bool,
    file: u32,
    payload: Vec<u8>,
}

impl Message {
    /// When it is to go.
    fn end(&self, max_age: Duration) -> Option<Timestamp> {
        let aged = (!max_age.is_zero()).then(|| self.time.plus(max_age));
        match self.ttl {
            Some(0) => None,
            None => aged,
            Some(ttl) => {
                let end = self.time.plus(Duration::from_secs(u64::from(ttl)));
                Some(aged.map_or(end, |aged| aged.min(end)))
            }
        }
    }
}

struct Model {
    config: StreamConfig,
    held: Vec<Message>,
    last: u64,
    ids: Vec<(u8, u64, Timestamp)>,
    last_id: Option<u8>,
}

fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

impl Model {
    fn last_of(&self, subject: &str) -> u64 {
        self.held
            .iter()
            .rev()
            .find(|held| held.subject == subject)
            .map_or(0, |held| held.seq)
    }

    fn bytes(&self) -> u64 {
        self.held.iter().map(|held| held.cost).sum()
    }

    fn publish(&mut self, entry: &Entry, message: Message) -> RecordOutcome {
        let window = self.config.duplicate_window;
        self.ids
            .retain(|(_, _, at)| at.plus(window) >= message.time);
        if let Some((_, seq, _)) = self.ids.iter().find(|(id, ..)| Some(*id) == entry.id) {
            return RecordOutcome::Duplicate(*seq);
        }
        match entry.expect {
            Expect::Nothing => {}
            Expect::Last(by) => {
                if by != 0 {
                    return RecordOutcome::Refused(ApiError::wrong_last_sequence(self.last));
                }
            }
            Expect::Subject(by) => {
                if by != 0 {
                    return RecordOutcome::Refused(ApiError::wrong_last_sequence(
                        self.last_of(message.subject),
                    ));
                }
            }
            Expect::Id(id) => {
                if self.last_id != Some(id) {
                    let last = self.last_id.map(|id| id.to_string()).unwrap_or_default();
                    return RecordOutcome::Refused(ApiError::wrong_last_msg_id(&last));
                }
            }
        }
        if entry.rollup.is_some() && !self.config.allow_rollup_hdrs {
            return RecordOutcome::Refused(ApiError::rollup_failed("rollup not permitted"));
        }
        if entry.ttl.is_some() && !self.config.allow_msg_ttl {
            return RecordOutcome::Refused(ApiError::ttl_disabled());
        }
        if let Err(error) = self.room(&message) {
            return RecordOutcome::Refused(ApiError::store_failed(error));
        }
        self.last += 1;
        self.last_id = entry.id;
        if let Some(id) = entry.id {
            self.ids.push((id, self.last, message.time));
        }
        let subject = message.subject;
        match entry.rollup {
            Some(true) => self.held.clear(),
            Some(false) => self.held.retain(|held| held.subject != subject),
            None => {}
        }
        self.held.push(Message {
            seq: self.last,
            ..message
        });
        self.enforce();
        RecordOutcome::Stored(self.last)
    }

    fn room(&self, message: &Message) -> Result<(), &'static str> {
        let config = &self.config;
        if limit(config.max_bytes).is_some_and(|max| message.cost > max) {
            return Err("maximum bytes exceeded");
        }
        if config.discard == DiscardPolicy::Old {
            return Ok(());
        }
        let same: Vec<&Message> = self
            .held
            .iter()
            .filter(|held| held.subject == message.subject)
            .collect();
        let mut freed = (0, 0);
        if limit(config.max_msgs_per_subject).is_some_and(|max| same.len() as u64 >= max) {
            if config.discard_new_per_subject {
                return Err("maximum messages per subject exceeded");
            }
            freed = (1, same[0].cost);
        }
        if limit(config.max_msgs).is_some_and(|max| self.held.len() as u64 - freed.0 >= max) {
            return Err("maximum messages exceeded");
        }
        if limit(config.max_bytes).is_some_and(|max| self.bytes() - freed.1 + message.cost > max) {
            return Err("maximum bytes exceeded");
        }
        Ok(())
    }

    fn enforce(&mut self) {
        if let Some(max) = limit(self.config.max_msgs_per_subject) {
            for subject in SUBJECTS {
                while self
                    .held
                    .iter()
                    .filter(|held| held.subject == subject)
                    .count() as u64
                    > max
                {
                    let first = self
                        .held
                        .iter()
                        .position(|held| held.subject == subject)
                        .expect("there are some");
                    self.held.remove(first);
                }
            }
        }
        while limit(self.config.max_msgs).is_some_and(|max| self.held.len() as u64 > max)
            || limit(self.config.max_bytes).is_some_and(|max| self.bytes() > max)
        {
            self.held.remove(0);
        }
    }

    /// What is at its end goes, and a marker takes the place of the last one of a subject in `marked`, if it is none itself.
    fn come_due(&mut self, marked: &[Vec<u8>], marker: impl Fn(&'static str) -> Message) {
        let marks = !self.config.subject_delete_marker_ttl.is_zero();
        let (now, age) = (marker("").time, self.config.max_age);
        let ending = self
            .held
            .iter()
            .filter(|held| held.end(age).is_some_and(|end| end <= now));
        let ending: Vec<u64> = ending.map(|held| held.seq).collect();
        for seq in ending {
            let Some(at) = self.held.iter().position(|held| held.seq == seq) else {
                continue;
            };
            let (subject, is_marker) = (self.held[at].subject, self.held[at].is_marker);
            let count = self
                .held
                .iter()
                .filter(|held| held.subject == subject)
                .count();
            let needs = marks && count == 1 && !is_marker;
            if needs && !marked.iter().any(|marked| marked == subject.as_bytes()) {
                continue;
            }
            self.held.remove(at);
            if needs {
                self.last += 1;
                self.last_id = None;
                let seq = self.last;
                self.held.push(Message {
                    seq,
                    ..marker(subject)
                });
                if self.config.discard == DiscardPolicy::Old {
                    self.enforce();
                }
            }
        }
    }

    fn purge(&mut self, filter: &str, sequence: u64, keep: u64) {
        let hit = |held: &Message| matches(filter.as_bytes(), held.subject.as_bytes());
        let total = self.held.iter().filter(|held| hit(held)).count() as u64;
        let mut left = if keep > 0 {
            total.saturating_sub(keep)
        } else {
            u64::MAX
        };
        self.held.retain(|held| {
            let goes = hit(held) && left > 0 && (sequence == 0 || held.seq < sequence);
            if goes {
                left -= 1;
            }
            !goes
        });
    }
}

struct World {
    stored: Arc<Stored>,
    pages: Pages,
    /// One that is being stored, and the state it was taken of.
    snapshot: Option<(StreamSnapshot, Vec<u8>)>,
    stream: Stream,
    twin: Stream,
    model: Model,
    now: Timestamp,
    frames: BTreeMap<(u32, u64), Bytes>,
}

impl World {
    fn new(config: StreamConfig) -> Self {
        let config = config.checked().expect("a valid configuration");
        let now = Timestamp(1_000_000_000_000);
        let model = Model {
            last: config.first_seq.max(1) - 1,
            config: config.clone(),
            held: Vec::new(),
            ids: Vec::new(),
            last_id: None,
        };
        let (stored, pages) = Stored::pages();
        let stream = Stream::new(1, config.clone(), now, Some(pages.clone()));
        Self {
            stream,
            stored,
            pages,
            snapshot: None,
            twin: Stream::new(1, config, now, None),
            model,
            now,
            frames: BTreeMap::new(),
        }
    }

    fn step(&mut self, op: &Op) {
        self.now = self.now.plus(Duration::from_millis(1));
        match op {
            Op::Publish(entries) => self.publish(entries),
            Op::Delete(pick) => {
                if let Some(seq) = self.pick(*pick) {
                    self.delete(seq);
                }
            }
            Op::Purge {
                filter,
                sequence,
                keep,
            } => {
                let sequence =
                    sequence.map_or(0, |pick| self.model.last.saturating_sub(u64::from(pick)));
                let keep = if sequence == 0 {
                    keep.map_or(0, u64::from)
                } else {
                    0
                };
                let filter = filter.map(|at| FILTERS[at % FILTERS.len()].to_owned());
                let before = self.model.held.len();
                self.model
                    .purge(filter.as_deref().unwrap_or(">"), sequence, keep);
                let purge = Purge {
                    stream: 1,
                    time: self.now,
                    filter,
                    sequence,
                    keep,
                };
                assert_eq!(
                    self.apply(&Command::Purge(purge)),
                    (before - self.model.held.len()) as u64
                );
            }
            Op::Pass(millis) => self.now = self.now.plus(Duration::from_millis(u64::from(*millis))),
            Op::Due => self.come_due(),
            Op::Limits {
                msgs,
                bytes,
                per_subject,
            } => {
                self.limits(*msgs, *bytes, *per_subject);
            }
            Op::Checkpoint => {
                let bytes = self.stream.encode_checkpoint();
                (self.stream, self.stored, self.pages) =
                    Stream::decode_with_pages(&bytes).expect("reads back");
                assert_eq!(self.stream.encode_checkpoint(), bytes);
                // Its pages are elsewhere from now on.
                self.snapshot = None;
            }
            Op::Move(pick, delete) => self.relocate(*pick, *delete),
            Op::Snapshot if self.snapshot.is_none() => {
                let state = self.twin.encode_checkpoint();
                self.snapshot = Some((self.stream.snapshot(&BTreeSet::new()), state));
            }
            Op::Snapshot => {}
            Op::Finish(safe) => self.finish(*safe),
        }
    }

    fn come_due(&mut self) {
        let pending = self.stream.pending(self.now);
        assert_eq!(self.twin.pending(self.now), pending);
        let mut records = RecordsBuilder::new();
        self.stream.put_markers(&pending.markers, &mut records);
        let (records, count) = records.take();
        let position = self.add_frame(&records);
        let headers = match count {
            0 => 0,
            _ => record_at(&records, 0).expect("whole").0.headers.len(),
        };
        let (now, ttl) = (self.now, self.model.config.subject_delete_marker_ttl);
        let marker = |subject: &'static str| Message {
            seq: 0,
            subject,
            cost: (34 + subject.len() + headers) as u64,
            time: now,
            ttl: Some(ttl.as_secs() as u32),
            is_marker: true,
            file: position.file,
            payload: Vec::new(),
        };
        self.model.come_due(&pending.markers, marker);
        let due = Due {
            stream: 1,
            now,
            fires: Vec::new(),
            count,
            records,
        };
        let removed = self.stream.come_due(&due, position, 5);
        assert_eq!(self.twin.come_due(&due, position, 5), removed);
        if ttl.is_zero() {
            assert!(self.stream.next_due().is_none_or(|due| due > now));
        }
    }

    fn delete(&mut self, seq: u64) {
        self.apply(&Command::DeleteMessage {
            stream: 1,
            seq,
            erase: false,
        });
        self.model.held.retain(|held| held.seq != seq);
    }

    fn limits(&mut self, msgs: i64, bytes: i64, per_subject: i64) {
        let mut config = self.model.config.clone();
        (config.max_msgs, config.max_bytes) = (msgs, bytes);
        if !config.discard_new_per_subject {
            config.max_msgs_per_subject = per_subject;
        }
        self.stream.update_config(config.clone()).expect("allowed");
        self.twin.update_config(config.clone()).expect("allowed");
        self.model.config = config;
        self.model.enforce();
    }

    /// Stores some records of a file elsewhere; one of them may go while that happens.
    fn relocate(&mut self, pick: u8, delete: bool) {
        let files: BTreeSet<u32> = self.model.held.iter().map(|held| held.file).collect();
        let Some(file) = files.iter().nth(usize::from(pick) % files.len().max(1)) else {
            return;
        };
        let mut leaving = self
            .stream
            .leaving(*file, 40)
            .expect("something is held there");
        let frames: Vec<Bytes> = leaving
            .frames()
            .map(|at| self.frames[&(at.file, at.offset)].clone())
            .collect();
        let (body, count) = leaving.gather(&frames).expect("whole");
        assert!(count > 0);
        let number = self.frames.len() as u64;
        let to = Position {
            file: (number / 7) as u32,
            offset: number,
            len: body.len() as u32,
        };
        self.frames.insert((to.file, to.offset), body);
        let seqs: Vec<u64> = leaving
            .runs
            .iter()
            .flat_map(|run| &run.records)
            .map(|(place, _)| leaving.no * crate::chunk::SPAN + u64::from(*place))
            .collect();
        if delete {
            self.delete(seqs[0]);
        }
        self.stream.moved(&leaving, to);
        self.twin.moved(&leaving, to);
        for held in &mut self.model.held {
            if seqs.contains(&held.seq) {
                held.file = to.file;
            }
        }
    }

    /// What a snapshot stored is the state as of when it was taken, whatever happened since.
    fn finish(&mut self, safe: bool) {
        let Some((mut snapshot, state)) = self.snapshot.take() else {
            return;
        };
        self.stored.store(&mut snapshot);
        let mut restored = Stream::restore(&snapshot.root(), &self.pages).expect("reads back");
        assert_eq!(restored.encode_checkpoint(), state);
        snapshot.finish(&mut self.stream, safe);
    }

    fn pick(&self, pick: u8) -> Option<u64> {
        let held = &self.model.held;
        (!held.is_empty()).then(|| held[usize::from(pick) % held.len()].seq)
    }

    fn apply(&mut self, command: &Command) -> u64 {
        let removed = self.stream.apply(command.clone()).expect("allowed");
        assert_eq!(self.twin.apply(command.clone()), Ok(removed));
        removed
    }

    fn publish(&mut self, entries: &[Entry]) {
        let mut want = Vec::new();
        let mut builder = RecordsBuilder::new();
        let position = self.next_frame();
        for (at, entry) in entries.iter().enumerate() {
            let subject = SUBJECTS[entry.subject % SUBJECTS.len()];
            // Expectations are made of what will be true when this record's turn comes.
            let headers = self.headers(entry, subject);
            let payload = vec![at as u8; entry.size];
            let has_headers = if headers.is_empty() { 0 } else { 4 };
            let cost = (30 + subject.len() + headers.len() + payload.len() + has_headers) as u64;
            builder.push(subject.as_bytes(), &headers, &payload);
            let message = Message {
                seq: 0,
                subject,
                cost,
                time: self.now,
                ttl: entry.ttl.map(|ttl| self.effective(ttl)),
                is_marker: false,
                file: position.file,
                payload,
            };
            want.push(self.model.publish(entry, message));
        }
        let (records, count) = builder.take();
        let publish = Publish {
            stream: 1,
            time: self.now,
            count,
            records: records.clone(),
        };
        assert_eq!(self.add_frame(&records), position);
        let (mut got, mut twin) = (Vec::new(), Vec::new());
        let hopeless = self.stream.misfits(&publish);
        let misfit = self.stream.misfit(&publish);
        self.stream.publish(position, 5, &publish, &mut got);
        self.twin.publish(position, 5, &publish, &mut twin);
        assert_eq!(got, want);
        assert_eq!(twin, want);
        foretold::hopeless(&hopeless, &got);
        let full = self.model.config.discard == DiscardPolicy::New;
        foretold::check(full, entries, &got, misfit);
    }

    fn next_frame(&self) -> Position {
        let number = self.frames.len() as u64;
        Position {
            file: (number / 7) as u32,
            offset: number,
            len: 0,
        }
    }

    /// Keeps records as they would lie in the log: behind five bytes of their command.
    fn add_frame(&mut self, records: &Bytes) -> Position {
        let position = self.next_frame();
        let mut body = vec![0xee; 5];
        body.extend_from_slice(records);
        self.frames
            .insert((position.file, position.offset), Bytes::from(body));
        position
    }

    /// No message goes before the marker would that takes its place.
    fn effective(&self, ttl: u32) -> u32 {
        let marker = self.model.config.subject_delete_marker_ttl.as_secs() as u32;
        if ttl == 0 { 0 } else { ttl.max(marker) }
    }

    fn headers(&self, entry: &Entry, subject: &str) -> Bytes {
        let mut headers = HeadersBuilder::new();
        if let Some(id) = entry.id {
            headers.push("Nats-Msg-Id", &id.to_string());
        }
        let off = |base: u64, by: i8| base.wrapping_add_signed(i64::from(by)).to_string();
        match entry.expect {
            Expect::Nothing => {}
            Expect::Last(by) => {
                headers.push("Nats-Expected-Last-Sequence", &off(self.model.last, by))
            }
            Expect::Subject(by) => {
                headers.push(
                    "Nats-Expected-Last-Subject-Sequence",
                    &off(self.model.last_of(subject), by),
                );
            }
            Expect::Id(id) => headers.push("Nats-Expected-Last-Msg-Id", &id.to_string()),
        }
        if let Some(ttl) = entry.ttl {
            let text = ttl.to_string();
            headers.push("Nats-TTL", if ttl == 0 { "never" } else { &text });
        }
        if let Some(all) = entry.rollup {
            headers.push("Nats-Rollup", if all { "all" } else { "sub" });
        }
        headers.build()
    }

    fn check(&mut self) {
        let age = self.model.config.max_age;
        let first = self
            .model
            .held
            .iter()
            .filter_map(|held| held.end(age))
            .min();
        let due = self.stream.next_due();
        assert!(
            due <= first || first.is_none(),
            "{due:?} is later than {first:?}"
        );
        assert!(due.is_some() || first.is_none());
        let (stream, held) = (&self.stream, &self.model.held);
        let state = stream.state();
        assert_eq!(state.messages, held.len() as u64);
        assert_eq!(state.bytes, self.model.bytes());
        assert_eq!(state.last_seq, self.model.last);
        assert_eq!(
            state.first_seq,
            held.first().map_or(self.model.last + 1, |first| first.seq)
        );
        assert_eq!(state.first_ts, held.first().map(|first| first.time));
        let gone: Vec<u64> = (state.first_seq..=state.last_seq)
            .filter(|seq| held.iter().all(|held| held.seq != *seq))
            .collect();
        assert_eq!(state.num_deleted, gone.len() as u64);
        assert_eq!(stream.deleted(), gone);
        let mut subjects: BTreeMap<String, u64> = BTreeMap::new();
        let mut files: BTreeMap<u32, u64> = BTreeMap::new();
        for message in held {
            *subjects.entry(message.subject.to_owned()).or_default() += 1;
            *files.entry(message.file).or_default() += message.cost;
            let place = stream.locate(message.seq).expect("held");
            assert_eq!(place.time, message.time);
            assert_eq!(
                stream.subject_of(message.seq),
                Some(message.subject.as_bytes())
            );
            let body = &self.frames[&(place.position.file, place.position.offset)];
            let (record, _) = record_at(body, place.offset as usize).expect("whole");
            assert_eq!(record.payload, message.payload);
            assert_eq!(record.subject, message.subject.as_bytes());
        }
        assert_eq!(state.num_subjects, subjects.len() as u64);
        assert_eq!(stream.subjects(b">"), subjects);
        let mut live = BTreeMap::new();
        stream.live_files(&mut live);
        assert_eq!(live, files);
        self.check_questions(&state);
    }

    fn check_questions(&self, state: &crate::StreamState) {
        let (stream, held) = (&self.stream, &self.model.held);
        for subject in SUBJECTS {
            assert_eq!(
                stream.last_for(subject.as_bytes()).unwrap_or(0),
                self.model.last_of(subject)
            );
        }
        for filter in FILTERS
            .iter()
            .copied()
            .chain(["a.b|c", "a.*|b.>", "c|a.b|a|b.b"])
        {
            let filters = Filters::new(filter.split('|'));
            let hits: Vec<u64> = held
                .iter()
                .filter(|held| filters.matches(held.subject.as_bytes()))
                .map(|held| held.seq)
                .collect();
            for from in state.first_seq.saturating_sub(1)..=state.last_seq + 1 {
                assert_eq!(
                    stream.next_matching(from, &filters),
                    hits.iter().copied().find(|seq| *seq >= from)
                );
                let ahead = hits.iter().filter(|seq| **seq >= from).count() as u64;
                assert_eq!(
                    stream.count_matching(from, &filters),
                    ahead,
                    "{filter} from {from}"
                );
            }
            if !filter.contains('|') {
                assert_eq!(
                    stream.last_matching(filter.as_bytes()),
                    hits.last().copied()
                );
            }
        }
        for message in held {
            let first = held
                .iter()
                .find(|held| held.time >= message.time)
                .map(|held| held.seq);
            assert_eq!(stream.first_since(message.time), first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_list_of_messages(config in config(), ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new(config);
        for op in &ops {
            world.step(op);
            world.check();
        }
        // The same commands give the same state, checkpoints on the way or not.
        prop_assert_eq!(world.stream.encode_checkpoint(), world.twin.encode_checkpoint());
    }
}
