//! Nexmark for tests and benchmarks: an auction site's people, auctions and bids, and the questions asked of them.
//!
//! What lives here: [`Generator`], which makes any event from its number alone, and [`queries`], the texts of
//! `examples/nexmark`. What may not come in: anything that runs a query.
//!
//! The public specification says what the events look like: 1 person, 3 auctions and 46 bids of every 50 events, average
//! sizes, how many of the auctions, sellers and bidders are hot, how far ids run ahead. The crate `nexmark` follows
//! it too, but brings a second `rand`; this one has a random sequence per event, so that a test can ask for any of them.

mod events;
mod queries;
mod random;
mod texts;

pub use events::{Event, Generator, Station};
pub use queries::{COLUMNS, Query, queries};
pub use random::Random;
