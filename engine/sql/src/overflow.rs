//! Whole numbers that do not fit are an error, never a number that wrapped around.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, NegativeExpr, lit};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::compile::is_constant;

/// Makes `+`, `-` and `*` over columns of `input` fail where they would wrap around, which is what DataFusion does by
/// itself.
pub(crate) fn checked(
    expr: Arc<dyn PhysicalExpr>,
    input: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let changed = expr.transform_up(|node| {
        if let Some(binary) = node.downcast_ref::<BinaryExpr>() {
            let binary = binary.clone().with_fail_on_overflow(true);
            return Ok(Transformed::yes(Arc::new(binary) as _));
        }
        if let Some(negative) = node.downcast_ref::<NegativeExpr>() {
            let number = negative.arg().data_type(input)?;
            if number.is_signed_integer() {
                let zero = lit(ScalarValue::new_zero(&number)?);
                let minus = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
                return Ok(Transformed::yes(
                    Arc::new(minus.with_fail_on_overflow(true)) as _,
                ));
            }
        }
        Ok(Transformed::no(node))
    })?;
    Ok(changed.data)
}

/// The optimizer folds constants with wrapping arithmetic; this finds those that would.
pub(crate) fn check_constants(plan: &LogicalPlan, config: &Arc<ConfigOptions>) -> Result<()> {
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if !matches!(part, Expr::BinaryExpr(_)) || !is_constant(part) {
                    return Ok(TreeNodeRecursion::Continue);
                }
                match evaluate(part, config) {
                    Err(DataFusionError::ArrowError(error, _))
                        if matches!(*error, ArrowError::ArithmeticOverflow(_)) =>
                    {
                        Err(DataFusionError::ArrowError(error, None))
                    }
                    _ => Ok(TreeNodeRecursion::Jump),
                }
            })
        })
    })?;
    Ok(())
}

/// Evaluates what depends on no message, with nothing to show for it.
pub(crate) fn evaluate(expr: &Expr, config: &Arc<ConfigOptions>) -> Result<()> {
    let expr = create_physical_expr(
        expr,
        &DFSchema::empty(),
        &execution_props(config),
        &PhysicalPlanningContext::default(),
    )?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    checked(expr, &batch.schema())?.evaluate(&batch)?;
    Ok(())
}

/// What physical planning wants to know; there is no clock in it.
pub(crate) fn execution_props(config: &Arc<ConfigOptions>) -> ExecutionProps {
    let mut props = ExecutionProps::new();
    props.config_options = Some(Arc::clone(config));
    props
}
