//! Reading on: the same bodies as by themselves, with fewer reads.

use proptest::prelude::*;

use super::forms::{keys, text};
use super::{Rig, frame};
use crate::frame::FRAME_HEADER;
use crate::journal::Options;
use crate::recover::file_name;
use crate::{Fault, Form, Frame, MemoryStorage, Position, ReadAhead, ReadError};

/// Of a size at which pieces matter, and with next to nothing in memory.
fn options() -> Options {
    Options {
        file_size: 256 * 1024,
        tail_cache_bytes: 1000,
        ..Options::default()
    }
}

fn body(number: usize, len: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(len.max(body.len()), 7);
    body
}

/// So many frames with bodies of one length, and where they are.
fn filled(storage: &MemoryStorage, count: usize, len: usize) -> (Rig, Vec<Position>) {
    let (mut rig, _) = Rig::open_with(storage, None, &options()).expect("opens");
    let frames = (0..count).map(|number| frame(Vec::new(), body(number, len)));
    let done = rig.commit(frames.collect());
    let places = done.iter().map(|done| done.position).collect();
    (rig, places)
}

/// Reads every `step`th frame; how many reads that took.
fn reads(rig: &Rig, storage: &MemoryStorage, places: &[Position], step: usize, len: usize) -> u64 {
    let (journal, mut ahead) = (rig.journal(), ReadAhead::default());
    let before = storage.reads();
    for (number, place) in places.iter().enumerate().step_by(step) {
        let read = journal.read_on(*place, &mut ahead).expect("there");
        assert_eq!(read, body(number, len));
    }
    storage.reads() - before
}

#[test]
fn small_frames_that_follow_each_other_are_read_together() {
    let storage = MemoryStorage::new();
    let (rig, places) = filled(&storage, 1400, 100);
    // 156 bytes each, the first two by themselves, three pieces of 65,536 to the end of the file and one of the next.
    assert_eq!(places.last().map(|place| place.file), Some(2));
    assert_eq!(reads(&rig, &storage, &places, 1, 100), 2 + 4);
    // Nine in ten are somebody else's.
    assert_eq!(reads(&rig, &storage, &places, 10, 100), 2 + 4);
}

#[test]
fn who_jumps_or_reads_large_frames_reads_each_by_itself() {
    let storage = MemoryStorage::new();
    let (rig, places) = filled(&storage, 1400, 100);
    assert_eq!(reads(&rig, &storage, &places, 40, 100), 1400 / 40);
    let storage = MemoryStorage::new();
    let (rig, places) = filled(&storage, 5, 40_000);
    assert_eq!(reads(&rig, &storage, &places, 1, 40_000), 5);
}

#[test]
fn what_was_written_behind_a_piece_is_found() {
    let storage = MemoryStorage::new();
    let (mut rig, mut places) = filled(&storage, 20, 100);
    let mut ahead = ReadAhead::default();
    for number in 0..200 {
        let read = rig.journal().read_on(places[number], &mut ahead);
        assert_eq!(read.expect("there"), body(number, 100));
        // The piece has zeros there, or half of it.
        let next = places.len();
        places.extend(rig.put(&[&body(next, 100)]));
    }
}

#[test]
fn a_piece_is_of_one_file() {
    let storage = MemoryStorage::new();
    let (rig, places) = filled(&storage, 1400, 100);
    // Frames lie at the same places in both files.
    let first = places.iter().position(|place| place.file == 2);
    let first = first.expect("a second file");
    for number in [3, 50] {
        let (journal, mut ahead) = (rig.journal(), ReadAhead::default());
        for place in &places[..3] {
            journal.read_on(*place, &mut ahead).expect("there");
        }
        let there = places[first + number];
        assert_eq!(there.offset, places[number].offset);
        let read = journal.read_on(there, &mut ahead).expect("there");
        assert_eq!(read, body(first + number, 100));
    }
}

#[test]
fn what_was_taken_back_is_not_read_from_a_piece() {
    let storage = MemoryStorage::new();
    let (mut rig, places) = filled(&storage, 20, 100);
    let (journal, mut ahead) = (rig.journal(), ReadAhead::default());
    for place in &places[..5] {
        journal.read_on(*place, &mut ahead).expect("there");
    }
    let reads = storage.reads();
    journal.read_on(places[5], &mut ahead).expect("at hand");
    assert_eq!(storage.reads(), reads);
    // A write that finds no space leaves its first half behind until it is taken back, and then others come to that place.
    storage.fail_at(storage.calls() + 1, Fault::Full);
    rig.commit(vec![frame(Vec::new(), body(20, 100))]);
    let reads = storage.reads();
    journal.read_on(places[6], &mut ahead).expect("there");
    assert_eq!(storage.reads(), reads + 1);
}

#[test]
fn damage_in_a_piece_costs_its_frame_and_an_unreadable_piece_costs_nothing() {
    let storage = MemoryStorage::new();
    let (rig, places) = filled(&storage, 300, 100);
    let bad = usize::try_from(places[50].offset).expect("small");
    storage.flip(&file_name(1), bad + 9, 1);
    let (journal, mut ahead) = (rig.journal(), ReadAhead::default());
    for (number, place) in places.iter().enumerate() {
        if number == 2 {
            // The first piece; the next frame's read is the second one.
            storage.fail_read(1);
        }
        match journal.read_on(*place, &mut ahead) {
            Ok(read) => assert!(number != 50 && read == body(number, 100)),
            Err(ReadError::Damaged { file: 1, offset }) => {
                assert_eq!((number, offset), (50, (bad - FRAME_HEADER) as u64));
            }
            Err(error) => panic!("frame {number}: {error}"),
        }
    }
    let damage = journal.damage();
    assert_eq!(
        (damage.len(), damage[0].offset),
        (1, (bad - FRAME_HEADER) as u64)
    );
}

#[derive(Debug)]
enum Step {
    Write(Vec<Frame<()>>),
    /// Reads so many frames from one on, leaving out some in between.
    Read(usize, usize, usize),
}

fn one() -> impl Strategy<Value = Frame<()>> {
    let body = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..400),
        4 => (0_u32..80).prop_map(text),
        1 => (20_000_u32..40_000).prop_map(|len| vec![3; len as usize]),
    ];
    (body, any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(body, compress, important)| Frame {
        form: Form::of(compress),
        important,
        ..frame(Vec::new(), body)
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        prop::collection::vec(one(), 1..60).prop_map(Step::Write),
        (any::<usize>(), 1_usize..100, 1_usize..4)
            .prop_map(|(from, count, step)| Step::Read(from, count, step)),
    ];
    prop::collection::vec(step, 2..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// However the log grows between them, reads give what was written.
    #[test]
    fn reading_on_is_reading(steps in steps(), keys in keys(), tail in 0_usize..100_000) {
        let options = Options { keys, tail_cache_bytes: tail, ..options() };
        let storage = MemoryStorage::new();
        let (mut rig, _) = Rig::open_with(&storage, None, &options).expect("opens");
        let mut written = Vec::new();
        let mut ahead = ReadAhead::default();
        for step in steps {
            match step {
                Step::Write(frames) => {
                    let done = rig.commit(frames);
                    written.extend(done.into_iter().map(|done| (done.position, done.body)));
                }
                Step::Read(from, count, step) => {
                    let from = from % written.len().max(1);
                    for (place, body) in written.iter().skip(from).step_by(step).take(count) {
                        let read = rig.journal().read_on(*place, &mut ahead).expect("there");
                        prop_assert_eq!(&read, body);
                    }
                }
            }
        }
    }
}
