//! The stage that runs a function.

use std::sync::Arc;

use bytes::Bytes;
use millstream_function_api::{Fault, Function, FunctionMessage, FunctionOutcome, Output};
use millstream_types::{HeaderBlock, HeadersBuilder, Message, format_duration};

use crate::{Record, Rejection, Stage, Verdict};

/// Runs each batch through a function and turns its outcomes into verdicts.
#[derive(Debug)]
pub struct FunctionStage {
    label: String,
    function: Arc<dyn Function>,
}

impl FunctionStage {
    /// A stage for a loaded function; its label is `function:<name>`. Messages carry the registry's number of the schema they
    /// were checked against into the function.
    #[must_use]
    pub fn new(function: Arc<dyn Function>) -> Self {
        Self {
            label: format!("function:{}", function.name()),
            function,
        }
    }

    fn verdict(&self, record: &Record, result: Result<FunctionOutcome, Fault>) -> Verdict {
        match result {
            Ok(FunctionOutcome::Keep) => Verdict::Keep,
            Ok(FunctionOutcome::Replace(output)) => {
                self.written(record, output).map_or_else(Verdict::Reject, Verdict::Replace)
            }
            Ok(FunctionOutcome::Emit(outputs)) => {
                let each = outputs.into_iter().map(|output| self.written(record, output));
                each.collect::<Result<_, _>>().map_or_else(Verdict::Reject, Verdict::Emit)
            }
            Ok(FunctionOutcome::Drop) => Verdict::Drop,
            Ok(FunctionOutcome::Retry(after)) => self.reject(
                "retry",
                &format!(
                    "function asks to be called again in {}, which is not possible before a message is stored; resend it from the dead letters",
                    format_duration(after)
                ),
            ),
            Ok(FunctionOutcome::Reject { code, reason }) => {
                let code = if code.trim().is_empty() { "rejected" } else { code.trim() };
                self.reject(code, &reason)
            }
            Err(fault) => self.reject(fault.code.as_str(), &fault.reason),
        }
    }

    fn reject(&self, code: &str, reason: &str) -> Verdict {
        Verdict::Reject(Rejection::new(&self.label, code, reason))
    }

    /// The record that an output stands for.
    fn written(&self, record: &Record, output: Output) -> Result<Record, Rejection> {
        let original = &record.message;
        let headers = match output.headers {
            None => original.headers.clone(),
            Some(headers) => self.block(&headers)?,
        };
        let unchanged = output.payload == original.payload;
        Ok(Record {
            message: Message {
                subject: output.subject.unwrap_or_else(|| original.subject.clone()),
                reply: original.reply.clone(),
                headers,
                payload: output.payload,
            },
            time: record.time,
            parsed: record.parsed.clone().filter(|_| unchanged),
            schema: record.schema.clone(),
            encoded: record.encoded.clone().filter(|_| unchanged),
        })
    }

    fn block(&self, headers: &[(String, String)]) -> Result<Bytes, Rejection> {
        let mut block = HeadersBuilder::new();
        for (name, value) in headers {
            // ADR-4 wants visible ASCII without a colon.
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b':')
            {
                let reason =
                    format!("function writes a header named `{name}`, which is no header name");
                return Err(Rejection::new(&self.label, "bad_output", &reason));
            }
            block.push(name, value);
        }
        Ok(block.build())
    }
}

fn message(record: &Record) -> FunctionMessage {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = HeaderBlock::new(&record.message.headers);
    FunctionMessage {
        subject: record.message.subject.clone(),
        sequence: None,
        timestamp: record.time,
        headers: headers
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        key: None,
        payload: record.message.payload.clone(),
        schema_id: record.schema.as_ref().map(|schema| schema.id),
        deliveries: 0,
    }
}

impl Stage for FunctionStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let messages: Vec<_> = batch.iter().map(message).collect();
        let results = self.function.process(&messages);
        batch
            .iter()
            .zip(results)
            .map(|(record, result)| self.verdict(record, result))
            .collect()
    }
}
