//! The stage that runs a function.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millstream_function_api::{Fault, Function, FunctionMessage, FunctionOutcome, Output};
use millstream_types::{HeaderBlock, Message};

use super::{Trial, VersionMetrics};
use crate::headers::block;
use crate::{Record, Rejection, Stage, Verdict};

/// One version of a function, with what it counts.
#[derive(Clone, Debug)]
pub struct FunctionVersion {
    /// The loaded function.
    pub function: Arc<dyn Function>,
    /// Its number.
    pub number: u64,
    /// What it counts.
    pub metrics: VersionMetrics,
}

impl FunctionVersion {
    /// A version that nobody watches.
    #[must_use]
    pub fn new(function: Arc<dyn Function>, number: u64) -> Self {
        let metrics = VersionMetrics::default();
        Self {
            function,
            number,
            metrics,
        }
    }

    pub(crate) fn process(&self, batch: &[FunctionMessage]) -> Vec<Answer> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.metrics.begin(batch.len());
        let started = Instant::now();
        let answers = self.function.process(batch);
        let memory = self.function.memory();
        self.metrics.end(&answers, started.elapsed(), memory);
        answers
    }
}

type Answer = Result<FunctionOutcome, Fault>;

/// Runs each batch through a function and turns its outcomes into verdicts.
#[derive(Debug)]
pub struct FunctionStage {
    label: String,
    live: FunctionVersion,
    trial: Option<Arc<Trial>>,
}

impl FunctionStage {
    /// A stage for a loaded function, and a version of it that is tried; its label is `function:<name>`. Messages carry the
    /// registry's number of the schema they were checked against into the function.
    #[must_use]
    pub fn new(live: FunctionVersion, trial: Option<Arc<Trial>>) -> Self {
        Self {
            label: format!("function:{}", live.function.name()),
            live,
            trial,
        }
    }

    /// What becomes of each message, and the version that said so.
    fn answers(&self, messages: &[FunctionMessage]) -> Vec<(Answer, u64)> {
        let live = self.live.number;
        let Some(trial) = &self.trial else {
            let answers = self.live.process(messages);
            return answers.into_iter().map(|answer| (answer, live)).collect();
        };
        let taken: Vec<bool> = messages
            .iter()
            .map(|message| trial.takes(message))
            .collect();
        if !taken.contains(&true) {
            let answers = self.live.process(messages);
            trial.look(messages, &answers);
            return answers.into_iter().map(|answer| (answer, live)).collect();
        }
        let part = |tried: bool| -> Vec<FunctionMessage> {
            let own = messages
                .iter()
                .zip(&taken)
                .filter(|(_, taken)| **taken == tried);
            own.map(|(message, _)| message.clone()).collect()
        };
        let mut others = self.live.process(&part(false)).into_iter();
        let canary = part(true);
        let answers = trial.version.process(&canary);
        trial.decided(&answers);
        let mut tried = answers.into_iter().zip(&canary).map(|(answer, message)| {
            if answer.is_ok() {
                return (answer, trial.version.number);
            }
            // It failed: the message is not to suffer from being one that was chosen.
            let again = self.live.process(std::slice::from_ref(message)).pop();
            again.map_or((answer, trial.version.number), |again| (again, live))
        });
        let each = taken.iter().filter_map(|taken| match taken {
            true => tried.next(),
            false => others.next().map(|answer| (answer, live)),
        });
        each.collect()
    }

    fn verdict(&self, record: &Record, (answer, version): (Answer, u64)) -> Verdict {
        if let Some(trace) = &record.trace {
            trace.decided_by(version);
        }
        match self.decided(record, answer) {
            Verdict::Reject(why) => Verdict::Reject(why.of_version(version)),
            other => other,
        }
    }

    fn decided(&self, record: &Record, answer: Answer) -> Verdict {
        match answer {
            Ok(FunctionOutcome::Keep) => Verdict::Keep,
            Ok(FunctionOutcome::Replace(output)) => self
                .written(record, output)
                .map_or_else(Verdict::Reject, Verdict::Replace),
            Ok(FunctionOutcome::Emit(outputs)) => {
                let each = outputs
                    .into_iter()
                    .map(|output| self.written(record, output));
                each.collect::<Result<_, _>>()
                    .map_or_else(Verdict::Reject, Verdict::Emit)
            }
            Ok(FunctionOutcome::Drop) => Verdict::Drop,
            Ok(FunctionOutcome::Retry(after)) => Verdict::Retry(after),
            Ok(FunctionOutcome::Reject { code, reason, path }) => {
                let code = if code.trim().is_empty() {
                    "rejected"
                } else {
                    code.trim()
                };
                let why = Rejection::new(&self.label, code, &reason);
                Verdict::Reject(match path {
                    Some(path) => why.at(&path),
                    None => why,
                })
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
            sequence: record.sequence,
            deliveries: record.deliveries,
            key: record.key.clone(),
            trace: record.trace.clone(),
            parsed: record.parsed.clone().filter(|_| unchanged),
            schema: record.schema.clone(),
            elsewhere: record.elsewhere,
            encoded: record.encoded.clone().filter(|_| unchanged),
        })
    }

    fn block(&self, headers: &[(String, String)]) -> Result<Bytes, Rejection> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        block(pairs).map_err(|why| {
            Rejection::new(&self.label, "bad_output", &format!("function writes {why}"))
        })
    }
}

fn message(record: &Record) -> FunctionMessage {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = HeaderBlock::new(&record.message.headers);
    FunctionMessage {
        subject: record.message.subject.clone(),
        sequence: record.sequence,
        timestamp: record.time,
        headers: headers
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        key: record.key.clone(),
        payload: record.message.payload.clone(),
        schema_id: record.schema.as_ref().map(|schema| schema.id),
        deliveries: record.deliveries,
    }
}

impl Stage for FunctionStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let messages: Vec<_> = batch.iter().map(message).collect();
        let results = self.answers(&messages);
        batch
            .iter()
            .zip(results)
            .map(|(record, result)| self.verdict(record, result))
            .collect()
    }
}
