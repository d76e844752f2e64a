//! Sessions against all rows, put together anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::Operator as Sign;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};
use proptest::prelude::*;

use super::SessionPlan;
use crate::continuous::operator::Operator;
use crate::continuous::parts::testing::{Harness, Row, counted, delta, schema, text};
use crate::continuous::time::Bound;

/// Sessions of `k` with a gap of 10.
fn plan(waits: bool) -> SessionPlan {
    let time = schema().field(1).data_type().clone();
    let edges = ["window_start", "window_end"];
    let edges = edges.map(|name| Arc::new(Field::new(name, time.clone(), false)));
    let fields = schema()
        .fields()
        .iter()
        .cloned()
        .chain(edges)
        .collect::<Vec<_>>();
    SessionPlan {
        input: schema(),
        partition: vec![col("k", &schema()).unwrap()],
        time: 1,
        bound: Bound::EVENT,
        gap: 10,
        output: Arc::new(Schema::new(fields)),
        waits,
    }
}

fn rows(rows: &[(i64, i64)]) -> Vec<(Row, i64)> {
    rows.iter()
        .map(|(k, t)| ((Some(*k), *t, None), 1))
        .collect()
}

fn made(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter()
        .map(|(row, diff)| ((*row).to_owned(), *diff))
        .collect()
}

#[test]
fn rows_are_told_when_their_session_has_ended() {
    let make = || plan(true).operator().unwrap();
    let mut test = Harness::new(&make);
    assert_eq!(
        test.step(&[delta(&rows(&[(1, 5), (1, 0), (1, 16), (2, 1)]))], 10),
        []
    );
    test.crash(&make);
    assert_eq!(
        test.step(&[], 11),
        [],
        "a row at 11 would still belong to it"
    );
    assert_eq!(test.step(&[], 12), made(&[("2 1 - 1 11", 1)]));
    assert_eq!(test.step(&[], 15), []);
    assert_eq!(
        test.step(&[], 16),
        made(&[("1 0 - 0 15", 1), ("1 5 - 0 15", 1)])
    );
    assert_eq!(test.step(&[], i64::MAX), made(&[("1 16 - 16 26", 1)]));
    test.assert_empty();
}

#[test]
fn a_row_joins_two_sessions_into_one() {
    let make = || plan(false).operator().unwrap();
    let mut test = Harness::new(&make);
    let told = test.step(&[delta(&rows(&[(1, 0), (1, 12)]))], 0);
    assert_eq!(told, made(&[("1 0 - 0 10", 1), ("1 12 - 12 22", 1)]));
    test.crash(&make);
    let told = test.step(&[delta(&rows(&[(1, 9)]))], 0);
    let expected = [
        ("1 0 - 0 10", -1),
        ("1 12 - 12 22", -1),
        ("1 0 - 0 22", 1),
        ("1 9 - 0 22", 1),
        ("1 12 - 0 22", 1),
    ];
    assert_eq!(told, made(&expected));
    test.crash(&make);
    let told = test.step(&[delta(&rows(&[(1, 3)]))], 0);
    assert_eq!(
        told,
        made(&[("1 3 - 0 22", 1)]),
        "a row inside changes no other"
    );
    assert_eq!(test.step(&[], 23), [], "what ended was told");
    test.assert_empty();
}

#[test]
fn a_row_is_late_when_the_session_it_makes_has_ended() {
    let mut test = Harness::new(&|| plan(true).operator().unwrap());
    test.step(&[delta(&rows(&[(1, 28)]))], 30);
    // Alone they end at 30, 29 and 29: the first has not ended and joins the session that is kept, the second then does, and
    // the one of another key has none to join.
    test.step(&[delta(&rows(&[(1, 20), (1, 19), (2, 19)]))], 30);
    assert_eq!(test.late, 1);
    // Its session ends at 31.
    test.step(&[delta(&rows(&[(2, 21)]))], 30);
    assert_eq!(test.late, 1);
    test.step(&[], i64::MAX);
    assert_eq!(
        test.result.keys().collect::<Vec<_>>(),
        [
            "1 19 - 19 38",
            "1 20 - 19 38",
            "1 28 - 19 38",
            "2 21 - 21 31"
        ]
    );
}

