//! Runs functions: turns the bytes of a WebAssembly module into a `Function` of `functions/api`, with wasmtime.
//!
//! What lives here: checking and wrapping modules, compiling, compiled modules on disk, instances and their pool, limits,
//! isolation of the message that makes a guest fail. What may not come in: pipelines, subjects' meaning, tokio, the network.
//!
//! A guest reaches its own memory and what it was granted: `module.rs` refuses other imports, `calls.rs` counts what it
//! asks for. What it can still do is run for ever, eat memory, answer too much, or trap; `clock.rs`, `limiter.rs`, `abi.rs`
//! and `function.rs` deal with one each; `compiler.rs` with modules that take the compiler too long.

mod abi;
mod artefacts;
mod cache;
mod calls;
mod clock;
mod compiler;
mod fault;
mod function;
mod host;
mod instance;
mod limiter;
mod module;
mod ticker;
mod web;

pub use host::{HostError, Options, WasmtimeHost};
