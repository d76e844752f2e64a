//! The index of a stream: which sequences are held, where each message lies, and which subject it has.
//!
//! While it is in memory a message takes 20 bytes (see `chunk` and `links`), and 32 per frame; chunks that were stored may be
//! let go of and are read back when they are needed (see `pages`). Messages of one subject are linked in both directions, so the
//! first, last, next and previous of a subject are found without searching.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::chunk::{Chunk, FAR, FAR_FROM, InFile, Meta, SPAN, SPARSE_BELOW};
use crate::links::Links;
use crate::pages::{Page, Pages, Slot};
use crate::subjects::{Guess, Subjects};
use crate::ttl::Ttl;

/// Where a stored message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The frame's body.
    pub position: Position,
    /// Byte offset of the record in it; see `record_at`.
    pub offset: u32,
    /// When it was stored.
    pub time: Timestamp,
    /// Bytes of subject, headers and payload.
    pub size: u32,
}

/// Set in a message's size when it has headers.
const HEADERS_FLAG: u32 = 1 << 31;
/// Set in a message's size when it is a marker: it says that the last message of its subject went.
const MARKER_FLAG: u32 = 1 << 30;

/// What a message counts for besides its bytes. The figures are nats-server's, so that `max_bytes` means the same.
#[derive(Clone, Copy, Debug, Default)]
struct Overhead {
    message: u64,
    headers: u64,
}

/// How large a message is, as the index keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u32);

impl Size {
    /// Most bytes of a record: subject, headers and payload.
    pub(crate) const MOST: usize = MARKER_FLAG as usize - 1;

    /// Of a record with so many bytes of subject, headers and payload, at most [`Size::MOST`].
    pub(crate) fn new(bytes: usize, has_headers: bool) -> Self {
        let bytes = u32::try_from(bytes).expect("invariant: a record's lengths fit 30 bits");
        Self(bytes | if has_headers { HEADERS_FLAG } else { 0 })
    }

    pub(crate) fn of_marker(self, is_marker: bool) -> Self {
        Self(self.0 | if is_marker { MARKER_FLAG } else { 0 })
    }

    pub(crate) fn bytes(self) -> u32 {
        self.0 & !(HEADERS_FLAG | MARKER_FLAG)
    }

    pub(crate) fn is_marker(self) -> bool {
        self.0 & MARKER_FLAG != 0
    }
}

/// A chunk, and what is known of it without reading it back.
#[derive(Debug)]
pub(crate) struct Span {
    /// `sequence / SPAN` of everything inside.
    pub(crate) no: u64,
    /// Messages that are not gone.
    pub(crate) live: usize,
    /// When its last message was stored.
    pub(crate) last_time: Timestamp,
    /// The lowest and the highest journal file that may hold messages of it.
    pub(crate) files: (u32, u32),
    /// Nothing in it is due before; messages that went may have been what it is about.
    pub(crate) due: Option<Timestamp>,
    pub(crate) slot: Slot<Chunk>,
    /// The links of its messages; `None` where none has one. May be empty until the next snapshot, which drops it then.
    pub(crate) links: Option<Slot<Links>>,
}

/// What a log counts, as it stands in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) far_prev: BTreeMap<u64, u64>,
    pub(crate) far_next: BTreeMap<u64, u64>,
    /// Per journal file, what its messages count for.
    pub(crate) files: BTreeMap<u32, u64>,
    pub(crate) msgs: u64,
    pub(crate) bytes: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) last_time: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    chunks: VecDeque<Span>,
    pub(crate) subjects: Subjects,
    counts: Counts,
    /// Chunks with a `due`, the first one first.
    due: BTreeSet<(Timestamp, u64)>,
    overhead: Overhead,
    pages: Option<Pages>,
    /// What the cache held when this log last let go of pages.
    relaxed_at: usize,
    /// Messages found damaged since the start. Found again after the next one, so checkpoints know nothing of them.
    unreadable: BTreeSet<u64>,
    /// Sequences removed since the owner last looked, with their subjects; kept only when `track` is set.
    pub(crate) removed: Vec<(u64, u32)>,
    pub(crate) track: bool,
}

impl Log {
    /// An empty log whose first message gets `first`.
    pub(crate) fn new(first: u64, in_memory: bool, pages: Option<Pages>) -> Self {
        let first = first.max(1);
        let pages = pages.filter(|_| !in_memory);
        let overhead = match in_memory {
            true => Overhead {
                message: 16,
                headers: 0,
            },
            false => Overhead {
                message: 30,
                headers: 4,
            },
        };
        Self {
            subjects: Subjects::new(pages.clone()),
            counts: Counts {
                first,
                last: first - 1,
                ..Counts::default()
            },
            overhead,
            pages,
            ..Self::default()
        }
    }

