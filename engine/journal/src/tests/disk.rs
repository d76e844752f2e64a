//! The real file system.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::frame;
use crate::{DiskStorage, Journal, OpenError, Options, Storage};

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
