//! The journal's one thread: takes everything that waits, writes it in one call, syncs once, and hands all of it on.
//! There is no timer: while one batch syncs the next one gathers, so a lone publisher waits for one sync and a crowd
//! shares one.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use tracing::{error, warn};

use crate::LOCAL;
use crate::error::AppendError;
use crate::frame::{COPY, FILE_HEADER, FRAME_HEADER, frame_header};
use crate::journal::Inner;
use crate::position::Position;
use crate::recover::{Active, create_file};

/// What is appended. The body is written as `head` followed by `body`, so that what is large need not be copied to get
/// something small in front of it.
pub struct Frame<T> {
    /// Which group's log it belongs to.
    pub group: u32,
    /// Its term.
    pub term: u64,
    /// Which stream it is for, for tools.
    pub stream: u32,
    /// How many records it holds, for tools.
    pub count: u32,
    /// The first part of the body.
    pub head: Bytes,
    /// The rest of the body.
    pub body: Bytes,
    /// `false` for what lives in memory only: it is handed on in its turn, and not written.
    pub durable: bool,
    /// Written twice, one directly behind the other, so that damage to one of them costs nothing. For what is small, rare
    /// and dear: pages of an index, changes of the catalog. Both have the same index.
    pub important: bool,
    /// Comes back when the frame is committed.
    pub ticket: T,
}

impl<T> Frame<T> {
    /// Bytes of the body.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "append refuses bodies of 4 GiB"
    )]
    pub fn len(&self) -> u32 {
        (self.head.len() + self.body.len()) as u32
    }

    /// Bytes that it takes in a file.
    fn stored(&self) -> u64 {
        let once = FRAME_HEADER as u64 + u64::from(self.len());
        once * self.copies() as u64
    }

    /// How often it is written.
    fn copies(&self) -> usize {
        match (self.durable, self.important) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }
    }

    /// Whether the body is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> fmt::Debug for Frame<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("stream", &self.stream)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A frame that was dealt with.
pub struct Committed<T> {
    /// Where it lies; `file` is `u32::MAX` for one that is in memory only.
    pub position: Position,
    /// Its index in the log; 0 for one that is in memory only.
    pub index: u64,
    /// Its whole body.
    pub body: Bytes,
    /// Whether it is safe.
    pub result: Result<(), AppendError>,
    /// What came with it.
    pub ticket: T,
}

impl<T> fmt::Debug for Committed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed")
            .field("position", &self.position)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// Whoever is told of batches, on the journal's thread.
pub(crate) type Sink<T> = Box<dyn FnMut(Vec<Committed<T>>) + Send>;

pub(crate) struct Writer<T> {
    inner: Arc<Inner<T>>,
    active: Active,
    last_index: u64,
    sink: Sink<T>,
    headers: Vec<u8>,
    /// Breaks the law that nothing is acknowledged before it is synced, to see that the tests notice.
    #[cfg(test)]
    pub(crate) skip_sync: bool,
}

/// Where a batch will lie, and what the log ends with then.
struct Layout {
    /// Position and index per frame.
    places: Vec<(Position, u64)>,
    end: u64,
    chain: u32,
    index: u64,
}

/// A thread that panics leaves nobody waiting for it.
impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _first = self
                .inner
                .failed
                .set(Arc::new(io::Error::other("the journal thread panicked")));
            let mut queue = self
                .inner
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            queue.closed = true;
            queue.frames.clear();
        }
    }
}

