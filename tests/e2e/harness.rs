//! A server under test and the ways to look at it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up; only reached by failures.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary cargo built for this test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_millstream"))
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace's root")
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub folder: PathBuf,
    pub nats: String,
    pub http: String,
    log: PathBuf,
}

impl Server {
    /// Starts on free ports with its store below `folder`; starting again on the same folder continues its store.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    pub fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_under(&[], folder, arguments)
    }

    /// Starts it by another command, which must become the server by `exec`.
    pub fn start_under(wrapper: &[&str], folder: &Path, arguments: &[&str]) -> Self {
        let ports = folder.join("ports");
        let _absent = fs::remove_dir_all(&ports);
        fs::create_dir_all(&ports).expect("ports folder");
        let log = folder.join("server.log");
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("log file");
        let server = binary().to_str().expect("a path in UTF-8");
        let (program, rest) = match wrapper {
            [program, rest @ ..] => (*program, [rest, &[server]].concat()),
            [] => (server, Vec::new()),
        };
        let child = Command::new(program)
            .args(rest)
            .args(["serve", "-p", "-1", "-m", "-1", "-js"])
            .arg("-sd")
            .arg(folder.join("store"))
            .arg("--ports_file_dir")
            .arg(&ports)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the server starts");
        let mut server = Self {
            child,
            folder: folder.to_owned(),
            nats: String::new(),
            http: String::new(),
            log,
        };
        let file = ports.join(format!("millstream_{}.ports", server.child.id()));
        let text = server.wait_for("the ports file", || {
            fs::read_to_string(&file)
                .ok()
                .filter(|text| text.ends_with("}\n") || text.ends_with('}'))
        });
        let urls: Value = serde_json::from_str(&text).expect("ports are JSON");
        let first = |kind: &str| {
            urls[kind][0]
                .as_str()
                .unwrap_or_else(|| panic!("{kind} in {urls}"))
                .to_owned()
        };
        server.nats = first("nats");
        server.http = first("monitoring");
        server
    }

    /// Polls until there is a value, or fails with the server's log.
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(value) = look() {
                return value;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "server ended with {status} while waiting for {what}:\n{}",
                    self.log()
                );
            }
            assert!(
                since.elapsed() < PATIENCE,
                "no {what} after {PATIENCE:?}:\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) -> PathBuf {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
        self.folder.clone()
    }

    /// SIGTERM, and its exit status.
    pub fn terminate(mut self) -> ExitStatus {
        let status = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "SIGTERM did not end it:\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
    }

    /// Runs one of the user's commands against this server.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .args(["--server", &self.http])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .expect("the command runs")
    }

    /// Runs a command that must succeed and print JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let output = self.cli(&all);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}",
            text(&output),
            self.log()
        );
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }

    /// Writes a station file and applies it.
    pub fn apply(&self, name: &str, yaml: &str) -> Output {
        fs::write(self.folder.join(name), yaml).expect("station file");
        self.cli(&["apply", "-f", name])
    }

    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(&self.nats)
            .await
            .unwrap_or_else(|error| panic!("{error}:\n{}", self.log()))
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = http()
            .get(format!("{}{path}", self.http))
            .send()
            .await
            .expect("an answer");
        (
            response.status().as_u16(),
            response.text().await.expect("a body"),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Everything a command printed.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// An HTTP client.
pub fn http() -> reqwest::Client {
    // The second test to install it finds it installed.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A folder of the test's own.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("millstream-e2e-")
        .tempdir()
        .expect("a temporary folder")
}

/// Waits for a condition asked of a server over the network.
pub async fn eventually<F, R, T>(what: &str, mut look: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Option<T>>,
{
    let since = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(since.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}");
        tokio::task::yield_now().await;
    }
}
