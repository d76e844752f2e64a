//! Aggregates that need to know which values there are and how often: those with DISTINCT, those with an order, and all others
//! whose rows are taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{HashSet, Result, ScalarValue};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_pipeline::BrokenState;

use super::{Keeper, Rows};

/// What is asked of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The least.
    First,
    /// The greatest.
    Last,
    /// How many different ones.
    Count,
    /// What DataFusion's function says of them.
    Function,
}

/// Values in their order and how often each is there.
type Values = BTreeMap<Box<[u8]>, i64>;

/// Values of each group as entries of their own.
#[derive(Debug)]
pub(super) struct Multiset {
    function: Arc<AggregateFunctionExpr>,
    answer: Answer,
    /// What it is ordered by, then what it is of.
    converter: RowConverter,
    /// Of how many columns the last ones are what it is ordered by.
    ordered: usize,
    groups: Vec<Values>,
    changed: HashSet<(usize, Box<[u8]>)>,
    bytes: u64,
}

/// Bytes that a tree needs for an entry beside the value itself.
const OVERHEAD: u64 = 40;

impl Multiset {
    pub(super) fn new(
        function: &Arc<AggregateFunctionExpr>,
        types: &[DataType],
        answer: Answer,
    ) -> Result<Self> {
        let orders = function.order_bys();
        let (args, order_types) = types.split_at(types.len() - orders.len());
        let first = orders.iter().zip(order_types);
        let mut fields: Vec<SortField> = first
            .map(|(order, of)| SortField::new_with_options(of.clone(), order.options))
            .collect();
        fields.extend(args.iter().cloned().map(SortField::new));
        Ok(Self {
            function: Arc::clone(function),
            answer,
            converter: RowConverter::new(fields)?,
            ordered: orders.len(),
            groups: Vec::new(),
            changed: HashSet::new(),
            bytes: 0,
        })
    }

    fn evaluate(&self, slot: usize) -> Result<ScalarValue> {
        let mut accumulator = self.function.create_accumulator()?;
        let values = &self.groups[slot];
        if !values.is_empty() {
            let parser = self.converter.parser();
            let rows = values.keys().map(|value| parser.parse(value));
            let mut columns = self.converter.convert_rows(rows)?;
            columns.rotate_left(self.ordered);
            if !self.function.is_distinct() && values.values().any(|count| *count != 1) {
                let times = values.values().enumerate();
                let indices: UInt32Array = times
                    .flat_map(|(row, count)| {
                        std::iter::repeat_n(row as u32, usize::try_from(*count).unwrap_or(0))
                    })
                    .collect();
                columns = columns
                    .iter()
                    .map(|column| Ok(take(column, &indices, None)?))
                    .collect::<Result<_>>()?;
            }
            accumulator.update_batch(&columns)?;
        }
        accumulator.evaluate()
    }

    /// The value at one end, of each group.
    fn ends(&self, slots: &[usize]) -> Result<ArrayRef> {
        let end = |slot: &usize| {
            let values = &self.groups[*slot];
            let end = match self.answer {
                Answer::Last => values.last_key_value(),
                _ => values.first_key_value(),
            };
            end.map(|(value, _)| value)
        };
        let parser = self.converter.parser();
        let there = slots.iter().filter_map(end);
        let found = self
            .converter
            .convert_rows(there.map(|row| parser.parse(row)))?;
        let mut next = 0;
        let indices = slots.iter().map(|slot| {
            end(slot).map(|_| {
                next += 1;
                next - 1
            })
        });
        let indices: UInt32Array = indices.collect();
        match found.first() {
            Some(found) => Ok(take(found, &indices, None)?),
            None => {
                let data_type = self.function.field().data_type().clone();
                Ok(new_null_array(&data_type, slots.len()))
            }
        }
    }
}

impl Keeper for Multiset {
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.groups.resize_with(slots, Values::new);
        Ok(())
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let mut columns = rows.args.to_vec();
        columns.rotate_right(self.ordered);
        // Only functions of DataFusion want to see what is not there.
        let nulls: Vec<_> = match self.answer {
            Answer::Function => Vec::new(),
            _ => rows
                .args
                .iter()
                .filter_map(|arg| arg.logical_nulls())
                .collect(),
        };
        let values = self.converter.convert_columns(&columns)?;
        for (row, slot, diff) in rows.each() {
            if nulls.iter().any(|nulls| nulls.is_null(row)) {
                continue;
            }
            let value = values.row(row);
            let value = value.as_ref();
            let group = &mut self.groups[slot];
            let (was, is) = match group.get_mut(value) {
                Some(count) => {
                    let was = *count;
                    *count += diff;
                    (was, *count)
                }
                None => {
                    group.insert(value.into(), diff);
                    self.bytes += value.len() as u64 + OVERHEAD;
                    (0, diff)
                }
            };
            if is == 0 {
                group.remove(value);
                self.bytes = self.bytes.saturating_sub(value.len() as u64 + OVERHEAD);
            }
            // Of values that are counted once it is enough to know that they are there, unless they can go again.
            if was != is {
                self.changed.insert((slot, value.into()));
            }
        }
        Ok(())
    }

    fn values(&mut self, slots: &[usize], _: bool) -> Result<ArrayRef> {
        match self.answer {
            Answer::Count => {
                let counts = slots.iter().map(|slot| self.groups[*slot].len() as i64);
                Ok(Arc::new(Int64Array::from_iter_values(counts)))
            }
            Answer::First | Answer::Last => self.ends(slots),
            Answer::Function => {
                let values = slots.iter().map(|slot| self.evaluate(*slot));
                let values = values.collect::<Result<Vec<_>>>()?;
                if values.is_empty() {
                    let data_type = self.function.field().data_type().clone();
                    return Ok(new_null_array(&data_type, 0));
                }
                ScalarValue::iter_to_array(values)
            }
        }
    }

    fn save(&mut self, _: usize, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _: usize, _: &mut &[u8]) -> Result<(), BrokenState> {
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        for value in std::mem::take(&mut self.groups[slot]).into_keys() {
            self.bytes = self.bytes.saturating_sub(value.len() as u64 + OVERHEAD);
            self.changed.insert((slot, value));
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes + 24 * self.groups.len() as u64
    }

    fn entries(&mut self) -> Vec<(usize, Box<[u8]>, i64)> {
        let groups = &self.groups;
        let changed = self.changed.drain();
        let count = |(slot, value): (usize, Box<[u8]>)| {
            let count = groups[slot].get(&value).copied().unwrap_or(0);
            (slot, value, count)
        };
        changed.map(count).collect()
    }

    fn entries_of(&self, slot: usize) -> Vec<(Box<[u8]>, i64)> {
        let values = self.groups[slot].iter();
        values
            .map(|(value, count)| (value.clone(), *count))
            .collect()
    }

    fn load_entry(&mut self, slot: usize, entry: &[u8], count: i64) -> Result<(), BrokenState> {
        self.bytes += entry.len() as u64 + OVERHEAD;
        self.groups[slot].insert(entry.into(), count);
        Ok(())
    }
}
