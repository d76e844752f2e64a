//! Rows that look something up in a table.

use std::collections::BTreeMap;

use datafusion::common::JoinType;
use proptest::prelude::*;

use super::model::{Bag, Case, Row, Running, bag, rows, schema, scratch};
use crate::continuous::delta::Delta;
use crate::continuous::join::LookupPlan;

const NO_TIME: [[i64; 2]; 2] = [[i64::MIN; 2]; 2];

fn plan(case: &Case) -> LookupPlan {
    let plan = case.plan();
    LookupPlan {
        kind: plan.kind,
        on: plan.on,
        null_equals_null: plan.null_equals_null,
        filter: plan.filter,
        left: schema(),
        right: schema(),
        output: plan.output,
    }
}

#[test]
fn rows_keep_their_order_and_their_messages() {
    let mut lookup = Running::new(plan(&Case::of(JoinType::Left)).operator().unwrap());
    let row = |key: i64, value: i64| -> (Row, i64) { ([Some(key), Some(value), None], 1) };
    // One key has more rows than are looked at once.
    let table: Vec<_> = (0..9_000).map(|value| row(1, value)).collect();
    let left = vec![rows(&[row(5, 0), row(1, 1), row(6, 2)])];
    let out = lookup.step([left, vec![rows(&table)]], NO_TIME, 0);
    let sequences: Vec<u64> = out
        .iter()
        .flat_map(|delta| delta.origins.as_ref().unwrap().sequences.clone())
        .collect();
    assert_eq!(sequences.len(), 9_002);
    assert!(sequences.is_sorted());
    assert_eq!(sequences.first(), Some(&0));
    assert_eq!(sequences.last(), Some(&2));
    // The table changes and tells nothing.
    let change = vec![rows(&[(row(1, 0).0, -1), row(6, 7)])];
    assert!(lookup.step([vec![], change], NO_TIME, 1).is_empty());
    let found = lookup.step([vec![rows(&[row(6, 3)])], vec![]], NO_TIME, 2);
    assert_eq!(
        bag(&found),
        [(vec![Some(6), Some(3), None, Some(6), Some(7), None], 1)].into()
    );
}

#[test]
fn other_kinds_are_refused() {
    assert!(plan(&Case::of(JoinType::Full)).operator().is_err());
}

fn some(number: u8) -> Option<i64> {
    (number > 0).then_some(i64::from(number))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_lookup_is_the_nested_loop_of_its_moment(
        (outer, less, same, spills) in any::<(bool, bool, bool, bool)>(),
        steps in proptest::collection::vec(
            (
                proptest::collection::vec((0..4u8, 0..4u8), 0..5),
                proptest::collection::vec((0..4u8, proptest::option::of(0..4u8)), 0..5),
                any::<bool>(),
            ),
            1..8,
        ),
    ) {
        let kind = if outer { JoinType::Left } else { JoinType::Inner };
        let case = Case { less, null_equals_null: same, ..Case::of(kind) };
        let plan = plan(&case);
        let mut lookup = if spills {
            Running::spilling(plan.operator().unwrap(), scratch())
        } else {
            Running::new(plan.operator().unwrap())
        };
        let mut table: BTreeMap<u8, Row> = BTreeMap::new();
        for (number, (left, changes, crash)) in steps.into_iter().enumerate() {
            let mut told = Vec::new();
            for (key, value) in changes {
                let new = value.map(|value| [some(key), some(value), None]);
                let old = match new {
                    Some(new) => table.insert(key, new),
                    None => table.remove(&key),
                };
                told.extend(old.map(|old| (old, -1)));
                told.extend(new.map(|new| (new, 1)));
            }
            let left: Vec<(Row, i64)> =
                left.into_iter().map(|(key, value)| ([some(key), some(value), None], 1)).collect();
            if crash {
                lookup.crash(plan.operator().unwrap());
            }
            let delta = |of: &[(Row, i64)]| -> Vec<Delta> {
                if of.is_empty() { vec![] } else { vec![rows(of)] }
            };
            let out = lookup.step([delta(&left), delta(&told)], NO_TIME, number as i64);
            let all = [left.iter().map(|(row, _)| *row).collect(), table.values().copied().collect()];
            let expected: Bag = case.naive(&all);
            prop_assert_eq!(bag(&out), expected);
            prop_assert_eq!(lookup.operator.size().1, lookup.state.len() as u64);
        }
    }
}
