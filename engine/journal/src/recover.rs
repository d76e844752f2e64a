//! Start: find the files, replay what comes after the checkpoint, and decide where the log ends.
//!
//! What a fault costs is decided here, in `walk.rs` and in [`Journal::read`](crate::Journal::read):
//!
//! | fault | served | refused, repaired, reported |
//! |---|---|---|
//! | frame of a sealed file | all others | reads of it fail and name it; replay hands it on as lost; reported |
//! | frame of the newest file, a later batch behind it | all others | the same |
//! | broken end of the newest file, no later batch | what is before it | cut back: it was never acknowledged; logged |
//! | one copy of an important frame | the other one | reported |
//! | the first copy of the newest file's last frame, no later batch | the other one | reported, though it may be a torn write that was never acknowledged: kept all the same |
//! | both copies | all others | lost, as any frame |
//! | a frame whose checksum is good and whose body cannot be unpacked, or was not encrypted at this place | all others | as a damaged frame; `verify` does not see it, for it unpacks nothing |
//! | a frame's key is not configured | all others | reads of it fail and name the key; replay refuses the start |
//! | the list of keys: one copy, both | all | written anew; the start is refused |
//! | no key, or not all that the list of keys names | nothing | the start is refused with the key's id, before anything is read |
//! | header of a file | all of it | written anew, when the first frame's chain, the footer or the file before tell what it was; else the start is refused where the file must be replayed; reported |
//! | footer | all of the file | rebuilt from a scan; reported, or only logged when there was none |
//! | checkpoint | what the one before it covers, and a longer replay | reported by its reader; with both gone the start is refused, unless no file was ever removed |
//! | a file cut short or full of zeros, a later one behind it | what is left | the frames up to the next file's first are lost, one by one; reported |
//! | the newest file cut short, a checkpoint of more | nothing | the start is refused: what followed cannot be told |
//! | a file missing before the checkpoint | nothing of it | reads of it fail; it may have been removed |
//! | a file missing behind the checkpoint | nothing | the start is refused with its name |
//! | what is left of a dead file that was leaving (`leave.rs`) | - | removed |
//! | another build's file or frame | nothing | the start is refused, and says so |
//! | a read that fails | nothing | the read fails; at the start, the start does, also where it is a page of the index that a replay needs |
//! | a write or sync that fails | reads | nothing is acknowledged any more, and the sync is not tried again |
//! | no space | reads, and what frees space as long as the end of the newest file has room (`writer.rs`) | appends are refused until there is some |
//! | no descriptor left | after the others were closed | reads fail when there is still none; appends at the end of a file are refused until there is one |
//! | a footer that cannot be written | all of the file | logged; rebuilt at the next start |

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use tracing::{info, warn};

use crate::body::plain;
use crate::cipher::Opener;
use crate::damage::{Damage, DamageKind, Told, Watch};
use crate::error::OpenError;
use crate::footer::{Builder, Ending, Footer, read_footer, read_trailer};
use crate::frame::{
    FILE_HEADER, FRAME_HEADER, FileHeader, FrameHeader, file_header, is_whole, read_file_header,
    read_frame_header,
};
use crate::leave::is_left_over;
use crate::position::Position;
use crate::seal::{Content, Seal};
use crate::storage::{Storage, StorageFile};
use crate::walk::{Found, Limit, Walk};
use crate::window::Window;

/// A frame found again, or found to be lost.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Which group's log it belongs to.
    pub group: u32,
    /// Its term; 0 for a lost one.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// Which stream it is for.
    pub stream: u32,
    /// How many records it holds.
    pub count: u32,
    /// Where its body lies; of a lost one, where the damage begins.
    pub position: Position,
    /// The body; empty for a lost one.
    pub body: Bytes,
    /// It was acknowledged, and is damaged: there is no body.
    pub lost: bool,
    /// Whether group, stream and count are known; they always are unless the frame is lost.
    pub told: bool,
}

/// Where writing goes on.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) end: u64,
    pub(crate) chain: u32,
    pub(crate) size: u64,
    /// Its footer so far; `None` when not all frames in it were looked at.
    pub(crate) footer: Option<Builder>,
}

