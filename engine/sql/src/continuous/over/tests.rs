//! Questions over neighbours against DataFusion over all rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::incremental::Incremental;
use super::{OverConfig, OverPlan};
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::testing::{Harness, Row, counted, delta, schema, texts};
use crate::continuous::time::{Bound, Marks};

const CONFIG: OverConfig = OverConfig {
    close: None,
    order: None,
    waits: false,
    ttl: None,
};

/// A question over all rows at once.
fn batch_plan(rows: &[Row], functions: &str) -> (SessionContext, LogicalPlan) {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let rows: Vec<(Row, i64)> = rows.iter().map(|row| (*row, 1)).collect();
    let table = MemTable::try_new(schema(), vec![vec![delta(&rows).batch]]).unwrap();
    context.register_table("rows", Arc::new(table)).unwrap();
    let text = format!("SELECT k, t, v, {functions} FROM rows");
    let state = context.state();
    let plan = wait(state.create_logical_plan(&text)).unwrap();
    let plan = state.optimize(&plan).unwrap();
    (context, plan)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// The windows of a plan, outermost first.
fn windows(plan: &LogicalPlan) -> Vec<&datafusion::logical_expr::Window> {
    let inputs = plan.inputs().into_iter().flat_map(windows);
    let own = match plan {
        LogicalPlan::Window(window) => Some(window),
        _ => None,
    };
    own.into_iter().chain(inputs).collect()
}

/// The plan of these functions; several windows over one another become one.
fn plan(functions: &str, config: OverConfig) -> datafusion::common::Result<OverPlan> {
    let (_, plan) = batch_plan(&[], functions);
    let windows = windows(&plan);
    let all = windows
        .iter()
        .rev()
        .flat_map(|window| window.window_expr.clone());
    let input = windows.last().unwrap().input.schema();
    let options = Arc::new(ConfigOptions::new());
    OverPlan::new(&all.collect::<Vec<_>>(), input, config, &options)
}

/// What the windows of a question answer over all rows at once.
fn naive(rows: &[Row], functions: &str) -> BTreeMap<String, i64> {
    let (context, plan) = batch_plan(rows, functions);
    let plan = LogicalPlan::Window(windows(&plan)[0].clone());
    let batches: Vec<RecordBatch> = wait(async {
        let plan = context.execute_logical_plan(plan).await.unwrap();
        plan.collect().await.unwrap()
    });
    counted(batches.iter().flat_map(texts))
}

fn made(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter()
        .map(|(row, diff)| ((*row).to_owned(), *diff))
        .collect()
}

fn rows(rows: &[(i64, i64, i64)]) -> Vec<(Row, i64)> {
    let row = |(k, t, v): &(i64, i64, i64)| ((Some(*k), *t, Some(*v)), 1);
    rows.iter().map(row).collect()
}

#[test]
fn rows_behind_a_new_one_are_told_anew() {
    let plan = plan("sum(v) OVER (PARTITION BY k ORDER BY t)", CONFIG).unwrap();
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    test.step(&[delta(&rows(&[(1, 10, 1), (1, 30, 3), (2, 10, 9)]))], 0);
    test.crash(&make);
    let told = test.step(&[delta(&rows(&[(1, 20, 5)]))], 0);
    assert_eq!(
        told,
        made(&[("1 30 3 4", -1), ("1 20 5 6", 1), ("1 30 3 9", 1)])
    );
}

#[test]
fn ended_partitions_are_told_once_and_forgotten() {
    let config = OverConfig {
        close: Some((1, Bound::EVENT)),
        waits: true,
        ..CONFIG
    };
    let plan = plan("row_number() OVER (PARTITION BY t ORDER BY v)", config).unwrap();
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    let told = test.step(&[delta(&rows(&[(1, 10, 7), (1, 20, 3), (2, 10, 5)]))], 10);
    assert_eq!(told, []);
    test.crash(&make);
    assert_eq!(
        test.step(&[], 11),
        made(&[("2 10 5 1", 1), ("1 10 7 2", 1)])
    );
    test.step(&[delta(&rows(&[(1, 10, 7)]))], 11);
    assert_eq!(test.late, 1);
    assert_eq!(test.step(&[], i64::MAX), made(&[("1 20 3 1", 1)]));
    test.assert_empty();
}

#[test]
fn partitions_that_are_told_at_once_end_too() {
    let config = OverConfig {
        close: Some((1, Bound::EVENT)),
        ..CONFIG
    };
    let plan = plan("sum(v) OVER (PARTITION BY t ORDER BY v)", config).unwrap();
    assert!(plan.is_incremental());
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    let told = test.step(&[delta(&rows(&[(1, 10, 7), (1, 20, 3)]))], 10);
    assert_eq!(told, made(&[("1 10 7 7", 1), ("1 20 3 3", 1)]));
    test.crash(&make);
    assert_eq!(test.step(&[], 11), []);
    assert_eq!(test.size().1, 1);
    test.step(&[delta(&rows(&[(1, 10, 7)]))], 11);
    assert_eq!(test.late, 1);
    assert_eq!(test.step(&[], i64::MAX), []);
    test.assert_empty();
}

#[test]
fn rows_whose_partition_cannot_be_evaluated_with_them_leave_it_as_it_was() {
    let functions = "avg(v::DECIMAL(38, 0) * 1000000000000000000) OVER (PARTITION BY k ORDER BY t)";
    let plan = plan(functions, CONFIG).unwrap();
    assert!(plan.is_incremental());
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    assert_eq!(test.step(&[delta(&rows(&[(1, 1, 5)]))], 0).len(), 1);
    let size = test.size();
    let large = 9_000_000_000_000_000_000;
    let told = test.step(&[delta(&rows(&[(1, 0, large), (1, 2, 3)]))], 0);
    assert_eq!((told, test.rejected), (Vec::new(), 2));
    assert_eq!(test.size(), size);
    test.crash(&make);
    let told = test.step(&[delta(&rows(&[(1, 2, large), (2, 1, 3)]))], 0);
    assert_eq!((told.len(), test.rejected), (1, 3));
    assert_eq!(test.step(&[delta(&rows(&[(1, 3, 7)]))], 0).len(), 1);
}

#[test]
fn rows_that_cannot_be_evaluated_are_rejected_alone() {
    let plan = plan("max(100 / v) OVER (PARTITION BY k)", CONFIG).unwrap();
    let mut test = Harness::new(&|| plan.operator().unwrap());
    let told = test.step(&[delta(&rows(&[(1, 1, 0), (1, 2, 50), (2, 3, 0)]))], 0);
    assert_eq!(told, made(&[("1 2 50 2", 1)]));
    assert_eq!(test.rejected, 2);
}

#[test]
fn partitions_that_nothing_touches_are_forgotten_silently() {
    let config = OverConfig {
        ttl: Some(1600),
        ..CONFIG
    };
    let plan = plan("count(*) OVER (PARTITION BY k)", config).unwrap();
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    test.step(&[delta(&rows(&[(1, 0, 5)]))], 0);
    test.crash(&make);
    test.now = test.next_wake().unwrap();
    assert_eq!(test.step(&[], 0), []);
    test.assert_empty();
}

#[test]
fn different_partitions_are_refused() {
    let functions = "count(*) OVER (PARTITION BY k), count(*) OVER (PARTITION BY t)";
    let error = plan(functions, CONFIG).unwrap_err().to_string();
    assert!(error.contains("different `PARTITION BY`"), "{error}");
}

/// Rows in order of time, which is event time.
const IN_TIME: OverConfig = OverConfig {
    order: Some((1, Bound::EVENT)),
    ..CONFIG
};

#[test]
fn rows_that_no_later_frame_reaches_are_forgotten() {
    let frame = "sum(v) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)";
    let plan = plan(frame, IN_TIME).unwrap();
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    let first: Vec<(i64, i64, i64)> = (0..20).map(|time| (1, time, 1)).collect();
    test.step(&[delta(&rows(&first))], 15);
    // Two before the floor, and five from it on.
    assert_eq!(test.size().1, 7);
    test.crash(&make);
    assert_eq!(test.step(&[], 100), []);
    assert_eq!(test.size().1, 2);
    let told = test.step(&[delta(&rows(&[(1, 99, 7), (1, 100, 5)]))], 100);
    assert_eq!(told, made(&[("1 100 5 7", 1)]));
    assert_eq!(test.late, 1);
}

#[test]
fn what_runs_over_forgotten_rows_goes_on() {
    let functions = "sum(v) OVER (PARTITION BY k ORDER BY t), count(*) OVER (PARTITION BY k ORDER BY t), \
        row_number() OVER (PARTITION BY k ORDER BY t), first_value(v) OVER (PARTITION BY k ORDER BY t)";
    let plan = plan(functions, IN_TIME).unwrap();
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    let first: Vec<(i64, i64, i64)> = (1..=300).map(|time| (1, time, time)).collect();
    test.step(&[delta(&rows(&first))], 1000);
    assert_eq!(test.size().1, 1);
    test.crash(&make);
    let told = test.step(&[delta(&rows(&[(1, 1001, 5)]))], 1001);
    assert_eq!(told, made(&[("1 1001 5 45155 301 301 1", 1)]));
    assert_eq!(test.size().1, 2);
}

#[test]
fn partitions_whose_time_is_out_of_all_frames_are_forgotten_whole() {
    let frame = "sum(v) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '10 nanoseconds' PRECEDING AND CURRENT ROW)";
    let plan = plan(frame, IN_TIME).unwrap();
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    test.step(&[delta(&rows(&[(1, 10, 1), (1, 15, 2), (2, 10, 3)]))], 18);
    test.crash(&make);
    assert_eq!(test.step(&[], 20), []);
    assert_eq!(test.size().1, 3);
    assert_eq!(test.step(&[], 21), []);
    assert_eq!(test.size().1, 1);
    let told = test.step(&[delta(&rows(&[(1, 25, 4)]))], 21);
    assert_eq!(told, made(&[("1 25 4 6", 1)]));
    assert_eq!(test.step(&[], 36), []);
    test.assert_empty();
}

/// How many rows are evaluated for these steps, one behind the other, each of which is to tell so many rows.
fn seen(functions: &str, steps: &[(Vec<(Row, i64)>, usize)], time: Option<i64>) -> usize {
    let config = if time.is_some() { IN_TIME } else { CONFIG };
    let plan = plan(functions, config).unwrap();
    let look = plan.look().unwrap();
    let mut operator = Incremental::new(plan, look).unwrap();
    let mut before = Marks::START;
    for (rows, many) in steps {
        let event = time.map_or(i64::MIN, |lag| rows[0].0.1 - lag);
        let after = Marks { event, ..before };
        let input = Input {
            deltas: vec![delta(rows)],
            before,
            after,
        };
        before = after;
        let (mut effects, mut late) = (millstream_pipeline::Effects::default(), 0);
        let mut step = Step {
            now: 0,
            node: 7,
            effects: &mut effects,
            late: &mut late,
            keeps_late: false,
        };
        let told = operator.step(vec![input], &mut step).unwrap();
        let told: usize = told.iter().map(crate::continuous::delta::Delta::len).sum();
        assert_eq!(told, *many, "{functions}");
        // Of state, no more than that is written, and what is forgotten.
        assert!(effects.state.len() <= 3 * many.max(&1) + 64, "{functions}");
    }
    operator.seen()
}

/// What a row costs does not depend on how many there are before it.
#[test]
fn a_row_behind_all_others_costs_its_frame_and_not_its_partition() {
    let frames = [
        "avg(v) OVER (ORDER BY t ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)",
        "sum(v) OVER (ORDER BY t RANGE BETWEEN INTERVAL '9 nanoseconds' PRECEDING AND CURRENT ROW)",
        "sum(v) OVER (ORDER BY t), count(*) OVER (ORDER BY t), rank() OVER (ORDER BY t), row_number() OVER (ORDER BY t)",
        "lag(v) OVER (ORDER BY t), first_value(v) OVER (ORDER BY t), last_value(v) OVER (ORDER BY t)",
    ];
    for functions in frames {
        let steps = |many: i64| -> Vec<_> {
            let row = |time| vec![((Some(1), time, Some(time)), 1)];
            (0..many).map(|time| (row(time), 1)).collect()
        };
        for time in [None, Some(5)] {
            // Each is looked at with its frame, and once more when it is told.
            assert!(
                seen(functions, &steps(2000), time) <= 2000 * 12,
                "{functions}"
            );
        }
    }
}

#[test]
fn a_row_in_the_middle_costs_the_frames_that_hold_it() {
    let frames = [
        "avg(v) OVER (ORDER BY t ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)",
        "max(v) OVER (ORDER BY t RANGE BETWEEN INTERVAL '18 nanoseconds' PRECEDING AND CURRENT ROW)",
        "lag(v, 9) OVER (ORDER BY t)",
        // The largest so far does not change, and nothing behind it does.
        "max(v) OVER (ORDER BY t)",
    ];
    for functions in frames {
        let row = |time: i64, value| (Some(1), time, Some(value));
        let all: Vec<(Row, i64)> = (0..20_000).map(|time| (row(2 * time, time), 1)).collect();
        let fill = vec![(all, 20_000)];
        let whole = seen(functions, &fill, None);
        // One that comes and goes, a thousand times; each time those that see it are taken back and told anew.
        let many = if functions.starts_with("max") { 1 } else { 19 };
        let mut steps = fill;
        for time in 0..1000 {
            let one = row(2 * time + 10_001, -1);
            steps.push((vec![(one, 1)], many));
            steps.push((vec![(one, -1)], many));
        }
        let middle = seen(functions, &steps, None) - whole;
        assert!(middle <= 2000 * 64, "{functions}: {middle}");
    }
}

/// Functions that are evaluated row by row, whose answers do not depend on how ties are broken.
const INCREMENTAL: [&str; 20] = [
    "avg(v) OVER (PARTITION BY k ORDER BY t, v ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    "sum(v) OVER (PARTITION BY k ORDER BY t, v ROWS BETWEEN 5 PRECEDING AND 2 PRECEDING)",
    "count(v) OVER (PARTITION BY k ORDER BY t, v ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING)",
    "nth_value(v, 2) OVER (PARTITION BY k ORDER BY t, v ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
    "sum(v) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '3 nanoseconds' PRECEDING AND CURRENT ROW), \
        max(v) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '1 nanosecond' PRECEDING AND CURRENT ROW)",
    "sum(v) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN CURRENT ROW AND INTERVAL '2 nanoseconds' FOLLOWING)",
    "count(*) OVER (PARTITION BY k ORDER BY v RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
    "sum(t::BIGINT) OVER (PARTITION BY k ORDER BY v DESC RANGE BETWEEN 2 PRECEDING AND 1 PRECEDING)",
    "min(t) OVER (ORDER BY v RANGE BETWEEN 1 FOLLOWING AND 2 FOLLOWING), sum(k) OVER (ORDER BY v RANGE CURRENT ROW)",
    "sum(v) OVER (PARTITION BY k ORDER BY t), avg(v) OVER (PARTITION BY k ORDER BY t), rank() OVER (PARTITION BY k ORDER BY t)",
    "sum(v) OVER (PARTITION BY k ORDER BY t, v ROWS UNBOUNDED PRECEDING), lag(v) OVER (PARTITION BY k ORDER BY t, v)",
    "min(t) OVER (PARTITION BY k ORDER BY v), max(t) OVER (PARTITION BY k ORDER BY v), dense_rank() OVER (PARTITION BY k ORDER BY v)",
    "count(*) FILTER (WHERE v > 2) OVER (PARTITION BY k ORDER BY t), count(v) OVER (PARTITION BY k ORDER BY t)",
    "first_value(v) OVER (PARTITION BY k ORDER BY t, v), last_value(t) OVER (PARTITION BY k ORDER BY t, v)",
    "last_value(t) OVER (PARTITION BY k ORDER BY t)",
    "last_value(v) OVER (PARTITION BY k ORDER BY t, v ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING)",
    "lag(v, 2, 9) OVER (PARTITION BY k ORDER BY t, v), lead(v, 1) OVER (PARTITION BY k ORDER BY t, v)",
    "row_number() OVER (ORDER BY t, k, v), lead(v, -2) OVER (ORDER BY t, k, v), max(v) OVER (ORDER BY t, k, v)",
    "bool_or(v > 3) OVER (ORDER BY t), bit_xor(v) OVER (ORDER BY t), sum(v) OVER (ORDER BY t GROUPS UNBOUNDED PRECEDING)",
    "rank() OVER (ORDER BY t, k, v), sum(v) OVER (ORDER BY t, k, v ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
];

/// Functions that look at whole partitions, and those with different orders.
const WHOLE: [&str; 9] = [
    "row_number() OVER (PARTITION BY k ORDER BY v, t), sum(v) OVER (PARTITION BY k ORDER BY v, t)",
    "lag(v) OVER (PARTITION BY k ORDER BY v, t), lead(t, 2) OVER (PARTITION BY k ORDER BY v, t)",
    "avg(v) OVER (PARTITION BY k ORDER BY t DESC, v ROWS 2 PRECEDING)",
    "rank() OVER (PARTITION BY k ORDER BY v DESC), count(v) OVER (PARTITION BY k ORDER BY t)",
    "count(*) OVER (PARTITION BY k), max(v) FILTER (WHERE v > 2) OVER (PARTITION BY k)",
    "row_number() OVER (ORDER BY k, t, v)",
    "min(v) OVER (PARTITION BY k ORDER BY v, t ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
    "sum(v) OVER (PARTITION BY k ORDER BY t GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)",
    "cume_dist() OVER (PARTITION BY k ORDER BY t), lag(v) IGNORE NULLS OVER (PARTITION BY k ORDER BY t, v)",
];

#[test]
fn functions_with_frames_and_running_ones_are_evaluated_row_by_row() {
    for functions in INCREMENTAL {
        assert!(
            plan(functions, CONFIG).unwrap().is_incremental(),
            "{functions}"
        );
    }
    let functions = "count(*) OVER (PARTITION BY k)";
    assert!(!plan(functions, CONFIG).unwrap().is_incremental());
}

/// Rows that come, rows that are taken back, by their place among those that are there, and whether there is a crash before.
type Happening = (Vec<Row>, Vec<prop::sample::Index>, bool);

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let key = prop::option::weighted(0.9, 0..3_i64);
    let row = (key, 0..12_i64, prop::option::weighted(0.9, 0..5_i64));
    let rows = prop::collection::vec(row, 0..8);
    let gone = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec((rows, gone, any::<bool>()), 1..6)
}

