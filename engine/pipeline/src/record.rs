//! A message on its way through the stages.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use millstream_types::{Message, Timestamp};
use serde_json::Value;

use crate::{Rejection, Trace, VersionSchema};

/// A message with what the stages know of it. Its JSON is parsed at most once: whoever changes the payload goes through
/// [`Record::replaced`], which also forgets the parsed form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The message as the last stage left it.
    pub message: Message,
    /// When the server took it in.
    pub time: Timestamp,
    /// Its number in the stream it was read from; `None` while it is on its way into one.
    pub sequence: Option<u64>,
    /// How often it went through the plan before and was to be tried again.
    pub deliveries: u32,
    /// Its key, where one is declared.
    pub key: Option<Bytes>,
    /// Where its way is told, when it asked for that.
    pub trace: Option<Arc<Trace>>,
    /// The payload as JSON, once a stage has asked for it; `None` does not mean that it is no JSON.
    pub parsed: Option<Value>,
    /// What it was checked against on its way in.
    pub schema: Option<Arc<VersionSchema>>,
    /// A stage made it for another station: this one's layout in the log is not for it.
    pub elsewhere: bool,
    /// The payload in its schema's format while `message` has it as JSON for the stages, as long as none changes it.
    pub encoded: Option<Bytes>,
}

impl Record {
    /// A message that just came in.
    #[must_use]
    pub fn new(message: Message, time: Timestamp) -> Self {
        Self {
            trace: Trace::asked(&message.headers),
            message,
            time,
            ..Self::default()
        }
    }

    /// The payload as JSON, parsed on the first call. Nesting is limited to 128 levels; of members with the same name the
    /// last one counts.
    ///
    /// # Errors
    /// A rejection by `stage` with code `bad_json` that says where the payload stops being JSON.
    pub fn json(&mut self, stage: &str) -> Result<&Value, Rejection> {
        if self.parsed.is_none() {
            let value = parse(&self.message.payload)
                .map_err(|reason| Rejection::new(stage, "bad_json", &reason))?;
            self.parsed = Some(value);
        }
        Ok(self.parsed.as_ref().expect("invariant: parsed above"))
    }

    /// The same message with another payload; `parsed` is the new payload's JSON when the caller has it at hand.
    #[must_use]
    pub fn replaced(&self, payload: Bytes, parsed: Option<Value>) -> Self {
        Self {
            message: Message {
                payload,
                ..self.message.clone()
            },
            time: self.time,
            sequence: self.sequence,
            deliveries: self.deliveries,
            key: self.key.clone(),
            trace: self.trace.clone(),
            parsed,
            schema: self.schema.clone(),
            elsewhere: self.elsewhere,
            encoded: None,
        }
    }

    /// Bytes of subject, headers and payload.
    #[must_use]
    pub fn size(&self) -> usize {
        let Message {
            subject,
            headers,
            payload,
            ..
        } = &self.message;
        subject.len() + headers.len() + payload.len()
    }
}

fn parse(payload: &[u8]) -> Result<Value, String> {
    if payload.is_empty() {
        return Err("payload is empty where a JSON document is expected".to_owned());
    }
    serde_json::from_slice(payload).map_err(|error| {
        let text = error.to_string();
        let why: Cow<'_, str> = if text.starts_with("recursion limit") {
            "nested more than 128 levels deep".into()
        } else {
            text.split(" at line ")
                .next()
                .unwrap_or_default()
                .to_owned()
                .into()
        };
        format!(
            "payload is not JSON: {why} at line {} column {}",
            error.line(),
            error.column()
        )
    })
}
