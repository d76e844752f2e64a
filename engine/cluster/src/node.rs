//! The node's state machine: decodes each log entry, applies it, says which streams changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use millstream_consensus::{
    Entry, Gathered, Lost, RestoreError, Snapshot, StateMachine, StoredPage,
};
use millstream_journal::{PageSource, Position, ReadError};
use millstream_streams::{
    ApiError, Command as StreamCommand, Due, Leaving, MEMORY_FILE, PageCache, Pages, Publish,
    RecordOutcome, StorageType, Stream, Unfit,
};
use millstream_types::{Timestamp, filters_overlap};
use tracing::error;

use crate::alarms::Alarms;
use crate::catalog::Catalog;
use crate::command::Command;
use crate::registry::{Registry, StreamCell};
use crate::snapshot::{self, Kept, NodeSnapshot};

/// Bytes of all streams' indexes that stay in memory though they could be read back.
const INDEX_CACHE: usize = 128 << 20;

/// What applying a command came to.
#[derive(Debug)]
pub enum Outcome {
    /// One outcome per published record, in order.
    Records(Vec<RecordOutcome>),
    /// Done, nothing to tell.
    Done,
    /// How many messages a purge removed.
    Purged(u64),
    /// Refused by the rules; nothing changed.
    Refused(ApiError),
    /// One outcome per command.
    Several(Vec<Outcome>),
    /// A part of a [`Command::Whole`] would have been refused; nothing changed.
    Unfit(UnfitPart),
}

/// Why a [`Command::Whole`] was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitPart {
    /// Which command in it.
    pub section: usize,
    /// Which of its records; 0 for a command without.
    pub index: usize,
    /// Why it would be refused.
    pub error: ApiError,
    /// What would have to change.
    pub unfit: Unfit,
}

/// How the set of streams changed.
#[derive(Clone, Debug)]
pub enum StreamChange {
    /// There is a new stream.
    Created(Arc<StreamCell>),
    /// A stream's configuration changed.
    Updated(Arc<StreamCell>),
    /// A stream is gone.
    Deleted(Arc<StreamCell>),
    /// A consumer was created or changed.
    Consumer(Arc<StreamCell>, String),
    /// A consumer is gone.
    ConsumerDeleted(Arc<StreamCell>, String),
}

/// Who hears of applied changes. Called on the apply thread, in log order, not during replay; must not block.
pub trait Hooks: Send + Sync {
    /// The set of streams or consumers changed.
    fn stream_changed(&self, change: StreamChange);
    /// Declarations changed.
    fn catalog_changed(&self);
    /// A batch was applied and its proposers were answered.
    fn applied(&self);
}

/// The node's replicated state.
pub struct Node {
    streams: RwLock<Registry>,
    catalog: RwLock<Catalog>,
    /// Streams touched since the last batch ended, to wake their readers once per batch.
    touched: Mutex<Vec<Arc<StreamCell>>>,
    hooks: OnceLock<Arc<dyn Hooks>>,
    pages: OnceLock<Pages>,
    index_cache: usize,
    /// Where the newest checkpoint has what did not change since.
    kept: Arc<Mutex<Kept>>,
    catalog_changed: Arc<AtomicBool>,
    /// The last number given to whoever is about to make a stream: whether it comes to that says the log.
    given_id: AtomicU32,
    alarms: Alarms,
    /// Frames whose content is to be made unreadable on disk.
    erasing: Mutex<BTreeSet<Position>>,
}

impl Default for Node {
    fn default() -> Self {
        Self::with_index_cache(INDEX_CACHE)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// A node without streams, whose streams' indexes keep about so many bytes in memory of what they could read back.
    #[must_use]
    pub fn with_index_cache(bytes: usize) -> Self {
        Self {
            streams: RwLock::default(),
            catalog: RwLock::default(),
            touched: Mutex::default(),
            hooks: OnceLock::new(),
            pages: OnceLock::new(),
            index_cache: bytes,
            kept: Arc::default(),
            catalog_changed: Arc::default(),
            given_id: AtomicU32::default(),
            alarms: Alarms::default(),
            erasing: Mutex::default(),
        }
    }

    /// Bytes of streams' indexes that are in memory, about.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.pages.get().map_or(0, |pages| pages.cache.used())
    }

    /// Connects the node to the rest of the server, once, after recovery.
    pub fn set_hooks(&self, hooks: Arc<dyn Hooks>) {
        // A second call would mean two servers on one node; the first one stays.
        let _already = self.hooks.set(hooks);
    }

