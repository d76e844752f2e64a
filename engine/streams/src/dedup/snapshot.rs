//! Remembered ids as of one moment, and the bytes of a checkpoint made of them.
//!
//! Layout, version 1: `u8` version; cutoff and time of the newest id (8 bytes each); the next page's number; how many pages
//! and per page its number, count, time of its newest id (8 bytes) and either `u8` 1 and file, offset and length of its
//! place in the journal or `u8` 0 and its bytes; sequence and time (8 bytes each) that the ring counts from, and its slots as
//! in a page. Numbers and counts are LEB128, times are milliseconds since 1970.

use std::sync::Arc;

use bytes::Bytes;
use millstream_journal::Position;

use super::page::{Base, SLOT, Slot, View};
use super::ring::{self, Slots};
use super::{Dedup, Page};
use crate::codec::{CheckpointError, Reader, put_bytes, put_fixed, put_number};
use crate::pages::PageSource;

const VERSION: u8 = 1;

/// A stream's remembered ids at one moment. Taking it copies at most a few hundred pointers, and a line per page.
#[derive(Debug)]
pub(crate) struct IdSnapshot {
    cutoff: i64,
    newest: i64,
    next_page: u64,
    pages: Vec<PageState>,
    base: Base,
    slots: Slots,
}

#[derive(Debug)]
struct PageState {
    number: u64,
    count: u32,
    newest: i64,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Stored(Position),
    Inline(Bytes),
}

impl Dedup {
    /// What is remembered now. Pages that lie where `anew` says are to be stored elsewhere.
    pub(crate) fn snapshot(&self, anew: impl Fn(Position) -> bool) -> IdSnapshot {
        let pages = self.pages.iter().map(|page| PageState {
            number: page.number,
            count: page.count,
            newest: page.newest,
            kept: match (page.stored, &page.bytes) {
                (Some(at), bytes) if anew(at) => {
                    let read = || self.source.as_ref()?.read(at).ok();
                    // One that cannot be read stays where it is.
                    bytes
                        .clone()
                        .or_else(read)
                        .map_or(Kept::Stored(at), Kept::Inline)
                }
                (Some(at), _) => Kept::Stored(at),
                // A page that is not stored is in memory.
                (None, bytes) => Kept::Inline(bytes.clone().unwrap_or_default()),
            },
        });
        IdSnapshot {
            cutoff: self.cutoff,
            newest: self.newest,
            next_page: self.next_page,
            pages: pages.collect(),
            base: self.ring.base,
            slots: self.ring.slots(),
        }
    }

    /// Takes over what [`IdSnapshot::encode`] wrote. Reads no stored page: they are read before the first answer.
    pub(crate) fn decode(
        &mut self,
        from: &mut Reader<'_>,
        source: Option<Arc<dyn PageSource>>,
    ) -> Result<(), CheckpointError> {
        let version = from.byte()?;
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        self.source = source;
        self.cutoff = from.fixed()?.cast_signed();
        self.newest = from.fixed()?.cast_signed();
        self.next_page = from.number()?;
        let pages = from.count()?;
        let first = self.next_page.checked_sub(pages as u64);
        for number in first.ok_or_else(|| from.damaged())?..self.next_page {
            let page = decode_page(from)?;
            if page.number != number {
                return Err(from.damaged());
            }
            self.paged += page.count as usize;
            self.pages.push_back(page);
        }
        self.ring.base = Base {
            seq: from.fixed()?,
            time: from.fixed()?.cast_signed(),
        };
        let count = from.count()?;
        if count >= ring::MAX {
            return Err(from.damaged());
        }
        for _ in 0..count {
            self.ring.push(Slot::read(from.take(SLOT)?));
        }
        Ok(())
    }
}

fn decode_page(from: &mut Reader<'_>) -> Result<Page, CheckpointError> {
    let number = from.number()?;
    let count = from.small()?;
    if count as usize > ring::MAX {
        return Err(from.damaged());
    }
    let newest = from.fixed()?.cast_signed();
    let (stored, bytes) = match from.byte()? {
        1 => {
            let at = Position {
                file: from.small()?,
                offset: from.number()?,
                len: from.small()?,
            };
            (Some(at), None)
        }
        _ => {
            let bytes = Bytes::copy_from_slice(from.bytes()?);
            if View::open(&bytes, count).is_none_or(|view| !view.is_sorted()) {
                return Err(from.damaged());
            }
            (None, Some(bytes))
        }
    };
    Ok(Page {
        number,
        count,
        newest,
        bytes,
        stored,
        prints: None,
        used: 0,
    })
}

impl IdSnapshot {
    /// Pages that are in no journal yet, by their numbers. They never change, so each needs to be stored once.
    pub(crate) fn unstored(&self) -> impl Iterator<Item = (u64, Bytes)> {
        self.pages.iter().filter_map(|page| match &page.kept {
            Kept::Stored(_) => None,
            Kept::Inline(bytes) => Some((page.number, bytes.clone())),
        })
    }

    /// The journal files that hold pages.
    pub(crate) fn files(&self) -> impl Iterator<Item = u32> {
        self.pages.iter().filter_map(|page| match &page.kept {
            Kept::Stored(at) => Some(at.file),
            Kept::Inline(_) => None,
        })
    }

    /// A page was stored: the checkpoint needs to name its place only.
    pub(crate) fn stored(&mut self, number: u64, at: Position) {
        if let Some(page) = self.pages.iter_mut().find(|page| page.number == number) {
            page.kept = Kept::Stored(at);
        }
    }

    /// Appends it to a checkpoint. Pages that are not stored are written whole.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_fixed(out, self.cutoff.cast_unsigned());
        put_fixed(out, self.newest.cast_unsigned());
        put_number(out, self.next_page);
        put_number(out, self.pages.len() as u64);
        for page in &self.pages {
            put_number(out, page.number);
            put_number(out, u64::from(page.count));
            put_fixed(out, page.newest.cast_unsigned());
            match &page.kept {
                Kept::Stored(at) => {
                    out.push(1);
                    put_number(out, u64::from(at.file));
                    put_number(out, at.offset);
                    put_number(out, u64::from(at.len));
                }
                Kept::Inline(bytes) => {
                    out.push(0);
                    put_bytes(out, bytes);
                }
            }
        }
        put_fixed(out, self.base.seq);
        put_fixed(out, self.base.time.cast_unsigned());
        put_number(out, self.slots.len() as u64);
        out.reserve(self.slots.len() * SLOT);
        for slot in self.slots.iter() {
            out.extend_from_slice(&slot.bytes());
        }
    }
}
