//! Small numbers in few bytes, for checkpoints: LEB128 for counts and gaps, little endian for the rest.

use thiserror::Error;

/// Why a checkpoint cannot be read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// Written by another build.
    #[error(
        "stream checkpoint has layout {0}, which this build does not read; start the build that wrote it"
    )]
    Version(u8),
    /// Ends too early or has a length that does not fit.
    #[error("stream checkpoint is cut short at byte {0}")]
    Short(usize),
    /// A number names something that is not there.
    #[error("stream checkpoint is damaged at byte {0}")]
    Damaged(usize),
    /// A configuration that does not parse.
    #[error("stream checkpoint has a damaged configuration: {0}")]
    Config(#[from] serde_json::Error),
}

impl CheckpointError {
    /// Stored data is not what was written, or it is newer than this build.
    #[must_use]
    pub fn domain(&self) -> millstream_types::Domain {
        millstream_types::Domain::Corruption
    }
}

pub(crate) fn put_number(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; LONGEST_NUMBER];
    let end = place_number(&mut bytes, 0, value);
    out.extend_from_slice(&bytes[..end]);
}

/// Bytes of the longest number.
pub(crate) const LONGEST_NUMBER: usize = 10;

/// Puts a number at a place where there is room for it; answers where it ends.
pub(crate) fn place_number(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = (value as u8) | 0x80;
        at += 1;
        value >>= 7;
    }
    out[at] = value as u8;
    at + 1
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_fixed(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads what the `put_` functions wrote.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CheckpointError> {
        let byte = *self
            .bytes
            .get(self.at)
            .ok_or(CheckpointError::Short(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn number(&mut self) -> Result<u64, CheckpointError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    pub(crate) fn small(&mut self) -> Result<u32, CheckpointError> {
        u32::try_from(self.number()?).map_err(|_| self.damaged())
    }

    /// A count of things that take at least one byte each, so a damaged one cannot make us allocate without bound.
    pub(crate) fn count(&mut self) -> Result<usize, CheckpointError> {
        let count = usize::try_from(self.number()?).map_err(|_| self.damaged())?;
        if count > self.bytes.len() - self.at {
            Err(CheckpointError::Short(self.at))
        } else {
            Ok(count)
        }
    }

    pub(crate) fn fixed(&mut self) -> Result<u64, CheckpointError> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(
            bytes.try_into().expect("invariant: eight bytes were taken"),
        ))
    }

    pub(crate) fn time(&mut self) -> Result<millstream_types::Timestamp, CheckpointError> {
        Ok(millstream_types::Timestamp(self.fixed()?.cast_signed()))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CheckpointError> {
        let length = self.count()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, CheckpointError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged())
    }

    pub(crate) fn end(&self) -> Result<(), CheckpointError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.damaged())
        }
    }

    pub(crate) fn damaged(&self) -> CheckpointError {
        CheckpointError::Damaged(self.at)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], CheckpointError> {
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(CheckpointError::Short(self.at))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }
}
