//! A server of `bench --local`: this program again, on free ports, with its store in a temporary folder.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millstream_load::{Floor, Latency, LoadError, Login, Place, Target};
use serde_json::Value;
use tempfile::TempDir;

use crate::error::CliError;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);
/// What is written before each sync: a small message with what the log adds.
const FLOOR_BYTES: usize = 256;
const FLOOR_TIME: Duration = Duration::from_millis(300);

/// The server; it and its folder go when this is dropped.
#[derive(Debug)]
pub(super) struct Local {
    child: Child,
    folder: TempDir,
    address: String,
}

impl Local {
    pub(super) fn start() -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::Local(error.to_string());
        let folder = tempfile::Builder::new()
            .prefix("millstream-bench-")
            .tempdir()
            .map_err(failed)?;
        let path = folder.path();
        let log = path.join("server.log");
        let child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["serve", "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-js"])
            .arg("-sd")
            .arg(path.join("store"))
            .arg("--ports_file_dir")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(failed)?)
            // A terminal's Ctrl-C is for this program alone, which ends the server itself.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut local = Self {
            child,
            address: String::new(),
            folder,
        };
        local.address = local.wait(&log)?;
        Ok(local)
    }

    /// Its client address, once it listens.
    fn wait(&mut self, log: &Path) -> Result<String, CliError> {
        let since = Instant::now();
        loop {
            if let Some(address) = ports(self.folder.path()) {
                return Ok(address);
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || since.elapsed() > START {
                let said = fs::read_to_string(log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it says nothing");
                return Err(CliError::Local(last.to_owned()));
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn target(&self) -> Target {
        Target {
            address: self.address.clone(),
            login: Login::Nobody,
        }
    }

    /// What a bare write and fdatasync take where its store is.
    pub(super) fn floor(&self) -> Result<Latency, LoadError> {
        Floor::new(self.folder.path(), Place::InPlace)?.measure(FLOOR_BYTES, FLOOR_TIME)
    }
}

/// The client address in the ports file, when it is whole.
fn ports(folder: &Path) -> Option<String> {
    let file = fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "ports"))?;
    let ports: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    Some(url.trim_start_matches("nats://").to_owned())
}

impl Drop for Local {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself; its folder is removed with everything in it.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
