//! Alternating rounds of one case on both servers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_load::Run;
use serde_json::json;

use crate::cases::{self, Case};
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

pub(crate) fn run(
    common: &Common,
    wanted: &[String],
    messages: u64,
    sink: &mut Sink,
) -> Result<()> {
    let fits = |name: &str| {
        wanted
            .iter()
            .any(|want| want == "all" || name.starts_with(want.as_str()))
    };
    let chosen: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| fits(&case.name()))
        .collect();
    if chosen.is_empty() {
        bail!(
            "there is no case `{}`; `millstream-bench cases` lists them",
            wanted.join(",")
        );
    }
    if common.peer.is_none() {
        bail!("name a nats-server binary with --peer");
    }
    for case in chosen {
        compare(&case, common, messages, sink)
            .with_context(|| format!("case `{}`", case.name()))?;
    }
    Ok(())
}

/// The rounds of one server.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, (run, cpu): (Run, f64)) {
        self.rates.push(run.rate());
        self.cpu.push(cpu);
        if run.latency.count() > 0 {
            self.p50.push(run.latency.micros(0.5));
            self.p99.push(run.latency.micros(0.99));
        }
    }
}

fn compare(case: &Case, common: &Common, messages: u64, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    let us = stage.start(Side::Ours, "ours")?;
    let them = stage.start(Side::Peer, "peer")?;
    let time = common.time();
    // A short run of each first, so that neither pays for its first page faults in a round that counts.
    let warm = time.min(Duration::from_millis(200));
    for server in [&us, &them] {
        case.prepare(&server.target(), messages)?;
        case.run(&server.target(), warm, messages)?;
    }
    let (mut ours, mut peer) = (Rounds::default(), Rounds::default());
    for _ in 0..common.rounds.max(1) {
        ours.add(timed(case, &us, time, messages).context("Millstream")?);
        peer.add(timed(case, &them, time, messages).context("the peer")?);
    }
    let ratios = ours.rates.iter().zip(&peer.rates);
    let (median, spread_text) = ratio(ratios.map(|(ours, peer)| ours / peer).collect());
    let name = case.name();
    sink.row(
        "compare",
        json!({ "case": name, "ratio": median, "spread": spread_text,
            "ours/s": spread(ours.rates).0.round(), "peer/s": spread(peer.rates).0.round(),
            "ours p50 us": middle(ours.p50), "ours p99 us": middle(ours.p99),
            "peer p50 us": middle(peer.p50), "peer p99 us": middle(peer.p99),
            "ours CPU us": round(spread(ours.cpu).0), "peer CPU us": round(spread(peer.cpu).0) }),
    )
}

/// The median; nothing where nothing was measured.
fn middle(figures: Vec<f64>) -> serde_json::Value {
    if figures.is_empty() {
        serde_json::Value::Null
    } else {
        round(spread(figures).0)
    }
}

/// A run with the server's CPU microseconds per message.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn timed(case: &Case, server: &Server, time: Duration, messages: u64) -> Result<(Run, f64)> {
    let before = server.cpu();
    let run = case.run(&server.target(), time, messages)?;
    let cpu = (server.cpu() - before) * 1e6 / run.messages.max(1) as f64;
    Ok((run, cpu))
}
