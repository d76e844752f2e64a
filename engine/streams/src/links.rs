//! Where the next message of each one's subject is, for the messages of a chunk.
//!
//! Apart from the chunk, because a message that comes changes the link of an old one and nothing else of it (decision 017): where
//! subjects come at random, every chunk gets such links between two checkpoints, and only these are stored anew.
//!
//! Layout of stored links, version 3; numbers are LEB128: `u8` version, count of places, then for the places in order their
//! links, each twice its number, and one more when others follow that are the same, then their count. Versions 1 and 2 are
//! chunks with the links in them.

use crate::chunk::{SPAN, WITH_LINKS, decode_behind_version};
use crate::codec::{CheckpointError, Reader, put_number};
use crate::pages::Page;

/// Layout version of stored links.
const VERSION: u8 = 3;
/// From so many links on they are kept by place: to put one into a longer list would cost more than the memory is worth.
const DENSE_FROM: usize = if cfg!(test) { 4 } else { 16 };

/// Links are distances to the next message of the subject: 0 when it is the last, [`crate::chunk::FAR`] when far.
#[derive(Clone, Debug)]
pub(crate) enum Links {
    /// By place, up to the last that may have one.
    Dense {
        /// The links.
        list: Vec<u32>,
        /// How many of them are not 0.
        count: usize,
    },
    /// Places with a link, in order.
    Sparse(Vec<(u16, u32)>),
}

impl Default for Links {
    fn default() -> Self {
        Self::Sparse(Vec::new())
    }
}

impl Links {
    /// The link of a place.
    pub(crate) fn get(&self, place: u16) -> u32 {
        match self {
            Self::Dense { list, .. } => list.get(usize::from(place)).copied().unwrap_or(0),
            Self::Sparse(list) => match list.binary_search_by_key(&place, |(at, _)| *at) {
                Ok(at) => list[at].1,
                Err(_) => 0,
            },
        }
    }

    /// Whether no place has one.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Dense { count, .. } => *count == 0,
            Self::Sparse(list) => list.is_empty(),
        }
    }

    /// Gives a place a link.
    pub(crate) fn set(&mut self, place: u16, link: u32) {
        match self {
            Self::Dense { list, count } => {
                let at = usize::from(place);
                if at >= list.len() {
                    list.resize(at + 1, 0);
                }
                let before = std::mem::replace(&mut list[at], link);
                *count = *count + usize::from(link != 0) - usize::from(before != 0);
                // Half of what made it dense, so that it does not change to and fro.
                if *count < DENSE_FROM / 2 {
                    *self = Self::Sparse(linked(list));
                }
            }
            Self::Sparse(list) => match (list.binary_search_by_key(&place, |(at, _)| *at), link) {
                (Ok(at), 0) => {
                    list.remove(at);
                }
                (Ok(at), _) => list[at].1 = link,
                (Err(_), 0) => {}
                (Err(at), _) => {
                    list.insert(at, (place, link));
                    if list.len() >= DENSE_FROM {
                        *self = Self::dense(list);
                    }
                }
            },
        }
    }

    fn dense(sparse: &[(u16, u32)]) -> Self {
        let mut list = Vec::with_capacity(SPAN as usize);
        for (place, link) in sparse {
            list.resize(usize::from(*place), 0);
            list.push(*link);
        }
        Self::Dense {
            list,
            count: sparse.len(),
        }
    }

    /// Of places in order.
    pub(crate) fn of(linked: Vec<(u16, u32)>) -> Self {
        match linked.len() < DENSE_FROM {
            true => Self::Sparse(linked),
            false => Self::dense(&linked),
        }
    }
}

fn linked(dense: &[u32]) -> Vec<(u16, u32)> {
    let all = (0..).zip(dense.iter().copied());
    all.filter(|(_, link)| *link != 0).collect()
}

/// Puts links together that are the same and follow each other.
struct Runs<'a> {
    out: &'a mut Vec<u8>,
    link: u32,
    count: u64,
}

impl Runs<'_> {
    fn put(&mut self, link: u32, count: u64) {
        if link == self.link || count == 0 {
            self.count += count;
            return;
        }
        self.end();
        (self.link, self.count) = (link, count);
    }

    fn end(&mut self) {
        let twice = u64::from(self.link) * 2;
        match self.count {
            0 => {}
            1 => put_number(self.out, twice),
            more => {
                put_number(self.out, twice + 1);
                put_number(self.out, more - 1);
            }
        }
    }
}

