//! Flipped bits, cut and missing files: reported, never served.

use std::sync::{Arc, Mutex};

use super::{Rig, options};
use crate::frame::{FILE_HEADER, FRAME_HEADER, file_header};
use crate::recover::file_name;
use crate::{
    Damage, DamageKind, MemoryStorage, OpenError, Options, Position, ReadError, Replayed,
    Storage as _,
};

/// Ten frames, three to a file; the last file is the active one.
fn filled(sealed: bool) -> (MemoryStorage, Vec<Position>) {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let places = (0..11_u8)
        .flat_map(|number| rig.put(&[&[number; 100]]))
        .collect();
    if sealed {
        rig.seal();
    }
    (storage, places)
}

fn body(number: usize) -> Vec<u8> {
    vec![u8::try_from(number).expect("small"); 100]
}

/// What a start finds that should find all of `places`: those that are lost are named, all others are there.
fn lost(replayed: &[Replayed], places: &[Position]) -> Vec<usize> {
    assert_eq!(replayed.len(), places.len());
    let mut lost = Vec::new();
    for (number, (frame, place)) in replayed.iter().zip(places).enumerate() {
        assert_eq!(frame.index, number as u64 + 1);
        if frame.lost {
            assert!(frame.body.is_empty());
            lost.push(number);
        } else {
            assert_eq!(
                (frame.position, &frame.body[..]),
                (*place, &body(number)[..])
            );
        }
    }
    lost
}

/// The damage that a journal knows of, without footers.
fn known(rig: &Rig) -> Vec<(DamageKind, u32, u64, u64, u64)> {
    let damage = rig.journal().damage();
    damage
        .iter()
        .map(|damage| {
            let Damage {
                kind,
                file,
                offset,
                index,
                frames,
                ..
            } = damage;
            (*kind, *file, *offset, *index, *frames)
        })
        .collect()
}

#[test]
fn every_flipped_bit_is_noticed_and_costs_its_frame() {
    for sealed in [false, true] {
        let (pristine, places) = filled(sealed);
        let last = places.last().expect("some").file;
        assert!(last >= 4);
        for file in 1..=last {
            let bytes = pristine.open(&file_name(file)).expect("there");
            for byte in 0..usize::try_from(bytes.len().expect("known")).expect("small") {
                let storage = pristine.restart(|_, _, _| false);
                storage.flip(&file_name(file), byte, (byte % 8) as u8);
                flipped(&storage, &places, file, byte, sealed);
            }
        }
    }
}

fn flipped(storage: &MemoryStorage, places: &[Position], file: u32, byte: usize, sealed: bool) {
    let in_frame = |place: &&Position| {
        place.file == file
            && (byte as u64) < place.end()
            && byte as u64 >= place.offset - FRAME_HEADER as u64
    };
    let hit = places.iter().position(|place| in_frame(&place));
    let (mut rig, replayed) = match Rig::open(storage, None) {
        Ok(opened) => opened,
        Err(error) => panic!("file {file} byte {byte}: {error}"),
    };
    let what = format!("file {file} byte {byte}: {:?}", known(&rig));
    match hit {
        // Nothing is behind it that proves it was acknowledged: it looks like a torn last write.
        Some(at) if at + 1 == places.len() => {
            assert!(lost(&replayed, &places[..at]).is_empty(), "{what}");
        }
        Some(at) => {
            assert_eq!(lost(&replayed, places), [at], "{what}");
            let offset = places[at].offset - FRAME_HEADER as u64;
            let index = at as u64 + 1;
            assert_eq!(
                known(&rig),
                [(DamageKind::Frame, file, offset, index, 1)],
                "{what}"
            );
            let told = replayed[at].told;
            // A footer tells for certain; without one, the frame's own header unless that was hit.
            let footer = sealed && file < places[places.len() - 1].file;
            if footer || byte as u64 >= places[at].offset {
                assert!(
                    told && (replayed[at].stream, replayed[at].count) == (7, 1),
                    "{what}"
                );
            }
            let read = rig.journal().read(places[at]);
            assert!(matches!(read, Err(ReadError::Damaged { .. })), "{what}");
        }
        None => {
            assert!(lost(&replayed, places).is_empty(), "{what}");
            let end = places
                .iter()
                .filter(|place| place.file == file)
                .map(Position::end)
                .max();
            let footer = sealed && Some(byte as u64) >= end && file < places[places.len() - 1].file;
            let expected = match (byte < FILE_HEADER, footer) {
                (true, _) => vec![DamageKind::Header],
                (false, true) => vec![DamageKind::Footer],
                // Space that was reserved and is not used.
                (false, false) => vec![],
            };
            let kinds: Vec<_> = known(&rig).iter().map(|known| known.0).collect();
            assert_eq!(kinds, expected, "{what}");
        }
    }
    // It goes on, and what could be mended is.
    rig.seal();
    let next = rig.put(&[b"goes on"])[0];
    let (rig, again) = Rig::open(storage, None).expect("opens again");
    assert_eq!(again.len(), replayed.len() + 1, "{what}");
    assert_eq!(rig.journal().read(next).expect("readable"), &b"goes on"[..]);
    if hit.is_none() {
        assert_eq!(known(&rig), [], "{what}");
    }
}