/// Bytes per file, reserved ones included.
pub(crate) type Files = BTreeMap<u32, u64>;

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) files: Files,
    pub(crate) active: Active,
    pub(crate) last_index: u64,
    /// Footers that are missing.
    pub(crate) seals: Vec<Seal>,
}

pub(crate) fn file_name(id: u32) -> String {
    format!("{id:08}.log")
}

pub(crate) fn file_id(name: &str) -> Option<u32> {
    name.strip_suffix(".log")?.parse().ok()
}

pub(crate) fn create_file(
    storage: &dyn Storage,
    id: u32,
    first_index: u64,
    size: u64,
) -> io::Result<Active> {
    let name = file_name(id);
    let file = storage.create(&name, size)?;
    let (header, chain) = file_header(id, first_index);
    let written = file.write_at(&mut [IoSlice::new(&header)], 0);
    let synced = written
        .and_then(|()| file.sync())
        .and_then(|()| storage.sync_folder());
    if let Err(error) = synced {
        // What is left of it without a frame is no harm: recovery passes over it and the next attempt overwrites it.
        let _left = storage.remove(&name);
        return Err(error);
    }
    Ok(Active {
        id,
        file,
        end: FILE_HEADER as u64,
        chain,
        size,
        footer: Some(Builder::new()),
    })
}

pub(crate) type Replay<'a> = &'a mut dyn FnMut(Replayed) -> Result<(), String>;

pub(crate) fn recover(
    storage: &dyn Storage,
    file_size: u64,
    after: Option<(Position, u64)>,
    replay: Replay<'_>,
    watch: &Watch,
    opener: &Opener,
) -> Result<Recovered, OpenError> {
    let start = after.map(|(position, _)| position);
    let mut recovery = Recovery {
        storage,
        watch,
        opener,
        files: BTreeMap::new(),
        seals: Vec::new(),
        last_index: after.map_or(0, |(_, index)| index),
    };
    recovery.find(start)?;
    let floor = recovery.pop_unused(start)?;
    recovery.check_sequence(start)?;
    let first = start.map_or(0, |position| position.file);
    recovery.look_at_older(first)?;
    let replayed: Vec<u32> = recovery.files.range(first..).map(|(id, _)| *id).collect();
    let mut active = None;
    for id in replayed {
        let after = after.filter(|(position, _)| position.file == id);
        if recovery.files.keys().next_back() == Some(&id) {
            active = Some(recovery.newest(id, after, floor.unwrap_or(0), file_size, replay)?);
        } else {
            recovery.sealed(id, after, replay)?;
        }
    }
    let active = match active {
        Some(active) => active,
        None => new_file(storage, 1, 1, file_size)?,
    };
    let mut files: Files = recovery
        .files
        .iter()
        .map(|(id, file)| (*id, file.bytes))
        .collect();
    files.insert(active.id, active.size);
    Ok(Recovered {
        files,
        active,
        last_index: recovery.last_index,
        seals: recovery.seals,
    })
}

fn new_file(
    storage: &dyn Storage,
    id: u32,
    first_index: u64,
    size: u64,
) -> Result<Active, OpenError> {
    create_file(storage, id, first_index, size).map_err(opening(id))
}

fn opening(id: u32) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::File {
        name: file_name(id),
        source,
    }
}

/// What is known of a file before its frames are read.
#[derive(Clone, Copy, Debug)]
struct Known {
    bytes: u64,
    /// From its header: the index of its first frame, and the CRC to chain from.
    header: Option<(u64, u32)>,
}

struct Recovery<'a> {
    storage: &'a dyn Storage,
    watch: &'a Watch,
    opener: &'a Opener,
    files: BTreeMap<u32, Known>,
    seals: Vec<Seal>,
    last_index: u64,
}

/// Where a walk ended.
struct Walked {
    content: Content,
    /// Whether the last frames that must have been there were not found, so that their place is unknown.
    open_end: bool,
}

