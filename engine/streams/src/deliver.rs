//! A consumer's next step: the leader polls it, and does what it says.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use millstream_types::{HeadersBuilder, Timestamp};

use crate::ack::Decimal;
use crate::consumer::{Ahead, Consumer, Pending};
use crate::consumer_config::ReplayPolicy;
use crate::log::{Log, Place};
use crate::pull::{Due, status, status_left};

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Its sequence in the stream.
    pub seq: u64,
    /// The number of this delivery.
    pub consumer_seq: u64,
    /// Where its record lies.
    pub place: Place,
    /// The subject to send it to; the message's own subject goes with it.
    pub deliver_to: Bytes,
    /// The reply subject: where to acknowledge.
    pub reply: Bytes,
    /// How often it has been delivered, this time included.
    pub delivered: u64,
    /// Messages ahead after it.
    pub pending: u64,
    /// Bytes of its subject, headers and payload.
    pub size: u32,
}

/// What a consumer wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message.
    Deliver(Deliver),
    /// Send a status.
    Status {
        /// Where it goes.
        to: Bytes,
        /// The header block with the status line.
        headers: Bytes,
        /// The reply subject, for flow control.
        reply: Option<Bytes>,
    },
    /// A message was delivered as often as allowed: raise the advisory and propose `AckKind::GiveUp` for it.
    MaxDeliveries {
        /// Which one.
        seq: u64,
        /// How often.
        deliveries: u64,
    },
    /// Nothing before this time, unless the stream or the consumer changes.
    WaitUntil {
        /// When to poll again.
        time: Timestamp,
        /// Whether a change of the stream may bring something; if not, only what is addressed to the consumer does.
        wants_messages: bool,
    },
    /// Nothing until the stream or the consumer changes.
    Idle {
        /// Whether a change of the stream may bring something; if not, only what is addressed to the consumer does.
        wants_messages: bool,
    },
    /// Nobody used it for longer than its threshold: propose `DeleteConsumer`.
    Expired,
}

/// How much is put aside for reply subjects at a time.
const REPLY_SPACE: usize = 16 * 1024;

impl Consumer {
    /// What to do next. Call until `Idle` or `WaitUntil`.
    pub(crate) fn poll(&mut self, log: &Log, now: Timestamp) -> Action {
        let last_active = *self.last_active.get_or_insert(now);
        self.catch_up();
        if let Some(status) = self.after.take() {
            return status;
        }
        if let Some(status) = self.due_request(now) {
            return status;
        }
        self.expire_pending(now);
        if let Some(action) = self.flow_step(now) {
            return action;
        }
        let mut held_until = self.held_until(now);
        if held_until.is_none() {
            if let Some(action) = self.next_message(log, now) {
                return action;
            }
            held_until = self.held_until(now);
        }
        let paused = self.config.pause_until.is_some_and(|until| until > now);
        if (held_until.is_none() || paused)
            && let Some(status) = self.impatient()
        {
            return status;
        }
        self.wait(now, last_active, held_until)
    }

    /// The end of a request that does not wait, when there is nothing more for it.
    fn impatient(&mut self) -> Option<Action> {
        if !self.has_demand() {
            return None;
        }
        let waiter = self.waiting.take_impatient()?;
        let headers = match (waiter.got, waiter.bytes.unwrap_or(0)) {
            (0, _) => status("404 No Messages"),
            (_, bytes) => status_left("408 Request Timeout", waiter.left, bytes),
        };
        Some(Action::Status {
            to: waiter.reply,
            headers,
            reply: None,
        })
    }

    /// Whether somebody is there to take a message.
    fn has_demand(&self) -> bool {
        if self.config.is_push() {
            self.interest
        } else {
            !self.waiting.is_empty()
        }
    }