#[test]
fn reads_of_a_damaged_frame_fail_and_the_others_work() {
    let (storage, places) = filled(true);
    let checkpoint = places.last().map(|last| (*last, places.len() as u64));
    for (hit, place) in places.iter().enumerate() {
        for byte in [
            place.offset - 56,
            place.offset - 30,
            place.offset - 1,
            place.offset + 50,
        ] {
            let storage = storage.restart(|_, _, _| false);
            storage.flip(
                &file_name(place.file),
                usize::try_from(byte).expect("small"),
                2,
            );
            // The checkpoint covers all of it, so the journal opens, and goes on.
            let (mut rig, replayed) = Rig::open(&storage, checkpoint).expect("opens");
            assert!(replayed.is_empty());
            for (number, other) in places.iter().enumerate() {
                match rig.journal().read(*other) {
                    Ok(read) => assert!(number != hit && read == body(number), "frame {number}"),
                    Err(ReadError::Damaged { file, offset }) => {
                        assert_eq!((number, file, offset), (hit, place.file, place.offset - 56));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let next = rig.put(&[b"goes on"])[0];
            let (rig, replayed) = Rig::open(&storage, checkpoint).expect("opens again");
            assert_eq!(
                (replayed.len(), &replayed[0].body[..]),
                (1, &b"goes on"[..])
            );
            assert_eq!(rig.journal().read(next).expect("readable"), &b"goes on"[..]);
        }
    }
}

#[test]
fn a_file_that_was_cut_costs_what_was_in_it() {
    for sealed in [false, true] {
        let (pristine, places) = filled(sealed);
        for file in 1..places.last().expect("some").file {
            let ends = places
                .iter()
                .filter(|place| place.file == file)
                .map(Position::end);
            let inside = ends.clone().map(|end| end - 1);
            for end in ends.chain(inside).chain([FILE_HEADER as u64, 10, 0]) {
                let storage = pristine.restart(|_, _, _| false);
                storage
                    .open(&file_name(file))
                    .expect("there")
                    .set_len(end)
                    .expect("cut");
                let (rig, replayed) = Rig::open(&storage, None).expect("opens");
                let gone: Vec<usize> = places
                    .iter()
                    .enumerate()
                    .filter(|(_, place)| place.file == file && place.end() > end)
                    .map(|(number, _)| number)
                    .collect();
                assert_eq!(lost(&replayed, &places), gone, "file {file} cut to {end}");
                let told: u64 = known(&rig).iter().map(|known| known.4).sum();
                assert_eq!(told, gone.len() as u64, "file {file} cut to {end}");
            }
        }
    }
}

#[test]
fn a_file_of_zeros_costs_what_was_in_it() {
    let (pristine, places) = filled(true);
    for file in 1..places.last().expect("some").file {
        let storage = pristine.restart(|_, _, _| false);
        let name = file_name(file);
        let there = storage.open(&name).expect("there");
        let length = there.len().expect("known");
        there.set_len(0).expect("cut");
        there.set_len(length).expect("zeros");
        let (_, replayed) = Rig::open(&storage, None).expect("opens");
        let gone = lost(&replayed, &places);
        assert!(gone.iter().all(|number| places[*number].file == file) && gone.len() == 3);
    }
}

#[test]
fn a_file_that_is_gone_stops_the_start() {
    let (pristine, places) = filled(true);
    for file in 1..places.last().expect("some").file {
        let storage = pristine.restart(|_, _, _| false);
        storage.remove(&file_name(file)).expect("removed");
        assert!(
            matches!(Rig::open(&storage, None), Err(OpenError::Missing(name)) if name == file_name(file))
        );
    }
}

#[test]
fn damage_in_the_middle_of_the_newest_file_costs_what_was_hit() {
    let storage = MemoryStorage::new();
    let roomy = Options {
        file_size: 8192,
        ..options()
    };
    let (mut rig, _) = Rig::open_with(&storage, None, &roomy).expect("opens");
    let places: Vec<Position> = (0..12_u8)
        .flat_map(|number| rig.put(&[&[number * 2; 100], &[number * 2 + 1; 100]]))
        .collect();
    for hit in 0..places.len() - 2 {
        for many in 1..=(places.len() - 2 - hit).min(3) {
            // Their headers too, so that only the search for the next whole one helps.
            let storage = storage.restart(|_, _, _| false);
            for place in &places[hit..hit + many] {
                let start = usize::try_from(place.offset).expect("small") - FRAME_HEADER;
                [0, 9, 25, 60]
                    .iter()
                    .for_each(|at| storage.flip(&file_name(1), start + at, 1));
            }
            let (rig, replayed) = Rig::open_with(&storage, None, &roomy).expect("opens");
            let gone: Vec<usize> = (hit..hit + many).collect();
            assert_eq!(lost(&replayed, &places), gone, "{:?}", known(&rig));
        }
    }
}

#[test]
fn whoever_listens_is_told_once_per_place() {
    let (storage, places) = filled(true);
    storage.flip(
        &file_name(1),
        usize::try_from(places[1].offset).expect("small"),
        0,
    );
    let (rig, _) = Rig::open(&storage, None).expect("opens");
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    rig.journal().on_damage(Arc::new(move |damage: &Damage| {
        listener.lock().expect("whole").push(damage.clone());
    }));
    storage.flip(
        &file_name(2),
        usize::try_from(places[4].offset).expect("small"),
        0,
    );
    for _ in 0..3 {
        for place in &places {
            let _outcome = rig.journal().read(*place);
        }
    }
    let told = told.lock().expect("whole");
    let seen: Vec<_> = told
        .iter()
        .map(|damage| {
            (
                damage.file,
                damage.index,
                damage.told.map(|told| told.stream),
            )
        })
        .collect();
    assert_eq!(seen, [(1, 2, Some(7)), (2, 5, Some(7))]);
    assert_eq!(rig.journal().status().damaged, 2);
    assert_eq!(
        told[0].to_string(),
        "`00000001.log` is damaged at 188: frame 2 is lost (group 1, stream 7, 1 records)"
    );
}

#[test]
fn a_checkpoint_that_is_ahead_of_the_log_is_noticed() {
    let (storage, places) = filled(true);
    let last = *places.last().expect("some");
    let ahead = Position {
        offset: last.end() + 400,
        ..last
    };
    assert!(matches!(
        Rig::open(&storage, Some((ahead, 12))),
        Err(OpenError::Damaged { .. })
    ));
    let later = Position {
        file: last.file + 1,
        ..last
    };
    assert!(matches!(
        Rig::open(&storage, Some((later, 12))),
        Err(OpenError::Missing(_))
    ));
}

#[test]
fn another_format_is_refused() {
    for version in [1, 3] {
        refuses_version(version);
    }
}

fn refuses_version(other: u8) {
    let (storage, _) = filled(true);
    let (mut header, _) = file_header(1, 1);
    header[8] = other;
    let crc = crc32c::crc32c(&header[..28]).to_le_bytes();
    header[28..].copy_from_slice(&crc);
    let file = storage.open(&file_name(1)).expect("there");
    file.write_at(&mut [std::io::IoSlice::new(&header)], 0)
        .expect("written");
    let refused = Rig::open(&storage, None).map(|_| ()).expect_err("refused");
    assert!(
        matches!(refused, OpenError::Version { version, .. } if version == u32::from(other)),
        "{refused}"
    );
}

#[test]
fn a_read_that_fails_says_where() {
    let (storage, places) = filled(true);
    let (rig, _) = Rig::open(&storage, None).expect("opens");
    storage.fail_reads(true);
    assert!(matches!(
        rig.journal().read(places[0]),
        Err(ReadError::Io { file: 1, .. })
    ));
    storage.fail_reads(false);
    assert_eq!(rig.journal().read(places[0]).expect("readable"), body(0));
    let gone = Position {
        file: 99,
        ..places[0]
    };
    assert!(matches!(
        rig.journal().read(gone),
        Err(ReadError::Missing(99))
    ));
    let wrong = Position {
        offset: places[0].offset + 1,
        ..places[0]
    };
    assert!(matches!(
        rig.journal().read(wrong),
        Err(ReadError::Damaged { .. })
    ));
}
