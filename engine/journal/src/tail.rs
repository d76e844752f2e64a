//! The last bodies written, kept in memory: readers that follow a stream share them and never touch the disk.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::position::Position;

/// About the bytes that a body takes besides its own: its place here, and its allocation. Of small bodies that is most of it.
const EACH: usize = 160;

/// A cache of the newest bodies, bounded by bytes.
#[derive(Debug)]
pub(crate) struct Tail {
    limit: usize,
    inside: Mutex<Inside>,
}

/// In the order of the log: found by halving, and what lies behind a body is what its reader wants next.
#[derive(Debug, Default)]
struct Inside {
    places: VecDeque<Position>,
    /// Of each place; `None` when it was forgotten.
    bodies: VecDeque<Option<Bytes>>,
    bytes: usize,
}

fn size(body: &Bytes) -> usize {
    body.len() + EACH
}

impl Inside {
    fn add(&mut self, position: Position, body: Bytes) {
        // The writer hands bodies over in the order of the log.
        debug_assert!(self.places.back().is_none_or(|last| *last < position));
        self.bytes += size(&body);
        self.places.push_back(position);
        self.bodies.push_back(Some(body));
    }

    fn body(&self, position: Position) -> Option<(usize, &Bytes)> {
        let at = self.places.binary_search(&position).ok()?;
        Some((at, self.bodies[at].as_ref()?))
    }
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            inside: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn extend(&self, bodies: impl Iterator<Item = (Position, Bytes)>) {
        let mut inside = self.lock();
        for (position, body) in bodies {
            inside.add(position, body);
        }
        while inside.bytes > self.limit {
            inside.places.pop_front();
            let Some(oldest) = inside.bodies.pop_front() else {
                break;
            };
            inside.bytes -= oldest.as_ref().map_or(0, size);
        }
    }

    /// Drops a body; its place stays until its turn comes.
    pub(crate) fn forget(&self, position: Position) {
        let mut inside = self.lock();
        if let Ok(at) = inside.places.binary_search(&position) {
            let gone = inside.bodies[at].take();
            inside.bytes -= gone.as_ref().map_or(0, size);
        }
    }

    pub(crate) fn has(&self, position: Position) -> bool {
        self.lock().body(position).is_some()
    }

    pub(crate) fn get(&self, position: Position) -> Option<Bytes> {
        self.lock().body(position).map(|(_, body)| body.clone())
    }

    /// A body, and into `behind` the ones behind it that take no more than `most` bytes.
    pub(crate) fn get_with(
        &self,
        position: Position,
        most: usize,
        behind: &mut VecDeque<(Position, Bytes)>,
    ) -> Option<Bytes> {
        let inside = self.lock();
        let (at, body) = inside.body(position)?;
        let mut bytes = 0;
        let next = inside.places.range(at + 1..);
        for (place, body) in next.zip(inside.bodies.range(at + 1..)) {
            let Some(body) = body else { continue };
            bytes += size(body);
            if bytes > most {
                break;
            }
            behind.push_back((*place, body.clone()));
        }
        Some(body.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{EACH, Tail, size};
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
        let inside = tail.lock();
        assert_eq!(inside.bodies.iter().flatten().count(), 98);
        assert_eq!(inside.bytes, 98 * (EACH + 1));
        drop(inside);
        assert!(tail.get(at(998)).is_some() && tail.get(at(0)).is_none());
        assert!(tail.get(at(999)).is_none());
    }

    /// A body behind the last one, so many bytes further; or a place that is forgotten.
    #[derive(Clone, Debug)]
    enum Change {
        Add(u64, Vec<u8>),
        Forget(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        let body = prop::collection::vec(any::<u8>(), 0..60);
        prop_oneof![
            4 => (1_u64..4, body).prop_map(|(further, body)| Change::Add(further, body)),
            1 => (0_u64..100).prop_map(Change::Forget),
        ]
    }

    proptest! {
        /// Whatever is forgotten and had to go, what is there is what was put there, and what is behind comes with it.
        #[test]
        fn a_tail_is_a_map_in_order(
            changes in prop::collection::vec(change(), 1..60),
            limit in 0_usize..20_000,
            most in 0_usize..2000,
        ) {
            let tail = Tail::new(limit);
            let (mut model, mut last) = (BTreeMap::new(), 0);
            let at = |offset| Position { file: 1, offset, len: 0 };
            for change in changes {
                match change {
                    Change::Add(further, body) => {
                        last += further;
                        let body = Bytes::from(body);
                        tail.extend([(at(last), body.clone())].into_iter());
                        model.insert(at(last), body);
                    }
                    Change::Forget(offset) => {
                        tail.forget(at(offset));
                        model.remove(&at(offset));
                    }
                }
                while model.values().map(size).sum::<usize>() > limit {
                    model.pop_first();
                }
            }
            let bytes = model.values().map(size).sum::<usize>();
            prop_assert_eq!(tail.lock().bytes, bytes);
            for position in (0..=last + 1).map(at) {
                let mut behind = VecDeque::new();
                let found = tail.get_with(position, most, &mut behind);
                prop_assert_eq!(found.as_ref(), model.get(&position));
                prop_assert_eq!(tail.get(position), found.clone());
                prop_assert_eq!(tail.has(position), found.is_some());
                let mut taken = 0;
                let next = model.range(position..).skip(1).take_while(|(_, body)| {
                    taken += size(body);
                    taken <= most
                });
                let next: Vec<_> = next.map(|(place, body)| (*place, body.clone())).collect();
                prop_assert_eq!(Vec::from(behind), if found.is_some() { next } else { Vec::new() });
            }
        }
    }
}
