//! Commands: every change of a stream or consumer, as it is proposed, written to the log and applied.
//!
//! Layout, version 1, little endian: `u8` version, `u8` kind, `u32` stream number, `i64` time in nanoseconds since 1970,
//! then by kind
//!
//! | kind | what | rest |
//! |---|---|---|
//! | 1 | publish | `u32` count, records (see `records`) |
//! | 2 | acknowledgements | `u16` length of the consumer's name, name, `u32` count, per entry `u8` kind and `u64` sequence |
//! | 3, 4 | create, update stream | configuration as JSON |
//! | 5 | delete stream | nothing |
//! | 6 | purge | `u64` sequence, `u64` keep, `u8` 1 when there is a filter, filter |
//! | 7 | delete message | `u64` sequence, `u8` 1 when its bytes are to be erased; absent is 0 |
//! | 8, 9 | create, update consumer | `u16` length of the name, name, configuration as JSON |
//! | 10 | delete consumer | name |
//! | 11 | due, without what it may bring along | nothing |
//! | 12 | due | `u32` count of schedules fired, per schedule `u64` sequence, `i64` next time or 0 and `u8` 1 when a record is for it, `u32` count of records, records |
//!
//! Kind 11 is what former builds wrote, and read only.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_types::{Domain, Timestamp};
use thiserror::Error;

use crate::config::StreamConfig;
use crate::consumer_config::ConsumerConfig;

const VERSION: u8 = 1;

/// Messages for one stream, stored together.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// The stream's number.
    pub stream: u32,
    /// The proposer's clock: the time all of them get.
    pub time: Timestamp,
    /// How many records there are.
    pub count: u32,
    /// The records, one after the other.
    pub records: Bytes,
}

impl Publish {
    /// Bytes of the command in front of the records.
    pub const HEAD: usize = 18;

    /// What stands in front of the records.
    #[must_use]
    pub fn head(stream: u32, time: Timestamp, count: u32) -> [u8; Self::HEAD] {
        let mut head = [0; Self::HEAD];
        let mut out = &mut head[..];
        put_start(&mut out, 1, stream, time);
        out.put_u32_le(count);
        head
    }
}

/// What became of a delivered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// Done.
    Ack,
    /// Never to be delivered again.
    Term,
    /// Delivered as often as allowed: counts as done, and stays in the stream.
    GiveUp,
}

/// One acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which message.
    pub stream_seq: u64,
    /// What became of it.
    pub kind: AckKind,
}

/// Acknowledgements of one consumer. For policies `all` and `none` an entry covers everything before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Acks {
    /// The stream's number.
    pub stream: u32,
    /// The consumer's name.
    pub consumer: String,
    /// The proposer's clock.
    pub time: Timestamp,
    /// In the order they came.
    pub acks: Vec<Ack>,
}

/// What to remove from a stream: everything, unless narrowed. `sequence` and `keep` exclude each other; 0 is unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// The stream's number.
    pub stream: u32,
    /// The proposer's clock.
    pub time: Timestamp,
    /// Only messages whose subject matches.
    pub filter: Option<String>,
    /// Only messages below this sequence.
    pub sequence: u64,
    /// All but this many of the last ones.
    pub keep: u64,
}

/// A schedule that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The sequence of its message.
    pub seq: u64,
    /// When it is due next; with `None` it goes.
    pub next: Option<Timestamp>,
    /// Whether it makes a message now.
    pub makes: bool,
}

/// Deals with what is due in a stream: messages at the end of their time, schedules.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The stream's number.
    pub stream: u32,
    /// The proposer's clock.
    pub now: Timestamp,
    /// Schedules that were due.
    pub fires: Vec<Fire>,
    /// How many records there are.
    pub count: u32,
    /// What the schedules make, in their order, and then markers for subjects that may lose their last message.
    pub records: Bytes,
}

