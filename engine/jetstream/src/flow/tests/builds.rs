//! Queries that are built beside the version that runs. Goal: whatever is killed when, each window is told once with all that
//! belongs to it, rows are those of the version that runs last, and what runs is not held up by what is built. Method: two small
//! queries that are as far as their inputs say, a log whose power is cut at each of its writes in turn (as far as it can be hit), and a model of the results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use millstream_cluster::{CatalogChange, build_key, flow_key};
use millstream_pipeline::{
    Batch, BrokenState, Dataflow, DataflowStatus, Effects, FlowTable, Output, StateChange,
};
use millstream_types::{HeaderBlock, Timestamp};
use proptest::prelude::*;

use super::{World, runtime};
use crate::flow::{
    Build, Flow, FlowSetup, FlowState, OwnRows, Query, QuerySetup, state_layout, state_stream,
};

const SIZE: i64 = 10;

/// A version of a query.
#[derive(Clone, Debug)]
enum Version {
    /// Messages in windows of ten by the times that they say, which close so late.
    Windows { lag: i64 },
    /// Messages by key, times so much, without one of the keys. `m` and a number makes so many keys.
    Rows { times: u64, without: &'static str },
}

#[derive(Debug)]
struct Compiled {
    version: Version,
    sources: Vec<FlowTable>,
}

#[derive(Debug)]
struct Counter {
    version: Version,
    sources: Vec<FlowTable>,
    /// By the end of the window, or by key.
    counts: BTreeMap<Bytes, u64>,
    watermark: i64,
}

const MARK: &[u8] = b"mark";

impl Query for Compiled {
    fn start(&self) -> Box<dyn Dataflow> {
        Box::new(Counter {
            version: self.version.clone(),
            sources: self.sources.clone(),
            counts: BTreeMap::new(),
            watermark: i64::MIN,
        })
    }
}

impl Counter {
    fn set(&mut self, key: Bytes, count: u64, effects: &mut Effects) {
        let value = (count > 0).then(|| Bytes::copy_from_slice(&count.to_be_bytes()));
        if count > 0 {
            self.counts.insert(key.clone(), count);
        } else {
            self.counts.remove(&key);
        }
        effects.state.push(StateChange { key, value });
    }

    fn add(&mut self, key: Bytes, effects: &mut Effects) -> u64 {
        let count = self.counts.get(&key).copied().unwrap_or(0) + 1;
        self.set(key, count, effects);
        count
    }

    fn window(&mut self, text: &str, lag: i64, effects: &mut Effects) {
        let time: i64 = text.parse().expect("a time");
        let end = (time / SIZE + 1) * SIZE;
        if end > self.watermark {
            self.add(Bytes::copy_from_slice(&end.to_be_bytes()), effects);
        }
        self.watermark = self.watermark.max(time - lag);
        effects.state.push(StateChange {
            key: Bytes::from_static(MARK),
            value: Some(Bytes::copy_from_slice(&self.watermark.to_be_bytes())),
        });
        let end = |key: &Bytes| i64::from_be_bytes(key[..].try_into().expect("eight"));
        let all = self.counts.clone();
        let watermark = self.watermark;
        for (key, count) in all.iter().filter(|(key, _)| end(key) <= watermark) {
            effects.outputs.push(Output {
                subject: Bytes::from_static(b"out.w"),
                payload: Bytes::from(format!("{}:{count}", end(key))),
                delete: false,
                closes: Some(Timestamp(end(key))),
            });
            self.set(key.clone(), 0, effects);
        }
    }

    fn row(&mut self, key: &str, text: &str, effects: &mut Effects) {
        let Version::Rows { times, without } = self.version else {
            return;
        };
        let keys: Vec<String> = match text.strip_prefix('m') {
            Some(number) => (0..number.parse::<u64>().expect("a number"))
                .map(|number| format!("{key}{number}"))
                .collect(),
            None => vec![key.to_owned()],
        };
        for key in keys.into_iter().filter(|key| key != without) {
            let count = self.add(Bytes::from(key.clone()), effects);
            effects.outputs.push(Output {
                subject: Bytes::from(format!("out.{key}")),
                payload: Bytes::from(format!("{{\"n\":{}}}", count * times)),
                delete: false,
                closes: None,
            });
        }
    }
}

impl Dataflow for Counter {
    fn sources(&self) -> &[FlowTable] {
        &self.sources
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let value: [u8; 8] = value.try_into().expect("eight");
        if key == MARK {
            self.watermark = i64::from_be_bytes(value);
        } else {
            let key = Bytes::copy_from_slice(key);
            self.counts.insert(key, u64::from_be_bytes(value));
        }
        Ok(())
    }

