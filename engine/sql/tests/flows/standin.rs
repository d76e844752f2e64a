//! Two small flows by hand, and what may be wrong with a flow: the harness has to find all of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millstream_pipeline::{
    Batch, BrokenState, Dataflow, DataflowStatus, Effects, FlowTable, Origin, Output, Rejection,
    StateChange,
};
use millstream_spec::Results;
use millstream_types::Timestamp;
use serde_json::{Value, json};

use crate::data::{DISORDER, Row, SECOND};
use crate::drive::Flow;

const SIZE: i64 = 10 * SECOND;
const SUBJECT: Bytes = Bytes::from_static(b"out");

/// Counts per key of two streams, told when a window ends.
pub(crate) const WINDOWS: &str = "WITH both AS (SELECT k, ts FROM a UNION ALL SELECT k, ts FROM b)
    SELECT k, COUNT(*) AS n, window_start
    FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end";
/// Counts per key of a stream, told whenever they change.
pub(crate) const COUNTS: &str = "SELECT k, COUNT(*) AS n FROM a GROUP BY k";

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    DropsRow,
    TakesRowTwice,
    ForgetsState,
    ForgetsTime,
    KeepsClosedWindows,
    WrongEdge,
    FastestSource,
    DropsNullKeys,
    NoDisorder,
    ForgetsToTakeBack,
    TakesBackTheWrongRow,
    TellsAfterCrashAgain,
}

pub(crate) fn flow(mistake: Mistake, windows: bool) -> Flow {
    let names: &[&str] = if windows { &["a", "b"] } else { &["a"] };
    let sources: Vec<FlowTable> = names
        .iter()
        .map(|name| FlowTable {
            station: (*name).to_owned(),
            filter: None,
            is_table: false,
        })
        .collect();
    Flow {
        sources: sources.clone(),
        updating: (!windows).then_some(Results::Changelog),
        spills: false,
        start: Box::new(move || {
            Box::new(StandIn {
                mistake,
                windows,
                times: vec![i64::MIN; sources.len()],
                sources: sources.clone(),
                counts: BTreeMap::new(),
                restored: BTreeSet::new(),
            })
        }),
    }
}

/// A window's start, 0 where there are none, and the key.
type Group = (i64, Option<String>);

#[derive(Debug)]
struct StandIn {
    mistake: Mistake,
    windows: bool,
    sources: Vec<FlowTable>,
    /// The latest time of each source.
    times: Vec<i64>,
    counts: BTreeMap<Group, i64>,
    restored: BTreeSet<Group>,
}

impl StandIn {
    fn watermark(&self) -> Option<i64> {
        let slowest = match self.mistake {
            Mistake::FastestSource => self.times.iter().max(),
            _ => self.times.iter().min(),
        };
        let disorder = if self.mistake == Mistake::NoDisorder {
            0
        } else {
            DISORDER
        };
        slowest
            .filter(|time| **time > i64::MIN)
            .map(|time| time - disorder)
    }

    fn count(&mut self, row: &Row, time: i64, watermark: i64, effects: &mut Effects) {
        let key = row.get("k").and_then(Value::as_str).map(str::to_owned);
        let id = row.get("id").and_then(Value::as_u64).unwrap_or(0);
        let dropped = self.mistake == Mistake::DropsRow && id % 7 == 3
            || self.mistake == Mistake::DropsNullKeys && key.is_none();
        if dropped {
            return;
        }
        let edge = i64::from(self.mistake == Mistake::WrongEdge);
        let start = if self.windows {
            (time - edge).div_euclid(SIZE) * SIZE
        } else {
            0
        };
        if self.windows && start + SIZE <= watermark {
            return;
        }
        let group = (start, key);
        let twice = self.mistake == Mistake::TakesRowTwice && id % 7 == 3;
        let before = self.counts.get(&group).copied();
        let now = before.unwrap_or(0) + if twice { 2 } else { 1 };
        if !self.windows {
            effects.outputs.push(self.change(&group, before, now));
        }
        self.counts.insert(group, now);
    }

