//! `serve`: nats-server's face. Flags and configuration, files, signals.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use millstream_config::{Command, Config, Flags, Flavor, help_text, parse_flags};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::logging;
use crate::running::{NATS_VERSION, Running, ports, write_file};

/// Files that go when the server ends.
#[derive(Debug, Default)]
struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            // Somebody else may have removed it already.
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// Runs `serve` with the arguments behind it; answers the exit status.
pub(crate) fn run(arguments: Vec<String>, flavor: Flavor) -> anyhow::Result<i32> {
    let program = if flavor == Flavor::NatsServer {
        "nats-server"
    } else {
        "millstream serve"
    };
    let command = match parse_flags(arguments) {
        Ok(command) => command,
        Err(error) => {
            complain(&format!("{error}"));
            return Ok(2);
        }
    };
    match command {
        Command::Version => {
            say(&format!(
                "nats-server: v{NATS_VERSION} (millstream {})",
                env!("CARGO_PKG_VERSION")
            ))?;
            Ok(0)
        }
        Command::Help => {
            say(&help_text(program))?;
            Ok(0)
        }
        Command::TestConfig(flags) => {
            let config = load(&flags, flavor)?;
            let file = config
                .file
                .map_or_else(|| "-".to_owned(), |file| file.display().to_string());
            say(&format!("nats-server: configuration file {file} is valid"))?;
            Ok(0)
        }
        Command::Serve(flags) => {
            let config = load(&flags, flavor)?;
            serve(&config)?;
            Ok(0)
        }
    }
}

fn load(flags: &Flags, flavor: Flavor) -> anyhow::Result<Config> {
    Config::load(flags, flavor).map_err(|error| anyhow::anyhow!("{error}"))
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

pub(crate) fn complain(text: &str) {
    // Nobody left to tell.
    let _closed = writeln!(std::io::stderr(), "{text}");
}

fn serve(config: &Config) -> anyhow::Result<()> {
    let logging = &config.logging;
    logging::start(&logging::Options {
        debug: logging.debug,
        trace: logging.trace,
        time: logging.time,
        file: logging.file.as_deref(),
    })?;
    use_small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(until_signal(config))
}

/// Asks for no memory in pages of 2 MiB. The kernel zeroes such a page as a whole before a thread goes on, which took 4.6 ms
/// where a virtual machine has to get it from its host first: publishes at a fixed rate had a p99 of 7 to 25 ms with them
/// and have 0.9 ms without (`tests/bench/RESULTS.md`), and memory that was asked for and is not used is not taken.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(target: "nats", "huge pages stay enabled: {error}");
    }
}

async fn until_signal(config: &Config) -> anyhow::Result<()> {
    info!(target: "nats", "Starting nats-server (millstream {})", env!("CARGO_PKG_VERSION"));
    info!(target: "nats", "  Version:  {NATS_VERSION}");
    for note in &config.notes {
        info!(target: "nats", "{note}");
    }
    if let Some(jetstream) = &config.jetstream {
        info!(target: "nats", "  Store Directory: \"{}\"", jetstream.store_dir.display());
    }
    // Listened for before anything is ready, so that no signal comes too early.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let running = Running::start(config).await?;
    let mut files = Files::default();
    if let Some(path) = &config.pid_file {
        write_file(path, &std::process::id().to_string())?;
        files.0.push(path.clone());
    }
    if let Some(folder) = &config.ports_file_dir {
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(std::path::Path::file_name);
        let program = program.map_or_else(
            || "millstream".into(),
            |name| name.to_string_lossy().into_owned(),
        );
        let path = folder.join(format!("{program}_{}.ports", std::process::id()));
        write_file(&path, &ports(&running).to_string())?;
        files.0.push(path);
    }
    tokio::select! {
        _ = terminate.recv() => info!(target: "nats", "Trapped \"terminated\" signal"),
        _ = interrupt.recv() => info!(target: "nats", "Trapped \"interrupt\" signal"),
    }
    running.stop().await;
    Ok(())
}
