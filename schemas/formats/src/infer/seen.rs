//! What was seen at one place of many documents: counts that can be added in any order, in bounded memory.
//!
//! Everything kept is a sum, a least, a most, or a set that is given up for good when it grows beyond its limit. So the same
//! documents lead to the same counts in whatever order and pieces they are looked at.

use std::collections::BTreeMap;

use serde_json::Value;

use super::recognise::{self, KINDS};

/// Values told apart at one place.
pub(super) const MAX_DISTINCT: usize = 64;
/// Bytes of a text that is kept as one of them.
const MAX_KEPT: usize = 64;
/// Properties told apart in one object; one with more is a map.
pub(super) const MAX_PROPERTIES: usize = 256;
/// Bytes of a property's name; an object with longer ones is a map.
const MAX_NAME: usize = 256;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) nulls: u64,
    pub(super) booleans: u64,
    pub(super) numbers: Option<Box<Numbers>>,
    pub(super) strings: Option<Box<Strings>>,
    pub(super) arrays: Option<Box<Arrays>>,
    pub(super) objects: Option<Box<Objects>>,
}

/// How often each value occurred; `None` when there are too many of them.
#[derive(Clone, Debug)]
pub(super) struct Distinct<T>(pub(super) Option<BTreeMap<T, u64>>);

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self(Some(BTreeMap::new()))
    }
}

impl<T: Ord> Distinct<T> {
    fn add(&mut self, value: T, times: u64) {
        let Some(values) = &mut self.0 else { return };
        *values.entry(value).or_default() += times;
        if values.len() > MAX_DISTINCT {
            self.0 = None;
        }
    }

    fn merge(&mut self, other: Self) {
        match other.0 {
            None => self.0 = None,
            Some(values) => values
                .into_iter()
                .for_each(|(value, times)| self.add(value, times)),
        }
    }
}

/// Numbers.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// Those written without point and exponent that fit 64 bits.
    pub(super) integers: u64,
    pub(super) least: i128,
    pub(super) most: i128,
    pub(super) distinct: Distinct<i128>,
    /// All others.
    pub(super) fractions: u64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            integers: 0,
            least: i128::MAX,
            most: i128::MIN,
            distinct: Distinct::default(),
            fractions: 0,
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
        }
    }
}

/// Texts.
#[derive(Clone, Debug)]
pub(super) struct Strings {
    pub(super) count: u64,
    /// Characters.
    pub(super) shortest: u64,
    pub(super) longest: u64,
    pub(super) distinct: Distinct<Box<str>>,
    /// How many are of each of [`KINDS`].
    pub(super) kinds: [u64; KINDS.len()],
    /// Digits behind the point of seconds, where a text is a time.
    pub(super) digits: usize,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            count: 0,
            shortest: u64::MAX,
            longest: 0,
            distinct: Distinct::default(),
            kinds: [0; KINDS.len()],
            digits: 0,
        }
    }
}

/// Arrays, whose items are taken together.
#[derive(Clone, Debug)]
pub(super) struct Arrays {
    pub(super) count: u64,
    pub(super) fewest: u64,
    pub(super) most: u64,
    /// `None` when they lie deeper than is looked.
    pub(super) items: Option<Seen>,
}

/// Objects.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) count: u64,
    pub(super) members: Members,
}

/// What is known about the members of objects.
#[derive(Clone, Debug)]
pub(super) enum Members {
    /// Each by its name.
    Named(BTreeMap<Box<str>, Member>),
    /// All together: there are too many names.
    Together(Seen),
    /// They lie deeper than is looked.
    Deep,
}

/// A member of objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    pub(super) seen: Seen,
    /// Sum of the places it had among the members of its objects, for an order that people know from the documents.
    pub(super) places: u64,
}

impl Seen {
    /// All values.
    pub(super) fn count(&self) -> u64 {
        let numbers = self.numbers.as_ref();
        self.nulls
            + self.booleans
            + numbers.map_or(0, |numbers| numbers.integers + numbers.fractions)
            + self.strings.as_ref().map_or(0, |strings| strings.count)
            + self.arrays.as_ref().map_or(0, |arrays| arrays.count)
            + self.objects.as_ref().map_or(0, |objects| objects.count)
    }

    /// Takes a value in; what lies more than `levels` below is not looked at.
    pub(super) fn add(&mut self, value: &Value, levels: usize) {
        match value {
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) => {
                let whole = number.as_i64().map(i128::from);
                let whole = whole.or_else(|| number.as_u64().map(i128::from));
                let numbers = self.numbers.get_or_insert_default();
                match whole {
                    Some(whole) => numbers.whole(whole),
                    None => numbers.fraction(number.as_f64().unwrap_or_default()),
                }
            }
            Value::String(text) => self.strings.get_or_insert_default().add(text),
            Value::Array(items) => {
                let arrays = self.arrays.get_or_insert_with(|| Arrays::new(levels));
                arrays.add(items, levels);
            }
            Value::Object(members) => {
                let objects = self.objects.get_or_insert_with(|| Objects::new(levels));
                objects.count += 1;
                for (place, (name, value)) in (0..).zip(members) {
                    objects.member(name, levels, place, |seen| seen.add(value, levels - 1));
                }
            }
        }
    }

    /// Takes in what was seen elsewhere.
    pub(super) fn merge(&mut self, other: Self) {
        self.nulls += other.nulls;
        self.booleans += other.booleans;
        both(&mut self.numbers, other.numbers, Numbers::merge);
        both(&mut self.strings, other.strings, Strings::merge);
        both(&mut self.arrays, other.arrays, Arrays::merge);
        both(&mut self.objects, other.objects, Objects::merge);
    }

    /// Forgets what lies more than `levels` below.
    pub(super) fn prune(&mut self, levels: usize) {
        if let Some(arrays) = &mut self.arrays {
            match &mut arrays.items {
                Some(items) if levels > 0 => items.prune(levels - 1),
                items => *items = None,
            }
        }
        if let Some(objects) = &mut self.objects {
            match &mut objects.members {
                Members::Named(members) if levels > 0 => members
                    .values_mut()
                    .for_each(|member| member.seen.prune(levels - 1)),
                Members::Together(seen) if levels > 0 => seen.prune(levels - 1),
                members => *members = Members::Deep,
            }
        }
    }

    /// How many places are kept.
    pub(super) fn places(&self) -> usize {
        let items = self
            .arrays
            .as_ref()
            .and_then(|arrays| arrays.items.as_ref());
        let members = self.objects.as_ref().map(|objects| &objects.members);
        let members = members.map_or(0, |members| match members {
            Members::Named(members) => members.values().map(|member| member.seen.places()).sum(),
            Members::Together(seen) => seen.places(),
            Members::Deep => 0,
        });
        1 + items.map_or(0, Self::places) + members
    }
}

