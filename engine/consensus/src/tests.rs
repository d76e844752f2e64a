//! A tiny machine: the list of what was applied, which file each item is in, and which are live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_journal::{
    CheckpointError, DiskStorage, Durability, Fault, MemoryStorage, PageSource, Position,
    ReadError, Storage,
};

use crate::{
    Entry, Gathered, Group, Lost, OpenError, Options, Proposal, ProposeError, RestoreError,
    Snapshot, StateMachine, StoredPage,
};

mod erase;

use erase::Frames;

/// What is in the list, and the file each item came in.
type Items = Vec<(u32, String)>;

#[derive(Debug, Default)]
struct List(Arc<Mutex<Items>>);

impl List {
    fn items(&self) -> Vec<String> {
        self.0
            .lock()
            .expect("unpoisoned")
            .iter()
            .map(|(_, item)| item.clone())
            .collect()
    }
}

/// One page with all items; the root is its place.
struct ListSnapshot {
    page: Option<Bytes>,
    place: Option<Position>,
}

impl Snapshot for ListSnapshot {
    fn next_pages(&mut self, _: usize) -> Vec<StoredPage> {
        let page = self.page.take();
        page.map(|bytes| StoredPage {
            stream: 1,
            bytes,
            compress: true,
        })
        .into_iter()
        .collect()
    }

    fn pages_stored(&mut self, positions: &[Position]) {
        self.place = Some(positions[0]);
    }

    fn root(&mut self) -> Vec<u8> {
        let mut root = Vec::new();
        self.place.expect("stored").encode(&mut root);
        root
    }

    fn page_files(&self) -> BTreeSet<u32> {
        self.place.iter().map(|place| place.file).collect()
    }

    fn finish(self: Box<Self>, _: bool) {}
}

impl StateMachine for List {
    type Outcome = usize;

    fn apply(&self, entry: Entry<'_>) -> usize {
        let mut list = self.0.lock().expect("unpoisoned");
        let item = String::from_utf8(entry.body.to_vec()).expect("text");
        if item == "forget" {
            list.clear();
        } else {
            list.push((entry.position.file, item));
        }
        list.len()
    }

    fn lost(&self, lost: Lost) {
        let mut list = self.0.lock().expect("unpoisoned");
        list.push((0, format!("lost {}", lost.index)));
    }

    fn applied(&self) {}

    fn restore(&self, root: Option<&[u8]>, pages: Arc<dyn PageSource>) -> Result<(), RestoreError> {
        let Some(mut root) = root else { return Ok(()) };
        let broken = |error: &dyn std::fmt::Display| RestoreError::new(error.to_string());
        let place = Position::decode(&mut root).ok_or_else(|| broken(&"no place"))?;
        let page = pages.read(place).map_err(|error| broken(&error))?;
        let text = String::from_utf8(page.to_vec()).map_err(|error| broken(&error))?;
        let parse = |line: &str| {
            line.split_once(' ')
                .map(|(file, item)| (file.parse().unwrap_or(0), item.to_owned()))
        };
        *self.0.lock().expect("unpoisoned") = text.lines().filter_map(parse).collect();
        Ok(())
    }

    fn snapshot(&self, _: &BTreeSet<u32>) -> Box<dyn Snapshot> {
        let list = self.0.lock().expect("unpoisoned");
        let page: Vec<u8> = list
            .iter()
            .flat_map(|(file, item)| format!("{file} {item}\n").into_bytes())
            .collect();
        Box::new(ListSnapshot {
            page: Some(Bytes::from(page)),
            place: None,
        })
    }

    fn live_bytes(&self) -> BTreeMap<u32, u64> {
        let mut live = BTreeMap::new();
        for (file, item) in &*self.0.lock().expect("unpoisoned") {
            *live.entry(*file).or_default() += item.len() as u64;
        }
        live
    }

