//! The two traits that keep the WebAssembly engine out of every other room.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::{Fault, FunctionMessage, FunctionOutcome, Grants, Limits, LoadError, Outside};

/// What is deployed besides the module itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The function's name, as in the station file.
    pub name: String,
    /// Which version of it this is; any word, it is only shown.
    pub version: String,
    /// Handed to the guest's `configure`.
    pub config: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
    /// What it may reach.
    pub grants: Grants,
}

/// A loaded function. Shared by all threads that run its stage.
pub trait Function: Send + Sync + Debug {
    /// The name from the manifest.
    fn name(&self) -> &str;

    /// One result for each message, in the same order. Never panics and never fails as a whole: what a guest does
    /// wrong with one message is that message's [`Fault`] and nobody else's.
    ///
    /// Blocks the calling thread, for a small multiple of [`Limits::timeout`] at most: one time-out for the batch,
    /// then one for each message that brings about another, up to the bound that the host states.
    fn process(&self, batch: &[FunctionMessage<'_>]) -> Vec<Result<FunctionOutcome, Fault>>;

    /// Linear memory of its largest instance so far, in bytes.
    fn memory(&self) -> u64;
}

/// Turns the bytes of a module into a [`Function`].
pub trait FunctionHost: Send + Sync + Debug {
    /// Checks, compiles, instantiates and configures once, so that what can be wrong is wrong now. Takes
    /// milliseconds to seconds of processor time: call it on a thread that carries no messages.
    ///
    /// # Errors
    /// What is wrong with the module or its configuration; nothing is kept of it then.
    fn load(
        &self,
        wasm: &[u8],
        manifest: &Manifest,
        outside: Arc<dyn Outside>,
    ) -> Result<Arc<dyn Function>, LoadError>;

    /// The same for a module that was loaded before, named by the SHA-256 of its bytes, without looking at them; `None`
    /// when it is not at hand as it was compiled. Takes milliseconds.
    fn load_kept(
        &self,
        module: &[u8; 32],
        manifest: &Manifest,
        outside: Arc<dyn Outside>,
    ) -> Option<Result<Arc<dyn Function>, LoadError>>;
}
