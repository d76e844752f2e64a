//! Evaluates the rows that a step touches, and no others.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::concat;
use arrow::record_batch::RecordBatch;
use arrow::row::SortField;
use datafusion::common::{Result, ScalarValue};

use super::evaluate::Evaluator;
use super::lines::{At, Line, Lines, Told};
use super::plan::{OverPlan, Window};
use super::reach::{Look, Reach};
use super::running::{Ran, Rows, Runner, column};
use super::store::Store;
use super::stretch::{Stretch, Surroundings};
use crate::continuous::parts::Encoder;

/// How many rows behind a stretch are evaluated first, when what is carried into them changed; then more and more.
const FIRST: usize = 8;
const MOST: usize = 1024;

/// What rows carry on, of all functions.
#[derive(Debug)]
pub(super) struct Carries {
    encoder: Encoder,
}

/// A part of a partition that is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Which of the partitions of a step it is of.
    pub(super) work: usize,
    pub(super) slot: usize,
    pub(super) stretch: Stretch,
    /// Where the next begins.
    pub(super) limit: At,
}

/// What windows say now of a line.
#[derive(Debug)]
pub(super) struct Retold {
    pub(super) work: usize,
    pub(super) at: At,
    pub(super) told: Told,
}

/// What a stretch carried on, for the one behind it.
type Carried = Option<(At, Vec<u8>)>;

/// Evaluates pieces of partitions.
#[derive(Debug)]
pub(super) struct Again<'a> {
    pub(super) plan: &'a OverPlan,
    pub(super) look: &'a Look,
    pub(super) evaluator: &'a Evaluator,
    pub(super) carries: &'a Carries,
    pub(super) store: &'a Store,
}

/// Rows side by side of a partition, among others of a batch.
struct Block<'a> {
    lines: &'a Lines,
    first: At,
    end: At,
    /// Where they are in the batch.
    rows: Range<usize>,
    /// What the row before carries.
    start: Option<Vec<ScalarValue>>,
}

impl Carries {
    pub(super) fn new(plan: &OverPlan) -> Result<Self> {
        let types = runners(plan).flat_map(|(_, runner)| runner.types());
        let fields = types.cloned().map(SortField::new).collect();
        Ok(Self {
            encoder: Encoder::new(fields)?,
        })
    }

    fn decode<'a>(&self, carries: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        self.encoder.decode(carries)
    }
}

fn runners(plan: &OverPlan) -> impl Iterator<Item = (&Window, &Runner)> {
    plan.windows
        .iter()
        .filter_map(|window| match &window.reach {
            Reach::Running(runner) => Some((window, runner)),
            Reach::Near(_) | Reach::Whole => None,
        })
}