impl Recovery<'_> {
    fn open(&self, id: u32) -> Result<Arc<dyn StorageFile>, OpenError> {
        self.storage.open(&file_name(id)).map_err(opening(id))
    }

    fn report(&self, id: u32, offset: u64, kind: DamageKind, index: u64, told: Option<Told>) {
        self.watch.report(Damage {
            name: file_name(id),
            file: id,
            offset,
            kind,
            index,
            frames: u64::from(index > 0),
            told,
        });
    }

    /// Lists the files and reads their headers.
    fn find(&mut self, start: Option<Position>) -> Result<(), OpenError> {
        let names = self.storage.list().map_err(|source| OpenError::File {
            name: "*".to_owned(),
            source,
        })?;
        for name in names.iter().filter(|name| is_left_over(name)) {
            // It is in nobody's way should it stay.
            let _left = self.storage.remove(name);
        }
        for id in names.iter().filter_map(|name| file_id(name)) {
            let file = match self.open(id) {
                // What the checkpoint covers is read when somebody wants it; that it cannot be read now is no reason
                // not to start.
                Err(error) if start.is_some_and(|start| id < start.file) => {
                    warn!(target: "nats", "{error}");
                    let known = Known {
                        bytes: 0,
                        header: None,
                    };
                    self.files.insert(id, known);
                    continue;
                }
                opened => opened?,
            };
            let mut bytes = [0; FILE_HEADER];
            let count = file.read_at(&mut bytes, 0).map_err(opening(id))?;
            let header = match read_file_header(&bytes[..count], id) {
                FileHeader::Good { chain, first_index } => Some((first_index, chain)),
                FileHeader::Version(version) => {
                    let name = file_name(id);
                    return Err(OpenError::Version { name, version });
                }
                FileHeader::Blank | FileHeader::Bad => None,
            };
            let bytes = file.len().map_err(opening(id))?;
            let known = Known { bytes, header };
            self.files.insert(id, known);
        }
        Ok(())
    }

    /// Leaves out a newest file that holds no frame: a crash came while it was made, or making it failed and the file
    /// before it was written on. Answers the last index that its header says was there before it. It is made anew when
    /// it is needed.
    fn pop_unused(&mut self, start: Option<Position>) -> Result<Option<u64>, OpenError> {
        let Some((id, known)) = self.files.last_key_value().map(|(id, known)| (*id, *known)) else {
            return Ok(None);
        };
        if start.is_some_and(|position| position.file == id) {
            return Ok(None);
        }
        let file = self.open(id)?;
        let empty = Window::new(&*file)
            .and_then(|mut window| window.is_zero_from(FILE_HEADER as u64))
            .map_err(opening(id))?;
        if !empty {
            return Ok(None);
        }
        self.files.pop_last();
        Ok(known.header.map(|(first_index, _)| first_index - 1))
    }

    /// Files from the checkpoint's on must be there without gaps; older ones may have been removed.
    fn check_sequence(&self, start: Option<Position>) -> Result<(), OpenError> {
        let first = match start {
            Some(position) => position.file,
            None => match self.files.keys().next() {
                // Without a checkpoint nothing was ever removed.
                Some(_) => 1,
                None => return Ok(()),
            },
        };
        let last = self
            .files
            .keys()
            .next_back()
            .copied()
            .unwrap_or(0)
            .max(first);
        match (first..=last).find(|id| !self.files.contains_key(id)) {
            Some(missing) => Err(OpenError::Missing(file_name(missing))),
            None => Ok(()),
        }
    }

    /// Of what the checkpoint covers only headers and trailers are read. What is damaged there is mended where it can be,
    /// and never keeps the journal from starting.
    fn look_at_older(&mut self, first: u32) -> Result<(), OpenError> {
        let older: Vec<u32> = self.files.range(..first).map(|(id, _)| *id).collect();
        for id in older {
            match self.look_at(id) {
                Err(error @ (OpenError::Version { .. } | OpenError::Newer { .. })) => {
                    return Err(error);
                }
                Err(error) => warn!(target: "nats", "{error}"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn look_at(&mut self, id: u32) -> Result<(), OpenError> {
        let file = self.open(id)?;
        self.header(id, &*file, None)?;
        let last = self.next_begins(id)?.map(|next| next - 1);
        match read_trailer(&*file, id).map_err(opening(id))? {
            Ending::Good(trailer) if last.is_none_or(|last| last == trailer.last_index) => {
                return Ok(());
            }
            Ending::Newer(version) => {
                let name = file_name(id);
                return Err(OpenError::Version { name, version });
            }
            Ending::None => {
                info!(target: "nats", "`{}` has no footer yet; it is scanned", file_name(id))
            }
            Ending::Good(_) | Ending::Bad => {
                self.report(id, self.files[&id].bytes, DamageKind::Footer, 0, None)
            }
        }
        if let Some(last_index) = last {
            self.seals.push(Seal {
                id,
                file: None,
                last_index,
                content: None,
            });
        }
        Ok(())
    }

    /// The first index of the file behind this one.
    fn next_begins(&mut self, id: u32) -> Result<Option<u64>, OpenError> {
        let Some(next) = self.files.get(&(id + 1)).copied() else {
            return Ok(None);
        };
        if let Some((first_index, _)) = next.header {
            return Ok(Some(first_index));
        }
        let file = self.open(id + 1)?;
        Ok(self.first_index(id + 1, &*file)?.or_else(|| {
            let before = self.open(id).ok()?;
            match read_footer(&*before, id) {
                Ok(Ending::Good(footer)) => Some(footer.last_index + 1),
                _ => None,
            }
        }))
    }

    /// The first index of a file whose header is damaged, when its first frame or its footer tells.
    fn first_index(&self, id: u32, file: &dyn StorageFile) -> Result<Option<u64>, OpenError> {
        let mut bytes = [0; FRAME_HEADER];
        let count = file
            .read_at(&mut bytes, FILE_HEADER as u64)
            .map_err(opening(id))?;
        // A header is nothing but number and index, so its checksum in the first frame's chain proves it.
        if let Some(frame) = read_frame_header(&bytes[..count])
            && file_header(id, frame.index).1 == frame.chain
        {
            return Ok(Some(frame.index));
        }
        match read_footer(file, id).map_err(opening(id))? {
            Ending::Good(footer) => {
                let first = footer.frames.first();
                Ok(first
                    .filter(|frame| frame.offset == FILE_HEADER as u64)
                    .map(|frame| frame.index))
            }
            _ => Ok(None),
        }
    }

    /// A file's first index and the CRC its frames chain from; a damaged header is written anew.
    fn header(
        &mut self,
        id: u32,
        file: &dyn StorageFile,
        before: Option<u64>,
    ) -> Result<(u64, u32), OpenError> {
        if let Some(header) = self.files[&id].header {
            return Ok(header);
        }
        let told = match self.first_index(id, file)? {
            Some(index) => Some(index),
            None => before.map(|last| last + 1),
        };
        let Some(first_index) = told else {
            return Err(OpenError::Header(file_name(id)));
        };
        self.report(id, 0, DamageKind::Header, 0, None);
        let (bytes, chain) = file_header(id, first_index);
        file.write_at(&mut [IoSlice::new(&bytes)], 0)
            .and_then(|()| file.sync())
            .map_err(opening(id))?;
        if let Some(known) = self.files.get_mut(&id) {
            known.header = Some((first_index, chain));
        }
        Ok((first_index, chain))
    }

    /// Has a file get its footer once the journal runs.
    fn seal(&mut self, id: u32, file: Arc<dyn StorageFile>, content: Option<Content>) {
        self.seals.push(Seal {
            id,
            file: Some(file),
            last_index: self.last_index,
            content,
        });
    }

    /// Replays a file that another one follows.
    fn sealed(
        &mut self,
        id: u32,
        after: Option<(Position, u64)>,
        replay: Replay<'_>,
    ) -> Result<(), OpenError> {
        let file = self.open(id)?;
        let before = after.is_none().then_some(self.last_index);
        let (first_index, chain) = self.header(id, &*file, before)?;
        if after.is_none() && first_index != self.last_index + 1 {
            return Err(self.disagree(id));
        }
        let footer = match read_footer(&*file, id).map_err(opening(id))? {
            Ending::Good(footer) => Some(footer),
            Ending::Newer(version) => {
                let name = file_name(id);
                return Err(OpenError::Version { name, version });
            }
            Ending::None => None,
            Ending::Bad => {
                self.report(id, self.files[&id].bytes, DamageKind::Footer, 0, None);
                None
            }
        };
        let next = self.next_begins(id)?.map(|next| next - 1);
        let last = next.or_else(|| footer.as_ref().map(|footer| footer.last_index));
        let footer = footer.filter(|footer| last == Some(footer.last_index));
        // With neither, what is missing at its end counts to the next file, whose last index the one behind it tells.
        let limit = last.map_or(Limit::Open(0), Limit::Last);
        let window = Window::new(&*file).map_err(opening(id))?;
        let mut walk = Walk::new(window, first_index, Some(chain), limit, footer.as_ref());
        if let Some((position, index)) = after {
            self.start_behind(&mut walk, id, position, index)?;
        }
        let walked = self.walk(id, walk, replay)?;
        if footer.is_none() {
            // The part that the checkpoint covers belongs in the footer too, and was not looked at.
            self.seal(id, file, after.is_none().then_some(walked.content));
        }
        Ok(())
    }

    fn disagree(&self, id: u32) -> OpenError {
        OpenError::Damaged {
            name: file_name(id),
            offset: 0,
        }
    }

    /// Puts a walk behind the frame that a checkpoint ends with. That frame may be damaged by now: what matters of it is
    /// in the checkpoint, and whoever reads it is told.
    fn start_behind(
        &self,
        walk: &mut Walk<'_>,
        id: u32,
        position: Position,
        index: u64,
    ) -> Result<(), OpenError> {
        let length = walk.window.length;
        if position.end() > length || position.offset < (FILE_HEADER + FRAME_HEADER) as u64 {
            return Err(OpenError::Damaged {
                name: file_name(id),
                offset: position.end().min(length),
            });
        }
        let start = position.offset - FRAME_HEADER as u64;
        let whole = walk
            .window
            .bytes(start, FRAME_HEADER + position.len as usize)
            .map_err(opening(id))?;
        let chain = read_frame_header(whole)
            .filter(|header| header.len == position.len)
            .filter(|header| is_whole(&whole[..FRAME_HEADER], &whole[FRAME_HEADER..], header.crc))
            .map(|header| header.crc);
        if chain.is_none() {
            self.report(id, start, DamageKind::Frame, index, None);
        }
        walk.start_behind(position.end(), index, chain);
        Ok(())
    }

    /// Replays the newest file, cuts it off where its frames end, and says how to go on.
    fn newest(
        &mut self,
        id: u32,
        after: Option<(Position, u64)>,
        floor: u64,
        file_size: u64,
        replay: Replay<'_>,
    ) -> Result<Active, OpenError> {
        let file = self.open(id)?;
        let before = after.is_none().then_some(self.last_index);
        let (first_index, chain) = self.header(id, &*file, before)?;
        if after.is_none() && first_index != self.last_index + 1 {
            return Err(self.disagree(id));
        }
        let footer = match read_footer(&*file, id).map_err(opening(id))? {
            Ending::Good(footer) => Some(footer),
            _ => None,
        };
        // A file that was sealed had all that its footer says.
        let floor = floor.max(footer.as_ref().map_or(0, |footer| footer.last_index));
        let limit = Limit::Open(floor);
        let window = Window::new(&*file).map_err(opening(id))?;
        let mut walk = Walk::new(window, first_index, Some(chain), limit, footer.as_ref());
        if let Some((position, index)) = after {
            self.start_behind(&mut walk, id, position, index)?;
        }
        let walked = self.walk(id, walk, replay)?;
        let size = self.files[&id].bytes.max(file_size);
        if walked.open_end {
            // Where the lost frames ended is unknown: nothing is written over what may be left of them.
            self.seal(id, file, after.is_none().then_some(walked.content));
            return new_file(self.storage, id + 1, self.last_index + 1, file_size);
        }
        let Content {
            footer: builder,
            end,
            chain,
        } = walked.content;
        settle(id, &*file, end, footer.as_ref(), size).map_err(opening(id))?;
        Ok(Active {
            id,
            file,
            end,
            chain,
            size,
            footer: after.is_none().then_some(builder),
        })
    }

    /// A frame to be replayed: lost, when its checksum is good and its body is none all the same.
    fn unpack(
        &self,
        id: u32,
        at: u64,
        header: &FrameHeader,
        stored: Bytes,
    ) -> Result<Replayed, OpenError> {
        match plain(header, stored, self.opener) {
            Ok(body) => Ok(whole(id, at, header, body)),
            Err(error) if error.is_damage() => {
                let told = Some(header.told());
                self.report(id, at, DamageKind::Frame, header.index, told);
                Ok(lost(id, at, header.index, told))
            }
            Err(source) => Err(OpenError::Body {
                name: file_name(id),
                offset: at,
                source,
            }),
        }
    }

    /// Walks to the end and hands on what is found.
    fn walk(
        &mut self,
        id: u32,
        mut walk: Walk<'_>,
        replay: Replay<'_>,
    ) -> Result<Walked, OpenError> {
        let mut content = Content {
            footer: Builder::new(),
            end: walk.at,
            chain: walk.chain.unwrap_or(0),
        };
        let mut open_end = false;
        loop {
            let found = walk.step().map_err(opening(id))?;
            if let Some(damage) = found.damage(id) {
                self.watch.report(damage);
            }
            found.infos().for_each(|info| content.footer.push(&info));
            content.chain = walk.chain.unwrap_or(content.chain);
            match found {
                Found::Frame {
                    header,
                    at,
                    body,
                    from_copy,
                } => {
                    open_end = false;
                    if from_copy {
                        self.watch.count_copy();
                    }
                    let bytes = walk.body(body, header.len).map_err(opening(id))?;
                    let stored = Bytes::copy_from_slice(bytes);
                    self.last_index = header.index;
                    hand_on(id, at, replay, self.unpack(id, at, &header, stored)?)?;
                }
                Found::Lost {
                    at,
                    first,
                    frames,
                    told,
                } => {
                    open_end = walk.at == at;
                    for index in first..first + frames {
                        self.last_index = index;
                        hand_on(id, at, replay, lost(id, at, index, told))?;
                    }
                }
                Found::Copy { .. } | Found::BadCopy { .. } => {}
                Found::Newer { at } => {
                    let name = file_name(id);
                    return Err(OpenError::Newer { name, offset: at });
                }
                Found::End { at } => {
                    content.end = at;
                    return Ok(Walked { content, open_end });
                }
            }
        }
    }
}

fn place(id: u32, at: u64, len: u32) -> Position {
    Position {
        file: id,
        offset: at + FRAME_HEADER as u64,
        len,
    }
}

fn whole(id: u32, at: u64, header: &FrameHeader, body: Bytes) -> Replayed {
    Replayed {
        group: header.group,
        term: header.term,
        index: header.index,
        stream: header.stream,
        count: header.count,
        position: place(id, at, header.len),
        body,
        lost: false,
        told: true,
    }
}

fn lost(id: u32, at: u64, index: u64, told: Option<Told>) -> Replayed {
    Replayed {
        group: told.map_or(0, |told| told.group),
        term: 0,
        index,
        stream: told.map_or(0, |told| told.stream),
        count: told.map_or(0, |told| told.count),
        position: place(id, at, told.map_or(0, |told| told.len)),
        body: Bytes::new(),
        lost: true,
        told: told.is_some(),
    }
}

fn hand_on(id: u32, offset: u64, replay: Replay<'_>, frame: Replayed) -> Result<(), OpenError> {
    replay(frame).map_err(|reason| OpenError::Replay {
        name: file_name(id),
        offset,
        reason,
    })
}

/// Makes the end of the newest file what it was found to be. What was replayed may not have been synced before the crash,
/// and leftovers behind the end must not pass for damage once the file is sealed.
fn settle(
    id: u32,
    file: &dyn StorageFile,
    end: u64,
    footer: Option<&Footer>,
    size: u64,
) -> io::Result<()> {
    let mut window = Window::new(file)?;
    let torn = !window.is_zero_from(end)?;
    if torn {
        // A footer is there when the file was sealed and none was written behind it.
        if footer.is_none_or(|footer| footer.end != end) {
            warn!(target: "nats", "`{}` is cut back to {end}: what follows was never acknowledged", file_name(id));
        }
        file.set_len(end)?;
    }
    if (torn || window.length < size)
        && let Err(error) = file.reserve(size)
    {
        warn!(target: "nats", "`{}` cannot reserve its space again: {error}", file_name(id));
    }
    file.sync()
}
