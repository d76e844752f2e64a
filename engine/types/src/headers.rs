//! NATS headers (ADR-4): a version line, `Name: value` lines, a blank line.

use bytes::Bytes;
use thiserror::Error;

const VERSION: &[u8] = b"NATS/1.0";
const MESSAGE_ID: &[u8] = b"Nats-Msg-Id";

/// Whether a header of this name is a message's id where `Nats-Msg-Id` is missing: `msg-id`, in upper or lower case.
#[must_use]
pub fn is_id_alias(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"msg-id")
}

/// Why a block of bytes is no header block.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeadersError {
    /// The first line is not `NATS/1.0`.
    #[error("header block does not start with `NATS/1.0`")]
    Version,
    /// The block does not end in an empty line.
    #[error("header block does not end with an empty line")]
    Unterminated,
    /// A line without a colon, or with an empty name.
    #[error("header line has no name before a colon")]
    Line,
}

/// A borrowed view of a raw header block. An empty slice is a block without headers.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBlock<'a> {
    raw: &'a [u8],
}

impl<'a> HeaderBlock<'a> {
    /// Wraps a raw block; nothing is checked until it is read.
    #[must_use]
    pub fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// Whether the block is well formed.
    ///
    /// # Errors
    /// The first deviation from ADR-4.
    pub fn check(&self) -> Result<(), HeadersError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        if !self.raw.starts_with(VERSION) {
            return Err(HeadersError::Version);
        }
        if !self.raw.ends_with(b"\r\n\r\n") {
            return Err(HeadersError::Unterminated);
        }
        for line in self.lines() {
            match memchr::memchr(b':', line) {
                None | Some(0) => return Err(HeadersError::Line),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The status line's text after `NATS/1.0`, such as `503` or `100 Idle Heartbeat`; empty when there is none.
    #[must_use]
    pub fn status(&self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.raw).unwrap_or(self.raw.len());
        self.raw
            .get(VERSION.len()..end)
            .unwrap_or_default()
            .trim_ascii()
    }

    /// All headers in order; values are trimmed of surrounding blanks.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.lines().filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The first value under `name`; names compare byte for byte, as in nats-server.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(key, _)| *key == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// The first value under `name` as text.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&'a str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// What the publisher calls the message: the first `Nats-Msg-Id` that is not empty, or else the first [alias](is_id_alias).
    #[must_use]
    pub fn message_id(&self) -> Option<&'a [u8]> {
        // Most blocks have neither, which this tells without reading lines: both names end alike.
        let dashes = memchr::memchr_iter(b'-', self.raw);
        let mut places = dashes.filter(|at| {
            let end = self.raw.get(at.saturating_sub(3)..*at + 4);
            end.is_some_and(|end| end.eq_ignore_ascii_case(b"msg-id:"))
        });
        places.next()?;
        let mut alias = None;
        for (name, value) in self.iter().filter(|(_, value)| !value.is_empty()) {
            if name == MESSAGE_ID {
                return Some(value);
            }
            if alias.is_none() && is_id_alias(name) {
                alias = Some(value);
            }
        }
        alias
    }

    /// Its lines, without the version line and without line ends.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let start = memchr::memchr(b'\n', self.raw).map_or(self.raw.len(), |at| at + 1);
        let mut rest = &self.raw[start..];
        std::iter::from_fn(move || {
            // A search of one byte needs no searcher to be made, as one of two does for every line.
            let mut ends = memchr::memchr_iter(b'\r', rest);
            let end = ends.find(|end| rest.get(end + 1) == Some(&b'\n'))?;
            let line = &rest[..end];
            rest = &rest[end + 2..];
            (!line.is_empty()).then_some(line)
        })
    }
}

/// Writes a header block.
#[derive(Clone, Debug)]
pub struct HeadersBuilder {
    raw: Vec<u8>,
    any: bool,
}

impl Default for HeadersBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HeadersBuilder {
    /// A block with no headers yet.
    #[must_use]
    pub fn new() -> Self {
        let mut raw = Vec::with_capacity(128);
        raw.extend_from_slice(VERSION);
        raw.extend_from_slice(b"\r\n");
        Self { raw, any: false }
    }

    /// A block with a status line, such as `503` or `100 Idle Heartbeat`.
    #[must_use]
    pub fn with_status(status: &str) -> Self {
        let mut raw = Vec::with_capacity(64);
        raw.extend_from_slice(VERSION);
        raw.push(b' ');
        raw.extend_from_slice(status.as_bytes());
        raw.extend_from_slice(b"\r\n");
        Self { raw, any: true }
    }

