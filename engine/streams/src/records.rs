//! Records: published messages as they lie in a log frame.
//!
//! Layout, version 2, little endian; offsets from the record's first byte:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | length of everything after this field |
//! | 4..8 | CRC-32C of the headers where they are another record's, then of everything after this field |
//! | 8 | flags: bit 0 = the record has headers, bit 1 = they are another record's; the rest is 0 |
//! | 9 | 0 |
//! | 10..12 | length of the subject |
//! | 12..16 | length of the headers, or how many bytes before this record the one begins that has them |
//! | 16.. | subject, headers unless they are another record's, payload |
//!
//! What is published together often has the same headers: a batch says them once. Version 1 has no bit 1.

use std::ops::Range;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use millstream_types::Domain;
use thiserror::Error;

/// Bytes of a record before its subject.
pub(crate) const RECORD_HEADER: usize = 16;
const HAS_HEADERS: u8 = 1;
const SHARES_HEADERS: u8 = 2;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Ends before the record does.
    #[error("record at byte {0} is cut short")]
    Short(usize),
    /// A length does not fit into the record.
    #[error("record at byte {0} has lengths that do not fit")]
    Lengths(usize),
    /// The checksum does not match.
    #[error("record at byte {0} does not match its checksum; the store is damaged there")]
    Checksum(usize),
    /// Flags this version does not have.
    #[error("record at byte {0} was written by a newer build")]
    Flags(usize),
}

impl RecordError {
    /// Stored data is not what was written.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Corruption
    }
}

/// One record, borrowed from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The subject.
    pub subject: &'a [u8],
    /// The raw header block; empty when there is none.
    pub headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// Reads the record at `offset` and answers it with the offset of the next one. The checksum is verified.
///
/// # Errors
/// What is wrong with the bytes, and where.
pub fn record_at(body: &[u8], offset: usize) -> Result<(RecordView<'_>, usize), RecordError> {
    let (view, next) = parse(body, offset)?;
    let sum = u32::from_le_bytes(field(body, offset + 4));
    let before = match body[offset + 8] & SHARES_HEADERS {
        0 => 0,
        _ => crc32c::crc32c(view.headers),
    };
    if crc32c::crc32c_append(before, &body[offset + 8..next]) != sum {
        return Err(RecordError::Checksum(offset));
    }
    Ok((view, next))
}

/// As [`record_at`] without the checksum: for bytes whose frame was verified when it was read, or never left memory.
///
/// # Errors
/// What is wrong with the lengths, and where.
pub fn parse(body: &[u8], offset: usize) -> Result<(RecordView<'_>, usize), RecordError> {
    if body.len() < offset.saturating_add(RECORD_HEADER) {
        return Err(RecordError::Short(offset));
    }
    let after = u32::from_le_bytes(field(body, offset)) as usize;
    let end = offset + 4 + after;
    if body.len() < end {
        return Err(RecordError::Short(offset));
    }
    let flags = body[offset + 8];
    if flags & !(HAS_HEADERS | SHARES_HEADERS) != 0 {
        return Err(RecordError::Flags(offset));
    }
    let subject_len = usize::from(u16::from_le_bytes(field(body, offset + 10)));
    let number = u32::from_le_bytes(field(body, offset + 12)) as usize;
    let shares = flags & SHARES_HEADERS != 0;
    let subject_end = offset + RECORD_HEADER + subject_len;
    let header_end = subject_end + if shares { 0 } else { number };
    if header_end > end || (flags & HAS_HEADERS != 0) != (number > 0) {
        return Err(RecordError::Lengths(offset));
    }
    let headers = match shares {
        false => &body[subject_end..header_end],
        true => own_headers(body, offset, number)?,
    };
    let view = RecordView {
        subject: &body[offset + RECORD_HEADER..subject_end],
        headers,
        payload: &body[header_end..end],
    };
    Ok((view, end))
}

/// The headers of the record `distance` bytes before the one at `offset`. They are its own, so nobody is sent on from there.
fn own_headers(body: &[u8], offset: usize, distance: usize) -> Result<&[u8], RecordError> {
    let wrong = RecordError::Lengths(offset);
    let start = offset.checked_sub(distance).ok_or(wrong)?;
    let before = &body[start..offset];
    if before.len() < RECORD_HEADER || before[8] != HAS_HEADERS {
        return Err(wrong);
    }
    let subject_len = usize::from(u16::from_le_bytes(field(before, 10)));
    let header_len = u32::from_le_bytes(field(before, 12)) as usize;
    let from = RECORD_HEADER + subject_len;
    before.get(from..from + header_len).ok_or(wrong)
}

fn field<const N: usize>(body: &[u8], at: usize) -> [u8; N] {
    body[at..at + N]
        .try_into()
        .expect("invariant: the slice has the array's length")
}

/// All records of a publish body, checksums verified; stops after the first error.
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<RecordView<'_>, RecordError>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        if offset >= body.len() {
            return None;
        }
        Some(match record_at(body, offset) {
            Ok((view, next)) => {
                offset = next;
                Ok(view)
            }
            Err(error) => {
                offset = body.len();
                Err(error)
            }
        })
    })
}

/// Smallest and largest buffer that is made for more than one record, in bytes.
const BUFFERS: (usize, usize) = (256, 64 * 1024);

