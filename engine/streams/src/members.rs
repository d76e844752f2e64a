//! A stream's consumers: making, changing and removing them, and everything addressed to one of them by name.

use std::time::Duration;

use bytes::Bytes;
use millstream_types::{Timestamp, filters_overlap};
use serde::Deserialize;

use crate::command::Ack;

use crate::config::{RetentionPolicy, StreamConfig};
use crate::consumer::Consumer;
use crate::consumer_config::ConsumerConfig;
use crate::deliver::Action;
use crate::errors::ApiError;
use crate::info::ConsumerInfo;
use crate::interest::WaitsFor;
use crate::pull::{PullRequest, status_left};
use crate::stream::Stream;

/// What a create request may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsumerAction {
    /// Make it, or change it where that is allowed.
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    /// Only make it.
    Create,
    /// Only change it.
    Update,
}

impl Stream {
    /// Checks a create request for the consumer `name` against the stream and its other consumers; `config` has passed
    /// [`ConsumerConfig::checked`]. The same configuration again is always allowed.
    ///
    /// # Errors
    /// The first rule it breaks, with nats-server's number.
    pub fn check_consumer(
        &self,
        name: &str,
        config: &ConsumerConfig,
        action: ConsumerAction,
    ) -> Result<(), ApiError> {
        let Some(existing) = self.consumers.get(name) else {
            if action == ConsumerAction::Update {
                return Err(ApiError::consumer_does_not_exist());
            }
            if StreamConfig::limit(self.config.max_consumers)
                .is_some_and(|max| self.consumers.len() as u64 >= max)
            {
                return Err(ApiError::maximum_consumers());
            }
            return self.check_share(name, config);
        };
        if existing.config == *config {
            return Ok(());
        }
        if action == ConsumerAction::Create {
            return Err(ApiError::consumer_already_exists());
        }
        check_change(&existing.config, config)?;
        self.check_share(name, config)
    }

    /// A work queue hands every message to one consumer only, so their filters must not overlap.
    fn check_share(&self, name: &str, config: &ConsumerConfig) -> Result<(), ApiError> {
        if self.config.retention != RetentionPolicy::WorkQueue {
            return Ok(());
        }
        let mut others = self
            .consumers
            .values()
            .filter(|other| other.name != name)
            .peekable();
        if others.peek().is_some() && config.filters().next().is_none() {
            return Err(ApiError::workqueue_multiple_unfiltered());
        }
        let clash = |other: &Consumer| {
            let overlaps = |theirs: &str| {
                config
                    .filters()
                    .any(|ours| filters_overlap(ours.as_bytes(), theirs.as_bytes()))
            };
            other.config.filters().next().is_none() || other.config.filters().any(overlaps)
        };
        if others.any(clash) {
            Err(ApiError::workqueue_not_unique())
        } else {
            Ok(())
        }
    }

    /// Makes a consumer.
    pub(crate) fn create_consumer(&mut self, name: &str, time: Timestamp, config: ConsumerConfig) {
        let consumer = Consumer::new(&self.config.name, name, config, time, &self.log);
        self.interest.set(name, consumer.config.filters());
        self.consumers.insert(name.to_owned(), consumer);
        self.watch_again();
    }

    /// Changes a consumer's configuration.
    pub(crate) fn update_consumer(&mut self, name: &str, config: ConsumerConfig) {
        let Some(consumer) = self
            .consumers
            .get_mut(name)
            .filter(|consumer| consumer.config != config)
        else {
            return;
        };
        consumer.set_config(config);
        self.interest.set(name, consumer.config.filters());
        self.interest.wake(name);
        if self.config.retention == RetentionPolicy::Interest {
            self.drop_unneeded(1);
        }
        self.tell_removed();
        self.watch_again();
    }

    /// Removes a consumer; answers whether it was there.
    pub(crate) fn delete_consumer(&mut self, name: &str) -> bool {
        if self.consumers.remove(name).is_none() {
            return false;
        }
        self.interest.remove(name);
        if self.config.retention == RetentionPolicy::Interest {
            self.drop_unneeded(1);
            self.tell_removed();
        }
        self.watch_again();
        true
    }

    /// What the consumer wants done next; `None` when there is no such consumer. Call until `Idle`, `WaitUntil` or `Expired`.
    pub fn poll_consumer(&mut self, name: &str, now: Timestamp) -> Option<Action> {
        let action = self.consumers.get_mut(name)?.poll(&self.log, now);
        self.log.relax();
        Some(action)
    }

    /// The consumer said that it wants messages and has nothing to do: answers the number by which [`Self::take_woken`]
    /// names it when that may have changed. `None` when there is no such consumer.
    pub fn wait_for_messages(&mut self, name: &str) -> Option<u32> {
        let what = if self.consumers.get(name)?.is_full() {
            WaitsFor::Room
        } else {
            WaitsFor::Message
        };
        self.interest.wait(name, what)
    }

    /// Whether [`Self::take_woken`] has something.
    #[must_use]
    pub fn has_woken(&self) -> bool {
        self.interest.has_woken()
    }

    /// The consumers that waited, and have to be polled again since the last call; those that are gone too.
    pub fn take_woken(&mut self) -> Vec<u32> {
        self.interest.take_woken()
    }

    /// Takes a pull request.
    ///
    /// # Errors
    /// The status to answer with, such as `409 Exceeded MaxWaiting`; `503` when there is no such consumer, as when nobody
    /// listens on the request's subject.
    pub fn pull(&mut self, name: &str, request: PullRequest, now: Timestamp) -> Result<(), String> {
        match self.consumers.get_mut(name) {
            Some(consumer) => consumer.pull(request, now),
            None => Err("503".to_owned()),
        }
    }

