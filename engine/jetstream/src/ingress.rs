//! The way in from the network: what connections publish on a stream's subjects, gathered per read batch, turned into
//! one command, acknowledged after the commit.
//!
//! A stream without stages goes straight to the log: records are laid out as they will lie on disk while they are still
//! in the connection's read buffer, and not copied again. So do messages that a station without stages only checks against a
//! schema, as long as they fit: the check walks over them where they lie. A station with stages hands batches to a worker; at
//! most one worker runs per station, so the log has the order of arrival.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use millstream_broker::{Collector, Handler, Origin, Published};
use millstream_cluster::{Command, Outcome, StreamCell};
use millstream_pipeline::{KeyRule, Order, Plan, unforged};
use millstream_streams::{
    ApiError, Command as StreamCommand, Publish, RecordOutcome, RecordsBuilder,
};
use millstream_types::{Message, Timestamp};

use crate::group::{Group, Member};
use crate::ingest::{Answer, settle};
use crate::replies::Replies;
use crate::service::Shared;
use crate::traces;

/// Most messages and bytes a worker takes through the plan at once; bounds how long a batch keeps its memory and how large its
/// command becomes.
const MAX_BATCH: usize = 4096;
const MAX_BATCH_BYTES: usize = 8 << 20;

/// One stream's entrance.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) cell: Arc<StreamCell>,
    shared: Arc<Shared>,
    /// The station's compiled pipeline; `None` where there are no stages. Swapped whole: a batch sees one version.
    pub(crate) plan: ArcSwapOption<Plan>,
    /// Whether publishers are answered: not with `no_ack`.
    pub(crate) answers: AtomicBool,
    queue: Mutex<Queue>,
    /// The stage for which the station waits, while a message is to be tried again.
    waits_for: Mutex<Option<String>>,
    held: Mutex<Held>,
}

/// What waits for messages of the same key that are to be tried again.
#[derive(Debug, Default)]
struct Held {
    /// What was a key when they began to wait.
    rule: Option<KeyRule>,
    by_key: HashMap<Bytes, VecDeque<Member>>,
}

/// How long a station waits before it looks whether nothing is held any more.
const DRAIN_PAUSE: Duration = Duration::from_millis(5);

/// While a batch is worked on. A bug that ends the work must not leave the station without a worker for ever.
struct Working<'a>(&'a Ingress);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let queue = self.0.queue.lock();
            queue.unwrap_or_else(PoisonError::into_inner).running = false;
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Batch>,
    running: bool,
}

/// What one connection published on one stream in one read.
#[derive(Debug)]
enum Batch {
    Direct(Direct),
    Staged(Staged),
}

#[derive(Debug)]
struct Direct {
    records: Bytes,
    count: u32,
    replies: Replies,
    origin: Arc<Origin>,
}

#[derive(Debug)]
struct Staged {
    messages: Vec<Message>,
    bytes: usize,
    origin: Arc<Origin>,
}

impl Ingress {
    pub(crate) fn new(cell: Arc<StreamCell>, shared: Arc<Shared>, plan: Option<Arc<Plan>>) -> Self {
        Self {
            cell,
            shared,
            plan: ArcSwapOption::new(plan),
            answers: AtomicBool::new(true),
            queue: Mutex::default(),
            waits_for: Mutex::default(),
            held: Mutex::default(),
        }
    }

