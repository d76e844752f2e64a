//! The journal's one thread: takes everything that waits, writes it in one call, syncs once, and hands all of it on.
//! There is no timer: while one batch syncs the next one gathers, so a lone publisher waits for one sync and a crowd
//! shares one. Frames that need no sync are handed on once written, and synced with the next that does, or when nothing
//! else waits.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{error, warn};

use crate::LOCAL;
use crate::body::{Form, pack, plain_of, seal};
use crate::cipher::OVERHEAD;
use crate::error::AppendError;
use crate::footer::{Builder, FrameInfo};
use crate::frame::{COPY, FILE_HEADER, FRAME_HEADER, frame_header};
use crate::handles::is_out_of_files;
use crate::journal::Inner;
use crate::position::Position;
use crate::recover::{Active, create_file};
use crate::seal::{Content, Seal};

/// What must have happened to a frame before it is handed on to whoever acknowledges it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it lives in memory only, and is handed on in its turn.
    Memory,
    /// The operating system has it: it survives the end of the process, and is synced soon. A power cut costs it and what
    /// came behind it.
    Written,
    /// It is synced.
    #[default]
    Synced,
}

/// What is appended. The body is written as `head` followed by `body`. Readers get it in one piece, for which it is copied once it is
/// safe, unless one of the two is empty.
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
    /// What must have happened before it is handed on.
    pub durability: Durability,
    /// Written twice, one directly behind the other, so that damage to one of them costs nothing. For what is small, rare
    /// and dear: pages of an index, changes of the catalog. Both have the same index.
    pub important: bool,
    /// How the body is stored.
    pub form: Form,
    /// Comes back when the frame is committed.
    pub ticket: T,
}

