//! A consumer: what of it is replicated (how far it is acknowledged), and what only its leader knows (what is out, who
//! waits). Both are pure; the leader's half is lost at a restart, and everything unacknowledged is delivered again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_types::Timestamp;

use crate::consumer_config::{AckPolicy, ConsumerConfig, DeliverPolicy};
use crate::deliver::Action;
use crate::filters::{Filters, MatchCache};
use crate::flow::Flow;
use crate::info::{ConsumerInfo, SequenceInfo};
use crate::log::Log;
use crate::pull::Waiting;
use crate::ranges::Ranges;
use crate::timers::Timers;

/// A delivery that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// How often it was delivered.
    pub(crate) deliveries: u32,
    /// Number of the last delivery.
    pub(crate) consumer_seq: u64,
    /// When it is delivered again; `i64::MAX` while it stands in the redelivery queue.
    pub(crate) deadline: i64,
}

/// How many messages are ahead, as of the stream's message `counted_to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    pub(crate) pending: u64,
    pub(crate) counted_to: u64,
}

/// Which messages a consumer is about, besides its filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Nothing below this.
    pub(crate) start: u64,
    /// For deliver policy `last_per_subject`: up to `resume` only these.
    pub(crate) list: Vec<u64>,
    pub(crate) resume: u64,
}

/// One consumer of a stream.
#[derive(Debug)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its configuration with all defaults.
    pub config: ConsumerConfig,
    pub(crate) filters: Filters,
    // Replicated: the same after every replay of the log.
    pub(crate) span: Span,
    pub(crate) floor: u64,
    pub(crate) acked: Ranges,
    pub(crate) acked_count: u64,
    // The leader's own.
    pub(crate) blocking: Option<u64>,
    pub(crate) cursor: u64,
    pub(crate) ahead: Option<Ahead>,
    pub(crate) delivered: SequenceInfo,
    pub(crate) last_ack: Option<Timestamp>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) timers: Timers,
    pub(crate) redeliver: VecDeque<u64>,
    pub(crate) waiting: Waiting,
    /// What the next poll answers before anything else.
    pub(crate) after: Option<Action>,
    pub(crate) flow: Flow,
    pub(crate) interest: bool,
    pub(crate) last_active: Option<Timestamp>,
    pub(crate) last_sent: Option<Timestamp>,
    pub(crate) not_before: Timestamp,
    pub(crate) last_stored: Option<Timestamp>,
    pub(crate) cache: MatchCache,
    pub(crate) deliver_to: Bytes,
    pub(crate) reply_prefix: Box<[u8]>,
    pub(crate) reply_space: BytesMut,
}

impl Consumer {
    /// A consumer as it starts, by its deliver policy, on what the stream holds now.
    pub(crate) fn new(
        stream: &str,
        name: &str,
        config: ConsumerConfig,
        created: Timestamp,
        log: &Log,
    ) -> Self {
        let filters = Filters::new(config.filters());
        let span = start(&config, &filters, log);
        Self::with_span(stream, name, config, created, span)
    }

    pub(crate) fn with_span(
        stream: &str,
        name: &str,
        config: ConsumerConfig,
        created: Timestamp,
        span: Span,
    ) -> Self {
        let filters = Filters::new(config.filters());
        let deliver_to = config
            .deliver_subject
            .clone()
            .map(Bytes::from)
            .unwrap_or_default();
        Self {
            name: name.to_owned(),
            created,
            filters,
            floor: span.start - 1,
            cursor: span.start,
            span,
            acked: Ranges::default(),
            acked_count: 0,
            blocking: None,
            ahead: None,
            delivered: SequenceInfo::default(),
            last_ack: None,
            pending: BTreeMap::new(),
            timers: Timers::default(),
            redeliver: VecDeque::new(),
            waiting: Waiting::default(),
            after: None,
            flow: Flow::new(stream, name),
            interest: false,
            last_active: None,
            last_sent: None,
            not_before: Timestamp(i64::MIN),
            last_stored: None,
            cache: MatchCache::default(),
            deliver_to,
            reply_prefix: format!("$JS.ACK.{stream}.{name}.")
                .into_bytes()
                .into_boxed_slice(),
            reply_space: BytesMut::new(),
            config,
        }
    }

    /// Everything the consumer wants up to here is done. Replicated.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// For ack policy `none`: the last delivery, when it is not committed yet. Proposing it from time to time, as an `Ack`,
    /// lets the consumer go on there after a restart.
    #[must_use]
    pub fn uncommitted(&self) -> Option<u64> {
        let delivered = self.delivered.stream_seq;
        (self.config.ack_policy == AckPolicy::None && delivered > self.floor).then_some(delivered)
    }

    pub(crate) fn tracks_acks(&self) -> bool {
        self.config.ack_policy != AckPolicy::None
    }

