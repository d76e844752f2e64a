//! Queries with a stand-in that counts. Goal: whatever fails, and wherever a flow is stopped, each input is counted once: the
//! results of a key are 1, 2, 3 and so on. Method: inputs that say what becomes of them, through a real log in memory; streams
//! that refuse; flows that are stopped and made anew, also from the storage alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millstream_cluster::{CatalogChange, CatalogCommand, Command, FlowStart, flow_key};
use millstream_journal::MemoryStorage;
use millstream_pipeline::{
    Batch, BrokenState, Dataflow, DataflowStatus, Effects, FlowTable, Origin, Output, Record,
    Rejection, Running, StateChange,
};
use millstream_streams::{Command as StreamCommand, DiscardPolicy, StreamConfig};
use millstream_types::{HeaderBlock, Message, Timestamp};

use super::{World, config, payloads, runtime};
use crate::IngestRecord;
use crate::flow::{Flow, FlowSetup, FlowState, Query, QuerySetup, state_stream, state_subjects};
use crate::ingest::Stager;

mod previews;

/// What was given back to queries that were made.
type Restored = Arc<Mutex<BTreeMap<Bytes, Bytes>>>;

/// Counts by key, the second token of a subject. The first letter of a payload says what comes of a message: `j` is rejected,
/// `w` is a row that is, `o` goes to a subject of nobody, `l` makes a large result, `m` with a number makes so many, `v` with a
/// number has a value of so many bytes in the state, `t` with a number is too late when an earlier one of another message was
/// larger, `f` fails, `d` takes the row away; anything else counts.
#[derive(Debug)]
struct Counting {
    sources: Vec<FlowTable>,
    restored: Restored,
    late: bool,
}

#[derive(Debug)]
struct Counter {
    sources: Vec<FlowTable>,
    counts: BTreeMap<Bytes, Bytes>,
    status: DataflowStatus,
    restored: Restored,
}

impl Query for Counting {
    fn start(&self) -> Box<dyn Dataflow> {
        self.restored.lock().expect("no panic").clear();
        Box::new(Counter {
            sources: self.sources.clone(),
            counts: BTreeMap::new(),
            status: DataflowStatus {
                sources: vec![None; self.sources.len()],
                ..DataflowStatus::default()
            },
            restored: Arc::clone(&self.restored),
        })
    }
}

impl Counter {
    fn count(&self, key: &[u8]) -> u64 {
        let value = self.counts.get(key);
        value.map_or(0, |value| {
            u64::from_le_bytes(value[..8].try_into().expect("eight"))
        })
    }

    fn one(&mut self, source: usize, record: &Record, effects: &mut Effects) {
        let message = &record.message;
        let subject = message.subject_str().to_string();
        let key = Bytes::from(subject.split('.').nth(1).unwrap_or_default().to_owned());
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let number = || {
            text[1..]
                .split('-')
                .next()
                .and_then(|text| text.parse::<u64>().ok())
        };
        let number = || number().unwrap_or_default();
        let sequence = record.sequence.expect("it was stored");
        let origin = Origin::Message { source, sequence };
        let mut value = Vec::new();
        let (mut results, mut size, mut delete) = (1, 0, false);
        match text.as_bytes()[0] {
            b'j' => {
                return effects
                    .rejected
                    .push((origin, Rejection::new("sql:q", "no", "no")));
            }
            b'w' => {
                let row = Origin::Row(Bytes::from(format!("row {text}")));
                return effects
                    .rejected
                    .push((row, Rejection::new("sql:q", "no", "no")));
            }
            b'o' => {
                let payload = message.payload.clone();
                return effects.outputs.push(Output {
                    subject: Bytes::from_static(b"nowhere"),
                    payload,
                    delete: false,
                    closes: None,
                });
            }
            b't' => {
                let time = Timestamp(i64::try_from(number()).expect("small"));
                if self
                    .status
                    .watermark
                    .is_some_and(|watermark| time < watermark)
                {
                    self.status.late += 1;
                    return effects
                        .late
                        .push((origin, Rejection::new("sql:q", "late", "too late")));
                }
                self.status.watermark = Some(time);
                self.status.sources[source] = Some(time);
            }
            b'f' => effects.failed = Some("too much".to_owned()),
            b'l' => size = 5000,
            b'm' => results = number(),
            b'v' => value = vec![0; usize::try_from(number()).expect("small")],
            b'd' => delete = true,
            _ => {}
        }
        self.emit(key, (results, size, delete), value, effects);
    }

