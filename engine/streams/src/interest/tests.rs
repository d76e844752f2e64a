//! The index against asking every consumer.

use std::collections::{BTreeMap, BTreeSet};

use millstream_types::matches;
use proptest::prelude::*;

use super::{Interest, WaitsFor};

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Vec<String>),
    Remove(u8),
    Wait(u8, bool),
    Stored(String),
    Room(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let filter = "[ab*](\\.[ab*]){0,2}(\\.>)?";
    prop_oneof![
        (0..6_u8, prop::collection::vec(filter, 0..3)).prop_map(|(who, list)| Step::Set(who, list)),
        (0..6_u8).prop_map(Step::Remove),
        (0..6_u8, any::<bool>()).prop_map(|(who, room)| Step::Wait(who, room)),
        "[ab](\\.[ab]){0,3}".prop_map(Step::Stored),
        (0..6_u8).prop_map(Step::Room),
    ]
}

#[derive(Debug, Default)]
struct Model {
    filters: Vec<String>,
    number: Option<u32>,
    waits: Option<bool>,
}

impl Model {
    fn matches(&self, subject: &str) -> bool {
        let hit = |filter: &String| matches(filter.as_bytes(), subject.as_bytes());
        self.filters.is_empty() || self.filters.iter().any(hit)
    }
}

proptest! {
    /// A message wakes those that wait for one and whose filters match, each of them once, and nobody else.
    #[test]
    fn only_those_it_is_for_are_woken(steps in prop::collection::vec(step(), 1..60)) {
        let mut interest = Interest::default();
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        for step in steps {
            let mut want = BTreeSet::new();
            match step {
                Step::Set(who, mut filters) => {
                    interest.set(&who.to_string(), filters.iter().map(String::as_str));
                    filters.sort();
                    filters.dedup();
                    let known = model.entry(who).or_default();
                    if known.filters != filters {
                        if known.waits.take().is_some() {
                            want.extend(known.number);
                        }
                        known.filters = filters;
                    }
                }
                Step::Remove(who) => {
                    interest.remove(&who.to_string());
                    if let Some(Model { number, waits: Some(_), .. }) = model.remove(&who) {
                        want.extend(number);
                    }
                }
                Step::Wait(who, room) => {
                    let what = if room { WaitsFor::Room } else { WaitsFor::Message };
                    let number = interest.wait(&who.to_string(), what);
                    prop_assert_eq!(number.is_some(), model.contains_key(&who));
                    if let Some(known) = model.get_mut(&who) {
                        known.number = number;
                        known.waits = Some(room);
                    }
                }
                Step::Stored(subject) => {
                    let any = model.values().any(|known| known.matches(&subject));
                    prop_assert_eq!(interest.has(subject.as_bytes()), any);
                    interest.stored(subject.as_bytes());
                    for known in model.values_mut() {
                        if known.waits == Some(false) && known.matches(&subject) {
                            known.waits = None;
                            want.extend(known.number);
                        }
                    }
                }
                Step::Room(who) => {
                    interest.made_room(&who.to_string());
                    if let Some(known) = model.get_mut(&who)
                        && known.waits == Some(true)
                    {
                        known.waits = None;
                        want.extend(known.number);
                    }
                }
            }
            let woken = interest.take_woken();
            prop_assert_eq!(woken.len(), want.len());
            prop_assert_eq!(woken.into_iter().collect::<BTreeSet<_>>(), want);
        }
    }
}

#[test]
fn a_thousand_that_wait_for_something_else_stay_asleep() {
    let mut interest = Interest::default();
    for number in 0..1000 {
        let name = format!("c{number}");
        let filter = format!("orders.{number}.>");
        interest.set(&name, std::iter::once(filter.as_str()));
        assert!(interest.wait(&name, WaitsFor::Message).is_some());
    }
    for line in 0..100 {
        interest.stored(format!("orders.x.{line}").as_bytes());
    }
    assert_eq!(interest.take_woken(), Vec::<u32>::new());
    interest.stored(b"orders.7.1");
    interest.stored(b"orders.7.2");
    assert_eq!(interest.take_woken(), [8]);
}
