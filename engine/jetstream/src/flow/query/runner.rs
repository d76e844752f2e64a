//! The loop of a query: steps are taken while what came before is committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::info;

use super::super::handle::{FIRST_PAUSE, Hold, Inner};
use super::super::setup::FlowSetup;
use super::super::status::FlowState;
use super::build::Before;
use super::commit::{Committer, Discard};
use super::engine::{Engine, Stop, Turn};
use super::open::open;
use super::switch::Switched;

/// A query that is built has the one before it stand still for the rest of the way when it is so many messages behind.
const NEAR: u64 = 64 << 10;

/// Why the query cannot run now.
pub(super) type Stuck = (FlowState, String);

/// A query that runs.
pub(super) struct Running {
    pub(super) setup: Arc<FlowSetup>,
    pub(super) engine: Box<Engine>,
    pub(super) committer: Box<Committer>,
    /// What is to be committed next.
    pub(super) next: Option<Turn>,
}

pub(in super::super) struct QueryLoop {
    inner: Arc<Inner>,
    running: Option<Running>,
    pause: Duration,
    /// Of a query that is built: the version that it takes over from stands still as long as this is there.
    hold: Option<Hold>,
}

impl QueryLoop {
    pub(in super::super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            running: None,
            pause: FIRST_PAUSE,
            hold: None,
        }
    }

    pub(in super::super) async fn run(mut self) {
        while !self.inner.stopping.load(Ordering::Acquire) {
            let setup = self.inner.setup.load_full();
            let known = self.running.as_ref();
            if known.is_some_and(|known| !Arc::ptr_eq(&known.setup, &setup) || self.is_gone(known))
            {
                self.finish().await;
                self.hold = None;
            }
            if self.inner.is_held() {
                self.rest().await;
                continue;
            }
            let mut running = match self.running.take() {
                Some(running) => running,
                None => match open(&self.inner, &setup).await {
                    Ok(Some(running)) => running,
                    Ok(None) => {
                        self.inner.ready(&setup);
                        self.inner.says(FlowState::Paused, None);
                        self.inner.wake.notified().await;
                        continue;
                    }
                    Err((state, reason)) => {
                        self.inner.failed(state, &reason);
                        self.inner.wait_a_little(&mut self.pause).await;
                        continue;
                    }
                },
            };
            self.inner.ready(&setup);
            if setup.build.is_some() {
                self.approach(&mut running).await;
            }
            self.turn(running).await;
        }
        self.finish().await;
    }

    /// Stands still between two commits as long as another version looks where this one is.
    async fn rest(&mut self) {
        if let Some(mut running) = self.running.take() {
            match running.next.take() {
                None => self.running = Some(running),
                Some(Turn {
                    gathered, status, ..
                }) => {
                    let committing = move || {
                        let outcome = running.committer.commit(gathered, &status);
                        (running, outcome)
                    };
                    let done = self.inner.shared.runtime.spawn_blocking(committing).await;
                    if let Ok((running, Ok(()))) = done {
                        self.running = Some(running);
                    }
                }
            }
        }
        self.inner.rest().await;
    }

    /// A query that is built reads as far as the one that runs has read; that one stands still when it is not far ahead.
    async fn approach(&mut self, running: &mut Running) {
        let build = running.setup.build.as_ref();
        let Some(before) = build.map(|build| Arc::clone(&build.running)) else {
            return;
        };
        let shared = &self.inner.shared;
        let bound = |running: &mut Running| {
            if let Some(before) = Before::of(shared, &running.setup) {
                before.bound(&mut running.engine.sources);
            }
            running.engine.behind()
        };
        if bound(running) <= NEAR && self.hold.is_none() {
            self.hold = Some(before.hold().await);
            bound(running);
        }
    }

    /// Commits what was gathered before the query is given up.
    async fn finish(&mut self) {
        if let Some(mut running) = self.running.take()
            && let Some(Turn {
                gathered, status, ..
            }) = running.next.take()
        {
            let committing = move || running.committer.commit(gathered, &status);
            // When it is not committed, the next run does it once more.
            let _undone = self.inner.shared.runtime.spawn_blocking(committing).await;
        }
    }

    /// Whether a stream that it reads is not the one of that name any more.
    fn is_gone(&self, running: &Running) -> bool {
        let node = &self.inner.shared.node;
        let mut sources = running.engine.sources.iter();
        sources.any(|source| {
            let now = node.stream(&source.cell.name);
            now.is_none_or(|now| now.id != source.cell.id)
        })
    }

    /// Takes steps, and commits those before.
    async fn turn(&mut self, running: Running) {
        let Running {
            setup,
            mut engine,
            mut committer,
            next,
        } = running;
        // A commit that has waited may have taken the wake-up of a message that came meanwhile.
        let may_wait = next.is_none();
        let inner = Arc::clone(&self.inner);
        let runtime = &self.inner.shared.runtime;
        let steps = runtime.spawn_blocking(move || {
            let turn = engine.turn(&inner.shared, &inner.wake);
            (engine, turn)
        });
        let committing = runtime.spawn_blocking(move || {
            let outcome = match next {
                Some(Turn {
                    gathered, status, ..
                }) => committer.commit(gathered, &status),
                None => Ok(()),
            };
            (committer, outcome)
        });
        let (steps, committed) = tokio::join!(steps, committing);
        let (committer, engine, turn) = match (committed, steps) {
            (Ok((committer, Ok(()))), Ok((engine, Ok(turn)))) => (committer, engine, turn),
            (Ok((_, Err(discard))), _) => return self.discarded(&setup, discard).await,
            (Ok(_), Ok((_, Err(stop)))) => return self.stopped(&setup, stop).await,
            (Err(panic), _) | (_, Err(panic)) => {
                let why = format!("a step failed: {panic}");
                let discard = Discard::because(FlowState::Failed, why);
                return self.discarded(&setup, discard).await;
            }
        };
        self.pause = FIRST_PAUSE;
        let Turn {
            gathered,
            caught_up,
            status,
        } = turn;
        let wake_at = status.next_wake;
        let nothing = gathered.is_empty();
        if nothing {
            self.inner.stands(&committer.place, &status);
        }
        self.running = Some(Running {
            setup,
            engine,
            committer,
            next: (!nothing).then_some(Turn {
                gathered,
                caught_up,
                status,
            }),
        });
        if nothing && caught_up && may_wait {
            self.inner.at_work();
            match setup_is_built(self.running.as_ref()) {
                true => self.switch().await,
                false => self.inner.wait(wake_at).await,
            }
        }
    }

    /// Takes over from the version that runs, when that is where this one has caught up with it.
    async fn switch(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let setup = Arc::clone(&running.setup);
        let status = running.engine.dataflow.status();
        let switching = move || {
            let outcome = running.committer.switch(&status);
            (running, outcome)
        };
        let done = self.inner.shared.runtime.spawn_blocking(switching).await;
        match done {
            Ok((running, Ok(Switched::Further))) => self.running = Some(running),
            Ok((running, Ok(Switched::Waits(reason)))) => {
                self.hold = None;
                self.running = Some(running);
                self.inner.says(FlowState::Building, Some(&reason));
                self.inner.wait_a_little(&mut self.pause).await;
            }
            Ok((mut running, Ok(Switched::Over(setup, drained)))) => {
                info!(target: "nats", "flow `{}` goes on as it was changed", setup.name);
                if let Some(hold) = self.hold.take() {
                    hold.end();
                }
                running.engine.released(&running.committer.place);
                self.inner.ready(&setup);
                self.inner.switched();
                // One that stands still from the start begins as others do.
                let goes_on = drained && !setup.paused;
                running.setup = setup;
                self.running = goes_on.then_some(running);
            }
            Ok((_, Err(discard))) => self.discarded(&setup, discard).await,
            Err(panic) => {
                let why = format!("a commit failed: {panic}");
                let discard = Discard::because(FlowState::Failed, why);
                self.discarded(&setup, discard).await;
            }
        }
    }

    async fn discarded(&mut self, setup: &Arc<FlowSetup>, discard: Discard) {
        self.hold = None;
        let Discard { why, for_good } = discard;
        if let Some((state, reason)) = why {
            self.inner.failed(state, &reason);
            match for_good {
                true => stands_still(&self.inner, setup).await,
                false => self.inner.wait_a_little(&mut self.pause).await,
            }
        } else if setup.build.is_some() {
            // The other one went on, or this one is not wanted any more: then it is stopped soon.
            self.inner.wait_a_little(&mut self.pause).await;
        }
    }

    async fn stopped(&mut self, setup: &Arc<FlowSetup>, stop: Stop) {
        self.hold = None;
        match stop {
            Stop::Read(reason) => {
                let reason = format!(
                    "{reason}; `millstream flow restart {}` begins anew",
                    setup.name
                );
                self.inner.failed(FlowState::Failed, &reason);
                self.inner.wait_a_little(&mut self.pause).await;
            }
            Stop::Query(reason) => {
                self.inner.failed(FlowState::Failed, &reason);
                stands_still(&self.inner, setup).await;
            }
        }
    }
}

/// Waits until it is declared anew: it would come to the same again.
async fn stands_still(inner: &Inner, setup: &Arc<FlowSetup>) {
    let same = || Arc::ptr_eq(setup, &inner.setup.load_full());
    while same() && !inner.stopping.load(Ordering::Acquire) {
        inner.wake.notified().await;
    }
}

fn setup_is_built(running: Option<&Running>) -> bool {
    running.is_some_and(|running| running.setup.build.is_some())
}
