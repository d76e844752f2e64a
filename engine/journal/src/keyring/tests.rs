//! The list of keys: its golden bytes, rotation, damage and crashes.

use super::{NAME, admit, check, damage};
use crate::cipher::{Cipher, Keys};
use crate::error::OpenError;
use crate::recover::file_name;
use crate::storage::{Fault, MemoryStorage, Storage};

fn keys(current: Option<&str>, previous: Option<&str>) -> Keys {
    Keys::new(Cipher::Aes, current, previous)
}

fn with_files(storage: &MemoryStorage, ids: &[u32]) {
    for id in ids {
        storage.create(&file_name(*id), 64).expect("created");
    }
}

fn bytes(storage: &MemoryStorage) -> Vec<u8> {
    let file = storage.open(NAME).expect("there");
    let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
    file.read_at(&mut bytes, 0).expect("read");
    bytes
}

#[test]
fn golden_bytes() {
    let storage = MemoryStorage::new();
    with_files(&storage, &[3, 4]);
    admit(&storage, Some(&keys(Some("a"), None))).expect("new");
    admit(&storage, Some(&keys(Some("b"), Some("a")))).expect("rotated");
    let id = |text| keys(Some(text), None).current().expect("one").to_string();
    let hex: String = bytes(&storage)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (first, second) = hex.split_at(hex.len() / 2);
    assert_eq!(first, second);
    assert_eq!(
        &first[..first.len() - 8],
        format!(
            "4d534b4559494453 01000000 02000000 {} 04000000 {} ffffffff",
            id("a"),
            id("b")
        )
        .replace(' ', "")
    );
}

#[test]
fn a_plain_store_has_no_file_and_takes_a_key_later() {
    let storage = MemoryStorage::new();
    admit(&storage, None).expect("plain");
    admit(&storage, Some(&keys(None, Some("a")))).expect("plain");
    assert!(storage.open(NAME).is_err());
    admit(&storage, Some(&keys(Some("a"), None))).expect("from now on");
    assert!(storage.open(NAME).is_ok());
}

#[test]
fn no_key_or_another_one_is_refused_and_says_which() {
    let storage = MemoryStorage::new();
    admit(&storage, Some(&keys(Some("a"), None))).expect("new");
    let known = keys(Some("a"), None).current().expect("one");
    let without = check(&storage, None);
    assert!(matches!(without, Err(OpenError::KeyMissing(id)) if id == known));
    let other = keys(Some("b"), Some("c"));
    let with_other = admit(&storage, Some(&other));
    assert!(matches!(with_other, Err(OpenError::KeyWrong(id)) if id == known));
    // Nothing was noted by being refused.
    admit(&storage, Some(&keys(Some("a"), None))).expect("as before");
}

#[test]
fn a_key_is_needed_until_its_last_file_is_gone() {
    let storage = MemoryStorage::new();
    with_files(&storage, &[1, 2]);
    admit(&storage, Some(&keys(Some("a"), None))).expect("new");
    admit(&storage, Some(&keys(Some("b"), Some("a")))).expect("rotated");
    with_files(&storage, &[3]);
    storage.remove(&file_name(1)).expect("removed");
    assert!(check(&storage, Some(&keys(Some("b"), None))).is_err());
    storage.remove(&file_name(2)).expect("removed");
    admit(&storage, Some(&keys(Some("b"), None))).expect("not needed any more");
    // Back to a key of old, and to none at all.
    admit(&storage, Some(&keys(Some("a"), Some("b")))).expect("rotated");
    admit(&storage, Some(&keys(None, Some("a")))).expect_err("frames of b are there");
    with_files(&storage, &[4]);
    storage.remove(&file_name(3)).expect("removed");
    admit(&storage, Some(&keys(None, Some("a")))).expect("plain from now on");
    with_files(&storage, &[5]);
    storage.remove(&file_name(4)).expect("removed");
    check(&storage, None).expect("no encrypted frame is left");
}

#[test]
fn one_flipped_bit_costs_nothing_and_two_are_noticed() {
    let pristine = MemoryStorage::new();
    admit(&pristine, Some(&keys(Some("a"), None))).expect("new");
    let half = bytes(&pristine).len() / 2;
    for byte in 0..half {
        let storage = pristine.restart(|_, _, _| true);
        storage.flip(NAME, byte, (byte % 8) as u8);
        check(&storage, Some(&keys(Some("a"), None))).expect("the second copy");
        assert!(check(&storage, None).is_err(), "byte {byte}");
        assert_eq!(damage(&storage).expect("one is whole"), Some(0));
        let healed = storage.restart(|_, _, _| true);
        admit(&healed, Some(&keys(Some("a"), None))).expect("the second copy");
        assert_eq!(damage(&healed).expect("whole"), None);
        assert_eq!(bytes(&healed), bytes(&pristine));
        storage.flip(NAME, half + byte, 1);
        assert!(matches!(
            check(&storage, Some(&keys(Some("a"), None))),
            Err(OpenError::KeysDamaged)
        ));
    }
}

#[test]
fn a_newer_list_is_refused() {
    let storage = MemoryStorage::new();
    let mut content = super::encode(&[]);
    content[8] = 2;
    let end = content.len() - 4;
    let crc = crc32c::crc32c(&content[..end]).to_le_bytes();
    content[end..].copy_from_slice(&crc);
    let file = storage.create(NAME, 0).expect("created");
    let mut twice = [&content[..], &content[..]].map(std::io::IoSlice::new);
    file.write_at(&mut twice, 0).expect("written");
    assert!(matches!(
        check(&storage, None),
        Err(OpenError::KeysVersion(2))
    ));
}

#[test]
fn a_power_cut_at_any_call_leaves_the_old_or_the_new_list() {
    let rotated = keys(Some("b"), Some("a"));
    for call in 1.. {
        let storage = MemoryStorage::new();
        admit(&storage, Some(&keys(Some("a"), None))).expect("new");
        storage.fail_at(storage.calls() + call, Fault::PowerCut);
        let done = admit(&storage, Some(&rotated)).is_ok();
        for torn in [false, true] {
            let after = storage.restart(|_, _, byte| torn && byte % 2 == 0);
            check(&after, Some(&rotated)).expect("readable");
            // What it was: the key of old is needed in any case, the new one once the rotation counts.
            assert!(check(&after, None).is_err());
            let old = check(&after, Some(&keys(Some("a"), None)));
            assert_eq!(old.is_err(), done, "call {call}");
        }
        if done {
            return;
        }
    }
}
