//! Lines by partition, and what the log knows of them.
//!
//! State: `0` and the line's number: version, the partition's key, where the row begins in the line, what windows answered,
//! what they carry on, and the line. Numbers are big-endian; numbers of lines that went in the same step are used again.

use std::sync::Arc;

use millstream_pipeline::BrokenState;

use super::lines::{At, Line, Lines, Told};
use crate::continuous::operator::Step;
use crate::continuous::parts::{Table, blob, number, put_blob, row_entry, row_key};

/// Other than that of rows without answers.
const VERSION: u8 = 2;

/// What a line needs beside its bytes.
const OVERHEAD: u64 = 96;

/// Partitions with lines.
#[derive(Debug)]
pub(super) struct Store {
    table: Table<Part>,
    next: u64,
    lines: u64,
    bytes: u64,
}

/// The lines of a partition.
#[derive(Debug, Default)]
pub(super) struct Part {
    lines: Lines,
    /// Lines that the log does not know as they are; some may be gone.
    unlogged: Vec<Arc<[u8]>>,
    /// Numbers of lines that are gone and that the log knows.
    gone: Vec<u64>,
    pub(super) changes: Vec<Change>,
}

/// How a row changes in a step.
#[derive(Debug)]
pub(super) struct Change {
    /// What the partition orders by, then the row.
    pub(super) bytes: Vec<u8>,
    pub(super) split: usize,
    pub(super) diff: i64,
    /// The delta and the row in which it came.
    pub(super) came: (usize, usize),
}

impl Store {
    pub(super) fn new(ttl: Option<i64>) -> Self {
        Self {
            table: Table::new(ttl),
            next: 0,
            lines: 0,
            bytes: 0,
        }
    }

    pub(super) fn table(&self) -> &Table<Part> {
        &self.table
    }

    pub(super) fn table_mut(&mut self) -> &mut Table<Part> {
        &mut self.table
    }

    pub(super) fn lines(&self, slot: usize) -> &Lines {
        &self.table.part(slot).lines
    }

    pub(super) fn insert(&mut self, slot: usize, line: Line) {
        self.lines += 1;
        self.bytes += size(&line);
        let part = self.table.part_mut(slot);
        if line.dirty {
            part.unlogged.push(Arc::clone(line.bytes()));
        }
        part.lines.insert(line);
    }

    pub(super) fn remove(&mut self, slot: usize, at: At) -> Line {
        let part = self.table.part_mut(slot);
        let line = part.lines.remove(at);
        part.gone.extend(line.id);
        self.lines -= 1;
        self.bytes -= size(&line);
        line
    }

    /// Keeps what is told of a line; answers what was told before.
    pub(super) fn retell(&mut self, slot: usize, at: At, told: Told) -> Option<Told> {
        let part = self.table.part_mut(slot);
        let line = part.lines.get_mut(at)?;
        if !std::mem::replace(&mut line.dirty, true) {
            part.unlogged.push(Arc::clone(line.bytes()));
        }
        self.bytes -= size(line);
        let before = line.told.replace(told);
        self.bytes += size(line);
        before
    }

    /// Forgets the first lines of a partition.
    pub(super) fn cut(&mut self, slot: usize, count: usize) {
        let part = self.table.part_mut(slot);
        for line in part.lines.cut(count) {
            part.gone.extend(line.id);
            self.lines -= 1;
            self.bytes -= size(&line);
        }
    }

    /// Tells the log how a partition changed, at the end of a step; one without lines goes, and it may have gone before.
    pub(super) fn tell(&mut self, slot: usize, step: &mut Step<'_>) {
        if !self.table.has(slot) {
            return;
        }
        let partition = Arc::clone(self.table.key(slot));
        let part = self.table.part_mut(slot);
        for bytes in std::mem::take(&mut part.unlogged) {
            let at = part.lines.seek(&bytes);
            let Some(line) = part.lines.get_mut(at).filter(|line| *line.bytes() == bytes) else {
                continue;
            };
            if !std::mem::take(&mut line.dirty) {
                continue;
            }
            let id = line.id.or_else(|| part.gone.pop());
            let id = id.unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            line.id = Some(id);
            step.put(&row_key(id), Some(value(&partition, line)));
        }
        for id in std::mem::take(&mut part.gone) {
            step.put(&row_key(id), None);
        }
        if part.lines.is_empty() {
            self.table.remove(slot, step);
        } else {
            self.table.tell(slot, step);
        }
    }

    /// Forgets a partition.
    pub(super) fn forget(&mut self, slot: usize, step: &mut Step<'_>) {
        let part = self.table.remove(slot, step);
        for id in part.gone {
            step.put(&row_key(id), None);
        }
        for line in part.lines.iter() {
            self.lines -= 1;
            self.bytes -= size(line);
            if let Some(id) = line.id {
                step.put(&row_key(id), None);
            }
        }
    }

    /// Puts back an entry; answers the partition of a line.
    pub(super) fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<usize>, BrokenState> {
        if self.table.restore(key, value)? {
            return Ok(None);
        }
        let (id, partition, mut rest) = row_entry(key, value, VERSION)?;
        let split = u32::from_be_bytes(number(&mut rest)?);
        let told = Told::new(blob(&mut rest)?, blob(&mut rest)?);
        if !Line::fits(rest, split) {
            return Err(BrokenState("line is too short".to_owned()));
        }
        let slot = self.table.slot(partition);
        self.next = self.next.max(id.saturating_add(1));
        self.insert(slot, Line::logged(rest, split, told, id));
        Ok(Some(slot))
    }

    /// Bytes and lines.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.table.bytes() + self.bytes, self.lines)
    }
}

fn size(line: &Line) -> u64 {
    let told = line.told.as_ref().map_or(0, Told::len);
    (line.bytes().len() + told) as u64 + OVERHEAD
}

fn value(partition: &[u8], line: &Line) -> Vec<u8> {
    let told = line.told.as_ref();
    let told = told.map_or((&[][..], &[][..]), |told| (told.answers(), told.carry()));
    let length = 1 + 3 * 4 + 4 + partition.len() + told.0.len() + told.1.len() + line.bytes().len();
    let mut value = Vec::with_capacity(length);
    value.push(VERSION);
    put_blob(partition, &mut value);
    value.extend_from_slice(&line.split().to_be_bytes());
    put_blob(told.0, &mut value);
    put_blob(told.1, &mut value);
    value.extend_from_slice(line.bytes());
    value
}
