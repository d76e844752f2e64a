//! What each version of a function counts, wherever it runs.

use std::fmt;
use std::time::Duration;

use millstream_function_api::{Fault, FunctionOutcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    function: String,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    function: String,
    version: u64,
    outcome: &'static str,
}

/// From 10 µs to about 5 s per call.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 20))
}

type Latency = Family<Labels, Histogram, fn() -> Histogram>;

/// The names of outcomes, as they are counted and shown; `error` is a trap, a time-out or a limit.
pub(crate) const OUTCOMES: [&str; 7] = [
    "keep", "replace", "emit", "drop", "retry", "reject", "error",
];

/// Which of [`OUTCOMES`] this is.
pub(crate) fn outcome_index(answer: &Result<FunctionOutcome, Fault>) -> usize {
    match answer {
        Ok(FunctionOutcome::Keep) => 0,
        Ok(FunctionOutcome::Replace(_)) => 1,
        Ok(FunctionOutcome::Emit(_)) => 2,
        Ok(FunctionOutcome::Drop) => 3,
        Ok(FunctionOutcome::Retry(_)) => 4,
        Ok(FunctionOutcome::Reject { .. }) => 5,
        Err(_) => 6,
    }
}

/// The metrics of all functions of a server. Cheap to clone.
#[derive(Clone)]
pub struct FunctionMetrics {
    calls: Family<Labels, Counter>,
    messages: Family<OutcomeLabels, Counter>,
    seconds: Latency,
    /// Not registered: it is the sum of `seconds`, which a histogram does not tell.
    busy_nanos: Family<Labels, Counter>,
    memory: Family<Labels, Gauge>,
    queue: Family<Labels, Gauge>,
}

impl fmt::Debug for FunctionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionMetrics").finish_non_exhaustive()
    }
}

impl Default for FunctionMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            messages: Family::default(),
            seconds: Latency::new_with_constructor(latency),
            busy_nanos: Family::default(),
            memory: Family::default(),
            queue: Family::default(),
        }
    }
}

impl FunctionMetrics {
    /// Registers the metrics `<prefix>_function_*` with labels `function` and `version`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("function");
        registry.register(
            "calls",
            "Batches a function was called with",
            self.calls.clone(),
        );
        registry.register(
            "messages",
            "Messages a function decided about, by outcome",
            self.messages.clone(),
        );
        registry.register_with_unit(
            "batch",
            "Time a function took for one batch",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "memory",
            "Linear memory of a function's largest instance",
            Unit::Bytes,
            self.memory.clone(),
        );
        registry.register(
            "queue",
            "Messages that a function is at work on",
            self.queue.clone(),
        );
    }

    /// The numbers of one version; the same ones for the same names.
    #[must_use]
    pub fn version(&self, function: &str, version: u64) -> VersionMetrics {
        let labels = Labels {
            function: function.to_owned(),
            version,
        };
        let outcome = |outcome| OutcomeLabels {
            function: function.to_owned(),
            version,
            outcome,
        };
        VersionMetrics {
            calls: self.calls.get_or_create_owned(&labels),
            messages: OUTCOMES.map(|name| self.messages.get_or_create_owned(&outcome(name))),
            seconds: self.seconds.get_or_create_owned(&labels),
            busy_nanos: self.busy_nanos.get_or_create_owned(&labels),
            memory: self.memory.get_or_create_owned(&labels),
            queue: self.queue.get_or_create_owned(&labels),
        }
    }

    /// Forgets the numbers of one version, when its function is gone.
    pub fn forget(&self, function: &str, version: u64) {
        let labels = Labels {
            function: function.to_owned(),
            version,
        };
        for outcome in OUTCOMES {
            self.messages.remove(&OutcomeLabels {
                function: function.to_owned(),
                version,
                outcome,
            });
        }
        self.calls.remove(&labels);
        self.seconds.remove(&labels);
        self.busy_nanos.remove(&labels);
        self.memory.remove(&labels);
        self.queue.remove(&labels);
    }
}

/// The numbers of one version of a function. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct VersionMetrics {
    calls: Counter,
    messages: [Counter; OUTCOMES.len()],
    seconds: Histogram,
    busy_nanos: Counter,
    memory: Gauge,
    queue: Gauge,
}

impl Default for VersionMetrics {
    /// Numbers that no registry shows.
    fn default() -> Self {
        FunctionMetrics::default().version("", 0)
    }
}

impl VersionMetrics {
    pub(crate) fn begin(&self, messages: usize) {
        self.queue
            .inc_by(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    pub(crate) fn end(
        &self,
        answers: &[Result<FunctionOutcome, Fault>],
        took: Duration,
        memory: u64,
    ) {
        self.queue
            .dec_by(i64::try_from(answers.len()).unwrap_or(i64::MAX));
        let mut counts = [0_u64; OUTCOMES.len()];
        for answer in answers {
            counts[outcome_index(answer)] += 1;
        }
        for (counter, count) in self.messages.iter().zip(counts) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        self.calls.inc();
        self.seconds.observe(took.as_secs_f64());
        self.busy_nanos
            .inc_by(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.memory.set(i64::try_from(memory).unwrap_or(i64::MAX));
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> FunctionSnapshot {
        let of = |index: usize| self.messages[index].get();
        FunctionSnapshot {
            calls: self.calls.get(),
            messages: self.messages.iter().map(Counter::get).sum(),
            keep: of(0),
            replace: of(1),
            emit: of(2),
            drop: of(3),
            retry: of(4),
            reject: of(5),
            errors: of(6),
            busy: Duration::from_nanos(self.busy_nanos.get()),
            memory: u64::try_from(self.memory.get()).unwrap_or_default(),
        }
    }
}

/// The numbers of one version at one moment, since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionSnapshot {
    /// Batches.
    pub calls: u64,
    /// Messages, whatever became of them.
    pub messages: u64,
    /// Kept as they came.
    pub keep: u64,
    /// Changed.
    pub replace: u64,
    /// Became others.
    pub emit: u64,
    /// Left out.
    pub drop: u64,
    /// To be tried again.
    pub retry: u64,
    /// Rejected by the function.
    pub reject: u64,
    /// Trapped, timed out or overstepped a limit.
    pub errors: u64,
    /// Time it was at work.
    #[serde(serialize_with = "seconds")]
    pub busy: Duration,
    /// Linear memory of the largest instance, in bytes.
    pub memory: u64,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
