//! How far from its own row a window function looks, and so which rows a change touches.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::WindowExpr;

use super::plan::OverPlan;
use super::running::Runner;

/// How far one function looks.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// At rows near by.
    Near(Near),
    /// At all rows before, of which little is carried from row to row.
    Running(Runner),
    /// At the whole partition.
    Whole,
}

/// Rows near a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Near {
    /// So many rows before it, and behind it.
    back: usize,
    ahead: usize,
    /// Those that are equal to it in order.
    peers: bool,
    /// Those whose order is so far from its own.
    range: Option<Arc<WindowFrame>>,
}

/// How far the functions of a plan look together.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) back: usize,
    pub(super) ahead: usize,
    pub(super) peers: bool,
    pub(super) ranges: Vec<Arc<WindowFrame>>,
    pub(super) runs: bool,
}

/// What is kept of rows before which no more rows come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// So many of the last of them.
    pub(super) rows: usize,
    /// Those of the last so many nanoseconds.
    pub(super) span: i64,
}

impl Reach {
    pub(super) fn of(
        function: &WindowFunction,
        made: &Arc<dyn WindowExpr>,
        args: &[Arc<dyn PhysicalExpr>],
    ) -> Self {
        let frame = made.get_window_frame();
        let ignores = function.params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let ordered = !made.order_by().is_empty();
        let udf = match &function.fun {
            WindowFunctionDefinition::AggregateUDF(_) => {
                let near = near(frame, ordered).map(Self::Near);
                let filtered = function.params.filter.is_some();
                let running = || Runner::aggregate(made, filtered).map(Self::Running);
                return near.or_else(running).unwrap_or(Self::Whole);
            }
            WindowFunctionDefinition::WindowUDF(udf) => udf,
        };
        let found = match udf.name() {
            "row_number" => Some(Self::Running(Runner::row_number(made))),
            "rank" if ordered => Some(Self::Running(Runner::rank(made))),
            "dense_rank" if ordered => Some(Self::Running(Runner::dense_rank(made))),
            "lag" if !ignores => shift(args).map(|by| Self::shifted(by.saturating_neg())),
            "lead" if !ignores => shift(args).map(Self::shifted),
            "first_value" => near(frame, ordered).map(Self::Near).or_else(|| {
                let first = Runner::first(made).filter(|_| !ignores);
                first.map(Self::Running)
            }),
            "last_value" if !ignores => near(&ends(frame), ordered).map(Self::Near),
            "last_value" | "nth_value" => near(frame, ordered).map(Self::Near),
            _ => None,
        };
        found.unwrap_or(Self::Whole)
    }

    fn shifted(by: i64) -> Self {
        let rows = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
        let (back, ahead) = if by < 0 { (rows, 0) } else { (0, rows) };
        Self::Near(Near {
            back,
            ahead,
            ..Near::default()
        })
    }
}

/// How many rows `lag` and `lead` look away; `None` when that is no number.
fn shift(args: &[Arc<dyn PhysicalExpr>]) -> Option<i64> {
    let Some(arg) = args.get(1) else {
        return Some(1);
    };
    let value = arg.downcast_ref::<Literal>()?.value();
    if value.is_null() {
        return Some(0);
    }
    match value.cast_to(&arrow::datatypes::DataType::Int64).ok()? {
        ScalarValue::Int64(by) => by,
        _ => None,
    }
}

/// The frame of a function that looks at the end of its frame only: where it begins does not matter then.
fn ends(frame: &Arc<WindowFrame>) -> Arc<WindowFrame> {
    let here = frame.end_bound == WindowFrameBound::CurrentRow;
    let fits = match frame.units {
        WindowFrameUnits::Rows => true,
        WindowFrameUnits::Range => here,
        WindowFrameUnits::Groups => false,
    };
    if !fits || !frame.start_bound.is_unbounded() {
        return Arc::clone(frame);
    }
    let begins = match &frame.end_bound {
        WindowFrameBound::Preceding(_) => frame.end_bound.clone(),
        WindowFrameBound::CurrentRow | WindowFrameBound::Following(_) => {
            WindowFrameBound::CurrentRow
        }
    };
    let ends = frame.end_bound.clone();
    Arc::new(WindowFrame::new_bounds(frame.units, begins, ends))
}

