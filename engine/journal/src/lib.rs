//! The node's one write-ahead log, and the store itself: frames appended to files, one write and one sync per batch.
//!
//! What lives here: the layout of files, frames and checkpoints, group commit, recovery, verified reads, the storage seam
//! with its real, in-memory and faulty implementations.
//! What may not come in: what the bytes mean. Streams, consumers and Raft are other rooms; a frame's body is opaque here.

mod ahead;
mod body;
mod checkpoint;
mod cipher;
mod damage;
mod erase;
mod error;
mod footer;
mod frame;
mod handles;
mod journal;
mod keyring;
mod leave;
mod page;
mod position;
mod recover;
mod seal;
mod storage;
mod tail;
mod verify;
mod walk;
mod window;
mod writer;

#[cfg(test)]
mod tests;

/// The group of frames that are this node's alone, in no Raft group's log: pages of its index. They are replayed like
/// others; who does not want them passes over them.
pub const LOCAL: u32 = 0;

pub use ahead::ReadAhead;
pub use body::Form;
pub use checkpoint::{Checkpoint, CheckpointError, read_checkpoint, write_checkpoint};
pub use cipher::{Cipher, KeyId, Keys};
pub use damage::{Damage, DamageKind, DamageListener, Told};
pub use error::{AppendError, BodyError, OpenError, ReadError};
pub use footer::{Footer, FrameInfo, StreamInfo};
pub use journal::{FileInfo, Journal, Options, Status};
pub use leave::Leaving;
pub use page::{PageReader, PageSource};
pub use position::Position;
pub use recover::Replayed;
pub use storage::{DiskStorage, Fault, MemoryStorage, Storage, StorageFile};
pub use verify::{Progress, Report, Tail, Unreadable, VerifyOptions, verify};
pub use writer::{Committed, Durability, Frame};
