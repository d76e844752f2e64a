//! Regular expressions are compiled when a statement is applied: one that is wrong or too large is told then, and none comes
//! with a message, which could make each row as dear as it likes.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};

use crate::compile::is_constant;
use crate::overflow::evaluate;

/// Checks the patterns of a typed plan.
pub(crate) fn check(plan: &LogicalPlan, config: &Arc<ConfigOptions>) -> Result<()> {
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Some(pattern) = pattern(part) {
                    check_one(pattern, config)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn pattern(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, right, .. }) => matches!(
            op,
            Operator::RegexMatch
                | Operator::RegexIMatch
                | Operator::RegexNotMatch
                | Operator::RegexNotIMatch
        )
        .then_some(right),
        Expr::ScalarFunction(call) if call.func.name().starts_with("regexp_") => call.args.get(1),
        _ => None,
    }
}

fn check_one(pattern: &Expr, config: &Arc<ConfigOptions>) -> Result<()> {
    if !is_constant(pattern) {
        return plan_err!(
            "Regular expression comes with the message. Write it into the statement, for it is compiled when that is applied"
        );
    }
    let tried = BinaryExpr::new(
        Box::new(lit("")),
        Operator::RegexMatch,
        Box::new(pattern.clone()),
    );
    match evaluate(&Expr::BinaryExpr(tried), config) {
        Err(error) if error.find_root().to_string().contains("CompiledTooBig") => {
            plan_err!("Regular expression is larger than 10 MiB when compiled. Repeat less of it")
        }
        other => other,
    }
}
