//! The layout of journal files, version 2. Integers are little endian; CRCs are CRC-32C.
//!
//! ```text
//! file header, 32 bytes             frame header, 56 bytes, followed by the body
//!  0  8  magic "MSJOURNL"            0  4  magic "MSFR"
//!  8  4  version                     4  2  version
//! 12  4  file number                 6  2  flags
//!                                    8  4  bytes of body, as stored
//! 16  8  index of its first frame   12  4  group; 0 for frames of this node alone
//! 24  4  zero                       16  8  term
//! 28  4  CRC of bytes 0..28         24  8  index
//!                                   32  4  stream
//!                                   36  4  records in the body
//!                                   40  8  offset in this file where the frame's batch begins
//!                                   48  4  chain: the CRC of the frame before, or the file header's
//!                                   52  4  CRC of bytes 0..52 and the body
//! ```
//!
//! The index in the file header tells whether the file before it still has its end. The chain tells a frame from a
//! leftover of an older write at the same place. The batch's beginning tells a torn last batch from damage: a batch is
//! only begun when everything before it was synced.
//!
//! Flags: 1 the frame is the second copy of the one directly before it, with the same index, group, stream, records and
//! body; 2 the body is compressed (layout: `body.rs`); 4 the body is encrypted (`cipher.rs`), after it was compressed. A
//! whole frame with a flag that this build does not read was written by a newer one, and is neither replayed nor read.

use bytes::{Buf, BufMut};

use crate::damage::Told;
use crate::writer::Frame;

pub(crate) const FILE_HEADER: usize = 32;
pub(crate) const FRAME_HEADER: usize = 56;
pub(crate) const VERSION: u32 = 2;
const FRAME_VERSION: u16 = 2;
/// The frame is the second copy of the one before it.
pub(crate) const COPY: u16 = 1;
/// The body is compressed.
pub(crate) const COMPRESSED: u16 = 2;
/// The body is encrypted.
pub(crate) const SEALED: u16 = 4;
/// Flags that this build reads.
const KNOWN_FLAGS: u16 = COPY | COMPRESSED | SEALED;
const FILE_MAGIC: &[u8; 8] = b"MSJOURNL";
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"MSFR";
const CRC_AT: usize = FRAME_HEADER - 4;

/// A file header, and its CRC to chain from.
pub(crate) fn file_header(file: u32, first_index: u64) -> ([u8; FILE_HEADER], u32) {
    let mut bytes = [0; FILE_HEADER];
    let mut out = &mut bytes[..];
    out.put_slice(FILE_MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(file);
    out.put_u64_le(first_index);
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    (bytes, crc)
}

/// What a file header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileHeader {
    Good {
        chain: u32,
        first_index: u64,
    },
    /// Nothing was written yet: the file was created and the crash came before its header.
    Blank,
    /// Another build's, older or newer.
    Version(u32),
    Bad,
}

pub(crate) fn read_file_header(bytes: &[u8], file: u32) -> FileHeader {
    if bytes.iter().all(|byte| *byte == 0) {
        return FileHeader::Blank;
    }
    if bytes.len() < FILE_HEADER || !bytes.starts_with(FILE_MAGIC) {
        return FileHeader::Bad;
    }
    let first_index = (&bytes[16..]).get_u64_le();
    let (expected, chain) = file_header(file, first_index);
    if bytes == expected {
        return FileHeader::Good { chain, first_index };
    }
    let version = (&bytes[8..]).get_u32_le();
    let crc = (&bytes[28..]).get_u32_le();
    if version != VERSION && crc == crc32c::crc32c(&bytes[..28]) {
        return FileHeader::Version(version);
    }
    FileHeader::Bad
}

/// A frame header as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) flags: u16,
    pub(crate) len: u32,
    pub(crate) group: u32,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) stream: u32,
    pub(crate) count: u32,
    pub(crate) batch: u64,
    pub(crate) chain: u32,
    pub(crate) crc: u32,
}

impl FrameHeader {
    pub(crate) fn is_copy(&self) -> bool {
        self.flags & COPY != 0
    }

    /// Whether it has flags that this build does not know.
    pub(crate) fn is_newer(&self) -> bool {
        self.flags & !KNOWN_FLAGS != 0
    }

    /// What it tells of its frame.
    pub(crate) fn told(&self) -> Told {
        Told {
            group: self.group,
            stream: self.stream,
            count: self.count,
            len: self.len,
        }
    }

    /// Bytes of the whole frame.
    pub(crate) fn total(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.len)
    }
}