    /// The stream of this name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<Arc<StreamCell>> {
        self.registry().by_name(name)
    }

    /// The stream of this number.
    #[must_use]
    pub fn stream_by_id(&self, id: u32) -> Option<Arc<StreamCell>> {
        self.registry().by_id(id)
    }

    /// All streams in the order of their names.
    #[must_use]
    pub fn streams(&self) -> Vec<Arc<StreamCell>> {
        self.registry().all().cloned().collect()
    }

    /// A number for a new stream, that no stream has and nobody else is given.
    #[must_use]
    pub fn next_stream_id(&self) -> u32 {
        let least = self.registry().last_id + 1;
        let next = |given: u32| (given + 1).max(least);
        let before = self
            .given_id
            .update(Ordering::Relaxed, Ordering::Relaxed, next);
        next(before)
    }

    /// The stream that stores this subject.
    #[must_use]
    pub fn stream_for(&self, subject: &[u8]) -> Option<Arc<StreamCell>> {
        self.registry()
            .all()
            .find(|cell| cell.lock().captures(subject))
            .cloned()
    }

    /// The next stream in which something is due at `now`. Whoever gets it deals with it and says [`Node::dealt_with`];
    /// nobody else gets it until then.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Arc<StreamCell>> {
        while let Some((stream, due)) = self.alarms.next(now) {
            let cell = self.registry().by_id(stream);
            if let Some(cell) = cell.filter(|cell| cell.alarm.ring(due)) {
                return Some(cell);
            }
        }
        None
    }

    /// What was due in a stream was dealt with. It comes up again when something else is due, but not before `pause`.
    pub fn dealt_with(&self, cell: &StreamCell, pause: Option<Timestamp>) {
        cell.alarm.quiet();
        let due = cell.lock().next_due();
        let due = due.map(|due| due.max(pause.unwrap_or(due)));
        self.alarms.set(cell.id, &cell.alarm, due);
    }

    /// When something is due first.
    #[must_use]
    pub fn first_due(&self) -> Option<Timestamp> {
        self.alarms.first()
    }

    /// Completes when something is due earlier than it was until now.
    pub async fn due_earlier(&self) {
        self.alarms.earlier().await;
    }

    /// What is declared.
    pub fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, position: Position, body: &Bytes, command: Command) -> Outcome {
        match command {
            Command::Stream(StreamCommand::Publish(publish)) => {
                self.publish(position, body, &publish)
            }
            Command::Stream(StreamCommand::Due(due)) => self.come_due(position, body, &due),
            Command::Stream(command) => self.stream_command(command, false),
            Command::Catalog(command) => {
                let result = self
                    .catalog
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .apply(command);
                if let Err(error) = result {
                    error!(target: "nats", "catalog change not applied: {error}");
                }
                self.catalog_changed.store(true, Ordering::Release);
                self.hook(|hooks| hooks.catalog_changed());
                Outcome::Done
            }
            Command::Position { source, value } => {
                let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
                // What was deleted meanwhile must not leave its place to one of the same name.
                if catalog.accepts_position(&source, &value) {
                    catalog.positions.insert(source, value.to_vec());
                    self.catalog_changed.store(true, Ordering::Release);
                }
                Outcome::Done
            }
            Command::Whole(commands) => match self.unfit(&commands) {
                Some(part) => Outcome::Unfit(part),
                None => {
                    let each = commands.into_iter();
                    let each = each.map(|command| self.command(position, body, command));
                    Outcome::Several(each.collect())
                }
            },
            Command::Several(commands) => {
                if let Some(error) = self.conflict(&commands) {
                    return Outcome::Refused(error);
                }
                let each = commands.into_iter().map(|command| match command {
                    // Looked at together: on the way two stations that swap subjects may both have one.
                    Command::Stream(
                        command @ (StreamCommand::CreateStream { .. }
                        | StreamCommand::UpdateStream { .. }),
                    ) => self.stream_command(command, true),
                    command => self.command(position, body, command),
                });
                Outcome::Several(each.collect())
            }
        }
    }

    /// Why streams cannot become what these commands say together. Looked at before the first of them is applied, so that
    /// an apply of many stations happens whole or not at all; what counts is how it ends, so stations may swap subjects.
    fn conflict(&self, commands: &[Command]) -> Option<ApiError> {
        let declared: Vec<String> = commands
            .iter()
            .filter_map(|command| match command {
                Command::Stream(
                    StreamCommand::CreateStream { config, .. }
                    | StreamCommand::UpdateStream { config, .. },
                ) => Some(config.name.clone()),
                _ => None,
            })
            .collect();
        if declared.is_empty() {
            return None;
        }
        let mut after: BTreeMap<String, (u32, Vec<String>)> = self
            .registry()
            .all()
            .map(|cell| {
                let subjects = cell.lock().config.subjects.clone();
                (cell.name.clone(), (cell.id, subjects))
            })
            .collect();
        for command in commands {
            match command {
                Command::Stream(StreamCommand::CreateStream { id, config, .. }) => {
                    let subjects = config.subjects.clone();
                    if after.insert(config.name.clone(), (*id, subjects)).is_some() {
                        return Some(ApiError::stream_name_exist());
                    }
                }
                Command::Stream(StreamCommand::UpdateStream { id, config, .. }) => {
                    match after.get_mut(&config.name).filter(|(known, _)| known == id) {
                        Some((_, subjects)) => subjects.clone_from(&config.subjects),
                        None => return Some(ApiError::stream_not_found()),
                    }
                }
                Command::Stream(StreamCommand::DeleteStream { id }) => {
                    after.retain(|_, (known, _)| known != id);
                }
                _ => {}
            }
        }
        let crosses = |own: &[String], others: &[String]| {
            own.iter().any(|subject| {
                others
                    .iter()
                    .any(|other| filters_overlap(subject.as_bytes(), other.as_bytes()))
            })
        };
        let overlap = declared.iter().any(|name| {
            let own = after.get(name).map_or(&[][..], |(_, own)| own);
            after
                .iter()
                .any(|(other, (_, subjects))| other != name && crosses(own, subjects))
        });
        overlap.then(ApiError::stream_subject_overlap)
    }

    fn publish(&self, position: Position, body: &Bytes, publish: &Publish) -> Outcome {
        let Some(cell) = self.registry().by_id(publish.stream) else {
            let refused = || RecordOutcome::Refused(ApiError::stream_not_found());
            return Outcome::Records((0..publish.count).map(|_| refused()).collect());
        };
        let mut outcomes = Vec::with_capacity(publish.count as usize);
        let mut stream = cell.lock();
        let (at, offset) = place(&cell, &stream, position, body, &publish.records);
        stream.publish(at, offset, publish, &mut outcomes);
        if stream.config.storage == StorageType::Memory {
            cell.free_frames(&stream);
        }
        let due = stream.next_due();
        drop(stream);
        self.alarms.set(cell.id, &cell.alarm, due);
        self.touch(cell);
        Outcome::Records(outcomes)
    }

    /// The alarm is set again by whoever proposed it.
    fn come_due(&self, position: Position, body: &Bytes, due: &Due) -> Outcome {
        let Some(cell) = self.registry().by_id(due.stream) else {
            return Outcome::Refused(ApiError::stream_not_found());
        };
        let mut stream = cell.lock();
        let (at, offset) = match due.count {
            0 => (position, 0),
            _ => place(&cell, &stream, position, body, &due.records),
        };
        let removed = stream.come_due(due, at, offset);
        if stream.config.storage == StorageType::Memory {
            cell.free_frames(&stream);
        }
        drop(stream);
        self.touch(cell);
        Outcome::Purged(removed)
    }

    /// `checked` says that overlaps were ruled out already.
    fn stream_command(&self, command: StreamCommand, checked: bool) -> Outcome {
        match command {
            StreamCommand::CreateStream { id, time, config } => {
                self.create(id, time, *config, checked)
            }
            StreamCommand::UpdateStream { id, config, .. } => self.update(id, *config, checked),
            StreamCommand::DeleteStream { id } => self.delete(id),
            command => self.inside_stream(command),
        }
    }

    fn create(
        &self,
        id: u32,
        time: millstream_types::Timestamp,
        config: millstream_streams::StreamConfig,
        checked: bool,
    ) -> Outcome {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.by_name(&config.name).is_some() {
            return Outcome::Refused(ApiError::stream_name_exist());
        }
        if streams.by_id(id).is_some() {
            return Outcome::Refused(ApiError::stream_name_exist());
        }
        if !checked
            && streams
                .all()
                .any(|cell| cell.lock().overlaps(&config.subjects))
        {
            return Outcome::Refused(ApiError::stream_subject_overlap());
        }
        let cell = Arc::new(StreamCell::new(Stream::new(
            id,
            config,
            time,
            self.pages.get().cloned(),
        )));
        streams.insert(Arc::clone(&cell));
        drop(streams);
        self.hook(|hooks| hooks.stream_changed(StreamChange::Created(cell)));
        Outcome::Done
    }

    fn update(&self, id: u32, config: millstream_streams::StreamConfig, checked: bool) -> Outcome {
        let streams = self.registry();
        let Some(cell) = streams.by_id(id) else {
            return Outcome::Refused(ApiError::stream_not_found());
        };
        let crosses =
            |other: &Arc<StreamCell>| other.id != id && other.lock().overlaps(&config.subjects);
        if !checked && streams.all().any(crosses) {
            return Outcome::Refused(ApiError::stream_subject_overlap());
        }
        drop(streams);
        let mut stream = cell.lock();
        if let Err(refused) = stream.update_config(config) {
            return Outcome::Refused(refused);
        }
        cell.follow(&stream.config);
        let due = stream.next_due();
        drop(stream);
        self.alarms.set(id, &cell.alarm, due);
        self.hook(|hooks| hooks.stream_changed(StreamChange::Updated(Arc::clone(&cell))));
        self.touch(cell);
        Outcome::Done
    }

    fn delete(&self, id: u32) -> Outcome {
        let gone = self
            .streams
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        let Some(cell) = gone else {
            return Outcome::Refused(ApiError::stream_not_found());
        };
        self.hook(|hooks| hooks.stream_changed(StreamChange::Deleted(Arc::clone(&cell))));
        cell.wake_all();
        Outcome::Done
    }

    fn inside_stream(&self, command: StreamCommand) -> Outcome {
        let Some(cell) = self.registry().by_id(command.stream()) else {
            return Outcome::Refused(ApiError::stream_not_found());
        };
        let change = match &command {
            StreamCommand::CreateConsumer { name, .. }
            | StreamCommand::UpdateConsumer { name, .. } => {
                Some(StreamChange::Consumer(Arc::clone(&cell), name.clone()))
            }
            StreamCommand::DeleteConsumer { name, .. } => Some(StreamChange::ConsumerDeleted(
                Arc::clone(&cell),
                name.clone(),
            )),
            _ => None,
        };
        let applied = {
            let mut stream = cell.lock();
            let erased = match &command {
                StreamCommand::DeleteMessage {
                    seq, erase: true, ..
                } => stream.locate(*seq).map(|place| place.position),
                _ => None,
            };
            let applied = stream.apply(command);
            if let (Some(frame), Ok(_)) = (erased, &applied)
                && frame.file != MEMORY_FILE
            {
                self.frames_to_erase().insert(frame);
            }
            if stream.config.storage == StorageType::Memory {
                cell.free_frames(&stream);
            }
            applied
        };
        let outcome = match applied {
            Ok(removed) => Outcome::Purged(removed),
            Err(refused) => return Outcome::Refused(refused),
        };
        if let Some(change) = change {
            self.hook(|hooks| hooks.stream_changed(change));
        }
        self.touch(cell);
        outcome
    }

    fn frames_to_erase(&self) -> MutexGuard<'_, BTreeSet<Position>> {
        self.erasing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What leaves a stream, read and put together.
    fn gathered(
        cell: Arc<StreamCell>,
        leaving: Leaving,
        compress: bool,
        read: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Gathered, String> {
        let mut leaving = leaving;
        let frames: Result<Vec<Bytes>, ReadError> = leaving.frames().map(read).collect();
        let frames = frames.map_err(|error| error.to_string())?;
        let (bytes, count) = leaving.gather(&frames).map_err(|error| error.to_string())?;
        let page = StoredPage {
            stream: cell.id,
            bytes,
            compress,
        };
        let done = Box::new(move |to| {
            cell.lock().moved(&leaving, to);
            cell.set_changed();
        });
        Ok(Gathered { page, count, done })
    }

    fn touch(&self, cell: Arc<StreamCell>) {
        cell.set_changed();
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if !touched.iter().any(|known| known.id == cell.id) {
            touched.push(cell);
        }
    }

    fn hook(&self, call: impl FnOnce(&dyn Hooks)) {
        if let Some(hooks) = self.hooks.get() {
            call(hooks.as_ref());
        }
    }
}

