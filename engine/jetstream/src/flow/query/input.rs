//! Batches of a source.

use std::sync::Arc;

use millstream_cluster::StreamCell;
use millstream_pipeline::{FlowTable, Record, Rejection};
use millstream_streams::{Filters, Place};
use millstream_types::{Message, Timestamp};
use tokio::sync::Notify;

use super::super::select::AS_JSON;
use crate::read::{FetchError, FrameCursor};
use crate::service::Shared;

/// Most messages of a step, and most bytes of them.
pub(super) const STEP: usize = 8192;
const STEP_BYTES: usize = 8 << 20;

/// Places that are looked up under one lock.
const LOOKED_UP: usize = 512;

/// A source and how far it was read.
pub(super) struct Source {
    pub(super) cell: Arc<StreamCell>,
    pub(super) is_table: bool,
    /// The last sequence that was looked at.
    pub(super) read: u64,
    /// Nothing behind this sequence is looked at for now.
    pub(super) until: u64,
    filters: Filters,
    cursor: FrameCursor,
    places: Vec<(u64, Place)>,
}

/// A message that cannot be had as JSON.
pub(super) struct Fault {
    pub(super) sequence: u64,
    pub(super) why: Rejection,
}

impl Source {
    pub(super) fn new(cell: Arc<StreamCell>, table: &FlowTable, read: u64) -> Self {
        let filter = table.filter.as_deref().unwrap_or(">");
        Self {
            cell,
            is_table: table.is_table,
            read,
            until: u64::MAX,
            filters: Filters::one(filter.as_bytes()),
            cursor: FrameCursor::default(),
            places: Vec::new(),
        }
    }

    /// Ends it with what is stored now.
    pub(super) fn up_to_now(mut self) -> Self {
        self.until = self.cell.lock().last_seq();
        self
    }

    /// Messages that are left, and when the first of them was stored.
    pub(super) fn left(&self) -> (u64, Option<Timestamp>) {
        let left = self.open();
        let stream = self.cell.lock();
        let first = stream.next_matching(self.read + 1, &self.filters);
        let first = first.filter(|seq| *seq <= self.until);
        let time = first.and_then(|seq| Some(stream.locate(seq)?.time));
        (left, time)
    }

    /// A message as it is stored; `None` when it is gone or cannot be read.
    pub(super) fn message(&mut self, shared: &Shared, sequence: u64) -> Option<Message> {
        let place = self.cell.lock().locate(sequence)?;
        let record = self.cursor.record(shared, &self.cell, sequence, place);
        Some(record.ok()??.message())
    }

    /// Whether there is something to read; otherwise `wake` is told of the stream's next change.
    pub(super) fn has_more(&self, wake: &Arc<Notify>) -> bool {
        let stream = self.cell.lock();
        let more = stream.next_matching(self.read + 1, &self.filters).is_some();
        if !more {
            self.cell.wake_on_change(wake);
        }
        more
    }

    /// Messages that are to be read for now.
    pub(super) fn open(&self) -> u64 {
        let stream = self.cell.lock();
        let all = stream.count_matching(self.read + 1, &self.filters);
        match self.until.checked_add(1) {
            None => all,
            Some(next) => all.saturating_sub(stream.count_matching(next, &self.filters)),
        }
    }

    /// Whether there is something to be read for now.
    pub(super) fn is_open(&self) -> bool {
        let stream = self.cell.lock();
        let next = stream.next_matching(self.read + 1, &self.filters);
        next.is_some_and(|next| next <= self.until)
    }

    /// Looks up where the next messages lie.
    fn look_up(&mut self, most: usize) {
        self.places.clear();
        let stream = self.cell.lock();
        let mut from = self.read + 1;
        while self.places.len() < most.min(LOOKED_UP) {
            let next = stream.next_matching(from, &self.filters);
            let Some(seq) = next.filter(|seq| *seq <= self.until) else {
                break;
            };
            from = seq + 1;
            self.places
                .extend(stream.locate(seq).map(|place| (seq, place)));
        }
    }

    /// The next messages, as JSON.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn fill(
        &mut self,
        shared: &Shared,
        stage: &str,
        records: &mut Vec<Record>,
    ) -> Result<Vec<Fault>, FetchError> {
        let (mut faults, mut bytes, mut taken) = (Vec::new(), 0, 0);
        while taken < STEP && bytes < STEP_BYTES {
            self.look_up(STEP - taken);
            if self.places.is_empty() {
                break;
            }
            for index in 0..self.places.len() {
                let (sequence, place) = self.places[index];
                let stored = self.cursor.record(shared, &self.cell, sequence, place)?;
                self.read = sequence;
                taken += 1;
                let Some(stored) = stored else { continue };
                let mut message = stored.message();
                bytes += message.subject.len() + message.headers.len() + message.payload.len();
                match AS_JSON.convert(&*shared.schemas, &message.headers, &message.payload) {
                    Ok(None) => {}
                    Ok(Some((headers, payload))) => {
                        (message.headers, message.payload) = (headers, payload);
                    }
                    Err(error) => {
                        let why = Rejection::new(stage, "undecodable", &error.to_string());
                        faults.push(Fault { sequence, why });
                        continue;
                    }
                }
                records.push(Record {
                    message,
                    time: stored.time,
                    sequence: Some(sequence),
                    ..Record::default()
                });
                if bytes >= STEP_BYTES {
                    break;
                }
            }
        }
        Ok(faults)
    }
}
