//! A server under test: started on a free port in a folder of its own, killed when dropped, its CPU time read from /proc.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::PeerSync;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);
/// Clock ticks per second in /proc/PID/stat; 100 on every Linux this runs on.
const TICKS: f64 = 100.0;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) http: SocketAddr,
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
        command.arg("-sd").arg(folder);
        Self::start(command, port, http)
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
        let store = store.display();
        fs::write(
            &config,
            format!("jetstream {{ store_dir: \"{store}\"\n {sync} }}\n"),
        )?;
        let mut command = Command::new(binary);
        command.args(["-a", "127.0.0.1"]).arg("-c").arg(config);
        command
            .arg("-p")
            .arg(port.to_string())
            .arg("-m")
            .arg(http.to_string());
        Self::start(command, port, http)
    }

    fn start(mut command: Command, port: u16, http: u16) -> Result<Self> {
        let program = PathBuf::from(command.get_program());
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self {
            child,
            address: local(port),
            http: local(http),
        };
        let since = Instant::now();
        while TcpStream::connect(server.address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!(
                    "`{}` ended with {status} instead of listening",
                    program.display()
                );
            }
            if since.elapsed() > START {
                bail!("`{}` does not listen after {START:?}", program.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// CPU seconds used so far, user and system.
    pub(crate) fn cpu(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
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
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
