//! A server under test: started on a free port in a folder of its own, killed when dropped, its CPU time, memory and disk
//! writes read from /proc.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use millstream_load::Target;
use serde_json::Value;

use crate::common::PeerSync;

/// How long a server may take to listen, and to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a server that starts or ends.
const LOOK: Duration = Duration::from_millis(1);
/// Clock ticks per second in /proc/PID/stat; 100 on every Linux this runs on.
const TICKS: f64 = 100.0;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Peer,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// When the process was started.
    pub(crate) since: Instant,
    pub(crate) address: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) store: PathBuf,
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    /// Starts Millstream.
    pub(crate) fn ours(binary: &Path, folder: &Path) -> Result<Self> {
        let (port, http) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command.args(["serve", "-a", "127.0.0.1", "-js"]);
        command
            .arg("-p")
            .arg(port.to_string())
            .arg("-m")
            .arg(http.to_string());
        let store = folder.join("store");
        command.arg("-sd").arg(&store);
        Self::start(command, (port, http), store)
    }

    /// Starts a nats-server.
    pub(crate) fn peer(binary: &Path, folder: &Path, sync: PeerSync) -> Result<Self> {
        let (port, http) = (free_port()?, free_port()?);
        let config = folder.join("peer.conf");
        let sync = if sync == PeerSync::Always {
            "sync_interval: always"
        } else {
            ""
        };
        let store = folder.join("peer-store");
        let text = format!(
            "jetstream {{ store_dir: \"{}\"\n {sync} }}\n",
            store.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(binary);
        command.args(["-a", "127.0.0.1"]).arg("-c").arg(config);
        command
            .arg("-p")
            .arg(port.to_string())
            .arg("-m")
            .arg(http.to_string());
        Self::start(command, (port, http), store)
    }

    fn start(mut command: Command, (port, http): (u16, u16), store: PathBuf) -> Result<Self> {
        let program = PathBuf::from(command.get_program());
        let since = Instant::now();
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self {
            child,
            since,
            address: local(port),
            http: local(http),
            store,
        };
        while TcpStream::connect(server.address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!(
                    "`{}` ended with {status} instead of listening",
                    program.display()
                );
            }
            if since.elapsed() > PATIENCE {
                bail!("`{}` does not listen after {PATIENCE:?}", program.display());
            }
            std::thread::sleep(LOOK);
        }
        Ok(server)
    }

    /// Where to connect.
    pub(crate) fn target(&self) -> Target {
        self.address.into()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// CPU seconds used so far, user and system.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        // The command's name may hold blanks; fields are counted behind its closing parenthesis.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let tick = |index: usize| {
            fields
                .get(index)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        (tick(11) + tick(12)) / TICKS
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> f64 {
        number_behind(&self.proc("status"), "VmRSS:") * 1024.0
    }

    /// Bytes this process caused to be written to disk, less those that were taken back before they got there.
    pub(crate) fn written(&self) -> f64 {
        let io = self.proc("io");
        number_behind(&io, "\nwrite_bytes:") - number_behind(&io, "cancelled_write_bytes:")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status()?;
        if !status.success() {
            bail!("kill {name} failed");
        }
        Ok(())
    }

    /// What management answers, as JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let mut socket = TcpStream::connect(self.http)?;
        let host = self.http;
        socket.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let body = answer.split("\r\n\r\n").nth(1);
        Ok(serde_json::from_str(
            body.context("an answer with a body")?,
        )?)
    }

    /// Runs a command of ours against this server; the last argument is a file or a name.
    pub(crate) fn cli(
        &self,
        binary: &Path,
        arguments: &[&str],
        last: impl AsRef<OsStr>,
    ) -> Result<()> {
        let output = Command::new(binary)
            .args(arguments)
            .arg(last)
            .args(["--server", &format!("http://{}", self.http)])
            .output()?;
        if !output.status.success() {
            bail!(
                "{arguments:?} failed: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Freezes it, so that what it does while idle does not disturb another's round.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// Stops it in order and waits for its end.
    pub(crate) fn terminate(mut self) -> Result<()> {
        self.signal("-TERM")?;
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > PATIENCE {
                bail!("it does not end");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

fn number_behind(text: &str, name: &str) -> f64 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    rest.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::number_behind;

    #[test]
    fn fields_of_proc() {
        let io = "rchar: 1\nwchar: 22\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert!((number_behind(io, "\nwrite_bytes:") - 4096.0).abs() < 0.1);
        assert!((number_behind(io, "cancelled_write_bytes:") - 7.0).abs() < 0.1);
        assert!(number_behind(io, "VmRSS:").abs() < 0.1);
    }
}
