//! The way in from the network: what connections publish on a stream's subjects, gathered per read batch, turned into
//! commands, acknowledged after the commit.
//!
//! What is as it is to be stored goes straight to the log. The rest goes through the station's plan on a worker; at most one
//! works per station, so the log has the order of arrival.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use millstream_broker::Origin;
use millstream_cluster::{Outcome, StreamCell, publish_head};
use millstream_pipeline::{KeyRule, Order, Plan};
use millstream_streams::{ApiError, RecordOutcome};
use millstream_types::Timestamp;

use crate::batch::{Batch, Way, look};
use crate::group::{Group, Member};
use crate::ingest::{Answer, settle};
use crate::internal::not_internal;
use crate::replies::Replies;
use crate::service::{Keep, Shared};
use crate::traces;

/// Most messages and bytes a worker takes through the plan at once; bounds how long a batch keeps its memory and how large its
/// command becomes.
const MAX_BATCH: usize = 4096;
const MAX_BATCH_BYTES: usize = 8 << 20;
/// The same for messages that stages look at where they lie: functions are called with no more at once, and what is made of so
/// many stays in the processor's cache.
const MAX_IN_PLACE: usize = 256;

/// One stream's entrance.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) cell: Arc<StreamCell>,
    pub(crate) shared: Arc<Shared>,
    /// The station's compiled pipeline; `None` where there are no stages. Swapped whole: a batch sees one version.
    pub(crate) plan: ArcSwapOption<Plan>,
    /// Whether publishers are answered: not with `no_ack`.
    pub(crate) answers: AtomicBool,
    /// Why nobody but the server may write it.
    writable: Result<(), String>,
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

impl Queue {
    /// What goes through the plan together with a batch.
    fn together(&mut self, first: Batch, most: usize) -> Vec<Batch> {
        let mut count = first.count as usize;
        let mut bytes = first.bytes;
        let mut together = vec![first];
        let staged = |batch: &mut Batch| batch.way != Way::Straight;
        while count < most && bytes < MAX_BATCH_BYTES {
            let Some(next) = self.waiting.pop_front_if(staged) else {
                break;
            };
            count += next.count as usize;
            bytes += next.bytes;
            together.push(next);
        }
        together
    }
}

impl Ingress {
    pub(crate) fn new(cell: Arc<StreamCell>, shared: Arc<Shared>, plan: Option<Arc<Plan>>) -> Self {
        Self {
            writable: not_internal(&cell.name),
            cell,
            shared,
            plan: ArcSwapOption::new(plan),
            answers: AtomicBool::new(true),
            queue: Mutex::default(),
            waits_for: Mutex::default(),
            held: Mutex::default(),
        }
    }

    pub(crate) fn submit(self: &Arc<Self>, batch: Batch) {
        if let Err(why) = &self.writable {
            batch.origin.done_inflight(batch.bytes);
            let refused = Err(ApiError::store_failed(why.clone()));
            self.answer_records(&batch.replies, batch.count, &refused);
            // Within a flush of the acker itself nobody wants an answer.
            if (0..batch.count as usize).any(|index| batch.replies.get(index).is_some()) {
                self.shared.acker.flush();
            }
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.way == Way::Straight && !queue.running && self.held().by_key.is_empty() {
            drop(queue);
            self.propose(batch, None);
            return;
        }
        queue.waiting.push_back(batch);
        if !queue.running {
            queue.running = true;
            drop(queue);
            let ingress = Arc::clone(self);
            self.shared.runtime.spawn_blocking(move || ingress.work());
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
                Some(batch) if batch.way == Way::Straight => {
                    drop(queue);
                    // It may have waited for long.
                    self.propose(batch, Some(Timestamp::now()));
                }
                Some(first) => {
                    let plan = self.plan.load_full();
                    let in_place = plan.as_ref().is_some_and(|plan| plan.is_in_place());
                    let most = if in_place { MAX_IN_PLACE } else { MAX_BATCH };
                    let together = queue.together(first, most);
                    drop(queue);
                    if !self.run_plan(plan.as_deref(), together) {
                        // It goes on where it was left when the time has come.
                        return;
                    }
                }
            }
        }
    }

    /// Stores a batch as it is; at the time when it came, or at another one where it had to wait or stages saw it with that.
    fn propose(self: &Arc<Self>, batch: Batch, time: Option<Timestamp>) {
        let (count, stream) = (batch.count, self.cell.id);
        let encoded = match time {
            None => (Bytes::new(), batch.command),
            Some(time) => {
                let head = publish_head(stream, time, count);
                (Bytes::copy_from_slice(&head), batch.records())
            }
        };
        let Batch {
            replies,
            origin,
            bytes,
            ..
        } = batch;
        let ingress = Arc::clone(self);
        let keep = Keep::of(&self.cell, count);
        self.shared
            .propose_encoded(stream, count, keep, encoded, move |outcome| {
                origin.done_inflight(bytes);
                ingress.answer_records(&replies, count, &outcome);
            });
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
    fn run_plan(self: &Arc<Self>, plan: Option<&Plan>, batches: Vec<Batch>) -> bool {
        let time = Timestamp::now();
        let plain = |batch: &Batch| batch.way == Way::Staged { plain: true };
        let group = match plan {
            Some(plan) if plan.is_in_place() && batches.iter().all(plain) => {
                let Some(group) = look(plan, &batches, time) else {
                    for batch in batches {
                        self.propose(batch, Some(time));
                    }
                    return true;
                };
                group
            }
            _ => self.run_members(plan, &batches, time),
        };
        self.settle(plan, group)
    }

    fn run_members(&self, plan: Option<&Plan>, batches: &[Batch], time: Timestamp) -> Group {
        let mut members = batches.iter().flat_map(Batch::members).collect();
        if let Some(plan) = plan
            && plan.running().order == Order::Key
        {
            members = self.hold(plan, members);
        }
        let mut group = Group::new(members, time);
        group.run(plan);
        group
    }

    /// Stores what became of a group that went through the plan. False when the station has to wait until one of its messages
    /// is tried again.
    fn settle(self: &Arc<Self>, plan: Option<&Plan>, mut group: Group) -> bool {
        let order = plan.map_or(Order::Station, |plan| plan.running().order);
        let Some(pause) = group.pause() else {
            self.commit(plan, group);
            return true;
        };
        match (order, plan) {
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
        self.commit(plan, group);
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
        let count = |batch: &Batch| batch.count as usize;
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
        Some(Group::new(
            waiting.drain(..fits).collect(),
            Timestamp::now(),
        ))
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
