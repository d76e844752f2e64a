//! The end of a sealed file: what is in it, so that nobody need scan it. Layout version 1; integers of the trailer are
//! little endian, those of the index are LEB128 (7 bits a byte, low ones first).
//!
//! ```text
//! frame index, per frame:                       trailer, the last 64 bytes of the file:
//!   tag: 1 byte                                  0  8  magic "MSFOOTER"
//!     bits 0-2  the frame's flags                8  4  version
//!     bit 3     bytes that are no frame (gap)   12  4  file number
//!     bit 4     another index than expected     16  8  where frames end and the footer begins
//!     bit 5     another group                   24  8  index of the last frame
//!     bit 6     another stream                  32  4  chain: CRC of the last frame
//!     bit 7     another number of records       36  4  CRC of frame index and streams
//!   [gap] [index - expected] [group] [stream]   40  8  frames, second copies included
//!   [records] body length                       48  4  streams
//! streams, per group and stream, in order:      52  8  bytes of the frame index
//!   group, stream, frames, records, bytes,      60  4  CRC of bytes 0..60
//!   first index, last index - first index
//! ```
//!
//! Bits 3-7 say which of the bracketed numbers follow; what does not follow is as in the frame before (the file begins
//! with index, group, stream and records 0). The expected index is one more than the last, or for a second copy the same. Where
//! a stream's frames are counted, second copies are not; their bytes, headers included, are.

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, BufMut};

use crate::damage::Told;
use crate::frame::{COPY, FILE_HEADER, FRAME_HEADER};
use crate::storage::StorageFile;

pub(crate) const TRAILER: usize = 64;
const MAGIC: &[u8; 8] = b"MSFOOTER";
const VERSION: u32 = 1;
const FLAGS: u8 = 0b111;
const GAP: u8 = 1 << 3;
const JUMP: u8 = 1 << 4;
const GROUP: u8 = 1 << 5;
const STREAM: u8 = 1 << 6;
const RECORDS: u8 = 1 << 7;
/// Most bytes that a frame takes in the index while a file is written, without gaps: a tag and four numbers.
const MOST_PER_FRAME: u64 = 1 + 4 * 5;
/// Most bytes that a stream takes.
const MOST_PER_STREAM: u64 = 2 * 5 + 5 * 10;

/// A frame of a sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Bytes from the file's start to the frame's header.
    pub offset: u64,
    /// Bytes of the body, as stored.
    pub len: u32,
    /// Its index.
    pub index: u64,
    /// Which group's log it belongs to.
    pub group: u32,
    /// Which stream it is for.
    pub stream: u32,
    /// How many records it holds.
    pub count: u32,
    /// Its flags; 1 is a second copy.
    pub flags: u16,
}

impl FrameInfo {
    /// The first byte behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + FRAME_HEADER as u64 + u64::from(self.len)
    }

    pub(crate) fn told(&self) -> Told {
        Told {
            group: self.group,
            stream: self.stream,
            count: self.count,
            len: self.len,
        }
    }

    /// Whether it is the second copy of the frame before it.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.flags & COPY != 0
    }
}

/// What a sealed file holds of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamInfo {
    /// Frames, second copies not counted.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes in the file, with headers and second copies.
    pub bytes: u64,
    /// Index of the first frame.
    pub first: u64,
    /// Index of the last frame.
    pub last: u64,
}

/// A footer as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// All frames, in order.
    pub frames: Vec<FrameInfo>,
    /// Per group and stream.
    pub streams: BTreeMap<(u32, u32), StreamInfo>,
    /// Index of the last frame.
    pub last_index: u64,
    /// Where frames end.
    pub end: u64,
    pub(crate) chain: u32,
}

impl Footer {
    /// The frame that begins at `offset`.
    #[must_use]
    pub fn frame_at(&self, offset: u64) -> Option<&FrameInfo> {
        let place = self
            .frames
            .binary_search_by_key(&offset, |frame| frame.offset);
        place.ok().map(|at| &self.frames[at])
    }
}

