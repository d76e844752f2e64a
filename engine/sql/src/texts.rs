//! Which texts of a plan are JSON, and nested columns as the JSON they were written as.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection};
use millstream_pipeline::ColumnKind;

use arrow::datatypes::DataType;

use crate::catalog::{self, Catalog, Origin, raw_name};
use crate::compile::is_null_literal;
use crate::functions::json::is_json_function;

/// Puts a nested column's own JSON in its place where it is passed on as it is, and where a JSON function reads it.
pub(crate) fn with_raw(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = match plan {
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema();
            let each = projection.expr.iter().map(|expr| passed_on(expr, schema));
            let exprs: Vec<Expr> = each.collect();
            LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?)
        }
        other => other,
    };
    let changed = plan.transform_up(|node| {
        let Some(schema) = node.inputs().first().map(|input| input.schema().clone()) else {
            return Ok(Transformed::no(node));
        };
        node.map_expressions(|expr| expr.transform_up(|expr| read_as_json(expr, &schema)))?
            .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(changed.data)
}

fn passed_on(expr: &Expr, schema: &DFSchema) -> Expr {
    let (inner, name) = match expr {
        Expr::Alias(alias) => (&*alias.expr, alias.name.clone()),
        Expr::Column(column) => (expr, column.name.clone()),
        _ => return expr.clone(),
    };
    match inner {
        Expr::Column(column) => match raw(column, schema) {
            Some(raw) => Expr::Column(raw).alias(name),
            None => expr.clone(),
        },
        _ => expr.clone(),
    }
}

/// The column with a nested column's own JSON.
fn raw(column: &Column, schema: &DFSchema) -> Option<Column> {
    let raw = Column::new(column.relation.clone(), raw_name(&column.name));
    schema.has_column(&raw).then_some(raw)
}

fn read_as_json(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let Some((first, path)) = call
        .args
        .split_first()
        .filter(|_| is_json_function(&call.func))
    else {
        return Ok(Transformed::no(expr));
    };
    if let Expr::Column(column) = first
        && let Some(raw) = raw(column, schema)
    {
        let args = std::iter::once(Expr::Column(raw)).chain(path.iter().cloned());
        let call = ScalarFunction::new_udf(std::sync::Arc::clone(&call.func), args.collect());
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    }
    if first.get_type(schema)?.is_nested() {
        return plan_err!(
            "`{first}` is no JSON text: its members have types of their own. Write a.b for a member, a[1] for an element"
        );
    }
    Ok(Transformed::no(expr))
}

/// The nested type behind a column that is its own JSON.
pub(crate) fn raw_kind(catalog: &Catalog, expr: &Expr) -> Option<ColumnKind> {
    match expr {
        Expr::Alias(alias) => raw_kind(catalog, &alias.expr),
        Expr::Column(column) => {
            let mut sources = catalog.sources().iter();
            let source = sources.find(|source| source.name == column.name)?;
            match &source.origin {
                Origin::Raw(_, kind) => Some(kind.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether the text of `expr` over the rows of `input` is JSON: a JSON column, what a function takes out of JSON, or a choice
/// between such texts.
pub(crate) fn is_json(catalog: &Catalog, input: &LogicalPlan, expr: &Expr) -> bool {
    let all = |mut exprs: Box<dyn Iterator<Item = &Expr> + '_>| {
        exprs.all(|expr| is_null_literal(expr) || is_json(catalog, input, expr))
    };
    match expr {
        Expr::Alias(alias) => is_json(catalog, input, &alias.expr),
        Expr::Column(column) => {
            let index = input.schema().maybe_index_of_column(column);
            index.is_some_and(|index| column_is_json(catalog, input, index))
        }
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter().map(|(_, then)| then);
            all(Box::new(branches.chain(&case.else_expr).map(AsRef::as_ref)))
        }
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
            all(Box::new(call.args.iter()))
        }
        Expr::ScalarFunction(call) if call.func.name() == "array_element" => {
            let list = call.args.first().map(|list| list.get_type(input.schema()));
            matches!(list, Some(Ok(list)) if holds_json(&list))
        }
        Expr::ScalarFunction(_) => {
            let field = expr.to_field(input.schema());
            field.is_ok_and(|(_, field)| catalog::is_json(&field))
        }
        _ => false,
    }
}

fn holds_json(list: &DataType) -> bool {
    match list {
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            catalog::is_json(of)
        }
        _ => false,
    }
}

/// Whether a column of a plan's rows is JSON, by where it comes from.
fn column_is_json(catalog: &Catalog, plan: &LogicalPlan, index: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => projection
            .expr
            .get(index)
            .is_some_and(|expr| is_json(catalog, &projection.input, expr)),
        LogicalPlan::SubqueryAlias(alias) => column_is_json(catalog, &alias.input, index),
        LogicalPlan::Filter(filter) => column_is_json(catalog, &filter.input, index),
        LogicalPlan::Unnest(unnest) => {
            let Some(from) = unnest.dependency_indices.get(index).copied() else {
                return false;
            };
            if unnest
                .list_type_columns
                .iter()
                .any(|(list, _)| *list == from)
            {
                return holds_json(unnest.input.schema().field(from).data_type());
            }
            column_is_json(catalog, &unnest.input, from)
        }
        LogicalPlan::TableScan(_) => catalog::is_json(plan.schema().field(index)),
        _ => false,
    }
}
