//! A stream's state as bytes, and back: a root, and the pages it names.
//!
//! Taking a snapshot costs a reference per changed page and a copy of what is small; pages are encoded and stored while the
//! stream goes on, and the root is written when all of them have a place.
//!
//! Layout of the root, version 5: `u8` version, then in order: number, creation time, configuration as JSON, last message id;
//! first and last sequence, messages, bytes, last time, bytes per file, far links; subject numbers given and
//! the place of each page of them; chunks (number, live messages, last time, lowest and highest
//! file of its messages, `u8` 1 = something in it is due, 2 = its messages have links, then when that is due, place, place of
//! the links); remembered ids (see `dedup`); consumers. Counts, gaps and
//! numbers are LEB128, times and hashes 8 bytes little endian. Pages: see `chunk::layout`, `links` and `subjects`. Versions 3 and 4 have
//! the links in the chunks, and 3 does not say what is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::chunk::{Chunk, SPAN};
use crate::codec::{CheckpointError, Reader, put_bytes, put_fixed, put_number};
use crate::config::{StorageType, StreamConfig};
use crate::consumer::{self, Consumer};
use crate::consumer_config::ConsumerConfig;
use crate::content::ContentRule;
use crate::dedup::{Dedup, IdSnapshot};
use crate::interest::Interest;
use crate::links::Links;
use crate::log::{Counts, Log, Span};
use crate::pages::{Page, Pages, Slot, encoded, put_position, read_position};
use crate::ranges::Ranges;
use crate::stream::Stream;
use crate::subjects::{SubjectPage, Subjects};

const VERSION: u8 = 5;
/// The oldest layout that is read: without the times of chunks.
const OLDEST: u8 = 3;
/// The last one with the links in the chunks.
const WITH_LINKS: u8 = 4;
/// What a root has of a chunk besides.
const DUE: u8 = 1;
const LINKS: u8 = 2;

/// What a chunk is without its pages.
#[derive(Clone, Copy, Debug)]
struct ChunkInfo {
    no: u64,
    live: usize,
    last_time: Timestamp,
    files: (u32, u32),
    due: Option<Timestamp>,
    /// Where its page is, once stored.
    at: Option<Position>,
    /// Its links, where it has some.
    links: Option<LinksInfo>,
}

/// Where the links of a chunk are, once stored.
#[derive(Clone, Copy, Debug)]
struct LinksInfo {
    at: Option<Position>,
}

/// A changed page, and its place among the snapshot's pages. Once stored it is let go of: as long as a snapshot holds a page, the
/// stream has to copy it to change it.
#[derive(Debug)]
enum Changed {
    Chunk(usize, Option<Arc<Chunk>>),
    Links(usize, Option<Arc<Links>>),
    Subjects(usize, Option<Arc<SubjectPage>>),
    Ids(u64, Option<Bytes>),
}

impl Changed {
    /// Its bytes, until it is stored.
    fn encoded(&self) -> Option<SnapshotPage> {
        match self {
            Self::Chunk(_, page) => page.as_deref().map(SnapshotPage::of),
            Self::Links(_, page) => page.as_deref().map(SnapshotPage::of),
            Self::Subjects(_, page) => page.as_deref().map(SnapshotPage::of),
            // Hashes have nothing in common.
            Self::Ids(_, page) => page.clone().map(|bytes| SnapshotPage {
                bytes,
                compress: false,
            }),
        }
    }
}

/// A page to be stored.
#[derive(Clone, Debug)]
pub struct SnapshotPage {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether it may get smaller when it is compressed.
    pub compress: bool,
}

impl SnapshotPage {
    fn of<P: Page>(page: &P) -> Self {
        let bytes = encoded(page);
        Self {
            compress: page.may_shrink(bytes.len()),
            bytes: Bytes::from(bytes),
        }
    }
}

