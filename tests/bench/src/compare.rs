//! Alternating rounds of one case on both servers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::cases::{self, Case, Run};
use crate::process::Server;
use crate::stats::{say, short, spread};
use crate::{Compare, Output};

/// What the rounds of a case came to.
struct Outcome {
    case: String,
    ratio: (f64, f64, f64),
    ours: f64,
    peer: f64,
    ours_cpu: f64,
    peer_cpu: f64,
}

/// Our binary, where none was named: beside this program, where cargo puts both. Under cargo it is brought up to date first,
/// because `cargo run -p millstream-bench` builds the load generator alone.
pub(crate) fn ours(named: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let beside = std::env::current_exe()?.with_file_name("millstream");
    if let Some(cargo) = std::env::var_os("CARGO")
        && !cfg!(debug_assertions)
    {
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "-p", "millstream"])
            .stdout(Stdio::null())
            .status()?;
        if !built.success() {
            bail!("`cargo build --release --locked -p millstream` failed");
        }
    }
    if !beside.is_file() {
        bail!(
            "`{}` is not there; build it with `cargo build --release -p millstream`, or name one with --ours",
            beside.display()
        );
    }
    Ok(beside)
}

pub(crate) fn run(options: &Compare) -> Result<()> {
    let ours = ours(options.ours.as_ref())?;
    if !options.peer.is_file() {
        bail!(
            "`{}` is not a file; name a nats-server binary with --peer",
            options.peer.display()
        );
    }
    let chosen: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| options.case == "all" || case.name() == options.case)
        .collect();
    if chosen.is_empty() {
        bail!(
            "there is no case `{}`; `millstream-bench cases` lists them",
            options.case
        );
    }
    if options.output == Output::Table {
        say(&format!(
            "{:<18} {:>6} {:>13} {:>11} {:>11} {:>9} {:>9}",
            "case", "ratio", "spread", "ours/s", "peer/s", "ours us", "peer us"
        ));
    }
    for case in chosen {
        let outcome =
            compare(&case, &ours, options).with_context(|| format!("case `{}`", case.name()))?;
        print(&outcome, options.output);
    }
    Ok(())
}

fn compare(case: &Case, ours: &Path, options: &Compare) -> Result<Outcome> {
    let folder = match &options.store {
        Some(path) => tempfile::tempdir_in(path)?,
        None => tempfile::tempdir()?,
    };
    let us = Server::ours(ours, &folder.path().join("ours"))?;
    let them = Server::peer(&options.peer, folder.path(), options.peer_sync)?;
    let time = Duration::from_secs_f64(options.seconds);
    // A short run of each first, so that neither pays for its first page faults in a round that counts.
    let warm = time.min(Duration::from_millis(200));
    case.run(us.address, warm).context("Millstream")?;
    case.run(them.address, warm).context("the peer")?;
    let (mut ratios, mut our_rates, mut peer_rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_cpu, mut peer_cpu) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(1) {
        let (mine, cpu) = timed(case, &us, time).context("Millstream")?;
        our_cpu.push(cpu);
        let (theirs, cpu) = timed(case, &them, time).context("the peer")?;
        peer_cpu.push(cpu);
        ratios.push(mine.rate() / theirs.rate());
        our_rates.push(mine.rate());
        peer_rates.push(theirs.rate());
    }
    Ok(Outcome {
        case: case.name(),
        ratio: spread(ratios),
        ours: spread(our_rates).0,
        peer: spread(peer_rates).0,
        ours_cpu: spread(our_cpu).0,
        peer_cpu: spread(peer_cpu).0,
    })
}

/// A run with the server's CPU microseconds per message.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn timed(case: &Case, server: &Server, time: Duration) -> Result<(Run, f64)> {
    let before = server.cpu();
    let run = case.run(server.address, time)?;
    Ok((
        run,
        (server.cpu() - before) * 1e6 / run.messages.max(1) as f64,
    ))
}

fn print(outcome: &Outcome, output: Output) {
    let (ratio, low, high) = outcome.ratio;
    let round = |figure: f64| (figure * 1000.0).round() / 1000.0;
    match output {
        Output::Json => say(&json!({
            "case": outcome.case,
            "ratio": round(ratio),
            "low": round(low),
            "high": round(high),
            "ours": outcome.ours.round(),
            "peer": outcome.peer.round(),
            "unit": "messages/s",
            "ours_cpu_us": round(outcome.ours_cpu),
            "peer_cpu_us": round(outcome.peer_cpu),
        })
        .to_string()),
        Output::Table => say(&format!(
            "{:<18} {:>6.2} {:>6.2}-{:<6.2} {:>11} {:>11} {:>9.2} {:>9.2}",
            outcome.case,
            ratio,
            low,
            high,
            short(outcome.ours),
            short(outcome.peer),
            outcome.ours_cpu,
            outcome.peer_cpu
        )),
    }
}
