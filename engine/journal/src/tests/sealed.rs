//! Encrypted bodies: nothing plain on disk, keys that rotate, damage that costs what it does without encryption.

use std::sync::Arc;

use super::forms::text;
use super::{Rig, frame, options};
use crate::frame::{COMPRESSED, COPY, FRAME_HEADER, SEALED};
use crate::recover::file_name;
use crate::{
    BodyError, Cipher, DamageKind, Form, Keys, MemoryStorage, OpenError, Options, PageReader,
    Position, ReadError, Replayed, Storage as _, VerifyOptions, verify,
};

pub(super) fn open(
    storage: &MemoryStorage,
    keys: Option<Keys>,
) -> Result<(Rig, Vec<Replayed>), OpenError> {
    let options = Options { keys, ..options() };
    Rig::open_with(storage, None, &options)
}

fn with(current: Option<&str>, previous: &[&str]) -> Option<Keys> {
    Some(Keys::new(
        Cipher::default(),
        current,
        previous.iter().copied(),
    ))
}

/// Everything in the files of a storage.
fn all_bytes(storage: &MemoryStorage) -> Vec<u8> {
    let mut all = Vec::new();
    for name in storage.list().expect("listed") {
        let file = storage.open(&name).expect("there");
        let mut bytes = vec![0; usize::try_from(file.len().expect("a length")).expect("small")];
        let count = file.read_at(&mut bytes, 0).expect("read");
        all.extend_from_slice(&bytes[..count]);
    }
    all
}

#[test]
fn no_plain_word_is_on_disk() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = open(&storage, with(Some("a"), &[])).expect("opens");
    rig.put(&[b"the quick brown fox", &text(40)]);
    let mut page = frame(b"a page ".to_vec(), b"of the index".to_vec());
    page.important = true;
    assert!(rig.commit(vec![page])[0].result.is_ok());
    let disk = all_bytes(&storage);
    for word in [&b"quick"[..], b"word", b"index"] {
        assert!(!disk.windows(word.len()).any(|window| window == word));
    }
}

#[test]
fn keys_rotate_and_wrong_ones_are_refused_at_the_start() {
    let storage = MemoryStorage::new();
    let mut places = Vec::new();
    // Plain, then with a key, then with another one, then plain again.
    let lives = [
        (None, "plain"),
        (with(Some("a"), &[]), "by a"),
        (with(Some("b"), &["a"]), "by b"),
        (with(None, &["b", "a"]), "plain again"),
    ];
    for (keys, body) in lives {
        let (mut rig, replayed) = open(&storage, keys).expect("opens");
        assert_eq!(replayed.len(), places.len());
        places.extend(rig.put(&[body.as_bytes()]));
    }
    let wrong = [
        (None, true),
        (with(Some("a"), &[]), false),
        (with(Some("b"), &[]), false),
        (with(Some("c"), &["b"]), false),
    ];
    for (keys, missing) in wrong {
        let opened = open(&storage, keys.clone()).map(|_| ());
        match opened {
            Err(OpenError::KeyMissing(_)) => assert!(missing),
            Err(OpenError::KeyWrong(_)) => assert!(!missing),
            other => panic!("{other:?}"),
        }
        assert!(PageReader::open(Arc::new(storage.clone()), keys.as_ref()).is_err());
    }
    let (rig, _) = open(&storage, with(Some("b"), &["a"])).expect("opens");
    for (place, body) in places.iter().zip(["plain", "by a", "by b", "plain again"]) {
        assert_eq!(rig.journal().read(*place).expect("there"), body);
    }
}