    fn emit(
        &mut self,
        key: Bytes,
        (results, size, delete): (u64, usize, bool),
        mut value: Vec<u8>,
        effects: &mut Effects,
    ) {
        let before = self.count(&key);
        for count in before + 1..=before + results {
            let payload = if delete {
                String::new()
            } else {
                format!("{count}{}", " ".repeat(size))
            };
            effects.outputs.push(Output {
                subject: Bytes::from([b"out.", &key[..]].concat()),
                payload: Bytes::from(payload),
                delete,
                closes: None,
            });
        }
        let mut state = (before + results).to_le_bytes().to_vec();
        state.append(&mut value);
        let state = Bytes::from(state);
        self.counts.insert(key.clone(), state.clone());
        effects.state.push(StateChange {
            key,
            value: Some(state),
        });
    }
}

impl Dataflow for Counter {
    fn sources(&self) -> &[FlowTable] {
        &self.sources
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.counts.insert(key.clone(), value.clone());
        self.restored.lock().expect("no panic").insert(key, value);
        Ok(())
    }

    fn step(&mut self, batches: &[Batch<'_>], _: Timestamp) -> Effects {
        let mut effects = Effects::default();
        for batch in batches {
            for record in batch.records {
                self.one(batch.source, record, &mut effects);
            }
        }
        effects
    }

    fn status(&self) -> DataflowStatus {
        DataflowStatus {
            state_rows: self.counts.len() as u64,
            ..self.status.clone()
        }
    }
}

fn table(station: &str, is_table: bool) -> FlowTable {
    FlowTable {
        station: station.to_owned(),
        filter: None,
        is_table,
    }
}

fn counting() -> Counting {
    Counting {
        sources: vec![table("in", false)],
        restored: Restored::default(),
        late: false,
    }
}

impl World {
    pub(super) async fn for_queries() -> (Self, Arc<MemoryStorage>) {
        let storage = Arc::new(MemoryStorage::new());
        let world = Self::open(Arc::clone(&storage)).await;
        let mut state = config(&state_stream("f"), &state_subjects("f"));
        state.compression = Some("s2".to_owned());
        let streams = [
            config("in", "in.>"),
            config("in-dead-letters", "$MS.DEAD.in.>"),
            config("out", "out.>"),
            config("out-dead-letters", "$MS.DEAD.out.>"),
            config("more", "more.>"),
            config("late", "late.>"),
            state,
        ];
        for (id, config) in (1..).zip(streams) {
            world.stream(id, config).await;
        }
        let spec = serde_json::from_value(serde_json::json!({
            "name": "f", "query": { "sql": "SELECT 1", "into": "out" } }));
        let spec = spec.expect("a flow");
        let changes = vec![CatalogChange::PutFlow { spec }];
        world.catalog(changes).await;
        (world, storage)
    }

    pub(super) async fn catalog(&self, changes: Vec<CatalogChange>) {
        let command = Command::Catalog(CatalogCommand { time: 1, changes });
        self.jetstream.propose(&command).await.expect("applied");
    }

    fn query(&self, query: Counting) -> FlowSetup {
        let late = query.late.then(|| "late".to_owned());
        let sources = query.sources.clone();
        let setup = QuerySetup {
            query: Arc::new(query),
            sources,
            layout: 7,
            late,
            state: state_stream("f"),
            part: None,
            upserts: false,
            limit: 1 << 20,
        };
        let run = self.node.catalog().flows["f"].run;
        Self::setup_of((flow_key("f"), run), setup)
    }

    pub(super) fn setup_of((key, run): (String, u64), query: QuerySetup) -> FlowSetup {
        FlowSetup {
            name: "f".to_owned(),
            key,
            run,
            from: String::new(),
            filter: String::new(),
            start: FlowStart::Beginning,
            until: None,
            to: Some("out".to_owned()),
            subject: None,
            plan: Ok(None),
            running: Running::default(),
            version: 1,
            paused: false,
            effects: None,
            query: Some(Arc::new(query)),
            build: None,
        }
    }

    pub(super) async fn put(&self, subject: &str, texts: &[String]) {
        let record = |text: &String| {
            IngestRecord::from(Message {
                subject: Bytes::from(subject.to_owned()),
                payload: Bytes::from(text.clone()),
                ..Message::default()
            })
        };
        let records = texts.iter().map(record).collect();
        let stored = self.jetstream.ingest().commit(records, None).await;
        stored.expect("stored");
    }

    async fn update(&self, name: &str, change: impl FnOnce(&mut StreamConfig)) {
        let cell = self.node.stream(name).expect("there");
        let mut config = cell.lock().config.clone();
        change(&mut config);
        let command = Command::Stream(StreamCommand::UpdateStream {
            id: cell.id,
            time: Timestamp(1),
            config: Box::new(config),
        });
        self.jetstream.propose(&command).await.expect("updated");
    }

