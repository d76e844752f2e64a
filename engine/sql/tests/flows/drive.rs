//! Runs a flow as a server does that crashes at random: what a step makes is stored or lost as a whole, and a flow that is
//! made anew has nothing but what is stored.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millstream_nexmark::Random;
use millstream_pipeline::{Batch, Dataflow, Effects, FlowTable, Origin, Output, Record};
use millstream_spec::Results;
use millstream_types::Timestamp;
use serde_json::Value;

use crate::data::{Row, SECOND, START, Station};
use crate::rows::Bag;

/// A flow that can be made as often as needed.
pub(crate) struct Flow {
    pub(crate) sources: Vec<FlowTable>,
    /// How results that change are written; `None` where they do not.
    pub(crate) updating: Option<Results>,
    /// Whether all of its state is to be on disk behind each step.
    pub(crate) spills: bool,
    pub(crate) start: Box<dyn Fn() -> Box<dyn Dataflow>>,
}

/// How it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Whether it crashes now and then.
    pub(crate) crashes: bool,
    /// Whether event time is brought to its end.
    pub(crate) flush: bool,
}

/// What is stored in the end.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) outputs: Vec<Output>,
    /// Which messages of which stations.
    pub(crate) rejected: BTreeSet<(String, u64)>,
    pub(crate) state: BTreeMap<Bytes, Bytes>,
    positions: Vec<usize>,
    watermark: Option<Timestamp>,
}

/// The wall clock when a flow starts.
pub(crate) const NOW: Timestamp = Timestamp(START + 90_000 * SECOND);
/// What is due later than this is not waited for.
const PATIENCE: i64 = 3600 * SECOND;

/// Runs it to the end.
///
/// # Errors
/// What it did that no flow may do.
pub(crate) fn run(flow: &Flow, stations: &[Station], plan: Plan) -> Result<Stored, String> {
    let mut driver = Driver {
        flow,
        random: Random::of(plan.seed, 1),
        plan,
        records: records(flow, stations, plan.flush)?,
        stored: Stored {
            positions: vec![0; flow.sources.len()],
            ..Stored::default()
        },
        running: (flow.start)(),
        now: NOW,
    };
    let mut steps = 0;
    while driver.is_behind() {
        let until = driver.cut();
        driver.step(&until)?;
        steps += 1;
        if steps > 100_000 {
            return Err("it never comes to an end".to_owned());
        }
    }
    driver.wait()?;
    Ok(driver.stored)
}

fn records(flow: &Flow, stations: &[Station], flush: bool) -> Result<Vec<Vec<Record>>, String> {
    flow.sources
        .iter()
        .map(|source| {
            let station = stations
                .iter()
                .find(|station| station.name == source.station);
            let station = station.ok_or_else(|| format!("it reads `{}`", source.station))?;
            let flush = station.flush().filter(|_| flush);
            let messages = station.messages.iter().chain(flush.as_ref());
            Ok((1_u64..)
                .zip(messages)
                .map(|(sequence, message)| message.record(sequence))
                .collect())
        })
        .collect()
}

struct Driver<'a> {
    flow: &'a Flow,
    random: Random,
    plan: Plan,
    /// Of each source.
    records: Vec<Vec<Record>>,
    stored: Stored,
    running: Box<dyn Dataflow>,
    now: Timestamp,
}

