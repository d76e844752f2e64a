//! The loop of a query: steps are taken while what came before is committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_cluster::{Command, FlowStart, Outcome, StreamCell};
use millstream_pipeline::FlowTable;
use millstream_streams::{Command as StreamCommand, Purge};
use millstream_types::Timestamp;
use tracing::info;

use super::super::handle::{FIRST_PAUSE, Inner};
use super::super::made::forgets;
use super::super::position::Unreadable;
use super::super::setup::{FlowSetup, QuerySetup};
use super::super::status::FlowState;
use super::commit::{Committer, Discard};
use super::engine::{Engine, Stop, Turn, places};
use super::input::Source;
use super::place::Place;
use super::store::{Owner, Store};
use crate::service::Shared;

/// Messages that one command removes.
const REMOVED: usize = 4096;

/// Why the query cannot run now.
type Stuck = (FlowState, String);

/// A query that runs.
struct Running {
    setup: Arc<FlowSetup>,
    engine: Box<Engine>,
    committer: Box<Committer>,
    /// What is to be committed next.
    next: Option<Turn>,
}

pub(in super::super) struct QueryLoop {
    inner: Arc<Inner>,
    running: Option<Running>,
    pause: Duration,
}

impl QueryLoop {
    pub(in super::super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            running: None,
            pause: FIRST_PAUSE,
        }
    }

    pub(in super::super) async fn run(mut self) {
        while !self.inner.stopping.load(Ordering::Acquire) {
            let setup = self.inner.setup.load_full();
            let known = self.running.as_ref();
            if known.is_some_and(|known| !Arc::ptr_eq(&known.setup, &setup) || self.is_gone(known))
            {
                self.finish().await;
            }
            let running = match self.running.take() {
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
            self.turn(running).await;
        }
        self.finish().await;
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
            (Ok((_, Err(Discard { why }))), _) => return self.discarded(why).await,
            (Ok(_), Ok((_, Err(stop)))) => return self.stopped(&setup, stop).await,
            (Err(panic), _) | (_, Err(panic)) => {
                let why = (FlowState::Failed, format!("a step failed: {panic}"));
                return self.discarded(Some(why)).await;
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
            self.inner.says(FlowState::Running, None);
            self.inner.wait(wake_at).await;
        }
    }

    async fn discarded(&mut self, why: Option<Stuck>) {
        if let Some((state, reason)) = why {
            self.inner.failed(state, &reason);
            self.inner.wait_a_little(&mut self.pause).await;
        }
    }

    async fn stopped(&mut self, setup: &Arc<FlowSetup>, stop: Stop) {
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
                // It would come to the same again.
                let same = || Arc::ptr_eq(setup, &self.inner.setup.load_full());
                while same() && !self.inner.stopping.load(Ordering::Acquire) {
                    self.inner.wake.notified().await;
                }
            }
        }
    }
}

/// Makes the query from what is stored, or begins it; `None` when it is to stand still.
async fn open(inner: &Arc<Inner>, setup: &Arc<FlowSetup>) -> Result<Option<Running>, Stuck> {
    let failed = |reason: String| (FlowState::Failed, reason);
    if let Err(why) = &setup.plan {
        return Err(failed(why.clone()));
    }
    let query = setup.query.clone();
    let query = query.ok_or_else(|| failed("it has no query".to_owned()))?;
    let shared = Arc::clone(&inner.shared);
    let cells = sources(&shared, &query)?;
    let state = shared.node.stream(&query.state).ok_or_else(|| {
        let reason = format!(
            "there is no stream `{}` for its state; apply it again",
            query.state
        );
        (FlowState::Blocked, reason)
    })?;
    let place = match stored(&shared, setup)? {
        Some(place) => {
            check(setup, &query, &cells, &place).map_err(failed)?;
            place
        }
        None => begin(inner, setup, &query, &cells, &state).await?,
    };
    inner.stands(&place, &Default::default());
    if setup.paused {
        return Ok(None);
    }
    let owner = Owner {
        run: place.run,
        layout: place.layout,
    };
    let store = Store::new(state, &setup.name, owner);
    let (own, setup) = (Arc::clone(inner), Arc::clone(setup));
    let made = move || restored(own, setup, query, (cells, store, place));
    let made = shared.runtime.spawn_blocking(made).await;
    let (running, garbage) = made.map_err(|error| failed(error.to_string()))??;
    remove(inner, &running.committer.store.cell, garbage).await?;
    Ok(Some(running))
}

/// Writes to the log where it begins: messages that come from now on are not passed over.
async fn begin(
    inner: &Inner,
    setup: &FlowSetup,
    query: &QuerySetup,
    cells: &[Arc<StreamCell>],
    state: &StreamCell,
) -> Result<Place, Stuck> {
    let shared = &inner.shared;
    let blocked = |error: String| (FlowState::Blocked, error);
    if state.lock().next_live(1).is_some() {
        let purge = Command::Stream(StreamCommand::Purge(Purge {
            stream: state.id,
            time: Timestamp::now(),
            ..Purge::default()
        }));
        let purged = shared.propose_wait(&purge).await;
        purged.map_err(|error| blocked(error.to_string()))?;
    }
    let tables = query.sources.iter().zip(cells);
    let sources: Vec<Source> = tables
        .map(|(table, cell)| Source::new(Arc::clone(cell), table, first(cell, table, setup.start)))
        .collect();
    let place = Place {
        run: setup.run,
        layout: query.layout,
        clock: Timestamp::now(),
        sources: places(&sources),
        ..Place::default()
    };
    let command = Command::Whole(vec![Command::Position {
        source: setup.key.clone(),
        value: place.encode(),
    }]);
    match shared.propose_wait(&command).await {
        Ok(Outcome::Unfit(part)) => Err(blocked(part.error.to_string())),
        Err(error) => Err(blocked(error.to_string())),
        Ok(_) => {
            info!(target: "nats", "flow `{}` begins", setup.name);
            Ok(place)
        }
    }
}

