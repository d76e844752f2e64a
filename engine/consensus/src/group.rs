//! The one-voter group: the journal's commits are its commits.
//!
//! Three threads: the journal writes and syncs, the apply thread applies and answers, the checkpoint thread stores
//! snapshots (see `saver`). The next batch syncs while the last one is applied. A small batch that finds the apply thread idle is applied on the journal's thread at once: waking
//! another thread would take longer, and a lone publisher waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use millstream_journal::{
    AppendError, Checkpoint, CheckpointError, Committed, DamageListener, Durability, Form, Frame,
    Journal, LOCAL, PageSource, Position, ReadAhead, ReadError, Storage, read_checkpoint,
};
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::error::{OpenError, ProposeError};
use crate::machine::{Entry, Lost, StateMachine};
use crate::saver::{Busy, Save, Saver, Source};

/// The data group of this node. More groups come with replication.
const GROUP: u32 = 1;
/// One voter never changes its term.
const TERM: u64 = 1;
/// Committed batches that may wait to be applied; then the journal waits, and the proposers with it. More would not be
/// faster, because batches grow while the journal waits, and would hold more memory than the journal's bound.
const APPLY_QUEUE: usize = 4;
/// Most frames and bytes of a batch that is applied on the journal's thread: less work than a wake-up.
const INLINE_FRAMES: usize = 32;
const INLINE_BYTES: usize = 16 * 1024;

/// How a group works.
#[derive(Debug)]
pub struct Options {
    /// The journal's.
    pub journal: millstream_journal::Options,
    /// Where it is.
    pub storage: Arc<dyn Storage>,
    /// How long nothing is committed before it looks for files that could be emptied.
    pub look_after: Duration,
}

/// A command to be committed.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Which stream it is for, for tools.
    pub stream: u32,
    /// How many records it holds, for tools.
    pub count: u32,
    /// The command's bytes are `head` followed by `body`.
    pub head: Bytes,
    /// The rest.
    pub body: Bytes,
    /// What must have happened before it is applied.
    pub durability: Durability,
    /// Written twice, so that damage does not lose it: what changes rarely and much depends on.
    pub important: bool,
    /// Written compressed, if it gets smaller. It is compressed where it is proposed, not on the journal's thread.
    pub compress: bool,
}

/// Figures for monitoring.
#[derive(Clone, Debug)]
pub struct Status {
    /// The journal's.
    pub journal: millstream_journal::Status,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// How many files there are.
    pub files: usize,
}

/// The way to the apply thread.
struct Jobs<O> {
    sender: SyncSender<Job<O>>,
    /// Jobs sent and not finished. While there are none, whoever holds the applier may apply.
    pending: Arc<AtomicUsize>,
}

impl<O> Clone for Jobs<O> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            pending: Arc::clone(&self.pending),
        }
    }
}

impl<O> Jobs<O> {
    /// Sends a job; it comes back when the apply thread is gone.
    fn send(&self, job: Job<O>) -> Result<(), Job<O>> {
        self.pending.fetch_add(1, Ordering::AcqRel);
        self.sender.send(job).map_err(|SendError(job)| job)
    }
}

/// Between two checkpoints that nobody asks for come so many times the bytes of pages that the first one stored (each counted
/// once; they are written twice). After a kill a start replays so much at most, or `interval` where that is more, and what came
/// while the last one was stored.
const PAGES_SHARE: u64 = 6;

type Done<O> = Box<dyn FnOnce(Result<O, ProposeError>) + Send>;

/// What comes back with a frame.
pub(crate) enum Ticket<O> {
    /// A command.
    Entry(Done<O>),
    /// A page of this node's index.
    Local(Box<dyn FnOnce(Result<Position, AppendError>) + Send>),
}

enum Job<O> {
    Batch(Vec<Committed<Ticket<O>>>),
    /// Tells when it is done, where somebody waits; `false` when it has to be asked for again.
    Checkpoint(Option<SyncSender<bool>>),
}

