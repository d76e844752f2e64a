//! Pull requests: what a client may ask for, and the queue of those that wait.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::{HeadersBuilder, Timestamp};
use serde::Deserialize;

use crate::consumer::Consumer;
use crate::consumer_config::ConsumerConfig;

/// A request for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Where the messages go.
    pub reply: Bytes,
    /// How many.
    pub batch: u32,
    /// How long to wait for them; `None` is until they are there.
    pub expires: Option<Duration>,
    /// Whether to answer at once when there are none.
    pub no_wait: bool,
    /// Most bytes of them together; 0 is unlimited.
    pub max_bytes: u64,
    /// How often silence is broken; `None` is never.
    pub idle_heartbeat: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    batch: i64,
    expires: i64,
    no_wait: bool,
    max_bytes: i64,
    idle_heartbeat: i64,
}

impl PullRequest {
    /// Reads the payload of MSG.NEXT: nothing, a number, or JSON.
    ///
    /// # Errors
    /// The status to answer with, when it is none of them.
    pub fn parse(payload: &[u8], reply: Bytes) -> Result<Self, String> {
        let payload = payload.trim_ascii();
        let bad = |why: &str| format!("400 Bad Request - {why}");
        let body = match payload.first() {
            None => Body::default(),
            Some(b'{') => {
                serde_json::from_slice(payload).map_err(|error| bad(&error.to_string()))?
            }
            Some(_) => {
                let number = std::str::from_utf8(payload)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok());
                Body {
                    batch: number.ok_or_else(|| bad("not a number"))?,
                    ..Body::default()
                }
            }
        };
        let nanos = |value: i64| {
            u64::try_from(value)
                .ok()
                .filter(|value| *value > 0)
                .map(Duration::from_nanos)
        };
        let (expires, idle_heartbeat) = (nanos(body.expires), nanos(body.idle_heartbeat));
        if let (Some(expires), Some(heartbeat)) = (expires, idle_heartbeat)
            && heartbeat * 2 > expires
        {
            return Err(bad("heartbeat value too large"));
        }
        Ok(Self {
            reply,
            batch: u32::try_from(body.batch.max(1)).unwrap_or(u32::MAX),
            expires,
            no_wait: body.no_wait,
            max_bytes: u64::try_from(body.max_bytes).unwrap_or(0),
            idle_heartbeat,
        })
    }

    /// The status to refuse it with, when it asks for more than the consumer allows.
    pub(crate) fn exceeds(&self, config: &ConsumerConfig) -> Option<String> {
        let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        if let Some(max) = positive(config.max_batch).filter(|max| u64::from(self.batch) > *max) {
            return Some(format!("409 Exceeded MaxRequestBatch of {max}"));
        }
        let max_expires = config.max_expires;
        if !max_expires.is_zero()
            && self.expires.is_none_or(|expires| expires > max_expires)
            && !self.no_wait
        {
            let max = millstream_types::format_duration(max_expires);
            return Some(format!("409 Exceeded MaxRequestExpires of {max}"));
        }
        let max_bytes = positive(config.max_bytes)?;
        let exceeds = self.max_bytes > max_bytes;
        exceeds.then(|| format!("409 Exceeded MaxRequestMaxBytes of {max_bytes}"))
    }
}

/// A header block with nothing but a status.
pub(crate) fn status(text: &str) -> Bytes {
    HeadersBuilder::with_status(text).build()
}

/// A header block with a status and what is left of a request.
pub(crate) fn status_left(text: &str, messages: u64, bytes: u64) -> Bytes {
    HeadersBuilder::with_status(text)
        .with("Nats-Pending-Messages", &messages.to_string())
        .with("Nats-Pending-Bytes", &bytes.to_string())
        .build()
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) reply: Bytes,
    /// Messages still wanted.
    pub(crate) left: u64,
    /// Messages it got.
    pub(crate) got: u64,
    /// Bytes still allowed; `None` is unlimited.
    pub(crate) bytes: Option<u64>,
    pub(crate) expires: Timestamp,
    pub(crate) no_wait: bool,
    heartbeat: Option<Duration>,
    pub(crate) next_heartbeat: Timestamp,
}

const NEVER: Timestamp = Timestamp(i64::MAX);

impl Waiter {
    fn new(request: PullRequest, now: Timestamp) -> Self {
        let mut waiter = Self {
            reply: request.reply,
            left: u64::from(request.batch),
            got: 0,
            bytes: (request.max_bytes > 0).then_some(request.max_bytes),
            expires: request.expires.map_or(NEVER, |after| now.plus(after)),
            no_wait: request.no_wait,
            heartbeat: request.idle_heartbeat,
            next_heartbeat: NEVER,
        };
        waiter.beat(now);
        waiter
    }

    /// Something was sent: the silence starts anew.
    pub(crate) fn beat(&mut self, now: Timestamp) {
        if let Some(heartbeat) = self.heartbeat {
            self.next_heartbeat = now.plus(heartbeat);
        }
    }
}

/// Requests in the order they are served. A request that got a message and wants more goes to the end, so several
/// clients share what comes, as in nats-server.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Waiter>,
    /// No request expires or beats before this.
    due: Option<Timestamp>,
    /// How many of them do not wait.
    impatient: usize,
    /// Requests whose receiver does not keep up: not served until it has read some, and in nobody's way.
    held: Vec<Waiter>,
}