    /// A block that starts as a copy of another one.
    #[must_use]
    pub fn from_block(block: &HeaderBlock<'_>) -> Self {
        let mut new = Self::new();
        for (name, value) in block.iter() {
            new.push_raw(name, value);
        }
        new
    }

    /// A copy without the headers of one name, upper and lower case alike.
    #[must_use]
    pub fn without(block: &HeaderBlock<'_>, name: &str) -> Self {
        let mut new = Self::new();
        for (known, value) in block.iter() {
            if !known.eq_ignore_ascii_case(name.as_bytes()) {
                new.push_raw(known, value);
            }
        }
        new
    }

    /// A copy without what makes the message one that was seen before: its id under every name.
    #[must_use]
    pub fn without_message_id(block: &HeaderBlock<'_>) -> Self {
        let mut new = Self::new();
        for (name, value) in block.iter() {
            if !name.eq_ignore_ascii_case(MESSAGE_ID) && !is_id_alias(name) {
                new.push_raw(name, value);
            }
        }
        new
    }

    /// Adds a header. Line breaks in the value become blanks, so a value can never start a new header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a header; see [`HeadersBuilder::with`].
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_raw(name.as_bytes(), value.as_bytes());
    }

    fn push_raw(&mut self, name: &[u8], value: &[u8]) {
        self.any = true;
        let clean = |byte: &u8| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        };
        self.raw.extend(name.iter().map(clean));
        self.raw.extend_from_slice(b": ");
        self.raw.extend(value.iter().map(clean));
        self.raw.extend_from_slice(b"\r\n");
    }

    /// The finished block; empty when nothing was added.
    #[must_use]
    pub fn build(mut self) -> Bytes {
        if !self.any {
            return Bytes::new();
        }
        self.raw.extend_from_slice(b"\r\n");
        Bytes::from(self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderBlock, HeadersBuilder, HeadersError};

    #[test]
    fn what_is_built_reads_back() {
        let raw = HeadersBuilder::new()
            .with("A", "1")
            .with("B", "two\r\nC: 3")
            .build();
        let block = HeaderBlock::new(&raw);
        assert_eq!(block.check(), Ok(()));
        assert_eq!(block.get_str("A"), Some("1"));
        assert_eq!(block.get_str("B"), Some("two  C: 3"));
        assert_eq!(block.get("C"), None);
        assert!(HeadersBuilder::new().build().is_empty());
    }

    #[test]
    fn an_id_has_two_names() {
        let id = |headers: &[(&str, &str)]| {
            let add = |new: HeadersBuilder, (name, value): &(&str, &str)| new.with(name, value);
            let raw = headers.iter().fold(HeadersBuilder::new(), add).build();
            let without = HeadersBuilder::without_message_id(&HeaderBlock::new(&raw)).build();
            assert_eq!(HeaderBlock::new(&without).message_id(), None);
            let id = HeaderBlock::new(&raw).message_id();
            id.map(|id| String::from_utf8_lossy(id).into_owned())
        };
        assert_eq!(id(&[("A-Id", "1")]), None);
        assert_eq!(
            id(&[("Trace-Id", "0"), ("MSG-Id", "1")]).as_deref(),
            Some("1")
        );
        assert_eq!(id(&[("msg-id", ""), ("msg-id", "2")]).as_deref(), Some("2"));
        assert_eq!(
            id(&[("msg-id", "1"), ("Nats-Msg-Id", "2")]).as_deref(),
            Some("2")
        );
        assert_eq!(
            id(&[("msg-id", "1"), ("Nats-Msg-Id", "")]).as_deref(),
            Some("1")
        );
        // As in nats-server, whose header this is.
        assert_eq!(id(&[("nats-msg-id", "1")]), None);
        assert_eq!(HeaderBlock::new(b"NATS/1.0\r\nx-id").message_id(), None);
    }

    #[test]
    fn status_lines_read_back() {
        let raw = HeadersBuilder::with_status("100 Idle Heartbeat").build();
        assert_eq!(HeaderBlock::new(&raw).status(), b"100 Idle Heartbeat");
        assert_eq!(HeaderBlock::new(b"NATS/1.0\r\n\r\n").status(), b"");
    }

    #[test]
    fn malformed_blocks_are_named() {
        let check = |raw: &[u8]| HeaderBlock::new(raw).check();
        assert_eq!(check(b"HTTP/1.1\r\n\r\n"), Err(HeadersError::Version));
        assert_eq!(
            check(b"NATS/1.0\r\nA: 1\r\n"),
            Err(HeadersError::Unterminated)
        );
        assert_eq!(
            check(b"NATS/1.0\r\nno colon\r\n\r\n"),
            Err(HeadersError::Line)
        );
    }
}
