//! The groups, and how they change in a step.
//!
//! State: `0` and the group's key: version, whether it was told, how many rows it has, when it was last touched, and what each
//! aggregate keeps. `1`, the number of an aggregate, the length of the group's key, the key and a value: how often the value is
//! there. Numbers are big-endian.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, TimestampNanosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::row::RowConverter;
use datafusion::common::{Result, exec_datafusion_err};
use millstream_pipeline::BrokenState;

use super::ends::Ends;
use super::groups::Groups;
use super::kinds::{Kept, Seen};
use super::spill::Spilled;
use super::{AggregatePlan, Emission, Rows, bytes};
use crate::continuous::delta::Delta;
use crate::continuous::map::evaluate;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::{Scratch, caught};
use crate::continuous::source::converter;
use crate::continuous::time::{Bound, Clock};

const VERSION: u8 = 1;
const GROUP: u8 = 0;
const VALUE: u8 = 1;

/// Most rows of an output.
const MOST: usize = 8192;

pub(super) struct Aggregation {
    pub(super) plan: AggregatePlan,
    pub(super) groups: Groups,
    pub(super) kept: Vec<Kept>,
    /// How many rows a group has.
    pub(super) live: Vec<i64>,
    /// Whether the group was told.
    told: Vec<bool>,
    /// Whether a group changed in this step.
    dirty: Vec<bool>,
    pub(super) ends: Ends,
    /// By when they were last touched.
    pub(super) touched: Ends,
    /// Told groups of windows that may still change, by when they are forgotten.
    pub(super) graces: Ends,
    pub(super) spilled: Spilled,
    /// Compares outputs.
    rows: RowConverter,
}

impl fmt::Debug for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregation")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

/// What a batch says, evaluated.
struct Evaluated {
    keys: Vec<ArrayRef>,
    seen: Vec<Seen>,
}

/// Groups that changed in a step, and what they were.
#[derive(Default)]
struct Changed {
    slots: Vec<usize>,
    /// Rows of groups that were told before, with their groups.
    old: Vec<(Vec<usize>, RecordBatch)>,
}

impl Aggregation {
    pub(super) fn new(plan: AggregatePlan) -> Result<Self> {
        let keys = plan.keys.len();
        let fields = plan.output.fields();
        let types = fields.iter().take(keys);
        let input = plan.input.clone();
        let kept = plan
            .aggregates
            .iter()
            .map(|aggregate| Kept::new(aggregate, &input, plan.updating))
            .collect::<Result<_>>()?;
        Ok(Self {
            groups: Groups::new(types.map(|field| field.data_type().clone()))?,
            rows: converter(&plan.output)?,
            kept,
            plan,
            live: Vec::new(),
            told: Vec::new(),
            dirty: Vec::new(),
            ends: Ends::default(),
            touched: Ends::default(),
            graces: Ends::default(),
            spilled: Spilled::default(),
        })
    }

    fn grow(&mut self) -> Result<()> {
        let room = self.groups.room();
        self.live.resize(room, 0);
        self.told.resize(room, false);
        self.dirty.resize(room, false);
        self.spilled.recent.resize(room, false);
        self.ends.grow(room);
        self.touched.grow(room);
        self.graces.grow(room);
        for kept in &mut self.kept {
            kept.keeper.grow(room)?;
        }
        Ok(())
    }

    /// What ends groups.
    fn clock(&self) -> Option<Clock> {
        self.plan.close.first().map(|(_, bound)| bound.clock)
    }

    /// Whether groups are told whenever they change.
    fn updates(&self) -> bool {
        self.plan.emission == Emission::Update
    }

    fn grace(&self) -> i64 {
        match self.plan.emission {
            Emission::CloseThenUpdate(grace) => grace,
            Emission::Close | Emission::Update => 0,
        }
    }

    fn evaluate(&self, delta: &Delta) -> Result<Evaluated> {
        let run = || {
            Ok(Evaluated {
                keys: evaluate(&delta.batch, &self.plan.keys)?,
                seen: self
                    .kept
                    .iter()
                    .map(|kept| kept.see(&delta.batch))
                    .collect::<Result<_>>()?,
            })
        };
        caught(run)
    }

