//! The journal with its thread running.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, mpsc::SyncSender};

use bytes::Bytes;

use super::{FILE_SIZE, options};
use crate::{
    AppendError, Committed, Durability, Fault, Form, Frame, Journal, MemoryStorage, Options,
    Position, ReadError, Storage as _,
};

type Told = Receiver<Vec<Committed<u64>>>;

fn open(storage: &MemoryStorage, options: &Options) -> (Journal<u64>, Told) {
    let (tell, told): (SyncSender<_>, _) = sync_channel(1024);
    let sink = move |batch| tell.send(batch).expect("the test waits");
    let journal = Journal::open(
        options,
        Arc::new(storage.clone()),
        None,
        &mut |_| Ok(()),
        sink,
    )
    .expect("opens");
    (journal, told)
}

fn frame(ticket: u64, body: &'static [u8]) -> Frame<u64> {
    let (head, body) = (Bytes::from_static(b"h"), Bytes::from_static(body));
    Frame {
        group: 1,
        term: 1,
        stream: 1,
        count: 1,
        head,
        body,
        durability: Durability::Synced,
        important: false,
        form: Form::plain(),
        ticket,
    }
}

fn wait(told: &Told, count: usize) -> Vec<Committed<u64>> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(told.recv().expect("the journal lives"));
    }
    all
}

