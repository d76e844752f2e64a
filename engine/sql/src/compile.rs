//! From a statement to steps over arrays, once per deployment.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use bytes::Bytes;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Statement};
use millstream_pipeline::Column;
use millstream_types::{check_subject, nearest};

use crate::catalog::{Catalog, SUBJECT, Source, TIME};
use crate::error::{Place, SqlError};
use crate::functions::{NONE_DEPLOYED, Provider, Sources as _, SqlFunctions};
use crate::lower::{Lowered, lower};
use crate::parse::Parsed;
use crate::shape::Shaped;
use crate::texts::with_raw;
use crate::{intervals, locate, overflow, parse, patterns, shape};

/// Stack of the thread that compiles. Planning recurses over the statement with frames of many kilobytes, and the caller
/// may stand on a small stack.
const STACK: usize = 64 * 1024 * 1024;

/// What a statement may name besides functions that SQL has: what is declared around it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The columns of the payload as it arrives; without them the whole payload is the column `payload`.
    pub columns: Option<&'a [Column]>,
    /// The deployed functions.
    pub functions: &'a SqlFunctions,
    /// The other stations, for `INSERT INTO`.
    pub stations: &'a [Station],
}

impl Default for Surroundings<'_> {
    fn default() -> Self {
        Self {
            columns: None,
            functions: &NONE_DEPLOYED,
            stations: &[],
        }
    }
}

/// A station that a statement may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    /// Its name.
    pub name: String,
    /// The subjects it stores.
    pub subjects: Vec<String>,
}

/// Where the rows of a statement go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) station: Station,
    /// The subject of what says none.
    pub(crate) subject: Option<Bytes>,
}

/// One statement, and the station behind `INSERT INTO`.
pub(crate) type Compiled = (Lowered, Option<Target>);

/// What statements may read, and the statements.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) sources: Vec<Source>,
    pub(crate) each: Vec<Compiled>,
}

/// Checks and compiles `text` among its surroundings.
pub(crate) fn compile(text: &str, around: &Surroundings<'_>) -> Result<Statements, SqlError> {
    on_big_stack(|| on_this_stack(text, around))
}

/// Compiles on a thread with a stack that planning cannot use up.
pub(crate) fn on_big_stack<T: Send>(
    compile: impl FnOnce() -> Result<T, SqlError> + Send,
) -> Result<T, SqlError> {
    let compiled = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("sql-compile".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, compile)
            .map(|thread| thread.join())
    });
    match compiled {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(
            SqlError::new(Place::START, "planner failed on this statement")
                .hint("this is an error of the planner: write it in another way and report it"),
        ),
        Err(error) => Err(
            SqlError::new(Place::START, format!("no thread to compile on: {error}"))
                .hint("free memory and apply again"),
        ),
    }
}

fn on_this_stack(text: &str, around: &Surroundings<'_>) -> Result<Statements, SqlError> {
    let catalog = Catalog::new(around);
    catalog.functions().check_names(text)?;
    let mut each = Vec::new();
    for Parsed { query, into, text } in parse::parse(text)? {
        let shaped = shape::check(&text, *query, &catalog)?;
        let lowered = build(&catalog, &shaped)
            .map_err(|error| locate::explain(&text, &catalog, &shaped, &error))?;
        let target = into.map(|(name, at)| target(&name, at, around.stations, &lowered));
        each.push((lowered, target.transpose()?));
    }
    Ok(Statements {
        sources: catalog.sources().to_vec(),
        each,
    })
}

/// The station that rows go to. When it has one subject they need not say it.
fn target(
    name: &str,
    at: Place,
    stations: &[Station],
    lowered: &Lowered,
) -> Result<Target, SqlError> {
    let Some(station) = stations.iter().find(|station| station.name == name) else {
        let error = SqlError::new(at, format!("no other station `{name}`"));
        let names = stations.iter().map(|station| station.name.as_str());
        return Err(match nearest(name, names) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("declare it: `kind: station`"),
        });
    };
    let says = lowered.outputs.iter().any(|output| output.name == SUBJECT);
    let subject = match station.subjects.as_slice() {
        [only] if check_subject(only.as_bytes()).is_ok() => Some(Bytes::from(only.clone())),
        _ => None,
    };
    if !says && subject.is_none() {
        let subjects = station.subjects.join("`, `");
        let message = format!("station `{name}` stores `{subjects}`: on which subject is not said");
        return Err(SqlError::new(at, message).hint("add `… AS _subject` to the `SELECT` list"));
    }
    Ok(Target {
        station: station.clone(),
        subject,
    })
}

/// Plans, types, simplifies and lowers a statement of the right shape.
pub(crate) fn build(catalog: &Catalog, shaped: &Shaped) -> Result<Lowered> {
    let plan = SqlToRel::new_with_options(&Provider(catalog), Catalog::parser_options())
        .sql_statement_to_plan(statement(shaped.select.clone()))?;
    let plan = clock_of_message(plan)?;
    let plan = with_raw(plan)?;
    let config = catalog.config();
    let typed = Analyzer::new().execute_and_check(plan, config, |_, _| {})?;
    let typed = intervals::as_durations(typed)?;
    overflow::check_constants(&typed, config)?;
    patterns::check(&typed, config)?;
    let context = OptimizerContext::new_with_config_options(optimizer_options(config))
        .without_query_execution_start_time();
    let plan = Optimizer::new().optimize(typed.clone(), &context, |_, _| {})?;
    lower(catalog, &typed, &plan)
}

fn optimizer_options(config: &ConfigOptions) -> Arc<ConfigOptions> {
    let mut options = config.clone();
    options.optimizer.skip_failed_rules = false;
    Arc::new(options)
}

fn statement(select: Select) -> Statement {
    Statement::Query(Box::new(Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }))
}

/// The clock of a statement is the message's own time: the same message gives the same answer whenever it is run again,
/// and a batch may hold messages of different times.
fn clock_of_message(plan: LogicalPlan) -> Result<LogicalPlan> {
    let changed = plan.transform_up(|node| {
        let Some(schema) = node.inputs().first().map(|input| input.schema().clone()) else {
            return Ok(Transformed::no(node));
        };
        let mut columns = schema.columns().into_iter();
        let Some(time) = columns.find(|column| column.name == TIME) else {
            return Ok(Transformed::no(node));
        };
        let time = || Expr::Column(time.clone());
        let cast = |to: DataType| Expr::Cast(Cast::new(Box::new(time()), to));
        let node = node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                let Expr::ScalarFunction(call) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                Ok(match call.func.name() {
                    "now" => Transformed::yes(time()),
                    "current_date" => Transformed::yes(cast(DataType::Date32)),
                    "current_time" => {
                        Transformed::yes(cast(DataType::Time64(TimeUnit::Nanosecond)))
                    }
                    _ => Transformed::no(expr),
                })
            })
        })?;
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(changed.data)
}

/// Whether nothing of `expr` depends on a message.
pub(crate) fn is_constant(expr: &Expr) -> bool {
    !expr.any_column_refs() && !expr.is_volatile()
}

/// The literal NULL of any type.
pub(crate) fn is_null_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null_literal(&cast.expr),
        _ => false,
    }
}

/// The error that carries the reason, under all contexts.
pub(crate) fn root_text(error: &DataFusionError) -> String {
    error.find_root().message().into_owned()
}
