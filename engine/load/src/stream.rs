//! The streams a run needs, made and removed again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::client::{Client, Target};
use crate::error::{LoadError, Result};

/// A file stream without limits, one replica: the same words for every server.
#[must_use]
pub fn stream_config(name: &str, subjects: &[&str]) -> Value {
    json!({ "name": name, "subjects": subjects, "storage": "file", "num_replicas": 1,
        "retention": "limits", "discard": "old", "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msgs_per_subject": -1, "max_msg_size": -1, "max_consumers": -1 })
}

/// Makes such a stream.
///
/// # Errors
/// When the server refuses it.
pub fn create_stream(client: &mut Client, name: &str, subjects: &[&str]) -> Result<()> {
    let config = stream_config(name, subjects);
    client.api(&format!("STREAM.CREATE.{name}"), &config)?;
    Ok(())
}

/// Removes a stream with everything in it.
///
/// # Errors
/// When the server refuses it.
pub fn delete_stream(client: &mut Client, name: &str) -> Result<()> {
    client.api(&format!("STREAM.DELETE.{name}"), &Value::Null)?;
    Ok(())
}

/// The streams of a measurement on a server that is somebody's: all have one prefix, and all are removed, also when the
/// measurement is broken off in the middle of making one.
#[derive(Debug)]
pub struct Stations {
    target: Target,
    prefix: String,
    /// A lock held while one is made or removed, so that a break-off knows of every one.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    names: Vec<String>,
}

impl Stations {
    /// None yet; names will begin with `prefix`.
    #[must_use]
    pub fn new(target: Target, prefix: String) -> Self {
        Self {
            target,
            prefix,
            state: Mutex::default(),
        }
    }

    /// How names begin.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Makes one that takes `<its name>.>`, and answers its name.
    ///
    /// # Errors
    /// When the server refuses it, or [`Self::close`] came first.
    pub fn create(&self, word: &str) -> Result<String> {
        let mut state = self.state();
        if state.closed {
            return Err(LoadError::Stopped);
        }
        let name = format!("{}-{word}", self.prefix);
        // Noted before the request: an answer that does not come may stand for a stream that is there.
        state.names.push(name.clone());
        let mut client = Client::connect(&self.target)?;
        create_stream(&mut client, &name, &[&format!("{name}.>")])?;
        Ok(name)
    }

    /// Removes one.
    ///
    /// # Errors
    /// When the server refuses it; [`Self::close`] tries again.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        if state.names.iter().any(|other| other == name) {
            delete_stream(&mut Client::connect(&self.target)?, name)?;
            state.names.retain(|other| other != name);
        }
        Ok(())
    }

    /// Removes all there are, and lets no other be made.
    ///
    /// # Errors
    /// With the first that cannot be removed, after trying the others.
    pub fn close(&self) -> Result<()> {
        let mut state = self.state();
        state.closed = true;
        if state.names.is_empty() {
            return Ok(());
        }
        let mut client = Client::connect(&self.target)?;
        let mut first = Ok(());
        for name in std::mem::take(&mut state.names) {
            match delete_stream(&mut client, &name) {
                // It was never made, or is removed already.
                Err(LoadError::Refused { error, .. }) if error.contains("10059") => {}
                result => first = first.and(result),
            }
        }
        first
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
