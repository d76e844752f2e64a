//! Plans a question, watches it while it runs, and prints its rows.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement;
use futures_util::StreamExt as _;
use millstream_types::nearest;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

use super::source::Watch;
use super::tables::Groups;
use super::{Event, Limits, Looked, QueryError, Tables};
use crate::catalog::{expr_planners, is_json};
use crate::compile::root_text;
use crate::error::{Place, SqlError};
use crate::functions::scalar_functions;
use crate::lower::Output;
use crate::print::{Printer, check_printable, kind_of};
use crate::program::sql_error;
use crate::{locate, parse};

/// Stack of a query's thread: planning recurses over the statement with frames of many kilobytes.
const STACK: usize = 64 * 1024 * 1024;
#[cfg(target_os = "linux")]
/// The priority that gives way to everything else.
const LOWEST: i32 = 19;
/// The catalog that need not be named.
const CATALOG: &str = "millstream";
/// Between two reports of how far it is.
const REPORT: Duration = Duration::from_millis(500);
/// Bytes of printed rows that are told at once.
const PIECE: usize = 64 * 1024;

/// Runs a question on a thread of its own. `tell` hears of everything in the order of [`Event`], and ends the query by saying
/// false; it may block, which makes the query wait.
///
/// # Errors
/// When there is no thread to be had.
pub fn start<F>(
    text: String,
    tables: Arc<dyn Tables>,
    limits: Limits,
    mut tell: F,
) -> io::Result<()>
where
    F: FnMut(Event) -> bool + Send + 'static,
{
    let run = move || {
        give_way();
        let mut query = Query {
            tables,
            limits,
            watch: Arc::new(Watch::default()),
            rows: 0,
        };
        let ended = catch_unwind(AssertUnwindSafe(|| query.run(&text, &mut tell)));
        let ended = ended.unwrap_or_else(|_| {
            let why = "query failed inside the engine: write it in another way and report it";
            Err(QueryError::Failed(why.to_owned()))
        });
        // Whether anybody still listens no longer matters.
        let _gone = tell(Event::End(ended));
    };
    let thread = std::thread::Builder::new().name("query".to_owned());
    thread.stack_size(STACK).spawn(run).map(drop)
}

/// What a query waited for.
enum Step {
    Deadline,
    Report,
    Next(Option<Result<RecordBatch, DataFusionError>>),
}

/// Lets everything else go first. Only Linux has a priority for a single thread.
fn give_way() {
    // Where it is not to be had, the query runs all the same.
    #[cfg(target_os = "linux")]
    let _lower = rustix::process::nice(LOWEST);
}

struct Query {
    tables: Arc<dyn Tables>,
    limits: Limits,
    watch: Arc<Watch>,
    rows: u64,
}

impl Query {
    fn run(
        &mut self,
        text: &str,
        tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Looked, QueryError> {
        let statement = parse::parse_question(text)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| QueryError::Failed(error.to_string()))?;
        let mut state = self.state().map_err(|error| self.failed(&error))?;
        // What `now()` says.
        state.mark_start_execution();
        let deadline = Instant::now() + self.limits.time;
        let plan = runtime.block_on(self.plan(text, &state, statement))?;
        self.rows(&runtime, &state, plan, (deadline, tell))
    }