impl Due {
    /// Of ages alone, as former builds had it.
    fn of_ages(stream: u32, now: Timestamp) -> Self {
        Self {
            stream,
            now,
            fires: Vec::new(),
            count: 0,
            records: Bytes::new(),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Stores messages.
    Publish(Publish),
    /// Moves a consumer on.
    Acks(Acks),
    /// Makes a stream; `config` has passed `StreamConfig::checked`.
    CreateStream {
        /// The number it gets.
        id: u32,
        /// The proposer's clock.
        time: Timestamp,
        /// Its configuration.
        config: Box<StreamConfig>,
    },
    /// Changes a stream; `config` has passed `StreamConfig::checked_update`.
    UpdateStream {
        /// The stream's number.
        id: u32,
        /// The proposer's clock.
        time: Timestamp,
        /// Its new configuration.
        config: Box<StreamConfig>,
    },
    /// Removes a stream with all it holds.
    DeleteStream {
        /// The stream's number.
        id: u32,
    },
    /// Removes messages.
    Purge(Purge),
    /// Removes one message.
    DeleteMessage {
        /// The stream's number.
        stream: u32,
        /// Which one.
        seq: u64,
        /// Whether its bytes are to be made unreadable on disk.
        erase: bool,
    },
    /// Makes a consumer; `config` has passed `Stream::check_consumer`.
    CreateConsumer {
        /// The stream's number.
        stream: u32,
        /// The consumer's name.
        name: String,
        /// The proposer's clock.
        time: Timestamp,
        /// Its configuration.
        config: Box<ConsumerConfig>,
    },
    /// Changes a consumer; `config` has passed `Stream::check_consumer`.
    UpdateConsumer {
        /// The stream's number.
        stream: u32,
        /// The consumer's name.
        name: String,
        /// The proposer's clock.
        time: Timestamp,
        /// Its new configuration.
        config: Box<ConsumerConfig>,
    },
    /// Removes a consumer.
    DeleteConsumer {
        /// The stream's number.
        stream: u32,
        /// The consumer's name.
        name: String,
    },
    /// Removes what reached the end of its time, and stores what was to be stored by now.
    Due(Due),
}

/// Why bytes in the log are no command of this build.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Written by a newer build.
    #[error(
        "stream command version {0} is newer than this build reads (1); start the build that wrote it"
    )]
    Version(u8),
    /// A kind this version does not have.
    #[error("unknown stream command kind {0}")]
    Kind(u8),
    /// Ends too early or has a length that does not fit.
    #[error("stream command is cut short")]
    Short,
    /// Bytes that should be text are not.
    #[error("stream command has a name that is not UTF-8")]
    Text,
    /// A configuration that does not parse.
    #[error("stream command has a damaged configuration: {0}")]
    Config(#[from] serde_json::Error),
}

impl CommandError {
    /// Stored data is not what was written, or it is newer than this build.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Corruption
    }
}

impl Command {
    /// The bytes for the log: a head made here, and a body that is shared, not copied, where there are records.
    #[must_use]
    pub fn encode(&self) -> (Bytes, Bytes) {
        let mut head = BytesMut::with_capacity(64);
        match self {
            Self::Publish(publish) => {
                let Publish {
                    stream,
                    time,
                    count,
                    records,
                } = publish;
                head.put_slice(&Publish::head(*stream, *time, *count));
                return (head.freeze(), records.clone());
            }
            Self::Acks(acks) => put_acks(&mut head, acks),
            Self::CreateStream { id, time, config } => {
                put_start(&mut head, 3, *id, *time);
                put_json(&mut head, config);
            }
            Self::UpdateStream { id, time, config } => {
                put_start(&mut head, 4, *id, *time);
                put_json(&mut head, config);
            }
            Self::DeleteStream { id } => put_start(&mut head, 5, *id, Timestamp(0)),
            Self::Purge(purge) => {
                put_start(&mut head, 6, purge.stream, purge.time);
                head.put_u64_le(purge.sequence);
                head.put_u64_le(purge.keep);
                head.put_u8(u8::from(purge.filter.is_some()));
                head.put_slice(purge.filter.as_deref().unwrap_or_default().as_bytes());
            }
            Self::DeleteMessage { stream, seq, erase } => {
                put_start(&mut head, 7, *stream, Timestamp(0));
                head.put_u64_le(*seq);
                head.put_u8(u8::from(*erase));
            }
            Self::CreateConsumer {
                stream,
                name,
                time,
                config,
            } => {
                put_start(&mut head, 8, *stream, *time);
                put_name(&mut head, name);
                put_json(&mut head, config);
            }
            Self::UpdateConsumer {
                stream,
                name,
                time,
                config,
            } => {
                put_start(&mut head, 9, *stream, *time);
                put_name(&mut head, name);
                put_json(&mut head, config);
            }
            Self::DeleteConsumer { stream, name } => {
                put_start(&mut head, 10, *stream, Timestamp(0));
                head.put_slice(name.as_bytes());
            }
            Self::Due(due) => {
                put_due(&mut head, due);
                return (head.freeze(), due.records.clone());
            }
        }
        (head.freeze(), Bytes::new())
    }

