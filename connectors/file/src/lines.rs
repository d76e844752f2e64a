//! Cuts growing input into records without ever holding more than one bounded line too many.

use std::io::{self, Read};

/// Read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Kept of a line that is too long.
const SAMPLE_BYTES: usize = 256;

/// Where a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At every line feed.
    Line,
    /// At a line feed outside double quotes (CSV).
    Row,
}

/// One record as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Number of its first line, from 1.
    pub(crate) line: u64,
    /// Its bytes without the line end; only the beginning when `long` is set.
    pub(crate) bytes: Vec<u8>,
    /// The full length in bytes of a record longer than the limit.
    pub(crate) long: Option<u64>,
}

/// The state of cutting at one place of a file.
#[derive(Debug)]
pub(crate) struct Cutter {
    ending: Ending,
    max: usize,
    buffer: Vec<u8>,
    /// First byte of the buffer that belongs to the record being looked for.
    start: usize,
    /// First byte not looked at yet.
    seen: usize,
    quotes: Quotes,
    /// Offset in the file of the first byte after the last record given: a record border always.
    pub(crate) offset: u64,
    /// Lines before `offset`.
    pub(crate) lines: u64,
    /// Bytes and lines of a record that is too long, dropped so far, and its beginning.
    long: Option<Long>,
    lines_inside: u64,
}

#[derive(Debug, Default)]
struct Long {
    sample: Vec<u8>,
    dropped: u64,
}

impl Long {
    fn swallow(&mut self, bytes: &[u8]) {
        let wanted = SAMPLE_BYTES
            .saturating_sub(self.sample.len())
            .min(bytes.len());
        self.sample.extend_from_slice(&bytes[..wanted]);
        self.dropped += bytes.len() as u64;
    }
}

/// Where in a CSV row the next byte stands. A quote counts only at the start of a field, as in RFC 4180.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    FieldStart,
    Bare,
    Inside,
    Closing,
}

impl Quotes {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Inside, b'"') => Self::Closing,
            (Self::Inside, _) => Self::Inside,
            (Self::FieldStart | Self::Closing, b'"') => Self::Inside,
            (_, b',') => Self::FieldStart,
            _ => Self::Bare,
        }
    }
}

impl Cutter {
    /// Starts at a record border: `offset` in the file, after `lines` lines.
    pub(crate) fn new(ending: Ending, max: usize, offset: u64, lines: u64) -> Self {
        Self {
            ending,
            max,
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            quotes: Quotes::FieldStart,
            offset,
            lines,
            long: None,
            lines_inside: 0,
        }
    }

    /// The next record, reading as needed. `at_end`: what is left at the end of the input is a record too; otherwise it is
    /// kept until its line end comes. `None`: nothing more for now.
    ///
    /// # Errors
    /// What the input says; the state stays good.
    pub(crate) fn next(&mut self, input: &mut impl Read, at_end: bool) -> io::Result<Option<Cut>> {
        loop {
            if let Some(end) = self.find_end() {
                return Ok(Some(self.take(end, 1)));
            }
            if self.buffer.len() - self.start > self.max {
                self.drop_long();
            }
            if self.fill(input)? == 0 {
                let left = self.buffer.len() - self.start;
                let any = left > 0 || self.long.is_some();
                return Ok((at_end && any).then(|| self.take(self.buffer.len(), 0)));
            }
        }
    }

    fn find_end(&mut self) -> Option<usize> {
        match self.ending {
            Ending::Line => {
                let found =
                    memchr::memchr(b'\n', &self.buffer[self.seen..]).map(|at| self.seen + at);
                self.seen = found.unwrap_or(self.buffer.len());
                found
            }
            Ending::Row => {
                while let Some(byte) = self.buffer.get(self.seen) {
                    if *byte == b'\n' {
                        if self.quotes != Quotes::Inside {
                            return Some(self.seen);
                        }
                        self.lines_inside += 1;
                    }
                    self.quotes = self.quotes.after(*byte);
                    self.seen += 1;
                }
                None
            }
        }
    }

    fn take(&mut self, end: usize, line_end: usize) -> Cut {
        let line = self.lines + 1;
        let body = &self.buffer[self.start..end];
        let consumed = body.len() + line_end;
        let dropped = self.long.as_ref().map_or(0, |long| long.dropped);
        // An unclosed quote swallows the lines after it; the line number still counts them.
        self.lines += self.lines_inside + 1;
        self.offset += dropped + consumed as u64;
        let mut long = self.long.take();
        if long.is_none() && body.len() > self.max {
            long = Some(Long::default());
        }
        let cut = match long {
            Some(mut long) => {
                long.swallow(body);
                Cut {
                    line,
                    bytes: long.sample,
                    long: Some(long.dropped),
                }
            }
            None => Cut {
                line,
                bytes: body.strip_suffix(b"\r").unwrap_or(body).to_vec(),
                long: None,
            },
        };
        self.start += consumed;
        self.seen = self.start;
        self.quotes = Quotes::FieldStart;
        self.lines_inside = 0;
        cut
    }

    fn drop_long(&mut self) {
        self.long
            .get_or_insert_default()
            .swallow(&self.buffer[self.start..]);
        self.buffer.clear();
        self.start = 0;
        self.seen = 0;
    }

    fn fill(&mut self, input: &mut impl Read) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK_BYTES, 0);
        let read = input.read(&mut self.buffer[before..]);
        self.buffer
            .truncate(before + read.as_ref().copied().unwrap_or(0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.fill(input),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
