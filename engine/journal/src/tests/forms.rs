//! Bodies that are stored in another form than they came in.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::sealed::open;
use super::{Rig, frame};
use crate::frame::FRAME_HEADER;
use crate::recover::file_name;
use crate::{
    Cipher, DamageKind, Form, Keys, LOCAL, MemoryStorage, PageReader, Position, ReadError,
};

/// Text of this many words, which gets smaller.
pub(super) fn text(words: u32) -> Vec<u8> {
    (0..words)
        .flat_map(|word| format!("word {} ", word % 7).into_bytes())
        .collect()
}

#[test]
fn a_compressed_body_is_plain_for_everybody_but_the_disk() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let body = text(50);
    let mut frames = vec![frame(text(1), text(49)), frame(Vec::new(), text(2))];
    frames[0].form = Form::compressed();
    let done = rig.commit(frames);
    assert_eq!(done[0].body.len(), text(1).len() + text(49).len());
    assert!((done[0].position.len as usize) < body.len() / 3);
    let (again, replayed) = Rig::open(&storage, None).expect("opens");
    for (done, replayed) in done.iter().zip(&replayed) {
        assert_eq!(done.body, replayed.body);
        assert_eq!(done.position, replayed.position);
        assert_eq!(
            rig.journal().read(done.position).expect("cached"),
            done.body
        );
        assert_eq!(
            again.journal().read(done.position).expect("stored"),
            done.body
        );
    }
}

#[test]
fn damage_of_a_compressed_body_is_noticed_as_any_other() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let mut frames = vec![frame(Vec::new(), text(60)), frame(Vec::new(), text(60))];
    for frame in &mut frames {
        frame.form = Form::compressed();
    }
    frames[0].important = true;
    frames[0].group = LOCAL;
    let places: Vec<Position> = rig
        .commit(frames)
        .iter()
        .map(|done| done.position)
        .collect();
    for (place, has_copy) in [(places[0], true), (places[1], false)] {
        let whole = place.offset - FRAME_HEADER as u64..place.end();
        for byte in whole {
            let bent = storage.restart(|_, _, _| true);
            bent.flip(&file_name(1), usize::try_from(byte).expect("small"), 2);
            let pages = PageReader::open(Arc::new(bent), None).expect("plain");
            match pages.read(place) {
                Ok(body) => assert!(has_copy && body == text(60), "byte {byte}"),
                Err(ReadError::Damaged { .. }) => assert!(!has_copy, "byte {byte}"),
                Err(other) => panic!("byte {byte}: {other}"),
            }
        }
    }
}

/// A frame whose checksum is good and whose body is none: only a bug or somebody's hand writes such a thing. It costs
/// itself, as a damaged one does.
#[test]
fn a_bomb_on_disk_is_lost_and_named() {
    let storage = MemoryStorage::new();
    let (mut rig, _) = Rig::open(&storage, None).expect("opens");
    let mut bomb = frame(
        Vec::new(),
        [&[1, 255, 255, 255, 255][..], &[0; 40]].concat(),
    );
    bomb.form = Form::pretend_compressed();
    let place = rig.commit(vec![bomb])[0].position;
    rig.put(&[b"behind it"]);
    let pages = PageReader::open(Arc::new(storage.clone()), None).expect("plain");
    assert!(matches!(pages.read(place), Err(ReadError::Damaged { .. })));
    let (again, replayed) = Rig::open(&storage, None).expect("opens");
    assert!(replayed[0].lost && replayed[0].told);
    assert_eq!(
        (replayed[0].stream, replayed[0].count, &replayed[1].body[..]),
        (7, 1, &b"behind it"[..])
    );
    let damage = again.journal().damage();
    let expected = (file_name(1), 32, DamageKind::Frame, 1);
    let found = &damage[0];
    assert_eq!(
        (found.name.clone(), found.offset, found.kind, found.index),
        expected
    );
}

fn bodies() -> impl Strategy<Value = Vec<(Vec<u8>, bool, bool)>> {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        (0_u32..80).prop_map(text),
    ];
    prop::collection::vec((body, any::<bool>(), any::<bool>()), 1..12)
}

pub(super) fn keys() -> impl Strategy<Value = Option<Keys>> {
    prop_oneof![
        Just(None),
        Just(Some(Keys::new(Cipher::Aes, Some("a"), None))),
        Just(Some(Keys::new(Cipher::ChaCha, Some("a"), None))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Any body in any form comes back through the tail, the disk, pages and replay.
    #[test]
    fn any_body_in_any_form_comes_back(bodies in bodies(), keys in keys()) {
        let storage = MemoryStorage::new();
        let (mut rig, _) = open(&storage, keys.clone()).expect("opens");
        let frames = bodies.iter().map(|(body, compress, important)| {
            let mut frame = frame(Vec::new(), body.clone());
            frame.form = Form::of(*compress);
            frame.important = *important;
            frame
        });
        let done = rig.commit(frames.collect());
        let (again, replayed) = open(&storage, keys.clone()).expect("opens");
        let pages = PageReader::open(Arc::new(storage), keys.as_ref()).expect("the keys");
        prop_assert_eq!(replayed.len(), bodies.len());
        for (((body, ..), done), replayed) in bodies.iter().zip(&done).zip(&replayed) {
            let body = Bytes::copy_from_slice(body);
            prop_assert_eq!(&done.body, &body);
            prop_assert_eq!(&replayed.body, &body);
            prop_assert_eq!(&again.journal().read(done.position).expect("there"), &body);
            prop_assert_eq!(&pages.read(done.position).expect("there"), &body);
        }
    }
}
