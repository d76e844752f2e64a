//! What was read from a client and not handled yet.

const MIN: usize = 4 * 1024;
const MAX: usize = 256 * 1024;

/// Grows while reads fill it, shrinks when they leave it mostly empty. A client that says nothing holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    small_reads: u8,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Gives back the memory of a small buffer when everything was handled: most clients say little, and seldom. A large one
    /// stays for the next read until [`Buffer::release`].
    pub(crate) fn rest(&mut self) {
        if self.bytes.len() <= MIN {
            self.release();
        }
    }

    /// Gives the memory back when everything was handled.
    pub(crate) fn release(&mut self) {
        if self.start == self.end {
            *self = Self::default();
        }
    }

    /// Room to read into; `needed` is what the operation that begins the buffer is known to need in all.
    pub(crate) fn space(&mut self, needed: usize) -> &mut [u8] {
        let held = self.end - self.start;
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
        let full = held == self.bytes.len();
        let double = if full {
            (self.bytes.len() * 2).min(MAX.max(held + MIN))
        } else {
            0
        };
        let want = needed.max(double).max(MIN);
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        }
        &mut self.bytes[self.end..]
    }

    pub(crate) fn filled(&mut self, count: usize) {
        let room = self.bytes.len() - self.end;
        self.end += count;
        if count == room && self.bytes.len() < MAX {
            let larger = (self.bytes.len() * 2).min(MAX);
            self.bytes.resize(larger, 0);
            self.small_reads = 0;
        } else if self.bytes.len() > MIN && self.end < self.bytes.len() / 8 {
            self.small_reads += 1;
            if self.small_reads >= 16 {
                self.bytes
                    .truncate((self.bytes.len() / 2).max(MIN).max(self.end));
                self.bytes.shrink_to_fit();
                self.small_reads = 0;
            }
        } else {
            self.small_reads = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Buffer, MAX};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Bytes come out as they went in, whatever is read, consumed and asked for.
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((1_usize..100_000, 0_usize..100_000, 0_usize..400_000), 1..40)) {
            let mut buffer = Buffer::default();
            let mut model: Vec<u8> = Vec::new();
            let mut next = 0_u8;
            for (read, consume, needed) in steps {
                let space = buffer.space(needed);
                prop_assert!(!space.is_empty());
                let count = read.min(space.len());
                for byte in &mut space[..count] {
                    next = next.wrapping_mul(5).wrapping_add(1);
                    *byte = next;
                    model.push(next);
                }
                buffer.filled(count);
                prop_assert!(buffer.bytes() == model);
                let gone = consume.min(model.len());
                buffer.consume(gone);
                model.drain(..gone);
                if needed % 2 == 0 {
                    buffer.rest();
                } else if needed % 3 == 0 {
                    buffer.release();
                }
                prop_assert!(buffer.bytes() == model);
            }
        }
    }

    #[test]
    fn an_idle_client_holds_none() {
        let mut buffer = Buffer::default();
        for (read, held) in [(10, 0), (MAX, MAX)] {
            for _ in 0..20 {
                let count = buffer.space(1).len().min(read);
                buffer.filled(count);
                buffer.rest();
                assert_eq!(buffer.bytes().len(), count);
                buffer.consume(count);
                buffer.rest();
            }
            assert_eq!(buffer.bytes.capacity(), held);
        }
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn it_shrinks_when_little_is_read() {
        let mut buffer = Buffer::default();
        for _ in 0..20 {
            let count = buffer.space(1).len();
            buffer.filled(count);
            let held = buffer.bytes().len();
            buffer.consume(held);
        }
        assert_eq!(buffer.bytes.len(), MAX);
        for _ in 0..200 {
            buffer.space(1);
            buffer.filled(10);
            buffer.consume(10);
        }
        assert!(buffer.bytes.len() <= 8 * 1024, "{}", buffer.bytes.len());
    }
}
