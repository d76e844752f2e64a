//! Message ids seen lately, so that a publish repeated within the window is answered and not stored again.
//!
//! Exact: 96 bits of a keyed hash of the id stand for it. 24 bytes per id in the order of their time and about 7 in the
//! table. Part of the replicated state, so the hash is fixed: SipHash-1-3 keyed with the stream's number and creation time.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::time::Duration;

use hashbrown::HashTable;
use millstream_types::Timestamp;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::codec::{CheckpointError, Reader, put_fixed, put_number};

/// The id as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdHash {
    high: u64,
    low: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    high: u64,
    seq: u64,
    low: u32,
    /// Milliseconds after the epoch of the ring, rounded down; an id is remembered up to one millisecond longer.
    millis: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Dedup {
    key: (u64, u64),
    /// Number of the first slot in the ring since the beginning, wrapping.
    head: u32,
    /// The time that `millis` count from; moved when the ring is empty.
    epoch: i64,
    ring: VecDeque<Slot>,
    table: HashTable<u32>,
}

const MILLI: i64 = 1_000_000;

impl Dedup {
    pub(crate) fn new(stream: u32, created: Timestamp) -> Self {
        Self {
            key: (u64::from(stream), created.0.cast_unsigned()),
            ..Self::default()
        }
    }

    pub(crate) fn hash(&self, id: &[u8]) -> IdHash {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write(id);
        let hash = hasher.finish128();
        IdHash {
            high: hash.h1,
            low: (hash.h2 >> 32) as u32,
        }
    }

    /// Forgets ids older than the window.
    pub(crate) fn expire(&mut self, now: Timestamp, window: Duration) {
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        let oldest = now.0.saturating_sub(window);
        while let Some(slot) = self.ring.front() {
            if self.epoch.saturating_add(i64::from(slot.millis) * MILLI) >= oldest {
                break;
            }
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let slot = self
            .ring
            .pop_front()
            .expect("invariant: the caller saw a front");
        let head = self.head;
        if let Ok(found) = self.table.find_entry(slot.high, |number| *number == head) {
            found.remove();
        }
        self.head = head.wrapping_add(1);
    }

    /// The sequence an id was stored with.
    pub(crate) fn find(&self, id: IdHash) -> Option<u64> {
        let (ring, head) = (&self.ring, self.head);
        let slot = |number: u32| &ring[number.wrapping_sub(head) as usize];
        let same = |number: &u32| slot(*number).high == id.high && slot(*number).low == id.low;
        self.table
            .find(id.high, same)
            .map(|number| slot(*number).seq)
    }

    /// Remembers an id that is not there.
    pub(crate) fn insert(&mut self, id: IdHash, seq: u64, now: Timestamp) {
        let millis = |epoch: i64| u32::try_from(now.0.saturating_sub(epoch).max(0) / MILLI);
        if self.ring.is_empty() {
            self.epoch = now.0;
        } else if millis(self.epoch).is_err() {
            self.rebase();
        }
        let millis = millis(self.epoch).unwrap_or(u32::MAX);
        let number = self
            .head
            .wrapping_add(u32::try_from(self.ring.len()).expect("invariant: fewer than 2^32 ids"));
        self.ring.push_back(Slot {
            high: id.high,
            seq,
            low: id.low,
            millis,
        });
        let (ring, head) = (&self.ring, self.head);
        self.table.insert_unique(id.high, number, |number| {
            ring[number.wrapping_sub(head) as usize].high
        });
    }

    /// Counts from the oldest id kept. Windows longer than 49 days lose precision, never ids.
    fn rebase(&mut self) {
        let Some(first) = self.ring.front().map(|slot| slot.millis) else {
            return;
        };
        self.epoch = self.epoch.saturating_add(i64::from(first) * MILLI);
        for slot in &mut self.ring {
            slot.millis -= first;
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_fixed(out, self.epoch.cast_unsigned());
        put_number(out, self.ring.len() as u64);
        for slot in &self.ring {
            put_fixed(out, slot.high);
            out.extend_from_slice(&slot.low.to_le_bytes());
            put_number(out, u64::from(slot.millis));
            put_number(out, slot.seq);
        }
    }

    pub(crate) fn decode(&mut self, from: &mut Reader<'_>) -> Result<(), CheckpointError> {
        self.epoch = from.fixed()?.cast_signed();
        for number in 0..from.count()? {
            let high = from.fixed()?;
            let mut low = [0; 4];
            for byte in &mut low {
                *byte = from.byte()?;
            }
            let slot = Slot {
                high,
                low: u32::from_le_bytes(low),
                millis: from.small()?,
                seq: from.number()?,
            };
            self.ring.push_back(slot);
            let ring = &self.ring;
            let number = u32::try_from(number).map_err(|_| from.damaged())?;
            self.table
                .insert_unique(high, number, |number| ring[*number as usize].high);
        }
        Ok(())
    }
}
