//! The state of a query in its stream: changes of each commit, put together now and then.
//!
//! Keys are spread over shards, each a subject, so that they are put together one shard at a time: its messages are read, the
//! last value of a key wins, and what comes of it is written as a snapshot in the commits that follow. The messages that it
//! stands for are removed with the last part of it. Until then both are there, and say the same.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::StreamCell;
use millstream_pipeline::{BrokenState, Dataflow, Output};
use millstream_streams::Filters;
use millstream_types::Message;

use super::build::Kept;
use super::codec::{self, Head, Kind, Pieces};
use crate::read::FrameCursor;
use crate::service::Shared;

const SHARDS: usize = 64;

/// Changes of a shard are put together when they are more than its snapshot and than this, or so many messages.
const LEAST: u64 = 64 << 10;
const MOST_MESSAGES: u64 = 2048;

/// Bytes of a snapshot that one commit writes.
const WRITTEN: usize = 8 << 20;

/// The stream that keeps the state of a flow.
#[must_use]
pub fn state_stream(flow: &str) -> String {
    format!("FLOWSTATE_{flow}")
}

/// The subjects of that stream.
#[must_use]
pub fn state_subjects(flow: &str) -> String {
    format!("$FLOWSTATE.{flow}.>")
}

/// Where the part of a run lies, see [`Store::new`].
pub(super) fn own_subjects(flow: &str, part: Option<u64>) -> String {
    match part {
        None => format!("$FLOWSTATE.{flow}.*"),
        Some(part) => format!("$FLOWSTATE.{flow}.b{part}.>"),
    }
}

/// The part of the state stream that a subject is of, and whether it is what a query kept back while it was built.
pub(super) fn part_of(flow: &str, subject: &str) -> Option<(Option<u64>, bool)> {
    let rest = subject.strip_prefix("$FLOWSTATE.")?.strip_prefix(flow)?;
    let rest = rest.strip_prefix('.')?;
    match rest.split_once('.') {
        None => Some((None, false)),
        Some((part, rest)) => {
            let part = part.strip_prefix('b')?.parse().ok()?;
            Some((Some(part), rest.starts_with("rows.")))
        }
    }
}

/// What a query kept back while it was built.
pub(super) fn kept_subjects(flow: &str, part: u64) -> String {
    format!("$FLOWSTATE.{flow}.b{part}.rows.>")
}

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) run: u64,
    pub(super) layout: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    snapshot: u64,
    changes: u64,
    /// Messages of changes.
    messages: u64,
}

impl Shard {
    fn is_due(&self) -> bool {
        let much = self.changes > self.snapshot && self.changes > LEAST;
        much || self.messages > MOST_MESSAGES
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
struct Snapshot {
    shard: usize,
    subject: Bytes,
    bytes: u64,
    /// Its parts, the next one last.
    pieces: Vec<Bytes>,
    /// The messages that it stands for.
    replaces: Vec<u64>,
}

/// The state stream of a query.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) cell: Arc<StreamCell>,
    /// What all subjects begin with.
    prefix: String,
    owner: Owner,
    /// Of state; behind them as many of what is kept back while the query is built.
    shards: Vec<Shard>,
    writing: Option<Snapshot>,
    /// Messages with results that are to be published.
    pub(super) pending: Vec<u64>,
}

/// Why state cannot be read.
#[derive(Debug)]
pub(super) struct Unread(pub(super) String);

impl From<BrokenState> for Unread {
    fn from(broken: BrokenState) -> Self {
        Self(broken.to_string())
    }
}

/// A message of the stream.
struct Stored {
    sequence: u64,
    head: Head,
    entries: Bytes,
}

impl Store {
    /// A flow that was built beside an earlier version has a part of the stream to itself.
    pub(super) fn new(
        cell: Arc<StreamCell>,
        (flow, part): (&str, Option<u64>),
        owner: Owner,
    ) -> Self {
        let prefix = match part {
            None => format!("$FLOWSTATE.{flow}"),
            Some(part) => format!("$FLOWSTATE.{flow}.b{part}"),
        };
        Self {
            cell,
            prefix,
            owner,
            shards: vec![Shard::default(); SHARDS],
            writing: None,
            pending: Vec::new(),
        }
    }

    /// There is room for what is kept back, or none any more.
    pub(super) fn keeps(&mut self, kept: bool) {
        let shards = if kept { 2 * SHARDS } else { SHARDS };
        self.shards.resize(shards, Shard::default());
        self.writing.take_if(|writing| writing.shard >= shards);
    }

