//! The broker's side in memory, with faults at will, and the compliance suite for sources. For tests only.
//!
//! A *step* is one moment at which a process can die between two effects: before and after each commit, each cursor move,
//! each dead letter. A context or feed told to stop at step `n` never answers that step and says so through `killed()`;
//! the test then drops the connector, which is what kill -9 does to it, and starts it again on what was kept.

mod broker;
mod feed;
mod source_suite;
mod steps;

pub use broker::{Commit, MemoryBroker, MemoryContext};
pub use feed::{DeadLetter, MemoryFeed, MemoryFeedHandle, records};
pub use source_suite::{commit_errors_lose_nothing, each_record_once, stops_when_cancelled};
