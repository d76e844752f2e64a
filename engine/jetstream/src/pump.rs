//! Delivery: one task per consumer carries out what its state machine says, and sleeps while there is nothing to do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_broker::{Publisher, Sent};
use millstream_cluster::{Command, StreamCell};
use millstream_pipeline::Reading;
use millstream_streams::{
    Ack, AckKind, AckPolicy, Acks, Action, Command as StreamCommand, Deliver, RetentionPolicy,
};
use millstream_types::{HeaderBlock, HeadersBuilder, Timestamp};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{debug, error};

use crate::give_way::GiveWay;
use crate::read::FrameCursor;
use crate::service::Shared;

/// Most deliveries between two looks at the stream's lock and at what the receivers still have to read.
const ROUND: usize = 256;
/// After a change that the log did not take.
const AGAIN: Duration = Duration::from_secs(1);
/// Deliveries without acknowledgement after which the log is told how far a consumer is.
const PROGRESS_STEP: u64 = 10_000;

type Key = (u32, String);

/// How many bytes may wait for a receiver. Far below what cuts it off: the server must not do that to somebody who reads.
#[derive(Clone, Copy, Debug)]
struct Water {
    /// Beyond it nothing more is sent there,
    high: usize,
    /// until fewer than this wait.
    low: usize,
    /// About the most bytes of a round.
    round: u64,
}

impl Water {
    fn new(max_pending: usize) -> Self {
        const HIGH: usize = 8 << 20;
        const ROUND_BYTES: usize = 1 << 20;
        let high = HIGH.min(max_pending / 8);
        Self {
            high,
            low: (high / 4).max(1),
            round: ROUND_BYTES.min(max_pending / 16).max(1) as u64,
        }
    }
}

/// The delivery tasks of this node.
#[derive(Debug, Default)]
pub(crate) struct Pumps {
    tasks: Mutex<HashMap<Key, (Arc<Notify>, AbortHandle)>>,
    /// Consumers that a feed polls itself.
    claimed: Mutex<HashSet<Key>>,
}

impl Pumps {
    /// Makes sure that a consumer's deliveries are carried out, and that changes of it are seen.
    pub(crate) fn ensure(&self, shared: &Arc<Shared>, cell: &Arc<StreamCell>, name: &str) {
        let key = (cell.id, name.to_owned());
        if self
            .claimed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&key)
        {
            return;
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((wake, task)) = tasks.get(&key)
            && !task.is_finished()
        {
            wake.notify_one();
            return;
        }
        let wake = Arc::new(Notify::new());
        let pump = Pump {
            shared: Arc::downgrade(shared),
            cell: Arc::clone(cell),
            name: name.to_owned(),
            wake: Arc::clone(&wake),
            publisher: shared.broker.publisher(),
            cursor: FrameCursor::default(),
            give_way: GiveWay::default(),
            water: Water::new(shared.broker.options().max_pending),
            proposed: 0,
            given_up: Vec::new(),
        };
        let task = shared.runtime.spawn(pump.run());
        tasks.insert(key, (wake, task.abort_handle()));
    }

    /// Has a consumer look again.
    pub(crate) fn wake(&self, cell: &StreamCell, name: &str) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((wake, _)) = tasks.get(&(cell.id, name.to_owned())) {
            wake.notify_one();
        }
    }

    /// Ends a consumer's deliveries.
    pub(crate) fn stop(&self, cell: &StreamCell, name: &str) {
        let gone = self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(cell.id, name.to_owned()));
        if let Some((_, task)) = gone {
            task.abort();
        }
    }

    /// Ends the deliveries of all consumers of a stream.
    pub(crate) fn stop_all(&self, cell: &StreamCell) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|(id, _), (_, task)| {
            if *id == cell.id {
                task.abort();
            }
            *id != cell.id
        });
    }

    /// Leaves a consumer to somebody who polls it himself.
    pub(crate) fn claim(&self, cell: &StreamCell, name: &str) {
        let key = (cell.id, name.to_owned());
        self.claimed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        self.stop(cell, name);
    }
}

