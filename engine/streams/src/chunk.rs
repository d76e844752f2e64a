//! A fixed span of sequences of the index: where each message lies and which messages are gone.
//!
//! Layout of a stored chunk, version 3; numbers are LEB128: `u8` version, number, then runs, each as count of messages, frame
//! (file, offset, length), time (8 bytes), and per message a byte that says what follows because it is not what the one
//! before it lets expect: 1 = gap to the sequence before, 2 = byte offset, 4 = size, 8 = subject, 16 = distance to the
//! previous message of the subject, 64 = time to live in seconds, 0 for ever, 128 = next time of its schedule (8 bytes).
//! A count of 0 ends the list. Version 2 has the distance to the next message, too, behind the other one: 32; version 1 has
//! that, and neither 64 nor 128. By now those are in a page of their own, see `links`.

use std::collections::{BTreeMap, BTreeSet};

use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::codec::{CheckpointError, LONGEST_NUMBER, Reader, place_number, put_fixed, put_number};
use crate::pages::{Page, put_position, read_position};
use crate::records::RECORD_HEADER;
use crate::ttl::Ttl;

/// Sequences per chunk. Small in tests, so that they cross many borders.
pub(crate) const SPAN: u64 = if cfg!(test) { 16 } else { 1024 };
/// A dense chunk with fewer live messages than this becomes sparse.
pub(crate) const SPARSE_BELOW: usize = if cfg!(test) { 4 } else { 128 };
/// Distances from here on are far.
pub(crate) const FAR_FROM: u32 = if cfg!(test) { 24 } else { FAR };
/// A link that does not fit 32 bits: the neighbour is in the log's table of far links (unless the link is without meaning).
pub(crate) const FAR: u32 = u32::MAX;
/// The subject number of a message that is gone.
const GONE: u32 = u32::MAX;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Byte offset of the record in its frame's body.
    pub(crate) offset: u32,
    /// Its `log::Size`.
    pub(crate) size: u32,
    /// Number of its subject.
    pub(crate) subject: u32,
    /// Distance to the previous message of the subject; 0 when it was the first, [`FAR`] when far. Without meaning for the first
    /// one that is held, which keeps what it had.
    pub(crate) prev: u32,
}

const HOLE: Meta = Meta {
    offset: 0,
    size: 0,
    subject: GONE,
    prev: 0,
};

/// Messages next to each other that came in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Place in the chunk of its first message.
    pub(crate) start: u16,
    /// The frame.
    pub(crate) position: Position,
    /// When they were stored.
    pub(crate) time: Timestamp,
}