/// Gathers a footer while a file is written or scanned.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    index: Vec<u8>,
    frames: u64,
    streams: BTreeMap<(u32, u32), StreamInfo>,
    last: FrameInfo,
    end: u64,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            index: Vec::new(),
            frames: 0,
            streams: BTreeMap::new(),
            last: NONE,
            end: FILE_HEADER as u64,
        }
    }

    pub(crate) fn push(&mut self, frame: &FrameInfo) {
        let expected = expected(&self.last, frame.flags);
        let gap = frame.offset.saturating_sub(self.end);
        let jump = frame.index.wrapping_sub(expected);
        let optional = [
            (GAP, gap != 0, gap),
            (JUMP, jump != 0, jump),
            (GROUP, frame.group != self.last.group, frame.group.into()),
            (
                STREAM,
                frame.stream != self.last.stream,
                frame.stream.into(),
            ),
            (RECORDS, frame.count != self.last.count, frame.count.into()),
        ];
        let mut tag = (frame.flags & u16::from(FLAGS)).to_le_bytes()[0];
        for (bit, _, _) in optional.iter().filter(|(_, there, _)| *there) {
            tag |= bit;
        }
        self.index.push(tag);
        for (_, _, number) in optional.iter().filter(|(_, there, _)| *there) {
            put(&mut self.index, *number);
        }
        put(&mut self.index, frame.len.into());
        let stream = self.streams.entry((frame.group, frame.stream)).or_default();
        stream.bytes += frame.end() - frame.offset;
        if !frame.is_copy() {
            stream.frames += 1;
            stream.records += u64::from(frame.count);
        }
        if stream.first == 0 {
            stream.first = frame.index;
        }
        stream.last = frame.index;
        self.frames += 1;
        self.last = *frame;
        self.end = frame.end();
    }

    /// Most bytes that the footer has as it is.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.index.len() as u64 + self.streams.len() as u64 * MOST_PER_STREAM + TRAILER as u64
    }

    /// Most bytes that one more frame of this stream adds, the file's first one included.
    pub(crate) fn most_growth(&self, group: u32, stream: u32) -> u64 {
        let jump = if self.frames == 0 { 10 } else { 0 };
        let stream = match self.streams.contains_key(&(group, stream)) {
            true => 0,
            false => MOST_PER_STREAM,
        };
        MOST_PER_FRAME + jump + stream
    }

    /// The footer's bytes, for a file whose frames end at `end`.
    pub(crate) fn finish(&self, file: u32, end: u64, last_index: u64, chain: u32) -> Vec<u8> {
        let mut bytes = self.index.clone();
        for ((group, stream), info) in &self.streams {
            let span = info.last - info.first;
            for number in [
                u64::from(*group),
                u64::from(*stream),
                info.frames,
                info.records,
                info.bytes,
                info.first,
                span,
            ] {
                put(&mut bytes, number);
            }
        }
        let crc = crc32c::crc32c(&bytes);
        let trailer = bytes.len();
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(file);
        bytes.put_u64_le(end);
        bytes.put_u64_le(last_index);
        bytes.put_u32_le(chain);
        bytes.put_u32_le(crc);
        bytes.put_u64_le(self.frames);
        bytes.put_u32_le(u32::try_from(self.streams.len()).unwrap_or(u32::MAX));
        bytes.put_u64_le(self.index.len() as u64);
        let crc = crc32c::crc32c(&bytes[trailer..]);
        bytes.put_u32_le(crc);
        bytes
    }
}

/// Stands before the first frame.
const NONE: FrameInfo = FrameInfo {
    offset: 0,
    len: 0,
    index: 0,
    group: 0,
    stream: 0,
    count: 0,
    flags: 0,
};

fn expected(last: &FrameInfo, flags: u16) -> u64 {
    match flags & COPY {
        0 => last.index.wrapping_add(1),
        _ => last.index,
    }
}

/// The trailer of a sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) end: u64,
    pub(crate) last_index: u64,
    pub(crate) chain: u32,
    crc: u32,
    frames: u64,
    streams: u32,
    index: u64,
}

/// What is at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending<T> {
    Good(T),
    /// No footer, and nothing that looks like one.
    None,
    /// A newer build's.
    Newer(u32),
    Bad,
}

pub(crate) fn read_trailer(file: &dyn StorageFile, id: u32) -> io::Result<Ending<Trailer>> {
    let length = file.len()?;
    let Some(at) = length.checked_sub(TRAILER as u64) else {
        return Ok(Ending::None);
    };
    let mut bytes = [0; TRAILER];
    let count = file.read_at(&mut bytes, at)?;
    Ok(parse_trailer(&bytes[..count], id, length))
}

