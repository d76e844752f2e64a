//! What a function is to the rest of the server: messages in, outcomes out, limits, and the errors of both ends.
//!
//! What lives here: plain types and the traits [`Function`], [`FunctionHost`] and [`Outside`], and the WIT package they
//! mirror ([`WIT`]). What may not come in: any WebAssembly engine, tokio, any IO.

mod error;
mod function;
mod limits;
mod message;
mod outside;

pub use error::{Fault, FaultCode, LoadError};
pub use function::{Function, FunctionHost, Manifest};
pub use limits::Limits;
pub use message::{FunctionMessage, FunctionOutcome, Output};
pub use outside::{Entry, Grants, LogLevel, Nothing, Outside, StateWrite, WebRequest, WebResponse};

/// The WIT package `millstream:function@0.2.0`, the contract between host and guests.
pub const WIT: &str = include_str!("../wit/function.wit");
/// Its first version. A core module that does not say which one it was built for is of this one.
pub const WIT_0_1: &str = include_str!("../wit-0.1.0/function.wit");
