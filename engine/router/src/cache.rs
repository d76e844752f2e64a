//! What one publisher remembers of the router. Not shared, so it needs no lock.

use std::collections::HashMap;
use std::sync::Arc;

use crate::router::{Found, Router};
use crate::trie::{Holds, Routes};

/// Most subjects remembered; beyond it everything is forgotten, which costs less than choosing.
const MAX: usize = 2048;
/// Answers that hold for a whole branch are looked for at each of the first so many dots.
const DEPTHS: usize = 32;

type Known<T> = HashMap<Box<[u8]>, Arc<Routes<T>>, foldhash::fast::RandomState>;

/// Answers of a router, valid for one generation.
#[derive(Debug)]
pub struct RouteCache<T> {
    generation: u64,
    /// Made with the first answer: most connections of a large server only listen.
    memory: Option<Box<Memory<T>>>,
}

#[derive(Debug)]
struct Memory<T> {
    last: Last<T>,
    /// By whole subject.
    exact: Known<T>,
    /// By everything up to the last dot, for answers that hold for any last token.
    prefix: Known<T>,
    /// By everything up to a dot, for answers that hold for whatever follows it.
    branch: Known<T>,
    /// Bit `n` says that `branch` has answers decided by `n` tokens.
    depths: u32,
}

/// The answer given last; most publishers stay with a subject, or a family of them, for a while.
#[derive(Debug)]
struct Last<T> {
    subject: Vec<u8>,
    holds: Holds,
    routes: Arc<Routes<T>>,
}

impl<T> Last<T> {
    #[inline]
    fn answers(&self, subject: &[u8]) -> bool {
        match self.holds {
            Holds::Subject => self.subject == subject,
            Holds::LastToken(prefix) => {
                subject.len() > prefix
                    && subject[..prefix] == self.subject[..prefix]
                    && !subject[prefix..].contains(&b'.')
            }
            Holds::Branch { prefix, .. } => {
                subject.len() > prefix
                    && subject[..prefix] == self.subject[..prefix]
                    && is_whole(&subject[prefix..])
            }
        }
    }
}

/// Whether there is no empty token in what follows a dot; a subject with one goes nowhere.
#[inline]
fn is_whole(tail: &[u8]) -> bool {
    // Looks at every byte, whatever it finds, so that the compiler can take many at once.
    let gap = |bad: bool, pair: &[u8]| bad | ((pair[0] == b'.') & (pair[1] == b'.'));
    tail.first().is_some_and(|byte| *byte != b'.')
        && tail.last().is_some_and(|byte| *byte != b'.')
        && !tail.windows(2).fold(false, gap)
}

impl<T> Default for RouteCache<T> {
    fn default() -> Self {
        Self {
            generation: 0,
            memory: None,
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
            // Targets that are gone must not be held until the next message.
            self.memory = None;
        }
        let generation = &mut self.generation;
        let memory = match &mut self.memory {
            Some(memory) => {
                if !memory.last.answers(subject) {
                    memory.turn_to(router, subject, generation);
                }
                memory
            }
            none => none.insert(Box::new(Memory::begin(router, subject, generation))),
        };
        &memory.last.routes
    }
}

impl<T: Clone> Memory<T> {
    fn begin(router: &Router<T>, subject: &[u8], generation: &mut u64) -> Self {
        let found = router.lookup(subject);
        *generation = found.generation;
        let mut memory = Self {
            last: Last {
                subject: subject.to_vec(),
                holds: found.holds,
                routes: Arc::clone(&found.routes),
            },
            exact: HashMap::default(),
            prefix: HashMap::default(),
            branch: HashMap::default(),
            depths: 0,
        };
        memory.keep(subject, found);
        memory
    }

    /// Makes `subject` the last one asked for.
    fn turn_to(&mut self, router: &Router<T>, subject: &[u8], generation: &mut u64) {
        let (routes, holds) = match self.recall(subject) {
            Some((routes, holds)) => (Arc::clone(routes), holds),
            None => {
                let found = router.lookup(subject);
                if found.generation != *generation || self.len() >= MAX {
                    self.forget();
                    *generation = found.generation;
                }
                let answer = (Arc::clone(&found.routes), found.holds);
                self.keep(subject, found);
                answer
            }
        };
        self.last.subject.clear();
        self.last.subject.extend_from_slice(subject);
        self.last.holds = holds;
        self.last.routes = routes;
    }

    fn recall(&self, subject: &[u8]) -> Option<(&Arc<Routes<T>>, Holds)> {
        let prefix = prefix_of(subject);
        if prefix.len() < subject.len()
            && let Some(routes) = self.prefix.get(prefix)
        {
            return Some((routes, Holds::LastToken(prefix.len())));
        }
        if let Some(routes) = self.exact.get(subject) {
            return Some((routes, Holds::Subject));
        }
        self.recall_branch(subject)
    }

    fn recall_branch(&self, subject: &[u8]) -> Option<(&Arc<Routes<T>>, Holds)> {
        if self.depths == 0 {
            return None;
        }
        let dots = subject
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'.')
            .map(|(at, _)| at + 1);
        std::iter::once(0)
            .chain(dots)
            .take(DEPTHS)
            .enumerate()
            .filter(|(tokens, _)| self.depths & (1 << tokens) != 0)
            .find_map(|(tokens, prefix)| {
                let routes = self.branch.get(&subject[..prefix])?;
                is_whole(&subject[prefix..]).then_some((routes, Holds::Branch { prefix, tokens }))
            })
    }

    fn keep(&mut self, subject: &[u8], found: Found<T>) {
        match found.holds {
            Holds::LastToken(prefix) => {
                self.prefix.insert(subject[..prefix].into(), found.routes);
            }
            Holds::Branch { prefix, tokens } if tokens < DEPTHS => {
                self.depths |= 1 << tokens;
                self.branch.insert(subject[..prefix].into(), found.routes);
            }
            Holds::Branch { .. } | Holds::Subject => {
                self.exact.insert(subject.into(), found.routes);
            }
        }
    }

    fn len(&self) -> usize {
        self.exact.len() + self.prefix.len() + self.branch.len()
    }

    fn forget(&mut self) {
        self.exact.clear();
        self.prefix.clear();
        self.branch.clear();
        self.depths = 0;
    }
}
