//! Flipped bits, cut and missing files: reported, never served.

use super::{FILE_SIZE, Rig};
use crate::frame::{FILE_HEADER, FRAME_HEADER, file_header};
use crate::recover::file_name;
use crate::{MemoryStorage, OpenError, Position, ReadError, Storage as _};

/// Ten frames, three to a file; the last file is the active one.
fn filled() -> (MemoryStorage, Vec<Position>) {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let places = (0..11_u8)
        .flat_map(|number| rig.put(&[&[number; 100]]))
        .collect();
    (storage, places)
}

fn body(number: usize) -> Vec<u8> {
    vec![u8::try_from(number).expect("small"); 100]
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (pristine, places) = filled();
    let last = places.last().expect("some").file;
    assert!(last >= 4);
    for file in 1..=last {
        for byte in 0..usize::try_from(FILE_SIZE).expect("small") {
            let storage = pristine.restart(|_, _, _| false);
            storage.flip(&file_name(file), byte, (byte % 8) as u8);
            let in_frame = |place: &&Position| {
                place.file == file
                    && (byte as u64) < place.end()
                    && byte as u64 >= place.offset - FRAME_HEADER as u64
            };
            let hit = places.iter().position(|place| in_frame(&place));
            let opened = Rig::open(&storage, None);
            match hit {
                // Nothing is behind it that proves it was acknowledged: it looks like a torn last write.
                Some(at) if at + 1 == places.len() => {
                    assert_eq!(opened.expect("opens").1.len(), at);
                }
                Some(at) => match opened {
                    Err(OpenError::Damaged { name, offset }) => {
                        assert_eq!(
                            (name, offset),
                            (file_name(file), places[at].offset - FRAME_HEADER as u64)
                        );
                    }
                    other => panic!(
                        "file {file} byte {byte}: {:?}",
                        other.map(|(_, replayed)| replayed)
                    ),
                },
                None if byte < FILE_HEADER => {
                    assert!(
                        matches!(opened, Err(OpenError::Header(name)) if name == file_name(file))
                    );
                }
                // Space that was reserved and is not used.
                None => assert_eq!(opened.expect("opens").1.len(), places.len()),
            }
        }
    }
}

#[test]
fn reads_of_a_damaged_frame_fail_and_the_others_work() {
    let (storage, places) = filled();
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
fn a_file_that_was_cut_or_is_gone_is_noticed() {
    let (pristine, places) = filled();
    for file in 1..places.last().expect("some").file {
        let ends: Vec<u64> = places
            .iter()
            .filter(|place| place.file == file)
            .map(Position::end)
            .collect();
        for end in ends[..ends.len() - 1]
            .iter()
            .copied()
            .chain([FILE_HEADER as u64, 10, 0])
        {
            let storage = pristine.restart(|_, _, _| false);
            storage
                .open(&file_name(file))
                .expect("there")
                .set_len(end)
                .expect("cut");
            let opened = Rig::open(&storage, None).map(|_| ());
            assert!(
                matches!(
                    opened,
                    Err(OpenError::Damaged { .. } | OpenError::Header(_))
                ),
                "file {file} cut to {end}: {opened:?}"
            );
        }
        let storage = pristine.restart(|_, _, _| false);
        storage.remove(&file_name(file)).expect("removed");
        assert!(
            matches!(Rig::open(&storage, None), Err(OpenError::Missing(name)) if name == file_name(file))
        );
    }
}

#[test]
fn a_checkpoint_that_is_ahead_of_the_log_is_noticed() {
    let (storage, places) = filled();
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
    let (storage, _) = filled();
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
    let (storage, places) = filled();
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
