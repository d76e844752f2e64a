//! The sessions of a partition.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A row that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) time: i64,
    pub(super) row: Arc<[u8]>,
    pub(super) count: i64,
    /// Its number in the log; that of a new row means nothing.
    pub(super) id: u64,
}

/// Start and end.
pub(super) type Span = (i64, i64);

/// Rows that were told with the same session.
#[derive(Debug)]
pub(super) struct Segment {
    /// `None`: they were not told.
    pub(super) told: Option<Span>,
    pub(super) rows: Vec<Kept>,
}

#[derive(Debug)]
pub(super) struct Session {
    /// The time of its last row.
    pub(super) last: i64,
    /// Rows that the log knows.
    pub(super) segments: Vec<Segment>,
    /// Rows of this step.
    pub(super) news: Vec<Kept>,
}

impl Session {
    /// One with a row of this step.
    pub(super) fn new(row: Kept) -> Self {
        Self {
            last: row.time,
            segments: Vec::new(),
            news: vec![row],
        }
    }

    /// One with a row that the log knows.
    pub(super) fn known(row: Kept) -> Self {
        Self {
            last: row.time,
            segments: vec![Segment {
                told: None,
                rows: vec![row],
            }],
            news: Vec::new(),
        }
    }

    fn absorb(&mut self, mut other: Self) {
        self.last = self.last.max(other.last);
        for segment in other.segments {
            self.add(segment);
        }
        self.news.append(&mut other.news);
    }

    pub(super) fn add(&mut self, mut segment: Segment) {
        let told = segment.told;
        match self.segments.iter_mut().find(|each| each.told == told) {
            Some(same) => {
                if same.rows.len() < segment.rows.len() {
                    std::mem::swap(&mut same.rows, &mut segment.rows);
                }
                same.rows.append(&mut segment.rows);
            }
            None => self.segments.push(segment),
        }
    }

    /// All rows, by time.
    pub(super) fn into_rows(self) -> Vec<Kept> {
        let known = self.segments.into_iter().flat_map(|segment| segment.rows);
        let mut rows: Vec<Kept> = known.chain(self.news).collect();
        // Their order is not kept, and it is another one after a restart.
        rows.sort_by(|one, other| (one.time, &one.row).cmp(&(other.time, &other.row)));
        rows
    }
}

/// Sessions by start; none overlaps another.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_start: BTreeMap<i64, Session>,
}

impl Sessions {
    /// The start of the session that a row of this time would become part of and that begins not behind it.
    fn before(&self, time: i64, gap: i64) -> Option<i64> {
        let (start, session) = self.by_start.range(..=time).next_back()?;
        (time <= session.last.saturating_add(gap)).then_some(*start)
    }

    /// The start of the session that a row of this time would become part of and that begins behind it.
    fn behind(&self, time: i64, gap: i64) -> Option<i64> {
        let from = time.checked_add(1)?;
        let (start, _) = self.by_start.range(from..).next()?;
        (*start <= time.saturating_add(gap)).then_some(*start)
    }

    /// Whether a row of this time becomes part of a session that is there.
    pub(super) fn takes(&self, time: i64, gap: i64) -> bool {
        self.before(time, gap).is_some() || self.behind(time, gap).is_some()
    }

    /// Adds a session of one row, which may join others.
    pub(super) fn insert(&mut self, time: i64, session: Session, gap: i64) {
        let behind = self.behind(time, gap);
        let behind = behind.and_then(|start| self.by_start.remove(&start));
        let before = self.before(time, gap);
        let session = match before.and_then(|start| self.by_start.get_mut(&start)) {
            Some(before) => {
                before.absorb(session);
                before
            }
            None => self.by_start.entry(time).or_insert(session),
        };
        if let Some(behind) = behind {
            session.absorb(behind);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// When the first session ends.
    pub(super) fn first_end(&self, gap: i64) -> Option<i64> {
        let (_, session) = self.by_start.first_key_value()?;
        Some(session.last.saturating_add(gap))
    }

    /// Takes the first session, with its span.
    pub(super) fn pop(&mut self, gap: i64) -> Option<(Span, Session)> {
        let (start, session) = self.by_start.pop_first()?;
        Some(((start, session.last.saturating_add(gap)), session))
    }

    pub(super) fn each(&mut self, gap: i64) -> impl Iterator<Item = (Span, &mut Session)> {
        let sessions = self.by_start.iter_mut();
        sessions.map(move |(start, session)| ((*start, session.last.saturating_add(gap)), session))
    }
}
