//! A fixed span of sequences of the index: where each message lies and which messages are gone.

use millstream_journal::Position;
use millstream_types::Timestamp;

/// Sequences per chunk. Small in tests, so that they cross many borders.
pub(crate) const SPAN: u64 = if cfg!(test) { 16 } else { 4096 };
/// A dense chunk with fewer live messages than this becomes sparse.
const SPARSE_BELOW: usize = if cfg!(test) { 4 } else { 512 };
/// Distances from here on are far.
pub(crate) const FAR_FROM: u32 = if cfg!(test) { 24 } else { FAR };
/// A link that does not fit 32 bits: the neighbour is in the log's table of far links.
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
    /// Distance to the previous message of the subject; 0 when it is the first, [`FAR`] when far.
    pub(crate) prev: u32,
    /// Distance to the next message of the subject; 0 when it is the last, [`FAR`] when far.
    pub(crate) next: u32,
}

const HOLE: Meta = Meta {
    offset: 0,
    size: 0,
    subject: GONE,
    prev: 0,
    next: 0,
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
}

impl Chunk {
    pub(crate) fn new(no: u64) -> Self {
        Self {
            no,
            live: 0,
            runs: Vec::new(),
            metas: Metas::Dense(Vec::new()),
        }
    }

    fn place(seq: u64) -> u16 {
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
        Some(meta)
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
        let base = self.base();
        let place = usize::try_from(from.saturating_sub(base)).unwrap_or(usize::MAX);
        let (dense, sparse): (&[Meta], &[(u16, Meta)]) = match &self.metas {
            Metas::Dense(list) => (list.get(place..).unwrap_or_default(), &[]),
            Metas::Sparse(list) => (
                &[],
                &list[list.partition_point(|(at, _)| usize::from(*at) < place)..],
            ),
        };
        let dense = (base + place as u64..)
            .zip(dense)
            .filter(|(_, meta)| meta.subject != GONE);
        dense.chain(
            sparse
                .iter()
                .map(move |(place, meta)| (base + u64::from(*place), meta)),
        )
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
