//! Erased frames: nothing of them is left, the rest of the file is as it was, and a power cut in between is made good.

use super::{Chance, Rig, frame, options};
use crate::{
    Cipher, Fault, Form, Keys, MemoryStorage, Options, Position, Storage as _, VerifyOptions,
    verify,
};

const WORDS: &[u8] = b"nobody is to read these words, nobody is to read these words, ";

fn body(number: u8) -> Vec<u8> {
    let mut body = WORDS.repeat(3);
    body.push(number);
    body
}

fn holds_words(storage: &MemoryStorage) -> bool {
    let names = storage.list().expect("listed");
    names.iter().any(|name| {
        let file = storage.open(name).expect("there");
        let length = file.len().expect("known");
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        file.read_at(&mut bytes, 0).expect("readable");
        bytes.windows(20).any(|window| window == &WORDS[..20])
    })
}

fn is_clean(storage: &MemoryStorage) -> bool {
    let report = verify(storage, VerifyOptions { running: false }, &mut |_| ());
    let report = report.expect("listed");
    report.is_clean() && report.damage.is_empty()
}

/// Frames of which the third is to go; and where all of them are.
fn filled(
    storage: &MemoryStorage,
    options: &Options,
    important: bool,
    form: &Form,
) -> (Rig, Vec<(Position, u64)>) {
    let (mut rig, _) = Rig::open_with(storage, None, options).expect("opens");
    let mut places = Vec::new();
    for number in 0..6 {
        let mut frame = match number {
            2 => frame(Vec::new(), body(number)),
            _ => frame(vec![number; 3], vec![number; 90]),
        };
        frame.important = important;
        frame.form = form.clone();
        let done = rig.commit(vec![frame]);
        places.push((done[0].position, done[0].index));
    }
    (rig, places)
}

fn kinds() -> Vec<(Options, bool, Form)> {
    let keys = Keys::new(Cipher::Aes, Some("a key of thirty-two bytes or more"), []);
    let sealed = Options {
        keys: Some(keys),
        ..options()
    };
    vec![
        (options(), false, Form::plain()),
        (options(), true, Form::plain()),
        (options(), false, Form::compressed()),
        (sealed.clone(), true, Form::plain()),
        (sealed, false, Form::compressed()),
    ]
}

#[test]
fn nothing_of_an_erased_frame_is_left_and_the_file_stays_whole() {
    for (options, important, form) in kinds() {
        let storage = MemoryStorage::new();
        let (mut rig, places) = filled(&storage, &options, important, &form);
        let plain = options.keys.is_none();
        assert_eq!(holds_words(&storage), plain, "before");
        rig.journal().erase(places[2].0).expect("erased");
        assert!(!holds_words(&storage));
        assert!(is_clean(&storage));
        rig.seal();
        assert!(is_clean(&storage));
        // Once more changes nothing.
        rig.journal().erase(places[2].0).expect("erased");
        assert!(is_clean(&storage));
        drop(rig);
        let after_cut = storage.restart(|_, _, _| false);
        let (rig, replayed) =
            Rig::open_with(&after_cut, Some(places[2]), &options).expect("opens again");
        assert_eq!(replayed.len(), 3);
        for (at, (place, _)) in places.iter().enumerate().filter(|(at, _)| *at != 2) {
            let number = u8::try_from(at).expect("small");
            let mut expected = vec![number; 93];
            expected.truncate(93);
            let read = rig.journal().read(*place).expect("it is whole");
            assert_eq!(&read[..], &expected[..]);
        }
        assert!(!holds_words(&after_cut));
    }
}

#[test]
fn a_power_cut_while_erasing_is_made_good_by_erasing_again() {
    for (number, (options, important, form)) in (0..).zip(kinds()) {
        for call in 1..20 {
            let storage = MemoryStorage::new();
            let (rig, places) = filled(&storage, &options, important, &form);
            storage.fail_at(storage.calls() + call, Fault::PowerCut);
            let whole = rig.journal().erase(places[2].0).is_ok();
            drop(rig);
            let mut chance = Chance(number * 100 + call);
            let after_cut = storage.restart(|_, _, _| chance.next().is_multiple_of(2));
            let last = places[5];
            let (rig, replayed) =
                Rig::open_with(&after_cut, Some(last), &options).expect("opens again");
            assert!(replayed.is_empty());
            rig.journal().erase(places[2].0).expect("erased");
            assert!(is_clean(&after_cut), "call {call}");
            assert!(!holds_words(&after_cut));
            if whole {
                break;
            }
            assert!(call < 19, "it never gets through");
        }
    }
}

#[test]
fn what_is_no_frame_is_not_erased() {
    let storage = MemoryStorage::new();
    let (rig, places) = filled(&storage, &options(), false, &Form::plain());
    let (at, _) = places[3];
    for wrong in [
        Position {
            len: at.len - 1,
            ..at
        },
        Position {
            offset: at.offset + 1,
            ..at
        },
    ] {
        assert!(rig.journal().erase(wrong).is_err());
    }
    assert!(is_clean(&storage));
    // Its file is gone: so is all that was in it.
    let gone = Position { file: 900, ..at };
    rig.journal().erase(gone).expect("nothing to do");
}
