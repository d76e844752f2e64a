//! Parts of an index as pages: in memory while they are used or not yet stored, else read back from the journal.
//!
//! A page that did not change since it was stored costs its place and nothing more. Readers bring pages back one by one;
//! the owner lets go of those it can spare when all streams together hold more than the cache's limit. A snapshot shares
//! the pages that changed, and a page changed while a snapshot still holds it is copied first, so that taking one costs
//! no more than a reference per page.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use millstream_journal::PageSource;
use millstream_journal::Position;

use crate::codec::{CheckpointError, Reader, put_number};

/// What all streams' indexes may hold in memory of what they could read back.
#[derive(Debug)]
pub struct PageCache {
    limit: usize,
    used: AtomicUsize,
}

impl PageCache {
    /// A cache of about `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes of pages in memory, those counted that cannot be let go of yet.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether indexes should let go of pages.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Where a stream's pages are read back from.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The journal, outside of tests.
    pub source: Arc<dyn PageSource>,
    /// Shared by all streams.
    pub cache: Arc<PageCache>,
}

/// Something large enough to be stored on its own.
pub(crate) trait Page: Clone + Send + Sync + 'static {
    /// Bytes it takes in memory, about.
    const WEIGHT: usize;

    fn encode(&self, out: &mut Vec<u8>);

    fn decode(from: &mut Reader<'_>) -> Result<Self, CheckpointError>;

    /// Whether compression may make its bytes smaller, of which there are so many.
    fn may_shrink(&self, encoded: usize) -> bool;
}

/// A page, wherever it is.
#[derive(Debug)]
pub(crate) struct Slot<P: Page> {
    page: OnceCell<Arc<P>>,
    stored: Option<Position>,
    /// Changed since the last snapshot.
    dirty: bool,
    /// A snapshot is about to store it.
    storing: bool,
    cache: Option<Arc<PageCache>>,
}

impl<P: Page> Drop for Slot<P> {
    fn drop(&mut self) {
        if let (Some(cache), Some(_)) = (&self.cache, self.page.get()) {
            cache.sub(P::WEIGHT);
        }
    }
}

impl<P: Page> Slot<P> {
    /// A page that is not stored yet; `pages` is `None` for a stream that lives in memory.
    pub(crate) fn new(page: P, pages: Option<&Pages>) -> Self {
        let cache = pages.map(|pages| Arc::clone(&pages.cache));
        if let Some(cache) = &cache {
            cache.add(P::WEIGHT);
        }
        Self {
            page: OnceCell::from(Arc::new(page)),
            stored: None,
            dirty: true,
            storing: false,
            cache,
        }
    }

    /// A page that a checkpoint names.
    pub(crate) fn at(position: Position, pages: &Pages) -> Self {
        Self {
            page: OnceCell::new(),
            stored: Some(position),
            dirty: false,
            storing: false,
            cache: Some(Arc::clone(&pages.cache)),
        }
    }

    /// The page, read back when it is not in memory.
    ///
    /// # Panics
    /// When it cannot be read: both copies are damaged, or the disk fails. Nothing true can be said about the stream then,
    /// so the thread that asked stops; the thread that applies commands stops the node.
    pub(crate) fn get(&self, pages: Option<&Pages>) -> &P {
        self.page.get_or_init(|| {
            let (pages, at) = pages
                .zip(self.stored)
                .expect("invariant: what is not in memory was stored");
            let page = load(pages, at).unwrap_or_else(|error| {
                panic!("an index page of the store cannot be read, stopping: {error}")
            });
            pages.cache.add(P::WEIGHT);
            Arc::new(page)
        })
    }

    /// The page, to be changed.
    pub(crate) fn get_mut(&mut self, pages: Option<&Pages>) -> &mut P {
        self.get(pages);
        self.dirty = true;
        Arc::make_mut(self.page.get_mut().expect("invariant: it was just read"))
    }

    /// The page when it has to be stored; it counts as unchanged from now on. `all` asks for it in any case.
    pub(crate) fn take_changed(&mut self, pages: Option<&Pages>, all: bool) -> Option<Arc<P>> {
        if !self.dirty && !all {
            return None;
        }
        self.get(pages);
        self.dirty = false;
        self.storing = true;
        self.page.get().cloned()
    }

    /// Where it was stored, or that it was not. One that was made anew since the snapshot, after a purge, counts as changed until
    /// the next one takes it, so what this says of its forerunner does no harm.
    pub(crate) fn stored(&mut self, at: Option<Position>) {
        self.storing = false;
        match at {
            Some(at) => self.stored = Some(at),
            None => self.dirty = true,
        }
    }

    /// Whether it would have to be copied to be changed.
    #[cfg(test)]
    pub(crate) fn is_shared(&self) -> bool {
        self.page
            .get()
            .is_some_and(|page| Arc::strong_count(page) > 1)
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.stored
    }

    /// Takes it out of memory when it can be read back.
    pub(crate) fn let_go(&mut self) {
        if !self.dirty
            && !self.storing
            && self.stored.is_some()
            && self.page.take().is_some()
            && let Some(cache) = &self.cache
        {
            cache.sub(P::WEIGHT);
        }
    }
}

fn load<P: Page>(pages: &Pages, at: Position) -> Result<P, String> {
    let bytes = pages.source.read(at).map_err(|error| error.to_string())?;
    let mut from = Reader::new(&bytes);
    let page = P::decode(&mut from).map_err(|error| error.to_string())?;
    from.end().map_err(|error| error.to_string())?;
    Ok(page)
}

/// The page's bytes, for storing.
pub(crate) fn encoded<P: Page>(page: &P) -> Vec<u8> {
    let mut out = Vec::with_capacity(P::WEIGHT / 4);
    page.encode(&mut out);
    out
}

pub(crate) fn put_position(out: &mut Vec<u8>, at: Position) {
    put_number(out, u64::from(at.file));
    put_number(out, at.offset);
    put_number(out, u64::from(at.len));
}

pub(crate) fn read_position(from: &mut Reader<'_>) -> Result<Position, CheckpointError> {
    Ok(Position {
        file: from.small()?,
        offset: from.number()?,
        len: from.small()?,
    })
}
