//! Reading stored messages: the index says where, the journal (or memory) has the bytes.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::StreamCell;
use millstream_journal::{Position, ReadAhead, ReadError};
use millstream_streams::{Place, RecordError, RecordView, parse_record};
use millstream_types::{Domain, Message, Timestamp};
use thiserror::Error;

use crate::service::Shared;

/// Why a stored message cannot be read.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The journal cannot give the frame.
    #[error("message {seq} of stream `{stream}` cannot be read: {source}")]
    Frame {
        /// The stream.
        stream: String,
        /// The message's sequence.
        seq: u64,
        /// Why.
        source: ReadError,
    },
    /// The frame is whole, the record in it is not.
    #[error("message {seq} of stream `{stream}` is damaged: {source}")]
    Record {
        /// The stream.
        stream: String,
        /// The message's sequence.
        seq: u64,
        /// What is wrong.
        source: RecordError,
    },
}

impl FetchError {
    /// Whether it is not any more what was written, so that it is of no use to try again.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Frame { source, .. } => source.domain() == Domain::Corruption,
            Self::Record { source, .. } => source.domain() == Domain::Corruption,
        }
    }
}

/// A message with where it stands. Holds its frame, from which its parts are sliced.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Its sequence in the stream.
    pub seq: u64,
    /// When it was stored.
    pub time: Timestamp,
    frame: Bytes,
    offset: usize,
}

impl StoredRecord {
    /// The record's parts, borrowed.
    #[must_use]
    pub fn view(&self) -> RecordView<'_> {
        parse_record(&self.frame, self.offset)
            .map(|(view, _)| view)
            .expect("invariant: checked when it was read")
    }

    /// The payload, shared.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.frame.slice_ref(self.view().payload)
    }

    /// The record as a message, shared.
    #[must_use]
    pub fn message(&self) -> Message {
        let view = self.view();
        Message {
            subject: self.frame.slice_ref(view.subject),
            reply: None,
            headers: self.frame.slice_ref(view.headers),
            payload: self.frame.slice_ref(view.payload),
        }
    }
}

/// The frame of one stream read last: consecutive messages mostly share it. And what was read beyond it.
#[derive(Debug, Default)]
pub(crate) struct FrameCursor {
    last: Option<(Position, Bytes)>,
    ahead: ReadAhead,
}

impl FrameCursor {
    /// Lets go of what was read beyond the last frame: for who waits.
    pub(crate) fn rest(&mut self) {
        self.ahead.rest();
    }

    /// Has the frame of a message at hand; answers where in it the message is, or `None` when it is gone.
    fn find(
        &mut self,
        shared: &Shared,
        cell: &StreamCell,
        seq: u64,
        place: Place,
    ) -> Result<Option<u32>, FetchError> {
        let mut place = place;
        loop {
            let error = match self.look(shared, cell, seq, place) {
                Ok(there) => return Ok(there.then_some(place.offset)),
                Err(error) => error,
            };
            // It may have moved since it was looked up: its file went since, or what it lay beside was erased.
            let now = cell.lock().locate(seq);
            match now {
                None => return Ok(None),
                Some(now) if now == place => return Err(error),
                Some(now) => place = now,
            }
        }
    }

    /// Whether the frame is there, and the message in it.
    fn look(
        &mut self,
        shared: &Shared,
        cell: &StreamCell,
        seq: u64,
        place: Place,
    ) -> Result<bool, FetchError> {
        let at = place.position;
        let is_new = self.last.as_ref().is_none_or(|(known, _)| *known != at);
        let there = self.load(shared, cell, at);
        let there = there.map_err(|source| FetchError::Frame {
            stream: cell.name.clone(),
            seq,
            source,
        })?;
        if there && is_new {
            // One that was erased is whole as the journal sees it.
            self.parse(cell, seq, place.offset)?;
        }
        Ok(there)
    }

    /// Whether the frame is there.
    fn load(
        &mut self,
        shared: &Shared,
        cell: &StreamCell,
        at: Position,
    ) -> Result<bool, ReadError> {
        if self.last.as_ref().is_some_and(|(known, _)| *known == at) {
            return Ok(true);
        }
        self.last = None;
        let frame = if at.file == u32::MAX {
            match cell.memory_frame(at) {
                Some(frame) => frame,
                None => return Ok(false),
            }
        } else {
            shared.group.read_on(at, &mut self.ahead)?
        };
        self.last = Some((at, frame));
        Ok(true)
    }

