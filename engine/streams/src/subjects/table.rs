//! From a subject's hash to its number: open addressing with linear probing, where a place is one word with both in it. (The
//! ring of `dedup` has a table of its own kind: three bytes a place, and nothing is taken out.)
//!
//! A look-up among many subjects is a wait for memory, and here it is for one cache line mostly. A hash's home is the share of
//! the hash's range that it is at, so places are almost in the order of the hashes, and to make the table larger goes through memory in
//! order, too.

/// Fewest places.
const SMALLEST: usize = 8;
/// Percent of the places that are taken at most, and after the table was made larger. In between a subject takes 10.7 to 14.5
/// bytes, and one that is not there is told after nine places, on average, at most (Knuth, TAOCP 3, 6.4).
const FULL: usize = 75;
const LOADED: usize = 55;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// The hash, and the number plus one; 0 is a free place.
    places: Box<[u64]>,
    used: usize,
}

fn word(hash: u32, id: u32) -> u64 {
    u64::from(hash) << 32 | (u64::from(id) + 1)
}

fn hash_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn id_of(word: u64) -> u32 {
    (word as u32).wrapping_sub(1)
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Something of the place where looking this hash up begins, to have it at hand.
    pub(super) fn touch(&self, hash: u32) -> u64 {
        self.places.get(self.home(hash)).copied().unwrap_or(0)
    }

    /// The first number with this hash that is `right`.
    pub(super) fn find(&self, hash: u32, mut right: impl FnMut(u32) -> bool) -> Option<u32> {
        let at = self.place(hash, |word| hash_of(word) == hash && right(id_of(word)))?;
        Some(id_of(self.places[at]))
    }

    /// Adds a number below `u32::MAX` that is not there.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        if (self.used + 1) * 100 > self.places.len() * FULL {
            self.grow();
        }
        self.put(word(hash, id));
        self.used += 1;
    }

    /// Takes a number out, if it is there.
    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        let gone = word(hash, id);
        let Some(mut hole) = self.place(hash, |word| word == gone) else {
            return;
        };
        self.used -= 1;
        // What lies behind moves forward as far as its home lets it: no search may end at the hole before it.
        let mut at = hole;
        loop {
            at = self.after(at);
            let word = self.places[at];
            if word == 0 {
                break;
            }
            let home = self.home(hash_of(word));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.places[hole] = word;
                hole = at;
            }
        }
        self.places[hole] = 0;
    }

    /// The first place from the hash's home on with a word that is `right`.
    fn place(&self, hash: u32, mut right: impl FnMut(u64) -> bool) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let mut at = self.home(hash);
        // Ends: a table always has free places.
        while self.places[at] != 0 {
            if right(self.places[at]) {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    fn put(&mut self, word: u64) {
        let mut at = self.home(hash_of(word));
        while self.places[at] != 0 {
            at = self.after(at);
        }
        self.places[at] = word;
    }

    fn grow(&mut self) {
        let places = ((self.used + 1) * 100 / LOADED).max(SMALLEST);
        let before = std::mem::replace(&mut self.places, vec![0; places].into_boxed_slice());
        for word in before.into_iter().filter(|word| *word != 0) {
            self.put(word);
        }
    }

    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.places.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.places.len() {
            0
        } else {
            at + 1
        }
    }

    /// How many steps it is from one place to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        match to.checked_sub(from) {
            Some(steps) => steps,
            None => to + self.places.len() - from,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::BuildHasher;

    use proptest::prelude::*;

    use super::{FULL, Table};

    /// Hashes that fall close to each other, on both sides of the table's end.
    fn hash() -> impl Strategy<Value = u32> {
        prop_oneof![
            0u32..4,
            (0u32..4).prop_map(|low| u32::MAX - low),
            any::<u32>()
        ]
    }

    proptest! {
        #[test]
        fn a_table_is_a_map(steps in prop::collection::vec((any::<bool>(), hash(), 0u32..40), 1..400)) {
            let mut table = Table::default();
            let mut model = BTreeMap::new();
            for (add, hash, id) in steps {
                match model.get(&id).copied() {
                    None if add => {
                        table.insert(hash, id);
                        model.insert(id, hash);
                    }
                    Some(hash) if !add => {
                        table.remove(hash, id);
                        model.remove(&id);
                    }
                    // One that is not there is not taken out.
                    None => table.remove(hash, id),
                    Some(_) => {}
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.used * 100 <= table.places.len() * FULL);
                for (id, hash) in &model {
                    prop_assert_eq!(table.find(*hash, |found| found == *id), Some(*id));
                }
                let gone = (0..40).filter(|id| !model.contains_key(id));
                for id in gone {
                    prop_assert_eq!(table.find(hash, |found| found == id), None);
                }
            }
        }
    }

    #[test]
    fn the_highest_number_is_told_from_a_free_place() {
        let mut table = Table::default();
        table.insert(0, u32::MAX - 1);
        assert_eq!(table.find(0, |_| true), Some(u32::MAX - 1));
        table.remove(0, u32::MAX - 1);
        assert_eq!(table.find(0, |_| true), None);
    }

    /// Subjects that differ in a number lie as far from home as a good hash has it: 0.94 places on average in a table that is as
    /// full as this one (Knuth, as above).
    #[test]
    fn subjects_with_numbers_are_spread() {
        let hasher = foldhash::fast::RandomState::default();
        let forms: [fn(u32) -> String; 3] = [
            |id| format!("s.{id}"),
            |id| format!("orders.{id:07}.new"),
            |id| format!("plants.{}.machines.{}.temperature", id / 1000, id % 1000),
        ];
        for form in forms {
            let mut table = Table::default();
            for id in 0..100_000 {
                let hash = hasher.hash_one(form(id).as_bytes());
                table.insert((hash >> 32) as u32, id);
            }
            let steps = table.places.iter().enumerate();
            let steps = steps.filter(|(_, word)| **word != 0);
            let steps = steps
                .map(|(at, word)| table.distance(table.home(super::hash_of(*word)), at))
                .sum::<usize>();
            assert!(steps * 10 < table.len() * 13, "{steps} for {}", form(1));
        }
    }
}
