//! The journal's handle: append, read, remove.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tracing::debug;

use crate::ahead::ReadAhead;
use crate::body::{pack, plain, unpack};
use crate::cipher::{Keys, OVERHEAD, Opener, Sealer};
use crate::damage::{Damage, DamageKind, DamageListener, Watch};
use crate::erase::erase;
use crate::error::{AppendError, OpenError, ReadError};
use crate::footer::{Ending, Footer, read_footer};
use crate::frame::{FRAME_HEADER, is_whole, read_frame_header};
use crate::handles::Handles;
use crate::keyring;
use crate::leave::Leaving;
use crate::position::Position;
use crate::recover::{Files, Recovered, Replayed, file_name, recover};
use crate::seal::seal;
use crate::storage::{Storage, StorageFile};
use crate::tail::Tail;
use crate::verify::{Progress, Report, VerifyOptions, verify};
use crate::writer::{Committed, Frame, Sink, Writer};

/// How a journal works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes reserved per file.
    pub file_size: u64,
    /// Most bytes that may wait to be written.
    pub max_queued_bytes: usize,
    /// Bytes of the newest bodies kept in memory.
    pub tail_cache_bytes: usize,
    /// Most files that are kept open for reading.
    pub open_files: usize,
    /// What bodies are encrypted and decrypted with; none for a plain journal.
    pub keys: Option<Keys>,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            file_size: 64 << 20,
            max_queued_bytes: 256 * MIB,
            tail_cache_bytes: 64 * MIB,
            open_files: 256,
            keys: None,
        }
    }
}

/// One file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its number.
    pub id: u32,
    /// Its size in bytes, reserved ones included.
    pub bytes: u64,
}

/// Figures for monitoring.
#[derive(Clone, Debug)]
pub struct Status {
    /// Index of the last frame that is safe.
    pub last_index: u64,
    /// Bytes written since the start.
    pub written: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// Bytes that wait to be written.
    pub queued: usize,
    /// How often the second copy of a frame was used because the first is damaged, since the start.
    pub from_copy: u64,
    /// How many damaged places were found since the start.
    pub damaged: u64,
    /// Full files that wait for their footer.
    pub unsealed: usize,
    /// Whether there was no space on the disk when messages came last.
    pub full: bool,
    /// Why the journal acknowledges nothing any more, if so.
    pub failed: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    pub(crate) frames: Vec<Frame<T>>,
    pub(crate) bytes: usize,
    pub(crate) closed: bool,
    /// Whether the writer sleeps and nobody has undertaken to wake it.
    pub(crate) asleep: bool,
}

pub(crate) struct Inner<T> {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) queue: Mutex<Queue<T>>,
    pub(crate) arrived: Condvar,
    pub(crate) files: RwLock<Files>,
    pub(crate) tail: Tail,
    pub(crate) failed: OnceLock<Arc<io::Error>>,
    pub(crate) rotate: AtomicBool,
    pub(crate) full: AtomicBool,
    pub(crate) file_size: u64,
    pub(crate) written: AtomicU64,
    pub(crate) syncs: AtomicU64,
    /// How often frames were taken back from a file: others come where they were.
    pub(crate) cuts: AtomicU64,
    pub(crate) last_index: AtomicU64,
    pub(crate) handles: Handles,
    pub(crate) watch: Watch,
    pub(crate) unsealed: AtomicUsize,
    pub(crate) sealer: Option<Sealer>,
    opener: Opener,
    max_queued: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T> Inner<T> {
    /// Whether a file is there and does not leave.
    fn has_file(&self, id: u32) -> bool {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.contains_key(&id)
    }

    /// A file, opened when it is not open.
    pub(crate) fn file(&self, id: u32) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.handles.get(id, &file_name(id), &*self.storage)?;
        if !self.has_file(id) {
            // It was removed meanwhile; an open one would keep its space.
            self.handles.close(id);
        }
        Ok(file)
    }
}

/// The journal; cheap to clone. `T` is what comes back with each frame.
pub struct Journal<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T> fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Journal<T> {
    /// Recovers a journal and starts its threads. Frames behind `after` (position and index of the last one a checkpoint
    /// covers) go to `replay`; later ones are answered to `sink`, batch by batch, on the journal's thread.
    ///
    /// # Errors
    /// When files cannot be read, are damaged, or were written by a newer build.
    pub fn open(
        options: &Options,
        storage: Arc<dyn Storage>,
        after: Option<(Position, u64)>,
        replay: &mut dyn FnMut(Replayed) -> Result<(), String>,
        sink: impl FnMut(Vec<Committed<T>>) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (inner, writer) = Self::parts(options, storage, after, replay, Box::new(sink))?;
        let (sealer, to_seal) = channel();
        let of = Arc::clone(&inner);
        let threads = vec![
            spawn("journal", move || writer.run(&sealer))?,
            spawn("seal", move || {
                to_seal.iter().for_each(|file| seal(&of, file));
            })?,
        ];
        *inner.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(Self { inner })
    }

