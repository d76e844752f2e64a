//! What a flow's function has written to its bucket and the log does not have yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millstream_function_api::StateWrite;
use millstream_jetstream::FlowEffects;
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

    /// What is to be stored with the batch, as clients of key-value buckets read it, in the order of the keys.
    fn messages(&self) -> Vec<Message> {
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
}

/// The stream that holds a bucket.
pub(crate) fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The states of all functions of a flow.
#[derive(Debug)]
pub(crate) struct States(pub(crate) Vec<Arc<State>>);

impl States {
    fn clear(&self) {
        for state in &self.0 {
            state.writes().clear();
        }
    }
}

impl FlowEffects for States {
    fn begin(&self) {
        self.clear();
    }

    fn take(&self) -> Vec<(String, Message)> {
        let each = self.0.iter().flat_map(|state| {
            let stream = bucket_stream(&state.bucket);
            let messages = state.messages().into_iter();
            messages.map(move |message| (stream.clone(), message))
        });
        each.collect()
    }

    /// Either way the bucket itself says how it stands.
    fn committed(&self, _ok: bool) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use millstream_jetstream::FlowEffects as _;
    use millstream_types::HeaderBlock;

    use super::{State, States};

    #[test]
    fn writes_are_what_bucket_clients_read_and_end_with_the_batch() {
        let state = Arc::new(State::new("late"));
        let states = States(vec![Arc::clone(&state)]);
        states.begin();
        state.write(vec![("UA".to_owned(), Some(Bytes::from_static(b"2")))]);
        state.write(vec![
            ("UA".to_owned(), Some(Bytes::from_static(b"3"))),
            ("AA".to_owned(), None),
        ]);
        assert_eq!(state.written("UA"), Some(Some(Bytes::from_static(b"3"))));
        assert_eq!(
            (state.written("AA"), state.written("DL")),
            (Some(None), None)
        );
        let written = states.take();
        let shown: Vec<_> = written
            .iter()
            .map(|(stream, message)| {
                let operation = HeaderBlock::new(&message.headers);
                let operation = operation.get_str("KV-Operation").map(str::to_owned);
                (
                    stream.as_str(),
                    message.subject_str().to_string(),
                    operation,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("KV_late", "$KV.late.AA".to_owned(), Some("DEL".to_owned())),
                ("KV_late", "$KV.late.UA".to_owned(), None),
            ]
        );
        states.committed(true);
        assert_eq!(state.written("UA"), None);
    }
}
