//! The rows of a partition in order, in pieces: a row at the end costs the same however many are before it.

use std::collections::VecDeque;
use std::sync::Arc;

/// Most rows of a piece.
const MOST: usize = 128;

/// How many bytes tell equal rows apart.
const COPY: usize = 4;

/// A row, and what was last told of it. Rows that are equal are several lines.
#[derive(Debug)]
pub(super) struct Line {
    /// What the partition orders by, the row, and a number among those that are equal.
    bytes: Arc<[u8]>,
    /// Where the row begins.
    split: u32,
    /// `None` until the step in which it came is over.
    pub(super) told: Option<Told>,
    /// Its number in the log; `None`: it has none yet.
    pub(super) id: Option<u64>,
    /// Whether the log does not know it as it is.
    pub(super) dirty: bool,
}

/// What windows answer for a row, and what they carry on to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    bytes: Box<[u8]>,
    /// Where what they carry begins.
    split: u32,
}

impl Told {
    pub(super) fn new(answers: &[u8], carry: &[u8]) -> Self {
        Self {
            bytes: [answers, carry].concat().into(),
            split: answers.len() as u32,
        }
    }

    pub(super) fn answers(&self) -> &[u8] {
        &self.bytes[..self.split as usize]
    }

    pub(super) fn carry(&self) -> &[u8] {
        &self.bytes[self.split as usize..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Line {
    /// The `copy`th of the rows that are equal to this.
    pub(super) fn new(row: &[u8], split: usize, copy: u32) -> Self {
        Self::of([row, &copy.to_be_bytes()].concat().into(), split as u32)
    }

    pub(super) fn of(bytes: Arc<[u8]>, split: u32) -> Self {
        Self {
            bytes,
            split,
            told: None,
            id: None,
            dirty: true,
        }
    }

    /// A line that the log knows.
    pub(super) fn logged(bytes: &[u8], split: u32, told: Told, id: u64) -> Self {
        Self {
            told: Some(told),
            id: Some(id),
            dirty: false,
            ..Self::of(bytes.into(), split)
        }
    }

    /// Whether these can be the bytes of a line.
    pub(super) fn fits(bytes: &[u8], split: u32) -> bool {
        (split as usize).saturating_add(COPY) <= bytes.len()
    }

    pub(super) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    pub(super) fn split(&self) -> u32 {
        self.split
    }

    pub(super) fn order(&self) -> &[u8] {
        &self.bytes[..self.split as usize]
    }

    pub(super) fn row(&self) -> &[u8] {
        &self.bytes[self.split as usize..self.bytes.len() - COPY]
    }

    /// What equal rows have in common.
    pub(super) fn common(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - COPY]
    }

    fn copy(&self) -> u32 {
        let last = self.bytes.last_chunk::<COPY>();
        last.map_or(0, |last| u32::from_be_bytes(*last))
    }
}

/// A place between or at lines, until lines come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    piece: usize,
    line: usize,
}

/// Lines in order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// None of them empty.
    pieces: VecDeque<Vec<Line>>,
}

impl Lines {
    pub(super) const START: At = At { piece: 0, line: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn end(&self) -> At {
        At {
            piece: self.pieces.len(),
            line: 0,
        }
    }

    pub(super) fn get(&self, at: At) -> Option<&Line> {
        self.pieces.get(at.piece)?.get(at.line)
    }

    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut Line> {
        self.pieces.get_mut(at.piece)?.get_mut(at.line)
    }

    /// The first line that is not below.
    pub(super) fn seek(&self, bytes: &[u8]) -> At {
        let below = |line: &Line| *line.bytes < *bytes;
        let piece = self
            .pieces
            .partition_point(|piece| piece.last().is_some_and(below));
        let line = self.pieces.get(piece);
        At {
            piece,
            line: line.map_or(0, |lines| lines.partition_point(below)),
        }
    }

    /// The place so many lines further, or the end.
    pub(super) fn forward(&self, mut at: At, mut count: usize) -> At {
        while let Some(piece) = self.pieces.get(at.piece) {
            let left = piece.len() - at.line;
            if count < left {
                at.line += count;
                return at;
            }
            count -= left;
            at = At {
                piece: at.piece + 1,
                line: 0,
            };
        }
        at
    }

    /// The place so many lines before, or the start.
    pub(super) fn back(&self, mut at: At, mut count: usize) -> At {
        while count > at.line {
            if at.piece == 0 {
                return Self::START;
            }
            count -= at.line;
            at.piece -= 1;
            at.line = self.pieces[at.piece].len();
        }
        at.line -= count;
        at
    }

    pub(super) fn before(&self, at: At) -> Option<&Line> {
        (at > Self::START).then(|| self.get(self.back(at, 1)))?
    }

    /// The lines between two places.
    pub(super) fn between(&self, from: At, to: At) -> impl Iterator<Item = &Line> {
        let pieces = from.piece..self.pieces.len().min(to.piece + 1);
        pieces.flat_map(move |piece| {
            let lines = &self.pieces[piece];
            let first = if piece == from.piece { from.line } else { 0 };
            let last = if piece == to.piece {
                to.line
            } else {
                lines.len()
            };
            lines[first..last.max(first)].iter()
        })
    }

    pub(super) fn count(&self, from: At, to: At) -> usize {
        let whole = from.piece..to.piece;
        let lines: usize = whole.map(|piece| self.pieces[piece].len()).sum();
        (lines + to.line).saturating_sub(from.line)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.pieces.iter().flatten()
    }

    /// The last of the lines with this row, and how many copies there were of it at most.
    pub(super) fn last_copy(&self, row: &[u8]) -> Option<(At, u32)> {
        let behind = self.seek(&[row, &[u8::MAX; COPY]].concat());
        let line = self.before(behind).filter(|line| line.common() == row)?;
        Some((self.back(behind, 1), line.copy()))
    }

    pub(super) fn insert(&mut self, line: Line) {
        let at = self.seek(&line.bytes);
        if at == self.end() {
            match self.pieces.back_mut() {
                Some(last) if last.len() < MOST => last.push(line),
                _ => self.pieces.push_back(vec![line]),
            }
            return;
        }
        let piece = &mut self.pieces[at.piece];
        piece.insert(at.line, line);
        if piece.len() > MOST {
            let half = piece.split_off(MOST / 2);
            self.pieces.insert(at.piece + 1, half);
        }
    }

    pub(super) fn remove(&mut self, at: At) -> Line {
        let line = self.pieces[at.piece].remove(at.line);
        if self.pieces[at.piece].is_empty() {
            self.pieces.remove(at.piece);
        }
        line
    }

    /// Takes so many lines from the front.
    pub(super) fn cut(&mut self, count: usize) -> Vec<Line> {
        let mut cut = Vec::with_capacity(count);
        while cut.len() < count
            && let Some(first) = self.pieces.front_mut()
        {
            let many = first.len().min(count - cut.len());
            cut.extend(first.drain(..many));
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
        cut
    }
}
