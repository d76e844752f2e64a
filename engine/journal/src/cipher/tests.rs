//! Encrypted bodies: golden bytes, nonces, what is authenticated, keys.

use proptest::prelude::*;

use super::{Cipher, Keys, OVERHEAD, Opener, PREFIX, Sealer};
use crate::error::BodyError;
use crate::frame::{COPY, FrameHeader, SEALED};

fn header() -> FrameHeader {
    FrameHeader {
        flags: SEALED,
        group: 1,
        term: 2,
        index: 3,
        stream: 4,
        count: 5,
        ..FrameHeader::default()
    }
}

fn keys(cipher: Cipher) -> Keys {
    Keys::new(cipher, Some("a key for tests"), None)
}

fn sealer(cipher: Cipher) -> Sealer {
    let keys = keys(cipher);
    Sealer::with_salt(cipher, keys.current.as_ref().expect("one"), [9; 16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Computed with another implementation of HKDF and both ciphers.
#[test]
fn golden_bytes() {
    let golden = [
        (
            Cipher::Aes,
            "0101b6e217206ad85762090909090909090909090909090909090100000000000000eb6629cd10c8bd4cb59586137922a152ec2ff0ba3c",
        ),
        (
            Cipher::ChaCha,
            "0102b6e217206ad8576209090909090909090909090909090909010000000000000073c25a9c1687bfd1b913cb0118e6d44a7a744b1275",
        ),
    ];
    for (cipher, expected) in golden {
        let sealer = sealer(cipher);
        sealer.seal(&header(), b"", b"the number before");
        assert_eq!(hex(&sealer.seal(&header(), b"he", b"llo")), expected);
    }
}

#[test]
fn ids_tell_keys_apart_and_not_what_they_are() {
    let id = |text| Keys::new(Cipher::Aes, Some(text), None).current();
    assert_eq!(id("one"), id("one"));
    assert_ne!(id("one"), id("two"));
    let shown = format!("{:?}", Keys::new(Cipher::Aes, Some("hush"), Some("secret")));
    assert!(
        !shown.contains("hush") && !shown.contains("secret"),
        "{shown}"
    );
}

#[test]
fn no_nonce_is_used_twice_with_a_key() {
    let keys = keys(Cipher::ChaCha);
    let new = || Sealer::new(Some(&keys)).expect("random").expect("a key");
    let (one, other) = (new(), new());
    let prefix = |sealer: &Sealer| sealer.seal(&header(), b"", b"same")[..PREFIX].to_vec();
    let mut seen: Vec<_> = (0..100)
        .flat_map(|_| [prefix(&one), prefix(&other)])
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 200);
}

#[test]
fn a_body_opens_where_it_was_sealed_and_nowhere_else() {
    for cipher in [Cipher::Aes, Cipher::ChaCha] {
        let stored = sealer(cipher).seal(&header(), b"he", b"llo");
        // Whichever cipher is configured: the body says which one it is.
        let opener = Opener::new(Some(&keys(Cipher::Aes)));
        assert_eq!(opener.open(&header(), &stored).expect("opens"), "hello");
        let copy = FrameHeader {
            flags: SEALED | COPY,
            ..header()
        };
        assert_eq!(opener.open(&copy, &stored).expect("opens"), "hello");
        let changes: [fn(&mut FrameHeader); 6] = [
            |header| header.flags |= 2,
            |header| header.group += 1,
            |header| header.term += 1,
            |header| header.index += 1,
            |header| header.stream += 1,
            |header| header.count += 1,
        ];
        for change in changes {
            let mut other = header();
            change(&mut other);
            assert_eq!(opener.open(&other, &stored), Err(BodyError::Sealed));
        }
    }
}

#[test]
fn another_key_is_named() {
    let stored = sealer(Cipher::Aes).seal(&header(), b"", b"hello");
    let id = keys(Cipher::Aes).current().expect("one");
    let other = Keys::new(Cipher::Aes, Some("another"), None);
    for keys in [None, Some(&other)] {
        let opened = Opener::new(keys).open(&header(), &stored);
        assert_eq!(opened, Err(BodyError::Key(id)));
    }
    let rotated = Keys::new(Cipher::ChaCha, Some("another"), Some("a key for tests"));
    let opened = Opener::new(Some(&rotated)).open(&header(), &stored);
    assert_eq!(opened.expect("the previous key"), "hello");
}

proptest! {
    #[test]
    fn any_body_is_given_back_and_any_change_is_noticed(
        body in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..300,
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let sealer = sealer(Cipher::Aes);
        let opener = Opener::new(Some(&keys(Cipher::Aes)));
        let (head, rest) = body.split_at(cut.min(body.len()));
        let stored = sealer.seal(&header(), head, rest);
        prop_assert_eq!(stored.len(), body.len() + OVERHEAD);
        prop_assert_eq!(opener.open(&header(), &stored).expect("opens"), body);
        let mut bent = stored.to_vec();
        let at = at.index(bent.len());
        bent[at] ^= 1 << bit;
        prop_assert!(opener.open(&header(), &bent).is_err());
        prop_assert!(opener.open(&header(), &stored[..at]).is_err());
    }
}
