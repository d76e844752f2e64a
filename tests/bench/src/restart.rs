//! From exec to the first acknowledged publish, with a store of some size, after a clean stop and after kill -9.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millstream_load::{Client, LoadError, create_stream};
use serde_json::json;

use crate::cases::{STREAM, SUBJECT, fill};
use crate::common::{Common, Stage};
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio};

/// How long a server may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(300);
/// Messages published before each end, so that there is something to recover.
const RECENT: u64 = 10_000;

/// `restart`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Restart {
    /// Payload bytes stored.
    #[arg(long, default_value = "100000000,1000000000", value_delimiter = ',')]
    pub(crate) total: Vec<u64>,
    /// Payload size.
    #[arg(long, default_value_t = 128)]
    pub(crate) bytes: usize,
}

pub(crate) fn run(common: &Common, options: &Restart, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    for total in &options.total {
        for side in stage.sides() {
            one(&stage, side, common, (*total, options.bytes), sink)?;
            stage.clear(side.name());
        }
    }
    Ok(())
}

fn one(
    stage: &Stage,
    side: Side,
    common: &Common,
    (total, bytes): (u64, usize),
    sink: &mut Sink,
) -> Result<()> {
    let mut server = stage.start(side, side.name())?;
    let target = server.target();
    create_stream(&mut Client::connect(&target)?, STREAM, &["bench.js.>"])?;
    fill(&target, SUBJECT, bytes, total / bytes.max(1) as u64)?;
    for (end, kill) in [("clean stop", false), ("kill -9", true)] {
        let mut seconds = Vec::new();
        for _ in 0..common.rounds.max(1) {
            fill(&server.target(), SUBJECT, bytes, RECENT)?;
            if kill {
                server.kill()?;
            } else {
                server.terminate()?;
            }
            server = stage.start(side, side.name())?;
            seconds.push(first_ack(&server)?.as_secs_f64());
        }
        let (median, spread) = ratio(seconds);
        sink.row(
            "restart",
            json!({ "server": side.name(), "stored bytes": total, "bytes": bytes, "after": end,
                "seconds to first ack": median, "spread": spread }),
        )?;
    }
    Ok(())
}

/// Publishes until one is acknowledged; how long after exec that was.
fn first_ack(server: &Server) -> Result<Duration> {
    let since = Instant::now();
    loop {
        match fill_one(server) {
            Ok(()) => return Ok(server.since.elapsed()),
            // Listening, but not serving yet.
            Err(error) if since.elapsed() > PATIENCE => bail!("no acknowledgement: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn fill_one(server: &Server) -> Result<(), LoadError> {
    let plan = millstream_load::Plan::counting(128, 1);
    let publishers = millstream_load::Publishers {
        count: 1,
        window: 1,
    };
    let watch = millstream_load::Watch::default();
    millstream_load::publish_durable(&server.target(), SUBJECT, &plan, publishers, &watch)?;
    Ok(())
}
