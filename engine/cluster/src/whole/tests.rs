//! Goal: a whole command is carried out completely or leaves no trace, and the same log gives the same state. Method: random
//! commands over streams that refuse for different reasons; what is refused must have been refused in part by a node that
//! carries the same command out as `several`, and what is accepted must not.

use bytes::Bytes;
use millstream_consensus::{Entry, StateMachine as _};
use millstream_journal::{Durability, Position};
use millstream_spec::{FlowSpec, SourceFile, Spec, parse};
use millstream_streams::{
    Command as StreamCommand, DiscardPolicy, Publish, RecordOutcome, RecordsBuilder, StorageType,
    StreamConfig, Unfit,
};
use millstream_types::{HeadersBuilder, Timestamp};
use proptest::prelude::*;

use crate::{CatalogChange, CatalogCommand, Command, Kind, Node, Outcome, UnfitPart, flow_key};

const STREAMS: u32 = 4;

fn stream(id: u32) -> Command {
    let mut config: StreamConfig = serde_json::from_str("{}").expect("defaults");
    config.name = format!("s{id}");
    config.subjects = vec![format!("s{id}.>")];
    config.storage = StorageType::Memory;
    match id {
        1 => (config.discard, config.max_msgs) = (DiscardPolicy::New, 7),
        2 => config.max_msg_size = 20,
        3 => {
            (config.discard, config.max_msgs_per_subject) = (DiscardPolicy::New, 2);
            config.discard_new_per_subject = true;
        }
        _ => config.max_msgs = 5,
    }
    Command::Stream(StreamCommand::CreateStream {
        id,
        time: Timestamp(1),
        config: Box::new(config.checked().expect("right")),
    })
}

fn flow() -> FlowSpec {
    let text = "kind: flow\nname: f\nfrom: a\nto: b\n".to_owned();
    let name = "f.yaml".into();
    let parsed = parse(&[SourceFile { name, text }], &|_| None);
    let Spec::Flow(spec) = parsed.into_result().expect("right").remove(0).spec else {
        panic!("a flow");
    };
    spec
}

fn catalog(changes: Vec<CatalogChange>) -> Command {
    Command::Catalog(CatalogCommand { time: 1, changes })
}

fn apply(node: &Node, command: &Command) -> Outcome {
    let (head, body) = command.encode();
    let body = Bytes::from([&head[..], &body[..]].concat());
    let position = Position {
        file: u32::MAX,
        offset: 0,
        len: 0,
    };
    node.apply(Entry {
        position,
        index: 0,
        body: &body,
    })
}

/// Two that make streams at the same time must not have chosen the same number: the second would be refused.
#[test]
fn numbers_of_streams_are_given_once() {
    let node = Node::default();
    assert_eq!([node.next_stream_id(), node.next_stream_id()], [1, 2]);
    apply(&node, &stream(7));
    assert_eq!([node.next_stream_id(), node.next_stream_id()], [8, 9]);
}

/// What proposers know of a stream without its lock follows its configuration.
#[test]
fn an_update_says_whether_messages_are_compressed() {
    let node = Node::default();
    apply(&node, &stream(4));
    let cell = node.stream_by_id(4).expect("there");
    assert_eq!(
        (cell.durability, cell.compresses()),
        (Durability::Memory, false)
    );
    for (compression, is_set) in [("s2", true), ("none", false)] {
        let mut config = cell.lock().config.clone();
        config.compression = Some(compression.to_owned());
        let update = Command::Stream(StreamCommand::UpdateStream {
            id: 4,
            time: Timestamp(2),
            config: Box::new(config),
        });
        assert!(matches!(apply(&node, &update), Outcome::Done));
        assert_eq!(cell.compresses(), is_set);
    }
}

fn node() -> Node {
    let node = Node::default();
    for id in 1..=STREAMS {
        apply(&node, &stream(id));
    }
    apply(
        &node,
        &catalog(vec![CatalogChange::PutFlow { spec: flow() }]),
    );
    node
}