fn parse_trailer(bytes: &[u8], id: u32, length: u64) -> Ending<Trailer> {
    let Some((content, crc)) = bytes.split_last_chunk::<4>() else {
        return Ending::None;
    };
    if bytes.len() < TRAILER {
        return Ending::None;
    }
    let (magic, mut rest) = content.split_at(MAGIC.len());
    // With the magic that should be there, so that damage to it is not taken for a file that has no footer yet.
    let sum = crc32c::crc32c_append(crc32c::crc32c(MAGIC), rest);
    let whole = sum == u32::from_le_bytes(*crc);
    match (magic == MAGIC, whole) {
        (true, true) => {}
        // A file that was not sealed ends with zeros, or with the last frame's body.
        (false, false) => return Ending::None,
        _ => return Ending::Bad,
    }
    let version = rest.get_u32_le();
    if version > VERSION {
        return Ending::Newer(version);
    }
    let file = rest.get_u32_le();
    let trailer = Trailer {
        end: rest.get_u64_le(),
        last_index: rest.get_u64_le(),
        chain: rest.get_u32_le(),
        crc: rest.get_u32_le(),
        frames: rest.get_u64_le(),
        streams: rest.get_u32_le(),
        index: rest.get_u64_le(),
    };
    let behind = length - TRAILER as u64;
    if file != id || trailer.end < FILE_HEADER as u64 || trailer.end > behind {
        return Ending::Bad;
    }
    Ending::Good(trailer)
}

/// The footer of the file with number `id`.
///
/// # Errors
/// As the storage says.
pub(crate) fn read_footer(file: &dyn StorageFile, id: u32) -> io::Result<Ending<Footer>> {
    let trailer = match read_trailer(file, id)? {
        Ending::Good(trailer) => trailer,
        Ending::None => return Ok(Ending::None),
        Ending::Newer(version) => return Ok(Ending::Newer(version)),
        Ending::Bad => return Ok(Ending::Bad),
    };
    let len = file.len()?.saturating_sub(TRAILER as u64 + trailer.end);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut bytes, trailer.end)?;
    if count < bytes.len() || crc32c::crc32c(&bytes) != trailer.crc {
        return Ok(Ending::Bad);
    }
    Ok(parse(&bytes, &trailer).map_or(Ending::Bad, Ending::Good))
}

/// `None` when the numbers make no sense, which a whole checksum rules out unless whoever wrote it erred.
fn parse(bytes: &[u8], trailer: &Trailer) -> Option<Footer> {
    let (mut index, mut rest) = bytes.split_at_checked(usize::try_from(trailer.index).ok()?)?;
    // The index was checked: it has at least two bytes per frame, so this is no more than was read.
    let mut frames: Vec<FrameInfo> =
        Vec::with_capacity(usize::try_from(trailer.frames).ok()?.min(index.len()));
    let (mut last, mut end) = (NONE, FILE_HEADER as u64);
    while !index.is_empty() {
        let tag = index.get_u8();
        let mut number = |bit| match tag & bit {
            0 => Some(None),
            _ => get(&mut index).map(Some),
        };
        let gap = number(GAP)?.unwrap_or(0);
        let jump = number(JUMP)?.unwrap_or(0);
        let small = |number: u64| u32::try_from(number).ok();
        let group = number(GROUP)?.map_or(Some(last.group), small)?;
        let stream = number(STREAM)?.map_or(Some(last.stream), small)?;
        let count = number(RECORDS)?.map_or(Some(last.count), small)?;
        let flags = u16::from(tag & FLAGS);
        last = FrameInfo {
            offset: end.checked_add(gap)?,
            len: small(get(&mut index)?)?,
            index: expected(&last, flags).wrapping_add(jump),
            group,
            stream,
            count,
            flags,
        };
        end = last.end();
        frames.push(last);
    }
    let mut streams = BTreeMap::new();
    for _ in 0..trailer.streams {
        let key = (
            u32::try_from(get(&mut rest)?).ok()?,
            u32::try_from(get(&mut rest)?).ok()?,
        );
        let mut info = StreamInfo {
            frames: get(&mut rest)?,
            records: get(&mut rest)?,
            bytes: get(&mut rest)?,
            first: get(&mut rest)?,
            last: 0,
        };
        info.last = info.first.checked_add(get(&mut rest)?)?;
        streams.insert(key, info);
    }
    let whole = rest.is_empty()
        && frames.len() as u64 == trailer.frames
        && frames.last().is_none_or(|frame| frame.end() <= trailer.end);
    whole.then_some(Footer {
        frames,
        streams,
        last_index: trailer.last_index,
        end: trailer.end,
        chain: trailer.chain,
    })
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f).to_le_bytes()[0];
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn get(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
