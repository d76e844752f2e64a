//! Functions over all rows before a row: what is carried from row to row, so that each row is evaluated once.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{Accumulator, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, WindowExpr};

/// Aggregates whose state is a few numbers or values, and can be asked for again and again.
const SMALL: [&str; 16] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "var",
    "var_pop",
    "var_samp",
    "stddev",
    "stddev_pop",
    "stddev_samp",
];

/// A function that is evaluated row by row.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    kind: Kind,
    function: Arc<dyn WindowExpr>,
    /// What it carries.
    types: Vec<DataType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The last of its inputs may be a filter; rows that are equal in order may have one answer.
    Aggregate {
        filtered: bool,
        peers: bool,
    },
    RowNumber,
    Rank,
    DenseRank,
    First,
}

/// Where it is.
#[derive(Debug)]
pub(super) enum Now {
    Aggregate(Box<dyn Accumulator>),
    /// The number of the last row.
    Number(u64),
    /// The number and the rank of the last row.
    Rank(u64, u64),
    First(Option<ScalarValue>),
}

/// Rows one behind the other.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    /// What the function needs of each row, of these rows and others.
    pub(super) inputs: &'a [ArrayRef],
    pub(super) rows: Range<usize>,
    /// Whether each is equal in order to the one before; as many as rows.
    pub(super) peers: &'a [bool],
}

/// What a function answers for some rows, and what it carries behind each of them, column by column.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) answers: Vec<ScalarValue>,
    pub(super) carries: Vec<Vec<ScalarValue>>,
}

impl Runner {
    /// `None` when more than a few values have to be carried, or the frame does not end at its row.
    pub(super) fn aggregate(function: &Arc<dyn WindowExpr>, filtered: bool) -> Option<Self> {
        let frame = function.get_window_frame();
        let plain = plain(function)?;
        let peers = frame.units != WindowFrameUnits::Rows;
        let fits = frame.start_bound.is_unbounded()
            && frame.end_bound == WindowFrameBound::CurrentRow
            && SMALL.contains(&plain.fun().name())
            && !plain.is_distinct()
            && !(peers && function.order_by().is_empty());
        if !fits {
            return None;
        }
        let fields = plain.state_fields().ok()?;
        let types: Vec<DataType> = fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        // What it says of its types is held against what it does.
        let mut fresh = plain.create_accumulator().ok()?;
        let state = fresh.state().ok()?;
        let same = state
            .iter()
            .map(ScalarValue::data_type)
            .eq(types.iter().cloned())
            && fresh.evaluate().ok()?.data_type() == *function.field().ok()?.data_type();
        let flat = types.iter().all(|each| !each.is_nested());
        (same && flat).then(|| Self {
            kind: Kind::Aggregate { filtered, peers },
            function: Arc::clone(function),
            types,
        })
    }

    pub(super) fn row_number(function: &Arc<dyn WindowExpr>) -> Self {
        Self::counting(Kind::RowNumber, function, 1)
    }

    pub(super) fn rank(function: &Arc<dyn WindowExpr>) -> Self {
        Self::counting(Kind::Rank, function, 2)
    }

    pub(super) fn dense_rank(function: &Arc<dyn WindowExpr>) -> Self {
        Self::counting(Kind::DenseRank, function, 1)
    }

    fn counting(kind: Kind, function: &Arc<dyn WindowExpr>, columns: usize) -> Self {
        Self {
            kind,
            function: Arc::clone(function),
            types: vec![DataType::UInt64; columns],
        }
    }

    /// The first of all rows; `None` when the frame does not end at its row.
    pub(super) fn first(function: &Arc<dyn WindowExpr>) -> Option<Self> {
        let frame = function.get_window_frame();
        let fits = frame.start_bound.is_unbounded()
            && frame.end_bound == WindowFrameBound::CurrentRow
            && !function.order_by().is_empty();
        let answer = function.field().ok()?;
        (fits && !answer.data_type().is_nested()).then(|| Self {
            kind: Kind::First,
            function: Arc::clone(function),
            types: vec![answer.data_type().clone()],
        })
    }

