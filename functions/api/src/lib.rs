//! What a function is to the rest of the server: messages in, outcomes out, limits, and the errors of both ends.
//!
//! What lives here: plain types and the two traits [`Function`] and [`FunctionHost`], and the WIT package they
//! mirror ([`WIT`]). What may not come in: any WebAssembly engine, tokio, any IO.

mod error;
mod function;
mod limits;
mod message;

pub use error::{Fault, FaultCode, LoadError};
pub use function::{Function, FunctionHost, Manifest};
pub use limits::Limits;
pub use message::{FunctionMessage, FunctionOutcome, Output};

/// The WIT package `millstream:function@0.1.0`, the contract between host and guests.
pub const WIT: &str = include_str!("../wit/function.wit");
