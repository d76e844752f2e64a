//! Deployed functions in plans: which are called, and with which messages.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema as _, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF, ScalarUDFImpl as _};

use super::deployed::Deployed;
use crate::catalog::SEQUENCE;

/// The deployed functions that an expression calls.
pub(crate) fn deployed_calls(expr: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    let walked = expr.apply(|part| {
        if let Expr::ScalarFunction(call) = part
            && let Some(deployed) = call.func.inner().downcast_ref::<Deployed>()
        {
            names.push(deployed.name().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // Nothing in there fails.
    walked.map_or_else(|_| Vec::new(), |_| names)
}

/// Has deployed functions told the sequences of the messages that their arguments are of, where that is plain: an error names it.
pub(crate) fn with_sequences(plan: LogicalPlan) -> Result<LogicalPlan> {
    let changed = plan.transform_up(|node| {
        let inputs = node.inputs();
        let exprs = node.expressions();
        let calls = exprs.iter().any(|expr| !deployed_calls(expr).is_empty());
        let [input] = inputs.as_slice() else {
            return Ok(Transformed::no(node));
        };
        if !calls {
            return Ok(Transformed::no(node));
        }
        let schema = Arc::clone(input.schema());
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|part| Ok(numbered(part, &schema)))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(changed.data)
}

fn numbered(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::ScalarFunction(mut call) = expr else {
        return Transformed::no(expr);
    };
    let deployed = call.func.inner().downcast_ref::<Deployed>();
    let sequence = sequence_of(&call.args, schema);
    match (deployed, sequence) {
        // One with another number of arguments is told when types are checked.
        (Some(deployed), Some(sequence)) if deployed.takes(call.args.len()) => {
            call.func = Arc::new(ScalarUDF::from(deployed.numbered()));
            call.args.push(Expr::Column(sequence));
            Transformed::yes(Expr::ScalarFunction(call))
        }
        _ => Transformed::no(Expr::ScalarFunction(call)),
    }
}

/// The column with the sequence of the one table that all arguments are of.
fn sequence_of(args: &[Expr], schema: &DFSchema) -> Option<Column> {
    let mut columns = args.iter().flat_map(Expr::column_refs);
    let table = columns.next()?.relation.clone();
    if columns.any(|column| column.relation != table) {
        return None;
    }
    let sequence = Column::new(table, SEQUENCE);
    let field = schema.field_from_column(&sequence).ok()?;
    (*field.data_type() == DataType::Int64).then_some(sequence)
}
