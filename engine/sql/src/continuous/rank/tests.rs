//! The first rows of partitions against all rows, sorted anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::Operator as Sign;
use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use proptest::prelude::*;

use super::{RankFunction, RankPlan};
use crate::continuous::operator::Operator;
use crate::continuous::parts::testing::{Harness, Row, counted, delta, schema, text};
use crate::continuous::time::Bound;

const DESCENDING: SortOptions = SortOptions {
    descending: true,
    nulls_first: false,
};

/// Partitions by `k`, newest `v` first.
fn plan() -> RankPlan {
    RankPlan {
        input: schema(),
        updating: false,
        partition: vec![col("k", &schema()).unwrap()],
        order: vec![PhysicalSortExpr::new(
            col("v", &schema()).unwrap(),
            DESCENDING,
        )],
        function: RankFunction::RowNumber,
        skip: 0,
        limit: 1,
        numbered: false,
        output: schema(),
        close: None,
        waits: false,
        ttl: None,
    }
}

fn numbered(plan: RankPlan) -> RankPlan {
    let rank = Arc::new(Field::new("rank", DataType::UInt64, false));
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(rank);
    RankPlan {
        numbered: true,
        output: Arc::new(Schema::new(fields)),
        ..plan
    }
}

/// Partitions by `k` and `t`, which ends them.
fn windowed(plan: RankPlan) -> RankPlan {
    let time: Arc<dyn PhysicalExpr> = col("t", &schema()).unwrap();
    RankPlan {
        partition: vec![Arc::clone(&plan.partition[0]), time],
        close: Some((1, Bound::EVENT.plus(1))),
        ..plan
    }
}

fn rows(rows: &[(i64, i64, i64)]) -> Vec<(Row, i64)> {
    let row = |(k, t, v): &(i64, i64, i64)| ((Some(*k), *t, Some(*v)), 1);
    rows.iter().map(row).collect()
}

fn made(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter()
        .map(|(row, diff)| ((*row).to_owned(), *diff))
        .collect()
}

#[test]
fn the_newest_row_of_a_key_takes_the_place_of_the_one_before() {
    let make = || plan().operator().unwrap();
    let mut test = Harness::new(&make);
    let told = test.step(&[delta(&rows(&[(1, 10, 5), (2, 11, 5), (1, 12, 7)]))], 0);
    assert_eq!(told, made(&[("1 12 7", 1), ("2 11 5", 1)]));
    test.crash(&make);
    let told = test.step(&[delta(&rows(&[(1, 13, 6), (2, 14, 9)]))], 0);
    assert_eq!(told, made(&[("2 11 5", -1), ("2 14 9", 1)]));
    assert_eq!(test.size().1, 2, "only what is seen is kept");
}

#[test]
fn shifted_ranks_are_told_anew() {
    let plan = numbered(RankPlan { limit: 3, ..plan() });
    let mut test = Harness::new(&|| plan.operator().unwrap());
    test.step(&[delta(&rows(&[(1, 0, 5), (1, 0, 3)]))], 0);
    let told = test.step(&[delta(&rows(&[(1, 0, 4)]))], 0);
    let expected = [("1 0 3 2", -1), ("1 0 4 2", 1), ("1 0 3 3", 1)];
    assert_eq!(told, made(&expected));
}

#[test]
fn a_row_that_is_taken_back_makes_room() {
    let plan = RankPlan {
        updating: true,
        ..plan()
    };
    let mut test = Harness::new(&|| plan.operator().unwrap());
    test.step(&[delta(&rows(&[(1, 0, 5), (1, 0, 3)]))], 0);
    let told = test.step(&[delta(&[((Some(1), 0, Some(5)), -1)])], 0);
    assert_eq!(told, made(&[("1 0 5", -1), ("1 0 3", 1)]));
    test.step(&[delta(&[((Some(1), 0, Some(3)), -1)])], 0);
    test.assert_empty();
}

#[test]
fn late_rows_are_counted_and_ended_partitions_are_told_once() {
    let plan = windowed(RankPlan {
        waits: true,
        ..plan()
    });
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    let told = test.step(&[delta(&rows(&[(1, 10, 1), (1, 20, 2), (1, 10, 3)]))], 9);
    assert_eq!(told, []);
    test.crash(&make);
    assert_eq!(test.step(&[], 10), made(&[("1 10 3", 1)]));
    test.step(&[delta(&rows(&[(1, 10, 9), (1, 11, 9)]))], 10);
    assert_eq!(test.late, 1);
    let told = test.step(&[], i64::MAX);
    assert_eq!(told, made(&[("1 11 9", 1), ("1 20 2", 1)]));
    test.assert_empty();
}

#[test]
fn rows_that_cannot_be_evaluated_are_rejected_alone() {
    let by: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(
        lit(100_i64),
        Sign::Divide,
        col("k", &schema()).unwrap(),
    ));
    let plan = RankPlan {
        partition: vec![by],
        ..plan()
    };
    let mut test = Harness::new(&|| plan.operator().unwrap());
    let told = test.step(
        &[delta(&rows(&[(1, 0, 1), (0, 0, 2), (3, 0, 3), (0, 0, 4)]))],
        0,
    );
    assert_eq!(told, made(&[("1 0 1", 1), ("3 0 3", 1)]));
    assert_eq!(test.rejected, 2);
}

