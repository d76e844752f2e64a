//! What every measurement takes: the binaries, the rounds, the place of the stores.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::process::{Server, Side};
use crate::sink::Output;

/// How the peer treats the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerSync {
    /// As it comes: acknowledges before the disk has it.
    Default,
    /// `sync_interval: always`: acknowledges after fsync, as Millstream does.
    Always,
}

/// Flags of every measurement.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// The peer's binary; measurements of one server go without.
    #[arg(long, global = true)]
    pub(crate) peer: Option<PathBuf>,
    /// Our binary; by default the one beside this program.
    #[arg(long, global = true)]
    pub(crate) ours: Option<PathBuf>,
    /// How the peer syncs.
    #[arg(long, global = true, value_enum, default_value = "default")]
    pub(crate) peer_sync: PeerSync,
    /// Rounds of each side.
    #[arg(long, global = true, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Roughly how long one run lasts, in seconds.
    #[arg(long, global = true, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// A table for people or one JSON object per result.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// Where the servers keep their data; a temporary folder by default.
    #[arg(long, global = true)]
    pub(crate) store: Option<PathBuf>,
}

impl Common {
    /// How long one run lasts.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Finds the binaries and makes a folder for the stores.
    pub(crate) fn stage(&self) -> Result<Stage> {
        if let Some(peer) = &self.peer
            && !peer.is_file()
        {
            bail!(
                "`{}` is not a file; name a nats-server binary with --peer",
                peer.display()
            );
        }
        let folder = match &self.store {
            Some(path) => tempfile::tempdir_in(path)?,
            None => tempfile::tempdir()?,
        };
        Ok(Stage {
            ours: ours(self.ours.as_ref())?,
            peer: self.peer.clone(),
            sync: self.peer_sync,
            folder,
        })
    }
}

/// Binaries and a folder: servers can be started.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) ours: PathBuf,
    peer: Option<PathBuf>,
    sync: PeerSync,
    pub(crate) folder: TempDir,
}

impl Stage {
    /// Ours, and the peer's where there is one.
    pub(crate) fn sides(&self) -> Vec<Side> {
        if self.peer.is_some() {
            vec![Side::Ours, Side::Peer]
        } else {
            vec![Side::Ours]
        }
    }

    /// Starts a server whose store has this name; starting it again continues the store.
    pub(crate) fn start(&self, side: Side, name: &str) -> Result<Server> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        match side {
            Side::Ours => Server::ours(&self.ours, &folder),
            Side::Peer => {
                let peer = self.peer.as_ref().context("this needs --peer")?;
                Server::peer(peer, &folder, self.sync)
            }
        }
    }

    /// Removes a store that is done with, because some are large.
    pub(crate) fn clear(&self, name: &str) {
        // What is left goes with the folder.
        let _left = std::fs::remove_dir_all(self.folder.path().join(name));
    }
}

/// Our binary, where none was named: beside this program, where cargo puts both. Under cargo it is brought up to date first,
/// because `cargo run -p millstream-bench` builds the load generator alone.
fn ours(named: Option<&PathBuf>) -> Result<PathBuf> {
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
