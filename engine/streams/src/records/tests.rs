//! Records survive encoding, and golden bytes hold their format still.

use bytes::Bytes;
use expect_test::expect;
use proptest::prelude::*;

use super::{BUFFERS, RecordError, RecordsBuilder, parse, record_at, records};

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
fn golden_bytes_of_shared_headers() {
    let mut builder = RecordsBuilder::new();
    builder.push(b"a", b"NATS/1.0\r\n\r\n", b"1");
    builder.push(b"b", b"", b"2");
    builder.push(b"c", b"NATS/1.0\r\n\r\n", b"3");
    let (body, count) = builder.take();
    assert_eq!(count, 3);
    expect!["1a 00 00 00 a6 57 64 73 01 00 01 00 0c 00 00 00 61 4e 41 54 53 2f 31 2e 30 0d 0a 0d 0a 31 0e 00 00 00 e2 a1 e0 dc 00 00 01 00 00 00 00 00 62 32 0e 00 00 00 fc 6b 9e 69 03 00 01 00 30 00 00 00 63 33"].assert_eq(&hex(&body));
}

/// A head goes into the room in front of the records, which are the same as without, batch after batch.
#[test]
fn records_behind_a_head_are_the_same() {
    let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
    let mut plain = RecordsBuilder::new();
    let mut behind = RecordsBuilder::with_room(3);
    for batch in 1..4u8 {
        for builder in [&mut plain, &mut behind] {
            builder.push(b"a", headers, &[batch]);
            builder.push(b"b", headers, b"");
        }
        assert_eq!(plain.bytes_len(), behind.bytes_len());
        let (records, count) = plain.take();
        assert_eq!((count, behind.count()), (2, 2));
        let head = [7, 8, batch];
        let all = behind.take_behind(&head);
        assert_eq!(all, [&head[..], &records[..]].concat());
        assert!(behind.is_empty());
        assert_eq!(behind.bytes_len(), 0);
        behind.push(b"c", headers, b"");
        plain.push(b"c", headers, b"");
        assert_eq!(plain.take(), behind.take());
        assert_eq!(behind.take(), Default::default());
    }
}

/// Lays records with payloads of these sizes out in as many batches as they need, as whoever cuts where one does not fit; answers the
/// bytes of the buffers that were made, and the batches.
fn cut(builder: &mut RecordsBuilder, sizes: impl Iterator<Item = usize>) -> (usize, Vec<Bytes>) {
    let (mut buffers, mut batches) = (0, Vec::new());
    for size in sizes {
        if !builder.is_empty() && !builder.fits(1 + size) {
            batches.push(builder.take_behind(&[0; 10]));
        }
        let is_new = !builder.fits(1 + size);
        builder.push(b"a", b"", &vec![7; size]);
        if is_new {
            buffers += builder.body.capacity();
        }
    }
    batches.push(builder.take_behind(&[0; 10]));
    (buffers, batches)
}

fn total(batches: &[Bytes]) -> usize {
    batches.iter().map(Bytes::len).sum()
}

#[test]
fn batches_that_are_cut_leave_little_of_their_buffers() {
    let (least, most) = BUFFERS;
    // What is small, what is neither small nor large, and both in turns.
    for sizes in [
        [100, 100],
        [13_500, 13_500],
        [20_000, 20_000],
        [100, 100_000],
    ] {
        let mut builder = RecordsBuilder::with_room(10);
        let (buffers, batches) = cut(&mut builder, sizes.into_iter().cycle().take(3_000));
        let used = total(&batches);
        assert!(
            buffers - used < most + buffers / 50,
            "{sizes:?}: {used} of {buffers}"
        );
        assert!(
            batches
                .iter()
                .all(|batch| batch.len() <= most.max(sizes[1] + 27))
        );
        let few = if sizes[0] == 100 { 1 } else { 3 };
        assert!(
            batches.len() <= 3_000 / few + 10,
            "{sizes:?}: {}",
            batches.len()
        );
        assert!(batches[0].len() <= least.max(sizes[1] + 27));
    }
    // Nobody has to cut, and what is large has what it needs.
    let mut whole = RecordsBuilder::new();
    (0..5_000).for_each(|_| whole.push(b"a", b"", &[7; 100]));
    assert_eq!(whole.take().0.len(), 5_000 * 117);
    let mut large = RecordsBuilder::new();
    large.push(b"a", b"", &vec![7; most]);
    assert_eq!(large.body.capacity(), large.bytes_len());
}

/// Who keeps a batch keeps its buffer: what comes now and then has small ones, whatever came before.
#[test]
fn buffers_are_as_large_as_what_came_lately() {
    let mut builder = RecordsBuilder::with_room(10);
    cut(&mut builder, std::iter::repeat_n(100, 3_000));
    builder.rest();
    let mut kept = (0, 0);
    for _ in 0..500 {
        let (buffers, batches) = cut(&mut builder, std::iter::once(100));
        builder.rest();
        kept = (kept.0 + buffers, kept.1 + total(&batches));
        assert!(builder.body.capacity() <= 512);
    }
    assert!(kept.0 <= 2 * kept.1, "{kept:?}");
}

/// Three records, of which the first and the last have the same headers, and where they begin.
fn sharing() -> (Vec<u8>, [usize; 3]) {
    let mut builder = RecordsBuilder::new();
    let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
    let mut starts = [0; 3];
    for (start, headers) in starts.iter_mut().zip([&headers[..], b"", headers]) {
        *start = builder.bytes_len();
        builder.push(b"a.b", headers, b"payload");
    }
    (builder.take().0.to_vec(), starts)
}

#[test]
fn headers_of_a_batch_are_stored_once() {
    let (body, [_, _, last]) = sharing();
    let (record, end) = record_at(&body, last).expect("whole");
    assert_eq!(record.headers, b"NATS/1.0\r\nA: b\r\n\r\n");
    assert_eq!(record.payload, b"payload");
    assert_eq!(end - last, super::RECORD_HEADER + 3 + 7);
    // The next batch knows nothing of this one.
    let mut builder = RecordsBuilder::new();
    for _ in 0..2 {
        builder.push(b"a", b"NATS/1.0\r\n\r\n", b"");
        let (body, _) = builder.take();
        assert!(record_at(&body, 0).is_ok());
    }
}

#[test]
fn damaged_headers_are_noticed_by_all_who_share_them() {
    let (body, [_, second, last]) = sharing();
    let headers = super::RECORD_HEADER + 3;
    let shared = (headers..second - 7).chain(10..16).chain(last..body.len());
    for at in shared {
        for bit in 0..8 {
            let mut bad = body.clone();
            bad[at] ^= 1 << bit;
            assert!(record_at(&bad, last).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn headers_are_only_taken_from_who_has_them() {
    let (body, [first, second, last]) = sharing();
    for distance in [0, last - second, last - first - 1, last + 1, usize::MAX] {
        let mut bad = body.clone();
        let number = u32::try_from(distance).unwrap_or(u32::MAX);
        bad[last + 12..last + 16].copy_from_slice(&number.to_le_bytes());
        assert_eq!(
            parse(&bad, last).map(drop),
            Err(RecordError::Lengths(last)),
            "{distance}"
        );
    }
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
        list in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(0..3_u8, 0..3), prop::collection::vec(any::<u8>(), 0..50)), 0..10),
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