    fn subject(&self, shard: usize) -> String {
        match shard.checked_sub(SHARDS) {
            None => format!("{}.{shard:02}", self.prefix),
            Some(shard) => format!("{}.rows.{shard:02}", self.prefix),
        }
    }

    fn pending_subject(&self) -> String {
        format!("{}.results", self.prefix)
    }

    fn head(&self, kind: Kind, epoch: u64) -> Head {
        let Owner { run, layout } = self.owner;
        Head {
            kind,
            run,
            layout,
            epoch,
        }
    }

    /// The messages of a subject in the order of the log; those of others and of commits that did not come about go to
    /// `garbage`.
    fn read(
        &self,
        shared: &Shared,
        subject: &str,
        epoch: u64,
        garbage: &mut Vec<u64>,
    ) -> Result<Vec<Stored>, Unread> {
        let filters = Filters::one(subject.as_bytes());
        let (mut found, mut cursor, mut from) = (Vec::new(), FrameCursor::default(), 1);
        loop {
            let place = {
                let stream = self.cell.lock();
                let sequence = stream.next_matching(from, &filters);
                sequence.and_then(|sequence| Some((sequence, stream.locate(sequence)?)))
            };
            let Some((sequence, place)) = place else {
                return Ok(found);
            };
            from = sequence + 1;
            let record = cursor.record(shared, &self.cell, sequence, place);
            let record = record.map_err(|error| Unread(error.to_string()))?;
            let Some(record) = record else { continue };
            let (head, entries) =
                codec::head(&record.payload()).ok_or_else(|| cut_short(sequence))?;
            let own = (head.run, head.layout) == (self.owner.run, self.owner.layout);
            if own && head.epoch <= epoch {
                found.push(Stored {
                    sequence,
                    head,
                    entries,
                });
            } else {
                garbage.push(sequence);
            }
        }
    }

    /// What a shard's messages come to.
    fn merged(messages: &mut [Stored]) -> Result<HashMap<Bytes, Option<Bytes>>, Unread> {
        messages.sort_by_key(|stored| (stored.head.epoch, stored.head.kind, stored.sequence));
        let mut merged = HashMap::new();
        for stored in messages {
            let mut rest = stored.entries.clone();
            while !rest.is_empty() {
                let entry = codec::entry(&mut rest);
                let (key, value) = entry.ok_or_else(|| cut_short(stored.sequence))?;
                merged.insert(key, value);
            }
        }
        Ok(merged)
    }

    /// Gives the state of an epoch to a query that was made, and what it kept back; answers the messages that are of no use.
    ///
    /// # Errors
    /// When it cannot be read, or is none of the query's.
    pub(super) fn restore(
        &mut self,
        shared: &Shared,
        epoch: u64,
        to: &mut dyn Dataflow,
        mut kept: Option<&mut Kept>,
    ) -> Result<Vec<u64>, Unread> {
        let mut garbage = Vec::new();
        for shard in 0..self.shards.len() {
            let mut messages = self.read(shared, &self.subject(shard), epoch, &mut garbage)?;
            let own = &mut self.shards[shard];
            for stored in &messages {
                let bytes = stored.entries.len() as u64;
                match stored.head.kind {
                    Kind::Snapshot => own.snapshot += bytes,
                    Kind::Changes | Kind::Results => {
                        own.changes += bytes;
                        own.messages += 1;
                    }
                }
            }
            for (key, value) in Self::merged(&mut messages)? {
                let Some(value) = value else { continue };
                match &mut kept {
                    Some(kept) if shard >= SHARDS => kept.restore(&key, &value)?,
                    _ => to.restore(&key, &value)?,
                }
            }
        }
        let pending = self.read(shared, &self.pending_subject(), epoch, &mut garbage)?;
        self.pending = pending.iter().map(|stored| stored.sequence).collect();
        Ok(garbage)
    }

    /// The messages that keep what changed in a commit, of state and of what is kept back.
    pub(super) fn changes(
        &mut self,
        changes: HashMap<Bytes, Option<Bytes>>,
        kept: HashMap<Bytes, Option<Bytes>>,
        epoch: u64,
    ) -> Vec<Message> {
        let mut messages = self.spread(changes, 0, epoch);
        messages.extend(self.spread(kept, SHARDS, epoch));
        messages
    }

