//! A function over stored messages, without any effect: what it would answer, how long it takes, and where it differs from
//! the version that runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_admin::{ApplyRequest, DryRunRequest, Failure, FailureCode, HistoryRange, Reply};
use millstream_function_api::{Fault, Function, FunctionMessage, FunctionOutcome};
use millstream_jetstream::StoredRecord;
use millstream_pipeline::{Difference, Reading};
use millstream_spec::{Document, SourceFile, Spec, parse};
use millstream_types::HeaderBlock;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::manage::Manager;
use crate::manage::apply::Attached;
use crate::manage::scan::{Visit, line, scan};
use crate::shelf::Shelf;

/// Messages of one call, as a station's batch would have.
const BATCH: usize = 256;
/// Samples of each kind that are shown.
const SAMPLES: usize = 5;
const DIFFERENCES: usize = 20;
const MAX_CODES: usize = 64;

type Answer = Result<FunctionOutcome, Fault>;

impl Manager {
    pub(crate) async fn function_dry_run(&self, request: DryRunRequest) -> Result<Reply, Failure> {
        let attached = Attached::read(&ApplyRequest {
            attachments: request.attachments,
            ..ApplyRequest::default()
        })?;
        let files: Vec<SourceFile> = request
            .files
            .iter()
            .map(|file| SourceFile {
                name: file.name.clone(),
                text: file.text.clone(),
            })
            .collect();
        let parsed = parse(&files, &|name| request.variables.get(name).cloned());
        if !parsed.problems.is_empty() {
            return Err(crate::manage::apply::problems_found(parsed.problems));
        }
        let functions = parsed
            .documents
            .iter()
            .filter(|document| matches!(document.spec, Spec::Function(_)));
        let functions: Vec<&Document> = functions.collect();
        let [document] = functions.as_slice() else {
            return Err(Failure::new(
                FailureCode::BadRequest,
                format!("the files describe {} functions", functions.len()),
                "name a file with the one that is to be tried",
            ));
        };
        let range = self.history(&HistoryRange {
            station: request.station.clone(),
            from_seq: request.from_seq,
            from_time: request.from_time.clone(),
            limit: request.limit,
        })?;
        let pair = self.versions_to_compare(document, &attached).await?;
        let reader = self.jetstream()?.reader();
        let visitor = Comparison::new(pair, Arc::clone(self.compiler.shelf()));
        let (lines, answer) = mpsc::channel(16);
        tokio::spawn(async move {
            let last = match scan(reader, range, visitor, &lines).await {
                Ok(None) => return,
                Ok(Some((visitor, _))) => match finished(visitor).await {
                    Ok(report) => json!({ "report": report }),
                    Err(failure) => failure.body(),
                },
                Err(failure) => failure.body(),
            };
            // Nobody reads it any more, then.
            let _gone = line(&lines, &last).await;
        });
        Ok(Reply::Lines(answer))
    }

    /// The function of the files, and the version of it that runs.
    async fn versions_to_compare(
        &self,
        document: &Document,
        attached: &Attached,
    ) -> Result<(Arc<dyn Function>, Option<Arc<dyn Function>>), Failure> {
        let Spec::Function(spec) = document.spec.clone() else {
            unreachable!("invariant: a function's document is one");
        };
        let bytes = attached.of(document);
        let bytes = bytes.map_err(|problem| crate::manage::apply::problems_found(vec![problem]))?;
        let bytes = bytes.unwrap_or_default().to_vec();
        let live = self.node.catalog().functions.get(&spec.name).cloned();
        let compiler = Arc::clone(&self.compiler);
        let loaded = tokio::task::spawn_blocking(move || {
            let functions = compiler.functions();
            let tried = functions.spectator(&spec, &bytes, 0)?;
            let live = match live {
                None => None,
                Some(live) => {
                    let module = functions.module(&live.digest);
                    let module = module.map_err(|error| error.to_string())?;
                    Some(functions.spectator(&live.spec, &module, live.version)?)
                }
            };
            Ok::<_, String>((tried, live))
        });
        let loaded = loaded.await.unwrap_or_else(|error| Err(error.to_string()));
        loaded.map_err(|error| {
            let hint = "nothing was deployed; mend the function and try again";
            Failure::new(FailureCode::BadRequest, error, hint)
        })
    }
}

async fn finished(mut visitor: Comparison) -> Result<Value, Failure> {
    let done = tokio::task::spawn_blocking(move || {
        visitor.run();
        visitor.report()
    });
    done.await.map_err(|error| {
        let hint = "see the server's log";
        Failure::new(FailureCode::Unavailable, error.to_string(), hint)
    })
}

/// What one version answered.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    messages: u64,
    took: Duration,
    /// Microseconds per message of each batch.
    batches: Vec<f64>,
}

impl Tally {
    fn run(&mut self, function: &dyn Function, batch: &[FunctionMessage<'_>]) -> Vec<Answer> {
        let started = Instant::now();
        let answers = function.process(batch);
        let took = started.elapsed();
        self.took += took;
        self.messages += batch.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "a batch has few messages")]
        self.batches
            .push(took.as_secs_f64() * 1e6 / batch.len() as f64);
        for answer in &answers {
            *self.counts.entry(word(answer)).or_default() += 1;
        }
        answers
    }

    fn counts(&self) -> Value {
        let of = |word: &str| self.counts.get(word).copied().unwrap_or_default();
        json!({ "messages": self.messages, "keep": of("keep"), "replace": of("replace"), "emit": of("emit"),
            "drop": of("drop"), "retry": of("retry"), "reject": of("reject"), "errors": of("error") })
    }

    fn micros(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a mean needs no more")]
        (self.messages > 0).then(|| self.took.as_secs_f64() * 1e6 / self.messages as f64)
    }

    fn quantile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.batches.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a list that exists"
        )]
        let index = (part * (sorted.len().max(1) - 1) as f64).round() as usize;
        sorted.get(index).copied()
    }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Ok(FunctionOutcome::Keep) => "keep",
        Ok(FunctionOutcome::Replace(_)) => "replace",
        Ok(FunctionOutcome::Emit(_)) => "emit",
        Ok(FunctionOutcome::Drop) => "drop",
        Ok(FunctionOutcome::Retry(_)) => "retry",
        Ok(FunctionOutcome::Reject { .. }) => "reject",
        Err(_) => "error",
    }
}

