//! A flow as others see it: what it is told, and how it is doing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use millstream_pipeline::DataflowStatus;
use millstream_streams::Filters;
use millstream_types::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::position::Position;
use super::query::{Before, Place, QueryLoop};
use super::runner::Loop;
use super::setup::{FlowSetup, QuerySetup};
use super::status::{FlowState, FlowStatus, QueryStatus, SourceStatus};
use crate::service::{JetStream, Shared};

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
    pub(super) wake: Arc<Notify>,
    pub(super) stopping: AtomicBool,
    seen: Mutex<Seen>,
    /// Held while a batch with effects is run and committed, and while a message is sent again.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The setup whose place is known: what comes after that is not passed over.
    ready: tokio::sync::watch::Sender<Option<Arc<FlowSetup>>>,
    /// Whether another version wants to know where it stands, and whether it stands still.
    held: AtomicBool,
    resting: tokio::sync::watch::Sender<bool>,
    /// Whether it was built, and has taken over or ended.
    switched: tokio::sync::watch::Sender<bool>,
}

/// A flow stands still between two commits as long as this is there.
#[derive(Debug)]
pub(super) struct Hold(Arc<Inner>);

impl Hold {
    /// Another one has taken over.
    pub(super) fn end(self) {
        self.0.stopping.store(true, Ordering::Release);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
        self.0.wake.notify_one();
    }
}

/// How long a flow is waited for that is to stand still. One that cannot be had so soon is at work on something large, or does
/// not run at all.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// Pauses before something that did not work is tried again.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LAST_PAUSE: Duration = Duration::from_secs(5);