    /// Reads a command back; records inside are a slice of `bytes`, and always its tail.
    ///
    /// # Errors
    /// When the bytes are damaged or newer than this build.
    pub fn decode(bytes: &Bytes) -> Result<Self, CommandError> {
        let mut rest = bytes.clone();
        need(&rest, 14)?;
        let version = rest.get_u8();
        if version != VERSION {
            return Err(CommandError::Version(version));
        }
        let kind = rest.get_u8();
        let stream = rest.get_u32_le();
        let time = Timestamp(rest.get_i64_le());
        Ok(match kind {
            1 => {
                need(&rest, 4)?;
                let count = rest.get_u32_le();
                Self::Publish(Publish {
                    stream,
                    time,
                    count,
                    records: rest,
                })
            }
            2 => Self::Acks(get_acks(rest, stream, time)?),
            3 => Self::CreateStream {
                id: stream,
                time,
                config: serde_json::from_slice(&rest)?,
            },
            4 => Self::UpdateStream {
                id: stream,
                time,
                config: serde_json::from_slice(&rest)?,
            },
            5 => Self::DeleteStream { id: stream },
            6 => Self::Purge(get_purge(rest, stream, time)?),
            7 => {
                need(&rest, 8)?;
                Self::DeleteMessage {
                    stream,
                    seq: rest.get_u64_le(),
                    erase: rest.first().is_some_and(|erase| *erase != 0),
                }
            }
            8 => {
                let name = get_name(&mut rest)?;
                Self::CreateConsumer {
                    stream,
                    name,
                    time,
                    config: serde_json::from_slice(&rest)?,
                }
            }
            9 => {
                let name = get_name(&mut rest)?;
                Self::UpdateConsumer {
                    stream,
                    name,
                    time,
                    config: serde_json::from_slice(&rest)?,
                }
            }
            10 => Self::DeleteConsumer {
                stream,
                name: text(&rest)?,
            },
            11 => Self::Due(Due::of_ages(stream, time)),
            12 => Self::Due(get_due(rest, stream, time)?),
            other => return Err(CommandError::Kind(other)),
        })
    }

    /// The number of the stream it is for.
    #[must_use]
    pub fn stream(&self) -> u32 {
        match self {
            Self::Publish(publish) => publish.stream,
            Self::Acks(acks) => acks.stream,
            Self::Purge(purge) => purge.stream,
            Self::CreateStream { id, .. }
            | Self::UpdateStream { id, .. }
            | Self::DeleteStream { id } => *id,
            Self::DeleteMessage { stream, .. }
            | Self::CreateConsumer { stream, .. }
            | Self::UpdateConsumer { stream, .. }
            | Self::DeleteConsumer { stream, .. } => *stream,
            Self::Due(due) => due.stream,
        }
    }
}

fn put_start(head: &mut impl BufMut, kind: u8, stream: u32, time: Timestamp) {
    head.put_u8(VERSION);
    head.put_u8(kind);
    head.put_u32_le(stream);
    head.put_i64_le(time.0);
}

