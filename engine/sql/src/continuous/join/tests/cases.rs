//! What random inputs do not reach.

use datafusion::common::JoinType;
use datafusion::logical_expr::Operator as Sign;
use datafusion::physical_expr::expressions::{Column, lit};
use millstream_pipeline::Effects;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::model::{Case, Row, Running, Times, bag, binary, rows, scratch};
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::time::Marks;

const NO_TIME: [[i64; 2]; 2] = [[i64::MIN; 2]; 2];

fn running(case: &Case) -> Running {
    Running::new(case.plan().operator().unwrap())
}

fn row(key: i64, value: i64) -> Row {
    [Some(key), Some(value), Some(0)]
}

fn added(of: &[Row]) -> Vec<Delta> {
    vec![rows(&of.iter().map(|row| (*row, 1)).collect::<Vec<_>>())]
}

#[test]
fn a_row_behind_its_time_is_late() {
    let mut join = running(&Case {
        times: Times::Window,
        ..Case::of(JoinType::Left)
    });
    let at = |time| [Some(1), Some(1), Some(time)];
    let marks = [[10, 10], [0, 0]];
    let out = join.step([added(&[at(9), at(10)]), vec![]], marks, 0);
    assert_eq!(bag(&out).len(), 1);
    assert_eq!(join.late, 1);
    assert_eq!(join.effects.late.len(), 1);
    // Behind the other side's time, but not its own: it may match what is there, and is not kept.
    let marks = [[10, 10], [0, 20]];
    assert!(bag(&join.step([vec![], added(&[at(12)])], marks, 1)).is_empty());
    let out = join.step([added(&[at(12)]), vec![]], [[10, 10], [20, 20]], 2);
    assert_eq!(
        bag(&out),
        [(
            vec![Some(1), Some(1), Some(12), Some(1), Some(1), Some(12)],
            1
        )]
        .into()
    );
    assert_eq!(join.late, 1);
    assert_eq!(join.operator.size().1, 1, "the right row");
}

#[test]
fn rows_that_nothing_touches_are_forgotten() {
    rows_without_touch(Running::new);
    rows_without_touch(|operator| Running::spilling(operator, scratch()));
}

fn rows_without_touch(running: impl Fn(Box<dyn Operator>) -> Running) {
    let plan = crate::continuous::join::JoinPlan {
        ttl: Some(160),
        ..Case::of(JoinType::Left).plan()
    };
    let mut join = running(plan.operator().unwrap());
    assert_eq!(join.operator.next_wake(), None);
    join.step([added(&[row(1, 1)]), added(&[row(1, 2)])], NO_TIME, 5);
    join.step([added(&[row(2, 1)]), vec![]], NO_TIME, 100);
    assert_eq!(join.operator.next_wake(), Some(170));
    join.crash(plan.operator().unwrap());
    assert_eq!(join.operator.next_wake(), Some(170));
    assert!(join.step([vec![], vec![]], NO_TIME, 169).is_empty());
    assert_eq!(join.operator.size().1, 3);
    assert!(join.step([vec![], vec![]], NO_TIME, 170).is_empty());
    assert_eq!(join.operator.size().1, 1);
    // Its partner is forgotten, and so is that it had one.
    let out = join.step([added(&[row(1, 1)]), vec![]], NO_TIME, 171);
    assert_eq!(
        bag(&out),
        [(vec![Some(1), Some(1), Some(0), None, None, None], 1)].into()
    );
}

#[test]
fn a_row_whose_partner_was_forgotten_keeps_its_match() {
    forgotten_partner(Running::new);
    forgotten_partner(|operator| Running::spilling(operator, scratch()));
}

fn forgotten_partner(running: impl Fn(Box<dyn Operator>) -> Running) {
    let mut case = Case::of(JoinType::Left);
    case.updating = [true, true];
    let plan = crate::continuous::join::JoinPlan {
        ttl: Some(160),
        ..case.plan()
    };
    let mut join = running(plan.operator().unwrap());
    join.step([vec![], added(&[row(1, 2)])], NO_TIME, 0);
    join.step([added(&[row(1, 1)]), vec![]], NO_TIME, 100);
    assert!(join.step([vec![], vec![]], NO_TIME, 200).is_empty());
    assert_eq!(join.operator.size().1, 1);
    // The next partner takes back no row without one, for there was none.
    let out = join.step([vec![], added(&[row(1, 3)])], NO_TIME, 201);
    assert_eq!(
        bag(&out),
        [(
            vec![Some(1), Some(1), Some(0), Some(1), Some(3), Some(0)],
            1
        )]
        .into()
    );
    // What is forgotten cannot be taken back.
    let gone = join.step([vec![], vec![rows(&[(row(1, 2), -1)])]], NO_TIME, 202);
    assert!(gone.is_empty());
}

