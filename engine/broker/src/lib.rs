//! Connections and core publish/subscribe: the only room that touches clients' sockets.
//!
//! What lives here: the listener, one reader and one writer per connection, who gets a published message, slow consumers,
//! the endpoints by which the rest of the process publishes and listens.
//! What may not come in: streams, storage, what messages mean. They attach as [`Handler`]s.

mod broker;
mod buffer;
mod client;
mod conn;
mod handler;
mod options;
mod pace;
mod publisher;
mod queue;
mod read;
mod sender;
mod stats;
mod trace;
mod writer;

pub use broker::{AttachError, Attachment, Broker, StartError};
pub use handler::{Collector, Handler, Origin, Published};
pub use options::Options;
pub use publisher::{Publisher, Sent};
pub use stats::{ConnectionInfo, Stats, SubscriptionInfo};
