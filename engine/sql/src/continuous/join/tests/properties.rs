//! Random inputs.

use proptest::prelude::*;

use super::model::{Bag, Case, KINDS, Row, Running, Times, bag, rows, scratch};
use crate::continuous::delta::Delta;

/// A row that may come: of which side, what it is, and whether one is taken back instead.
type Raw = (bool, (u8, u8, u8), Option<u8>);

#[derive(Clone, Debug)]
struct RawStep {
    rows: Vec<Raw>,
    /// By how much time goes on.
    time: [i64; 2],
    crash: bool,
}

fn raw_step() -> impl Strategy<Value = RawStep> {
    let row = (
        any::<bool>(),
        (0..4u8, 0..4u8, 0..10u8),
        proptest::option::weighted(0.3, any::<u8>()),
    );
    let rows = proptest::collection::vec(row, 0..7);
    (rows, [0..6i64, 0..6i64], any::<bool>()).prop_map(|(rows, time, crash)| RawStep {
        rows,
        time,
        crash,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let times = prop_oneof![Just(Times::Nothing), Just(Times::Window), Just(Times::Band)];
    let kind = proptest::sample::select(KINDS.to_vec());
    (
        kind,
        times,
        any::<[bool; 5]>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(kind, times, [less, null_equals_null, left, right, waits], keyed, less_more)| Case {
                kind,
                times,
                less: less && less_more,
                keyed,
                null_equals_null: null_equals_null && (times != Times::Window || !waits),
                null_aware: false,
                updating: [left, right],
                waits: waits && times != Times::Nothing,
            },
        )
}

fn not_in() -> impl Strategy<Value = Case> {
    any::<[bool; 2]>().prop_map(|updating| Case {
        null_aware: true,
        updating,
        ..Case::of(datafusion::common::JoinType::LeftAnti)
    })
}

/// What came of a side and how far its time is.
#[derive(Default)]
struct Came {
    rows: Vec<Row>,
    mark: i64,
}

impl Came {
    /// The next row; times keep what marks promise.
    fn next(
        &mut self,
        (key, value, time): (u8, u8, u8),
        back: Option<u8>,
        updating: bool,
    ) -> Option<(Row, i64)> {
        if let Some(which) = back.filter(|_| updating) {
            let mark = self.mark;
            let may_go = |row: &Row| row[2].is_none_or(|time| time >= mark);
            let choices: Vec<usize> = (0..self.rows.len())
                .filter(|at| may_go(&self.rows[*at]))
                .collect();
            let at = *choices.get(usize::from(which) % choices.len().max(1))?;
            return Some((self.rows.swap_remove(at), -1));
        }
        let some = |number: u8| (number > 0).then_some(i64::from(number));
        let time = (time > 0).then(|| self.mark + i64::from(time) - 1);
        let row = [some(key), some(value), time];
        self.rows.push(row);
        Some((row, 1))
    }
}

/// Each side's rows in two batches.
fn deltas(came: &[(Row, i64)]) -> Vec<Delta> {
    let (first, second) = came.split_at(came.len() / 2);
    [first, second]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(rows)
        .collect()
}

fn check(case: &Case, script: &[RawStep]) {
    let plan = case.plan();
    let mut steady = Running::new(plan.operator().unwrap());
    let mut crashing = Running::new(plan.operator().unwrap());
    let mut spilling = Running::spilling(plan.operator().unwrap(), scratch());
    let mut came = [Came::default(), Came::default()];
    let mut total = Bag::new();
    let mut add = |deltas: &[Delta], case: &Case| {
        for (row, count) in bag(deltas) {
            assert!(
                count > 0 || !case.waits || case.updating != [false; 2],
                "taken back: {row:?}"
            );
            let sum = total.entry(row.clone()).or_default();
            *sum += count;
            if *sum == 0 {
                total.remove(&row);
            }
        }
        total.clone()
    };
    for (number, step) in script.iter().enumerate() {
        let mut fresh: [Vec<(Row, i64)>; 2] = Default::default();
        for (side, row, back) in &step.rows {
            let side = usize::from(*side);
            fresh[side].extend(came[side].next(*row, *back, case.updating[side]));
        }
        let mut marks = [[0; 2]; 2];
        for side in 0..2 {
            let before = came[side].mark;
            came[side].mark += step.time[side];
            marks[side] = [before, came[side].mark];
        }
        let inputs = || [deltas(&fresh[0]), deltas(&fresh[1])];
        let out = steady.step(inputs(), marks, number as i64);
        if step.crash {
            crashing.crash(plan.operator().unwrap());
            spilling.crash(plan.operator().unwrap());
        }
        let again = crashing.step(inputs(), marks, number as i64);
        assert_eq!(bag(&out), bag(&again), "after a crash");
        let spilled = spilling.step(inputs(), marks, number as i64);
        assert_eq!(bag(&out), bag(&spilled), "from disk");
        assert_eq!(steady.state.len(), spilling.state.len());
        assert_eq!(steady.state.len(), crashing.state.len());
        let total = add(&out, case);
        let all = [came[0].rows.clone(), came[1].rows.clone()];
        if !case.waits {
            assert_eq!(total, case.naive(&all), "behind step {number}");
        }
    }
    let end = 1_000;
    let marks = [[came[0].mark, end], [came[1].mark, end]];
    let last = steady.step([vec![], vec![]], marks, 1_000);
    let spilled = spilling.step([vec![], vec![]], marks, 1_000);
    assert_eq!(bag(&last), bag(&spilled), "from disk at the end");
    assert_eq!(steady.state.len(), spilling.state.len());
    let total = add(&last, case);
    let all = [came[0].rows.clone(), came[1].rows.clone()];
    assert_eq!(total, case.naive(&all), "at the end");
    if case.times != Times::Nothing && !(case.null_equals_null && case.times == Times::Window) {
        assert_eq!(steady.operator.size(), (0, 0));
    }
    assert_eq!(steady.late, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_join_is_the_nested_loop(case in case(), script in proptest::collection::vec(raw_step(), 1..9)) {
        check(&case, &script);
    }

    #[test]
    fn not_in_is_the_nested_loop(case in not_in(), script in proptest::collection::vec(raw_step(), 1..9)) {
        check(&case, &script);
    }
}