impl Page for Links {
    const WEIGHT: usize = 4 * SPAN as usize;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let places = match self {
            Self::Dense { list, .. } => {
                list.len() - list.iter().rev().take_while(|link| **link == 0).count()
            }
            Self::Sparse(list) => list.last().map_or(0, |(place, _)| usize::from(*place) + 1),
        };
        put_number(out, places as u64);
        let mut runs = Runs {
            out,
            link: 0,
            count: 0,
        };
        match self {
            Self::Dense { list, .. } => list[..places].iter().for_each(|link| runs.put(*link, 1)),
            Self::Sparse(list) => {
                let mut after = 0;
                for (place, link) in list {
                    runs.put(0, u64::from(*place) - after);
                    runs.put(*link, 1);
                    after = u64::from(*place) + 1;
                }
            }
        }
        runs.end();
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, CheckpointError> {
        let version = from.byte()?;
        if version <= WITH_LINKS {
            return Ok(Self::of(decode_behind_version(version, from)?.1));
        }
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let places = from.number()?;
        if places > SPAN {
            return Err(from.damaged());
        }
        let mut list = Vec::new();
        let mut at = 0;
        while at < places {
            let twice = from.number()?;
            let link = u32::try_from(twice / 2).map_err(|_| from.damaged())?;
            let count = match twice % 2 {
                0 => 1,
                _ => from
                    .number()?
                    .checked_add(1)
                    .ok_or_else(|| from.damaged())?,
            };
            if count > places - at {
                return Err(from.damaged());
            }
            if link != 0 {
                let places = u16::try_from(at + count).expect("invariant: the span fits 16 bits");
                list.extend((places - count as u16..places).map(|place| (place, link)));
            }
            at += count;
        }
        Ok(Self::of(list))
    }
    /// Distances of three bytes and more have no pattern mostly.
    fn may_shrink(&self, encoded: usize) -> bool {
        let count = match self {
            Self::Dense { count, .. } => *count,
            Self::Sparse(list) => list.len(),
        };
        encoded <= 2 * count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Links;
    use crate::chunk::{FAR, SPAN};
    use crate::codec::Reader;
    use crate::pages::{Page, encoded};

    fn all(links: &Links) -> Vec<u32> {
        (0..SPAN as u16).map(|place| links.get(place)).collect()
    }

    fn decoded(bytes: &[u8]) -> Links {
        let mut from = Reader::new(bytes);
        let links = Links::decode(&mut from).expect("links");
        from.end().expect("nothing behind them");
        links
    }

    #[test]
    fn bytes_are_as_documented() {
        let mut links = Links::default();
        assert_eq!(encoded(&links), [3, 0]);
        for (place, link) in [(2, 100), (3, 5), (4, 5), (5, 5), (7, FAR)] {
            links.set(place, link);
        }
        let golden = [
            &[3, 8][..],
            // Two without a link, one, three that are the same.
            &[1, 1],
            &[0xc8, 1],
            &[11, 2],
            &[0],
            &[0xfe, 0xff, 0xff, 0xff, 0x1f],
        ];
        let golden = golden.concat();
        assert_eq!(encoded(&links), golden);
        assert_eq!(all(&decoded(&golden)), all(&links));
        // What is behind the last of them is not stored.
        links.set(7, 0);
        assert_eq!(encoded(&links), [3, 6, 1, 1, 0xc8, 1, 11, 2]);
    }

    proptest! {
        /// Many of them or few.
        #[test]
        fn links_are_a_list(changes in prop::collection::vec((0..SPAN as u16, prop_oneof![Just(0), 1..3u32, any::<u32>()]), 0..80)) {
            let mut model = vec![0; SPAN as usize];
            let mut links = Links::default();
            for (place, link) in changes {
                links.set(place, link);
                model[usize::from(place)] = link;
                prop_assert_eq!(&all(&links), &model);
            }
            let bytes = encoded(&links);
            let again = decoded(&bytes);
            prop_assert_eq!(all(&again), model);
            prop_assert_eq!(encoded(&again), bytes);
        }

        #[test]
        fn damage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _result = Links::decode(&mut Reader::new(&bytes));
            for version in 1..=3 {
                let of_version: Vec<u8> = [version].into_iter().chain(bytes.iter().copied()).collect();
                let _result = Links::decode(&mut Reader::new(&of_version));
            }
        }
    }
}
