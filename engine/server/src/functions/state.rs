//! What a flow's function has written to its bucket and the log does not have yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millstream_function_api::StateWrite;
use millstream_types::{HeadersBuilder, Message};

/// The writes of one batch on top of a bucket. One flow writes a bucket, one batch at a time, and a batch is in the log
/// before the next one begins: so what is here and what is stored is together what the function wrote.
#[derive(Debug)]
pub(crate) struct State {
    bucket: String,
    /// Keys of this batch; `None` is one that was deleted.
    writes: Mutex<HashMap<String, Option<Bytes>>>,
}

impl State {
    pub(crate) fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            writes: Mutex::default(),
        }
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    fn writes(&self) -> MutexGuard<'_, HashMap<String, Option<Bytes>>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this batch has written to a key; `None`: nothing.
    #[expect(
        clippy::option_option,
        reason = "a key that was deleted is not one that was not written"
    )]
    pub(crate) fn written(&self, key: &str) -> Option<Option<Bytes>> {
        self.writes().get(key).cloned()
    }

    pub(crate) fn write(&self, writes: Vec<StateWrite>) {
        self.writes().extend(writes);
    }

    /// The stream that holds the bucket.
    pub(crate) fn stream(&self) -> String {
        format!("KV_{}", self.bucket)
    }

    /// What is to be stored with the batch, as clients of key-value buckets read it, in the order of the keys.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let writes = self.writes();
        let mut keys: Vec<_> = writes.iter().collect();
        keys.sort_by_key(|(key, _)| *key);
        let message = |(key, value): (&String, &Option<Bytes>)| {
            let headers = match value {
                Some(_) => Bytes::new(),
                None => HeadersBuilder::new().with("KV-Operation", "DEL").build(),
            };
            Message {
                subject: Bytes::from(format!("$KV.{}.{key}", self.bucket)),
                reply: None,
                headers,
                payload: value.clone().unwrap_or_default(),
            }
        };
        keys.into_iter().map(message).collect()
    }

    /// Forgets the batch: it is in the log, or never will be.
    pub(crate) fn clear(&self) {
        self.writes().clear();
    }
}