/// Somebody who can write to the disk, and has no key, makes a file whose checksums are right.
#[test]
fn frames_that_changed_places_are_damaged() {
    let storage = MemoryStorage::new();
    let keys = with(Some("a"), &[]);
    let (mut rig, _) = open(&storage, keys.clone()).expect("opens");
    let places = rig.put(&[b"one", b"two"]);
    let file = storage.open(&file_name(1)).expect("there");
    let stored = |place: &Position| {
        let mut bytes = vec![0; place.len as usize];
        file.read_at(&mut bytes, place.offset).expect("read");
        bytes
    };
    let bodies = [stored(&places[1]), stored(&places[0])];
    for (place, body) in places.iter().zip(&bodies) {
        let at = place.offset - FRAME_HEADER as u64;
        let mut header = vec![0; FRAME_HEADER - 4];
        file.read_at(&mut header, at).expect("read");
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header), body).to_le_bytes();
        let mut slices = [&header[..], &crc, body].map(std::io::IoSlice::new);
        file.write_at(&mut slices, at).expect("written");
    }
    let pages = PageReader::open(Arc::new(storage), keys.as_ref()).expect("the key");
    for place in places {
        assert!(matches!(pages.read(place), Err(ReadError::Damaged { .. })));
    }
}

/// What is replayed, as index, whether it is lost and whether its stream is known; and what is known to be damaged.
type Cost = (Vec<(u64, bool, bool)>, Vec<(DamageKind, u64)>);

/// What one flipped bit costs, so many bytes behind where the second of four frames begins.
fn with_a_flip(keys: Option<&Keys>, at: usize) -> Cost {
    let storage = MemoryStorage::new();
    let (mut rig, _) = open(&storage, keys.cloned()).expect("opens");
    let places = rig.put(&[b"one", b"two"]);
    let mut dear = frame(Vec::new(), b"dear".to_vec());
    dear.important = true;
    assert!(rig.commit(vec![dear])[0].result.is_ok());
    rig.put(&[b"last"]);
    let start = places[1].offset - FRAME_HEADER as u64;
    storage.flip(
        &file_name(1),
        usize::try_from(start).expect("small") + at,
        1,
    );
    let whole = |place: Position| read_at_start(&storage, keys, place);
    assert!(whole(places[0]).is_ok());
    if at < FRAME_HEADER + places[1].len as usize {
        assert!(matches!(whole(places[1]), Err(ReadError::Damaged { .. })));
    }
    let options = VerifyOptions { running: false };
    let report = verify(&storage, options, &mut |_| ()).expect("listed");
    assert_eq!(report.damage.len(), 1, "byte {at}");
    let (again, replayed) = open(&storage, keys.cloned()).expect("opens");
    let replayed = replayed
        .iter()
        .map(|frame| (frame.index, frame.lost, frame.told));
    let damage = again.journal().damage();
    let damage = damage.iter().map(|damage| (damage.kind, damage.index));
    (replayed.collect(), damage.collect())
}

fn read_at_start(
    storage: &MemoryStorage,
    keys: Option<&Keys>,
    place: Position,
) -> Result<bytes::Bytes, ReadError> {
    let pages = PageReader::open(Arc::new(storage.clone()), keys).expect("the keys");
    pages.read(place)
}

/// A flipped bit costs the same, and is found without the key.
#[test]
fn damage_costs_what_it_does_in_a_plain_journal() {
    let keys = with(Some("a"), &[]);
    for at in 0..FRAME_HEADER {
        assert_eq!(
            with_a_flip(keys.as_ref(), at),
            with_a_flip(None, at),
            "{at}"
        );
    }
    let plain = with_a_flip(None, FRAME_HEADER);
    for at in FRAME_HEADER..FRAME_HEADER + crate::cipher::OVERHEAD + 3 {
        assert_eq!(with_a_flip(keys.as_ref(), at), plain, "{at}");
    }
    // Of two copies.
    let dear = FRAME_HEADER + 3;
    let sealed_dear = dear + crate::cipher::OVERHEAD;
    let expected = with_a_flip(None, dear + FRAME_HEADER);
    assert_eq!(expected.1, [(DamageKind::First, 3)]);
    for at in FRAME_HEADER..FRAME_HEADER + crate::cipher::OVERHEAD + 4 {
        assert_eq!(
            with_a_flip(keys.as_ref(), sealed_dear + at),
            expected,
            "{at}"
        );
    }
}

