//! What a connector is: the contract between an outside system and the broker.
//!
//! What lives here: the traits [`Source`], [`Sink`] and [`Connector`], the broker's side of them ([`SourceContext`],
//! [`SinkFeed`]), the records that pass between them, error classes, option descriptors with their validation, and the
//! subject template that sources share. Feature `testing` adds an in-memory broker side and the compliance suite.
//! What may not come in: any outside system, any client library, supervision and retry (that is `connectors/runtime`).
//!
//! The two laws. A source's position moves only with the commit of the records it stands for, in one command. A sink's
//! cursor moves only after the destination accepted the records.
//!
//! ```text
//! source:  read ──► commit(records, position) ──► log commits both ──► answer ──► source may forget
//! sink:    log ──► next() ──► write(batch) ──► destination accepted ──► accepted(seqs) ──► cursor moves
//! ```

mod connector;
mod error;
mod options;
mod record;
mod record_json;
mod settings;
mod sink;
mod source;
mod template;
#[cfg(feature = "testing")]
pub mod testing;

use std::future::Future;
use std::pin::Pin;

pub use connector::{Config, Connector, Environment, Kind};
pub use error::{BuildError, ConnectorError, SinkError};
pub use options::{OptionDescriptor, OptionType, Problem, REDACTED, check_options, redact};
pub use record::{Fault, RecordResult, SinkRecord, SourceRecord};
pub use settings::Settings;
pub use sink::{SINK_OPTIONS, Sink, SinkFeed};
pub use source::{Progress, Source, SourceContext};
pub use template::{SubjectTemplate, TemplateError};

/// A boxed future that may move between threads: what the object-safe async methods here return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