/// Where records of a command lie: its frame, and where in its body they begin.
fn place(
    cell: &StreamCell,
    stream: &Stream,
    position: Position,
    body: &Bytes,
    records: &Bytes,
) -> (Position, u32) {
    let at = match stream.config.storage {
        StorageType::Memory => cell.keep_frame(body),
        StorageType::File => position,
    };
    // Records are slices of the entry's body, so the distance between the two is where readers find them.
    let offset = records.as_ptr() as usize - body.as_ptr() as usize;
    let offset = u32::try_from(offset).expect("invariant: bodies are below 4 GiB");
    (at, offset)
}

impl StateMachine for Node {
    type Outcome = Outcome;

    fn apply(&self, entry: Entry<'_>) -> Outcome {
        match Command::decode(entry.body) {
            Ok(command) => self.command(entry.position, entry.body, command),
            Err(error) => {
                // The journal's checksum held, so this is a build that cannot read what another one wrote.
                error!(target: "nats", "log entry {} is not understood: {error}", entry.index);
                Outcome::Refused(ApiError::internal(&error.to_string()))
            }
        }
    }

    fn lost(&self, lost: Lost) {
        // Messages behind the damage keep the sequences they were acknowledged with.
        let cell = lost.stream.and_then(|stream| self.registry().by_id(stream));
        match cell {
            Some(cell) if lost.count > 0 => {
                let (first, last) = cell.lock().lose(lost.count);
                error!(target: "nats", "messages {first} to {last} of stream `{}` are lost: their log entry {} is damaged", cell.name, lost.index);
                self.touch(cell);
            }
            Some(cell) => {
                error!(target: "nats", "a change of stream `{}` or of its consumers is lost: its log entry {} is damaged", cell.name, lost.index);
            }
            None => {
                error!(target: "nats", "log entry {} is damaged, and it is not known what it was", lost.index);
            }
        }
    }

