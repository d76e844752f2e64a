//! How long is it since? Comparing a span of time with an interval.
//!
//! The difference of two times is a duration in nanoseconds. To compare it with `INTERVAL '1 day'` DataFusion makes an
//! interval of it, and intervals compare by months first, then by days, then by nanoseconds: any number of hours is less
//! than a day. Here the interval becomes a duration instead.

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Compares durations as durations in a typed plan.
///
/// # Errors
/// A comparison with an interval whose length is not known: one of months, or one that is computed.
pub(crate) fn as_durations(plan: LogicalPlan) -> Result<LogicalPlan> {
    let changed = plan.transform_up(|node| {
        let Some(schema) = node.inputs().first().map(|input| input.schema().clone()) else {
            return Ok(Transformed::no(node));
        };
        node.map_expressions(|expr| expr.transform_up(|expr| compared(expr, &schema)))
    })?;
    Ok(changed.data)
}

fn compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_interval = |expr: &Expr| -> Result<bool> {
        Ok(matches!(expr.get_type(schema)?, DataType::Interval(_)))
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if op.supports_propagation() && is_interval(&left)? =>
        {
            let (left, right) = (duration(*left, schema)?, duration(*right, schema)?);
            let compared = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Ok(Transformed::yes(Expr::BinaryExpr(compared)))
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if is_interval(&expr)? => {
            let [expr, low, high] = [expr, low, high].map(|part| duration(*part, schema));
            let between = Between::new(Box::new(expr?), negated, Box::new(low?), Box::new(high?));
            Ok(Transformed::yes(Expr::Between(between)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// An interval as a duration in nanoseconds.
fn duration(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    const NANOS: DataType = DataType::Duration(TimeUnit::Nanosecond);
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(value), metadata) => {
            let nanos = value.map(nanos).transpose()?;
            Ok(Expr::Literal(
                ScalarValue::DurationNanosecond(nanos),
                metadata,
            ))
        }
        Expr::Cast(cast) => match cast.expr.get_type(schema)? {
            NANOS => Ok(*cast.expr),
            DataType::Duration(_) => Ok(Expr::Cast(Cast::new(cast.expr, NANOS))),
            _ => unknown_length(),
        },
        _ => unknown_length(),
    }
}

fn unknown_length() -> Result<Expr> {
    plan_err!(
        "Interval has no length that is known beforehand. Compare with a literal such as INTERVAL '2 hours'"
    )
}

fn nanos(interval: IntervalMonthDayNano) -> Result<i64> {
    if interval.months != 0 {
        return plan_err!("Interval of months or years has no fixed length. Write it in days");
    }
    i64::from(interval.days)
        .checked_mul(NANOS_PER_DAY)
        .and_then(|days| days.checked_add(interval.nanoseconds))
        .ok_or_else(|| plan_datafusion_err!("Interval is longer than 292 years"))
}
