//! Chunks as bytes, and back.
//!
//! Layout of a stored chunk, version 3; numbers are LEB128: `u8` version, number, then runs, each as count of messages, frame
//! (file, offset, length), time (8 bytes), and per message a byte that says what follows because it is not what the one
//! before it lets expect: 1 = gap to the sequence before, 2 = byte offset, 4 = size, 8 = subject, 16 = distance to the
//! previous message of the subject, 64 = time to live in seconds, 0 for ever, 128 = next time of its schedule (8 bytes).
//! A count of 0 ends the list. Version 2 has the distance to the next message, too, behind the other one: 32; version 1 has
//! that, and neither 64 nor 128. By now those are in a page of their own, see `links`.

use millstream_types::Timestamp;

use super::{Chunk, GONE, HOLE, Meta, SPAN};
use crate::codec::{CheckpointError, LONGEST_NUMBER, Reader, place_number, put_fixed, put_number};
use crate::pages::{Page, put_position, read_position};
use crate::records::RECORD_HEADER;
use crate::ttl::Ttl;

/// Layout version of a stored chunk.
const VERSION: u8 = 3;
/// The last one with the links in it.
pub(crate) const WITH_LINKS: u8 = 2;
const GAP: u8 = 1;
const OFFSET: u8 = 2;
const SIZE: u8 = 4;
const SUBJECT: u8 = 8;
const PREV: u8 = 16;
/// In former layouts.
const NEXT: u8 = 32;
const TTL: u8 = 64;
const SCHEDULE: u8 = 128;

/// What the message after `meta` looks like when it lies right behind it and is its like.
fn expected(meta: &Meta) -> Meta {
    let length = crate::log::Size(meta.size).bytes();
    Meta {
        offset: meta
            .offset
            .wrapping_add(length)
            .wrapping_add(RECORD_HEADER as u32),
        ..*meta
    }
}

/// What a message waits for.
#[derive(Clone, Copy, Default)]
struct Times {
    ttl: Option<Ttl>,
    schedule: Option<Timestamp>,
}

fn put_meta(out: &mut Vec<u8>, gap: u64, meta: &Meta, like: &Meta, times: Times) {
    let fields = [
        (GAP, gap, 1),
        (OFFSET, u64::from(meta.offset), u64::from(like.offset)),
        (SIZE, u64::from(meta.size), u64::from(like.size)),
        (SUBJECT, u64::from(meta.subject), u64::from(like.subject)),
        (PREV, u64::from(meta.prev), u64::from(like.prev)),
    ];
    // Put together here and added at once: chunks are stored by the thousand.
    let mut bytes = [0; 1 + 5 * LONGEST_NUMBER];
    let mut end = 1;
    for (flag, value, like) in fields {
        if value != like {
            bytes[0] |= flag;
            end = place_number(&mut bytes, end, value);
        }
    }
    bytes[0] |= times.ttl.map_or(0, |_| TTL) | times.schedule.map_or(0, |_| SCHEDULE);
    out.extend_from_slice(&bytes[..end]);
    if let Some(ttl) = times.ttl {
        put_number(out, u64::from(ttl.seconds()));
    }
    if let Some(next) = times.schedule {
        put_fixed(out, next.0.cast_unsigned());
    }
}

/// What is stored of a message.
struct Stored {
    /// From the sequence before.
    gap: u64,
    meta: Meta,
    /// The distance to the next message, where the layout has it here.
    next: u32,
    times: Times,
}

/// Reads what `version` has of a message that was expected to be like another and to have the link `next`.
fn read_meta(
    version: u8,
    from: &mut Reader<'_>,
    like: &Meta,
    next: u32,
) -> Result<Stored, CheckpointError> {
    let flags = from.byte()?;
    if version > WITH_LINKS && flags & NEXT != 0 {
        return Err(from.damaged());
    }
    let gap = if flags & GAP == 0 { 1 } else { from.number()? };
    let mut field = |flag: u8, like: u32| match flags & flag {
        0 => Ok(like),
        _ => from.small(),
    };
    let meta = Meta {
        offset: field(OFFSET, like.offset)?,
        size: field(SIZE, like.size)?,
        subject: field(SUBJECT, like.subject)?,
        prev: field(PREV, like.prev)?,
    };
    let next = field(NEXT, next)?;
    let mut times = Times::default();
    if flags & TTL != 0 {
        times.ttl = Some(Ttl::of_seconds(from.small()?));
    }
    if flags & SCHEDULE != 0 {
        times.schedule = Some(from.time()?);
    }
    Ok(Stored {
        gap,
        meta,
        next,
        times,
    })
}

