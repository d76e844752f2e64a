//! Counts, sums and averages: a few numbers per group, from which rows can be taken back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use millstream_pipeline::BrokenState;

use super::{Keeper, Rows, bytes};

/// `count`: of rows, or of values that are not null.
#[derive(Debug, Default)]
pub(super) struct Count(Vec<i64>);

impl Keeper for Count {
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.0.resize(slots, 0);
        Ok(())
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let nulls: Vec<_> = rows
            .args
            .iter()
            .filter_map(|arg| arg.logical_nulls())
            .collect();
        for (row, slot, diff) in rows.each() {
            if nulls.iter().all(|nulls| nulls.is_valid(row)) {
                self.0[slot] += diff;
            }
        }
        Ok(())
    }

    fn values(&mut self, slots: &[usize], _: bool) -> Result<ArrayRef> {
        let counts = slots.iter().map(|slot| self.0[*slot]);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn save(&mut self, slot: usize, to: &mut Vec<u8>) -> Result<()> {
        to.extend_from_slice(&self.0[slot].to_be_bytes());
        Ok(())
    }

    fn load(&mut self, slot: usize, from: &mut &[u8]) -> Result<(), BrokenState> {
        self.0[slot] = i64::from_be_bytes(bytes(from)?);
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        self.0[slot] = 0;
    }

    fn bytes(&self) -> u64 {
        8 * self.0.len() as u64
    }
}

/// A sum of whole numbers or decimals, exact, and how many there were.
#[derive(Debug)]
pub(super) struct ExactSum {
    /// The sum and how many there are; a sum that has no room in 128 bits is `i128::MIN` and stays that.
    sums: Vec<(i128, i64)>,
    output: DataType,
}

impl ExactSum {
    pub(super) fn new(output: DataType) -> Self {
        Self {
            sums: Vec::new(),
            output,
        }
    }

    fn add(&mut self, slot: usize, value: i128, diff: i64) {
        let (sum, count) = &mut self.sums[slot];
        *count += diff;
        let next = value
            .checked_mul(i128::from(diff))
            .filter(|_| *sum != i128::MIN)
            .and_then(|value| sum.checked_add(value));
        *sum = next.unwrap_or(i128::MIN);
    }
}

impl Keeper for ExactSum {
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.sums.resize(slots, (0, 0));
        Ok(())
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let arg = &rows.args[0];
        match arg.data_type() {
            DataType::Decimal128(..) => {
                let values = arg.as_primitive::<Decimal128Type>();
                for (row, slot, diff) in rows.each().filter(|(row, ..)| values.is_valid(*row)) {
                    self.add(slot, values.value(row), diff);
                }
            }
            DataType::UInt64 => {
                let values = arg.as_primitive::<arrow::datatypes::UInt64Type>();
                for (row, slot, diff) in rows.each().filter(|(row, ..)| values.is_valid(*row)) {
                    self.add(slot, i128::from(values.value(row)), diff);
                }
            }
            _ => {
                let values = cast(arg, &DataType::Int64)?;
                let values = values.as_primitive::<Int64Type>();
                for (row, slot, diff) in rows.each().filter(|(row, ..)| values.is_valid(*row)) {
                    self.add(slot, i128::from(values.value(row)), diff);
                }
            }
        }
        Ok(())
    }

    fn values(&mut self, slots: &[usize], _: bool) -> Result<ArrayRef> {
        let sums: Vec<Option<i128>> = slots
            .iter()
            .map(|slot| self.sums[*slot])
            .map(|(sum, count)| (count != 0).then_some(sum))
            .collect();
        let narrow = |fits: bool| match fits {
            true => Ok(()),
            false => exec_err!("overflow of a sum"),
        };
        Ok(match &self.output {
            DataType::Decimal128(precision, scale) => {
                narrow(!sums.contains(&Some(i128::MIN)))?;
                let array = Decimal128Array::from(sums);
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            DataType::UInt64 => {
                let all = sums.iter().flatten();
                narrow(all.clone().all(|sum| u64::try_from(*sum).is_ok()))?;
                let sums = sums
                    .iter()
                    .map(|sum| sum.and_then(|sum| u64::try_from(sum).ok()));
                Arc::new(sums.collect::<UInt64Array>())
            }
            _ => {
                let mut all = sums.iter().flatten();
                narrow(all.all(|sum| i64::try_from(*sum).is_ok()))?;
                let sums = sums
                    .iter()
                    .map(|sum| sum.and_then(|sum| i64::try_from(sum).ok()));
                Arc::new(sums.collect::<Int64Array>())
            }
        })
    }

    fn save(&mut self, slot: usize, to: &mut Vec<u8>) -> Result<()> {
        let (sum, count) = self.sums[slot];
        to.extend_from_slice(&sum.to_be_bytes());
        to.extend_from_slice(&count.to_be_bytes());
        Ok(())
    }

    fn load(&mut self, slot: usize, from: &mut &[u8]) -> Result<(), BrokenState> {
        let sum = i128::from_be_bytes(bytes(from)?);
        self.sums[slot] = (sum, i64::from_be_bytes(bytes(from)?));
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        self.sums[slot] = (0, 0);
    }

    fn bytes(&self) -> u64 {
        32 * self.sums.len() as u64
    }
}

