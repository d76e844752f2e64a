//! The user's commands: a client of the management API; `bench` drives the load generator against a server.
//!
//! What lives here: arguments, requests, and how answers look as tables, JSON and YAML. Everything
//! is written to a [`Console`], so tests read what a user sees.
//! What may not come in: the server's insides, the NATS protocol, decisions that belong to the server.

mod args;
mod bundle;
mod client;
mod commands;
mod console;
mod error;
mod table;
mod templates;
mod yaml;

#[cfg(test)]
mod tests;

pub use args::{
    ApplyArgs, BenchArgs, BenchCase, BuildArgs, CheckArgs, Command, Connection, DeadLettersCommand,
    DeployArgs, FlowCommand, Format, FunctionCommand, InferArgs, InitArgs, JournalCommand,
    Language, Level, LogsArgs, PublishArgs, RegisterArgs, SchemaCommand, SchemaFile, SchemaFormat,
    SqlArgs, Start, SwitchArgs, TailArgs, TestArgs, VerifyArgs, World,
};
pub use bundle::Bundle;
pub use commands::{refused, run, tested, verified};
pub use console::{Console, System};
pub use error::{CliError, exit};
