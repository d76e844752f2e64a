//! Groups that leave memory and come back.
//!
//! What groups keep lies in lists by number, which would not become shorter when some of them leave: the others are put into
//! new ones.

use arrow::array::ArrayRef;
use datafusion::common::{Result, exec_datafusion_err};
use millstream_pipeline::BrokenState;

use super::operator::{Aggregation, group_key, value_key};
use crate::continuous::operator::Operator;
use crate::continuous::parts::{Cold, Leaving, Pair, Parcel, SOME};

/// The queues of groups: when they end, when they can change no more, when they are forgotten.
const ENDS: u8 = 0;
const GRACES: u8 = 1;
const FORGOTTEN: u8 = 2;

/// Groups that are not in memory.
#[derive(Debug, Default)]
pub(super) struct Spilled {
    pub(super) cold: Cold,
    pub(super) groups: u64,
    /// The group that was last asked to leave.
    hand: usize,
    /// Whether a row looked for a group since the hand came by.
    pub(super) recent: Vec<bool>,
}

impl Aggregation {
    /// Lets groups leave that no row looked for since the hand last came by, until memory has about so many bytes.
    ///
    /// # Errors
    /// As [`Cold::put`].
    pub(super) fn leave(&mut self, bytes: u64) -> Result<()> {
        let index = self.spilled.cold.memory();
        let (now, goal) = (self.size().0 - index, bytes.saturating_sub(index));
        if now <= goal {
            return Ok(());
        }
        let count = self.groups.len();
        let stay = (count as f64 * goal as f64 / now as f64) as usize;
        let cold = self.coldest(count - stay.min(count));
        self.send(cold)
    }

    /// Behind restoring: of a group that left before all of its entries were back, the others follow.
    ///
    /// # Errors
    /// As [`Cold::put`].
    pub(super) fn gather(&mut self) -> Result<()> {
        let cold = &self.spilled.cold;
        if cold.is_empty() {
            return Ok(());
        }
        let parted = |slot: &usize| {
            let key = self.groups.key(*slot);
            key.is_some_and(|key| cold.holds(cold.group(key)))
        };
        let parted: Vec<usize> = (0..self.groups.room()).filter(parted).collect();
        if parted.is_empty() {
            return Ok(());
        }
        self.send(parted)
    }

    /// Lets groups leave, and puts the others into lists that are shorter.
    fn send(&mut self, cold: Vec<usize>) -> Result<()> {
        let mut parcel = Parcel::default();
        let mut leaves = vec![false; self.groups.room()];
        for slot in cold {
            leaves[slot] = true;
            let group = self
                .groups
                .key(slot)
                .map(|key| self.spilled.cold.group(key));
            let mut dues = self.dues(slot);
            for (key, value) in self.entries(slot)? {
                self.spilled.groups += u64::from(super::operator::is_group(&key));
                parcel.push(Leaving {
                    group: group.unwrap_or_default(),
                    key,
                    value,
                    dues: std::mem::take(&mut dues),
                });
            }
            if parcel.is_full() {
                self.spilled.cold.put(&mut parcel)?;
            }
        }
        self.spilled.cold.put(&mut parcel)?;
        let mut others = Self::new(self.plan.clone())?;
        for slot in (0..leaves.len()).filter(|slot| !leaves[*slot]) {
            let entries = self.entries(slot)?;
            others.put_back(entries)?;
        }
        others.spilled = std::mem::take(&mut self.spilled);
        others.spilled.recent = vec![false; others.groups.room()];
        *self = others;
        Ok(())
    }

    /// Groups that are to leave, by a hand that goes round and passes those that are recent once.
    fn coldest(&mut self, count: usize) -> Vec<usize> {
        let room = self.groups.room();
        let mut chosen = vec![false; room];
        let mut cold = Vec::with_capacity(count);
        for _ in 0..2 * room {
            if cold.len() >= count {
                break;
            }
            let spilled = &mut self.spilled;
            spilled.hand = (spilled.hand + 1) % room;
            let slot = spilled.hand;
            let recent = spilled.recent.get_mut(slot).is_some_and(std::mem::take);
            if !recent && !chosen[slot] && self.groups.key(slot).is_some() {
                chosen[slot] = true;
                cold.push(slot);
            }
        }
        cold
    }

    /// A group as the log has it.
    fn entries(&mut self, slot: usize) -> Result<Vec<Pair>> {
        let Some(key) = self.groups.key(slot).cloned() else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        // One without rows is not whole yet: the rest of it comes.
        if self.live[slot] != 0 {
            entries.push((group_key(&key), self.value(slot, 0)?));
        }
        for (number, kept) in self.kept.iter().enumerate() {
            for (value, count) in kept.keeper.entries_of(slot) {
                let count = count.to_be_bytes().to_vec();
                entries.push((value_key(number, &key, &value), count));
            }
        }
        Ok(entries)
    }

    fn dues(&self, slot: usize) -> Vec<(u8, i64)> {
        let forgotten = self.touched.get(slot).zip(self.plan.ttl);
        let forgotten = forgotten.map(|(touched, ttl)| touched.saturating_add(ttl));
        let all = [
            (ENDS, self.ends.get(slot)),
            (GRACES, self.graces.get(slot)),
            (FORGOTTEN, forgotten),
        ];
        let some = all.into_iter();
        some.filter_map(|(queue, time)| Some((queue, time?)))
            .collect()
    }

    /// Brings back the groups of rows that have left memory.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(super) fn admit(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        if self.spilled.cold.is_empty() {
            return Ok(());
        }
        let cold = &self.spilled.cold;
        let groups = self.groups.each(keys, rows, |key| cold.group(key))?;
        let groups: Vec<u64> = groups
            .into_iter()
            .filter(|group| cold.holds(*group))
            .collect();
        for some in groups.chunks(SOME) {
            let pairs = self.spilled.cold.take(some.to_vec())?;
            self.came_back(pairs)?;
        }
        Ok(())
    }

    /// Brings back some of the groups whose time has come; false: there are no more.
    ///
    /// # Errors
    /// As [`Cold::take`].
    pub(super) fn admit_due(&mut self, floor: Option<i64>, now: i64) -> Result<bool> {
        let dues = match floor {
            Some(floor) => vec![(ENDS, floor), (GRACES, floor)],
            None => vec![(FORGOTTEN, now)],
        };
        let mut some = false;
        for (queue, below) in dues {
            let pairs = self.spilled.cold.take_due(queue, below)?;
            some |= !pairs.is_empty();
            self.came_back(pairs)?;
        }
        Ok(some)
    }

    fn came_back(&mut self, pairs: Vec<Pair>) -> Result<()> {
        let groups = pairs
            .iter()
            .filter(|(key, _)| super::operator::is_group(key));
        self.spilled.groups -= groups.count() as u64;
        self.put_back(pairs)
    }

    fn put_back(&mut self, pairs: Vec<Pair>) -> Result<()> {
        let wrong = |broken: BrokenState| exec_datafusion_err!("{}", broken.0);
        for (key, value) in pairs {
            self.restore(&key, &value).map_err(wrong)?;
        }
        Ok(())
    }

    /// When a group that is not in memory ends or is forgotten by the wall clock.
    pub(super) fn first_due(&self, ends: bool) -> Option<i64> {
        self.spilled
            .cold
            .first_due(if ends { ENDS } else { FORGOTTEN })
    }
}
