//! Window functions over whole partitions, and how their answers change.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{SortOptions, concat, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::row::SortField;
use datafusion::common::Result;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::lines::Lines;
use super::plan::{OverPlan, Window};
use super::reach::Look;
use super::stretch::Surroundings;
use crate::continuous::map::evaluate;
use crate::continuous::parts::{Encoded, Encoder, Key, caught};

/// The rows of a partition, and how often each is there.
pub(super) type Content = Vec<(Key, i64)>;

/// What a batch says, evaluated.
pub(super) struct Evaluated {
    /// The partitions of its rows, as bytes.
    pub(super) partitions: Encoded,
    /// What they order by first, as bytes.
    pub(super) order: Encoded,
}

/// Evaluates the windows of a plan.
#[derive(Debug)]
pub(super) struct Evaluator {
    partition: (Vec<Arc<dyn PhysicalExpr>>, Encoder),
    input: SchemaRef,
    output: SchemaRef,
    windows: Vec<Window>,
    orders: Vec<(Vec<PhysicalSortExpr>, Encoder)>,
    /// How the first order is.
    options: Vec<SortOptions>,
    rows: Encoder,
    /// Compares what windows answer.
    answers: Encoder,
    /// Rows that were evaluated.
    #[cfg(test)]
    seen: std::cell::Cell<usize>,
}

/// The answers of some partitions, one behind the other.
pub(super) struct Answers {
    pub(super) batch: RecordBatch,
    /// The rows of each partition.
    pub(super) ranges: Vec<Range<usize>>,
    keys: Vec<Key>,
    bytes: Encoded,
}

impl Evaluator {
    pub(super) fn new(plan: &OverPlan) -> Result<Self> {
        let orders = plan.orders.iter().map(|order| {
            let fields = order.iter().map(|sort| {
                let by = sort.expr.data_type(&plan.input)?;
                Ok(SortField::new_with_options(by, sort.options))
            });
            Ok((order.clone(), Encoder::new(fields.collect::<Result<_>>()?)?))
        });
        let partition = plan.partition.iter();
        let partition = partition.map(|expr| Ok(SortField::new(expr.data_type(&plan.input)?)));
        let partition = Encoder::new(partition.collect::<Result<_>>()?)?;
        let fields = plan.output.fields().iter().skip(plan.input.fields().len());
        let answers = fields.map(|field| SortField::new(field.data_type().clone()));
        Ok(Self {
            partition: (plan.partition.clone(), partition),
            input: Arc::clone(&plan.input),
            output: Arc::clone(&plan.output),
            windows: plan.windows.clone(),
            orders: orders.collect::<Result<_>>()?,
            options: plan.orders[0].iter().map(|sort| sort.options).collect(),
            rows: Encoder::of(&plan.input)?,
            answers: Encoder::new(answers.collect())?,
            #[cfg(test)]
            seen: std::cell::Cell::new(0),
        })
    }

    /// Looks at rows one by one.
    ///
    /// # Errors
    /// When one of them cannot be evaluated.
    pub(super) fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated> {
        self.try_rows(batch)?;
        let (partition, encoder) = &self.partition;
        Ok(Evaluated {
            partitions: encoder.encode(&evaluate(batch, partition)?)?,
            order: self.order(batch)?,
        })
    }

    /// What partitions order by, as bytes: the first order.
    pub(super) fn order(&self, batch: &RecordBatch) -> Result<Encoded> {
        self.ordered(0, batch)
    }

    fn ordered(&self, order: usize, batch: &RecordBatch) -> Result<Encoded> {
        let (order, encoder) = &self.orders[order];
        let exprs: Vec<_> = order.iter().map(|sort| Arc::clone(&sort.expr)).collect();
        encoder.encode(&evaluate(batch, &exprs)?)
    }

    pub(super) fn encode(&self, batch: &RecordBatch) -> Result<Encoded> {
        self.rows.encode(batch.columns())
    }

    /// Evaluates what windows need of single rows, to find those that cannot be evaluated.
    pub(super) fn try_rows(&self, batch: &RecordBatch) -> Result<()> {
        for order in 1..self.orders.len() {
            self.ordered(order, batch)?;
        }
        for input in self.windows.iter().flat_map(|window| &window.inputs) {
            input.evaluate(batch)?.into_array(batch.num_rows())?;
        }
        Ok(())
    }

    /// The rows of a partition as a batch of the input.
    pub(super) fn decode<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Result<RecordBatch> {
        self.batch(keys.map(Key::row))
    }

