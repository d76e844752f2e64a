//! A stream's state as bytes, and back.
//!
//! Layout, version 1: `u8` version, then in order: number, creation time, configuration as JSON, last message id; subjects
//! (texts by number, free numbers), first and last sequence, last time, runs (file, offset, length, time, and per message:
//! gap to the sequence before, offset, size, subject); remembered ids; consumers. Counts, gaps and numbers are LEB128, times
//! and hashes 8 bytes little endian.

use std::collections::BTreeMap;

use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::chunk::Meta;
use crate::codec::{CheckpointError, Reader, put_bytes, put_fixed, put_number};
use crate::config::{StorageType, StreamConfig};
use crate::consumer::{Consumer, Span};
use crate::consumer_config::ConsumerConfig;
use crate::dedup::Dedup;
use crate::log::{Log, Size};
use crate::ranges::Ranges;
use crate::stream::Stream;
use crate::subjects::Subjects;

const VERSION: u8 = 1;

/// Messages next to each other that came in one frame: its position and time, and per message the gap before it.
type Frame = ((Position, Timestamp), Vec<(u64, Meta)>);

impl Stream {
    /// The replicated state, for a checkpoint.
    #[must_use]
    pub fn encode_checkpoint(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + self.log.messages() as usize * 8);
        out.push(VERSION);
        put_number(&mut out, u64::from(self.id));
        put_time(&mut out, self.created);
        put_json(&mut out, &self.config);
        put_bytes(&mut out, &self.last_msg_id);
        encode_log(&self.log, &mut out);
        self.dedup.encode(&mut out);
        put_number(&mut out, self.consumers.len() as u64);
        for consumer in self.consumers.values() {
            encode_consumer(consumer, &mut out);
        }
        out
    }

    /// Reads a checkpoint. Messages of a memory stream are not in it: their bytes are gone.
    ///
    /// # Errors
    /// When the bytes are damaged or newer than this build.
    pub fn decode_checkpoint(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut from = Reader::new(bytes);
        let version = from.byte()?;
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let id = from.small()?;
        let created = from.time()?;
        let config: StreamConfig = serde_json::from_slice(from.bytes()?)?;
        let last_msg_id = from.bytes()?.to_vec();
        let log = decode_log(&mut from, config.storage == StorageType::Memory)?;
        let mut dedup = Dedup::new(id, created);
        dedup.decode(&mut from)?;
        let mut consumers = BTreeMap::new();
        for _ in 0..from.count()? {
            let consumer = decode_consumer(&mut from, &config.name)?;
            consumers.insert(consumer.name.clone(), consumer);
        }
        from.end()?;
        let mut stream = Self {
            id,
            config,
            created,
            log,
            dedup,
            last_msg_id,
            consumers,
            watch_floor: u64::MAX,
        };
        stream.watch_again();
        Ok(stream)
    }
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    put_fixed(out, time.0.cast_unsigned());
}

fn put_json<T: serde::Serialize>(out: &mut Vec<u8>, config: &T) {
    put_bytes(
        out,
        &serde_json::to_vec(config).expect("invariant: configurations are plain data"),
    );
}

fn encode_log(log: &Log, out: &mut Vec<u8>) {
    put_number(out, log.subjects.slots().count() as u64);
    for (name, _) in log.subjects.slots() {
        put_bytes(out, name);
    }
    put_number(out, log.subjects.free_list().len() as u64);
    for id in log.subjects.free_list() {
        put_number(out, u64::from(*id));
    }
    put_number(out, log.first_seq());
    put_number(out, log.last_seq());
    out.push(u8::from(log.last_time().is_some()));
    put_time(out, log.last_time().unwrap_or_default());
    let mut seq = log.first_seq();
    let mut run: Option<Frame> = None;
    for chunk in log.chunks() {
        for (next, meta) in chunk.iter() {
            let frame = (chunk.run(next).position, chunk.run(next).time);
            match &mut run {
                Some((known, list)) if *known == frame => list.push((next - seq, *meta)),
                _ => {
                    put_run(out, run.take());
                    run = Some((frame, vec![(next - seq, *meta)]));
                }
            }
            seq = next;
        }
    }
    put_run(out, run);
    put_number(out, 0);
}

