//! A fixed span of sequences of the index: where each message lies and which messages are gone. How it is stored: see `layout`.

mod layout;

use std::collections::{BTreeMap, BTreeSet};

use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::ttl::Ttl;
pub(crate) use layout::{WITH_LINKS, decode_behind_version};

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

#[cfg(test)]
mod tests;