    /// The log of a checkpoint.
    pub(crate) fn restore(
        pages: Pages,
        counts: Counts,
        chunks: VecDeque<Span>,
        subjects: Subjects,
    ) -> Self {
        let due = chunks.iter();
        Self {
            due: due.filter_map(|span| Some((span.due?, span.no))).collect(),
            chunks,
            subjects,
            counts,
            ..Self::new(1, false, Some(pages))
        }
    }

    /// Goes on where an empty log of a checkpoint was.
    pub(crate) fn resume(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// What a message counts for in `max_bytes`.
    pub(crate) fn cost(&self, size: Size) -> u64 {
        let headers = if size.0 & HEADERS_FLAG == 0 {
            0
        } else {
            self.overhead.headers
        };
        u64::from(size.bytes()) + self.overhead.message + headers
    }

    pub(crate) fn messages(&self) -> u64 {
        self.counts.msgs
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    /// The lowest sequence held; one above the last when there is none.
    pub(crate) fn first_seq(&self) -> u64 {
        self.counts.first
    }

    /// The highest sequence ever given.
    pub(crate) fn last_seq(&self) -> u64 {
        self.counts.last
    }

    pub(crate) fn last_time(&self) -> Option<Timestamp> {
        self.counts.last_time
    }

    pub(crate) fn files(&self) -> &BTreeMap<u32, u64> {
        &self.counts.files
    }

    pub(crate) fn spans(&self) -> &VecDeque<Span> {
        &self.chunks
    }

    pub(crate) fn spans_mut(&mut self) -> (&mut VecDeque<Span>, Option<&Pages>) {
        (&mut self.chunks, self.pages.as_ref())
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// All chunks, each read back when it is reached.
    pub(crate) fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.chunks.iter().map(|span| self.load(span))
    }

    fn load<'a>(&self, span: &'a Span) -> &'a Chunk {
        span.slot.get(self.pages.as_ref())
    }

    /// A chunk to be changed. Whoever adds or removes messages also keeps the span's figures.
    fn change(&mut self, at: usize) -> &mut Chunk {
        self.chunks[at].slot.get_mut(self.pages.as_ref())
    }

    /// The link of a message to the next one of its subject; 0 when there is none.
    fn link_of(&self, seq: u64) -> u32 {
        let span = self.chunk_at(seq).ok().map(|at| &self.chunks[at]);
        let links = span.and_then(|span| span.links.as_ref());
        links.map_or(0, |slot| {
            slot.get(self.pages.as_ref()).get(Chunk::place(seq))
        })
    }

    /// Gives a message that is held a link to the next one of its subject. A page that gets empty stays: where each message
    /// replaces the one before, it is wanted again at once.
    fn set_link(&mut self, seq: u64, link: u32) {
        let at = self.chunk_at(seq);
        let at = at.expect("invariant: links are of held messages");
        let pages = self.pages.as_ref();
        let slot = &mut self.chunks[at].links;
        let slot = slot.get_or_insert_with(|| Slot::new(Links::default(), pages));
        slot.get_mut(pages).set(Chunk::place(seq), link);
    }

