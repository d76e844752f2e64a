//! The last bodies written, kept in memory: readers that follow a stream share them and never touch the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::position::Position;

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
            inside.bytes += body.len();
            inside.order.push_back(position);
            inside.bodies.insert(position, body);
        }
        while inside.bytes > self.limit {
            let Some(oldest) = inside.order.pop_front() else {
                break;
            };
            let gone = inside.bodies.remove(&oldest).map_or(0, |body| body.len());
            inside.bytes -= gone;
        }
    }

    /// Drops a body, which stays in its place of the order until its turn comes.
    pub(crate) fn forget(&self, position: Position) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = inside.bodies.remove(&position).map_or(0, |body| body.len());
        inside.bytes -= gone;
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
