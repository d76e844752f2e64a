//! From what some steps come to to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_cluster::{CatalogChange, CatalogCommand, Command, Outcome, UnfitPart};
use millstream_pipeline::{DataflowStatus, Output};
use millstream_streams::{ApiError, Command as StreamCommand, Unfit};
use millstream_types::{Message, Timestamp};
use tokio::sync::oneshot;

use super::super::handle::{FIRST_PAUSE, Inner, LAST_PAUSE};
use super::super::made::{Condemned, condemn, refusal};
use super::super::setup::{FlowSetup, QuerySetup};
use super::super::status::FlowState;
use super::build::{Before, Changes, Kept};
use super::engine::Gathered;
use super::outputs::{Made, NOBODY, Outlet, Prepared};
use super::place::Place;
use super::store::{Store, Unread};
use crate::service::Keep;

/// Most results that a commit publishes, and most bytes of them; more are stored with the state first.
const OUTPUTS: usize = 64 << 10;
const OUTPUT_BYTES: usize = 8 << 20;

/// Bytes of state that an entry of the log holds; more are in entries before it.
const ENTRY: usize = 8 << 20;

/// Messages of stored results that one commit publishes.
const TAKEN: usize = 16;

/// The query is to be made anew from what is stored.
#[derive(Debug)]
pub(super) struct Discard {
    /// What is told; nothing when it is as it should be.
    pub(super) why: Option<(FlowState, String)>,
    /// Whether it would come to the same once more.
    pub(super) for_good: bool,
}

impl Discard {
    pub(super) fn quiet() -> Self {
        Self {
            why: None,
            for_good: false,
        }
    }

    pub(super) fn because(state: FlowState, reason: impl Into<String>) -> Self {
        Self {
            why: Some((state, reason.into())),
            for_good: false,
        }
    }
}