/// Waits until no file wants a footer: the journal's thread makes no storage call then.
fn settle(journal: &Journal<u64>) {
    while journal.status().unsealed > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn completions_come_in_the_order_of_appends() {
    let (journal, told) = open(&MemoryStorage::new(), &options());
    for ticket in 0..500 {
        journal
            .append(Frame {
                durability: [Durability::Memory, Durability::Written, Durability::Synced]
                    [ticket as usize % 3],
                ..frame(ticket, b"body")
            })
            .expect("queued");
    }
    let done = wait(&told, 500);
    let tickets: Vec<u64> = done.iter().map(|done| done.ticket).collect();
    assert_eq!(tickets, (0..500).collect::<Vec<_>>());
    for done in &done {
        assert_eq!(done.position.file == u32::MAX, done.ticket % 3 == 0);
        assert_eq!(done.body, &b"hbody"[..]);
    }
    journal.close();
}

#[test]
fn what_is_not_durable_is_not_written() {
    let storage = MemoryStorage::new();
    let (journal, told) = open(&storage, &options());
    let calls = storage.calls();
    journal.rotate();
    journal
        .append(Frame {
            durability: Durability::Memory,
            ..frame(1, b"body")
        })
        .expect("queued");
    wait(&told, 1);
    assert_eq!(storage.calls(), calls);
    assert_eq!(journal.status().syncs, 0);
    journal.append(frame(2, b"body")).expect("queued");
    assert_eq!(wait(&told, 1)[0].position.file, 1);
    journal.rotate();
    journal.append(frame(3, b"body")).expect("queued");
    assert_eq!(wait(&told, 1)[0].position.file, 2);
    journal.close();
}

#[test]
fn the_newest_bodies_are_read_from_memory() {
    let storage = MemoryStorage::new();
    let (journal, told) = open(
        &storage,
        &Options {
            tail_cache_bytes: 1000,
            ..options()
        },
    );
    for ticket in 0..50 {
        journal.append(frame(ticket, &[b'x'; 99])).expect("queued");
    }
    let places: Vec<Position> = wait(&told, 50).iter().map(|done| done.position).collect();
    storage.fail_reads(true);
    let cached = |place: &&Position| journal.read(**place).is_ok();
    let from_memory = places.iter().rev().take_while(cached).count();
    assert!((3..=10).contains(&from_memory), "{from_memory}");
    assert!(
        !places[..50 - from_memory]
            .iter()
            .any(|place| journal.read(*place).is_ok())
    );
    storage.fail_reads(false);
    assert!(places.iter().all(|place| journal.read(*place).is_ok()));
    journal.close();
}

#[test]
fn the_queue_is_bounded_by_bytes() {
    let (tell, told) = sync_channel(0);
    let sink = move |batch: Vec<Committed<u64>>| tell.send(batch).expect("the test waits");
    let limited = Options {
        max_queued_bytes: 1000,
        ..options()
    };
    let storage = Arc::new(MemoryStorage::new());
    let journal = Journal::open(&limited, storage, None, &mut |_| Ok(()), sink).expect("opens");
    let mut queued = 0;
    // Nobody takes completions yet, so what is being written counts as well.
    let (error, back) = loop {
        match journal.append(frame(queued, &[b'x'; 99])) {
            Ok(()) => queued += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(error, AppendError::Busy));
    assert_eq!((back.ticket, queued), (10, 10));
    while queued > 0 {
        queued -= told.recv().expect("the journal lives").len() as u64;
    }
    drop(told);
    drop(journal);
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let storage = MemoryStorage::new();
    let (journal, told) = open(&storage, &options());
    let mut acknowledged = 0;
    for ticket in 0..40 {
        settle(&journal);
        if ticket % 4 == 1 {
            storage.fail_at(storage.calls() + 1, Fault::Full);
        }
        journal.append(frame(ticket, &[b'x'; 99])).expect("queued");
        match &wait(&told, 1)[0].result {
            Ok(()) => acknowledged += 1,
            Err(error) => assert!(
                matches!(error, AppendError::Full(_)) && ticket % 4 == 1,
                "{error}"
            ),
        }
    }
    assert_eq!(acknowledged, 30);
    journal.close();
    let mut there = 0;
    let count = &mut |_| {
        there += 1;
        Ok(())
    };
    let after = Arc::new(storage.restart(|_, _, _| true));
    Journal::<()>::open(&options(), after, None, count, |_| {})
        .expect("opens")
        .close();
    assert_eq!(there, 30);
}

#[test]
fn a_failed_sync_ends_all_acknowledgements() {
    let storage = MemoryStorage::new();
    let (journal, told) = open(&storage, &options());
    journal.append(frame(1, b"good")).expect("queued");
    let good = wait(&told, 1).remove(0);
    storage.fail_at(storage.calls() + 2, Fault::Error);
    for ticket in 2..5 {
        journal.append(frame(ticket, b"bad")).expect("queued");
        assert!(matches!(
            wait(&told, 1)[0].result,
            Err(AppendError::Failed(_))
        ));
    }
    assert!(journal.status().failed.is_some());
    assert_eq!(
        journal.read(good.position).expect("readable"),
        &b"hgood"[..]
    );
    journal.close();
    assert!(matches!(
        journal.append(frame(9, b"late")),
        Err((AppendError::Closed, _))
    ));
}

#[test]
fn dead_files_can_be_removed_but_not_the_newest() {
    let storage = MemoryStorage::new();
    let (journal, told) = open(&storage, &options());
    for ticket in 0..20 {
        journal.append(frame(ticket, &[b'x'; 99])).expect("queued");
    }
    wait(&told, 20);
    let files = journal.files();
    assert!(files.len() > 3 && files.iter().all(|file| file.bytes <= FILE_SIZE));
    for file in &files {
        let leaving = journal.remove(file.id).expect("removed or kept");
        assert_eq!(leaving.is_some(), file.id != files[files.len() - 1].id);
        if let Some(mut leaving) = leaving {
            while leaving.cut().expect("cut") {}
        }
    }
    assert_eq!(journal.files(), files[files.len() - 1..]);
    journal.close();
    assert_eq!(storage.list().expect("names").len(), 1);
}

#[test]
fn a_file_leaves_bit_by_bit_and_whoever_reads_it_misses_it() {
    let storage = MemoryStorage::new();
    let large = Options {
        file_size: 12 << 20,
        ..options()
    };
    let (journal, told) = open(&storage, &large);
    let body = Bytes::from(vec![b'x'; 4 << 20]);
    for ticket in 0..3 {
        let body = body.clone();
        journal
            .append(Frame {
                body,
                ..frame(ticket, b"")
            })
            .expect("queued");
    }
    let last = wait(&told, 3).remove(1).position;
    assert_eq!(journal.files().len(), 2);
    // A reader that had opened it before.
    let file = storage.open("00000001.log").expect("there");
    assert!(journal.read_in(&*file, last).is_ok());
    let mut leaving = journal.remove(1).expect("removed").expect("not the newest");
    assert!(leaving.cut().expect("cut"));
    assert!(leaving.cut().expect("cut"));
    assert!(file.len().expect("length") <= 4 << 20);
    let read = journal.read_in(&*file, last);
    assert!(matches!(read, Err(ReadError::Missing(1))), "{read:?}");
    assert!(journal.damage().is_empty());
    assert!(!leaving.cut().expect("removed"));
    journal.close();
    assert_eq!(storage.list().expect("names"), ["00000002.log"]);
}

#[test]
fn what_is_left_of_a_file_that_was_leaving_goes_at_the_start() {
    let storage = MemoryStorage::new();
    storage.create("00000001.log.gone", 100).expect("created");
    let (journal, _told) = open(&storage, &options());
    journal.close();
    assert_eq!(storage.list().expect("names"), ["00000001.log"]);
}

#[test]
fn a_sink_that_panics_leaves_nobody_waiting() {
    let storage = Arc::new(MemoryStorage::new());
    let sink = |_: Vec<Committed<u64>>| panic!("on purpose");
    let journal = Journal::open(&options(), storage, None, &mut |_| Ok(()), sink).expect("opens");
    journal.append(frame(1, b"body")).expect("queued");
    journal.close();
    assert!(journal.append(frame(2, b"body")).is_err());
    assert!(journal.status().failed.is_some());
}