    /// The configuration of an update that `Stream::check_consumer` allowed.
    pub(crate) fn set_config(&mut self, config: ConsumerConfig) {
        let filters = Filters::new(config.filters());
        if filters != self.filters {
            self.filters = filters;
            self.cache = MatchCache::default();
            self.ahead = None;
            self.blocking = None;
        }
        self.deliver_to = config
            .deliver_subject
            .clone()
            .map(Bytes::from)
            .unwrap_or_default();
        self.config = config;
    }

    /// The first message at or after `from` that this consumer is about.
    pub(crate) fn next_wanted(&mut self, log: &Log, from: u64) -> Option<u64> {
        if from <= self.span.resume {
            let after = self.span.list.partition_point(|seq| *seq < from);
            if let Some(seq) = self.span.list[after..]
                .iter()
                .find(|seq| log.meta(**seq).is_some())
            {
                return Some(*seq);
            }
        }
        let from = from.max(self.span.start).max(self.span.resume + 1);
        log.next_matching(from, &self.filters, &mut self.cache)
    }

    /// Whether this consumer is about a message that is, or was until now, held.
    pub(crate) fn wants(&mut self, log: &Log, seq: u64, subject: u32) -> bool {
        if seq <= self.span.resume {
            return self.span.list.binary_search(&seq).is_ok();
        }
        seq >= self.span.start && self.cache.matches(&self.filters, &log.subjects, subject)
    }

    /// Whether a message has to stay for this consumer in a stream with interest retention.
    pub(crate) fn needs(&mut self, log: &Log, seq: u64, subject: u32) -> bool {
        seq > self.floor && !self.acked.contains(seq) && self.wants(log, seq, subject)
    }

    /// Replicated: `seq` is done. Answers whether that is news.
    pub(crate) fn apply_done(&mut self, log: &Log, seq: u64) -> bool {
        self.pending.remove(&seq);
        if seq <= self.floor || !self.acked.insert(seq) {
            return false;
        }
        self.acked_count += 1;
        if seq >= self.cursor
            && let (Some(ahead), Some(meta)) = (self.ahead, log.meta(seq))
            && seq <= ahead.counted_to
            && self.wants(log, seq, meta.subject)
        {
            self.ahead = Some(Ahead {
                pending: ahead.pending - 1,
                ..ahead
            });
        }
        self.raise_floor(log, seq);
        true
    }

    /// Replicated: everything up to `seq` is done.
    pub(crate) fn apply_done_to(&mut self, seq: u64) {
        self.pending = self.pending.split_off(&(seq + 1));
        if seq <= self.floor {
            return;
        }
        self.acked_count += 1;
        self.floor = seq;
        self.acked.forget_to(seq);
        self.blocking = None;
        if self.cursor <= seq {
            self.cursor = seq + 1;
            self.ahead = None;
        }
    }

    /// Moves the floor over everything done. The floor's value depends on the log alone; `blocking`, the message it waits
    /// for, only saves looking for it again.
    fn raise_floor(&mut self, log: &Log, news: u64) {
        if let Some(blocking) = self.blocking
            && news > blocking
            && log.meta(blocking).is_some()
            && !self.acked.contains(blocking)
        {
            return;
        }
        let mut from = self.floor + 1;
        loop {
            match self.next_wanted(log, from) {
                Some(seq) => match self.acked.end_of(seq) {
                    Some(end) => from = end + 1,
                    None => {
                        self.blocking = Some(seq);
                        break;
                    }
                },
                None => {
                    self.blocking = None;
                    break;
                }
            }
        }
        let below = self.blocking.map_or(u64::MAX, |seq| seq - 1);
        let done = self
            .acked
            .spans()
            .map(|(_, end)| end)
            .take_while(|end| *end <= below)
            .last();
        if let Some(done) = done {
            self.floor = self.floor.max(done);
            self.acked.forget_to(self.floor);
        }
        if self.floor >= self.span.resume && !self.span.list.is_empty() {
            self.span.list = Vec::new();
        }
    }

    /// A message is gone from the stream.
    pub(crate) fn removed(&mut self, log: &Log, seq: u64, subject: u32) {
        self.pending.remove(&seq);
        let Some(ahead) = self.ahead else { return };
        let counted = seq >= self.cursor
            && seq <= ahead.counted_to
            && seq > self.floor
            && !self.acked.contains(seq);
        if counted && self.wants(log, seq, subject) {
            self.ahead = Some(Ahead {
                pending: ahead.pending - 1,
                ..ahead
            });
        }
    }

    /// The stream lost all its messages.
    pub(crate) fn cleared(&mut self) {
        self.pending.clear();
        self.redeliver.clear();
        self.timers.clear();
        self.ahead = None;
    }

    /// Messages below this do not matter to it any more.
    pub(crate) fn watches_from(&self) -> u64 {
        let first = self
            .pending
            .first_key_value()
            .map_or(u64::MAX, |(seq, _)| *seq);
        first.min(self.cursor)
    }

