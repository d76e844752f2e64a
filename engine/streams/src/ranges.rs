//! A set of sequences that are mostly neighbours.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// First to last, both inside; neither touching nor overlapping.
    spans: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.spans
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, end)| seq <= *end)
    }

    /// Whether it was not there.
    pub(crate) fn insert(&mut self, seq: u64) -> bool {
        let before = self
            .spans
            .range(..=seq)
            .next_back()
            .map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, end)| seq <= end) {
            return false;
        }
        let start = match before {
            Some((start, end)) if end + 1 == seq => start,
            _ => seq,
        };
        let end = self.spans.remove(&(seq + 1)).unwrap_or(seq);
        self.spans.insert(start, end);
        true
    }

    /// Forgets everything up to `seq`.
    pub(crate) fn forget_to(&mut self, seq: u64) {
        while let Some((start, end)) = self
            .spans
            .first_key_value()
            .map(|(start, end)| (*start, *end))
        {
            if start > seq {
                return;
            }
            self.spans.remove(&start);
            if end > seq {
                self.spans.insert(seq + 1, end);
                return;
            }
        }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.spans.last_key_value().map(|(_, end)| *end)
    }

    /// First to last of every span at or after `from`.
    pub(crate) fn spans_from(&self, from: u64) -> impl Iterator<Item = (u64, u64)> {
        self.spans
            .iter()
            .filter(move |(_, end)| **end >= from)
            .map(move |(start, end)| ((*start).max(from), *end))
    }

    pub(crate) fn spans(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        self.spans.iter().map(|(start, end)| (*start, *end))
    }

    pub(crate) fn from_spans(spans: BTreeMap<u64, u64>) -> Self {
        Self { spans }
    }

    /// The end of the span `seq` is in.
    pub(crate) fn end_of(&self, seq: u64) -> Option<u64> {
        self.spans
            .range(..=seq)
            .next_back()
            .map(|(_, end)| *end)
            .filter(|end| seq <= *end)
    }
}
