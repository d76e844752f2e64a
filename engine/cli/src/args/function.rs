//! `function`: from an empty folder to a version that runs, and back.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// A language that `function init` has a beginning for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, by cargo
    Rust,
    /// JavaScript, by componentize-js
    Javascript,
    /// Python, by componentize-py
    Python,
    /// C without any kit, by zig or clang; world `pure` only
    C,
}

/// What a function may use besides its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// Nothing: a function of its input and configuration
    Pure,
    /// A key-value bucket of its own
    State,
    /// What stations and buckets hold
    Lookup,
    /// Other hosts
    Http,
}

/// `function`.
#[derive(Clone, Debug, Subcommand)]
pub enum FunctionCommand {
    /// Begin a function: a folder that builds, with tests
    Init(InitArgs),
    /// Build the module that `function.yaml` names, with the language's own tools
    Build(BuildArgs),
    /// Run the function's tests, without a server; exits with 1 when one fails
    Test(TestArgs),
    /// Make it the version that runs, or try it first: beside the version that runs, or on stored messages
    Deploy(DeployArgs),
    /// List a function's versions and what was done with them
    Versions {
        /// The function
        name: String,
    },
    /// Make the version that is tried the one that runs
    Promote(SwitchArgs),
    /// End the trial of a version; the one that runs goes on
    Stop(SwitchArgs),
    /// Make an earlier version the one that runs
    Rollback {
        /// Which function, and why.
        #[command(flatten)]
        switch: SwitchArgs,
        /// This version; the one that ran before when left out
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
        to: Option<u64>,
    },
    /// Show what a function logged
    Logs(LogsArgs),
}

/// `function init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// What the function is called
    pub name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE")]
    pub language: Language,
    /// What it may use besides its input
    #[arg(long, value_name = "WORLD", default_value = "pure")]
    pub world: World,
    /// The folder, new or empty; called like the function when left out
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `function build`.
#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// The function's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// `function test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Station file with the function
    #[arg(
        long,
        short = 'f',
        value_name = "FILE",
        default_value = "function.yaml"
    )]
    pub file: PathBuf,
}

/// `function deploy`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("trial").args(["shadow", "canary", "canary_subjects"]))]
pub struct DeployArgs {
    /// Station file with the function; `-` is standard input
    #[arg(
        long,
        short = 'f',
        value_name = "FILE",
        default_value = "function.yaml"
    )]
    pub file: PathBuf,
    /// What for; the history of versions shows it
    #[arg(long, value_name = "TEXT", conflicts_with = "dry_run")]
    pub why: Option<String>,
    /// Run it beside the version that runs and only count what would differ
    #[arg(long, conflicts_with = "dry_run")]
    pub shadow: bool,
    /// Give it this share of messages
    #[arg(long, value_name = "PERCENT", conflicts_with = "dry_run", value_parser = percent)]
    pub canary: Option<f64>,
    /// Give it the messages of these subjects
    #[arg(long, value_name = "FILTER", conflicts_with = "dry_run")]
    pub canary_subjects: Option<String>,
    /// End the trial when more of its messages than this end badly; 5% when left out
    #[arg(long, value_name = "PERCENT", requires = "trial", value_parser = rate)]
    pub max_error_rate: Option<f64>,
    /// Judge the trial after so many messages; 100 when left out
    #[arg(long, value_name = "N", requires = "trial", value_parser = clap::value_parser!(u64).range(1..))]
    pub min_messages: Option<u64>,
    /// Only run it over stored messages, beside the version that runs, and show what comes out
    #[arg(long, requires = "station")]
    pub dry_run: bool,
    /// Whose messages
    #[arg(long, value_name = "STATION", requires = "dry_run")]
    pub station: Option<String>,
    /// Start so long ago (1h), at this sequence, at this time (2026-11-23T07:45:00Z), or at the `beginning`, which is
    /// where it starts when left out
    #[arg(long, value_name = "AGE|SEQ|TIME", requires = "dry_run", value_parser = Start::parse)]
    pub from: Option<Start>,
    /// End after this many messages
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// Where to start in a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message.
    Beginning,
    /// At a sequence.
    Sequence(u64),
    /// At a time, in RFC 3339.
    Time(String),
    /// So long ago.
    Age(std::time::Duration),
}

impl Start {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "beginning" {
            return Ok(Self::Beginning);
        }
        if let Ok(sequence) = text.parse::<u64>() {
            return Ok(Self::Sequence(sequence));
        }
        if millstream_types::Timestamp::parse_rfc3339(text).is_some() {
            return Ok(Self::Time(text.to_owned()));
        }
        millstream_types::parse_duration(text)
            .map(Self::Age)
            .map_err(|_| {
                "write 1h, a sequence, a time like 2026-11-23T07:45:00Z, or `beginning`".to_owned()
            })
    }
}

/// `function promote`, `stop` and `rollback`.
#[derive(Args, Clone, Debug)]
pub struct SwitchArgs {
    /// The function
    pub name: String,
    /// What for; the history of versions shows it
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// How much a line of a log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Everything
    Debug,
    /// What is worth knowing, and worse
    Info,
    /// What is odd, and errors
    Warn,
    /// Errors
    Error,
}

/// `function logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    /// The function
    pub name: String,
    /// Go on with new lines
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only lines of this level and worse
    #[arg(long, value_name = "LEVEL", default_value = "debug")]
    pub level: Level,
    /// Only the newest so many; with `--follow`, end after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("write 5%: above 0%, at most 100%".to_owned()),
    }
}

/// `5%` or `0.05`.
fn rate(text: &str) -> Result<f64, String> {
    let rate = match text.strip_suffix('%') {
        Some(number) => number
            .trim_end()
            .parse::<f64>()
            .map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    match rate {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("write 5% or 0.05: at most 100%".to_owned()),
    }
}
