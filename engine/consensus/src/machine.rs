//! What a group drives.

use bytes::Bytes;
use millstream_journal::Position;

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

/// A deterministic state machine. `apply` sees the log in order and nothing else: no clock, no chance, no configuration.
pub trait StateMachine: Send + Sync + 'static {
    /// What applying comes to, for the proposer.
    type Outcome: Send + 'static;

    /// Applies one command; on the apply thread, or during recovery.
    fn apply(&self, entry: Entry<'_>) -> Self::Outcome;

    /// A batch was applied and its proposers were answered.
    fn applied(&self);

    /// The whole state.
    fn checkpoint(&self) -> Vec<u8>;

    /// Takes the state of a checkpoint.
    ///
    /// # Errors
    /// When it is damaged or newer than this build.
    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError>;

    /// Which of these journal files nothing in the state points to.
    fn dead_files(&self, files: &[u32]) -> Vec<u32>;
}
