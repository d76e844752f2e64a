//! Start: find the files, replay what comes after the checkpoint, and decide where the log ends.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use crate::error::OpenError;
use crate::frame::{
    FILE_HEADER, FRAME_HEADER, FRAME_MAGIC, FileHeader, file_header, is_whole, read_file_header,
    read_frame_header,
};
use crate::position::Position;
use crate::storage::{Storage, StorageFile};

/// Bytes read at once while scanning.
const WINDOW: usize = 4 * 1024 * 1024;

/// A frame found again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Which group's log it belongs to.
    pub group: u32,
    /// Its term.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// Which stream it is for.
    pub stream: u32,
    /// How many records it holds.
    pub count: u32,
    /// Where its body lies.
    pub position: Position,
    /// The body.
    pub body: Bytes,
}

/// Where writing goes on.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) end: u64,
    pub(crate) chain: u32,
    pub(crate) size: u64,
}

pub(crate) type Files = BTreeMap<u32, Arc<dyn StorageFile>>;

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) files: Files,
    pub(crate) active: Active,
    pub(crate) last_index: u64,
}

pub(crate) fn file_name(id: u32) -> String {
    format!("{id:08}.log")
}

fn file_id(name: &str) -> Option<u32> {
    name.strip_suffix(".log")?.parse().ok()
}

pub(crate) fn create_file(storage: &dyn Storage, id: u32, size: u64) -> io::Result<Active> {
    let file = storage.create(&file_name(id), size)?;
    let (header, chain) = file_header(id);
    file.write_at(&mut [IoSlice::new(&header)], 0)?;
    file.sync()?;
    storage.sync_folder()?;
    Ok(Active { id, file, end: FILE_HEADER as u64, chain, size })
}

type Replay<'a> = &'a mut dyn FnMut(Replayed) -> Result<(), String>;

pub(crate) fn recover(
    storage: &dyn Storage,
    file_size: u64,
    after: Option<(Position, u64)>,
    replay: Replay<'_>,
) -> Result<Recovered, OpenError> {
    let opening = |name: &str, source| OpenError::File { name: name.to_owned(), source };
    let names = storage.list().map_err(|source| opening("*", source))?;
    let mut files = Files::new();
    for name in &names {
        if let Some(id) = file_id(name) {
            files.insert(id, storage.open(name).map_err(|source| opening(name, source))?);
        }
    }
    let start = after.map(|(position, _)| position);
    check_sequence(&files, start)?;
    let mut last_index = after.map_or(0, |(_, index)| index);
    let mut active = None;
    let ids: Vec<u32> = files.keys().copied().collect();
    for (number, id) in ids.iter().enumerate() {
        let last = number + 1 == ids.len();
        let from = start.filter(|position| position.file == *id).map(|position| position.end());
        if start.is_some_and(|position| *id < position.file) {
            continue;
        }
        let mut scan = Scan::open(*id, &files[id])?;
        if scan.blank {
            // Created, and the power went before its header was there: it holds nothing.
            if !last {
                return Err(OpenError::Header(file_name(*id)));
            }
            active = Some(create_file(storage, *id, file_size).map_err(|source| opening(&file_name(*id), source))?);
            break;
        }
        let end = scan.run(from, last, &mut last_index, replay)?;
        if last {
            let size = files[id].len().map_err(|source| opening(&file_name(*id), source))?;
            active = Some(Active { id: *id, file: Arc::clone(&files[id]), end, chain: scan.chain, size });
        }
    }
    let active = match active {
        Some(active) => active,
        None => {
            let id = ids.last().map_or(1, |last| last + 1);
            create_file(storage, id, file_size).map_err(|source| opening(&file_name(id), source))?
        }
    };
    files.insert(active.id, Arc::clone(&active.file));
    Ok(Recovered { files, active, last_index })
}

/// Files from the checkpoint's on must be there without gaps; older ones may have been removed.
fn check_sequence(files: &Files, start: Option<Position>) -> Result<(), OpenError> {
    let first = match start {
        Some(position) => position.file,
        None => match files.keys().next() {
            // Without a checkpoint nothing was ever removed.
            Some(_) => 1,
            None => return Ok(()),
        },
    };
    let last = files.keys().next_back().copied().unwrap_or(0).max(first);
    match (first..=last).find(|id| !files.contains_key(id)) {
        Some(missing) => Err(OpenError::Missing(file_name(missing))),
        None => Ok(()),
    }
}

/// A walk over one file's frames.
struct Scan<'a> {
    id: u32,
    name: String,
    file: &'a Arc<dyn StorageFile>,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    base: u64,
    chain: u32,
    blank: bool,
}

