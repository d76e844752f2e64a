//! The harness itself: it takes right flows for right and finds each mistake within a few histories.

use millstream_nexmark::Random;

use crate::check::{Question, check, smallest};
use crate::data::{Shape, history};
use crate::drive::Plan;
use crate::standin::{COUNTS, Mistake, WINDOWS, flow};

fn seeds(mistake: Mistake, windows: bool, seeds: std::ops::Range<u64>) -> Option<String> {
    let question = Question {
        sql: if windows { WINDOWS } else { COUNTS }.to_owned(),
        tolerance: 0.0,
        leftovers: windows.then_some(8),
    };
    let flow = flow(mistake, windows);
    seeds.into_iter().find_map(|seed| {
        let shape = Shape {
            messages: 60,
            distinct_times: false,
            event_time: windows,
        };
        let stations = history(&mut Random::of(seed, 0), shape);
        let plan = Plan {
            seed,
            crashes: true,
            flush: windows,
        };
        check(&question, &flow, &stations, plan)?;
        smallest(&question, &flow, &stations, plan)
    })
}

#[test]
fn right_flows_are_right() {
    for windows in [false, true] {
        assert_eq!(seeds(Mistake::None, windows, 0..30), None);
    }
}

#[test]
fn each_mistake_is_found() {
    let of_both = [
        Mistake::DropsRow,
        Mistake::TakesRowTwice,
        Mistake::ForgetsState,
        Mistake::DropsNullKeys,
    ];
    let of_windows = [
        Mistake::ForgetsTime,
        Mistake::KeepsClosedWindows,
        Mistake::WrongEdge,
        Mistake::FastestSource,
        Mistake::NoDisorder,
        Mistake::TellsAfterCrashAgain,
    ];
    let of_counts = [Mistake::ForgetsToTakeBack, Mistake::TakesBackTheWrongRow];
    for mistake in of_both.iter().chain(&of_windows) {
        let found = seeds(*mistake, true, 0..15);
        assert!(found.is_some(), "{mistake:?} is not found with windows");
    }
    for mistake in of_both.iter().chain(&of_counts) {
        let found = seeds(*mistake, false, 0..15);
        assert!(found.is_some(), "{mistake:?} is not found with counts");
    }
}

#[test]
fn what_is_found_is_told_with_few_messages() {
    let found = seeds(Mistake::WrongEdge, true, 0..15).expect("a mistake is found");
    let messages = found
        .lines()
        .filter(|line| line.starts_with("  a: ") || line.starts_with("  b: "));
    assert!(messages.count() <= 2, "{found}");
}
