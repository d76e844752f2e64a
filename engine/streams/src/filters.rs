//! Which subjects a consumer, purge or question is about.

use std::collections::BTreeSet;

use millstream_types::{matches, tokens};

use crate::subjects::Subjects;

/// A set of subject filters; none means every subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// In order.
    list: Vec<Vec<u8>>,
    literal: bool,
}

impl Filters {
    /// Every subject.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Subjects that match one of `filters`, each of which passed `check_filter`; every subject when there are none.
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a str>) -> Self {
        let list: BTreeSet<&[u8]> = filters.into_iter().map(str::as_bytes).collect();
        let list: Vec<Vec<u8>> = list.into_iter().map(<[u8]>::to_vec).collect();
        if list.iter().any(|filter| filter == b">") {
            return Self::all();
        }
        let wild = |filter: &Vec<u8>| tokens(filter).any(|token| token == b"*" || token == b">");
        let literal = !list.is_empty() && !list.iter().any(wild);
        Self { list, literal }
    }

    /// Subjects that match one filter.
    #[must_use]
    pub fn one(filter: &[u8]) -> Self {
        Self::new([String::from_utf8_lossy(filter).as_ref()])
    }

    /// Whether a subject is among them.
    #[must_use]
    pub fn matches(&self, subject: &[u8]) -> bool {
        match self.literal {
            true => self
                .list
                .binary_search_by(|one| (**one).cmp(subject))
                .is_ok(),
            false => self.is_all() || self.list.iter().any(|filter| matches(filter, subject)),
        }
    }

    /// Whether every subject is.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.list.is_empty()
    }

    /// The subjects themselves, when there are no wildcards.
    pub(crate) fn literals(&self) -> Option<&[Vec<u8>]> {
        self.literal.then_some(self.list.as_slice())
    }
}

/// Fewest and most subjects that answers are kept for.
const SLOTS: (usize, usize) = (256, 1024);
/// So many questions are not worth remembering their answers.
const FEW: u8 = 32;
const EMPTY: u32 = u32::MAX;

/// Remembers for some subject numbers whether they match, so that a filter is compared once per subject and not once
/// per message. A slot is tagged with the subject's stamp, which no other subject has.
#[derive(Clone, Debug, Default)]
pub(crate) struct MatchCache {
    asked: u8,
    slots: Vec<(u32, bool)>,
}

impl MatchCache {
    pub(crate) fn matches(&mut self, filters: &Filters, subjects: &Subjects, id: u32) -> bool {
        if filters.is_all() {
            return true;
        }
        if self.asked < FEW {
            self.asked += 1;
            return filters.matches(subjects.name(id));
        }
        // Numbers of subjects follow each other, so with a slot for each there is little quarrel about any.
        let (fewest, most) = SLOTS;
        let slots = subjects.len().next_power_of_two().clamp(fewest, most);
        if self.slots.len() < slots {
            self.slots.clear();
            self.slots.resize(slots, (EMPTY, false));
        }
        let tag = subjects.stamp(id);
        let at = id as usize % self.slots.len();
        let slot = &mut self.slots[at];
        if slot.0 != tag {
            *slot = (tag, filters.matches(subjects.name(id)));
        }
        slot.1
    }
}