    /// Rows as a batch of the input.
    pub(super) fn batch<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch> {
        let mut count = 0;
        let columns = self.rows.decode(rows.inspect(|_| count += 1))?;
        #[cfg(test)]
        self.seen.set(self.seen.get() + count);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.input);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// What partitions order by, from bytes.
    pub(super) fn order_columns<'a>(
        &self,
        orders: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        self.orders[0].1.decode(orders)
    }

    /// What windows answer, as bytes.
    pub(super) fn answers_of(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        self.answers.encode(columns)
    }

    /// What windows answered, from bytes.
    pub(super) fn answered<'a>(
        &self,
        answers: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        self.answers.decode(answers)
    }

    /// What functions of a partition look at, in the first order.
    pub(super) fn surroundings<'a>(&'a self, lines: &'a Lines, look: &'a Look) -> Surroundings<'a> {
        Surroundings {
            lines,
            look,
            orders: &self.orders[0].1,
            options: &self.options,
        }
    }

    /// How many rows were evaluated.
    #[cfg(test)]
    pub(super) fn seen(&self) -> usize {
        self.seen.get()
    }

    /// Evaluates partitions.
    pub(super) fn answers(&self, contents: &[&Content]) -> Result<Answers> {
        let mut keys = Vec::new();
        let mut ranges = Vec::new();
        for content in contents {
            let start = keys.len();
            for (key, count) in *content {
                keys.extend((0..*count).map(|_| key.clone()));
            }
            ranges.push(start..keys.len());
        }
        caught(|| {
            let input = self.decode(keys.iter())?;
            let mut columns = input.columns().to_vec();
            for window in &self.windows {
                columns.push(self.window(window, &input, &ranges)?);
            }
            let bytes = self.answers.encode(&columns[input.num_columns()..])?;
            let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
            let schema = Arc::clone(&self.output);
            let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
            Ok((batch, bytes))
        })
        .map(|(batch, bytes)| Answers {
            batch,
            ranges,
            keys,
            bytes,
        })
    }

    fn window(
        &self,
        window: &Window,
        input: &RecordBatch,
        ranges: &[Range<usize>],
    ) -> Result<ArrayRef> {
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let rows = input.slice(range.start, range.len());
            parts.push(if window.order == 0 {
                window.function.evaluate(&rows)?
            } else {
                self.in_order(window, &rows)?
            });
        }
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            let answer = window.function.field()?;
            return Ok(arrow::array::new_empty_array(answer.data_type()));
        }
        Ok(concat(&parts)?)
    }

    /// Evaluates a window whose order is not that of the rows.
    fn in_order(&self, window: &Window, rows: &RecordBatch) -> Result<ArrayRef> {
        let order = self.ordered(window.order, rows)?;
        let mut places: Vec<u32> = (0..rows.num_rows() as u32).collect();
        places.sort_by_key(|row| order.row(*row as usize));
        let sorted = take_record_batch(rows, &UInt32Array::from(places.clone()))?;
        let answers = window.function.evaluate(&sorted)?;
        let mut back = vec![0_u32; places.len()];
        for (at, row) in places.iter().enumerate() {
            back[*row as usize] = at as u32;
        }
        Ok(take(&answers, &UInt32Array::from(back), None)?)
    }
}

impl Answers {
    /// Rows of partition `old` that partition `new` does not have, and the other way round.
    pub(super) fn difference(&self, old: usize, new: usize) -> (Vec<u32>, Vec<u32>) {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (self.ranges[old].clone(), self.ranges[new].clone());
        loop {
            let key = match (self.first(&old), self.first(&new)) {
                (None, None) => return (gone, come),
                (Some(key), None) | (None, Some(key)) => key,
                (Some(one), Some(other)) => one.min(other),
            };
            let mut was = self.peers(&mut old, key);
            let mut is = self.peers(&mut new, key);
            if was.len() + is.len() > 2 {
                was.sort_by_key(|row| self.bytes.row(*row as usize));
                is.sort_by_key(|row| self.bytes.row(*row as usize));
            }
            self.merge(&was, &is, &mut gone, &mut come);
        }
    }

    fn first(&self, range: &Range<usize>) -> Option<&Key> {
        (!range.is_empty()).then(|| &self.keys[range.start])
    }

    /// Takes the rows with this key from the front.
    fn peers(&self, range: &mut Range<usize>, key: &Key) -> Vec<u32> {
        let rows = range.clone().take_while(|row| self.keys[*row] == *key);
        let rows: Vec<u32> = rows.map(|row| row as u32).collect();
        range.start += rows.len();
        rows
    }

    fn merge(&self, was: &[u32], is: &[u32], gone: &mut Vec<u32>, come: &mut Vec<u32>) {
        let (mut was, mut is) = (was.iter().peekable(), is.iter().peekable());
        loop {
            let answer = |row: &&u32| self.bytes.row(**row as usize);
            let order = match (was.peek(), is.peek()) {
                (None, None) => return,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(was), Some(is)) => answer(was).cmp(answer(is)),
            };
            if order.is_eq() {
                was.next();
                is.next();
            } else if order.is_lt() {
                gone.extend(was.next());
            } else {
                come.extend(is.next());
            }
        }
    }
}