#[test]
fn rows_that_cannot_be_evaluated_are_rejected_alone() {
    let by: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(
        lit(100_i64),
        Sign::Divide,
        col("k", &schema()).unwrap(),
    ));
    let plan = SessionPlan {
        partition: vec![by],
        ..plan(false)
    };
    let mut test = Harness::new(&|| plan.operator().unwrap());
    let told = test.step(&[delta(&rows(&[(0, 1), (1, 1), (0, 2)]))], 0);
    assert_eq!(told, made(&[("1 1 - 1 11", 1)]));
    assert_eq!(test.rejected, 2);
}

#[test]
fn broken_entries_are_refused() {
    let mut operator = plan(true).operator().unwrap();
    for (key, value) in [
        (&[1_u8, 2][..], &[1_u8][..]),
        (&[0; 3], &[1]),
        (&[0; 9], &[2, 0, 0, 0, 0]),
        (&[0; 9], &[1, 0, 0, 0, 0, 7]),
    ] {
        assert!(operator.restore(key, value).is_err(), "{key:?}");
    }
}

/// Rows of the sessions of rows that are not sessions yet.
fn sessions(rows: &[Row], gap: i64) -> Vec<((i64, i64), Vec<Row>)> {
    let mut keys: BTreeMap<Option<i64>, Vec<Row>> = BTreeMap::new();
    for row in rows {
        keys.entry(row.0).or_default().push(*row);
    }
    let mut all: Vec<((i64, i64), Vec<Row>)> = Vec::new();
    for mut rows in keys.into_values() {
        rows.sort_by_key(|row| row.1);
        let first = all.len();
        for row in rows {
            match all.last_mut().filter(|(span, _)| row.1 <= span.1) {
                Some((span, rows)) if rows[0].0 == row.0 => {
                    span.1 = row.1 + gap;
                    rows.push(row);
                }
                _ => all.push(((row.1, row.1 + gap), vec![row])),
            }
        }
        assert!(all.len() > first);
    }
    all
}

fn told(sessions: &[((i64, i64), Vec<Row>)]) -> BTreeMap<String, i64> {
    let rows = sessions.iter().flat_map(|(span, rows)| {
        rows.iter()
            .map(move |row| format!("{} {} {}", text(row), span.0, span.1))
    });
    counted(rows)
}

/// What happens in a step: rows, how far time goes, and whether there is a crash before.
type Happening = (Vec<Row>, i64, bool);

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let key = prop::option::weighted(0.9, 0..3_i64);
    // Rows around the mark, which is added.
    let row = (key, -15..25_i64, prop::option::of(0..2_i64));
    let rows = prop::collection::vec(row, 0..6);
    prop::collection::vec((rows, 0..9_i64, any::<bool>()), 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_same_as_all_rows_at_once(
        waits in any::<bool>(),
        gap in 1..12_i64,
        happenings in happenings(),
    ) {
        let plan = SessionPlan { gap, ..plan(waits) };
        let make = || -> Box<dyn Operator> { plan.operator().unwrap() };
        let mut test = Harness::new(&make);
        let (mut open, mut ended): (Vec<Row>, Vec<_>) = (Vec::new(), Vec::new());
        let (mut mark, mut late) = (i64::MIN, 0);
        for (rows, ahead, crash) in happenings {
            if crash {
                test.crash(&make);
            }
            let base = if mark == i64::MIN { 0 } else { mark };
            let rows: Vec<Row> = rows.iter().map(|row| (row.0, row.1 + base, row.2)).collect();
            for row in &rows {
                let near = |other: &Row| other.0 == row.0 && (other.1 - row.1).abs() <= gap;
                if row.1 + gap < mark && !open.iter().any(near) {
                    late += 1;
                } else {
                    open.push(*row);
                }
            }
            mark = base + ahead;
            let changes: Vec<(Row, i64)> = rows.iter().map(|row| (*row, 1)).collect();
            let (first, second) = changes.split_at(changes.len() / 2);
            test.step(&[delta(first), delta(second)], mark);
            let (over, still): (Vec<_>, Vec<_>) =
                sessions(&open, gap).into_iter().partition(|(span, _)| span.1 < mark);
            open = still.iter().flat_map(|(_, rows)| rows.clone()).collect();
            ended.extend(over);
            let all = if waits { ended.clone() } else { [&ended[..], &still[..]].concat() };
            prop_assert_eq!(&test.result, &told(&all));
            prop_assert_eq!(test.late, late);
        }
        test.step(&[], i64::MAX);
        test.assert_empty();
    }
}