    /// Whether rows that are equal in order have one answer, or its answer depends on where they begin.
    pub(super) fn peers(&self) -> bool {
        match self.kind {
            Kind::Aggregate { peers, .. } => peers,
            Kind::Rank | Kind::DenseRank => true,
            Kind::RowNumber | Kind::First => false,
        }
    }

    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Behind a row that carries this; at the beginning of the partition without one.
    pub(super) fn start(&self, carry: Option<Vec<ScalarValue>>) -> Result<Now> {
        let carry = carry.as_deref();
        let number = |at: usize| match carry.and_then(|carry| carry.get(at)) {
            Some(ScalarValue::UInt64(Some(number))) => *number,
            _ => 0,
        };
        Ok(match self.kind {
            Kind::Aggregate { .. } => {
                let Some(plain) = plain(&self.function) else {
                    return internal_err!("an aggregate is none");
                };
                let mut accumulator = plain.create_accumulator()?;
                if let Some(carry) = carry {
                    let state: Result<Vec<ArrayRef>> =
                        carry.iter().map(ScalarValue::to_array).collect();
                    accumulator.merge_batch(&state?)?;
                }
                Now::Aggregate(accumulator)
            }
            Kind::RowNumber | Kind::DenseRank => Now::Number(number(0)),
            Kind::Rank => Now::Rank(number(0), number(1)),
            Kind::First => Now::First(carry.and_then(|carry| carry.first().cloned())),
        })
    }

    /// Goes over rows; where rows that are equal in order have one answer, the last of these has no such row behind it.
    pub(super) fn run(&self, now: &mut Now, rows: &Rows<'_>, ran: &mut Ran) -> Result<()> {
        let waits = matches!(self.kind, Kind::Aggregate { peers: true, .. });
        let mut waiting = 0;
        for (at, row) in rows.rows.clone().enumerate() {
            self.take(now, rows, row, rows.peers[at])?;
            let carry = self.carry(now)?;
            for (column, value) in ran.carries.iter_mut().zip(carry) {
                column.push(value);
            }
            waiting += 1;
            if !waits || !rows.peers.get(at + 1).copied().unwrap_or(false) {
                let answer = answer(now)?;
                ran.answers.extend(std::iter::repeat_n(answer, waiting));
                waiting = 0;
            }
        }
        Ok(())
    }

    fn take(&self, now: &mut Now, rows: &Rows<'_>, row: usize, peer: bool) -> Result<()> {
        match now {
            Now::Aggregate(accumulator) => {
                let mut inputs = rows.inputs;
                if let Kind::Aggregate { filtered: true, .. } = self.kind
                    && let Some((filter, rest)) = inputs.split_last()
                {
                    if !holds(filter.as_boolean(), row) {
                        return Ok(());
                    }
                    inputs = rest;
                }
                let row: Vec<ArrayRef> = inputs.iter().map(|each| each.slice(row, 1)).collect();
                accumulator.update_batch(&row)?;
            }
            Now::Number(number) => {
                *number += u64::from(self.kind == Kind::RowNumber || !peer);
            }
            Now::Rank(number, rank) => {
                *number += 1;
                if !peer {
                    *rank = *number;
                }
            }
            Now::First(first) => {
                if first.is_none() {
                    *first = Some(ScalarValue::try_from_array(&rows.inputs[0], row)?);
                }
            }
        }
        Ok(())
    }

    fn carry(&self, now: &mut Now) -> Result<Vec<ScalarValue>> {
        let number = |number: &u64| ScalarValue::UInt64(Some(*number));
        Ok(match now {
            Now::Aggregate(accumulator) => accumulator.state()?,
            Now::Number(last) => vec![number(last)],
            Now::Rank(last, rank) => vec![number(last), number(rank)],
            Now::First(first) => first.iter().cloned().collect(),
        })
    }
}

fn plain(function: &Arc<dyn WindowExpr>) -> Option<&AggregateFunctionExpr> {
    let plain = function.as_any().downcast_ref::<PlainAggregateWindowExpr>();
    plain.map(PlainAggregateWindowExpr::get_aggregate_expr)
}

fn answer(now: &mut Now) -> Result<ScalarValue> {
    match now {
        Now::Aggregate(accumulator) => accumulator.evaluate(),
        Now::Number(number) | Now::Rank(_, number) => Ok(ScalarValue::UInt64(Some(*number))),
        Now::First(Some(first)) => Ok(first.clone()),
        Now::First(None) => internal_err!("a partition without rows has no first one"),
    }
}

fn holds(filter: &BooleanArray, row: usize) -> bool {
    filter.is_valid(row) && filter.value(row)
}

impl Ran {
    pub(super) fn new(runner: &Runner) -> Self {
        Self {
            answers: Vec::new(),
            carries: vec![Vec::new(); runner.types.len()],
        }
    }

    /// What is carried, as columns.
    pub(super) fn columns(&self, runner: &Runner) -> Result<Vec<ArrayRef>> {
        let columns = self.carries.iter().zip(&runner.types);
        columns.map(|(values, kind)| column(values, kind)).collect()
    }
}

/// Values as a column.
pub(super) fn column(values: &[ScalarValue], kind: &DataType) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(arrow::array::new_empty_array(kind));
    }
    ScalarValue::iter_to_array(values.iter().cloned())
}
