//! Rows, plans and the nested loop that says what is right.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType,
};
use arrow::record_batch::RecordBatch;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::logical_expr::Operator as Sign;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use millstream_pipeline::Effects;

use crate::continuous::delta::{Delta, Origins};
use crate::continuous::join::{Expiry, JoinPlan, On, SidePlan};
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::Scratch;
use crate::continuous::time::{Bound, Marks};

/// Key, value, time.
pub(super) type Row = [Option<i64>; 3];
/// Rows of results and how often they are there.
pub(super) type Bag = BTreeMap<Vec<Option<i64>>, i64>;

pub(super) const KINDS: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

/// How far a row of the left may be behind one of the right in [`Times::Band`].
pub(super) const BAND: i64 = 5;

/// What the condition says about times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Nothing,
    /// They are equal.
    Window,
    /// The left one is up to [`BAND`] behind the right one.
    Band,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) kind: JoinType,
    pub(super) times: Times,
    /// The left value is below the right one.
    pub(super) less: bool,
    pub(super) keyed: bool,
    pub(super) null_equals_null: bool,
    pub(super) null_aware: bool,
    pub(super) updating: [bool; 2],
    pub(super) waits: bool,
}

impl Case {
    pub(super) fn of(kind: JoinType) -> Self {
        Self {
            kind,
            times: Times::Nothing,
            less: false,
            keyed: true,
            null_equals_null: false,
            null_aware: false,
            updating: [false; 2],
            waits: false,
        }
    }

    pub(super) fn plan(&self) -> JoinPlan {
        let column = |at: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new("c", at)) };
        let mut on: On = Vec::new();
        if self.keyed {
            on.push((column(0), column(0)));
        }
        if self.times == Times::Window {
            on.push((column(2), column(2)));
        }
        let mut filters = Vec::new();
        if self.less {
            filters.push(binary(column(1), Sign::Lt, column(4)));
        }
        if self.times == Times::Band {
            let band = lit(ScalarValue::new_interval_mdn(0, 0, BAND));
            let end = binary(column(5), Sign::Plus, band);
            filters.push(binary(column(2), Sign::GtEq, column(5)));
            filters.push(binary(column(2), Sign::LtEq, end));
        }
        let and = |left, right| binary(left, Sign::And, right);
        let slack = if self.times == Times::Band { BAND } else { 0 };
        JoinPlan {
            kind: self.kind,
            on,
            null_equals_null: self.null_equals_null,
            null_aware: self.null_aware,
            filter: filters.into_iter().reduce(and),
            sides: [self.side(0, 0), self.side(1, slack)],
            output: self.output(),
            waits: self.waits,
            ttl: None,
        }
    }

    fn side(&self, which: usize, slack: i64) -> SidePlan {
        let expiry = Expiry {
            column: 2,
            own: Bound::EVENT,
            bound: Bound::EVENT,
            slack,
        };
        let bounded = self.times != Times::Nothing;
        SidePlan {
            schema: schema(),
            updating: self.updating[which],
            expiry: if bounded { vec![expiry] } else { Vec::new() },
        }
    }

    fn output(&self) -> SchemaRef {
        let fields = schema().fields().to_vec();
        let mark = Arc::new(Field::new("mark", DataType::Boolean, true));
        let fields = match self.kind {
            JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftAnti | JoinType::RightAnti => {
                fields
            }
            JoinType::LeftMark | JoinType::RightMark => [fields, vec![mark]].concat(),
            _ => [fields.clone(), fields].concat(),
        };
        Arc::new(Schema::new(fields))
    }

    /// `None`: unknown.
    fn equal(&self, left: &Row, right: &Row) -> Option<bool> {
        let columns = [(0, self.keyed), (2, self.times == Times::Window)];
        let mut all = Some(true);
        for (column, _) in columns.into_iter().filter(|(_, counts)| *counts) {
            let equal = match (left[column], right[column]) {
                (Some(left), Some(right)) => Some(left == right),
                (None, None) if self.null_equals_null => Some(true),
                (None, None) => None,
                _ if self.null_equals_null => Some(false),
                _ => None,
            };
            all = match (all, equal) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (None, _) | (_, None) => None,
                _ => Some(true),
            };
        }
        all
    }

    fn is_match(&self, left: &Row, right: &Row) -> bool {
        let equal = match self.equal(left, right) {
            None => self.null_aware,
            Some(equal) => equal,
        };
        let less = matches!((left[1], right[1]), (Some(l), Some(r)) if l < r);
        let near = matches!((left[2], right[2]), (Some(l), Some(r)) if l >= r && l <= r + BAND);
        equal && (less || !self.less) && (near || self.times != Times::Band)
    }

    /// The join of everything.
    pub(super) fn naive(&self, sides: &[Vec<Row>; 2]) -> Bag {
        let mut bag = Bag::new();
        let mut add = |row: Vec<Option<i64>>| *bag.entry(row).or_default() += 1;
        let mut found = [vec![false; sides[0].len()], vec![false; sides[1].len()]];
        for (l, left) in sides[0].iter().enumerate() {
            for (r, right) in sides[1].iter().enumerate() {
                if self.is_match(left, right) {
                    (found[0][l], found[1][r]) = (true, true);
                    if self.pairs() {
                        add([*left, *right].concat());
                    }
                }
            }
        }
        let nulls: Row = [None; 3];
        for side in 0..2 {
            for (row, matched) in sides[side].iter().zip(&found[side]) {
                match (self.kind, side, matched) {
                    (JoinType::Left | JoinType::Full, 0, false) => add([*row, nulls].concat()),
                    (JoinType::Right | JoinType::Full, 1, false) => add([nulls, *row].concat()),
                    (JoinType::LeftSemi, 0, true)
                    | (JoinType::RightSemi, 1, true)
                    | (JoinType::LeftAnti, 0, false)
                    | (JoinType::RightAnti, 1, false) => add(row.to_vec()),
                    (JoinType::LeftMark, 0, _) | (JoinType::RightMark, 1, _) => {
                        let mark = Some(i64::from(*matched));
                        add([row.to_vec(), vec![mark]].concat());
                    }
                    _ => {}
                }
            }
        }
        bag
    }

    fn pairs(&self) -> bool {
        matches!(
            self.kind,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
        )
    }
}

