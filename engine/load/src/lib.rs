//! The load generator: connections and runs against any NATS server, for `millstream bench` and for the project's own
//! measurements.
//!
//! What lives here: a client on plain sockets that is cheaper than the servers it measures, the runs (publish, deliver,
//! request, consume; closed and open loop), latencies, and the disk's floor they are held against.
//! What may not come in: a server's insides, what is printed, which cases make a comparison.
//!
//! Runs block their thread and start threads of their own. Each ends by time, by count, or when its [`Watch`] is stopped.

mod client;
mod consume;
mod crowd;
mod error;
mod floor;
mod latency;
mod open;
mod plan;
mod publish;
mod request;
mod stream;
mod window;

#[cfg(test)]
mod tests;

pub use client::{Client, Login, Received, Target};
pub use consume::{Acks, Consumer, DeliveredRun, Puller, deliver, pull, push};
pub use error::{LoadError, Result};
pub use floor::{Floor, Place};
pub use latency::Latency;
pub use open::{OpenRun, Schedule, open_loop};
pub use plan::{Ending, Plan, Run, Watch};
pub use publish::{Publishers, publish_core, publish_durable, put_publish};
pub use request::requests;
pub use stream::{Stations, create_stream, delete_stream, stream_config};
pub use window::publish_window;
