//! The index of a stream: which sequences are held, where each message lies, and which subject it has.
//!
//! 20 bytes per message held (see `chunk`), 32 per frame, and about 45 and its text per subject. Messages of one subject
//! are linked in both directions, so the first, last, next and previous of a subject are found without searching.

use std::collections::{BTreeMap, VecDeque};

use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::chunk::{Chunk, FAR, FAR_FROM, Meta, SPAN};
use crate::subjects::Subjects;

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
    /// Of a record with so many bytes of subject, headers and payload.
    pub(crate) fn new(bytes: usize, has_headers: bool) -> Self {
        let bytes = u32::try_from(bytes).expect("invariant: a record's lengths fit 31 bits");
        Self(bytes | if has_headers { HEADERS_FLAG } else { 0 })
    }

    fn bytes(self) -> u32 {
        self.0 & !HEADERS_FLAG
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    chunks: VecDeque<Chunk>,
    pub(crate) subjects: Subjects,
    far_prev: BTreeMap<u64, u64>,
    far_next: BTreeMap<u64, u64>,
    files: BTreeMap<u32, u64>,
    msgs: u64,
    bytes: u64,
    first: u64,
    last: u64,
    last_time: Option<Timestamp>,
    overhead: Overhead,
    /// Sequences removed since the owner last looked, with their subjects; kept only when `track` is set.
    pub(crate) removed: Vec<(u64, u32)>,
    pub(crate) track: bool,
}

