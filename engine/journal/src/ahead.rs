//! Reading on: whoever goes through a stream reads frames that lie behind each other, and many of them are small. They are
//! read in pieces, which costs a system call a piece and not one a frame, and found in memory a few at a time.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::FRAME_HEADER;
use crate::position::Position;
use crate::storage::StorageFile;
use crate::tail::Tail;

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;
/// Frames of more bytes are read by themselves: a system call is little beside what they hold.
const SMALL: usize = 8 * 1024;
/// Bytes that are taken from memory at once.
const FEW: usize = 32 * 1024;
/// How far behind the frame before it one may begin that follows it: others' frames lie between them.
const GAP: u64 = 4 * 1024;
/// How many frames have to follow each other before a piece is read, so that who jumps does not read what it passes over.
const RUN: u8 = 3;

/// What a reader has at hand of the journal, at most about 64 KiB; nothing unless it reads frames that follow each other.
#[derive(Debug, Default)]
pub struct ReadAhead {
    /// Of the last frame, and where it ends there.
    file: u32,
    end: u64,
    /// How many frames followed each other, up to [`RUN`].
    run: u8,
    /// How often frames had been taken back from files when the piece was read.
    cuts: u64,
    /// What was read from the last frame's file, and where it begins there.
    piece: Vec<u8>,
    base: u64,
    /// What was found in memory, in the order of the log.
    bodies: VecDeque<(Position, Bytes)>,
}

fn start_of(position: Position) -> u64 {
    position.offset.saturating_sub(FRAME_HEADER as u64)
}

impl ReadAhead {
    /// Lets go of what is at hand: for who waits.
    pub fn rest(&mut self) {
        *self = Self::default();
    }

    /// Says which frame is read next, and how often frames were taken back; whether it goes on where the ones before it ended,
    /// so that more than it should be read. What is at hand is of use only as long as it does.
    pub(crate) fn goes_on(&mut self, position: Position, cuts: u64) -> bool {
        let start = start_of(position);
        let expected = match position.file > self.file {
            // The last one of a file is followed by the first one of another.
            true => 0,
            false => self.end,
        };
        let follows = position.file >= self.file
            && (expected..=expected.saturating_add(GAP)).contains(&start);
        self.run = if follows { (self.run + 1).min(RUN) } else { 0 };
        if !follows || position.file != self.file || cuts != self.cuts {
            self.piece = Vec::new();
        }
        if !follows {
            self.bodies = VecDeque::new();
        }
        (self.file, self.end, self.cuts) = (position.file, position.end(), cuts);
        self.run == RUN && FRAME_HEADER + position.len as usize <= SMALL
    }

    /// A body that was found in memory with one before it.
    pub(crate) fn body(&mut self, position: Position) -> Option<Bytes> {
        let passed = |(at, _): &(Position, Bytes)| *at < position;
        while self.bodies.front().is_some_and(passed) {
            self.bodies.pop_front();
        }
        let next = self.bodies.front().is_some_and(|(at, _)| *at == position);
        next.then(|| self.bodies.pop_front().map(|(_, body)| body))?
    }

    /// The bytes of the frame that [`ReadAhead::goes_on`] was told of, when they are in the piece. They are a copy: a body that is
    /// kept must not keep the piece. What is there may be older than the frame, so it has to be verified.
    pub(crate) fn frame(&self, position: Position) -> Option<Bytes> {
        let start = usize::try_from(start_of(position).checked_sub(self.base)?).ok()?;
        let end = start.checked_add(FRAME_HEADER + position.len as usize)?;
        self.piece.get(start..end).map(Bytes::copy_from_slice)
    }

    /// Reads the piece that begins with that frame, and answers the frame's bytes; `None` when they cannot be read.
    pub(crate) fn fill(&mut self, file: &dyn StorageFile, position: Position) -> Option<Bytes> {
        self.piece.resize(PIECE, 0);
        self.base = start_of(position);
        let read = file.read_at(&mut self.piece, self.base);
        self.piece.truncate(*read.as_ref().unwrap_or(&0));
        self.frame(position)
    }

    /// A body from memory, and with it a few behind it when reading goes on.
    pub(crate) fn find(&mut self, tail: &Tail, position: Position, goes_on: bool) -> Option<Bytes> {
        self.bodies.clear();
        let most = if goes_on { FEW } else { 0 };
        let found = tail.get_with(position, most, &mut self.bodies)?;
        // Memory has the newest, so no more is read from files.
        self.piece = Vec::new();
        Some(found)
    }
}
