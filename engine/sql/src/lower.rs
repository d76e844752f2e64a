//! From a logical plan to steps: physical expressions over the arrays of a batch.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::catalog::{Catalog, Source};
use crate::compile::is_null_literal;
use crate::overflow::{checked, execution_props};
use crate::print::check_printable;

/// One step over a batch.
#[derive(Debug)]
pub(crate) enum Step {
    /// Keeps the rows for which this is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Replaces the columns.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Keeps no row: the filter is never true.
    Nothing,
}

/// One member of the new payload.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// The text is JSON already.
    pub(crate) json: bool,
}

/// A compiled statement.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// The columns to read from each message.
    pub(crate) scan: Vec<Source>,
    pub(crate) steps: Vec<Step>,
    pub(crate) outputs: Vec<Output>,
}

/// Lowers `plan`; `typed` is the same plan before the optimizer, from which the outputs are read.
pub(crate) fn lower(catalog: &Catalog, typed: &LogicalPlan, plan: &LogicalPlan) -> Result<Lowered> {
    let outputs = outputs(catalog, typed)?;
    let mut lowered = Lowered {
        scan: Vec::new(),
        steps: Vec::new(),
        outputs,
    };
    walk(catalog, plan, &mut lowered)?;
    Ok(lowered)
}

fn walk(catalog: &Catalog, plan: &LogicalPlan, into: &mut Lowered) -> Result<()> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
            let sources = catalog.sources();
            into.scan = match &scan.projection {
                Some(columns) => columns
                    .iter()
                    .map(|column| sources[*column].clone())
                    .collect(),
                None => sources.to_vec(),
            };
        }
        LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
            into.steps.push(Step::Nothing)
        }
        LogicalPlan::SubqueryAlias(alias) => walk(catalog, &alias.input, into)?,
        LogicalPlan::Filter(filter) => {
            walk(catalog, &filter.input, into)?;
            let predicate = physical(&filter.predicate, filter.input.schema(), catalog.config())?;
            into.steps.push(Step::Filter(predicate));
        }
        LogicalPlan::Projection(projection) => {
            walk(catalog, &projection.input, into)?;
            let exprs = projection
                .expr
                .iter()
                .map(|expr| physical(expr, projection.input.schema(), catalog.config()))
                .collect::<Result<Vec<_>>>()?;
            // Functions may deliver null where planning saw none, so the schema promises nothing.
            let fields: Vec<_> = projection
                .schema
                .fields()
                .iter()
                .map(|field| Field::new(field.name(), field.data_type().clone(), true))
                .collect();
            into.steps
                .push(Step::Project(exprs, Arc::new(Schema::new(fields))));
        }
        other => return plan_err!("`{}` cannot be used in a stage", other.display()),
    }
    Ok(())
}

pub(crate) fn physical(
    expr: &Expr,
    input: &DFSchema,
    config: &Arc<ConfigOptions>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let context = PhysicalPlanningContext::default();
    checked(
        create_physical_expr(expr, input, &execution_props(config), &context)?,
        input.as_arrow(),
    )
}

fn outputs(catalog: &Catalog, typed: &LogicalPlan) -> Result<Vec<Output>> {
    let LogicalPlan::Projection(projection) = typed else {
        return plan_err!("`{}` cannot be used in a stage", typed.display());
    };
    let fields = projection.schema.fields();
    if fields.is_empty() {
        return plan_err!("`SELECT` list is empty");
    }
    let mut outputs: Vec<Output> = Vec::with_capacity(fields.len());
    for (field, expr) in fields.iter().zip(&projection.expr) {
        if let Err(why) = check_printable(field.data_type()) {
            return plan_err!("`{}` is {why}", field.name());
        }
        if outputs.iter().any(|other| other.name == *field.name()) {
            return plan_err!("two outputs are called `{}`", field.name());
        }
        outputs.push(Output {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            json: is_json(catalog, expr),
        });
    }
    Ok(outputs)
}

/// Whether the text of `expr` is JSON as it was read: a JSON column, or a choice between such columns.
fn is_json(catalog: &Catalog, expr: &Expr) -> bool {
    let all = |mut exprs: Box<dyn Iterator<Item = &Expr> + '_>| {
        exprs.all(|expr| is_null_literal(expr) || is_json(catalog, expr))
    };
    match expr {
        Expr::Alias(alias) => is_json(catalog, &alias.expr),
        Expr::Column(column) => catalog
            .sources()
            .iter()
            .any(|source| source.name == column.name && source.is_json()),
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter().map(|(_, then)| then);
            all(Box::new(branches.chain(&case.else_expr).map(AsRef::as_ref)))
        }
        Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
            all(Box::new(call.args.iter()))
        }
        _ => false,
    }
}