/// A list of keys that is gone is no way around: frames name their key.
#[test]
fn without_the_list_a_missing_key_is_named_by_frames() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = open(&storage, with(Some("a"), &[])).expect("opens");
    let places = rig.put(&[b"one"]);
    storage.remove(crate::keyring::NAME).expect("removed");
    for keys in [None, with(Some("b"), &[])] {
        let opened = open(&storage, keys.clone()).map(|_| ());
        let Err(OpenError::Body { source, .. }) = opened else {
            panic!("{opened:?}");
        };
        assert!(matches!(source, BodyError::Key(_)), "{source}");
    }
    let read = read_at_start(&storage, None, places[0]);
    let keys = with(Some("a"), &[]).expect("keys");
    let Err(ReadError::Body { source, .. }) = read else {
        panic!("{read:?}");
    };
    assert_eq!(Some(source), keys.current().map(BodyError::Key));
    open(&storage, Some(keys)).expect("refused starts have left nothing behind");
}

#[test]
fn verification_finds_damage_of_the_list_of_keys() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = open(&storage, with(Some("a"), &[])).expect("opens");
    rig.put(&[b"one"]);
    let look = || {
        let options = VerifyOptions { running: false };
        verify(&storage, options, &mut |_| ()).expect("listed")
    };
    assert!(look().is_clean());
    storage.flip(crate::keyring::NAME, 20, 5);
    let found: Vec<_> = look()
        .damage
        .iter()
        .map(|damage| (damage.name.clone(), damage.kind, damage.offset))
        .collect();
    let name = crate::keyring::NAME.to_owned();
    assert_eq!(found, [(name.clone(), DamageKind::Keys, 0)]);
    let (_, replayed) = open(&storage, with(Some("a"), &[])).expect("the other copy serves");
    assert!(replayed.len() == 1 && look().is_clean());
    let half = storage.open(&name).expect("there").len().expect("a length") / 2;
    storage.flip(&name, 20, 5);
    storage.flip(&name, 20 + usize::try_from(half).expect("small"), 5);
    assert_eq!(look().unreadable[0].name, name);
    let refused = open(&storage, with(Some("a"), &[])).map(|_| ());
    assert!(matches!(refused, Err(OpenError::KeysDamaged)));
}

/// The footer that the writer makes is the one that a scan makes, and says what was done to bodies.
#[test]
fn footers_tell_how_bodies_are_stored() {
    let storage = MemoryStorage::new();
    let options = Options {
        keys: with(Some("a"), &[]),
        file_size: 4096,
        ..options()
    };
    let (mut rig, _) = Rig::open_with(&storage, None, &options).expect("opens");
    let mut frames = vec![frame(Vec::new(), text(30)), frame(Vec::new(), text(40))];
    for frame in &mut frames {
        frame.form = Form::compressed();
    }
    frames[1].important = true;
    assert!(rig.commit(frames).iter().all(|done| done.result.is_ok()));
    rig.journal().rotate();
    rig.put(&[b"in the next file"]);
    rig.seal();
    let footer = rig.journal().footer(1).expect("read").expect("sealed");
    let flags: Vec<u16> = footer.frames.iter().map(|frame| frame.flags).collect();
    let both = COMPRESSED | SEALED;
    assert_eq!(flags, [both, both, both | COPY]);
    let length = storage
        .open(&file_name(1))
        .expect("there")
        .len()
        .expect("a length");
    storage.flip(
        &file_name(1),
        usize::try_from(length).expect("small") - 1,
        1,
    );
    let (mut again, replayed) = Rig::open_with(&storage, None, &options).expect("opens");
    assert!(replayed.iter().all(|frame| !frame.lost));
    again.seal();
    let rebuilt = again.journal().footer(1).expect("read").expect("sealed");
    assert_eq!(rebuilt, footer);
}
