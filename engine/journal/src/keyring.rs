//! Which keys a store needs: a small file beside the journal's, so that a start with the wrong ones is refused at once
//! and in words, not when a message is read, and not as damage.
//!
//! Layout of `keys`, version 1, integers little endian: magic "MSKEYIDS", `u32` version, `u32` number of keys, per key its
//! 8 bytes of id and the `u32` number of the last journal file that may hold frames of it (`u32::MAX` while it is in
//! use), `u32` CRC-32C of everything before it. All of this is there twice, so that damage to one costs nothing. Written
//! beside, synced and renamed over before the first frame of a new key; a key is forgotten when the last file that may
//! hold frames of it is gone.

use std::io::{self, IoSlice};

use bytes::{Buf, BufMut};
use tracing::{error, info};

use crate::cipher::{KeyId, Keys};
use crate::error::OpenError;
use crate::recover::file_id;
use crate::storage::Storage;

const MAGIC: &[u8; 8] = b"MSKEYIDS";
const VERSION: u32 = 1;
pub(crate) const NAME: &str = "keys";
const NEW: &str = "keys.new";
const FIXED: usize = 8 + 4 + 4;
const PER_KEY: usize = 8 + 4;
const CRC: usize = 4;
/// More than anyone rotates; a file that claims more is damaged.
const MOST_BYTES: u64 = 1 << 20;
const IN_USE: u32 = u32::MAX;

/// A key that frames may be encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    id: KeyId,
    /// The last file that may hold frames of it.
    last: u32,
}

/// Refuses keys that do not read all of the store.
///
/// # Errors
/// When one is missing, or the file cannot be read.
pub(crate) fn check(storage: &dyn Storage, keys: Option<&Keys>) -> Result<(), OpenError> {
    current(storage, keys).map(drop)
}

/// As [`check`], and notes the key that new frames will be encrypted with.
///
/// # Errors
/// As [`check`], and when the note cannot be written.
pub(crate) fn admit(storage: &dyn Storage, keys: Option<&Keys>) -> Result<(), OpenError> {
    let List {
        before,
        mut known,
        damage,
        newest,
    } = current(storage, keys)?;
    let writes = keys.and_then(Keys::current);
    for key in &mut known {
        if Some(key.id) == writes {
            key.last = IN_USE;
        } else if key.last == IN_USE {
            key.last = newest;
        }
    }
    if let Some(id) = writes
        && known.iter().all(|key| key.id != id)
    {
        known.push(Known { id, last: IN_USE });
    }
    tell(&before, &known);
    if let Some(at) = damage {
        error!(target: "nats", "`{NAME}` of the store is damaged at {at}; it is written anew from its other copy");
    } else if known == before {
        return Ok(());
    }
    write(storage, &known).map_err(opening)
}

/// Tells an operator which keys must stay configured.
fn tell(before: &[Known], known: &[Known]) {
    for Known { id, last } in known {
        match *last {
            IN_USE => info!(target: "nats", "New messages are encrypted with key {id}"),
            _ => {
                info!(target: "nats", "Messages of before are encrypted with key {id}; leave it in `prev_key`")
            }
        }
    }
    let is_gone = |key: &&Known| known.iter().all(|known| known.id != key.id);
    for Known { id, .. } in before.iter().filter(is_gone) {
        info!(target: "nats", "No message is encrypted with key {id} any more; it may go from `prev_key`");
    }
}

/// What is known of the keys that a store needs.
struct List {
    /// What the file says,
    before: Vec<Known>,
    /// what of it still holds,
    known: Vec<Known>,
    /// and where one copy of it is damaged.
    damage: Option<u64>,
    /// The newest journal file.
    newest: u32,
}

fn current(storage: &dyn Storage, keys: Option<&Keys>) -> Result<List, OpenError> {
    let names = storage.list().map_err(opening)?;
    let files = || names.iter().filter_map(|name| file_id(name));
    let oldest = files().min().unwrap_or(u32::MAX);
    let (before, damage) = match names.iter().any(|name| name == NAME) {
        true => read(storage)?,
        false => (Vec::new(), None),
    };
    let mut known = before.clone();
    known.retain(|key| key.last == IN_USE || key.last >= oldest);
    let missing = known
        .iter()
        .find(|key| !keys.is_some_and(|keys| keys.has(key.id)));
    match missing {
        Some(key) if keys.is_none() => Err(OpenError::KeyMissing(key.id)),
        Some(key) => Err(OpenError::KeyWrong(key.id)),
        None => Ok(List {
            before,
            known,
            damage,
            newest: files().max().unwrap_or(0),
        }),
    }
}

fn opening(source: io::Error) -> OpenError {
    OpenError::File {
        name: NAME.to_owned(),
        source,
    }
}

fn encode(known: &[Known]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + known.len() * PER_KEY + CRC);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(VERSION);
    bytes.put_u32_le(u32::try_from(known.len()).unwrap_or(u32::MAX));
    for key in known {
        bytes.put_slice(&key.id.0);
        bytes.put_u32_le(key.last);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.put_u32_le(crc);
    bytes
}

fn write(storage: &dyn Storage, known: &[Known]) -> io::Result<()> {
    let bytes = encode(known);
    let file = storage.create(NEW, 0)?;
    // One write, but two copies: a flipped bit in one is made up for by the other.
    file.write_at(&mut [IoSlice::new(&bytes), IoSlice::new(&bytes)], 0)?;
    file.sync()?;
    storage.rename(NEW, NAME)?;
    storage.sync_folder()
}

/// The list, and where one of its copies is damaged.
fn read(storage: &dyn Storage) -> Result<(Vec<Known>, Option<u64>), OpenError> {
    let file = storage.open(NAME).map_err(opening)?;
    let length = file.len().map_err(opening)?.min(MOST_BYTES);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let count = file.read_at(&mut bytes, 0).map_err(opening)?;
    bytes.truncate(count);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let damage = |at: usize| Some(at as u64);
    match (decode(first)?, decode(second)?) {
        (Some(known), Some(_)) => Ok((known, None)),
        (Some(known), None) => Ok((known, damage(first.len()))),
        (None, Some(known)) => Ok((known, damage(0))),
        (None, None) => Err(OpenError::KeysDamaged),
    }
}

/// Where the list is damaged, one copy of it; `None` when it is whole or there is none.
///
/// # Errors
/// When neither copy is whole, a newer build wrote it, or it cannot be read.
pub(crate) fn damage(storage: &dyn Storage) -> Result<Option<u64>, OpenError> {
    match storage.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => Ok(read(storage)?.1),
    }
}

fn decode(bytes: &[u8]) -> Result<Option<Vec<Known>>, OpenError> {
    let Some((content, crc)) = bytes.split_last_chunk::<CRC>() else {
        return Ok(None);
    };
    let Some(mut rest) = content.strip_prefix(MAGIC) else {
        return Ok(None);
    };
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || content.len() < FIXED {
        return Ok(None);
    }
    let version = rest.get_u32_le();
    if version != VERSION {
        return Err(OpenError::KeysVersion(version));
    }
    if rest.get_u32_le() as usize * PER_KEY != rest.len() {
        return Ok(None);
    }
    let keys = rest.chunks_exact(PER_KEY).map(|mut chunk| {
        let mut id = [0; 8];
        chunk.copy_to_slice(&mut id);
        Known {
            id: KeyId(id),
            last: chunk.get_u32_le(),
        }
    });
    Ok(Some(keys.collect()))
}

#[cfg(test)]
mod tests;
