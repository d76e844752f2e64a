//! The node's replicated state: the catalog (stations, flows, schemas, functions, connectors) and every stream, behind one
//! deterministic `apply`.
//!
//! What lives here: the command that is proposed and applied, the catalog, the registry of streams, checkpoints of all of it.
//! What may not come in: sockets, clocks, random numbers, configuration, compiled plans. `apply` sees the log and nothing else.

mod alarms;
mod catalog;
mod command;
mod flows;
mod functions;
mod node;
mod registry;
mod snapshot;
mod whole;

pub use catalog::{
    Catalog, CatalogChange, CatalogCommand, CatalogError, ConnectorEntry, StationEntry,
};
pub use command::{Command, DecodeError, PUBLISH_HEAD, publish_head};
pub use flows::{
    FlowBuild, FlowEntry, FlowRerun, build_key, flow_key, position_value, rerun_key, split_position,
};
pub use functions::{Deployment, FunctionEntry, FunctionEvent, FunctionVersion, Switch, Trial};
pub use millstream_spec::{FlowStart, Kind};
pub use node::{Hooks, Node, Outcome, StreamChange, UnfitPart};
pub use registry::StreamCell;
