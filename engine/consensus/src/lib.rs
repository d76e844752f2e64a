//! Groups: a log and the state machine it drives. `propose(command) -> outcome` is the only way in.
//!
//! What lives here: the one-voter group over the journal, which every station uses; commit, apply in log order, outcomes
//! to proposers, checkpoints. openraft will live here too, behind the same handle, and nowhere else.
//! What may not come in: what commands mean. The state machine is a trait.

mod error;
mod group;
mod machine;
mod saver;
mod scattered;

#[cfg(test)]
mod tests;

pub use error::{OpenError, ProposeError, RestoreError};
pub use group::{Group, Options, Proposal, Status};
pub use machine::{Entry, Gathered, Lost, Snapshot, StateMachine, StoredPage};
