//! The two questions every error of the workspace answers: whose fault, and does trying again help.

use std::time::Duration;

/// Whose problem an error is; decides log level, metric label and HTTP class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The request was wrong; repeating it unchanged gives the same answer.
    Client,
    /// Something is busy, full or away for now.
    Transient,
    /// Stored data is not what was written.
    Corruption,
    /// An invariant of this program does not hold.
    Bug,
}

/// Whether, and after how long, the same call may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will fail the same way again.
    Never,
    /// Worth trying again after this pause.
    After(Duration),
}