    fn change(&self, (_, key): &Group, before: Option<i64>, after: i64) -> Output {
        let row = |n: i64| json!({ "k": key, "n": n });
        let change = match before {
            Some(_) if self.mistake == Mistake::ForgetsToTakeBack && after % 5 == 0 => {
                json!({ "op": "insert", "after": row(after) })
            }
            Some(before) => {
                let wrong = i64::from(self.mistake == Mistake::TakesBackTheWrongRow && after > 5);
                json!({ "op": "update", "before": row(before - wrong), "after": row(after) })
            }
            None => json!({ "op": "insert", "before": null, "after": row(after) }),
        };
        output(&change)
    }

    fn close(&mut self, effects: &mut Effects) {
        let watermark = self.watermark().unwrap_or(i64::MIN);
        let ended = self
            .counts
            .keys()
            .filter(|(start, _)| start + SIZE <= watermark);
        for group in ended.cloned().collect::<Vec<_>>() {
            let count = self.counts[&group];
            let start = Timestamp(group.0).to_rfc3339();
            let row = json!({ "k": group.1, "n": count, "window_start": start });
            effects.outputs.push(output(&row));
            self.counts.remove(&group);
            let again = self.mistake == Mistake::TellsAfterCrashAgain && count > 2;
            if self.mistake != Mistake::KeepsClosedWindows && !again {
                effects.state.push(StateChange {
                    key: key_of(&group),
                    value: None,
                });
            }
        }
    }
}

fn output(value: &Value) -> Output {
    Output {
        subject: SUBJECT,
        payload: value.to_string().into(),
        delete: false,
        closes: None,
    }
}

fn key_of((start, key): &Group) -> Bytes {
    json!([start, key]).to_string().into()
}

fn time_of(row: &Row) -> Option<i64> {
    Timestamp::parse_rfc3339(row.get("ts")?.as_str()?).map(|time| time.0)
}

impl Dataflow for StandIn {
    fn sources(&self) -> &[FlowTable] {
        &self.sources
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let broken = |error: serde_json::Error| BrokenState(error.to_string());
        if key == b"times" {
            self.times = serde_json::from_slice(value).map_err(broken)?;
            return Ok(());
        }
        let group: Group = serde_json::from_slice(key).map_err(broken)?;
        self.restored.insert(group.clone());
        let count = serde_json::from_slice(value).map_err(broken)?;
        self.counts.insert(group, count);
        Ok(())
    }

    fn step(&mut self, batches: &[Batch<'_>], _: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let before = self.counts.clone();
        let watermark = self.watermark().unwrap_or(i64::MIN);
        for batch in batches {
            for record in batch.records {
                let row: Row = serde_json::from_slice(&record.message.payload).unwrap_or_default();
                let time = time_of(&row);
                if self.windows && time.is_none() {
                    let origin = Origin::Message {
                        source: batch.source,
                        sequence: record.sequence.unwrap_or(0),
                    };
                    let why = Rejection::new("sql", "no_time", "no event time");
                    effects.rejected.push((origin, why));
                    continue;
                }
                self.count(&row, time.unwrap_or(0), watermark, &mut effects);
                let latest = &mut self.times[batch.source];
                *latest = time.unwrap_or(0).max(*latest);
            }
        }
        for (group, count) in &self.counts {
            let forgotten = self.mistake == Mistake::ForgetsState && count % 3 == 0;
            if before.get(group) != Some(count) && !forgotten {
                let value = Some(count.to_string().into());
                effects.state.push(StateChange {
                    key: key_of(group),
                    value,
                });
            }
        }
        if self.windows {
            self.close(&mut effects);
        }
        if self.mistake != Mistake::ForgetsTime {
            effects.state.push(StateChange {
                key: Bytes::from_static(b"times"),
                value: Some(json!(self.times).to_string().into()),
            });
        }
        effects
    }

    fn status(&self) -> DataflowStatus {
        DataflowStatus {
            watermark: self.watermark().filter(|_| self.windows).map(Timestamp),
            ..DataflowStatus::default()
        }
    }
}
