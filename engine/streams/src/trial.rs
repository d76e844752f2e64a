//! Whether every record of a publish would be stored, found out without storing any: for commands that are carried out whole
//! or not at all.
//!
//! The answer is exact but for two things, where it errs on the side of refusing: room that a rollup makes for records behind
//! it is not counted, and what a record expects of its subject's last message is only looked at when no record of the same
//! publish stands before it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use millstream_types::Timestamp;

use crate::command::Publish;
use crate::config::{DiscardPolicy, RetentionPolicy, StreamConfig};
use crate::dedup::IdHash;
use crate::errors::ApiError;
use crate::log::Size;
use crate::publish::{Wishes, number, size_of};
use crate::records::{RecordView, parse};
use crate::stream::Stream;

/// What would have to change for a record to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Time: the stream is full, sealed or cannot look up ids now.
    Now,
    /// What stands before it, in the stream or in the same publish: it expects something else there.
    Here,
    /// The record.
    Ever,
}

/// A record that would be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which one, counted from 0.
    pub index: usize,
    /// What its publisher would be told.
    pub error: ApiError,
    /// What would have to change.
    pub unfit: Unfit,
}

/// What the stream would be like after the records that were looked at.
#[derive(Debug)]
struct Trial<'a> {
    time: Timestamp,
    /// Ids from before this are forgotten by then.
    cutoff: i64,
    last_seq: u64,
    last_id: Option<&'a [u8]>,
    stored: bool,
    ids: BTreeSet<IdHash>,
    room: Room<'a>,
}

/// What it would hold. Only kept where a stream may be full.
#[derive(Debug)]
struct Room<'a> {
    messages: u64,
    bytes: u64,
    subjects: HashMap<&'a [u8], Subject>,
}

/// A subject's messages: those that are stored, from the oldest that is left, and what new ones count for.
#[derive(Debug)]
struct Subject {
    count: u64,
    oldest: Option<u64>,
    new: VecDeque<u64>,
}

type Refused = (ApiError, Unfit);

fn ever(error: ApiError) -> Refused {
    (error, Unfit::Ever)
}

impl Stream {
    /// The first record of a publish that would be refused; `None` when all of them would be stored or are duplicates. Changes
    /// nothing.
    pub fn misfit(&mut self, publish: &Publish) -> Option<Misfit> {
        let mut first = None;
        self.try_records(publish, |misfit| {
            first = Some(misfit);
            false
        });
        first
    }

    /// The records of a publish that no stream like this one ever takes, as far as that can be told without applying
    /// anything: for who would rather not propose them. Changes nothing.
    pub fn misfits(&mut self, publish: &Publish) -> Vec<Misfit> {
        let mut all = Vec::new();
        self.try_records(publish, |misfit| {
            let goes_on = misfit.unfit == Unfit::Ever;
            all.extend(goes_on.then_some(misfit));
            goes_on
        });
        all
    }

    /// Times never run backwards in a stream.
    fn time_of(&self, publish: &Publish) -> Timestamp {
        let last = self.log.last_time();
        last.map_or(publish.time, |last| last.max(publish.time))
    }

    /// Tries all records, as long as `told` wants to hear of those that would be refused.
    fn try_records(&mut self, publish: &Publish, mut told: impl FnMut(Misfit) -> bool) {
        let time = self.time_of(publish);
        let mut trial = Trial {
            time,
            cutoff: self.dedup.cutoff_at(time, self.config.duplicate_window),
            last_seq: self.log.last_seq(),
            last_id: None,
            stored: false,
            ids: BTreeSet::new(),
            room: Room {
                messages: self.log.messages(),
                bytes: self.log.bytes(),
                subjects: HashMap::new(),
            },
        };
        let mut offset = 0;
        for index in 0..publish.count as usize {
            let damaged = || ever(ApiError::store_failed("the record is damaged"));
            let parsed = parse(&publish.records, offset);
            let broken = parsed.is_err();
            let tried = parsed.map_err(|_| damaged()).and_then(|(record, next)| {
                offset = next;
                self.try_record(&mut trial, record)
            });
            if let Err((error, unfit)) = tried {
                let misfit = Misfit {
                    index,
                    error,
                    unfit,
                };
                // Behind a damaged record nothing can be read.
                if !told(misfit) || broken {
                    return;
                }
            }
        }
    }

