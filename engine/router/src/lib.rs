//! Who wants this subject: subscriptions by filter, queue groups, and what a publisher may remember of the answer.
//!
//! What lives here: the trie of filters, its generation, the per-publisher cache of answers.
//! What may not come in: what a target is, sockets, messages.

mod cache;
mod router;
mod trie;

#[cfg(test)]
mod tests;

pub use cache::RouteCache;
pub use router::{Found, Router};
pub use trie::{Holds, Routes};