/// Messages of one run, to be stored elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct InFile {
    start: u16,
    /// Their frame.
    pub(crate) from: Position,
    /// Byte offset of each record in its frame: where it is, and later where it came to be.
    pub(crate) records: Vec<(u16, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Metas {
    /// By place, holes included; shorter than the span while it is the last chunk.
    Dense(Vec<Meta>),
    /// Places that are live, in order.
    Sparse(Vec<(u16, Meta)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// `sequence / SPAN` of everything inside.
    pub(crate) no: u64,
    /// Messages that are not gone.
    pub(crate) live: usize,
    runs: Vec<Run>,
    metas: Metas,
    /// Places of live messages with a time to live of their own, in order, and how long it is.
    ttls: Vec<(u16, Ttl)>,
    /// Places of live messages that hold a schedule, in order, and when it is due next.
    schedules: Vec<(u16, Timestamp)>,
}

impl Chunk {
    pub(crate) fn new(no: u64) -> Self {
        Self {
            no,
            live: 0,
            runs: Vec::new(),
            metas: Metas::Dense(Vec::new()),
            ttls: Vec::new(),
            schedules: Vec::new(),
        }
    }

    /// Where in its chunk a message is.
    pub(crate) fn place(seq: u64) -> u16 {
        u16::try_from(seq % SPAN).expect("invariant: the span fits 16 bits")
    }

    fn base(&self) -> u64 {
        self.no * SPAN
    }

    /// Adds the message with sequence `seq`, which is higher than all before it. Starts a run when the frame is a new one.
    pub(crate) fn push(&mut self, seq: u64, meta: Meta, position: Position, time: Timestamp) {
        let place = Self::place(seq);
        if self
            .runs
            .last()
            .is_none_or(|run| run.position != position || run.time != time)
        {
            self.runs.push(Run {
                start: place,
                position,
                time,
            });
        }
        match &mut self.metas {
            Metas::Dense(list) => {
                list.resize(usize::from(place), HOLE);
                list.push(meta);
            }
            Metas::Sparse(list) => list.push((place, meta)),
        }
        self.live += 1;
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Meta> {
        let place = Self::place(seq);
        match &self.metas {
            Metas::Dense(list) => list
                .get(usize::from(place))
                .filter(|meta| meta.subject != GONE),
            Metas::Sparse(list) => {
                let at = list
                    .binary_search_by_key(&place, |(place, _)| *place)
                    .ok()?;
                Some(&list[at].1)
            }
        }
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut Meta> {
        let place = Self::place(seq);
        match &mut self.metas {
            Metas::Dense(list) => list
                .get_mut(usize::from(place))
                .filter(|meta| meta.subject != GONE),
            Metas::Sparse(list) => {
                let at = list
                    .binary_search_by_key(&place, |(place, _)| *place)
                    .ok()?;
                Some(&mut list[at].1)
            }
        }
    }

    /// Which frame a live message came in, and when.
    pub(crate) fn run(&self, seq: u64) -> &Run {
        let place = Self::place(seq);
        match self.runs.last() {
            Some(last) if last.start <= place => last,
            _ => {
                let after = self.runs.partition_point(|run| run.start <= place);
                &self.runs[after
                    .checked_sub(1)
                    .expect("invariant: every message has a run")]
            }
        }
    }

    /// Marks a message as gone and answers what it was.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Meta> {
        let place = Self::place(seq);
        let meta = match &mut self.metas {
            Metas::Dense(list) => {
                let slot = list
                    .get_mut(usize::from(place))
                    .filter(|meta| meta.subject != GONE)?;
                std::mem::replace(slot, HOLE)
            }
            Metas::Sparse(list) => {
                let at = list
                    .binary_search_by_key(&place, |(place, _)| *place)
                    .ok()?;
                list.remove(at).1
            }
        };
        self.live -= 1;
        drop_at(&mut self.ttls, place);
        drop_at(&mut self.schedules, place);
        Some(meta)
    }

    /// Gives the last message a time to live.
    pub(crate) fn set_ttl(&mut self, seq: u64, ttl: Ttl) {
        self.ttls.push((Self::place(seq), ttl));
    }

    pub(crate) fn ttl(&self, seq: u64) -> Option<Ttl> {
        of(&self.ttls, Self::place(seq))
    }

    /// Says when a message's schedule is due next.
    pub(crate) fn set_schedule(&mut self, seq: u64, next: Timestamp) {
        let place = Self::place(seq);
        match self.schedules.binary_search_by_key(&place, |(at, _)| *at) {
            Ok(at) => self.schedules[at].1 = next,
            Err(at) => self.schedules.insert(at, (place, next)),
        }
    }

    pub(crate) fn drop_schedule(&mut self, seq: u64) {
        drop_at(&mut self.schedules, Self::place(seq));
    }

    pub(crate) fn schedule(&self, seq: u64) -> Option<Timestamp> {
        of(&self.schedules, Self::place(seq))
    }

    /// When messages reach the end of their own time to live.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (u64, Timestamp)> {
        self.ttls.iter().filter_map(|(place, ttl)| {
            let seq = self.base() + u64::from(*place);
            Some((seq, ttl.end(self.run(seq).time)?))
        })
    }

    /// When schedules are due.
    pub(crate) fn schedules(&self) -> impl Iterator<Item = (u64, Timestamp)> {
        let schedules = self.schedules.iter();
        schedules.map(|(place, next)| (self.base() + u64::from(*place), *next))
    }

    /// The first time something in it is due.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let times = self.ends().chain(self.schedules());
        times.map(|(_, time)| time).min()
    }

    /// Makes a chunk that is mostly holes small; the last chunk of a log stays dense because it still grows.
    pub(crate) fn thin(&mut self) {
        let Metas::Dense(list) = &self.metas else {
            return;
        };
        if self.live >= SPARSE_BELOW || list.len() < SPARSE_BELOW {
            return;
        }
        let live: Vec<(u16, Meta)> = (0..)
            .zip(list)
            .filter(|(_, meta)| meta.subject != GONE)
            .map(|(place, meta)| (place, *meta))
            .collect();
        let mut runs: Vec<Run> = Vec::new();
        for (place, _) in &live {
            let run = *self.run(self.base() + u64::from(*place));
            if runs.last().is_none_or(|last| last.start != run.start) {
                runs.push(run);
            }
        }
        runs.shrink_to_fit();
        self.runs = runs;
        self.metas = Metas::Sparse(live);
    }

    /// The first live message at or after `from` that `wanted` says yes to.
    pub(crate) fn scan(
        &self,
        from: u64,
        mut wanted: impl FnMut(&Meta) -> bool,
    ) -> Option<(u64, Meta)> {
        let place = if from <= self.base() {
            0
        } else {
            from - self.base()
        };
        if self.live == 0 || place >= SPAN {
            return None;
        }
        let start = usize::try_from(place).expect("invariant: a place is below the span");
        match &self.metas {
            Metas::Dense(list) => {
                let rest = list.get(start..)?;
                let at = rest
                    .iter()
                    .position(|meta| meta.subject != GONE && wanted(meta))?;
                Some((self.base() + place + at as u64, rest[at]))
            }
            Metas::Sparse(list) => {
                let first = list.partition_point(|(at, _)| usize::from(*at) < start);
                let (at, meta) = list[first..].iter().find(|(_, meta)| wanted(meta))?;
                Some((self.base() + u64::from(*at), *meta))
            }
        }
    }

    /// All live messages in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Meta)> {
        self.iter_from(0)
    }

    /// The live messages at or after `from`, in order.
    pub(crate) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Meta)> {
        let place = usize::try_from(from.saturating_sub(self.base())).unwrap_or(usize::MAX);
        self.between(place, usize::MAX)
    }

    /// The live messages whose places are at or after `from` and before `to`, in order.
    fn between(&self, from: usize, to: usize) -> impl Iterator<Item = (u64, &Meta)> + Clone {
        let base = self.base();
        let (dense, sparse): (&[Meta], &[(u16, Meta)]) = match &self.metas {
            Metas::Dense(list) => {
                let to = to.min(list.len());
                (&list[from.min(to)..to], &[])
            }
            Metas::Sparse(list) => {
                let first = |place| list.partition_point(|(at, _)| usize::from(*at) < place);
                (&[], &list[first(from)..first(to)])
            }
        };
        let dense = (base + from as u64..)
            .zip(dense)
            .filter(|(_, meta)| meta.subject != GONE);
        dense.chain(
            sparse
                .iter()
                .map(move |(place, meta)| (base + u64::from(*place), meta)),
        )
    }

    /// The live messages whose frames are `wanted`, by run, about `limit` bytes of them.
    pub(crate) fn in_frames(&self, wanted: impl Fn(Position) -> bool, limit: u64) -> Vec<InFile> {
        let mut found: Vec<InFile> = Vec::new();
        let mut bytes = 0;
        for (seq, meta) in self.iter() {
            let run = self.run(seq);
            if !wanted(run.position) {
                continue;
            }
            let record = (Self::place(seq), meta.offset);
            match found.last_mut() {
                Some(last) if last.start == run.start => last.records.push(record),
                _ if bytes >= limit => break,
                _ => found.push(InFile {
                    start: run.start,
                    from: run.position,
                    records: vec![record],
                }),
            }
            bytes += u64::from(crate::log::Size(meta.size).bytes());
        }
        found
    }

    /// Points messages to where their records lie now; answers for each the file it was in, and its size. Messages that went
    /// or moved meanwhile are passed over, and so are runs of which not every live message moves.
    pub(crate) fn moved(&mut self, moves: &[InFile], to: Position) -> Vec<(u32, crate::log::Size)> {
        let records = moves.iter().flat_map(|moved| {
            let from = moved.from;
            moved
                .records
                .iter()
                .map(move |(place, offset)| (*place, (from, *offset)))
        });
        let records: BTreeMap<u16, (Position, u32)> = records.collect();
        let mut news: BTreeMap<u16, Vec<(u64, u32)>> = BTreeMap::new();
        let mut staying = BTreeSet::new();
        for (seq, _) in self.iter() {
            let run = self.run(seq);
            match records.get(&Self::place(seq)) {
                Some((from, offset)) if *from == run.position => {
                    news.entry(run.start).or_default().push((seq, *offset));
                }
                _ => {
                    staying.insert(run.start);
                }
            }
        }
        news.retain(|start, _| !staying.contains(start));
        let mut changed = Vec::new();
        for run in &mut self.runs {
            if let Some(list) = news.get(&run.start) {
                changed.extend(
                    list.iter()
                        .map(|(seq, offset)| (*seq, *offset, run.position.file)),
                );
                run.position = to;
            }
        }
        let mut sizes = Vec::with_capacity(changed.len());
        for (seq, offset, file) in changed {
            let meta = self.get_mut(seq).expect("invariant: it is live");
            meta.offset = offset;
            sizes.push((file, crate::log::Size(meta.size)));
        }
        sizes
    }

    /// Whether compression may make its bytes smaller. Fields that are not as expected are numbers without a pattern mostly: with
    /// more than three bytes of them a message, LZ4 saves nothing (tried with subjects in turn, at random, and by Zipf's law).
    /// Times to live and the beginnings of runs are alike.
    pub(crate) fn may_shrink(&self, encoded: usize) -> bool {
        const RUN: usize = 20;
        let waits = !self.ttls.is_empty() || !self.schedules.is_empty();
        waits || encoded <= self.runs.len() * RUN + self.live * 3
    }

    /// The lowest and the highest journal file of its live messages.
    pub(crate) fn files(&self) -> (u32, u32) {
        self.iter().fold((u32::MAX, 0), |(low, high), (seq, _)| {
            let file = self.run(seq).position.file;
            (low.min(file), high.max(file))
        })
    }

    /// The last live message.
    pub(crate) fn last_live(&self) -> Option<u64> {
        match &self.metas {
            Metas::Dense(list) => {
                let at = list.iter().rposition(|meta| meta.subject != GONE)?;
                Some(self.base() + at as u64)
            }
            Metas::Sparse(list) => list
                .last()
                .map(|(place, _)| self.base() + u64::from(*place)),
        }
    }
}

/// What a list ordered by place has for one.
fn of<T: Copy>(list: &[(u16, T)], place: u16) -> Option<T> {
    let at = list.binary_search_by_key(&place, |(at, _)| *at).ok()?;
    Some(list[at].1)
}

fn drop_at<T>(list: &mut Vec<(u16, T)>, place: u16) {
    if let Ok(at) = list.binary_search_by_key(&place, |(at, _)| *at) {
        list.remove(at);
    }
}

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
}

#[cfg(test)]
mod tests {
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
}