    fn step(&mut self, batches: &[Batch<'_>], _: Timestamp) -> Effects {
        let mut effects = Effects::default();
        for record in batches.iter().flat_map(|batch| batch.records) {
            let text = String::from_utf8_lossy(&record.message.payload).into_owned();
            let subject = record.message.subject_str().to_string();
            match self.version {
                Version::Windows { lag } => self.window(&text, lag, &mut effects),
                Version::Rows { .. } => {
                    let key = subject.strip_prefix("in.").expect("its subject");
                    self.row(key, &text, &mut effects);
                }
            }
        }
        effects
    }

    fn status(&self) -> DataflowStatus {
        let watermark = (self.watermark > i64::MIN).then_some(Timestamp(self.watermark));
        DataflowStatus {
            watermark,
            sources: vec![watermark; self.sources.len()],
            state_rows: self.counts.len() as u64,
            ..DataflowStatus::default()
        }
    }
}

/// What runs and what is built of it, as a server has it from the catalog.
struct Both {
    running: Arc<Flow>,
    build: Option<Arc<Flow>>,
}

/// Two versions; the catalog says which of them runs.
type Versions = [Version; 2];

impl World {
    fn version(
        &self,
        versions: &Versions,
        sql: &str,
        (key, run, part): (String, u64, Option<u64>),
        limit: u64,
    ) -> FlowSetup {
        let number = usize::from(sql == "v2");
        let version = versions[number].clone();
        let upserts = matches!(version, Version::Rows { .. });
        let sources = vec![FlowTable {
            station: "in".to_owned(),
            filter: None,
            is_table: false,
        }];
        let query = QuerySetup {
            query: Arc::new(Compiled {
                version,
                sources: sources.clone(),
            }),
            sources,
            layout: number as u64,
            late: None,
            state: state_stream("f"),
            part,
            upserts,
            limit,
        };
        Self::setup_of((key, run), query)
    }

    fn started(&self, versions: &Versions) -> Both {
        self.started_within(versions, 64 << 20)
    }

    /// What is built may keep back so many bytes.
    fn started_within(&self, versions: &Versions, limit: u64) -> Both {
        let entry = self.node.catalog().flows["f"].clone();
        let sql =
            |json: serde_json::Value| json["query"]["sql"].as_str().unwrap_or_default().to_owned();
        let place = (flow_key("f"), entry.run, entry.part);
        let running = self.version(versions, &sql(serde_json::json!(entry.spec)), place, limit);
        let running = Arc::new(self.jetstream.flow(running));
        let build = entry.build.as_ref().map(|build| {
            let place = (build_key("f"), build.run, Some(build.run));
            let setup = FlowSetup {
                build: Some(Build {
                    running: Arc::clone(&running),
                    rows: Some(OwnRows {
                        filter: "out.*".to_owned(),
                        columns: Some(vec!["n".to_owned()]),
                    }),
                }),
                ..self.version(versions, &sql(serde_json::json!(build.spec)), place, limit)
            };
            Arc::new(self.jetstream.flow(setup))
        });
        Both { running, build }
    }

    async fn change(&self) {
        let spec = serde_json::from_value(serde_json::json!({
            "name": "f", "query": { "sql": "v2", "into": "out" } }));
        let spec = spec.expect("a flow");
        self.catalog(vec![CatalogChange::BuildFlow { spec }]).await;
    }

    /// What runs has read everything and stands still, and another version is declared.
    async fn changed(&self, versions: &Versions) {
        let both = self.started(versions);
        self.caught_up(&both.running).await;
        both.running.stop().await;
        self.change().await;
    }

    fn is_switched(&self) -> bool {
        self.node.catalog().flows["f"].part.is_some()
    }