    fn submit(self: &Arc<Self>, batch: Batch) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match batch {
            Batch::Direct(direct) if !queue.running && self.held().by_key.is_empty() => {
                drop(queue);
                self.propose_direct(direct);
            }
            batch => {
                queue.waiting.push_back(batch);
                if !queue.running {
                    queue.running = true;
                    drop(queue);
                    let ingress = Arc::clone(self);
                    self.shared.runtime.spawn_blocking(move || ingress.work());
                }
            }
        }
    }

    /// Takes queued batches through the plan until there are none left.
    fn work(self: &Arc<Self>) {
        let _working = Working(self);
        loop {
            if self.holds_by_another_rule() {
                // What came before the plan changed is stored before what comes after it.
                let ingress = Arc::clone(self);
                self.later(DRAIN_PAUSE, move || ingress.work());
                return;
            }
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            match queue.waiting.pop_front() {
                None => {
                    queue.running = false;
                    return;
                }
                Some(Batch::Direct(direct)) => {
                    drop(queue);
                    self.propose_direct(direct);
                }
                Some(Batch::Staged(first)) => {
                    let mut together = vec![first];
                    let mut count = together[0].messages.len();
                    let mut bytes = together[0].bytes;
                    while count < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                        match queue.waiting.pop_front() {
                            Some(Batch::Staged(next)) => {
                                count += next.messages.len();
                                bytes += next.bytes;
                                together.push(next);
                            }
                            Some(other) => {
                                queue.waiting.push_front(other);
                                break;
                            }
                            None => break,
                        }
                    }
                    drop(queue);
                    if !self.run_plan(together) {
                        // It goes on where it was left when the time has come.
                        return;
                    }
                }
            }
        }
    }

    fn propose_direct(self: &Arc<Self>, direct: Direct) {
        let Direct {
            records,
            count,
            replies,
            origin,
        } = direct;
        let bytes = records.len();
        let ingress = Arc::clone(self);
        let command = self.publish_command(records, count);
        self.shared
            .propose(&self.cell, count, &command, move |outcome| {
                origin.done_inflight(bytes);
                ingress.answer_records(&replies, count, &outcome);
            });
    }

    fn publish_command(&self, records: Bytes, count: u32) -> Command {
        Command::Stream(StreamCommand::Publish(Publish {
            stream: self.cell.id,
            time: Timestamp::now(),
            count,
            records,
        }))
    }

    fn answer_records(&self, replies: &Replies, count: u32, outcome: &Result<Outcome, ApiError>) {
        let acker = &self.shared.acker;
        match outcome {
            Ok(Outcome::Records(records)) => {
                for (index, record) in records.iter().enumerate() {
                    if let Some(reply) = replies.get(index) {
                        acker.record(reply, &self.cell.name, record);
                    }
                }
            }
            Ok(_) => unreachable!("invariant: a publish is answered per record"),
            Err(error) => {
                let refused = RecordOutcome::Refused(error.clone());
                for reply in (0..count as usize).filter_map(|index| replies.get(index)) {
                    acker.record(reply, &self.cell.name, &refused);
                }
            }
        }
    }

    /// Takes batches through the plan together. False when the station has to wait until one of the messages is tried again.
    fn run_plan(self: &Arc<Self>, batches: Vec<Staged>) -> bool {
        let mut members =
            Vec::with_capacity(batches.iter().map(|batch| batch.messages.len()).sum());
        for batch in batches {
            let origin = &batch.origin;
            let each = batch.messages.into_iter();
            members.extend(each.map(|message| Member::new(message, Arc::clone(origin))));
        }
        let plan = self.plan.load_full();
        let order = plan
            .as_ref()
            .map_or(Order::Station, |plan| plan.running().order);
        if let (Some(plan), Order::Key) = (&plan, order) {
            members = self.hold(plan, members);
        }
        let mut group = Group::new(members);
        group.run(plan.as_deref());
        let Some(pause) = group.pause() else {
            self.commit(plan.as_deref(), group);
            return true;
        };
        match (order, &plan) {
            (Order::Station, _) | (_, None) => {
                self.wait_for(group.retrying());
                let ingress = Arc::clone(self);
                self.later(pause, move || ingress.resume(group));
                return false;
            }
            (Order::None, Some(_)) => {
                for alone in group.part() {
                    self.retry(None, alone);
                }
            }
            (Order::Key, Some(plan)) => {
                for (key, alone) in group.part_by_key(plan) {
                    let mut held = self.held();
                    held.rule.clone_from(&plan.running().key);
                    held.by_key.entry(key.clone()).or_default();
                    drop(held);
                    self.retry(Some(key), alone);
                }
            }
        }
        self.commit(plan.as_deref(), group);
        true
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something waits by a rule that is not the plan's any more.
    fn holds_by_another_rule(&self) -> bool {
        let held = self.held();
        if held.by_key.is_empty() {
            return false;
        }
        let plan = self.plan.load();
        plan.as_ref().is_none_or(|plan| {
            let running = plan.running();
            running.order != Order::Key || running.key != held.rule
        })
    }

    /// Keeps back what has to wait for a message of the same key.
    fn hold(&self, plan: &Plan, members: Vec<Member>) -> Vec<Member> {
        let mut held = self.held();
        if held.by_key.is_empty() {
            return members;
        }
        let mut rest = Vec::with_capacity(members.len());
        for member in members {
            match held.by_key.get_mut(&member.key(plan)) {
                Some(waiting) => waiting.push_back(member),
                None => rest.push(member),
            }
        }
        rest
    }

    /// Runs `work` on a worker when the time has come. Nothing waits on a thread meanwhile.
    fn later(&self, pause: Duration, work: impl FnOnce() + Send + 'static) {
        let runtime = self.shared.runtime.clone();
        self.shared.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            runtime.spawn_blocking(work);
        });
    }

    /// The station goes on with the batch that it waited for, and then with what came meanwhile.
    fn resume(self: &Arc<Self>, mut group: Group) {
        let plan = self.plan.load_full();
        group.run(plan.as_deref());
        if let Some(pause) = group.pause() {
            let ingress = Arc::clone(self);
            self.later(pause, move || ingress.resume(group));
            return;
        }
        self.wait_for(None);
        self.commit(plan.as_deref(), group);
        self.work();
    }

    fn wait_for(&self, stage: Option<String>) {
        *self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// What waits at this station's door.
    pub(crate) fn pressure(&self) -> Pressure {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |batch: &Batch| match batch {
            Batch::Direct(direct) => direct.count as usize,
            Batch::Staged(staged) => staged.messages.len(),
        };
        let held = self.held();
        Pressure {
            waiting: queue.waiting.iter().map(count).sum::<usize>()
                + held.by_key.values().map(VecDeque::len).sum::<usize>(),
            retrying: self
                .waits_for
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Tries a group again beside the others, until all of it has ended.
    fn retry(self: &Arc<Self>, key: Option<Bytes>, group: Group) {
        let pause = group.pause().unwrap_or_default();
        let ingress = Arc::clone(self);
        self.later(pause, move || ingress.run_again(key, group));
    }

    fn run_again(self: &Arc<Self>, key: Option<Bytes>, mut group: Group) {
        loop {
            let plan = self.plan.load_full();
            group.run(plan.as_deref());
            if group.pause().is_some() {
                self.retry(key, group);
                return;
            }
            self.commit(plan.as_deref(), group);
            match key.as_ref().and_then(|key| self.next_held(key)) {
                Some(next) => group = next,
                None => return,
            }
        }
    }

    /// As many as a batch holds of those that wait for a key; the key is free when there are none.
    fn next_held(&self, key: &Bytes) -> Option<Group> {
        let mut held = self.held();
        let waiting = held.by_key.get_mut(key)?;
        if waiting.is_empty() {
            held.by_key.remove(key);
            return None;
        }
        let mut bytes = 0;
        let fits = waiting.iter().take(MAX_BATCH).take_while(|member| {
            let fits = bytes < MAX_BATCH_BYTES;
            bytes += member.bytes;
            fits
        });
        let fits = fits.count();
        Some(Group::new(waiting.drain(..fits).collect()))
    }

    /// Stores what became of a group and answers its publishers.
    fn commit(self: &Arc<Self>, plan: Option<&Plan>, group: Group) {
        let Group { members, time } = group;
        if members.is_empty() {
            return;
        }
        let mut messages = Vec::with_capacity(members.len());
        let mut ends = Vec::with_capacity(members.len());
        // Those of a batch come together, so that few steps are taken for many messages.
        let mut origins: Vec<(Arc<Origin>, usize)> = Vec::new();
        for member in members {
            match origins.last_mut() {
                Some((origin, bytes)) if Arc::ptr_eq(origin, &member.origin) => {
                    *bytes += member.bytes;
                }
                _ => origins.push((member.origin, member.bytes)),
            }
            if let (Some(trace), Some(end)) = (&member.trace, &member.ended) {
                let place = ("stream", self.cell.name.as_str());
                traces::send(&self.shared, trace, place, &member.message, end);
            }
            messages.push(member.message);
            ends.extend(member.ended);
        }
        let staged = settle(&self.shared, &self.cell, plan, ends, &messages, time);
        let replies: Vec<Option<Bytes>> =
            messages.into_iter().map(|message| message.reply).collect();
        let ingress = Arc::clone(self);
        let (count, keep, answers) = (staged.count, staged.keep, staged.answers);
        let finish = move |outcome: Result<Outcome, ApiError>| {
            for (origin, bytes) in origins {
                origin.done_inflight(bytes);
            }
            ingress.answer_staged(&replies, &answers, &outcome);
        };
        match staged.command {
            Some(command) => {
                self.shared
                    .propose_raw(self.cell.id, count, keep, &command, finish);
            }
            None => {
                finish(Ok(Outcome::Done));
                self.shared.acker.flush();
            }
        }
    }

    fn answer_staged(
        &self,
        replies: &[Option<Bytes>],
        answers: &[Answer],
        outcome: &Result<Outcome, ApiError>,
    ) {
        let acker = &self.shared.acker;
        let stream = &self.cell.name;
        for (reply, answer) in replies.iter().zip(answers) {
            let Some(reply) = reply else { continue };
            match answer.resolve(outcome) {
                crate::ingest::Resolved::Record(record) => acker.record(reply, stream, &record),
                crate::ingest::Resolved::Dropped | crate::ingest::Resolved::NoStation => {
                    acker.dropped(reply, stream);
                }
                crate::ingest::Resolved::Rejected { why, letter } => {
                    let letters = crate::ingest::dead_letter_stream(stream);
                    acker.rejected(
                        reply,
                        stream,
                        why,
                        letter.map(|seq| (letters.as_str(), seq)),
                    );
                }
            }
        }
    }
}

/// What waits at a station's door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Messages that came in and have not begun with the stages.
    pub waiting: usize,
    /// The stage that asked for a message again, while all others wait for that.
    pub retrying: Option<String>,
}

/// Makes one collector per connection that publishes here.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Arc<Ingress>);

impl Handler for Door {
    fn collector(&self, origin: &Arc<Origin>) -> Box<dyn Collector> {
        if self.0.shared.is_live(origin.cid) {
            return Box::new(Ignore);
        }
        Box::new(Gather {
            ingress: Arc::clone(&self.0),
            origin: Arc::clone(origin),
            records: RecordsBuilder::default(),
            replies: Replies::default(),
            plan: None,
            passed: Passed::default(),
            arena: BytesMut::new(),
            spans: Vec::new(),
        })
    }
}

/// For what came in by [`crate::Ingest`] and is only shown to live subscribers.
struct Ignore;

impl Collector for Ignore {
    fn push(&mut self, _message: &Published<'_>) {}

    fn flush(&mut self) {}
}

/// What a connection has published since its last flush.
struct Gather {
    ingress: Arc<Ingress>,
    origin: Arc<Origin>,
    records: RecordsBuilder,
    replies: Replies,
    /// The plan that the batch began with.
    plan: Option<Arc<Plan>>,
    passed: Passed,
    arena: BytesMut,
    spans: Vec<[u32; 4]>,
}

/// What the plan let through without a worker.
#[derive(Debug, Default)]
struct Passed {
    bytes: usize,
    /// How long the first check took: a look at the clock costs as much as a check.
    first: Duration,
}

impl Gather {
    /// Lays a message out for the log, unless it has to go through the plan.
    fn direct(&mut self, message: &Published<'_>, reply: Option<&[u8]>) -> bool {
        if self.records.is_empty() {
            self.plan = self.ingress.plan.load_full();
        }
        let Some(plan) = &self.plan else {
            let clean = unforged(message.headers);
            let headers = clean.as_deref().unwrap_or(message.headers);
            self.records.push(message.subject, headers, message.payload);
            self.replies.push(reply);
            return true;
        };
        let started = self.records.is_empty().then(Instant::now);
        let Some(version) = plan.passes(message.subject, message.headers, message.payload) else {
            return false;
        };
        let stamped;
        let headers: &[u8] = if message.headers.is_empty() {
            version.block()
        } else {
            stamped = version.stamped(message.headers);
            &stamped
        };
        if let Some(started) = started {
            self.passed.first = started.elapsed();
        }
        self.passed.bytes += message.subject.len() + message.headers.len() + message.payload.len();
        self.records.push(message.subject, headers, message.payload);
        self.replies.push(reply);
        true
    }

    fn submit_direct(&mut self) {
        let (records, count) = self.records.take();
        if count == 0 {
            return;
        }
        let passed = std::mem::take(&mut self.passed);
        if let Some(plan) = self.plan.take() {
            plan.count_passed(count as usize, passed.bytes, passed.first * count);
        }
        self.origin.add_inflight(records.len());
        let replies = std::mem::take(&mut self.replies);
        let origin = Arc::clone(&self.origin);
        self.ingress.submit(Batch::Direct(Direct {
            records,
            count,
            replies,
            origin,
        }));
    }
}

impl Collector for Gather {
    fn push(&mut self, message: &Published<'_>) {
        // With `no_ack` the reply subject is somebody else's business.
        let answers = self.ingress.answers.load(Ordering::Relaxed);
        let reply = message.reply.filter(|_| answers);
        // Behind a message that waits for the worker all others do, or they would overtake it.
        if self.spans.is_empty() {
            if self.direct(message, reply) {
                return;
            }
            self.submit_direct();
        }
        let reply = reply.unwrap_or_default();
        let parts = [message.subject, reply, message.headers, message.payload];
        let mut span = [0; 4];
        for (part, length) in parts.into_iter().zip(&mut span) {
            self.arena.extend_from_slice(part);
            *length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        }
        self.spans.push(span);
    }

    fn flush(&mut self) {
        if self.spans.is_empty() {
            self.submit_direct();
            return;
        }
        let mut arena = self.arena.split().freeze();
        let bytes = arena.len();
        let mut part = |length: u32| arena.split_to(length as usize);
        let messages = self
            .spans
            .drain(..)
            .map(|[subject, reply, headers, payload]| Message {
                subject: part(subject),
                reply: Some(part(reply)).filter(|reply| !reply.is_empty()),
                headers: part(headers),
                payload: part(payload),
            })
            .collect();
        self.origin.add_inflight(bytes);
        let origin = Arc::clone(&self.origin);
        self.ingress.submit(Batch::Staged(Staged {
            messages,
            bytes,
            origin,
        }));
    }
}
