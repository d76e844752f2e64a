//! Copying header blocks line by line, byte for byte.

use bytes::Bytes;
use memchr::memchr;
use millstream_types::{HeaderBlock, HeadersBuilder, Needle, is_id_alias};

use crate::Trace;

const FIRST: &[u8] = b"NATS/1.0\r\n";

/// The header lines of a raw block, without the version line and without line ends.
pub(crate) fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    HeaderBlock::new(raw).lines()
}

/// The name of a header line.
pub(crate) fn name(line: &[u8]) -> &[u8] {
    &line[..memchr(b':', line).unwrap_or(line.len())]
}

/// Most bytes of headers: those of a stored record, with room for the server's own.
const MAX_HEADERS: usize = 60 * 1024;

/// The block of headers that a stage writes; empty for none.
///
/// # Errors
/// What is wrong with them, such as `a header named ``, which is no header name`.
pub fn block<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Bytes, String> {
    let mut block = HeadersBuilder::new();
    for (name, value) in headers {
        // ADR-4 wants visible ASCII without a colon.
        let graphic = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || !name.bytes().all(graphic) {
            return Err(format!("a header named `{name}`, which is no header name"));
        }
        block.push(name, value);
    }
    let block = block.build();
    if block.len() > MAX_HEADERS {
        let bytes = block.len();
        return Err(format!(
            "{bytes} bytes of headers, {MAX_HEADERS} are allowed"
        ));
    }
    Ok(block)
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

    /// Adds the lines of another block.
    pub(crate) fn append(&mut self, other: &Self) {
        self.raw.extend_from_slice(&other.raw[FIRST.len()..]);
    }

    /// Bytes of the block.
    pub(crate) fn len(&self) -> usize {
        self.raw.len() + 2
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
static OWN_NEEDLE: Needle = Needle::new(OWN);

/// Whether some header name may start with `Ms-Schema`; false positives only cost a copy.
pub(crate) fn mentions_schema(raw: &[u8]) -> bool {
    !raw.is_empty() && OWN_NEEDLE.is_in(raw)
}

/// Whether a publisher's headers are to be stored as they are, and ask for nothing on the way there.
#[must_use]
pub fn is_plain(raw: &[u8]) -> bool {
    !mentions_schema(raw) && Trace::asked(raw).is_none()
}

/// A publisher's block without the headers that only the server may write; `None` when it has none of them.
#[must_use]
pub fn unforged(raw: &[u8]) -> Option<Bytes> {
    mentions_schema(raw).then(|| without_schema(raw))
}

/// A block without what told the stream that `input` came from how to store it: headers whose names start with `Nats-`, and
/// message ids by other names, as far as they are the same in both blocks. `None` when there are none.
///
/// Such a header was carried out when the input was stored. In what is made of the input it would count a second time, in
/// another stream: copies would be each other's duplicates, and expected sequences wrong.
#[must_use]
pub fn without_orders(output: &[u8], input: &[u8]) -> Option<Bytes> {
    let orders = |line: &[u8]| {
        let name = name(line);
        name.starts_with(b"Nats-") || is_id_alias(name)
    };
    let known: Vec<&[u8]> = lines(input).filter(|line| orders(line)).collect();
    if known.is_empty() || !lines(output).any(|line| known.contains(&line)) {
        return None;
    }
    let mut writer = Writer::with_capacity(output.len());
    for line in lines(output).filter(|line| !known.contains(line)) {
        writer.line(line);
    }
    Some(writer.build())
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

#[cfg(test)]
mod tests {
    use millstream_types::HeadersBuilder;

    use super::without_orders;

    #[test]
    fn orders_are_carried_out_once() {
        let block = |lines: &[(&str, &str)]| {
            let start = HeadersBuilder::new();
            let all = lines.iter();
            all.fold(start, |block, (name, value)| block.with(name, value))
                .build()
        };
        let input = block(&[
            ("Nats-Msg-Id", "7"),
            ("Nats-Expected-Last-Sequence", "3"),
            ("msg-id", "x"),
            ("Carrier", "UA"),
        ]);
        let left = without_orders(&input, &input).expect("some went");
        assert_eq!(left, block(&[("Carrier", "UA")]));
        // What a function wrote itself counts.
        let output = block(&[
            ("Nats-Msg-Id", "7-late"),
            ("Nats-TTL", "5s"),
            ("msg-id", "x"),
        ]);
        let left = without_orders(&output, &input).expect("some went");
        assert_eq!(
            left,
            block(&[("Nats-Msg-Id", "7-late"), ("Nats-TTL", "5s")])
        );
        assert_eq!(without_orders(&output, b""), None);
        assert_eq!(without_orders(b"", &input), None);
        let only = block(&[("Nats-Msg-Id", "7")]);
        assert!(without_orders(&only, &input).is_some_and(|left| left.is_empty()));
    }
}
