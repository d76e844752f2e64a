//! Why a run fails.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// A result of this room.
pub type Result<T> = std::result::Result<T, LoadError>;

/// Why a run fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The server cannot be reached.
    #[error("cannot connect to `{address}`: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing came for longer than any answer takes.
    #[error("the server says nothing for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection to the server broke: {0}")]
    Broken(#[source] io::Error),
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent `-ERR`.
    #[error("the server says {0}")]
    Said(String),
    /// Nobody answers requests to this subject.
    #[error("`{0}` is not served; is JetStream on?")]
    NotServed(String),
    /// The API answered with an error.
    #[error("`{subject}` is refused: {error}")]
    Refused {
        /// The request's subject.
        subject: String,
        /// The answer's `error`.
        error: String,
    },
    /// An acknowledgement said no.
    #[error("a publish was refused: {0}")]
    Publish(String),
    /// The answer is not what the protocol has here.
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(String),
    /// Stopped by its user.
    #[error("stopped")]
    Stopped,
    /// The file of the disk's floor.
    #[error("the disk cannot be measured: {0}")]
    Disk(#[source] io::Error),
    /// A thread of the run ended by a panic, a bug of the generator.
    #[error("a thread of the load generator failed")]
    Thread,
}
