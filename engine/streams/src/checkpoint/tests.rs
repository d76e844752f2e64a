//! Checkpoints give back the state they were taken from and refuse damaged bytes.

use std::collections::BTreeSet;

use millstream_journal::Position;
use millstream_types::Timestamp;
use proptest::prelude::*;

use super::Changed;
use super::testing::Stored;
use crate::pages::{Pages, Slot};
use crate::{
    CheckpointError, Command, Publish, Purge, RecordsBuilder, Stream, StreamConfig, StreamSnapshot,
};

fn empty() -> Vec<u8> {
    let config = StreamConfig {
        name: "S".to_owned(),
        ..StreamConfig::default()
    };
    Stream::new(1, config.checked().expect("valid"), Timestamp(5), None).encode_checkpoint()
}

#[test]
fn cuts_and_newer_versions_are_errors() {
    let bytes = empty();
    for at in 0..bytes.len() {
        assert!(
            Stream::decode_checkpoint(&bytes[..at]).is_err(),
            "cut at {at}"
        );
    }
    let mut newer = bytes.clone();
    // Behind no pages and the root's length, which takes two bytes.
    assert_eq!(newer[3], 5, "the root's version");
    newer[3] = 9;
    assert!(matches!(
        Stream::decode_checkpoint(&newer),
        Err(CheckpointError::Version(9))
    ));
    let mut longer = bytes;
    longer.push(0);
    assert!(Stream::decode_checkpoint(&longer).is_err());
}

fn stored_stream(pages: Pages, allow_msg_ttl: bool) -> Stream {
    let config = StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        allow_msg_ttl,
        ..StreamConfig::default()
    };
    let config = config.checked().expect("valid");
    Stream::new(7, config, Timestamp(5), Some(pages))
}

/// A stream with several pages of messages and of subjects.
fn several_pages(pages: Pages) -> Stream {
    let mut stream = stored_stream(pages, false);
    for frame in 0..20u32 {
        let mut records = RecordsBuilder::new();
        records.push(format!("s.{}", frame % 3).as_bytes(), b"", b"one");
        records.push(b"s.x", b"NATS/1.0\r\nA: b\r\n\r\n", b"two");
        let (records, count) = records.take();
        let at = Position {
            file: 1 + frame / 8,
            offset: u64::from(frame) * 100,
            len: 90,
        };
        let publish = Publish {
            stream: 7,
            time: Timestamp(1_000_000 + i64::from(frame)),
            count,
            records,
        };
        stream.publish(at, 5, &publish, &mut Vec::new());
    }
    stream
        .apply(Command::DeleteMessage {
            stream: 7,
            seq: 11,
            erase: false,
        })
        .expect("it is there");
    stream
}

/// Whether each full chunk, or the links of each, of a stream with 400 messages is stored compressed; `each` of them in a frame.
fn compressed(
    links: bool,
    (headers, each): (&[u8], usize),
    subjects: impl Iterator<Item = u64>,
) -> Vec<bool> {
    let (_, pages) = Stored::pages();
    let mut stream = stored_stream(pages, true);
    let subjects: Vec<u64> = subjects.take(400).collect();
    for (number, frame) in subjects.chunks(each).enumerate() {
        let mut records = RecordsBuilder::new();
        for subject in frame {
            records.push(format!("s.{subject}").as_bytes(), headers, b"one");
        }
        let (records, count) = records.take();
        let at = Position {
            file: 200,
            offset: 40_000_000 + number as u64 * 20_000,
            len: 20_000,
        };
        let publish = Publish {
            stream: 7,
            time: Timestamp(1_700_000_000_000_000_000 + number as i64),
            count,
            records,
        };
        stream.publish(at, 5, &publish, &mut Vec::new());
    }
    assert_eq!(stream.log.messages(), 400);
    let changed = stream.snapshot(&BTreeSet::new()).changed;
    let chunks = changed.iter().filter(|page| match page {
        Changed::Chunk(..) => !links,
        Changed::Links(..) => links,
        Changed::Subjects(..) | Changed::Ids(..) => false,
    });
    let all: Vec<bool> = chunks
        .map(|page| page.encoded().expect("not stored").compress)
        .collect();
    // Those at the ends are not full, or of subjects without another message on one side.
    all[4..all.len() - 7].to_vec()
}

