//! Verification finds what was hit, and nothing else.

use super::{Rig, frame};
use crate::recover::file_name;
use crate::{
    Checkpoint, DamageKind, DiskStorage, MemoryStorage, Position, Report, Storage as _,
    VerifyOptions, verify, write_checkpoint,
};

fn check(storage: &MemoryStorage, running: bool) -> Report {
    verify(storage, VerifyOptions { running }, &mut |_| ()).expect("listed")
}

fn filled() -> (MemoryStorage, Vec<Position>) {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let mut places = Vec::new();
    for number in 0..12_u8 {
        let mut frame = frame(vec![number; 10], vec![number; 60]);
        frame.important = number % 4 == 1;
        places.extend(
            rig.writer
                .commit(vec![frame])
                .iter()
                .map(|done| done.position),
        );
    }
    rig.seal();
    let checkpoint = Checkpoint {
        position: places[0],
        index: 1,
        bytes: vec![5; 50],
    };
    for _ in 0..2 {
        write_checkpoint(&storage, &checkpoint).expect("written");
    }
    (storage, places)
}

#[test]
fn every_flipped_bit_that_matters_is_found() {
    let (pristine, places) = filled();
    let clean = check(&pristine, false);
    assert!(clean.is_clean() && clean.tail.is_none(), "{clean:?}");
    assert_eq!(
        (clean.frames, clean.records, clean.checkpoints),
        (12, 12, 2)
    );
    let last = *places.last().expect("some");
    assert_eq!(clean.files, u64::from(last.file));
    let names: Vec<String> = (1..=last.file).map(file_name).collect();
    for name in names
        .iter()
        .map(String::as_str)
        .chain(["checkpoint", "checkpoint.old"])
    {
        let length = pristine.open(name).expect("there").len().expect("known");
        for byte in 0..usize::try_from(length).expect("small") {
            let storage = pristine.restart(|_, _, _| false);
            storage.flip(name, byte, (byte % 8) as u8);
            let (found, what) = (check(&storage, false), format!("{name} byte {byte}"));
            if name == file_name(last.file) && byte as u64 >= last.offset - 56 {
                // Like a torn last write.
                assert!(
                    found.is_clean() && found.tail.is_some(),
                    "{what}: {found:?}"
                );
                continue;
            }
            assert_eq!(found.damage.len(), 1, "{what}: {found:?}");
            let damage = &found.damage[0];
            assert_eq!(damage.name, name, "{what}");
            let hit = places.iter().position(|place| {
                let copy = if damage.kind == DamageKind::Copy {
                    126
                } else {
                    0
                };
                name == file_name(place.file) && place.offset - 56 + copy == damage.offset
            });
            if let Some(hit) = hit {
                assert_eq!(damage.index, hit as u64 + 1, "{what}");
            } else {
                let kinds = [
                    DamageKind::Header,
                    DamageKind::Footer,
                    DamageKind::Checkpoint,
                ];
                assert!(kinds.contains(&damage.kind), "{what}: {damage}");
            }
        }
    }
}

#[test]
fn what_is_gone_is_named() {
    let (pristine, _) = filled();
    pristine.remove(&file_name(2)).expect("removed");
    assert_eq!(check(&pristine, false).missing, [file_name(2)]);
    let (pristine, _) = filled();
    pristine.fail_reads(true);
    assert!(!check(&pristine, false).is_clean());
}

#[test]
fn nothing_is_written_and_a_locked_folder_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let owner = DiskStorage::open(folder.path()).expect("opens");
    assert!(DiskStorage::is_in_use(folder.path()));
    drop(owner.create("a", 10).expect("created"));
    let reader = DiskStorage::read_only(folder.path()).expect("opens");
    assert_eq!(reader.list().expect("listed"), ["a"]);
    let file = reader.open("a").expect("readable");
    assert!(
        file.write_at(&mut [std::io::IoSlice::new(b"x")], 0)
            .is_err()
    );
    assert!(reader.create("b", 0).is_err() && reader.remove("a").is_err());
    assert!(reader.rename("a", "b").is_err());
    drop(owner);
    assert!(!DiskStorage::is_in_use(folder.path()));
    assert!(DiskStorage::read_only(&folder.path().join("nowhere")).is_err());
}

#[test]
fn headers_and_footers_are_less_than_half_a_percent() {
    let storage = MemoryStorage::new();
    let options = crate::Options {
        file_size: 1 << 20,
        ..super::options()
    };
    let (mut rig, _) = Rig::open_with(&storage, None, &options).expect("opens");
    // Batches of 16 records of 1 KiB, of ten streams in turn.
    let batch = 16 * 1024;
    for number in 0..300 {
        let mut frame = frame(Vec::new(), vec![7; batch]);
        (frame.stream, frame.count) = (number % 10, 16);
        assert!(rig.commit(vec![frame])[0].result.is_ok());
    }
    rig.seal();
    let files = rig.journal().files();
    let (mut stored, mut payload) = (0, 0);
    for file in &files[..files.len() - 1] {
        let footer = rig
            .journal()
            .footer(file.id)
            .expect("readable")
            .expect("sealed");
        stored += file.bytes;
        payload += footer
            .frames
            .iter()
            .map(|frame| u64::from(frame.len))
            .sum::<u64>();
    }
    assert!(
        stored * 1000 < payload * 1005,
        "{stored} bytes for {payload}"
    );
}
