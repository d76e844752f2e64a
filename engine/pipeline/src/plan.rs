//! A station's compiled pipeline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_function_api::FunctionMessage;

use crate::metrics::{Batch, PipelineMetrics, StageMetrics, StageSnapshot};
use crate::run::{Run, caught};
use crate::{
    Ended, Look, OnRejection, Order, Record, Rejection, Running, SchemaStage, Stage, Verdict,
    VersionSchema,
};

/// What a station does to messages before they are stored, compiled once when it is applied. Immutable: a changed station
/// gets a new plan, and batches under way end with the one they began with.
#[derive(Debug)]
pub struct Plan {
    /// Which version of the station's declaration this is; 0 for [`Plan::closed`].
    pub version: u64,
    pub(crate) schema: Option<Arc<SchemaStage>>,
    stages: Vec<Arc<dyn Stage>>,
    metrics: Vec<StageMetrics>,
    on_rejection: OnRejection,
    running: Running,
}

impl Plan {
    /// A plan that checks the schema first and then runs the stages in order. `on_rejection` is for the stages; what a
    /// violation of the schema leads to, the schema stage says itself. [`OnRejection::Tag`] means
    /// [`OnRejection::DeadLetter`] where there is no schema to violate.
    #[must_use]
    pub fn new(
        version: u64,
        schema: Option<SchemaStage>,
        stages: Vec<Arc<dyn Stage>>,
        on_rejection: OnRejection,
    ) -> Self {
        let schema = schema.map(Arc::new);
        let first = schema
            .iter()
            .map(|schema| Arc::clone(schema) as Arc<dyn Stage>);
        let stages: Vec<_> = first.chain(stages).collect();
        let metrics = stages.iter().map(|_| StageMetrics::default()).collect();
        let on_rejection = match on_rejection {
            OnRejection::Tag => OnRejection::DeadLetter,
            other => other,
        };
        Self {
            version,
            schema,
            stages,
            metrics,
            on_rejection,
            running: Running::default(),
        }
    }

    /// The same plan, run like this.
    #[must_use]
    pub fn with_running(mut self, running: Running) -> Self {
        self.running = running;
        self
    }

    /// How it is run.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The key of a message, where one is declared; a message without one has the empty key.
    #[must_use]
    pub fn key(&self, record: &mut Record) -> Bytes {
        let rule = self.running.key.as_ref();
        rule.and_then(|rule| rule.of(record)).unwrap_or_default()
    }

    /// A plan that rejects every message with `why`: for a station whose real plan cannot be compiled, where storing
    /// unchecked would be worse. Publishers get an error; what nobody waits for goes to the dead letters.
    #[must_use]
    pub fn closed(why: &str) -> Self {
        let reason = format!("station takes no messages until its pipeline is mended: {why}");
        Self::new(
            0,
            None,
            vec![Arc::new(Closed { reason })],
            OnRejection::Reject,
        )
    }

