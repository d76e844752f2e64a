//! The real file system, and what is left to it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::{Rig, frame};
use crate::{DiskStorage, Durability, Frame, Journal, MemoryStorage, OpenError, Options, Storage};

#[test]
fn frames_are_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        file_size: 64 * 1024,
        tail_cache_bytes: 0,
        ..Options::default()
    };
    let bodies: Vec<Vec<u8>> = (0..3000_u32)
        .map(|number| number.to_le_bytes().repeat(20))
        .collect();
    let mut places = Vec::new();
    {
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(folder.path()).expect("opens"));
        let (tell, told) = sync_channel(16);
        let journal = Journal::open(&options, storage, None, &mut |_| Ok(()), move |batch| {
            tell.send(batch).expect("the test waits");
        })
        .expect("opens");
        for body in &bodies {
            journal
                .append(frame(body[..7].to_vec(), body[7..].to_vec()))
                .expect("queued");
        }
        while places.len() < bodies.len() {
            for done in told.recv().expect("the journal lives") {
                done.result.expect("written");
                assert_eq!(done.body, bodies[places.len()]);
                places.push(done.position);
            }
        }
        journal.close();
        let status = journal.status();
        assert_eq!((status.last_index, status.queued), (3000, 0));
        assert!(journal.files().len() > 4, "{:?}", journal.files());
    }
    let storage: Arc<dyn Storage> =
        Arc::new(DiskStorage::open(folder.path()).expect("opens again"));
    let mut replayed = Vec::new();
    let journal: Journal<()> = Journal::open(
        &options,
        storage,
        None,
        &mut |frame| {
            replayed.push((frame.position, frame.body));
            Ok(())
        },
        |_| {},
    )
    .expect("opens");
    let expected: Vec<_> = places
        .iter()
        .copied()
        .zip(bodies.into_iter().map(Bytes::from))
        .collect();
    assert_eq!(replayed, expected);
    for (position, body) in expected.iter().step_by(37) {
        assert_eq!(journal.read(*position).expect("readable"), body);
    }
    journal.close();
}

#[test]
fn a_folder_has_one_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = DiskStorage::open(folder.path()).expect("opens");
    let refused = DiskStorage::open(folder.path())
        .map(|_| ())
        .expect_err("locked");
    assert!(matches!(refused, OpenError::Locked(_)));
    assert!(
        refused.to_string().contains("in use by another process"),
        "{refused}"
    );
    drop(first);
    DiskStorage::open(folder.path()).expect("free again");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"in the way").expect("written");
    let refused = DiskStorage::open(&file.join("store"))
        .map(|_| ())
        .expect_err("refused");
    assert!(matches!(&refused, OpenError::Folder { folder, .. } if folder.ends_with("store")));
}

#[test]
fn space_is_reserved_and_given_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = DiskStorage::open(folder.path()).expect("opens");
    let file = storage.create("a", 100_000).expect("created");
    assert_eq!(file.len().expect("known"), 100_000);
    file.set_len(10).expect("cut");
    file.reserve(50_000).expect("reserved");
    let mut bytes = vec![1; 60_000];
    assert_eq!(file.read_at(&mut bytes, 0).expect("read"), 50_000);
    assert!(bytes[..50_000].iter().all(|byte| *byte == 0));
    assert_eq!(storage.list().expect("listed"), ["a"]);
    storage.rename("a", "b").expect("renamed");
    storage.remove("b").expect("removed");
    assert!(storage.list().expect("listed").is_empty());
}

/// What only wants to be written must not wait for the disk, nor what is in the way be written out first.
#[test]
fn only_what_is_synced_next_and_alone_goes_past_the_page_cache() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let mut past = |kinds: &[Durability], rest: bool| {
        let before = storage.writes_to_sync();
        let frames = kinds.iter().map(|durability| Frame {
            durability: *durability,
            ..frame(Vec::new(), b"body".to_vec())
        });
        let done = rig.commit(frames.collect());
        assert!(done.iter().all(|done| done.result.is_ok()));
        if rest {
            rig.writer.sync_rest();
        }
        storage.writes_to_sync() > before
    };
    let (memory, written, synced) = (Durability::Memory, Durability::Written, Durability::Synced);
    assert!(past(&[synced, synced], false));
    assert!(past(&[memory, synced], false));
    assert!(!past(&[written, synced], false));
    assert!(past(&[synced], false));
    assert!(!past(&[written], false));
    // One sync covers both.
    assert!(!past(&[synced], false));
    assert!(!past(&[written], true));
    assert!(past(&[synced], false));
}
