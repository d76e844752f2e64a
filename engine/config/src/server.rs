//! Everything a server can be told, with defaults filled in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::conf::{self, Surroundings};
use crate::flags::Flags;
use crate::problem::{ConfigError, Problem};

mod auth;
mod encryption;
mod keys;
mod load;
mod table;

#[cfg(test)]
mod tests;

pub use encryption::{Cipher, Encryption};

/// Largest file read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What kind of server the defaults are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// `millstream serve`: streams on in `./millstream-data`, HTTP on 127.0.0.1:8222.
    Millstream,
    /// Called as `nats-server`: streams and HTTP only when asked for.
    NatsServer,
}

impl Flavor {
    /// The store folder when none is given.
    #[must_use]
    pub fn store_dir(self) -> PathBuf {
        match self {
            Self::Millstream => PathBuf::from("millstream-data"),
            Self::NatsServer => std::env::temp_dir().join("millstream").join("jetstream"),
        }
    }
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Shows it, to the one who compares it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// Everyone.
    #[default]
    None,
    /// Whoever knows it.
    Token(Secret),
    /// These, at least one; names are unique.
    Users(Vec<UserEntry>),
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// Not empty.
    pub name: String,
    /// In clear text.
    pub password: Secret,
}

/// Where HTTP is served, or another protocol beside the clients' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Host name or address.
    pub host: String,
    /// 0 for any free one.
    pub port: u16,
}

/// Streams and stations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStream {
    /// Folder for everything stored; made when it is not there.
    pub store_dir: PathBuf,
    /// Bytes memory streams may hold; none: the server decides.
    pub max_memory: Option<u64>,
    /// Bytes file streams may hold; none: the server decides.
    pub max_file: Option<u64>,
    /// None: nothing is encrypted.
    pub encryption: Option<Encryption>,
}

/// Bounds on what clients may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, headers included.
    pub max_payload: usize,
    /// Bytes of a protocol line.
    pub max_control_line: usize,
    /// Bytes waiting for one client before it is cut off.
    pub max_pending: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Between the server's PINGs.
    pub ping_interval: Duration,
    /// PINGs without an answer before a client is cut off.
    pub ping_max: u32,
    /// Longest one write to a client may take.
    pub write_deadline: Duration,
    /// Time to send credentials.
    pub auth_timeout: Duration,
}

/// What is logged and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Debug lines.
    pub debug: bool,
    /// Protocol lines.
    pub trace: bool,
    /// A time in front of each line.
    pub time: bool,
    /// None: standard error.
    pub file: Option<PathBuf>,
}

/// The `millstream { }` block: what nats-server does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Millstream {
    /// Connectors may reach loopback, link-local and private addresses without asking for it.
    pub allow_private_addresses: bool,
    /// Bytes of one journal file; none: the journal decides.
    pub journal_file_size: Option<u64>,
    /// Bytes of recent messages kept in memory; none: the journal decides.
    pub journal_cache: Option<u64>,
    /// Bytes of streams' indexes that stay in memory though they could be read back.
    pub index_cache: Option<u64>,
    /// Where the schema registry's interface has a port of its own; none: only on the HTTP port.
    pub schema_registry: Option<Http>,
    /// Where clients of PostgreSQL connect; none: nowhere.
    pub postgres: Option<Http>,
    /// The certificate for them; with one, they connect with TLS only.
    pub postgres_tls: Option<Certificate>,
}

/// The files of a certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and those that sign it.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// How to run a server. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Host name or address clients connect to.
    pub host: String,
    /// 0 for any free one.
    pub port: u16,
    /// None: the server's id.
    pub server_name: Option<String>,
    /// Monitoring and management.
    pub http: Option<Http>,
    /// None: off.
    pub jetstream: Option<JetStream>,
    /// Who may connect.
    pub authorization: Authorization,
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// What is logged and where.
    pub logging: Logging,
    /// Gets the process id: digits only.
    pub pid_file: Option<PathBuf>,
    /// Gets the ports file.
    pub ports_file_dir: Option<PathBuf>,
    /// The `millstream { }` block.
    pub millstream: Millstream,
    /// The file read.
    pub file: Option<PathBuf>,
    /// What the operator should know, for the log: lower case, no full stop.
    pub notes: Vec<String>,
}

impl Config {
    /// The configuration of a server started with these flags: reads the file they name and what
    /// it includes, and the environment for its variables.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(flags: &Flags, flavor: Flavor) -> Result<Self, ConfigError> {
        Self::load_from(flags, flavor, &System)
    }

    /// Like [`Config::load`], with files and environment from `surroundings`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_from(
        flags: &Flags,
        flavor: Flavor,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, ConfigError> {
        let one = |problem| ConfigError {
            problems: vec![problem],
        };
        let entries = match &flags.config {
            None => Vec::new(),
            Some(path) => {
                let text = surroundings.read(path).map_err(|error| {
                    let message = format!(
                        "cannot read configuration file `{}`: {error}",
                        path.display()
                    );
                    one(Problem::new(None, message).with_hint("give an existing file with `-c`"))
                })?;
                conf::parse(&text, path, surroundings)
                    .map_err(|error| one(Problem::new(Some(&error.at), error.message)))?
            }
        };
        load::load(&entries, flags, flavor)
    }

    /// Whether only programs on this machine can reach the clients' port.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl Http {
    /// Whether only programs on this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Real files and the real environment.
struct System;

impl Surroundings for System {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        use std::io::Read;
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let message = format!("larger than {MAX_FILE_BYTES} bytes");
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                message,
            ));
        }
        Ok(text)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
