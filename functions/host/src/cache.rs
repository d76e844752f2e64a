//! Compiled modules by content, so that applying the same module again, with another configuration or in another
//! station, does not compile it again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// SHA-256 of a module as it was given, before any wrapping.
pub(crate) type Key = [u8; 32];

pub(crate) fn key(wasm: &[u8]) -> Key {
    Sha256::digest(wasm).into()
}

/// At most `size` values, the longest unused one leaves.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    size: usize,
    entries: Mutex<VecDeque<(Key, V)>>,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            entries: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let at = entries.iter().position(|(known, _)| known == key)?;
        let entry = entries.remove(at)?;
        let value = entry.1.clone();
        entries.push_back(entry);
        Some(value)
    }

    pub(crate) fn put(&self, key: Key, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(known, _)| *known != key);
        entries.push_back((key, value));
        while entries.len() > self.size {
            entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, key};

    #[test]
    fn the_longest_unused_leaves() {
        let cache = Cache::new(2);
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| key(text));
        cache.put(a, 'a');
        cache.put(b, 'b');
        assert_eq!(cache.get(&a), Some('a'));
        cache.put(c, 'c');
        assert_eq!(
            (cache.get(&a), cache.get(&b), cache.get(&c)),
            (Some('a'), None, Some('c'))
        );
    }
}
