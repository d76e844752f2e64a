//! Remembered ids against a list of them: through windows, checkpoints, pages that leave memory and a journal that fails.

mod measure;
mod streams;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_journal::{Position, ReadError};
use millstream_types::Timestamp;
use proptest::prelude::*;

use super::{Asked, Dedup, IdHash, Sizes};
use crate::codec::Reader;
use crate::pages::PageSource;

const SMALL: Sizes = Sizes {
    ring: 100,
    page: (8, 40),
    filter: (50, 150),
    takeover: 75,
    cache: 2000,
};
const MILLI: i64 = 1_000_000;

/// An evenly spread hash, different for every number.
pub(crate) fn spread(number: u64) -> IdHash {
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let step = 0x9e37_79b9_7f4a_7c15;
    IdHash {
        high: mix(number.wrapping_mul(step).wrapping_add(step)),
        low: mix(number.wrapping_mul(step) ^ 0x5851_f42d_4c95_7f2d),
    }
}

/// Pages in a map, with faults.
#[derive(Debug, Default)]
struct Pages {
    held: Mutex<HashMap<Position, Bytes>>,
    failing: Mutex<Fault>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    Missing,
    Swapped,
}

impl Pages {
    fn keep(&self, bytes: Bytes) -> Position {
        let mut held = self.held.lock().expect("no panic");
        let at = Position {
            file: 1,
            offset: held.len() as u64,
            len: bytes.len() as u32,
        };
        held.insert(at, bytes);
        at
    }

    fn fail(&self, fault: Fault) {
        *self.failing.lock().expect("no panic") = fault;
    }
}

impl PageSource for Pages {
    fn read(&self, at: Position) -> Result<Bytes, ReadError> {
        let held = self.held.lock().expect("no panic");
        let bytes = held.get(&at).ok_or(ReadError::Missing(at.file))?;
        match *self.failing.lock().expect("no panic") {
            Fault::None => Ok(bytes.clone()),
            Fault::Missing => Err(ReadError::Missing(at.file)),
            // Checksums do not see that it is another page's bytes, or half of them.
            Fault::Swapped => Ok(bytes.slice(..bytes.len() / 2)),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// One of few ids, so that it repeats.
    Known(u8),
    /// The same of several that filters are asked about before.
    Together(Vec<u8>),
    /// Ids nobody used.
    New(u16),
    Pass(u16),
    Window(u16),
    /// Stores the pages that are not.
    Store,
    /// Checkpoint and restart.
    Restart,
    /// Reads fail from now on.
    Fail(bool),
    /// They do not.
    Heal,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any::<u8>().prop_map(Op::Known),
        3 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Op::Together),
        8 => (1u16..60).prop_map(Op::New),
        3 => (0u16..40).prop_map(Op::Pass),
        1 => (200u16..900).prop_map(Op::Window),
        3 => Just(Op::Store),
        1 => Just(Op::Restart),
        1 => any::<bool>().prop_map(Op::Fail),
        2 => Just(Op::Heal),
    ]
}

struct World {
    dedup: Dedup,
    /// Id, sequence, time.
    model: Vec<(u64, u64, i64)>,
    pages: Arc<Pages>,
    window: i64,
    now: i64,
    seq: u64,
    next_new: u64,
}

impl World {
    fn new() -> Self {
        let pages = Arc::new(Pages::default());
        let mut dedup = Dedup::new(1, Timestamp(5));
        dedup.sizes = &SMALL;
        dedup.read_from(pages.clone());
        Self {
            dedup,
            model: Vec::new(),
            pages,
            window: 500,
            now: 1_700_000_000_000,
            seq: 0,
            next_new: 1000,
        }
    }

    /// What a stream does with an id. Answers what the checker has to say.
    fn publish(&mut self, id: u64) -> Result<(), String> {
        self.publish_asked(id, spread(id).into())
    }

    fn publish_together(&mut self, ids: impl Iterator<Item = u64>) -> Result<(), String> {
        let mut asked: Vec<(u64, Asked)> = ids.map(|id| (id, spread(id).into())).collect();
        self.dedup.ask(asked.iter_mut().map(|(_, asked)| asked));
        let mut asked = asked.into_iter();
        asked.try_for_each(|(id, asked)| self.publish_asked(id, asked))
    }

