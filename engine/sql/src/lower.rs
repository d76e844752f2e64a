//! From a logical plan to steps: physical expressions over the arrays of a batch.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use millstream_pipeline::ColumnKind;

use crate::catalog::{Catalog, HEADERS, KEY, SUBJECT};
use crate::overflow::{checked, execution_props};
use crate::print::{check_printable, kind_of};
use crate::spread::Spread;
use crate::texts::{is_json, raw_kind};

/// One step over a batch.
#[derive(Debug)]
pub(crate) enum Step {
    /// Keeps the rows for which this is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Replaces the columns.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Makes a row of each element of lists.
    Spread(Spread),
    /// Keeps no row: the filter is never true.
    Nothing,
}

/// What an output is to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A member of the payload.
    Member,
    /// Its subject.
    Subject,
    /// Its headers.
    Headers,
    /// Its key.
    Key,
    /// Metadata that stays as it is.
    Same,
}

/// One output of a statement.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) kind: ColumnKind,
    pub(crate) nullable: bool,
    /// The text is JSON already.
    pub(crate) json: bool,
    pub(crate) role: Role,
}

impl Output {
    /// A member that may be null.
    pub(crate) fn member(name: &str, data_type: DataType, json: bool) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind_of(&data_type, json),
            data_type,
            nullable: true,
            json,
            role: Role::Member,
        }
    }
}

/// A compiled statement.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// The columns to read from each message, by their numbers in the catalog.
    pub(crate) scan: Vec<usize>,
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
            into.scan = match &scan.projection {
                Some(columns) => columns.clone(),
                None => (0..catalog.sources().len()).collect(),
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
        LogicalPlan::Unnest(unnest) => {
            walk(catalog, &unnest.input, into)?;
            into.steps.push(Step::Spread(Spread::new(unnest)?));
        }
        LogicalPlan::Projection(projection) => {
            walk(catalog, &projection.input, into)?;
            into.steps.push(project(catalog, projection)?);
        }
        other => return plan_err!("`{}` cannot be used in a stage", other.display()),
    }
    Ok(())
}

fn project(catalog: &Catalog, projection: &Projection) -> Result<Step> {
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
    Ok(Step::Project(exprs, Arc::new(Schema::new(fields))))
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
        let name = field.name();
        let role = role(name, expr, field.data_type())?;
        if let Err(why) = check_printable(field.data_type()) {
            return plan_err!("`{name}` is {why}");
        }
        if outputs.iter().any(|other| other.name == *name) {
            return plan_err!("two outputs are called `{name}`");
        }
        let json = is_json(catalog, &projection.input, expr);
        let kind = raw_kind(catalog, expr);
        outputs.push(Output {
            name: name.clone(),
            kind: kind.unwrap_or_else(|| kind_of(field.data_type(), json)),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            json,
            role,
        });
    }
    Ok(outputs)
}

/// What an output of this name is. Metadata that is passed on as it is keeps its bytes.
fn role(name: &str, expr: &Expr, data_type: &DataType) -> Result<Role> {
    let role = match name {
        SUBJECT => Role::Subject,
        HEADERS => Role::Headers,
        KEY => Role::Key,
        _ => return Ok(Role::Member),
    };
    let mut plain = expr;
    while let Expr::Alias(alias) = plain {
        plain = &alias.expr;
    }
    if matches!(plain, Expr::Column(column) if column.name == name) {
        return Ok(Role::Same);
    }
    let texts = |data_type: &DataType| data_type.is_string() || data_type.is_null();
    let fits = match (role, data_type) {
        (Role::Headers, DataType::Map(entries, _)) => match entries.data_type() {
            DataType::Struct(pair) => pair.iter().all(|part| texts(part.data_type())),
            _ => false,
        },
        (Role::Headers, data_type) => data_type.is_null(),
        (_, data_type) => texts(data_type),
    };
    match (fits, role) {
        (true, role) => Ok(role),
        (false, Role::Headers) => plan_err!(
            "`{HEADERS}` is {}, and headers are a map of texts. Write set_header(_headers, 'Name', 'value') or MAP {{'Name': 'value'}}",
            kind_of(data_type, false)
        ),
        (false, _) => plan_err!(
            "`{name}` is {}, and has to be text. Write CAST(… AS VARCHAR)",
            kind_of(data_type, false)
        ),
    }
}
