//! What can be wrong with a module when it is loaded, and with a message when it is run.

use std::fmt;

use millstream_types::{Domain, Retry, format_bytes, format_duration};
use thiserror::Error;

/// Why a module was not loaded. Every text says what to do next.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// Larger than the host takes.
    #[error("the module has {} and at most {} are taken: build it optimised for size and stripped", format_bytes(*size), format_bytes(*limit))]
    TooLarge {
        /// Bytes of the module.
        size: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// The bytes do not start like WebAssembly.
    #[error(
        "not a WebAssembly file: it starts with {found}; give the path of a `.wasm` that a compiler wrote, not of its source"
    )]
    NotWasm {
        /// The first bytes, printable.
        found: String,
    },
    /// It starts like WebAssembly but is damaged or uses something unknown.
    #[error("the WebAssembly file is not valid: {reason}; build it again")]
    Invalid {
        /// What the validator says, with the offset.
        reason: String,
    },
    /// A core module that does not implement the world.
    #[error(
        "the module is neither a component nor a core module that can be made one: {reason}; build it with the guest kit against a world of `millstream:function@0.2.0`"
    )]
    NotAFunction {
        /// What is missing.
        reason: String,
    },
    /// It wants something that it was not granted.
    #[error(
        "the function imports what it was not granted: {}{}",
        quoted(imports),
        granting(imports)
    )]
    Imports {
        /// The full name of each import.
        imports: Vec<String>,
    },
    /// The component lacks a function of the world, or has it with another type.
    #[error(
        "the component does not export `{export}` as `millstream:function@0.2.0` has it: {reason}"
    )]
    Export {
        /// Name of the export.
        export: String,
        /// Missing, or how its type differs.
        reason: String,
    },
    /// It takes the compiler too long.
    #[error("the module is not compiled after {}; make it smaller, or split it", format_duration(*after))]
    Budget {
        /// The time it had.
        after: std::time::Duration,
    },
    /// The compiler gave up.
    #[error("the module cannot be compiled: {reason}")]
    Compile {
        /// What the compiler says.
        reason: String,
    },
    /// The guest failed or overstepped a limit while it was being set up.
    #[error("the function fails before its first message: {fault}")]
    Start {
        /// What it did.
        fault: Fault,
    },
    /// The guest's own `configure` said no.
    #[error("the function refuses its configuration: {reason}")]
    Configure {
        /// The guest's words.
        reason: String,
    },
}

/// What to write into the document, or why no document can grant it.
fn granting(imports: &[String]) -> &'static str {
    let any = |part: &str| imports.iter().any(|name| name.contains(part));
    if any("wasi:") || any("wasi_snapshot") {
        "; functions have no WASI: build it without (JavaScript: `disableFeatures`, Python: `--stub-wasi`, Rust: `wasm32-unknown-unknown`)"
    } else if any("function/bucket@") {
        "; write `state: {}` into its document to give it a bucket"
    } else if any("function/stations@") {
        "; list what it may read under `lookup:` in its document"
    } else if any("function/web@") {
        "; list the hosts under `http:` in its document"
    } else {
        "; a function imports interfaces of `millstream:function` alone"
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl LoadError {
    /// Whose doing it is: always the module's.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Client
    }

    /// Loading the same bytes again gives the same error.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// What a guest did wrong with one message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{code}: {reason}")]
pub struct Fault {
    /// The kind, to count and filter by.
    pub code: FaultCode,
    /// A sentence for a person, with the limit where one was overstepped.
    pub reason: String,
}

/// The kinds of [`Fault`]. The words of [`FaultCode::as_str`] are stored in dead letters: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultCode {
    /// The guest trapped: panic, out of bounds, stack overflow.
    Trap,
    /// It ran longer than allowed.
    Timeout,
    /// It asked for more memory than allowed.
    Memory,
    /// More came out than allowed.
    OutputLimit,
    /// More calls to the host than allowed.
    HostCalls,
    /// Another number of outcomes than messages.
    WrongCount,
    /// An outcome that cannot be carried out, such as a subject with a wildcard.
    BadOutput,
}

impl FaultCode {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::OutputLimit => "output_limit",
            Self::HostCalls => "host_calls",
            Self::WrongCount => "wrong_count",
            Self::BadOutput => "bad_output",
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
