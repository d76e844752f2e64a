//! Reading and writing the binary encoding (Avro 1.12, "Binary Encoding"), and where a fault is.

use crate::fault::{Fault, fault};

/// Deepest nesting of a payload.
pub(super) const MAX_DEPTH: usize = 128;
/// Values without bytes of their own (nulls, empty records) that one payload may have: a block can claim any number of them.
const MAX_EMPTY: usize = 1_000_000;

/// The rest of a payload.
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
    pub(super) depth: usize,
    /// Values without bytes that may still come.
    free: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            depth: 0,
            // A null in a union has the union's byte.
            free: MAX_EMPTY + payload.len(),
        }
    }

    /// Counts a value that takes no bytes.
    #[inline]
    pub(super) fn nothing(&mut self) -> Result<(), Fault> {
        match self.free.checked_sub(1) {
            Some(left) => {
                self.free = left;
                Ok(())
            }
            None => fault(
                "items",
                format!("at most {MAX_EMPTY} values that take no bytes"),
                "more",
            ),
        }
    }

    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(
                "depth",
                format!("at most {MAX_DEPTH} levels"),
                "deeper nesting",
            );
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], Fault> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return fault(
                "truncated",
                format!("{len} bytes of {what}"),
                format!("{} bytes", self.rest.len()),
            );
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A zig-zag number of variable length.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        // Most numbers are short.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        self.long_slow()
    }

    fn long_slow(&mut self) -> Result<i64, Fault> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has one bit left to give.
            if index == 9 && *byte > 1 {
                return fault("range", "a number of 64 bits", "a longer one");
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        fault("truncated", "the end of a number", "no more bytes")
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Fault> {
        let long = self.long()?;
        match i32::try_from(long) {
            Ok(int) => Ok(int),
            Err(_) => fault("range", "a number of 32 bits", long.to_string()),
        }
    }

    /// Bytes behind their length.
    #[inline]
    pub(super) fn sized(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let len = self.long()?;
        match usize::try_from(len) {
            Ok(len) => self.take(len, what),
            Err(_) => fault("length", "a length", len.to_string()),
        }
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        match std::str::from_utf8(self.sized("text")?) {
            Ok(text) => Ok(text),
            Err(error) => fault(
                "utf8",
                "text in UTF-8",
                format!("bytes that are not, from {} on", error.valid_up_to()),
            ),
        }
    }

    /// The number of values in the next block of an array or map, 0 at its end; with the bytes that must be left behind it,
    /// where the writer says so.
    pub(super) fn block(&mut self) -> Result<(u64, Option<usize>), Fault> {
        let count = self.long()?;
        if count >= 0 {
            return Ok((count.unsigned_abs(), None));
        }
        let bytes = self.long()?;
        let behind = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| self.rest.len().checked_sub(bytes));
        match behind {
            Some(behind) => Ok((count.unsigned_abs(), Some(behind))),
            None => fault("length", "a block's size in bytes", bytes.to_string()),
        }
    }

    /// At the end of a block.
    pub(super) fn block_end(&self, behind: Option<usize>) -> Result<(), Fault> {
        match behind {
            Some(behind) if behind != self.rest.len() => {
                fault("length", "a block of the size it claims", "another size")
            }
            _ => Ok(()),
        }
    }
}

/// Writes a zig-zag number.
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Writes bytes behind their length.
pub(super) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len().try_into().unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}