    fn spread(
        &mut self,
        changes: HashMap<Bytes, Option<Bytes>>,
        first: usize,
        epoch: u64,
    ) -> Vec<Message> {
        let mut dirty: Vec<Option<Pieces>> = (0..SHARDS).map(|_| None).collect();
        for (key, value) in changes {
            let pieces = &mut dirty[shard_of(&key)];
            let pieces = pieces.get_or_insert_with(|| Pieces::new(self.head(Kind::Changes, epoch)));
            pieces.entry(&key, value.as_deref());
        }
        let mut messages = Vec::new();
        for (shard, pieces) in dirty.into_iter().enumerate() {
            let shard = first + shard;
            let Some(pieces) = pieces else { continue };
            let subject = Bytes::from(self.subject(shard));
            for piece in pieces.finish() {
                self.shards[shard].changes += piece.len() as u64;
                self.shards[shard].messages += 1;
                messages.push(message(&subject, piece));
            }
        }
        messages
    }

    /// The messages that keep results until they are published.
    pub(super) fn results(&self, outputs: &[Output], epoch: u64) -> Vec<Message> {
        let mut pieces = Pieces::new(self.head(Kind::Results, epoch));
        for output in outputs {
            pieces.result(output);
        }
        let subject = Bytes::from(self.pending_subject());
        let pieces = pieces.finish().into_iter();
        pieces.map(|piece| message(&subject, piece)).collect()
    }

    /// Finds the results that are to be published since this epoch is committed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn find_pending(&mut self, shared: &Shared, epoch: u64) -> Result<(), Unread> {
        let subject = self.pending_subject();
        let found = self.read(shared, &subject, epoch, &mut Vec::new())?;
        self.pending = found.iter().map(|stored| stored.sequence).collect();
        Ok(())
    }

    /// Results of a message.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn pending_results(
        &self,
        shared: &Shared,
        sequence: u64,
    ) -> Result<Vec<Output>, Unread> {
        let record = crate::read::read(shared, &self.cell, sequence);
        let record = record.map_err(|error| Unread(error.to_string()))?;
        let payload = record.map(|record| record.payload());
        let payload = payload.ok_or_else(|| cut_short(sequence))?;
        let (_, mut rest) = codec::head(&payload).ok_or_else(|| cut_short(sequence))?;
        let mut outputs = Vec::new();
        while !rest.is_empty() {
            outputs.push(codec::result(&mut rest).ok_or_else(|| cut_short(sequence))?);
        }
        Ok(outputs)
    }

    /// Puts together some of what is stored up to `epoch`, which is committed: messages to write with the next commit, and
    /// those to remove with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn put_together(
        &mut self,
        shared: &Shared,
        epoch: u64,
    ) -> Result<(Vec<Message>, Vec<u64>), Unread> {
        if self.writing.is_none()
            && let Some(shard) = self.shards.iter().position(Shard::is_due)
        {
            self.writing = Some(self.snapshot(shared, shard, epoch)?);
        }
        let Some(writing) = &mut self.writing else {
            return Ok((Vec::new(), Vec::new()));
        };
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while bytes < WRITTEN
            && let Some(piece) = writing.pieces.pop()
        {
            bytes += piece.len();
            messages.push(message(&writing.subject, piece));
        }
        let mut removed = Vec::new();
        if writing.pieces.is_empty() {
            removed = std::mem::take(&mut writing.replaces);
            self.shards[writing.shard].snapshot = writing.bytes;
            self.writing = None;
        }
        Ok((messages, removed))
    }

    fn snapshot(&mut self, shared: &Shared, shard: usize, epoch: u64) -> Result<Snapshot, Unread> {
        let subject = self.subject(shard);
        let mut messages = self.read(shared, &subject, epoch, &mut Vec::new())?;
        let mut pieces = Pieces::new(self.head(Kind::Snapshot, epoch));
        for (key, value) in Self::merged(&mut messages)? {
            if let Some(value) = value {
                pieces.entry(&key, Some(&value));
            }
        }
        let pieces = pieces.finish();
        // What comes while it is written counts for the next one.
        let own = &mut self.shards[shard];
        (own.changes, own.messages) = (0, 0);
        Ok(Snapshot {
            shard,
            subject: subject.into(),
            bytes: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces,
            replaces: messages.iter().map(|stored| stored.sequence).collect(),
        })
    }
}

fn message(subject: &Bytes, payload: Bytes) -> Message {
    Message {
        subject: subject.clone(),
        payload,
        ..Message::default()
    }
}

fn cut_short(sequence: u64) -> Unread {
    Unread(format!(
        "message {sequence} of the state stream is none of this release's"
    ))
}

/// FNV-1a, folded.
fn shard_of(key: &[u8]) -> usize {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 32)) as usize % SHARDS
}