impl Driver<'_> {
    fn is_behind(&self) -> bool {
        let mut places = self.stored.positions.iter().zip(&self.records);
        places.any(|(position, records)| *position < records.len())
    }

    /// How far the next step reads each source. Tables come first, whole.
    fn cut(&mut self) -> Vec<usize> {
        let places = self.stored.positions.clone();
        let tables_wait = (0..places.len()).any(|source| {
            self.flow.sources[source].is_table && places[source] < self.records[source].len()
        });
        let longest = self.random.pick(&[1, 2, 5, 20, 1000]);
        let mut until = Vec::new();
        for (source, place) in places.into_iter().enumerate() {
            let left = self.records[source].len() - place;
            let waits = tables_wait && !self.flow.sources[source].is_table;
            let most = u64::try_from(left).unwrap_or(0).min(longest) + 1;
            let count = usize::try_from(self.random.below(most)).unwrap_or(0);
            // One that lags behind for long.
            let lags = self.random.below(4) == 0;
            until.push(place + if waits || lags { 0 } else { count });
        }
        until
    }

    /// A step, which is stored unless the server crashes before.
    fn step(&mut self, until: &[usize]) -> Result<(), String> {
        self.now = self.now.plus(std::time::Duration::from_micros(10));
        let mut batches = Vec::new();
        for (source, until) in until.iter().enumerate() {
            let records = &self.records[source][self.stored.positions[source]..*until];
            if !records.is_empty() {
                batches.push(Batch { source, records });
            }
        }
        let effects = self.running.step(&batches, self.now);
        let crash = if self.plan.crashes {
            self.random.below(8)
        } else {
            8
        };
        if crash == 0 {
            return self.restart();
        }
        self.store(effects, until)?;
        if crash == 1 {
            return self.restart();
        }
        Ok(())
    }

    fn store(&mut self, effects: Effects, until: &[usize]) -> Result<(), String> {
        if let Some(why) = effects.failed {
            return Err(format!("it fails: {why}"));
        }
        let status = self.running.status();
        if !effects.late.is_empty() || status.late > 0 {
            return Err(format!(
                "late although all come in time: {:?}",
                effects.late
            ));
        }
        if self.flow.spills && status.spilled_rows != status.state_rows {
            return Err(format!("some of its state is in memory: {status:?}"));
        }
        if status.watermark < self.stored.watermark {
            return Err(format!(
                "time goes back from {:?} to {:?}",
                self.stored.watermark, status.watermark
            ));
        }
        self.stored.watermark = status.watermark;
        for (origin, why) in effects.rejected {
            let Origin::Message { source, sequence } = origin else {
                return Err(format!("it rejects a row: {origin:?}: {}", why.reason));
            };
            let station = self.flow.sources[source].station.clone();
            self.stored.rejected.insert((station, sequence));
        }
        for change in effects.state {
            match change.value {
                Some(value) => self.stored.state.insert(change.key, value),
                None => self.stored.state.remove(&change.key),
            };
        }
        self.stored.outputs.extend(effects.outputs);
        self.stored.positions = until.to_vec();
        Ok(())
    }

    /// The flow is made anew of what is stored, in any order.
    fn restart(&mut self) -> Result<(), String> {
        self.running = (self.flow.start)();
        let mut entries: Vec<_> = self.stored.state.iter().collect();
        for index in (1..entries.len()).rev() {
            let other = self.random.below(u64::try_from(index + 1).unwrap_or(1));
            entries.swap(index, usize::try_from(other).unwrap_or(0));
        }
        for (key, value) in entries {
            let restored = self.running.restore(key, value);
            restored.map_err(|error| format!("its own state: {error}"))?;
        }
        Ok(())
    }

    /// Steps without messages, as long as one is due.
    fn wait(&mut self) -> Result<(), String> {
        let until = self.stored.positions.clone();
        for _ in 0..20 {
            let due = self.running.status().next_wake;
            let Some(due) = due.filter(|due| due.0 < NOW.0 + PATIENCE) else {
                break;
            };
            self.now = self.now.max(due);
            self.step(&until)?;
        }
        Ok(())
    }
}

/// The rows that a reader of the results has in the end.
///
/// # Errors
/// A change of what is not there.
pub(crate) fn fold(outputs: &[Output], updating: Option<Results>) -> Result<Bag, String> {
    let mut bag = Bag::default();
    let mut last: BTreeMap<&Bytes, Row> = BTreeMap::new();
    for output in outputs {
        match updating {
            None if output.delete => return Err(format!("it takes back: {output:?}")),
            None => drop(bag.add(&parse(&output.payload)?, 1)),
            Some(Results::Changelog) => change(&mut bag, &parse(&output.payload)?)?,
            Some(Results::Upsert) if output.delete => {
                if last.remove(&output.subject).is_none() || !output.payload.is_empty() {
                    return Err(format!("it deletes what is not there: {output:?}"));
                }
            }
            Some(Results::Upsert) => drop(last.insert(&output.subject, parse(&output.payload)?)),
        }
    }
    for row in last.values() {
        bag.add(row, 1);
    }
    Ok(bag)
}

fn parse(payload: &[u8]) -> Result<Row, String> {
    serde_json::from_slice(payload)
        .map_err(|error| format!("no object: {error}: {}", String::from_utf8_lossy(payload)))
}

fn change(bag: &mut Bag, change: &Row) -> Result<(), String> {
    let part = |name: &str| change.get(name).and_then(Value::as_object);
    let op = change.get("op").and_then(Value::as_str);
    let (before, after) = (part("before"), part("after"));
    let fits = match op {
        Some("insert") => before.is_none() && after.is_some(),
        Some("update") => before.is_some() && after.is_some(),
        Some("delete") => before.is_some() && after.is_none(),
        _ => false,
    };
    if !fits {
        return Err(format!("no change: {change:?}"));
    }
    if let Some(before) = before
        && bag.add(before, -1) < 0
    {
        return Err(format!("it takes back what is not there: {before:?}"));
    }
    if let Some(after) = after {
        bag.add(after, 1);
    }
    Ok(())
}
