//! What can be typed. The server binary puts [`Command`] beside its own commands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use millstream_spec::Kind;

mod flow;
mod function;
mod schema;

pub use flow::FlowCommand;
pub use function::{
    BuildArgs, DeployArgs, FunctionCommand, InitArgs, Language, Level, LogsArgs, Start, SwitchArgs,
    TestArgs, World,
};
pub use schema::{CheckArgs, InferArgs, RegisterArgs, SchemaCommand, SchemaFile, SchemaFormat};

/// How to reach the server and how answers look: flags of every command.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Management address of the server
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MILLSTREAM_SERVER",
        default_value = "http://127.0.0.1:8222"
    )]
    pub server: String,
    /// How to show the answer
    #[arg(
        long,
        short = 'o',
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For scripts; the API's answer as it is
    Json,
    /// The same as JSON, easier to read
    Yaml,
}

/// The user's commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create or change what station files describe; nothing is applied unless everything can be
    Apply(ApplyArgs),
    /// List stations, flows, schemas, functions, sources or sinks
    Get {
        /// station, flow, schema, function, source or sink
        #[arg(value_parser = kind)]
        kind: Kind,
        /// Only this one
        name: Option<String>,
    },
    /// Show everything about one thing
    Describe {
        /// station, flow, schema, function, source or sink
        #[arg(value_parser = kind)]
        kind: Kind,
        /// Its name
        name: String,
    },
    /// Remove one thing; a station with everything stored in it
    Delete {
        /// station, flow, schema, function, source or sink
        #[arg(value_parser = kind)]
        kind: Kind,
        /// Its name
        name: String,
    },
    /// Publish a message, or each line of a file
    Publish(PublishArgs),
    /// Show a station's messages and follow new ones
    Tail(TailArgs),
    /// Show how the server is doing
    Status,
    /// Look at rejected messages, send them again or drop them
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Ask what is stored, in SQL: stations are tables; `system.streams`, `system.consumers` and others tell of the server
    Sql(SqlArgs),
    /// List, describe, pause, resume, restart and delete flows, or have them read a range once more
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Register, compare, check, propose and delete schemas
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Begin, build, test, deploy, try and roll back functions
    #[command(subcommand)]
    Function(FunctionCommand),
    /// Measure a server, or this machine: publish, deliver, request, store, read back
    Bench(BenchArgs),
    /// Look after the log on disk
    #[command(subcommand)]
    Journal(JournalCommand),
}

/// `journal`.
#[derive(Clone, Debug, Subcommand)]
pub enum JournalCommand {
    /// Check every byte that was written; exits with 1 when anything is damaged. Beside a running server the newest file
    /// is checked up to its last sync
    Verify(VerifyArgs),
}

/// `journal verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Store folder, as the server's `-sd`; its default when left out
    #[arg(long, value_name = "DIR", conflicts_with = "online")]
    pub store: Option<PathBuf>,
    /// Have the running server check its own
    #[arg(long)]
    pub online: bool,
}

/// `apply`.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {
    /// Station file; several may be given, `-` is standard input
    #[arg(long = "file", short = 'f', value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Only show what would change, and what queries of flows would do
    #[arg(long)]
    pub dry_run: bool,
    /// Run queries of flows over what is stored, too, for at most a minute: since so long ago (1h), since a time
    /// (2026-11-23T07:45:00Z), from a sequence on, or from the `beginning`
    #[arg(long, value_name = "AGE|TIME|SEQ", requires = "dry_run", value_parser = begin)]
    pub from: Option<String>,
}

/// `publish`.
#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    /// Where to
    pub subject: String,
    /// The message; `-` or nothing reads standard input
    #[arg(conflicts_with = "file")]
    pub payload: Option<String>,
    /// A header, may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Publish every line of this file as a message, in order
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `tail`.
#[derive(Args, Clone, Debug)]
pub struct TailArgs {
    /// The station
    pub station: String,
    /// Start at this sequence instead of the oldest message
    #[arg(long, value_name = "N")]
    pub from_seq: Option<u64>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// End after what is stored now
    #[arg(long)]
    pub no_follow: bool,
    /// Show payloads as this schema says: an older or newer version, or another subject's
    #[arg(long = "as", value_name = "SUBJECT[:VERSION]")]
    pub read_as: Option<String>,
    /// Show payloads as they are stored, and not as JSON
    #[arg(long)]
    pub raw: bool,
}

