//! The loop of a flow: a batch is made while the last one is committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use millstream_cluster::{Command, FlowStart, Outcome, StreamCell, UnfitPart};
use millstream_pipeline::Rejection;
use millstream_streams::{ApiError, Filters, Unfit};
use millstream_types::{Message, Timestamp};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::position::Position;
use super::select::{MAX_INPUTS, Selected, Selector};
use super::setup::{FlowEffects, FlowSetup};
use super::status::{FlowState, FlowStatus};
use super::work::{Blocked, Made, Work};
use crate::service::{JetStream, Keep, Shared};

/// Pauses before something that did not work is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A running flow. It ends when it is stopped; dropping it leaves it running.
#[derive(Debug)]
pub struct Flow {
    inner: Arc<Inner>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the loop and those who look at it share.
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) setup: ArcSwap<FlowSetup>,
    /// Told when what it reads, what it is or where it writes changed.
    wake: Arc<Notify>,
    stopping: AtomicBool,
    seen: Mutex<Seen>,
    /// Held while a batch with effects is run and committed, and while a message is sent again.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The setup whose place is known: what comes after that is not passed over.
    ready: tokio::sync::watch::Sender<Option<Arc<FlowSetup>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Seen {
    state: FlowState,
    reason: Option<String>,
    position: Position,
    errors: u64,
    last_error: Option<String>,
}

impl JetStream {
    /// Starts a flow.
    #[must_use]
    pub fn flow(&self, setup: FlowSetup) -> Flow {
        let inner = Arc::new(Inner {
            shared: Arc::clone(&self.shared),
            setup: ArcSwap::from_pointee(setup),
            wake: Arc::default(),
            stopping: AtomicBool::new(false),
            seen: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            ready: tokio::sync::watch::Sender::new(None),
        });
        self.shared.flows_wake().push(Arc::downgrade(&inner.wake));
        let own = Arc::clone(&inner);
        let task = self.shared.runtime.spawn(async move {
            Loop::new(own).run().await;
        });
        Flow {
            inner,
            task: Mutex::new(Some(task)),
        }
    }
}

impl Flow {
    /// What it is to do from its next batch on.
    pub fn change(&self, setup: FlowSetup) {
        self.inner.setup.store(Arc::new(setup));
        self.inner.wake.notify_one();
    }

    /// What it does.
    #[must_use]
    pub fn setup(&self) -> Arc<FlowSetup> {
        self.inner.setup.load_full()
    }

    /// Completes when the place where it begins is in the log, or it stands still.
    pub async fn ready(&self) {
        let mut ready = self.inner.ready.subscribe();
        // The sender lives as long as the flow.
        let known = |ready: &Option<Arc<FlowSetup>>| {
            let setup = self.inner.setup.load();
            ready
                .as_ref()
                .is_some_and(|ready| Arc::ptr_eq(ready, &setup))
        };
        let _gone = ready.wait_for(known).await;
    }

