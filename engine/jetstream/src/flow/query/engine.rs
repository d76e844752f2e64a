//! The steps of a query between two commits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_pipeline::{
    Batch, Dataflow, DataflowStatus, Effects, Origin, Output, Record, Rejection,
};
use millstream_types::Timestamp;
use tokio::sync::Notify;

use super::input::{STEP, Source};
use super::place::{Place, SourcePlace};
use crate::service::Shared;

/// What is gathered before it is committed: so many messages, bytes of them or of results, or so much time.
const MESSAGES: u64 = 64 << 10;
const BYTES: usize = 16 << 20;
const TIME: Duration = Duration::from_millis(100);

/// A query at work, and where it stands: ahead of what is committed.
pub(super) struct Engine {
    pub(super) dataflow: Box<dyn Dataflow>,
    pub(super) sources: Vec<Source>,
    pub(super) place: Place,
    /// Late rows before the query was made anew.
    late_before: u64,
    stage: String,
    records: Vec<Record>,
}

/// What some steps come to.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) outputs: Vec<Output>,
    pub(super) rejected: Vec<(Origin, Rejection)>,
    pub(super) late: Vec<(Origin, Rejection)>,
    pub(super) state: HashMap<Bytes, Option<Bytes>>,
    /// Where the query stands then.
    pub(super) place: Place,
    pub(super) messages: u64,
    /// Of messages: all of them may be late or rejected, and are stored elsewhere then.
    read: usize,
    bytes: usize,
}

impl Gathered {
    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
            && self.outputs.is_empty()
            && self.rejected.is_empty()
            && self.late.is_empty()
            && self.state.is_empty()
    }

    fn take(&mut self, effects: Effects) -> Result<(), Stop> {
        if let Some(why) = effects.failed {
            return Err(Stop::Query(why));
        }
        let sizes = effects.outputs.iter();
        self.bytes += sizes
            .map(|output| output.subject.len() + output.payload.len())
            .sum::<usize>();
        self.outputs.extend(effects.outputs);
        self.rejected.extend(effects.rejected);
        self.late.extend(effects.late);
        let changes = effects.state.into_iter();
        self.state
            .extend(changes.map(|change| (change.key, change.value)));
        Ok(())
    }
}

/// Why no further step can be taken.
#[derive(Debug)]
pub(super) enum Stop {
    /// The query says that it cannot go on.
    Query(String),
    /// A message cannot be read.
    Read(String),
}

/// What comes after the steps.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) gathered: Gathered,
    /// Whether everything that is stored was read.
    pub(super) caught_up: bool,
    pub(super) status: DataflowStatus,
}

impl Engine {
    pub(super) fn new(
        dataflow: Box<dyn Dataflow>,
        sources: Vec<Source>,
        place: Place,
        flow: &str,
    ) -> Self {
        Self {
            dataflow,
            sources,
            late_before: place.totals.late,
            place,
            stage: format!("flow:{flow}"),
            records: Vec::with_capacity(STEP),
        }
    }

    /// Takes steps until there is enough to commit, or nothing to read: then `wake` is told of what comes.
    ///
    /// # Errors
    /// When the query cannot go on; it is of no use any more then.
    pub(super) fn turn(&mut self, shared: &Shared, wake: &Arc<Notify>) -> Result<Turn, Stop> {
        let begun = Instant::now();
        let mut gathered = Gathered::default();
        let caught_up = loop {
            self.place.clock = self.place.clock.max(Timestamp::now());
            let unread = self.unread(wake);
            let open = self.open(&unread);
            let Some(source) = self.choose(&open) else {
                let due = self.dataflow.status().next_wake;
                if due.is_some_and(|due| due <= self.place.clock) {
                    gathered.take(self.dataflow.step(&[], self.place.clock))?;
                }
                break true;
            };
            self.step(shared, (source, &unread), &mut gathered)?;
            let full = gathered.bytes >= BYTES || gathered.read >= BYTES;
            if full || gathered.messages >= MESSAGES || begun.elapsed() >= TIME {
                break false;
            }
        };
        if let Some(told) = self.place.told {
            // The version before it has told these.
            let news = |output: &Output| output.closes.is_none_or(|closes| closes > told);
            gathered.outputs.retain(news);
        }
        let status = self.dataflow.status();
        let totals = &mut self.place.totals;
        totals.inputs += gathered.messages;
        totals.outputs += gathered.outputs.len() as u64;
        totals.rejected += gathered.rejected.len() as u64;
        totals.late = self.late_before + status.late;
        self.place.watermark = status.watermark.max(self.place.watermark);
        if !gathered.is_empty() {
            self.place.epoch += 1;
        }
        for (source, place) in self.sources.iter().zip(&mut self.place.sources) {
            place.read = source.read;
        }
        gathered.place = self.place.clone();
        Ok(Turn {
            gathered,
            caught_up,
            status,
        })
    }