pub(super) fn binary(
    left: Arc<dyn PhysicalExpr>,
    sign: Sign,
    right: Arc<dyn PhysicalExpr>,
) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, sign, right).with_fail_on_overflow(true))
}

pub(super) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("value", DataType::Int64, true),
        Field::new("time", time, true),
    ]))
}

pub(super) fn rows(rows: &[(Row, i64)]) -> Delta {
    let numbers = |at: usize| rows.iter().map(move |(row, _)| row[at]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(numbers(0))),
        Arc::new(Int64Array::from_iter(numbers(1))),
        Arc::new(TimestampNanosecondArray::from_iter(numbers(2))),
    ];
    let diffs: Vec<i64> = rows.iter().map(|(_, diff)| *diff).collect();
    Delta {
        batch: RecordBatch::try_new(schema(), columns).unwrap(),
        diffs: diffs.iter().any(|diff| *diff != 1).then_some(diffs),
        origins: Some(Arc::new(Origins {
            source: 0,
            sequences: (0..rows.len() as u64).collect(),
        })),
        mark: i64::MIN,
    }
}

/// What deltas add up to.
pub(super) fn bag(deltas: &[Delta]) -> Bag {
    let mut bag = Bag::new();
    for delta in deltas {
        for row in 0..delta.len() {
            assert_ne!(delta.diff(row), 0);
            let columns = delta.batch.columns().iter();
            let row_of = columns.map(|column| number(column, row)).collect();
            *bag.entry(row_of).or_default() += delta.diff(row);
        }
    }
    bag.retain(|_, count| *count != 0);
    bag
}

fn number(column: &ArrayRef, row: usize) -> Option<i64> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row),
        DataType::Boolean => i64::from(column.as_boolean().value(row)),
        _ => column.as_primitive::<TimestampNanosecondType>().value(row),
    })
}

/// A place for state, without memory of what is there.
pub(super) fn scratch() -> Scratch {
    Scratch::new(std::env::temp_dir(), 0)
}

/// An operator and the log of its state.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) operator: Box<dyn Operator>,
    pub(super) state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) effects: Effects,
    pub(super) late: u64,
    /// Where all of its state goes behind each step.
    scratch: Option<Scratch>,
}

impl Running {
    pub(super) fn new(operator: Box<dyn Operator>) -> Self {
        Self {
            operator,
            state: BTreeMap::new(),
            effects: Effects::default(),
            late: 0,
            scratch: None,
        }
    }

    /// One whose state leaves memory whenever it can.
    pub(super) fn spilling(mut operator: Box<dyn Operator>, scratch: Scratch) -> Self {
        operator.spill_to(scratch.clone());
        Self {
            scratch: Some(scratch),
            ..Self::new(operator)
        }
    }

    pub(super) fn step(
        &mut self,
        inputs: [Vec<Delta>; 2],
        marks: [[i64; 2]; 2],
        now: i64,
    ) -> Vec<Delta> {
        let marks_of = |event| Marks {
            event,
            processing: now,
        };
        let inputs = inputs
            .into_iter()
            .zip(marks)
            .map(|(deltas, [before, after])| Input {
                deltas,
                before: marks_of(before),
                after: marks_of(after),
            });
        self.effects = Effects::default();
        let mut step = Step {
            now,
            node: 7,
            effects: &mut self.effects,
            late: &mut self.late,
            keeps_late: true,
        };
        let out = self.operator.step(inputs.collect(), &mut step).unwrap();
        let mut told = std::collections::BTreeSet::new();
        for change in &self.effects.state {
            let key = change.key[2..].to_vec();
            assert!(told.insert(key.clone()), "an entry is told once in a step");
            match &change.value {
                Some(value) => {
                    self.state.insert(key, value.to_vec());
                }
                None => assert!(self.state.remove(&key).is_some(), "what goes was there"),
            }
        }
        if self.scratch.is_some() && !self.operator.stays() {
            self.operator.evict(0).unwrap();
            let (_, entries) = self.operator.size();
            assert_eq!(self.operator.spilled().1, entries, "all is elsewhere");
        }
        let (_, entries) = self.operator.size();
        if self.effects.failed.is_none() {
            assert_eq!(entries, self.state.len() as u64);
        }
        out
    }

    /// The same behind a crash.
    pub(super) fn crash(&mut self, mut operator: Box<dyn Operator>) {
        if let Some(scratch) = &self.scratch {
            operator.spill_to(scratch.clone());
        }
        // In another order than they were told.
        for (number, (key, value)) in self.state.iter().rev().enumerate() {
            operator.restore(key, value).unwrap();
            // Some rows of a key leave before the others are there.
            if self.scratch.is_some() && !operator.stays() && number % 3 == 1 {
                operator.evict(0).unwrap();
            }
        }
        operator.restored().unwrap();
        match self.scratch {
            Some(_) => assert_eq!(operator.size().1, self.operator.size().1),
            None => assert_eq!(operator.size(), self.operator.size()),
        }
        self.operator = operator;
    }
}
