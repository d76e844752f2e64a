//! Start: find the files, replay what comes after the checkpoint, and decide where the log ends.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::OpenError;
use crate::frame::{FILE_HEADER, file_header};
use crate::position::Position;
use crate::scan::{Role, Scan};
use crate::storage::{Storage, StorageFile};

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
    /// How many frames were replayed from their second copy.
    pub(crate) from_copy: u64,
}

pub(crate) fn file_name(id: u32) -> String {
    format!("{id:08}.log")
}

fn file_id(name: &str) -> Option<u32> {
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
    })
}

pub(crate) type Replay<'a> = &'a mut dyn FnMut(Replayed) -> Result<(), String>;

pub(crate) fn recover(
    storage: &dyn Storage,
    file_size: u64,
    after: Option<(Position, u64)>,
    replay: Replay<'_>,
) -> Result<Recovered, OpenError> {
    let start = after.map(|(position, _)| position);
    let mut files = open_files(storage)?;
    let unused = pop_unused(&mut files, start)?;
    check_sequence(&files, start)?;
    let mut last_index = after.map_or(0, |(_, index)| index);
    let mut from_copy = 0;
    let mut active = None;
    let mut before = String::new();
    let first = start.map_or(0, |position| position.file);
    let scanned: Vec<u32> = files.range(first..).map(|(id, _)| *id).collect();
    for id in &scanned {
        let file = &files[id];
        let from = start.filter(|position| position.file == *id);
        let mut scan = Scan::open(*id, file)?;
        if from.is_none() && scan.first_index != last_index + 1 {
            // The file before this one ended later once.
            let name = if before.is_empty() { scan.name } else { before };
            return Err(OpenError::Damaged {
                name,
                offset: active.map_or(0, |active: Active| active.end),
            });
        }
        let size = scan.length.max(file_size);
        let role = match scanned.last() == Some(id) {
            true => Role::Newest {
                size,
                next_index: unused,
            },
            false => Role::Sealed,
        };
        let end = scan.run(from, role, &mut last_index, replay)?;
        from_copy += scan.from_copy;
        active = Some(Active {
            id: *id,
            file: Arc::clone(file),
            end,
            chain: scan.chain.unwrap_or(0),
            size,
        });
        before = scan.name;
    }
    let active = match active {
        Some(active) => active,
        None => create_file(storage, 1, 1, file_size).map_err(|source| OpenError::File {
            name: file_name(1),
            source,
        })?,
    };
    files.insert(active.id, Arc::clone(&active.file));
    Ok(Recovered {
        files,
        active,
        last_index,
        from_copy,
    })
}

fn open_files(storage: &dyn Storage) -> Result<Files, OpenError> {
    let opening = |name: &str, source| OpenError::File {
        name: name.to_owned(),
        source,
    };
    let mut files = Files::new();
    for name in storage.list().map_err(|source| opening("*", source))? {
        if let Some(id) = file_id(&name) {
            files.insert(
                id,
                storage
                    .open(&name)
                    .map_err(|source| opening(&name, source))?,
            );
        }
    }
    Ok(files)
}

/// Leaves out a newest file that holds no frame: a crash came while it was made, or making it failed and the file before
/// it was written on. Answers the index its header says it begins with. It is made anew when it is needed.
fn pop_unused(files: &mut Files, start: Option<Position>) -> Result<Option<u64>, OpenError> {
    let Some((id, file)) = files.last_key_value() else {
        return Ok(None);
    };
    let id = *id;
    if start.is_some_and(|position| position.file == id)
        || !Scan::new(id, file)?.is_zero_from(FILE_HEADER as u64)?
    {
        return Ok(None);
    }
    let first_index = match Scan::open(id, file) {
        Ok(scan) => Some(scan.first_index),
        Err(OpenError::Header(_)) => None,
        Err(error) => return Err(error),
    };
    files.pop_last();
    Ok(first_index)
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
