//! Ids that were put away together: sorted, immutable, and the same in memory as in the journal.
//!
//! Layout, version 1, little endian: `u8` version, 3 bytes of zero, `u32` count, `u64` sequence and `i64` time (milliseconds
//! since 1970) that the slots count from; then per id, in the order of the hashes: hash (`u64` high, `u64` low), `u32`
//! sequence, `u32` time.

use bytes::Bytes;

use super::IdHash;

const VERSION: u8 = 1;
const HEAD: usize = 24;
/// Bytes of an id.
pub(super) const SLOT: usize = 24;

/// An id as it is kept: sequence and time count from a [`Base`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) high: u64,
    pub(super) low: u64,
    pub(super) seq: u32,
    /// Milliseconds.
    pub(super) time: u32,
}

impl Slot {
    pub(super) fn id(self) -> IdHash {
        IdHash {
            high: self.high,
            low: self.low,
        }
    }

    pub(super) fn bytes(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..8].copy_from_slice(&self.high.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.seq.to_le_bytes());
        bytes[20..].copy_from_slice(&self.time.to_le_bytes());
        bytes
    }

    /// `bytes` has at least [`SLOT`].
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self {
            high: number(bytes),
            low: number(&bytes[8..]),
            seq: number(&bytes[16..]) as u32,
            time: (number(&bytes[16..]) >> 32) as u32,
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(
        bytes[..8]
            .try_into()
            .expect("invariant: eight bytes were taken"),
    )
}

/// What the slots of a page or of the ring count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) seq: u64,
    /// Milliseconds since 1970.
    pub(super) time: i64,
}

impl Base {
    pub(super) fn seq_of(self, slot: Slot) -> u64 {
        self.seq.saturating_add(u64::from(slot.seq))
    }

    pub(super) fn time_of(self, slot: Slot) -> i64 {
        self.time.saturating_add(i64::from(slot.time))
    }
}

/// The bytes of a page with these slots, which are sorted on the way.
pub(super) fn build(base: Base, mut slots: Vec<Slot>) -> Bytes {
    slots.sort_unstable();
    let mut bytes = Vec::with_capacity(HEAD + slots.len() * SLOT);
    bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
    let count = u32::try_from(slots.len()).expect("invariant: a page has fewer than 2^16 ids");
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&base.seq.to_le_bytes());
    bytes.extend_from_slice(&base.time.to_le_bytes());
    for slot in slots {
        bytes.extend_from_slice(&slot.bytes());
    }
    Bytes::from(bytes)
}

/// A page's bytes, to search in.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    base: Base,
    slots: &'a [u8],
}

impl<'a> View<'a> {
    /// `None` when these are not the bytes of a page with this many ids.
    pub(super) fn open(bytes: &'a [u8], count: u32) -> Option<Self> {
        let (head, slots) = bytes.split_at_checked(HEAD)?;
        let right = head[0] == VERSION
            && (number(head) >> 32) as u32 == count
            && slots.len() == count as usize * SLOT;
        right.then(|| Self {
            base: Base {
                seq: number(&head[8..]),
                time: number(&head[16..]).cast_signed(),
            },
            slots,
        })
    }

    pub(super) fn slots(self) -> impl Iterator<Item = Slot> + use<'a> {
        self.slots.chunks_exact(SLOT).map(Slot::read)
    }

    pub(super) fn is_sorted(self) -> bool {
        self.slots().is_sorted()
    }

    /// The sequence of an id that is no older than `cutoff` (milliseconds since 1970).
    pub(super) fn find(self, id: IdHash, cutoff: i64) -> Option<u64> {
        let mut at = self.lower_bound(id);
        // The same id may be there twice, when the window ended between the two.
        while at < self.len() {
            let slot = self.get(at);
            if slot.id() != id {
                return None;
            }
            if self.base.time_of(slot) >= cutoff {
                return Some(self.base.seq_of(slot));
            }
            at += 1;
        }
        None
    }

    /// The first slot that is not before `id`: hashes are evenly spread, so a guess is nearly right and the rest is a
    /// search with growing steps around it.
    fn lower_bound(self, id: IdHash) -> usize {
        let before = |at: usize| self.get(at).id() < id;
        let guess = super::scaled(id, self.len());
        let (mut low, mut high) = (0, self.len());
        let mut step = 32;
        if guess < self.len() && before(guess) {
            low = guess + 1;
            while low + step < high {
                if !before(low + step) {
                    high = low + step;
                    break;
                }
                low += step + 1;
                step *= 2;
            }
        } else {
            high = guess.min(self.len());
            while low + step < high {
                if before(high - step) {
                    low = high - step + 1;
                    break;
                }
                high -= step;
                step *= 2;
            }
        }
        while low < high {
            let middle = low.midpoint(high);
            if before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(super) fn len(self) -> usize {
        self.slots.len() / SLOT
    }

    fn get(self, at: usize) -> Slot {
        Slot::read(&self.slots[at * SLOT..])
    }
}

#[cfg(test)]
mod tests {
    use super::{Base, Slot, View, build};
    use crate::dedup::IdHash;
    use crate::dedup::tests::spread;
    use proptest::prelude::*;

    fn slot(id: IdHash, seq: u32, time: u32) -> Slot {
        Slot {
            high: id.high,
            low: id.low,
            seq,
            time,
        }
    }

    #[test]
    fn bytes_are_as_documented() {
        let base = Base { seq: 7, time: -1 };
        let slots = vec![
            slot(IdHash { high: 2, low: 3 }, 4, 5),
            slot(IdHash { high: 1, low: 9 }, 6, 7),
        ];
        let bytes = build(base, slots);
        let mut golden = vec![1, 0, 0, 0, 2, 0, 0, 0];
        golden.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0xff; 8]);
        golden.extend([
            1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0,
        ]);
        golden.extend([
            2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0,
        ]);
        assert_eq!(bytes, golden);
        assert!(View::open(&bytes, 2).is_some());
        assert!(View::open(&bytes, 1).is_none());
        assert!(View::open(&bytes[..71], 2).is_none());
        assert!(View::open(&bytes[..3], 2).is_none());
        golden[0] = 2;
        assert!(View::open(&golden, 2).is_none());
    }

    proptest! {
        #[test]
        fn finds_what_is_there_and_nothing_else(
            ids in prop::collection::btree_set(prop_oneof![
                3 => (0u64..5000).prop_map(spread),
                // Neighbours far from where a guess expects them.
                1 => (0u64..60, 0u64..3).prop_map(|(high, low)| IdHash { high, low }),
                1 => (0u64..60).prop_map(|high| IdHash { high: u64::MAX - high, low: 1 }),
            ], 1..400),
            others in prop::collection::vec((0u64..10_000).prop_map(spread), 50),
            cutoff in 0i64..110,
        ) {
            let ids: Vec<IdHash> = ids.into_iter().collect();
            let slots = ids.iter().zip(0u32..).map(|(id, at)| slot(*id, at, at % 100));
            let base = Base { seq: 1000, time: 5 };
            let bytes = build(base, slots.collect());
            let view = View::open(&bytes, ids.len() as u32).expect("a page");
            prop_assert!(view.is_sorted());
            for (at, id) in ids.iter().enumerate() {
                let live = 5 + (at as i64 % 100) >= cutoff;
                prop_assert_eq!(view.find(*id, cutoff), live.then_some(1000 + at as u64));
            }
            for id in others.iter().filter(|id| !ids.contains(id)) {
                prop_assert_eq!(view.find(*id, 0), None);
            }
        }
    }
}
