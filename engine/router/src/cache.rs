//! What one publisher remembers of the router. Not shared, so it needs no lock.

use std::collections::HashMap;
use std::sync::Arc;

use crate::router::Router;
use crate::trie::Routes;

/// Most subjects remembered; beyond it everything is forgotten, which costs less than choosing.
const MAX: usize = 2048;

type Known<T> = HashMap<Box<[u8]>, Arc<Routes<T>>, foldhash::fast::RandomState>;

/// Answers of a router, valid for one generation.
#[derive(Debug)]
pub struct RouteCache<T> {
    generation: u64,
    /// By whole subject.
    exact: Known<T>,
    /// By everything up to the last dot, for answers that hold for any last token.
    prefix: Known<T>,
    last_subject: Vec<u8>,
    last: Option<Arc<Routes<T>>>,
}

impl<T> Default for RouteCache<T> {
    fn default() -> Self {
        Self {
            generation: 0,
            exact: HashMap::default(),
            prefix: HashMap::default(),
            last_subject: Vec::new(),
            last: None,
        }
    }
}

/// Everything up to and with the last dot; empty when there is none.
fn prefix_of(subject: &[u8]) -> &[u8] {
    let dot = subject.iter().rposition(|byte| *byte == b'.').map_or(0, |at| at + 1);
    &subject[..dot]
}

impl<T: Clone> RouteCache<T> {
    /// The routes of a subject, from memory when the router has not changed.
    pub fn get(&mut self, router: &Router<T>, subject: &[u8]) -> Arc<Routes<T>> {
        if self.generation != router.generation() {
            self.forget();
        } else if self.last_subject == subject
            && let Some(routes) = &self.last
        {
            return Arc::clone(routes);
        }
        let routes = self.find(router, subject);
        self.last_subject.clear();
        self.last_subject.extend_from_slice(subject);
        self.last = Some(Arc::clone(&routes));
        routes
    }

    fn find(&mut self, router: &Router<T>, subject: &[u8]) -> Arc<Routes<T>> {
        if let Some(routes) = self.prefix.get(prefix_of(subject)).or_else(|| self.exact.get(subject)) {
            return Arc::clone(routes);
        }
        let found = router.lookup(subject);
        if found.generation != self.generation || self.exact.len() + self.prefix.len() >= MAX {
            self.forget();
            self.generation = found.generation;
        }
        if found.any_last_token {
            self.prefix.insert(prefix_of(subject).into(), Arc::clone(&found.routes));
        } else {
            self.exact.insert(subject.into(), Arc::clone(&found.routes));
        }
        found.routes
    }

    fn forget(&mut self) {
        self.generation = 0;
        self.exact.clear();
        self.prefix.clear();
        self.last = None;
    }
}