/// Removes what is left of commits that did not come about, before there is another one of their number.
async fn remove(inner: &Inner, state: &StreamCell, garbage: Vec<u64>) -> Result<(), Stuck> {
    for some in garbage.chunks(REMOVED) {
        let delete = |seq: &u64| {
            Command::Stream(StreamCommand::DeleteMessage {
                stream: state.id,
                seq: *seq,
                erase: false,
            })
        };
        let command = Command::Whole(some.iter().map(delete).collect());
        let reason = match inner.shared.propose_wait(&command).await {
            Ok(Outcome::Several(_)) => continue,
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        return Err((FlowState::Blocked, reason));
    }
    Ok(())
}

/// The streams that a query reads.
fn sources(shared: &Shared, query: &QuerySetup) -> Result<Vec<Arc<StreamCell>>, Stuck> {
    let cell = |table: &FlowTable| {
        let from = &table.station;
        match shared.node.stream(from) {
            None => Err((
                FlowState::Blocked,
                format!("there is no stream `{from}` to read"),
            )),
            Some(cell) if forgets(&cell) => Err((
                FlowState::Blocked,
                format!(
                    "stream `{from}` is in memory, and flows read what stays; make it anew with file storage"
                ),
            )),
            Some(cell) => Ok(cell),
        }
    };
    query.sources.iter().map(cell).collect()
}

/// The position in the log, when it is of this run.
fn stored(shared: &Shared, setup: &FlowSetup) -> Result<Option<Place>, Stuck> {
    let catalog = shared.node.catalog();
    let Some(stored) = catalog.positions.get(&setup.key) else {
        return Ok(None);
    };
    Place::of_run(stored, setup.run).map_err(|Unreadable| {
        let reason = format!(
            "its position cannot be read, and to begin anew would do everything twice; `millstream flow restart {}` does so",
            setup.name
        );
        (FlowState::Failed, reason)
    })
}

/// Whether a query can go on where another one of its name stood.
fn check(
    setup: &FlowSetup,
    query: &QuerySetup,
    cells: &[Arc<StreamCell>],
    place: &Place,
) -> Result<(), String> {
    let anew = format!(
        "`millstream flow restart {}` builds it anew from what is stored",
        setup.name
    );
    let same = place.sources.iter().map(|source| &source.station);
    let same = same.eq(query.sources.iter().map(|table| &table.station));
    if place.layout != query.layout || !same {
        return Err(format!(
            "its state is of another version of the query; {anew}"
        ));
    }
    let mut each = place.sources.iter().zip(cells);
    let other = each.find(|(source, cell)| source.stream != cell.id);
    match other {
        None => Ok(()),
        Some((source, _)) => Err(format!(
            "stream `{}` was made anew, and its state is of the one before; {anew}",
            source.station
        )),
    }
}

/// What a source is taken to have read when the query is new. All of a table is read.
pub(super) fn first(cell: &StreamCell, table: &FlowTable, start: FlowStart) -> u64 {
    let stream = cell.lock();
    match start {
        _ if table.is_table => 0,
        FlowStart::Beginning => 0,
        FlowStart::End => stream.last_seq(),
        FlowStart::Sequence(seq) => seq.saturating_sub(1),
        FlowStart::Time(time) => {
            let first = stream.first_since(time);
            first.map_or(stream.last_seq(), |first| first.saturating_sub(1))
        }
    }
}

/// Makes a query with its state, and says which messages of the state stream are of no use. Results that wait are published.
fn restored(
    inner: Arc<Inner>,
    setup: Arc<FlowSetup>,
    query: Arc<QuerySetup>,
    (cells, mut store, place): (Vec<Arc<StreamCell>>, Store, Place),
) -> Result<(Running, Vec<u64>), Stuck> {
    let mut dataflow = query.query.start();
    let garbage = store.restore(&inner.shared, place.epoch, &mut *dataflow);
    let garbage = garbage.map_err(|unread| (FlowState::Failed, unread.0))?;
    let sources = query.sources.iter().zip(cells).zip(&place.sources);
    let sources = sources.map(|((table, cell), place)| Source::new(cell, table, place.read));
    let engine = Engine::new(dataflow, sources.collect(), place.clone(), &setup.name);
    let mut committer = Committer {
        inner,
        setup: Arc::clone(&setup),
        query,
        store,
        place,
    };
    if let Err(Discard { why }) = committer.drain() {
        let again = || (FlowState::Starting, "it begins once more".to_owned());
        return Err(why.unwrap_or_else(again));
    }
    let running = Running {
        setup,
        engine: Box::new(engine),
        committer: Box::new(committer),
        next: None,
    };
    Ok((running, garbage))
}