/// Rejections of one code.
struct Code {
    count: u64,
    seq: u64,
    reason: String,
}

/// See the module.
struct Comparison {
    tried: Arc<dyn Function>,
    live: Option<Arc<dyn Function>>,
    schemas: Arc<Shelf>,
    reading: Option<Reading>,
    batch: Vec<FunctionMessage<'static>>,
    candidate: Tally,
    before: Tally,
    different: u64,
    codes: BTreeMap<String, Code>,
    samples: BTreeMap<&'static str, Vec<Value>>,
    differences: Vec<Difference>,
}

impl Comparison {
    fn new(
        (tried, live): (Arc<dyn Function>, Option<Arc<dyn Function>>),
        schemas: Arc<Shelf>,
    ) -> Self {
        Self {
            tried,
            live,
            schemas,
            // As stages see it, whatever it is stored in.
            reading: Reading::parse(Some("json"), None, None).ok().flatten(),
            batch: Vec::with_capacity(BATCH),
            candidate: Tally::default(),
            before: Tally::default(),
            different: 0,
            codes: BTreeMap::new(),
            samples: BTreeMap::new(),
            differences: Vec::new(),
        }
    }

    fn run(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        let answers = self.candidate.run(self.tried.as_ref(), &batch);
        for (message, answer) in batch.iter().zip(&answers) {
            self.note(message, answer);
        }
        if let Some(live) = self.live.clone() {
            let before = self.before.run(live.as_ref(), &batch);
            for ((message, live), tried) in batch.iter().zip(&before).zip(&answers) {
                if live != tried {
                    self.different += 1;
                    if self.differences.len() < DIFFERENCES {
                        self.differences.push(Difference::new(message, live, tried));
                    }
                }
            }
        }
    }

    fn note(&mut self, message: &FunctionMessage<'_>, answer: &Answer) {
        let seq = message.sequence.unwrap_or_default();
        let rejected = match answer {
            Ok(FunctionOutcome::Reject { code, reason, .. }) => {
                Some((code.clone(), reason.clone()))
            }
            Err(fault) => Some((fault.code.to_string(), fault.reason.clone())),
            Ok(_) => None,
        };
        if let Some((code, reason)) = rejected
            && (self.codes.len() < MAX_CODES || self.codes.contains_key(&code))
        {
            let code = self.codes.entry(code).or_insert(Code {
                count: 0,
                seq,
                reason,
            });
            code.count += 1;
        }
        let samples = self.samples.entry(word(answer)).or_default();
        if samples.len() < SAMPLES {
            let subject = String::from_utf8_lossy(&message.subject);
            let payload = String::from_utf8_lossy(&message.payload);
            let end = payload.floor_char_boundary(500);
            samples.push(
                json!({ "seq": seq, "subject": subject, "payload": &payload[..end],
                "answer": crate::functions::shown(answer).trim_matches('`') }),
            );
        }
    }

    fn report(&self) -> Value {
        let mut codes: Vec<_> = self.codes.iter().collect();
        codes.sort_by_key(|(_, code)| std::cmp::Reverse(code.count));
        let codes: Vec<Value> = codes
            .into_iter()
            .map(|(name, code)| {
                json!({ "code": name, "count": code.count,
                    "first": { "seq": code.seq, "reason": code.reason } })
            })
            .collect();
        let samples: Vec<&Value> = self.samples.values().flatten().collect();
        json!({
            "looked_at": self.candidate.messages,
            "candidate": self.candidate.counts(),
            "live": self.live.as_ref().map(|_| self.before.counts()),
            "different": self.different,
            "micros_per_message": { "candidate": self.candidate.micros(), "live": self.before.micros(),
                "p50": self.candidate.quantile(0.5), "p99": self.candidate.quantile(0.99) },
            "rejections": codes,
            "samples": samples,
            "differences": self.differences,
        })
    }
}

impl Visit for Comparison {
    fn message(&mut self, record: &StoredRecord) {
        let view = record.view();
        let converted = self.reading.as_ref().and_then(|reading| {
            reading
                .convert(&*self.schemas, view.headers, view.payload)
                .ok()
        });
        let (headers, payload) = match converted.flatten() {
            Some((headers, payload)) => (headers, payload),
            None => {
                let message = record.message();
                (message.headers, message.payload)
            }
        };
        let text = |bytes: &[u8]| Cow::Owned(String::from_utf8_lossy(bytes).into_owned());
        self.batch.push(FunctionMessage {
            subject: Vec::from(record.message().subject).into(),
            sequence: Some(record.seq),
            timestamp: record.time,
            headers: HeaderBlock::new(&headers)
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            payload: Vec::from(payload).into(),
            ..FunctionMessage::default()
        });
        if self.batch.len() == BATCH {
            self.run();
        }
    }
}