    /// Until what was built runs and has read everything; what ran before is stopped.
    async fn over(&self, both: Both) -> Arc<Flow> {
        let flow = match both.build {
            None => both.running,
            Some(build) => {
                build.switched().await;
                both.running.stop().await;
                build
            }
        };
        self.caught_up(&flow).await;
        flow
    }

    async fn off(self, both: Both) {
        for flow in both.build.iter().chain([&both.running]) {
            flow.stop().await;
        }
        let group = self.group.clone();
        tokio::task::spawn_blocking(move || group.shutdown())
            .await
            .expect("no panic");
    }

    /// Windows are told once, with all that was stored: those that are closed when event time is `mark`, and up to the last
    /// that the version before has told.
    fn each_window_once(&self, mark: i64) {
        let mut found = BTreeMap::new();
        for (_, text) in self.read("out") {
            let (end, count) = text.split_once(':').expect("a window");
            let (end, count): (i64, u64) = (
                end.parse().expect("its end"),
                count.parse().expect("a count"),
            );
            assert_eq!(found.insert(end, count), None, "window {end} came twice");
        }
        let last = found.keys().next_back().copied().unwrap_or(mark);
        let mut wanted: BTreeMap<i64, u64> = BTreeMap::new();
        for (_, text) in self.read("in") {
            let time: i64 = text.parse().expect("a time");
            let end = (time / SIZE + 1) * SIZE;
            if end <= mark.max(last) {
                *wanted.entry(end).or_insert(0) += 1;
            }
        }
        assert_eq!(found, wanted);
    }
}

fn times(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|time| time.to_string()).collect()
}

/// The power is cut at about the `cut`th write after the change; answers whether it was.
async fn cut_while_building(lags: [i64; 2], cut: u64, keep: bool) -> bool {
    let versions = lags.map(|lag| Version::Windows { lag });
    let (world, storage) = World::for_queries().await;
    world.put("in.a", &times(0..95)).await;
    let both = world.started(&versions);
    world.caught_up(&both.running).await;
    both.running.stop().await;
    world.change().await;
    let end = storage.calls() + cut;
    let (watched, over) = (Arc::clone(&storage), Arc::new(AtomicBool::new(false)));
    let until = Arc::clone(&over);
    // What a cut leaves is what there is at that moment; the rest of this world is another one.
    let watch = std::thread::spawn(move || {
        while watched.calls() < end && !until.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let was_cut = watched.calls() >= end;
        (was_cut, watched.restart(|_, _, _| keep))
    });
    let both = world.started(&versions);
    // While it is built others publish.
    for start in 0..4 {
        let times = times(95 + start * 5..100 + start * 5);
        world.put("in.a", &times).await;
    }
    while !watch.is_finished() && !world.is_switched() {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Release);
    let (was_cut, left) = watch.join().expect("no panic");
    world.off(both).await;
    let storage = Arc::new(left);
    let world = World::open(Arc::clone(&storage)).await;
    let both = world.started(&versions);
    world.put("in.a", &times(115..200)).await;
    let flow = world.over(both).await;
    let entry = world.node.catalog().flows["f"].clone();
    assert_eq!(
        (entry.version, entry.part, entry.build),
        (2, Some(entry.run), None)
    );
    assert_eq!(state_layout(&world.node.catalog(), "f"), Some(1));
    world.each_window_once(199 - lags[1]);
    flow.stop().await;
    world.jetstream.tidy_state("f").await;
    let part = format!("$FLOWSTATE.f.b{}.", entry.run);
    for (subject, _) in world.read(&state_stream("f")) {
        let own = subject.strip_prefix(&part);
        assert!(own.is_some_and(|own| !own.starts_with("rows")), "{subject}");
    }
    world
        .off(Both {
            running: flow,
            build: None,
        })
        .await;
    was_cut
}

#[test]
fn each_window_is_told_once_wherever_the_power_is_cut() {
    for lags in [[0, 0], [0, 25], [25, 0]] {
        let mut cut = 1;
        while runtime().block_on(cut_while_building(lags, cut, cut % 2 == 0)) {
            cut += 1;
        }
        assert!(cut > 4, "it was over after {cut} writes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn lags_and_cuts_of_all_kinds(old in 0..60_i64, new in 0..60_i64, cut in 1..40_u64, keep: bool) {
        runtime().block_on(cut_while_building([old, new], cut, keep));
    }
}

const ROWS: Versions = [
    Version::Rows {
        times: 1,
        without: "",
    },
    Version::Rows {
        times: 10,
        without: "b",
    },
];

#[test]
fn a_version_that_takes_over_publishes_what_differs() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        for key in ["in.a", "in.b", "in.c", "in.a"] {
            world.put(key, &times(0..1)).await;
        }
        // Somebody else's, and one that the new version would say as well.
        world.put("out.other", &["{\"x\":1}".to_owned()]).await;
        let both = world.started(&ROWS);
        world.caught_up(&both.running).await;
        world.put("out.c", &["{\"n\":10}".to_owned()]).await;
        both.running.stop().await;
        world.change().await;
        let flow = world.over(world.started(&ROWS)).await;
        world.put("in.a", &times(0..1)).await;
        world.caught_up(&flow).await;
        let shown: Vec<String> = world
            .read("out")
            .iter()
            .map(|(subject, payload)| format!("{subject} {payload}"))
            .collect();
        let wanted = [
            "out.other {\"x\":1}",
            "out.a {\"n\":1}",
            "out.b {\"n\":1}",
            "out.c {\"n\":1}",
            "out.a {\"n\":2}",
            "out.c {\"n\":10}",
            "out.b ",
            "out.a {\"n\":20}",
            "out.a {\"n\":30}",
        ];
        assert_eq!(shown, wanted);
        let found = world
            .jetstream
            .reader()
            .range("out", 7, 1)
            .expect("readable");
        let headers = HeaderBlock::new(found[0].view().headers);
        assert_eq!(headers.get_str("KV-Operation"), Some("DEL"));
        let totals = flow.status().totals;
        assert_eq!((totals.inputs, totals.outputs), (5, 3));
        flow.stop().await;
        world
            .off(Both {
                running: flow,
                build: None,
            })
            .await;
    });
}