    pub(super) async fn until(&self, flow: &Flow, what: impl Fn(&crate::FlowStatus) -> bool) {
        let mut turns = 0u64;
        while !what(&flow.status()) {
            turns += 1;
            assert!(turns < 50_000_000, "{:?}", flow.status());
            tokio::task::yield_now().await;
        }
    }

    /// The log goes down, and comes up from what is stored.
    async fn again(self, storage: &Arc<MemoryStorage>) -> Self {
        let group = self.group.clone();
        tokio::task::spawn_blocking(move || group.shutdown())
            .await
            .expect("no panic");
        Self::open(Arc::clone(storage)).await
    }

    /// The results are 1, 2, 3 and so on, of each key.
    fn each_once(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (subject, payload) in self.read("out") {
            let count = counts.entry(subject.clone()).or_insert(0u64);
            *count += 1;
            assert_eq!(payload.trim(), count.to_string(), "{subject}");
        }
        counts
    }
}

fn numbered(word: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{word}-{number}")).collect()
}

#[test]
fn a_query_counts_each_input_once_also_when_made_anew() {
    runtime().block_on(async {
        let (mut world, storage) = World::for_queries().await;
        let mut wanted = BTreeMap::new();
        for round in 0..6 {
            let query = counting();
            let restored = Arc::clone(&query.restored);
            let flow = world.jetstream.flow(world.query(query));
            for key in ["a", "b", "c"] {
                let count = 10 * (round + 1);
                world
                    .put(&format!("in.{key}"), &numbered("k", 0..count))
                    .await;
                *wanted.entry(format!("out.{key}")).or_insert(0) += count as u64;
            }
            // Some rounds end while it is at work.
            if round % 2 == 0 {
                world.caught_up(&flow).await;
                assert_eq!(flow.status().query.expect("it is one").state_rows, 3);
            }
            flow.stop().await;
            // One that was stopped at once may not have got so far.
            if round % 2 == 0 {
                let restored = restored.lock().expect("no panic").len();
                assert_eq!(restored, if round == 0 { 0 } else { 3 });
            }
            world = world.again(&storage).await;
        }
        let flow = world.jetstream.flow(world.query(counting()));
        world.caught_up(&flow).await;
        assert_eq!(world.each_once(), wanted);
        let totals = flow.status().totals;
        assert_eq!((totals.inputs, totals.outputs), (630, 630));
        world.end(flow).await;
    });
}

#[test]
fn what_is_rejected_or_refused_is_among_the_dead_letters() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        world
            .update("out", |config| config.max_msg_size = 1000)
            .await;
        let inputs = ["k", "j-1", "w-2", "o-3", "l-4", "k", "l-5", "d-6"].map(str::to_owned);
        world.put("in.a", &inputs).await;
        let flow = world.jetstream.flow(world.query(counting()));
        world.caught_up(&flow).await;
        let read = world.read("out");
        assert_eq!(payloads(&read), ["1", "3", ""]);
        let found = world
            .jetstream
            .reader()
            .range("out", 3, 1)
            .expect("readable");
        let headers = HeaderBlock::new(found[0].view().headers)
            .get_str("KV-Operation")
            .map(str::to_owned);
        assert_eq!(headers.as_deref(), Some("DEL"));
        let letters = world.read("in-dead-letters");
        assert_eq!(payloads(&letters), ["j-1", "row w-2"]);
        let letters = world.read("out-dead-letters");
        let letters: Vec<&str> = letters.iter().map(|(_, payload)| payload.trim()).collect();
        assert_eq!(letters, ["o-3", "2", "4"]);
        assert_eq!(flow.status().totals.rejected, 2);
        world.end(flow).await;
    });
}

#[test]
fn late_messages_go_where_they_are_told_to() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        let mut query = counting();
        query.late = true;
        let inputs = ["t5", "t9", "t3", "t9", "t1"].map(str::to_owned);
        world.put("in.a", &inputs).await;
        let flow = world.jetstream.flow(world.query(query));
        world.caught_up(&flow).await;
        let late = world.read("late");
        let shown = |(subject, payload): &(String, String)| format!("{subject} {payload}");
        assert_eq!(
            late.iter().map(shown).collect::<Vec<_>>(),
            ["late.in.a t3", "late.in.a t1"]
        );
        assert_eq!(world.each_once()["out.a"], 3);
        let status = flow.status();
        assert_eq!(status.totals.late, 2);
        let own = status.query.expect("it is one");
        assert!(
            own.watermark.is_some() && own.sources[0].watermark.is_some(),
            "{own:?}"
        );
        flow.stop().await;
        // What was counted before it was made anew still counts.
        let mut query = counting();
        query.late = true;
        let flow = world.jetstream.flow(world.query(query));
        world.put("in.a", &numbered("t7", 0..1)).await;
        world.put("in.a", &numbered("t6", 0..1)).await;
        world.until(&flow, |status| status.totals.late == 3).await;
        world.end(flow).await;
    });
}

