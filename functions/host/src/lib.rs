//! Runs functions: turns the bytes of a WebAssembly module into a `Function` of `functions/api`, with wasmtime.
//!
//! What lives here: checking and wrapping modules, compiling, instances and their pool, limits, isolation of the
//! message that makes a guest fail. What may not come in: pipelines, subjects' meaning, tokio, files, the network.
//!
//! A guest gets no import at all, so it can reach nothing but its own memory. What it can still do is run for ever,
//! eat memory, answer too much, or trap; `clock.rs`, `limiter.rs`, `abi.rs` and `function.rs` deal with one each.

mod abi;
mod cache;
mod clock;
mod fault;
mod function;
mod host;
mod instance;
mod limiter;
mod module;
mod ticker;

pub use host::{HostError, Options, WasmtimeHost};
