//! Erasing what a frame holds, in place: nothing of it can be read from the file any more, and yet the file stays whole.
//!
//! The body becomes zeros, and its last four bytes are chosen so that the frame's checksum is what it was. A CRC is linear
//! and any four bytes reach any value, so header, chain, footer and verification need no exception, and nobody can tell
//! from the checksum what was there. Whoever has a frame erased knows that nothing reads or replays it any more.

use std::io::{self, IoSlice};

use crate::frame::{FRAME_HEADER, FrameHeader, read_frame_header};
use crate::position::Position;
use crate::storage::StorageFile;

/// The polynomial of CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Where the checksum is in a frame's header, and what it does not cover.
const CRC_AT: usize = FRAME_HEADER - 4;
/// Fewer bytes cannot reach any checksum.
const PATCH: usize = 4;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            let odd = value & 1 != 0;
            value >>= 1;
            if odd {
                value ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// The four bytes that take a checksum from `before` to `after`.
fn patch(before: u32, after: u32) -> [u8; PATCH] {
    let mut state = !after;
    for _ in 0..PATCH {
        // The highest bytes of the table's values are all different, so each step can be taken back.
        let index = (0_u32..256)
            .find(|index| TABLE[*index as usize] >> 24 == state >> 24)
            .unwrap_or_default();
        state = (state ^ TABLE[index as usize]) << 8 | index;
    }
    (state ^ !before).to_le_bytes()
}

/// A body without content that has the same checksum behind this header; `None` when it is too short for that.
fn blank(header: &[u8], length: usize, crc: u32) -> Option<Vec<u8>> {
    let mut body = vec![0; length];
    let end = length.checked_sub(PATCH)?;
    let before = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), &body[..end]);
    body[end..].copy_from_slice(&patch(before, crc));
    Some(body)
}

/// Erases the body at a position, and its second copy, and syncs that. A frame that is damaged is erased as its header and the
/// position say, and stays damaged.
///
/// # Errors
/// When there is no such frame, or the disk fails: then some of it may be erased, and the frame damaged.
pub(crate) fn erase(file: &dyn StorageFile, at: Position) -> io::Result<()> {
    let start = at.offset.saturating_sub(FRAME_HEADER as u64);
    let Some((bytes, header)) = header_at(file, start)?.filter(|(_, header)| header.len == at.len)
    else {
        return Err(io::ErrorKind::NotFound.into());
    };
    blank_at(file, start, &bytes, &header)?;
    let copy = start + header.total();
    if let Some((bytes, second)) = header_at(file, copy)?
        && second.is_copy()
        && (second.index, second.len) == (header.index, header.len)
    {
        blank_at(file, copy, &bytes, &second)?;
    }
    file.sync()
}

fn header_at(
    file: &dyn StorageFile,
    at: u64,
) -> io::Result<Option<([u8; FRAME_HEADER], FrameHeader)>> {
    let mut bytes = [0; FRAME_HEADER];
    let count = file.read_at(&mut bytes, at)?;
    Ok(read_frame_header(&bytes[..count]).map(|header| (bytes, header)))
}

fn blank_at(
    file: &dyn StorageFile,
    at: u64,
    bytes: &[u8; FRAME_HEADER],
    header: &FrameHeader,
) -> io::Result<()> {
    let body = blank(bytes, header.len as usize, header.crc);
    let body = body.ok_or(io::ErrorKind::InvalidInput)?;
    file.write_at(&mut [IoSlice::new(&body)], at + FRAME_HEADER as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CRC_AT, blank};
    use crate::frame::FRAME_HEADER;

    proptest! {
        #[test]
        fn the_checksum_stays(
            header in prop::array::uniform32(any::<u8>()),
            body in prop::collection::vec(any::<u8>(), 4..200),
        ) {
            let mut bytes = [0; FRAME_HEADER];
            bytes[..32].copy_from_slice(&header);
            let sum = |body: &[u8]| crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), body);
            let blank = blank(&bytes, body.len(), sum(&body)).expect("long enough");
            prop_assert_eq!(sum(&blank), sum(&body));
            prop_assert!(blank[..body.len() - 4].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn too_short_a_body_is_refused() {
        assert_eq!(blank(&[0; FRAME_HEADER], 3, 7), None);
    }
}
