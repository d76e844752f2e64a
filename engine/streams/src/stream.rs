//! A stream: the state machine behind every command, and the questions readers ask it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_types::{Timestamp, filters_overlap, matches};

use crate::command::Command;
use crate::config::{StorageType, StreamConfig};
use crate::consumer::Consumer;
use crate::content::ContentRule;
use crate::dedup::Dedup;
use crate::errors::ApiError;
use crate::filters::{Filters, MatchCache};
use crate::info::{StreamInfo, StreamState};
use crate::interest::Interest;
use crate::log::{Log, Place};
use crate::members::ConsumerAction;
use crate::pages::Pages;

/// The position file of frames that are kept in memory by their owner.
pub const MEMORY_FILE: u32 = u32::MAX;

/// One stream. Changed only by commands, in log order; the same commands give the same state.
#[derive(Debug)]
pub struct Stream {
    /// Its number in the log.
    pub id: u32,
    /// Its configuration with all defaults. Changed by [`Stream::apply`] only.
    pub config: StreamConfig,
    /// When it was created.
    pub created: Timestamp,
    pub(crate) log: Log,
    pub(crate) dedup: Dedup,
    /// Set when content makes duplicates too; follows the configuration.
    pub(crate) content: Option<ContentRule>,
    pub(crate) last_msg_id: Vec<u8>,
    /// Its consumers by name.
    pub consumers: BTreeMap<String, Consumer>,
    /// What they are about, and who of them waits.
    pub(crate) interest: Interest,
    /// No consumer cares about the removal of a message below this.
    pub(crate) watch_floor: u64,
    /// Messages held below this are older than `max_age` would allow, and stay for ever. Found again after a restart.
    pub(crate) aged: u64,
}

impl Stream {
    /// An empty stream. `config` has passed [`StreamConfig::checked`]. Without `pages` all of its index stays in memory.
    #[must_use]
    pub fn new(id: u32, config: StreamConfig, created: Timestamp, pages: Option<Pages>) -> Self {
        let in_memory = config.storage == StorageType::Memory;
        let mut dedup = Dedup::new(id, created);
        if let Some(pages) = pages.as_ref().filter(|_| !in_memory) {
            dedup.read_from(Arc::clone(&pages.source));
        }
        Self {
            id,
            log: Log::new(config.first_seq, in_memory, pages),
            dedup,
            content: ContentRule::read(&config.metadata).unwrap_or_default(),
            config,
            created,
            last_msg_id: Vec::new(),
            consumers: BTreeMap::new(),
            interest: Interest::default(),
            watch_floor: u64::MAX,
            aged: 0,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether a message with this subject belongs into the stream.
    #[must_use]
    pub fn captures(&self, subject: &[u8]) -> bool {
        self.config
            .subjects
            .iter()
            .any(|filter| matches(filter.as_bytes(), subject))
    }

    /// Whether some message would belong into the stream and to one of `subjects` too.
    #[must_use]
    pub fn overlaps(&self, subjects: &[String]) -> bool {
        let overlaps = |own: &String| {
            subjects
                .iter()
                .any(|other| filters_overlap(own.as_bytes(), other.as_bytes()))
        };
        self.config.subjects.iter().any(overlaps)
    }

    /// Carries out a command for this stream that neither brings records nor makes, changes or removes the stream. Answers
    /// how many messages it removed, for purges, deletions and expiry.
    ///
    /// # Errors
    /// Why the stream refuses it. Refusing changes nothing.
    pub fn apply(&mut self, command: Command) -> Result<u64, ApiError> {
        let applied = self.carry_out(command);
        self.log.relax();
        applied
    }

    fn carry_out(&mut self, command: Command) -> Result<u64, ApiError> {
        match command {
            Command::Acks(acks) => {
                self.apply_acks(&acks);
                self.interest.made_room(&acks.consumer);
                Ok(0)
            }
            Command::Purge(purge) => {
                self.check_purge()?;
                Ok(self.purge(&purge))
            }
            Command::DeleteMessage { seq, .. } => {
                self.check_delete(seq)?;
                self.delete_message(seq);
                Ok(1)
            }
            Command::CreateConsumer {
                name, time, config, ..
            } => {
                self.check_consumer(&name, &config, ConsumerAction::Create)?;
                if !self.consumers.contains_key(&name) {
                    self.create_consumer(&name, time, *config);
                }
                Ok(0)
            }
            Command::UpdateConsumer { name, config, .. } => {
                self.check_consumer(&name, &config, ConsumerAction::Update)?;
                self.update_consumer(&name, *config);
                Ok(0)
            }
            Command::DeleteConsumer { name, .. } => match self.delete_consumer(&name) {
                true => Ok(0),
                false => Err(ApiError::consumer_not_found()),
            },
            Command::Publish(_)
            | Command::Due(_)
            | Command::CreateStream { .. }
            | Command::UpdateStream { .. }
            | Command::DeleteStream { .. } => Err(ApiError::bad_request()),
        }
    }

    /// Gives sequences to messages that were acknowledged and cannot be read any more; answers the first and the last.
    pub fn lose(&mut self, count: u32) -> (u64, u64) {
        let first = self.log.last_seq() + 1;
        let time = self.log.last_time().unwrap_or(self.created);
        for _ in 0..count {
            self.log.skip(time);
        }
        (first, self.log.last_seq())
    }

    /// The lowest sequence held; one above the last when empty.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.log.first_seq()
    }

    /// The highest sequence ever given.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.log.last_seq()
    }

