//! A tiny machine: the list of what was applied, which file each item is in, and which are live.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millstream_journal::{Fault, MemoryStorage, Storage};

use crate::{Entry, Group, Options, Proposal, ProposeError, RestoreError, StateMachine};

#[derive(Debug, Default)]
struct List(Mutex<Vec<(u32, String)>>);

impl List {
    fn items(&self) -> Vec<String> {
        self.0.lock().expect("unpoisoned").iter().map(|(_, item)| item.clone()).collect()
    }
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

    fn applied(&self) {}

    fn checkpoint(&self) -> Vec<u8> {
        let list = self.0.lock().expect("unpoisoned");
        list.iter().flat_map(|(file, item)| format!("{file} {item}\n").into_bytes()).collect()
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        let text = String::from_utf8(bytes.to_vec()).map_err(|error| RestoreError::new(error.to_string()))?;
        let parse = |line: &str| line.split_once(' ').map(|(file, item)| (file.parse().unwrap_or(0), item.to_owned()));
        *self.0.lock().expect("unpoisoned") = text.lines().filter_map(parse).collect();
        Ok(())
    }

    fn dead_files(&self, files: &[u32]) -> Vec<u32> {
        let list = self.0.lock().expect("unpoisoned");
        files.iter().copied().filter(|file| !list.iter().any(|(of, _)| of == file)).collect()
    }
}

fn open(storage: &MemoryStorage) -> (Group<List>, Arc<List>) {
    let list = Arc::new(List::default());
    let journal = millstream_journal::Options { file_size: 1024, ..Default::default() };
    let options = Options { journal, storage: Arc::new(storage.clone()) };
    (Group::open(options, Arc::clone(&list)).expect("opens"), list)
}

fn proposal(text: &str) -> Proposal {
    let body = Bytes::copy_from_slice(text.as_bytes());
    Proposal { stream: 1, count: 1, head: Bytes::new(), body, durable: true }
}

#[tokio::test]
async fn replay_equals_live_with_and_without_checkpoint() {
    let storage = MemoryStorage::new();
    let (group, list) = open(&storage);
    for number in 0..100 {
        let count = group.propose(proposal(&format!("item {number}"))).await.expect("committed");
        assert_eq!(count, number + 1);
    }
    let live = list.items();
    // As after a power cut: what was synced, and nothing else.
    let (_, replayed) = open(&storage.restart(|_, _, _| false));
    assert_eq!(replayed.items(), live);
    group.shutdown();
    let (_, restored) = open(&storage.restart(|_, _, _| false));
    assert_eq!(restored.items(), live);
    assert!(matches!(group.propose(proposal("late")).await, Err(ProposeError::Log(_))));
}

#[tokio::test]
async fn files_go_when_nothing_in_them_is_live() {
    let storage = MemoryStorage::new();
    let (group, _) = open(&storage);
    let logs = || storage.list().expect("listed").into_iter().filter(|name| name.ends_with(".log")).count();
    for number in 0..100 {
        group.propose(proposal(&format!("item {number}"))).await.expect("committed");
    }
    let full = logs();
    assert!(full > 4, "{full}");
    group.propose(proposal("forget")).await.expect("committed");
    for number in 0..60 {
        group.propose(proposal(&format!("more {number}"))).await.expect("committed");
    }
    group.checkpoint_now();
    assert!(logs() < full + 4, "{} files", logs());
    let (_, after) = open(&storage.restart(|_, _, _| false));
    assert_eq!(after.items().len(), 60);
}

#[tokio::test]
async fn a_failing_disk_reaches_the_proposer_and_nothing_is_acknowledged_after_it() {
    let storage = MemoryStorage::new();
    let (group, list) = open(&storage);
    group.propose(proposal("good")).await.expect("committed");
    storage.fail_at(storage.calls() + 1, Fault::Full);
    assert!(group.propose(proposal("full")).await.is_err());
    group.propose(proposal("room again")).await.expect("committed");
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
    group.propose(Proposal { durable: false, ..proposal("two") }).await.expect("applied");
    assert_eq!(storage.calls(), calls);
    group.propose(proposal("three")).await.expect("committed");
    assert_eq!(list.items(), ["one", "two", "three"]);
    let (_, after) = open(&storage.restart(|_, _, _| false));
    assert_eq!(after.items(), ["one", "three"]);
}