/// What a request gets instead of a message.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    Expired(Waiter),
    Heartbeat(Bytes),
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.held.len()
    }

    /// Whether some are held back.
    pub(crate) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Holds the requests that are answered on `reply` back; answers whether there are any.
    pub(crate) fn hold(&mut self, reply: &[u8]) -> bool {
        let mut at = 0;
        while at < self.queue.len() {
            if self.queue[at].reply == reply {
                let held = self.remove(at);
                self.held.extend(held);
            } else {
                at += 1;
            }
        }
        self.held.iter().any(|waiter| waiter.reply == reply)
    }

    /// Lets them go on.
    pub(crate) fn release(&mut self, reply: &[u8]) {
        for waiter in self.held.extract_if(.., |waiter| waiter.reply == reply) {
            self.impatient += usize::from(waiter.no_wait);
            self.queue.push_back(waiter);
        }
    }

    /// Whether there is none that can be served.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, request: PullRequest, now: Timestamp) {
        let waiter = Waiter::new(request, now);
        self.note(&waiter);
        self.impatient += usize::from(waiter.no_wait);
        self.queue.push_back(waiter);
    }

    fn note(&mut self, waiter: &Waiter) {
        let next = waiter.expires.min(waiter.next_heartbeat);
        if next != NEVER {
            self.due = Some(self.due.map_or(next, |due| due.min(next)));
        }
    }

    /// A message that was counted for a request answered on `reply` does not come. Answers whether there is such a request.
    pub(crate) fn give_back(&mut self, reply: &[u8]) -> bool {
        let mut all = self.queue.iter_mut().chain(&mut self.held);
        let Some(waiter) = all.find(|waiter| waiter.reply == reply) else {
            return false;
        };
        waiter.left += 1;
        waiter.got = waiter.got.saturating_sub(1);
        true
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Waiter> {
        self.queue.front_mut()
    }

    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.queue.pop_front()?;
        self.impatient -= usize::from(waiter.no_wait);
        if self.queue.is_empty() && self.held.is_empty() {
            self.due = None;
        }
        Some(waiter)
    }

    /// Moves the front to the end.
    pub(crate) fn rotate(&mut self) {
        if self.queue.len() > 1 {
            self.queue.rotate_left(1);
        }
    }

    /// The next moment something is due.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// One request that expired or is to hear from us.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Due> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        if let Some(at) = self.queue.iter().position(|waiter| waiter.expires <= now) {
            return self.remove(at).map(Due::Expired);
        }
        let overdue = |waiter: &Waiter| waiter.expires <= now;
        if let Some(at) = self.held.iter().position(overdue) {
            return Some(Due::Expired(self.held.remove(at)));
        }
        if let Some(waiter) = self
            .queue
            .iter_mut()
            .chain(&mut self.held)
            .find(|waiter| waiter.next_heartbeat <= now)
        {
            waiter.beat(now);
            return Some(Due::Heartbeat(waiter.reply.clone()));
        }
        self.due = self
            .queue
            .iter()
            .chain(&self.held)
            .map(|waiter| waiter.expires.min(waiter.next_heartbeat))
            .min();
        self.due = self.due.filter(|due| *due != NEVER);
        None
    }

    /// A request that does not wait, when there is nothing more for it.
    pub(crate) fn take_impatient(&mut self) -> Option<Waiter> {
        if self.impatient == 0 {
            return None;
        }
        // One that may wait for its first message until it expires stays until it has got one.
        let gives_up =
            |waiter: &Waiter| waiter.no_wait && (waiter.got > 0 || waiter.expires == NEVER);
        let at = self.queue.iter().position(gives_up)?;
        self.remove(at)
    }

    /// Drops the requests whose client is gone.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) -> usize {
        let before = self.len();
        self.queue.retain(|waiter| keep(&waiter.reply));
        self.held.retain(|waiter| keep(&waiter.reply));
        self.impatient = self.queue.iter().filter(|waiter| waiter.no_wait).count();
        before - self.len()
    }

    fn remove(&mut self, at: usize) -> Option<Waiter> {
        let waiter = self.queue.remove(at)?;
        self.impatient -= usize::from(waiter.no_wait);
        Some(waiter)
    }
}

impl Consumer {
    /// Takes a pull request, or answers the status to refuse it with.
    pub(crate) fn pull(&mut self, request: PullRequest, now: Timestamp) -> Result<(), String> {
        if self.config.is_push() {
            return Err("409 Consumer is push based".to_owned());
        }
        if let Some(refusal) = request.exceeds(&self.config) {
            return Err(refusal);
        }
        let most = usize::try_from(self.config.max_waiting).unwrap_or(usize::MAX);
        if self.waiting.len() >= most {
            return Err("409 Exceeded MaxWaiting".to_owned());
        }
        self.last_active = Some(now);
        self.waiting.push(request, now);
        Ok(())
    }

    /// Takes all waiting requests away; answers where their clients wait.
    pub(crate) fn take_waiting(&mut self) -> Vec<Bytes> {
        let mut replies = Vec::with_capacity(self.waiting.len());
        while let Some(waiter) = self.waiting.pop() {
            replies.push(waiter.reply);
        }
        replies.extend(self.waiting.held.drain(..).map(|waiter| waiter.reply));
        self.waiting.due = None;
        replies
    }
}
