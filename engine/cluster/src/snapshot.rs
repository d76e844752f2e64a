//! Checkpoints of the node: what changed since the last one is stored anew, the rest is named where it lies.
//!
//! Layout of the root, version 4, little endian: `u8` version, `u32` highest stream number given, place of the catalog (JSON),
//! `u32` count, per stream `u32` number and place of its root (`millstream-streams`), `u32` count of frames to be erased and their
//! places. A place is a `Position`, 16 bytes. Version 2 ends before the frames;
//! catalogs of versions 2 and 3 know no flows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use millstream_consensus::{RestoreError, Snapshot, StoredPage};
use millstream_journal::Position;
use millstream_streams::{Pages, Stream, StreamSnapshot};

use crate::catalog::Catalog;
use crate::registry::{Registry, StreamCell};

const VERSION: u8 = 4;
/// The oldest layout that is read.
const OLDEST: u8 = 2;
/// The catalog's pages are of no stream.
const NO_STREAM: u32 = 0;

/// Where a checkpoint has a stream.
#[derive(Clone, Debug)]
pub(crate) struct KeptStream {
    root: Position,
    /// Files with pages of it, the root's included.
    files: BTreeSet<u32>,
}

/// Where a checkpoint has everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) catalog: Option<Position>,
    streams: BTreeMap<u32, KeptStream>,
}

#[derive(Debug)]
enum State {
    /// As in the last checkpoint.
    Kept(KeptStream),
    /// Changed: the root's place is known when it is stored.
    Changed(Box<StreamSnapshot>, Option<Position>),
}

#[derive(Debug)]
struct Part {
    cell: Arc<StreamCell>,
    state: State,
}

/// What the places asked for last belong to.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Catalog,
    Pages { part: usize, count: usize },
    Root(usize),
}

/// The node's state at one moment.
#[derive(Debug)]
pub(crate) struct NodeSnapshot {
    last_id: u32,
    erasing: Vec<Position>,
    catalog: Option<Vec<u8>>,
    catalog_at: Option<Position>,
    catalog_changed: Arc<AtomicBool>,
    parts: Vec<Part>,
    /// Parts before this have all their pages stored.
    with_pages: usize,
    /// Parts before this have their root stored too.
    with_root: usize,
    asked: Vec<Asked>,
    kept: Arc<Mutex<Kept>>,
}

/// Pages that are stored together.
#[derive(Debug, Default)]
struct Helping {
    pages: Vec<StoredPage>,
    bytes: usize,
}

impl Helping {
    fn put(&mut self, stream: u32, bytes: Bytes, compress: bool) {
        self.bytes += bytes.len();
        self.pages.push(StoredPage {
            stream,
            bytes,
            compress,
        });
    }
}

impl NodeSnapshot {
    /// Of these streams; those that did not change are taken from `kept`, unless a doomed file holds pages of them.
    pub(crate) fn new(
        (last_id, erasing): (u32, Vec<Position>),
        (catalog, catalog_changed): (Option<Vec<u8>>, Arc<AtomicBool>),
        cells: &[Arc<StreamCell>],
        kept: Arc<Mutex<Kept>>,
        doomed: &BTreeSet<u32>,
    ) -> Self {
        let before = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let parts = cells.iter().map(|cell| {
            let known = before
                .streams
                .get(&cell.id)
                .filter(|known| known.files.is_disjoint(doomed));
            let state = match known {
                Some(known) if !cell.take_changed() => State::Kept(known.clone()),
                _ => {
                    cell.take_changed();
                    State::Changed(Box::new(cell.lock().snapshot(doomed)), None)
                }
            };
            Part {
                cell: Arc::clone(cell),
                state,
            }
        });
        Self {
            last_id,
            erasing,
            catalog,
            catalog_at: before.catalog,
            catalog_changed,
            parts: parts.collect(),
            with_pages: 0,
            with_root: 0,
            asked: Vec::new(),
            kept,
        }
    }
}

impl Snapshot for NodeSnapshot {
    fn next_pages(&mut self, limit: usize) -> Vec<StoredPage> {
        let mut helping = Helping::default();
        self.asked.clear();
        if let Some(catalog) = self.catalog.take() {
            self.asked.push(Asked::Catalog);
            helping.put(NO_STREAM, Bytes::from(catalog), true);
        }
        while helping.bytes < limit && self.with_pages < self.parts.len() {
            let part = self.with_pages;
            if let State::Changed(snapshot, _) = &self.parts[part].state {
                let pages = snapshot.next_pages(limit - helping.bytes);
                let count = pages.len();
                self.asked.push(Asked::Pages { part, count });
                for page in pages {
                    helping.put(snapshot.stream, page.bytes, page.compress);
                }
                if snapshot.pages_left() > count {
                    // The rest of them when these have a place.
                    return helping.pages;
                }
            }
            self.with_pages += 1;
        }
        // A root names the places of its pages, so all of those come first.
        while helping.pages.is_empty() && self.with_root < self.parts.len() {
            while helping.bytes < limit && self.with_root < self.parts.len() {
                let part = self.with_root;
                if let State::Changed(snapshot, _) = &self.parts[part].state {
                    self.asked.push(Asked::Root(part));
                    helping.put(snapshot.stream, Bytes::from(snapshot.root()), true);
                }
                self.with_root += 1;
            }
        }
        helping.pages
    }