fn both<T>(ours: &mut Option<Box<T>>, theirs: Option<Box<T>>, merge: fn(&mut T, T)) {
    match (ours.as_mut(), theirs) {
        (Some(ours), Some(theirs)) => merge(ours, *theirs),
        (None, theirs) => *ours = theirs,
        (Some(_), None) => {}
    }
}

impl Numbers {
    fn whole(&mut self, number: i128) {
        self.integers += 1;
        self.least = self.least.min(number);
        self.most = self.most.max(number);
        self.distinct.add(number, 1);
    }

    fn fraction(&mut self, number: f64) {
        // Of two zeros neither is the least.
        let number = number + 0.0;
        self.fractions += 1;
        self.lowest = self.lowest.min(number);
        self.highest = self.highest.max(number);
    }

    fn merge(&mut self, other: Self) {
        self.integers += other.integers;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.distinct.merge(other.distinct);
        self.fractions += other.fractions;
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }
}

impl Strings {
    fn add(&mut self, text: &str) {
        let length = text.chars().count() as u64;
        self.count += 1;
        self.shortest = self.shortest.min(length);
        self.longest = self.longest.max(length);
        if text.len() > MAX_KEPT {
            self.distinct.0 = None;
        } else if self.distinct.0.is_some() {
            self.distinct.add(text.into(), 1);
        }
        if let Some(found) = recognise::kind(text) {
            self.kinds[found.kind] += 1;
            self.digits = self.digits.max(found.digits);
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.shortest = self.shortest.min(other.shortest);
        self.longest = self.longest.max(other.longest);
        self.distinct.merge(other.distinct);
        for (ours, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            *ours += theirs;
        }
        self.digits = self.digits.max(other.digits);
    }
}

impl Arrays {
    fn new(levels: usize) -> Box<Self> {
        Box::new(Self {
            count: 0,
            fewest: u64::MAX,
            most: 0,
            items: (levels > 0).then(Seen::default),
        })
    }

    fn add(&mut self, items: &[Value], levels: usize) {
        self.count += 1;
        self.fewest = self.fewest.min(items.len() as u64);
        self.most = self.most.max(items.len() as u64);
        if let Some(seen) = &mut self.items {
            items.iter().for_each(|item| seen.add(item, levels - 1));
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.fewest = self.fewest.min(other.fewest);
        self.most = self.most.max(other.most);
        match (&mut self.items, other.items) {
            (Some(ours), Some(theirs)) => ours.merge(theirs),
            _ => self.items = None,
        }
    }
}

impl Objects {
    fn new(levels: usize) -> Box<Self> {
        let members = if levels > 0 {
            Members::Named(BTreeMap::new())
        } else {
            Members::Deep
        };
        Box::new(Self { count: 0, members })
    }

    fn member(&mut self, name: &str, levels: usize, place: u64, add: impl FnOnce(&mut Seen)) {
        match &mut self.members {
            Members::Deep => {}
            Members::Together(seen) => add(seen),
            Members::Named(members) => {
                if let Some(member) = members.get_mut(name) {
                    member.places += place;
                    add(&mut member.seen);
                    return;
                }
                if members.len() < MAX_PROPERTIES && name.len() <= MAX_NAME {
                    let member = members.entry(name.into()).or_default();
                    member.places += place;
                    add(&mut member.seen);
                    return;
                }
                let mut seen = together(std::mem::take(members));
                seen.prune(levels.saturating_sub(1));
                add(&mut seen);
                self.members = Members::Together(seen);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        match (&mut self.members, other.members) {
            (Members::Deep, _) => {}
            (_, Members::Deep) => self.members = Members::Deep,
            (Members::Together(ours), Members::Together(theirs)) => ours.merge(theirs),
            (Members::Together(ours), Members::Named(theirs)) => ours.merge(together(theirs)),
            (Members::Named(ours), Members::Together(mut theirs)) => {
                theirs.merge(together(std::mem::take(ours)));
                self.members = Members::Together(theirs);
            }
            (Members::Named(ours), Members::Named(theirs)) => {
                for (name, member) in theirs {
                    let own = ours.entry(name).or_default();
                    own.places += member.places;
                    own.seen.merge(member.seen);
                }
                if ours.len() > MAX_PROPERTIES {
                    let seen = together(std::mem::take(ours));
                    self.members = Members::Together(seen);
                }
            }
        }
    }
}

/// All members as one.
pub(super) fn together(members: BTreeMap<Box<str>, Member>) -> Seen {
    let mut all = Seen::default();
    for member in members.into_values() {
        all.merge(member.seen);
    }
    all
}