#[test]
fn partitions_that_nothing_touches_are_forgotten_silently() {
    let plan = RankPlan {
        ttl: Some(1600),
        ..plan()
    };
    let make = || plan.operator().unwrap();
    let mut test = Harness::new(&make);
    test.step(&[delta(&rows(&[(1, 0, 5), (2, 0, 5)]))], 0);
    assert_eq!(test.next_wake(), Some(1700));
    test.now = 1000;
    test.step(&[delta(&rows(&[(1, 0, 1)]))], 0);
    test.crash(&make);
    test.now = 1700;
    assert_eq!(test.step(&[], 0), []);
    assert_eq!(test.size().1, 1);
    assert_eq!(test.next_wake(), Some(2700));
    test.now = 2700;
    test.step(&[], 0);
    test.assert_empty();
}

#[test]
fn broken_entries_are_refused() {
    let mut operator = plan().operator().unwrap();
    for (key, value) in [
        (&[9_u8][..], &[1_u8][..]),
        (&[0; 3], &[1]),
        (&[0; 9], &[1, 0, 0, 0, 9]),
        (&[0; 9], &[7, 0, 0, 0, 0]),
        (&[1; 3], &[1]),
    ] {
        assert!(operator.restore(key, value).is_err(), "{key:?}");
    }
}

/// The answer over all rows at once.
fn naive(plan: &RankPlan, live: &[Row]) -> BTreeMap<String, i64> {
    let mut partitions: BTreeMap<(Option<i64>, i64), Vec<Row>> = BTreeMap::new();
    for row in live {
        let time = if plan.close.is_some() { row.1 } else { 0 };
        partitions.entry((row.0, time)).or_default().push(*row);
    }
    let mut seen = Vec::new();
    for mut rows in partitions.into_values() {
        // Descending with NULL behind all.
        rows.sort_by_key(|row| (row.2.is_none(), row.2.map(|v| -v), row.0, row.1));
        for (at, row) in rows.iter().enumerate() {
            let before: Vec<_> = rows[..at].iter().map(|row| row.2).collect();
            let first = before.iter().position(|v| *v == row.2).unwrap_or(at);
            let mut others = before[..first].to_vec();
            others.dedup();
            let rank = 1 + match plan.function {
                RankFunction::RowNumber => at,
                RankFunction::Rank => first,
                RankFunction::DenseRank => others.len(),
            } as u64;
            if rank > plan.skip && rank <= plan.skip + plan.limit {
                let row = text(row);
                seen.push(if plan.numbered {
                    format!("{row} {rank}")
                } else {
                    row
                });
            }
        }
    }
    counted(seen.into_iter())
}

/// What happens in a step: rows that come, rows that are taken back, by their place among those that are there, how far time
/// goes, and whether there is a crash before.
type Happening = (Vec<Row>, Vec<prop::sample::Index>, i64, bool);

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let value = prop::option::weighted(0.9, 0..6_i64);
    let row = (prop::option::weighted(0.9, 0..3_i64), 0..30_i64, value);
    let rows = prop::collection::vec(row, 0..12);
    let gone = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    prop::collection::vec((rows, gone, 0..4_i64, any::<bool>()), 1..12)
}

fn plans() -> impl Strategy<Value = RankPlan> {
    use RankFunction::{DenseRank, Rank, RowNumber};
    let function = prop::sample::select(vec![RowNumber, Rank, DenseRank]);
    let flags = any::<(bool, bool, bool, bool)>();
    (function, 0..3_u64, 1..4_u64, flags).prop_map(
        |(function, skip, limit, (updating, ranks, closes, waits))| {
            let mut plan = RankPlan {
                function,
                skip,
                limit,
                updating,
                waits: closes && waits,
                ..plan()
            };
            if closes {
                plan = windowed(plan);
            }
            if ranks { numbered(plan) } else { plan }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_same_as_all_rows_at_once(
        plan in plans(),
        happenings in happenings(),
        spills in any::<bool>(),
    ) {
        let make = || -> Box<dyn Operator> { plan.operator().unwrap() };
        let mut test = if spills { Harness::spilling(&make) } else { Harness::new(&make) };
        let (mut live, mut ended): (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
        let mut mark = 0;
        let mut late = 0;
        // Time begins: rows at 0 are not late, for a window ends before time reaches its end.
        test.step(&[], -1);
        for (rows, gone, ahead, crash) in happenings {
            if crash {
                test.crash(&make);
            }
            let mut changes: Vec<(Row, i64)> = Vec::new();
            for row in rows {
                changes.push((row, 1));
                if plan.close.is_some() && row.1 < mark {
                    late += 1;
                } else {
                    live.push(row);
                }
            }
            for at in gone {
                if plan.updating && !live.is_empty() {
                    changes.push((live.swap_remove(at.index(live.len())), -1));
                }
            }
            mark += ahead;
            let (first, second) = changes.split_at(changes.len() / 2);
            test.step(&[delta(first), delta(second)], mark - 1);
            if plan.close.is_some() {
                ended.extend(live.extract_if(.., |row| row.1 < mark));
            }
            let expected = match plan.waits {
                true => naive(&plan, &ended),
                false => naive(&plan, &[&ended[..], &live[..]].concat()),
            };
            prop_assert_eq!(&test.result, &expected);
            prop_assert_eq!(test.late, late);
        }
        if plan.close.is_some() {
            test.step(&[], i64::MAX);
            test.assert_empty();
        }
    }
}
