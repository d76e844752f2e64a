//! Streams and consumers as pure state machines: sequences, limits, retention, duplicates, acknowledgements, deliveries,
//! and the JetStream types that describe them.
//!
//! What lives here: the commands that change a stream and their layout, records and theirs, the index from sequence to
//! place in the log, what a consumer does next, the JSON of configurations and infos, the error table.
//! What may not come in: tokio, sockets, files, clocks, random numbers. Time is an argument; payloads stay in the log.

mod ack;
mod checkpoint;
mod chunk;
mod codec;
mod command;
mod config;
mod consumer;
mod consumer_config;
mod content;
mod dedup;
mod deliver;
mod due;
mod errors;
mod filters;
mod flow;
mod info;
mod interest;
mod json;
mod links;
mod log;
mod log_query;
mod members;
mod pages;
mod publish;
mod pull;
mod ranges;
mod records;
mod relocate;
mod retain;
mod schedule;
mod settle;
mod stream;
mod subjects;
mod timers;
mod trial;
mod ttl;

pub use ack::{
    AckNumbers, AckPayload, AckSubject, parse_ack_numbers, parse_ack_payload, parse_ack_subject,
};
pub use checkpoint::{SnapshotPage, StreamSnapshot};
pub use codec::CheckpointError;
pub use command::{Ack, AckKind, Acks, Command, CommandError, Due, Fire, Publish, Purge};
pub use config::{
    ConsumerLimits, DiscardPolicy, PersistMode, RetentionPolicy, StorageType, StreamConfig,
    Unsupported,
};
pub use consumer::Consumer;
pub use consumer_config::{AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy};
pub use content::{DEDUP, DEDUP_HEADERS, RESENT};
pub use deliver::{Action, Deliver};
pub use due::{DueSchedule, Pending};
pub use errors::ApiError;
pub use filters::Filters;
pub use info::{
    ClusterInfo, ConsumerInfo, PubAck, SequenceInfo, StoredMessage, StreamInfo, StreamState,
};
pub use log::Place;
pub use members::ConsumerAction;
pub use pages::{PageCache, Pages};
pub use publish::RecordOutcome;
pub use pull::PullRequest;
pub use records::{
    RecordError, RecordView, RecordsBuilder, parse as parse_record, record_at, records,
};
pub use relocate::Leaving;
pub use schedule::{Firing, Scheduled, fire, schedule_source};
pub use stream::{MEMORY_FILE, Stream};
pub use trial::{Misfit, Unfit};
