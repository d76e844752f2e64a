//! nats-server's flags, in the style of Go's flag package: `-f`, `--f`, `-f=v`, `-f v`.

use std::path::PathBuf;

use thiserror::Error;

use crate::server::Secret;
use millstream_types::nearest;

mod table;

#[cfg(test)]
mod tests;

pub use table::help_text;
use table::{Flag, Takes, find, names};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve(Flags),
    /// `-t`: read the configuration, say whether it can be used, and end.
    TestConfig(Flags),
    /// `-v`: print the version and end.
    Version,
    /// `-h`: print [`help_text`] and end.
    Help,
}

/// What the flags set; what is absent is left to the file and the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-a`: host to listen on.
    pub host: Option<String>,
    /// `-p`: port, -1 for any free one.
    pub port: Option<i64>,
    /// `-n`: the server's name.
    pub server_name: Option<String>,
    /// `-m`: port of monitoring and management, -1 for any free one.
    pub http_port: Option<i64>,
    /// `-c`: the configuration file.
    pub config: Option<PathBuf>,
    /// `-js`.
    pub jetstream: Option<bool>,
    /// `-sd`: where JetStream keeps its data.
    pub store_dir: Option<PathBuf>,
    /// `-l`: file the log goes to.
    pub log_file: Option<PathBuf>,
    /// `-P`: file that gets the process id.
    pub pid_file: Option<PathBuf>,
    /// `--ports_file_dir`: folder that gets the ports file.
    pub ports_file_dir: Option<PathBuf>,
    /// `-T`: times in the log.
    pub logtime: Option<bool>,
    /// `-D`.
    pub debug: Option<bool>,
    /// `-V`.
    pub trace: Option<bool>,
    /// `-VV`: also the server's own traffic.
    pub trace_verbose: Option<bool>,
    /// `--user`.
    pub user: Option<String>,
    /// `--pass`.
    pub pass: Option<Secret>,
    /// `--auth`: token.
    pub auth: Option<Secret>,
}

/// Why one argument cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlagError {
    /// No such flag.
    #[error("unknown flag `{flag}`{}", hint(.nearest.as_deref()))]
    Unknown {
        /// As written.
        flag: String,
        /// A flag it is near to.
        nearest: Option<String>,
    },
    /// nats-server knows it, this release does not do it.
    #[error("flag `{0}` is not supported yet; leave it out")]
    Unsupported(String),
    /// The flag needs a value and the command line ends.
    #[error("flag `{0}` needs a value")]
    NoValue(String),
    /// The value is not what the flag takes.
    #[error("flag `{flag}`: `{value}` is not {expected}")]
    Value {
        /// As written.
        flag: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Something that is no flag.
    #[error("unexpected argument `{0}`; flags start with `-`, try `--help`")]
    Argument(String),
}

/// Everything that is wrong with a command line. Displays one problem a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct FlagErrors(pub Vec<FlagError>);

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; try `--help`".to_owned(),
        |name| format!("; did you mean `{name}`?"),
    )
}

/// Reads the arguments after the program's name (and after `serve`).
///
/// # Errors
/// Everything that is wrong with them.
pub fn parse_flags(args: impl IntoIterator<Item = String>) -> Result<Command, FlagErrors> {
    let mut reader = Reader::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if let Err(error) = reader.take(&arg, &mut args) {
            reader.errors.push(error);
        }
    }
    let Reader { flags, errors, end } = reader;
    match end {
        // Asking for help or the version wins, as everything else does not matter then.
        Some(End::Help) => Ok(Command::Help),
        Some(End::Version) => Ok(Command::Version),
        _ if !errors.is_empty() => Err(FlagErrors(errors)),
        Some(End::TestConfig) => Ok(Command::TestConfig(flags)),
        None => Ok(Command::Serve(flags)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Help,
    Version,
    TestConfig,
}

#[derive(Default)]
struct Reader {
    flags: Flags,
    errors: Vec<FlagError>,
    end: Option<End>,
}

impl Reader {
    fn take(
        &mut self,
        arg: &str,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), FlagError> {
        let Some(body) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            match arg {
                "help" => self.end = Some(End::Help),
                "version" => self.end = Some(End::Version),
                _ => return Err(FlagError::Argument(arg.to_owned())),
            }
            return Ok(());
        };
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(known) = find(name) else {
            let nearest = nearest(name, names()).map(|name| format!("-{name}"));
            return Err(FlagError::Unknown {
                flag: arg.to_owned(),
                nearest,
            });
        };
        let shown = arg.split('=').next().unwrap_or(arg).to_owned();
        let value = match (known.takes, inline) {
            (Takes::Nothing, None) => "true".to_owned(),
            (_, Some(value)) => value,
            (Takes::Value(_), None) => rest
                .next()
                .ok_or_else(|| FlagError::NoValue(shown.clone()))?,
        };
        let Some(flag) = known.flag else {
            return Err(FlagError::Unsupported(shown));
        };
        let wrong = |expected| FlagError::Value {
            flag: shown,
            value: value.clone(),
            expected,
        };
        self.set(flag, &value).map_err(wrong)
    }

    fn set(&mut self, flag: Flag, value: &str) -> Result<(), &'static str> {
        let flags = &mut self.flags;
        let text = || value.to_owned();
        let path = || {
            if value.is_empty() {
                Err("a path")
            } else {
                Ok(PathBuf::from(value))
            }
        };
        let yes_no = || truth(value).ok_or("`true` or `false`");
        let port = || {
            let number = value
                .parse::<i64>()
                .ok()
                .filter(|port| (-1..=65_535).contains(port));
            number.ok_or("a port: 1 to 65535, or -1 for any free one")
        };
        match flag {
            Flag::Host => flags.host = Some(text()),
            Flag::Port => flags.port = Some(port()?),
            Flag::Name => flags.server_name = Some(text()),
            Flag::HttpPort => flags.http_port = Some(port()?),
            Flag::Config => flags.config = Some(path()?),
            Flag::JetStream => flags.jetstream = Some(yes_no()?),
            Flag::StoreDir => flags.store_dir = Some(path()?),
            Flag::LogFile => flags.log_file = Some(path()?),
            Flag::PidFile => flags.pid_file = Some(path()?),
            Flag::PortsFileDir => flags.ports_file_dir = Some(path()?),
            Flag::LogTime => flags.logtime = Some(yes_no()?),
            Flag::Debug => flags.debug = Some(yes_no()?),
            Flag::Trace => flags.trace = Some(yes_no()?),
            Flag::TraceVerbose => {
                flags.trace_verbose = Some(yes_no()?);
                flags.trace = flags.trace_verbose;
            }
            Flag::DebugTrace => {
                flags.debug = Some(yes_no()?);
                flags.trace = flags.debug;
            }
            Flag::DebugTraceVerbose => {
                flags.debug = Some(yes_no()?);
                flags.trace = flags.debug;
                flags.trace_verbose = flags.debug;
            }
            Flag::User => flags.user = Some(text()),
            Flag::Pass => flags.pass = Some(Secret::new(value)),
            Flag::Auth => flags.auth = Some(Secret::new(value)),
            Flag::TestConfig => self.finish(yes_no()?, End::TestConfig),
            Flag::Version => self.finish(yes_no()?, End::Version),
            Flag::Help => self.finish(yes_no()?, End::Help),
        }
        Ok(())
    }

    fn finish(&mut self, wanted: bool, end: End) {
        // The first of `-h`, `-v` wins; both win over `-t`.
        if wanted && !matches!(self.end, Some(End::Help | End::Version)) {
            self.end = Some(end);
        }
    }
}

/// The words Go's flag package takes.
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
