//! Measures Millstream: against a peer, against itself without a burden, and against the disk.
//!
//! Whatever is compared is compared in one run, in rounds that alternate, so that a machine that slows down slows both
//! sides; what counts is the median of the rounds' ratios. The load generator is the same code for both
//! (`engine/load`), on plain sockets and threads.

mod cases;
mod common;
mod compare;
mod cost;
mod disk;
mod functions;
mod latency;
mod memory;
mod nexmark;
mod pipeline;
mod process;
mod query;
mod replay;
mod report;
mod restart;
mod schema;
mod sink;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use common::Common;

/// Measures Millstream against a peer, itself without a burden, and the disk.
#[derive(Debug, Parser)]
#[command(name = "millstream-bench", version)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs one case, or all, against Millstream and a peer in alternating rounds.
    Compare {
        /// Which cases: names such as `js-async-128`, or beginnings of names such as `js-`; `all` is every one.
        #[arg(long, default_value = "all", value_delimiter = ',')]
        case: Vec<String>,
        /// Messages in the stream that `js-pull-ack` and `js-push` replay; `js-push-singles` and `js-push-filtered` a
        /// fifth.
        #[arg(long, default_value_t = 1_000_000)]
        messages: u64,
    },
    /// What the check of a payload costs, for each format, and the walks over bytes beside decoders of whole values.
    Schema,
    /// How fast questions in SQL read what is stored, and what publishers feel while four that never end run. Needs a server with
    /// the feature `sql`.
    Query {
        /// Messages stored.
        #[arg(long, default_value_t = 1_000_000)]
        messages: u64,
    },
    /// Publishes through no stage, schema, function, SQL and all of them, in alternating rounds.
    Pipeline {
        /// The folder of the flights example.
        #[arg(long, default_value = "examples/flights")]
        example: PathBuf,
        /// Messages per run.
        #[arg(long, default_value_t = 20_000)]
        messages: usize,
    },
    /// What functions cost: stations without and with one or three, beside one that never ends, and while a version changes.
    Functions {
        /// The folder of the flights example.
        #[arg(long, default_value = "examples/flights")]
        example: PathBuf,
    },
    /// The queries of Nexmark as flows from stations to stations, next to what others publish. Needs a server with the feature
    /// `sql`.
    Nexmark(nexmark::Nexmark),
    /// Durable publishes at a fixed rate with consumers attached: latencies from when each message was due, against fdatasync.
    OpenLoop(latency::OpenLoop),
    /// One publisher that waits for each acknowledgement against a bare write and fdatasync.
    SyncFloor {
        /// Payload sizes.
        #[arg(long, default_value = "128", value_delimiter = ',')]
        bytes: Vec<usize>,
    },
    /// Bytes written to disk per payload byte.
    WriteAmp {
        /// Payload sizes.
        #[arg(long, default_value = "1024,128", value_delimiter = ',')]
        bytes: Vec<usize>,
        /// Payload bytes to publish.
        #[arg(long, default_value_t = 1_000_000_000)]
        total: u64,
    },
    /// The publish rate of a server that carries a burden against one that carries none.
    Cost(cost::Cost),
    /// Resident memory per stream, subject, id and idle connection.
    Memory(memory::Memory),
    /// The publish rate while a full replay runs against the rate alone.
    Replay(replay::Replay),
    /// From exec to the first acknowledged publish, after a clean stop and after kill -9.
    Restart(restart::Restart),
    /// Runs a named set of the above and writes JSON lines and tables; rebuilds tables from JSON lines.
    Report(report::Report),
    /// Lists the cases of `compare` and the burdens of `cost`.
    Cases,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stats::complain(&format!("millstream-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let common = &arguments.common;
    let mut sink = sink::Sink::new(common.output);
    let sink = &mut sink;
    match &arguments.command {
        Action::Compare { case, messages } => compare::run(common, case, *messages, sink),
        Action::Schema => schema::run(common, sink),
        Action::Query { messages } => query::run(common, *messages, sink),
        Action::Pipeline { example, messages } => pipeline::run(common, example, *messages, sink),
        Action::Functions { example } => functions::run(common, example, sink),
        Action::Nexmark(options) => nexmark::run(common, options, sink),
        Action::OpenLoop(options) => latency::open(common, options, sink),
        Action::SyncFloor { bytes } => latency::sync_floor(common, bytes, sink),
        Action::WriteAmp { bytes, total } => disk::run(common, bytes, *total, sink),
        Action::Cost(options) => cost::run(common, options, sink),
        Action::Memory(options) => memory::run(common, options, sink),
        Action::Replay(options) => replay::run(common, options, sink),
        Action::Restart(options) => restart::run(common, options, sink),
        Action::Report(options) => report::run(common, options, sink),
        Action::Cases => {
            for case in cases::all() {
                stats::say(&case.name());
            }
            for burden in cost::BURDENS {
                stats::say(&format!("cost-{}", burden.name));
            }
            Ok(())
        }
    }
}
