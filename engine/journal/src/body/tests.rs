//! Compressed bodies: their golden bytes, the way back, bombs.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;

use super::{Form, MOST, compress, decompress, pack, plain_of, unpack};
use crate::error::BodyError;
use crate::frame::COMPRESSED;
use crate::writer::{Durability, Frame};

fn frame(head: &[u8], body: &[u8]) -> Frame<()> {
    Frame {
        group: 1,
        term: 1,
        stream: 1,
        count: 1,
        head: Bytes::copy_from_slice(head),
        body: Bytes::copy_from_slice(body),
        durability: Durability::Synced,
        important: false,
        form: Form::compressed(),
        ticket: (),
    }
}

fn claims(length: u32, block: &[u8]) -> Vec<u8> {
    let mut stored = vec![super::LZ4];
    stored.put_u32_le(length);
    stored.extend_from_slice(block);
    stored
}

#[test]
fn golden_bytes() {
    let stored = compress(&[b'a'; 200]).expect("smaller");
    // Version, length 200, then LZ4: one literal `a`, a match of distance 1, and six last literals.
    let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "01c80000001f610100ae60616161616161");
    assert_eq!(decompress(&stored), Ok(Bytes::from(vec![b'a'; 200])));
}

#[test]
fn what_does_not_get_smaller_stays_as_it_is() {
    let noise: Vec<u8> = (0..400_u64)
        .map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    for body in [&noise[..], b"short short short"] {
        let mut same = frame(&body[..5], &body[5..]);
        pack(&mut same);
        assert_eq!(same.form.flags(), 0);
        assert_eq!(same.len() as usize, body.len());
        assert_eq!(plain_of(same.head, same.body, same.form), body);
    }
}

#[test]
fn what_is_in_memory_only_is_not_compressed() {
    let mut volatile = frame(b"", &[7; 1000]);
    volatile.durability = Durability::Memory;
    pack(&mut volatile);
    assert_eq!((volatile.form.flags(), volatile.len()), (0, 1000));
}

#[test]
fn a_refused_frame_is_given_back_as_it_came() {
    let mut refused = frame(&[7; 500], &[8; 500]);
    pack(&mut refused);
    assert_eq!(refused.form.flags(), COMPRESSED);
    assert!(refused.len() < 100);
    unpack(&mut refused);
    assert_eq!(refused.form.flags(), 0);
    assert_eq!(refused.body, [[7; 500], [8; 500]].concat());
    // A second try compresses again.
    pack(&mut refused);
    assert_eq!(refused.form.flags(), COMPRESSED);
}

#[test]
fn bombs_and_nonsense_are_refused_before_memory_is_taken() {
    let good = compress(&[b'a'; 2000]).expect("smaller");
    let block = &good[super::PREFIX..];
    let too_long = u32::try_from(MOST + 1).expect("fits");
    for length in [0, 1, 1999, 2001, 255 * 40, too_long, u32::MAX] {
        assert_eq!(
            decompress(&claims(length, block)),
            Err(BodyError::Compressed),
            "{length}"
        );
    }
    for length in 0..super::PREFIX {
        assert_eq!(decompress(&good[..length]), Err(BodyError::Compressed));
    }
    let mut newer = good.to_vec();
    newer[0] = 2;
    assert_eq!(decompress(&newer), Err(BodyError::Version(2)));
}

/// The bound on growth is one that no honest block passes.
#[test]
fn the_most_compressible_body_is_read_back() {
    for length in [128, 4096, 1 << 20, 16 << 20] {
        let body = vec![0; length];
        let stored = compress(&body).expect("smaller");
        assert_eq!(decompress(&stored).map(|plain| plain.len()), Ok(length));
    }
}

proptest! {
    #[test]
    fn any_body_is_given_back(
        body in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..3000),
        cut in 0_usize..3000,
    ) {
        let (head, rest) = body.split_at(cut.min(body.len()));
        let mut packed = frame(head, rest);
        pack(&mut packed);
        prop_assert!(packed.len() as usize <= body.len());
        if packed.form.flags() == COMPRESSED {
            prop_assert_eq!(decompress(&packed.body), Ok(Bytes::from(body.clone())));
        }
        prop_assert_eq!(plain_of(packed.head, packed.body, packed.form), body);
    }

    /// Whatever the bytes, they are unpacked or refused.
    #[test]
    fn any_stored_bytes_are_handled(
        length in 0_u32..5000,
        block in prop::collection::vec(any::<u8>(), 0..200),
        at in 0_usize..60,
        byte in any::<u8>(),
    ) {
        let _refused = decompress(&claims(length, &block));
        let mut bent = compress(&b"one two three one two four ".repeat(9)).expect("smaller").to_vec();
        let at = at % bent.len();
        bent[at] = byte;
        let _refused = decompress(&bent);
    }
}
