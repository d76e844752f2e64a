//! How a frame's body is stored: as it is, or compressed with LZ4, and then encrypted or not (`cipher.rs`).
//!
//! ```text
//! compressed body (flag 2), version 1
//!  0  1  version and algorithm: 1 is an LZ4 block
//!  1  4  bytes of the plain body, little endian
//!  5  .. the block
//! ```
//!
//! A body that does not get smaller is stored as it is. The frame's CRC covers what is stored, so a file is checked
//! without unpacking anything. Whoever appends compresses, before the frame waits for the journal's thread; the plain body
//! comes along for those who apply it and for the tail cache, so nothing is unpacked before it is read from disk.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::cipher::{Opener, Sealer};
use crate::error::BodyError;
use crate::frame::{COMPRESSED, FrameHeader, SEALED};
use crate::writer::{Durability, Frame};

/// What stands in front of a compressed body.
const PREFIX: usize = 5;
const LZ4: u8 = 1;
/// Smaller bodies hardly get smaller.
const LEAST: usize = 128;
/// Larger ones are stored as they are, so that no reader is made to take more memory than this for a few bytes on disk.
pub(crate) const MOST: usize = 64 << 20;
/// An LZ4 block cannot grow by more than this: each of its bytes stands for 255 at most.
const MOST_GROWTH: usize = 255;
/// What compression must save, as a part of the body, to be worth unpacking.
const LEAST_SAVED: usize = 16;

/// How a frame's body is to be stored.
#[derive(Clone, Debug, Default)]
pub struct Form(Kind);

/// Small, because most frames have one of the first two.
#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Plain,
    Compress,
    Made(Box<Made>),
}

/// What was done to a body.
#[derive(Clone, Debug)]
struct Made {
    /// The frame's flags for it.
    flags: u16,
    /// The body before.
    plain: Bytes,
}

impl Form {
    /// As it is.
    #[must_use]
    pub fn plain() -> Self {
        Self(Kind::Plain)
    }

    /// Compressed, if it gets smaller.
    #[must_use]
    pub fn compressed() -> Self {
        Self(Kind::Compress)
    }

    /// [`Form::compressed`] when `compress`, else [`Form::plain`].
    #[must_use]
    pub fn of(compress: bool) -> Self {
        match compress {
            true => Self::compressed(),
            false => Self::plain(),
        }
    }

    /// Says that the body is compressed when it is not.
    #[cfg(test)]
    pub(crate) fn pretend_compressed() -> Self {
        let made = Made {
            flags: COMPRESSED,
            plain: Bytes::new(),
        };
        Self(Kind::Made(Box::new(made)))
    }

    fn made(&self) -> Option<&Made> {
        match &self.0 {
            Kind::Made(made) => Some(made),
            Kind::Plain | Kind::Compress => None,
        }
    }

    /// The frame's flags that tell what was done to the body.
    pub(crate) fn flags(&self) -> u16 {
        self.made().map_or(0, |made| made.flags)
    }

    /// Bytes that are kept beside the stored ones.
    pub(crate) fn kept(&self) -> usize {
        self.made().map_or(0, |made| made.plain.len())
    }
}

/// Compresses a frame's body where that is asked for, possible and worth it. Does nothing the second time.
pub(crate) fn pack<T>(frame: &mut Frame<T>) {
    if !matches!(frame.form.0, Kind::Compress) {
        return;
    }
    frame.form = Form::plain();
    let length = frame.head.len() + frame.body.len();
    if frame.durability == Durability::Memory || !(LEAST..=MOST).contains(&length) {
        return;
    }
    let plain = take_body(frame);
    match compress(&plain) {
        Some(stored) => {
            let flags = COMPRESSED;
            frame.form = Form(Kind::Made(Box::new(Made { flags, plain })));
            frame.body = stored;
        }
        None => frame.body = plain,
    }
}

fn take_body<T>(frame: &mut Frame<T>) -> Bytes {
    let (head, body) = (&mut frame.head, &mut frame.body);
    whole(std::mem::take(head), std::mem::take(body))
}

