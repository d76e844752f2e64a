//! Rows by partition, and what the log knows of them.
//!
//! State: `0` and the row's number: version, the partition's key, how often the row is there, where it begins behind what the
//! partition orders by, and both. Numbers are big-endian; numbers of rows that went in the same step are used again.

use datafusion::common::Result;
use millstream_pipeline::BrokenState;

use super::cold::{Cold, Leaving, Pair, Parcel};
use super::rows::{Entry, Key, Sorted};
use super::table::{ENDS, FORGOTTEN, ROW, Table, number, put_blob, row_entry, row_key};
use crate::continuous::operator::Step;

const VERSION: u8 = 1;

/// What lists need for a row beside its bytes.
const OVERHEAD: u64 = 80;

/// Partitions with rows in order, and what an operator notes of each.
#[derive(Debug)]
pub(crate) struct Store<X> {
    table: Table<Part<X>>,
    next: u64,
    rows: u64,
    bytes: u64,
    /// Partitions that have left memory.
    cold: Cold,
    /// How many rows they have.
    cold_rows: u64,
}

/// The rows of a partition.
#[derive(Debug, Default)]
pub(crate) struct Part<X> {
    rows: Sorted,
    /// Rows that the log does not know as they are; some may be gone.
    changed: Vec<Key>,
    /// Numbers of rows that are gone and that the log knows.
    gone: Vec<u64>,
    pub(crate) note: X,
}

/// How a row changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put<'a> {
    /// What the partition orders by, then the row.
    pub(crate) key: &'a [u8],
    pub(crate) split: usize,
    pub(crate) diff: i64,
}

impl<X: Default> Part<X> {
    /// The rows that are there, and how often.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Key, i64)> {
        let rows = self.rows.iter().filter(|(_, entry)| entry.count > 0);
        rows.map(|(key, entry)| (key, entry.count))
    }

    pub(crate) fn content(&self) -> Vec<(Key, i64)> {
        self.rows()
            .map(|(key, count)| (key.clone(), count))
            .collect()
    }
}

impl<X: Default> Store<X> {
    pub(crate) fn new(ttl: Option<i64>) -> Self {
        Self {
            table: Table::new(ttl),
            next: 0,
            rows: 0,
            bytes: 0,
            cold: Cold::default(),
            cold_rows: 0,
        }
    }

    pub(crate) fn table(&self) -> &Table<Part<X>> {
        &self.table
    }

    pub(crate) fn table_mut(&mut self) -> &mut Table<Part<X>> {
        &mut self.table
    }

    pub(crate) fn part(&self, slot: usize) -> &Part<X> {
        self.table.part(slot)
    }

    pub(crate) fn part_mut(&mut self, slot: usize) -> &mut Part<X> {
        self.table.part_mut(slot)
    }

    /// Adds a row to a partition, or takes it back.
    pub(crate) fn put(&mut self, slot: usize, put: Put<'_>) {
        let part = self.table.part_mut(slot);
        let Some(entry) = part.rows.get_mut(put.key) else {
            let key = Key::new(put.key, put.split);
            part.changed.push(key.clone());
            part.rows.insert(
                key,
                Entry {
                    count: put.diff,
                    id: None,
                    dirty: true,
                },
            );
            self.rows += 1;
            self.bytes += put.key.len() as u64 + OVERHEAD;
            return;
        };
        entry.count += put.diff;
        if entry.count == 0 {
            let gone = part.rows.remove(put.key);
            part.gone.extend(gone.and_then(|entry| entry.id));
            self.rows -= 1;
            self.bytes -= put.key.len() as u64 + OVERHEAD;
        } else if !std::mem::replace(&mut entry.dirty, true) {
            part.changed.push(Key::new(put.key, put.split));
        }
    }

    /// Forgets the rows of a partition behind `last`, which is there at most `count` times.
    pub(crate) fn cut(&mut self, slot: usize, last: &Key, count: i64) {
        let part = self.table.part_mut(slot);
        while let Some((key, entry)) = part.rows.pop_behind(last) {
            part.gone.extend(entry.id);
            self.rows -= 1;
            self.bytes -= key.bytes().len() as u64 + OVERHEAD;
        }
        let Some(entry) = part.rows.get_mut(last.bytes()) else {
            return;
        };
        if entry.count > count {
            let (diff, split) = (count - entry.count, last.split());
            let key = last.bytes();
            self.put(slot, Put { key, split, diff });
        }
    }

    /// Tells the log how a partition changed, at the end of a step; one without rows goes, and it may have gone before.
    pub(crate) fn tell(&mut self, slot: usize, step: &mut Step<'_>) {
        if !self.table.has(slot) {
            return;
        }
        let partition = std::sync::Arc::clone(self.table.key(slot));
        let part = self.table.part_mut(slot);
        for key in std::mem::take(&mut part.changed) {
            let Some(entry) = part.rows.get_mut(key.bytes()) else {
                continue;
            };
            if !std::mem::take(&mut entry.dirty) {
                continue;
            }
            let id = entry.id.or_else(|| part.gone.pop());
            let id = id.unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            entry.id = Some(id);
            step.put(&row_key(id), Some(value(&partition, entry.count, &key)));
        }
        for id in std::mem::take(&mut part.gone) {
            step.put(&row_key(id), None);
        }
        if part.rows.len() == 0 {
            self.table.remove(slot, step);
        } else {
            self.table.tell(slot, step);
        }
    }