    /// Items move one by one, the last of a file first.
    fn gather(
        &self,
        file: u32,
        _: u64,
        _: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String> {
        let items = Arc::clone(&self.0);
        let list = self.0.lock().expect("unpoisoned");
        let Some(at) = list.iter().rposition(|(of, _)| *of == file) else {
            return Ok(None);
        };
        let item = list[at].1.clone();
        let bytes = Bytes::from(item.clone().into_bytes());
        let done = move |place: Position| {
            let mut items = items.lock().expect("unpoisoned");
            if let Some(known) = items.iter_mut().find(|(_, known)| *known == item) {
                known.0 = place.file;
            }
        };
        Ok(Some(Gathered {
            page: StoredPage {
                stream: 1,
                bytes,
                compress: true,
            },
            count: 1,
            done: Box::new(done),
        }))
    }

    fn erasing(&self) -> Vec<Position> {
        Vec::new()
    }

    fn gather_frame(
        &self,
        _: Position,
        _: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String> {
        Ok(None)
    }

    fn erased(&self, _: Position) {}
}

const FILE_SIZE: usize = 1024;

fn open(storage: &MemoryStorage) -> (Group<List>, Arc<List>) {
    open_with(storage, FILE_SIZE, Duration::from_millis(1))
}

fn open_with(
    storage: &MemoryStorage,
    file_size: usize,
    look_after: Duration,
) -> (Group<List>, Arc<List>) {
    let list = Arc::new(List::default());
    let journal = millstream_journal::Options {
        file_size: file_size as u64,
        ..Default::default()
    };
    let options = Options {
        journal,
        storage: Arc::new(storage.clone()),
        look_after,
    };
    (
        Group::open(options, Arc::clone(&list)).expect("opens"),
        list,
    )
}

fn proposal(text: &str) -> Proposal {
    let body = Bytes::copy_from_slice(text.as_bytes());
    Proposal {
        stream: 1,
        count: 1,
        head: Bytes::new(),
        body,
        durability: Durability::Synced,
        important: false,
        compress: true,
    }
}

#[tokio::test]
async fn replay_equals_live_with_and_without_checkpoint() {
    let storage = MemoryStorage::new();
    let (group, list) = open(&storage);
    for number in 0..100 {
        let count = group
            .propose(proposal(&format!("item {number}")))
            .await
            .expect("committed");
        assert_eq!(count, number + 1);
    }
    let live = list.items();
    // As after a power cut: what was synced, and nothing else.
    let (_, replayed) = open(&storage.restart(|_, _, _| false));
    assert_eq!(replayed.items(), live);
    group.shutdown();
    let (_, restored) = open(&storage.restart(|_, _, _| false));
    assert_eq!(restored.items(), live);
    assert!(matches!(
        group.propose(proposal("late")).await,
        Err(ProposeError::Log(_))
    ));
}

#[tokio::test]
async fn files_go_when_nothing_in_them_is_live() {
    let storage = MemoryStorage::new();
    let (group, _) = open(&storage);
    for number in 0..100 {
        group
            .propose(proposal(&format!("item {number}")))
            .await
            .expect("committed");
    }
    let full = logs(&storage);
    assert!(full.len() > 4, "{full:?}");
    group.propose(proposal("forget")).await.expect("committed");
    for number in 0..60 {
        group
            .propose(proposal(&format!("more {number}")))
            .await
            .expect("committed");
    }
    // A file goes when several checkpoints found it dead and pages in it have moved; how many there were is a matter of timing.
    for round in 0.. {
        assert!(round < 100, "{full:?} became {:?}", logs(&storage));
        group.checkpoint_now();
        if logs(&storage).iter().all(|name| !full.contains(name)) {
            break;
        }
    }
    let (_, after) = open(&storage.restart(|_, _, _| false));
    assert_eq!(after.items().len(), 60);
}

/// What frees space gets into the log though it is full, and then space comes free though nothing else is written.
#[tokio::test]
async fn a_full_disk_frees_itself() {
    const SIZE: usize = 16 * 1024;
    // Not because nothing happens for a while.
    const NEVER: Duration = Duration::from_secs(3600);
    let storage = MemoryStorage::new();
    storage.set_space(Some(6 * SIZE));
    let (group, list) = open_with(&storage, SIZE, NEVER);
    let message = || proposal(&"message ".repeat(12));
    while group.propose(message()).await.is_ok() {}
    let held = list.items().len();
    assert!(held > 300, "{held}");
    let error = group.propose(message()).await.expect_err("is full");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let forget = Proposal {
        count: 0,
        ..proposal("forget")
    };
    group.propose(forget).await.expect("there is room for it");
    let since = std::time::Instant::now();
    while group.propose(message()).await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(60), "stays full");
        tokio::task::yield_now().await;
    }
    group.shutdown();
    let (_, after) = open_with(&storage.restart(|_, _, _| false), SIZE, NEVER);
    assert_eq!(after.items().len(), 1);
}

