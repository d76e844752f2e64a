//! Arguments of a control line: words between blanks and tabs, and decimal numbers.

use crate::ProtocolError;

/// Where a word lies in the caller's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start..self.end]
    }
}

/// No operation has more than five arguments (HMSG); one more tells "too many".
const MAX: usize = 6;

/// The words of one line.
#[derive(Debug, Default)]
pub(crate) struct Args {
    spans: [Span; MAX],
    count: usize,
}

impl Args {
    /// Splits `buf[from..to]`; words after the sixth are counted as one too many and dropped.
    pub(crate) fn split(buf: &[u8], from: usize, to: usize) -> Self {
        let mut args = Self::default();
        let mut at = from;
        while at < to && args.count < MAX {
            while at < to && is_blank(buf[at]) {
                at += 1;
            }
            if at == to {
                break;
            }
            let start = at;
            while at < to && !is_blank(buf[at]) {
                at += 1;
            }
            args.spans[args.count] = Span { start, end: at };
            args.count += 1;
        }
        args
    }

    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans[..self.count]
    }
}

pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A decimal number without sign.
pub(crate) fn number(digits: &[u8]) -> Result<u64, ProtocolError> {
    if digits.is_empty() || digits.len() > 19 {
        return Err(ProtocolError::Arguments);
    }
    let mut value: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(ProtocolError::Arguments);
        }
        // Nineteen digits always fit.
        value = value * 10 + u64::from(digit);
    }
    Ok(value)
}

/// A size of something held in memory.
pub(crate) fn size(digits: &[u8]) -> Result<usize, ProtocolError> {
    usize::try_from(number(digits)?).map_err(|_| ProtocolError::Payload)
}