/// A run is its count, never 0, and its frame; a count of 0 ends the list.
fn put_run(out: &mut Vec<u8>, run: Option<Frame>) {
    let Some(((position, time), list)) = run else {
        return;
    };
    put_number(out, list.len() as u64);
    put_number(out, u64::from(position.file));
    put_number(out, position.offset);
    put_number(out, u64::from(position.len));
    put_time(out, time);
    for (gap, meta) in list {
        put_number(out, gap);
        put_number(out, u64::from(meta.offset));
        put_number(out, u64::from(meta.size));
        put_number(out, u64::from(meta.subject));
    }
}

fn decode_log(from: &mut Reader<'_>, in_memory: bool) -> Result<Log, CheckpointError> {
    let names = (0..from.count()?)
        .map(|_| from.bytes())
        .collect::<Result<Vec<_>, _>>()?;
    let free = (0..from.count()?)
        .map(|_| from.small())
        .collect::<Result<Vec<_>, _>>()?;
    let (first, last) = (from.number()?, from.number()?);
    let has_time = from.byte()? != 0;
    let last_time = from.time()?;
    let mut log = Log::new(first, in_memory);
    let subjects = names.len();
    if !in_memory {
        log.subjects = Subjects::restore(names.into_iter(), free);
    }
    let mut seq = first;
    loop {
        let count = from.count()?;
        if count == 0 {
            break;
        }
        let position = Position {
            file: from.small()?,
            offset: from.number()?,
            len: from.small()?,
        };
        let time = from.time()?;
        for _ in 0..count {
            seq += from.number()?;
            let (offset, size, subject) = (from.small()?, from.small()?, from.small()?);
            if subject as usize >= subjects || seq > last {
                return Err(from.damaged());
            }
            if !in_memory {
                log.insert(seq, subject, Size(size), (position, offset), time);
            }
        }
    }
    log.set_last(last, has_time.then_some(last_time));
    Ok(log)
}

fn encode_consumer(consumer: &Consumer, out: &mut Vec<u8>) {
    put_bytes(out, consumer.name.as_bytes());
    put_time(out, consumer.created);
    put_json(out, &consumer.config);
    put_number(out, consumer.span.start);
    put_number(out, consumer.span.resume);
    put_number(out, consumer.span.list.len() as u64);
    for seq in &consumer.span.list {
        put_number(out, *seq);
    }
    put_number(out, consumer.floor);
    put_number(out, consumer.acked_count);
    put_number(out, consumer.acked.spans().len() as u64);
    for (first, last) in consumer.acked.spans() {
        put_number(out, first);
        put_number(out, last - first);
    }
}

fn decode_consumer(from: &mut Reader<'_>, stream: &str) -> Result<Consumer, CheckpointError> {
    let name = from.text()?;
    let created = from.time()?;
    let config: ConsumerConfig = serde_json::from_slice(from.bytes()?)?;
    let (start, resume) = (from.number()?, from.number()?);
    if start == 0 {
        return Err(from.damaged());
    }
    let list = (0..from.count()?)
        .map(|_| from.number())
        .collect::<Result<Vec<_>, _>>()?;
    let mut consumer = Consumer::with_span(
        stream,
        &name,
        config,
        created,
        Span {
            start,
            list,
            resume,
        },
    );
    consumer.floor = from.number()?;
    consumer.acked_count = from.number()?;
    let mut spans = BTreeMap::new();
    for _ in 0..from.count()? {
        let first = from.number()?;
        spans.insert(first, first.saturating_add(from.number()?));
    }
    consumer.acked = Ranges::from_spans(spans);
    consumer.catch_up();
    Ok(consumer)
}

#[cfg(test)]
mod tests;
