//! What can go wrong, and whose fault it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream_types::{Domain, Retry};
use thiserror::Error;

use crate::cipher::KeyId;

/// Why a frame is not in the log. Nothing of it will be there after a restart either, except for `Failed`, where it is unknown.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The device is full. Reads go on, and appends succeed again once there is space.
    #[error("the disk is full: {0}; free space in the store's file system")]
    Full(Arc<io::Error>),
    /// More is queued than the bound allows.
    #[error("the log is behind: too many bytes wait to be written; publish slower")]
    Busy,
    /// A write or sync failed. The journal acknowledges nothing any more, because what a failed sync left behind is unknown.
    #[error(
        "the log has stopped after a failed write: {0}; check the disk, then restart the server"
    )]
    Failed(Arc<io::Error>),
    /// The journal was closed.
    #[error("the log is closed; the server is shutting down")]
    Closed,
}

impl AppendError {
    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Transient
    }

    /// Whether the same append may succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Full(_) | Self::Busy => Retry::After(Duration::from_secs(1)),
            Self::Failed(_) | Self::Closed => Retry::Never,
        }
    }
}

/// Why a frame's body cannot be unpacked, though its checksum is good.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It says that it is compressed, and is nothing that was compressed, or not to the length that it says.
    #[error("its compressed body cannot be unpacked")]
    Compressed,
    /// It says that it is encrypted, and is not what was encrypted at this place of the log.
    #[error("its encrypted body was changed, or put in the place of another")]
    Sealed,
    /// It is encrypted with another key than the configured ones.
    #[error("it is encrypted with key {0}; configure that key as `key` or `prev_key`")]
    Key(KeyId),
    /// A newer build stored it.
    #[error(
        "its body has version {0}, newer than this build reads (1); start the build that wrote it"
    )]
    Version(u8),
}

impl BodyError {
    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Self::Compressed | Self::Sealed => Domain::Corruption,
            Self::Key(_) | Self::Version(_) => Domain::Transient,
        }
    }

    /// Whether the frame is dealt with as one whose checksum is wrong.
    pub(crate) fn is_damage(&self) -> bool {
        self.domain() == Domain::Corruption
    }
}

/// Why a frame cannot be read back.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is no such file any more, or never was.
    #[error("journal file {0} is missing")]
    Missing(u32),
    /// The device does not give the bytes.
    #[error("journal file {file} cannot be read at {offset}: {source}")]
    Io {
        /// The file's number.
        file: u32,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A newer build wrote it, with a flag that this one does not know.
    #[error(
        "the frame at {offset} of journal file {file} was written by a newer build; start that one"
    )]
    Newer {
        /// The file's number.
        file: u32,
        /// Where the frame begins.
        offset: u64,
    },
    /// The bytes are not what was written.
    #[error("journal file {file} is damaged at {offset}: its bytes are not what was written")]
    Damaged {
        /// The file's number.
        file: u32,
        /// Where the frame begins.
        offset: u64,
    },
    /// Its bytes are what was written, and this build or configuration cannot unpack them.
    #[error("the frame at {offset} of journal file {file} cannot be read: {source}")]
    Body {
        /// The file's number.
        file: u32,
        /// Where the frame begins.
        offset: u64,
        /// Why.
        source: BodyError,
    },
}

impl ReadError {
    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Self::Io { .. } | Self::Newer { .. } => Domain::Transient,
            Self::Missing(_) | Self::Damaged { .. } => Domain::Corruption,
            Self::Body { source, .. } => source.domain(),
        }
    }
}

/// Why a journal does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The folder cannot be made or listed.
    #[error(
        "store folder `{folder}` cannot be used: {source}; check that it is a folder this user may write to, or choose another with -sd"
    )]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "store folder `{0}` is in use by another process; stop that server, or choose another folder with -sd"
    )]
    Locked(PathBuf),
    /// A file cannot be read or created.
    #[error("journal file `{name}` cannot be opened: {source}")]
    File {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A file that begins with something else.
    #[error(
        "`{0}` is no journal file or its header is damaged; move it out of the store folder, or restore it from a backup"
    )]
    Header(String),
    /// A file that another build wrote.
    #[error(
        "journal file `{name}` has version {version} and this build reads version 2 only; start the build that wrote it, or choose another folder with -sd"
    )]
    Version {
        /// Which.
        name: String,
        /// Its version.
        version: u32,
    },
    /// A frame with a flag that this build does not know.
    #[error(
        "the frame at {offset} of journal file `{name}` was written by a newer build; start that one"
    )]
    Newer {
        /// Which file.
        name: String,
        /// Where.
        offset: u64,
    },
    /// A frame whose bytes are what was written, and that this build or configuration cannot unpack.
    #[error("the frame at {offset} of journal file `{name}` cannot be read: {source}")]
    Body {
        /// Which file.
        name: String,
        /// Where.
        offset: u64,
        /// Why.
        source: BodyError,
    },
    /// The store is encrypted and no key is configured.
    #[error(
        "the store is encrypted with key {0} and no key is configured; set `key` in the `jetstream` block, or choose another folder with -sd"
    )]
    KeyMissing(KeyId),
    /// Frames may be there that the configured keys do not read.
    #[error(
        "the store holds messages encrypted with key {0}, and neither `key` nor `prev_key` of the `jetstream` block is that key; configure it as one of them"
    )]
    KeyWrong(KeyId),
    /// The list of keys is damaged, both copies of it.
    #[error(
        "`keys` of the store is damaged, with its second copy; move it out of the store folder and start with all keys that were in use: messages name the ones they need"
    )]
    KeysDamaged,
    /// A newer build wrote the list of keys.
    #[error(
        "`keys` of the store has version {0}, newer than this build reads (1); start the build that wrote it"
    )]
    KeysVersion(u32),
    /// Without random numbers nothing can be encrypted.
    #[error("the system gives no random numbers for encryption: {0}")]
    Random(String),
    /// Acknowledged frames cannot be read. Starting without them would give their sequences to other messages.
    #[error(
        "journal file `{name}` is damaged at {offset}, before frames that were acknowledged; restore it from a backup"
    )]
    Damaged {
        /// Which.
        name: String,
        /// Where.
        offset: u64,
    },
    /// A file in the middle is gone.
    #[error("journal file `{0}` is missing; restore it from a backup")]
    Missing(String),
    /// Whoever replays refused a frame.
    #[error("frame at {offset} of journal file `{name}` cannot be replayed: {reason}")]
    Replay {
        /// Which file.
        name: String,
        /// Where.
        offset: u64,
        /// Why.
        reason: String,
    },
}