    /// One message; `None` when it is gone since it was looked up.
    pub(crate) fn record(
        &mut self,
        shared: &Shared,
        cell: &StreamCell,
        seq: u64,
        place: Place,
    ) -> Result<Option<StoredRecord>, FetchError> {
        let Some(offset) = self.find(shared, cell, seq, place)? else {
            return Ok(None);
        };
        self.parse(cell, seq, offset)?;
        Ok(self.last.as_ref().map(|(_, frame)| StoredRecord {
            seq,
            time: place.time,
            frame: frame.clone(),
            offset: offset as usize,
        }))
    }

    /// One message's parts, borrowed; `None` when it is gone since it was looked up. Its own checksum is not looked at:
    /// the journal verified the frame's when it read it.
    pub(crate) fn view(
        &mut self,
        shared: &Shared,
        cell: &StreamCell,
        seq: u64,
        place: Place,
    ) -> Result<Option<RecordView<'_>>, FetchError> {
        match self.find(shared, cell, seq, place)? {
            Some(offset) => self.parse(cell, seq, offset),
            None => Ok(None),
        }
    }

    fn parse(
        &self,
        cell: &StreamCell,
        seq: u64,
        offset: u32,
    ) -> Result<Option<RecordView<'_>>, FetchError> {
        let Some((_, frame)) = &self.last else {
            return Ok(None);
        };
        let parsed = parse_record(frame, offset as usize);
        let (view, _) = parsed.map_err(|source| FetchError::Record {
            stream: cell.name.clone(),
            seq,
            source,
        })?;
        Ok(Some(view))
    }
}

pub(crate) fn read(
    shared: &Shared,
    cell: &StreamCell,
    seq: u64,
) -> Result<Option<StoredRecord>, FetchError> {
    let place = cell.lock().locate(seq);
    match place {
        None => Ok(None),
        Some(place) => FrameCursor::default().record(shared, cell, seq, place),
    }
}

/// Reading for the management API: ranges of a stream, without a consumer.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// One message; `None` when the stream does not hold it.
    ///
    /// # Errors
    /// When it is held and cannot be read.
    pub fn get(&self, stream: &str, seq: u64) -> Result<Option<StoredRecord>, FetchError> {
        self.shared
            .node
            .stream(stream)
            .map_or(Ok(None), |cell| read(&self.shared, &cell, seq))
    }

    /// The newest message of a subject; `None` when there is none.
    ///
    /// # Errors
    /// When it is held and cannot be read.
    pub fn last(&self, stream: &str, subject: &[u8]) -> Result<Option<StoredRecord>, FetchError> {
        let Some(cell) = self.shared.node.stream(stream) else {
            return Ok(None);
        };
        let seq = cell.lock().last_for(subject);
        seq.map_or(Ok(None), |seq| read(&self.shared, &cell, seq))
    }

    /// Up to `limit` messages from sequence `from` on, in order.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn range(
        &self,
        stream: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, FetchError> {
        self.matching(stream, from, b">", (limit, usize::MAX))
    }

    /// The same of the messages whose subject matches a pattern; no others are read. Ends after so many messages, or with the
    /// one whose payload makes them so many bytes.
    ///
    /// # Errors
    /// As [`Reader::range`].
    pub fn matching(
        &self,
        stream: &str,
        from: u64,
        filter: &[u8],
        (limit, most): (usize, usize),
    ) -> Result<Vec<StoredRecord>, FetchError> {
        let Some(cell) = self.shared.node.stream(stream) else {
            return Ok(Vec::new());
        };
        let mut cursor = FrameCursor::default();
        let mut found = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while found.len() < limit && bytes < most {
            let place = {
                let stream = cell.lock();
                let seq = match filter {
                    b">" => stream.next_live(next),
                    filter => stream.next_for_filter(next, filter),
                };
                seq.and_then(|seq| Some((seq, stream.locate(seq)?)))
            };
            let Some((seq, place)) = place else { break };
            let record = cursor.record(&self.shared, &cell, seq, place)?;
            bytes += record
                .as_ref()
                .map_or(0, |record| record.view().payload.len());
            found.extend(record);
            next = seq + 1;
        }
        Ok(found)
    }

    /// Completes after the next change of the stream; at once when there is no such stream.
    pub async fn changed(&self, stream: &str, last_seen: u64) {
        let Some(cell) = self.shared.node.stream(stream) else {
            return;
        };
        let waker = Arc::new(tokio::sync::Notify::new());
        {
            let stream = cell.lock();
            if stream.next_live(last_seen + 1).is_some() {
                return;
            }
            cell.wake_on_change(&waker);
        }
        waker.notified().await;
    }
}
