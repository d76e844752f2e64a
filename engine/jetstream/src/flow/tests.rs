//! Goal: whatever stages decide, each input counts once, in the order that was asked for, and what stages remember is what
//! was committed. Method: random inputs that say what becomes of them, through a real log in memory; a stage that follows
//! them and writes down what it saw; then the streams are read back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_cluster::{CatalogChange, CatalogCommand, Command, FlowStart, Node, flow_key};
use millstream_consensus::Group;
use millstream_journal::MemoryStorage;
use millstream_pipeline::{OnRejection, Order, Plan, Record, Rejection, Running, Stage, Verdict};
use millstream_streams::{Command as StreamCommand, StreamConfig};
use millstream_types::{Message, SubjectTemplate, Timestamp};
use proptest::prelude::*;

use super::{Flow, FlowEffects, FlowSetup, FlowState};
use crate::testing::start;
use crate::{IngestRecord, JetStream};

mod builds;
mod never;
mod queries;

/// Does what the first letter of a payload says: `d` drop, `j` reject, `e` emit two, `r` retry as often as the digit behind
/// it says; anything else stays. Remembers each payload that it saw.
#[derive(Debug, Default)]
struct Obedient(Mutex<Vec<Bytes>>);

impl Stage for Obedient {
    fn label(&self) -> &str {
        "function:obedient"
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let mut seen = self.0.lock().expect("no stage panics");
        let each = batch.iter().map(|record| {
            let payload = &record.message.payload;
            seen.push(payload.clone());
            match payload[0] {
                b'd' => Verdict::Drop,
                b'j' => Verdict::Reject(Rejection::new(self.label(), "no", "no")),
                b'e' => Verdict::Emit(vec![record.clone(), record.clone()]),
                b'r' if record.deliveries < u32::from(payload[1] - b'0') => {
                    Verdict::Retry(Duration::from_millis(1))
                }
                _ => Verdict::Keep,
            }
        });
        each.collect()
    }
}

/// What the stage saw is written to a stream of its own.
impl FlowEffects for Obedient {
    fn begin(&self) {
        self.0.lock().expect("no stage panics").clear();
    }

    fn take(&self) -> Vec<(String, Message)> {
        let seen = self.0.lock().expect("no stage panics").clone();
        let message = |payload| Message {
            subject: Bytes::from_static(b"state"),
            payload,
            ..Message::default()
        };
        seen.into_iter()
            .map(|payload| ("state".to_owned(), message(payload)))
            .collect()
    }

    fn committed(&self, _: bool) {
        self.0.lock().expect("no stage panics").clear();
    }
}

struct World {
    jetstream: JetStream,
    node: Arc<Node>,
    group: Group<Node>,
}

fn config(name: &str, subjects: &str) -> StreamConfig {
    let mut config: StreamConfig = serde_json::from_str("{}").expect("defaults");
    config.name = name.to_owned();
    config.subjects = vec![subjects.to_owned()];
    config.checked().expect("right")
}

impl World {
    /// On what a storage holds.
    async fn open(storage: Arc<MemoryStorage>) -> Self {
        let (jetstream, node, group) = start(millstream_consensus::Options {
            journal: millstream_journal::Options::default(),
            storage,
            look_after: Duration::from_secs(60),
        })
        .await;
        Self {
            jetstream,
            node,
            group,
        }
    }

    async fn new() -> Self {
        let world = Self::open(Arc::new(MemoryStorage::new())).await;
        for (id, (name, subjects)) in (1..).zip([
            ("in", "in.>"),
            ("in-dead-letters", "$MS.DEAD.in.>"),
            ("out", "out.>"),
            ("state", "state"),
        ]) {
            world.stream(id, config(name, subjects)).await;
        }
        let spec = serde_json::from_value(serde_json::json!({
            "name": "f", "from": "in", "to": "out", "subject": "out.{subject}" }));
        let spec = spec.expect("a flow");
        let changes = vec![CatalogChange::PutFlow { spec }];
        let command = Command::Catalog(CatalogCommand { time: 1, changes });
        world.jetstream.propose(&command).await.expect("applied");
        world
    }

    async fn stream(&self, id: u32, config: StreamConfig) {
        let command = Command::Stream(StreamCommand::CreateStream {
            id,
            time: Timestamp(1),
            config: Box::new(config),
        });
        self.jetstream.propose(&command).await.expect("created");
    }

    async fn publish(&self, inputs: &[(u8, String)]) {
        let record = |(key, payload): &(u8, String)| {
            IngestRecord::from(Message {
                subject: Bytes::from(format!("in.{key}")),
                payload: Bytes::from(payload.clone()),
                ..Message::default()
            })
        };
        let records = inputs.iter().map(record).collect();
        self.jetstream
            .ingest()
            .commit(records, None)
            .await
            .expect("stored");
    }

    fn setup(&self, order: Order, workers: usize, stage: &Arc<Obedient>) -> FlowSetup {
        let running = Running {
            order,
            workers,
            max_retries: 3,
            ..Running::default()
        };
        let stages = vec![Arc::clone(stage) as Arc<dyn Stage>];
        let plan = Plan::new(1, None, stages, OnRejection::DeadLetter);
        FlowSetup {
            name: "f".to_owned(),
            key: flow_key("f"),
            run: self.node.catalog().flows["f"].run,
            from: "in".to_owned(),
            filter: "in.*".to_owned(),
            start: FlowStart::Beginning,
            until: None,
            to: Some("out".to_owned()),
            subject: Some(SubjectTemplate::parse("out.$1", "in.*").expect("right")),
            plan: Ok(Some(Arc::new(plan.with_running(running.clone())))),
            running,
            version: 1,
            paused: false,
            effects: None,
            query: None,
            build: None,
        }
    }

