//! Which inputs a flow takes next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use millstream_cluster::StreamCell;
use millstream_pipeline::{KeyRule, Order, Reading, Record, Rejection};
use millstream_streams::Filters;
use millstream_types::{Message, Timestamp};
use tokio::sync::Notify;
use tracing::warn;

use super::position::{MAX_PARKED, Parked, Position};
use super::setup::FlowSetup;
use super::work::MAX_OUTPUT;
use crate::read::{FetchError, FrameCursor, StoredRecord};
use crate::service::Shared;

/// Most inputs of a batch, and most bytes of them: what one commit holds.
pub(crate) const MAX_INPUTS: usize = 1024;
const MAX_BYTES: usize = 4 << 20;

/// Most inputs of the next batch, when one with so many bytes of outputs is committed. More than a commit holds would be run
/// in vain, so it goes up step by step, and not when twice as much would not fit.
pub(super) fn grown(limit: usize, bytes: usize) -> usize {
    if bytes > MAX_OUTPUT / 2 {
        return limit;
    }
    (limit * 2).min(MAX_INPUTS)
}

/// How stages see messages of all formats.
pub(super) static AS_JSON: LazyLock<Reading> = LazyLock::new(|| {
    let reading = Reading::parse(Some("json"), None, None);
    reading.ok().flatten().unwrap_or_default()
});

/// A message that a flow takes.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Its sequence in the stream; `None` for one that is sent again and says none.
    pub(crate) seq: Option<u64>,
    /// As it is stored.
    pub(crate) message: Message,
    /// As stages see it.
    pub(crate) record: Record,
    pub(crate) key: Option<Bytes>,
    /// Set when it was put aside before.
    pub(crate) parked: Option<Parked>,
    /// Set when no stage is to see it.
    pub(crate) fault: Option<Rejection>,
}

impl Input {
    /// What a message is to a flow.
    pub(crate) fn new(
        shared: &Shared,
        setup: &FlowSetup,
        seq: Option<u64>,
        message: Message,
        time: Timestamp,
    ) -> Self {
        let mut fault = None;
        let mut seen = message.clone();
        let field = matches!(setup.running.key, Some(KeyRule::Field(_)));
        if field || matches!(setup.plan, Ok(Some(_))) {
            match AS_JSON.convert(&*shared.schemas, &message.headers, &message.payload) {
                Ok(None) => {}
                Ok(Some((headers, payload))) => (seen.headers, seen.payload) = (headers, payload),
                Err(error) => {
                    let stage = format!("flow:{}", setup.name);
                    fault = Some(Rejection::new(&stage, "undecodable", &error.to_string()));
                }
            }
        }
        let mut record = Record {
            sequence: seq,
            ..Record::new(seen, time)
        };
        // A message without a key has the empty one, as in stations.
        let key = (setup.running.order == Order::Key).then(|| {
            let rule = setup.running.key.clone().unwrap_or_default();
            rule.of(&mut record).unwrap_or_default()
        });
        Self {
            seq,
            message,
            record,
            key,
            parked: None,
            fault,
        }
    }

    pub(crate) fn tries(&self) -> u32 {
        self.parked.as_ref().map_or(0, |parked| parked.tries)
    }

    /// The same as it was put aside.
    fn again(mut self, parked: Parked) -> Self {
        self.record.deliveries = parked.tries;
        self.parked = Some(parked);
        self
    }
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Selected {
    /// These, and where the flow stands when all of them have ended.
    Inputs(Vec<Input>, Position),
    /// Nothing before this time, or before the stream changes.
    Nothing(Option<Timestamp>),
    /// Nothing ever: it has read what it was to read.
    Done,
}

/// Chooses from one stream.
pub(crate) struct Selector<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) setup: &'a FlowSetup,
    pub(crate) cell: &'a StreamCell,
    pub(crate) now: Timestamp,
    /// Most inputs.
    pub(crate) limit: usize,
    cursor: FrameCursor,
    found: Vec<Input>,
    after: Position,
}