    /// The same plan counting in `metrics` under the station's name, where numbers of an earlier version go on. A label
    /// that comes twice counts under `label #2` the second time.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &PipelineMetrics, station: &str) -> Self {
        let labels = self.metric_labels();
        self.metrics = labels
            .iter()
            .map(|label| metrics.stage(station, label))
            .collect();
        self
    }

    /// What the stages are called in metrics and snapshots, in order.
    #[must_use]
    pub fn metric_labels(&self) -> Vec<String> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let labels = self.stages.iter().map(|stage| {
            let count = seen.entry(stage.label()).or_default();
            *count += 1;
            match *count {
                1 => stage.label().to_owned(),
                more => format!("{} #{more}", stage.label()),
            }
        });
        labels.collect()
    }

    /// Whether messages pass unchanged and unchecked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// What a rejection leads to.
    #[must_use]
    pub fn on_rejection(&self, rejection: &Rejection) -> OnRejection {
        match &self.schema {
            // The subject behind the colon is the one that the station's rules chose.
            Some(schema) if rejection.kind() == SchemaStage::KIND => schema.on_violation(),
            _ => self.on_rejection,
        }
    }

    /// The numbers of each stage, in order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<StageSnapshot> {
        let labels = self.metric_labels();
        self.metrics
            .iter()
            .zip(&labels)
            .map(|(stage, label)| stage.snapshot(label))
            .collect()
    }

    /// Checks a message where it lies, for stations that only check a schema: the version it fits, whose mark it is stored
    /// with. `None` when it has to go through [`Plan::run`].
    #[must_use]
    pub fn passes(
        &self,
        subject: &[u8],
        raw: &[u8],
        payload: &[u8],
    ) -> Option<&Arc<VersionSchema>> {
        match (&self.schema, self.stages.len()) {
            (Some(schema), 1) => schema.passes(subject, raw, payload),
            _ => None,
        }
    }

    /// Counts messages that [`Plan::passes`] let through.
    pub fn count_passed(&self, records: usize, bytes: usize, took: Duration) {
        if let Some(metrics) = self.metrics.first() {
            metrics.count(Batch::kept(records, bytes), took);
        }
    }

    /// Takes a batch through all stages. One end for each input, in the same order; within an input its records keep the
    /// order in which stages made them. Blocks for as long as the stages take.
    ///
    /// Headers `Ms-Schema` and `Ms-Schema-Violation` of the publisher are removed; with a schema, stored records carry the
    /// server's own: the version they were checked against on their way in, or what they violate.
    #[must_use]
    pub fn run(&self, mut inputs: Vec<Record>) -> Vec<Ended> {
        if let Some(rule) = &self.running.key {
            for record in &mut inputs {
                record.key = rule.of(record);
            }
        }
        let mut run = Run::new(inputs, self.schema.is_some());
        if let Some(schema) = &self.schema {
            run.schema(schema, &self.metrics[0]);
        }
        self.finish(run, usize::from(self.schema.is_some()))
    }

    /// The stages from this one on.
    fn finish(&self, mut run: Run, from: usize) -> Vec<Ended> {
        for (stage, metrics) in self.stages.iter().zip(&self.metrics).skip(from) {
            run.stage(stage.as_ref(), metrics);
        }
        run.end()
    }

    /// Whether [`Plan::run_in_place`] is for this plan: where all stages can look at messages where they lie, in one thread,
    /// and nothing is asked of a message before them.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let Running {
            order,
            workers,
            key,
            max_retries: _,
        } = &self.running;
        self.schema.is_none()
            && key.is_none()
            && *order != Order::Key
            && *workers <= 1
            && self.stages.iter().all(|stage| stage.in_place().is_some())
    }

    /// As [`Plan::run`] for messages that are [plain](crate::is_plain), without making records of them as long as all
    /// stages keep all of them: then it is `None`, and they are to be stored as they are. `bytes` is the size of their
    /// records, `inputs` makes these when a stage decides otherwise.
    pub fn run_in_place(
        &self,
        messages: &[FunctionMessage<'_>],
        bytes: usize,
        inputs: impl FnOnce() -> Vec<Record>,
    ) -> Option<Vec<Ended>> {
        for (at, (stage, metrics)) in self.stages.iter().zip(&self.metrics).enumerate() {
            let started = Instant::now();
            let look = stage
                .in_place()
                .and_then(|stage| caught(|| stage.look(messages)));
            if let Some(Look::Kept) = look {
                metrics.count(Batch::kept(messages.len(), bytes), started.elapsed());
                continue;
            }
            let mut run = Run::new(inputs(), false);
            run.looked(stage.as_ref(), look, metrics, started);
            return Some(self.finish(run, at + 1));
        }
        None
    }
}

impl Plan {
    /// As [`Plan::run`], with the batch cut into as many parts as there are workers, each on a thread of its own. The ends
    /// are in the order of the inputs. Stages see smaller batches, otherwise there is no difference.
    #[must_use]
    pub fn run_split(&self, inputs: Vec<Record>, workers: usize) -> Vec<Ended> {
        let count = inputs.len();
        let workers = workers.clamp(1, count.div_ceil(SMALLEST_PART).max(1));
        if workers == 1 {
            return self.run(inputs);
        }
        let mut rest = inputs.into_iter();
        let mut part = |number: usize| {
            let size = (number + 1) * count / workers - number * count / workers;
            rest.by_ref().take(size).collect::<Vec<Record>>()
        };
        let first = part(0);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers)
                .map(|number| {
                    let part = part(number);
                    scope.spawn(move || self.run(part))
                })
                .collect();
            let mut ends = self.run(first);
            for other in others {
                match other.join() {
                    Ok(more) => ends.extend(more),
                    // Stages' panics are caught per stage; this one is the plan's own.
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            ends
        })
    }
}

/// Fewer inputs than this are not worth a thread.
const SMALLEST_PART: usize = 8;

/// The only stage of a closed plan.
#[derive(Debug)]
struct Closed {
    reason: String,
}

impl Stage for Closed {
    fn label(&self) -> &'static str {
        "plan:closed"
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |_| Verdict::Reject(Rejection::new(self.label(), "closed", &self.reason));
        batch.iter().map(verdict).collect()
    }
}

#[cfg(test)]
mod tests;