/// Reads a chunk, and the links that are in it in former layouts, by place.
pub(crate) fn decode_behind_version(
    version: u8,
    from: &mut Reader<'_>,
) -> Result<(Chunk, Vec<(u16, u32)>), CheckpointError> {
    if !(1..=VERSION).contains(&version) {
        return Err(CheckpointError::Version(version));
    }
    let no = from.number()?;
    let base = no.checked_mul(SPAN).ok_or_else(|| from.damaged())?;
    let mut chunk = Chunk::new(no);
    let mut links = Vec::new();
    // The lowest sequence that may come next.
    let mut lowest = base;
    let (mut like, mut next) = (HOLE, 0);
    loop {
        let count = from.count()?;
        if count == 0 {
            break;
        }
        let position = read_position(from)?;
        let time = from.time()?;
        like.offset = 0;
        for _ in 0..count {
            let read = read_meta(version, from, &like, next)?;
            let (meta, times) = (read.meta, read.times);
            let beyond = read.gap.checked_sub(1);
            let seq = beyond.and_then(|beyond| lowest.checked_add(beyond));
            let seq = seq.filter(|seq| seq / SPAN == no && meta.subject != GONE);
            let seq = seq.ok_or_else(|| from.damaged())?;
            lowest = seq.checked_add(1).ok_or_else(|| from.damaged())?;
            let place = Chunk::place(seq);
            chunk.push(seq, meta, position, time);
            chunk.ttls.extend(times.ttl.map(|ttl| (place, ttl)));
            let schedule = times.schedule.map(|next| (place, next));
            chunk.schedules.extend(schedule);
            next = read.next;
            links.extend((next != 0).then_some((place, next)));
            like = expected(&meta);
        }
    }
    chunk.thin();
    Ok((chunk, links))
}

impl Page for Chunk {
    const WEIGHT: usize = 20 * SPAN as usize;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_number(out, self.no);
        let mut before = self.base().wrapping_sub(1);
        let mut like = HOLE;
        let waits = !self.ttls.is_empty() || !self.schedules.is_empty();
        let ends = self.runs.iter().skip(1).map(|run| usize::from(run.start));
        for (run, end) in self.runs.iter().zip(ends.chain([usize::MAX])) {
            let live = self.between(usize::from(run.start), end);
            let count = live.clone().count();
            if count == 0 {
                continue;
            }
            put_number(out, count as u64);
            put_position(out, run.position);
            put_fixed(out, run.time.0.cast_unsigned());
            like.offset = 0;
            for (seq, meta) in live {
                let mut times = Times::default();
                if waits {
                    times.ttl = self.ttl(seq);
                    times.schedule = self.schedule(seq);
                }
                put_meta(out, seq.wrapping_sub(before), meta, &like, times);
                like = expected(meta);
                before = seq;
            }
        }
        put_number(out, 0);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, CheckpointError> {
        let version = from.byte()?;
        Ok(decode_behind_version(version, from)?.0)
    }
    /// Fields that are not as expected are numbers without a pattern mostly: with more than three bytes of them a message, LZ4
    /// saves nothing (tried with subjects in turn, at random, and by Zipf's law). Times to live and the beginnings of runs are
    /// alike.
    fn may_shrink(&self, encoded: usize) -> bool {
        const RUN: usize = 20;
        let waits = !self.ttls.is_empty() || !self.schedules.is_empty();
        waits || encoded <= self.runs.len() * RUN + self.live * 3
    }
}
