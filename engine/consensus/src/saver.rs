//! Checkpoints: the state machine's snapshot is stored page by page in the log while commands go on being applied, then its
//! root is written beside the log, then files that nothing needs any more are removed.
//!
//! Frames that are to be erased are emptied first, too. They are overwritten when every checkpoint that a start may begin with
//! covers them and points elsewhere; checkpoints follow each other sooner while some wait for that.
//!
//! Between checkpoints files of which little is live are emptied: what is live in them is stored again at the end of the
//! log, a helping at a time, with rests three times as long as the work. When nothing happens, so are files in which many
//! streams take turns, once: what moves lies stream by stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_journal::{
    AppendError, Checkpoint, Durability, Form, Frame, Journal, Keys, LOCAL, Leaving, OpenError,
    PageReader, PageSource, Position, ReadError, Storage, write_checkpoint,
};
use tracing::{debug, error, warn};

use crate::group::Ticket;
use crate::machine::{Gathered, Snapshot, StateMachine, StoredPage};
use crate::scattered::is_scattered;

/// Bytes of pages that are on their way into the log at once: little, so that publishers do not wait behind them.
const HELPING: usize = 64 * 1024;

/// A file goes when it was dead after so many checkpoints before: records may move out of it between a snapshot and the end of
/// its checkpoint, so only later ones are sure to know, and two of them are kept.
const SEEN_DEAD: u32 = 2;
/// Bytes of records that leave a file at once.
const MOVED: u64 = 256 * 1024;
/// Rests between them, in times of the work.
const REST: u32 = 3;
/// A frame is erased after so many checkpoints: the snapshot of the first may be older than its being emptied, and two are kept.
const SEEN_EMPTY: u32 = 3;
/// How long a frame that is to be erased waits for that at most to begin.
const ERASE_AFTER: Duration = Duration::from_secs(1);
/// Least rest between checkpoints that are taken for it.
const ERASE_REST: Duration = Duration::from_millis(5);
/// Most frames that wait to be erased at a time.
const ERASED: usize = 256;
/// The newest files may still be needed by a checkpoint.
const NEWEST_FILES: usize = 2;
/// A file is emptied when less than this part of it is live.
const MOSTLY_DEAD: f64 = 0.5;

/// How something is stored.
#[derive(Clone, Copy, Debug)]
struct How {
    /// Records in it, for tools.
    records: u32,
    /// Written twice.
    important: bool,
}

/// Index pages.
const PAGES: How = How {
    records: 0,
    important: true,
};

/// Whether a checkpoint is being stored.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    busy: Mutex<bool>,
    idle: Condvar,
    /// Bytes of pages that the last checkpoint stored.
    pub(crate) stored: AtomicU64,
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
    /// Why the first page could not be read that was asked for before the journal was open.
    failed: OnceLock<String>,
}

impl<T> Source<T> {
    pub(crate) fn open(storage: Arc<dyn Storage>, keys: Option<&Keys>) -> Result<Self, OpenError> {
        Ok(Self {
            files: PageReader::open(storage, keys)?,
            journal: OnceLock::new(),
            failed: OnceLock::new(),
        })
    }

    /// Why what was replayed may not have become what it was: a page was asked for and could not be read.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
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
            None => self.files.read(at).inspect_err(|error| {
                // The first one is the one to report.
                let _first = self.failed.set(error.to_string());
            }),
        }
    }
}

/// Why a frame could not be emptied.
enum Stays {
    /// What lives in it cannot be read.
    Unreadable(String),
    /// The log did not take what lives in it.
    NotTaken(AppendError),
}

/// The turn of whoever stores a checkpoint, given back however that ends: nobody waits for a thread that is gone.
struct Turn(Arc<Busy>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.give_back();
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
    /// Dead files, and after how many checkpoints they were found so.
    pub(crate) dead: BTreeMap<u32, u32>,
    /// Dead files that are being cut off.
    pub(crate) gone: Vec<Leaving>,
    /// Files that are being emptied.
    pub(crate) leaving: Vec<u32>,
    /// Files that hold something damaged: what is left of them stays.
    pub(crate) stuck: BTreeSet<u32>,
    /// Frames that were emptied to be erased, and how many checkpoints were stored since; `None` where that failed for as long
    /// as this node runs.
    pub(crate) erasing: BTreeMap<Position, Option<u32>>,
    /// A file that is written again though much of it is live, because its streams lie scattered in it.
    pub(crate) scattered: Option<u32>,
    /// Files up to this one were looked at for that.
    pub(crate) judged: u32,
    /// Checkpoints in a row that could not be written.
    pub(crate) failures: u32,
    /// When it is time to look again whether a full disk can be helped.
    pub(crate) next_for_space: Option<Instant>,
    /// Bytes of journal files, reserved ones included.
    pub(crate) file_size: u64,
    /// How long nothing happens before it looks for files to empty.
    pub(crate) look_after: Duration,
    /// Asks for a checkpoint.
    pub(crate) ask: Box<dyn Fn() + Send>,
}