    /// Until when deliveries are held back, if they are.
    fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        let paused = self.config.pause_until.unwrap_or(Timestamp(i64::MIN));
        let until = paused.max(self.not_before);
        (until > now).then_some(until)
    }

    fn wait(&mut self, now: Timestamp, last_active: Timestamp, held: Option<Timestamp>) -> Action {
        let mut next: Option<Timestamp> = None;
        let mut consider = |at: Option<Timestamp>| {
            next = match (next, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        };
        consider(held);
        consider(self.waiting.due());
        consider(self.timers.peek().map(|(deadline, _)| Timestamp(deadline)));
        if self.interest && !self.config.idle_heartbeat.is_zero() {
            consider(
                self.last_sent
                    .map(|last| last.plus(self.config.idle_heartbeat)),
            );
        }
        if !self.has_demand()
            && !self.waiting.has_held()
            && let Some(threshold) = self.config.inactive_after()
        {
            let at = last_active.plus(threshold);
            if at <= now {
                return Action::Expired;
            }
            consider(Some(at));
        }
        let wants_messages = self.has_demand();
        match next {
            Some(time) => Action::WaitUntil {
                time,
                wants_messages,
            },
            None => Action::Idle { wants_messages },
        }
    }

    /// A waiting request that is over or has to hear from us.
    fn due_request(&mut self, now: Timestamp) -> Option<Action> {
        match self.waiting.take_due(now)? {
            Due::Expired(waiter) => {
                self.last_active = Some(now);
                let headers = status_left(
                    "408 Request Timeout",
                    waiter.left,
                    waiter.bytes.unwrap_or(0),
                );
                Some(Action::Status {
                    to: waiter.reply,
                    headers,
                    reply: None,
                })
            }
            Due::Heartbeat(to) => Some(Action::Status {
                to,
                headers: self.heartbeat(),
                reply: None,
            }),
        }
    }

    fn heartbeat(&self) -> Bytes {
        let mut headers = HeadersBuilder::with_status("100 Idle Heartbeat")
            .with(
                "Nats-Last-Consumer",
                &self.delivered.consumer_seq.to_string(),
            )
            .with("Nats-Last-Stream", &self.delivered.stream_seq.to_string());
        if let Some(question) = self.flow.open_question() {
            headers.push("Nats-Consumer-Stalled", &String::from_utf8_lossy(question));
        }
        headers.build()
    }

    /// Flow control and heartbeats of a push consumer.
    fn flow_step(&mut self, now: Timestamp) -> Option<Action> {
        if !self.interest {
            return None;
        }
        if self.config.flow_control
            && let Some(reply) = self.flow.ask()
        {
            let headers = status("100 FlowControl Request");
            let to = self.deliver_to.clone();
            return Some(Action::Status {
                to,
                headers,
                reply: Some(reply),
            });
        }
        let every = self.config.idle_heartbeat;
        let last_sent = *self.last_sent.get_or_insert(now);
        if !every.is_zero() && last_sent.plus(every) <= now {
            self.last_sent = Some(now);
            let headers = self.heartbeat();
            return Some(Action::Status {
                to: self.deliver_to.clone(),
                headers,
                reply: None,
            });
        }
        None
    }

    /// Puts what was not acknowledged in time into the redelivery queue.
    fn expire_pending(&mut self, now: Timestamp) {
        while let Some((deadline, seq)) = self.timers.peek() {
            let valid = self
                .pending
                .get(&seq)
                .is_some_and(|pending| pending.deadline == deadline);
            if valid && deadline > now.0 {
                break;
            }
            self.timers.pop();
            if valid {
                self.queue_again(seq);
            }
        }
    }

    pub(crate) fn queue_again(&mut self, seq: u64) {
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.deadline = i64::MAX;
            self.redeliver.push_back(seq);
        }
    }

    fn next_message(&mut self, log: &Log, now: Timestamp) -> Option<Action> {
        if !self.has_demand() || (self.config.flow_control && self.flow.is_stalled()) {
            return None;
        }
        while let Some(seq) = self.redeliver.front().copied() {
            let queued = self
                .pending
                .get(&seq)
                .filter(|pending| pending.deadline == i64::MAX)
                .copied();
            let (Some(pending), Some(place)) = (queued, log.place(seq)) else {
                self.redeliver.pop_front();
                if queued.is_some() {
                    self.pending.remove(&seq);
                }
                continue;
            };
            let most = u32::try_from(self.config.max_deliver).unwrap_or(u32::MAX);
            if pending.deliveries >= most {
                self.redeliver.pop_front();
                self.pending.remove(&seq);
                return Some(Action::MaxDeliveries {
                    seq,
                    deliveries: u64::from(pending.deliveries),
                });
            }
            if let Some(refused) = self.refuse_large(&place) {
                return Some(refused);
            }
            self.redeliver.pop_front();
            return Some(self.deliver(log, seq, place, pending.deliveries + 1, now));
        }
        self.next_new(log, now)
    }

    /// Whether as many messages are out as may be.
    pub(crate) fn is_full(&self) -> bool {
        let room = usize::try_from(self.config.max_ack_pending).unwrap_or(usize::MAX);
        self.tracks_acks() && self.pending.len() >= room && room > 0
    }

    fn next_new(&mut self, log: &Log, now: Timestamp) -> Option<Action> {
        if self.is_full() {
            return None;
        }
        if self.count_ahead(log) == 0 {
            let next = log.last_seq() + 1;
            self.cursor = self.cursor.max(next);
            return None;
        }
        let seq = loop {
            let seq = self.next_undone(log)?;
            // Where nobody acknowledges, clients follow the numbers of deliveries: one that is not made must not have one.
            if self.tracks_acks() || !log.is_unreadable(seq) {
                break seq;
            }
            self.pass(seq);
        };
        let place = log
            .place(seq)
            .expect("invariant: the next wanted message is held");
        if let Some(refused) = self.refuse_large(&place) {
            return Some(refused);
        }
        if self.replay_pause(&place, now) {
            return None;
        }
        self.pass(seq);
        Some(self.deliver(log, seq, place, 1, now))
    }

    /// Puts the cursor behind a message that was ahead.
    fn pass(&mut self, seq: u64) {
        self.cursor = seq + 1;
        if let Some(Ahead { pending, .. }) = &mut self.ahead {
            *pending -= 1;
        }
    }

    /// The first wanted message from the cursor on that is not acknowledged already.
    fn next_undone(&mut self, log: &Log) -> Option<u64> {
        let mut from = self.cursor;
        loop {
            let seq = self.next_wanted(log, from)?;
            match self.acked.end_of(seq) {
                Some(end) => from = end + 1,
                None => return Some(seq),
            }
        }
    }

    /// For replay policy `original`: whether the message has to wait as long as it did when it was stored.
    fn replay_pause(&mut self, place: &Place, now: Timestamp) -> bool {
        if self.config.replay_policy != ReplayPolicy::Original {
            return false;
        }
        let gap = self
            .last_stored
            .map_or(Duration::ZERO, |last| place.time.since(last));
        self.last_stored = Some(place.time);
        if gap.is_zero() {
            return false;
        }
        self.not_before = now.plus(gap);
        true
    }

    /// Ends the request whose turn it is when the message does not fit into what it may still get.
    fn refuse_large(&mut self, place: &Place) -> Option<Action> {
        if self.config.is_push() {
            return None;
        }
        let size = self.sent_size(place);
        let waiter = self.waiting.front_mut()?;
        let left = waiter.bytes.filter(|left| *left < size)?;
        let waiter = self.waiting.pop()?;
        let headers = status_left("409 Message Size Exceeds MaxBytes", waiter.left, left);
        Some(Action::Status {
            to: waiter.reply,
            headers,
            reply: None,
        })
    }

    /// About how many bytes a message will take, as `max_bytes` of a request counts them: subjects, headers and payload.
    fn sent_size(&self, place: &Place) -> u64 {
        /// Numbers and dots of a reply subject, about.
        const NUMBERS: u64 = 32;
        u64::from(place.size) + self.reply_prefix.len() as u64 + NUMBERS
    }

    fn deliver(
        &mut self,
        log: &Log,
        seq: u64,
        place: Place,
        deliveries: u32,
        now: Timestamp,
    ) -> Action {
        let ahead = self.count_ahead(log);
        let consumer_seq = self.delivered.consumer_seq + 1;
        let reply = self.reply(deliveries, seq, consumer_seq, place.time, ahead);
        let size = u64::from(place.size) + reply.len() as u64;
        let deliver_to = self.take_destination(size, now);
        self.delivered.consumer_seq = consumer_seq;
        self.delivered.stream_seq = self.delivered.stream_seq.max(seq);
        self.delivered.last_active = Some(now);
        self.last_active = Some(now);
        self.last_sent = Some(now);
        if self.tracks_acks() {
            let deadline = now.plus(self.ack_wait(deliveries)).0;
            self.pending.insert(
                seq,
                Pending {
                    deliveries,
                    consumer_seq,
                    deadline,
                },
            );
            self.set_timer(deadline, seq);
        }
        if self.config.flow_control {
            self.flow.delivered(size);
        }
        if self.config.rate_limit > 0 {
            let nanos = u128::from(size) * 8 * 1_000_000_000 / u128::from(self.config.rate_limit);
            let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.not_before = self.not_before.max(now).plus(pause);
        }
        Action::Deliver(Deliver {
            seq,
            consumer_seq,
            place,
            deliver_to,
            reply,
            delivered: u64::from(deliveries),
            pending: ahead,
            size: place.size,
        })
    }

    /// How long the delivery with this count may stay unacknowledged.
    fn ack_wait(&self, deliveries: u32) -> Duration {
        let step = usize::try_from(deliveries - 1).unwrap_or(usize::MAX);
        let steps = &self.config.backoff;
        steps
            .get(step)
            .or(steps.last())
            .copied()
            .unwrap_or(self.config.ack_wait)
    }

    /// Notes when a pending message is due. Entries for what is acknowledged since are dropped when they outnumber the
    /// others, so the heap stays as large as what is out.
    pub(crate) fn set_timer(&mut self, deadline: i64, seq: u64) {
        self.timers.push(deadline, seq);
        if self.timers.len() > 2 * self.pending.len() + 64 {
            let pending = &self.pending;
            self.timers.retain(|deadline, seq| {
                pending
                    .get(&seq)
                    .is_some_and(|known| known.deadline == deadline)
            });
        }
    }

    fn take_destination(&mut self, size: u64, now: Timestamp) -> Bytes {
        if self.config.is_push() {
            return self.deliver_to.clone();
        }
        let waiter = self
            .waiting
            .front_mut()
            .expect("invariant: a message is chosen only when a request waits");
        waiter.left -= 1;
        waiter.got += 1;
        waiter.bytes = waiter.bytes.map(|left| left.saturating_sub(size));
        waiter.beat(now);
        let reply = waiter.reply.clone();
        if let (0, Some(left @ 1..)) = (waiter.left, waiter.bytes) {
            // The client counts its bytes down and has to hear that these will not come.
            let headers = status_left("409 Batch Completed", 0, left);
            self.after = Some(Action::Status {
                to: reply.clone(),
                headers,
                reply: None,
            });
        }
        if waiter.left == 0 || waiter.bytes == Some(0) {
            self.waiting.pop();
        } else {
            self.waiting.rotate();
        }
        reply
    }

    /// The reply subject of a delivery, cut from a buffer that serves many of them.
    fn reply(
        &mut self,
        deliveries: u32,
        seq: u64,
        consumer_seq: u64,
        time: Timestamp,
        ahead: u64,
    ) -> Bytes {
        if self.reply_space.capacity() < self.reply_prefix.len() + 128 {
            self.reply_space.reserve(REPLY_SPACE);
        }
        let space = &mut self.reply_space;
        space.put_slice(&self.reply_prefix);
        let time = u64::try_from(time.0).unwrap_or(0);
        for (at, number) in [u64::from(deliveries), seq, consumer_seq, time, ahead]
            .into_iter()
            .enumerate()
        {
            if at > 0 {
                space.put_u8(b'.');
            }
            space.put_slice(Decimal::new(number).as_bytes());
        }
        space.split().freeze()
    }
}
