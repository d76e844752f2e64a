//! Files in which many streams take turns are written again, stream by stream and once, while nothing else happens; every
//! message stays what and where it was for its readers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::Node;
use millstream_consensus::{Group, Options};
use millstream_journal::{MemoryStorage, Position};
use millstream_streams::{
    Command as StreamCommand, Publish, RecordsBuilder, StreamConfig, record_at,
};
use millstream_types::Timestamp;

mod common;

use common::propose;

const STREAMS: u32 = 5;
const MESSAGES: u32 = 400;

fn payload(stream: u32, number: u32) -> Vec<u8> {
    let mut payload = format!("{stream} {number} ").into_bytes();
    payload.resize(300, b'.');
    payload
}

/// The frames that a reader of all of a stream's messages reads, each once; every message is compared.
fn frames_of(group: &Group<Node>, node: &Node, stream: u32) -> BTreeSet<Position> {
    let cell = node.stream(&format!("S{stream}")).expect("there");
    let mut frames = BTreeSet::new();
    for number in 0..MESSAGES {
        let place = cell.lock().locate(u64::from(number) + 1).expect("held");
        let frame = group.read(place.position).expect("readable");
        let (record, _) = record_at(&frame, place.offset as usize).expect("whole");
        assert_eq!(record.payload, payload(stream, number));
        frames.insert(place.position);
    }
    frames
}

#[tokio::test]
async fn scattered_streams_are_put_together_once() {
    let storage = MemoryStorage::new();
    let node = Arc::new(Node::default());
    let options = Options {
        journal: millstream_journal::Options {
            file_size: 64 * 1024,
            ..Default::default()
        },
        storage: Arc::new(storage.clone()),
        look_after: Duration::from_millis(1),
    };
    let group = Group::open(options, Arc::clone(&node)).expect("opens");
    for id in 1..=STREAMS {
        let config = StreamConfig {
            name: format!("S{id}"),
            ..StreamConfig::default()
        };
        let create = StreamCommand::CreateStream {
            id,
            time: Timestamp(1),
            config: Box::new(config.checked().expect("valid")),
        };
        propose(&group, (0, 0), create).await;
    }
    for number in 0..MESSAGES {
        for stream in 1..=STREAMS {
            let mut records = RecordsBuilder::new();
            let subject = format!("S{stream}");
            records.push(subject.as_bytes(), b"", &payload(stream, number));
            let (records, count) = records.take();
            let publish = Publish {
                stream,
                time: Timestamp(2),
                count,
                records,
            };
            propose(&group, (stream, 1), StreamCommand::Publish(publish)).await;
        }
    }
    let count = || -> usize {
        let streams = 1..=STREAMS;
        streams
            .map(|stream| frames_of(&group, &node, stream).len())
            .sum()
    };
    // What is in the newest files stays where it is.
    let most = (STREAMS * MESSAGES / 3) as usize;
    for tries in 0.. {
        group.checkpoint_now();
        if count() <= most {
            break;
        }
        assert!(tries < 2000, "{} frames are read", count());
        tokio::task::yield_now().await;
    }
    // Nothing is written again that was: checkpoints alone hardly write.
    let mut quiet = 0;
    for tries in 0.. {
        let before = group.status().journal.written;
        let frames = count();
        group.checkpoint_now();
        tokio::task::yield_now().await;
        let same = group.status().journal.written == before && count() == frames;
        quiet = if same { quiet + 1 } else { 0 };
        if quiet == 30 {
            break;
        }
        assert!(tries < 4000, "it goes on for ever");
    }
    group.shutdown();
}
