//! The set of streams, and one stream with what belongs to it on this node.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millstream_journal::{Durability, Position};
use millstream_streams::{PersistMode, StorageType, Stream, StreamConfig};
use tokio::sync::Notify;

use crate::alarms::Alarm;

/// Dead frames that are not worth a look.
const FEW_FRAMES: u64 = 64;

/// A stream on this node: its state machine, the bytes of a memory stream, and who waits for new messages.
///
/// The state is behind a std mutex because every critical section is short and never awaits.
#[derive(Debug)]
pub struct StreamCell {
    /// The stream's number in the log.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What must have happened to its commands before they are acknowledged. No update changes that.
    pub durability: Durability,
    /// Whether its messages are compressed on disk.
    compresses: AtomicBool,
    stream: Mutex<Stream>,
    memory: Mutex<Frames>,
    /// Who wants to hear of any change.
    waiting: Mutex<Vec<Arc<Notify>>>,
    /// Since the last snapshot.
    changed: AtomicBool,
    /// Who polls a consumer that waits, by the number the stream gave it.
    pollers: Mutex<HashMap<u32, Arc<Notify>>>,
    /// When something is due in it.
    pub(crate) alarm: Alarm,
}

/// The frames of a memory stream.
#[derive(Debug, Default)]
struct Frames {
    /// By offset, which never comes again: readers know a frame they hold by it.
    held: BTreeMap<u64, Bytes>,
    next: u64,
}

impl StreamCell {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            id: stream.id,
            name: stream.name().to_owned(),
            durability: durability(&stream.config),
            compresses: AtomicBool::new(stream.config.compresses()),
            stream: Mutex::new(stream),
            memory: Mutex::default(),
            waiting: Mutex::default(),
            changed: AtomicBool::new(true),
            pollers: Mutex::default(),
            alarm: Alarm::default(),
        }
    }

    /// A stream as a checkpoint has it.
    pub(crate) fn restored(stream: Stream) -> Self {
        let cell = Self::new(stream);
        cell.changed.store(false, Ordering::Relaxed);
        cell
    }

    pub(crate) fn set_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Whether it changed since this was asked last.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// Whether its messages are compressed on disk. Known without the lock, as is how durable they are: a publish must not wait
    /// until the one before it is applied.
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.compresses.load(Ordering::Acquire)
    }

    /// The configuration was changed.
    pub(crate) fn follow(&self, config: &StreamConfig) {
        self.compresses
            .store(config.compresses(), Ordering::Release);
    }

    /// The stream's state. Keep it short and never across an await: publishes of this stream wait for it.
    pub fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes `waker` once after the next change of this stream. Register while holding [`StreamCell::lock`], so that no
    /// change falls between looking and waiting.
    pub fn wake_on_change(&self, waker: &Arc<Notify>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|known| Arc::ptr_eq(known, waker)) {
            waiting.push(Arc::clone(waker));
        }
    }

    /// Wakes `waker` once when there may be something for a consumer that said it wants messages: one that its filters
    /// match, or room for more. `stream` is this cell's, locked since the consumer was polled, so that nothing falls between.
    pub fn wake_on_message(&self, stream: &mut Stream, consumer: &str, waker: &Arc<Notify>) {
        if let Some(number) = stream.wait_for_messages(consumer) {
            let mut pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
            pollers.insert(number, Arc::clone(waker));
        }
    }

    /// Wakes the pollers of consumers that may go on; answers how many.
    pub fn wake_pollers(&self) -> usize {
        let woken = self.lock().take_woken();
        if woken.is_empty() {
            return 0;
        }
        let mut pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
        let wakers = woken.iter().filter_map(|number| pollers.remove(number));
        wakers.map(|waker| waker.notify_one()).count()
    }

    /// The stream changed: wakes whoever waits for that, and the consumers it concerns.
    pub(crate) fn wake(&self) {
        self.wake_pollers();
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in waiting {
            waker.notify_one();
        }
    }

    /// The stream is gone: wakes everybody.
    pub(crate) fn wake_all(&self) {
        let pollers =
            std::mem::take(&mut *self.pollers.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in pollers.into_values() {
            waker.notify_one();
        }
        self.wake();
    }

    /// A memory stream's frame; `None` once its messages are gone.
    #[must_use]
    pub fn memory_frame(&self, position: Position) -> Option<Bytes> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.held.get(&position.offset).cloned()
    }

    /// Keeps a memory stream's frame and answers under which position the index must name it.
    pub(crate) fn keep_frame(&self, body: &Bytes) -> Position {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = memory.next;
        memory.next += 1;
        // A copy of its own: it may be a small part of a buffer, all of which would stay as long as it does.
        memory.held.insert(offset, Bytes::copy_from_slice(body));
        Position {
            file: u32::MAX,
            offset,
            len: u32::try_from(body.len()).unwrap_or(u32::MAX),
        }
    }

    /// Drops the frames of a memory stream that no message points to any more. Looks at all of them only when they are
    /// twice as many as there are messages, so the cost per change stays constant.
    pub(crate) fn free_frames(&self, stream: &Stream) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let held = memory.held.len() as u64;
        if held > FEW_FRAMES && held >= 2 * stream.messages() {
            let live = stream.live_positions();
            memory.held.retain(|offset, _| live.contains(offset));
        }
    }
}

/// What must have happened to a message of a stream before it is acknowledged.
fn durability(config: &StreamConfig) -> Durability {
    match (config.storage, config.persist_mode) {
        (StorageType::Memory, _) => Durability::Memory,
        (StorageType::File, PersistMode::Async) => Durability::Written,
        (StorageType::File, PersistMode::Default) => Durability::Synced,
    }
}

/// All streams by name and number.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_name: BTreeMap<String, Arc<StreamCell>>,
    by_id: HashMap<u32, Arc<StreamCell>>,
    pub(crate) last_id: u32,
}

impl Registry {
    pub(crate) fn insert(&mut self, cell: Arc<StreamCell>) {
        self.last_id = self.last_id.max(cell.id);
        self.by_id.insert(cell.id, Arc::clone(&cell));
        self.by_name.insert(cell.name.clone(), cell);
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Arc<StreamCell>> {
        let cell = self.by_id.remove(&id)?;
        self.by_name.remove(&cell.name);
        Some(cell)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<StreamCell>> {
        self.by_name.get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<Arc<StreamCell>> {
        self.by_id.get(&id).cloned()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<StreamCell>> {
        self.by_name.values()
    }
}
