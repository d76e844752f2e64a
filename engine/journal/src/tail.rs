//! The last bodies written, kept in memory: readers that follow a stream share them and never touch the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::position::Position;

/// About the bytes that a body takes besides its own: its place in the map and in the order, and its allocation. Of small bodies
/// that is most of it.
const EACH: usize = 160;

/// A cache of the newest bodies, bounded by bytes.
#[derive(Debug)]
pub(crate) struct Tail {
    limit: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    bodies: HashMap<Position, Bytes>,
    order: VecDeque<Position>,
    bytes: usize,
}

impl Inside {
    fn remove(&mut self, position: Position) {
        let gone = self.bodies.remove(&position);
        self.bytes -= gone.map_or(0, |body| body.len() + EACH);
    }
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            inside: Mutex::default(),
        }
    }

    pub(crate) fn extend(&self, bodies: impl Iterator<Item = (Position, Bytes)>) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, body) in bodies {
            inside.bytes += body.len() + EACH;
            inside.order.push_back(position);
            inside.bodies.insert(position, body);
        }
        while inside.bytes > self.limit {
            let Some(oldest) = inside.order.pop_front() else {
                break;
            };
            inside.remove(oldest);
        }
    }

    /// Drops a body, which stays in its place of the order until its turn comes.
    pub(crate) fn forget(&self, position: Position) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.remove(position);
    }

    pub(crate) fn has(&self, position: Position) -> bool {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.bodies.contains_key(&position)
    }

    pub(crate) fn get(&self, position: Position) -> Option<Bytes> {
        self.inside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bodies
            .get(&position)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{EACH, Tail};
    use crate::position::Position;

    #[test]
    fn small_bodies_count_for_what_they_take() {
        let at = |offset| Position {
            file: 1,
            offset,
            len: 1,
        };
        let tail = Tail::new(100 * EACH);
        let body = Bytes::from_static(b"x");
        tail.extend((0..1000).map(|offset| (at(offset), body.clone())));
        tail.forget(at(999));
        tail.forget(at(999));
        let inside = tail.inside.lock().expect("unpoisoned");
        assert_eq!(inside.bodies.len(), 98);
        assert_eq!(inside.bytes, 98 * (EACH + 1));
        drop(inside);
        assert!(tail.get(at(998)).is_some() && tail.get(at(0)).is_none());
    }
}
