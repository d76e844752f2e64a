//! Whole numbers that do not fit are an error, never a number that wrapped around.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::compile::is_constant;

/// Makes `+`, `-` and `*` fail where they would wrap around, which is what DataFusion does by itself.
pub(crate) fn checked(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let changed = expr.transform_up(|node| {
        Ok(match node.downcast_ref::<BinaryExpr>() {
            Some(binary) => {
                Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as _)
            }
            None => Transformed::no(node),
        })
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

fn evaluate(expr: &Expr, config: &Arc<ConfigOptions>) -> Result<()> {
    let expr = create_physical_expr(
        expr,
        &DFSchema::empty(),
        &execution_props(config),
        &PhysicalPlanningContext::default(),
    )?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    checked(expr)?.evaluate(&batch)?;
    Ok(())
}

/// What physical planning wants to know; there is no clock in it.
pub(crate) fn execution_props(config: &Arc<ConfigOptions>) -> ExecutionProps {
    let mut props = ExecutionProps::new();
    props.config_options = Some(Arc::clone(config));
    props
}