    /// Ends it; what is under way is decided then.
    pub async fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.wake.notify_one();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(panic) = task.await
        {
            error!(target: "nats", "flow `{}` did not stop: {panic}", self.setup().name);
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> FlowStatus {
        self.inner.status()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> FlowStatus {
        let setup = self.setup.load_full();
        let (position, mut status) = {
            let seen = self.seen();
            let position = &seen.position;
            let status = FlowStatus {
                state: seen.state,
                reason: seen.reason.clone(),
                position: position.read,
                parked: position.parked.len() as u64,
                next_try: position.first_due(),
                totals: position.totals,
                errors: seen.errors,
                last_error: seen.last_error.clone(),
                ..FlowStatus::default()
            };
            let oldest = position.parked.keys().next().copied();
            ((position.stream, position.read, oldest), status)
        };
        let (stream, read, parked) = position;
        let cell = self.shared.node.stream(&setup.from);
        if let Some(cell) = cell.filter(|cell| cell.id == stream) {
            let filters = Filters::one(setup.filter.as_bytes());
            let stream = cell.lock();
            let until = setup.until.unwrap_or(u64::MAX);
            let open = stream.next_matching(read + 1, &filters);
            let open = open.filter(|seq| *seq <= until);
            let unread = match setup.until {
                None => stream.count_matching(read + 1, &filters),
                Some(until) => stream
                    .count_matching(read + 1, &filters)
                    .saturating_sub(stream.count_matching(until + 1, &filters)),
            };
            status.lag_messages = status.parked + unread;
            let oldest = parked.into_iter().chain(open);
            let times = oldest.filter_map(|seq| Some(stream.locate(seq)?.time));
            let oldest = times.min();
            status.lag_seconds = oldest.map_or(0, |time| Timestamp::now().since(time).as_secs());
        }
        status
    }

    fn ready(&self, setup: &Arc<FlowSetup>) {
        self.ready.send_replace(Some(Arc::clone(setup)));
    }

    fn says(&self, state: FlowState, reason: Option<&str>) {
        let mut seen = self.seen();
        seen.state = state;
        seen.reason = reason.map(str::to_owned);
    }

    /// Something went wrong; it is told once in the log.
    fn failed(&self, state: FlowState, reason: &str) {
        let mut seen = self.seen();
        if seen.reason.as_deref() != Some(reason) {
            seen.errors += 1;
            warn!(target: "nats", "flow `{}` is {}: {reason}", self.setup.load().name, state.as_str());
        }
        seen.state = state;
        seen.reason = Some(reason.to_owned());
        seen.last_error = Some(reason.to_owned());
    }
}

/// A batch whose commit is not decided.
struct UnderWay {
    made: Made,
    effects: Option<Arc<dyn FlowEffects>>,
    outcome: oneshot::Receiver<Result<Outcome, ApiError>>,
}

/// What comes next.
enum Next {
    Batch(Made),
    Nothing(Option<Timestamp>),
    Done,
    /// What was in the way, and whether it may pass by itself.
    Stuck(FlowState, String),
}

struct Loop {
    inner: Arc<Inner>,
    /// Where the flow stands when what is under way is committed.
    position: Option<Position>,
    under_way: Option<UnderWay>,
    /// Inputs whose outputs no stream will ever take, and why.
    condemned: BTreeMap<u64, Rejection>,
    /// Most inputs of the next batch.
    limit: usize,
    pause: Duration,
}

impl Loop {
    fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            position: None,
            under_way: None,
            condemned: BTreeMap::new(),
            limit: MAX_INPUTS,
            pause: FIRST_PAUSE,
        }
    }

    async fn run(mut self) {
        while !self.inner.stopping.load(Ordering::Acquire) {
            let setup = self.inner.setup.load_full();
            let Some(cell) = self.inner.shared.node.stream(&setup.from) else {
                self.settle().await;
                self.position = None;
                let reason = format!("there is no stream `{}` to read", setup.from);
                self.inner.failed(FlowState::Blocked, &reason);
                self.inner.ready(&setup);
                self.inner.wake.notified().await;
                continue;
            };
            let known = self.position.as_ref();
            if known.is_none_or(|known| known.run != setup.run || known.stream != cell.id) {
                self.settle().await;
                if let Err(reason) = self.find_place(&setup, &cell).await {
                    self.inner.failed(FlowState::Failed, &reason);
                    self.wait_a_little().await;
                    continue;
                }
            }
            self.inner.ready(&setup);
            if setup.paused {
                self.settle().await;
                self.inner.says(FlowState::Paused, None);
                self.inner.wake.notified().await;
                continue;
            }
            self.step(&setup, &cell).await;
        }
        self.settle().await;
    }

    /// The position in the log, when it is of this run.
    fn stored(&self, setup: &FlowSetup) -> Option<Position> {
        let catalog = self.inner.shared.node.catalog();
        let stored = catalog.positions.get(&setup.key)?;
        Position::decode(stored).filter(|position| position.run == setup.run)
    }

    /// Goes on where the log says, or begins where the declaration says, which is written to the log at once: messages that
    /// come from now on are not passed over.
    async fn find_place(
        &mut self,
        setup: &FlowSetup,
        cell: &Arc<StreamCell>,
    ) -> Result<(), String> {
        (self.position, self.limit) = (None, MAX_INPUTS);
        self.condemned.clear();
        let stored = self.stored(setup);
        let again = stored
            .as_ref()
            .is_some_and(|stored| stored.stream != cell.id && stored.from == setup.from);
        if let Some(stored) = stored.filter(|stored| stored.stream == cell.id) {
            self.inner.seen().position = stored.clone();
            self.position = Some(stored);
            return Ok(());
        }
        if again {
            info!(target: "nats", "flow `{}` begins anew: stream `{}` was made anew", setup.name, cell.name);
        }
        let read = {
            let stream = cell.lock();
            match setup.start {
                FlowStart::Beginning => 0,
                // All of a stream that was made anew came after its end.
                FlowStart::End if again => 0,
                FlowStart::End => stream.last_seq(),
                FlowStart::Sequence(seq) => seq.saturating_sub(1),
                FlowStart::Time(time) => {
                    let first = stream.first_since(time);
                    first.map_or(stream.last_seq(), |first| first.saturating_sub(1))
                }
            }
        };
        let position = Position {
            run: setup.run,
            stream: cell.id,
            from: cell.name.clone(),
            read,
            ..Position::default()
        };
        let command = Command::Whole(vec![Command::Position {
            source: setup.key.clone(),
            value: position.encode(),
        }]);
        let shared = Arc::clone(&self.inner.shared);
        match shared.propose_wait(&command).await {
            Ok(Outcome::Unfit(part)) => Err(part.error.to_string()),
            Err(error) => Err(error.to_string()),
            Ok(_) => {
                self.inner.seen().position = position.clone();
                self.position = Some(position);
                Ok(())
            }
        }
    }