impl<T: Send + 'static> Writer<T> {
    pub(crate) fn new(
        inner: Arc<Inner<T>>,
        active: Active,
        last_index: u64,
        sink: Sink<T>,
    ) -> Self {
        Self {
            inner,
            active,
            last_index,
            sink,
            headers: Vec::new(),
            #[cfg(test)]
            skip_sync: false,
        }
    }

    /// Works until the journal is closed and the queue is empty.
    pub(crate) fn run(mut self) {
        while let Some((frames, bytes)) = self.wait() {
            let batch = self.commit(frames);
            (self.sink)(batch);
            // Only now, so that the bound on what waits counts what is being written too.
            self.inner
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .bytes -= bytes;
        }
    }

    /// All that waits, and its bytes.
    fn wait(&self) -> Option<(Vec<Frame<T>>, usize)> {
        let mut queue = self
            .inner
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if !queue.frames.is_empty() {
                return Some((std::mem::take(&mut queue.frames), queue.bytes));
            }
            if queue.closed {
                return None;
            }
            queue = self
                .inner
                .arrived
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a batch, in as many pieces as it touches files.
    pub(crate) fn commit(&mut self, frames: Vec<Frame<T>>) -> Vec<Committed<T>> {
        let mut done = Vec::with_capacity(frames.len());
        let mut piece = Vec::with_capacity(frames.len());
        let mut room = self.active.size.saturating_sub(self.active.end);
        let durable = frames.iter().any(|frame| frame.durable);
        let rotate = durable && self.inner.rotate.swap(false, Ordering::AcqRel);
        if rotate && self.active.end > FILE_HEADER as u64 {
            room = 0;
        }
        for frame in frames {
            let need = frame.stored();
            if need > room {
                self.write(std::mem::take(&mut piece), &mut done);
                match self.next_file(need) {
                    Ok(()) => room = self.active.size - self.active.end,
                    Err(error) => {
                        done.push(self.refuse(frame, error));
                        continue;
                    }
                }
            }
            room -= need;
            piece.push(frame);
        }
        self.write(piece, &mut done);
        done
    }

    fn next_file(&mut self, need: u64) -> Result<(), AppendError> {
        self.check()?;
        let size = self.inner.file_size.max(FILE_HEADER as u64 + need);
        match create_file(
            &*self.inner.storage,
            self.active.id + 1,
            self.last_index + 1,
            size,
        ) {
            Ok(next) => {
                // The rest of the old file was reserved and is not needed; that it stays after a crash is no harm.
                if let Err(error) = self.active.file.set_len(self.active.end) {
                    warn!(target: "nats", "journal file {} keeps its reserved space: {error}", self.active.id);
                }
                let mut files = self
                    .inner
                    .files
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                files.insert(next.id, Arc::clone(&next.file));
                drop(files);
                self.active = next;
                Ok(())
            }
            Err(error) if is_full(&error) => Err(AppendError::Full(Arc::new(error))),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn check(&self) -> Result<(), AppendError> {
        match self.inner.failed.get() {
            Some(error) => Err(AppendError::Failed(Arc::clone(error))),
            None => Ok(()),
        }
    }

    fn fail(&self, error: io::Error) -> AppendError {
        error!(target: "nats", "journal stops acknowledging: {error}");
        let error = Arc::new(error);
        // The first failure is the one to report.
        let _first = self.inner.failed.set(Arc::clone(&error));
        AppendError::Failed(error)
    }

    fn refuse(&self, frame: Frame<T>, error: AppendError) -> Committed<T> {
        Committed {
            position: Position::default(),
            index: 0,
            body: Bytes::new(),
            result: Err(error),
            ticket: frame.ticket,
        }
    }

    /// One write and one sync for what fits into the active file.
    fn write(&mut self, frames: Vec<Frame<T>>, done: &mut Vec<Committed<T>>) {
        if frames.is_empty() {
            return;
        }
        let batch = self.active.end;
        let Layout {
            places,
            end,
            chain,
            index,
        } = self.lay_out(&frames);
        let result = if end > batch {
            self.write_and_sync(&frames, batch)
        } else {
            Ok(())
        };
        if result.is_ok() && end > batch {
            (self.active.end, self.active.chain, self.last_index) = (end, chain, index);
            self.inner.written.fetch_add(end - batch, Ordering::Relaxed);
            self.inner.syncs.fetch_add(1, Ordering::Relaxed);
            self.inner.last_index.store(index, Ordering::Relaxed);
        }
        let start = done.len();
        let local: Vec<bool> = frames.iter().map(|frame| frame.group == LOCAL).collect();
        for (frame, (position, index)) in frames.into_iter().zip(places) {
            let result = if frame.durable {
                result.clone()
            } else {
                Ok(())
            };
            let body = match &result {
                Ok(()) => whole(frame.head, frame.body),
                Err(_) => Bytes::new(),
            };
            done.push(Committed {
                position,
                index,
                body,
                result,
                ticket: frame.ticket,
            });
        }
        self.remember(&done[start..], &local);
    }

    /// Keeps what was written for readers; not pages of the index, which are in memory where they are used.
    fn remember(&self, done: &[Committed<T>], local: &[bool]) {
        let safe = done
            .iter()
            .zip(local)
            .filter(|(frame, local)| !**local && frame.index > 0 && frame.result.is_ok());
        self.inner
            .tail
            .extend(safe.map(|(frame, _)| (frame.position, frame.body.clone())));
    }

    /// Makes the headers of a batch and says where its frames will lie.
    fn lay_out(&mut self, frames: &[Frame<T>]) -> Layout {
        let batch = self.active.end;
        let (mut end, mut chain, mut index) = (batch, self.active.chain, self.last_index);
        self.headers.clear();
        let mut places = Vec::with_capacity(frames.len());
        for frame in frames {
            if !frame.durable {
                places.push((
                    Position {
                        file: u32::MAX,
                        offset: 0,
                        len: frame.len(),
                    },
                    0,
                ));
                continue;
            }
            index += 1;
            for flags in [0, COPY].into_iter().take(frame.copies()) {
                let (header, crc) = frame_header(frame, flags, index, batch, chain);
                self.headers.extend_from_slice(&header);
                chain = crc;
            }
            let offset = end + FRAME_HEADER as u64;
            places.push((
                Position {
                    file: self.active.id,
                    offset,
                    len: frame.len(),
                },
                index,
            ));
            end += frame.stored();
        }
        Layout {
            places,
            end,
            chain,
            index,
        }
    }

    fn write_and_sync(&self, frames: &[Frame<T>], batch: u64) -> Result<(), AppendError> {
        self.check()?;
        let written = frames
            .iter()
            .flat_map(|frame| std::iter::repeat_n(frame, frame.copies()));
        let mut slices = Vec::with_capacity(frames.len() * 3);
        for (frame, header) in written.zip(self.headers.chunks_exact(FRAME_HEADER)) {
            let parts = [header, &frame.head[..], &frame.body[..]];
            slices.extend(
                parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .map(IoSlice::new),
            );
        }
        match self.active.file.write_at(&mut slices, batch) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                self.cut_back(batch).map_err(|error| self.fail(error))?;
                return Err(AppendError::Full(Arc::new(error)));
            }
            Err(error) => return Err(self.fail(error)),
        }
        #[cfg(test)]
        if self.skip_sync {
            return Ok(());
        }
        self.active.file.sync().map_err(|error| self.fail(error))
    }

    /// Takes back what a write left behind before the space ran out. Its frames are refused, so they must not be there
    /// after a crash either.
    fn cut_back(&self, end: u64) -> io::Result<()> {
        self.active.file.set_len(end)?;
        if let Err(error) = self.active.file.reserve(self.active.size) {
            warn!(target: "nats", "journal file {} cannot reserve its space again: {error}", self.active.id);
        }
        self.active.file.sync()
    }
}

/// The body in one piece: readers share it, and get it from disk in one piece too.
fn whole(head: Bytes, body: Bytes) -> Bytes {
    match (head.is_empty(), body.is_empty()) {
        (true, _) => body,
        (false, true) => head,
        (false, false) => {
            let mut both = BytesMut::with_capacity(head.len() + body.len());
            both.extend_from_slice(&head);
            both.extend_from_slice(&body);
            both.freeze()
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