/// What a commit ends with.
#[derive(Clone, Copy)]
pub(super) enum Last<'a> {
    /// Where the query stands then.
    Place(&'a Place),
    /// It takes over from another version. When something is in the way, nothing is tried again: that one goes on meanwhile.
    Switch(&'a CatalogChange),
}

impl From<Unread> for Discard {
    fn from(Unread(reason): Unread) -> Self {
        Self::because(FlowState::Failed, reason)
    }
}

/// What is committed of a query. Runs on blocking threads.
pub(super) struct Committer {
    pub(super) inner: Arc<Inner>,
    pub(super) setup: Arc<FlowSetup>,
    pub(super) query: Arc<QuerySetup>,
    pub(super) store: Store,
    /// Where the query stands in the log.
    pub(super) place: Place,
    /// What it keeps back while it is built.
    pub(super) kept: Option<Kept>,
}

impl Committer {
    pub(super) fn outlet(&self) -> Outlet<'_> {
        Outlet {
            shared: &self.inner.shared,
            setup: &self.setup,
            query: &self.query,
        }
    }

    /// Commits what was gathered.
    ///
    /// # Errors
    /// When the query is to be made anew.
    pub(super) fn commit(
        &mut self,
        gathered: Gathered,
        status: &DataflowStatus,
    ) -> Result<(), Discard> {
        let inner = Arc::clone(&self.inner);
        let Gathered {
            mut outputs,
            mut rejected,
            mut late,
            state,
            place,
            ..
        } = gathered;
        let mut changes = Changes::new();
        if let Some(kept) = &mut self.kept {
            // The version that runs has dealt with these.
            (rejected, late) = (Vec::new(), Vec::new());
            let before = Before::of(&inner.shared, &self.setup).ok_or_else(Discard::quiet)?;
            changes = kept.take(std::mem::take(&mut outputs), before.told());
            within(kept, self.query.limit)?;
        }
        let (snapshot, removed) = self.store.put_together(&inner.shared, self.place.epoch)?;
        let later = outputs.split_off(direct(&outputs));
        let mut internal = self.store.results(&later, place.epoch);
        internal.extend(self.store.changes(state, changes, place.epoch));
        internal.extend(snapshot);
        let last = self.write_ahead(internal)?;
        let prepared = self.outlet().prepare(outputs, late, rejected);
        let prepared = prepared.map_err(|reason| Discard::because(FlowState::Blocked, reason))?;
        self.publish(&prepared, &last, &removed, Last::Place(&place))?;
        self.place = place;
        inner.stands(&self.place, status);
        if !later.is_empty() {
            self.store.find_pending(&inner.shared, self.place.epoch)?;
            self.drain()?;
        }
        Ok(())
    }

    /// Publishes the results that are stored with the state.
    ///
    /// # Errors
    /// When the query is to be made anew.
    pub(super) fn drain(&mut self) -> Result<(), Discard> {
        let place = self.place.clone();
        while !self.store.pending.is_empty() {
            let most = self.store.pending.len().min(TAKEN);
            let taken: Vec<u64> = self.store.pending.drain(..most).collect();
            let mut outputs = Vec::new();
            for sequence in &taken {
                let shared = &self.inner.shared;
                outputs.extend(self.store.pending_results(shared, *sequence)?);
            }
            let prepared = Prepared {
                outputs: Outlet::outputs(outputs),
                ..Prepared::default()
            };
            self.publish(&prepared, &[], &taken, Last::Place(&place))?;
        }
        Ok(())
    }

    /// Writes messages of the state stream but for the last ones, which the commit itself holds. They count when that comes
    /// about.
    pub(super) fn write_ahead(&self, internal: Vec<Message>) -> Result<Vec<Message>, Discard> {
        let nothing = Prepared::default();
        let mut entry = Vec::new();
        let mut bytes = 0;
        for message in internal {
            let size = message.payload.len();
            if bytes + size > ENTRY && !entry.is_empty() {
                let made =
                    self.outlet()
                        .make(&nothing, (&self.store, &entry), &mut Condemned::new());
                let made = made.map_err(|reason| Discard::because(FlowState::Blocked, reason))?;
                match self.propose(made.commands, made.count, made.keep) {
                    Ok(Outcome::Several(_)) => {}
                    other => return Err(untaken(other)),
                }
                entry.clear();
                bytes = 0;
            }
            bytes += size;
            entry.push(message);
        }
        Ok(entry)
    }

    fn propose(&self, commands: Vec<Command>, count: u32, keep: Keep) -> Result<Outcome, ApiError> {
        let (tell, outcome) = oneshot::channel();
        let done = move |outcome| {
            // A flow that is gone needs no answer.
            let _gone = tell.send(outcome);
        };
        let command = Command::Whole(commands);
        let shared = &self.inner.shared;
        shared.propose_raw(0, count, keep, &command, done);
        let closed = |_| Err(ApiError::internal("server is shutting down"));
        outcome.blocking_recv().unwrap_or_else(closed)
    }

    /// One command with all of it. A result that no stream takes becomes a dead letter; when something else is in the way,
    /// it is tried again.
    pub(super) fn publish(
        &self,
        prepared: &Prepared,
        internal: &[Message],
        removed: &[u64],
        last: Last<'_>,
    ) -> Result<(), Discard> {
        let tried_again = matches!(last, Last::Place(_));
        let (mut condemned, mut pause) = (Condemned::new(), FIRST_PAUSE);
        loop {
            let made = self
                .outlet()
                .make(prepared, (&self.store, internal), &mut condemned);
            let made = match made {
                Ok(made) => made,
                Err(reason) if tried_again => {
                    self.blocked(&reason, &mut pause)?;
                    continue;
                }
                Err(reason) => return Err(Discard::because(FlowState::Blocked, reason)),
            };
            let mut commands = made.commands.clone();
            commands.extend(removed.iter().map(|seq| {
                Command::Stream(StreamCommand::DeleteMessage {
                    stream: self.store.cell.id,
                    seq: *seq,
                    erase: false,
                })
            }));
            commands.push(self.last(last));
            match self.propose(commands, made.count, made.keep) {
                Ok(Outcome::Several(_)) => {
                    self.done(prepared, &made, &condemned);
                    return Ok(());
                }
                Ok(Outcome::Unfit(part)) => match self.unfit(&made, part, &mut condemned)? {
                    None => {}
                    Some(reason) if tried_again => self.blocked(&reason, &mut pause)?,
                    Some(reason) => return Err(Discard::because(FlowState::Blocked, reason)),
                },
                other => return Err(untaken(other)),
            }
        }
    }

    fn last(&self, last: Last<'_>) -> Command {
        match last {
            Last::Place(place) => Command::Position {
                source: self.setup.key.clone(),
                value: place.encode(),
            },
            Last::Switch(change) => Command::Catalog(CatalogCommand {
                time: Timestamp::now().0,
                changes: vec![change.clone()],
            }),
        }
    }

    fn done(&self, prepared: &Prepared, made: &Made, condemned: &Condemned) {
        self.inner.at_work();
        for why in &made.lost {
            self.inner.lost_result(why);
        }
        let all = prepared.outputs.iter().chain(&prepared.late);
        if condemned.is_empty() {
            self.inner.shared.broadcast(&prepared.outputs);
            self.inner.shared.broadcast(&prepared.late);
            return;
        }
        let live = all.enumerate();
        let live = live.filter(|(index, _)| !condemned.contains_key(&(*index as u64)));
        let live: Vec<Message> = live.map(|(_, message)| message.clone()).collect();
        self.inner.shared.broadcast(&live);
    }

    /// What to do about a command that was refused because of one record; a reason when it has to wait.
    fn unfit(
        &self,
        made: &Made,
        part: UnfitPart,
        condemned: &mut Condemned,
    ) -> Result<Option<String>, Discard> {
        let Some(owners) = made.owners.get(part.section) else {
            let last = part.error.to_string();
            // Another run has begun, or somebody removed messages of the state.
            return match part.unfit {
                Unfit::Now => Err(Discard::quiet()),
                Unfit::Here | Unfit::Ever => Err(Discard::because(FlowState::Blocked, last)),
            };
        };
        let owner = owners.get(part.index).copied().unwrap_or(NOBODY);
        if part.unfit == Unfit::Now || owner == NOBODY {
            return Ok(Some(part.error.to_string()));
        }
        let name = &self.setup.name;
        if !condemn(condemned, owner as u64, refusal(name, &part.error)) {
            return Ok(Some(part.error.to_string()));
        }
        // The others need not be asked for one by one.
        if let Some(Command::Stream(StreamCommand::Publish(publish))) =
            made.commands.get(part.section)
            && let Some(cell) = self.inner.shared.node.stream_by_id(publish.stream)
        {
            for misfit in cell.lock().misfits(publish) {
                let other = owners.get(misfit.index).copied().unwrap_or(NOBODY);
                if other != NOBODY && other != owner {
                    condemn(condemned, other as u64, refusal(name, &misfit.error));
                }
            }
        }
        Ok(None)
    }

    /// Waits a little before the same is tried again.
    fn blocked(&self, reason: &str, pause: &mut Duration) -> Result<(), Discard> {
        let inner = &self.inner;
        inner.failed(FlowState::Blocked, reason);
        let end = tokio::time::Instant::now() + *pause;
        *pause = (*pause * 2).min(LAST_PAUSE);
        loop {
            let changed = !Arc::ptr_eq(&self.setup, &inner.setup.load_full());
            if changed || inner.is_held() || inner.stopping.load(Ordering::Acquire) {
                return Err(Discard::quiet());
            }
            // Messages that come wake it as well, and change nothing.
            let woken = async { tokio::time::timeout_at(end, inner.wake.notified()).await };
            if inner.shared.runtime.block_on(woken).is_err() {
                return Ok(());
            }
        }
    }
}

/// Whether what a query keeps back is not too much.
fn within(kept: &Kept, limit: u64) -> Result<(), Discard> {
    let bytes = kept.bytes();
    if bytes <= limit {
        return Ok(());
    }
    let reason = format!(
        "its results have {bytes} bytes and are kept until it takes over, for which it may have {limit}: raise `state_limit`, or restart the flow with the changed query"
    );
    Err(Discard {
        why: Some((FlowState::Failed, reason)),
        for_good: true,
    })
}

/// How many results a commit publishes itself.
pub(super) fn direct(outputs: &[Output]) -> usize {
    let mut bytes = 0;
    let fits = outputs.iter().take(OUTPUTS).take_while(|output| {
        let before = bytes;
        bytes += output.subject.len() + output.payload.len();
        before < OUTPUT_BYTES
    });
    fits.count()
}

fn untaken(outcome: Result<Outcome, ApiError>) -> Discard {
    let reason = match outcome {
        Ok(Outcome::Unfit(part)) => part.error.to_string(),
        Ok(other) => format!("a commit came to something unknown: {other:?}"),
        Err(error) => format!("the log does not take it: {error}"),
    };
    Discard::because(FlowState::Blocked, reason)
}