/// Writes records one after the other. Batches lie behind each other in buffers that they share, and whoever keeps one of them keeps
/// its buffer. So buffers are as large as twice what came [lately](RecordsBuilder::rest), and are filled: whoever cuts a batch where
/// the next record does not [fit](RecordsBuilder::fits) copies nothing and leaves little unused.
#[derive(Debug, Default)]
pub struct RecordsBuilder {
    /// Begins with the room, once there is a record.
    body: BytesMut,
    /// Bytes in front of the records.
    room: usize,
    /// What is left of a buffer while a large record has one of its own.
    aside: BytesMut,
    /// Bytes of the next buffer, and bytes taken since the last rest.
    buffer: usize,
    taken: usize,
    count: u32,
    headers: Option<Written>,
}

/// The last headers that were written.
#[derive(Debug)]
struct Written {
    /// Where their record begins.
    start: usize,
    /// Where they lie.
    place: Range<usize>,
    /// Their CRC-32C.
    sum: u32,
}

impl RecordsBuilder {
    /// No records yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No records yet, and room for so many bytes in front of them: a command whose head is written there need not be copied to be
    /// in one piece.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Adds a record. `subject` must have passed `check_subject` and be at most 65,535 bytes long, as the wire's control
    /// line sees to.
    pub fn push(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) {
        let subject_len = u16::try_from(subject.len())
            .expect("invariant: the wire limits subjects to a control line");
        if self.count == 0 {
            self.begin(RECORD_HEADER + subject.len() + headers.len() + payload.len());
        }
        let start = self.body.len();
        let written = self
            .headers
            .as_ref()
            .filter(|written| !headers.is_empty() && self.body[written.place.clone()] == *headers);
        let (flags, number, own, before) = match written {
            Some(written) => (
                HAS_HEADERS | SHARES_HEADERS,
                start - written.start,
                &[][..],
                written.sum,
            ),
            None if headers.is_empty() => (0, 0, headers, 0),
            None => (HAS_HEADERS, headers.len(), headers, 0),
        };
        let number = small(number);
        let after = RECORD_HEADER - 4 + subject.len() + own.len() + payload.len();
        self.body.reserve(4 + after);
        self.body.put_u32_le(small(after));
        self.body.put_u32_le(0);
        self.body.put_u8(flags);
        self.body.put_u8(0);
        self.body.put_u16_le(subject_len);
        self.body.put_u32_le(number);
        self.body.put_slice(subject);
        if !own.is_empty() {
            let from = self.body.len();
            self.headers = Some(Written {
                start,
                place: from..from + own.len(),
                sum: crc32c::crc32c(own),
            });
            self.body.put_slice(own);
        }
        self.body.put_slice(payload);
        let sum = crc32c::crc32c_append(before, &self.body[start + 8..]);
        self.body[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        self.count += 1;
    }

    /// Makes room for a first record of so many bytes.
    fn begin(&mut self, record: usize) {
        let need = self.room + record;
        let left = self.body.capacity();
        if left < need {
            let (least, most) = BUFFERS;
            let buffer = self.buffer.max(least);
            let size = if left > buffer / 2 {
                // Small ones find room there again.
                self.aside = std::mem::take(&mut self.body);
                need
            } else {
                self.buffer = (buffer * 2).min(most);
                // As many as there is room for, if they are alike.
                buffer.max(need) / need * need
            };
            self.body = BytesMut::with_capacity(size);
        }
        self.body.put_bytes(0, self.room);
    }

    /// Whether a record with so many bytes of subject, headers and payload needs no other buffer.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        let before = if self.count == 0 { self.room } else { 0 };
        before + RECORD_HEADER + bytes <= self.body.capacity() - self.body.len()
    }

    /// Nothing more comes for now. As much as came since this was said last is expected to come next, and a larger buffer goes.
    pub fn rest(&mut self) {
        let (least, most) = BUFFERS;
        self.buffer = (2 * std::mem::take(&mut self.taken)).clamp(least, most);
        if self.count == 0 && self.body.capacity() > self.buffer {
            self.body = BytesMut::new();
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes they take.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.body.len().saturating_sub(self.room)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records and their count; the builder starts anew and keeps what is left of its buffer.
    pub fn take(&mut self) -> (Bytes, u32) {
        let count = self.count;
        let mut records = self.take_all();
        records.advance(self.room.min(records.len()));
        (records, count)
    }

    /// As [`RecordsBuilder::take`], with `head` in front of them.
    ///
    /// # Panics
    /// When it is not as long as the room, or there are no records.
    pub fn take_behind(&mut self, head: &[u8]) -> Bytes {
        assert!(self.count > 0, "a head without records");
        self.body[..self.room].copy_from_slice(head);
        self.take_all()
    }

    fn take_all(&mut self) -> Bytes {
        self.headers = None;
        self.count = 0;
        self.taken += self.body.len();
        let batch = self.body.split().freeze();
        if self.aside.capacity() > 0 {
            self.body = std::mem::take(&mut self.aside);
        }
        batch
    }
}

fn small(length: usize) -> u32 {
    u32::try_from(length)
        .expect("invariant: the wire limits payloads to 2 GiB, and batches to less")
}

#[cfg(test)]
mod tests;