    /// Messages held.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.log.messages()
    }

    /// Bytes they count for in `max_bytes`.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Where a message lies; `None` when it is not held.
    #[must_use]
    pub fn locate(&self, seq: u64) -> Option<Place> {
        self.log.place(seq)
    }

    /// A message's subject; `None` when it is not held.
    #[must_use]
    pub fn subject_of(&self, seq: u64) -> Option<&[u8]> {
        Some(self.log.subjects.name(self.log.meta(seq)?.subject))
    }

    /// The first message held at or after `from`.
    #[must_use]
    pub fn next_live(&self, from: u64) -> Option<u64> {
        self.log.next_live(from)
    }

    /// The first message held at or after `from` whose subject matches one filter.
    #[must_use]
    pub fn next_for_filter(&self, from: u64, filter: &[u8]) -> Option<u64> {
        self.next_matching(from, &Filters::one(filter))
    }

    /// The first message held at or after `from` that matches.
    #[must_use]
    pub fn next_matching(&self, from: u64, filters: &Filters) -> Option<u64> {
        self.log
            .next_matching(from, filters, &mut MatchCache::default())
    }

    /// The last message whose subject matches a filter.
    #[must_use]
    pub fn last_matching(&self, filter: &[u8]) -> Option<u64> {
        self.log.last_matching(&Filters::one(filter))
    }

    /// The last message of a subject.
    #[must_use]
    pub fn last_for(&self, subject: &[u8]) -> Option<u64> {
        self.log.last_for(subject)
    }

    /// The first message stored at or after `time`.
    #[must_use]
    pub fn first_since(&self, time: Timestamp) -> Option<u64> {
        self.log.first_since(time)
    }

    /// How many messages that match are held at or after `from`.
    #[must_use]
    pub fn count_matching(&self, from: u64, filters: &Filters) -> u64 {
        self.log
            .count_matching(from, filters, &mut MatchCache::default())
    }

    /// Messages held per subject that matches a filter, by subject.
    #[must_use]
    pub fn subjects(&self, filter: &[u8]) -> BTreeMap<String, u64> {
        let filters = Filters::one(filter);
        let matching = self
            .log
            .subjects
            .iter()
            .filter(|(_, name, _)| filters.matches(name));
        matching
            .map(|(_, name, entry)| {
                (
                    String::from_utf8_lossy(name).into_owned(),
                    u64::from(entry.count),
                )
            })
            .collect()
    }

    /// Sequences between the first and the last that are gone; the first million of them.
    #[must_use]
    pub fn deleted(&self) -> Vec<u64> {
        const MOST: usize = 1_000_000;
        self.log.deleted(MOST)
    }

    /// What the stream holds, without subjects and deleted sequences.
    #[must_use]
    pub fn state(&self) -> StreamState {
        let log = &self.log;
        StreamState {
            messages: log.messages(),
            bytes: log.bytes(),
            first_seq: log.first_seq(),
            first_ts: log.place(log.first_seq()).map(|place| place.time),
            last_seq: log.last_seq(),
            last_ts: log.last_time(),
            num_subjects: log.subjects.len() as u64,
            subjects: None,
            num_deleted: log.last_seq() + 1 - log.first_seq() - log.messages(),
            deleted: None,
            consumer_count: self.consumers.len(),
        }
    }

    /// The stream as STREAM.INFO answers it.
    #[must_use]
    pub fn info(&self, now: Timestamp) -> StreamInfo {
        StreamInfo {
            config: self.config.clone(),
            created: self.created,
            state: self.state(),
            cluster: None,
            ts: now,
        }
    }

    /// Adds the bytes this stream still needs to each journal file's sum. Files it needs nothing of are left out.
    pub fn live_files(&self, sums: &mut BTreeMap<u32, u64>) {
        for (file, bytes) in self.log.files() {
            if *file != MEMORY_FILE {
                *sums.entry(*file).or_default() += bytes;
            }
        }
    }

    /// Offsets of the memory frames ([`MEMORY_FILE`]) that still hold a message. Looks at every message.
    #[must_use]
    pub fn live_positions(&self) -> BTreeSet<u64> {
        let mut offsets = BTreeSet::new();
        for chunk in self.log.chunks() {
            let mut last = None;
            for (seq, _) in chunk.iter() {
                let position = chunk.run(seq).position;
                if position.file == MEMORY_FILE && last != Some(position.offset) {
                    last = Some(position.offset);
                    offsets.insert(position.offset);
                }
            }
        }
        offsets
    }

    /// Tells consumers which messages are gone. `watch_floor` keeps this from costing a look at every consumer: the usual
    /// removal is of a message everybody is past.
    pub(crate) fn tell_removed(&mut self) {
        if self.log.removed.is_empty() {
            return;
        }
        let mut removed = std::mem::take(&mut self.log.removed);
        for (seq, subject) in removed.drain(..) {
            if seq < self.watch_floor {
                continue;
            }
            let log = &self.log;
            let name = log.subjects.name(subject);
            self.interest
                .removed(&mut self.consumers, name, |consumer| {
                    consumer.removed(log, seq, subject);
                });
            if self.interest.floor_is_due() {
                self.look_for_floor();
            }
        }
        self.log.removed = removed;
    }

    /// Consumers changed in a way that may make them care about older messages.
    pub(crate) fn watch_again(&mut self) {
        self.log.track = !self.consumers.is_empty();
        self.look_for_floor();
    }

    fn look_for_floor(&mut self) {
        self.watch_floor = self
            .consumers
            .values()
            .map(Consumer::watches_from)
            .min()
            .unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests;
