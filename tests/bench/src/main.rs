//! One load generator for any NATS server: runs the same case against Millstream and a peer in turn and compares.
//!
//! Rounds alternate (ours, peer, ours, peer …) so that a machine that slows down slows both; what counts is the median of
//! the rounds' ratios. The generator is the same code for both, on plain sockets and threads.

mod cases;
mod client;
mod compare;
mod pipeline;
mod process;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Measures Millstream against a peer, and its own pipeline against no pipeline.
#[derive(Debug, Parser)]
#[command(name = "millstream-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs one case, or all, against Millstream and a peer in alternating rounds.
    Compare(Compare),
    /// Publishes through no stage, schema, function, SQL and all of them, in alternating rounds.
    Pipeline(Pipeline),
    /// Lists the cases.
    Cases,
}

/// How the peer treats the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PeerSync {
    /// As it comes: acknowledges before the disk has it.
    Default,
    /// `sync_interval: always`: acknowledges after fsync, as Millstream does.
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The peer's binary.
    #[arg(long)]
    peer: PathBuf,
    /// Our binary; by default the one beside this program.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// How the peer syncs.
    #[arg(long, value_enum, default_value = "default")]
    peer_sync: PeerSync,
    /// Which case, such as `js-async-128`; `all` runs every one.
    #[arg(long, default_value = "all")]
    case: String,
    /// Rounds of each server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Roughly how long one run lasts, in seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// A table for people or one JSON object per case.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Where the servers keep their data; a temporary folder by default.
    #[arg(long)]
    store: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Pipeline {
    /// Our binary; by default the one beside this program.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// The folder of the flights example.
    #[arg(long, default_value = "examples/flights")]
    example: PathBuf,
    /// Rounds of each variant.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Messages per run.
    #[arg(long, default_value_t = 20_000)]
    messages: usize,
    /// A table for people or one JSON object per variant.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Compare(options) => compare::run(&options),
        Action::Pipeline(options) => pipeline::run(&options),
        Action::Cases => {
            for case in cases::all() {
                stats::say(&case.name());
            }
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stats::complain(&format!("millstream-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