    /// How many messages are ahead, after counting what came since the last look.
    pub(crate) fn count_ahead(&mut self, log: &Log) -> u64 {
        let last = log.last_seq();
        let pending = match self.ahead {
            Some(ahead) if ahead.counted_to == last => return ahead.pending,
            Some(ahead) => {
                let new = ahead.counted_to + 1;
                let from = new.max(self.cursor);
                let count = match self.filters.is_all() {
                    true => log.live_from(from),
                    false => log.count_between(from, last + 1, &self.filters, &mut self.cache),
                };
                ahead.pending + count - self.done_ahead(log, from)
            }
            None => {
                let from = self.cursor.max(self.span.resume + 1);
                let listed = self
                    .span
                    .list
                    .iter()
                    .filter(|seq| **seq >= self.cursor && log.meta(**seq).is_some())
                    .count();
                let listed =
                    listed as u64 + log.count_matching(from, &self.filters, &mut self.cache);
                listed - self.done_ahead(log, self.cursor)
            }
        };
        self.ahead = Some(Ahead {
            pending,
            counted_to: last,
        });
        pending
    }

    /// Wanted messages at or after `from` that are done already: acknowledged before a restart, ahead of the cursor.
    fn done_ahead(&mut self, log: &Log, from: u64) -> u64 {
        if self.acked.last().is_none_or(|last| last < from) {
            return 0;
        }
        let spans: Vec<(u64, u64)> = self.acked.spans_from(from).collect();
        let mut done = 0;
        for (first, last) in spans {
            let listed = self
                .span
                .list
                .iter()
                .filter(|seq| (first..=last).contains(*seq) && log.meta(**seq).is_some());
            done += listed.count() as u64;
            let first = first.max(self.span.resume + 1).max(self.span.start);
            done += log.count_between(first, last + 1, &self.filters, &mut self.cache);
        }
        done
    }

    /// The consumer as CONSUMER.INFO answers it.
    pub(crate) fn info(&mut self, stream: &str, log: &Log, now: Timestamp) -> ConsumerInfo {
        self.catch_up();
        let num_pending = self.count_ahead(log);
        let paused = self.config.pause_until.filter(|until| *until > now);
        ConsumerInfo {
            stream_name: stream.to_owned(),
            name: self.name.clone(),
            created: self.created,
            config: self.config.clone(),
            delivered: self.delivered_info(),
            ack_floor: self.ack_floor(),
            num_ack_pending: self.pending.len(),
            num_redelivered: self
                .pending
                .values()
                .filter(|pending| pending.deliveries > 1)
                .count(),
            num_waiting: self.waiting.len(),
            num_pending,
            cluster: None,
            push_bound: self.config.is_push() && self.interest,
            paused: paused.is_some(),
            pause_remaining: paused.map_or(Duration::ZERO, |until| until.since(now)),
            ts: now,
        }
    }

    /// After a restart deliveries go on behind what is acknowledged.
    pub(crate) fn catch_up(&mut self) {
        if self.cursor <= self.floor {
            self.cursor = self.floor + 1;
            self.ahead = None;
        }
        if self.delivered.consumer_seq == 0 && self.acked_count > 0 {
            self.delivered.consumer_seq = self.acked_count;
            self.delivered.stream_seq = self.floor;
        }
    }

    fn delivered_info(&self) -> SequenceInfo {
        SequenceInfo {
            stream_seq: self.delivered.stream_seq.max(self.span.start - 1),
            ..self.delivered
        }
    }

    fn ack_floor(&self) -> SequenceInfo {
        let last_active = self.last_ack;
        let floor = match self.pending.first_key_value() {
            Some((seq, pending)) => {
                let consumer_seq = self.pending.values().map(|other| other.consumer_seq).min();
                let consumer_seq = consumer_seq.unwrap_or(pending.consumer_seq);
                SequenceInfo {
                    consumer_seq: consumer_seq - 1,
                    stream_seq: seq - 1,
                    last_active,
                }
            }
            None => self.delivered_info(),
        };
        SequenceInfo {
            last_active,
            ..floor
        }
    }
}

/// Where a new consumer begins.
fn start(config: &ConsumerConfig, filters: &Filters, log: &Log) -> Span {
    let end = log.last_seq() + 1;
    let first = match config.deliver_policy {
        DeliverPolicy::All => log.first_seq(),
        DeliverPolicy::New => end,
        DeliverPolicy::Last => log.last_matching(filters).unwrap_or(end),
        DeliverPolicy::ByStartSequence => config
            .opt_start_seq
            .unwrap_or(1)
            .clamp(log.first_seq(), end),
        DeliverPolicy::ByStartTime => config
            .opt_start_time
            .and_then(|time| log.first_since(time))
            .unwrap_or(end),
        DeliverPolicy::LastPerSubject => {
            let list = log.last_per_subject(filters);
            let start = list.first().copied().unwrap_or(end);
            return Span {
                start,
                list,
                resume: log.last_seq(),
            };
        }
    };
    Span {
        start: first,
        list: Vec::new(),
        resume: 0,
    }
}

#[cfg(test)]
mod tests;
