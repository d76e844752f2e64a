//! A blocked Bloom filter: a few bits per id, all of them in one 32-byte block, so that an answer touches one cache line.
//!
//! "No" is certain; at [`BITS_PER_ID`] "maybe" is wrong about once in seven hundred times when the filter is full, and a wrong
//! one costs a look into many pages, which is why it is not the usual one in a hundred. The bits come straight from the id's 128-bit hash: its high half chooses the block, its low half one bit in each of eight words.
//! Ids in the order of their high halves therefore fill a filter from front to back.
//!
//! Own code because there is little of it: `fastbloom`, which is well kept, spreads an id's bits over the whole filter, and
//! reading a filter of 4 M ids took it a quarter longer, one of 16 k ids half as long again.

use super::IdHash;

/// Size of a filter for each id it is made for.
const BITS_PER_ID: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Block([u32; 8]);

const BLOCK_BITS: usize = size_of::<Block>() * 8;

#[derive(Debug)]
pub(super) struct Filter {
    blocks: Box<[Block]>,
}

impl Filter {
    /// An empty filter that is good for this many ids.
    pub(super) fn new(ids: usize) -> Self {
        let blocks = (ids.max(1) * BITS_PER_ID).div_ceil(BLOCK_BITS);
        Self {
            blocks: vec![Block::default(); blocks].into_boxed_slice(),
        }
    }

    pub(super) fn insert(&mut self, id: IdHash) {
        let at = self.block(id);
        for (word, bit) in self.blocks[at].0.iter_mut().zip(bits(id)) {
            *word |= bit;
        }
    }

    /// Whether the id may have been inserted.
    pub(super) fn contains(&self, id: IdHash) -> bool {
        let block = &self.blocks[self.block(id)].0;
        let mut missing = 0;
        for (word, bit) in block.iter().zip(bits(id)) {
            missing |= bit & !word;
        }
        missing == 0
    }

    /// Something of the block that the id is in, to have it at hand.
    pub(super) fn touch(&self, id: IdHash) -> u64 {
        u64::from(self.blocks[self.block(id)].0[0])
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    /// The share of the hash's range that the id is at, as a block.
    fn block(&self, id: IdHash) -> usize {
        super::scaled(id, self.blocks.len())
    }

    /// Makes it answer "maybe" to everything: a collision of every id.
    #[cfg(test)]
    pub(super) fn saturate(&mut self) {
        self.blocks.fill(Block([u32::MAX; 8]));
    }
}

fn bits(id: IdHash) -> [u32; 8] {
    std::array::from_fn(|word| 1 << ((id.low >> (5 * word)) & 31))
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::dedup::tests::spread;

    #[test]
    fn what_was_inserted_is_found_and_the_rest_mostly_not() {
        for ids in [1, 24, 5_000, 60_000] {
            let mut filter = Filter::new(ids);
            for number in 0..ids as u64 {
                filter.insert(spread(number));
            }
            assert!((0..ids as u64).all(|number| filter.contains(spread(number))));
            let others = 1_000_000..1_200_000;
            let wrong = others
                .clone()
                .filter(|number| filter.contains(spread(*number)));
            let wrong = wrong.count();
            assert!(wrong <= others.count() / 500, "{wrong} of {ids}");
        }
    }
}
