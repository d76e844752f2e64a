//! Latencies of durable publishes, held against the disk's own: at a fixed rate with consumers attached, and one at a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use millstream_load::{
    Acks, Client, Consumer, Floor, Latency, OpenRun, Place, Plan, Publishers, Target, Watch,
    create_stream, delete_stream, open_loop, publish_durable, pull, push,
};
use serde_json::{Value, json};

use crate::cases::{STREAM, SUBJECT};
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

/// How long the disk alone is measured, each time.
const FLOOR: Duration = Duration::from_millis(300);
/// What a message is more than its payload, on the disk: the floor writes that, too.
const FRAME: usize = 128;
/// How long readers may need to catch up behind a run.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Whether the pull reader acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullAcks {
    /// No pull reader, no push reader: publishes alone.
    NoReaders,
    /// A pull reader without acknowledgements.
    None,
    /// A pull reader that acknowledges each message.
    Explicit,
}

/// `open-loop`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OpenLoop {
    /// Messages per second.
    #[arg(long, default_value_t = 100_000.0)]
    pub(crate) rate: f64,
    /// Payload size.
    #[arg(long, default_value_t = 128)]
    pub(crate) bytes: usize,
    /// Connections that share the rate.
    #[arg(long, default_value_t = 1)]
    pub(crate) publishers: usize,
    /// The readers: a push consumer, and a pull consumer that acknowledges so.
    #[arg(long, value_enum, default_value = "explicit")]
    pub(crate) readers: PullAcks,
}

pub(crate) fn open(common: &Common, options: &OpenLoop, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    let servers: Vec<(Side, Server)> = stage
        .sides()
        .into_iter()
        .map(|side| Ok((side, stage.start(side, side.name())?)))
        .collect::<Result<_>>()?;
    let mut sums = Vec::new();
    for (_, server) in &servers {
        sums.push(OpenSum::new(Floor::new(&server.store, Place::InPlace)?));
    }
    for ((side, server), sum) in servers.iter().zip(&mut sums) {
        // Page faults and caches of the first second are not what is asked for.
        let warm = Plan::lasting(options.bytes, Duration::from_millis(300));
        sum.failed = open_once(server, options, &warm)
            .err()
            .map(|error| error.context(side.name()));
        sum.floor_before = sum.floor(options)?;
    }
    for _ in 0..common.rounds.max(1) {
        for ((_, server), sum) in servers.iter().zip(&mut sums) {
            if sum.failed.is_some() {
                continue;
            }
            let plan = Plan::lasting(options.bytes, common.time());
            match open_once(server, options, &plan) {
                Ok((open, behind)) => {
                    let after = sum.floor(options)?;
                    sum.add(&open, behind, after);
                }
                // One that cannot sustain the rate must not take the other's figures with it.
                Err(error) => sum.failed = Some(error),
            }
        }
    }
    for ((side, _), sum) in servers.iter().zip(&sums) {
        if !sum.rates.is_empty() {
            sink.row("open-loop", sum.columns(*side, options))?;
        }
    }
    for ((side, _), sum) in servers.iter().zip(sums) {
        if let Some(error) = sum.failed {
            return Err(error.context(format!("{} broke off", side.name())));
        }
    }
    Ok(())
}

/// The rounds of one server.
struct OpenSum {
    /// One file for all rounds: to remove one lets the disk do something else in the round that follows.
    floor: Floor,
    floor_before: Latency,
    floors: Latency,
    latency: Latency,
    late: Latency,
    rates: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    behind: Vec<f64>,
    failed: Option<anyhow::Error>,
}

impl OpenSum {
    fn new(floor: Floor) -> Self {
        Self {
            floor,
            floor_before: Latency::default(),
            floors: Latency::default(),
            latency: Latency::default(),
            late: Latency::default(),
            rates: Vec::new(),
            p99: Vec::new(),
            p999: Vec::new(),
            behind: Vec::new(),
            failed: None,
        }
    }

    /// What the disk alone takes now.
    fn floor(&mut self, options: &OpenLoop) -> Result<Latency> {
        Ok(self.floor.measure(options.bytes + FRAME, FLOOR)?)
    }

