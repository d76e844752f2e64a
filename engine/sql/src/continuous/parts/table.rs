//! Partitions by key: when they end, and when they are forgotten.
//!
//! State, when partitions are forgotten: `1` and the partition's key: version, when it was last touched.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::HashMap;
use millstream_pipeline::BrokenState;

use super::cold::Pair;
use crate::continuous::operator::Step;

const VERSION: u8 = 1;

/// The first byte of the keys of rows.
pub(crate) const ROW: u8 = 0;

/// The first byte of the keys of partitions.
const TOUCHED: u8 = 1;

/// The queues of partitions that have left memory.
pub(super) const ENDS: u8 = 0;
pub(super) const FORGOTTEN: u8 = 1;

/// What maps and lists need beside the key itself.
const OVERHEAD: u64 = 160;

/// Partitions, which have numbers.
#[derive(Debug)]
pub(crate) struct Table<P> {
    numbers: HashMap<Arc<[u8]>, usize>,
    slots: Vec<Slot<P>>,
    /// Numbers of partitions that went.
    free: Vec<usize>,
    /// By key and not by number, which may be another one after a restart: what is told is in the same order.
    ends: BTreeSet<(i64, Arc<[u8]>)>,
    touched: BTreeSet<(i64, Arc<[u8]>)>,
    ttl: Option<i64>,
    /// Partitions of this step.
    active: Vec<usize>,
    bytes: u64,
    /// The partition that was last asked to leave.
    hand: usize,
}

#[derive(Debug)]
struct Slot<P> {
    key: Arc<[u8]>,
    end: Option<i64>,
    /// The bucket of time when it was last touched.
    touched: Option<i64>,
    /// Whether the log does not know when it was touched.
    untold: bool,
    /// Whether the log has an entry of it.
    logged: bool,
    active: bool,
    /// Whether a row looked for it since the hand came by.
    recent: bool,
    part: P,
}

impl<P: Default> Table<P> {
    pub(crate) fn new(ttl: Option<i64>) -> Self {
        Self {
            numbers: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ends: BTreeSet::new(),
            touched: BTreeSet::new(),
            ttl,
            active: Vec::new(),
            bytes: 0,
            hand: 0,
        }
    }

    /// The partition of a row of this step, which is made when it is new.
    pub(crate) fn find(&mut self, key: &[u8], now: i64) -> usize {
        let slot = self.slot(key);
        self.slots[slot].recent = true;
        if !self.slots[slot].active {
            self.slots[slot].active = true;
            self.active.push(slot);
        }
        if let Some(width) = self.width() {
            self.touch(slot, now - now.rem_euclid(width), true);
        }
        slot
    }

