//! `schema`: subjects, versions, differences, proposals.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// A schema language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// JSON Schema (`.json`)
    Json,
    /// Apache Avro (`.avsc`)
    Avro,
    /// Protocol Buffers (`.proto`)
    Protobuf,
}

/// `schema`.
#[derive(Clone, Debug, Subcommand)]
pub enum SchemaCommand {
    /// Register a file as the next version of a subject; the same text again is the version it was
    Register(RegisterArgs),
    /// Show a schema's text: of a subject, one of its versions, or an id
    Get {
        /// The subject, the newest version unless one is named
        #[arg(value_name = "SUBJECT[:VERSION]", required_unless_present = "id")]
        subject: Option<String>,
        /// The schema with this id
        #[arg(long, value_name = "N", conflicts_with = "subject")]
        id: Option<u32>,
    },
    /// List subjects with their newest versions
    List,
    /// List the versions of a subject
    Versions {
        /// The subject
        subject: String,
    },
    /// Show what changed between two versions, or a version and a file
    Diff {
        /// The one before
        #[arg(value_name = "SUBJECT[:VERSION]|FILE")]
        old: String,
        /// The one after
        #[arg(value_name = "SUBJECT[:VERSION]|FILE")]
        new: String,
        /// Language of files, when their endings do not say it
        #[arg(long, value_name = "FORMAT")]
        format: Option<SchemaFormat>,
    },
    /// Show what would break if a file became the next version; exits with 4 when anything would
    Check(CheckArgs),
    /// Propose a schema from stored messages, with what it is taken from
    Infer(InferArgs),
    /// Delete a subject or one version; schemas of stored messages are found by their ids as before
    Delete {
        /// The subject, with all versions unless one is named
        #[arg(value_name = "SUBJECT[:VERSION]")]
        subject: String,
        /// For good: the version number may be given again
        #[arg(long)]
        permanent: bool,
    },
    /// Show or set which changes are allowed, for one subject or all
    Compat {
        /// The subject; all when left out
        #[arg(value_name = "SUBJECT|LEVEL")]
        subject: Option<String>,
        /// NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE
        level: Option<String>,
    },
}

/// A schema in a file.
#[derive(Args, Clone, Debug)]
pub struct SchemaFile {
    /// The schema; `-` is standard input
    pub file: PathBuf,
    /// Its language, when the file's ending does not say it
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<SchemaFormat>,
    /// A schema that it refers to: the import path, `$ref` or full name, and the version it is; may be given several times
    #[arg(long = "reference", value_name = "NAME=SUBJECT:VERSION", value_parser = reference)]
    pub references: Vec<(String, String, i64)>,
}

/// `schema register`.
#[derive(Args, Clone, Debug)]
pub struct RegisterArgs {
    /// The subject
    pub subject: String,
    /// What to register.
    #[command(flatten)]
    pub schema: SchemaFile,
    /// Set which changes the subject allows, first
    #[arg(long, value_name = "LEVEL")]
    pub compatibility: Option<String>,
    /// Put everything into one order and spelling that does not change the meaning
    #[arg(long)]
    pub normalize: bool,
    /// Only show what would break, as `schema check`
    #[arg(long)]
    pub dry_run: bool,
}

/// `schema check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The subject; it need not exist
    pub subject: String,
    /// What would be registered.
    #[command(flatten)]
    pub schema: SchemaFile,
    /// Hold it against every stored message of this station
    #[arg(long, value_name = "STATION")]
    pub against_history: Option<String>,
    /// Start at this sequence, or at this time (2026-11-23T07:45:00Z)
    #[arg(long, value_name = "SEQ|TIME", requires = "against_history")]
    pub from: Option<String>,
    /// End after this many messages
    #[arg(long, value_name = "N", requires = "against_history", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// `schema infer`.
#[derive(Args, Clone, Debug)]
pub struct InferArgs {
    /// The station
    pub station: String,
    /// Language of the proposal
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub format: SchemaFormat,
    /// Look at so many of the newest messages; 10,000 when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Start at this sequence
    #[arg(long, value_name = "N")]
    pub from_seq: Option<u64>,
    /// Register the proposal as the next version of this subject
    #[arg(long, value_name = "SUBJECT")]
    pub register: Option<String>,
}

impl SchemaFormat {
    /// The word of the management API; in capitals the registry's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }

    /// The language of a file by its ending.
    #[must_use]
    pub fn of_ending(path: &std::path::Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        match ending.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "avsc" => Some(Self::Avro),
            "proto" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

fn reference(text: &str) -> Result<(String, String, i64), String> {
    let (name, version) = text.rsplit_once('=').unwrap_or_default();
    let (subject, number) = version.rsplit_once(':').unwrap_or_default();
    match number.parse::<i64>() {
        Ok(number) if number > 0 && !name.is_empty() && !subject.is_empty() => {
            Ok((name.to_owned(), subject.to_owned(), number))
        }
        _ => Err("write NAME=SUBJECT:VERSION".to_owned()),
    }
}
