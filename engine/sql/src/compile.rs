//! From a statement to steps over arrays, once per deployment.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as ColumnName, DataFusionError, Result};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Statement};
use millstream_pipeline::Column;

use crate::catalog::{Catalog, TIME};
use crate::error::{Place, SqlError};
use crate::lower::{Lowered, lower};
use crate::shape::Shaped;
use crate::{intervals, locate, overflow, parse, shape};

/// Stack of the thread that compiles. Planning recurses over the statement with frames of many kilobytes, and the caller
/// may stand on a small stack.
const STACK: usize = 64 * 1024 * 1024;

/// Checks and compiles `text` against the columns of the payload.
pub(crate) fn compile(text: &str, columns: &[Column]) -> Result<Lowered, SqlError> {
    on_big_stack(|| on_this_stack(text, columns))
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

fn on_this_stack(text: &str, columns: &[Column]) -> Result<Lowered, SqlError> {
    let query = parse::parse(text)?;
    let catalog = Catalog::new(columns);
    let shaped = shape::check(text, *query, &catalog)?;
    build(&catalog, &shaped).map_err(|error| locate::explain(text, &catalog, &shaped, &error))
}

/// Plans, types, simplifies and lowers a statement of the right shape.
pub(crate) fn build(catalog: &Catalog, shaped: &Shaped) -> Result<Lowered> {
    let plan = SqlToRel::new_with_options(catalog, Catalog::parser_options())
        .sql_statement_to_plan(statement(shaped.select.clone()))?;
    let plan = clock_of_message(plan, &shaped.table)?;
    let config = catalog.config();
    let typed = Analyzer::new().execute_and_check(plan, config, |_, _| {})?;
    let typed = intervals::as_durations(typed)?;
    overflow::check_constants(&typed, config)?;
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
fn clock_of_message(plan: LogicalPlan, table: &str) -> Result<LogicalPlan> {
    let time = || Expr::Column(ColumnName::new(Some(table), TIME));
    let cast = |to: DataType| Expr::Cast(Cast::new(Box::new(time()), to));
    let changed = plan.transform_up(|node| {
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
