//! When what is out is due: a queue for deadlines that come in order, as those of deliveries do, and a heap for the rest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Deadlines, each with the message it is about.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    in_order: VecDeque<(i64, u64)>,
    others: BinaryHeap<Reverse<(i64, u64)>>,
}

impl Timers {
    pub(crate) fn push(&mut self, deadline: i64, seq: u64) {
        match self.in_order.back() {
            Some((last, _)) if *last > deadline => self.others.push(Reverse((deadline, seq))),
            _ => self.in_order.push_back((deadline, seq)),
        }
    }

    /// The first deadline.
    pub(crate) fn peek(&self) -> Option<(i64, u64)> {
        let other = self.others.peek().map(|Reverse(other)| *other);
        match (self.in_order.front().copied(), other) {
            (Some(first), Some(other)) => Some(if other.0 < first.0 { other } else { first }),
            (first, other) => first.or(other),
        }
    }

    pub(crate) fn pop(&mut self) {
        let first = self.in_order.front().map(|(deadline, _)| *deadline);
        match self.others.peek() {
            Some(Reverse((other, _))) if first.is_none_or(|first| *other < first) => {
                self.others.pop();
            }
            _ => {
                self.in_order.pop_front();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(i64, u64) -> bool) {
        self.in_order
            .retain(|(deadline, seq)| keep(*deadline, *seq));
        self.others
            .retain(|Reverse((deadline, seq))| keep(*deadline, *seq));
    }

    pub(crate) fn clear(&mut self) {
        self.in_order.clear();
        self.others.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Timers;

    proptest! {
        /// Deadlines come out in order, whatever the order they went in.
        #[test]
        fn the_first_is_the_earliest(steps in prop::collection::vec(prop::option::of(0_i64..50), 1..80)) {
            let mut timers = Timers::default();
            let mut model: Vec<i64> = Vec::new();
            for step in steps {
                match step {
                    Some(deadline) => {
                        timers.push(deadline, 0);
                        model.push(deadline);
                        model.sort_unstable();
                    }
                    None => {
                        timers.pop();
                        model.drain(..model.len().min(1));
                    }
                }
                prop_assert_eq!(timers.peek().map(|(deadline, _)| deadline), model.first().copied());
                prop_assert_eq!(timers.len(), model.len());
            }
            timers.retain(|deadline, _| deadline % 2 == 0);
            model.retain(|deadline| deadline % 2 == 0);
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.peek().map(|(deadline, _)| deadline), model.first().copied());
        }
    }
}