fn logs(storage: &MemoryStorage) -> Vec<String> {
    let all = storage.list().expect("listed").into_iter();
    all.filter(|name| name.ends_with(".log")).collect()
}

/// A few items among many that went keep no files: they move to the end of the log.
#[tokio::test]
async fn a_mostly_dead_file_is_emptied_and_goes() {
    empty_files(&MemoryStorage::new(), |number| format!("item {number}")).await;
}

/// What moves stays compressed.
#[tokio::test]
async fn a_file_with_compressed_items_is_emptied_and_goes() {
    let storage = MemoryStorage::new();
    let words = "word ".repeat(40);
    empty_files(&storage, |number| format!("item {number} {words}")).await;
    for name in storage.list().expect("listed") {
        let file = storage.open(&name).expect("there");
        let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
        file.read_at(&mut bytes, 0).expect("readable");
        let text = &words.as_bytes()[..60];
        let plain = bytes.windows(text.len()).any(|window| window == text);
        assert!(!plain, "{name}");
    }
}

/// Every file goes that is less than half full of what is live.
async fn empty_files(storage: &MemoryStorage, item: impl Fn(u32) -> String) {
    let (group, list) = open(storage);
    for number in 0..400 {
        group
            .propose(proposal(&item(number)))
            .await
            .expect("committed");
        // All but every tenth go at once.
        if number % 10 != 0 {
            list.0.lock().expect("unpoisoned").pop();
        }
    }
    let expected: Vec<String> = (0..40).map(|number| item(number * 10)).collect();
    let full = logs(storage);
    // Emptying goes on beside; each checkpoint removes what is empty by then. What moved may lie beside what goes soon, and
    // move again: the older files have their turn all the same.
    for round in 0.. {
        assert!(round < 10_000, "{full:?} became {:?}", logs(storage));
        group
            .propose(proposal(&"filler ".repeat(150)))
            .await
            .expect("committed");
        list.0.lock().expect("unpoisoned").pop();
        group.checkpoint_now();
        let live = |name: &str| {
            let id: u32 = name.trim_end_matches(".log").parse().expect("a number");
            let items = list.0.lock().expect("unpoisoned");
            let of_it = items.iter().filter(|(file, _)| *file == id);
            of_it.map(|(_, item)| item.len()).sum::<usize>()
        };
        // Some were emptied before, and what moved may fill half of a file.
        let goes = |name: &String| full.contains(name) && live(name) * 2 < FILE_SIZE;
        if !logs(storage).iter().any(goes) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(list.items(), expected);
    group.shutdown();
    let (_, after) = open(&storage.restart(|_, _, _| false));
    assert_eq!(after.items(), expected);
}

#[tokio::test]
async fn a_failing_disk_reaches_the_proposer_and_nothing_is_acknowledged_after_it() {
    let storage = MemoryStorage::new();
    let (group, list) = open(&storage);
    group.propose(proposal("good")).await.expect("committed");
    storage.fail_at(storage.calls() + 1, Fault::Full);
    assert!(group.propose(proposal("full")).await.is_err());
    group
        .propose(proposal("room again"))
        .await
        .expect("committed");
    storage.fail_at(storage.calls() + 2, Fault::Error);
    assert!(group.propose(proposal("sync fails")).await.is_err());
    assert!(group.propose(proposal("after")).await.is_err());
    assert_eq!(list.items(), ["good", "room again"]);
    assert!(group.status().journal.failed.is_some());
}

#[tokio::test]
async fn memory_only_commands_keep_their_turn_and_are_not_written() {
    let storage = MemoryStorage::new();
    let (group, list) = open(&storage);
    group.propose(proposal("one")).await.expect("committed");
    let calls = storage.calls();
    group
        .propose(Proposal {
            durability: Durability::Memory,
            ..proposal("two")
        })
        .await
        .expect("applied");
    assert_eq!(storage.calls(), calls);
    group.propose(proposal("three")).await.expect("committed");
    assert_eq!(list.items(), ["one", "two", "three"]);
    let (_, after) = open(&storage.restart(|_, _, _| false));
    assert_eq!(after.items(), ["one", "three"]);
}

#[tokio::test]
async fn damaged_checkpoints_are_made_up_for_by_the_log_while_it_is_whole() {
    let storage = MemoryStorage::new();
    let (group, list) = open(&storage);
    for number in 0..100 {
        group
            .propose(proposal(&format!("item {number}")))
            .await
            .expect("committed");
    }
    group.shutdown();
    storage.flip("checkpoint", 20, 1);
    let (_, by_the_one_before) = open(&storage.restart(|_, _, _| false));
    assert_eq!(by_the_one_before.items(), list.items());
    storage.flip("checkpoint.old", 20, 1);
    let (_, by_the_log) = open(&storage.restart(|_, _, _| false));
    assert_eq!(by_the_log.items(), list.items());
    storage.remove("00000001.log").expect("removed");
    let journal = millstream_journal::Options {
        file_size: 1024,
        ..Default::default()
    };
    let options = Options {
        journal,
        storage: Arc::new(storage),
        look_after: Duration::from_millis(1),
    };
    let refused = Group::open(options, Arc::new(List::default()))
        .map(|_| ())
        .expect_err("refused");
    assert!(
        matches!(refused, OpenError::Checkpoint(CheckpointError::Damaged)),
        "{refused}"
    );
}

#[tokio::test]
async fn proposals_are_applied_in_the_order_they_were_made() {
    let (group, list) = open(&MemoryStorage::new());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..1000 {
        let tell = tell.clone();
        group.propose_with(
            proposal(&format!("{number}")),
            Box::new(move |outcome| {
                tell.send(outcome.expect("committed"))
                    .expect("the test waits")
            }),
        );
    }
    for number in 1..=1000 {
        assert_eq!(told.recv().await, Some(number));
    }
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(list.items(), expected);
}

/// Proposals one after the other, the power goes at one storage call, and again after a restart: what was acknowledged is
/// there, in order, and at most the one that was under way besides.
#[tokio::test]
async fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    for call in 1.. {
        let mut storage = MemoryStorage::new();
        let mut expected: Vec<String> = Vec::new();
        let mut all_done = true;
        for life in 0..3 {
            let (group, list) = open(&storage);
            let there = list.items();
            assert_eq!(
                there[..expected.len()],
                expected,
                "call {call}, life {life}"
            );
            assert!(
                there.len() <= expected.len() + 1,
                "call {call}, life {life}: {there:?}"
            );
            expected = there;
            storage.fail_at(storage.calls() + call, Fault::PowerCut);
            for number in 0..25 {
                let item = format!("life {life} item {number} {}", "x".repeat(100));
                if group.propose(proposal(&item)).await.is_err() {
                    all_done = false;
                    break;
                }
                expected.push(item);
            }
            group.shutdown();
            storage = storage.restart(|_, change, byte| (change + byte) % 7 != 0);
        }
        if all_done {
            assert!(call > 40, "{call} calls");
            return;
        }
    }
}

