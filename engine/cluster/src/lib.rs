//! The node's replicated state: the catalog (stations, schemas, functions, connectors) and every stream, behind one
//! deterministic `apply`.
//!
//! What lives here: the command that is proposed and applied, the catalog, the registry of streams, checkpoints of all of it.
//! What may not come in: sockets, clocks, random numbers, configuration, compiled plans. `apply` sees the log and nothing else.

mod alarms;
mod catalog;
mod command;
mod functions;
mod node;
mod registry;
mod snapshot;

pub use catalog::{
    Catalog, CatalogChange, CatalogCommand, CatalogError, ConnectorEntry, StationEntry,
};
pub use command::{Command, DecodeError};
pub use functions::{Deployment, FunctionEntry, FunctionEvent, FunctionVersion, Switch, Trial};
pub use millstream_spec::Kind;
pub use node::{Hooks, Node, Outcome, StreamChange};
pub use registry::StreamCell;