    fn applied(&self) {
        let touched =
            std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        for cell in touched {
            cell.wake();
        }
        self.hook(|hooks| hooks.applied());
    }

    fn restore(
        &self,
        root: Option<&[u8]>,
        source: Arc<dyn PageSource>,
    ) -> Result<(), RestoreError> {
        let pages = self.pages.get_or_init(|| Pages {
            source,
            cache: Arc::new(PageCache::new(self.index_cache)),
        });
        if let Some(root) = root {
            let restored = snapshot::restore(root, pages)?;
            for cell in restored.streams.all() {
                let due = cell.lock().next_due();
                self.alarms.set(cell.id, &cell.alarm, due);
            }
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = restored.catalog;
            *self.streams.write().unwrap_or_else(PoisonError::into_inner) = restored.streams;
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = restored.kept;
            *self.frames_to_erase() = restored.erasing;
        }
        Ok(())
    }

    fn snapshot(&self, doomed: &BTreeSet<u32>) -> Box<dyn Snapshot> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let moves = kept.catalog.is_none_or(|at| doomed.contains(&at.file));
        drop(kept);
        let changed = self.catalog_changed.swap(false, Ordering::AcqRel);
        let catalog = (changed || moves).then(|| self.catalog().encode());
        let streams = self.registry();
        let cells: Vec<_> = streams.all().cloned().collect();
        let kept = Arc::clone(&self.kept);
        let changed = Arc::clone(&self.catalog_changed);
        Box::new(NodeSnapshot::new(
            (streams.last_id, self.erasing()),
            (catalog, changed),
            &cells,
            kept,
            doomed,
        ))
    }

    fn live_bytes(&self) -> BTreeMap<u32, u64> {
        let mut live = BTreeMap::new();
        for cell in self.streams() {
            cell.lock().live_files(&mut live);
        }
        live
    }

    fn gather(
        &self,
        file: u32,
        limit: u64,
        read: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String> {
        for cell in self.streams() {
            let (leaving, compress) = {
                let stream = cell.lock();
                (stream.leaving(file, limit), stream.config.compresses())
            };
            if let Some(leaving) = leaving {
                return Self::gathered(cell, leaving, compress, read).map(Some);
            }
        }
        Ok(None)
    }

    fn erasing(&self) -> Vec<Position> {
        self.frames_to_erase().iter().copied().collect()
    }

    fn gather_frame(
        &self,
        frame: Position,
        read: &dyn Fn(Position) -> Result<Bytes, ReadError>,
    ) -> Result<Option<Gathered>, String> {
        for cell in self.streams() {
            let (leaving, compress) = {
                let stream = cell.lock();
                (stream.leaving_frame(frame), stream.config.compresses())
            };
            if let Some(leaving) = leaving {
                return Self::gathered(cell, leaving, compress, read).map(Some);
            }
        }
        Ok(None)
    }

    fn erased(&self, frame: Position) {
        self.frames_to_erase().remove(&frame);
    }
}
