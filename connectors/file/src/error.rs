//! What can be wrong with a file, with what to do about it.

use std::io;
use std::path::PathBuf;

use millstream_connector_api::{ConnectorError, SinkError};
use thiserror::Error;

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("file `{path}` does not exist: create it, or correct `path`")]
    Missing { path: PathBuf },
    #[error("folder `{path}` does not exist: create it, or correct `path`")]
    MissingFolder { path: PathBuf },
    #[error("`{path}` is a folder: `path` must name a file")]
    Folder { path: PathBuf },
    #[error("no permission to open `{path}`: allow it for the user the server runs as")]
    Permission { path: PathBuf },
    #[error(
        "file `{path}` was replaced or cut since line {line} was read: put the old content back, delete and apply the \
         source anew, or set `on_truncate: restart` to read new content from its start"
    )]
    Replaced { path: PathBuf, line: u64 },
    #[error(
        "the stored position of `{path}` cannot be read: {reason}; delete and apply the source anew"
    )]
    Position { path: PathBuf, reason: String },
    #[error("the first line of `{path}` is no CSV header: {reason}")]
    Header { path: PathBuf, reason: String },
    #[error("`{path}` holds lines that no file sink wrote: choose another `path`")]
    Foreign { path: PathBuf },
    #[error("`{path}` is in use by another sink: give each sink its own `path`")]
    Locked { path: PathBuf },
    #[error("cannot {doing} `{path}`: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl FileError {
    /// Names the common causes; the rest keeps the system's text.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::NotFound => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
                    Self::MissingFolder {
                        path: parent.to_owned(),
                    }
                }
                _ => Self::Missing { path },
            },
            io::ErrorKind::PermissionDenied => Self::Permission { path },
            io::ErrorKind::IsADirectory => Self::Folder { path },
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }

    /// Whether waiting may help.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::MissingFolder { .. }
            | Self::Permission { .. }
            | Self::Locked { .. }
            | Self::Io { .. } => true,
            Self::Folder { .. }
            | Self::Replaced { .. }
            | Self::Position { .. }
            | Self::Header { .. }
            | Self::Foreign { .. } => false,
        }
    }
}

impl From<FileError> for ConnectorError {
    fn from(error: FileError) -> Self {
        if error.is_retryable() {
            Self::retryable(error.to_string())
        } else {
            Self::fatal(error.to_string())
        }
    }
}

impl From<FileError> for SinkError {
    fn from(error: FileError) -> Self {
        if error.is_retryable() {
            Self::retryable(error.to_string())
        } else {
            Self::fatal(error.to_string())
        }
    }
}