#[test]
fn a_key_of_many_rows_makes_many_small_batches() {
    let mut join = running(&Case::of(JoinType::Inner));
    let left: Vec<Row> = (0..300).map(|value| row(1, value)).collect();
    let right: Vec<Row> = (0..400).map(|value| row(1, value)).collect();
    let out = join.step([added(&left), added(&right)], NO_TIME, 0);
    assert_eq!(out.iter().map(Delta::len).sum::<usize>(), 120_000);
    assert!(out.iter().all(|delta| delta.len() <= 8192));
}

#[test]
fn a_semi_join_by_one_key_is_not_quadratic() {
    let mut join = running(&Case {
        updating: [true, true],
        ..Case::of(JoinType::LeftSemi)
    });
    let many: Vec<Row> = (0..60_000).map(|value| row(1, value)).collect();
    let out = join.step([added(&many), added(&many)], NO_TIME, 0);
    assert_eq!(out.iter().map(Delta::len).sum::<usize>(), 60_000);
    // Only the key of the right side is kept.
    assert_eq!(join.operator.size().1, 60_001);
}

#[test]
fn a_semi_join_forgets_what_it_told() {
    let mut join = running(&Case::of(JoinType::LeftSemi));
    join.step(
        [added(&[row(1, 1), row(2, 1)]), added(&[row(1, 9)])],
        NO_TIME,
        0,
    );
    assert_eq!(join.operator.size().1, 2);
    assert!(
        join.step([vec![], added(&[row(1, 9)])], NO_TIME, 1)
            .is_empty()
    );
    assert_eq!(
        join.step([added(&[row(1, 5)]), vec![]], NO_TIME, 2).len(),
        1
    );
    assert_eq!(join.operator.size().1, 2);
}

#[test]
fn too_many_rows_say_which_join() {
    let mut join = running(&Case {
        keyed: false,
        ..Case::of(JoinType::Inner)
    });
    let many: Vec<Row> = (0..3_300).map(|value| row(1, value)).collect();
    let out = join.step([added(&many), added(&many)], NO_TIME, 0);
    assert!(out.is_empty());
    assert_eq!(
        join.effects.failed.as_deref(),
        Some(
            "the join of every row with every other makes more than 10 million rows at once: add a condition, or join by a key that fewer rows share"
        )
    );
}

#[test]
fn a_pair_whose_condition_fails_is_no_match_and_is_rejected_once() {
    let mut plan = Case::of(JoinType::Left).plan();
    let column = |at| Arc::new(Column::new("c", at)) as Arc<_>;
    let sum = binary(column(1), Sign::Plus, column(4));
    plan.filter = Some(binary(sum, Sign::Gt, lit(0_i64)));
    let mut join = Running::new(plan.operator().unwrap());
    join.step([vec![], added(&[row(1, 1), row(1, 2)])], NO_TIME, 0);
    let out = join.step([added(&[row(1, i64::MAX), row(1, 5)]), vec![]], NO_TIME, 1);
    let bag = bag(&out);
    assert_eq!(bag.len(), 3);
    assert!(bag.contains_key(&vec![Some(1), Some(i64::MAX), Some(0), None, None, None]));
    assert_eq!(join.effects.rejected.len(), 1);
}

#[test]
fn a_row_whose_key_fails_is_rejected() {
    let mut plan = Case::of(JoinType::Inner).plan();
    let column = |at| Arc::new(Column::new("c", at)) as Arc<_>;
    let next = binary(column(0), Sign::Plus, lit(1_i64));
    plan.on = vec![(Arc::clone(&next), next)];
    let mut join = Running::new(plan.operator().unwrap());
    let left = added(&[row(i64::MAX, 1), row(1, 1)]);
    let out = join.step([left, added(&[row(1, 2)])], NO_TIME, 0);
    assert_eq!(bag(&out).len(), 1);
    assert_eq!(join.effects.rejected.len(), 1);
}

#[test]
fn rows_that_come_and_go_in_a_step_are_nothing() {
    let mut join = running(&Case {
        updating: [true, false],
        ..Case::of(JoinType::Full)
    });
    let both = vec![
        rows(&[(row(1, 1), -1), (row(2, 2), 1)]),
        rows(&[(row(1, 1), 1)]),
    ];
    let out = join.step([both, vec![]], NO_TIME, 0);
    assert_eq!(bag(&out).len(), 1);
    assert_eq!(join.state.len(), 1);
}