    /// Makes a batch, waits for the last one, and sends the new one on its way.
    async fn step(&mut self, setup: &Arc<FlowSetup>, cell: &Arc<StreamCell>) {
        let inner = Arc::clone(&self.inner);
        let turn = match &setup.effects {
            Some(_) => Some(inner.turn.lock().await),
            None => None,
        };
        let Some(position) = self.position.clone() else {
            return;
        };
        let next = self.next(setup, cell, position).await;
        if !self.settle().await {
            // It was made for a place where the flow does not stand.
            if let (Next::Batch(_), Some(effects)) = (&next, &setup.effects) {
                effects.committed(false);
            }
            return;
        }
        match next {
            Next::Batch(made) => {
                self.propose(made, setup.effects.clone());
                if setup.effects.is_some() {
                    self.settle().await;
                }
            }
            Next::Nothing(until) => {
                let waits = until.is_some() && self.holds_up(setup);
                let state = if waits {
                    FlowState::Retrying
                } else {
                    FlowState::Running
                };
                self.inner.says(state, None);
                drop(turn);
                self.wait(until).await;
            }
            Next::Done => {
                self.inner.says(FlowState::Done, None);
                drop(turn);
                self.inner.wake.notified().await;
            }
            Next::Stuck(state, reason) => {
                self.inner.failed(state, &reason);
                drop(turn);
                self.wait_a_little().await;
            }
        }
    }

    /// Whether inputs that are to be tried again keep others waiting.
    fn holds_up(&self, setup: &FlowSetup) -> bool {
        let parked = self
            .position
            .as_ref()
            .map_or(0, |position| position.parked.len());
        setup.running.order == millstream_pipeline::Order::Station
            || parked >= super::position::MAX_PARKED
    }

    async fn next(
        &self,
        setup: &Arc<FlowSetup>,
        cell: &Arc<StreamCell>,
        position: Position,
    ) -> Next {
        let (inner, setup, cell) = (Arc::clone(&self.inner), Arc::clone(setup), Arc::clone(cell));
        let (limit, condemned) = (self.limit, self.condemned.clone());
        let made = self.inner.shared.runtime.spawn_blocking(move || {
            let shared = &*inner.shared;
            let selector = Selector::new(shared, &setup, &cell, &position, limit);
            let (inputs, after) = match selector.select(&inner.wake) {
                Ok(Selected::Inputs(inputs, after)) => (inputs, after),
                Ok(Selected::Nothing(until)) => return Next::Nothing(until),
                Ok(Selected::Done) => return Next::Done,
                Err(error) => {
                    let reason = format!(
                        "{error}; `millstream flow restart {} --from-seq N` goes on behind it",
                        setup.name
                    );
                    return Next::Stuck(FlowState::Failed, reason);
                }
            };
            let work = Work {
                shared,
                setup: &setup,
                cell: &cell,
                condemned: &condemned,
            };
            match work.make(inputs, &position, after) {
                Ok(made) => Next::Batch(made),
                Err(Blocked(reason)) if setup.plan.is_err() => {
                    Next::Stuck(FlowState::Failed, reason)
                }
                Err(Blocked(reason)) => Next::Stuck(FlowState::Blocked, reason),
            }
        });
        let failed = |error| Next::Stuck(FlowState::Failed, format!("a batch failed: {error}"));
        made.await.unwrap_or_else(failed)
    }

    fn propose(&mut self, mut made: Made, effects: Option<Arc<dyn FlowEffects>>) {
        let (tell, outcome) = oneshot::channel();
        let command = Command::Whole(std::mem::take(&mut made.commands));
        let done = move |outcome| {
            // A loop that is gone needs no answer.
            let _gone = tell.send(outcome);
        };
        let (shared, keep) = (&self.inner.shared, made.keep);
        shared.propose_raw(0, made.count, keep, &command, done);
        self.position = Some(made.after.clone());
        self.under_way = Some(UnderWay {
            made,
            effects,
            outcome,
        });
    }

