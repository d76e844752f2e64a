//! Runs an operator as a dataflow does, twice: once from the beginning, and once restored from its log again and again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_pipeline::Effects;

use crate::continuous::delta::{Delta, Origins};
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::Scratch;
use crate::continuous::time::Marks;

/// A row of [`schema`], and how often it is added.
pub(crate) type Row = (Option<i64>, i64, Option<i64>);

/// `k`, `t` and `v`.
pub(crate) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", time, false),
        Field::new("v", DataType::Int64, true),
    ]))
}

pub(crate) fn delta(rows: &[(Row, i64)]) -> Delta {
    let each = |pick: fn(&Row) -> Option<i64>| rows.iter().map(move |(row, _)| pick(row));
    let keys: Int64Array = each(|row| row.0).collect();
    let times: TimestampNanosecondArray = each(|row| Some(row.1)).collect();
    let values: Int64Array = each(|row| row.2).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(values),
    ];
    let diffs: Vec<i64> = rows.iter().map(|(_, diff)| *diff).collect();
    Delta {
        batch: RecordBatch::try_new(schema(), columns).unwrap(),
        diffs: diffs.iter().any(|diff| *diff != 1).then_some(diffs),
        origins: Some(Arc::new(Origins {
            source: 0,
            sequences: (1..=rows.len() as u64).collect(),
        })),
        mark: i64::MIN,
    }
}

/// Rows as text, times as numbers.
pub(crate) fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("-");
    let numbers = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Timestamp(..) => arrow::compute::cast(column, &DataType::Int64).unwrap(),
            _ => Arc::clone(column),
        });
    let columns: Vec<ArrayRef> = numbers.collect();
    let columns = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect::<Vec<_>>();
    (0..batch.num_rows())
        .map(|row| {
            let cells = columns.iter().map(|column| column.value(row).to_string());
            cells.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

pub(crate) fn text(row: &Row) -> String {
    let cell = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    format!("{} {} {}", cell(row.0), row.1, cell(row.2))
}

#[derive(Debug)]
pub(crate) struct Harness {
    steady: Box<dyn Operator>,
    restored: Box<dyn Operator>,
    log: BTreeMap<Vec<u8>, Vec<u8>>,
    marks: Marks,
    /// The rows that are there by what was told.
    pub(crate) result: BTreeMap<String, i64>,
    pub(crate) late: u64,
    pub(crate) rejected: usize,
    pub(crate) now: i64,
    /// Whether the state of the one that is restored leaves memory whenever it can.
    spills: bool,
}

impl Harness {
    pub(crate) fn new(make: &dyn Fn() -> Box<dyn Operator>) -> Self {
        Self {
            steady: make(),
            restored: make(),
            log: BTreeMap::new(),
            marks: Marks::START,
            result: BTreeMap::new(),
            late: 0,
            rejected: 0,
            now: 0,
            spills: false,
        }
    }

    /// One in which the second operator's state leaves memory behind each step.
    pub(crate) fn spilling(make: &dyn Fn() -> Box<dyn Operator>) -> Self {
        let mut test = Self::new(make);
        test.spills = !test.restored.stays();
        test.restored.spill_to(scratch());
        test
    }

    fn compare(&self) {
        let (one, other) = (self.restored.size(), self.steady.size());
        assert_eq!(one.1, other.1);
        if !self.spills {
            assert_eq!(one.0, other.0);
        }
    }

    /// Crashes the one and restores it from its log, in another order.
    pub(crate) fn crash(&mut self, make: &dyn Fn() -> Box<dyn Operator>) {
        self.restored = make();
        self.restored.spill_to(scratch());
        for (number, (key, value)) in self.log.iter().rev().enumerate() {
            self.restored.restore(&key[2..], value).unwrap();
            if self.spills && number % 3 == 1 {
                self.restored.evict(0).unwrap();
            }
        }
        self.restored.restored().unwrap();
        self.compare();
        assert_eq!(self.restored.next_wake(), self.steady.next_wake());
    }

    /// A step; answers what was told, as text.
    pub(crate) fn step(&mut self, deltas: &[Delta], event: i64) -> Vec<(String, i64)> {
        let after = Marks {
            event,
            processing: self.now,
        };
        let input = || Input {
            deltas: deltas.to_vec(),
            before: self.marks,
            after,
        };
        let (mut one, mut other) = (Effects::default(), Effects::default());
        let (mut late, mut late_again) = (0, 0);
        let made = run(&mut self.steady, input(), (&mut one, &mut late, self.now));
        let again = run(
            &mut self.restored,
            input(),
            (&mut other, &mut late_again, self.now),
        );
        assert_eq!(made, again, "a restored operator tells something else");
        assert_eq!(
            (late, &one.late, &one.rejected),
            (late_again, &other.late, &other.rejected)
        );
        let mut keys = std::collections::BTreeSet::new();
        for change in other.state {
            assert!(keys.insert(change.key.clone()), "an entry is told twice");
            match change.value {
                Some(value) => self.log.insert(change.key.to_vec(), value.to_vec()),
                None => {
                    let gone = self.log.remove(&change.key[..]);
                    assert!(gone.is_some(), "an entry is taken that was never told");
                    gone
                }
            };
        }
        self.late += late;
        self.rejected += one.rejected.len();
        self.marks = after;
        for (row, diff) in &made {
            *self.result.entry(row.clone()).or_default() += diff;
        }
        self.result.retain(|row, count| {
            assert!(*count >= 0, "{row} is taken back but was never told");
            *count != 0
        });
        if self.spills {
            self.restored.evict(0).unwrap();
        }
        self.compare();
        made
    }

    pub(crate) fn next_wake(&self) -> Option<i64> {
        self.steady.next_wake()
    }

    pub(crate) fn size(&self) -> (u64, u64) {
        self.steady.size()
    }

    /// Asserts that nothing is kept anywhere.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.steady.size(), (0, 0));
        assert!(self.log.is_empty(), "{:?}", self.log);
    }
}

fn scratch() -> Scratch {
    Scratch::new(std::env::temp_dir(), 0)
}

fn run(
    operator: &mut Box<dyn Operator>,
    input: Input,
    (effects, late, now): (&mut Effects, &mut u64, i64),
) -> Vec<(String, i64)> {
    let mut step = Step {
        now,
        node: 7,
        effects,
        late,
        keeps_late: true,
    };
    let made = operator.step(vec![input], &mut step).unwrap();
    let rows = made.iter().flat_map(|delta| {
        let rows = texts(&delta.batch).into_iter().enumerate();
        rows.map(|(row, text)| (text, delta.diff(row)))
    });
    let rows: Vec<_> = rows.collect();
    let mut each = std::collections::BTreeMap::new();
    for (row, diff) in &rows {
        assert!(
            *each.entry(row.clone()).or_insert(diff.signum()) == diff.signum(),
            "{row} is both added and taken back"
        );
    }
    rows
}

/// Counts rows.
pub(crate) fn counted(rows: impl Iterator<Item = String>) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for row in rows {
        *all.entry(row).or_default() += 1;
    }
    all
}