    fn read(&self, stream: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = self.jetstream.reader().range(stream, 1, usize::MAX);
        let found = found.expect("readable");
        found
            .iter()
            .map(|record| (text(record.view().subject), text(record.view().payload)))
            .collect()
    }

    async fn caught_up(&self, flow: &Flow) {
        let mut turns = 0u64;
        loop {
            let status = flow.status();
            if status.lag_messages == 0 && status.state == FlowState::Running {
                return;
            }
            turns += 1;
            assert!(turns < 50_000_000, "{status:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn end(self, flow: Flow) {
        flow.stop().await;
        let group = self.group.clone();
        tokio::task::spawn_blocking(move || group.shutdown())
            .await
            .expect("no panic");
    }
}

fn payloads(read: &[(String, String)]) -> Vec<&str> {
    read.iter().map(|(_, payload)| payload.as_str()).collect()
}

/// What an input becomes: how many outputs and letters.
fn predicted(payload: &str) -> (usize, usize) {
    match payload.as_bytes() {
        [b'd', ..] => (0, 0),
        [b'j', ..] => (0, 1),
        [b'e', ..] => (2, 0),
        [b'r', tries, ..] if *tries > b'3' => (0, 1),
        _ => (1, 0),
    }
}

async fn run(inputs: &[(u8, String)], order: Order, workers: usize, effects: bool) {
    let world = World::new().await;
    let stage = Arc::new(Obedient::default());
    let mut setup = world.setup(order, workers, &stage);
    if effects {
        setup.effects = Some(Arc::clone(&stage) as Arc<dyn FlowEffects>);
    }
    let flow = world.jetstream.flow(setup);
    // In two parts, so that some come while others wait.
    let (first, second) = inputs.split_at(inputs.len() / 2);
    world.publish(first).await;
    world.publish(second).await;
    world.caught_up(&flow).await;
    let (outputs, letters) = (world.read("out"), world.read("in-dead-letters"));
    let mut wanted: Vec<&str> = Vec::new();
    let mut rejected: Vec<&str> = Vec::new();
    for (_, payload) in inputs {
        let (outputs, letters) = predicted(payload);
        wanted.extend(std::iter::repeat_n(payload.as_str(), outputs));
        rejected.extend(std::iter::repeat_n(payload.as_str(), letters));
    }
    match order {
        Order::Station => {
            assert_eq!(payloads(&outputs), wanted);
            assert_eq!(payloads(&letters), rejected);
        }
        Order::Key => {
            for key in 0..4 {
                let of = |read: &[(String, String)]| {
                    let own = read
                        .iter()
                        .filter(|(subject, _)| *subject == format!("out.{key}"));
                    own.map(|(_, payload)| payload.clone()).collect::<Vec<_>>()
                };
                let own = inputs.iter().filter(|(own, _)| *own == key);
                let own = own.flat_map(|(_, payload)| {
                    std::iter::repeat_n(payload.clone(), predicted(payload).0)
                });
                assert_eq!(of(&outputs), own.collect::<Vec<_>>(), "key {key}");
            }
        }
        Order::None => {}
    }
    let sorted = |mut all: Vec<&str>| {
        all.sort_unstable();
        all.join(" ")
    };
    assert_eq!(sorted(payloads(&outputs)), sorted(wanted));
    assert_eq!(sorted(payloads(&letters)), sorted(rejected));
    if effects {
        // What the stage remembers is each input that ended, once.
        let state = world.read("state");
        let all: Vec<&str> = inputs.iter().map(|(_, payload)| payload.as_str()).collect();
        if order == Order::Station {
            assert_eq!(payloads(&state), all);
        }
        assert_eq!(sorted(payloads(&state)), sorted(all));
    }
    let totals = flow.status().totals;
    assert_eq!(totals.inputs, inputs.len() as u64);
    assert_eq!(totals.outputs, outputs.len() as u64);
    assert_eq!(totals.rejected, letters.len() as u64);
    world.end(flow).await;
}

fn inputs() -> impl Strategy<Value = Vec<(u8, String)>> {
    let word = prop_oneof![
        6 => Just("k".to_owned()),
        1 => Just("d".to_owned()),
        1 => Just("j".to_owned()),
        1 => Just("e".to_owned()),
        2 => (1u8..6).prop_map(|tries| format!("r{tries}")),
    ];
    prop::collection::vec((0u8..4, word), 1..40).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered
            .map(|(number, (key, word))| (key, format!("{word}-{number}")))
            .collect()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_input_counts_once(inputs in inputs(), order in 0..3, workers in 1..4_usize, effects: bool) {
        let order = [Order::Station, Order::Key, Order::None][order as usize];
        runtime().block_on(run(&inputs, order, if effects { 1 } else { workers }, effects));
    }
}

#[test]
fn so_many_are_put_aside_and_no_more() {
    runtime().block_on(async {
        let world = World::new().await;
        let stage = Arc::new(Obedient::default());
        let mut setup = world.setup(Order::None, 1, &stage);
        setup.running.max_retries = u32::MAX;
        let most = super::position::MAX_PARKED;
        let inputs: Vec<(u8, String)> = (0..most + 50).map(|n| (0, format!("r1-{n}"))).collect();
        for some in inputs.chunks(2000) {
            world.publish(some).await;
        }
        let flow = world.jetstream.flow(setup);
        world.caught_up(&flow).await;
        let outputs = world.read("out");
        assert_eq!(outputs.len(), inputs.len());
        assert_eq!(flow.status().totals.retried, inputs.len() as u64);
        world.end(flow).await;
    });
}