/// A sum of floating point numbers with the error that each addition makes kept beside it (Neumaier's algorithm), so that what
/// is added and taken back leaves no trace; what is not finite is counted apart for the same reason.
#[derive(Clone, Copy, Debug, Default)]
struct Float {
    sum: f64,
    error: f64,
    count: i64,
    nan: i64,
    positive: i64,
    negative: i64,
}

impl Float {
    fn add(&mut self, value: f64, diff: i64) {
        self.count += diff;
        if value.is_nan() {
            self.nan += diff;
        } else if value == f64::INFINITY {
            self.positive += diff;
        } else if value == f64::NEG_INFINITY {
            self.negative += diff;
        } else {
            let value = value * diff as f64;
            let sum = self.sum + value;
            self.error += if self.sum.abs() >= value.abs() {
                (self.sum - sum) + value
            } else {
                (value - sum) + self.sum
            };
            self.sum = sum;
        }
        if self.count == 0 {
            *self = Self::default();
        }
    }

    fn total(&self) -> f64 {
        match (self.nan != 0, self.positive != 0, self.negative != 0) {
            (true, ..) | (_, true, true) => f64::NAN,
            (_, true, _) => f64::INFINITY,
            (_, _, true) => f64::NEG_INFINITY,
            _ => self.sum + self.error,
        }
    }
}

/// `sum` or `avg` of floating point numbers.
#[derive(Debug)]
pub(super) struct FloatSum {
    sums: Vec<Float>,
    average: bool,
}

impl FloatSum {
    pub(super) fn new(average: bool) -> Self {
        Self {
            sums: Vec::new(),
            average,
        }
    }
}

impl Keeper for FloatSum {
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.sums.resize(slots, Float::default());
        Ok(())
    }

    fn update(&mut self, rows: Rows<'_>) -> Result<()> {
        let values = cast(&rows.args[0], &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        for (row, slot, diff) in rows.each().filter(|(row, ..)| values.is_valid(*row)) {
            self.sums[slot].add(values.value(row), diff);
        }
        Ok(())
    }

    fn values(&mut self, slots: &[usize], _: bool) -> Result<ArrayRef> {
        let value = |slot: &usize| {
            let sum = &self.sums[*slot];
            let total = sum.total();
            let value = if self.average {
                total / sum.count as f64
            } else {
                total
            };
            (sum.count != 0).then_some(value)
        };
        Ok(Arc::new(slots.iter().map(value).collect::<Float64Array>()))
    }

    fn save(&mut self, slot: usize, to: &mut Vec<u8>) -> Result<()> {
        let sum = self.sums[slot];
        for number in [sum.sum, sum.error] {
            to.extend_from_slice(&number.to_bits().to_be_bytes());
        }
        for number in [sum.count, sum.nan, sum.positive, sum.negative] {
            to.extend_from_slice(&number.to_be_bytes());
        }
        Ok(())
    }

    fn load(&mut self, slot: usize, from: &mut &[u8]) -> Result<(), BrokenState> {
        let float = |from: &mut &[u8]| Ok(f64::from_bits(u64::from_be_bytes(bytes(from)?)));
        let whole = |from: &mut &[u8]| Ok(i64::from_be_bytes(bytes(from)?));
        self.sums[slot] = Float {
            sum: float(from)?,
            error: float(from)?,
            count: whole(from)?,
            nan: whole(from)?,
            positive: whole(from)?,
            negative: whole(from)?,
        };
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        self.sums[slot] = Float::default();
    }

    fn bytes(&self) -> u64 {
        48 * self.sums.len() as u64
    }
}
