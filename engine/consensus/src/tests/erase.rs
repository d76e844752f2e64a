//! Frames that are to be erased are erased, whatever fails meanwhile; and a checkpoint that goes wrong keeps nobody waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_journal::{Fault, MemoryStorage, PageSource, Position, ReadError};

use super::proposal;
use crate::{
    Entry, Gathered, Group, Lost, Options, RestoreError, Snapshot, StateMachine, StoredPage,
};

/// A machine that has nothing but frames that are to be erased.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// It cannot even apply anything.
    panics: bool,
    wanted: Mutex<BTreeSet<Position>>,
    /// Something in these lives, and has to be stored elsewhere first.
    lived_in: Mutex<BTreeSet<Position>>,
    /// What lives in these cannot be read.
    damaged: BTreeSet<Position>,
    /// The next checkpoint goes wrong.
    broken: AtomicBool,
}

impl Frames {
    pub(super) fn that_panic() -> Self {
        Self {
            panics: true,
            ..Self::default()
        }
    }

    fn wants(&self, frame: Position) -> bool {
        self.wanted.lock().expect("unpoisoned").contains(&frame)
    }
}

struct Empty {
    broken: bool,
}

impl Snapshot for Empty {
    fn next_pages(&mut self, _: usize) -> Vec<StoredPage> {
        Vec::new()
    }

    fn pages_stored(&mut self, _: &[Position]) {}

    fn root(&mut self) -> Vec<u8> {
        assert!(!self.broken, "broken, as it was asked to be");
        Vec::new()
    }

    fn page_files(&self) -> BTreeSet<u32> {
        BTreeSet::new()
    }

    fn finish(self: Box<Self>, _: bool) {}
}

impl StateMachine for Frames {
    type Outcome = Position;

    fn apply(&self, entry: Entry<'_>) -> Position {
        assert!(!self.panics, "on purpose");
        entry.position
    }

    fn lost(&self, _: Lost) {}

    fn applied(&self) {}

    fn restore(&self, _: Option<&[u8]>, _: Arc<dyn PageSource>) -> Result<(), RestoreError> {
        Ok(())
    }

    fn snapshot(&self, _: &BTreeSet<u32>) -> Box<dyn Snapshot> {
        Box::new(Empty {
            broken: self.broken.load(Ordering::Relaxed),
        })
    }

    fn live_bytes(&self) -> BTreeMap<u32, u64> {
        BTreeMap::new()
    }

    fn gather(
        &self,
        _: u32,
        _: u64,
        _: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String> {
        Ok(None)
    }

    fn erasing(&self) -> Vec<Position> {
        let wanted = self.wanted.lock().expect("unpoisoned");
        wanted.iter().copied().collect()
    }

    fn gather_frame(
        &self,
        frame: Position,
        _: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String> {
        if self.damaged.contains(&frame) {
            return Err("damaged".to_owned());
        }
        if !self.lived_in.lock().expect("unpoisoned").remove(&frame) {
            return Ok(None);
        }
        let bytes = Bytes::from_static(b"what lives beside it");
        Ok(Some(Gathered {
            page: StoredPage {
                stream: 1,
                bytes,
                compress: false,
            },
            count: 1,
            done: Box::new(|_| {}),
        }))
    }

    fn erased(&self, frame: Position) {
        self.wanted.lock().expect("unpoisoned").remove(&frame);
    }
}

fn open(storage: &MemoryStorage, frames: &Arc<Frames>) -> Group<Frames> {
    let options = Options {
        journal: millstream_journal::Options {
            file_size: 64 * 1024,
            ..Default::default()
        },
        storage: Arc::new(storage.clone()),
        look_after: Duration::from_millis(1),
    };
    Group::open(options, Arc::clone(frames)).expect("opens")
}

/// Erasing takes checkpoints, which follow by themselves.
async fn until_erased(group: &Group<Frames>, frames: &Frames, frame: Position) {
    let since = Instant::now();
    while frames.wants(frame) {
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "it stays on disk"
        );
        group.checkpoint_now();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_only_puts_it_off() {
    let storage = MemoryStorage::new();
    let frames = Arc::new(Frames::default());
    let group = open(&storage, &frames);
    let frame = group.propose(proposal("a secret")).await.expect("written");
    let lived_in = &frames.lived_in;
    lived_in.lock().expect("unpoisoned").insert(frame);
    storage.fail_at(storage.calls() + 1, Fault::Full);
    frames.wanted.lock().expect("unpoisoned").insert(frame);
    until_erased(&group, &frames, frame).await;
    group.shutdown();
}

#[tokio::test]
async fn those_that_cannot_be_erased_are_in_nobodys_way() {
    let storage = MemoryStorage::new();
    let damaged = (1..1000).map(|offset| Position {
        file: 0,
        offset,
        len: 8,
    });
    let damaged: BTreeSet<Position> = damaged.collect();
    let frames = Arc::new(Frames {
        wanted: Mutex::new(damaged.clone()),
        damaged,
        ..Frames::default()
    });
    let group = open(&storage, &frames);
    let frame = group.propose(proposal("a secret")).await.expect("written");
    frames.wanted.lock().expect("unpoisoned").insert(frame);
    until_erased(&group, &frames, frame).await;
    group.shutdown();
}

#[tokio::test]
async fn a_checkpoint_that_goes_wrong_keeps_no_shutdown_waiting() {
    let storage = MemoryStorage::new();
    let frames = Arc::new(Frames::default());
    let group = open(&storage, &frames);
    group.propose(proposal("one")).await.expect("written");
    frames.broken.store(true, Ordering::Relaxed);
    group.checkpoint_now();
    group.propose(proposal("two")).await.expect("written");
    let (tell, done) = channel();
    thread::spawn(move || {
        group.shutdown();
        tell.send(()).expect("somebody waits");
    });
    let ended = done.recv_timeout(Duration::from_secs(20));
    ended.expect("it waits for a thread that is gone");
}