fn put_name(head: &mut BytesMut, name: &str) {
    head.put_u16_le(u16::try_from(name.len()).expect("invariant: names have at most 255 bytes"));
    head.put_slice(name.as_bytes());
}

fn put_json<T: serde::Serialize>(head: &mut BytesMut, config: &T) {
    let json = serde_json::to_vec(config).expect("invariant: configurations are plain data");
    head.put_slice(&json);
}

fn put_acks(head: &mut BytesMut, acks: &Acks) {
    head.reserve(32 + acks.consumer.len() + acks.acks.len() * 9);
    put_start(head, 2, acks.stream, acks.time);
    put_name(head, &acks.consumer);
    head.put_u32_le(
        u32::try_from(acks.acks.len()).expect("invariant: a batch of acks fits a frame"),
    );
    for ack in &acks.acks {
        head.put_u8(match ack.kind {
            AckKind::Ack => 1,
            AckKind::Term => 2,
            AckKind::GiveUp => 3,
        });
        head.put_u64_le(ack.stream_seq);
    }
}

fn get_acks(mut rest: Bytes, stream: u32, time: Timestamp) -> Result<Acks, CommandError> {
    let consumer = get_name(&mut rest)?;
    need(&rest, 4)?;
    let count = rest.get_u32_le() as usize;
    need(&rest, count.saturating_mul(9))?;
    let mut acks = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = match rest.get_u8() {
            1 => AckKind::Ack,
            2 => AckKind::Term,
            3 => AckKind::GiveUp,
            other => return Err(CommandError::Kind(other)),
        };
        acks.push(Ack {
            stream_seq: rest.get_u64_le(),
            kind,
        });
    }
    Ok(Acks {
        stream,
        consumer,
        time,
        acks,
    })
}

fn put_due(head: &mut BytesMut, due: &Due) {
    head.reserve(32 + due.fires.len() * 17);
    put_start(head, 12, due.stream, due.now);
    let count = u32::try_from(due.fires.len()).expect("invariant: a helping of schedules");
    head.put_u32_le(count);
    for fire in &due.fires {
        head.put_u64_le(fire.seq);
        head.put_i64_le(fire.next.map_or(0, |next| next.0));
        head.put_u8(u8::from(fire.makes));
    }
    head.put_u32_le(due.count);
}

fn get_due(mut rest: Bytes, stream: u32, now: Timestamp) -> Result<Due, CommandError> {
    need(&rest, 4)?;
    let count = rest.get_u32_le() as usize;
    need(&rest, count.saturating_mul(17).saturating_add(4))?;
    let mut fires = Vec::with_capacity(count);
    for _ in 0..count {
        fires.push(Fire {
            seq: rest.get_u64_le(),
            next: Some(Timestamp(rest.get_i64_le())).filter(|next| next.0 != 0),
            makes: rest.get_u8() != 0,
        });
    }
    Ok(Due {
        stream,
        now,
        fires,
        count: rest.get_u32_le(),
        records: rest,
    })
}

fn get_purge(mut rest: Bytes, stream: u32, time: Timestamp) -> Result<Purge, CommandError> {
    need(&rest, 17)?;
    let sequence = rest.get_u64_le();
    let keep = rest.get_u64_le();
    let filter = match rest.get_u8() {
        0 => None,
        _ => Some(text(&rest)?),
    };
    Ok(Purge {
        stream,
        time,
        filter,
        sequence,
        keep,
    })
}

fn get_name(rest: &mut Bytes) -> Result<String, CommandError> {
    need(rest, 2)?;
    let length = usize::from(rest.get_u16_le());
    need(rest, length)?;
    text(&rest.split_to(length))
}

fn text(bytes: &[u8]) -> Result<String, CommandError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| CommandError::Text)
}

fn need(rest: &Bytes, bytes: usize) -> Result<(), CommandError> {
    if rest.remaining() < bytes {
        Err(CommandError::Short)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
