//! State as of a position in the log, in a file of its own beside it: recovery starts there instead of at the beginning.
//!
//! Layout, version 1: magic "MSCHECKP", `u32` version, 16 bytes of position, `u64` index, `u64` length, the bytes,
//! `u32` CRC-32C of everything before it. Written beside, synced, renamed over; the last whole one before it stays as `.old`.

use std::io::{self, IoSlice};

use bytes::{Buf, BufMut};
use thiserror::Error;

use crate::position::Position;
use crate::storage::Storage;

const MAGIC: &[u8; 8] = b"MSCHECKP";
const VERSION: u32 = 1;
const NAME: &str = "checkpoint";
const OLD: &str = "checkpoint.old";
const NEW: &str = "checkpoint.new";
const FIXED: usize = 8 + 4 + Position::ENCODED + 8 + 8;

/// A checkpoint as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last frame it covers.
    pub position: Position,
    /// That frame's index.
    pub index: u64,
    /// The state.
    pub bytes: Vec<u8>,
}

/// Why there is no checkpoint to start from.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("checkpoint cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A newer build wrote it.
    #[error(
        "checkpoint has version {0}, newer than this build reads (1); start the build that wrote it"
    )]
    Version(u32),
    /// Neither the checkpoint nor the one before it is whole.
    #[error("both checkpoints are damaged; restore one from a backup")]
    Damaged,
}

/// Writes a checkpoint; it counts once this returns.
///
/// # Errors
/// As the storage says; the last checkpoint stays then.
pub fn write_checkpoint(storage: &dyn Storage, checkpoint: &Checkpoint) -> io::Result<()> {
    let mut head = Vec::with_capacity(FIXED);
    head.put_slice(MAGIC);
    head.put_u32_le(VERSION);
    checkpoint.position.encode(&mut head);
    head.put_u64_le(checkpoint.index);
    head.put_u64_le(checkpoint.bytes.len() as u64);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &checkpoint.bytes).to_le_bytes();
    let file = storage.create(NEW, 0)?;
    let mut slices = [
        IoSlice::new(&head),
        IoSlice::new(&checkpoint.bytes),
        IoSlice::new(&crc),
    ];
    file.write_at(&mut slices, 0)?;
    file.sync()?;
    // A damaged one must not take the place of the one before it, which may be all that a start can begin with.
    if matches!(look_at(storage, NAME), Ok(Some(Some(_)))) {
        storage.rename(NAME, OLD)?;
    }
    storage.rename(NEW, NAME)?;
    storage.sync_folder()
}

/// Reads the newest whole checkpoint; `None` when none was ever written.
///
/// # Errors
/// When there are checkpoints and none can be used.
pub fn read_checkpoint(storage: &dyn Storage) -> Result<Option<Checkpoint>, CheckpointError> {
    let mut any = false;
    for name in [NAME, OLD] {
        let Some(found) = look_at(storage, name)? else {
            continue;
        };
        any = true;
        match found {
            Some(checkpoint) => return Ok(Some(checkpoint)),
            None => {
                tracing::error!(target: "nats", "`{name}` of the store is damaged, trying the one before it")
            }
        }
    }
    if any {
        Err(CheckpointError::Damaged)
    } else {
        Ok(None)
    }
}

/// The names that checkpoints have.
pub(crate) const NAMES: [&str; 2] = [NAME, OLD];

/// What the file of this name holds: `None` when there is none, nothing inside when it is damaged.
pub(crate) fn look_at(
    storage: &dyn Storage,
    name: &str,
) -> Result<Option<Option<Checkpoint>>, CheckpointError> {
    let file = match storage.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut bytes, 0)?;
    parse(&bytes[..count]).map(Some)
}

fn parse(bytes: &[u8]) -> Result<Option<Checkpoint>, CheckpointError> {
    let Some((content, crc)) = bytes.split_last_chunk::<4>() else {
        return Ok(None);
    };
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || content.len() < FIXED {
        return Ok(None);
    }
    let Some(mut rest) = content.strip_prefix(MAGIC) else {
        return Ok(None);
    };
    let version = rest.get_u32_le();
    if version != VERSION {
        return Err(CheckpointError::Version(version));
    }
    let Some(position) = Position::decode(&mut rest) else {
        return Ok(None);
    };
    let index = rest.get_u64_le();
    let len = rest.get_u64_le();
    if len != rest.len() as u64 {
        return Ok(None);
    }
    Ok(Some(Checkpoint {
        position,
        index,
        bytes: rest.to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, CheckpointError, read_checkpoint, write_checkpoint};
    use crate::position::Position;
    use crate::storage::{Fault, MemoryStorage};

    fn checkpoint(index: u64) -> Checkpoint {
        let position = Position {
            file: 1,
            offset: 88,
            len: 3,
        };
        Checkpoint {
            position,
            index,
            bytes: vec![7; 20],
        }
    }

    #[test]
    fn the_last_one_is_read_and_the_one_before_stands_in() {
        let storage = MemoryStorage::new();
        assert!(read_checkpoint(&storage).expect("readable").is_none());
        write_checkpoint(&storage, &checkpoint(1)).expect("written");
        write_checkpoint(&storage, &checkpoint(2)).expect("written");
        assert_eq!(
            read_checkpoint(&storage).expect("readable"),
            Some(checkpoint(2))
        );
        storage.flip("checkpoint", 30, 3);
        assert_eq!(
            read_checkpoint(&storage).expect("readable"),
            Some(checkpoint(1))
        );
        storage.flip("checkpoint.old", 30, 3);
        assert!(matches!(
            read_checkpoint(&storage),
            Err(CheckpointError::Damaged)
        ));
    }

    /// A start that found the newest one damaged went on from the one before: that is all there is until the next is safe.
    #[test]
    fn a_damaged_one_does_not_take_the_place_of_the_one_that_stood_in() {
        for call in 1.. {
            let storage = MemoryStorage::new();
            write_checkpoint(&storage, &checkpoint(1)).expect("written");
            write_checkpoint(&storage, &checkpoint(2)).expect("written");
            storage.flip("checkpoint", 30, 3);
            storage.fail_at(storage.calls() + call, Fault::PowerCut);
            let done = write_checkpoint(&storage, &checkpoint(3)).is_ok();
            for names in 0..=storage.unsynced_names() {
                let after = storage.restart_with_some_names(names, |_, _, _| true);
                let index = read_checkpoint(&after)
                    .expect("readable")
                    .expect("there is one")
                    .index;
                assert!(index == 3 || (!done && index == 1), "call {call}: {index}");
            }
            if done {
                return;
            }
        }
    }

    #[test]
    fn a_power_cut_at_any_call_leaves_the_old_or_the_new_one() {
        for call in 1.. {
            let storage = MemoryStorage::new();
            write_checkpoint(&storage, &checkpoint(1)).expect("written");
            storage.fail_at(storage.calls() + call, Fault::PowerCut);
            let done = write_checkpoint(&storage, &checkpoint(2)).is_ok();
            for torn in [false, true] {
                let after = storage.restart(|_, _, byte| torn && byte % 2 == 0);
                let index = read_checkpoint(&after)
                    .expect("readable")
                    .expect("there is one")
                    .index;
                assert!(index == 2 || (!done && index == 1), "call {call}: {index}");
            }
            if done {
                return;
            }
        }
    }
}