impl<'a> Selector<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        setup: &'a FlowSetup,
        cell: &'a StreamCell,
        position: &Position,
        limit: usize,
    ) -> Self {
        Self {
            shared,
            setup,
            cell,
            now: Timestamp::now(),
            limit,
            cursor: FrameCursor::default(),
            found: Vec::new(),
            after: position.clone(),
        }
    }

    /// Looks for inputs. When there are none, `wake` is told of the stream's next change.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(crate) fn select(mut self, wake: &Arc<Notify>) -> Result<Selected, FetchError> {
        let (read, parked) = (self.after.read, self.after.parked.len());
        let waits = self.put_aside()?;
        self.new_ones(&waits, wake)?;
        let moved = self.after.read != read || self.after.parked.len() != parked;
        if moved || !self.found.is_empty() {
            return Ok(Selected::Inputs(self.found, self.after));
        }
        let done = self.setup.until.is_some_and(|until| read >= until);
        if done && self.after.parked.is_empty() {
            return Ok(Selected::Done);
        }
        Ok(Selected::Nothing(self.after.first_due()))
    }

    /// Takes what was put aside and is due, in order; answers the keys of what stays there.
    fn put_aside(&mut self) -> Result<BTreeSet<Bytes>, FetchError> {
        let by_key = self.setup.running.order == Order::Key;
        let mut waits = BTreeSet::new();
        let all: BTreeMap<u64, Parked> = std::mem::take(&mut self.after.parked);
        for (seq, mut parked) in all {
            let later = parked.due > self.now || self.found.len() >= self.limit;
            let known = parked.key.clone().filter(|_| by_key);
            let behind = known.as_ref().is_some_and(|key| waits.contains(key));
            if behind || (later && (known.is_some() || !by_key)) {
                waits.extend(known);
                self.after.parked.insert(seq, parked);
                continue;
            }
            let Some(input) = self.read(seq)? else {
                self.after.totals.lost += 1;
                warn!(target: "nats", "message {seq} of stream `{}` was to be tried again by flow `{}` and is gone", self.cell.name, self.setup.name);
                continue;
            };
            parked.key.clone_from(&input.key);
            if later || input.key.as_ref().is_some_and(|key| waits.contains(key)) {
                waits.extend(input.key);
                self.after.parked.insert(seq, parked);
                continue;
            }
            self.found.push(input.again(parked));
        }
        Ok(waits)
    }

    fn new_ones(&mut self, waits: &BTreeSet<Bytes>, wake: &Arc<Notify>) -> Result<(), FetchError> {
        let order = self.setup.running.order;
        if order == Order::Station && !self.after.parked.is_empty() {
            return Ok(());
        }
        let filters = Filters::one(self.setup.filter.as_bytes());
        let (mut taken, mut bytes) = (self.found.len(), 0);
        while taken < self.limit && bytes < MAX_BYTES {
            if order != Order::Station && self.after.parked.len() + self.found.len() >= MAX_PARKED {
                break;
            }
            let until = self.setup.until.unwrap_or(u64::MAX);
            let next = {
                let stream = self.cell.lock();
                let next = stream.next_matching(self.after.read + 1, &filters);
                let next = next.filter(|seq| *seq <= until);
                if next.is_none() {
                    self.cell.wake_on_change(wake);
                }
                next
            };
            let Some(seq) = next else {
                // There is nothing up to the end of the range any more.
                if let Some(until) = self.setup.until {
                    self.after.read = self.after.read.max(until);
                }
                break;
            };
            let input = self.read(seq)?;
            self.after.read = seq;
            taken += 1;
            let Some(input) = input else { continue };
            if order == Order::Key && input.key.as_ref().is_some_and(|key| waits.contains(key)) {
                let parked = Parked {
                    key: input.key,
                    ..Parked::default()
                };
                self.after.parked.insert(seq, parked);
                continue;
            }
            bytes += input.record.size();
            self.found.push(input);
        }
        Ok(())
    }

    /// A message as an input; `None` when it is gone.
    fn read(&mut self, seq: u64) -> Result<Option<Input>, FetchError> {
        let place = self.cell.lock().locate(seq);
        let Some(place) = place else { return Ok(None) };
        let record = self.cursor.record(self.shared, self.cell, seq, place)?;
        let input = |record: StoredRecord| {
            let (message, time) = (record.message(), record.time);
            Input::new(self.shared, self.setup, Some(seq), message, time)
        };
        Ok(record.map(input))
    }
}

#[cfg(test)]
mod tests {
    use super::grown;

    #[test]
    fn batches_grow_step_by_step_and_only_when_there_is_room() {
        assert_eq!([grown(1, 0), grown(40, 1 << 20)], [2, 80]);
        assert_eq!([grown(600, 0), grown(1024, 0)], [1024, 1024]);
        assert_eq!(grown(40, 9 << 20), 40);
    }
}