impl Again<'_> {
    /// Pieces of partitions; those of one are in order.
    pub(super) fn pieces(&self, pieces: &[Piece]) -> Result<Vec<Retold>> {
        let mut retold = Vec::new();
        if !self.look.runs {
            self.round(pieces, &mut [], &mut retold)?;
            return Ok(retold);
        }
        // What a piece carries on goes into the next of its partition.
        let works = pieces.last().map_or(0, |piece| piece.work + 1);
        let mut carried: Vec<Carried> = vec![None; works];
        let mut left: Vec<Piece> = pieces.to_vec();
        while !left.is_empty() {
            let mut last = None;
            let is_first = |piece: &Piece| last.replace(piece.work) != Some(piece.work);
            let (round, rest): (Vec<Piece>, Vec<Piece>) = left.into_iter().partition(is_first);
            self.round(&round, &mut carried, &mut retold)?;
            left = rest;
        }
        Ok(retold)
    }

    fn round(
        &self,
        pieces: &[Piece],
        carried: &mut [Carried],
        retold: &mut Vec<Retold>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let mut slices = Vec::with_capacity(pieces.len());
        let mut blocks = Vec::with_capacity(pieces.len());
        let starts = self.starts(pieces, carried)?;
        for (piece, start) in pieces.iter().zip(starts) {
            let (lines, stretch) = (self.store.lines(piece.slot), piece.stretch);
            let from = bytes.len();
            bytes.extend(lines.between(stretch.from, stretch.to).map(Line::row));
            let first = from + lines.count(stretch.from, stretch.first);
            slices.push(from..bytes.len());
            blocks.push(Block {
                lines,
                first: stretch.first,
                end: stretch.end,
                rows: first..first + lines.count(stretch.first, stretch.end),
                start,
            });
        }
        let batch = self.evaluator.batch(bytes.into_iter())?;
        let near = |at: usize| self.near(&self.plan.windows[at], &batch, &slices, &blocks);
        let (answers, carries) = self.columns(&batch, &blocks, near)?;
        let answers = self.evaluator.answers_of(&answers)?;
        let carries = self.carries.encoder.encode(&carries)?;
        let mut row = 0;
        for (piece, block) in pieces.iter().zip(&blocks) {
            let mut at = block.first;
            for _ in block.rows.clone() {
                let told = Told::new(answers.row(row), carries.row(row));
                let work = piece.work;
                retold.push(Retold { work, at, told });
                at = block.lines.forward(at, 1);
                row += 1;
            }
            if self.look.runs {
                let last = (!block.rows.is_empty()).then(|| carries.row(row - 1));
                carried[piece.work] = self.behind(piece, last, &carried[piece.work], retold)?;
            }
        }
        Ok(())
    }

    /// What the rows before pieces carry.
    fn starts(
        &self,
        pieces: &[Piece],
        carried: &[Carried],
    ) -> Result<Vec<Option<Vec<ScalarValue>>>> {
        if !self.look.runs {
            return Ok(vec![None; pieces.len()]);
        }
        let starts = pieces.iter();
        let starts: Vec<Option<&[u8]>> = starts
            .map(|piece| self.start(piece, &carried[piece.work]))
            .collect();
        let columns = self.carries.decode(starts.iter().flatten().copied())?;
        let mut row = 0;
        let each = starts.iter().map(|start| {
            start.map(|_| {
                row += 1;
                scalars(&columns, row - 1)
            })
        });
        each.map(Option::transpose).collect()
    }

    fn start<'b>(&'b self, piece: &Piece, carried: &'b Carried) -> Option<&'b [u8]> {
        if let Some((end, carry)) = carried
            && *end == piece.stretch.first
        {
            return Some(carry);
        }
        let before = self.store.lines(piece.slot).before(piece.stretch.first)?;
        before.told.as_ref().map(Told::carry)
    }

    /// What functions answer for the rows of blocks, and what these carry, each one column behind the other.
    fn columns(
        &self,
        batch: &RecordBatch,
        blocks: &[Block<'_>],
        near: impl Fn(usize) -> Result<ArrayRef>,
    ) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let peers: Vec<Vec<bool>> = blocks.iter().map(Block::peers).collect();
        let (mut answers, mut carries) = (Vec::new(), Vec::new());
        let mut carry = 0;
        for (at, window) in self.plan.windows.iter().enumerate() {
            let Reach::Running(runner) = &window.reach else {
                answers.push(near(at)?);
                continue;
            };
            let inputs = window.inputs.iter();
            let inputs: Result<Vec<ArrayRef>> = inputs
                .map(|input| input.evaluate(batch)?.into_array(batch.num_rows()))
                .collect();
            let inputs = inputs?;
            let own = carry..carry + runner.types().len();
            carry = own.end;
            let mut ran = Ran::new(runner);
            for (block, peers) in blocks.iter().zip(&peers) {
                let start = block
                    .start
                    .as_ref()
                    .map(|start| start[own.clone()].to_vec());
                let rows = Rows {
                    inputs: &inputs,
                    rows: block.rows.clone(),
                    peers,
                };
                runner.run(&mut runner.start(start)?, &rows, &mut ran)?;
            }
            answers.push(column(&ran.answers, window.function.field()?.data_type())?);
            carries.extend(ran.columns(runner)?);
        }
        Ok((answers, carries))
    }

    /// What a function that looks at rows near by answers for the rows of blocks.
    fn near(
        &self,
        window: &Window,
        batch: &RecordBatch,
        slices: &[Range<usize>],
        blocks: &[Block<'_>],
    ) -> Result<ArrayRef> {
        let mut parts = Vec::with_capacity(blocks.len());
        for (slice, block) in slices.iter().zip(blocks) {
            if !block.rows.is_empty() {
                let answers = window
                    .function
                    .evaluate(&batch.slice(slice.start, slice.len()))?;
                parts.push(answers.slice(block.rows.start - slice.start, block.rows.len()));
            }
        }
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            let answer = window.function.field()?;
            return Ok(arrow::array::new_empty_array(answer.data_type()));
        }
        Ok(concat(&parts)?)
    }

    /// Goes on behind a piece as long as what rows carry is not what they carried before; `last` is what its last row carries.
    fn behind(
        &self,
        piece: &Piece,
        last: Option<&[u8]>,
        carried: &Carried,
        retold: &mut Vec<Retold>,
    ) -> Result<Carried> {
        let lines = self.store.lines(piece.slot);
        let mut at = piece.stretch.end;
        let carry = last.or_else(|| self.start(piece, carried));
        if let Some(last) = last
            && lines.before(at).is_some_and(|line| carries(line, last))
        {
            return Ok(None);
        }
        let mut carry = carry.map(<[u8]>::to_vec);
        let mut many = FIRST;
        while at < piece.limit {
            let mut to = lines.forward(at, many).min(piece.limit);
            if self.look.peers {
                to = self.surroundings(lines).end(to).min(piece.limit);
            }
            let bytes = lines.between(at, to).map(Line::row);
            let batch = self.evaluator.batch(bytes)?;
            let start = match &carry {
                Some(carry) => {
                    let columns = self.carries.decode(std::iter::once(carry.as_slice()))?;
                    Some(scalars(&columns, 0)?)
                }
                None => None,
            };
            let block = Block {
                lines,
                first: at,
                end: to,
                rows: 0..batch.num_rows(),
                start,
            };
            match self.on(piece.work, &batch, block, retold)? {
                Some(on) => carry = Some(on),
                None => return Ok(None),
            }
            at = to;
            many = MOST.min(many * 4);
        }
        Ok(carry.map(|carry| (at, carry)))
    }

    /// Rows of which nothing but what is carried into them changed; `None` when they carry on what they did before.
    fn on(
        &self,
        work: usize,
        batch: &RecordBatch,
        block: Block<'_>,
        retold: &mut Vec<Retold>,
    ) -> Result<Option<Vec<u8>>> {
        let (first, end) = (block.first, block.end);
        let lines = block.lines;
        let known = lines
            .between(first, end)
            .filter_map(|line| line.told.as_ref());
        let known = self.evaluator.answered(known.map(Told::answers))?;
        let blocks = [block];
        let (answers, carries_now) =
            self.columns(batch, &blocks, |at| Ok(Arc::clone(&known[at])))?;
        let answers = self.evaluator.answers_of(&answers)?;
        let carries_now = self.carries.encoder.encode(&carries_now)?;
        let peers = blocks[0].peers();
        let mut at = first;
        for (row, line) in lines.between(first, end).enumerate() {
            let told = Told::new(answers.row(row), carries_now.row(row));
            let same = carries(line, told.carry());
            retold.push(Retold { work, at, told });
            if same && !(self.look.peers && peers.get(row + 1).copied().unwrap_or(false)) {
                return Ok(None);
            }
            at = lines.forward(at, 1);
        }
        Ok(Some(carries_now.row(batch.num_rows() - 1).to_vec()))
    }

    pub(super) fn surroundings<'b>(&'b self, lines: &'b Lines) -> Surroundings<'b> {
        self.evaluator.surroundings(lines, self.look)
    }
}

fn carries(line: &Line, carry: &[u8]) -> bool {
    line.told.as_ref().is_some_and(|told| told.carry() == carry)
}

fn scalars(columns: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    let values = columns.iter();
    values
        .map(|column| ScalarValue::try_from_array(column, row))
        .collect()
}

impl Block<'_> {
    /// Whether each row is equal in order to the one before.
    fn peers(&self) -> Vec<bool> {
        let mut before = self.lines.before(self.first).map(Line::order);
        let lines = self.lines.between(self.first, self.end);
        lines
            .map(|line| before.replace(line.order()) == Some(line.order()))
            .collect()
    }
}
