//! Message ids that have left memory: a read that fails while the log is replayed refuses the start. It costs no message that
//! was acknowledged, and none behind it its sequence.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::Node;
use millstream_consensus::{Group, Options};
use millstream_journal::MemoryStorage;
use millstream_streams::{Command as StreamCommand, Publish, RecordsBuilder, StreamConfig};
use millstream_types::{HeadersBuilder, Timestamp};

mod common;

use common::propose;

/// More than stay in memory, so that some are in pages.
const IDS: u32 = 40_000;
const TOGETHER: u32 = 4_000;

fn open(storage: &MemoryStorage) -> Result<(Group<Node>, Arc<Node>), String> {
    let node = Arc::new(Node::default());
    let options = Options {
        journal: millstream_journal::Options::default(),
        storage: Arc::new(storage.clone()),
        look_after: Duration::from_secs(60),
    };
    let own = Arc::clone(&node);
    let opened = catch_unwind(AssertUnwindSafe(|| Group::open(options, own)));
    let opened = opened.map_err(|_| "it stopped".to_owned())?;
    Ok((opened.map_err(|error| error.to_string())?, node))
}

fn publish(ids: std::ops::Range<u32>) -> StreamCommand {
    let mut records = RecordsBuilder::new();
    for id in ids {
        let headers = HeadersBuilder::new().with("Nats-Msg-Id", &id.to_string());
        records.push(b"S", &headers.build(), b"");
    }
    let (records, count) = records.take();
    StreamCommand::Publish(Publish {
        stream: 1,
        time: Timestamp(1),
        count,
        records,
    })
}

#[tokio::test]
async fn a_read_that_fails_at_the_start_costs_no_message() {
    let storage = MemoryStorage::new();
    let (group, node) = open(&storage).expect("opens");
    let config = StreamConfig {
        name: "S".to_owned(),
        ..StreamConfig::default()
    };
    let create = StreamCommand::CreateStream {
        id: 1,
        time: Timestamp(1),
        config: Box::new(config.checked().expect("valid")),
    };
    propose(&group, (0, 0), create).await;
    for first in (0..IDS).step_by(TOGETHER as usize) {
        propose(&group, (1, TOGETHER), publish(first..first + TOGETHER)).await;
    }
    group.checkpoint_now();
    // What a start replays.
    for id in IDS..IDS + 3 {
        propose(&group, (1, 1), publish(id..id + 1)).await;
    }
    let last = u64::from(IDS) + 3;
    assert_eq!(node.streams()[0].lock().last_seq(), last);

    let whole = storage.restart(|_, _, _| false);
    open(&whole).expect("opens");
    let reads = whole.reads();
    assert!(reads > 10, "{reads}");
    for read in 1..=reads {
        let storage = storage.restart(|_, _, _| false);
        storage.fail_read(read);
        if let Ok((_, node)) = open(&storage) {
            assert_eq!(node.streams()[0].lock().last_seq(), last, "read {read}");
        }
    }
}