    /// The same checks in the same order as a publish.
    fn try_record<'a>(
        &mut self,
        trial: &mut Trial<'a>,
        record: RecordView<'a>,
    ) -> Result<(), Refused> {
        if self.config.sealed {
            return Err((ApiError::sealed(), Unfit::Now));
        }
        let wishes = Wishes::read(record.headers);
        let own = self.config.name.as_bytes();
        if wishes.rest().stream.is_some_and(|stream| stream != own) {
            return Err(ever(ApiError::stream_not_match()));
        }
        let ids = self.ids(&wishes, &record);
        for id in ids.into_iter().flatten() {
            if trial.ids.contains(&id) {
                return Ok(());
            }
            match self.dedup.find_since(id, trial.cutoff) {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(()),
                Err(error) => {
                    let text = format!("message ids cannot be looked up: {error}");
                    return Err((ApiError::store_failed(text), Unfit::Now));
                }
            }
        }
        if !record.headers.is_empty() {
            self.try_expected(trial, record.subject, &wishes)?;
            self.wanted(&wishes, &record, trial.time).map_err(ever)?;
        }
        self.check_size(&record).map_err(ever)?;
        // What nobody is interested in is given a sequence and not kept.
        let kept =
            self.config.retention != RetentionPolicy::Interest || self.interest.has(record.subject);
        self.try_room(&mut trial.room, &record, kept)?;
        trial.ids.extend(ids.into_iter().flatten());
        trial.last_seq += 1;
        trial.last_id = Some(wishes.id.unwrap_or_default());
        trial.stored = true;
        Ok(())
    }

    fn try_expected(
        &self,
        trial: &Trial<'_>,
        subject: &[u8],
        wishes: &Wishes<'_>,
    ) -> Result<(), Refused> {
        if !trial.stored {
            let expected = self.check_expected(subject, wishes);
            return expected.map_err(|error| (error, Unfit::Here));
        }
        let here = |error| Err((error, Unfit::Here));
        let (last, rest) = (trial.last_seq, wishes.rest());
        if rest
            .last_sequence
            .is_some_and(|value| number(value) != Some(last))
        {
            return here(ApiError::wrong_last_sequence(last));
        }
        if rest.last_msg_id.is_some() && rest.last_msg_id != trial.last_id {
            let id = String::from_utf8_lossy(trial.last_id.unwrap_or_default());
            return here(ApiError::wrong_last_msg_id(&id));
        }
        match (rest.subject_sequence, rest.subject) {
            (Some(_), _) => here(ApiError::wrong_last_sequence(last)),
            (None, Some(_)) => here(ApiError::subject_sequence_missing()),
            (None, None) => Ok(()),
        }
    }

    fn try_room<'a>(
        &self,
        room: &mut Room<'a>,
        record: &RecordView<'a>,
        kept: bool,
    ) -> Result<(), Refused> {
        let config = &self.config;
        let cost = self.log.cost(size_of(record));
        let max_bytes = StreamConfig::limit(config.max_bytes);
        if max_bytes.is_some_and(|max| cost > max) {
            return Err(ever(ApiError::store_failed("maximum bytes exceeded")));
        }
        if config.discard != DiscardPolicy::New {
            return Ok(());
        }
        let full = |text: &'static str| Err((ApiError::store_failed(text), Unfit::Now));
        let mut freed = (0, 0);
        let per_subject = StreamConfig::limit(config.max_msgs_per_subject);
        if let Some(max) = per_subject {
            let known = room.subjects.entry(record.subject);
            let known = known.or_insert_with(|| self.held_of(record.subject));
            if known.count >= max {
                if config.discard_new_per_subject {
                    return full("maximum messages per subject exceeded");
                }
                freed = (1, self.oldest_cost(known));
            }
        }
        if StreamConfig::limit(config.max_msgs).is_some_and(|max| room.messages - freed.0 >= max) {
            return full("maximum messages exceeded");
        }
        if max_bytes.is_some_and(|max| room.bytes - freed.1 + cost > max) {
            return full("maximum bytes exceeded");
        }
        if kept {
            room.messages += 1;
            room.bytes += cost;
            if let Some(known) = room.subjects.get_mut(record.subject) {
                known.count += 1;
                known.new.push_back(cost);
                if per_subject.is_some_and(|max| known.count > max) {
                    room.messages -= 1;
                    room.bytes -= self.take_oldest(known);
                }
            }
        }
        Ok(())
    }

    fn held_of(&self, subject: &[u8]) -> Subject {
        let entry = self.log.subjects.find(subject);
        let entry = entry.map(|id| self.log.subjects.get(id));
        Subject {
            count: entry.map_or(0, |entry| u64::from(entry.count)),
            oldest: entry.map(|entry| entry.first),
            new: VecDeque::new(),
        }
    }

    fn oldest_cost(&self, subject: &Subject) -> u64 {
        match subject.oldest.and_then(|seq| self.log.meta(seq)) {
            Some(meta) => self.log.cost(Size(meta.size)),
            None => subject.new.front().copied().unwrap_or(0),
        }
    }

    /// Lets the oldest message go; answers what it counted for.
    fn take_oldest(&self, subject: &mut Subject) -> u64 {
        let cost = self.oldest_cost(subject);
        subject.count -= 1;
        match subject.oldest {
            Some(seq) => subject.oldest = self.log.next_of(seq),
            None => {
                subject.new.pop_front();
            }
        }
        cost
    }
}
