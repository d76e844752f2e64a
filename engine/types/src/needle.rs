//! Bytes that are looked for in many blocks.

use std::sync::OnceLock;

use memchr::memmem::Finder;

/// A constant that short blocks are searched for. Its searcher is made once: a search of a few bytes costs less than making it.
#[derive(Debug)]
pub struct Needle {
    bytes: &'static [u8],
    finder: OnceLock<Finder<'static>>,
}

impl Needle {
    /// What to look for.
    #[must_use]
    pub const fn new(bytes: &'static [u8]) -> Self {
        Self {
            bytes,
            finder: OnceLock::new(),
        }
    }

    /// Whether it is somewhere in `block`.
    #[must_use]
    pub fn is_in(&self, block: &[u8]) -> bool {
        let finder = self.finder.get_or_init(|| Finder::new(self.bytes));
        finder.find(block).is_some()
    }
}
