//! Records survive encoding, and golden bytes hold their format still.

use expect_test::expect;
use proptest::prelude::*;

use super::{RecordError, RecordsBuilder, record_at, records};

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn golden_bytes() {
    let mut builder = RecordsBuilder::new();
    builder.push(b"a.b", b"NATS/1.0\r\n\r\n", b"hi");
    builder.push(b"a", b"", b"");
    let (body, count) = builder.take();
    assert_eq!(count, 2);
    expect!["1d 00 00 00 f9 e6 80 6d 01 00 03 00 0c 00 00 00 61 2e 62 4e 41 54 53 2f 31 2e 30 0d 0a 0d 0a 68 69 0d 00 00 00 0a 54 4b 40 00 00 01 00 00 00 00 00 61"].assert_eq(&hex(&body));
}

#[test]
fn damage_is_told_apart() {
    let mut builder = RecordsBuilder::new();
    builder.push(b"a.b", b"", b"payload");
    let (body, _) = builder.take();
    assert_eq!(record_at(&body[..10], 0), Err(RecordError::Short(0)));
    assert_eq!(record_at(&body[..20], 0), Err(RecordError::Short(0)));
    for at in 0..body.len() {
        for bit in 0..8 {
            let mut bad = body.to_vec();
            bad[at] ^= 1 << bit;
            assert!(record_at(&bad, 0).is_err(), "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        list in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..50)), 0..10),
    ) {
        let mut builder = RecordsBuilder::new();
        for (subject, headers, payload) in &list {
            builder.push(subject.as_bytes(), headers, payload);
        }
        let (body, count) = builder.take();
        prop_assert_eq!(count as usize, list.len());
        prop_assert!(builder.is_empty());
        let read: Vec<_> = records(&body).map(|record| record.expect("whole")).collect();
        prop_assert_eq!(read.len(), list.len());
        for (view, (subject, headers, payload)) in read.iter().zip(&list) {
            prop_assert_eq!(view.subject, subject.as_bytes());
            prop_assert_eq!(view.headers, headers.as_slice());
            prop_assert_eq!(view.payload, payload.as_slice());
        }
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _list: Vec<_> = records(&bytes).collect();
    }
}
