//! What is stored of a chunk is as documented, in this layout and in former ones.

use super::{Chunk, Meta, SPAN};
use crate::codec::{Reader, put_number};
use crate::links::Links;
use crate::pages::{Page, encoded};
use crate::ttl::Ttl;
use millstream_journal::Position;
use millstream_types::Timestamp;

fn frame(offset: u64) -> Position {
    Position {
        file: 1,
        offset,
        len: 90,
    }
}

fn meta(offset: u32, prev: u32) -> Meta {
    Meta {
        offset,
        size: 30,
        subject: 2,
        prev,
    }
}

const FIRST: u64 = 300 * SPAN;

/// A chunk of which two messages are gone, one has a time to live, and one a schedule.
fn chunk() -> Chunk {
    let mut chunk = Chunk::new(300);
    // Of the first frame nothing is left, nor of the second one's middle.
    chunk.push(FIRST, meta(5, 0), frame(10), Timestamp(1));
    chunk.push(FIRST + 1, meta(5, 1), frame(200), Timestamp(2));
    chunk.push(FIRST + 2, meta(51, 1), frame(200), Timestamp(2));
    chunk.push(FIRST + 3, meta(97, 2), frame(200), Timestamp(2));
    chunk.push(FIRST + 4, meta(5, 1), frame(300), Timestamp(3));
    chunk.set_ttl(FIRST + 3, Ttl::of_seconds(200));
    chunk.set_schedule(FIRST + 4, Timestamp(9));
    chunk.remove(FIRST);
    chunk.remove(FIRST + 2);
    chunk
}

/// Its bytes, with what is said of each of its three messages.
fn golden(version: u8, messages: [&[u8]; 3]) -> Vec<u8> {
    let parts = [
        &[version, 0xac, 2][..],
        // Two messages of the second frame: place, time, then each.
        &[2, 1, 0xc8, 1, 90],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        messages[0],
        messages[1],
        // One of the third, with the same size and subject.
        &[1, 1, 0xac, 2, 90],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        messages[2],
        &[9, 0, 0, 0, 0, 0, 0, 0],
        &[0],
    ];
    parts.concat()
}

#[test]
fn bytes_are_as_documented() {
    let mut chunk = chunk();
    let messages: [&[u8]; 3] = [
        // Behind a gap: all fields are new.
        &[0b1_1111, 2, 5, 30, 2, 1],
        &[0b101_0011, 2, 97, 2, 0xc8, 1],
        &[0b1001_0010, 5, 1],
    ];
    let golden = golden(3, messages);
    assert_eq!(encoded(&chunk), golden);
    let mut from = Reader::new(&golden);
    let again = Chunk::decode(&mut from).expect("a chunk");
    from.end().expect("nothing behind it");
    assert_eq!(encoded(&again), golden);
    assert_eq!(again.get(FIRST + 3), Some(&meta(97, 2)));
    assert_eq!(again.ttl(FIRST + 3), Some(Ttl::of_seconds(200)));
    assert_eq!(again.schedule(FIRST + 4), Some(Timestamp(9)));
    // Sparse or not, the bytes are the same.
    chunk.thin();
    assert_eq!(encoded(&chunk), golden);
}

#[test]
fn sequences_that_do_not_rise_are_damage() {
    let meta: [&[u8]; 3] = [&[0b1_1111, 2, 5, 30, 2, 1], &[0b11, 0, 97], &[0b10, 5]];
    assert!(Chunk::decode(&mut Reader::new(&golden(3, meta))).is_err());
    // The highest sequence of all, and one behind it that comes around.
    let mut last = vec![3];
    put_number(&mut last, u64::MAX / SPAN);
    last.extend([2, 1, 0, 90, 0, 0, 0, 0, 0, 0, 0, 0, 0b1111]);
    put_number(&mut last, SPAN);
    last.extend([5, 30, 2, 1]);
    put_number(&mut last, (u64::MAX / SPAN) * SPAN + 4);
    last.push(0);
    assert!(Chunk::decode(&mut Reader::new(&last)).is_err());
}

#[test]
fn former_layouts_have_the_links_in_the_chunk() {
    let messages: [&[u8]; 3] = [
        &[0b11_1111, 2, 5, 30, 2, 1, 2],
        // With the same link as the one before it.
        &[0b101_0011, 2, 97, 2, 0xc8, 1],
        &[0b1011_0010, 5, 1, 0],
    ];
    let bytes = golden(2, messages);
    let mut from = Reader::new(&bytes);
    assert_eq!(
        encoded(&Chunk::decode(&mut from).expect("a chunk")),
        encoded(&chunk())
    );
    from.end().expect("nothing behind it");
    let links = Links::decode(&mut Reader::new(&bytes)).expect("its links");
    let all: Vec<u32> = (0..6).map(|place| links.get(place)).collect();
    assert_eq!(all, [0, 2, 0, 2, 0, 0]);
    // This layout has no links in chunks.
    let bytes = golden(3, messages);
    assert!(Chunk::decode(&mut Reader::new(&bytes)).is_err());
}
