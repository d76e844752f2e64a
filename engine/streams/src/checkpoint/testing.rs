//! Checkpoints in one piece, and pages in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millstream_journal::{PageSource, Position, ReadError};

use crate::codec::{CheckpointError, Reader, put_bytes, put_number};
use crate::pages::{PageCache, Pages};
use crate::{Stream, StreamSnapshot};

/// Pages by place.
#[derive(Debug, Default)]
pub(crate) struct Stored(Mutex<BTreeMap<Position, Bytes>>);

impl Stored {
    /// A place to store pages, and a cache that keeps none it can spare.
    pub(crate) fn pages() -> (Arc<Self>, Pages) {
        let stored = Arc::new(Self::default());
        let pages = Pages {
            source: Arc::<Self>::clone(&stored) as Arc<dyn PageSource>,
            cache: Arc::new(PageCache::new(0)),
        };
        (stored, pages)
    }

    pub(crate) fn put(&self, page: Bytes) -> Position {
        let mut pages = self.0.lock().expect("unpoisoned");
        let at = Position {
            file: 1,
            offset: pages.len() as u64,
            len: u32::try_from(page.len()).expect("short"),
        };
        pages.insert(at, page);
        at
    }

    /// Stores all that a snapshot asks for, in small helpings.
    pub(crate) fn store(&self, snapshot: &mut StreamSnapshot) {
        loop {
            let pages = snapshot.next_pages(1);
            if pages.is_empty() {
                return;
            }
            let places: Vec<Position> =
                pages.into_iter().map(|page| self.put(page.bytes)).collect();
            snapshot.pages_stored(&places);
        }
    }
}

impl PageSource for Stored {
    fn read(&self, at: Position) -> Result<Bytes, ReadError> {
        let pages = self.0.lock().expect("unpoisoned");
        pages.get(&at).cloned().ok_or(ReadError::Missing(at.file))
    }
}

impl Stream {
    /// Everything, pages included: the same for streams in the same state.
    pub(crate) fn encode_checkpoint(&mut self) -> Vec<u8> {
        let mut snapshot = self.snapshot_of(|_| true);
        let (stored, _) = Stored::pages();
        stored.store(&mut snapshot);
        let mut out = Vec::new();
        let root = snapshot.root();
        snapshot.finish(self, false);
        let pages = stored.0.lock().expect("unpoisoned");
        put_number(&mut out, pages.len() as u64);
        for page in pages.values() {
            put_bytes(&mut out, page);
        }
        put_bytes(&mut out, &root);
        out
    }

    pub(crate) fn decode_checkpoint(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Ok(Self::decode_with_pages(bytes)?.0)
    }

    /// The stream, and where its pages are now.
    pub(crate) fn decode_with_pages(
        bytes: &[u8],
    ) -> Result<(Self, Arc<Stored>, Pages), CheckpointError> {
        let (stored, pages) = Stored::pages();
        let mut from = Reader::new(bytes);
        for _ in 0..from.count()? {
            stored.put(Bytes::copy_from_slice(from.bytes()?));
        }
        let root = from.bytes()?;
        from.end()?;
        Ok((Self::restore(root, &pages)?, stored, pages))
    }
}