    fn pages_stored(&mut self, positions: &[Position]) {
        let mut positions = positions.iter().copied();
        for asked in std::mem::take(&mut self.asked) {
            match asked {
                Asked::Catalog => self.catalog_at = positions.next(),
                Asked::Pages { part, count } => {
                    let places: Vec<Position> = positions.by_ref().take(count).collect();
                    if let State::Changed(snapshot, _) = &mut self.parts[part].state {
                        snapshot.pages_stored(&places);
                    }
                }
                Asked::Root(part) => {
                    if let State::Changed(_, root) = &mut self.parts[part].state {
                        *root = positions.next();
                    }
                }
            }
        }
    }

    fn root(&mut self) -> Vec<u8> {
        const PLACED: &str = "invariant: everything was stored before the root";
        let mut out = vec![VERSION];
        out.put_u32_le(self.last_id);
        self.catalog_at.expect(PLACED).encode(&mut out);
        out.put_u32_le(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        for part in &self.parts {
            out.put_u32_le(part.cell.id);
            part.state.root().expect(PLACED).encode(&mut out);
        }
        out.put_u32_le(u32::try_from(self.erasing.len()).unwrap_or(u32::MAX));
        for frame in &self.erasing {
            frame.encode(&mut out);
        }
        out
    }

    fn page_files(&self) -> BTreeSet<u32> {
        let mut files: BTreeSet<u32> = self.catalog_at.iter().map(|at| at.file).collect();
        for part in &self.parts {
            files.extend(part.state.files());
        }
        files
    }

    fn finish(self: Box<Self>, safe: bool) {
        let mut kept = Kept {
            catalog: self.catalog_at,
            streams: BTreeMap::new(),
        };
        for part in self.parts {
            if let Some(root) = part.state.root() {
                let files = part.state.files();
                kept.streams
                    .insert(part.cell.id, KeptStream { root, files });
            }
            if let State::Changed(snapshot, _) = part.state {
                snapshot.finish(&mut part.cell.lock(), safe);
                if !safe {
                    part.cell.set_changed();
                }
            }
        }
        if safe {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        } else {
            self.catalog_changed.store(true, Ordering::Release);
        }
    }
}

impl State {
    fn root(&self) -> Option<Position> {
        match self {
            Self::Kept(kept) => Some(kept.root),
            Self::Changed(_, root) => *root,
        }
    }

    fn files(&self) -> BTreeSet<u32> {
        match self {
            Self::Kept(kept) => kept.files.clone(),
            Self::Changed(snapshot, root) => {
                let mut files = root.iter().map(|at| at.file).collect();
                snapshot.page_files(&mut files);
                files
            }
        }
    }
}

/// A node's state as a checkpoint has it.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) catalog: Catalog,
    pub(crate) streams: Registry,
    pub(crate) kept: Kept,
    pub(crate) erasing: BTreeSet<Position>,
}

/// Reads a root and what it names.
pub(crate) fn restore(mut root: &[u8], pages: &Pages) -> Result<Restored, RestoreError> {
    let broken = |why: &dyn std::fmt::Display| RestoreError::new(why.to_string());
    let short = || broken(&"checkpoint is cut short");
    if root.remaining() < 5 {
        return Err(short());
    }
    let version = root.get_u8();
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(broken(&format!(
            "checkpoint has layout {version}, this build reads {VERSION}; start the build that wrote it"
        )));
    }
    let mut streams = Registry::default();
    streams.last_id = root.get_u32_le();
    let catalog_at = Position::decode(&mut root).ok_or_else(short)?;
    let json = pages
        .source
        .read(catalog_at)
        .map_err(|error| broken(&error))?;
    let catalog = Catalog::decode(&json).map_err(|error| broken(&error))?;
    let mut kept = Kept {
        catalog: Some(catalog_at),
        streams: BTreeMap::new(),
    };
    if root.remaining() < 4 {
        return Err(short());
    }
    for _ in 0..root.get_u32_le() {
        if root.remaining() < 4 {
            return Err(short());
        }
        let id = root.get_u32_le();
        let at = Position::decode(&mut root).ok_or_else(short)?;
        let bytes = pages.source.read(at).map_err(|error| broken(&error))?;
        let stream = Stream::restore(&bytes, pages).map_err(|error| broken(&error))?;
        let files = stream.page_files().chain([at.file]).collect();
        kept.streams.insert(id, KeptStream { root: at, files });
        streams.insert(Arc::new(StreamCell::restored(stream)));
    }
    let mut erasing = BTreeSet::new();
    if version > OLDEST {
        if root.remaining() < 4 {
            return Err(short());
        }
        for _ in 0..root.get_u32_le() {
            erasing.insert(Position::decode(&mut root).ok_or_else(short)?);
        }
    }
    Ok(Restored {
        catalog,
        streams,
        kept,
        erasing,
    })
}