    /// Waits for what is under way; false when it was not committed, and the flow stands where the log says.
    async fn settle(&mut self) -> bool {
        let Some(under_way) = self.under_way.take() else {
            return true;
        };
        let UnderWay {
            made,
            effects,
            outcome,
        } = under_way;
        let outcome = outcome
            .await
            .unwrap_or_else(|_| Err(ApiError::internal("server is shutting down")));
        let setup = self.inner.setup.load_full();
        let stored = matches!(outcome, Ok(Outcome::Several(_)));
        if let Some(effects) = effects {
            effects.committed(stored);
        }
        if stored {
            self.inner.seen().position = made.after;
            self.inner.says(FlowState::Running, None);
            for seq in made.inputs.into_iter().flatten() {
                self.condemned.remove(&seq);
            }
            (self.limit, self.pause) = (MAX_INPUTS, FIRST_PAUSE);
            self.broadcast(made.live).await;
            return true;
        }
        self.position = None;
        match outcome {
            Ok(Outcome::Unfit(part)) => {
                if let Some(reason) = self.unfit(&setup, &made.owners, &made.inputs, part) {
                    self.inner.failed(FlowState::Blocked, &reason);
                    self.restore(&setup);
                    self.wait_a_little().await;
                    return false;
                }
            }
            Ok(other) => {
                let reason = format!("a batch came to something unknown: {other:?}");
                self.inner.failed(FlowState::Failed, &reason);
                self.wait_a_little().await;
            }
            Err(error) => {
                let reason = format!("the log does not take it: {error}");
                self.inner.failed(FlowState::Blocked, &reason);
                self.wait_a_little().await;
            }
        }
        self.restore(&setup);
        false
    }

    /// Stands where the log says.
    fn restore(&mut self, setup: &FlowSetup) {
        // Without one the next look finds its place anew.
        self.position = self.stored(setup);
    }

    /// What to do about a batch that was refused because of one record; a reason when it has to wait.
    fn unfit(
        &mut self,
        setup: &FlowSetup,
        owners: &[Vec<usize>],
        inputs: &[Option<u64>],
        part: UnfitPart,
    ) -> Option<String> {
        let UnfitPart {
            section,
            index,
            error,
            unfit,
        } = part;
        let owner = owners.get(section).and_then(|owners| owners.get(index));
        let seq = owner.and_then(|owner| *inputs.get(*owner)?);
        let (Some(owner), Some(seq)) = (owner, seq) else {
            return Some(error.to_string());
        };
        let never = match unfit {
            Unfit::Ever => true,
            Unfit::Here => *owner == 0,
            Unfit::Now => false,
        };
        let again = self.condemned.contains_key(&seq);
        if never && !again {
            let stage = format!("flow:{}", setup.name);
            let code = if error == ApiError::message_too_large() {
                "too_large"
            } else {
                "refused"
            };
            let reason = format!("the stream that it goes to refuses what it became: {error}");
            self.condemned
                .insert(seq, Rejection::new(&stage, code, &reason));
            return None;
        }
        if *owner > 0 {
            // What stands before it can be stored.
            self.limit = *owner;
            return None;
        }
        Some(error.to_string())
    }

    /// Shows outputs to live subscribers, as what is published is shown to them.
    async fn broadcast(&self, live: Vec<Message>) {
        if live.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.inner.shared);
        let sent = self
            .inner
            .shared
            .runtime
            .spawn_blocking(move || shared.broadcast(&live));
        // A server that goes down shows nothing any more.
        let _gone = sent.await;
    }

    async fn wait(&self, until: Option<Timestamp>) {
        let woken = self.inner.wake.notified();
        match until {
            None => woken.await,
            Some(time) => {
                let rest = time.since(Timestamp::now()).max(Duration::from_millis(1));
                // Either way there is something to look at.
                let _elapsed = tokio::time::timeout(rest, woken).await;
            }
        }
    }

    async fn wait_a_little(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 2).min(LAST_PAUSE);
        let setup = self.inner.setup.load_full();
        self.inner.ready(&setup);
        let end = tokio::time::Instant::now() + pause;
        // Messages that come wake it as well, and change nothing.
        while !self.inner.stopping.load(Ordering::Acquire)
            && Arc::ptr_eq(&setup, &self.inner.setup.load_full())
        {
            let woken = self.inner.wake.notified();
            if tokio::time::timeout_at(end, woken).await.is_err() {
                return;
            }
        }
    }
}

/// Commits what is made of a message that is sent again.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    commands: Vec<Command>,
    count: u32,
    keep: Keep,
) -> Result<Outcome, ApiError> {
    let (tell, outcome) = oneshot::channel();
    let done = move |outcome| {
        let _gone = tell.send(outcome);
    };
    shared.propose_raw(0, count, keep, &Command::Whole(commands), done);
    outcome
        .await
        .unwrap_or_else(|_| Err(ApiError::internal("server is shutting down")))
}
