//! Copying header blocks line by line, byte for byte.

use bytes::Bytes;
use memchr::{memchr, memmem};

const FIRST: &[u8] = b"NATS/1.0\r\n";

/// The header lines of a raw block, without the version line and without line ends.
pub(crate) fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let start = memchr(b'\n', raw).map_or(raw.len(), |at| at + 1);
    let mut rest = &raw[start..];
    std::iter::from_fn(move || {
        let end = memmem::find(rest, b"\r\n")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        (!line.is_empty()).then_some(line)
    })
}

/// The name of a header line.
pub(crate) fn name(line: &[u8]) -> &[u8] {
    &line[..memchr(b':', line).unwrap_or(line.len())]
}

/// Writes a block from raw lines.
#[derive(Debug)]
pub(crate) struct Writer {
    raw: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut raw = Vec::with_capacity(bytes + FIRST.len() + 2);
        raw.extend_from_slice(FIRST);
        Self { raw }
    }

    /// Adds a line as it stands in another block; it holds no line end.
    pub(crate) fn line(&mut self, line: &[u8]) {
        self.raw.extend_from_slice(line);
        self.raw.extend_from_slice(b"\r\n");
    }

    /// Adds a line with something before its name.
    pub(crate) fn prefixed(&mut self, prefix: &str, line: &[u8]) {
        self.raw.extend_from_slice(prefix.as_bytes());
        self.line(line);
    }

    /// Adds a header; line ends in the value become blanks, so that a value never starts a header of its own.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.raw.extend_from_slice(name.as_bytes());
        self.raw.extend_from_slice(b": ");
        let clean = |byte: &u8| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        };
        self.raw.extend(value.iter().map(clean));
        self.raw.extend_from_slice(b"\r\n");
    }

    /// The block; empty when it has no headers.
    pub(crate) fn build(mut self) -> Bytes {
        if self.raw.len() == FIRST.len() {
            return Bytes::new();
        }
        self.raw.extend_from_slice(b"\r\n");
        Bytes::from(self.raw)
    }
}

/// What the names of headers start with that only the server may write.
const OWN: &[u8] = b"Ms-Schema";

/// Whether some header name may start with `Ms-Schema`; false positives only cost a copy.
pub(crate) fn mentions_schema(raw: &[u8]) -> bool {
    !raw.is_empty() && memmem::find(raw, OWN).is_some()
}

/// A publisher's block without the headers that only the server may write; `None` when it has none of them.
#[must_use]
pub fn unforged(raw: &[u8]) -> Option<Bytes> {
    mentions_schema(raw).then(|| without_schema(raw))
}

/// The block without the headers that only the server may write.
pub(crate) fn without_schema(raw: &[u8]) -> Bytes {
    with_line(raw, None)
}

/// The block without the headers that only the server may write, and with `line` (or several, with line ends between them) at
/// its end.
pub(crate) fn with_line(raw: &[u8], added: Option<&[u8]>) -> Bytes {
    let mut writer = Writer::with_capacity(raw.len() + added.map_or(0, |line| line.len() + 2));
    for line in lines(raw) {
        if !name(line).starts_with(OWN) {
            writer.line(line);
        }
    }
    if let Some(line) = added {
        writer.line(line);
    }
    writer.build()
}