/// Writes a frame's header; answers it and its CRC.
pub(crate) fn frame_header<T>(
    frame: &Frame<T>,
    flags: u16,
    index: u64,
    batch: u64,
    chain: u32,
) -> ([u8; FRAME_HEADER], u32) {
    let mut bytes = [0; FRAME_HEADER];
    let mut out = &mut bytes[..];
    out.put_slice(&FRAME_MAGIC);
    out.put_u16_le(FRAME_VERSION);
    out.put_u16_le(flags);
    out.put_u32_le(frame.len());
    out.put_u32_le(frame.group);
    out.put_u64_le(frame.term);
    out.put_u64_le(index);
    out.put_u32_le(frame.stream);
    out.put_u32_le(frame.count);
    out.put_u64_le(batch);
    out.put_u32_le(chain);
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    let crc = crc32c::crc32c_append(crc, &frame.head);
    let crc = crc32c::crc32c_append(crc, &frame.body);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    (bytes, crc)
}

/// Reads a frame header's fields; `None` when it does not begin like one.
pub(crate) fn read_frame_header(bytes: &[u8]) -> Option<FrameHeader> {
    let bytes = bytes.get(..FRAME_HEADER)?;
    let mut rest = bytes.strip_prefix(&FRAME_MAGIC)?;
    if rest.get_u16_le() != FRAME_VERSION {
        return None;
    }
    Some(FrameHeader {
        flags: rest.get_u16_le(),
        len: rest.get_u32_le(),
        group: rest.get_u32_le(),
        term: rest.get_u64_le(),
        index: rest.get_u64_le(),
        stream: rest.get_u32_le(),
        count: rest.get_u32_le(),
        batch: rest.get_u64_le(),
        chain: rest.get_u32_le(),
        crc: rest.get_u32_le(),
    })
}

/// Whether header and body are what was written.
pub(crate) fn is_whole(header: &[u8], body: &[u8], crc: u32) -> bool {
    crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), body) == crc
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        COPY, FileHeader, file_header, frame_header, is_whole, read_file_header, read_frame_header,
    };
    use crate::body::Form;
    use crate::writer::{Durability, Frame};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let (file, chain) = file_header(7, 9);
        assert_eq!(
            hex(&file),
            format!(
                "4d534a4f55524e4c0200000007000000090000000000000000000000{}",
                hex(&chain.to_le_bytes())
            )
        );
        let frame = Frame {
            group: 1,
            term: 2,
            stream: 4,
            count: 5,
            head: Bytes::from_static(b"he"),
            body: Bytes::from_static(b"ad"),
            durability: Durability::Synced,
            important: false,
            form: Form::plain(),
            ticket: (),
        };
        let (header, crc) = frame_header(&frame, 0, 3, 32, chain);
        assert_eq!(
            hex(&header[..48]),
            "4d5346520200000004000000010000000200000000000000030000000000000004000000050000002000000000000000"
        );
        assert!(is_whole(&header, b"head", crc));
        assert!(!is_whole(&header, b"heed", crc));
        let read = read_frame_header(&header).expect("a header");
        assert_eq!((read.len, read.group, read.term, read.index), (4, 1, 2, 3));
        assert_eq!(
            (read.stream, read.count, read.batch, read.chain, read.crc),
            (4, 5, 32, chain, crc)
        );
        assert!(!read.is_copy() && !read.is_newer());
        let (copy, _) = frame_header(&frame, COPY, 3, 32, chain);
        assert_eq!(hex(&copy[..8]), "4d53465202000100");
        assert!(read_frame_header(&copy).is_some_and(|read| read.is_copy() && !read.is_newer()));
        let (newer, _) = frame_header(&frame, 1 << 15, 3, 32, chain);
        assert!(read_frame_header(&newer).is_some_and(|read| read.is_newer()));
    }

    #[test]
    fn headers_that_are_none() {
        let (good, chain) = file_header(1, 5);
        assert_eq!(
            read_file_header(&good, 1),
            FileHeader::Good {
                chain,
                first_index: 5
            }
        );
        assert_eq!(read_file_header(&good, 2), FileHeader::Bad);
        assert_eq!(read_file_header(&[0; 32], 1), FileHeader::Blank);
        let mut newer = good;
        for other in [1, 3] {
            newer[8] = other;
            let crc = crc32c::crc32c(&newer[..28]).to_le_bytes();
            newer[28..].copy_from_slice(&crc);
            assert_eq!(
                read_file_header(&newer, 1),
                FileHeader::Version(u32::from(other))
            );
        }
        assert!(read_frame_header(&[0; 56]).is_none());
    }
}