/// A stream's state at one moment, to be stored while the stream goes on.
#[derive(Debug)]
pub struct StreamSnapshot {
    /// The stream's number.
    pub stream: u32,
    head: Vec<u8>,
    ids: IdSnapshot,
    consumers: Vec<u8>,
    chunks: Vec<ChunkInfo>,
    subjects: Vec<Option<Position>>,
    changed: Vec<Changed>,
    stored: usize,
    ids_stored: Vec<(u64, Position)>,
}

impl StreamSnapshot {
    /// The next changed pages to be stored, about `limit` bytes of them; none when all have a place.
    pub fn next_pages(&self, limit: usize) -> Vec<SnapshotPage> {
        let mut bytes = 0;
        let mut pages = Vec::new();
        let mut left = self.changed[self.stored..].iter();
        while bytes < limit
            && let Some(page) = left.next().and_then(Changed::encoded)
        {
            bytes += page.bytes.len();
            pages.push(page);
        }
        pages
    }

    /// How many pages have no place yet.
    #[must_use]
    pub fn pages_left(&self) -> usize {
        self.changed.len() - self.stored
    }

    /// Where the pages answered last lie.
    pub fn pages_stored(&mut self, positions: &[Position]) {
        for (changed, at) in self.changed[self.stored..].iter_mut().zip(positions) {
            match changed {
                Changed::Chunk(number, page) => {
                    *page = None;
                    self.chunks[*number].at = Some(*at);
                }
                Changed::Links(number, page) => {
                    *page = None;
                    self.chunks[*number].links = Some(LinksInfo { at: Some(*at) });
                }
                Changed::Subjects(number, page) => {
                    *page = None;
                    self.subjects[*number] = Some(*at);
                }
                Changed::Ids(number, page) => {
                    *page = None;
                    self.ids.stored(*number, *at);
                    self.ids_stored.push((*number, *at));
                }
            }
        }
        self.stored += positions.len();
    }

    /// The root. All pages have a place by now.
    ///
    /// # Panics
    /// When they have not.
    #[must_use]
    pub fn root(&self) -> Vec<u8> {
        const PLACED: &str = "invariant: every page was stored before the root";
        let mut out = self.head.clone();
        put_number(&mut out, self.subjects.len() as u64);
        for at in &self.subjects {
            put_position(&mut out, at.expect(PLACED));
        }
        put_number(&mut out, self.chunks.len() as u64);
        let mut before = 0;
        for info in &self.chunks {
            put_number(&mut out, info.no - before);
            put_number(&mut out, info.live as u64);
            put_time(&mut out, info.last_time);
            put_number(&mut out, u64::from(info.files.0));
            put_number(&mut out, u64::from(info.files.1));
            let due = info.due.map_or(0, |_| DUE);
            out.push(due | info.links.map_or(0, |_| LINKS));
            if let Some(due) = info.due {
                put_time(&mut out, due);
            }
            put_position(&mut out, info.at.expect(PLACED));
            if let Some(links) = info.links {
                put_position(&mut out, links.at.expect(PLACED));
            }
            before = info.no;
        }
        self.ids.encode(&mut out);
        out.extend_from_slice(&self.consumers);
        out
    }

    /// Adds the journal files that hold pages of this state.
    pub fn page_files(&self, files: &mut BTreeSet<u32>) {
        let chunks = self.chunks.iter();
        let chunks = chunks.flat_map(|info| [info.at, info.links.and_then(|links| links.at)]);
        let all = chunks.chain(self.subjects.iter().copied());
        files.extend(all.flatten().map(|at| at.file));
        files.extend(self.ids.files());
    }