/// Everything that can be seen.
fn state(node: &Node) -> String {
    let mut text = String::new();
    for cell in node.streams() {
        let stream = cell.lock();
        let held = (stream.first_seq()..=stream.last_seq())
            .filter_map(|seq| Some((seq, stream.subject_of(seq)?.to_vec())));
        let held: Vec<_> = held.collect();
        text += &format!("{:?} {held:?}\n", stream.state());
    }
    text + &String::from_utf8(node.catalog().encode()).expect("JSON")
}

#[derive(Clone, Debug)]
struct Part {
    stream: u32,
    records: Vec<(u8, u8, Option<u8>, Option<i8>)>,
}

fn command(parts: &[Part], step: u64, run: u64, node: &Node) -> Vec<Command> {
    let mut commands: Vec<Command> = parts
        .iter()
        .map(|part| {
            let last = node
                .stream(&format!("s{}", part.stream))
                .map_or(0, |cell| cell.lock().last_seq());
            let mut builder = RecordsBuilder::new();
            for (at, (subject, size, id, expect)) in part.records.iter().enumerate() {
                let mut headers = HeadersBuilder::new();
                if let Some(id) = id {
                    headers.push("Nats-Msg-Id", &id.to_string());
                }
                if let Some(off) = expect {
                    let seq = (last + at as u64).saturating_add_signed(i64::from(*off));
                    headers.push("Nats-Expected-Last-Sequence", &seq.to_string());
                }
                let subject = format!("s{}.{}", part.stream, subject % 3);
                builder.push(
                    subject.as_bytes(),
                    &headers.build(),
                    &vec![0; usize::from(*size)],
                );
            }
            let (records, count) = builder.take();
            Command::Stream(StreamCommand::Publish(Publish {
                stream: part.stream,
                time: Timestamp(1_000_000 * (step as i64 + 1)),
                count,
                records,
            }))
        })
        .collect();
    commands.push(Command::Position {
        source: flow_key("f"),
        value: crate::position_value(run, &format!("{{\"read\":{step}}}")),
    });
    commands
}

