//! Rejected messages as ordinary messages that any client can read.
//!
//! A dead letter carries the original payload byte for byte. The original headers stay as they were, except those that
//! would act on the dead-letter stream itself or be mistaken for the letter's own: names that start with `Nats-`, `Ms-Dead-`
//! or `Ms-Original-` get `Ms-Original-` in front. The reasons stand in `Ms-Dead-*` headers. When all of it is more than a
//! stream takes, the original headers are left out, and `Ms-Dead-Headers-Left-Out` says how many there were.

use bytes::Bytes;
use millstream_types::{Message, Timestamp, is_id_alias};

use crate::Rejection;
use crate::headers::{Writer, lines, name};

const KEPT: &str = "Ms-Original-";
const OWN: &str = "Ms-Dead-";

/// Most bytes of headers that streams take.
const MAX_HEADERS: usize = 64 * 1024 - 1;

/// The kinds of stage that appear as the last token of a dead letter's subject.
const KINDS: [&str; 7] = [
    "schema", "function", "sql", "source", "consumer", "sink", "flow",
];

/// The message that keeps a rejected one: subject `$MS.DEAD.<station>.<kind of stage>`, where the kind is `schema`,
/// `function`, `sql`, `source`, `consumer`, `sink`, `flow` or else `other`.
///
/// `version` is the plan's version, 0 where there is none. Texts of the rejection are bounded and on one line.
#[must_use]
pub fn dead_letter(
    station: &str,
    original: &Message,
    rejection: &Rejection,
    time: Timestamp,
    version: u64,
) -> Message {
    letter(station, original, rejection, (time, version), None)
}

/// The letter of a message that `station` has stored under a sequence and a flow that reads it rejected. `version` is the
/// flow's plan's.
#[must_use]
pub fn dead_letter_of_flow(
    (flow, sequence): (&str, Option<u64>),
    station: &str,
    original: &Message,
    rejection: &Rejection,
    when: (Timestamp, u64),
) -> Message {
    letter(station, original, rejection, when, Some((flow, sequence)))
}

fn letter(
    station: &str,
    original: &Message,
    rejection: &Rejection,
    (time, version): (Timestamp, u64),
    flow: Option<(&str, Option<u64>)>,
) -> Message {
    let why = rejection.bounded();
    let mut own = Writer::with_capacity(why.reason.len() + 512);
    reasons(&mut own, station, original, &why, (time, version), flow);
    let kept = |line: &[u8]| if reserved(name(line)) { KEPT } else { "" };
    let sizes = lines(&original.headers).map(|line| kept(line).len() + line.len() + 2);
    let bytes: usize = sizes.sum();
    let mut headers = Writer::with_capacity(bytes + own.len());
    if own.len() + bytes > MAX_HEADERS {
        let count = lines(&original.headers).count();
        own.push("Ms-Dead-Headers-Left-Out", count.to_string().as_bytes());
    } else {
        for line in lines(&original.headers) {
            headers.prefixed(kept(line), line);
        }
    }
    headers.append(&own);
    let kind = KINDS
        .into_iter()
        .find(|kind| *kind == why.kind())
        .unwrap_or("other");
    Message {
        subject: Bytes::from(format!("$MS.DEAD.{station}.{kind}")),
        reply: None,
        headers: headers.build(),
        payload: original.payload.clone(),
    }
}

/// The letter's own headers.
fn reasons(
    headers: &mut Writer,
    station: &str,
    original: &Message,
    why: &Rejection,
    (time, version): (Timestamp, u64),
    flow: Option<(&str, Option<u64>)>,
) {
    headers.push("Ms-Dead-Station", station.as_bytes());
    headers.push("Ms-Dead-Stage", why.stage.as_bytes());
    headers.push("Ms-Dead-Code", why.code.as_bytes());
    headers.push("Ms-Dead-Reason", why.reason.as_bytes());
    if let Some(path) = &why.path {
        headers.push("Ms-Dead-Path", path.as_bytes());
    }
    if let Some(version) = why.version {
        headers.push("Ms-Dead-Function-Version", version.to_string().as_bytes());
    }
    headers.push("Ms-Dead-Time", time.to_rfc3339().as_bytes());
    headers.push("Ms-Dead-Subject", &original.subject);
    headers.push("Ms-Dead-Version", version.to_string().as_bytes());
    if let Some((flow, sequence)) = flow {
        headers.push("Ms-Dead-Flow", flow.as_bytes());
        if let Some(sequence) = sequence {
            headers.push("Ms-Dead-Sequence", sequence.to_string().as_bytes());
        }
    }
}

fn reserved(name: &[u8]) -> bool {
    // An id by another name counts too: letters of one message would be each other's duplicates.
    if is_id_alias(name) {
        return true;
    }
    ["Nats-", OWN, KEPT].iter().any(|prefix| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}

/// A dead letter, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The station that rejected the message.
    pub station: String,
    /// The label of the stage that did.
    pub stage: String,
    /// The reason's short word.
    pub code: String,
    /// The reason as a sentence.
    pub reason: String,
    /// JSON pointer to the offending place, where there is one.
    pub path: Option<String>,
    /// Which version of the function rejected it, when it was one.
    pub function_version: Option<u64>,
    /// When it was rejected.
    pub time: Timestamp,
    /// The subject it was published on.
    pub subject: Bytes,
    /// Version of the station's or the flow's plan, 0 where there was none.
    pub version: u64,
    /// The flow that rejected it after it was stored; `None` when the station did before.
    pub flow: Option<String>,
    /// Under which sequence the station has it, when a flow rejected it.
    pub sequence: Option<u64>,
    /// The original header block; empty when there was none.
    pub headers: Bytes,
    /// The original payload.
    pub payload: Bytes,
}

impl DeadLetter {
    /// Reads a message of a dead-letter stream; `None` when it is no dead letter.
    #[must_use]
    pub fn read(message: &Message) -> Option<Self> {
        let block = message.header_block();
        let text = |name: &str| block.get_str(name).map(str::to_owned);
        let mut headers = Writer::with_capacity(message.headers.len());
        for line in lines(&message.headers).filter(|line| !name(line).starts_with(OWN.as_bytes())) {
            headers.line(line.strip_prefix(KEPT.as_bytes()).unwrap_or(line));
        }
        Some(Self {
            station: text("Ms-Dead-Station")?,
            stage: text("Ms-Dead-Stage")?,
            code: text("Ms-Dead-Code")?,
            reason: text("Ms-Dead-Reason")?,
            path: text("Ms-Dead-Path"),
            function_version: text("Ms-Dead-Function-Version")
                .and_then(|version| version.parse().ok()),
            time: Timestamp::parse_rfc3339(block.get_str("Ms-Dead-Time")?)?,
            subject: Bytes::copy_from_slice(block.get("Ms-Dead-Subject")?),
            version: block.get_str("Ms-Dead-Version")?.parse().ok()?,
            flow: text("Ms-Dead-Flow"),
            sequence: text("Ms-Dead-Sequence").and_then(|sequence| sequence.parse().ok()),
            headers: headers.build(),
            payload: message.payload.clone(),
        })
    }

    /// The message as it was published, without its reply subject: to be sent again.
    #[must_use]
    pub fn original(&self) -> Message {
        Message {
            subject: self.subject.clone(),
            reply: None,
            headers: self.headers.clone(),
            payload: self.payload.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
