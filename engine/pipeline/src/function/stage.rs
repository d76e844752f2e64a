//! The stage that runs a function.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millstream_function_api::{Fault, Function, FunctionMessage, FunctionOutcome, Output};
use millstream_types::{HeaderBlock, Message, Timestamp};

use super::{Trial, VersionMetrics};
use crate::headers::block;
use crate::{InPlace, Look, Record, Rejection, Stage, Verdict};

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

    pub(crate) fn process(&self, batch: &[FunctionMessage<'_>]) -> Vec<Answer> {
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

/// What a function says of a batch.
struct Answers {
    answers: Vec<Answer>,
    /// The version that said so.
    live: u64,
    /// The version of each, when one is tried with a part of the messages.
    tried: Option<Vec<u64>>,
}

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
    fn answers(&self, messages: &[FunctionMessage<'_>]) -> Answers {
        let live = |answers| Answers {
            answers,
            live: self.live.number,
            tried: None,
        };
        let Some(trial) = &self.trial else {
            return live(self.live.process(messages));
        };
        let taken: Vec<bool> = messages
            .iter()
            .map(|message| trial.takes(message))
            .collect();
        if !taken.contains(&true) {
            let answers = self.live.process(messages);
            trial.look(messages, &answers);
            return live(answers);
        }
        self.with_canary(trial, messages, &taken)
    }

    /// The canary decides about the messages that are `taken`, the live version about the others.
    fn with_canary(
        &self,
        trial: &Trial,
        messages: &[FunctionMessage<'_>],
        taken: &[bool],
    ) -> Answers {
        let part = |tried: bool| -> Vec<FunctionMessage<'_>> {
            let own = messages
                .iter()
                .zip(taken)
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
            again.map_or((answer, trial.version.number), |again| {
                (again, self.live.number)
            })
        });
        let each = taken.iter().filter_map(|taken| match taken {
            true => tried.next(),
            false => others.next().map(|answer| (answer, self.live.number)),
        });
        let (answers, versions) = each.unzip();
        Answers {
            answers,
            live: self.live.number,
            tried: Some(versions),
        }
    }

    fn verdicts(&self, answers: Answers, records: &[Record]) -> Vec<Verdict> {
        let Answers {
            answers,
            live,
            tried,
        } = answers;
        let version = |index: usize| {
            let tried = tried.as_ref().and_then(|tried| tried.get(index));
            tried.copied().unwrap_or(live)
        };
        let each = records.iter().zip(answers).enumerate();
        each.map(|(index, (record, answer))| self.verdict(record, answer, version(index)))
            .collect()
    }

    fn verdict(&self, record: &Record, answer: Answer, version: u64) -> Verdict {
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

/// What a function sees of a message that has just come in.
#[must_use]
pub fn seen<'a>(
    subject: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
    time: Timestamp,
) -> FunctionMessage<'a> {
    let pairs = match headers {
        [] => Vec::new(),
        raw => HeaderBlock::new(raw)
            .iter()
            .map(|(name, value)| {
                (
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(value),
                )
            })
            .collect(),
    };
    FunctionMessage {
        subject: subject.into(),
        timestamp: time,
        headers: pairs,
        payload: payload.into(),
        ..FunctionMessage::default()
    }
}

fn message(record: &Record) -> FunctionMessage<'_> {
    let message = &record.message;
    FunctionMessage {
        sequence: record.sequence,
        key: record.key.as_deref().map(Cow::Borrowed),
        schema_id: record.schema.as_ref().map(|schema| schema.id),
        deliveries: record.deliveries,
        ..seen(
            &message.subject,
            &message.headers,
            &message.payload,
            record.time,
        )
    }
}

impl Stage for FunctionStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let messages: Vec<_> = batch.iter().map(message).collect();
        let answers = self.answers(&messages);
        self.verdicts(answers, batch)
    }

    fn in_place(&self) -> Option<&dyn InPlace> {
        Some(self)
    }
}

impl InPlace for FunctionStage {
    fn look<'a>(&'a self, batch: &[FunctionMessage<'_>]) -> Look<'a> {
        let answers = self.answers(batch);
        let keeps = |answer: &Answer| matches!(answer, Ok(FunctionOutcome::Keep));
        if answers.answers.iter().all(keeps) {
            return Look::Kept;
        }
        Look::Decided(Box::new(move |records| self.verdicts(answers, records)))
    }
}
