//! Bytes written to disk per payload byte, as the kernel counts them for the server's process.

use std::process::Command;

use anyhow::Result;
use millstream_load::{Client, Plan, Publishers, Watch, create_stream, publish_durable};
use serde_json::json;

use crate::cases::{STREAM, SUBJECT, WINDOW};
use crate::common::Common;
use crate::sink::{Sink, round};

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn run(common: &Common, sizes: &[usize], total: u64, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    for bytes in sizes {
        for side in stage.sides() {
            let server = stage.start(side, side.name())?;
            let target = server.target();
            create_stream(&mut Client::connect(&target)?, STREAM, &["bench.js.>"])?;
            let plan = Plan::counting(*bytes, total / (*bytes).max(1) as u64);
            let publishers = Publishers {
                count: 1,
                window: WINDOW,
            };
            sync()?;
            let before = server.written();
            let run = publish_durable(&target, SUBJECT, &plan, publishers, &Watch::default())?;
            sync()?;
            let written = server.written() - before;
            let payload = run.messages as f64 * *bytes as f64;
            sink.row(
                "write-amp",
                json!({ "server": side.name(), "bytes": bytes, "payload bytes": payload,
                    "written bytes": written, "written/payload": round(written / payload),
                    "messages/s": run.rate().round() }),
            )?;
            drop(server);
            stage.clear(side.name());
        }
    }
    Ok(())
}

/// Everything dirty goes to the disk, so that what a server left to the kernel is counted, too.
fn sync() -> Result<()> {
    Command::new("sync").status()?;
    Ok(())
}
