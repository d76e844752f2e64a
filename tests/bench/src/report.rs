//! A named set of measurements in one command, as JSON lines and tables; tables again from such lines.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::json;

use crate::common::{Common, PeerSync};
use crate::latency::{OpenLoop, PullAcks};
use crate::sink::{Sink, rebuild};
use crate::stats::complain;
use crate::{compare, cost, disk, latency, memory, pipeline, replay, restart};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// Everything once, small: whether it runs, and a first impression, in about ten minutes.
    Quick,
    /// What the project is held to, in about an hour; `restart` with 10 GB stays by hand.
    Full,
}

/// `report`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Report {
    /// Which measurements.
    #[arg(long, value_enum, default_value = "quick")]
    set: Set,
    /// Appends the results to this file, a JSON object per line.
    #[arg(long, default_value = "results.jsonl")]
    out: PathBuf,
    /// Measures nothing: writes the tables of such a file.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Only these parts of the set.
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
}

/// A part of a set, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Compare,
    CompareSync,
    SyncFloor,
    OpenLoop,
    WriteAmp,
    Cost,
    Memory,
    Replay,
    Restart,
    Pipeline,
}

pub(crate) fn run(common: &Common, options: &Report, sink: &mut Sink) -> Result<()> {
    if let Some(from) = &options.from {
        return rebuild(from);
    }
    sink.also(&options.out)?;
    sink.row("run", machine(common))?;
    let mut common = common.clone();
    if options.set == Set::Quick {
        common.rounds = common.rounds.min(3);
        common.seconds = common.seconds.min(0.5);
    }
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        if !options.part.is_empty() && !options.part.contains(part) {
            continue;
        }
        // Without a peer there is nothing to compare with; everything else measures ours.
        if matches!(part, Part::Compare | Part::CompareSync) && common.peer.is_none() {
            continue;
        }
        if let Err(error) = one(*part, options.set, &common, sink) {
            complain(&format!("{part:?}: {error:#}"));
            failed.push(format!("{part:?}"));
        }
    }
    if !failed.is_empty() {
        bail!("{} failed; the rest is in the file", failed.join(", "));
    }
    Ok(())
}

fn one(part: Part, set: Set, common: &Common, sink: &mut Sink) -> Result<()> {
    let quick = set == Set::Quick;
    let messages = if quick { 200_000 } else { 1_000_000 };
    match part {
        Part::Compare => {
            let cases = ["core-pub-128", "core-1to", "request", "js-", "kv-"];
            compare::run(common, &chosen(quick, &cases), messages, sink)
        }
        Part::CompareSync => {
            sink.row("peer-sync", json!({ "sync_interval": "always" }))?;
            let mut common = common.clone();
            common.peer_sync = PeerSync::Always;
            let cases = ["js-async-128", "js-sync"].map(str::to_owned);
            compare::run(&common, &cases, messages, sink)
        }
        Part::SyncFloor => latency::sync_floor(common, &[128, 1024], sink),
        Part::OpenLoop => {
            for readers in [PullAcks::NoReaders, PullAcks::None, PullAcks::Explicit] {
                let options = OpenLoop {
                    rate: 100_000.0,
                    bytes: 128,
                    publishers: 1,
                    readers,
                };
                latency::open(common, &options, sink)?;
            }
            Ok(())
        }
        Part::WriteAmp => {
            let total = if quick { 200_000_000 } else { 1_000_000_000 };
            disk::run(common, &[1024, 128], total, sink)
        }
        Part::Cost => {
            let burdens = [
                "consumers-1k",
                "waiting",
                "streams-1k",
                "subjects-1m",
                "ids-1m",
            ];
            let burden = chosen(quick, &burdens);
            cost::run(common, &cost::Cost { burden }, sink)
        }
        Part::Memory => memory::run(common, &memory::Memory { connections: 5000 }, sink),
        Part::Replay => {
            let options = replay::Replay {
                messages,
                bytes: 128,
                rate: 100_000.0,
                replay_bps: None,
            };
            replay::run(common, &options, sink)
        }
        Part::Restart => {
            let mut total = vec![100_000_000, 1_000_000_000];
            total.truncate(if quick { 1 } else { 2 });
            restart::run(common, &restart::Restart { total, bytes: 128 }, sink)
        }
        Part::Pipeline => {
            let example = PathBuf::from("examples/flights");
            pipeline::run(common, &example, 20_000, sink)
        }
    }
}

/// Names for a quick set, everything for a full one.
fn chosen(quick: bool, names: &[&str]) -> Vec<String> {
    let names = if quick { names } else { &["all"] };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What the results belong to.
fn machine(common: &Common) -> serde_json::Value {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.map_or_else(String::new, |output| {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        })
    };
    let peer = common.peer.as_ref().map(|peer| {
        said(&peer.to_string_lossy(), &["-v"]).replace("nats-server: ", "nats-server ")
    });
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    json!({ "date": said("date", &["-u", "+%Y-%m-%d %H:%M"]),
        "commit": said("git", &["rev-parse", "--short", "HEAD"]),
        "kernel": said("uname", &["-r"]),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model, "peer": peer, "rounds": common.rounds, "seconds": common.seconds })
}
