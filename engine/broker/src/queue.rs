//! Bytes on their way to a socket: appended in place into a few buffers that are lent by a pool while bytes wait.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Mutex, PoisonError};

/// Size of a pooled buffer. Larger ones are made only for a single larger message.
const CHUNK: usize = 64 * 1024;
/// Size of a buffer for little, which is not worth a pooled one.
const SMALL: usize = 1024;
/// Most buffers the pool holds back from the allocator: 16 MiB.
const POOLED: usize = 256;
/// Most buffers handed to one write.
const VECTORS: usize = 32;

/// Buffers nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self) -> Vec<u8> {
        let pooled = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        pooled.unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() != CHUNK {
            return;
        }
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < POOLED {
            free.push(buffer);
        }
    }
}

/// What publishers append to.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    full: VecDeque<Vec<u8>>,
    tail: Vec<u8>,
}

impl Filling {
    /// Where to append `need` bytes, so that nothing already there has to move.
    #[inline]
    pub(crate) fn room(&mut self, need: usize, pool: &Pool) -> &mut Vec<u8> {
        if self.tail.capacity() - self.tail.len() < need {
            self.grow(need, pool);
        }
        &mut self.tail
    }

    fn grow(&mut self, need: usize, pool: &Pool) {
        let fresh = if self.tail.is_empty() && need <= SMALL {
            Vec::with_capacity(SMALL)
        } else if need <= CHUNK {
            pool.take()
        } else {
            Vec::with_capacity(need)
        };
        let old = std::mem::replace(&mut self.tail, fresh);
        if old.is_empty() {
            pool.give(old);
        } else {
            self.full.push_back(old);
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.full.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What is being written.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first buffer that are gone.
    at: usize,
}

impl Draining {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes all there is to write, when everything taken before is gone.
    pub(crate) fn take(&mut self, from: &mut Filling) {
        std::mem::swap(&mut self.queue, &mut from.full);
        if !from.tail.is_empty() {
            self.queue.push_back(std::mem::take(&mut from.tail));
        }
    }

    /// Calls `write` with the next bytes to go.
    pub(crate) fn slices<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); VECTORS];
        let mut count = 0;
        for (slice, buffer) in slices.iter_mut().zip(&self.queue) {
            let from = if count == 0 { self.at } else { 0 };
            *slice = IoSlice::new(&buffer[from..]);
            count += 1;
        }
        write(&slices[..count])
    }

    /// These bytes are gone.
    pub(crate) fn advance(&mut self, mut count: usize, pool: &Pool) {
        while count > 0 {
            let Some(first) = self.queue.front() else {
                return;
            };
            let left = first.len() - self.at;
            if count < left {
                self.at += count;
                return;
            }
            count -= left;
            self.at = 0;
            if let Some(done) = self.queue.pop_front() {
                pool.give(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Draining, Filling, Pool};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// What goes in comes out in order, whatever the sizes and however little a write takes.
        #[test]
        fn bytes_keep_their_order(steps in prop::collection::vec((0_usize..100_000, 0_usize..150_000), 1..40)) {
            let pool = Pool::default();
            let (mut filling, mut draining) = (Filling::default(), Draining::default());
            let (mut sent, mut received, mut next) = (Vec::new(), Vec::new(), 0_u8);
            let drain = |draining: &mut Draining, most: usize, received: &mut Vec<u8>| {
                let count = draining.slices(|slices| {
                    let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                    received.extend_from_slice(&all[..all.len().min(most)]);
                    all.len().min(most)
                });
                draining.advance(count, &pool);
                count
            };
            for (append, write) in steps {
                let message: Vec<u8> = (0..append).map(|_| { next = next.wrapping_mul(5).wrapping_add(1); next }).collect();
                filling.room(append, &pool).extend_from_slice(&message);
                sent.extend(message);
                if draining.is_empty() {
                    draining.take(&mut filling);
                }
                drain(&mut draining, write, &mut received);
            }
            while !draining.is_empty() || !filling.is_empty() {
                if draining.is_empty() {
                    draining.take(&mut filling);
                }
                drain(&mut draining, usize::MAX, &mut received);
            }
            prop_assert!(sent == received);
        }
    }
}