/// A history through an operator, and what is wrong with what comes of it.
fn hold(functions: &str, updating: bool, happenings: Vec<Happening>) -> Result<(), TestCaseError> {
    let plan = plan(functions, CONFIG).unwrap();
    let make = || -> Box<dyn Operator> { plan.operator().unwrap() };
    let mut test = Harness::new(&make);
    let mut live: Vec<Row> = Vec::new();
    for (rows, gone, crash) in happenings {
        if crash {
            test.crash(&make);
        }
        let mut changes: Vec<(Row, i64)> = rows.iter().map(|row| (*row, 1)).collect();
        live.extend(rows);
        for at in gone {
            if updating && !live.is_empty() {
                changes.push((live.swap_remove(at.index(live.len())), -1));
            }
        }
        let (first, second) = changes.split_at(changes.len() / 2);
        test.step(&[delta(first), delta(second)], 0);
        prop_assert_eq!(&test.result, &naive(&live, functions));
    }
    if updating {
        let gone: Vec<(Row, i64)> = live.iter().map(|row| (*row, -1)).collect();
        test.step(&[delta(&gone)], 0);
        test.assert_empty();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whole_partitions_are_the_same_as_all_rows_at_once(
        functions in prop::sample::select(&WHOLE[..]),
        updating in any::<bool>(),
        happenings in happenings(),
    ) {
        hold(functions, updating, happenings)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn row_by_row_is_the_same_as_all_rows_at_once(
        functions in prop::sample::select(&INCREMENTAL[..]),
        updating in any::<bool>(),
        happenings in happenings(),
    ) {
        hold(functions, updating, happenings)?;
    }

    /// Rows that are out of order by less than what is waited for.
    #[test]
    fn with_forgotten_rows_it_is_the_same_as_all_rows_at_once(
        functions in prop::sample::select(
            INCREMENTAL.iter().filter(|each| each.contains("ORDER BY t")).copied().collect::<Vec<_>>()
        ),
        steps in prop::collection::vec((0..6_i64, happenings()), 1..4),
    ) {
        let plan = plan(functions, IN_TIME).unwrap();
        let make = || -> Box<dyn Operator> { plan.operator().unwrap() };
        let mut test = Harness::new(&make);
        let mut live: Vec<Row> = Vec::new();
        let mut floor = 0;
        for (pass, happenings) in steps {
            for (rows, _, crash) in happenings {
                if crash {
                    test.crash(&make);
                }
                let rows: Vec<Row> = rows.into_iter().map(|(k, t, v)| (k, t + floor, v)).collect();
                let changes: Vec<(Row, i64)> = rows.iter().map(|row| (*row, 1)).collect();
                live.extend(rows);
                floor += pass;
                test.step(&[delta(&changes)], floor);
                prop_assert_eq!(&test.result, &naive(&live, functions));
            }
        }
        prop_assert_eq!(test.late, 0);
    }
}
