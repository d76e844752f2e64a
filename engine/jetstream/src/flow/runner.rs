//! The loop of a flow: a batch is made while the last one is committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_cluster::{Command, FlowStart, Outcome, StreamCell, UnfitPart};
use millstream_streams::{ApiError, Unfit};
use millstream_types::{Message, Timestamp};
use tokio::sync::oneshot;
use tracing::info;

use super::handle::{FIRST_PAUSE, Inner};
use super::made::{Condemned, Made, condemn, forgets, refusal};
use super::position::{Position, Unreadable};
use super::select::{Input, MAX_INPUTS, Selected, Selector, grown};
use super::setup::{FlowEffects, FlowSetup};
use super::status::FlowState;
use super::work::{Blocked, Work};
use crate::service::Shared;

/// A batch whose commit is not decided.
struct UnderWay {
    made: Made,
    effects: Option<Arc<dyn FlowEffects>>,
    outcome: oneshot::Receiver<Result<Outcome, ApiError>>,
}

/// What comes next.
enum Next {
    Batch(Box<Made>),
    Nothing(Option<Timestamp>),
    Done,
    /// No more than so many inputs at once.
    Fewer(usize),
    /// What was in the way, and whether it may pass by itself.
    Stuck(FlowState, String),
}

pub(super) struct Loop {
    inner: Arc<Inner>,
    /// Where the flow stands when what is under way is committed.
    position: Option<Position>,
    under_way: Option<UnderWay>,
    /// Inputs whose outputs no stream will ever take, and why.
    condemned: Condemned,
    /// Most inputs of the next batch.
    limit: usize,
    pause: Duration,
}

impl Loop {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            position: None,
            under_way: None,
            condemned: Condemned::new(),
            limit: MAX_INPUTS,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.inner.stopping.load(Ordering::Acquire) {
            let setup = self.inner.setup.load_full();
            let cell = match self.source(&setup) {
                Ok(cell) => cell,
                Err(reason) => {
                    self.settle().await;
                    self.position = None;
                    self.inner.failed(FlowState::Blocked, &reason);
                    self.inner.ready(&setup);
                    self.inner.wake.notified().await;
                    continue;
                }
            };
            let known = self.position.as_ref();
            if known.is_none_or(|known| known.run != setup.run || known.stream != cell.id) {
                self.settle().await;
                if let Err(reason) = self.find_place(&setup, &cell).await {
                    self.inner.failed(FlowState::Failed, &reason);
                    self.inner.wait_a_little(&mut self.pause).await;
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

    /// The stream it reads, or why it cannot.
    fn source(&self, setup: &FlowSetup) -> Result<Arc<StreamCell>, String> {
        let from = &setup.from;
        match self.inner.shared.node.stream(from) {
            None => Err(format!("there is no stream `{from}` to read")),
            Some(cell) if forgets(&cell) => Err(format!(
                "stream `{from}` is in memory, and flows read what stays; make it anew with file storage"
            )),
            Some(cell) => Ok(cell),
        }
    }

    /// The position in the log, when it is of this run.
    fn stored(&self, setup: &FlowSetup) -> Result<Option<Position>, String> {
        let catalog = self.inner.shared.node.catalog();
        let Some(stored) = catalog.positions.get(&setup.key) else {
            return Ok(None);
        };
        Position::of_run(stored, setup.run).map_err(|Unreadable| {
            let then = match setup.until {
                None => format!(
                    "`millstream flow restart {} --from-seq N` goes on behind what is done",
                    setup.name
                ),
                Some(_) => "ask for the rerun again".to_owned(),
            };
            format!(
                "its position cannot be read, and to begin anew would do everything twice; {then}"
            )
        })
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
        let stored = self.stored(setup)?;
        let again = stored
            .as_ref()
            .is_some_and(|stored| stored.stream != cell.id && stored.from == setup.from);
        let stored = match stored {
            Some(stored) if stored.stream == cell.id => {
                self.inner.seen().position = stored.clone();
                self.position = Some(stored);
                return Ok(());
            }
            other => other,
        };
        // The range is gone with the stream that it was of.
        if let (Some(until), Some(stored)) = (setup.until, stored) {
            return self
                .begin(setup, stored.over(cell.id, &cell.name, until))
                .await;
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
        self.begin(setup, position).await
    }

    /// Writes to the log where it stands.
    async fn begin(&mut self, setup: &FlowSetup, position: Position) -> Result<(), String> {
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
                self.propose(*made, setup.effects.clone());
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
                self.inner.wait(until).await;
            }
            Next::Done => {
                self.inner.says(FlowState::Done, None);
                drop(turn);
                self.inner.wake.notified().await;
            }
            Next::Fewer(inputs) => self.limit = inputs,
            Next::Stuck(state, reason) => {
                self.inner.failed(state, &reason);
                drop(turn);
                self.inner.wait_a_little(&mut self.pause).await;
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
            worked(shared, &setup, &cell, (inputs, &position, after), condemned)
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
            for (seq, why) in made.lost {
                self.inner.lost(seq, &why);
            }
            for seq in made.inputs.into_iter().flatten() {
                self.condemned.remove(&seq);
            }
            self.limit = grown(self.limit, made.bytes);
            self.pause = FIRST_PAUSE;
            self.broadcast(made.live).await;
            return true;
        }
        self.position = None;
        match outcome {
            Ok(Outcome::Unfit(part)) => {
                if let Some(reason) = self.unfit(&setup, &made.owners, &made.inputs, part) {
                    self.inner.failed(FlowState::Blocked, &reason);
                    self.restore(&setup);
                    self.inner.wait_a_little(&mut self.pause).await;
                    return false;
                }
            }
            Ok(other) => {
                let reason = format!("a batch came to something unknown: {other:?}");
                self.inner.failed(FlowState::Failed, &reason);
                self.inner.wait_a_little(&mut self.pause).await;
            }
            Err(error) => {
                let reason = format!("the log does not take it: {error}");
                self.inner.failed(FlowState::Blocked, &reason);
                self.inner.wait_a_little(&mut self.pause).await;
            }
        }
        self.restore(&setup);
        false
    }

    /// Stands where the log says.
    fn restore(&mut self, setup: &FlowSetup) {
        // Without one the next look finds its place anew, or says why it cannot.
        self.position = self.stored(setup).ok().flatten();
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
        if never && condemn(&mut self.condemned, seq, refusal(&setup.name, &error)) {
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
}

/// A batch of inputs, made ready. Inputs whose outputs no stream will ever take are found here as far as that can be told:
/// the log need not be asked for each of them.
fn worked(
    shared: &Shared,
    setup: &FlowSetup,
    cell: &Arc<StreamCell>,
    (inputs, before, after): (Vec<Input>, &Position, Position),
    mut condemned: Condemned,
) -> Next {
    loop {
        let work = Work {
            shared,
            setup,
            cell,
            condemned: &condemned,
        };
        let made = match work.make(inputs.clone(), before, after.clone()) {
            Ok(made) => made,
            Err(Blocked::TooMuch(inputs)) => return Next::Fewer(inputs),
            Err(Blocked::By(reason)) if setup.plan.is_err() => {
                return Next::Stuck(FlowState::Failed, reason);
            }
            Err(Blocked::By(reason)) => return Next::Stuck(FlowState::Blocked, reason),
        };
        let mut more = false;
        for (seq, why) in made.hopeless(shared, &setup.name) {
            more |= condemn(&mut condemned, seq, why);
        }
        if !more {
            return Next::Batch(Box::new(made));
        }
        if let Some(effects) = &setup.effects {
            effects.committed(false);
        }
    }
}
