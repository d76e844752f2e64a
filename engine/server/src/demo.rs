//! `demo`: the whole way on real flight records, in one process and a temporary folder: file source, schema, function, SQL,
//! log, a NATS client that pulls and acknowledges, a webhook and a file. Every number it prints is counted, and checked.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use millstream_cli::Format;
use millstream_config::{Config, Flags, Flavor};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging;
use crate::running::Running;

mod drive;
mod example;
mod manage;
mod nats;
mod numbers;
mod receiver;
mod report;
mod samples;

use drive::Drive;
use example::Example;
use report::Report;

/// The names of what the demo declares.
const STATION: &str = "flights";
const DEAD_LETTERS: &str = "flights-dead-letters";
const CONSUMER: &str = "demo";
const SOURCE: &str = "flights-file";
const WEBHOOK: &str = "flights-webhook";
const COPY: &str = "flights-copy";

/// `demo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Leave the server running afterwards, until Ctrl-C, and say what to try next
    #[arg(long)]
    keep: bool,
    /// Take `flights.yaml`, what it names, and `flights.jsonl` from this folder instead of the built-in example
    #[arg(long, value_name = "DIR")]
    example: Option<PathBuf>,
    // The id and type of the user commands' global flag, because clap hands values of one to the other.
    /// `table` tells the story; `json` and `yaml` print only the sums
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// Runs the demo. The error of a demo whose numbers do not add up says which do not.
pub(crate) async fn run(args: &DemoArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("millstream-demo-")
        .tempdir();
    let folder =
        folder.context("cannot make a temporary folder; TMPDIR names another place for it")?;
    let log = folder.path().join("server.log");
    let options = logging::Options {
        debug: false,
        trace: false,
        time: true,
        file: Some(&log),
    };
    logging::start(&options)?;
    let example = Example::find(args.example.as_deref(), folder.path())?;
    // Listened for from here on, so that Ctrl-C also removes the temporary folder.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let running = Running::start(&config(folder.path())?).await?;
    let told = tokio::select! {
        told = whole(args, &running, &example, folder.path(), out) => told,
        _ = interrupt.recv() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
    };
    running.stop().await;
    match told {
        Ok(()) => Ok(()),
        Err(error) if error.is::<Interrupted>() && args.keep => Ok(()),
        Err(error) if error.is::<Interrupted>() || error.is::<Refused>() => Err(error),
        Err(error) => {
            let kept = folder.keep();
            bail!(
                "{error:#}\nthe demo failed; the server's log and store are kept in `{}`",
                kept.display()
            )
        }
    }
}

/// Ended by a signal.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Nothing had begun, so there is nothing to look at in the folder.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Refused(anyhow::Error);

fn config(folder: &Path) -> anyhow::Result<Config> {
    let flags = Flags {
        host: Some("127.0.0.1".to_owned()),
        port: Some(-1),
        http_port: Some(-1),
        server_name: Some("millstream-demo".to_owned()),
        jetstream: Some(true),
        store_dir: Some(folder.join("store")),
        ..Flags::default()
    };
    Ok(Config::load(&flags, Flavor::Millstream)?)
}

/// Drives the example through, tells what happened, and with `--keep` waits to be ended by a signal.
async fn whole(
    args: &DemoArgs,
    running: &Running,
    example: &Example,
    folder: &Path,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let mut screen = Screen::new(std::io::stderr());
    screen.show("checking and compiling the example")?;
    let driven = Drive::start(running, example, folder).await;
    let driven = match driven {
        Ok(drive) => drive.finish(&mut screen).await,
        Err(error) => Err(Refused(error).into()),
    };
    screen.wipe()?;
    let outcome = driven?;
    let report = Report {
        outcome: &outcome,
        running,
        example,
        folder,
    };
    match args.output {
        Format::Table => report.table(out)?,
        Format::Json => writeln!(out, "{}", serde_json::to_string(&outcome.sums())?)?,
        Format::Yaml => {
            for (name, number) in outcome.sums() {
                writeln!(out, "{name}: {number}")?;
            }
        }
    }
    out.flush()?;
    let wrong = outcome.wrong();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    match (args.keep, args.output) {
        (true, Format::Table) => report.next_commands(out)?,
        // Standard output is exactly the sums.
        (true, _) => report.next_commands(&mut std::io::stderr())?,
        (false, Format::Table) => report.more(out)?,
        (false, _) => {}
    }
    out.flush()?;
    if args.keep {
        // The signals' handlers end this.
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// One line of progress that is written over, on a terminal only.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    to: Option<W>,
}

impl Screen<std::io::Stderr> {
    fn new(stderr: std::io::Stderr) -> Self {
        Self {
            to: stderr.is_terminal().then_some(stderr),
        }
    }
}

impl<W: Write> Screen<W> {
    /// Shows this line instead of the last one.
    pub(crate) fn show(&mut self, line: &str) -> std::io::Result<()> {
        let Some(to) = &mut self.to else {
            return Ok(());
        };
        write!(to, "\r\x1b[K{line}")?;
        to.flush()
    }

    fn wipe(&mut self) -> std::io::Result<()> {
        self.show("")
    }
}