/// A group's handle; cheap to clone.
pub struct Group<S: StateMachine> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: StateMachine> {
    journal: Journal<Ticket<S::Outcome>>,
    jobs: Mutex<Option<Jobs<S::Outcome>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    busy: Arc<Busy>,
    closing: AtomicBool,
}

impl<S: StateMachine> Inner<S> {
    fn jobs(&self) -> Option<Jobs<S::Outcome>> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: StateMachine> Drop for Inner<S> {
    fn drop(&mut self) {
        // Without a shutdown there is no last checkpoint, but the threads end. The last handle may go on the apply
        // thread, which must not wait for the other one.
        self.journal.begin_close();
    }
}

impl<S: StateMachine> Clone for Group<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<S: StateMachine> fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

impl<S: StateMachine> Group<S> {
    /// Restores the checkpoint, replays what comes after it, and starts.
    ///
    /// # Errors
    /// When the store cannot be read, is damaged, or was written by a newer build.
    pub fn open(options: Options, machine: Arc<S>) -> Result<Self, OpenError> {
        let (sender, queue) = sync_channel(APPLY_QUEUE);
        let jobs = Jobs {
            sender,
            pending: Arc::default(),
        };
        let slot = Arc::new(OnceLock::<Mutex<Applier<S>>>::new());
        let opened = open_log(&options, &machine, &slot, &jobs)?;
        let (saves, to_save) = channel();
        let handle = Arc::new(OnceLock::<Weak<Inner<S>>>::new());
        let busy = Arc::<Busy>::default();
        let doomed = Arc::<Mutex<BTreeSet<u32>>>::default();
        let saver = Saver {
            machine: Arc::clone(&machine),
            journal: opened.journal.clone(),
            storage: options.storage,
            busy: Arc::clone(&busy),
            doomed: Arc::clone(&doomed),
            newest: None,
            dead: BTreeMap::new(),
            gone: Vec::new(),
            failures: 0,
            next_for_space: None,
            leaving: Vec::new(),
            stuck: BTreeSet::new(),
            erasing: BTreeMap::new(),
            scattered: None,
            judged: 0,
            file_size: options.journal.file_size,
            look_after: options.look_after,
            ask: asking_for_checkpoints(Arc::clone(&handle)),
        };
        let journal = opened.journal.clone();
        slot.get_or_init(|| {
            Mutex::new(Applier {
                machine,
                journal: opened.journal,
                reached: opened.reached,
                saved: opened.saved,
                since: opened.since,
                interval: options.journal.file_size,
                saves,
                busy: Arc::clone(&busy),
                doomed,
            })
        });
        let pending = Arc::clone(&jobs.pending);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(OpenError::Thread)
        };
        let threads = vec![
            spawn("checkpoint", Box::new(move || saver.run(&to_save)))?,
            spawn("apply", Box::new(move || run(&slot, &pending, &queue)))?,
        ];
        let inner = Inner {
            journal,
            jobs: Mutex::new(Some(jobs)),
            threads: Mutex::new(threads),
            busy,
            closing: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        // Set once, here.
        let _set = handle.set(Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    /// Proposes a command. `done` gets its outcome on one of the group's threads, or an error here when the log refuses
    /// at once. It must not block, and not wait for the group.
    pub fn propose_with(&self, proposal: Proposal, done: Done<S::Outcome>) {
        if self.inner.closing.load(Ordering::Acquire) {
            return done(Err(AppendError::Closed.into()));
        }
        let frame = Frame {
            group: GROUP,
            term: TERM,
            stream: proposal.stream,
            count: proposal.count,
            head: proposal.head,
            body: proposal.body,
            durability: proposal.durability,
            important: proposal.important,
            form: Form::of(proposal.compress),
            ticket: Ticket::Entry(done),
        };
        if let Err((error, frame)) = self.inner.journal.append(frame)
            && let Ticket::Entry(done) = frame.ticket
        {
            done(Err(error.into()));
        }
    }

    /// Proposes a command and waits for its outcome.
    ///
    /// # Errors
    /// When it was not committed.
    pub async fn propose(&self, proposal: Proposal) -> Result<S::Outcome, ProposeError> {
        let (tell, wait) = oneshot::channel();
        self.propose_with(
            proposal,
            Box::new(move |outcome| {
                // A proposer that went away needs no answer.
                let _gone = tell.send(outcome);
            }),
        );
        wait.await.unwrap_or(Err(ProposeError::Closed))
    }

    /// The body at a position, verified.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(&self, position: Position) -> Result<Bytes, ReadError> {
        self.inner.journal.read(position)
    }

    /// The same for whoever goes through the log, see [`Journal::read_on`].
    ///
    /// # Errors
    /// As [`Group::read`].
    pub fn read_on(&self, position: Position, ahead: &mut ReadAhead) -> Result<Bytes, ReadError> {
        self.inner.journal.read_on(position, ahead)
    }

    /// Whether the body at a position is one of those written last, which are in memory.
    #[must_use]
    pub fn is_recent(&self, position: Position) -> bool {
        self.inner.journal.is_recent(position)
    }

    /// Has a listener told of damaged places in the log: of those known already at once. It must not block.
    pub fn on_damage(&self, listener: DamageListener) {
        self.inner.journal.on_damage(listener);
    }

    /// Takes a checkpoint of everything applied and waits until it is safe.
    pub fn checkpoint_now(&self) {
        loop {
            let (done, wait) = sync_channel(1);
            let Some(jobs) = self.inner.jobs() else {
                return;
            };
            if jobs.send(Job::Checkpoint(Some(done))).is_err() {
                return;
            }
            // An error means that a thread ended, which it logged.
            match wait.recv() {
                Ok(false) => self.inner.busy.wait_idle(),
                Ok(true) | Err(_) => return,
            }
        }
    }

    /// Commits and applies what waits, takes a last checkpoint, and ends all threads.
    pub fn shutdown(&self) {
        self.inner.closing.store(true, Ordering::Release);
        self.wait_for_log();
        self.checkpoint_now();
        self.inner.journal.close();
        drop(
            self.inner
                .jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let threads = std::mem::take(
            &mut *self
                .inner
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        // The checkpoint thread ends when the apply thread has.
        for thread in threads.into_iter().rev() {
            if thread.join().is_err() {
                error!(target: "nats", "a thread of the log panicked");
            }
        }
    }

    /// Waits until everything queued by now is written and handed to the apply thread.
    fn wait_for_log(&self) {
        let (tell, wait) = sync_channel(1);
        let frame = Frame {
            group: LOCAL,
            term: 0,
            stream: 0,
            count: 0,
            head: Bytes::new(),
            body: Bytes::new(),
            durability: Durability::Memory,
            important: false,
            form: Form::plain(),
            ticket: Ticket::Local(Box::new(move |_| {
                // Sent once to one who waits.
                let _gone = tell.send(());
            })),
        };
        if self.inner.journal.append(frame).is_ok() {
            // An error means that the journal's thread ended, which it logged.
            let _ended = wait.recv();
        }
    }

    /// Checks every byte of the journal while it works. Reads all of it: not for an async thread.
    ///
    /// # Errors
    /// When its files cannot be listed.
    pub fn verify(
        &self,
        progress: &mut dyn FnMut(&millstream_journal::Progress),
    ) -> std::io::Result<millstream_journal::Report> {
        self.inner.journal.verify(progress)
    }

    /// Figures for monitoring.
    #[must_use]
    pub fn status(&self) -> Status {
        let files = self.inner.journal.files();
        Status {
            journal: self.inner.journal.status(),
            disk_bytes: files.iter().map(|file| file.bytes).sum(),
            files: files.len(),
        }
    }
}

/// A log that is open, and where it stands.
struct Opened<O> {
    journal: Journal<Ticket<O>>,
    /// The last frame of the log.
    reached: Option<(Position, u64)>,
    /// The last frame that the checkpoint covers.
    saved: Option<Position>,
    /// Bytes of commands replayed.
    since: u64,
}

/// Restores the checkpoint, replays what comes after it, and starts the journal.
fn open_log<S: StateMachine>(
    options: &Options,
    machine: &Arc<S>,
    applier: &Arc<OnceLock<Mutex<Applier<S>>>>,
    jobs: &Jobs<S::Outcome>,
) -> Result<Opened<S::Outcome>, OpenError> {
    let keys = options.journal.keys.as_ref();
    let source = Arc::new(Source::open(Arc::clone(&options.storage), keys)?);
    let pages: Arc<dyn PageSource> = Arc::<Source<_>>::clone(&source);
    let (after, unusable) = restore(&*options.storage, &**machine, pages)?;
    let mut reached = after;
    let (mut replayed, mut since) = (0u64, 0);
    let (applier, committed) = (Arc::clone(applier), jobs.clone());
    let index = Arc::clone(&source);
    let journal = Journal::open(
        &options.journal,
        Arc::clone(&options.storage),
        after,
        &mut |frame| {
            if frame.lost {
                // No checkpoint may begin in the middle of the damage; the next frame is a place for one.
                reached = None;
                machine.lost(Lost {
                    index: frame.index,
                    stream: frame.told.then_some(frame.stream),
                    count: frame.count,
                });
                return Ok(());
            }
            reached = Some((frame.position, frame.index));
            if frame.group != LOCAL {
                machine.apply(Entry {
                    position: frame.position,
                    index: frame.index,
                    body: &frame.body,
                });
                replayed += 1;
                since += u64::from(frame.position.len);
            }
            // A machine may refuse what it cannot look up. What was acknowledged must not be refused now.
            match index.failed() {
                Some(reason) => Err(format!("a page of the index is needed for it: {reason}")),
                None => Ok(()),
            }
        },
        move |batch| deliver(&applier, &committed, batch),
    )
    .map_err(|error| match error {
        millstream_journal::OpenError::Missing(_) if unusable => CheckpointError::Damaged.into(),
        error => OpenError::from(error),
    })?;
    // Set once, here.
    let _set = source.journal.set(journal.clone());
    machine.applied();
    if replayed > 0 {
        info!(target: "nats", "Recovered {replayed} log entries after the checkpoint");
    }
    Ok(Opened {
        journal,
        reached,
        saved: after.map(|(position, _)| position),
        since,
    })
}

/// Asks a group for a checkpoint, as long as there is one.
fn asking_for_checkpoints<S: StateMachine>(
    group: Arc<OnceLock<Weak<Inner<S>>>>,
) -> Box<dyn Fn() + Send> {
    Box::new(move || {
        let inner = group.get().and_then(Weak::upgrade);
        if let Some(jobs) = inner.and_then(|inner| inner.jobs()) {
            // An error means that the apply thread ended, which it logged.
            let _ended = jobs.send(Job::Checkpoint(None));
        }
    })
}

/// Gives the machine the newest usable checkpoint; answers the last entry it covers, and whether there were checkpoints
/// and none was usable. Then the whole log is replayed, if it still has its first file.
fn restore<S: StateMachine>(
    storage: &dyn Storage,
    machine: &S,
    pages: Arc<dyn PageSource>,
) -> Result<(Option<(Position, u64)>, bool), OpenError> {
    let (checkpoint, unusable): (Option<Checkpoint>, bool) = match read_checkpoint(storage) {
        Err(CheckpointError::Damaged) => (None, true),
        other => (other?, false),
    };
    let root = checkpoint.as_ref().map(|checkpoint| &checkpoint.bytes[..]);
    machine.restore(root, pages)?;
    let after = checkpoint.map(|checkpoint| (checkpoint.position, checkpoint.index));
    Ok((after, unusable))
}

/// Has a committed batch applied, here or on the apply thread; called on the journal's thread.
fn deliver<S: StateMachine>(
    applier: &OnceLock<Mutex<Applier<S>>>,
    jobs: &Jobs<S::Outcome>,
    batch: Vec<Committed<Ticket<S::Outcome>>>,
) {
    let small = batch.len() <= INLINE_FRAMES
        && batch.iter().map(|frame| frame.body.len()).sum::<usize>() <= INLINE_BYTES;
    let idle = jobs.pending.load(Ordering::Acquire) == 0;
    let job = match applier.get() {
        Some(applier) if small && idle => {
            let due = applier
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .batch(batch);
            if !due {
                return;
            }
            Job::Checkpoint(None)
        }
        _ => Job::Batch(batch),
    };
    if let Err(job) = jobs.send(job) {
        error!(target: "nats", "committed entries are not applied: the apply thread is gone; restart the server");
        if let Some(applier) = applier.get() {
            applier
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .journal
                .begin_close();
        }
        if let Job::Batch(batch) = job {
            for frame in batch {
                match frame.ticket {
                    Ticket::Entry(done) => done(Err(ProposeError::Closed)),
                    Ticket::Local(tell) => tell(Err(AppendError::Closed)),
                }
            }
        }
    }
}

/// The apply thread.
fn run<S: StateMachine>(
    applier: &OnceLock<Mutex<Applier<S>>>,
    pending: &AtomicUsize,
    queue: &Receiver<Job<S::Outcome>>,
) {
    let applier = applier
        .get()
        .expect("invariant: set before the thread starts");
    while let Ok(job) = queue.recv() {
        // After a panic the state may be half changed: it must not become a checkpoint.
        let Ok(mut applier) = applier.lock() else {
            return;
        };
        match job {
            Job::Batch(batch) => {
                if applier.batch(batch) {
                    applier.checkpoint(None);
                }
            }
            Job::Checkpoint(done) => applier.checkpoint(done),
        }
        drop(applier);
        pending.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Applier<S: StateMachine> {
    machine: Arc<S>,
    journal: Journal<Ticket<S::Outcome>>,
    /// The last durable frame handled.
    reached: Option<(Position, u64)>,
    /// The last durable frame that the newest checkpoint covers.
    saved: Option<Position>,
    /// Bytes of entries since the last snapshot.
    since: u64,
    /// After how many it is time for the next one.
    interval: u64,
    saves: Sender<Save>,
    busy: Arc<Busy>,
    doomed: Arc<Mutex<BTreeSet<u32>>>,
}

impl<S: StateMachine> Applier<S> {
    /// Applies a batch and answers its proposers; `true` when it is time for a checkpoint.
    fn batch(&mut self, batch: Vec<Committed<Ticket<S::Outcome>>>) -> bool {
        for frame in batch {
            if frame.result.is_ok() && frame.index > 0 {
                self.reached = Some((frame.position, frame.index));
            }
            match frame.ticket {
                Ticket::Local(tell) => tell(frame.result.map(|()| frame.position)),
                Ticket::Entry(done) => match frame.result {
                    Err(error) => done(Err(error.into())),
                    Ok(()) => {
                        let entry = Entry {
                            position: frame.position,
                            index: frame.index,
                            body: &frame.body,
                        };
                        let outcome = self.machine.apply(entry);
                        if frame.index > 0 {
                            self.since += u64::from(frame.position.len);
                        }
                        done(Ok(outcome));
                    }
                },
            }
        }
        self.machine.applied();
        // Where many pages change, storing them each time would write more than the log itself.
        let pages = self.busy.stored.load(Ordering::Relaxed);
        self.since >= self.interval.max(pages.saturating_mul(PAGES_SHARE))
    }

    /// Takes a snapshot and has it stored, unless one is being stored or nothing happened since the last one. Whoever waits is
    /// told `false` when it has to ask again.
    fn checkpoint(&mut self, done: Option<SyncSender<bool>>) {
        let answer = |done: Option<SyncSender<bool>>, finished| {
            // Whoever asked may have given up.
            let _gone = done.map(|done| done.send(finished));
        };
        let Some((position, index)) = self
            .reached
            .filter(|(position, _)| self.saved != Some(*position))
        else {
            return answer(done, true);
        };
        if !self.busy.take() {
            return answer(done, false);
        }
        let doomed = self
            .doomed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let save = Save {
            snapshot: self.machine.snapshot(&doomed),
            position,
            index,
            done,
        };
        self.saved = Some(position);
        self.since = 0;
        if let Err(lost) = self.saves.send(save) {
            error!(target: "nats", "checkpoint is not written: the checkpoint thread is gone");
            self.busy.give_back();
            answer(lost.0.done, true);
        }
    }
}