/// Compression costs time, and what it is asked for must be worth it.
#[test]
fn pages_without_a_pattern_are_not_compressed() {
    let all = |chunks: Vec<bool>, worth: bool| {
        assert!(chunks.len() > 10, "{}", chunks.len());
        assert!(chunks.iter().all(|one| *one == worth), "{chunks:?}");
    };
    let ttl = b"NATS/1.0\r\nNats-TTL: 86400s\r\n\r\n";
    let one = || std::iter::repeat(1);
    all(compressed(false, (b"", 400), one()), true);
    all(compressed(false, (b"", 1), one()), true);
    all(compressed(false, (ttl, 400), one()), true);
    all(compressed(false, (b"", 400), (0..).map(|at| at % 2)), true);
    all(compressed(true, (b"", 400), one()), true);
    // A linear congruential generator (Knuth's MMIX).
    let next = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let at_random = || std::iter::successors(Some(7), next).map(|x| (x >> 33) % 100);
    all(compressed(false, (b"", 400), at_random()), false);
    // Every other one is far.
    let far = (0..).map(|at| if at % 2 == 0 { 1000 } else { at / 2 % 50 });
    all(compressed(true, (b"", 400), far), false);
}

/// A stream copies a page to change it while a snapshot holds that, which must not be longer than it takes to store it.
#[test]
fn a_snapshot_lets_go_of_what_it_stored() {
    let (stored, pages) = Stored::pages();
    let mut stream = several_pages(pages);
    let mut snapshot = stream.snapshot(&BTreeSet::new());
    let shared = |stream: &Stream| {
        let subjects = stream.log.subjects.slots().iter();
        let subjects = subjects.filter(|slot| slot.is_shared()).count();
        let spans = stream.log.spans().iter();
        let shared = spans.map(|span| {
            let links = span.links.as_ref().is_some_and(Slot::is_shared);
            usize::from(span.slot.is_shared()) + usize::from(links)
        });
        subjects + shared.sum::<usize>()
    };
    assert!(shared(&stream) > 3, "{}", shared(&stream));
    while snapshot.pages_left() > 0 {
        assert_eq!(shared(&stream), snapshot.pages_left());
        let page = snapshot.next_pages(1).remove(0);
        snapshot.pages_stored(&[stored.put(page.bytes)]);
    }
    assert_eq!(shared(&stream), 0);
    // Nobody names the places of what was stored for a checkpoint that is not safe.
    let again = |stream: &mut Stream, safe| {
        let mut snapshot = stream.snapshot(&BTreeSet::new());
        let pages = snapshot.pages_left();
        stored.store(&mut snapshot);
        snapshot.finish(stream, safe);
        pages
    };
    snapshot.finish(&mut stream, false);
    let pages = again(&mut stream, false);
    assert!(pages > 3, "{pages}");
    assert_eq!(again(&mut stream, true), pages);
    assert_eq!(again(&mut stream, true), 0);
}

/// Publishes a message of each of these subjects in a frame of its own kind.
fn publish(stream: &mut Stream, frame: u64, subjects: impl Iterator<Item = u64>) {
    let mut records = RecordsBuilder::new();
    subjects.for_each(|subject| records.push(format!("s.{subject}").as_bytes(), b"", b"one"));
    let (records, count) = records.take();
    let at = Position {
        file: 1,
        offset: frame * 10_000,
        len: 9_000,
    };
    let publish = Publish {
        stream: 7,
        time: Timestamp(1_000_000),
        count,
        records,
    };
    stream.publish(at, 5, &publish, &mut Vec::new());
}