impl<S: StateMachine> Saver<S> {
    pub(crate) fn run(mut self, saves: &Receiver<Save>) {
        let mut idle = Duration::ZERO;
        loop {
            let cut = self.cut_some();
            // Beside that: where files die all the time, others are to be emptied all the same.
            let other = self.empty_some().or_else(|| self.erase_some());
            let rest = cut.into_iter().chain(other).reduce(|one, two| one + two);
            let rest = rest.unwrap_or(self.look_after.min(ERASE_AFTER));
            match saves.recv_timeout(rest) {
                Ok(save) => {
                    self.handle(save);
                    idle = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout) if self.waits_to_erase() || self.wants_space() => {
                    self.checkpoint_soon();
                }
                Err(RecvTimeoutError::Timeout) => {
                    idle += rest;
                    if self.leaving.is_empty() && idle >= self.look_after {
                        self.tidy();
                        idle = Duration::ZERO;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whether the disk is full and it is time for a checkpoint that may let files go. What failed is tried again ever more rarely:
    /// each time takes room in the log.
    fn wants_space(&mut self) -> bool {
        let now = Instant::now();
        if !self.journal.status().full || self.next_for_space.is_some_and(|next| now < next) {
            return false;
        }
        self.next_for_space = Some(now + ERASE_AFTER * (1 << self.failures.min(6)));
        let live = self.machine.live_bytes();
        let files = self.journal.files();
        let mut old = files.iter().rev().skip(1);
        old.any(|file| !live.contains_key(&file.id) && !self.stuck.contains(&file.id))
    }

    /// Nothing happened for a while: asks for a checkpoint when one would let files go or be emptied, and begins to write a file
    /// again in which streams lie scattered.
    fn tidy(&mut self) {
        let live = self.machine.live_bytes();
        let files = self.journal.files();
        let old = files.len().saturating_sub(NEWEST_FILES);
        if files[..old]
            .iter()
            .any(|file| self.is_mostly_dead(file.id, live.get(&file.id)))
        {
            (self.ask)();
        }
        let begins = self.newest.as_ref().map_or(0, |(file, _)| *file);
        let unjudged = self.judged + 1..begins;
        let next = files[..old].iter().map(|file| file.id);
        for file in next.filter(|id| unjudged.contains(id)) {
            self.judged = file;
            let footer = self.journal.footer(file).ok().flatten();
            if footer.is_some_and(|footer| is_scattered(&footer.frames))
                && !self.stuck.contains(&file)
            {
                debug!(target: "nats", "journal file {file} is written again, stream by stream");
                self.scattered = Some(file);
                self.leaving.push(file);
                return;
            }
        }
    }

    fn is_mostly_dead(&self, file: u32, live: Option<&u64>) -> bool {
        self.live_part(live.copied().unwrap_or(0)) < MOSTLY_DEAD && !self.stuck.contains(&file)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes of files are far below 2^52"
    )]
    fn live_part(&self, live: u64) -> f64 {
        live as f64 / self.file_size as f64
    }

    /// What emptying a file brings for what it costs, as log-structured file systems reckon it (Rosenblum and Ousterhout 1992):
    /// the space that comes free, and the age of what is in it, against what is read and written. Without the age, records that
    /// moved into short-lived company would move on for ever, and older files with a little more in them never had a turn.
    fn worth_emptying(&self, (file, newest): (u32, u32), live: u64) -> f64 {
        let part = self.live_part(live).min(1.0);
        f64::from(newest.saturating_sub(file)) * (1.0 - part) / (1.0 + part)
    }

    fn handle(&mut self, save: Save) {
        let done = save.done.clone();
        let turn = Turn(Arc::clone(&self.busy));
        let written = self.save(save);
        self.failures = if written { 0 } else { self.failures + 1 };
        drop(turn);
        // Whoever asked may have given up.
        let _gone = done.map(|done| done.send(true));
    }

    /// Frees a piece of a dead file; answers how long to rest, or `None` when there is nothing to do.
    fn cut_some(&mut self) -> Option<Duration> {
        let file = self.gone.last_mut()?;
        let since = Instant::now();
        let left = file.cut().unwrap_or_else(|error| {
            warn!(target: "nats", "what is left of a dead journal file goes at the next start only: {error}");
            false
        });
        if !left {
            self.gone.pop();
        }
        Some(since.elapsed() * REST)
    }

    /// Stores some records of a mostly dead file again; answers how long to rest, or `None` when there is nothing to do.
    fn empty_some(&mut self) -> Option<Duration> {
        let file = *self.leaving.last()?;
        let since = Instant::now();
        let read = |at| self.journal.read(at);
        match self.machine.gather(file, MOVED, &read) {
            Ok(None) => {
                debug!(target: "nats", "journal file {file} is empty and goes with one of the next checkpoints");
                self.leaving.pop();
                self.scattered.take_if(|scattered| *scattered == file);
            }
            Ok(Some(gathered)) => {
                if let Err(error) = self.store_gathered(gathered) {
                    warn!(target: "nats", "journal file {file} is not emptied: {error}");
                    self.leaving.clear();
                }
            }
            Err(error) => {
                warn!(target: "nats", "journal file {file} stays, though little in it is live: {error}");
                self.leaving.pop();
                self.stuck.insert(file);
            }
        }
        Some(since.elapsed() * REST)
    }

    /// Empties frames that are to be erased, and erases those that no checkpoint needs any more; answers how long to rest before
    /// the next checkpoint, or `None` when none waits.
    fn erase_some(&mut self) -> Option<Duration> {
        let mut wanted = self.machine.erasing();
        // Those that cannot be erased must not take the places of the others.
        wanted.retain(|frame| !matches!(self.erasing.get(frame), Some(None)));
        if wanted.is_empty() {
            return None;
        }
        let since = Instant::now();
        for frame in wanted.into_iter().take(ERASED) {
            match self.erasing.get(&frame) {
                None => match self.empty_frame(frame) {
                    Ok(()) => {
                        self.erasing.insert(frame, Some(0));
                    }
                    Err(Stays::Unreadable(error)) => {
                        warn!(target: "nats", "a deleted message stays on disk in journal file {}, because what lies beside it cannot be read: {error}", frame.file);
                        self.erasing.insert(frame, None);
                    }
                    // Nor would the others get in now: they are tried again.
                    Err(Stays::NotTaken(error)) => {
                        warn!(target: "nats", "deleted messages stay on disk for now, because what lies beside them cannot be moved: {error}");
                        break;
                    }
                },
                Some(Some(seen)) if *seen >= SEEN_EMPTY => {
                    let erased = self.journal.erase(frame);
                    match erased {
                        Ok(()) => {
                            self.erasing.remove(&frame);
                            self.machine.erased(frame);
                        }
                        Err(error) => {
                            warn!(target: "nats", "a deleted message stays on disk in journal file {}: {error}", frame.file);
                            self.erasing.insert(frame, None);
                        }
                    }
                }
                Some(_) => {}
            }
        }
        self.waits_to_erase()
            .then(|| (since.elapsed() * REST).max(ERASE_REST))
    }

    fn waits_to_erase(&self) -> bool {
        self.erasing.values().any(Option::is_some)
    }

    /// Stores what lives in a frame elsewhere.
    fn empty_frame(&self, frame: Position) -> Result<(), Stays> {
        let read = |at| self.journal.read(at);
        let gather = || self.machine.gather_frame(frame, &read);
        while let Some(gathered) = gather().map_err(Stays::Unreadable)? {
            self.store_gathered(gathered).map_err(Stays::NotTaken)?;
        }
        Ok(())
    }

    /// A checkpoint is taken only when something was written since the last one.
    fn checkpoint_soon(&self) {
        let nothing = StoredPage {
            stream: 0,
            bytes: Bytes::new(),
            compress: false,
        };
        let how = How {
            records: 0,
            important: false,
        };
        // Where there is no room for it, commands may have come since the last one all the same.
        let _refused = self.store(vec![nothing], how);
        (self.ask)();
    }

    fn store_gathered(&self, gathered: Gathered) -> Result<(), AppendError> {
        let how = How {
            records: gathered.count,
            important: false,
        };
        let positions = self.store(vec![gathered.page], how)?;
        (gathered.done)(positions[0]);
        Ok(())
    }

    /// Answers `false` when the checkpoint could not be written.
    fn save(&mut self, save: Save) -> bool {
        let Save {
            mut snapshot,
            position,
            index,
            ..
        } = save;
        if let Err(error) = self.store_pages(&mut *snapshot) {
            error!(target: "nats", "checkpoint is not written, the next start takes longer: {error}");
            snapshot.finish(false);
            return false;
        }
        // Its pages were synced, and all that was written before with them. Without any, it may cover entries that are only
        // written: those are the next one's.
        if self.journal.status().last_index < index {
            debug!(target: "nats", "checkpoint is put off: what it covers is not synced yet");
            snapshot.finish(false);
            return true;
        }
        let checkpoint = Checkpoint {
            position,
            index,
            bytes: snapshot.root(),
        };
        if let Err(error) = write_checkpoint(&*self.storage, &checkpoint) {
            error!(target: "nats", "checkpoint is not written, the next start takes longer: {error}");
            snapshot.finish(false);
            return false;
        }
        let files = snapshot.page_files();
        snapshot.finish(true);
        for seen in self.erasing.values_mut().flatten() {
            *seen += 1;
        }
        self.remove_dead(position.file, files);
        true
    }

    fn store_pages(&self, snapshot: &mut dyn Snapshot) -> Result<(), AppendError> {
        let mut bytes = 0;
        loop {
            let pages = snapshot.next_pages(HELPING);
            if pages.is_empty() {
                self.busy.stored.store(bytes, Ordering::Relaxed);
                return Ok(());
            }
            bytes += pages
                .iter()
                .map(|page| page.bytes.len() as u64)
                .sum::<u64>();
            let positions = self.store(pages, PAGES)?;
            snapshot.pages_stored(&positions);
        }
    }

    /// Has pages written.
    fn store(&self, pages: Vec<StoredPage>, how: How) -> Result<Vec<Position>, AppendError> {
        let (tell, stored) = channel();
        let count = pages.len();
        for page in pages {
            self.append(page, how, tell.clone());
        }
        drop(tell);
        // The log keeps the order, so answers come in the order of the pages.
        let positions = stored.iter().collect::<Result<Vec<_>, _>>()?;
        match positions.len() == count {
            true => Ok(positions),
            false => Err(AppendError::Closed),
        }
    }

    fn append(&self, page: StoredPage, how: How, tell: Sender<Result<Position, AppendError>>) {
        let frame = Frame {
            group: LOCAL,
            term: 0,
            stream: page.stream,
            count: how.records,
            head: Bytes::new(),
            body: page.bytes,
            durability: Durability::Synced,
            important: how.important,
            form: Form::of(page.compress),
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
        let live = self.machine.live_bytes();
        let mut doomed = BTreeSet::new();
        self.leaving.clear();
        for id in old {
            match live.get(&id) {
                Some(bytes) => {
                    if self.is_mostly_dead(id, Some(bytes)) {
                        self.leaving.push(id);
                    }
                }
                None if needed.contains(&id) => {
                    doomed.insert(id);
                }
                None if self.dead.get(&id).is_some_and(|seen| *seen >= SEEN_DEAD) => {
                    self.dead.remove(&id);
                    self.stuck.remove(&id);
                    match self.journal.remove(id) {
                        Ok(leaving) => self.gone.extend(leaving),
                        Err(error) => {
                            error!(target: "nats", "dead journal file {id} is not removed: {error}");
                        }
                    }
                }
                None => *self.dead.entry(id).or_default() += 1,
            }
        }
        // They are taken from the end.
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.sort_by(|one, other| {
            let live = |id: &u32| live.get(id).copied().unwrap_or(0);
            let worth = |id: &u32| self.worth_emptying((*id, begins), live(id));
            worth(one).total_cmp(&worth(other))
        });
        self.leaving = leaving;
        let goes_on = |file: &u32| live.contains_key(file) && !self.stuck.contains(file);
        self.scattered = self.scattered.filter(goes_on);
        if let Some(file) = self.scattered
            && !self.leaving.contains(&file)
        {
            self.leaving.insert(0, file);
        }
        if !doomed.is_empty() {
            debug!(target: "nats", "{} dead journal files still hold index pages, which move", doomed.len());
        }
        *self.doomed.lock().unwrap_or_else(PoisonError::into_inner) = doomed;
    }
}
