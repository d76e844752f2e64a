//! How a query begins: from what is stored, or anew.

use std::sync::Arc;

use millstream_cluster::{Command, FlowStart, Outcome, StreamCell};
use millstream_pipeline::FlowTable;
use millstream_streams::{Command as StreamCommand, Filters, Purge};
use millstream_types::Timestamp;
use tracing::info;

use super::super::handle::Inner;
use super::super::made::forgets;
use super::super::position::Unreadable;
use super::super::setup::{FlowSetup, QuerySetup};
use super::super::status::FlowState;
use super::build::{Before, Kept};
use super::commit::{Committer, Discard};
use super::engine::{Engine, places};
use super::input::Source;
use super::place::Place;
use super::runner::{Running, Stuck};
use super::store::{Owner, Store, own_subjects};
use crate::service::Shared;

/// Messages that one command removes.
const REMOVED: usize = 4096;

/// Makes the query from what is stored, or begins it; `None` when it is to stand still.
pub(super) async fn open(
    inner: &Arc<Inner>,
    setup: &Arc<FlowSetup>,
) -> Result<Option<Running>, Stuck> {
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
    let mut store = Store::new(state, (&setup.name, query.part), owner);
    store.keeps(setup.build.is_some());
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
    let own = own_subjects(&setup.name, query.part);
    let left = Filters::one(own.as_bytes());
    if state.lock().next_matching(1, &left).is_some() {
        let purge = Command::Stream(StreamCommand::Purge(Purge {
            stream: state.id,
            time: Timestamp::now(),
            filter: Some(own),
            ..Purge::default()
        }));
        let purged = shared.propose_wait(&purge).await;
        purged.map_err(|error| blocked(error.to_string()))?;
    }
    let limits = limits(shared, setup, cells)?;
    let tables = query.sources.iter().zip(cells).zip(limits);
    let sources: Vec<Source> = tables
        .map(|((table, cell), limit)| {
            let first = first(cell, table, setup.start).min(limit);
            Source::new(Arc::clone(cell), table, first)
        })
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

/// What a query that is built may read of each source, for it is not to be ahead of the version that runs.
fn limits(
    shared: &Shared,
    setup: &FlowSetup,
    cells: &[Arc<StreamCell>],
) -> Result<Vec<u64>, Stuck> {
    if setup.build.is_none() {
        return Ok(vec![u64::MAX; cells.len()]);
    }
    let before = Before::of(shared, setup).ok_or_else(|| {
        let reason = "the version that runs has not begun, or this one is not wanted any more";
        (FlowState::Blocked, reason.to_owned())
    })?;
    let streams: Vec<u32> = cells.iter().map(|cell| cell.id).collect();
    let reads = before.read_of(&streams).into_iter();
    Ok(reads.map(|read| read.unwrap_or(u64::MAX)).collect())
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
    let mut kept = setup.build.as_ref().map(|_| Kept::new(query.upserts));
    let garbage = store.restore(&inner.shared, place.epoch, &mut *dataflow, kept.as_mut());
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
        kept,
    };
    if let Err(Discard { why, .. }) = committer.drain() {
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