#[test]
fn broken_state_is_refused() {
    let plan = Case::of(JoinType::Inner).plan();
    let mut operator = plan.operator().unwrap();
    let mut join = running(&Case::of(JoinType::Inner));
    join.step([added(&[row(1, 1)]), vec![]], NO_TIME, 0);
    let (key, value) = join.state.first_key_value().unwrap();
    assert!(operator.restore(&[2, 0, 0, 0, 0], value).is_err());
    assert!(operator.restore(&key[..3], value).is_err());
    assert!(operator.restore(key, &[9]).is_err());
    assert!(operator.restore(key, &value[..4]).is_err());
    operator.restore(key, value).unwrap();
    assert!(operator.restore(key, value).is_err(), "twice");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let mut plan = Case {
        null_aware: true,
        less: true,
        ..Case::of(JoinType::LeftAnti)
    }
    .plan();
    let error = plan.operator().unwrap_err().to_string();
    assert!(error.contains("write `NOT EXISTS`"), "{error}");
    plan = Case::of(JoinType::Inner).plan();
    plan.on[0].1 = Arc::new(Column::new("time", 2));
    let error = plan.operator().unwrap_err().to_string();
    assert!(error.contains("cast one to join them"), "{error}");
}

#[test]
fn a_forgotten_partner_that_is_taken_back_was_none() {
    let mut join = running(&Case {
        times: Times::Window,
        updating: [true, false],
        ..Case::of(JoinType::RightAnti)
    });
    let at = |time| [Some(1), Some(1), Some(time)];
    // The right side's time passes the left row, which is forgotten, but not the left side's the right row.
    let inputs = [added(&[at(4)]), added(&[at(4)])];
    assert!(bag(&join.step(inputs, [[0, 0], [0, 9]], 0)).is_empty());
    assert_eq!(join.operator.size().1, 1);
    let back = vec![rows(&[(at(4), -1)])];
    let out = join.step([back, vec![]], [[0, 0], [9, 9]], 1);
    assert_eq!(bag(&out), [(at(4).to_vec(), 1)].into());
}

/// Many keys, some of which are looked for all the time, and a third of the rows in memory.
#[test]
fn keys_that_are_looked_for_stay_in_memory() {
    let mut join = running(&Case::of(JoinType::Inner));
    join.operator.spill_to(scratch());
    let left: Vec<Row> = (0..3000).map(|key| row(key, 1)).collect();
    join.step([added(&left), vec![]], NO_TIME, 0);
    let (bytes, entries) = join.operator.size();
    join.operator.evict(bytes / 3).unwrap();
    let hot: Vec<Row> = (0..100).map(|key| row(key, 2)).collect();
    for now in 1..4 {
        let out = join.step([vec![], added(&hot)], NO_TIME, now);
        assert_eq!(bag(&out).values().sum::<i64>(), 100);
        join.operator.evict(bytes / 3).unwrap();
        let (memory, all) = join.operator.size();
        assert!(memory <= bytes / 3, "{memory} of {bytes}");
        assert_eq!(all, entries + 100 * now as u64);
    }
    let before = join.operator.spilled();
    join.step([vec![], added(&hot)], NO_TIME, 4);
    assert_eq!(join.operator.spilled(), before, "nothing of them came back");
    // The others are found, too.
    let cold: Vec<Row> = (2000..3000).map(|key| row(key, 3)).collect();
    let out = join.step([vec![], added(&cold)], NO_TIME, 5);
    assert_eq!(bag(&out).len(), 1000);
}

#[test]
fn a_join_whose_disk_fails_tells_nothing() {
    let scratch = scratch();
    let mut join = running(&Case::of(JoinType::Left));
    join.operator.spill_to(scratch.clone());
    join.step([added(&[row(1, 1)]), vec![]], NO_TIME, 0);
    join.operator.evict(0).unwrap();
    scratch.fault.unreadable.store(true, Ordering::Relaxed);
    let mut effects = Effects::default();
    let mut step = Step {
        now: 1,
        node: 7,
        effects: &mut effects,
        late: &mut 0,
        keeps_late: true,
    };
    let input = |deltas| Input {
        deltas,
        before: Marks::START,
        after: Marks::START,
    };
    let inputs = vec![input(vec![]), input(added(&[row(1, 2)]))];
    let error = join.operator.step(inputs, &mut step).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot be read"), "{text}");
    assert!(text.contains("pause and resume the flow"), "{text}");
}