    /// Tells the stream where its pages are, once the checkpoint that names them is safe; else they are to be stored again.
    pub fn finish(self, stream: &mut Stream, safe: bool) {
        let at = |position: Option<Position>| position.filter(|_| safe);
        let (spans, _) = stream.log.spans_mut();
        for changed in &self.changed {
            let (Changed::Chunk(number, _) | Changed::Links(number, _)) = changed else {
                continue;
            };
            let info = &self.chunks[*number];
            let Ok(found) = spans.binary_search_by_key(&info.no, |span| span.no) else {
                continue;
            };
            let span = &mut spans[found];
            match (changed, &mut span.links) {
                (Changed::Chunk(..), _) => span.slot.stored(at(info.at)),
                (_, Some(slot)) => slot.stored(at(info.links.and_then(|links| links.at))),
                // Those it was of were purged.
                (_, None) => {}
            }
        }
        let (slots, _) = stream.log.subjects.slots_mut();
        for changed in &self.changed {
            if let Changed::Subjects(number, _) = changed
                && let Some(slot) = slots.get_mut(*number)
            {
                slot.stored(at(self.subjects[*number]));
            }
        }
        for (number, at) in self.ids_stored.into_iter().filter(|_| safe) {
            stream.dedup.stored(number, at);
        }
        stream.log.relaxed_anew();
    }
}

impl Stream {
    /// The replicated state as it is now. Pages in `doomed` files are stored anew, so that those files can go. Of a memory
    /// stream only what is not a message, because its bytes are gone after a restart.
    #[must_use]
    pub fn snapshot(&mut self, doomed: &BTreeSet<u32>) -> StreamSnapshot {
        self.snapshot_of(|at| doomed.contains(&at.file))
    }

    /// The journal files that hold stored pages of this stream.
    pub fn page_files(&self) -> impl Iterator<Item = u32> {
        let spans = self.log.spans().iter();
        let chunks = spans.flat_map(|span| {
            let links = span.links.as_ref().and_then(Slot::position);
            [span.slot.position(), links]
        });
        let subjects = self.log.subjects.slots().iter().map(Slot::position);
        let ids = self.dedup.positions();
        chunks
            .chain(subjects)
            .flatten()
            .chain(ids)
            .map(|at| at.file)
    }

    fn snapshot_of(&mut self, anew: impl Fn(Position) -> bool) -> StreamSnapshot {
        let in_memory = self.config.storage == StorageType::Memory;
        let mut snapshot = StreamSnapshot {
            stream: self.id,
            head: self.encode_head(in_memory),
            ids: self.dedup.snapshot(|at| !in_memory && anew(at)),
            consumers: self.encode_consumers(),
            chunks: Vec::new(),
            subjects: Vec::new(),
            changed: Vec::new(),
            stored: 0,
            ids_stored: Vec::new(),
        };
        if in_memory {
            return snapshot;
        }
        let pages = snapshot.ids.unstored();
        snapshot.changed = pages
            .map(|(number, page)| Changed::Ids(number, Some(page)))
            .collect();
        let (slots, pages) = self.log.subjects.slots_mut();
        for (number, slot) in slots.iter_mut().enumerate() {
            let all = slot.position().is_none_or(&anew);
            let page = slot.take_changed(pages, all);
            snapshot.subjects.push(slot.position());
            snapshot
                .changed
                .extend(page.map(|page| Changed::Subjects(number, Some(page))));
        }
        let (spans, pages) = self.log.spans_mut();
        for span in spans.iter_mut().filter(|span| span.live > 0) {
            let all = span.slot.position().is_none_or(&anew);
            let page = span.slot.take_changed(pages, all);
            let number = snapshot.chunks.len();
            let mut info = ChunkInfo {
                no: span.no,
                live: span.live,
                last_time: span.last_time,
                files: span.files,
                due: span.due,
                at: span.slot.position(),
                links: None,
            };
            snapshot
                .changed
                .extend(page.map(|page| Changed::Chunk(number, Some(page))));
            if let Some(slot) = &mut span.links {
                let at = slot.position();
                let page = slot.take_changed(pages, at.is_none_or(&anew));
                if page.as_ref().is_some_and(|page| page.is_empty()) {
                    span.links = None;
                } else {
                    info.links = Some(LinksInfo { at });
                    let page = page.map(|page| Changed::Links(number, Some(page)));
                    snapshot.changed.extend(page);
                }
            }
            snapshot.chunks.push(info);
        }
        snapshot
    }