impl<T> Frame<T> {
    /// Bytes of the body, as it is stored.
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
        match (self.is_stored(), self.important) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }
    }

    /// Whether it goes to a file.
    fn is_stored(&self) -> bool {
        self.durability > Durability::Memory
    }

    /// Whether it puts messages on the disk.
    fn holds_messages(&self) -> bool {
        self.is_stored() && self.count > 0
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

/// What was only written is synced after this time at the latest, when nothing that asks for a sync comes before,
const LONGEST_UNSYNCED: Duration = Duration::from_millis(100);
/// or after so many bytes,
const MOST_UNSYNCED: u64 = 8 << 20;
// or at once when nothing else waits.

/// The end of each file, this part of it, is kept for what frees space: it must get into the log when the disk is full and there is
/// no next file. Nothing is lost by that: a file gives back what it did not need.
const KEPT: u64 = 16;

/// What stays free behind a frame, in quarters of that: who comes last is what brings space back. Messages stop first, then
/// acknowledgements and consumers' progress, then changes of streams, such as a purge; pages of checkpoints may go to the end.
fn kept_behind<T>(frame: &Frame<T>) -> u64 {
    match frame {
        frame if !frame.is_stored() => 0,
        frame if frame.holds_messages() => 4,
        frame if frame.group == LOCAL => 0,
        frame if frame.important => 2,
        _ => 3,
    }
}

/// Whoever is told of batches, on the journal's thread.
pub(crate) type Sink<T> = Box<dyn FnMut(Vec<Committed<T>>) + Send>;

pub(crate) struct Writer<T> {
    inner: Arc<Inner<T>>,
    active: Active,
    last_index: u64,
    /// Up to where the active file is synced.
    synced: u64,
    /// When the first write after that was.
    unsynced_since: Option<Instant>,
    sink: Sink<T>,
    headers: Vec<u8>,
    /// Files that want their footer.
    seals: VecDeque<Seal>,
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
        seals: Vec<Seal>,
        sink: Sink<T>,
    ) -> Self {
        Self {
            inner,
            synced: active.end,
            unsynced_since: None,
            active,
            last_index,
            sink,
            headers: Vec::new(),
            seals: seals.into(),
        }
    }

    /// Works until the journal is closed and the queue is empty. Full files go to `sealer`, so that no publisher waits
    /// for a footer.
    pub(crate) fn run(mut self, sealer: &Sender<Seal>) {
        self.pass_on(sealer);
        while let Some((frames, bytes)) = self.wait() {
            if frames.is_empty() {
                self.sync_rest();
                continue;
            }
            let batch = self.commit(frames);
            (self.sink)(batch);
            // Only now, so that the bound on what waits counts what is being written too.
            self.inner
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .bytes -= bytes;
            self.pass_on(sealer);
        }
    }

    fn pass_on(&mut self, sealer: &Sender<Seal>) {
        for seal in self.seals.drain(..) {
            // Without the other thread the file is scanned at the next start.
            let _ended = sealer.send(seal);
        }
    }

    /// Gives the oldest file that wants one its footer.
    #[cfg(test)]
    pub(crate) fn seal(&mut self) {
        if let Some(seal) = self.seals.pop_front() {
            crate::seal::seal(&self.inner, seal);
        }
    }

    /// Syncs what was only written; nobody waits for it. A failure is kept for whoever appends next.
    pub(crate) fn sync_rest(&mut self) {
        if self.active.end > self.synced {
            let _kept = self.check().and_then(|()| self.sync());
        }
    }

    /// All that waits, and its bytes; nothing when nothing waits and something is not synced yet; `None` when the journal is
    /// closed and there is neither.
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
            if self.active.end > self.synced && self.inner.failed.get().is_none() {
                return Some((Vec::new(), 0));
            }
            if queue.closed {
                return None;
            }
            queue.asleep = true;
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
        let mut room = self.room();
        let mut no_next = None;
        let durable = frames.iter().any(Frame::is_stored);
        let rotate = durable && self.inner.rotate.swap(false, Ordering::AcqRel);
        if rotate && self.active.end > FILE_HEADER as u64 {
            room = 0;
        }
        for mut frame in frames {
            pack(&mut frame);
            let need = frame.stored() + self.growth(&frame);
            let footer = self.footer_growth(&frame);
            let kept = self.inner.file_size / KEPT * kept_behind(&frame) / 4;
            if need + footer + kept > room {
                self.write(std::mem::take(&mut piece), &mut done);
                // Within one batch there will be no other answer.
                let next = match &no_next {
                    Some(error) => Err(AppendError::clone(error)),
                    None => self.next_file(need),
                };
                match next {
                    Ok(()) => room = self.room(),
                    Err(error) => {
                        no_next = Some(error.clone());
                        done.push(self.refuse(frame, error));
                        continue;
                    }
                }
            }
            room = room.saturating_sub(need + footer);
            piece.push(frame);
        }
        self.write(piece, &mut done);
        done
    }

    /// Bytes left for frames in the active file: its footer has its place in it too.
    fn room(&self) -> u64 {
        let footer = match &self.active.footer {
            Some(footer) => footer.most_bytes(),
            // What is in it was not looked at; should this be too little, the file grows a little.
            None => self.active.size / 256,
        };
        self.active.size.saturating_sub(self.active.end + footer)
    }

    /// Bytes that a frame gets longer by before it is written.
    fn growth(&self, frame: &Frame<T>) -> u64 {
        let each = self.inner.sealer.as_ref().map_or(0, |_| OVERHEAD);
        (each * frame.copies()) as u64
    }

    /// Most bytes that a frame adds to the footer.
    fn footer_growth(&self, frame: &Frame<T>) -> u64 {
        let footer = self.active.footer.as_ref();
        footer.map_or(0, |footer| {
            footer.most_growth(frame.group, frame.stream) * frame.copies() as u64
        })
    }

    /// Begins a file with room for a frame that needs so many bytes.
    fn next_file(&mut self, need: u64) -> Result<(), AppendError> {
        self.check()?;
        if self.active.end > self.synced {
            self.sync()?;
        }
        // Room for a first frame's footer and its copy's.
        let footer = 2 * Builder::new().most_growth(0, 0) + Builder::new().most_bytes();
        let least = FILE_HEADER as u64 + need + footer;
        let size = self.inner.file_size.max(least);
        match create_file(
            &*self.inner.storage,
            self.active.id + 1,
            self.last_index + 1,
            size,
        ) {
            Ok(next) => {
                let mut files = self
                    .inner
                    .files
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                files.insert(next.id, size);
                drop(files);
                self.synced = next.end;
                let old = std::mem::replace(&mut self.active, next);
                self.inner
                    .handles
                    .put(self.active.id, Arc::clone(&self.active.file));
                self.inner.unsealed.fetch_add(1, Ordering::Release);
                self.seals.push_back(Seal {
                    id: old.id,
                    file: Some(old.file),
                    last_index: self.last_index,
                    content: old.footer.map(|footer| Content {
                        footer,
                        end: old.end,
                        chain: old.chain,
                    }),
                });
                Ok(())
            }
            Err(error) if is_full(&error) || is_out_of_files(&error) => {
                self.inner.handles.close_all();
                if is_full(&error) {
                    self.inner.full.store(true, Ordering::Relaxed);
                }
                Err(AppendError::Full(Arc::new(error)))
            }
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

    /// One write, and one sync when a frame asks for it, for what fits into the active file. Frames in front of the first
    /// that asks are handed on before the sync.
    fn write(&mut self, mut frames: Vec<Frame<T>>, done: &mut Vec<Committed<T>>) {
        if frames.is_empty() {
            return;
        }
        let start = self.active.end;
        let mut layout = self.lay_out(&mut frames);
        let wants_sync = |frame: &Frame<T>| frame.durability == Durability::Synced;
        // Where some only want to be written, or what came before them is not synced, one sync is to cover all: to write past the
        // page cache would make those wait for the disk, and write out what is in the way first.
        let synced = |frame: &Frame<T>| wants_sync(frame) || !frame.is_stored();
        let to_sync = self.unsynced_since.is_none() && frames.iter().all(synced);
        let mut result = match layout.end > start {
            true => self.write_frames(&frames, start, to_sync),
            false => Ok(()),
        };
        if result.is_ok() && layout.end > start {
            (self.active.end, self.active.chain) = (layout.end, layout.chain);
            self.last_index = layout.index;
            self.note(&frames, &layout.places);
            let written = layout.end - start;
            self.inner.written.fetch_add(written, Ordering::Relaxed);
            if self.inner.full.load(Ordering::Relaxed) && frames.iter().any(Frame::holds_messages) {
                self.inner.full.store(false, Ordering::Relaxed);
            }
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        match frames.iter().position(wants_sync) {
            _ if result.is_err() => {}
            None if !self.is_sync_due() => {}
            // What was refused before cannot overtake.
            Some(first) => {
                if first > 0 {
                    let rest = frames.split_off(first);
                    let places = layout.places.split_off(first);
                    self.hand_over(frames, layout.places, &Ok(()), done);
                    (self.sink)(std::mem::take(done));
                    (frames, layout.places) = (rest, places);
                }
                result = self.sync();
            }
            None => {
                self.hand_over(frames, layout.places, &Ok(()), done);
                // A failure is kept for whoever appends next.
                let _kept = self.sync();
                return;
            }
        }
        self.hand_over(frames, layout.places, &result, done);
    }

    /// Whether what was only written has waited for long enough.
    fn is_sync_due(&self) -> bool {
        self.active.end - self.synced >= MOST_UNSYNCED
            || self
                .unsynced_since
                .is_some_and(|since| since.elapsed() >= LONGEST_UNSYNCED)
    }

    /// Makes all that was written safe.
    fn sync(&mut self) -> Result<(), AppendError> {
        self.active.file.sync().map_err(|error| self.fail(error))?;
        self.synced = self.active.end;
        self.unsynced_since = None;
        self.inner.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner
            .last_index
            .store(self.last_index, Ordering::Release);
        Ok(())
    }

    /// Adds frames to what was dealt with, and those that are safe enough to what readers find in memory.
    fn hand_over(
        &self,
        frames: Vec<Frame<T>>,
        places: Vec<(Position, u64)>,
        result: &Result<(), AppendError>,
        done: &mut Vec<Committed<T>>,
    ) {
        let start = done.len();
        let local: Vec<bool> = frames.iter().map(|frame| frame.group == LOCAL).collect();
        for (frame, (position, index)) in frames.into_iter().zip(places) {
            let result = match frame.is_stored() {
                true => result.clone(),
                false => Ok(()),
            };
            let body = match &result {
                Ok(()) => plain_of(frame.head, frame.body, frame.form),
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

    /// Remembers a written batch for the file's footer.
    fn note(&mut self, frames: &[Frame<T>], places: &[(Position, u64)]) {
        let Some(footer) = &mut self.active.footer else {
            return;
        };
        for (frame, (position, index)) in frames.iter().zip(places) {
            let mut info = FrameInfo {
                offset: position.offset.saturating_sub(FRAME_HEADER as u64),
                len: frame.len(),
                index: *index,
                group: frame.group,
                stream: frame.stream,
                count: frame.count,
                flags: 0,
            };
            for flags in [0, COPY].into_iter().take(frame.copies()) {
                info.flags = flags | frame.form.flags();
                footer.push(&info);
                info.offset = info.end();
            }
        }
    }

    /// Encrypts a batch where that is wanted, makes its headers and says where its frames will lie. What recovery calls a batch begins where the last
    /// sync ended: behind that anything may be missing after a power cut, and before it nothing.
    fn lay_out(&mut self, frames: &mut [Frame<T>]) -> Layout {
        let batch = self.synced;
        let (mut end, mut chain, mut index) = (self.active.end, self.active.chain, self.last_index);
        self.headers.clear();
        let mut places = Vec::with_capacity(frames.len());
        for frame in frames {
            if !frame.is_stored() {
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
            if let Some(sealer) = &self.inner.sealer {
                seal(frame, index, sealer);
            }
            for flags in [0, COPY].into_iter().take(frame.copies()) {
                let flags = flags | frame.form.flags();
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

    /// `to_sync`: whether the sync comes next, for all that is not synced yet.
    fn write_frames(
        &mut self,
        frames: &[Frame<T>],
        start: u64,
        to_sync: bool,
    ) -> Result<(), AppendError> {
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
        let file = &self.active.file;
        let written = match to_sync {
            true => file.write_to_sync(&mut slices, start),
            false => file.write_at(&mut slices, start),
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) => {
                self.cut_back(start)?;
                self.inner.full.store(true, Ordering::Relaxed);
                Err(AppendError::Full(Arc::new(error)))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Takes back what a write left behind before the space ran out. Its frames are refused, so they must not be there
    /// after a crash either.
    fn cut_back(&mut self, end: u64) -> Result<(), AppendError> {
        let cut = self.active.file.set_len(end);
        cut.map_err(|error| self.fail(error))?;
        self.inner.cuts.fetch_add(1, Ordering::Release);
        if let Err(error) = self.active.file.reserve(self.active.size) {
            warn!(target: "nats", "journal file {} cannot reserve its space again: {error}", self.active.id);
        }
        self.sync()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
