//! Flows as the catalog has them, and the form of their positions.
//!
//! A position is the number of the run it belongs to in decimal, a line end, and the runner's own JSON. Numbers of runs never
//! come again, so what an earlier run still had under way is not taken for one of a flow that was restarted, or deleted and
//! made anew.

use bytes::Bytes;
use millstream_spec::{FlowSpec, FlowStart};
use serde::{Deserialize, Serialize};

/// A flow as applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowEntry {
    /// What the user wrote.
    pub spec: FlowSpec,
    /// Counts up with every change, from 1.
    pub version: u64,
    /// When it was first applied.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
    /// Changes with every restart; no other flow ever has the same.
    pub run: u64,
    /// Where this run begins, when it is a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<FlowStart>,
    /// The range that it was to read once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<FlowRerun>,
}

/// A range that is read once more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowRerun {
    /// As a flow's.
    pub run: u64,
    /// The first sequence.
    pub from_seq: u64,
    /// The last sequence.
    pub to_seq: u64,
    /// The station that gets what keeps its subject; absent: the flow's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it was asked for.
    pub started: i64,
}

impl FlowEntry {
    pub(crate) fn new(spec: FlowSpec, run: u64, time: i64) -> Self {
        Self {
            spec,
            version: 1,
            created: time,
            updated: time,
            run,
            start: None,
            rerun: None,
        }
    }

    /// The same flow, declared anew: it goes on where it is. A range of another stream would be read instead of the one that
    /// was asked for, so it is none any more when the flow reads something else.
    pub(crate) fn changed(self, spec: FlowSpec, time: i64) -> Self {
        let rerun = self.rerun.filter(|_| self.spec.from == spec.from);
        Self {
            rerun,
            spec,
            version: self.version + 1,
            updated: time,
            ..self
        }
    }

    /// Whether it names this station.
    pub(crate) fn uses_station(&self, name: &str) -> bool {
        let is_it =
            |station: &str| station == name || station.strip_suffix("-dead-letters") == Some(name);
        self.spec.stations().any(is_it)
    }
}

/// Under what a flow's position is kept.
#[must_use]
pub fn flow_key(name: &str) -> String {
    format!("flow/{name}")
}

/// Under what the position of a flow's rerun is kept.
#[must_use]
pub fn rerun_key(name: &str) -> String {
    format!("flow/{name}/rerun")
}

/// A position of a run.
#[must_use]
pub fn position_value(run: u64, json: &str) -> Bytes {
    Bytes::from(format!("{run}\n{json}"))
}

/// The run and the runner's own part of a position; `None` when it is none.
#[must_use]
pub fn split_position(value: &[u8]) -> Option<(u64, &[u8])> {
    let end = value.iter().position(|byte| *byte == b'\n')?;
    let run = std::str::from_utf8(value.get(..end)?).ok()?.parse().ok()?;
    Some((run, value.get(end + 1..)?))
}

pub(crate) fn run_of(value: &[u8]) -> Option<u64> {
    Some(split_position(value)?.0)
}
