//! The leader's side of acknowledgements: what is out, what comes back, what is tried again.

use std::time::Duration;

use millstream_types::Timestamp;

use crate::command::{Ack, AckKind};
use crate::consumer::{Consumer, Pending};
use crate::consumer_config::AckPolicy;
use crate::log::Log;

impl Consumer {
    /// Clients say that messages are done. Keeps what is to be proposed: what was not said before.
    pub(crate) fn acknowledge(&mut self, log: &Log, acks: &mut Vec<Ack>, now: Timestamp) {
        acks.retain(|ack| match ack.kind {
            AckKind::Ack | AckKind::Term => self.ack(log, ack.stream_seq, now),
            AckKind::GiveUp => ack.stream_seq > self.floor && !self.acked.contains(ack.stream_seq),
        });
    }

    /// A client says a message is done. Answers whether that is to be proposed: it is not when it was said before, or when
    /// the message was never out.
    fn ack(&mut self, log: &Log, seq: u64, now: Timestamp) -> bool {
        self.last_active = Some(now);
        let news = match self.config.ack_policy {
            AckPolicy::None => false,
            AckPolicy::Explicit => self.pending.remove(&seq).is_some() || self.may_be_out(log, seq),
            AckPolicy::All => {
                let later = self.pending.split_off(&(seq + 1));
                let some = !self.pending.is_empty();
                self.pending = later;
                some || self.may_be_out(log, seq)
            }
        };
        if news {
            self.last_ack = Some(now);
        }
        news
    }

    /// Whether a message this leader has not delivered may have been delivered before a restart: it is ahead of the
    /// cursor, wanted and not done.
    fn may_be_out(&mut self, log: &Log, seq: u64) -> bool {
        self.catch_up();
        let Some(subject) = log.meta(seq).map(|meta| meta.subject) else {
            return false;
        };
        seq >= self.cursor && self.needs(log, seq, subject)
    }

    /// Acknowledgements that the log did not take: their messages are out again and delivered once more, since nobody can
    /// promise that they are done.
    pub(crate) fn unacknowledge(&mut self, acks: &[Ack]) {
        for seq in acks.iter().map(|ack| ack.stream_seq) {
            // What the cursor has not passed is delivered anyway.
            let open = seq > self.floor && seq < self.cursor && !self.acked.contains(seq);
            if open && !self.pending.contains_key(&seq) {
                let pending = Pending {
                    deliveries: 1,
                    consumer_seq: self.delivered.consumer_seq,
                    deadline: i64::MAX,
                };
                self.pending.insert(seq, pending);
                self.redeliver.push_back(seq);
            }
        }
    }

    /// A client wants a message again, at once or after `delay`; `delivered` says which delivery it means, and one that a
    /// later one has replaced is ignored. Answers whether it was out.
    pub(crate) fn nak(
        &mut self,
        seq: u64,
        delivered: u64,
        delay: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        self.last_active = Some(now);
        let Some(pending) = self.pending.get_mut(&seq) else {
            return false;
        };
        if pending.deadline == i64::MAX || u64::from(pending.deliveries) > delivered {
            return false;
        }
        match delay {
            Some(delay) => {
                let deadline = now.plus(delay).0.min(i64::MAX - 1);
                pending.deadline = deadline;
                self.set_timer(deadline, seq);
            }
            None => self.queue_again(seq),
        }
        true
    }

    /// A client is still at work on a message. Answers whether it was out.
    pub(crate) fn progress(&mut self, seq: u64, now: Timestamp) -> bool {
        self.last_active = Some(now);
        let wait = self.config.ack_wait;
        let Some(pending) = self.pending.get_mut(&seq) else {
            return false;
        };
        let deadline = now.plus(wait).0;
        pending.deadline = deadline;
        self.set_timer(deadline, seq);
        true
    }

    /// A delivery reached nobody: the message is delivered again without counting this time, and the request it answered
    /// is dropped.
    pub(crate) fn undelivered(&mut self, seq: u64, to: &[u8], now: Timestamp) {
        self.last_active = Some(now);
        self.waiting.retain(|reply| reply != to);
        if let Some(pending) = self.pending.get_mut(&seq)
            && pending.deadline != i64::MAX
        {
            pending.deliveries = pending.deliveries.saturating_sub(1);
            pending.deadline = i64::MAX;
            self.redeliver.push_front(seq);
        }
    }

    /// Whether somebody listens on the deliver subject of a push consumer.
    pub(crate) fn set_interest(&mut self, interest: bool, now: Timestamp) {
        if interest != self.interest {
            self.interest = interest;
            self.last_active = Some(now);
            self.last_sent = Some(now);
            self.flow.reset();
        }
    }
}