/// The frame with its body as it came; of one that was refused.
pub(crate) fn unpack<T>(frame: &mut Frame<T>) {
    if let Kind::Made(made) = std::mem::take(&mut frame.form.0) {
        frame.body = made.plain;
        frame.form = Form::compressed();
    }
}

/// The body of a frame as it came, in one piece: readers share it, and get it from disk in one piece too.
pub(crate) fn plain_of(head: Bytes, body: Bytes, form: Form) -> Bytes {
    match form.0 {
        Kind::Made(made) => made.plain,
        Kind::Plain | Kind::Compress => whole(head, body),
    }
}

fn whole(head: Bytes, body: Bytes) -> Bytes {
    match (head.is_empty(), body.is_empty()) {
        (true, _) => body,
        (false, true) => head,
        (false, false) => {
            let mut both = BytesMut::with_capacity(head.len() + body.len());
            both.extend_from_slice(&head);
            both.extend_from_slice(&body);
            both.freeze()
        }
    }
}

/// The stored form, when it is enough smaller.
fn compress(plain: &[u8]) -> Option<Bytes> {
    let worth = plain.len() - plain.len() / LEAST_SAVED;
    let mut stored = vec![0; PREFIX + lz4_flex::block::get_maximum_output_size(plain.len())];
    let mut prefix = &mut stored[..PREFIX];
    prefix.put_u8(LZ4);
    prefix.put_u32_le(u32::try_from(plain.len()).ok()?);
    let length = lz4_flex::block::compress_into(plain, &mut stored[PREFIX..]).ok()?;
    if PREFIX + length > worth {
        return None;
    }
    stored.truncate(PREFIX + length);
    // It may wait, and is no reason to hold on to the room that the worst case would have needed.
    stored.shrink_to_fit();
    Some(Bytes::from(stored))
}

/// Encrypts a frame's body, for the place in the log that it gets.
pub(crate) fn seal<T>(frame: &mut Frame<T>, index: u64, sealer: &Sealer) {
    let flags = frame.form.flags() | SEALED;
    let header = FrameHeader {
        flags,
        group: frame.group,
        term: frame.term,
        index,
        stream: frame.stream,
        count: frame.count,
        ..FrameHeader::default()
    };
    let stored = sealer.seal(&header, &frame.head, &frame.body);
    let body = take_body(frame);
    let plain = match std::mem::take(&mut frame.form.0) {
        Kind::Made(made) => made.plain,
        Kind::Plain | Kind::Compress => body,
    };
    frame.form = Form(Kind::Made(Box::new(Made { flags, plain })));
    frame.body = stored;
}

/// The plain body of a frame whose checksum was found good.
///
/// # Errors
/// When there is no key for it, or it is not what any build stores.
pub(crate) fn plain(
    header: &FrameHeader,
    stored: Bytes,
    opener: &Opener,
) -> Result<Bytes, BodyError> {
    let opened = match header.flags & SEALED {
        0 => stored,
        _ => opener.open(header, &stored)?,
    };
    match header.flags & COMPRESSED {
        0 => Ok(opened),
        _ => decompress(&opened),
    }
}

fn decompress(mut stored: &[u8]) -> Result<Bytes, BodyError> {
    if stored.len() < PREFIX {
        return Err(BodyError::Compressed);
    }
    match stored.get_u8() {
        LZ4 => {}
        version => return Err(BodyError::Version(version)),
    }
    let length = stored.get_u32_le() as usize;
    if length > MOST || length / MOST_GROWTH > stored.len() {
        return Err(BodyError::Compressed);
    }
    let mut plain = vec![0; length];
    match lz4_flex::block::decompress_into(stored, &mut plain) {
        Ok(count) if count == length => Ok(Bytes::from(plain)),
        Ok(_) | Err(_) => Err(BodyError::Compressed),
    }
}

#[cfg(test)]
mod tests;
