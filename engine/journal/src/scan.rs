//! A walk over the frames of one file, from its header to where they end.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{error, warn};

use crate::error::OpenError;
use crate::frame::{
    FILE_HEADER, FRAME_HEADER, FRAME_MAGIC, FileHeader, is_whole, read_file_header,
    read_frame_header,
};
use crate::position::Position;
use crate::recover::{Replay, Replayed, file_name};
use crate::storage::StorageFile;

/// Bytes read at once.
const WINDOW: usize = 4 * 1024 * 1024;
/// What is compared with zeros at once.
const ZEROS: [u8; 4096] = [0; 4096];

/// What is known of a file before it is scanned.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// There are frames in a later one.
    Sealed,
    /// Writing goes on here, up to `size`. `next_index` is where an unused file behind it would have begun.
    Newest { size: u64, next_index: Option<u64> },
}

/// A walk over one file's frames.
pub(crate) struct Scan<'a> {
    id: u32,
    pub(crate) name: String,
    file: &'a Arc<dyn StorageFile>,
    pub(crate) length: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    base: u64,
    /// The CRC that the next frame continues; `None` when it cannot be known, because what comes before is damaged.
    pub(crate) chain: Option<u32>,
    pub(crate) first_index: u64,
    /// Frames that were taken from their second copy.
    pub(crate) from_copy: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(id: u32, file: &'a Arc<dyn StorageFile>) -> Result<Self, OpenError> {
        let name = file_name(id);
        let length = file.len().map_err(|source| OpenError::File {
            name: name.clone(),
            source,
        })?;
        Ok(Self {
            id,
            name,
            file,
            length,
            buffer: Vec::new(),
            base: 0,
            chain: None,
            first_index: 0,
            from_copy: 0,
        })
    }

    /// Begins with a look at the file's header.
    pub(crate) fn open(id: u32, file: &'a Arc<dyn StorageFile>) -> Result<Self, OpenError> {
        let mut scan = Self::new(id, file)?;
        match read_file_header(scan.bytes(0, FILE_HEADER)?, id) {
            FileHeader::Good { chain, first_index } => {
                scan.chain = Some(chain);
                scan.first_index = first_index;
                Ok(scan)
            }
            FileHeader::Version(version) => Err(OpenError::Version {
                name: scan.name,
                version,
            }),
            FileHeader::Blank | FileHeader::Bad => Err(OpenError::Header(scan.name)),
        }
    }

    /// Up to `len` bytes from `offset`; fewer at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], OpenError> {
        let rest = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(rest);
        let inside =
            offset >= self.base && offset + len as u64 <= self.base + self.buffer.len() as u64;
        if !inside {
            self.buffer.resize(len.max(WINDOW.min(rest)), 0);
            let count = self
                .file
                .read_at(&mut self.buffer, offset)
                .map_err(|source| OpenError::File {
                    name: self.name.clone(),
                    source,
                })?;
            self.buffer.truncate(count);
            self.base = offset;
        }
        let start = usize::try_from(offset - self.base)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        let end = (start + len).min(self.buffer.len());
        Ok(&self.buffer[start..end])
    }

    /// What is at `offset` without reading more than needed: at least a frame header's worth, except at the end.
    fn some(&mut self, offset: u64) -> Result<&[u8], OpenError> {
        self.bytes(offset, FRAME_HEADER)?;
        let start = usize::try_from(offset - self.base)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        Ok(&self.buffer[start..])
    }

    /// Replays the file's frames behind `after`; answers where they end. A newest file is cut off there.
    pub(crate) fn run(
        &mut self,
        after: Option<Position>,
        role: Role,
        last_index: &mut u64,
        replay: Replay<'_>,
    ) -> Result<u64, OpenError> {
        let mut offset = match after {
            Some(position) => {
                let end = self.start_behind(position)?;
                let copy = self.frame(end, *last_index, true)?;
                copy.map_or(end, |copy| copy.position.end())
            }
            None => FILE_HEADER as u64,
        };
        while let Some((frame, end)) = self.next(offset, *last_index + 1)? {
            *last_index = frame.index;
            replay(frame).map_err(|reason| OpenError::Replay {
                name: self.name.clone(),
                offset,
                reason,
            })?;
            offset = end;
        }
        // Of a sealed file the next one's header says whether this is all of it.
        if let Role::Newest { size, next_index } = role {
            if next_index.is_some_and(|next| next > *last_index + 1) {
                return Err(OpenError::Damaged {
                    name: self.name.clone(),
                    offset,
                });
            }
            let torn = self.check_end(offset)?;
            self.settle(offset, torn, size)
                .map_err(|source| OpenError::File {
                    name: self.name.clone(),
                    source,
                })?;
        }
        Ok(offset)
    }

    /// Where frames behind a checkpoint begin. The frame it ends with may be damaged by now: what matters of it is in the
    /// checkpoint, and whoever reads it is told.
    fn start_behind(&mut self, position: Position) -> Result<u64, OpenError> {
        let damaged = |name: &str, offset| OpenError::Damaged {
            name: name.to_owned(),
            offset,
        };
        if position.end() > self.length || position.offset < (FILE_HEADER + FRAME_HEADER) as u64 {
            return Err(damaged(&self.name, position.end().min(self.length)));
        }
        let start = position.offset - FRAME_HEADER as u64;
        self.chain = None;
        let whole = self.bytes(start, FRAME_HEADER + position.len as usize)?;
        let chain = read_frame_header(whole)
            .filter(|header| header.len == position.len)
            .filter(|header| is_whole(&whole[..FRAME_HEADER], &whole[FRAME_HEADER..], header.crc))
            .map(|header| header.crc);
        if chain.is_none() {
            error!(target: "nats", "`{}` is damaged at {start}, in a frame that the checkpoint covers", self.name);
        }
        self.chain = chain;
        Ok(position.end())
    }

    /// The frame at `offset`, or its second copy when it is damaged, if one continues the log there; and where the next
    /// one begins.
    fn next(&mut self, offset: u64, index: u64) -> Result<Option<(Replayed, u64)>, OpenError> {
        if let Some(frame) = self.frame(offset, index, false)? {
            let end = frame.position.end();
            let behind = self.frame(end, index, true)?;
            return Ok(Some((
                frame,
                behind.map_or(end, |copy| copy.position.end()),
            )));
        }
        let chain = self.chain.take();
        let Some(copy) = self.copy_of(offset, index)? else {
            self.chain = chain;
            return Ok(None);
        };
        error!(target: "nats", "`{}` is damaged at {offset}; the second copy of frame {index} is used", self.name);
        self.from_copy += 1;
        let end = copy.position.end();
        let position = Position {
            offset: offset + FRAME_HEADER as u64,
            ..copy.position
        };
        Ok(Some((Replayed { position, ..copy }, end)))
    }

    /// The second copy of a frame that is damaged at `offset`, which is as long as the copy is.
    fn copy_of(&mut self, offset: u64, index: u64) -> Result<Option<Replayed>, OpenError> {
        let mut at = offset + 1;
        while at < self.length {
            let bytes = self.some(at)?;
            if bytes.is_empty() {
                break;
            }
            let Some(found) = find_magic(bytes) else {
                at += (bytes.len().saturating_sub(FRAME_MAGIC.len() - 1)).max(1) as u64;
                continue;
            };
            at += found as u64;
            let header = read_frame_header(self.bytes(at, FRAME_HEADER)?);
            if header.is_some_and(|header| at - offset == header.total())
                && let Some(copy) = self.frame(at, index, true)?
            {
                return Ok(Some(copy));
            }
            // A frame that is no copy of it, and is whole, means that there was none.
            if self.frame(at, index + 1, false)?.is_some() {
                self.chain = None;
                break;
            }
            at += 1;
        }
        Ok(None)
    }

    /// The frame at `offset`, if a whole one continues the log there.
    fn frame(
        &mut self,
        offset: u64,
        index: u64,
        copy: bool,
    ) -> Result<Option<Replayed>, OpenError> {
        let (id, chain, room) = (self.id, self.chain, self.length.saturating_sub(offset));
        let Some(header) = read_frame_header(self.bytes(offset, FRAME_HEADER)?) else {
            return Ok(None);
        };
        let total = header.total();
        if chain.is_some_and(|chain| chain != header.chain)
            || header.index != index
            || header.is_copy() != copy
            || total > room
        {
            return Ok(None);
        }
        let whole = self.bytes(offset, FRAME_HEADER + header.len as usize)?;
        if (whole.len() as u64) < total {
            return Ok(None);
        }
        let (head, body) = whole.split_at(FRAME_HEADER);
        if !is_whole(head, body, header.crc) {
            return Ok(None);
        }
        if header.is_newer() {
            return Err(OpenError::Newer {
                name: self.name.clone(),
                offset,
            });
        }
        let body = Bytes::copy_from_slice(body);
        self.chain = Some(header.crc);
        Ok(Some(Replayed {
            group: header.group,
            term: header.term,
            index: header.index,
            stream: header.stream,
            count: header.count,
            position: Position {
                file: id,
                offset: offset + FRAME_HEADER as u64,
                len: header.len,
            },
            body,
        }))
    }

    /// Behind the last whole frame of the newest file there may be zeros, or a batch that was never acknowledged. A whole
    /// frame of a batch that began later proves that what is missing was synced, and so acknowledged: that is damage.
    /// Answers whether there is anything but zeros.
    fn check_end(&mut self, end: u64) -> Result<bool, OpenError> {
        let mut offset = end;
        let mut torn = false;
        while offset < self.length {
            let bytes = self.some(offset)?;
            if bytes.is_empty() {
                break;
            }
            let zeros = zero_prefix(bytes);
            if zeros > 0 {
                offset += zeros as u64;
                continue;
            }
            torn = true;
            let step = bytes.len().min(ZEROS.len());
            let window = &bytes[..bytes.len().min(ZEROS.len() + FRAME_MAGIC.len() - 1)];
            let Some(at) = find_magic(window) else {
                offset += step as u64;
                continue;
            };
            let place = offset + at as u64;
            if self.proves_damage(place, end)? {
                return Err(OpenError::Damaged {
                    name: self.name.clone(),
                    offset: end,
                });
            }
            offset = place + 1;
        }
        Ok(torn)
    }

    fn proves_damage(&mut self, place: u64, end: u64) -> Result<bool, OpenError> {
        let room = self.length - place;
        let Some(header) = read_frame_header(self.bytes(place, FRAME_HEADER)?) else {
            return Ok(false);
        };
        let total = FRAME_HEADER as u64 + u64::from(header.len);
        if header.batch <= end || header.batch > place || total > room {
            return Ok(false);
        }
        let whole = self.bytes(place, FRAME_HEADER + header.len as usize)?;
        Ok(whole.len() as u64 == total
            && is_whole(&whole[..FRAME_HEADER], &whole[FRAME_HEADER..], header.crc))
    }

    /// Makes the end of the newest file what it was found to be. What was replayed may not have been synced before the
    /// crash, and leftovers behind the end must not pass for damage once the file is sealed.
    fn settle(&self, end: u64, torn: bool, size: u64) -> io::Result<()> {
        if torn {
            warn!(target: "nats", "`{}` is cut back to {end}: what follows was never acknowledged", self.name);
            self.file.set_len(end)?;
        }
        if (torn || self.length < size)
            && let Err(error) = self.file.reserve(size)
        {
            warn!(target: "nats", "`{}` cannot reserve its space again: {error}", self.name);
        }
        self.file.sync()
    }

    pub(crate) fn is_zero_from(&mut self, mut offset: u64) -> Result<bool, OpenError> {
        while offset < self.length {
            let bytes = self.some(offset)?;
            match zero_prefix(bytes) {
                0 => return Ok(bytes.is_empty()),
                zeros => offset += zeros as u64,
            }
        }
        Ok(true)
    }
}

/// Bytes of zeros at the beginning, counted in blocks.
fn zero_prefix(bytes: &[u8]) -> usize {
    bytes
        .chunks(ZEROS.len())
        .take_while(|block| **block == ZEROS[..block.len()])
        .map(<[u8]>::len)
        .sum()
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(FRAME_MAGIC.len())
        .position(|window| window == FRAME_MAGIC)
}
