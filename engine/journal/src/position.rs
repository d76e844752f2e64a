//! Where a frame's body lies.

use bytes::{Buf, BufMut};

/// File, offset and length of a frame's body. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The file's number; `u32::MAX` marks a frame that is in memory only.
    pub file: u32,
    /// Bytes from the file's start to the body.
    pub offset: u64,
    /// Bytes of the body, as it is stored.
    pub len: u32,
}

impl Position {
    /// Bytes of the encoded form.
    pub const ENCODED: usize = 16;

    /// Appends the 16 bytes: file, offset, length, little endian.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.file);
        out.put_u64_le(self.offset);
        out.put_u32_le(self.len);
    }

    /// Reads what [`Position::encode`] wrote; `None` when there are fewer than 16 bytes.
    pub fn decode(from: &mut impl Buf) -> Option<Self> {
        (from.remaining() >= Self::ENCODED).then(|| Self {
            file: from.get_u32_le(),
            offset: from.get_u64_le(),
            len: from.get_u32_le(),
        })
    }

    /// The first byte behind the body.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}