impl Inner {
    /// Waits until something changed, or for a time to come.
    pub(super) async fn wait(&self, until: Option<Timestamp>) {
        let woken = self.wake.notified();
        match until {
            None => woken.await,
            Some(time) => {
                let rest = time.since(Timestamp::now()).max(Duration::from_millis(1));
                // Either way there is something to look at.
                let _elapsed = tokio::time::timeout(rest, woken).await;
            }
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Stands still as long as it is held.
    pub(super) async fn rest(&self) {
        self.resting.send_replace(true);
        let setup = self.setup.load_full();
        self.ready(&setup);
        while self.is_held() && !self.stopping.load(Ordering::Acquire) {
            self.wake.notified().await;
            let setup = self.setup.load_full();
            self.ready(&setup);
        }
        self.resting.send_replace(false);
    }

    /// It has taken over.
    pub(super) fn switched(&self) {
        self.switched.send_replace(true);
    }

    /// Nothing is in the way.
    pub(super) fn at_work(&self) {
        let built = self.setup.load().build.is_some();
        let state = if built {
            FlowState::Building
        } else {
            FlowState::Running
        };
        self.says(state, None);
    }

    /// Waits before something is tried again, each time longer; not when it is declared anew or stops.
    pub(super) async fn wait_a_little(&self, pause: &mut Duration) {
        let end = tokio::time::Instant::now() + *pause;
        *pause = (*pause * 2).min(LAST_PAUSE);
        let setup = self.setup.load_full();
        self.ready(&setup);
        // Messages that come wake it as well, and change nothing.
        while !self.stopping.load(Ordering::Acquire) && Arc::ptr_eq(&setup, &self.setup.load_full())
        {
            let woken = self.wake.notified();
            if tokio::time::timeout_at(end, woken).await.is_err() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    state: FlowState,
    reason: Option<String>,
    pub(super) position: Position,
    /// Of a query: where it stands, and what it says.
    query: (Place, DataflowStatus),
    errors: u64,
    last_error: Option<String>,
}

impl JetStream {
    /// Starts a flow. Whether it is a query does not change as long as it runs.
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
            held: AtomicBool::new(false),
            resting: tokio::sync::watch::Sender::new(false),
            switched: tokio::sync::watch::Sender::new(false),
        });
        self.shared.flows_wake().push(Arc::downgrade(&inner.wake));
        let own = Arc::clone(&inner);
        let task = self.shared.runtime.spawn(async move {
            let is_query = own.setup.load().query.is_some();
            match is_query {
                true => QueryLoop::new(own).run().await,
                false => Loop::new(own).run().await,
            }
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

    /// Completes when it was built and has taken over, or is stopped.
    pub async fn switched(&self) {
        let mut switched = self.inner.switched.subscribe();
        // The sender lives as long as the flow.
        let _gone = switched.wait_for(|switched| *switched).await;
    }

    /// Has it stand still between two commits, or gives up soon: then it goes on until it takes notice.
    pub(super) async fn hold(&self) -> Hold {
        let hold = Hold(Arc::clone(&self.inner));
        self.inner.held.store(true, Ordering::Release);
        self.inner.wake.notify_one();
        let mut resting = self.inner.resting.subscribe();
        let rests = resting.wait_for(|resting| *resting);
        // Where it stands is looked at in the log either way.
        let _elapsed = tokio::time::timeout(LONGEST_HOLD, rests).await;
        hold
    }

    /// Ends it; what is under way is decided then.
    pub async fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.wake.notify_one();
        self.inner.switched();
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
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> FlowStatus {
        let setup = self.setup.load_full();
        if let Some(query) = &setup.query {
            return self.query_status(query);
        }
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

    fn query_status(&self, query: &QuerySetup) -> FlowStatus {
        let ((place, own), mut status) = {
            let seen = self.seen();
            let status = FlowStatus {
                state: seen.state,
                reason: seen.reason.clone(),
                totals: seen.query.0.totals,
                errors: seen.errors,
                last_error: seen.last_error.clone(),
                ..FlowStatus::default()
            };
            (seen.query.clone(), status)
        };
        // What is built is behind the version that runs, and not behind what is stored.
        let limits = self.limits(&place);
        let mut sources = Vec::with_capacity(query.sources.len());
        for (index, table) in query.sources.iter().enumerate() {
            let place = place.sources.get(index);
            let mut source = SourceStatus {
                station: table.station.clone(),
                position: place.map_or(0, |place| place.read),
                watermark: own
                    .sources
                    .get(index)
                    .copied()
                    .flatten()
                    .map(Timestamp::to_rfc3339),
                ..SourceStatus::default()
            };
            let cell = self.shared.node.stream(&table.station);
            if let (Some(cell), Some(place)) = (cell, place)
                && cell.id == place.stream
            {
                let filter = table.filter.as_deref().unwrap_or(">");
                let filters = Filters::one(filter.as_bytes());
                let stream = cell.lock();
                let limit = limits.get(index).copied().flatten().unwrap_or(u64::MAX);
                source.lag_messages = stream.count_matching(place.read + 1, &filters);
                if let Some(next) = limit.checked_add(1) {
                    let beyond = stream.count_matching(next, &filters);
                    source.lag_messages = source.lag_messages.saturating_sub(beyond);
                }
                let open = stream.next_matching(place.read + 1, &filters);
                let open = open.filter(|open| *open <= limit);
                let time = open.and_then(|seq| Some(stream.locate(seq)?.time));
                source.lag_seconds = time.map_or(0, |time| Timestamp::now().since(time).as_secs());
            }
            sources.push(source);
        }
        status.position = sources.first().map_or(0, |source| source.position);
        status.lag_messages = sources.iter().map(|source| source.lag_messages).sum();
        let lags = sources.iter().map(|source| source.lag_seconds);
        status.lag_seconds = lags.max().unwrap_or_default();
        status.query = Some(QueryStatus {
            watermark: own.watermark.map(Timestamp::to_rfc3339),
            state_bytes: own.state_bytes,
            state_rows: own.state_rows,
            spilled_bytes: own.spilled_bytes,
            spilled_rows: own.spilled_rows,
            sources,
        });
        status
    }

    /// How far a query that is built is to read each source.
    fn limits(&self, place: &Place) -> Vec<Option<u64>> {
        let setup = self.setup.load_full();
        if setup.build.is_none() {
            return Vec::new();
        }
        let streams: Vec<u32> = place.sources.iter().map(|source| source.stream).collect();
        let before = Before::of(&self.shared, &setup);
        before.map_or_else(Vec::new, |before| before.read_of(&streams))
    }

    /// Where a query stands in the log, and what it says of itself.
    pub(super) fn stands(&self, place: &Place, status: &DataflowStatus) {
        self.seen().query = (place.clone(), status.clone());
    }

    /// A result that nothing is kept of.
    pub(super) fn lost_result(&self, why: &str) {
        let name = &self.setup.load().name;
        let reason = format!("a result was refused and its dead letter cannot be stored: {why}");
        error!(target: "nats", "flow `{name}` has lost one: {reason}");
        let mut seen = self.seen();
        seen.errors += 1;
        seen.last_error = Some(reason);
    }

    pub(super) fn ready(&self, setup: &Arc<FlowSetup>) {
        self.ready.send_replace(Some(Arc::clone(setup)));
    }

    pub(super) fn says(&self, state: FlowState, reason: Option<&str>) {
        let mut seen = self.seen();
        seen.state = state;
        seen.reason = reason.map(str::to_owned);
    }

    /// A rejected input that nothing is kept of: its dead letter will never be stored, and the others are not to wait for it.
    pub(super) fn lost(&self, seq: u64, why: &str) {
        let setup = self.setup.load();
        let reason = format!(
            "message {seq} of stream `{}` was rejected and its dead letter cannot be stored: {why}",
            setup.from
        );
        error!(target: "nats", "flow `{}` has lost one: {reason}", setup.name);
        let mut seen = self.seen();
        seen.errors += 1;
        seen.last_error = Some(reason);
    }

    /// Something went wrong; it is told once in the log.
    pub(super) fn failed(&self, state: FlowState, reason: &str) {
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