    fn encode_head(&self, in_memory: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.push(VERSION);
        put_number(&mut out, u64::from(self.id));
        put_time(&mut out, self.created);
        put_json(&mut out, &self.config);
        put_bytes(&mut out, &self.last_msg_id);
        let mut counts = self.log.counts().clone();
        let (mut ids, stamp) = self.log.subjects.counters();
        if in_memory {
            counts = Counts {
                first: counts.last + 1,
                last: counts.last,
                last_time: counts.last_time,
                ..Counts::default()
            };
            ids = 0;
        }
        encode_counts(&counts, &mut out);
        put_number(&mut out, u64::from(ids));
        put_number(&mut out, u64::from(stamp));
        out
    }

    fn encode_consumers(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.consumers.len() as u64);
        for consumer in self.consumers.values() {
            encode_consumer(consumer, &mut out);
        }
        out
    }

    /// Reads a root; pages are read back when they are needed.
    ///
    /// # Errors
    /// When the bytes are damaged or newer than this build.
    pub fn restore(root: &[u8], pages: &Pages) -> Result<Self, CheckpointError> {
        let mut from = Reader::new(root);
        let version = from.byte()?;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(CheckpointError::Version(version));
        }
        let id = from.small()?;
        let created = from.time()?;
        let config: StreamConfig = serde_json::from_slice(from.bytes()?)?;
        let last_msg_id = from.bytes()?.to_vec();
        let in_memory = config.storage == StorageType::Memory;
        let log = decode_log(&mut from, version, in_memory, pages)?;
        let mut dedup = Dedup::new(id, created);
        dedup.decode(&mut from, Some(Arc::clone(&pages.source)))?;
        let mut consumers = BTreeMap::new();
        let mut interest = Interest::default();
        for _ in 0..from.count()? {
            let consumer = decode_consumer(&mut from, &config.name)?;
            interest.set(&consumer.name, consumer.config.filters());
            consumers.insert(consumer.name.clone(), consumer);
        }
        from.end()?;
        let mut stream = Self {
            id,
            content: ContentRule::read(&config.metadata).unwrap_or_default(),
            config,
            created,
            log,
            dedup,
            last_msg_id,
            consumers,
            interest,
            watch_floor: u64::MAX,
            aged: 0,
        };
        stream.watch_again();
        Ok(stream)
    }
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    put_fixed(out, time.0.cast_unsigned());
}

fn put_json<T: serde::Serialize>(out: &mut Vec<u8>, config: &T) {
    put_bytes(
        out,
        &serde_json::to_vec(config).expect("invariant: configurations are plain data"),
    );
}

fn encode_counts(counts: &Counts, out: &mut Vec<u8>) {
    put_number(out, counts.first);
    put_number(out, counts.last);
    put_number(out, counts.msgs);
    put_number(out, counts.bytes);
    out.push(u8::from(counts.last_time.is_some()));
    put_time(out, counts.last_time.unwrap_or_default());
    put_number(out, counts.files.len() as u64);
    for (file, bytes) in &counts.files {
        put_number(out, u64::from(*file));
        put_number(out, *bytes);
    }
    for links in [&counts.far_prev, &counts.far_next] {
        put_number(out, links.len() as u64);
        for (from, to) in links {
            put_number(out, *from);
            put_number(out, *to);
        }
    }
}

fn decode_counts(from: &mut Reader<'_>) -> Result<Counts, CheckpointError> {
    let (first, last) = (from.number()?, from.number()?);
    let (msgs, bytes) = (from.number()?, from.number()?);
    let has_time = from.byte()? != 0;
    let last_time = from.time()?;
    let mut files = BTreeMap::new();
    for _ in 0..from.count()? {
        files.insert(from.small()?, from.number()?);
    }
    let mut links = || -> Result<BTreeMap<u64, u64>, CheckpointError> {
        (0..from.count()?)
            .map(|_| Ok((from.number()?, from.number()?)))
            .collect()
    };
    Ok(Counts {
        far_prev: links()?,
        far_next: links()?,
        files,
        msgs,
        bytes,
        first,
        last,
        last_time: has_time.then_some(last_time),
    })
}

