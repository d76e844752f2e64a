//! Which keeper an aggregate gets.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::fast::{Count, ExactSum, FloatSum};
use super::general::{Extreme, General};
use super::multiset::{Answer, Multiset};
use super::{Aggregate, Keeper};
use crate::continuous::map::evaluate;

/// An aggregate with all that it keeps.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) keeper: Box<dyn Keeper>,
    /// What it is of, then what it is ordered by.
    pub(super) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

/// What an aggregate needs of a batch.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) args: Vec<ArrayRef>,
    pub(super) mask: Option<arrow::array::BooleanArray>,
}

impl Kept {
    pub(super) fn new(aggregate: &Aggregate, input: &Schema, updating: bool) -> Result<Self> {
        let function = &aggregate.function;
        let all = function.all_expressions();
        let mut args = all.args;
        args.extend(all.order_by_exprs);
        let types: Vec<DataType> = args
            .iter()
            .map(|arg| arg.data_type(input))
            .collect::<Result<_>>()?;
        Ok(Self {
            keeper: keeper(function, &types, updating)?,
            args,
            filter: aggregate.filter.clone(),
        })
    }

    /// Evaluates what it is of.
    ///
    /// # Errors
    /// When that fails for any of the rows.
    pub(super) fn see(&self, batch: &RecordBatch) -> Result<Seen> {
        let mask = match &self.filter {
            None => None,
            Some(filter) => {
                let mask = filter.evaluate(batch)?.into_array(batch.num_rows())?;
                Some(datafusion::common::cast::as_boolean_array(&mask)?.clone())
            }
        };
        Ok(Seen {
            args: evaluate(batch, &self.args)?,
            mask,
        })
    }
}

fn keeper(
    function: &Arc<AggregateFunctionExpr>,
    types: &[DataType],
    updating: bool,
) -> Result<Box<dyn Keeper>> {
    let output = function.field().data_type().clone();
    let first = types.first();
    let is_float =
        first.is_some_and(|first| matches!(first, DataType::Float32 | DataType::Float64));
    let is_exact = first
        .is_some_and(|first| first.is_integer() || matches!(first, DataType::Decimal128(..)))
        && (output.is_integer() || matches!(output, DataType::Decimal128(..)));
    let name = function.fun().name();
    let distinct = function.is_distinct() && !matches!(name, "min" | "max");
    Ok(match (name, distinct) {
        ("count", false) => Box::<Count>::default(),
        ("sum", false) if is_exact => Box::new(ExactSum::new(output)),
        ("sum", false) if is_float && output == DataType::Float64 => Box::new(FloatSum::new(false)),
        ("avg", false) if is_float && output == DataType::Float64 => Box::new(FloatSum::new(true)),
        ("min" | "max", _) if !updating => Box::new(Extreme::new(types, name == "max")?),
        ("min", _) => Box::new(Multiset::new(function, types, Answer::First)?),
        ("max", _) => Box::new(Multiset::new(function, types, Answer::Last)?),
        ("count", true) if types.len() == 1 => {
            Box::new(Multiset::new(function, types, Answer::Count)?)
        }
        (_, false) if !updating && !sorted(function) => Box::new(General::new(function)?),
        _ => Box::new(Multiset::new(function, types, Answer::Function)?),
    })
}

/// Whether its rows must come in order.
fn sorted(function: &AggregateFunctionExpr) -> bool {
    let sensitivity = function.order_sensitivity();
    sensitivity != AggregateOrderSensitivity::Insensitive
        && sensitivity != AggregateOrderSensitivity::Beneficial
}
