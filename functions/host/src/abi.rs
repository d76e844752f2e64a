//! The types of `millstream:function/types` as the engine passes them, and what is checked on their way back.

use std::time::Duration;

use bytes::Bytes;
use millstream_function_api::{Fault, FaultCode, FunctionMessage, FunctionOutcome, Limits};
use millstream_types::check_subject;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::fault;

/// Longest code and reason of a rejection that is kept; they end up in headers and metric labels.
const MAX_CODE_BYTES: usize = 64;
const MAX_REASON_BYTES: usize = 1024;
/// Longest subject: what a client could publish to as well.
const MAX_SUBJECT_BYTES: usize = 4096;
/// The code of a rejection whose guest gave it none.
const UNNAMED: &str = "rejected";

/// A message on its way in: borrowed, so that the only copy is the one into the guest's memory.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Message<'a> {
    subject: &'a str,
    sequence: Option<u64>,
    timestamp: i64,
    headers: Vec<(&'a str, &'a str)>,
    key: Option<&'a [u8]>,
    payload: &'a [u8],
    #[component(name = "schema-id")]
    schema_id: Option<u32>,
    deliveries: u32,
}

impl<'a> From<&'a FunctionMessage<'_>> for Message<'a> {
    fn from(message: &'a FunctionMessage<'_>) -> Self {
        let headers = message.headers.iter();
        Self {
            // Subjects are checked to be UTF-8 where they come in.
            subject: std::str::from_utf8(&message.subject).unwrap_or("\u{fffd}"),
            sequence: message.sequence,
            timestamp: message.timestamp.0,
            headers: headers
                .map(|(name, value)| (name.as_ref(), value.as_ref()))
                .collect(),
            key: message.key.as_deref(),
            payload: &message.payload,
            schema_id: message.schema_id,
            deliveries: message.deliveries,
        }
    }
}

/// Bytes of guest memory that a message takes, roughly: for cutting batches.
pub(crate) fn guest_bytes(message: &FunctionMessage<'_>) -> usize {
    let headers: usize = message
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 16)
        .sum();
    128 + message.subject.len()
        + headers
        + message.payload.len()
        + message.key.as_ref().map_or(0, |key| key.len())
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Output {
    subject: Option<String>,
    headers: Option<Vec<(String, String)>>,
    payload: Vec<u8>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Rejection {
    code: String,
    reason: String,
    path: Option<String>,
}

/// A rejection of version 0.1.0.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RejectionV1 {
    code: String,
    reason: String,
}

/// An outcome of version 0.1.0.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum OutcomeV1 {
    #[component(name = "keep")]
    Keep,
    #[component(name = "replace")]
    Replace(Output),
    #[component(name = "emit")]
    Emit(Vec<Output>),
    #[component(name = "drop")]
    Drop,
    #[component(name = "retry")]
    Retry(u64),
    #[component(name = "reject")]
    Reject(RejectionV1),
}

