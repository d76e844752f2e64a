use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::{OverConfig, OverPlan};
use crate::continuous::operator::Operator;
use crate::continuous::parts::testing::{Harness, Row, counted, delta, schema, texts};
use crate::continuous::time::Bound;

const CONFIG: OverConfig = OverConfig {
    close: None,
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

/// Functions whose answers do not depend on how ties are broken.
const FUNCTIONS: [&str; 7] = [
    "row_number() OVER (PARTITION BY k ORDER BY v, t), sum(v) OVER (PARTITION BY k ORDER BY v, t)",
    "lag(v) OVER (PARTITION BY k ORDER BY v, t), lead(t, 2) OVER (PARTITION BY k ORDER BY v, t)",
    "avg(v) OVER (PARTITION BY k ORDER BY t DESC, v ROWS 2 PRECEDING)",
    "rank() OVER (PARTITION BY k ORDER BY v DESC), count(v) OVER (PARTITION BY k ORDER BY t)",
    "count(*) OVER (PARTITION BY k), max(v) FILTER (WHERE v > 2) OVER (PARTITION BY k)",
    "row_number() OVER (ORDER BY k, t, v)",
    "min(v) OVER (PARTITION BY k ORDER BY v, t ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
];

/// Rows that come, rows that are taken back, by their place among those that are there, and whether there is a crash before.
type Happening = (Vec<Row>, Vec<prop::sample::Index>, bool);

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let key = prop::option::weighted(0.9, 0..3_i64);
    let row = (key, 0..12_i64, prop::option::weighted(0.9, 0..5_i64));
    let rows = prop::collection::vec(row, 0..8);
    let gone = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    prop::collection::vec((rows, gone, any::<bool>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_as_all_rows_at_once(
        functions in prop::sample::select(&FUNCTIONS[..]),
        updating in any::<bool>(),
        happenings in happenings(),
    ) {
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
    }
}
