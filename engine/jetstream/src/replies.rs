//! Acknowledgements to publishers: which record of a batch wants one, and how it reads.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use millstream_broker::Publisher;
use millstream_pipeline::Rejection;
use millstream_streams::{ApiError, RecordOutcome};
use serde_json::json;

/// Error numbers of rejections by a pipeline, beside nats-server's own. Never reused.
const ERR_SCHEMA: u32 = 20001;
const ERR_FUNCTION: u32 = 20002;
const ERR_SQL: u32 = 20003;
const ERR_PLAN: u32 = 20004;

/// The reply subjects of a batch in one buffer; an empty one means that nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Replies {
    pub(crate) fn push(&mut self, reply: Option<&[u8]>) {
        self.bytes.extend_from_slice(reply.unwrap_or_default());
        self.ends
            .push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// All of them, in one buffer of their own.
    pub(crate) fn each(&self) -> impl Iterator<Item = Option<Bytes>> + use<> {
        let bytes = Bytes::copy_from_slice(&self.bytes);
        let mut start = 0;
        self.ends.clone().into_iter().map(move |end| {
            let reply = bytes.slice(start..end as usize);
            start = end as usize;
            (!reply.is_empty()).then_some(reply)
        })
    }

    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        (end > start).then(|| &self.bytes[start..end])
    }
}

/// Sends acknowledgements; used from the apply thread, so its lock is never waited for.
#[derive(Debug)]
pub(crate) struct Acker {
    out: Mutex<(Publisher, Vec<u8>)>,
}

impl Acker {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            out: Mutex::new((publisher, Vec::with_capacity(256))),
        }
    }

    /// Answers one record's publisher.
    pub(crate) fn record(&self, reply: &[u8], stream: &str, outcome: &RecordOutcome) {
        self.send(reply, |text| match outcome {
            // Names need no escaping: they were checked when the stream was created. One for each message: nothing is formatted.
            RecordOutcome::Stored(seq) => {
                text.extend_from_slice(br#"{"stream":""#);
                text.extend_from_slice(stream.as_bytes());
                text.extend_from_slice(br#"","seq":"#);
                text.extend_from_slice(itoa::Buffer::new().format(*seq).as_bytes());
                text.push(b'}');
                Ok(())
            }
            RecordOutcome::Duplicate(seq) => {
                write!(
                    text,
                    r#"{{"stream":"{stream}","seq":{seq},"duplicate":true}}"#
                )
            }
            RecordOutcome::Refused(error) => write!(text, "{}", refusal(stream, error)),
        });
    }

    /// Answers the publisher of a record that a stage dropped: it is dealt with, and not stored.
    pub(crate) fn dropped(&self, reply: &[u8], stream: &str) {
        self.send(reply, |text| {
            write!(text, r#"{{"stream":"{stream}","seq":0,"dropped":true}}"#)
        });
    }

    /// Answers the publisher of a record that the pipeline rejected.
    pub(crate) fn rejected(
        &self,
        reply: &[u8],
        stream: &str,
        why: &Rejection,
        kept: Option<(&str, u64)>,
    ) {
        let mut answer = rejection(stream, why);
        if let (Some((letters, seq)), Some(answer)) = (kept, answer.as_object_mut()) {
            answer.insert(
                "dead_letter".to_owned(),
                json!({ "stream": letters, "seq": seq }),
            );
        }
        self.send(reply, |text| write!(text, "{answer}"));
    }

    /// An empty answer: the log has the acknowledgement.
    pub(crate) fn plain(&self, reply: &[u8]) {
        self.send(reply, |_| Ok(()));
    }

    /// Wakes the connections that were answered since the last call.
    pub(crate) fn flush(&self) {
        self.out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .flush();
    }

    fn send(&self, reply: &[u8], write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (publisher, text) = &mut *out;
        text.clear();
        if write(text).is_ok() {
            publisher.send(reply, None, &[], text);
        }
    }
}

fn refusal(stream: &str, error: &ApiError) -> serde_json::Value {
    json!({ "error": error, "stream": stream, "seq": 0 })
}

/// A rejection as an API error: `422` with a number per kind of stage.
pub(crate) fn rejection_error(why: &Rejection) -> serde_json::Value {
    let number = match why.stage.split(':').next() {
        Some("schema") => ERR_SCHEMA,
        Some("function") => ERR_FUNCTION,
        Some("sql") => ERR_SQL,
        _ => ERR_PLAN,
    };
    let path = why
        .path
        .as_deref()
        .map_or_else(String::new, |path| format!(" at `{path}`"));
    json!({
        "code": 422,
        "err_code": number,
        "description": format!("rejected by {}{path}: {} ({})", why.stage, why.reason, why.code),
    })
}

/// The answer to the publisher of a rejected record. What JetStream's errors have no member for stands beside the error:
/// clients make an error of theirs from all its members, and the Python one fails on those it does not know.
fn rejection(stream: &str, why: &Rejection) -> serde_json::Value {
    json!({
        "stream": stream,
        "seq": 0,
        "error": rejection_error(why),
        "rejection": { "stage": why.stage, "reason": why.reason, "path": why.path },
    })
}

#[cfg(test)]
mod tests {
    use super::rejection;
    use millstream_pipeline::Rejection;

    #[test]
    fn errors_have_the_members_that_clients_know() {
        let why = Rejection::new("schema:flight", "range", "too much").at("/delay");
        let answer = rejection("flights", &why);
        let members = answer["error"].as_object().expect("an object").keys();
        let members: Vec<&str> = members.map(String::as_str).collect();
        assert_eq!(members, ["code", "err_code", "description"]);
        assert_eq!(answer["rejection"]["path"], "/delay");
    }
}
