//! Frames that are written twice.

use super::{Rig, frame, options};
use crate::frame::FRAME_HEADER;
use crate::recover::file_name;
use crate::{Committed, LOCAL, MemoryStorage, Options, Position, ReadError};

/// A plain, an important and a plain frame in one batch, and one behind them.
fn filled() -> (MemoryStorage, Vec<Position>) {
    let storage = MemoryStorage::new();
    let roomy = Options {
        file_size: 2048,
        ..options()
    };
    let (mut rig, _) = Rig::open_with(&storage, None, &roomy).expect("opens");
    let mut frames: Vec<_> = [b'a', b'i', b'b']
        .into_iter()
        .map(|letter| frame(vec![letter; 3], vec![letter; 37]))
        .collect();
    frames[1].important = true;
    frames[1].group = LOCAL;
    let done = rig.commit(frames);
    let mut places: Vec<Position> = done.iter().map(|done| done.position).collect();
    let indexes: Vec<u64> = done.iter().map(|done: &Committed<()>| done.index).collect();
    assert_eq!(indexes, [1, 2, 3]);
    places.extend(rig.put(&[b"end"]));
    (storage, places)
}

#[test]
fn both_copies_are_one_frame() {
    let (storage, places) = filled();
    assert_eq!(places[2].offset - places[1].offset, 3 * 56 - 56 + 2 * 40);
    let (rig, replayed) = Rig::open(&storage, None).expect("opens");
    let seen: Vec<_> = replayed
        .iter()
        .map(|frame| (frame.index, frame.group, frame.position))
        .collect();
    let expected: Vec<_> = (1..)
        .zip([1, LOCAL, 1, 1])
        .zip(&places)
        .map(|((index, group), place)| (index, group, *place))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(rig.journal().status().from_copy, 0);
    // Behind a checkpoint that ends with an important frame, its copy is passed over.
    let (_, behind) = Rig::open(&storage, Some((places[1], 2))).expect("opens");
    assert_eq!(
        behind.iter().map(|frame| frame.index).collect::<Vec<_>>(),
        [3, 4]
    );
}

#[test]
fn either_copy_is_enough() {
    let (pristine, places) = filled();
    let first = places[1].offset - FRAME_HEADER as u64;
    for byte in first..places[1].end() {
        let storage = pristine.restart(|_, _, _| false);
        let at = |byte: u64| usize::try_from(byte).expect("small");
        storage.flip(&file_name(1), at(byte), (byte % 8) as u8);
        let (rig, replayed) = Rig::open(&storage, None).expect("opens");
        let bodies: Vec<_> = replayed
            .iter()
            .map(|frame| (frame.position, &frame.body))
            .collect();
        assert_eq!(bodies.len(), 4, "byte {byte}");
        assert_eq!(
            (bodies[1].0, &bodies[1].1[..]),
            (places[1], &[b'i'; 40][..])
        );
        assert_eq!(rig.journal().status().from_copy, 1);
        assert_eq!(
            rig.journal().read(places[1]).expect("the copy"),
            [b'i'; 40][..]
        );
        assert_eq!(rig.journal().status().from_copy, 2);
        // Both are gone.
        storage.flip(&file_name(1), at(byte + 96), 1);
        assert!(matches!(
            rig.journal().read(places[1]),
            Err(ReadError::Damaged { offset, .. }) if offset == first
        ));
    }
}
