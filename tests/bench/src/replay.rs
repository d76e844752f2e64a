//! Whether a full replay disturbs who publishes: the publish rate, and latencies at a fixed rate, while a reader goes through
//! another stream from its first message again and again, against the same alone.

use std::thread;

use anyhow::{Context, Result};
use millstream_load::{
    Acks, Client, Consumer, Plan, Publishers, Watch, create_stream, delete_stream, open_loop,
    publish_durable, push,
};
use serde_json::{Value, json};

use crate::cases::{STREAM, SUBJECT, WINDOW, fill};
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

const LIVE: &str = "LIVE";
const LIVE_SUBJECT: &str = "bench.live.a";

/// `replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Replay {
    /// Messages in the stream that is replayed.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) messages: u64,
    /// Payload size.
    #[arg(long, default_value_t = 128)]
    pub(crate) bytes: usize,
    /// Messages per second of the fixed-rate half.
    #[arg(long, default_value_t = 100_000.0)]
    pub(crate) rate: f64,
    /// The replay's own limit in bits per second (`rate_limit_bps`); none by default.
    #[arg(long)]
    pub(crate) replay_bps: Option<u64>,
}

/// What a round gave.
struct Round {
    rate: f64,
    p50: f64,
    p99: f64,
    replayed: f64,
}

pub(crate) fn run(common: &Common, options: &Replay, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    for side in stage.sides() {
        let server = stage.start(side, side.name())?;
        let target = server.target();
        create_stream(&mut Client::connect(&target)?, STREAM, &["bench.js.>"])?;
        fill(&target, SUBJECT, options.bytes, options.messages)?;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for round in 0..=common.rounds.max(1) {
            let quiet = one(&server, options, common, false)?;
            let busy = one(&server, options, common, true)?;
            // The first warms up.
            if round > 0 {
                alone.push(quiet);
                beside.push(busy);
            }
        }
        sink.row("replay", columns(side, options, &alone, &beside))?;
    }
    Ok(())
}

fn columns(side: Side, options: &Replay, alone: &[Round], beside: &[Round]) -> Value {
    let pairs = || alone.iter().zip(beside);
    let (rate, rate_spread) = ratio(pairs().map(|(a, b)| b.rate / a.rate).collect());
    let (p99, p99_spread) = ratio(pairs().map(|(a, b)| b.p99 / a.p99).collect());
    let middle =
        |of: fn(&Round) -> f64, rounds: &[Round]| spread(rounds.iter().map(of).collect()).0;
    json!({ "server": side.name(), "replay bps": options.replay_bps,
        "rate ratio": rate, "spread": rate_spread,
        "alone/s": middle(|round| round.rate, alone).round(), "beside/s": middle(|round| round.rate, beside).round(),
        "fixed rate": options.rate, "p50 alone us": round(middle(|round| round.p50, alone)),
        "p50 beside us": round(middle(|round| round.p50, beside)),
        "p99 alone us": round(middle(|round| round.p99, alone)),
        "p99 beside us": round(middle(|round| round.p99, beside)),
        "p99 ratio": p99, "p99 spread": p99_spread,
        "replayed/s": middle(|round| round.replayed, beside).round() })
}

/// Publishes at full speed, then at the fixed rate; beside a replay or alone.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn one(server: &Server, options: &Replay, common: &Common, beside: bool) -> Result<Round> {
    let target = server.target();
    let mut client = Client::connect(&target)?;
    create_stream(&mut client, LIVE, &["bench.live.>"])?;
    let replayed = Watch::default();
    let result = thread::scope(|scope| {
        let reader = beside.then(|| scope.spawn(|| read(server, options, &replayed)));
        let plan = Plan::lasting(options.bytes, common.time());
        let publishers = Publishers {
            count: 1,
            window: WINDOW,
        };
        let run = publish_durable(&target, LIVE_SUBJECT, &plan, publishers, &Watch::default());
        let pace = (options.rate, 1);
        let open = open_loop(&target, LIVE_SUBJECT, &plan, pace, &Watch::default());
        replayed.stop();
        if let Some(reader) = reader {
            reader.join().ok().context("the reader failed")??;
        }
        let (run, open) = (run?, open?);
        let seconds = run.elapsed.as_secs_f64() + open.run.elapsed.as_secs_f64();
        Ok(Round {
            rate: run.rate(),
            p50: open.run.latency.micros(0.5),
            p99: open.run.latency.micros(0.99),
            replayed: replayed.moved() as f64 / seconds,
        })
    });
    delete_stream(&mut client, LIVE)?;
    result
}

/// Replays until it is told to stop.
fn read(server: &Server, options: &Replay, watch: &Watch) -> Result<()> {
    let more = match options.replay_bps {
        Some(bits) => json!({ "rate_limit_bps": bits }),
        None => Value::Null,
    };
    let mut turn = 0_u64;
    while !watch.stopped() {
        turn += 1;
        let name = format!("replay{turn}");
        let consumer = Consumer {
            stream: STREAM,
            name: &name,
            acks: Acks::None,
        };
        let mut client = Client::connect(&server.target())?;
        push(&mut client, &consumer, &more, options.messages, watch)?;
    }
    Ok(())
}
