//! Flows: a stream's stored messages go through stages, and what they become is stored in other streams, exactly once.
//!
//! A flow has one position. What a batch of inputs makes, the dead letters of those that are rejected and the position behind
//! the batch are one command that is carried out whole or not at all, so a kill at any moment repeats and loses nothing. One
//! such command is under way at a time; the next batch is made meanwhile. Nothing polls: an idle flow waits for its stream.
//!
//! What lives here: choosing inputs (`select`), running them and finding where outputs go (`work`, `doors`),
//! how they end (`ends`), the batch that comes of it (`made`), the position
//! (`position`), the loop around it (`runner`), single messages that are sent again (`once`). Flows that are queries have rooms of
//! their own (`query`) and share setup, status and handle.

mod doors;
mod ends;
mod handle;
mod made;
mod once;
mod position;
mod query;
mod runner;
mod select;
mod setup;
mod status;
mod work;

#[cfg(test)]
mod tests;

pub use handle::Flow;
pub use once::Resent;
pub use query::{
    Preview, PreviewSetup, PreviewTurn, Shown, state_layout, state_stream, state_subjects,
};
pub use setup::{Build, FlowEffects, FlowSetup, OwnRows, Query, QuerySetup};
pub use status::{FlowState, FlowStatus, FlowTotals, QueryStatus, SourceStatus};