#[test]
fn more_rows_than_a_commit_holds_are_published_by_the_next_ones() {
    runtime().block_on(async {
        let (world, storage) = World::for_queries().await;
        world.put("in.k", &["m70000".to_owned()]).await;
        world.changed(&ROWS).await;
        let both = world.started(&ROWS);
        while !world.is_switched() {
            tokio::task::yield_now().await;
        }
        // They are published once also when that is interrupted.
        world.off(both).await;
        let world = World::open(Arc::new(storage.restart(|_, _, _| true))).await;
        let flow = world.over(world.started(&ROWS)).await;
        let read = world.read("out");
        let new = read.iter().filter(|(_, payload)| payload == "{\"n\":10}");
        assert_eq!((read.len(), new.count()), (140_000, 70_000));
        world
            .off(Both {
                running: flow,
                build: None,
            })
            .await;
    });
}

#[test]
fn a_build_that_fails_or_is_given_up_leaves_what_runs_alone() {
    runtime().block_on(async {
        let (world, _) = World::for_queries().await;
        world.put("in.k", &["m1000".to_owned()]).await;
        world.changed(&ROWS).await;
        let both = world.started_within(&ROWS, 1000);
        let build = both.build.clone().expect("one");
        world
            .until(&build, |status| status.state == FlowState::Failed)
            .await;
        let reason = build.status().reason.expect("one");
        assert!(reason.contains("state_limit"), "{reason}");
        world.put("in.a", &times(0..3)).await;
        world.caught_up(&both.running).await;
        let last = world.read("out").pop().expect("one");
        assert_eq!(last, ("out.a".to_owned(), "{\"n\":3}".to_owned()));
        let name = "f".to_owned();
        world
            .catalog(vec![CatalogChange::CancelBuild { name }])
            .await;
        build.stop().await;
        world.jetstream.tidy_state("f").await;
        let left = world.read(&state_stream("f"));
        let of_build = |(subject, _): &(String, String)| subject.contains(".b");
        assert!(!left.is_empty() && !left.iter().any(of_build), "{left:?}");
        let build = Some(build);
        world.off(Both { build, ..both }).await;
    });
}