fn decode_log(
    from: &mut Reader<'_>,
    version: u8,
    in_memory: bool,
    pages: &Pages,
) -> Result<Log, CheckpointError> {
    let counts = decode_counts(from)?;
    let ids = from.small()?;
    let stamp = from.small()?;
    let mut slots = Vec::new();
    for _ in 0..from.count()? {
        slots.push(Slot::at(read_position(from)?, pages));
    }
    let mut spans = VecDeque::new();
    let mut no = 0u64;
    let mut live = 0;
    for number in 0..from.count()? {
        let gap = from.number()?;
        no = no.checked_add(gap).ok_or_else(|| from.damaged())?;
        let in_order = number == 0 || gap > 0;
        let inside = no
            .checked_mul(SPAN)
            .is_some_and(|base| base <= counts.last && base.saturating_add(SPAN) > counts.first);
        let held = usize::try_from(from.number()?).map_err(|_| from.damaged())?;
        if !in_order || !inside || held == 0 || held as u64 > SPAN {
            return Err(from.damaged());
        }
        live += held as u64;
        let last_time = from.time()?;
        let files = (from.small()?, from.small()?);
        let flags = match version {
            OLDEST => 0,
            // Whether something is due, and nothing else.
            WITH_LINKS => u8::from(from.byte()? != 0) * DUE,
            _ => from.byte()?,
        };
        if flags > DUE | LINKS {
            return Err(from.damaged());
        }
        let due = match flags & DUE {
            0 => None,
            _ => Some(from.time()?),
        };
        let at = read_position(from)?;
        let links = match flags & LINKS {
            // They are read from there, too.
            _ if version <= WITH_LINKS => Some(at),
            0 => None,
            _ => Some(read_position(from)?),
        };
        spans.push_back(Span {
            no,
            live: held,
            last_time,
            files,
            due,
            slot: Slot::at(at, pages),
            links: links.map(|at| Slot::at(at, pages)),
        });
    }
    if in_memory {
        let mut log = Log::new(counts.first, true, None);
        log.resume(counts);
        return Ok(log);
    }
    if live != counts.msgs || (counts.msgs > 0 && counts.first > counts.last) {
        return Err(from.damaged());
    }
    let subjects = Subjects::restore(Some(pages.clone()), (ids, stamp), slots, from)?;
    Ok(Log::restore(pages.clone(), counts, spans, subjects))
}

fn encode_consumer(consumer: &Consumer, out: &mut Vec<u8>) {
    put_bytes(out, consumer.name.as_bytes());
    put_time(out, consumer.created);
    put_json(out, &consumer.config);
    put_number(out, consumer.span.start);
    put_number(out, consumer.span.resume);
    put_number(out, consumer.span.list.len() as u64);
    for seq in &consumer.span.list {
        put_number(out, *seq);
    }
    put_number(out, consumer.floor);
    put_number(out, consumer.acked_count);
    put_number(out, consumer.acked.spans().len() as u64);
    for (first, last) in consumer.acked.spans() {
        put_number(out, first);
        put_number(out, last - first);
    }
}

fn decode_consumer(from: &mut Reader<'_>, stream: &str) -> Result<Consumer, CheckpointError> {
    let name = from.text()?;
    let created = from.time()?;
    let config: ConsumerConfig = serde_json::from_slice(from.bytes()?)?;
    let (start, resume) = (from.number()?, from.number()?);
    if start == 0 {
        return Err(from.damaged());
    }
    let list = (0..from.count()?)
        .map(|_| from.number())
        .collect::<Result<Vec<_>, _>>()?;
    let mut consumer = Consumer::with_span(
        stream,
        &name,
        config,
        created,
        consumer::Span {
            start,
            list,
            resume,
        },
    );
    consumer.floor = from.number()?;
    consumer.acked_count = from.number()?;
    let mut spans = BTreeMap::new();
    for _ in 0..from.count()? {
        let first = from.number()?;
        spans.insert(first, first.saturating_add(from.number()?));
    }
    consumer.acked = Ranges::from_spans(spans);
    consumer.catch_up();
    Ok(consumer)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
