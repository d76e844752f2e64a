//! Aggregates over rows that are only added: DataFusion's own accumulators, one for each group, and the least and greatest.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_pipeline::BrokenState;

use super::{Keeper, Rows, blob, bytes, put_blob};

/// DataFusion's accumulators.
#[derive(Debug)]
pub(super) struct General {
    function: Arc<AggregateFunctionExpr>,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
    /// Their states as bytes.
    converter: RowConverter,
    bytes: u64,
}

impl General {
    pub(super) fn new(function: &Arc<AggregateFunctionExpr>) -> Result<Self> {
        let fields = function.state_fields()?;
        let fields = fields
            .iter()
            .map(|field| SortField::new(field.data_type().clone()));
        Ok(Self {
            function: Arc::clone(function),
            accumulators: Vec::new(),
            converter: RowConverter::new(fields.collect())?,
            bytes: 0,
        })
    }

    /// The state of a group, which stays as it is: reading a state may empty the accumulator.
    fn state(&mut self, slot: usize) -> Result<Vec<ArrayRef>> {
        let accumulator = match &mut self.accumulators[slot] {
            Some(accumulator) => accumulator,
            none => none.insert(self.function.create_accumulator()?),
        };
        let state = accumulator.state()?;
        let arrays: Vec<ArrayRef> = state
            .into_iter()
            .map(|value| value.to_array_of_size(1))
            .collect::<Result<_>>()?;
        let mut again = self.function.create_accumulator()?;
        again.merge_batch(&arrays)?;
        *accumulator = again;
        Ok(arrays)
    }
}

impl Keeper for General {
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.accumulators.resize_with(slots, || None);
        Ok(())
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let mut each: Vec<(usize, u32)> = rows
            .each()
            .map(|(row, slot, _)| (slot, row as u32))
            .collect();
        // Rows of a group stay in their order.
        each.sort_by_key(|(slot, _)| *slot);
        for group in each.chunk_by(|one, next| one.0 == next.0) {
            let slot = group[0].0;
            let indices: UInt32Array = group.iter().map(|(_, row)| *row).collect();
            let args: Vec<ArrayRef> = rows
                .args
                .iter()
                .map(|arg| Ok(take(arg, &indices, None)?))
                .collect::<Result<_>>()?;
            let accumulator = match &mut self.accumulators[slot] {
                Some(accumulator) => accumulator,
                none => none.insert(self.function.create_accumulator()?),
            };
            let before = accumulator.size();
            accumulator.update_batch(&args)?;
            let grown = accumulator.size().saturating_sub(before);
            self.bytes = self.bytes.saturating_add(grown as u64);
        }
        Ok(())
    }

    fn values(&mut self, slots: &[usize], last: bool) -> Result<ArrayRef> {
        let mut values: Vec<ScalarValue> = Vec::with_capacity(slots.len());
        for slot in slots {
            let value = if last && let Some(accumulator) = &mut self.accumulators[*slot] {
                accumulator.evaluate()?
            } else {
                let state = self.state(*slot)?;
                let mut copy = self.function.create_accumulator()?;
                copy.merge_batch(&state)?;
                copy.evaluate()?
            };
            values.push(value);
        }
        if values.is_empty() {
            return Ok(new_null_array(self.function.field().data_type(), 0));
        }
        ScalarValue::iter_to_array(values)
    }

    fn save(&mut self, slot: usize, to: &mut Vec<u8>) -> Result<()> {
        let state = self.state(slot)?;
        let rows = self.converter.convert_columns(&state)?;
        put_blob(rows.row(0).as_ref(), to);
        Ok(())
    }

    fn load(&mut self, slot: usize, from: &mut &[u8]) -> Result<(), BrokenState> {
        let row = blob(from)?;
        let parser = self.converter.parser();
        let state = self.converter.convert_rows([parser.parse(row)]);
        let state = state.map_err(|error| BrokenState(error.to_string()))?;
        let restored = self.function.create_accumulator().and_then(|mut restored| {
            restored.merge_batch(&state)?;
            Ok(restored)
        });
        let restored = restored.map_err(|error| BrokenState(error.to_string()))?;
        self.bytes += restored.size() as u64;
        self.accumulators[slot] = Some(restored);
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        if let Some(gone) = self.accumulators[slot].take() {
            self.bytes = self.bytes.saturating_sub(gone.size() as u64);
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes + 16 * self.accumulators.len() as u64
    }
}

/// `min` or `max`, of any type with an order.
#[derive(Debug)]
pub(super) struct Extreme {
    converter: RowConverter,
    data_type: DataType,
    values: Vec<Option<Box<[u8]>>>,
    greatest: bool,
    bytes: u64,
}

impl Extreme {
    pub(super) fn new(types: &[DataType], greatest: bool) -> Result<Self> {
        let data_type = types.first().cloned().unwrap_or(DataType::Null);
        Ok(Self {
            converter: RowConverter::new(vec![SortField::new(data_type.clone())])?,
            data_type,
            values: Vec::new(),
            greatest,
            bytes: 0,
        })
    }
}

impl Keeper for Extreme {
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.values.resize(slots, None);
        Ok(())
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let arg = &rows.args[0];
        let nulls = arg.logical_nulls();
        let values = self.converter.convert_columns(std::slice::from_ref(arg))?;
        for (row, slot, _) in rows.each() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let value = values.row(row);
            let value = value.as_ref();
            let best = &mut self.values[slot];
            match best {
                Some(best) if (value > &**best) != self.greatest || value == &**best => {}
                Some(best) if best.len() == value.len() => best.copy_from_slice(value),
                best => {
                    let old = best.as_ref().map_or(0, |best| best.len());
                    self.bytes = (self.bytes + value.len() as u64).saturating_sub(old as u64);
                    *best = Some(value.into());
                }
            }
        }
        Ok(())
    }

    fn values(&mut self, slots: &[usize], _: bool) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let there = slots.iter().filter_map(|slot| self.values[*slot].as_ref());
        let found = self
            .converter
            .convert_rows(there.map(|row| parser.parse(row)))?;
        let mut next = 0;
        let indices = slots.iter().map(|slot| {
            self.values[*slot].as_ref().map(|_| {
                next += 1;
                next - 1
            })
        });
        let indices: UInt32Array = indices.collect();
        match found.into_iter().next() {
            Some(found) => Ok(take(&found, &indices, None)?),
            None => Ok(new_null_array(&self.data_type, slots.len())),
        }
    }

    fn save(&mut self, slot: usize, to: &mut Vec<u8>) -> Result<()> {
        match &self.values[slot] {
            None => to.push(0),
            Some(value) => {
                to.push(1);
                put_blob(value, to);
            }
        }
        Ok(())
    }

    fn load(&mut self, slot: usize, from: &mut &[u8]) -> Result<(), BrokenState> {
        self.values[slot] = match bytes::<1>(from)? {
            [0] => None,
            _ => {
                let value = blob(from)?;
                self.bytes += value.len() as u64;
                Some(value.into())
            }
        };
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        if let Some(gone) = self.values[slot].take() {
            self.bytes = self.bytes.saturating_sub(gone.len() as u64);
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes + 24 * self.values.len() as u64
    }
}
