//! A message as it travels between rooms.

use bytes::Bytes;

use crate::HeaderBlock;

/// One message: where it goes, what it carries. Cheap to clone: every part is reference counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// A literal subject (no wildcards).
    pub subject: Bytes,
    /// Where an answer is expected, if anywhere.
    pub reply: Option<Bytes>,
    /// The raw header block from `NATS/1.0` to the closing blank line; empty when there is none.
    pub headers: Bytes,
    /// The body as published.
    pub payload: Bytes,
}

impl Message {
    /// The header block, parsed on demand.
    #[must_use]
    pub fn header_block(&self) -> HeaderBlock<'_> {
        HeaderBlock::new(&self.headers)
    }

    /// The subject as text; subjects are checked to be UTF-8 at the door.
    #[must_use]
    pub fn subject_str(&self) -> &str {
        std::str::from_utf8(&self.subject).unwrap_or("\u{fffd}")
    }
}