    /// A recovered journal whose writer is not running yet.
    pub(crate) fn parts(
        options: &Options,
        storage: Arc<dyn Storage>,
        after: Option<(Position, u64)>,
        replay: &mut dyn FnMut(Replayed) -> Result<(), String>,
        sink: Sink<T>,
    ) -> Result<(Arc<Inner<T>>, Writer<T>), OpenError> {
        keyring::check(&*storage, options.keys.as_ref())?;
        let sealer = Sealer::new(options.keys.as_ref())?;
        let opener = Opener::new(options.keys.as_ref());
        let watch = Watch::default();
        let Recovered {
            files,
            active,
            last_index,
            seals,
        } = recover(&*storage, options.file_size, after, replay, &watch, &opener)?;
        // Only now: a start that is refused must not make another key necessary.
        keyring::admit(&*storage, options.keys.as_ref())?;
        let handles = Handles::new(options.open_files);
        handles.put(active.id, Arc::clone(&active.file));
        let inner = Arc::new(Inner {
            storage,
            queue: Mutex::new(Queue {
                frames: Vec::new(),
                bytes: 0,
                closed: false,
                asleep: false,
            }),
            arrived: Condvar::new(),
            files: RwLock::new(files),
            tail: Tail::new(options.tail_cache_bytes),
            failed: OnceLock::new(),
            rotate: AtomicBool::new(false),
            full: AtomicBool::new(false),
            file_size: options.file_size,
            written: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            last_index: AtomicU64::new(last_index),
            handles,
            watch,
            unsealed: AtomicUsize::new(seals.len()),
            sealer,
            opener,
            max_queued: options.max_queued_bytes,
            threads: Mutex::default(),
        });
        let writer = Writer::new(Arc::clone(&inner), active, last_index, seals, sink);
        Ok((inner, writer))
    }

    /// A handle to a journal whose writer runs elsewhere.
    #[cfg(test)]
    pub(crate) fn of(inner: Arc<Inner<T>>) -> Self {
        Self { inner }
    }