    /// Clients acknowledged or terminated messages, or they were delivered as often as allowed: none of them is delivered
    /// again by this leader. Answers what to propose: not what was said before, or was never out.
    pub fn acknowledge(&mut self, name: &str, mut acks: Vec<Ack>, now: Timestamp) -> Vec<Ack> {
        match self.consumers.get_mut(name) {
            Some(consumer) => consumer.acknowledge(&self.log, &mut acks, now),
            None => acks.clear(),
        }
        self.interest.made_room(name);
        acks
    }

    /// What [`Self::acknowledge`] gave to be proposed did not get into the log: those messages are delivered again. Poll
    /// again after it.
    pub fn unacknowledge(&mut self, name: &str, acks: &[Ack]) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.unacknowledge(acks);
        }
    }

    /// A client wants the delivery number `delivered` of a message again, at once or after `delay`. Answers whether it was
    /// out.
    pub fn nak(
        &mut self,
        name: &str,
        seq: u64,
        delivered: u64,
        delay: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        self.consumers
            .get_mut(name)
            .is_some_and(|consumer| consumer.nak(seq, delivered, delay, now))
    }

    /// A client is still at work on a message. Answers whether it was out.
    pub fn progress(&mut self, name: &str, seq: u64, now: Timestamp) -> bool {
        self.consumers
            .get_mut(name)
            .is_some_and(|consumer| consumer.progress(seq, now))
    }

    /// A delivery to `to` reached nobody: it is made again without counting, and requests from there are dropped. Poll
    /// again after it.
    pub fn undelivered(&mut self, name: &str, seq: u64, to: &[u8], now: Timestamp) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.undelivered(seq, to, now);
        }
    }

    /// A delivery of `seq` to `to` cannot be made, because the message is damaged: the request it was for may get another one.
    /// Answers the status to send there when that request is over already.
    pub fn unreadable(&mut self, name: &str, seq: u64, to: &[u8]) -> Option<Bytes> {
        self.log.set_unreadable(seq);
        let consumer = self.consumers.get_mut(name)?;
        let over = !consumer.config.is_push() && !consumer.waiting.give_back(to);
        // As when it had expired with one message to come: clients ask again.
        over.then(|| status_left("408 Request Timeout", 1, 0))
    }

    /// Takes all waiting requests of a consumer away; answers where their clients wait.
    pub fn take_waiting(&mut self, name: &str) -> Vec<Bytes> {
        self.consumers
            .get_mut(name)
            .map(Consumer::take_waiting)
            .unwrap_or_default()
    }

    /// Does not serve the requests that are answered on `reply` until they are released, because who reads there is behind:
    /// others of the consumer go on. Answers whether there are any.
    pub fn hold_requests(&mut self, name: &str, reply: &[u8]) -> bool {
        self.consumers
            .get_mut(name)
            .is_some_and(|consumer| consumer.waiting.hold(reply))
    }

    /// Serves them again. Poll again after it.
    pub fn release_requests(&mut self, name: &str, reply: &[u8]) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.waiting.release(reply);
        }
    }

    /// Drops waiting requests whose client is gone; answers how many.
    pub fn retain_waiting(&mut self, name: &str, keep: impl FnMut(&[u8]) -> bool) -> usize {
        self.consumers
            .get_mut(name)
            .map_or(0, |consumer| consumer.waiting.retain(keep))
    }

    /// Whether somebody listens on a push consumer's deliver subject.
    pub fn set_interest(&mut self, name: &str, interest: bool, now: Timestamp) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.set_interest(interest, now);
        }
    }

    /// A client answered a flow control question; `subject` is the whole `$JS.FC.…`. Answers whether it was asked there.
    pub fn flow_control_reply(&mut self, name: &str, subject: &[u8]) -> bool {
        self.consumers
            .get_mut(name)
            .is_some_and(|consumer| consumer.flow.answered(subject))
    }

    /// A consumer as CONSUMER.INFO answers it; `None` when there is none.
    pub fn consumer_info(&mut self, name: &str, now: Timestamp) -> Option<ConsumerInfo> {
        Some(
            self.consumers
                .get_mut(name)?
                .info(&self.config.name, &self.log, now),
        )
    }
}

/// What may not change about a consumer.
fn check_change(old: &ConsumerConfig, new: &ConsumerConfig) -> Result<(), ApiError> {
    let refuse = |what: &str| {
        Err(ApiError::consumer_create_failed(format!(
            "{what} can not be updated"
        )))
    };
    if old.deliver_policy != new.deliver_policy {
        return refuse("deliver policy");
    }
    if old.opt_start_seq != new.opt_start_seq {
        return refuse("start sequence");
    }
    if old.opt_start_time != new.opt_start_time {
        return refuse("start time");
    }
    if old.ack_policy != new.ack_policy {
        return refuse("ack policy");
    }
    if old.replay_policy != new.replay_policy {
        return refuse("replay policy");
    }
    if old.idle_heartbeat != new.idle_heartbeat {
        return refuse("heart beats");
    }
    if old.flow_control != new.flow_control {
        return refuse("flow control");
    }
    if old.max_waiting != new.max_waiting {
        return refuse("max waiting");
    }
    if old.durable_name != new.durable_name {
        return Err(ApiError::consumer_name_exists());
    }
    if old.is_push() != new.is_push() {
        let what = if old.is_push() {
            "push consumer to pull"
        } else {
            "pull consumer to push"
        };
        return Err(ApiError::consumer_create_failed(format!(
            "can not update {what} based"
        )));
    }
    Ok(())
}
