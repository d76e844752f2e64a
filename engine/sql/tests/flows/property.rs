//! Each query over random histories, in random cuts, with random crashes.

use millstream_nexmark::Random;

use crate::check::{Question, check, smallest};
use crate::data::{Shape, Station, auctions, history};
use crate::drive::{NOW, Plan};
use crate::engine::open;
use crate::oracle::answer;
use crate::suite::{Case, Completeness, FILES, cases, nexmark};

/// How many histories each query gets, unless `MILLSTREAM_SEEDS` says otherwise.
const SEEDS: u64 = 4;
/// Nexmark's histories are longer.
const AUCTIONS: u64 = 1;
/// Most entries of state behind the end of all windows: what is known of time, and the rows that brought it there.
const LEFTOVERS: usize = 20;

/// A history for a query.
fn stations(case: &Case, seed: u64) -> Vec<Station> {
    let is_nexmark = !case.name.contains(": ");
    let mut stations = if is_nexmark {
        auctions(seed, 2000)
    } else {
        let shape = Shape {
            messages: 50,
            distinct_times: case.distinct_times,
            event_time: case.events,
        };
        history(&mut Random::of(seed, 0), shape)
    };
    for station in &mut stations {
        let event_time = case
            .spec
            .sources
            .get(station.name)
            .and_then(|source| source.event_time.as_deref());
        let names = station.columns.iter().map(|(name, _)| *name);
        station.event_time = names.into_iter().find(|name| Some(*name) == event_time);
    }
    stations
}

/// A suite whose answers are empty shows nothing.
#[test]
fn every_query_has_an_answer_that_is_not_empty() {
    let mut wrong = Vec::new();
    let all = FILES
        .iter()
        .flat_map(|(file, _)| cases(file))
        .chain(nexmark());
    for case in all {
        let rows = |seed| answer(&case.spec.sql, &stations(&case, seed), NOW);
        match (0..4).try_fold(0, |sum, seed| Ok::<_, String>(sum + rows(seed)?.len())) {
            Ok(0) => wrong.push(format!("{}: always empty", case.name)),
            Ok(_) => {}
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Runs queries over histories; tells the first that each query gets wrong, in as few messages as possible.
fn hold(cases: Vec<Case>, histories: u64) {
    let seeds = std::env::var("MILLSTREAM_SEEDS").ok();
    let seeds = seeds.map_or(histories, |seeds| seeds.parse().expect("a number of seeds"));
    let only = std::env::var("MILLSTREAM_CASE").ok();
    let mut wrong = Vec::new();
    let cases = cases.into_iter();
    for case in cases.filter(|case| {
        only.as_ref()
            .is_none_or(|only| case.name.contains(only.as_str()))
    }) {
        let (flow, compiled) = match open(&case.spec, &stations(&case, 0)) {
            Ok(opened) => opened,
            Err(error) => {
                wrong.push(format!(
                    "{}\n{}\nrefused: {error}",
                    case.name, case.spec.sql
                ));
                continue;
            }
        };
        if compiled.is_updating() && case.complete != Completeness::Updating {
            wrong.push(format!(
                "{}\n{}\nits results change:\n{}",
                case.name,
                case.spec.sql,
                compiled.explain()
            ));
            continue;
        }
        let question = Question {
            sql: case.spec.sql.clone(),
            tolerance: case.tolerance,
            leftovers: (case.complete == Completeness::Closed).then_some(LEFTOVERS),
        };
        let found = (0..seeds).find_map(|seed| {
            let stations = stations(&case, seed);
            let plan = Plan {
                seed,
                crashes: seed % 4 != 3,
                flush: case.complete == Completeness::Closed,
            };
            check(&question, &flow, &stations, plan)?;
            smallest(&question, &flow, &stations, plan)
        });
        if let Some(found) = found {
            wrong.push(format!("{}\n{found}\n{}", case.name, compiled.explain()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} queries are wrong\n\n{}",
        wrong.len(),
        wrong.join("\n----\n")
    );
}

/// Those of some queries whose state can be on disk: all of it behind each step, or most of it.
fn from_disk(cases: Vec<Case>, least: usize) -> Vec<Case> {
    let can = cases.into_iter().filter(|case| {
        let opened = open(&case.spec, &stations(case, 0));
        opened.is_ok_and(|(_, compiled)| !compiled.explain().contains("keeps its state in memory"))
    });
    let can: Vec<Case> = can.collect();
    assert!(can.len() >= least, "only {} queries can", can.len());
    let limits = [0, 1500].into_iter();
    let each = limits.flat_map(|limit| can.iter().map(move |case| (limit, case.clone())));
    let limited = each.map(|(limit, mut case)| {
        case.spec.memory_limit = Some(limit);
        case
    });
    limited.collect()
}

#[test]
fn joins_from_disk() {
    hold(from_disk(cases("joins"), 20), SEEDS);
}

#[test]
fn ranks_from_disk() {
    hold(from_disk(cases("ranks"), 3), SEEDS);
}

#[test]
fn windows_from_disk() {
    hold(from_disk(cases("windows"), 15), SEEDS);
}

#[test]
fn aggregates_from_disk() {
    hold(from_disk(cases("aggregates"), 8), SEEDS);
}

#[test]
fn auctions_of_nexmark_from_disk() {
    let mut cases = from_disk(nexmark(), 8);
    cases.retain(|case| case.spec.memory_limit != Some(0));
    hold(cases, AUCTIONS);
}

#[test]
fn stateless() {
    hold(cases("stateless"), SEEDS);
}

#[test]
fn windows() {
    hold(cases("windows"), SEEDS);
}

#[test]
fn aggregates() {
    hold(cases("aggregates"), SEEDS);
}

#[test]
fn joins() {
    hold(cases("joins"), SEEDS);
}

#[test]
fn ranks() {
    hold(cases("ranks"), SEEDS);
}

#[test]
fn auctions_of_nexmark() {
    hold(nexmark(), AUCTIONS);
}
