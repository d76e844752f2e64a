//! A function as SQL calls it: arguments in, a value out.

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::Bytes;
use millstream_function_api::{FunctionMessage, FunctionOutcome};

use super::FunctionVersion;
use crate::Rejection;

/// Answers for rows of arguments, whoever runs it.
pub trait RowFunction: Send + Sync + Debug {
    /// One answer for each row of arguments, which are a JSON object each: the value as JSON, nothing for NULL, or why
    /// there is none. Called once for a batch.
    fn call(&self, arguments: Vec<Bytes>) -> Vec<Result<Option<Bytes>, Rejection>>;
}

/// A deployed function as a [`RowFunction`]. Each row is a message on subject `sql.<name>` with the arguments as its payload;
/// the payload that goes on is the value, the arguments' object where it is kept, and a message that is dropped is NULL.
#[derive(Clone, Debug)]
pub struct DeployedRows {
    live: FunctionVersion,
    label: String,
    subject: Bytes,
}

impl DeployedRows {
    /// A version of a function.
    #[must_use]
    pub fn new(live: FunctionVersion) -> Self {
        let name = live.function.name();
        Self {
            label: format!("function:{name}"),
            subject: Bytes::from(format!("sql.{name}")),
            live,
        }
    }

    fn value(
        &self,
        outcome: FunctionOutcome,
        arguments: &Bytes,
    ) -> Result<Option<Bytes>, Rejection> {
        let wrong = |reason: &str| Err(self.rejection("bad_output", reason));
        match outcome {
            FunctionOutcome::Replace(output) => Ok(Some(output.payload)),
            FunctionOutcome::Emit(outputs) => match <[_; 1]>::try_from(outputs) {
                Ok([output]) => Ok(Some(output.payload)),
                Err(outputs) if outputs.is_empty() => Ok(None),
                Err(_) => wrong("emits several messages, and SQL takes one value"),
            },
            FunctionOutcome::Drop => Ok(None),
            FunctionOutcome::Keep => Ok(Some(arguments.clone())),
            FunctionOutcome::Retry(_) => wrong("asks to be tried again, which SQL cannot do"),
            FunctionOutcome::Reject { code, reason, .. } => {
                let code = code.trim();
                let code = if code.is_empty() { "rejected" } else { code };
                Err(self.rejection(code, &reason))
            }
        }
    }

    fn rejection(&self, code: &str, reason: &str) -> Rejection {
        Rejection::new(&self.label, code, reason).of_version(self.live.number)
    }
}

impl RowFunction for DeployedRows {
    fn call(&self, arguments: Vec<Bytes>) -> Vec<Result<Option<Bytes>, Rejection>> {
        let mut messages = Vec::with_capacity(arguments.len());
        for payload in &arguments {
            messages.push(FunctionMessage {
                subject: Cow::Borrowed(&self.subject),
                payload: Cow::Borrowed(payload),
                ..FunctionMessage::default()
            });
        }
        let answers = self.live.process(&messages).into_iter();
        let each = answers
            .zip(&arguments)
            .map(|(answer, arguments)| match answer {
                Ok(outcome) => self.value(outcome, arguments),
                Err(fault) => Err(self.rejection(fault.code.as_str(), &fault.reason)),
            });
        each.collect()
    }
}
