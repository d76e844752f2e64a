//! Resident memory: of an idle server, and per idle connection with one subscription.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use millstream_load::Client;
use serde_json::json;

use crate::common::Common;
use crate::sink::{Sink, round};

/// Time for a server to put away what it needed to start or to let clients in.
const SETTLE: Duration = Duration::from_secs(1);
const MIB: f64 = 1_048_576.0;

/// `memory`. What a stream, a subject and an id take is in the rows of `cost`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Memory {
    /// Idle connections, each with one subscription.
    #[arg(long, default_value_t = 5000)]
    pub(crate) connections: usize,
}

#[expect(clippy::cast_precision_loss, reason = "a small count")]
pub(crate) fn run(common: &Common, options: &Memory, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    for side in stage.sides() {
        let server = stage.start(side, side.name())?;
        let target = server.target();
        thread::sleep(SETTLE);
        let idle = server.resident();
        let mut clients = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let mut client = Client::connect(&target)?;
            client.write(format!("SUB idle.{number} 1\r\n").as_bytes())?;
            client.round_trip()?;
            client.idle();
            clients.push(client);
        }
        thread::sleep(SETTLE);
        let full = server.resident();
        let each = (full - idle) / options.connections.max(1) as f64;
        sink.row(
            "memory",
            json!({ "server": side.name(), "idle MiB": round(idle / MIB), "connections": options.connections,
                "with them MiB": round(full / MIB), "bytes per connection": each.round() }),
        )?;
    }
    Ok(())
}