#[tokio::test]
async fn a_machine_that_panics_leaves_no_proposer_waiting() {
    // A small proposal is applied on the journal's thread, a large one on the apply thread.
    let large = "x".repeat(100_000);
    for first in ["small", &large] {
        let storage = MemoryStorage::new();
        let journal = millstream_journal::Options {
            file_size: 1024,
            ..Default::default()
        };
        let options = Options {
            journal,
            storage: Arc::new(storage.clone()),
            look_after: Duration::from_millis(1),
        };
        let group = Group::open(options, Arc::new(Frames::that_panic())).expect("opens");
        for text in [first, "small", &large] {
            assert!(group.propose(proposal(text)).await.is_err());
        }
        group.shutdown();
        let names = storage.list().expect("listed");
        assert!(
            !names.iter().any(|name| name.starts_with("checkpoint")),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn a_group_that_is_dropped_lets_go_of_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    for life in 0..3 {
        let storage = Arc::new(DiskStorage::open(folder.path()).expect("free"));
        let watch = Arc::downgrade(&storage);
        let options = Options {
            journal: millstream_journal::Options::default(),
            storage,
            look_after: Duration::from_millis(1),
        };
        let list = Arc::new(List::default());
        let group = Group::open(options, Arc::clone(&list)).expect("opens");
        assert_eq!(list.items().len(), life);
        group.propose(proposal("item")).await.expect("committed");
        drop(group);
        // The threads end on their own; nothing tells when.
        while watch.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
