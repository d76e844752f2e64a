//! One history through one flow, and what is wrong with what comes of it; then the smallest history that still shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millstream_types::Timestamp;
use serde_json::Value;

use crate::data::Station;
use crate::drive::{Flow, NOW, Plan, fold, run};
use crate::oracle::answer;
use crate::rows::Bag;

/// A query and how its answer is held against the oracle's.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) sql: String,
    /// How much numbers may differ, as a part of them.
    pub(crate) tolerance: f64,
    /// Most entries of state that may be left when all windows have ended; `None`: it may keep state.
    pub(crate) leftovers: Option<usize>,
}

/// What is wrong, if anything.
pub(crate) fn check(
    question: &Question,
    flow: &Flow,
    stations: &[Station],
    plan: Plan,
) -> Option<String> {
    try_check(question, flow, stations, plan).err()
}

fn try_check(
    question: &Question,
    flow: &Flow,
    stations: &[Station],
    plan: Plan,
) -> Result<(), String> {
    let expected = answer(&question.sql, stations, Timestamp(NOW.0))
        .map_err(|error| format!("the oracle has no answer: {error}"))?;
    let stored = run(flow, stations, plan)?;
    let got = fold(&stored.outputs, flow.updating)?;
    if let Some(text) = Bag::difference(&Bag::of(&expected), &got, question.tolerance) {
        return Err(format!("the answer differs:\n{text}"));
    }
    let timeless: BTreeSet<(String, u64)> = flow
        .sources
        .iter()
        .filter_map(|source| {
            stations
                .iter()
                .find(|station| station.name == source.station)
        })
        .flat_map(|station| {
            station
                .timeless()
                .into_iter()
                .map(|sequence| (station.name.to_owned(), sequence))
        })
        .collect();
    if timeless != stored.rejected {
        return Err(format!(
            "it rejects {:?} instead of {timeless:?}",
            stored.rejected
        ));
    }
    match question.leftovers {
        Some(most) if stored.state.len() > most => Err(format!(
            "{} entries of state are left: {:?}",
            stored.state.len(),
            stored.state.keys()
        )),
        _ => Ok(()),
    }
}

/// What is wrong, with as few messages as show it.
pub(crate) fn smallest(
    question: &Question,
    flow: &Flow,
    stations: &[Station],
    plan: Plan,
) -> Option<String> {
    let mut why = check(question, flow, stations, plan)?;
    let mut stations = stations.to_vec();
    let mut plan = plan;
    let calm = Plan {
        crashes: false,
        ..plan
    };
    if let Some(found) = check(question, flow, &stations, calm) {
        (why, plan) = (found, calm);
    }
    for station in 0..stations.len() {
        let mut size = stations[station].messages.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < stations[station].messages.len() {
                let mut fewer = stations.clone();
                let end = (at + size).min(fewer[station].messages.len());
                fewer[station].messages.drain(at..end);
                match check(question, flow, &fewer, plan) {
                    Some(found) => (why, stations) = (found, fewer),
                    None => at += size,
                }
            }
            if size == 1 {
                break;
            }
            size /= 2;
        }
    }
    let mut text = format!(
        "seed {}, {}\n",
        plan.seed,
        if plan.crashes {
            "with crashes"
        } else {
            "without crashes"
        }
    );
    for station in &stations {
        for message in &station.messages {
            let row = message.row.clone().map_or(Value::Null, Value::from);
            let _ = writeln!(text, "  {}: {row}", station.name);
        }
    }
    Some(format!("{}\n{text}{why}", question.sql))
}