struct Pump {
    shared: std::sync::Weak<Shared>,
    cell: Arc<StreamCell>,
    name: String,
    wake: Arc<Notify>,
    publisher: Publisher,
    cursor: FrameCursor,
    give_way: GiveWay,
    water: Water,
    /// The highest sequence proposed by [`Pump::save_progress`].
    proposed: u64,
    /// Messages that are not to be delivered again, to be proposed.
    given_up: Vec<Ack>,
}

/// Whether what is to be delivered is read from disk, and not from what the log has in memory; `None` when nothing is.
fn is_history(shared: &Shared, actions: &[Action]) -> Option<bool> {
    let at = actions.iter().find_map(|action| match action {
        Action::Deliver(deliver) => Some(deliver.place.position),
        _ => None,
    })?;
    Some(at.file != u32::MAX && !shared.group.is_recent(at))
}

/// How a consumer wants its messages.
enum Form {
    AsStored,
    HeadersOnly,
    Converted(Reading),
}

/// Why a message is delivered as it is stored, and not as its consumer wants it.
const READING_ERROR: &str = "Ms-Schema-Error";

/// Header values are one line.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

/// When to look again.
enum Next {
    Now,
    At(Timestamp),
    OnWake,
    Never,
}

impl Pump {
    async fn run(mut self) {
        let Some(mut interest) = self
            .shared
            .upgrade()
            .map(|shared| shared.broker.interest_changed())
        else {
            return;
        };
        let mut actions = Vec::with_capacity(ROUND);
        loop {
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            let round = Instant::now();
            let deliver_subject = self.look_for_receiver(&shared);
            let mut next = self.poll(&mut actions);
            let pushed = deliver_subject.is_some();
            let replays = is_history(&shared, &actions);
            let expired = actions.contains(&Action::Expired);
            let behind = self.carry_out(&shared, &mut actions, &mut next);
            let rest = self.give_way.rest(round.elapsed(), replays, &shared.cores);
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            if expired {
                self.expire(&shared, &mut next).await;
            }
            for route in behind {
                if pushed {
                    shared.broker.wait_drained(&route, self.water.low).await;
                } else {
                    self.hold(&shared, route);
                }
            }
            drop(shared);
            if !matches!(next, Next::Now) {
                self.cursor.rest();
            }
            match next {
                Next::Now => tokio::task::yield_now().await,
                Next::Never => return,
                Next::OnWake if pushed => tokio::select! {
                    () = self.wake.notified() => {}
                    _ = interest.changed() => {}
                },
                Next::OnWake => self.wake.notified().await,
                Next::At(time) => {
                    let wait = time.since(Timestamp::now()).max(Duration::from_millis(1));
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                        _ = interest.changed(), if pushed => {}
                    }
                }
            }
        }
    }

    /// A push consumer delivers while somebody listens.
    fn look_for_receiver(&self, shared: &Shared) -> Option<String> {
        let mut stream = self.cell.lock();
        let subject = stream
            .consumers
            .get(&self.name)?
            .config
            .deliver_subject
            .clone()?;
        let listening = shared.broker.has_interest(subject.as_bytes());
        stream.set_interest(&self.name, listening, Timestamp::now());
        Some(subject)
    }

    fn poll(&self, actions: &mut Vec<Action>) -> Next {
        let now = Timestamp::now();
        let mut stream = self.cell.lock();
        let mut bytes = 0;
        while actions.len() < ROUND && bytes < self.water.round {
            match stream.poll_consumer(&self.name, now) {
                None => return Next::Never,
                Some(Action::Idle { wants_messages }) => {
                    if wants_messages {
                        self.cell
                            .wake_on_message(&mut stream, &self.name, &self.wake);
                    }
                    return Next::OnWake;
                }
                Some(Action::WaitUntil {
                    time,
                    wants_messages,
                }) => {
                    if wants_messages {
                        self.cell
                            .wake_on_message(&mut stream, &self.name, &self.wake);
                    }
                    return Next::At(time);
                }
                Some(Action::Expired) => {
                    actions.push(Action::Expired);
                    return Next::Never;
                }
                Some(action) => {
                    if let Action::Deliver(deliver) = &action {
                        bytes += u64::from(deliver.size);
                    }
                    actions.push(action);
                }
            }
        }
        Next::Now
    }

    /// Serves other requests than those answered on `route`, whose reader is behind, until it has read some.
    fn hold(&self, shared: &Arc<Shared>, route: Bytes) {
        if !self.cell.lock().hold_requests(&self.name, &route) {
            return;
        }
        let (broker, low) = (shared.broker.clone(), self.water.low);
        let (cell, name) = (Arc::clone(&self.cell), self.name.clone());
        let wake = Arc::clone(&self.wake);
        // Ends at the latest when the reader is cut off.
        shared.runtime.spawn(async move {
            broker.wait_drained(&route, low).await;
            cell.lock().release_requests(&name, &route);
            wake.notify_one();
        });
    }

    /// Sends what was decided; answers the subjects whose receivers are behind.
    fn carry_out(
        &mut self,
        shared: &Arc<Shared>,
        actions: &mut Vec<Action>,
        next: &mut Next,
    ) -> Vec<Bytes> {
        let mut behind: Vec<Bytes> = Vec::new();
        let form = self.form();
        for action in actions.drain(..) {
            match action {
                Action::Deliver(deliver) => {
                    match self.deliver(shared, &deliver, &form) {
                        Some(sent)
                            if sent.pending > self.water.high
                                && !behind.contains(&deliver.deliver_to) =>
                        {
                            behind.push(deliver.deliver_to);
                        }
                        // Another request that waits may take it.
                        Some(sent) if sent.receivers == 0 => *next = Next::Now,
                        _ => {}
                    }
                }
                Action::Status { to, headers, reply } => {
                    self.publisher.send(&to, reply.as_deref(), &headers, &[]);
                }
                Action::MaxDeliveries { seq, deliveries } => {
                    self.give_up(seq);
                    self.advise_max_deliveries(seq, deliveries);
                }
                Action::Expired | Action::Idle { .. } | Action::WaitUntil { .. } => {}
            }
        }
        self.publisher.flush();
        self.save_progress(shared);
        let given_up = std::mem::take(&mut self.given_up);
        if !given_up.is_empty() {
            crate::acks::commit(shared, &self.cell, &self.name, given_up, Vec::new());
        }
        behind
    }

    /// Removes the consumer, which nobody used for as long as it says.
    async fn expire(&mut self, shared: &Arc<Shared>, next: &mut Next) {
        debug!(target: "nats", "consumer `{}` > `{}` is inactive and goes", self.cell.name, self.name);
        if let Err(error) = crate::api::remove_consumer(shared, &self.cell, &self.name).await {
            error!(target: "nats", "inactive consumer `{}` stays: {error}", self.name);
            *next = Next::At(Timestamp::now().plus(AGAIN));
        }
    }

    /// How this consumer wants its messages.
    fn form(&self) -> Form {
        let stream = self.cell.lock();
        let Some(consumer) = stream.consumers.get(&self.name) else {
            return Form::AsStored;
        };
        if consumer.config.headers_only {
            return Form::HeadersOnly;
        }
        let metadata = &consumer.config.metadata;
        // What cannot be read was refused when the consumer was made, so here nothing is asked for.
        let reading = Reading::of_metadata(|key| metadata.get(key).map(String::as_str));
        match reading {
            Ok(Some(reading)) => Form::Converted(reading),
            Ok(None) | Err(_) => Form::AsStored,
        }
    }

    fn deliver(&mut self, shared: &Shared, deliver: &Deliver, form: &Form) -> Option<Sent> {
        let view = match self
            .cursor
            .view(shared, &self.cell, deliver.seq, deliver.place)
        {
            Ok(Some(view)) => view,
            // Removed between the look and now: as if it had never matched.
            Ok(None) => return None,
            Err(error) => {
                error!(target: "nats", "{error}");
                if error.is_damage() {
                    self.pass_over(deliver);
                }
                return None;
            }
        };
        let (to, reply) = (&deliver.deliver_to, Some(&*deliver.reply));
        let publisher = &mut self.publisher;
        let sent = match form {
            Form::AsStored => {
                publisher.deliver(to, view.subject, reply, view.headers, view.payload)
            }
            Form::HeadersOnly => {
                let mut headers = HeadersBuilder::from_block(&HeaderBlock::new(view.headers));
                headers.push("Nats-Msg-Size", &view.payload.len().to_string());
                publisher.deliver(to, view.subject, reply, &headers.build(), &[])
            }
            Form::Converted(reading) => {
                let (raw, payload) = (view.headers, view.payload);
                match reading.convert(&*shared.schemas, raw, payload) {
                    Ok(None) => publisher.deliver(to, view.subject, reply, raw, payload),
                    Ok(Some((raw, payload))) => {
                        publisher.deliver(to, view.subject, reply, &raw, &payload)
                    }
                    // As it is stored, and why: leaving it out would lose it.
                    Err(error) => {
                        let mut headers = HeadersBuilder::from_block(&HeaderBlock::new(raw));
                        headers.push(READING_ERROR, &one_line(&error.to_string()));
                        publisher.deliver(to, view.subject, reply, &headers.build(), payload)
                    }
                }
            }
        };
        if sent.receivers == 0 {
            // Whoever asked is gone; the message is not held back until its acknowledgement is overdue.
            self.cell.lock().undelivered(
                &self.name,
                deliver.seq,
                &deliver.deliver_to,
                Timestamp::now(),
            );
        }
        Some(sent)
    }

    /// A damaged message stays in the stream, and in nobody's way: it is not tried again, and the request it was for may get
    /// another one. Otherwise a frame of them would take up all that may be out for acknowledgement, for ever.
    fn pass_over(&mut self, deliver: &Deliver) {
        let (over, acknowledges) = {
            let mut stream = self.cell.lock();
            let over = stream.unreadable(&self.name, deliver.seq, &deliver.deliver_to);
            let consumer = stream.consumers.get(&self.name);
            let policy = consumer.map(|consumer| consumer.config.ack_policy);
            (over, policy.is_some_and(|policy| policy != AckPolicy::None))
        };
        if let Some(headers) = over {
            self.publisher
                .send(&deliver.deliver_to, None, &headers, &[]);
        }
        if acknowledges {
            self.give_up(deliver.seq);
        }
    }

    fn give_up(&mut self, seq: u64) {
        self.given_up.push(Ack {
            stream_seq: seq,
            kind: AckKind::GiveUp,
        });
    }

    /// Consumers that acknowledge nothing move their floor by delivering; now and then the log is told.
    fn save_progress(&mut self, shared: &Arc<Shared>) {
        let (reached, floor, step) = {
            let stream = self.cell.lock();
            // Elsewhere the messages go with the floor.
            let step = match stream.config.retention {
                RetentionPolicy::Limits => PROGRESS_STEP,
                _ => 1,
            };
            let Some(consumer) = stream.consumers.get(&self.name) else {
                return;
            };
            let Some(reached) = consumer.uncommitted() else {
                return;
            };
            (reached, consumer.floor(), step)
        };
        if reached.saturating_sub(floor.max(self.proposed)) < step {
            return;
        }
        self.proposed = reached;
        let command = Command::Stream(StreamCommand::Acks(Acks {
            stream: self.cell.id,
            consumer: self.name.clone(),
            time: Timestamp::now(),
            acks: vec![Ack {
                stream_seq: reached,
                kind: AckKind::Ack,
            }],
        }));
        shared.propose(&self.cell, 0, &command, |_| {});
    }

    fn advise_max_deliveries(&mut self, seq: u64, deliveries: u64) {
        let subject = format!(
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.{}",
            self.cell.name, self.name
        );
        let advisory = serde_json::json!({
            "type": "io.nats.jetstream.advisory.v1.max_deliver",
            "id": format!("{}-{}-{seq}", self.cell.name, self.name),
            "timestamp": Timestamp::now().to_rfc3339(),
            "stream": self.cell.name,
            "consumer": self.name,
            "stream_seq": seq,
            "deliveries": deliveries,
        });
        self.publisher.send(
            subject.as_bytes(),
            None,
            &[],
            advisory.to_string().as_bytes(),
        );
    }
}