    /// The number of a partition, which is made when it is new.
    pub(crate) fn slot(&mut self, key: &[u8]) -> usize {
        if let Some(slot) = self.numbers.get(key) {
            return *slot;
        }
        let key: Arc<[u8]> = key.into();
        let made = Slot {
            key: Arc::clone(&key),
            end: None,
            touched: None,
            untold: false,
            logged: false,
            active: false,
            recent: false,
            part: P::default(),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = made;
                slot
            }
            None => {
                self.slots.push(made);
                self.slots.len() - 1
            }
        };
        self.bytes += key.len() as u64 + OVERHEAD;
        self.numbers.insert(key, slot);
        slot
    }

    /// The number of a partition that is there.
    pub(crate) fn get(&self, key: &[u8]) -> Option<usize> {
        self.numbers.get(key).copied()
    }

    fn touch(&mut self, slot: usize, bucket: i64, untold: bool) {
        let slot = &mut self.slots[slot];
        if slot.touched == Some(bucket) {
            return;
        }
        if let Some(before) = slot.touched.replace(bucket) {
            self.touched.remove(&(before, Arc::clone(&slot.key)));
        }
        slot.untold = untold;
        slot.logged |= !untold;
        self.touched.insert((bucket, Arc::clone(&slot.key)));
    }

    /// How exactly the time of a touch is kept.
    fn width(&self) -> Option<i64> {
        self.ttl.map(|ttl| (ttl / 16).max(1))
    }

    /// How long after its bucket a partition is forgotten.
    fn life(&self) -> Option<i64> {
        Some(self.ttl?.saturating_add(self.width()?))
    }

    /// Whether there is a partition of this number.
    pub(crate) fn has(&self, slot: usize) -> bool {
        self.get(self.key(slot)) == Some(slot)
    }

    pub(crate) fn key(&self, slot: usize) -> &Arc<[u8]> {
        &self.slots[slot].key
    }

    pub(crate) fn part(&self, slot: usize) -> &P {
        &self.slots[slot].part
    }

    pub(crate) fn part_mut(&mut self, slot: usize) -> &mut P {
        &mut self.slots[slot].part
    }

    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut P> {
        self.slots.iter_mut().map(|slot| &mut slot.part)
    }

    /// When a partition ends.
    pub(crate) fn set_end(&mut self, slot: usize, end: Option<i64>) {
        let slot = &mut self.slots[slot];
        if slot.end == end {
            return;
        }
        if let Some(before) = std::mem::replace(&mut slot.end, end) {
            self.ends.remove(&(before, Arc::clone(&slot.key)));
        }
        if let Some(end) = end {
            self.ends.insert((end, Arc::clone(&slot.key)));
        }
    }

    pub(crate) fn has_end(&self, slot: usize) -> bool {
        self.slots[slot].end.is_some()
    }

    /// Partitions that end below `floor`, earliest first; they have no end any more.
    pub(crate) fn ended(&mut self, floor: i64) -> Vec<usize> {
        let mut ended = Vec::new();
        while let Some((end, _)) = self.ends.first()
            && *end < floor
        {
            if let Some((_, key)) = self.ends.pop_first() {
                let slot = self.numbers[&key];
                self.slots[slot].end = None;
                ended.push(slot);
            }
        }
        ended
    }

    /// Partitions that nothing touched for so long that they are to be forgotten.
    pub(crate) fn expired(&self, now: i64) -> Vec<usize> {
        let Some(life) = self.life() else {
            return Vec::new();
        };
        let old = self.touched.iter();
        old.take_while(|(bucket, _)| bucket.saturating_add(life) <= now)
            .map(|(_, key)| self.numbers[key])
            .collect()
    }

    pub(crate) fn next_wake(&self) -> Option<i64> {
        let (bucket, _) = self.touched.first()?;
        Some(bucket.saturating_add(self.life()?))
    }

    /// Takes the partitions of this step, in the order in which they came.
    pub(crate) fn take_active(&mut self) -> Vec<usize> {
        let active = std::mem::take(&mut self.active);
        for slot in &active {
            self.slots[*slot].active = false;
        }
        active
    }

    /// Tells the log when a partition was touched.
    pub(crate) fn tell(&mut self, slot: usize, step: &mut Step<'_>) {
        let slot = &mut self.slots[slot];
        if let Some(touched) = slot.touched
            && std::mem::take(&mut slot.untold)
        {
            step.put(&touched_key(&slot.key), Some(touched_value(touched)));
            slot.logged = true;
        }
    }

    /// Forgets a partition.
    pub(crate) fn remove(&mut self, slot: usize, step: &mut Step<'_>) -> P {
        let (part, touched) = self.leave(slot);
        if let Some((key, _)) = touched {
            step.put(&key, None);
        }
        part
    }

    /// Takes a partition out of memory; answers also the entry that the log has of it.
    pub(crate) fn leave(&mut self, slot: usize) -> (P, Option<Pair>) {
        self.set_end(slot, None);
        let freed = &mut self.slots[slot];
        let part = std::mem::take(&mut freed.part);
        let key = std::mem::replace(&mut freed.key, Arc::from([]));
        let mut touched = None;
        if let Some(bucket) = freed.touched.take() {
            if std::mem::take(&mut freed.logged) {
                touched = Some((touched_key(&key), touched_value(bucket)));
            }
            self.touched.remove(&(bucket, Arc::clone(&key)));
        }
        self.bytes -= key.len() as u64 + OVERHEAD;
        self.numbers.remove(&key);
        self.free.push(slot);
        (part, touched)
    }

    /// The next partition, round and round, that no row looked for since it was last asked; `None`: not this one.
    pub(crate) fn next_cold(&mut self) -> Option<usize> {
        self.hand = (self.hand + 1) % self.slots.len().max(1);
        let slot = self.slots.get_mut(self.hand)?;
        let recent = std::mem::take(&mut slot.recent);
        (!recent && self.has(self.hand)).then_some(self.hand)
    }

    /// How many numbers there are.
    pub(crate) fn room(&self) -> usize {
        self.slots.len()
    }

    /// When a partition is to come back by itself: when it ends, and when it is forgotten.
    pub(crate) fn dues(&self, slot: usize) -> Vec<(u8, i64)> {
        let slot = &self.slots[slot];
        let forgotten = slot.touched.zip(self.life());
        let forgotten = forgotten.map(|(bucket, life)| bucket.saturating_add(life));
        let end = slot.end.map(|end| (ENDS, end));
        let dues = end.into_iter();
        dues.chain(forgotten.map(|due| (FORGOTTEN, due))).collect()
    }

    /// Puts back when a partition was touched; `false`: the entry is none of these.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<bool, BrokenState> {
        let Some((&TOUCHED, partition)) = key.split_first() else {
            return Ok(false);
        };
        let mut value = value;
        let bucket = i64::from_be_bytes(versioned(&mut value)?);
        let slot = self.slot(partition);
        if self.ttl.is_some() {
            self.touch(slot, bucket, false);
        }
        Ok(true)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