    fn publish_asked(&mut self, id: u64, asked: Asked) -> Result<(), String> {
        let now = Timestamp(self.now * MILLI);
        let window = Duration::from_millis(self.window as u64);
        self.dedup.expire(now, window);
        let (from, seqs) = (self.now - self.window, &mut self.model);
        seqs.retain(|(_, _, time)| *time >= from);
        let held = seqs.iter().find(|(known, ..)| *known == id);
        let expected = held.map(|(_, seq, _)| *seq);
        match self.dedup.find(asked) {
            Err(_) if *self.pages.failing.lock().expect("no panic") != Fault::None => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(found) if found != expected => Err(format!(
                "id {id} was {expected:?} and is answered with {found:?}"
            )),
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                self.seq += 3;
                self.dedup.insert(spread(id), self.seq, now);
                self.model.push((id, self.seq, self.now));
                Ok(())
            }
        }
    }

    fn new_ids(&mut self, count: u64) -> Result<(), String> {
        let first = self.next_new + 1;
        self.next_new += count;
        self.publish_together(first..=self.next_new)
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Known(id) => self.publish(u64::from(*id))?,
            Op::Together(ids) => self.publish_together(ids.iter().copied().map(u64::from))?,
            Op::New(count) => self.new_ids(u64::from(*count))?,
            Op::Pass(millis) => self.now += i64::from(*millis),
            Op::Window(millis) => self.window = i64::from(*millis),
            Op::Store => {
                let mut snapshot = self.dedup.snapshot(|_| false);
                let unstored: Vec<_> = snapshot.unstored().collect();
                for (number, bytes) in unstored {
                    let at = self.pages.keep(bytes);
                    snapshot.stored(number, at);
                    self.dedup.stored(number, at);
                }
                assert_eq!(snapshot.unstored().count(), 0);
                assert_eq!(encoded(&self.dedup), {
                    let mut bytes = Vec::new();
                    snapshot.encode(&mut bytes);
                    bytes
                });
            }
            Op::Restart => {
                let bytes = encoded(&self.dedup);
                let mut again = Dedup::new(1, Timestamp(5));
                again.sizes = &SMALL;
                let mut reader = Reader::new(&bytes);
                let decoded = again.decode(&mut reader, Some(self.pages.clone()));
                decoded.map_err(|error| error.to_string())?;
                reader.end().map_err(|error| error.to_string())?;
                assert_eq!(encoded(&again), bytes);
                self.dedup = again;
            }
            Op::Fail(missing) => self.pages.fail(match missing {
                true => Fault::Missing,
                false => Fault::Swapped,
            }),
            Op::Heal => self.pages.fail(Fault::None),
        }
        Ok(())
    }
}