fn any_refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(_) | Outcome::Unfit(_) => true,
        Outcome::Records(records) => records
            .iter()
            .any(|record| matches!(record, RecordOutcome::Refused(_))),
        Outcome::Several(each) => each.iter().any(any_refused),
        Outcome::Done | Outcome::Purged(_) => false,
    }
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let expect = prop_oneof![12 => Just(None), 2 => Just(Some(0i8)), 1 => Just(Some(1i8))];
    let id = prop_oneof![3 => Just(None), 2 => (0u8..9).prop_map(Some)];
    let record = (any::<u8>(), 0u8..22, id, expect);
    let part = prop::collection::vec(record, 1..4);
    // One stream more than there is.
    prop::collection::btree_map(1..=STREAMS + 1, part, 1..4).prop_map(|parts| {
        let part = |(stream, records)| Part { stream, records };
        let rare = |part: &Part| part.stream <= STREAMS || part.records.len() == 1;
        parts.into_iter().map(part).filter(rare).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn it_is_all_or_nothing(steps in prop::collection::vec((parts(), any::<bool>()), 1..12)) {
        let (own, again) = (node(), node());
        let run = own.catalog().flows["f"].run;
        let mut accepted = Vec::new();
        for (step, (parts, right_run)) in steps.iter().enumerate() {
            let run = if *right_run || step % 3 > 0 { run } else { run + 1 };
            let commands = command(parts, step as u64, run, &own);
            let before = state(&own);
            match apply(&own, &Command::Whole(commands.clone())) {
                Outcome::Unfit(part) => {
                    prop_assert_eq!(&state(&own), &before, "a refusal changed something");
                    // In its parts it is refused as well, unless it only does not stand well together.
                    let apart = node();
                    for commands in &accepted {
                        apply(&apart, &Command::Whole(Vec::clone(commands)));
                    }
                    let refused = any_refused(&apply(&apart, &Command::Several(commands)));
                    let UnfitPart { error, unfit, .. } = part;
                    prop_assert!(refused || unfit == Unfit::Here || run_is_wrong(&error.to_string()), "{}", error);
                }
                outcome => {
                    prop_assert!(!any_refused(&outcome), "{:?}", outcome);
                    accepted.push(commands);
                }
            }
        }
        for commands in accepted {
            apply(&again, &Command::Whole(commands));
        }
        prop_assert_eq!(state(&again), state(&own), "the same log, another state");
    }
}

/// A position of another run is passed over where it is not part of a whole.
fn run_is_wrong(error: &str) -> bool {
    error.contains("restarted or deleted")
}

#[test]
fn a_deletion_happens_with_what_takes_its_place() {
    let node = node();
    let publish = |size: usize| {
        let part = Part {
            stream: 2,
            records: vec![(0, size as u8, None, None)],
        };
        command(&[part], 0, 0, &node).remove(0)
    };
    apply(&node, &publish(5));
    let delete = |seq| {
        Command::Stream(StreamCommand::DeleteMessage {
            stream: 2,
            seq,
            erase: false,
        })
    };
    let outcome = apply(&node, &Command::Whole(vec![publish(5), delete(1)]));
    assert!(matches!(outcome, Outcome::Several(_)), "{outcome:?}");
    let cell = node.stream("s2").expect("there");
    let held = {
        let stream = cell.lock();
        (stream.messages(), stream.last_seq())
    };
    assert_eq!(held, (1, 2), "one went, one came");
    // It is gone, so what was to take its place does not come a second time.
    let outcome = apply(&node, &Command::Whole(vec![publish(5), delete(1)]));
    assert!(matches!(&outcome, Outcome::Unfit(part) if part.section == 1));
    let outcome = apply(&node, &Command::Whole(vec![publish(99), delete(2)]));
    assert!(matches!(&outcome, Outcome::Unfit(part) if part.unfit == Unfit::Ever));
    assert_eq!(cell.lock().last_seq(), 2);
    let twice = apply(&node, &Command::Whole(vec![publish(1), publish(1)]));
    assert!(any_refused(&twice), "{twice:?}");
}

#[test]
fn positions_of_former_runs_are_refused() {
    let node = node();
    let position = |run| Command::Position {
        source: flow_key("f"),
        value: crate::position_value(run, "{}"),
    };
    let run = || node.catalog().flows["f"].run;
    let stands = || node.catalog().positions.contains_key(&flow_key("f"));
    let first = run();
    apply(&node, &Command::Whole(vec![position(first)]));
    assert!(stands());
    let name = "f".to_owned();
    let start = millstream_spec::FlowStart::End;
    apply(
        &node,
        &catalog(vec![CatalogChange::RestartFlow { name, start }]),
    );
    assert!(!stands() && run() > first);
    let late = apply(&node, &Command::Whole(vec![position(first)]));
    assert!(matches!(late, Outcome::Unfit(_)) && !stands());
    let second = run();
    apply(&node, &Command::Whole(vec![position(second)]));
    assert!(stands());
    // Deleted and made anew it is another one.
    let (kind, name) = (Kind::Flow, "f".to_owned());
    apply(&node, &catalog(vec![CatalogChange::Delete { kind, name }]));
    assert!(!stands());
    apply(
        &node,
        &catalog(vec![CatalogChange::PutFlow { spec: flow() }]),
    );
    let late = apply(&node, &Command::Whole(vec![position(second)]));
    assert!(matches!(late, Outcome::Unfit(_)) && !stands());
    // Changed it goes on.
    let third = run();
    apply(
        &node,
        &catalog(vec![CatalogChange::PutFlow { spec: flow() }]),
    );
    assert_eq!((run(), node.catalog().flows["f"].version), (third, 2));
}