    /// Touches what storing messages with these subjects is going to read, see [`Subjects::warm`]; `replaced` says that the
    /// last ones of those will go. Answers for each the number it seems to have.
    pub(crate) fn warm<'a>(
        &self,
        subjects: impl Iterator<Item = &'a [u8]>,
        replaced: bool,
    ) -> Vec<Option<Guess>> {
        let guesses = self.subjects.warm(subjects);
        let last = guesses.iter().flatten().map(|guess| guess.last);
        let links = last.clone().map(|seq| self.link_of(seq));
        std::hint::black_box(links.fold(0, |all, link| all ^ link));
        if replaced {
            let sizes = last.filter_map(|seq| Some(self.meta(seq)?.size));
            std::hint::black_box(sizes.fold(0, |all, size| all ^ size));
        }
        guesses
    }

    /// Gives a sequence to nothing: the message came, and nobody wanted it.
    pub(crate) fn skip(&mut self, time: Timestamp) -> u64 {
        self.counts.last += 1;
        self.counts.last_time = Some(time);
        if self.counts.msgs == 0 {
            self.counts.first = self.counts.last + 1;
        }
        self.counts.last
    }

    /// Adds a message, whose subject may have the number `guess`; answers its sequence and its subject's number.
    pub(crate) fn append(
        &mut self,
        (subject, guess): (&[u8], Option<u32>),
        size: Size,
        at: (Position, u32),
        time: Timestamp,
    ) -> (u64, u32) {
        let seq = self.counts.last + 1;
        let (id, before) = self.subjects.add(subject, guess, seq);
        let mut meta = Meta {
            offset: at.1,
            size: size.0,
            subject: id,
            prev: 0,
        };
        if let Some(before) = before {
            meta.prev = link(&mut self.counts.far_prev, seq, before);
            let next = link(&mut self.counts.far_next, before, seq);
            self.set_link(before, next);
        }
        let no = seq / SPAN;
        if self.chunks.back().is_none_or(|chunk| chunk.no != no) {
            self.start_chunk(no);
        }
        let back = self.chunks.len() - 1;
        self.change(back).push(seq, meta, at.0, time);
        let span = &mut self.chunks[back];
        span.live += 1;
        span.last_time = time;
        span.files = (span.files.0.min(at.0.file), span.files.1.max(at.0.file));
        let cost = self.cost(size);
        *self.counts.files.entry(at.0.file).or_default() += cost;
        if self.counts.msgs == 0 {
            self.counts.first = seq;
        }
        self.counts.msgs += 1;
        self.counts.bytes += cost;
        self.counts.last = seq;
        self.counts.last_time = Some(time);
        (seq, id)
    }

    fn start_chunk(&mut self, no: u64) {
        if let Some(last) = self.chunks.back() {
            if last.live == 0 {
                self.chunks.pop_back();
            } else if last.live < SPARSE_BELOW {
                self.change(self.chunks.len() - 1).thin();
            }
        }
        self.chunks.push_back(Span {
            no,
            live: 0,
            last_time: Timestamp::default(),
            files: (u32::MAX, 0),
            due: None,
            slot: Slot::new(Chunk::new(no), self.pages.as_ref()),
            links: None,
        });
    }

    /// Takes a message out; `None` when it is not held.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Meta> {
        let at = self.chunk_at(seq).ok()?;
        let chunk = self.load(&self.chunks[at]);
        let meta = *chunk.get(seq)?;
        let file = chunk.run(seq).position.file;
        let next = self.next_of(seq);
        self.chunks[at].live -= 1;
        let is_last = at + 1 == self.chunks.len();
        if self.chunks[at].live == 0 {
            self.chunks[at].files = (u32::MAX, 0);
            self.set_due(at, None);
        }
        if self.chunks[at].live == 0 && !is_last {
            self.chunks.remove(at);
        } else {
            let chunk = self.change(at);
            chunk.remove(seq);
            if !is_last {
                chunk.thin();
            }
            if next.is_some() {
                self.set_link(seq, 0);
            }
        }
        self.unlink(seq, &meta, next);
        let cost = self.cost(Size(meta.size));
        self.release_in(file, cost);
        self.counts.msgs -= 1;
        self.counts.bytes -= cost;
        if !self.unreadable.is_empty() {
            self.unreadable.remove(&seq);
        }
        if seq == self.counts.first {
            self.counts.first = self.next_live(seq + 1).unwrap_or(self.counts.last + 1);
        }
        if self.track {
            self.removed.push((seq, meta.subject));
        }
        Some(meta)
    }

    /// A message cannot be read any more.
    pub(crate) fn set_unreadable(&mut self, seq: u64) {
        if self.meta(seq).is_some() {
            self.unreadable.insert(seq);
        }
    }

    /// Whether a message was found damaged.
    pub(crate) fn is_unreadable(&self, seq: u64) -> bool {
        self.unreadable.contains(&seq)
    }

    /// Gives the last message a time to live.
    pub(crate) fn set_ttl(&mut self, seq: u64, ttl: Ttl) {
        let Ok(at) = self.chunk_at(seq) else { return };
        let chunk = self.change(at);
        chunk.set_ttl(seq, ttl);
        let end = ttl.end(chunk.run(seq).time);
        self.bring_forward(at, end);
    }

    /// Says when a message's schedule is due next; with `None` it is not any more.
    pub(crate) fn set_schedule(&mut self, seq: u64, next: Option<Timestamp>) {
        let Ok(at) = self.chunk_at(seq) else { return };
        match next {
            Some(next) => self.change(at).set_schedule(seq, next),
            None => self.change(at).drop_schedule(seq),
        }
        self.bring_forward(at, next);
    }

    fn bring_forward(&mut self, at: usize, time: Option<Timestamp>) {
        let due = self.chunks[at].due;
        if time.is_some_and(|time| due.is_none_or(|due| time < due)) {
            self.set_due(at, time);
        }
    }

    fn set_due(&mut self, at: usize, due: Option<Timestamp>) {
        let span = &mut self.chunks[at];
        if let Some(before) = std::mem::replace(&mut span.due, due) {
            self.due.remove(&(before, span.no));
        }
        self.due.extend(due.map(|due| (due, span.no)));
    }

    /// No message's own time comes before this.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Chunks in which something may be due, in the order of that.
    pub(crate) fn due_chunks(&self, now: Timestamp) -> impl Iterator<Item = (u64, &Chunk)> {
        let due = self.due.iter().take_while(move |(due, _)| *due <= now);
        due.filter_map(|(_, no)| {
            let at = self.chunks.binary_search_by_key(no, |span| span.no).ok()?;
            Some((*no, self.load(&self.chunks[at])))
        })
    }

    /// What was due in a chunk was dealt with: looks when something is next.
    pub(crate) fn look_for_due(&mut self, no: u64) {
        if let Ok(at) = self.chunks.binary_search_by_key(&no, |span| span.no) {
            self.set_due(at, self.load(&self.chunks[at]).due());
        }
    }

    /// A message's own time to live.
    pub(crate) fn ttl(&self, seq: u64) -> Option<Ttl> {
        self.chunk(self.chunk_at(seq).ok()?)?.ttl(seq)
    }

    /// When a message's schedule is due next.
    pub(crate) fn schedule(&self, seq: u64) -> Option<Timestamp> {
        self.chunk(self.chunk_at(seq).ok()?)?.schedule(seq)
    }

    fn release_in(&mut self, file: u32, cost: u64) {
        let left = self
            .counts
            .files
            .get_mut(&file)
            .expect("invariant: a held message's file is known");
        *left -= cost;
        if *left == 0 {
            self.counts.files.remove(&file);
        }
    }

    /// Messages of one chunk whose records lie in a journal file, about `limit` bytes of them; `None` when there are none.
    pub(crate) fn in_file(&self, file: u32, limit: u64) -> Option<(u64, Vec<InFile>)> {
        self.in_frames(file, |at| at.file == file, limit)
    }

    /// Messages of one chunk whose records lie in a frame; `None` when there are none.
    pub(crate) fn in_frame(&self, frame: Position) -> Option<(u64, Vec<InFile>)> {
        self.in_frames(frame.file, |at| at == frame, u64::MAX)
    }

    fn in_frames(
        &self,
        file: u32,
        wanted: impl Fn(Position) -> bool,
        limit: u64,
    ) -> Option<(u64, Vec<InFile>)> {
        self.counts.files.get(&file)?;
        self.chunks
            .iter()
            .filter(|span| span.live > 0 && (span.files.0..=span.files.1).contains(&file))
            .find_map(|span| {
                let found = self.load(span).in_frames(&wanted, limit);
                (!found.is_empty()).then_some((span.no, found))
            })
    }

    /// Records of the chunk `no` were stored anew, all of them in the frame `to`: index entries that still point to where they
    /// were point there from now on.
    pub(crate) fn moved(&mut self, no: u64, moves: &[InFile], to: Position) {
        let Ok(at) = self.chunks.binary_search_by_key(&no, |span| span.no) else {
            return;
        };
        let (changed, files) = {
            let chunk = self.change(at);
            (chunk.moved(moves, to), chunk.files())
        };
        self.chunks[at].files = files;
        for (from, size) in changed {
            let cost = self.cost(size);
            self.release_in(from, cost);
            *self.counts.files.entry(to.file).or_default() += cost;
        }
    }

    /// Joins the neighbours of a message that went. Where it was the first of its subject, the next one goes on saying where it
    /// was: a full stream would change another old chunk with each message that comes.
    fn unlink(&mut self, seq: u64, meta: &Meta, next: Option<u64>) {
        let is_first = self.subjects.get(meta.subject).first == seq;
        let prev = match is_first {
            true => None,
            false => self.prev_of(seq, meta),
        };
        unlinked(&mut self.counts.far_prev, seq);
        unlinked(&mut self.counts.far_next, seq);
        if let Some(prev) = prev {
            let to = match next {
                Some(next) => link(&mut self.counts.far_next, prev, next),
                None => unlinked(&mut self.counts.far_next, prev),
            };
            self.set_link(prev, to);
        }
        match (prev, next) {
            (Some(prev), Some(next)) => {
                let to = link(&mut self.counts.far_prev, next, prev);
                self.meta_mut(next)
                    .expect("invariant: links lead to held messages")
                    .prev = to;
            }
            (None, Some(next)) => {
                unlinked(&mut self.counts.far_prev, next);
            }
            (_, None) => {}
        }
        let entry = self.subjects.get_mut(meta.subject);
        entry.count -= 1;
        match (prev, next) {
            (None, None) => self.subjects.release(meta.subject),
            (None, Some(next)) => entry.first = next,
            (Some(prev), None) => entry.last = prev,
            (Some(_), Some(_)) => {}
        }
    }

    /// Takes everything out, without noting it in `removed`. Sequences go on where they were.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.due.clear();
        self.unreadable.clear();
        self.counts.far_prev.clear();
        self.counts.far_next.clear();
        self.counts.files.clear();
        self.subjects.clear();
        self.counts.msgs = 0;
        self.counts.bytes = 0;
        self.counts.first = self.counts.last + 1;
    }

    /// The chunk that holds `seq`, or where it would be.
    pub(crate) fn chunk_at(&self, seq: u64) -> Result<usize, usize> {
        let no = seq / SPAN;
        let Some(front) = self.chunks.front() else {
            return Err(0);
        };
        if no < front.no {
            return Err(0);
        }
        let guess = usize::try_from(no - front.no).unwrap_or(usize::MAX);
        if self.chunks.get(guess).is_some_and(|chunk| chunk.no == no) {
            return Ok(guess);
        }
        self.chunks.binary_search_by_key(&no, |chunk| chunk.no)
    }

    pub(crate) fn chunk(&self, at: usize) -> Option<&Chunk> {
        Some(self.load(self.chunks.get(at)?))
    }

    pub(crate) fn meta(&self, seq: u64) -> Option<&Meta> {
        self.chunk(self.chunk_at(seq).ok()?)?.get(seq)
    }

    fn meta_mut(&mut self, seq: u64) -> Option<&mut Meta> {
        let at = self.chunk_at(seq).ok()?;
        self.change(at).get_mut(seq)
    }

    /// As [`Log::relax`], after pages were stored that could not be let go of before.
    pub(crate) fn relaxed_anew(&mut self) {
        self.relaxed_at = 0;
        self.relax();
    }

    /// Lets go of what can be read back, when all streams together hold too much. The newest chunks stay: whoever follows
    /// the stream needs them.
    pub(crate) fn relax(&mut self) {
        const NEWEST: usize = 2;
        // Pages that cannot be let go of are looked at again only when many have come to them.
        const SLACK: usize = if cfg!(test) { 0 } else { 32 * Chunk::WEIGHT };
        let Some(pages) = &self.pages else { return };
        if !pages.cache.is_over() || pages.cache.used() < self.relaxed_at.saturating_add(SLACK) {
            return;
        }
        let old = self.chunks.len().saturating_sub(NEWEST);
        for span in self.chunks.iter_mut().take(old) {
            span.slot.let_go();
            if let Some(links) = &mut span.links {
                links.let_go();
            }
        }
        if pages.cache.is_over() {
            self.subjects.let_go();
        }
        self.relaxed_at = pages.cache.used();
    }

    pub(crate) fn place(&self, seq: u64) -> Option<Place> {
        let chunk = self.chunk(self.chunk_at(seq).ok()?)?;
        let meta = chunk.get(seq)?;
        let run = chunk.run(seq);
        Some(Place {
            position: run.position,
            offset: meta.offset,
            time: run.time,
            size: Size(meta.size).bytes(),
        })
    }

    /// The next message of the same subject.
    pub(crate) fn next_of(&self, seq: u64) -> Option<u64> {
        match self.link_of(seq) {
            0 => None,
            FAR => self.counts.far_next.get(&seq).copied(),
            gap => Some(seq + u64::from(gap)),
        }
    }

    fn prev_of(&self, seq: u64, meta: &Meta) -> Option<u64> {
        match meta.prev {
            0 => None,
            FAR => self.counts.far_prev.get(&seq).copied(),
            gap => Some(seq - u64::from(gap)),
        }
    }
}

/// The link from one message to another: their distance, or a note in the table of far ones.
fn link(far: &mut BTreeMap<u64, u64>, from: u64, to: u64) -> u32 {
    match u32::try_from(from.abs_diff(to)) {
        Ok(gap) if gap < FAR_FROM => {
            if !far.is_empty() {
                far.remove(&from);
            }
            gap
        }
        _ => {
            far.insert(from, to);
            FAR
        }
    }
}

fn unlinked(far: &mut BTreeMap<u64, u64>, from: u64) -> u32 {
    if !far.is_empty() {
        far.remove(&from);
    }
    0
}
