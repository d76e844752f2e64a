//! What a group drives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millstream_journal::{PageSource, Position, ReadError};

use crate::error::RestoreError;

/// A committed command.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where its body lies; `file` is `u32::MAX` for one that is in memory only.
    pub position: Position,
    /// Its index in the log; 0 for one that is in memory only.
    pub index: u64,
    /// The command's bytes.
    pub body: &'a Bytes,
}

/// A command that damage took.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Its index in the log.
    pub index: u64,
    /// Which stream it was for, 0 for no single one; `None` when nothing of it is known.
    pub stream: Option<u32>,
    /// How many records it held.
    pub count: u32,
}

/// A deterministic state machine. `apply` sees the log in order and nothing else: no clock, no chance, no configuration.
pub trait StateMachine: Send + Sync + 'static {
    /// What applying comes to, for the proposer.
    type Outcome: Send + 'static;

    /// Applies one command; on the apply thread, or during recovery.
    fn apply(&self, entry: Entry<'_>) -> Self::Outcome;

    /// A command was committed and cannot be read any more; during recovery, in its turn. The journal told of it.
    fn lost(&self, lost: Lost);

    /// A batch was applied and its proposers were answered.
    fn applied(&self);

    /// Begins with the state of a checkpoint, or with none. Pages are read back through `pages`, now and later.
    ///
    /// # Errors
    /// When the checkpoint is damaged or newer than this build.
    fn restore(&self, root: Option<&[u8]>, pages: Arc<dyn PageSource>) -> Result<(), RestoreError>;

    /// The state as it is, for a checkpoint. On the apply thread, so it must be cheap: storing it happens elsewhere. Pages in
    /// `doomed` files are to be stored anew. There is one snapshot at a time.
    fn snapshot(&self, doomed: &BTreeSet<u32>) -> Box<dyn Snapshot>;

    /// Bytes that the state still needs of each journal file, pages aside. Files it needs nothing of are left out.
    fn live_bytes(&self) -> BTreeMap<u32, u64>;

    /// Some of what the state needs of a file, about `limit` bytes, to be stored elsewhere; `None` when there is no more.
    ///
    /// # Errors
    /// When it cannot be read; then it stays where it is.
    fn gather(
        &self,
        file: u32,
        limit: u64,
        read: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String>;

    /// Frames whose content is to be made unreadable on disk.
    fn erasing(&self) -> Vec<Position>;

    /// As [`StateMachine::gather`], of one frame.
    ///
    /// # Errors
    /// As there.
    fn gather_frame(
        &self,
        frame: Position,
        read: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String>;

    /// A frame was erased.
    fn erased(&self, frame: Position);
}

/// What leaves a file.
pub struct Gathered {
    /// To be stored.
    pub page: StoredPage,
    /// How many records it holds, for tools.
    pub count: u32,
    /// To be called with its new place.
    pub done: Box<dyn FnOnce(Position) + Send>,
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A part of the state that is stored on its own.
#[derive(Clone, Debug)]
pub struct StoredPage {
    /// Which stream it is of, for tools.
    pub stream: u32,
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether it is stored compressed, if it gets smaller.
    pub compress: bool,
}

/// The state at one moment, while it is being stored: pages first, then the root that names their places.
pub trait Snapshot: Send {
    /// The next pages to be stored, about `limit` bytes of them; none when all are.
    fn next_pages(&mut self, limit: usize) -> Vec<StoredPage>;

    /// Where the pages answered last lie.
    fn pages_stored(&mut self, positions: &[Position]);

    /// The root, once all pages have a place.
    fn root(&mut self) -> Vec<u8>;

    /// The files that hold its pages.
    fn page_files(&self) -> BTreeSet<u32>;

    /// The checkpoint is safe; or it could not be written, and what changed since the last one is to be stored again.
    fn finish(self: Box<Self>, safe: bool);
}
