//! What each stage counts, under the same names for every stage.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

/// Whose numbers these are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    station: String,
    stage: String,
}

/// From 10 µs to about 5 s per batch.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 20))
}

type Latency = Family<Labels, Histogram, fn() -> Histogram>;

/// The stages' metrics of all stations of a server. Cheap to clone.
#[derive(Clone)]
pub struct PipelineMetrics {
    records_in: Family<Labels, Counter>,
    records_out: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    rejected: Family<Labels, Counter>,
    retried: Family<Labels, Counter>,
    bytes_in: Family<Labels, Counter>,
    bytes_out: Family<Labels, Counter>,
    /// Not registered: it is the sum of `latency`, which the histogram does not tell.
    busy_nanos: Family<Labels, Counter>,
    latency: Latency,
}

impl Default for PipelineMetrics {
    fn default() -> Self {
        Self {
            records_in: Family::default(),
            records_out: Family::default(),
            dropped: Family::default(),
            rejected: Family::default(),
            retried: Family::default(),
            bytes_in: Family::default(),
            bytes_out: Family::default(),
            busy_nanos: Family::default(),
            latency: Latency::new_with_constructor(latency),
        }
    }
}

impl fmt::Debug for PipelineMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineMetrics").finish_non_exhaustive()
    }
}

impl PipelineMetrics {
    /// Registers the metrics `<prefix>_stage_*` with labels `station` and `stage`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("stage");
        let mut counter = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(name, help, family.clone());
        };
        counter(
            "records_in",
            "Records that a stage took in",
            &self.records_in,
        );
        counter(
            "records_out",
            "Records that a stage passed on",
            &self.records_out,
        );
        counter(
            "records_dropped",
            "Records that a stage left out on purpose",
            &self.dropped,
        );
        counter(
            "records_rejected",
            "Records that a stage rejected",
            &self.rejected,
        );
        counter(
            "records_retried",
            "Records that a stage wanted to see again later",
            &self.retried,
        );
        counter("bytes_in", "Bytes that a stage took in", &self.bytes_in);
        counter("bytes_out", "Bytes that a stage passed on", &self.bytes_out);
        registry.register_with_unit(
            "batch",
            "Time a stage took for one batch",
            Unit::Seconds,
            self.latency.clone(),
        );
    }

    /// The numbers of one stage; the same ones for the same names, so that they outlive a swapped plan.
    #[must_use]
    pub fn stage(&self, station: &str, stage: &str) -> StageMetrics {
        let labels = Labels {
            station: station.to_owned(),
            stage: stage.to_owned(),
        };
        StageMetrics {
            records_in: self.records_in.get_or_create_owned(&labels),
            records_out: self.records_out.get_or_create_owned(&labels),
            dropped: self.dropped.get_or_create_owned(&labels),
            rejected: self.rejected.get_or_create_owned(&labels),
            retried: self.retried.get_or_create_owned(&labels),
            bytes_in: self.bytes_in.get_or_create_owned(&labels),
            bytes_out: self.bytes_out.get_or_create_owned(&labels),
            latency: self.latency.get_or_create_owned(&labels),
            busy_nanos: self.busy_nanos.get_or_create_owned(&labels),
        }
    }

    /// Forgets the numbers of one stage, when its station is gone.
    pub fn forget(&self, station: &str, stage: &str) {
        let labels = Labels {
            station: station.to_owned(),
            stage: stage.to_owned(),
        };
        for family in [
            &self.records_in,
            &self.records_out,
            &self.dropped,
            &self.rejected,
            &self.retried,
            &self.bytes_in,
            &self.bytes_out,
            &self.busy_nanos,
        ] {
            family.remove(&labels);
        }
        self.latency.remove(&labels);
    }
}

/// The numbers of one stage. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct StageMetrics {
    records_in: Counter,
    records_out: Counter,
    dropped: Counter,
    rejected: Counter,
    retried: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    latency: Histogram,
    busy_nanos: Counter,
}

impl Default for StageMetrics {
    /// Numbers that no registry shows.
    fn default() -> Self {
        PipelineMetrics::default().stage("", "")
    }
}

/// What became of one batch in one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) records_in: usize,
    pub(crate) records_out: usize,
    pub(crate) dropped: usize,
    pub(crate) rejected: usize,
    pub(crate) retried: usize,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
}

impl Batch {
    /// All of it passed as it was.
    pub(crate) fn kept(records: usize, bytes: usize) -> Self {
        Self {
            records_in: records,
            records_out: records,
            bytes_in: bytes,
            bytes_out: bytes,
            ..Self::default()
        }
    }
}

impl StageMetrics {
    pub(crate) fn count(&self, batch: Batch, took: Duration) {
        self.records_in.inc_by(batch.records_in as u64);
        self.records_out.inc_by(batch.records_out as u64);
        self.dropped.inc_by(batch.dropped as u64);
        self.rejected.inc_by(batch.rejected as u64);
        self.retried.inc_by(batch.retried as u64);
        self.bytes_in.inc_by(batch.bytes_in as u64);
        self.bytes_out.inc_by(batch.bytes_out as u64);
        self.latency.observe(took.as_secs_f64());
        self.busy_nanos
            .inc_by(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self, label: &str) -> StageSnapshot {
        StageSnapshot {
            label: label.to_owned(),
            records_in: self.records_in.get(),
            records_out: self.records_out.get(),
            dropped: self.dropped.get(),
            rejected: self.rejected.get(),
            retried: self.retried.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            busy: Duration::from_nanos(self.busy_nanos.get()),
        }
    }
}

/// The numbers of one stage at one moment, since the plan's metrics were created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StageSnapshot {
    /// The stage's label.
    pub label: String,
    /// Records it took in.
    #[serde(rename = "in")]
    pub records_in: u64,
    /// Records it passed on; more than it took in when it splits them.
    #[serde(rename = "out")]
    pub records_out: u64,
    /// Records it left out on purpose.
    pub dropped: u64,
    /// Records it rejected, with those of the same inputs that were withdrawn for it.
    pub rejected: u64,
    /// Records it wanted to see again later.
    pub retried: u64,
    /// Bytes of subject, headers and payload it took in.
    pub bytes_in: u64,
    /// Bytes it passed on.
    pub bytes_out: u64,
    /// Time it was at work.
    pub busy: Duration,
}