#[test]
fn tables_are_read_first_and_all_sources_to_their_ends() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        world.put("in.a", &numbered("k", 0..50)).await;
        world.put("more.a", &numbered("k", 0..20)).await;
        let mut query = counting();
        query.sources = vec![table("in", false), table("more", true)];
        let flow = world.jetstream.flow(world.query(query));
        world.caught_up(&flow).await;
        assert_eq!(world.each_once()["out.a"], 70);
        world.put("more.b", &numbered("k", 0..5)).await;
        world.put("in.b", &numbered("k", 0..5)).await;
        world.caught_up(&flow).await;
        assert_eq!(world.each_once()["out.b"], 10);
        let status = flow.status().query.expect("it is one");
        let shown = |index: usize| {
            (
                status.sources[index].station.as_str(),
                status.sources[index].position,
            )
        };
        assert_eq!([shown(0), shown(1)], [("in", 55), ("more", 25)]);
        world.end(flow).await;
    });
}

#[test]
fn a_commit_that_cannot_be_is_done_once_more_by_a_query_made_anew() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        let full = |config: &mut StreamConfig| {
            (config.max_msgs, config.discard) = (15, DiscardPolicy::New);
        };
        world.update("out", full).await;
        world.put("in.a", &numbered("k", 0..10)).await;
        let flow = world.jetstream.flow(world.query(counting()));
        world.caught_up(&flow).await;
        world.put("in.a", &numbered("k", 0..10)).await;
        world
            .until(&flow, |status| status.state == FlowState::Blocked)
            .await;
        assert_eq!(world.read("out").len(), 10);
        // What it holds is thrown away, and comes again from the log.
        let query = counting();
        let restored = Arc::clone(&query.restored);
        flow.change(world.query(query));
        world
            .until(&flow, |_| restored.lock().expect("no panic").len() == 1)
            .await;
        world
            .until(&flow, |status| status.state == FlowState::Blocked)
            .await;
        world.update("out", |config| config.max_msgs = -1).await;
        world.caught_up(&flow).await;
        assert_eq!(world.each_once()["out.a"], 20);
        world.end(flow).await;
    });
}

#[test]
fn more_results_than_a_commit_holds_are_published_once() {
    runtime().block_on(async {
        let (world, storage) = World::for_queries().await;
        let full = |config: &mut StreamConfig| {
            (config.max_msgs, config.discard) = (100_000, DiscardPolicy::New);
        };
        world.update("out", full).await;
        world.put("in.a", &numbered("m200000", 0..1)).await;
        let flow = world.jetstream.flow(world.query(counting()));
        world
            .until(&flow, |status| status.state == FlowState::Blocked)
            .await;
        // The commit came about, and the rest waits with the state.
        assert_eq!(flow.status().totals.outputs, 200_000);
        assert_eq!(world.each_once()["out.a"], 64 << 10);
        flow.stop().await;
        let world = world.again(&storage).await;
        world.update("out", |config| config.max_msgs = -1).await;
        let flow = world.jetstream.flow(world.query(counting()));
        world.put("in.a", &numbered("k", 0..1)).await;
        world
            .until(&flow, |status| status.totals.outputs == 200_001)
            .await;
        assert_eq!(world.each_once()["out.a"], 200_001);
        let state = world.read(&state_stream("f"));
        assert!(
            state
                .iter()
                .all(|(subject, _)| !subject.ends_with("results")),
            "{}",
            state.len()
        );
        world.end(flow).await;
    });
}

#[test]
fn state_is_put_together_and_stays_what_it_is() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        let flow = world.jetstream.flow(world.query(counting()));
        for round in 0..40 {
            for key in 0..4 {
                world
                    .put(&format!("in.{key}"), &numbered("v8000", round..round + 1))
                    .await;
            }
            world.caught_up(&flow).await;
        }
        flow.stop().await;
        let cell = world.node.stream(&state_stream("f")).expect("there");
        let (held, taken) = {
            let stream = cell.lock();
            (
                stream.count_matching(1, &millstream_streams::Filters::all()),
                stream.last_seq(),
            )
        };
        assert!(held < 80 && taken >= 120, "{held} of {taken} are held");
        let query = counting();
        let restored = Arc::clone(&query.restored);
        let flow = world.jetstream.flow(world.query(query));
        world
            .until(&flow, |status| status.state == FlowState::Running)
            .await;
        let restored = restored.lock().expect("no panic").clone();
        assert_eq!(restored.len(), 4);
        for value in restored.values() {
            assert_eq!((value.len(), value[0]), (8008, 40));
        }
        world.end(flow).await;
    });
}

