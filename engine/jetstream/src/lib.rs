//! Streams meet clients: publishes become commands, consumers' deliveries become messages, requests become replies.
//!
//! What lives here: the door every stored message enters by (network, connectors, management), the pipeline's place in it,
//! the JetStream API, delivery to pull and push consumers, flows from stream to stream.
//! What may not come in: sockets (that is the broker), the rules of streams and consumers (those are pure, in `streams`),
//! wasmtime, DataFusion.

mod ack_queue;
mod acks;
mod api;
mod batch;
mod due;
mod feed;
mod flow;
mod gather;
mod give_way;
mod group;
mod ingest;
mod ingress;
mod internal;
mod plans;
mod pump;
mod read;
mod replies;
mod service;
mod traces;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use feed::{Feed, FeedError};
pub use flow::{
    Build, Flow, FlowEffects, FlowSetup, FlowState, FlowStatus, FlowTotals, OwnRows, Preview,
    PreviewSetup, PreviewTurn, Query, QuerySetup, QueryStatus, Resent, Shown, SourceStatus,
    state_layout, state_stream, state_subjects,
};
pub use ingest::{Ingest, IngestError, IngestRecord, RecordEnd};
pub use ingress::Pressure;
pub use internal::{is_internal, shown_streams};
pub use plans::{PlanSource, Plans};
pub use read::{Reader, StoredRecord};
pub use service::{JetStream, Options, StartError};
