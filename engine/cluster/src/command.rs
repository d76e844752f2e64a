//! The one command: what is proposed is what is written and applied.
//!
//! Layout, version 1: `u8` version, `u8` kind, then by kind
//! - 1 stream: a stream command in its own layout (`millstream-streams`)
//! - 2 catalog: JSON
//! - 3 position: `u16` length of the source's name, the name, the position's bytes
//! - 4 several: `u32` count, then per command `u32` length and the command
//!
//! Version 2 has one kind only, so that builds which would carry it out in part say that they cannot read it
//! - 5 whole: as several
//!
//! Integers are little endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_streams::{Command as StreamCommand, Publish};
use millstream_types::Timestamp;
use thiserror::Error;

use crate::catalog::CatalogCommand;

const VERSION: u8 = 1;
/// Of commands that are carried out whole or refused.
const WHOLE_VERSION: u8 = 2;
const STREAM: u8 = 1;
const CATALOG: u8 = 2;
const POSITION: u8 = 3;
const SEVERAL: u8 = 4;
const WHOLE: u8 = 5;

/// One change of the node's state.
#[derive(Clone, Debug)]
pub enum Command {
    /// A change of one stream, or of the set of streams.
    Stream(StreamCommand),
    /// A change of what users declare.
    Catalog(CatalogCommand),
    /// How far a source connector or a flow has read; committed together with the records it read or made.
    Position {
        /// The source connector's name, or the key of a flow's run ([`crate::flow_key`]).
        source: String,
        /// Its own encoding of where it stands.
        value: Bytes,
    },
    /// All of these, in order, in one log entry: after a crash either all of them are there or none.
    Several(Vec<Command>),
    /// All of these, in order, or none: when any record, deletion or position in it would be refused, nothing of it is
    /// applied. Holds publishes (at most one per stream), deletions of messages, positions and catalog changes.
    Whole(Vec<Command>),
}

/// Bytes in the log that are no command of this build.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Written by a newer build.
    #[error(
        "command version {0} is newer than this build reads (2); start the build that wrote it"
    )]
    Version(u8),
    /// A kind this version does not have.
    #[error("unknown command kind {0}")]
    Kind(u8),
    /// Ends too early or has a length that does not fit.
    #[error("command is cut short")]
    Short,
    /// The catalog's JSON does not parse.
    #[error("catalog command is damaged: {0}")]
    Catalog(#[from] serde_json::Error),
    /// The stream command inside does not parse.
    #[error("stream command is damaged: {0}")]
    Stream(#[from] millstream_streams::CommandError),
}

/// Bytes of a publish in front of its records.
pub const PUBLISH_HEAD: usize = 2 + Publish::HEAD;

/// What stands in front of the records of a publish: with them it is what [`Command::encode`] makes of it.
#[must_use]
pub fn publish_head(stream: u32, time: Timestamp, count: u32) -> [u8; PUBLISH_HEAD] {
    let mut head = [0; PUBLISH_HEAD];
    [head[0], head[1]] = [VERSION, STREAM];
    head[2..].copy_from_slice(&Publish::head(stream, time, count));
    head
}

impl Command {
    /// The bytes for the log: a head made here and a body that is shared, not copied, where the command carries records.
    #[must_use]
    pub fn encode(&self) -> (Bytes, Bytes) {
        let mut head = BytesMut::with_capacity(96);
        let whole = matches!(self, Self::Whole(_));
        head.put_u8(if whole { WHOLE_VERSION } else { VERSION });
        match self {
            Self::Stream(command) => {
                let (inner, body) = command.encode();
                head.put_u8(STREAM);
                head.put_slice(&inner);
                (head.freeze(), body)
            }
            Self::Catalog(command) => {
                head.put_u8(CATALOG);
                let json = serde_json::to_vec(command).expect("invariant: specs are plain data");
                (head.freeze(), Bytes::from(json))
            }
            Self::Position { source, value } => {
                head.put_u8(POSITION);
                head.put_u16_le(u16::try_from(source.len()).unwrap_or(u16::MAX));
                head.put_slice(source.as_bytes());
                (head.freeze(), value.clone())
            }
            Self::Several(commands) | Self::Whole(commands) => {
                head.put_u8(if whole { WHOLE } else { SEVERAL });
                head.put_u32_le(u32::try_from(commands.len()).unwrap_or(u32::MAX));
                for command in commands {
                    let (inner, body) = command.encode();
                    let length = inner.len() + body.len();
                    head.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
                    head.put_slice(&inner);
                    head.put_slice(&body);
                }
                (head.freeze(), Bytes::new())
            }
        }
    }

    /// Reads a command back; records inside are slices of `bytes`.
    ///
    /// # Errors
    /// When the bytes are damaged or newer than this build.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut rest = bytes.clone();
        if rest.remaining() < 2 {
            return Err(DecodeError::Short);
        }
        let version = rest.get_u8();
        if version == WHOLE_VERSION {
            return match rest.get_u8() {
                WHOLE => Ok(Self::Whole(Self::decode_list(rest)?)),
                kind => Err(DecodeError::Kind(kind)),
            };
        }
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        match rest.get_u8() {
            STREAM => Ok(Self::Stream(StreamCommand::decode(&rest)?)),
            CATALOG => Ok(Self::Catalog(serde_json::from_slice(&rest)?)),
            POSITION => {
                let length = if rest.remaining() < 2 {
                    0
                } else {
                    usize::from(rest.get_u16_le())
                };
                if rest.remaining() < length {
                    return Err(DecodeError::Short);
                }
                let source = String::from_utf8_lossy(&rest.split_to(length)).into_owned();
                Ok(Self::Position {
                    source,
                    value: rest,
                })
            }
            SEVERAL => Ok(Self::Several(Self::decode_list(rest)?)),
            kind => Err(DecodeError::Kind(kind)),
        }
    }

    fn decode_list(mut rest: Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut commands = Vec::new();
        if rest.remaining() < 4 {
            return Err(DecodeError::Short);
        }
        for _ in 0..rest.get_u32_le() {
            if rest.remaining() < 4 {
                return Err(DecodeError::Short);
            }
            let length = rest.get_u32_le() as usize;
            if rest.remaining() < length {
                return Err(DecodeError::Short);
            }
            commands.push(Self::decode(&rest.split_to(length))?);
        }
        Ok(commands)
    }
}

#[cfg(test)]
mod tests;
