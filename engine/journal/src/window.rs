//! A file read front to back in large pieces.

use std::io;

use memchr::memmem;

use crate::frame::FRAME_MAGIC;
use crate::storage::StorageFile;

/// Bytes read at once.
const WINDOW: usize = 4 * 1024 * 1024;
/// What is compared with zeros at once.
const ZEROS: [u8; 4096] = [0; 4096];

/// A piece of a file in memory, which moves along.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn StorageFile,
    /// Bytes of the file.
    pub(crate) length: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    base: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn StorageFile) -> io::Result<Self> {
        Ok(Self {
            file,
            length: file.len()?,
            buffer: Vec::new(),
            base: 0,
        })
    }

    /// Forgets what was read: somebody may have written there.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
        self.base = 0;
    }

    /// Up to `len` bytes from `offset`; fewer at the end of the file.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        self.load(offset, len)?;
        let start = self.place(offset);
        let end = start.saturating_add(len).min(self.buffer.len());
        Ok(&self.buffer[start..end])
    }

    /// What is in memory from `offset` on: at least `least` bytes, except at the end of the file.
    pub(crate) fn some(&mut self, offset: u64, least: usize) -> io::Result<&[u8]> {
        self.load(offset, least)?;
        let start = self.place(offset);
        Ok(&self.buffer[start..])
    }

    fn load(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let rest = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(rest);
        if offset >= self.base && offset + len as u64 <= self.base + self.buffer.len() as u64 {
            return Ok(());
        }
        let want = len.max(WINDOW.min(rest));
        if self.buffer.len() != want {
            self.buffer.resize(want, 0);
        }
        let count = self.file.read_at(&mut self.buffer, offset)?;
        self.buffer.truncate(count);
        self.base = offset;
        Ok(())
    }

    fn place(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.base))
            .unwrap_or(usize::MAX)
            .min(self.buffer.len())
    }

    /// Whether there is nothing but zeros from `offset` on.
    pub(crate) fn is_zero_from(&mut self, mut offset: u64) -> io::Result<bool> {
        while offset < self.length {
            let bytes = self.some(offset, 1)?;
            let zeros: usize = bytes
                .chunks(ZEROS.len())
                .take_while(|block| **block == ZEROS[..block.len()])
                .map(<[u8]>::len)
                .sum();
            if zeros == 0 {
                return Ok(bytes.is_empty());
            }
            offset += zeros as u64;
        }
        Ok(true)
    }

    /// The next place from `offset` on where a frame may begin.
    pub(crate) fn find_magic(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while offset < self.length {
            let bytes = self.some(offset, FRAME_MAGIC.len())?;
            if let Some(at) = memmem::find(bytes, &FRAME_MAGIC) {
                return Ok(Some(offset + at as u64));
            }
            if bytes.len() < FRAME_MAGIC.len() {
                break;
            }
            offset += (bytes.len() - (FRAME_MAGIC.len() - 1)) as u64;
        }
        Ok(None)
    }
}
