//! Sixteen bits of each id of a page, in the page's order, to stay in memory when the page is in the journal only.
//!
//! Hashes are evenly spread, so a few ids share a bucket, which tells where in the order they are. A "maybe" is wrong once in
//! seven thousand times, at 18 bits an id: each wrong one reads a page of up to 400 kB, and a Bloom filter of that size would be
//! wrong ten times as often. "No" is certain.

use super::IdHash;
use super::page::View;

/// Ids of a bucket, on average.
const TOGETHER: usize = 8;

#[derive(Debug)]
pub(super) struct Prints {
    /// Where in `prints` each bucket begins, and the end.
    starts: Box<[u16]>,
    prints: Box<[u16]>,
}

/// Bits that neither [`super::filter`] nor the place of an id looks at.
fn print(id: IdHash) -> u16 {
    (id.low >> 40) as u16
}

impl Prints {
    /// Of all ids of a page, of which there are fewer than 2^16.
    pub(super) fn of(page: View<'_>) -> Self {
        let buckets = page.len().div_ceil(TOGETHER).max(1);
        let mut starts = Vec::with_capacity(buckets + 1);
        let mut prints = Vec::with_capacity(page.len());
        for slot in page.slots() {
            let bucket = super::scaled(slot.id(), buckets);
            while starts.len() <= bucket {
                starts.push(prints.len() as u16);
            }
            prints.push(print(slot.id()));
        }
        starts.resize(buckets + 1, prints.len() as u16);
        Self {
            starts: starts.into_boxed_slice(),
            prints: prints.into_boxed_slice(),
        }
    }

    /// Whether the page may hold the id.
    pub(super) fn contains(&self, id: IdHash) -> bool {
        let bucket = super::scaled(id, self.starts.len() - 1);
        let (start, end) = (self.starts[bucket], self.starts[bucket + 1]);
        self.prints[usize::from(start)..usize::from(end)].contains(&print(id))
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.prints)
    }
}

#[cfg(test)]
mod tests {
    use super::Prints;
    use crate::dedup::IdHash;
    use crate::dedup::page::{Base, Slot, View, build};
    use crate::dedup::tests::spread;

    fn prints(ids: impl Iterator<Item = IdHash>) -> Prints {
        let slots = ids.map(|id| Slot {
            high: id.high,
            low: id.low,
            ..Slot::default()
        });
        let slots: Vec<Slot> = slots.collect();
        let count = slots.len() as u32;
        let bytes = build(Base::default(), slots);
        Prints::of(View::open(&bytes, count).expect("a page"))
    }

    #[test]
    fn what_is_in_the_page_is_found_and_the_rest_hardly_ever() {
        for ids in [0, 1, 7, 8, 9, 1000, 40_000] {
            let prints = prints((0..ids).map(spread));
            assert!((0..ids).all(|number| prints.contains(spread(number))));
            let others = 1_000_000..1_200_000;
            let wrong = others.clone().filter(|id| prints.contains(spread(*id)));
            let wrong = wrong.count();
            assert!(wrong <= others.count() / 5000, "{wrong} of {ids}");
            assert!(prints.memory() <= 4 + ids as usize * 9 / 4 + 2);
        }
    }

    #[test]
    fn ids_that_are_not_evenly_spread_are_found_too() {
        let crowd = |number: u64| IdHash {
            high: if number < 500 {
                number
            } else {
                u64::MAX - number
            },
            low: number << 40,
        };
        let prints = prints((0..1000).map(crowd));
        assert!((0..1000).all(|number| prints.contains(crowd(number))));
    }
}