impl From<OutcomeV1> for Outcome {
    fn from(outcome: OutcomeV1) -> Self {
        match outcome {
            OutcomeV1::Keep => Self::Keep,
            OutcomeV1::Replace(output) => Self::Replace(output),
            OutcomeV1::Emit(outputs) => Self::Emit(outputs),
            OutcomeV1::Drop => Self::Drop,
            OutcomeV1::Retry(millis) => Self::Retry(millis),
            OutcomeV1::Reject(RejectionV1 { code, reason }) => Self::Reject(Rejection {
                code,
                reason,
                path: None,
            }),
        }
    }
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Outcome {
    #[component(name = "keep")]
    Keep,
    #[component(name = "replace")]
    Replace(Output),
    #[component(name = "emit")]
    Emit(Vec<Output>),
    #[component(name = "drop")]
    Drop,
    #[component(name = "retry")]
    Retry(u64),
    #[component(name = "reject")]
    Reject(Rejection),
}

impl Outcome {
    /// Bytes that it brings along.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Replace(output) => output.bytes(),
            Self::Emit(outputs) => outputs.iter().map(Output::bytes).sum(),
            Self::Keep | Self::Drop | Self::Retry(_) | Self::Reject(_) => 0,
        }
    }

    /// The outcome as the pipeline sees it, after the limits and what can be wrong with an output.
    pub(crate) fn checked(self, limits: &Limits) -> Result<FunctionOutcome, Fault> {
        Ok(match self {
            Self::Keep => FunctionOutcome::Keep,
            Self::Drop => FunctionOutcome::Drop,
            Self::Retry(millis) => FunctionOutcome::Retry(Duration::from_millis(millis)),
            Self::Reject(Rejection { code, reason, path }) => FunctionOutcome::Reject {
                code: cut(
                    if code.is_empty() {
                        UNNAMED.to_owned()
                    } else {
                        code
                    },
                    MAX_CODE_BYTES,
                ),
                reason: cut(reason, MAX_REASON_BYTES),
                path: path.map(|path| cut(path, MAX_REASON_BYTES)),
            },
            Self::Replace(output) => {
                check_bytes(output.bytes(), limits)?;
                FunctionOutcome::Replace(output.checked()?)
            }
            Self::Emit(outputs) => {
                if outputs.len() > limits.output_records as usize {
                    let reason = format!(
                        "answered {} messages for one, {} are allowed",
                        outputs.len(),
                        limits.output_records
                    );
                    return Err(Fault {
                        code: FaultCode::OutputLimit,
                        reason,
                    });
                }
                check_bytes(outputs.iter().map(Output::bytes).sum(), limits)?;
                let outputs: Result<_, _> = outputs.into_iter().map(Output::checked).collect();
                FunctionOutcome::Emit(outputs?)
            }
        })
    }
}

impl Output {
    fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .flatten()
            .map(|(name, value)| name.len() + value.len());
        self.payload.len() + self.subject.as_ref().map_or(0, String::len) + headers.sum::<usize>()
    }

    fn checked(self) -> Result<millstream_function_api::Output, Fault> {
        let bad = |reason| Fault {
            code: FaultCode::BadOutput,
            reason,
        };
        if let Some(subject) = &self.subject {
            if subject.len() > MAX_SUBJECT_BYTES {
                return Err(bad(format!(
                    "answered with a subject of {} bytes, {MAX_SUBJECT_BYTES} are allowed",
                    subject.len()
                )));
            }
            check_subject(subject.as_bytes()).map_err(|error| {
                bad(format!(
                    "answered with subject `{}`: {error}",
                    subject.escape_debug()
                ))
            })?;
        }
        for (name, value) in self.headers.iter().flatten() {
            let breaks = |text: &str| text.contains(['\r', '\n']);
            if name.is_empty() || name.contains(':') || breaks(name) || breaks(value) {
                let reason = format!(
                    "answered with header `{}`, which no NATS header can be",
                    name.escape_debug()
                );
                return Err(bad(reason));
            }
        }
        Ok(millstream_function_api::Output {
            subject: self.subject.map(Bytes::from),
            headers: self.headers,
            payload: Bytes::from(self.payload),
        })
    }
}

fn check_bytes(bytes: usize, limits: &Limits) -> Result<(), Fault> {
    if bytes as u64 > limits.output_bytes {
        Err(fault::output_bytes(limits))
    } else {
        Ok(())
    }
}

fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

#[cfg(test)]
mod tests {
    use millstream_function_api::{FaultCode, Limits};

    use super::{MAX_SUBJECT_BYTES, Outcome, Output};

    #[test]
    fn subjects_are_no_longer_than_a_client_could_send() {
        let to = |length: usize| {
            let output = Output {
                subject: Some("a".repeat(length)),
                headers: None,
                payload: Vec::new(),
            };
            Outcome::Replace(output).checked(&Limits::default())
        };
        assert!(to(MAX_SUBJECT_BYTES).is_ok());
        let fault = to(MAX_SUBJECT_BYTES + 1).expect_err("too long");
        assert_eq!(fault.code, FaultCode::BadOutput);
    }
}