/// The chunks and the links that a snapshot stores, by their place among the chunks.
fn changed(snapshot: &StreamSnapshot) -> (Vec<usize>, Vec<usize>) {
    let [mut chunks, mut links] = [Vec::new(), Vec::new()];
    for page in &snapshot.changed {
        match page {
            Changed::Chunk(number, _) => chunks.push(*number),
            Changed::Links(number, _) => links.push(*number),
            Changed::Subjects(..) | Changed::Ids(..) => {}
        }
    }
    (chunks, links)
}

/// A checkpoint of what changed, from end to end.
fn checkpoint(stream: &mut Stream, stored: &Stored) -> (Vec<usize>, Vec<usize>) {
    let mut snapshot = stream.snapshot(&BTreeSet::new());
    let pages = changed(&snapshot);
    stored.store(&mut snapshot);
    snapshot.finish(stream, true);
    pages
}

/// What changes of old chunks when messages come, or take the place of old ones, is where the next ones of their subjects are.
#[test]
fn messages_that_come_change_the_links_of_old_ones_only() {
    let (stored, pages) = Stored::pages();
    let mut stream = stored_stream(pages, false);
    publish(&mut stream, 1, 0..100);
    // Messages 1 to 100, of which none has a next one.
    let all = (0..=6).collect();
    assert_eq!(checkpoint(&mut stream, &stored), (all, vec![]));
    publish(&mut stream, 2, 0..100);
    // Number 6 got messages 101 to 111 besides.
    let (new, old) = ((6..=12).collect(), (0..=6).collect::<Vec<usize>>());
    assert_eq!(checkpoint(&mut stream, &stored), (new, old));
    // The first 20 go, so number 0 and a part of 1.
    for seq in 1..=20 {
        stream.log.remove(seq);
    }
    assert_eq!(checkpoint(&mut stream, &stored), (vec![0], vec![0]));
    assert_eq!(stream.log.next_of(21), Some(121));
    assert_eq!(stream.log.next_of(121), None);
}

/// The messages with a next one of their subject.
fn linked(stream: &Stream) -> Vec<u64> {
    let all = (1..=60).filter(|seq| stream.log.next_of(*seq).is_some());
    all.collect()
}

/// Takes a checkpoint, whose root gives back the state; `safe` as for [`StreamSnapshot::finish`].
fn checked(stream: &mut Stream, (stored, pages): (&Stored, &Pages), safe: bool) {
    let mut snapshot = stream.snapshot(&BTreeSet::new());
    stored.store(&mut snapshot);
    let root = snapshot.root();
    snapshot.finish(stream, safe);
    let read = Stream::restore(&root, pages).expect("reads back");
    assert_eq!(linked(&read), linked(stream));
}

#[test]
fn links_may_go_and_come_while_a_snapshot_is_stored() {
    for safe in [true, false] {
        let (stored, pages) = Stored::pages();
        let mut stream = stored_stream(pages.clone(), false);
        // Number 0 is messages 1 to 15.
        publish(&mut stream, 1, 0..40);
        publish(&mut stream, 2, [3, 4].into_iter());
        checked(&mut stream, (&stored, &pages), true);
        publish(&mut stream, 3, std::iter::once(5));
        let mut snapshot = stream.snapshot(&BTreeSet::new());
        assert_eq!(changed(&snapshot), (vec![2], vec![0]));
        // Messages 4 to 6 are those with a next one.
        for next in 41..=43 {
            stream.log.remove(next);
        }
        publish(&mut stream, 4, std::iter::once(9));
        stored.store(&mut snapshot);
        snapshot.finish(&mut stream, safe);
        assert_eq!(linked(&stream), [10]);
        checked(&mut stream, (&stored, &pages), true);
        // None at all: no links are stored, and none are named.
        stream.log.remove(44);
        let snapshot = stream.snapshot(&BTreeSet::new());
        assert_eq!(changed(&snapshot).1, Vec::<usize>::new());
        snapshot.finish(&mut stream, false);
        checked(&mut stream, (&stored, &pages), safe);
        assert_eq!(linked(&stream), Vec::<u64>::new());
        // And others.
        publish(&mut stream, 5, std::iter::once(7));
        checked(&mut stream, (&stored, &pages), safe);
        assert_eq!(linked(&stream), [8]);
    }
}

