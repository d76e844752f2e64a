//! How a server is told what to do: nats-server's configuration language and flags, one `Config`.
//!
//! What lives here: the language ([`conf`]), the flags, the table of every key nats-server knows,
//! and the checks that need nothing but the text. All problems are reported at once. This is the
//! only room that reads the environment; a flag wins over the file.
//! What may not come in: sockets, tokio, what a setting does, station files (room `spec`).

pub mod conf;
mod flags;
mod problem;
mod server;

pub use flags::{Command, FlagError, FlagErrors, Flags, help_text, parse_flags};
pub use problem::{ConfigError, Problem};
pub use server::{
    Authorization, Certificate, Cipher, Config, Encryption, Flavor, Http, JetStream, Limits,
    Logging, Millstream, Secret, UserEntry,
};
