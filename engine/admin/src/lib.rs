//! The management door: HTTP routes, the OpenAPI document, and the same operations as NATS subjects.
//!
//! What lives here: how a request becomes an [`Operation`] and an answer becomes HTTP or NATS, in one place for both.
//! What may not come in: what the operations do. The server implements [`Management`]; this room sees only that trait.

mod failure;
mod guard;
mod http;
mod nats;
mod openapi;
mod operation;
mod schema_registry;

pub use failure::{Failure, FailureCode};
pub use http::{Admin, Options, StartError};
pub use nats::{NATS_PREFIX, is_management, operation_of};
pub use operation::{
    ApplyRequest, BoxFuture, CheckRequest, DiffRequest, DryRunRequest, FileText, FlowRequest,
    HistoryRange, InferRequest, Management, MessagesRequest, MonitorQuery, Operation, PARQUET,
    PreviewRequest, PublishRequest, QueryRequest, Reply, SchemaText, SwitchRequest, TrialRequest,
};
pub use schema_registry::{SCHEMA_PREFIX, error_body, reply_body, schema_request};
