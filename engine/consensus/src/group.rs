//! The one-voter group: the journal's commits are its commits.
//!
//! Two threads: the journal writes and syncs, the apply thread applies and answers. The next batch syncs while the last
//! one is applied. A small batch that finds the apply thread idle is applied on the journal's thread at once: waking
//! another thread would take longer, and a lone publisher waits for it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use millstream_journal::{
    Checkpoint, CheckpointError, Committed, Frame, Journal, Position, ReadError, Storage,
    read_checkpoint, write_checkpoint,
};
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::error::{OpenError, ProposeError};
use crate::machine::{Entry, StateMachine};

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
    /// `false` for what lives in memory only: applied in its turn, not written.
    pub durable: bool,
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

type Done<O> = Box<dyn FnOnce(Result<O, ProposeError>) + Send>;

enum Job<O> {
    Batch(Vec<Committed<Done<O>>>),
    /// Tells when it is done, where somebody waits.
    Checkpoint(Option<SyncSender<()>>),
}

/// A group's handle; cheap to clone.
pub struct Group<S: StateMachine> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: StateMachine> {
    journal: Journal<Done<S::Outcome>>,
    jobs: Mutex<Option<Jobs<S::Outcome>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let storage = options.storage;
        let (after, unusable) = restore(&*storage, &*machine)?;
        let mut reached = after;
        let (sender, queue) = sync_channel(APPLY_QUEUE);
        let jobs = Jobs {
            sender,
            pending: Arc::default(),
        };
        let committed = jobs.clone();
        let slot = Arc::new(OnceLock::<Mutex<Applier<S>>>::new());
        let applier = Arc::clone(&slot);
        let mut replayed: u64 = 0;
        let journal = Journal::open(
            &options.journal,
            Arc::clone(&storage),
            after,
            &mut |frame| {
                let entry = Entry {
                    position: frame.position,
                    index: frame.index,
                    body: &frame.body,
                };
                machine.apply(entry);
                reached = Some((frame.position, frame.index));
                replayed += 1;
                Ok(())
            },
            move |batch| deliver(&applier, &committed, batch),
        )
        .map_err(|error| match error {
            millstream_journal::OpenError::Missing(_) if unusable => {
                CheckpointError::Damaged.into()
            }
            error => OpenError::from(error),
        })?;
        machine.applied();
        if replayed > 0 {
            info!(target: "nats", "Recovered {replayed} log entries after the checkpoint");
        }
        let saved = after.map(|(position, _)| position);
        let journal_of = journal.clone();
        slot.get_or_init(|| {
            Mutex::new(Applier {
                machine,
                journal: journal_of,
                storage,
                reached,
                saved,
            })
        });
        let pending = Arc::clone(&jobs.pending);
        let thread = thread::Builder::new()
            .name("apply".to_owned())
            .spawn(move || run(&slot, &pending, &queue))
            .map_err(OpenError::Thread)?;
        let inner = Inner {
            journal,
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Proposes a command. `done` gets its outcome on one of the group's threads, or an error here when the log refuses
    /// at once. It must not block, and not wait for the group.
    pub fn propose_with(&self, proposal: Proposal, done: Done<S::Outcome>) {
        let frame = Frame {
            group: GROUP,
            term: TERM,
            stream: proposal.stream,
            count: proposal.count,
            head: proposal.head,
            body: proposal.body,
            durable: proposal.durable,
            ticket: done,
        };
        if let Err((error, frame)) = self.inner.journal.append(frame) {
            (frame.ticket)(Err(error.into()));
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

    /// Takes a checkpoint of everything applied and waits until it is safe.
    pub fn checkpoint_now(&self) {
        let (done, wait) = sync_channel(1);
        let jobs = self
            .inner
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(jobs) = jobs
            && jobs.send(Job::Checkpoint(Some(done))).is_ok()
        {
            // An error means that the apply thread ended, which it logged.
            let _ended = wait.recv();
        }
    }

    /// Commits and applies what waits, takes a last checkpoint, and ends both threads.
    pub fn shutdown(&self) {
        self.inner.journal.close();
        self.checkpoint_now();
        drop(
            self.inner
                .jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .inner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            error!(target: "nats", "apply thread panicked");
        }
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

/// Gives the machine the newest usable checkpoint; answers the last entry it covers, and whether there were checkpoints
/// and none was usable. Then the whole log is replayed, if it still has its first file.
fn restore<S: StateMachine>(
    storage: &dyn Storage,
    machine: &S,
) -> Result<(Option<(Position, u64)>, bool), OpenError> {
    let checkpoint = match read_checkpoint(storage) {
        Err(CheckpointError::Damaged) => return Ok((None, true)),
        other => other?,
    };
    let Some(checkpoint) = checkpoint else {
        return Ok((None, false));
    };
    machine.restore(&checkpoint.bytes)?;
    Ok((Some((checkpoint.position, checkpoint.index)), false))
}

/// Has a committed batch applied, here or on the apply thread; called on the journal's thread.
fn deliver<S: StateMachine>(
    applier: &OnceLock<Mutex<Applier<S>>>,
    jobs: &Jobs<S::Outcome>,
    batch: Vec<Committed<Done<S::Outcome>>>,
) {
    let small = batch.len() <= INLINE_FRAMES
        && batch.iter().map(|frame| frame.body.len()).sum::<usize>() <= INLINE_BYTES;
    let idle = jobs.pending.load(Ordering::Acquire) == 0;
    let job = match applier.get() {
        Some(applier) if small && idle => {
            let rotated = applier
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .batch(batch);
            if !rotated {
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
            batch
                .into_iter()
                .for_each(|frame| (frame.ticket)(Err(ProposeError::Closed)));
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
                    applier.checkpoint();
                }
            }
            Job::Checkpoint(done) => {
                applier.checkpoint();
                // Whoever asked may have given up.
                let _gone = done.map(|done| done.send(()));
            }
        }
        drop(applier);
        pending.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Applier<S: StateMachine> {
    machine: Arc<S>,
    journal: Journal<Done<S::Outcome>>,
    storage: Arc<dyn Storage>,
    /// The last durable entry applied.
    reached: Option<(Position, u64)>,
    /// The last durable entry that the newest checkpoint covers.
    saved: Option<Position>,
}

impl<S: StateMachine> Applier<S> {
    /// Applies a batch and answers its proposers; `true` when the log went on to another file, so that it is time for a
    /// checkpoint.
    fn batch(&mut self, batch: Vec<Committed<Done<S::Outcome>>>) -> bool {
        let file = |reached: &Option<(Position, u64)>| reached.map(|(position, _)| position.file);
        let before = file(&self.reached);
        for frame in batch {
            match frame.result {
                Err(error) => (frame.ticket)(Err(error.into())),
                Ok(()) => {
                    let entry = Entry {
                        position: frame.position,
                        index: frame.index,
                        body: &frame.body,
                    };
                    let outcome = self.machine.apply(entry);
                    if frame.index > 0 {
                        self.reached = Some((frame.position, frame.index));
                    }
                    (frame.ticket)(Ok(outcome));
                }
            }
        }
        self.machine.applied();
        before.is_some() && before != file(&self.reached)
    }

    fn checkpoint(&mut self) {
        let Some((position, index)) = self.reached else {
            return;
        };
        if self.saved == Some(position) {
            return;
        }
        let bytes = self.machine.checkpoint();
        if let Err(error) = write_checkpoint(
            &*self.storage,
            &Checkpoint {
                position,
                index,
                bytes,
            },
        ) {
            error!(target: "nats", "checkpoint is not written, the next start takes longer: {error}");
            return;
        }
        // The checkpoint before this one stays usable, so only files from before that one may go.
        let oldest = self.saved.replace(position).map_or(0, |saved| saved.file);
        let old: Vec<u32> = self
            .journal
            .files()
            .iter()
            .map(|file| file.id)
            .filter(|id| *id < oldest)
            .collect();
        for id in self.machine.dead_files(&old) {
            if let Err(error) = self.journal.remove(id) {
                error!(target: "nats", "dead journal file {id} is not removed: {error}");
            }
        }
    }
}