    /// A round with the disk's figures before (the last round's after) and after it.
    fn add(&mut self, open: &OpenRun, behind: f64, after: Latency) {
        let mut around = std::mem::replace(&mut self.floor_before, after);
        around.merge(&self.floor_before);
        let sync = around.micros(0.5);
        self.floors.merge(&around);
        self.latency.merge(&open.run.latency);
        self.late.merge(&open.late);
        self.rates.push(open.run.rate());
        self.p99.push(open.run.latency.micros(0.99) / sync);
        self.p999.push(open.run.latency.micros(0.999) / sync);
        self.behind.push(behind);
    }

    fn columns(&self, side: Side, options: &OpenLoop) -> Value {
        let (p99, p99_spread) = ratio(self.p99.clone());
        let (p999, p999_spread) = ratio(self.p999.clone());
        let readers = options.readers.to_possible_value();
        json!({ "server": side.name(), "rate": options.rate, "bytes": options.bytes,
            "readers": readers.map(|value| value.get_name().to_owned()),
            "reached/s": spread(self.rates.clone()).0.round(),
            "p50 us": round(self.latency.micros(0.5)), "p90 us": round(self.latency.micros(0.9)),
            "p99 us": round(self.latency.micros(0.99)), "p999 us": round(self.latency.micros(0.999)),
            "max us": round(self.latency.max().as_secs_f64() * 1e6),
            "fdatasync p50 us": round(self.floors.micros(0.5)),
            "fdatasync p99 us": round(self.floors.micros(0.99)),
            "p99/fdatasync": p99, "p99 spread": p99_spread,
            "p999/fdatasync": p999, "p999 spread": p999_spread,
            "generator late p99 us": round(self.late.micros(0.99)),
            "readers behind": spread(self.behind.clone()).0.round() })
    }
}