    /// Forgets a partition.
    pub(crate) fn remove(&mut self, slot: usize, step: &mut Step<'_>) {
        let part = self.table.remove(slot, step);
        for id in part.gone {
            step.put(&row_key(id), None);
        }
        for (key, entry) in part.rows.iter() {
            self.rows -= 1;
            self.bytes -= key.bytes().len() as u64 + OVERHEAD;
            if let Some(id) = entry.id {
                step.put(&row_key(id), None);
            }
        }
    }

    /// Puts back an entry; answers the partition of a row, and the row.
    pub(crate) fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<(usize, Key)>, BrokenState> {
        if self.table.restore(key, value)? {
            return Ok(None);
        }
        let (id, partition, mut rest) = row_entry(key, value, VERSION)?;
        let count = i64::from_be_bytes(number(&mut rest)?);
        let split = u32::from_be_bytes(number(&mut rest)?) as usize;
        if split > rest.len() {
            return Err(BrokenState("row is too short".to_owned()));
        }
        let slot = self.table.slot(partition);
        let key = Key::new(rest, split);
        self.rows += 1;
        self.bytes += rest.len() as u64 + OVERHEAD;
        self.next = self.next.max(id.saturating_add(1));
        self.table.part_mut(slot).rows.insert(
            key.clone(),
            Entry {
                count,
                id: Some(id),
                dirty: false,
            },
        );
        Ok(Some((slot, key)))
    }

    /// Bytes in memory, and all rows.
    pub(crate) fn size(&self) -> (u64, u64) {
        let bytes = self.table.bytes() + self.bytes + self.cold.memory();
        (bytes, self.rows + self.cold_rows)
    }

    pub(crate) fn cold(&self) -> &Cold {
        &self.cold
    }

    pub(crate) fn cold_mut(&mut self) -> &mut Cold {
        &mut self.cold
    }

    /// Lets partitions leave that no row looked for since the hand last came by, until memory has so many bytes. Not within a
    /// step.
    ///
    /// # Errors
    /// As [`Cold::put`].
    pub(crate) fn evict(&mut self, bytes: u64) -> Result<()> {
        let mut parcel = Parcel::default();
        // Behind two rounds nothing is recent any more.
        for _ in 0..2 * self.table.room() {
            if self.size().0 + parcel.memory() <= bytes {
                break;
            }
            if let Some(slot) = self.table.next_cold() {
                self.leave(slot, &mut parcel);
            }
            if parcel.is_full() {
                self.cold.put(&mut parcel)?;
            }
        }
        self.cold.put(&mut parcel)
    }

    /// Behind restoring: of a partition that left before all of its rows were back, the others follow.
    ///
    /// # Errors
    /// As [`Cold::put`].
    pub(crate) fn gather(&mut self) -> Result<()> {
        if self.cold.is_empty() {
            return Ok(());
        }
        let mut parcel = Parcel::default();
        for slot in 0..self.table.room() {
            let group = self.cold.group(self.table.key(slot));
            if self.table.has(slot) && self.cold.holds(group) {
                self.leave(slot, &mut parcel);
            }
            if parcel.is_full() {
                self.cold.put(&mut parcel)?;
            }
        }
        self.cold.put(&mut parcel)
    }

    fn leave(&mut self, slot: usize, parcel: &mut Parcel) {
        let partition = std::sync::Arc::clone(self.table.key(slot));
        let group = self.cold.group(&partition);
        let mut dues = self.table.dues(slot);
        let (part, touched) = self.table.leave(slot);
        for (key, entry) in part.rows.iter() {
            self.rows -= 1;
            self.cold_rows += 1;
            self.bytes -= key.bytes().len() as u64 + OVERHEAD;
            // Behind a step all rows have one.
            let Some(id) = entry.id else { continue };
            parcel.push(Leaving {
                group,
                key: row_key(id).to_vec(),
                value: value(&partition, entry.count, key),
                dues: std::mem::take(&mut dues),
            });
        }
        if let Some((key, value)) = touched {
            parcel.push(Leaving {
                group,
                key,
                value,
                dues,
            });
        }
    }

    /// Takes those of these partitions that have left memory; each entry is to be restored.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(crate) fn admit<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Pair>> {
        if self.cold.is_empty() {
            return Ok(Vec::new());
        }
        let groups = keys.map(|key| self.cold.group(key));
        let groups = groups.filter(|group| self.cold.holds(*group)).collect();
        let pairs = self.cold.take(groups)?;
        Ok(self.came_back(pairs))
    }

    /// Takes some of the partitions that end below `floor` or are to be forgotten; none: there are no more.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(crate) fn admit_due(&mut self, floor: Option<i64>, now: i64) -> Result<Vec<Pair>> {
        let mut pairs = self.cold.take_due(FORGOTTEN, now.saturating_add(1))?;
        if let Some(floor) = floor {
            pairs.append(&mut self.cold.take_due(ENDS, floor)?);
        }
        Ok(self.came_back(pairs))
    }

    fn came_back(&mut self, pairs: Vec<Pair>) -> Vec<Pair> {
        let rows = pairs.iter().filter(|(key, _)| key.first() == Some(&ROW));
        self.cold_rows -= rows.count() as u64;
        pairs
    }

    /// When a partition is to be forgotten at the earliest.
    pub(crate) fn next_wake(&self) -> Option<i64> {
        let own = self.table.next_wake().into_iter();
        own.chain(self.cold.first_due(FORGOTTEN)).min()
    }
}

fn value(partition: &[u8], count: i64, key: &Key) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + 4 + partition.len() + 8 + 4 + key.bytes().len());
    value.push(VERSION);
    put_blob(partition, &mut value);
    value.extend_from_slice(&count.to_be_bytes());
    value.extend_from_slice(&(key.split() as u32).to_be_bytes());
    value.extend_from_slice(key.bytes());
    value
}