#[test]
fn links_that_were_not_stored_safely_are_stored_again() {
    let (stored, pages) = Stored::pages();
    let mut stream = stored_stream(pages.clone(), false);
    publish(&mut stream, 1, 0..40);
    publish(&mut stream, 2, std::iter::once(3));
    checked(&mut stream, (&stored, &pages), true);
    publish(&mut stream, 3, std::iter::once(4));
    checked(&mut stream, (&stored, &pages), false);
    assert_eq!(linked(&stream), [4, 5]);
    checked(&mut stream, (&stored, &pages), true);
    assert_eq!(checkpoint(&mut stream, &stored), (vec![], vec![]));
}

/// Its chunks and links are others then, with the same numbers.
#[test]
fn a_stream_may_be_purged_while_a_snapshot_is_stored() {
    for (safe, again) in [(true, 0), (true, 3), (false, 0), (false, 3)] {
        let (stored, pages) = Stored::pages();
        let mut stream = stored_stream(pages.clone(), false);
        publish(&mut stream, 1, [1, 1, 2, 2].into_iter());
        let mut snapshot = stream.snapshot(&BTreeSet::new());
        assert_eq!(changed(&snapshot), (vec![0], vec![0]));
        stream.purge(&Purge::default());
        publish(&mut stream, 2, [3, 4, again].into_iter());
        stored.store(&mut snapshot);
        snapshot.finish(&mut stream, safe);
        // Old chunks do not stay in memory, where they can be read back.
        publish(&mut stream, 3, 100..140);
        let links: &[u64] = if again == 3 { &[5] } else { &[] };
        stream.log.relaxed_anew();
        assert_eq!(linked(&stream), links);
        checked(&mut stream, (&stored, &pages), true);
        stream.log.relaxed_anew();
        assert_eq!(linked(&stream), links);
    }
}

/// The files are what former builds stored of this stream.
#[test]
fn former_layouts_are_read() {
    let formers = [include_str!("version3.hex"), include_str!("version4.hex")];
    for former in formers {
        let (_, pages) = Stored::pages();
        let mut stream = several_pages(pages);
        let hex: Vec<u8> = former.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
        let old: Result<Vec<u8>, _> = hex.chunks(2).map(byte).collect();
        let old = old.expect("hex");
        let mut read = Stream::decode_checkpoint(&old).expect("reads back");
        assert_eq!(read.encode_checkpoint(), stream.encode_checkpoint());
        let (mut read, stored, pages) = Stream::decode_with_pages(&old).expect("reads back");
        // It goes on from there, and pages that do not change stay as they are: with the links in the chunks.
        publish(&mut read, 90, 1..=1);
        publish(&mut stream, 90, 1..=1);
        let mut snapshot = read.snapshot(&BTreeSet::new());
        assert_eq!(changed(&snapshot), (vec![2], vec![2]));
        stored.store(&mut snapshot);
        let root = snapshot.root();
        snapshot.finish(&mut read, true);
        let places = read.page_files().count();
        let mut read = Stream::restore(&root, &pages).expect("reads back");
        assert_eq!(read.page_files().count(), places);
        assert_eq!(read.encode_checkpoint(), stream.encode_checkpoint());
        // Until their file is to go.
        let mut read = Stream::restore(&root, &pages).expect("reads back");
        let anew = read.snapshot(&BTreeSet::from([1]));
        assert_eq!(anew.pages_left(), places);
        assert_eq!(changed(&anew), (vec![0, 1, 2], vec![0, 1, 2]));
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = empty();
        let at = at.index(bytes.len());
        bytes.truncate(at);
        bytes.push(byte);
        bytes.extend(tail);
        let _result = Stream::decode_checkpoint(&bytes);
    }
}
