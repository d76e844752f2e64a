//! Footers are read as they were written, and never when they were touched.

use std::io::IoSlice;

use super::{Builder, Ending, FrameInfo, TRAILER, read_footer, read_trailer};
use crate::frame::{COPY, FILE_HEADER};
use crate::tests::Chance;
use crate::{MemoryStorage, Storage as _, StorageFile};

fn frames(chance: &mut Chance) -> Vec<FrameInfo> {
    let mut offset = FILE_HEADER as u64;
    let mut index = chance.below(1 << 40);
    let mut frames: Vec<FrameInfo> = Vec::new();
    for _ in 0..chance.below(40) {
        if chance.one_in(10) {
            offset += chance.below(5000);
            index += chance.below(3);
        }
        let before = frames.last().copied();
        let frame = match before {
            Some(before) if chance.one_in(5) && !before.is_copy() && before.end() == offset => {
                FrameInfo {
                    offset,
                    flags: COPY,
                    ..before
                }
            }
            _ => {
                index += 1;
                FrameInfo {
                    offset,
                    len: (chance.next() >> (32 + chance.below(32))) as u32,
                    index,
                    group: chance.below(3) as u32,
                    stream: chance.below(4) as u32 * 1_000_000_000,
                    count: (chance.next() >> (32 + chance.below(32))) as u32,
                    flags: (chance.below(4) * 2) as u16,
                }
            }
        };
        offset = frame.end();
        frames.push(frame);
    }
    frames
}

/// A file whose footer lies directly behind its header, as if frames took no room.
fn file(bytes: &[u8]) -> std::sync::Arc<dyn StorageFile> {
    let file = MemoryStorage::new().create("f", 0).expect("created");
    file.write_at(&mut [IoSlice::new(bytes)], FILE_HEADER as u64)
        .expect("written");
    file
}

#[test]
fn golden_bytes() {
    let mut builder = Builder::new();
    let frame = FrameInfo {
        offset: 32,
        len: 300,
        index: 9,
        group: 1,
        stream: 4,
        count: 16,
        flags: 0,
    };
    builder.push(&frame);
    builder.push(&FrameInfo {
        offset: frame.end(),
        index: 10,
        len: 5,
        ..frame
    });
    let bytes = builder.finish(7, 449, 10, 0x0102_0304);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex[..34],
        *"f0080104 10ac02 0005 01040220a103 0901".replace(' ', "")
    );
    assert_eq!(hex[34..50], *"4d53464f4f544552");
    assert_eq!(hex[50..82], *"0100000007000000c101000000000000");
    assert_eq!(bytes.len(), 17 + TRAILER);
}

#[test]
fn what_was_written_is_read() {
    for seed in 0..300 {
        let mut chance = Chance(seed);
        let frames = frames(&mut chance);
        let mut builder = Builder::new();
        frames.iter().for_each(|frame| builder.push(frame));
        assert!(builder.most_bytes() >= builder.finish(3, 0, 0, 0).len() as u64);
        // What is read is believed where frames end only within the file, so the bound is kept out of the way.
        let end = FILE_HEADER as u64;
        let last = frames.last().map_or(0, |frame| frame.index);
        let file = file(&builder.finish(3, end, last, 9));
        let Ok(Ending::Good(trailer)) = read_trailer(&*file, 3) else {
            panic!("seed {seed}: no trailer");
        };
        assert_eq!(
            (trailer.end, trailer.last_index, trailer.chain),
            (end, last, 9)
        );
        let read = super::parse(
            &builder.finish(3, end, last, 9)
                [..(file.len().expect("known") - end) as usize - TRAILER],
            &super::Trailer {
                end: u64::MAX,
                ..trailer
            },
        )
        .expect("a footer");
        assert_eq!(read.frames, frames, "seed {seed}");
        let records: u64 = read.streams.values().map(|stream| stream.records).sum();
        let counted: u64 = frames
            .iter()
            .filter(|frame| !frame.is_copy())
            .map(|frame| u64::from(frame.count))
            .sum();
        assert_eq!(records, counted);
        for frame in &frames {
            assert_eq!(read.frame_at(frame.offset), Some(frame));
            let stream = read.streams[&(frame.group, frame.stream)];
            assert!(stream.first <= frame.index && frame.index <= stream.last);
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let mut builder = Builder::new();
    let bytes = {
        // The frames it lists end before the footer begins: it is behind a header and one empty frame.
        builder.push(&FrameInfo {
            offset: 32,
            len: 0,
            index: 1,
            group: 1,
            stream: 1,
            count: 1,
            flags: 0,
        });
        builder.finish(1, 88, 1, 5)
    };
    let storage = MemoryStorage::new();
    let file = storage.create("f", 0).expect("created");
    file.write_at(&mut [IoSlice::new(&bytes)], 88)
        .expect("written");
    assert!(matches!(read_footer(&*file, 1), Ok(Ending::Good(_))));
    assert_eq!(read_footer(&*file, 2).expect("read"), Ending::Bad);
    for byte in 88..88 + bytes.len() {
        for bit in 0..8 {
            storage.flip("f", byte, bit);
            let read = read_footer(&*file, 1).expect("read");
            assert!(
                matches!(read, Ending::Bad),
                "byte {byte} bit {bit}: {read:?}"
            );
            storage.flip("f", byte, bit);
        }
    }
    file.set_len(87 + bytes.len() as u64).expect("cut");
    assert!(!matches!(read_footer(&*file, 1), Ok(Ending::Good(_))));
}