    /// Queues a frame, after compressing it here where that is asked for. It is answered to the sink, in the order of
    /// appends.
    ///
    /// # Errors
    /// The frame comes back when the journal is closed or too much waits already.
    pub fn append(&self, mut frame: Frame<T>) -> Result<(), (AppendError, Frame<T>)> {
        pack(&mut frame);
        let len = frame.head.len() + frame.body.len() + frame.form.kept();
        let mut queue = self
            .inner
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            unpack(&mut frame);
            return Err((AppendError::Closed, frame));
        }
        if queue.bytes + len > self.inner.max_queued.min(u32::MAX as usize - OVERHEAD) {
            unpack(&mut frame);
            return Err((AppendError::Busy, frame));
        }
        queue.bytes += len;
        queue.frames.push(frame);
        let wake = std::mem::take(&mut queue.asleep);
        drop(queue);
        if wake {
            self.inner.arrived.notify_one();
        }
        Ok(())
    }

    /// The body at a position: from memory when it is recent, else from disk with its checksum verified.
    ///
    /// # Errors
    /// When the file is gone, cannot be read, or holds something else there.
    pub fn read(&self, position: Position) -> Result<Bytes, ReadError> {
        match self.inner.tail.get(position) {
            Some(body) => Ok(body),
            None => self.read_in(&*self.file_of(position)?, position),
        }
    }

    /// The same for whoever goes through the log, mostly from a frame to the next: `ahead` has what was read beyond.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub fn read_on(&self, position: Position, ahead: &mut ReadAhead) -> Result<Bytes, ReadError> {
        let goes_on = ahead.goes_on(position, self.inner.cuts.load(Ordering::Acquire));
        let opened = |frame| body_of(frame, position, &self.inner.opener, false).ok();
        let found = (ahead.body(position))
            .or_else(|| ahead.frame(position).and_then(opened))
            .or_else(|| ahead.find(&self.inner.tail, position, goes_on));
        if let Some(body) = found {
            return Ok(body);
        }
        let file = self.file_of(position)?;
        if goes_on && let Some(body) = ahead.fill(&*file, position).and_then(opened) {
            return Ok(body);
        }
        // What is wrong with a piece need not be wrong with the frame.
        self.read_in(&*file, position)
    }

    /// The open file that a position lies in.
    fn file_of(&self, position: Position) -> Result<Arc<dyn StorageFile>, ReadError> {
        if !self.inner.has_file(position.file) {
            return Err(ReadError::Missing(position.file));
        }
        self.inner
            .file(position.file)
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => ReadError::Missing(position.file),
                _ => ReadError::Io {
                    file: position.file,
                    offset: position.offset,
                    source,
                },
            })
    }

    /// The same from the open file. One that leaves meanwhile is missing, and not damaged.
    pub(crate) fn read_in(
        &self,
        file: &dyn StorageFile,
        position: Position,
    ) -> Result<Bytes, ReadError> {
        let read = read_or_copy(file, position, &self.inner.opener, |from_copy| {
            if !self.inner.has_file(position.file) {
                return;
            }
            self.inner
                .watch
                .report(damage_at(file, position, from_copy));
            if from_copy {
                self.inner.watch.count_copy();
            }
        });
        read.map_err(|error| match self.inner.has_file(position.file) {
            true => error,
            false => ReadError::Missing(position.file),
        })
    }

    /// Whether the body at a position is one of those written last, which are in memory.
    #[must_use]
    pub fn is_recent(&self, position: Position) -> bool {
        self.inner.tail.has(position)
    }

    /// Tells of every damaged place: of those known already at once, of others when they are found, on the thread that
    /// finds them. `listener` must not block. The one before it is told no more.
    pub fn on_damage(&self, listener: DamageListener) {
        self.inner.watch.listen(listener);
    }

    /// The damaged places known, the first few thousand of them.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.inner.watch.list()
    }

    /// Checks every byte of the journal while it works, see [`verify`](crate::verify()); what is written meanwhile is left
    /// out. `progress` is where a caller slows it down.
    ///
    /// # Errors
    /// When the files cannot be listed.
    pub fn verify(&self, progress: &mut dyn FnMut(&Progress)) -> io::Result<Report> {
        let report = verify(
            &*self.inner.storage,
            VerifyOptions { running: true },
            progress,
        )?;
        for damage in &report.damage {
            self.inner.watch.report(damage.clone());
        }
        Ok(report)
    }

    /// What a sealed file's footer says; `None` when it has none, as the newest file and some that await it.
    ///
    /// # Errors
    /// When the file is gone or cannot be read.
    pub fn footer(&self, file: u32) -> io::Result<Option<Footer>> {
        match read_footer(&*self.inner.file(file)?, file)? {
            Ending::Good(footer) => Ok(Some(footer)),
            Ending::None | Ending::Newer(_) | Ending::Bad => Ok(None),
        }
    }

    /// All files, oldest first.
    #[must_use]
    pub fn files(&self) -> Vec<FileInfo> {
        let files = self
            .inner
            .files
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        files
            .iter()
            .map(|(id, bytes)| FileInfo {
                id: *id,
                bytes: *bytes,
            })
            .collect()
    }

    /// Takes a file out that nothing points to any more: readers miss it at once, and its space comes free as what is answered
    /// is cut. The newest file is never removed.
    ///
    /// # Errors
    /// As the file system says; the file stays then.
    pub fn remove(&self, id: u32) -> io::Result<Option<Leaving>> {
        let mut files = self
            .inner
            .files
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if files.keys().next_back() == Some(&id) {
            return Ok(None);
        }
        let Some(bytes) = files.remove(&id) else {
            return Ok(None);
        };
        // Readers need not wait for the file system.
        drop(files);
        self.inner.handles.close(id);
        let leaving = Leaving::begin(&self.inner.storage, id).inspect_err(|_| {
            let files = self.inner.files.write();
            files
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id, bytes);
        })?;
        debug!(target: "nats", "journal file {id} goes, nothing in it is live");
        self.inner.watch.forget(id);
        Ok(Some(leaving))
    }

    /// Makes unreadable for ever what the frame at a position holds, see `erase`. Nothing may need it: neither an index nor a
    /// replay. A frame whose file is gone counts as erased.
    ///
    /// # Errors
    /// When there is no such frame, or the disk fails; it may be asked for again.
    pub fn erase(&self, at: Position) -> io::Result<()> {
        if !self.inner.has_file(at.file) {
            return Ok(());
        }
        self.inner.tail.forget(at);
        erase(&*self.inner.file(at.file)?, at)
    }

    /// Begins a new file with the next durable frame.
    pub fn rotate(&self) {
        self.inner.rotate.store(true, Ordering::Release);
    }

    /// Figures for monitoring.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            last_index: self.inner.last_index.load(Ordering::Relaxed),
            written: self.inner.written.load(Ordering::Relaxed),
            syncs: self.inner.syncs.load(Ordering::Relaxed),
            queued: self
                .inner
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .bytes,
            from_copy: self.inner.watch.copies_used(),
            damaged: self.inner.watch.places(),
            unsealed: self.inner.unsealed.load(Ordering::Acquire),
            full: self.inner.full.load(Ordering::Relaxed),
            failed: self.inner.failed.get().map(ToString::to_string),
        }
    }

    /// As [`Journal::close`], without waiting for it.
    pub fn begin_close(&self) {
        self.inner
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.inner.arrived.notify_one();
    }

    /// Writes what waits and ends the threads. Appends fail from now on; reads go on.
    pub fn close(&self) {
        self.begin_close();
        let threads = std::mem::take(
            &mut *self
                .inner
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for thread in threads {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!(target: "nats", "a thread of the journal panicked");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| OpenError::File {
            name: format!("{name} thread"),
            source,
        })
}

/// The body at a position of a file, verified; from its second copy when the first is damaged and there is one. `damaged` hears
/// of damage, and whether the copy makes up for it.
pub(crate) fn read_or_copy(
    file: &dyn StorageFile,
    position: Position,
    opener: &Opener,
    damaged: impl FnOnce(bool),
) -> Result<Bytes, ReadError> {
    let first = match read_frame(file, position, opener, false) {
        Err(error @ ReadError::Damaged { .. }) => error,
        read => return read,
    };
    let copy = Position {
        offset: position.end().saturating_add(FRAME_HEADER as u64),
        ..position
    };
    let found = read_frame(file, copy, opener, true).ok();
    damaged(found.is_some());
    found.ok_or(first)
}

/// The body of the frame at a position, or of a second copy there, verified.
fn read_frame(
    file: &dyn StorageFile,
    position: Position,
    opener: &Opener,
    copy: bool,
) -> Result<Bytes, ReadError> {
    let offset = position.offset.saturating_sub(FRAME_HEADER as u64);
    let mut bytes = vec![0; FRAME_HEADER + position.len as usize];
    let count = file
        .read_at(&mut bytes, offset)
        .map_err(|source| ReadError::Io {
            file: position.file,
            offset,
            source,
        })?;
    bytes.truncate(count);
    body_of(Bytes::from(bytes), position, opener, copy)
}

/// The body of what was read where a frame is, or a second copy, verified.
fn body_of(
    frame: Bytes,
    position: Position,
    opener: &Opener,
    copy: bool,
) -> Result<Bytes, ReadError> {
    let offset = position.offset.saturating_sub(FRAME_HEADER as u64);
    let damaged = || ReadError::Damaged {
        file: position.file,
        offset,
    };
    if frame.len() < FRAME_HEADER + position.len as usize {
        return Err(damaged());
    }
    let header = read_frame_header(&frame).ok_or_else(damaged)?;
    let (head, body) = frame.split_at(FRAME_HEADER);
    if header.len != position.len || header.is_copy() != copy || !is_whole(head, body, header.crc) {
        return Err(damaged());
    }
    if header.is_newer() {
        return Err(ReadError::Newer {
            file: position.file,
            offset,
        });
    }
    let stored = frame.slice(FRAME_HEADER..);
    plain(&header, stored, opener).map_err(|source| match source.is_damage() {
        true => damaged(),
        false => ReadError::Body {
            file: position.file,
            offset,
            source,
        },
    })
}

/// What is known of a damaged frame that somebody wants to read.
fn damage_at(file: &dyn StorageFile, position: Position, has_copy: bool) -> Damage {
    let offset = position.offset.saturating_sub(FRAME_HEADER as u64);
    let footer = match read_footer(file, position.file) {
        Ok(Ending::Good(footer)) => Some(footer),
        _ => None,
    };
    let info = footer.and_then(|footer| footer.frame_at(offset).copied());
    let (index, told) = match info {
        Some(info) => (info.index, Some(info.told())),
        None => {
            // Not certain, but its length is the one that was asked for.
            let mut bytes = [0; FRAME_HEADER];
            let count = file.read_at(&mut bytes, offset).unwrap_or(0);
            read_frame_header(&bytes[..count])
                .filter(|header| header.len == position.len)
                .map_or((0, None), |header| (header.index, Some(header.told())))
        }
    };
    Damage {
        name: file_name(position.file),
        file: position.file,
        offset,
        kind: match has_copy {
            true => DamageKind::First,
            false => DamageKind::Frame,
        },
        index,
        frames: 1,
        told,
    }
}
