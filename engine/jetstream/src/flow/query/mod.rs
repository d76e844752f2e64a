//! Flows that are queries: several streams in, results and state out, in one command.
//!
//! A query takes steps over batches of its sources; what some steps come to is one commit: results through the stages of the
//! station that gets them, messages that came late or cannot be evaluated, what changed of the state, and the positions of all
//! sources. While one commit is under way the next steps are taken. When one fails, the query is thrown away and made anew
//! from the state that is stored.
//!
//! Commits are counted (their *epoch*), and what is stored of the state says in which commit it came. A commit that is more
//! than an entry of the log should hold is preceded by entries with parts of it, which count when the position says that the
//! commit came about, and are removed when it did not. Results that do not fit are stored with the state in the same way and
//! published from there by the next commits.
//!
//! A query that was changed may need other state. It is built beside the one that runs, in a part of the state stream of its
//! own, publishes nothing, and takes over in one command when it has caught up.
//!
//! The way through the files: `input` (batches of sources), `engine` (steps), `commit` and `outputs` (the command), `store`
//! and `codec` (the state stream), `place` (positions), `runner` (the loop), `open` (how it begins); `build` (what a query keeps
//! back while it is built) and `switch` (how it takes over), `tidy` (what is left of it). `preview` takes the same steps and
//! stores nothing.

mod build;
mod codec;
mod commit;
mod engine;
mod input;
mod open;
mod outputs;
mod place;
mod preview;
mod runner;
mod store;
mod switch;
mod tidy;

pub(super) use build::Before;
pub(super) use place::Place;
pub use place::state_layout;
pub use preview::{Preview, PreviewSetup, PreviewTurn, Shown};
pub(super) use runner::QueryLoop;
pub use store::{state_stream, state_subjects};
