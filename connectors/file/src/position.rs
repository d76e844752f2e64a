//! How far a file was read, and how to tell that it is still the same file.
//!
//! Stored as JSON: `{"v":1,"offset":2048,"line":17,"head":1024,"head_crc":…,"tail_crc":…}`. `offset` is the first byte not
//! read, `line` the number of lines before it. `head_crc` covers the first `head` bytes, `tail_crc` the up to 256 bytes
//! before `offset` (CRC-32C): a file that was replaced or rewritten differs in one of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
const HEAD_BYTES: u64 = 1024;
const TAIL_BYTES: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    v: u32,
    pub(crate) offset: u64,
    pub(crate) line: u64,
    head: u64,
    head_crc: u32,
    tail_crc: u32,
}

impl Position {
    /// The position at `offset` of an open file.
    pub(crate) fn at(file: &File, offset: u64, line: u64) -> io::Result<Self> {
        let head = offset.min(HEAD_BYTES);
        let head_crc = crc(file, 0, head)?;
        Ok(Self {
            v: VERSION,
            offset,
            line,
            head,
            head_crc,
            tail_crc: tail_crc(file, offset)?,
        })
    }

    /// Whether the file still begins with what was read.
    pub(crate) fn fits(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        Ok(crc(file, 0, self.head)? == self.head_crc
            && tail_crc(file, self.offset)? == self.tail_crc)
    }

    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("invariant: numbers always encode")
            .into()
    }

    /// # Errors
    /// A text for people.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let position: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if position.v != VERSION {
            return Err(format!(
                "its version is {}, this release knows {VERSION}",
                position.v
            ));
        }
        if position.head > HEAD_BYTES {
            return Err("it was not written by this connector".to_owned());
        }
        Ok(position)
    }
}

fn tail_crc(file: &File, offset: u64) -> io::Result<u32> {
    let tail = offset.min(TAIL_BYTES);
    crc(file, offset - tail, tail)
}

fn crc(file: &File, offset: u64, length: u64) -> io::Result<u32> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(crc32c::crc32c(&buffer))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Position;

    #[test]
    fn a_grown_file_fits_and_a_changed_one_does_not() {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(&[b'a'; 3000]).expect("write");
        let position = Position::at(&file, 2500, 9).expect("read");
        assert_eq!(Position::decode(&position.encode()), Ok(position));
        file.write_all(b"more").expect("write");
        assert!(position.fits(&file).expect("read"));
        for at in [0, 1023, 2499] {
            use std::os::unix::fs::FileExt;
            file.write_all_at(b"b", at).expect("write");
            assert!(!position.fits(&file).expect("read"), "changed at {at}");
            file.write_all_at(b"a", at).expect("write");
        }
        file.set_len(2499).expect("cut");
        assert!(!position.fits(&file).expect("read"));
    }

    #[test]
    fn foreign_positions_are_refused() {
        assert!(Position::decode(b"what").is_err());
        let newer = br#"{"v":2,"offset":0,"line":0,"head":0,"head_crc":0,"tail_crc":0}"#;
        assert_eq!(
            Position::decode(newer),
            Err("its version is 2, this release knows 1".to_owned())
        );
    }
}
