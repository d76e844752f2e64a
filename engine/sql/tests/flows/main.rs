//! Queries that never end, held against the answer that DataFusion gives to the same text over the whole history.
//!
//! `data` makes histories, `oracle` and `windows` answer in a batch (window functions are written out by hand there, so that
//! the engine's own way is not held against itself), `drive` runs a flow as a server would that crashes at random, `rows`
//! compares. `harness` shows with a small flow of its own that each kind of mistake is found. `suite` is the list of
//! queries, `property` runs them and Nexmark's over random histories, `script` runs the text files under `cases`.
//! `MILLSTREAM_SEEDS=N` runs N histories per query instead of a few.

mod check;
mod data;
mod drive;
mod engine;
mod harness;
mod oracle;
mod property;
mod rows;
mod script;
mod standin;
mod suite;
mod windows;