    async fn plan(
        &self,
        text: &str,
        state: &SessionState,
        statement: Statement,
    ) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
        let refused = |error: DataFusionError| self.refused(text, &error);
        let statement = Parsed::Statement(Box::new(statement));
        let plan = state.statement_to_plan(statement).await.map_err(refused)?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(refused)?;
        let plan = state.create_physical_plan(&plan).await.map_err(refused)?;
        with_pauses(plan).map_err(|error| self.failed(&error))
    }

    /// What a plan is made and run with: no disk, no network, one thread.
    fn state(&self) -> Result<SessionState, DataFusionError> {
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_create_default_catalog_and_schema(false);
        let first = self.tables.groups().into_iter().next().unwrap_or_default();
        let options = config.options_mut();
        CATALOG.clone_into(&mut options.catalog.default_catalog);
        options.catalog.default_schema = first;
        // Names are as written: JSON members differ by case.
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.collect_spans = true;
        options.sql_parser.map_string_types_to_utf8view = false;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(self.limits.memory)))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
            )
            .build_arc()?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(
            CATALOG.to_owned(),
            Arc::new(Groups {
                tables: Arc::clone(&self.tables),
                watch: Arc::clone(&self.watch),
            }),
        );
        Ok(SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(catalogs))
            .with_scalar_functions(scalar_functions())
            .with_expr_planners(expr_planners())
            .with_table_factories(std::collections::HashMap::new())
            .build())
    }

    fn rows(
        &mut self,
        runtime: &Runtime,
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        (deadline, tell): (Instant, &mut dyn FnMut(Event) -> bool),
    ) -> Result<Looked, QueryError> {
        let outputs = outputs(&plan.schema())?;
        let kinds = outputs.iter().map(|output| {
            let kind = kind_of(&output.data_type, output.json).as_str();
            (output.name.clone(), kind)
        });
        self.tell(tell, Event::Columns(kinds.collect()))?;
        let printer = Printer::new(&outputs);
        // Some operators start tasks at once.
        let stream = runtime.block_on(async { execute_stream(plan, state.task_ctx()) });
        let mut stream = stream.map_err(|error| self.failed(&error))?;
        let mut report = Instant::now() + REPORT;
        loop {
            let step = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = sleep_until(deadline) => Step::Deadline,
                    () = sleep_until(report) => Step::Report,
                    next = stream.next() => Step::Next(next),
                }
            });
            // Told outside of the runtime, for it may block.
            match step {
                Step::Deadline => return Err(QueryError::Deadline(self.limits.time)),
                Step::Report => {
                    report = Instant::now() + REPORT;
                    self.tell(tell, Event::Progress(self.watch.looked(self.rows)))?;
                }
                Step::Next(None) => return Ok(self.watch.looked(self.rows)),
                Step::Next(Some(Err(error))) => return Err(self.failed(&error)),
                Step::Next(Some(Ok(batch))) => self.print(&printer, &batch, tell)?,
            }
        }
    }

    fn print(
        &mut self,
        printer: &Printer,
        batch: &RecordBatch,
        tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), QueryError> {
        let rows = printer.rows(batch);
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            rows.put(row, &mut text).map_err(QueryError::Failed)?;
            text.push(b'\n');
            self.rows += 1;
            if text.len() >= PIECE || row + 1 == batch.num_rows() {
                self.tell(tell, Event::Rows(std::mem::take(&mut text)))?;
            }
        }
        Ok(())
    }

    fn tell(&self, tell: &mut dyn FnMut(Event) -> bool, event: Event) -> Result<(), QueryError> {
        if tell(event) {
            return Ok(());
        }
        self.watch.stop();
        Err(QueryError::Cancelled)
    }

    /// The planner's error, about the text.
    fn refused(&self, text: &str, error: &DataFusionError) -> QueryError {
        if let DataFusionError::ResourcesExhausted(_) = error.find_root() {
            return QueryError::Memory(self.limits.memory);
        }
        if let DataFusionError::External(why) = error.find_root() {
            return QueryError::Failed(why.to_string());
        }
        let span = error.diagnostic().and_then(|known| known.span);
        let told = span.map(|span| Place {
            line: u32::try_from(span.start.line).unwrap_or(1),
            column: u32::try_from(span.start.column).unwrap_or(1),
        });
        let message = root_text(error);
        if let Some(name) = missing_table(&message) {
            return self.no_table(text, name).into();
        }
        if let DataFusionError::SchemaError(schema, _) = error.find_root()
            && let SchemaError::FieldNotFound {
                field,
                valid_fields,
            } = schema.as_ref()
        {
            let at = told.unwrap_or_else(|| parse::word(text, &field.name));
            let message = format!("there is no column `{}`", field.name);
            let names: Vec<&str> = valid_fields.iter().map(|valid| valid.name()).collect();
            let near = nearest(&field.name, names.iter().copied());
            let hint = near.map_or_else(
                || format!("columns are {}", listed(&names)),
                |near| format!("did you mean `{near}`?"),
            );
            return SqlError::new(at, message).hint(hint).into();
        }
        let guilty = message.split('\'').nth(1);
        let at = told.or_else(|| guilty.map(|name| parse::word(text, name)));
        locate::worded(at.unwrap_or(Place::START), &message).into()
    }

    fn no_table(&self, text: &str, name: &str) -> SqlError {
        let mut parts: Vec<&str> = name.split('.').collect();
        let table = parts.pop().unwrap_or_default();
        let groups = self.tables.groups();
        let group = parts
            .pop()
            .filter(|group| groups.iter().any(|own| own == group));
        let at = parse::word(text, table);
        let Some(group) = group else {
            return SqlError::new(at, format!("there is no table `{name}`"))
                .hint(format!("tables are in {}", groups.join(" and ")));
        };
        let names = self.tables.names(group);
        let near = nearest(table, names.iter().map(String::as_str));
        let first = groups.first().is_some_and(|first| first == group);
        let shown = if first {
            table
        } else {
            &format!("{group}.{table}")
        };
        let error = SqlError::new(at, format!("there is no table `{shown}`"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match near {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if names.is_empty() => error.hint("there are no stations yet"),
            None => error.hint(format!("`{group}` has {}", listed(&names))),
        }
    }

    /// What went wrong while it ran.
    fn failed(&self, error: &DataFusionError) -> QueryError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => QueryError::Memory(self.limits.memory),
            _ => QueryError::Failed(sql_error(error).reason),
        }
    }
}

/// Some of many names.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 20;
    let shown: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = if names.len() > MOST { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The name in the planner's "table 'a.b.c' not found".
fn missing_table(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("table '")?;
    rest.strip_suffix("' not found")
}

/// Joins make many rows of few: they pause like scans do, so that a deadline is noticed.
fn with_pauses(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let joins = |node: &Arc<dyn ExecutionPlan>| {
        node.is::<CrossJoinExec>()
            || node.is::<NestedLoopJoinExec>()
            || node.is::<HashJoinExec>()
            || node.is::<SortMergeJoinExec>()
    };
    plan.transform_up(|node| {
        if joins(&node) {
            let paused: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
            return Ok(Transformed::yes(paused));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

/// The columns of an answer, each of which JSON can hold.
fn outputs(schema: &Schema) -> Result<Vec<Output>, QueryError> {
    let output = |field: &Arc<arrow::datatypes::Field>| {
        check_printable(field.data_type()).map_err(|why| {
            let why = format!("column `{}` is {why}", field.name());
            QueryError::Statement(SqlError::new(Place::START, why))
        })?;
        Ok(Output {
            nullable: field.is_nullable(),
            ..Output::member(field.name(), field.data_type().clone(), is_json(field))
        })
    };
    schema.fields().iter().map(output).collect()
}