fn encoded(dedup: &Dedup) -> Vec<u8> {
    let mut bytes = Vec::new();
    dedup.snapshot(|_| false).encode(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_a_list_of_ids_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            if let Err(what) = world.step(op) {
                prop_assert!(false, "{what}");
            }
            let cached = world.dedup.pages.iter().filter(|page| page.stored.is_some());
            let cached = cached.filter_map(|page| page.bytes.as_ref()).map(Bytes::len);
            prop_assert_eq!(cached.sum::<usize>(), world.dedup.cached);
            prop_assert!(world.dedup.cached <= SMALL.cache);
            prop_assert!(world.dedup.ring.len() < SMALL.ring);
        }
        world.pages.fail(Fault::None);
        for id in 0..256 {
            world.publish(id).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn damaged_checkpoints_are_errors_or_states_but_never_panics(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut world = World::new();
        world.new_ids(150).map_err(TestCaseError::fail)?;
        let mut bytes = encoded(&world.dedup);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(if cut { at + 1 } else { bytes.len() });
        let mut again = Dedup::new(1, Timestamp(5));
        if again.decode(&mut Reader::new(&bytes), None).is_ok() {
            for id in 900..1200 {
                let _answer = again.find(spread(id));
            }
        }
    }
}

/// A history with filters that know everybody: every id collides. Answers what the checker says.
fn with_colliding_filters(trust: bool) -> Result<(), String> {
    let mut world = World::new();
    for _ in 0..20 {
        world.new_ids(30)?;
        world.dedup.trust_filters = trust;
        for front in &mut world.dedup.fronts {
            front.filter.saturate();
        }
    }
    Ok(())
}

#[test]
fn a_filter_that_says_maybe_never_drops_a_message() {
    assert_eq!(with_colliding_filters(false), Ok(()));
}

#[test]
fn the_checker_notices_when_a_maybe_is_taken_for_a_duplicate() {
    let lost = with_colliding_filters(true).expect_err("a message was dropped");
    assert!(
        lost.ends_with("was None and is answered with Some(0)"),
        "{lost}"
    );
}

#[test]
fn an_id_is_a_duplicate_for_exactly_the_window_also_in_a_page_that_is_still_there() {
    let window = Duration::from_millis(100);
    let (first, second) = (spread(1), spread(2));
    let mut dedup = Dedup::new(1, Timestamp(0));
    dedup.insert(first, 1, Timestamp(10 * MILLI));
    dedup.insert(second, 2, Timestamp(10 * MILLI + 1));
    dedup.put_away(2);
    let mut found = |nanos: i64| {
        dedup.expire(Timestamp(nanos), window);
        let found = |id| dedup.find(id).expect("in memory");
        [first, second].map(found)
    };
    assert_eq!(found(110 * MILLI), [Some(1), Some(2)]);
    // Times are kept in milliseconds, rounded up.
    assert_eq!(found(110 * MILLI + 1), [None, Some(2)]);
    assert_eq!(found(111 * MILLI), [None, Some(2)]);
    assert_eq!(found(111 * MILLI + 1), [None, None]);
}

#[test]
fn an_id_may_come_back_after_its_window_while_its_old_page_is_there() {
    let mut dedup = Dedup::new(1, Timestamp(0));
    let window = Duration::from_secs(1);
    dedup.insert(spread(1), 1, Timestamp(0));
    dedup.insert(spread(2), 2, Timestamp(900 * MILLI));
    dedup.put_away(2);
    dedup.expire(Timestamp(1500 * MILLI), window);
    assert_eq!(dedup.find(spread(1)).expect("in memory"), None);
    dedup.insert(spread(1), 3, Timestamp(1500 * MILLI));
    dedup.put_away(1);
    assert_eq!(dedup.find(spread(1)).expect("in memory"), Some(3));
    dedup.expire(Timestamp(2000 * MILLI), window);
    assert_eq!(dedup.pages.len(), 1);
    assert_eq!(dedup.find(spread(1)).expect("in memory"), Some(3));
}

#[test]
fn far_sequences_and_times_begin_a_new_page() {
    let mut dedup = Dedup::new(1, Timestamp(0));
    let far = 50 * 86_400_000 * MILLI;
    dedup.insert(spread(1), 1, Timestamp(0));
    dedup.insert(spread(2), 1 << 33, Timestamp(1));
    dedup.insert(spread(3), 1 << 34, Timestamp(far));
    // A clock that went back does not make an id older than the ones before.
    dedup.insert(spread(4), (1 << 34) + 1, Timestamp(5));
    assert_eq!(dedup.pages.len(), 2);
    let found = [1, 2, 3, 4].map(|id| dedup.find(spread(id)).expect("in memory"));
    assert_eq!(
        found,
        [Some(1), Some(1 << 33), Some(1 << 34), Some((1 << 34) + 1)]
    );
    dedup.expire(Timestamp(far), Duration::ZERO);
    assert_eq!(
        dedup.find(spread(4)).expect("in memory"),
        Some((1 << 34) + 1)
    );
    assert_eq!(dedup.len(), 2);
}

/// At every moment of growth, of a window that slides and of one that gets busier; nothing is stored.
#[test]
fn memory_is_at_most_30_bytes_for_each_live_id() {
    const FIXED: usize = 8 * 1024;
    let mut dedup = Dedup::new(1, Timestamp(0));
    let window = Duration::from_secs(1);
    let (mut id, mut nanos) = (0, 0);
    let mut live = std::collections::VecDeque::new();
    let mut worst = 0.0f64;
    for (ids, per_milli) in [(60_000, 30), (300_000, 120), (200_000, 200)] {
        for at in 0..ids {
            nanos += i64::from(at % per_milli == 0) * MILLI;
            dedup.expire(Timestamp(nanos), window);
            assert_eq!(dedup.find(spread(id)).expect("in memory"), None);
            dedup.insert(spread(id), id, Timestamp(nanos));
            live.push_back(nanos);
            id += 1;
            if at % 37 == 0 {
                while live.front().is_some_and(|time| nanos - time > 1000 * MILLI) {
                    live.pop_front();
                }
                let memory = dedup.memory();
                assert!(
                    memory <= FIXED + 30 * live.len(),
                    "{memory} for {}",
                    live.len()
                );
                worst = worst.max(memory.saturating_sub(FIXED) as f64 / live.len() as f64);
            }
        }
    }
    assert!(worst > 24.0, "{worst}");
}

/// Stored pages cost their filters alone.
#[test]
fn pages_in_the_journal_leave_memory() {
    let pages = Arc::new(Pages::default());
    let mut dedup = Dedup::new(1, Timestamp(0));
    dedup.read_from(pages.clone());
    for id in 0..300_000 {
        assert_eq!(dedup.find(spread(id)).expect("reads"), None);
        dedup.insert(spread(id), id, Timestamp(0));
        if id % 50_000 == 0 {
            let unstored: Vec<_> = dedup.snapshot(|_| false).unstored().collect();
            for (number, bytes) in unstored {
                dedup.stored(number, pages.keep(bytes));
            }
        }
    }
    assert!(dedup.memory() < 5 * 1024 * 1024, "{}", dedup.memory());
    let found = (0..300_000)
        .step_by(10_000)
        .map(|id| dedup.find(spread(id)).expect("reads"));
    assert!(
        found
            .enumerate()
            .all(|(at, seq)| seq == Some(at as u64 * 10_000))
    );
    assert!(dedup.cached <= dedup.sizes.cache);
}
