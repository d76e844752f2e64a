//! Checkpoints: the state machine's snapshot is stored page by page in the log while commands go on being applied, then its
//! root is written beside the log, then files that nothing needs any more are removed.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use millstream_journal::{
    AppendError, Checkpoint, Frame, Journal, LOCAL, PageReader, PageSource, Position, ReadError,
    Storage, write_checkpoint,
};
use tracing::{debug, error};

use crate::group::Ticket;
use crate::machine::{Snapshot, StateMachine, StoredPage};

/// Bytes of pages that are on their way into the log at once: little, so that publishers do not wait behind them.
const HELPING: usize = 256 * 1024;

/// Whether a checkpoint is being stored.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    busy: Mutex<bool>,
    idle: Condvar,
}

impl Busy {
    /// Takes the turn, when nobody has it.
    pub(crate) fn take(&self) -> bool {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *busy, true)
    }

    pub(crate) fn give_back(&self) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.idle.notify_all();
    }

    pub(crate) fn wait_idle(&self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while *busy {
            busy = self.idle.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A checkpoint to be stored.
pub(crate) struct Save {
    pub(crate) snapshot: Box<dyn Snapshot>,
    /// The last entry it covers.
    pub(crate) position: Position,
    pub(crate) index: u64,
    /// Hears of its end, where somebody waits.
    pub(crate) done: Option<SyncSender<bool>>,
}

/// Reads pages: from the journal, and before it is open from its files.
pub(crate) struct Source<T> {
    files: PageReader,
    pub(crate) journal: OnceLock<Journal<T>>,
}

impl<T> Source<T> {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            files: PageReader::new(storage),
            journal: OnceLock::new(),
        }
    }
}

impl<T> std::fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> PageSource for Source<T> {
    fn read(&self, at: Position) -> Result<Bytes, ReadError> {
        match self.journal.get() {
            Some(journal) => journal.read(at),
            None => self.files.read(at),
        }
    }
}

/// The checkpoint thread.
pub(crate) struct Saver<S: StateMachine> {
    pub(crate) machine: Arc<S>,
    pub(crate) journal: Journal<Ticket<S::Outcome>>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) busy: Arc<Busy>,
    /// Files whose records are all dead, but not the pages in them.
    pub(crate) doomed: Arc<Mutex<BTreeSet<u32>>>,
    /// The file where the newest checkpoint's replay begins, and the files its pages are in.
    pub(crate) newest: Option<(u32, BTreeSet<u32>)>,
}

impl<S: StateMachine> Saver<S> {
    pub(crate) fn run(mut self, saves: &Receiver<Save>) {
        while let Ok(save) = saves.recv() {
            let done = save.done.clone();
            self.save(save);
            self.busy.give_back();
            // Whoever asked may have given up.
            let _gone = done.map(|done| done.send(true));
        }
    }

    fn save(&mut self, save: Save) {
        let Save {
            mut snapshot,
            position,
            index,
            ..
        } = save;
        if let Err(error) = self.store_pages(&mut *snapshot) {
            error!(target: "nats", "checkpoint is not written, the next start takes longer: {error}");
            snapshot.finish(false);
            return;
        }
        let checkpoint = Checkpoint {
            position,
            index,
            bytes: snapshot.root(),
        };
        if let Err(error) = write_checkpoint(&*self.storage, &checkpoint) {
            error!(target: "nats", "checkpoint is not written, the next start takes longer: {error}");
            snapshot.finish(false);
            return;
        }
        let files = snapshot.page_files();
        snapshot.finish(true);
        self.remove_dead(position.file, files);
    }

    fn store_pages(&self, snapshot: &mut dyn Snapshot) -> Result<(), AppendError> {
        loop {
            let pages = snapshot.next_pages(HELPING);
            if pages.is_empty() {
                return Ok(());
            }
            let positions = self.store(pages)?;
            snapshot.pages_stored(&positions);
        }
    }

    fn store(&self, pages: Vec<StoredPage>) -> Result<Vec<Position>, AppendError> {
        let (tell, stored) = channel();
        let count = pages.len();
        for page in pages {
            self.append(page, tell.clone());
        }
        drop(tell);
        // The log keeps the order, so answers come in the order of the pages.
        let positions = stored.iter().collect::<Result<Vec<_>, _>>()?;
        match positions.len() == count {
            true => Ok(positions),
            false => Err(AppendError::Closed),
        }
    }

    fn append(&self, page: StoredPage, tell: Sender<Result<Position, AppendError>>) {
        let frame = Frame {
            group: LOCAL,
            term: 0,
            stream: page.stream,
            count: 0,
            head: Bytes::new(),
            body: page.bytes,
            durable: true,
            important: true,
            ticket: Ticket::Local(Box::new(move |stored| {
                // Nobody waits any more when another page failed.
                let _gone = tell.send(stored);
            })),
        };
        if let Err((error, frame)) = self.journal.append(frame)
            && let Ticket::Local(tell) = frame.ticket
        {
            tell(Err(error));
        }
    }

    /// The checkpoint before this one stays usable, so only files that neither needs may go.
    fn remove_dead(&mut self, begins: u32, files: BTreeSet<u32>) {
        let Some((oldest, pages_before)) = self.newest.replace((begins, files)) else {
            // Which files the checkpoint before needs is known from the next time on.
            return;
        };
        let pages = self.newest.iter().flat_map(|(_, files)| files);
        let needed: BTreeSet<u32> = pages.copied().chain(pages_before).collect();
        let old: Vec<u32> = self
            .journal
            .files()
            .iter()
            .map(|file| file.id)
            .filter(|id| *id < oldest)
            .collect();
        let mut doomed = BTreeSet::new();
        for id in self.machine.dead_files(&old) {
            if needed.contains(&id) {
                doomed.insert(id);
            } else if let Err(error) = self.journal.remove(id) {
                error!(target: "nats", "dead journal file {id} is not removed: {error}");
            }
        }
        if !doomed.is_empty() {
            debug!(target: "nats", "{} dead journal files still hold index pages, which move", doomed.len());
        }
        *self.doomed.lock().unwrap_or_else(PoisonError::into_inner) = doomed;
    }
}
