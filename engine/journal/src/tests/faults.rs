//! Faults one by one: what is served, what is refused, and that it goes on afterwards. Random ones are in `crash.rs`.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::{Rig, frame, options};
use crate::{
    AppendError, Durability, Fault, Frame, Journal, MemoryStorage, Options, Position, ReadError,
    Replayed,
};

fn filled(files: u32) -> (MemoryStorage, Rig, Vec<Position>) {
    let storage = MemoryStorage::new();
    let few = Options {
        open_files: 2,
        tail_cache_bytes: 0,
        ..options()
    };
    let (mut rig, _) = Rig::open_with(&storage, None, &few).expect("opens");
    let mut places: Vec<Position> = Vec::new();
    while places.last().is_none_or(|place| place.file < files) {
        places.extend(rig.put(&[&[7; 100]]));
        rig.seal();
    }
    (storage, rig, places)
}

#[test]
fn many_files_are_read_with_few_open() {
    let (_, rig, places) = filled(40);
    for place in places.iter().chain(places.iter().rev()) {
        assert_eq!(rig.journal().read(*place).expect("readable"), [7; 100][..]);
        assert!(rig.inner.handles.count() <= 2);
    }
}

#[test]
fn a_read_closes_other_files_when_there_is_no_descriptor() {
    let (storage, rig, places) = filled(4);
    storage.fail_opens(1);
    assert_eq!(
        rig.journal().read(places[0]).expect("readable"),
        [7; 100][..]
    );
    storage.fail_opens(2);
    let read = rig.journal().read(places[4]);
    assert!(
        matches!(read, Err(ReadError::Io { file: 2, .. })),
        "{read:?}"
    );
    assert_eq!(rig.journal().read(places[4]).expect("again"), [7; 100][..]);
    assert_eq!(rig.journal().damage(), []);
}

#[test]
fn without_a_descriptor_the_next_file_waits() {
    for fault in [Fault::NoFiles, Fault::Full] {
        let (storage, mut rig, places) = filled(2);
        rig.put(&[&[1; 10]]);
        rig.journal().rotate();
        storage.fail_at(storage.calls() + 1, fault);
        let refused = rig.commit(vec![frame(Vec::new(), vec![1; 10])]);
        assert!(
            matches!(refused[0].result, Err(AppendError::Full(_))),
            "{refused:?}"
        );
        assert_eq!(
            rig.journal().read(places[0]).expect("readable"),
            [7; 100][..]
        );
        rig.put(&[b"goes on"]);
        assert!(rig.journal().status().failed.is_none());
        let (_, replayed) = Rig::open(&storage, None).expect("opens");
        assert_eq!(replayed.len(), places.len() + 2);
        assert_eq!(replayed.last().expect("some").body, b"goes on"[..]);
    }
}

/// What frees space has to get into the log when there is none.
#[test]
fn a_full_disk_takes_what_has_no_records_for_a_while() {
    let storage = MemoryStorage::new();
    let large = Options {
        file_size: 16 * 1024,
        ..options()
    };
    let (mut rig, _) = Rig::open_with(&storage, None, &large).expect("opens");
    let message = || frame(Vec::new(), vec![7; 10]);
    let command = || Frame {
        count: 0,
        ..message()
    };
    let change = || Frame {
        important: true,
        ..command()
    };
    let page = || Frame {
        group: crate::LOCAL,
        ..command()
    };
    // How many get in before the first that does not.
    let fill = |rig: &mut Rig, frame: &dyn Fn() -> Frame<()>| {
        let mut taken = 0;
        loop {
            // Beside others, which do not make room for it.
            let mut done = rig.commit(vec![frame(), message()]);
            assert!(matches!(done.remove(1).result, Err(AppendError::Full(_))));
            match done.remove(0).result {
                Ok(()) => taken += 1,
                Err(AppendError::Full(_)) => return taken,
                Err(error) => panic!("{error}"),
            }
        }
    };
    storage.set_space(Some(16 * 1024));
    while rig.commit(vec![message()]).remove(0).result.is_ok() {}
    assert!(rig.journal().status().full);
    // A quarter of the kept part, of 1 KiB, for each; pages go to its end.
    let in_turn =
        [&command as &dyn Fn() -> Frame<()>, &change, &page].map(|frame| fill(&mut rig, frame));
    assert!(
        in_turn.iter().all(|count| (1..=8).contains(count)),
        "{in_turn:?}"
    );
    assert_eq!(fill(&mut rig, &command) + fill(&mut rig, &change), 0);
    let in_memory = Frame {
        durability: Durability::Memory,
        ..message()
    };
    assert!(rig.commit(vec![in_memory]).remove(0).result.is_ok());
    assert!(rig.journal().status().full);
    storage.set_space(None);
    let goes_on = rig.put(&[b"goes on"]);
    assert_eq!(goes_on[0].file, 2);
    assert!(!rig.journal().status().full);
    let (_, replayed) = Rig::open(&storage, None).expect("opens");
    assert!(replayed.iter().all(|frame| !frame.lost));
    assert_eq!(replayed.last().expect("some").body, b"goes on"[..]);
}

#[test]
fn a_footer_that_cannot_be_written_costs_nothing() {
    for call in 1..=3 {
        for fault in [Fault::Error, Fault::Full, Fault::NoFiles] {
            let (storage, mut rig, mut places) = filled(2);
            rig.journal().rotate();
            places.extend(rig.put(&[&[7; 100]]));
            storage.fail_at(storage.calls() + call, fault);
            rig.seal();
            places.extend(rig.put(&[&[7; 100]]));
            let (mut rig, replayed) = Rig::open(&storage, None).expect("opens");
            assert!(replayed.iter().all(|frame| !frame.lost));
            assert_eq!(replayed.len(), places.len());
            rig.seal();
            assert!(rig.journal().footer(2).expect("readable").is_some());
        }
    }
}