/// One round on a fresh stream; also how many messages the slower reader was behind when the last was acknowledged.
fn open_once(server: &Server, options: &OpenLoop, plan: &Plan) -> Result<(OpenRun, f64)> {
    let target = server.target();
    let mut client = Client::connect(&target)?;
    create_stream(&mut client, STREAM, &["bench.js.>"])?;
    let result = if options.readers == PullAcks::NoReaders {
        let pace = (options.rate, options.publishers);
        open_loop(&target, SUBJECT, plan, pace, &Watch::default())
            .map(|open| (open, 0.0))
            .map_err(anyhow::Error::from)
    } else {
        with_readers(&target, options, plan)
    };
    delete_stream(&mut client, STREAM)?;
    result
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn with_readers(target: &Target, options: &OpenLoop, plan: &Plan) -> Result<(OpenRun, f64)> {
    let acks = if options.readers == PullAcks::Explicit {
        Acks::Explicit
    } else {
        Acks::None
    };
    let consumer = |name| Consumer {
        stream: STREAM,
        name,
        acks,
    };
    let (by_pull, by_push) = (consumer("pull"), consumer("push"));
    let (pulled, pushed) = (Watch::default(), Watch::default());
    thread::scope(|scope| {
        let puller = scope.spawn(|| {
            let mut client = Client::connect(target)?;
            pull(&mut client, &by_pull, u64::MAX, &pulled)
        });
        let pusher = scope.spawn(|| {
            let mut client = Client::connect(target)?;
            push(&mut client, &by_push, &Value::Null, u64::MAX, &pushed)
        });
        let pace = (options.rate, options.publishers);
        let open = open_loop(target, SUBJECT, plan, pace, &Watch::default());
        let total = open.as_ref().map_or(0, |open| open.run.messages);
        let least = || pulled.moved().min(pushed.moved());
        let behind = total.saturating_sub(least());
        let since = Instant::now();
        while least() < total
            && since.elapsed() < CATCH_UP
            && !puller.is_finished()
            && !pusher.is_finished()
        {
            thread::sleep(Duration::from_millis(5));
        }
        let lacking = total.saturating_sub(least());
        pulled.stop();
        pushed.stop();
        for reader in [puller, pusher] {
            reader.join().ok().context("a reader failed")??;
        }
        if lacking > 0 {
            bail!("readers lack {lacking} of {total} messages");
        }
        Ok((open?, behind as f64))
    })
}

/// One publisher that waits for each acknowledgement, against the disk alone in the same folder.
pub(crate) fn sync_floor(common: &Common, sizes: &[usize], sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    for side in stage.sides() {
        let server = stage.start(side, side.name())?;
        for bytes in sizes {
            sink.row("sync-floor", sync_floor_of(&server, side, *bytes, common)?)?;
        }
    }
    Ok(())
}

fn sync_floor_of(server: &Server, side: Side, bytes: usize, common: &Common) -> Result<Value> {
    let target = server.target();
    let mut client = Client::connect(&target)?;
    create_stream(&mut client, STREAM, &["bench.js.>"])?;
    let mut floors = [
        Floor::new(&server.store, Place::InPlace)?,
        Floor::new(&server.store, Place::Append)?,
    ];
    let mut whole = SyncRound::default();
    let (mut in_place, mut append) = (Vec::new(), Vec::new());
    let (mut least, mut p99) = (Vec::new(), Vec::new());
    for number in 0..=common.rounds.max(1) {
        let round = sync_round(&mut client, &target, bytes, common.time(), &mut floors)?;
        // The first warms up.
        if number == 0 {
            continue;
        }
        let p50 = round.run.micros(0.5);
        in_place.push(p50 / round.in_place.micros(0.5));
        append.push(p50 / round.append.micros(0.5));
        least.push(p50 / (round.append.micros(0.5) + round.ping.micros(0.5)));
        p99.push(round.run.micros(0.99) / round.in_place.micros(0.99));
        whole.merge(&round);
    }
    delete_stream(&mut client, STREAM)?;
    let (in_place, spread) = ratio(in_place);
    let [(append, _), (least, _), (p99, _)] = [append, least, p99].map(ratio);
    let SyncRound {
        run,
        ping,
        in_place: floor,
        append: growing,
    } = &whole;
    Ok(json!({ "server": side.name(), "bytes": bytes,
        "p50 us": round(run.micros(0.5)), "p90 us": round(run.micros(0.9)),
        "p99 us": round(run.micros(0.99)), "p999 us": round(run.micros(0.999)),
        "fdatasync p50 us": round(floor.micros(0.5)), "fdatasync p99 us": round(floor.micros(0.99)),
        "p50/fdatasync": in_place, "spread": spread, "p99/fdatasync p99": p99,
        "fdatasync of a growing file p50 us": round(growing.micros(0.5)), "p50/growing": append,
        "PING p50 us": round(ping.micros(0.5)), "p50/(growing + PING)": least }))
}

/// A round: short pieces of the disk alone, of publishes and of PINGs take turns, because the disk changes its mind within a second.
#[derive(Default)]
struct SyncRound {
    run: Latency,
    /// From PING to PONG: what any answer of the server takes.
    ping: Latency,
    in_place: Latency,
    append: Latency,
}

impl SyncRound {
    fn merge(&mut self, other: &Self) {
        self.run.merge(&other.run);
        self.ping.merge(&other.ping);
        self.in_place.merge(&other.in_place);
        self.append.merge(&other.append);
    }
}

fn sync_round(
    client: &mut Client,
    target: &Target,
    bytes: usize,
    time: Duration,
    [in_place, append]: &mut [Floor; 2],
) -> Result<SyncRound> {
    const PIECES: u32 = 8;
    let piece = time / PIECES;
    let plan = Plan::lasting(bytes, piece);
    let publishers = Publishers {
        count: 1,
        window: 1,
    };
    let mut round = SyncRound::default();
    for _ in 0..PIECES {
        let floor = in_place.measure(bytes + FRAME, piece / 2)?;
        round.in_place.merge(&floor);
        let run = publish_durable(target, SUBJECT, &plan, publishers, &Watch::default())?;
        round.run.merge(&run.latency);
        let floor = append.measure(bytes + FRAME, piece / 2)?;
        round.append.merge(&floor);
        let since = Instant::now();
        while since.elapsed() < piece / 4 {
            let begun = Instant::now();
            client.round_trip()?;
            round.ping.record(begun.elapsed());
        }
    }
    Ok(round)
}
