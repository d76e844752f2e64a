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
    last: Last<T>,
}

/// The answer given last; most publishers stay with a subject for a while.
#[derive(Debug)]
struct Last<T> {
    valid: bool,
    subject: Vec<u8>,
    /// How much of the subject decides, when the last token does not.
    prefix: Option<usize>,
    routes: Arc<Routes<T>>,
}

impl<T> Last<T> {
    fn answers(&self, subject: &[u8]) -> bool {
        if !self.valid {
            return false;
        }
        let Some(prefix) = self.prefix else {
            return self.subject == subject;
        };
        subject.len() > prefix
            && subject[..prefix] == self.subject[..prefix]
            && !subject[prefix..].contains(&b'.')
    }
}

impl<T> Default for RouteCache<T> {
    fn default() -> Self {
        let last = Last {
            valid: false,
            subject: Vec::new(),
            prefix: None,
            routes: Arc::new(Routes::none()),
        };
        Self {
            generation: 0,
            exact: HashMap::default(),
            prefix: HashMap::default(),
            last,
        }
    }
}

/// Everything up to and with the last dot; empty when there is none.
fn prefix_of(subject: &[u8]) -> &[u8] {
    let dot = subject
        .iter()
        .rposition(|byte| *byte == b'.')
        .map_or(0, |at| at + 1);
    &subject[..dot]
}

impl<T: Clone> RouteCache<T> {
    /// The routes of a subject, from memory when the router has not changed.
    #[inline]
    pub fn get(&mut self, router: &Router<T>, subject: &[u8]) -> &Routes<T> {
        // Read before anything is looked up: an answer can be older than it is said to be, never newer.
        if self.generation != router.generation() {
            self.forget();
        }
        if !self.last.answers(subject) {
            let (routes, prefix) = self.find(router, subject);
            self.last.subject.clear();
            self.last.subject.extend_from_slice(subject);
            self.last.prefix = prefix;
            self.last.routes = routes;
            self.last.valid = true;
        }
        &self.last.routes
    }

    fn find(&mut self, router: &Router<T>, subject: &[u8]) -> (Arc<Routes<T>>, Option<usize>) {
        let prefix = prefix_of(subject);
        if prefix.len() < subject.len()
            && let Some(routes) = self.prefix.get(prefix)
        {
            return (Arc::clone(routes), Some(prefix.len()));
        }
        if let Some(routes) = self.exact.get(subject) {
            return (Arc::clone(routes), None);
        }
        let found = router.lookup(subject);
        if found.generation != self.generation || self.exact.len() + self.prefix.len() >= MAX {
            self.forget();
            self.generation = found.generation;
        }
        if found.any_last_token {
            self.prefix.insert(prefix.into(), Arc::clone(&found.routes));
            (found.routes, Some(prefix.len()))
        } else {
            self.exact.insert(subject.into(), Arc::clone(&found.routes));
            (found.routes, None)
        }
    }

    fn forget(&mut self) {
        self.generation = 0;
        self.exact.clear();
        self.prefix.clear();
        self.last.valid = false;
        // Targets that are gone must not be held until the next message.
        self.last.routes = Arc::new(Routes::none());
    }
}