    /// Takes rows in; when they cannot be evaluated, their halves.
    fn take(
        &mut self,
        delta: Delta,
        floor: Option<i64>,
        (step, changed): (&mut Step<'_>, &mut Changed),
    ) -> Result<()> {
        if delta.is_empty() {
            return Ok(());
        }
        match self.evaluate(&delta) {
            Ok(evaluated) => self.add(delta, evaluated, floor, (step, changed)),
            Err(error) if delta.len() == 1 => {
                step.reject(&delta, 0, &error);
                Ok(())
            }
            Err(_) => {
                let half = delta.len() / 2;
                self.take(delta.slice(0, half), floor, (step, changed))?;
                let rest = delta.slice(half, delta.len() - half);
                self.take(rest, floor, (step, changed))
            }
        }
    }

    fn add(
        &mut self,
        delta: Delta,
        evaluated: Evaluated,
        floor: Option<i64>,
        (step, changed): (&mut Step<'_>, &mut Changed),
    ) -> Result<()> {
        let ends = self.end_of(&evaluated.keys, delta.len());
        if let (Some(ends), Some(floor)) = (&ends, floor) {
            let late = |row: &usize| ends[*row].is_none_or(|end| end < floor);
            if (0..ends.len()).any(|row| late(&row)) {
                let (late, kept): (Vec<usize>, Vec<usize>) = (0..ends.len()).partition(late);
                for row in late {
                    if delta.diff(row) > 0 {
                        step.late(&delta, row);
                    }
                }
                return self.take(delta.take(&kept)?, None, (step, changed));
            }
        }
        self.admit(&evaluated.keys, delta.len())?;
        let slots = self.groups.find(&evaluated.keys, delta.len())?;
        self.grow()?;
        if let Some(there) = self.never_there(&slots, &delta) {
            return self.take(delta.take(&there)?, None, (step, changed));
        }
        self.touch(&slots, changed)?;
        for (row, slot) in slots.iter().enumerate() {
            self.live[*slot] += delta.diff(row);
            if let Some(end) = ends.as_ref().and_then(|ends| ends[row]) {
                self.end(*slot, end);
            }
        }
        for (kept, seen) in self.kept.iter_mut().zip(&evaluated.seen) {
            kept.keeper.update(Rows {
                slots: &slots,
                args: &seen.args,
                mask: seen.mask.as_ref(),
                diffs: delta.diffs.as_deref(),
            })?;
        }
        Ok(())
    }

    /// When the group of each row ends, as event time or the wall clock go: with the first of its times that has passed. `None`:
    /// groups have no end; of a row: it has no time.
    fn end_of(&self, keys: &[ArrayRef], rows: usize) -> Option<Vec<Option<i64>>> {
        if self.plan.close.is_empty() {
            return None;
        }
        let mut ends = vec![Some(i64::MAX); rows];
        for (key, bound) in &self.plan.close {
            let times = keys[*key].as_primitive::<TimestampNanosecondType>();
            for (row, end) in ends.iter_mut().enumerate() {
                let time = times.is_valid(row).then(|| times.value(row));
                let time = time.map(|time| time.saturating_sub(bound.offset));
                *end = end.zip(time).map(|(one, other)| one.min(other));
            }
        }
        Some(ends)
    }

    /// The rows without those that are taken back from groups that were forgotten; `None`: all of them.
    fn never_there(&self, slots: &[usize], delta: &Delta) -> Option<Vec<usize>> {
        self.plan.ttl?;
        let diffs = delta.diffs.as_ref()?;
        let mut live: datafusion::common::HashMap<usize, i64> = datafusion::common::HashMap::new();
        let there = (0..slots.len()).filter(|row| {
            let slot = slots[*row];
            let count = live.entry(slot).or_insert(self.live[slot]);
            let is_there = *count + diffs[*row] >= 0;
            *count += if is_there { diffs[*row] } else { 0 };
            is_there
        });
        let there: Vec<usize> = there.collect();
        (there.len() < slots.len()).then_some(there)
    }

    /// When a group is told, or forgotten when it has been.
    fn end(&mut self, slot: usize, time: i64) {
        if self.told[slot] && self.grace() > 0 {
            self.graces.set(slot, time.saturating_add(self.grace()));
        } else {
            self.ends.set(slot, time);
        }
    }

    /// Notes which groups change, and what those that were told are before.
    fn touch(&mut self, slots: &[usize], changed: &mut Changed) -> Result<()> {
        let mut told = Vec::new();
        for slot in slots {
            if !self.dirty[*slot] {
                self.dirty[*slot] = true;
                self.spilled.recent[*slot] = true;
                changed.slots.push(*slot);
                if self.told[*slot] {
                    told.push(*slot);
                }
            }
        }
        if !told.is_empty() {
            match self.results(&told, false) {
                Ok(batch) => changed.old.push((told, batch)),
                Err(_) => self.known_one_by_one(&told, changed),
            }
        }
        Ok(())
    }

    /// The same where one of the groups cannot be told: nothing of it is known outside any more.
    fn known_one_by_one(&mut self, told: &[usize], changed: &mut Changed) {
        for slot in told {
            match self.results(&[*slot], false) {
                Ok(batch) => changed.old.push((vec![*slot], batch)),
                Err(_) => self.told[*slot] = false,
            }
        }
    }

    /// The rows of some groups.
    fn results(&mut self, slots: &[usize], last: bool) -> Result<RecordBatch> {
        let mut columns = self.groups.columns(slots)?;
        for kept in &mut self.kept {
            columns.push(kept.keeper.values(slots, last)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        let schema = Arc::clone(&self.plan.output);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// What changed groups are now, against what they were.
    fn tell(&mut self, changed: &Changed, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let grace = self.grace() > 0;
        if !self.updates() && !grace {
            return Ok(Vec::new());
        }
        let whole = self.plan.keys.is_empty();
        let now: Vec<usize> = changed
            .slots
            .iter()
            .copied()
            .filter(|slot| self.live[*slot] > 0 || whole)
            .filter(|slot| self.updates() || self.told[*slot])
            .collect();
        let mut made = Vec::new();
        let mut old = Vec::new();
        for (slots, batch) in &changed.old {
            let rows = self.rows.convert_columns(batch.columns())?;
            let each = slots.iter().zip(rows.iter());
            old.extend(each.map(|(slot, row)| (*slot, row.owned())));
        }
        let old: datafusion::common::HashMap<usize, _> = old.into_iter().collect();
        let mut same = datafusion::common::HashSet::new();
        for slots in now.chunks(MOST) {
            for (slots, batch) in self.solved(slots, false, step) {
                let rows = self.rows.convert_columns(batch.columns())?;
                let mut news: Vec<u32> = Vec::new();
                for (at, slot) in slots.iter().enumerate() {
                    self.told[*slot] = true;
                    if old.get(slot).is_some_and(|old| old.row() == rows.row(at)) {
                        same.insert(*slot);
                    } else {
                        news.push(at as u32);
                    }
                }
                if !news.is_empty() {
                    made.push(Delta::added(take_record_batch(
                        &batch,
                        &UInt32Array::from(news),
                    )?));
                }
            }
        }
        for (slots, batch) in &changed.old {
            let gone: Vec<u32> = (0..slots.len())
                .filter(|at| !same.contains(&slots[*at]))
                .map(|at| at as u32)
                .collect();
            if !gone.is_empty() {
                let diffs = Some(vec![-1; gone.len()]);
                let batch = take_record_batch(batch, &UInt32Array::from(gone))?;
                made.insert(
                    0,
                    Delta {
                        diffs,
                        ..Delta::added(batch)
                    },
                );
            }
        }
        Ok(made)
    }

    /// Rows of some groups; a group that cannot be evaluated is rejected alone.
    fn solved(
        &mut self,
        slots: &[usize],
        last: bool,
        step: &mut Step<'_>,
    ) -> Vec<(Vec<usize>, RecordBatch)> {
        match self.results(slots, last) {
            Ok(batch) => vec![(slots.to_vec(), batch)],
            Err(error) => {
                if slots.len() == 1 {
                    self.told[slots[0]] = false;
                    let keys = self.keys_only(slots);
                    step.reject(&Delta::added(keys), 0, &error);
                    return Vec::new();
                }
                let (one, other) = slots.split_at(slots.len() / 2);
                let mut all = self.solved(one, last, step);
                all.extend(self.solved(other, last, step));
                all
            }
        }
    }

    /// The keys of groups whose aggregates cannot be told.
    fn keys_only(&self, slots: &[usize]) -> RecordBatch {
        let columns = self.groups.columns(slots).unwrap_or_default();
        let fields = self.plan.output.fields().iter().take(columns.len());
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
    }

    /// Groups whose time has come: those that are told now, and those that are forgotten.
    fn close(&mut self, floor: i64, step: &mut Step<'_>) -> Result<(Vec<Delta>, Vec<usize>)> {
        let ended = self.ends.below(floor);
        let mut gone = self.graces.below(floor);
        if self.updates() {
            gone.extend(ended);
            return Ok((Vec::new(), gone));
        }
        let mut told: Vec<usize> = Vec::with_capacity(ended.len());
        for slot in ended {
            if self.live[slot] > 0 {
                told.push(slot);
            } else {
                gone.push(slot);
            }
        }
        told.sort_by(|one, other| self.groups.key(*one).cmp(&self.groups.key(*other)));
        let last = self.grace() == 0;
        let mut made = Vec::new();
        for slots in told.chunks(MOST) {
            for (_, batch) in self.solved(slots, last, step) {
                made.push(Delta::added(batch));
            }
        }
        if last {
            gone.extend(told);
            return Ok((made, gone));
        }
        for slot in told {
            self.told[slot] = true;
            // It ended below the floor, and by so much it may be late.
            let end = self.closed_at(slot)?;
            self.graces.set(slot, end.saturating_add(self.grace()));
            // One that changed is told behind all else.
            if !self.dirty[slot] {
                self.save(slot, step)?;
            }
        }
        let late = self.graces.below(floor);
        gone.extend(late);
        Ok((made, gone))
    }

    /// The time that ends a group, from its key.
    fn closed_at(&self, slot: usize) -> Result<i64> {
        let columns = self.groups.columns(&[slot])?;
        let end = self.end_of(&columns, 1).and_then(|ends| ends[0]);
        end.ok_or_else(|| exec_datafusion_err!("group has no end"))
    }

    /// Tells the log what a group is.
    fn save(&mut self, slot: usize, step: &mut Step<'_>) -> Result<()> {
        let Some(key) = self.groups.key(slot).cloned() else {
            return Ok(());
        };
        let value = self.value(slot, step.now)?;
        step.put(&group_key(&key), Some(value));
        Ok(())
    }

    /// A group as the log has it, without its key.
    pub(super) fn value(&mut self, slot: usize, now: i64) -> Result<Vec<u8>> {
        let mut value = vec![VERSION, u8::from(self.told[slot])];
        value.extend_from_slice(&self.live[slot].to_be_bytes());
        let touched = self.touched.get(slot).unwrap_or(now);
        value.extend_from_slice(&touched.to_be_bytes());
        for kept in &mut self.kept {
            kept.keeper.save(slot, &mut value)?;
        }
        Ok(value)
    }

    /// Tells the log what changed, and forgets groups.
    fn settle(
        &mut self,
        changed: Changed,
        mut gone: Vec<usize>,
        step: &mut Step<'_>,
    ) -> Result<()> {
        let whole = self.plan.keys.is_empty();
        let empty = changed.slots.iter().copied();
        gone.extend(empty.filter(|slot| self.live[*slot] == 0 && !whole));
        gone.sort_unstable();
        gone.dedup();
        for slot in &gone {
            for kept in &mut self.kept {
                kept.keeper.clear(*slot);
            }
        }
        for (number, kept) in self.kept.iter_mut().enumerate() {
            for (slot, value, count) in kept.keeper.entries() {
                if let Some(key) = self.groups.key(slot) {
                    let count = (count != 0).then(|| count.to_be_bytes().to_vec());
                    step.put(&value_key(number, key, &value), count);
                }
            }
        }
        for slot in &gone {
            if let Some(key) = self.groups.key(*slot) {
                step.put(&group_key(key), None);
            }
        }
        for slot in changed.slots {
            self.dirty[slot] = false;
            if gone.binary_search(&slot).is_err() {
                if let Some(ttl) = self.plan.ttl {
                    self.touched.set(slot, rounded(step.now, ttl));
                }
                self.save(slot, step)?;
            }
        }
        for slot in gone {
            (self.live[slot], self.told[slot]) = (0, false);
            self.ends.clear(slot);
            self.graces.clear(slot);
            self.touched.clear(slot);
            self.groups.remove(slot);
        }
        Ok(())
    }

    /// The group of an entry of state.
    fn restored(&mut self, key: &[u8]) -> Result<usize, BrokenState> {
        let slot = self.groups.slot(key);
        self.grow()
            .map_err(|error| BrokenState(error.to_string()))?;
        Ok(slot)
    }
}

/// Times of touching come in steps, so that a busy group is not in line for each of them.
fn rounded(now: i64, ttl: i64) -> i64 {
    let pace = (ttl / 16).max(1);
    now - now.rem_euclid(pace) + pace
}

/// Whether an entry is a group, and not a value of one.
pub(super) fn is_group(key: &[u8]) -> bool {
    key.first() == Some(&GROUP)
}

pub(super) fn group_key(key: &[u8]) -> Vec<u8> {
    [&[GROUP], key].concat()
}

pub(super) fn value_key(number: usize, key: &[u8], value: &[u8]) -> Vec<u8> {
    let length = (key.len() as u32).to_be_bytes();
    [&[VALUE, number as u8], &length[..], key, value].concat()
}

impl Operator for Aggregation {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let mut changed = Changed::default();
        let mut after = None;
        for input in inputs {
            let grace = self.grace();
            for delta in input.deltas {
                let floor = self.clock().map(|clock| {
                    let before = input.before.behind(delta.mark);
                    let floor = before.floor(Bound { clock, offset: 0 });
                    floor.saturating_sub(if floor == i64::MIN { 0 } else { grace })
                });
                self.take(delta, floor, (step, &mut changed))?;
            }
            after = Some(input.after);
        }
        let mut made = self.tell(&changed, step)?;
        let floor = self.clock().zip(after);
        let floor = floor.map(|(clock, after)| after.floor(Bound { clock, offset: 0 }));
        loop {
            let mut gone = Vec::new();
            if let Some(floor) = floor {
                let (closed, ended) = self.close(floor, step)?;
                made.extend(closed);
                gone = ended;
            } else if let Some(ttl) = self.plan.ttl {
                gone = self.touched.below(step.now.saturating_sub(ttl));
            }
            self.settle(std::mem::take(&mut changed), gone, step)?;
            if !self.admit_due(floor, step.now)? {
                return Ok(made);
            }
        }
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let wrong = || BrokenState("entry of a group is none of its".to_owned());
        let mut key = key;
        match bytes::<1>(&mut key)? {
            [GROUP] => {
                let slot = self.restored(key)?;
                let mut value = value;
                let [version, told] = bytes(&mut value)?;
                if version != VERSION {
                    return Err(BrokenState(format!("group has version {version}")));
                }
                self.told[slot] = told == 1;
                self.live[slot] = i64::from_be_bytes(bytes(&mut value)?);
                let touched = i64::from_be_bytes(bytes(&mut value)?);
                if self.plan.ttl.is_some() {
                    self.touched.set(slot, touched);
                }
                for kept in &mut self.kept {
                    kept.keeper.load(slot, &mut value)?;
                }
                if !self.plan.close.is_empty() {
                    let end = self.closed_at(slot);
                    self.end(slot, end.map_err(|error| BrokenState(error.to_string()))?);
                }
                Ok(())
            }
            [VALUE] => {
                let [number] = bytes(&mut key)?;
                let length = u32::from_be_bytes(bytes(&mut key)?) as usize;
                let (group, entry) = key.split_at_checked(length).ok_or_else(wrong)?;
                let slot = self.restored(group)?;
                let count = value.try_into().map_err(|_| wrong())?;
                let kept = self.kept.get_mut(number as usize).ok_or_else(wrong)?;
                kept.keeper
                    .load_entry(slot, entry, i64::from_be_bytes(count))
            }
            _ => Err(wrong()),
        }
    }

    fn restored(&mut self) -> Result<()> {
        self.gather()
    }

    fn size(&self) -> (u64, u64) {
        let kept = self.kept.iter().map(|kept| kept.keeper.bytes());
        (
            self.groups.bytes() + kept.sum::<u64>() + self.spilled.cold.memory(),
            self.groups.len() as u64 + self.spilled.groups,
        )
    }

    fn stays(&self) -> bool {
        // Without a key there is one group.
        self.plan.keys.is_empty()
    }

    fn spill_to(&mut self, scratch: Scratch) {
        self.spilled.cold.set(scratch);
    }

    fn evict(&mut self, bytes: u64) -> Result<()> {
        self.leave(bytes)
    }

    fn spilled(&self) -> (u64, u64) {
        (self.spilled.cold.size().0, self.spilled.groups)
    }

    fn next_wake(&self) -> Option<i64> {
        if self.clock() == Some(Clock::Processing) {
            let first = self.ends.first().into_iter().chain(self.first_due(true));
            return first.min().map(|first| first.saturating_add(1));
        }
        let ttl = self.plan.ttl?;
        let first = self.touched.first().map(|first| first.saturating_add(ttl));
        first.into_iter().chain(self.first_due(false)).min()
    }
}
