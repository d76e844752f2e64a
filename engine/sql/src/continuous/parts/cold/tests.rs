//! What has left memory against a map, and a disk that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{Cold, Leaving, Pair, Parcel};
use crate::continuous::parts::Scratch;

fn cold() -> (Cold, Scratch) {
    let scratch = Scratch::new(std::env::temp_dir(), 0);
    let mut cold = Cold::default();
    cold.set(scratch.clone());
    (cold, scratch)
}

fn leaving(group: u64, number: u64, dues: &[(u8, i64)]) -> Leaving {
    Leaving {
        group,
        key: number.to_be_bytes().to_vec(),
        value: vec![number as u8; 50],
        dues: dues.to_vec(),
    }
}

fn put(cold: &mut Cold, entries: Vec<Leaving>) -> datafusion::common::Result<()> {
    let mut parcel = Parcel::default();
    for entry in entries {
        parcel.push(entry);
    }
    cold.put(&mut parcel)
}

#[derive(Clone, Debug)]
enum Doing {
    /// A group leaves with so many entries, and is due in a queue.
    Put(u64, usize, Option<(u8, i64)>),
    Take(Vec<u64>),
    Due(u8, i64),
}

fn doing() -> impl Strategy<Value = Doing> {
    let due = proptest::option::of((0..2u8, 0..20i64));
    prop_oneof![
        (0..12u64, 1..4usize, due).prop_map(|(group, count, due)| Doing::Put(group, count, due)),
        proptest::collection::vec(0..16u64, 0..6).prop_map(Doing::Take),
        (0..2u8, 0..22i64).prop_map(|(queue, below)| Doing::Due(queue, below)),
    ]
}

#[derive(Debug, Default)]
struct Model {
    groups: BTreeMap<u64, Vec<Pair>>,
    dues: BTreeSet<(u8, i64, u64)>,
}

impl Model {
    fn take(&mut self, groups: impl Iterator<Item = u64>) -> Vec<Pair> {
        let mut all = Vec::new();
        for group in groups {
            all.extend(self.groups.remove(&group).unwrap_or_default());
            self.dues.retain(|(.., of)| *of != group);
        }
        all.sort();
        all
    }
}

fn sorted(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort();
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_comes_back_is_what_was_put(script in proptest::collection::vec(doing(), 1..40)) {
        let (mut cold, _) = cold();
        let mut model = Model::default();
        let mut number = 0;
        for doing in script {
            match doing {
                Doing::Put(group, count, due) => {
                    let mut entries = Vec::new();
                    for at in 0..count {
                        let dues: Vec<_> = due.filter(|_| at == 0).into_iter().collect();
                        let entry = leaving(group, number, &dues);
                        let pair = (entry.key.clone(), entry.value.clone());
                        model.groups.entry(group).or_default().push(pair);
                        entries.push(entry);
                        number += 1;
                    }
                    model.dues.extend(due.map(|(queue, time)| (queue, time, group)));
                    put(&mut cold, entries).unwrap();
                }
                Doing::Take(groups) => {
                    let taken = cold.take(groups.clone()).unwrap();
                    prop_assert_eq!(sorted(taken), model.take(groups.into_iter()));
                }
                Doing::Due(queue, below) => {
                    let taken = cold.take_due(queue, below).unwrap();
                    let due = model.dues.range((queue, i64::MIN, 0)..(queue, below, 0));
                    let due: BTreeSet<u64> = due.map(|(.., group)| *group).collect();
                    prop_assert_eq!(sorted(taken), model.take(due.into_iter()));
                    let more = cold.take_due(queue, below).unwrap();
                    prop_assert!(more.is_empty());
                }
            }
            let entries: usize = model.groups.values().map(Vec::len).sum();
            prop_assert_eq!(cold.size().1, entries as u64);
            prop_assert_eq!(cold.is_empty(), entries == 0);
            prop_assert_eq!(cold.size().0 == 0, entries == 0);
            for group in 0..16 {
                prop_assert_eq!(cold.holds(group), model.groups.contains_key(&group));
            }
            for queue in 0..2 {
                let first = model.dues.range((queue, i64::MIN, 0)..(queue, i64::MAX, 0)).next();
                let first = first.map(|(_, time, _)| *time);
                let known = cold.first_due(queue);
                prop_assert!(first.is_none() || known.is_some_and(|known| Some(known) <= first));
            }
        }
    }
}

#[test]
fn more_than_is_taken_at_once_is_due() {
    let (mut cold, _) = cold();
    let groups = super::SOME as u64 * 2 + 10;
    let entries = (0..groups).map(|group| leaving(group, group, &[(1, 5)]));
    put(&mut cold, entries.collect()).unwrap();
    assert!(cold.take_due(1, 5).unwrap().is_empty());
    assert!(cold.take_due(0, 9).unwrap().is_empty());
    let taken: Vec<usize> = std::iter::from_fn(|| {
        let pairs = cold.take_due(1, 6).unwrap();
        (!pairs.is_empty()).then_some(pairs.len())
    })
    .collect();
    assert_eq!(taken, [super::SOME, super::SOME, 10]);
    assert!(cold.is_empty());
    assert_eq!(cold.first_due(1), None);
}

#[test]
fn nothing_is_left_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut cold = Cold::default();
    cold.set(Scratch::new(folder.path().to_owned(), 0));
    put(&mut cold, vec![leaving(1, 1, &[])]).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_disk_that_is_full_is_told() {
    let (mut cold, scratch) = cold();
    scratch.fault.full.store(true, Ordering::Relaxed);
    let error = put(&mut cold, vec![leaving(1, 1, &[])]).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert!(
        error.to_string().contains("raise `memory_limit`"),
        "{error}"
    );
    // So it is later on.
    scratch.fault.full.store(false, Ordering::Relaxed);
    put(&mut cold, vec![leaving(1, 1, &[])]).unwrap();
    scratch.fault.full.store(true, Ordering::Relaxed);
    let many = (0..5000).map(|number| leaving(number, number, &[]));
    let error = put(&mut cold, many.collect()).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let (mut cold, scratch) = cold();
    put(&mut cold, vec![leaving(1, 1, &[(0, 3)])]).unwrap();
    scratch.fault.unreadable.store(true, Ordering::Relaxed);
    let error = cold.take_due(0, 4).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    let (mut cold, scratch) = self::cold();
    put(&mut cold, vec![leaving(1, 1, &[])]).unwrap();
    scratch.fault.unreadable.store(true, Ordering::Relaxed);
    let error = cold.take(vec![1]).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn a_bit_that_flips_is_found() {
    let (mut cold, scratch) = cold();
    let entry = Leaving {
        value: vec![7; 3600],
        ..leaving(1, 1, &[])
    };
    put(&mut cold, vec![entry]).unwrap();
    scratch.fault.flips.store(true, Ordering::Relaxed);
    let error = cold.take(vec![1]).unwrap_err();
    assert!(
        error.to_string().contains("not what was written"),
        "{error}"
    );
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let mut cold = Cold::default();
    cold.set(Scratch::new("/nowhere/at/all".into(), 0));
    let error = put(&mut cold, vec![leaving(1, 1, &[])]).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}