#[test]
fn the_last_batch_torn_at_every_byte_leaves_the_others() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    rig.put(&[b"one", b"two"]);
    storage.fail_at(storage.calls() + 2, Fault::PowerCut);
    let mut last: Vec<_> = (0..3)
        .map(|number| frame(Vec::new(), vec![number; 30]))
        .collect();
    last[1].important = true;
    let refused = rig.commit(last);
    assert!(refused.iter().all(|frame| frame.result.is_err()));
    for bytes in 0..=4 * 86 {
        for first in [false, true] {
            // What comes first reaches the disk, or what comes last.
            let after = storage.restart(|_, _, byte| (byte < bytes) == first);
            let (_, replayed) = Rig::open(&after, None).expect("opens");
            assert!((2..=5).contains(&replayed.len()));
            for (number, frame) in replayed.iter().enumerate() {
                assert!(
                    !frame.lost && frame.index == number as u64 + 1,
                    "torn at {bytes}"
                );
                assert!(number < 2 || frame.body == vec![number as u8 - 2; 30]);
            }
        }
    }
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    let (storage, mut rig, _) = filled(1);
    storage.fail_at(storage.calls() + 2, Fault::Error);
    for _ in 0..3 {
        let failed = rig.commit(vec![frame(Vec::new(), vec![1; 10])]);
        assert!(matches!(failed[0].result, Err(AppendError::Failed(_))));
    }
    let calls = storage.calls();
    rig.commit(vec![frame(Vec::new(), vec![1; 10])]);
    rig.seal();
    assert_eq!(
        storage.calls(),
        calls,
        "nothing is written or synced any more"
    );
}

/// Each single read of a start fails once: either the start is refused, or nothing is missing. The next one finds everything.
#[test]
fn a_read_error_refuses_the_start_and_harms_nothing() {
    for sealed in [false, true] {
        for (after, of_all) in [(None, true), (Some(3), false)] {
            let (storage, mut rig, places) = filled(4);
            rig.put(&[b"newest"]);
            if sealed {
                rig.seal();
            }
            drop(rig);
            let after = after.map(|at: usize| (places[at], at as u64 + 1));
            let expected = places.len() + 1 - if of_all { 0 } else { 4 };
            for number in 1.. {
                let world = storage.restart(|_, _, _| false);
                let before = world.reads();
                world.fail_read(number);
                let opened = Rig::open(&world, after);
                let hit = world.reads() - before >= number;
                let whole = |replayed: &[Replayed]| {
                    replayed.len() == expected && replayed.iter().all(|frame| !frame.lost)
                };
                if let Ok((_, replayed)) = &opened {
                    assert!(whole(replayed), "read {number}");
                }
                drop(opened);
                if !hit {
                    assert!(number > 4, "only {number} reads");
                    break;
                }
                let (rig, replayed) = Rig::open(&world, after).expect("readable again");
                assert!(whole(&replayed), "read {number}");
                assert_eq!(rig.journal().damage(), [], "read {number}");
                for place in &places {
                    assert_eq!(rig.journal().read(*place).expect("there"), [7; 100][..]);
                }
            }
        }
    }
}

/// A message that cannot be read is an error for who wants it, and not damage: the disk may give it next time.
#[test]
fn a_read_error_fails_its_reader_alone() {
    let (storage, rig, places) = filled(2);
    storage.fail_read(1);
    let read = rig.journal().read(places[0]);
    assert!(matches!(read, Err(ReadError::Io { .. })), "{read:?}");
    assert_eq!(rig.journal().read(places[0]).expect("again"), [7; 100][..]);
    assert_eq!(rig.journal().damage(), []);
    let report = rig.journal().verify(&mut |_| ()).expect("listed");
    assert!(report.is_clean());
    storage.fail_read(2);
    let report = rig.journal().verify(&mut |_| ()).expect("listed");
    assert!(
        !report.is_clean(),
        "what cannot be read is not called whole"
    );
    assert_eq!(rig.journal().damage(), []);
}

#[test]
fn a_slow_sync_delays_acknowledgements_and_keeps_their_order() {
    let storage = MemoryStorage::new();
    let (tell, told) = sync_channel(1000);
    let journal = Journal::open(
        &options(),
        Arc::new(storage.clone()),
        None,
        &mut |_| Ok(()),
        move |batch| tell.send(batch).expect("the test waits"),
    )
    .expect("opens");
    storage.hold_syncs(true);
    for ticket in 0..100_u64 {
        let frame = frame(Vec::new(), vec![7; 20]);
        let frame = crate::Frame {
            group: frame.group,
            term: frame.term,
            stream: frame.stream,
            count: frame.count,
            head: Bytes::new(),
            body: frame.body,
            durability: Durability::Synced,
            important: false,
            form: crate::Form::plain(),
            ticket,
        };
        journal.append(frame).expect("queued");
    }
    assert!(
        told.try_recv().is_err(),
        "nothing is acknowledged before its sync"
    );
    assert_eq!(journal.status().last_index, 0);
    storage.hold_syncs(false);
    let mut tickets = Vec::new();
    while tickets.len() < 100 {
        for done in told.recv().expect("the journal lives") {
            done.result.expect("written");
            tickets.push(done.ticket);
        }
    }
    assert_eq!(tickets, (0..100).collect::<Vec<_>>());
    journal.close();
}
