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
    /// Of a query that was built beside an earlier version: the run that built its state, which is kept apart under this
    /// number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u64>,
    /// A changed query that is built beside this one, and takes over when it has caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<FlowBuild>,
}

/// A changed query on its way to take over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowBuild {
    /// What the user wrote.
    pub spec: FlowSpec,
    /// As a flow's.
    pub run: u64,
    /// Where it begins, when the flow was restarted elsewhere than it is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<FlowStart>,
    /// When it was asked for.
    pub started: i64,
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
            part: None,
            build: None,
        }
    }

    /// Has another version of the query built. The one that is being built already goes on when no more than whether it
    /// stands still has changed.
    pub(crate) fn build(&mut self, spec: FlowSpec, run: u64, time: i64) {
        let standing = |build: &FlowBuild| FlowSpec {
            paused: spec.paused,
            ..build.spec.clone()
        };
        match &mut self.build {
            Some(build) if standing(build) == spec => build.spec = spec,
            _ => {
                let start = self.start.filter(|_| spec.start == self.spec.start);
                self.build = Some(FlowBuild {
                    spec,
                    run,
                    start,
                    started: time,
                });
            }
        }
    }

    /// The flow as its build has it, which takes over.
    pub(crate) fn switched(self, build: FlowBuild, time: i64) -> Self {
        Self {
            spec: build.spec,
            version: self.version + 1,
            updated: time,
            run: build.run,
            start: build.start,
            part: Some(build.run),
            build: None,
            ..self
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
        let build = self.build.iter().flat_map(|build| build.spec.stations());
        self.spec.stations().chain(build).any(is_it)
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

/// Under what the position of a query is kept that is built beside the flow's.
#[must_use]
pub fn build_key(name: &str) -> String {
    format!("flow/{name}/build")
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