fn touched_key(partition: &[u8]) -> Vec<u8> {
    let mut key = vec![TOUCHED];
    key.extend_from_slice(partition);
    key
}

fn touched_value(bucket: i64) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend_from_slice(&bucket.to_be_bytes());
    value
}

/// Takes the version and a number behind it.
fn versioned(from: &mut &[u8]) -> Result<[u8; 8], BrokenState> {
    match number::<1>(from)? {
        [VERSION] => number(from),
        [other] => Err(BrokenState(format!("entry of version {other}"))),
    }
}

/// Takes `N` bytes from the front.
pub(crate) fn number<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], BrokenState> {
    let (first, rest) = from.split_first_chunk::<N>().ok_or_else(short)?;
    *from = rest;
    Ok(*first)
}

/// Takes bytes with their length before them.
pub(crate) fn blob<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], BrokenState> {
    let length = u32::from_be_bytes(number(from)?) as usize;
    let (first, rest) = from.split_at_checked(length).ok_or_else(short)?;
    *from = rest;
    Ok(first)
}

/// The entry of a row with this number.
pub(crate) fn row_key(id: u64) -> [u8; 9] {
    let mut key = [ROW; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The number of the row of an entry, the key of its partition, and what is behind that.
///
/// # Errors
/// When it is no entry of a row, or one of another version.
pub(crate) fn row_entry<'a>(
    key: &[u8],
    value: &'a [u8],
    version: u8,
) -> Result<(u64, &'a [u8], &'a [u8]), BrokenState> {
    let Some((&ROW, mut id)) = key.split_first() else {
        return Err(BrokenState("entry of an unknown kind".to_owned()));
    };
    let mut rest = value;
    let [other] = number(&mut rest)?;
    if other != version {
        return Err(BrokenState(format!("row of version {other}")));
    }
    let partition = blob(&mut rest)?;
    Ok((u64::from_be_bytes(number(&mut id)?), partition, rest))
}

pub(crate) fn put_blob(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    to.extend_from_slice(bytes);
}

fn short() -> BrokenState {
    BrokenState("entry of a partition is too short".to_owned())
}