impl Log {
    /// An empty log whose first message gets `first`.
    pub(crate) fn new(first: u64, in_memory: bool) -> Self {
        let first = first.max(1);
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
            first,
            last: first - 1,
            overhead,
            ..Self::default()
        }
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
        self.msgs
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The lowest sequence held; one above the last when there is none.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first
    }

    /// The highest sequence ever given.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last
    }

    pub(crate) fn last_time(&self) -> Option<Timestamp> {
        self.last_time
    }

    pub(crate) fn files(&self) -> &BTreeMap<u32, u64> {
        &self.files
    }

    pub(crate) fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.chunks.iter()
    }

    /// Adds a message and answers its sequence and its subject's number.
    pub(crate) fn append(
        &mut self,
        subject: &[u8],
        size: Size,
        at: (Position, u32),
        time: Timestamp,
    ) -> (u64, u32) {
        let id = self.subjects.intern(subject);
        let seq = self.last + 1;
        self.insert(seq, id, size, at, time);
        (seq, id)
    }

    /// Gives a sequence to nothing: the message came, and nobody wanted it.
    pub(crate) fn skip(&mut self, time: Timestamp) -> u64 {
        self.last += 1;
        self.last_time = Some(time);
        if self.msgs == 0 {
            self.first = self.last + 1;
        }
        self.last
    }

    /// Sets the last sequence, and its time, of a log read from a checkpoint.
    pub(crate) fn set_last(&mut self, last: u64, time: Option<Timestamp>) {
        self.last = last;
        self.last_time = time;
        if self.msgs == 0 {
            self.first = last + 1;
        }
    }

    /// Adds the message with a sequence above all before it.
    pub(crate) fn insert(
        &mut self,
        seq: u64,
        id: u32,
        size: Size,
        at: (Position, u32),
        time: Timestamp,
    ) {
        let entry = *self.subjects.get(id);
        let mut meta = Meta {
            offset: at.1,
            size: size.0,
            subject: id,
            prev: 0,
            next: 0,
        };
        if entry.count > 0 {
            meta.prev = link(&mut self.far_prev, seq, entry.last);
            let next = link(&mut self.far_next, entry.last, seq);
            self.meta_mut(entry.last)
                .expect("invariant: a subject's last message is held")
                .next = next;
        }
        let entry = self.subjects.get_mut(id);
        if entry.count == 0 {
            entry.first = seq;
        }
        entry.last = seq;
        entry.count += 1;
        let no = seq / SPAN;
        if self.chunks.back().is_none_or(|chunk| chunk.no != no) {
            self.start_chunk(no);
        }
        let chunk = self
            .chunks
            .back_mut()
            .expect("invariant: a chunk was started");
        chunk.push(seq, meta, at.0, time);
        let cost = self.cost(size);
        *self.files.entry(at.0.file).or_default() += cost;
        if self.msgs == 0 {
            self.first = seq;
        }
        self.msgs += 1;
        self.bytes += cost;
        self.last = seq;
        self.last_time = Some(time);
    }

    fn start_chunk(&mut self, no: u64) {
        if let Some(last) = self.chunks.back_mut() {
            last.thin();
            if last.live == 0 {
                self.chunks.pop_back();
            }
        }
        self.chunks.push_back(Chunk::new(no));
    }

    /// Takes a message out; `None` when it is not held.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Meta> {
        let at = self.chunk_at(seq).ok()?;
        let chunk = &mut self.chunks[at];
        let meta = *chunk.get(seq)?;
        let file = chunk.run(seq).position.file;
        chunk.remove(seq);
        if at + 1 < self.chunks.len() {
            if self.chunks[at].live == 0 {
                self.chunks.remove(at);
            } else {
                self.chunks[at].thin();
            }
        }
        self.unlink(seq, &meta);
        let cost = self.cost(Size(meta.size));
        let left = self
            .files
            .get_mut(&file)
            .expect("invariant: a held message's file is known");
        *left -= cost;
        if *left == 0 {
            self.files.remove(&file);
        }
        self.msgs -= 1;
        self.bytes -= cost;
        if seq == self.first {
            self.first = self.next_live(seq + 1).unwrap_or(self.last + 1);
        }
        if self.track {
            self.removed.push((seq, meta.subject));
        }
        Some(meta)
    }

    fn unlink(&mut self, seq: u64, meta: &Meta) {
        let prev = self.prev_of(seq, meta);
        let next = self.next_of(seq, meta);
        if meta.prev == FAR {
            self.far_prev.remove(&seq);
        }
        if meta.next == FAR {
            self.far_next.remove(&seq);
        }
        if let Some(prev) = prev {
            let to = match next {
                Some(next) => link(&mut self.far_next, prev, next),
                None => unlinked(&mut self.far_next, prev),
            };
            self.meta_mut(prev)
                .expect("invariant: links lead to held messages")
                .next = to;
        }
        if let Some(next) = next {
            let to = match prev {
                Some(prev) => link(&mut self.far_prev, next, prev),
                None => unlinked(&mut self.far_prev, next),
            };
            self.meta_mut(next)
                .expect("invariant: links lead to held messages")
                .prev = to;
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
        self.far_prev.clear();
        self.far_next.clear();
        self.files.clear();
        let ids: Vec<u32> = self.subjects.iter().map(|(id, _, _)| id).collect();
        for id in ids {
            self.subjects.release(id);
        }
        self.msgs = 0;
        self.bytes = 0;
        self.first = self.last + 1;
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
        self.chunks.get(at)
    }

    pub(crate) fn meta(&self, seq: u64) -> Option<&Meta> {
        self.chunks[self.chunk_at(seq).ok()?].get(seq)
    }

    fn meta_mut(&mut self, seq: u64) -> Option<&mut Meta> {
        let at = self.chunk_at(seq).ok()?;
        self.chunks[at].get_mut(seq)
    }

    pub(crate) fn place(&self, seq: u64) -> Option<Place> {
        let chunk = &self.chunks[self.chunk_at(seq).ok()?];
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
    pub(crate) fn next_of(&self, seq: u64, meta: &Meta) -> Option<u64> {
        match meta.next {
            0 => None,
            FAR => self.far_next.get(&seq).copied(),
            gap => Some(seq + u64::from(gap)),
        }
    }

    fn prev_of(&self, seq: u64, meta: &Meta) -> Option<u64> {
        match meta.prev {
            0 => None,
            FAR => self.far_prev.get(&seq).copied(),
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