#[test]
fn what_a_commit_left_that_did_not_come_about_does_not_count() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        let flow = world.jetstream.flow(world.query(counting()));
        world.put("in.a", &numbered("k", 0..3)).await;
        world.caught_up(&flow).await;
        flow.stop().await;
        // As an entry before the second commit would have it, and one of another run.
        let run = u8::try_from(world.node.catalog().flows["f"].run).expect("small");
        for (run, epoch) in [(run, 9), (run + 1, 1)] {
            let mut left = vec![1, 0, run];
            left.extend(7u64.to_le_bytes());
            left.push(epoch);
            left.extend(b"\x01a\x09\x63\0\0\0\0\0\0\0");
            let subject = "$FLOWSTATE.f.44".to_owned();
            let message = Message {
                subject: Bytes::from(subject),
                payload: Bytes::from(left),
                ..Message::default()
            };
            // Nobody but a flow writes there by publishing.
            let cell = world.node.stream(&state_stream("f")).expect("a stream");
            let mut stager = Stager::new(&world.jetstream.shared, Timestamp::now());
            stager.add(&cell, &message);
            let publishes = stager.publishes().commands;
            world
                .jetstream
                .propose(&publishes[0])
                .await
                .expect("stored");
        }
        let held = world.read(&state_stream("f")).len();
        let flow = world.jetstream.flow(world.query(counting()));
        world.put("in.a", &numbered("k", 0..1)).await;
        world.until(&flow, |status| status.totals.inputs == 4).await;
        assert_eq!(world.each_once()["out.a"], 4);
        assert_eq!(world.read(&state_stream("f")).len(), held - 2 + 1);
        world.end(flow).await;
    });
}

#[test]
fn another_layout_and_another_stream_want_a_restart() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        let flow = world.jetstream.flow(world.query(counting()));
        world.put("in.a", &numbered("k", 0..3)).await;
        world.caught_up(&flow).await;
        let mut setup = world.query(counting());
        let query = setup.query.take().expect("it is one");
        setup.query = Some(Arc::new(QuerySetup {
            query: Arc::clone(&query.query),
            sources: query.sources.clone(),
            layout: 8,
            late: None,
            state: query.state.clone(),
            part: None,
            upserts: false,
            limit: 1 << 20,
        }));
        flow.change(setup.clone());
        world
            .until(&flow, |status| status.state == FlowState::Failed)
            .await;
        let reason = flow.status().reason.expect("one");
        assert!(reason.contains("flow restart f"), "{reason}");
        // The state is that of the version before: it goes on when that comes back.
        flow.change(world.query(counting()));
        world.put("in.a", &numbered("k", 0..1)).await;
        world.until(&flow, |status| status.totals.inputs == 4).await;
        assert_eq!(world.each_once()["out.a"], 4);
        // A restart begins anew, without what was kept.
        let restart = CatalogChange::RestartFlow {
            name: "f".to_owned(),
            start: FlowStart::Sequence(4),
        };
        world.catalog(vec![restart]).await;
        setup.run = world.node.catalog().flows["f"].run;
        setup.start = FlowStart::Sequence(4);
        flow.change(setup);
        world
            .until(&flow, |status| {
                status.totals.inputs == 1 && status.lag_messages == 0
            })
            .await;
        assert_eq!(payloads(&world.read("out")), ["1", "2", "3", "4", "1"]);
        world.end(flow).await;
    });
}

#[test]
fn a_query_that_cannot_go_on_stands_still_and_keeps_nothing_of_the_step() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        let flow = world.jetstream.flow(world.query(counting()));
        world.put("in.a", &numbered("k", 0..3)).await;
        world.caught_up(&flow).await;
        world.put("in.a", &["k".to_owned(), "f".to_owned()]).await;
        world
            .until(&flow, |status| status.state == FlowState::Failed)
            .await;
        assert_eq!(flow.status().reason.as_deref(), Some("too much"));
        assert_eq!(world.each_once()["out.a"], 3);
        let paused = FlowSetup {
            paused: true,
            ..world.query(counting())
        };
        flow.change(paused);
        world
            .until(&flow, |status| status.state == FlowState::Paused)
            .await;
        world.end(flow).await;
    });
}
