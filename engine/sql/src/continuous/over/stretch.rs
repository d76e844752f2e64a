//! Which rows of a partition a step touches: those whose frames hold what came or went.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use datafusion::common::Result;
use datafusion::logical_expr::window_state::WindowFrameContext;
use datafusion::logical_expr::{WindowFrame, WindowFrameBound};

use super::lines::{At, Line, Lines};
use super::reach::Look;
use crate::continuous::parts::Encoder;

/// How many rows are looked at first when a frame is sought; then more and more.
const FIRST: usize = 16;
const MOST: usize = 1024;

/// A row that came or went: its line.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) line: Line,
    pub(super) came: bool,
}

/// Rows to be evaluated again, and those around them that they look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) from: At,
    pub(super) first: At,
    /// Behind the last row that is evaluated, and behind the last one that it looks at.
    pub(super) end: At,
    pub(super) to: At,
}

/// Rows side by side that came or went.
#[derive(Debug)]
struct Run<'a> {
    first: &'a Spot,
    last: &'a Spot,
    from: At,
    to: At,
}

/// The rows of a partition, and how far its functions look.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) lines: &'a Lines,
    pub(super) look: &'a Look,
    pub(super) orders: &'a Encoder,
    pub(super) options: &'a [SortOptions],
}

impl Surroundings<'_> {
    /// The rows around spots, which are in order and of which those that came are among the lines.
    pub(super) fn stretches(&self, spots: &[Spot]) -> Result<Vec<Stretch>> {
        let mut touched = Vec::new();
        for run in self.runs(spots) {
            touched.push(self.touched(&run)?);
        }
        touched.sort_unstable();
        let mut merged: Vec<(At, At)> = Vec::new();
        for (first, end) in touched {
            match merged.last_mut() {
                Some((_, last)) if first <= *last => *last = end.max(*last),
                _ => merged.push((first, end)),
            }
        }
        let around = merged.into_iter().map(|touched| self.around(touched));
        around.collect()
    }

    fn runs<'a>(&self, spots: &'a [Spot]) -> Vec<Run<'a>> {
        let mut runs: Vec<Run<'a>> = Vec::new();
        for spot in spots {
            let from = self.lines.seek(spot.line.bytes());
            let to = self.lines.forward(from, usize::from(spot.came));
            match runs.last_mut() {
                Some(run) if run.to == from => (run.last, run.to) = (spot, to),
                _ => runs.push(Run {
                    first: spot,
                    last: spot,
                    from,
                    to,
                }),
            }
        }
        runs
    }

    /// The rows that look at these, and they themselves.
    fn touched(&self, run: &Run<'_>) -> Result<(At, At)> {
        let mut first = self.lines.back(run.from, self.look.ahead);
        // What is carried over rows that went is held against what the row behind them carried.
        let behind = self.look.back.max(usize::from(self.look.runs));
        let mut end = self.lines.forward(run.to, behind);
        for frame in &self.look.ranges {
            if matches!(frame.end_bound, WindowFrameBound::Following(_)) {
                first = first.min(self.holds_ahead(frame, run.from, run.first.line.order())?);
            }
            if matches!(frame.start_bound, WindowFrameBound::Preceding(_)) {
                end = end.max(self.holds_back(frame, run.to, run.last.line.order())?);
            }
        }
        if self.look.peers {
            first = first.min(self.peers_before(run.from, run.first.line.order()));
            end = end.max(self.peers_behind(run.to, run.last.line.order()));
            if first < end {
                first = self.begin(first);
                end = self.end(end);
            }
        }
        Ok((first, end))
    }

    /// The rows that touched rows look at.
    fn around(&self, (first, end): (At, At)) -> Result<Stretch> {
        let mut stretch = Stretch {
            from: first,
            first,
            end,
            to: end,
        };
        if first == end {
            return Ok(stretch);
        }
        stretch.from = self.lines.back(first, self.look.back);
        stretch.to = self.lines.forward(end, self.look.ahead);
        for frame in &self.look.ranges {
            if matches!(frame.start_bound, WindowFrameBound::Preceding(_)) {
                stretch.from = stretch.from.min(self.frame_start(frame, first)?);
            }
            if matches!(frame.end_bound, WindowFrameBound::Following(_)) {
                stretch.to = stretch.to.max(self.frame_end(frame, end)?);
            }
        }
        Ok(stretch)
    }

    fn peers_before(&self, mut at: At, order: &[u8]) -> At {
        while self
            .lines
            .before(at)
            .is_some_and(|line| line.order() == order)
        {
            at = self.lines.back(at, 1);
        }
        at
    }

    fn peers_behind(&self, mut at: At, order: &[u8]) -> At {
        while self.lines.get(at).is_some_and(|line| line.order() == order) {
            at = self.lines.forward(at, 1);
        }
        at
    }

    /// The first of the peers of a row.
    fn begin(&self, at: At) -> At {
        let line = self.lines.get(at);
        line.map_or(at, |line| self.peers_before(at, line.order()))
    }

    /// Behind the last of the peers of the row before.
    pub(super) fn end(&self, at: At) -> At {
        let line = self.lines.before(at);
        line.map_or(at, |line| self.peers_behind(at, line.order()))
    }

    /// Behind the last of the rows from `from` on whose frames reach back to a row of this order.
    fn holds_back(&self, frame: &Arc<WindowFrame>, mut from: At, order: &[u8]) -> Result<At> {
        let mut many = FIRST;
        loop {
            let to = self.lines.forward(from, many);
            let rows = self.lines.between(from, to).map(Line::order);
            let columns = self.columns(std::iter::once(order).chain(rows))?;
            let count = 1 + self.lines.count(from, to);
            let mut context = self.context(frame);
            let mut range = 0..0;
            for row in 1..count {
                range = context.calculate_range(&columns, &range, count, row)?;
                if range.start > 0 {
                    return Ok(self.lines.forward(from, row - 1));
                }
            }
            if to == self.lines.end() {
                return Ok(to);
            }
            from = to;
            many = MOST.min(many * 4);
        }
    }

    /// The first of the rows before `to` whose frames reach forward to a row of this order.
    fn holds_ahead(&self, frame: &Arc<WindowFrame>, to: At, order: &[u8]) -> Result<At> {
        let mut many = FIRST;
        loop {
            let from = self.lines.back(to, many);
            let rows = self.lines.between(from, to).map(Line::order);
            let columns = self.columns(rows.chain(std::iter::once(order)))?;
            let last = self.lines.count(from, to);
            let mut context = self.context(frame);
            let mut range = 0..0;
            let mut found = last;
            for row in 0..last {
                range = context.calculate_range(&columns, &range, last + 1, row)?;
                if range.end > last {
                    found = row;
                    break;
                }
            }
            if found > 0 || from == Lines::START {
                return Ok(self.lines.forward(from, found));
            }
            many *= 4;
        }
    }

    /// Where the frame of a row begins.
    fn frame_start(&self, frame: &Arc<WindowFrame>, at: At) -> Result<At> {
        let mut many = FIRST;
        loop {
            let from = self.lines.back(at, many);
            let to = self.lines.forward(at, 1);
            let columns = self.columns(self.lines.between(from, to).map(Line::order))?;
            let row = self.lines.count(from, at);
            let mut context = self.context(frame);
            let range = context.calculate_range(&columns, &(0..0), row + 1, row)?;
            if range.start > 0 || from == Lines::START {
                return Ok(self.lines.forward(from, range.start.min(row)));
            }
            many *= 4;
        }
    }

    /// Where the frame of the row before `end` ends.
    fn frame_end(&self, frame: &Arc<WindowFrame>, end: At) -> Result<At> {
        let from = self.lines.back(end, 1);
        let mut many = FIRST;
        loop {
            let to = self.lines.forward(end, many);
            let columns = self.columns(self.lines.between(from, to).map(Line::order))?;
            let count = self.lines.count(from, to);
            let mut context = self.context(frame);
            let range = context.calculate_range(&columns, &(0..0), count, 0)?;
            if range.end < count || to == self.lines.end() {
                return Ok(self.lines.forward(from, range.end));
            }
            many *= 4;
        }
    }

    fn context(&self, frame: &Arc<WindowFrame>) -> WindowFrameContext {
        WindowFrameContext::new(Arc::clone(frame), self.options.to_vec())
    }

    fn columns<'b>(&self, orders: impl Iterator<Item = &'b [u8]>) -> Result<Vec<ArrayRef>> {
        self.orders.decode(orders)
    }
}
