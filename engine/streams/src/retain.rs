//! Letting go of messages: limits, age, purges, deletions, acknowledgements.

use crate::command::{AckKind, Acks, Purge};
use crate::config::{DiscardPolicy, RetentionPolicy, StreamConfig};
use crate::consumer::Consumer;
use crate::consumer_config::AckPolicy;
use crate::content::ContentRule;
use crate::errors::ApiError;
use crate::filters::{Filters, MatchCache};
use crate::stream::Stream;

impl Stream {
    /// Removes the oldest messages until the limits hold; `subject` is the one that grew, or `None` for all.
    pub(crate) fn enforce_limits(&mut self, subject: Option<u32>) {
        let config = &self.config;
        let (msgs, bytes) = (
            StreamConfig::limit(config.max_msgs),
            StreamConfig::limit(config.max_bytes),
        );
        let per_subject = StreamConfig::limit(config.max_msgs_per_subject);
        if let Some(max) = per_subject {
            match subject {
                Some(id) => self.trim_subject(id, max),
                None => {
                    let ids: Vec<u32> = self.log.subjects.iter().map(|(id, _, _)| id).collect();
                    for id in ids {
                        self.trim_subject(id, max);
                    }
                }
            }
        }
        if self.config.discard == DiscardPolicy::New && subject.is_some() {
            return;
        }
        if let Some(max) = msgs {
            self.trim_front(max);
        }
        while bytes.is_some_and(|max| self.log.bytes() > max) {
            self.log.remove(self.log.first_seq());
        }
    }

    /// Keeps the last `keep` messages of a subject.
    pub(crate) fn trim_subject(&mut self, id: u32, keep: u64) {
        while u64::from(self.log.subjects.get(id).count) > keep {
            self.log.remove(self.log.subjects.get(id).first);
        }
    }

    /// Keeps the last `keep` messages.
    pub(crate) fn trim_front(&mut self, keep: u64) {
        while self.log.messages() > keep {
            self.log.remove(self.log.first_seq());
        }
    }

    /// Why a purge would be refused.
    ///
    /// # Errors
    /// `sealed`, or that purging is denied.
    pub(crate) fn check_purge(&self) -> Result<(), ApiError> {
        if self.config.sealed {
            return Err(ApiError::sealed());
        }
        if self.config.deny_purge {
            return Err(ApiError::purge_failed("stream purge not permitted"));
        }
        Ok(())
    }

    /// Why deleting a message would be refused.
    ///
    /// # Errors
    /// `sealed`, that deleting is denied, or that there is no such message.
    pub(crate) fn check_delete(&self, seq: u64) -> Result<(), ApiError> {
        if self.config.sealed {
            return Err(ApiError::sealed());
        }
        if self.config.deny_delete {
            return Err(ApiError::delete_message_failed(
                "message delete not permitted",
            ));
        }
        match self.log.meta(seq) {
            Some(_) => Ok(()),
            None => Err(ApiError::sequence_not_found(seq)),
        }
    }

    /// Removes what a purge names; answers how many messages.
    pub(crate) fn purge(&mut self, purge: &Purge) -> u64 {
        let filters = Filters::new(purge.filter.as_deref());
        let before = self.log.messages();
        if filters.is_all() {
            match (purge.sequence, purge.keep) {
                (0, 0) => {
                    self.log.clear();
                    self.consumers.values_mut().for_each(Consumer::cleared);
                    self.interest.made_all_room();
                }
                (0, keep) => self.trim_front(keep),
                (sequence, _) => {
                    while self.log.messages() > 0 && self.log.first_seq() < sequence {
                        self.log.remove(self.log.first_seq());
                    }
                }
            }
        } else {
            self.purge_matching(&filters, purge);
        }
        self.tell_removed();
        before - self.log.messages()
    }

    fn purge_matching(&mut self, filters: &Filters, purge: &Purge) {
        let mut cache = MatchCache::default();
        let end = if purge.sequence > 0 {
            purge.sequence
        } else {
            self.log.last_seq() + 1
        };
        let mut left = match purge.keep {
            0 => u64::MAX,
            keep => self
                .log
                .count_matching(0, filters, &mut cache)
                .saturating_sub(keep),
        };
        let mut from = self.log.first_seq();
        while left > 0 {
            let Some(seq) = self
                .log
                .next_matching(from, filters, &mut cache)
                .filter(|seq| *seq < end)
            else {
                break;
            };
            self.log.remove(seq);
            from = seq + 1;
            left -= 1;
        }
    }

    /// Removes one message; answers whether it was there.
    pub(crate) fn delete_message(&mut self, seq: u64) -> bool {
        let gone = self.log.remove(seq).is_some();
        self.tell_removed();
        gone
    }

    /// Takes over a configuration, and makes its limits hold.
    ///
    /// # Errors
    /// What may not change, see [`StreamConfig::checked_update`].
    pub fn update_config(&mut self, config: StreamConfig) -> Result<(), ApiError> {
        let config = self.config.checked_update(config)?;
        let had_interest = self.config.retention == RetentionPolicy::Interest;
        self.content = ContentRule::read(&config.metadata)?;
        self.config = config;
        self.enforce_limits(None);
        if self.config.retention == RetentionPolicy::Interest && !had_interest {
            self.drop_unneeded(1);
        }
        self.tell_removed();
        Ok(())
    }

    /// Moves a consumer on, and removes what retention keeps no longer.
    pub(crate) fn apply_acks(&mut self, acks: &Acks) {
        for ack in &acks.acks {
            let Some(consumer) = self.consumers.get_mut(&acks.consumer) else {
                return;
            };
            let seq = ack.stream_seq.min(self.log.last_seq());
            let from = consumer.floor + 1;
            let one =
                consumer.config.ack_policy == AckPolicy::Explicit || ack.kind == AckKind::GiveUp;
            let news = if one {
                consumer.apply_done(&self.log, seq)
            } else {
                true
            };
            if !one {
                consumer.apply_done_to(seq);
            }
            match self.config.retention {
                RetentionPolicy::WorkQueue if ack.kind != AckKind::GiveUp && news => {
                    self.log.remove(seq);
                }
                RetentionPolicy::Interest if ack.kind == AckKind::GiveUp => {}
                RetentionPolicy::Interest if one => self.drop_if_unneeded(seq),
                RetentionPolicy::Interest => {
                    for seq in from..=seq {
                        self.drop_if_unneeded(seq);
                    }
                }
                RetentionPolicy::WorkQueue | RetentionPolicy::Limits => {}
            }
            self.tell_removed();
        }
    }

    /// With interest retention: removes a message that no consumer needs any more.
    pub(crate) fn drop_if_unneeded(&mut self, seq: u64) {
        let Some(subject) = self.log.meta(seq).map(|meta| meta.subject) else {
            return;
        };
        let log = &self.log;
        if !self
            .consumers
            .values_mut()
            .any(|consumer| consumer.needs(log, seq, subject))
        {
            self.log.remove(seq);
        }
    }

    /// With interest retention: the same for every message from `from` on.
    pub(crate) fn drop_unneeded(&mut self, from: u64) {
        let mut next = self.log.next_live(from);
        while let Some(seq) = next {
            self.drop_if_unneeded(seq);
            next = self.log.next_live(seq + 1);
        }
    }
}
