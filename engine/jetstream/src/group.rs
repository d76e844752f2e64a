//! Messages that go through a station's plan together and are stored together, in order: a batch, or what waits for one of
//! its messages that is to be tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_broker::Origin;
use millstream_pipeline::{Ended, Plan, Record, Rejection, Trace};
use millstream_types::{Message, Timestamp};

/// Longest pause before a message that is on its way in is tried again: somebody waits for the answer.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Shortest one: a function that asks for none must not keep a thread busy.
pub(crate) const MIN_PAUSE: Duration = Duration::from_millis(1);

/// What came in, and how far it is.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) message: Message,
    /// Whose bytes are on their way.
    pub(crate) origin: Arc<Origin>,
    pub(crate) bytes: usize,
    /// How it ended; `None`: it has still to go through the plan.
    pub(crate) ended: Option<Ended>,
    /// How often it was to be tried again.
    retries: u32,
    /// Where its way is told, when it asked for that.
    pub(crate) trace: Option<Arc<Trace>>,
}

impl Member {
    pub(crate) fn new(message: Message, origin: Arc<Origin>) -> Self {
        let Message {
            subject,
            reply,
            headers,
            payload,
        } = &message;
        let reply = reply.as_ref().map_or(0, Bytes::len);
        let bytes = subject.len() + reply + headers.len() + payload.len();
        Self {
            trace: Trace::asked(&message.headers),
            message,
            origin,
            bytes,
            ended: None,
            retries: 0,
        }
    }

    fn record(&self, time: Timestamp) -> Record {
        let Message {
            subject,
            headers,
            payload,
            ..
        } = &self.message;
        // No stage has to do with who waits for the answer.
        let message = Message {
            subject: subject.clone(),
            reply: None,
            headers: headers.clone(),
            payload: payload.clone(),
        };
        Record {
            message,
            time,
            deliveries: self.retries,
            trace: self.trace.clone(),
            ..Record::default()
        }
    }

    /// The key by which messages wait for each other.
    pub(crate) fn key(&self, plan: &Plan) -> Bytes {
        plan.key(&mut self.record(Timestamp(0)))
    }

    fn waits(&self) -> bool {
        matches!(self.ended, Some(Ended::Retry { .. }))
    }

    /// Whether it has to go through the plan, for the first time or again.
    fn is_open(&self) -> bool {
        self.ended.is_none() || self.waits()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
    pub(crate) time: Timestamp,
}

impl Group {
    /// Messages that came in at this time.
    pub(crate) fn new(members: Vec<Member>, time: Timestamp) -> Self {
        Self { members, time }
    }

    /// Takes through the plan what has to go through it: all that is new, and what is to be tried again.
    pub(crate) fn run(&mut self, plan: Option<&Plan>) {
        let Some(plan) = plan else {
            // The station has no stages any more.
            let time = self.time;
            for member in self.members.iter_mut().filter(|member| member.is_open()) {
                member.ended = Some(unstaged(member.record(time)));
            }
            return;
        };
        let ended = plan.run_split(self.records(), plan.running().workers);
        self.end(plan, ended);
    }

    /// The records of what has to go through the plan.
    pub(crate) fn records(&self) -> Vec<Record> {
        let open = self.members.iter().filter(|member| member.is_open());
        open.map(|member| member.record(self.time)).collect()
    }

    /// Notes what the plan made of the [records](Self::records).
    pub(crate) fn end(&mut self, plan: &Plan, ended: Vec<Ended>) {
        let mut ended = ended.into_iter();
        for member in self.members.iter_mut().filter(|member| member.is_open()) {
            let Some(end) = ended.next() else { break };
            member.ended = Some(match end {
                Ended::Retry { stage, after } if member.retries < plan.running().max_retries => {
                    member.retries += 1;
                    Ended::Retry { stage, after }
                }
                Ended::Retry { stage, .. } => Ended::Rejected(exhausted(&stage, member.retries)),
                other => other,
            });
        }
    }

    /// How long until the next member is to be tried again; `None`: all of them have ended.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let pauses = self
            .members
            .iter()
            .filter_map(|member| match &member.ended {
                Some(Ended::Retry { after, .. }) => Some(*after),
                _ => None,
            });
        let longest = pauses.max()?;
        Some(longest.clamp(MIN_PAUSE, MAX_PAUSE))
    }

    /// A stage that asked for a message again.
    pub(crate) fn retrying(&self) -> Option<String> {
        self.members.iter().find_map(|member| match &member.ended {
            Some(Ended::Retry { stage, .. }) => Some(stage.clone()),
            _ => None,
        })
    }

    /// Takes out what is to be tried again alone, one group for each.
    pub(crate) fn part(&mut self) -> Vec<Self> {
        let time = self.time;
        let (waiting, rest) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(Member::waits);
        self.members = rest;
        let alone = |member| Self {
            members: vec![member],
            time,
        };
        waiting.into_iter().map(alone).collect()
    }

    /// Takes out what is to be tried again and what has to wait for it by its key, one group for each key, in order.
    pub(crate) fn part_by_key(&mut self, plan: &Plan) -> Vec<(Bytes, Self)> {
        let mut groups: Vec<(Bytes, Self)> = Vec::new();
        let mut rest = Vec::with_capacity(self.members.len());
        for member in std::mem::take(&mut self.members) {
            let waits = member.waits();
            if groups.is_empty() && !waits {
                rest.push(member);
                continue;
            }
            let key = member.key(plan);
            let known = groups.iter_mut().find(|(known, _)| *known == key);
            match known {
                Some((_, group)) => group.members.push(member),
                None if waits => {
                    let group = Self {
                        members: vec![member],
                        time: self.time,
                    };
                    groups.push((key, group));
                }
                None => rest.push(member),
            }
        }
        self.members = rest;
        groups
    }
}

/// What a message is that no stage looks at.
pub(crate) fn unstaged(mut record: Record) -> Ended {
    if let Some(clean) = millstream_pipeline::unforged(&record.message.headers) {
        record.message.headers = clean;
    }
    Ended::Stored(vec![record])
}

/// The rejection of a message that was tried often enough.
pub(crate) fn exhausted(stage: &str, retries: u32) -> Rejection {
    let reason = format!("asked to be tried again after {retries} times, see `max_retries`");
    Rejection::new(stage, "retries_exhausted", &reason)
}