    fn step(
        &mut self,
        shared: &Shared,
        (source, unread): (usize, &[usize]),
        gathered: &mut Gathered,
    ) -> Result<(), Stop> {
        self.records.clear();
        let before = self.sources[source].read;
        let filled = self.sources[source].fill(shared, &self.stage, &mut self.records);
        let faults = filled.map_err(|error| Stop::Read(error.to_string()))?;
        gathered.messages += (self.records.len() + faults.len()) as u64;
        gathered.read += self.records.iter().map(Record::size).sum::<usize>();
        gathered.rejected.extend(faults.into_iter().map(|fault| {
            let sequence = fault.sequence;
            (Origin::Message { source, sequence }, fault.why)
        }));
        // All of them were gone: the place moved, and nothing else.
        if self.records.is_empty() && self.sources[source].read == before {
            return Ok(());
        }
        let mut batches = vec![Batch {
            source,
            records: &self.records,
        }];
        let others = unread.iter().filter(|other| **other != source);
        batches.extend(others.map(|other| Batch {
            source: *other,
            records: &[],
        }));
        gathered.take(self.dataflow.step(&batches, self.place.clock))
    }

    /// The sources that have more.
    fn unread(&self, wake: &Arc<Notify>) -> Vec<usize> {
        let all = 0..self.sources.len();
        all.filter(|index| self.sources[*index].has_more(wake))
            .collect()
    }

    /// Those of them that may be read for now. The others are not idle: they have more.
    fn open(&self, unread: &[usize]) -> Vec<usize> {
        let open = |index: &&usize| {
            let source = &self.sources[**index];
            source.until == u64::MAX || source.is_open()
        };
        unread.iter().filter(open).copied().collect()
    }

    /// It was built and has taken over: nothing holds it up any more.
    pub(super) fn released(&mut self, place: &Place) {
        self.place = place.clone();
        for (source, place) in self.sources.iter_mut().zip(&place.sources) {
            (source.read, source.until) = (place.read, u64::MAX);
        }
    }

    /// Messages that are to be read for now.
    pub(super) fn behind(&self) -> u64 {
        self.sources.iter().map(Source::open).sum()
    }

    /// The source that is read next: tables before all others when the query is new, then whoever's event time is furthest
    /// behind.
    fn choose(&mut self, unread: &[usize]) -> Option<usize> {
        if !self.place.primed {
            let table = unread.iter().find(|index| self.sources[**index].is_table);
            if table.is_some() {
                return table.copied();
            }
            self.place.primed = true;
        }
        if unread.len() < 2 {
            return unread.first().copied();
        }
        let times = self.dataflow.status().sources;
        let time = |index: &usize| {
            let watermark = times.get(*index).copied().flatten();
            // A table has no time of its own: it is as new as can be.
            (!self.sources[*index].is_table, watermark)
        };
        unread.iter().copied().min_by_key(time)
    }
}

/// Where the sources stand, in the query's order.
pub(super) fn places(sources: &[Source]) -> Vec<SourcePlace> {
    let place = |source: &Source| SourcePlace {
        station: source.cell.name.clone(),
        stream: source.cell.id,
        read: source.read,
    };
    sources.iter().map(place).collect()
}
