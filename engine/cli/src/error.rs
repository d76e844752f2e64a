//! Why a command fails, and its exit status.

use std::path::PathBuf;

use millstream_load::LoadError;
use millstream_spec::Problem;
use serde_json::{Value, json};
use thiserror::Error;

/// Exit statuses; scripts rely on them.
pub mod exit {
    /// Done.
    pub const DONE: i32 = 0;
    /// Failed.
    pub const FAILED: i32 = 1;
    /// The command line cannot be read.
    pub const USAGE: i32 = 2;
    /// There is no such thing.
    pub const NOT_FOUND: i32 = 3;
    /// The server, or the check of the files, refused it.
    pub const REFUSED: i32 = 4;
}

/// Why a command fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CliError {
    /// No server answers.
    #[error("cannot reach the server at {server}: {reason}")]
    Unreachable {
        /// Its address.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// The address is none.
    #[error("`{server}` is not a server's address: {reason}")]
    Address {
        /// As given.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection broke while the answer was coming.
    #[error("the answer of {server} broke off: {reason}")]
    BrokeOff {
        /// Its address.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// What answers is no Millstream, or too old a one.
    #[error("{server} answers with status {status} and no error that can be read")]
    Unexpected {
        /// Its address.
        server: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server says no.
    #[error("{error}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The server's text.
        error: String,
        /// The server's advice; may be empty.
        hint: String,
        /// The whole body.
        body: Value,
    },
    /// The files cannot be applied.
    #[error("{} in the files; nothing was applied", count(.0.len()))]
    Problems(Vec<Problem>),
    /// There is no such thing, found without the server's help.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// A file holds the rows of one statement.
    #[error("a Parquet file holds the rows of one statement, and there are several")]
    OneStatement,
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Some of many requests were refused; each was reported.
    #[error("{refused} of {all} were refused")]
    Some {
        /// How many.
        refused: u64,
        /// Of how many.
        all: u64,
    },
    /// A schema would break something; each was shown.
    #[error("the schema would break what there is; nothing was changed")]
    Breaks,
    /// A file's ending does not say which language it is in.
    #[error("`{}` does not say which schema language it is in", .0.display())]
    Language(PathBuf),
    /// A word that names no compatibility level.
    #[error("`{0}` is no compatibility level")]
    Level(String),
    /// A version that is no number.
    #[error("`{0}` names no version")]
    Version(String),
    /// A measurement failed.
    #[error("the measurement of {case} failed: {source}")]
    Bench {
        /// What was measured.
        case: String,
        /// Why.
        source: LoadError,
    },
    /// The server that `bench --local` starts does not start.
    #[error("cannot start a server to measure: {0}")]
    Local(String),
    /// Ended by its user; what there was to put away is put away.
    #[error("interrupted")]
    Interrupted,
    /// The log is not as it was written; each place was shown.
    #[error("the log is damaged")]
    Damaged,
    /// This program has no server inside that could look at the files.
    #[error("the files can be checked by the server's own program only")]
    NotHere,
    /// This program has no WebAssembly engine inside.
    #[error("functions can be tested by the server's own program only")]
    NoEngine,
    /// Tests of a function failed; each was shown.
    #[error("{failed} of {all} tests failed")]
    Failed {
        /// How many.
        failed: u64,
        /// Of how many.
        all: u64,
    },
    /// A station file without a function.
    #[error("`{}` describes no function", .0.display())]
    NoFunction(PathBuf),
    /// A name that cannot be a package of every language.
    #[error("`{0}` cannot be a function's name")]
    FunctionName(String),
    /// A folder that is to be filled has something in it.
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A language that has no way to use a world.
    #[error("a function in C without a kit imports nothing, so world `{0}` is out of its reach")]
    World(String),
    /// A folder in which no language's files lie.
    #[error("`{}` has no function in it that could be built", .0.display())]
    NoLanguage(PathBuf),
    /// A tool that a build needs is not installed.
    #[error("{what} is missing")]
    Missing {
        /// The tool.
        what: &'static str,
        /// How to get it.
        get: &'static str,
    },
    /// A tool ended with an error; what it wrote was shown.
    #[error("`{tool}` failed")]
    Tool {
        /// The command line.
        tool: String,
        /// What to do about what it wrote.
        hint: Option<&'static str>,
    },
    /// A tool cannot be started.
    #[error("cannot run `{}`: {source}", path.display())]
    Run {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tools ended well and there is no module.
    #[error("{0}")]
    NoModule(&'static str),
    /// A file cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Save {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The console cannot be written to.
    #[error("cannot write the answer: {0}")]
    Write(#[from] std::io::Error),
}

fn measurement_hint(error: &LoadError) -> Option<&'static str> {
    match error {
        LoadError::Connect { .. } => Some("name the client address with `--nats HOST:PORT`"),
        LoadError::NotServed(_) => {
            Some("start the server with `-js`, or measure `publish`, `deliver` and `request` only")
        }
        LoadError::Said(text) if text.to_lowercase().contains("authorization") => Some(
            "say who you are: `--server http://USER:PASSWORD@HOST:PORT`, or `http://TOKEN@HOST:PORT`",
        ),
        _ => None,
    }
}

fn count(problems: usize) -> String {
    if problems == 1 {
        "1 problem".to_owned()
    } else {
        format!("{problems} problems")
    }
}

impl CliError {
    /// The process's exit status.
    #[must_use]
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::Server { status: 404, .. } | Self::NotFound { .. } => exit::NOT_FOUND,
            Self::Server {
                status: 400..=499, ..
            }
            | Self::Problems(_)
            | Self::Breaks
            | Self::Some { .. } => exit::REFUSED,
            Self::Language(_)
            | Self::Level(_)
            | Self::Version(_)
            | Self::FunctionName(_)
            | Self::OneStatement
            | Self::World(_) => exit::USAGE,
            // Whoever read the answer has seen enough (`millstream tail … | head`).
            Self::Write(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::DONE,
            _ => exit::FAILED,
        }
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("is it running? start it with `millstream serve`, or name another with `--server URL`".to_owned())
            }
            Self::Address { .. } => Some("write it like http://127.0.0.1:8222".to_owned()),
            Self::Unexpected { .. } => Some("is this the management port (`-m`) of a Millstream server?".to_owned()),
            Self::BrokeOff { .. } => Some("look at the server's log, then try again".to_owned()),
            Self::Server { hint, .. } => Some(hint.clone()).filter(|hint| !hint.is_empty()),
            Self::Bench { source, .. } => measurement_hint(source).map(str::to_owned),
            Self::Language(_) => Some("say it with `--format json|avro|protobuf`".to_owned()),
            Self::OneStatement => Some("write a file for each".to_owned()),
            Self::Level(_) => Some("use NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE".to_owned()),
            Self::Version(_) => Some("write SUBJECT, SUBJECT:3 or SUBJECT:latest".to_owned()),
            Self::NotFound { nearest, .. } => nearest.as_ref().map(|name| format!("did you mean `{name}`?")),
            Self::NoFunction(_) => Some("`kind: function` begins one".to_owned()),
            Self::FunctionName(_) => Some("letters, digits, `-` and `_`, a letter first, at most 64".to_owned()),
            Self::NotEmpty(_) => Some("name a folder that is empty or does not exist with `--dir DIR`".to_owned()),
            Self::World(_) => Some("use another language, or `--world pure`".to_owned()),
            Self::NoLanguage(_) => {
                Some("it should have a Cargo.toml, a package.json, a *.py with `class WitWorld`, or a *.c; `millstream function init` begins one".to_owned())
            }
            Self::Missing { get, .. } => Some((*get).to_owned()),
            Self::Tool { hint, .. } => hint.map(str::to_owned),
            Self::Read { path, .. } if path.ends_with("function.yaml") => {
                Some("`millstream function init` begins a function".to_owned())
            }
            _ => None,
        }
    }

    /// For `--output json`: the server's body as it is, or the same shape.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Server { body, .. } if body.is_object() => body.clone(),
            Self::Problems(problems) => json!({ "error": self.to_string(), "problems": problems }),
            _ => json!({ "error": self.to_string(), "hint": self.hint() }),
        }
    }

    /// The problems behind it, with their places.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Problems(problems) => problems.clone(),
            Self::Server { body, .. } => body
                .get("problems")
                .and_then(|problems| serde_json::from_value(problems.clone()).ok())
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}