/// `sql`.
#[derive(Args, Clone, Debug)]
pub struct SqlArgs {
    /// A statement; several may be given. Without one they are read from standard input, each up to a `;`: on a terminal with a
    /// prompt that knows tables, columns and earlier statements
    #[arg(long, short, value_name = "STATEMENT")]
    pub command: Vec<String>,
    /// Show rows as CSV, with a header
    #[arg(long, conflicts_with = "output")]
    pub csv: bool,
    /// Write the rows of one statement to a Parquet file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "output"])]
    pub parquet: Option<PathBuf>,
    /// Run a query that never ends, as a flow would, and show what comes out of it; nothing is stored. A `SELECT`, or a
    /// `CREATE FLOW` that is not created, behind `CREATE TABLE` for what is to be known of sources; `-` is standard input
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["command", "parquet"])]
    pub preview: Option<String>,
    /// Preview what is stored since so long ago (1h), since a time (2026-11-23T07:45:00Z), from a sequence on, or from the
    /// `beginning`, and end; when left out, what comes from now on
    #[arg(long, value_name = "AGE|TIME|SEQ", requires = "preview", value_parser = begin)]
    pub from: Option<String>,
    /// Go on with what comes behind what is stored
    #[arg(long, requires = "preview")]
    pub follow: bool,
    /// End the preview after this many results
    #[arg(long, value_name = "N", requires = "preview", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Give each statement this many seconds; 60 when left out, an hour for a preview, 3600 at most
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: Option<u64>,
}

/// What `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchCase {
    /// Core messages that nobody subscribed to
    Publish,
    /// Core messages, each to every subscriber
    Deliver,
    /// A question and its answer, one after the other
    Request,
    /// Stored messages, many under way (`--window`), or by the clock (`--rate`)
    Store,
    /// Stored messages, each waiting for its acknowledgement
    StoreSync,
    /// Stored messages read by a push consumer
    Push,
    /// Stored messages read by a pull consumer that acknowledges each
    Pull,
}

/// `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to measure; everything when nothing is named
    #[arg(value_name = "CASE")]
    pub cases: Vec<BenchCase>,
    /// Measure a server that is started for this in a temporary folder, and this machine's disk
    #[arg(long, conflicts_with = "nats")]
    pub local: bool,
    /// Client address of the server; by default the management address knows it
    #[arg(long, value_name = "HOST:PORT")]
    pub nats: Option<String>,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub size: u32,
    /// How long each case lasts, unless --messages says how many; reading back lasts as long as it takes
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// How many messages each case moves, instead of a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// Send stored messages at this rate whatever the server does, and count latency from when each was due
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Connections that publish
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub publishers: u16,
    /// Connections that `deliver` subscribes with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub subscribers: u16,
    /// Unacknowledged messages of each publisher of `store`
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub window: u32,
}

/// `dead-letters`.
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List rejected messages with their reasons
    List {
        /// The station
        station: String,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
    },
    /// Show one with its payload and headers
    Show {
        /// The station
        station: String,
        /// From the list
        id: u64,
    },
    /// Send through the station again, or through the flow that rejected it; one that is accepted is no dead letter any more
    Resend {
        /// The station
        station: String,
        /// From the list
        #[arg(required_unless_present = "all")]
        id: Option<u64>,
        /// Every one there is now
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Remove for good
    Drop {
        /// The station
        station: String,
        /// From the list
        #[arg(required_unless_present = "all")]
        id: Option<u64>,
        /// Every one there is now
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

fn positive(text: &str, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= most => Ok(number),
        _ => Err(format!("a number above 0, at most {most}")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    positive(text, 86_400.0)
}

fn rate(text: &str) -> Result<f64, String> {
    positive(text, 1e8)
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::parse(word).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::as_str);
        match millstream_types::nearest(word, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("one of {}", names.join(", ")),
        }
    })
}

/// Where to begin; the server reads it once more.
fn begin(text: &str) -> Result<String, String> {
    Start::parse(text).map(|_| text.to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