impl<'a> Scan<'a> {
    fn open(id: u32, file: &'a Arc<dyn StorageFile>) -> Result<Self, OpenError> {
        let name = file_name(id);
        let mut scan = Self { id, name, file, buffer: Vec::new(), base: 0, chain: 0, blank: false };
        let header = scan.bytes(0, FILE_HEADER)?.to_vec();
        match read_file_header(&header, id) {
            FileHeader::Good { chain } => scan.chain = chain,
            FileHeader::Blank => scan.blank = true,
            FileHeader::Newer(version) => return Err(OpenError::Version { name: scan.name, version }),
            FileHeader::Bad => return Err(OpenError::Header(scan.name)),
        }
        Ok(scan)
    }

    /// Up to `len` bytes from `offset`; fewer at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], OpenError> {
        let inside = offset >= self.base && offset + len as u64 <= self.base + self.buffer.len() as u64;
        if !inside {
            self.buffer.resize(len.max(WINDOW), 0);
            let count = self
                .file
                .read_at(&mut self.buffer, offset)
                .map_err(|source| OpenError::File { name: self.name.clone(), source })?;
            self.buffer.truncate(count);
            self.base = offset;
        }
        let start = usize::try_from(offset - self.base).unwrap_or(usize::MAX);
        let end = (start + len).min(self.buffer.len());
        Ok(&self.buffer[start.min(end)..end])
    }

    /// Replays the file's frames behind `from`; answers where they end.
    fn run(
        &mut self,
        from: Option<u64>,
        last: bool,
        last_index: &mut u64,
        replay: Replay<'_>,
    ) -> Result<u64, OpenError> {
        let mut offset = FILE_HEADER as u64;
        loop {
            let Some(frame) = self.frame(offset)? else { break };
            let position = frame.position;
            if from.is_none_or(|from| position.end() > from) {
                *last_index = frame.index;
                let refused = |reason| OpenError::Replay { name: self.name.clone(), offset, reason };
                replay(frame).map_err(refused)?;
            }
            offset = position.end();
        }
        if from.is_some_and(|from| offset < from) {
            return Err(OpenError::Damaged { name: self.name.clone(), offset });
        }
        self.check_end(offset, last)?;
        Ok(offset)
    }

    /// The frame at `offset`, if a whole one continues the chain there.
    fn frame(&mut self, offset: u64) -> Result<Option<Replayed>, OpenError> {
        let (id, chain) = (self.id, self.chain);
        let Some(header) = read_frame_header(self.bytes(offset, FRAME_HEADER)?) else { return Ok(None) };
        if header.chain != chain {
            return Ok(None);
        }
        let len = header.len as usize;
        let whole = self.bytes(offset, FRAME_HEADER + len)?;
        if whole.len() < FRAME_HEADER + len {
            return Ok(None);
        }
        let (head, body) = whole.split_at(FRAME_HEADER);
        if !is_whole(head, body, header.crc) {
            return Ok(None);
        }
        let body = Bytes::copy_from_slice(body);
        self.chain = header.crc;
        Ok(Some(Replayed {
            group: header.group,
            term: header.term,
            index: header.index,
            stream: header.stream,
            count: header.count,
            position: Position { file: id, offset: offset + FRAME_HEADER as u64, len: header.len },
            body,
        }))
    }

    /// Behind the last whole frame there may be zeros, or in the newest file a batch that was never acknowledged. A whole
    /// frame of a batch that began later proves that what is missing was synced, and so acknowledged: that is damage.
    fn check_end(&mut self, end: u64, last: bool) -> Result<(), OpenError> {
        let length = self.file.len().map_err(|source| OpenError::File { name: self.name.clone(), source })?;
        let mut offset = end;
        let mut torn = false;
        while offset + FRAME_HEADER as u64 <= length {
            let window = WINDOW.min(usize::try_from(length - offset).unwrap_or(WINDOW));
            let bytes = self.bytes(offset, window)?;
            if bytes.len() < FRAME_HEADER {
                break;
            }
            torn |= bytes.iter().any(|byte| *byte != 0);
            let found = find_magic(bytes);
            let Some(at) = found else {
                offset += (bytes.len() - FRAME_MAGIC.len() + 1) as u64;
                continue;
            };
            let place = offset + at as u64;
            if self.proves_damage(place, end)? {
                return Err(OpenError::Damaged { name: self.name.clone(), offset: end });
            }
            offset = place + 1;
        }
        if torn && !last {
            return Err(OpenError::Damaged { name: self.name.clone(), offset: end });
        }
        if torn {
            warn!(target: "nats", "`{}` is cut back to {end}: what follows was never acknowledged", self.name);
        }
        Ok(())
    }

    fn proves_damage(&mut self, place: u64, end: u64) -> Result<bool, OpenError> {
        let Some(header) = read_frame_header(self.bytes(place, FRAME_HEADER)?) else { return Ok(false) };
        if header.batch <= end || header.batch > place {
            return Ok(false);
        }
        let len = header.len as usize;
        let whole = self.bytes(place, FRAME_HEADER + len)?;
        Ok(whole.len() == FRAME_HEADER + len && is_whole(&whole[..FRAME_HEADER], &whole[FRAME_HEADER..], header.crc))
    }
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)
}
