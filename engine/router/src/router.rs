//! The shared tree. Lookups are remembered by publishers until the generation changes, so the lock is off the hot path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::trie::{Holds, Node, Routes};

/// An answer, with what is needed to remember it.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// Who gets it.
    pub routes: Arc<Routes<T>>,
    /// For which other subjects it is true too.
    pub holds: Holds,
    /// The tree it was true for.
    pub generation: u64,
}

/// Subscriptions by filter.
#[derive(Debug)]
pub struct Router<T> {
    tree: RwLock<Node<T>>,
    generation: AtomicU64,
}

impl<T: Clone> Default for Router<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Router<T> {
    /// A router nobody subscribed to.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tree: RwLock::new(Node::default()),
            generation: AtomicU64::new(1),
        }
    }

    /// Adds a subscription. `id` must differ from those of other subscriptions with the same filter and queue.
    pub fn insert(&self, filter: &[u8], queue: Option<&[u8]>, id: u64, target: T) {
        let mut tree = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        tree.insert(filter, queue, id, target);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Removes a subscription; `false` when there was none.
    pub fn remove(&self, filter: &[u8], queue: Option<&[u8]>, id: u64) -> bool {
        let mut tree = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        let removed = tree.remove(filter, queue, id);
        self.generation.fetch_add(1, Ordering::Release);
        removed
    }

    /// Changes with every subscription that comes or goes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Who gets messages of a literal subject.
    #[must_use]
    pub fn lookup(&self, subject: &[u8]) -> Found<T> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that the answer is never newer than its generation.
        let generation = self.generation();
        let (routes, holds) = tree.lookup(subject);
        Found {
            routes: Arc::new(routes),
            holds,
            generation,
        }
    }

    /// Whether anybody does.
    #[must_use]
    pub fn has_interest(&self, subject: &[u8]) -> bool {
        self.tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .has_interest(subject)
    }
}