/// The rows that a frame can hold, with those between it and its own row; `None` when they are not bounded.
fn near(frame: &Arc<WindowFrame>, ordered: bool) -> Option<Near> {
    if frame.start_bound.is_unbounded() || frame.end_bound.is_unbounded() {
        return None;
    }
    match frame.units {
        WindowFrameUnits::Rows => {
            let back = match &frame.start_bound {
                WindowFrameBound::Preceding(by) => rows(by)?,
                WindowFrameBound::CurrentRow | WindowFrameBound::Following(_) => 0,
            };
            let ahead = match &frame.end_bound {
                WindowFrameBound::Following(by) => rows(by)?,
                WindowFrameBound::CurrentRow | WindowFrameBound::Preceding(_) => 0,
            };
            Some(Near {
                back,
                ahead,
                ..Near::default()
            })
        }
        WindowFrameUnits::Range if ordered => {
            let here = |bound: &WindowFrameBound| *bound == WindowFrameBound::CurrentRow;
            let here = here(&frame.start_bound) && here(&frame.end_bound);
            Some(Near {
                peers: true,
                range: (!here).then(|| Arc::clone(frame)),
                ..Near::default()
            })
        }
        WindowFrameUnits::Range | WindowFrameUnits::Groups => None,
    }
}

fn rows(by: &ScalarValue) -> Option<usize> {
    match by {
        ScalarValue::UInt64(Some(by)) => usize::try_from(*by).ok(),
        _ => None,
    }
}

impl Look {
    /// `None` when a change of a row touches all of its partition.
    pub(super) fn of(plan: &OverPlan) -> Option<Self> {
        let mut look = Self::default();
        if plan.orders.len() > 1 {
            return None;
        }
        for window in &plan.windows {
            match &window.reach {
                Reach::Near(near) => {
                    look.back = look.back.max(near.back);
                    look.ahead = look.ahead.max(near.ahead);
                    look.peers |= near.peers;
                    look.ranges.extend(near.range.clone());
                }
                Reach::Running(runner) => {
                    look.runs = true;
                    look.peers |= runner.peers();
                }
                Reach::Whole => return None,
            }
        }
        Some(look)
    }

    /// What is kept of rows that time has passed when partitions are in order of time; `None`: all of them.
    pub(super) fn keep(&self) -> Option<Keep> {
        if self.ahead > 0 && self.peers {
            return None;
        }
        let spans = self.ranges.iter().map(|frame| span(frame));
        let span = spans.collect::<Option<Vec<i64>>>()?.into_iter().max();
        let carried = self.back.max(usize::from(self.runs));
        Some(Keep {
            rows: self.ahead.checked_add(carried)?,
            span: span.unwrap_or(0),
        })
    }
}

/// How many nanoseconds before its row a frame of times begins at most; `None` when it may end behind it.
fn span(frame: &WindowFrame) -> Option<i64> {
    if matches!(frame.end_bound, WindowFrameBound::Following(_)) {
        return None;
    }
    let WindowFrameBound::Preceding(ScalarValue::IntervalMonthDayNano(Some(by))) =
        &frame.start_bound
    else {
        return (frame.start_bound == WindowFrameBound::CurrentRow).then_some(0);
    };
    if by.months < 0 || by.days < 0 || by.nanoseconds < 0 {
        return None;
    }
    // The longest month, and the longest day.
    let hours = i64::from(by.months) * 31 * 25 + i64::from(by.days) * 25;
    let nanoseconds = hours.checked_mul(3_600_000_000_000)?;
    nanoseconds.checked_add(by.nanoseconds)
}
