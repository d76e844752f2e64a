//! From a text to a plan, or to why there is none and where.

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement;
use millstream_types::nearest;

use super::source::Watch;
use super::tables::{Groups, Named};
use super::{Limits, QueryError, Tables};
use crate::catalog::expr_planners;
use crate::compile::root_text;
use crate::error::{Place, SqlError};
use crate::functions::{Functions, scalar_functions, told_of_rejection, with_sequences};
use crate::program::sql_error;
use crate::{locate, parse};

/// The catalog that need not be named.
const CATALOG: &str = "millstream";

/// What plans of a question are made of.
pub(super) struct Planner {
    pub(super) text: String,
    pub(super) tables: Arc<dyn Tables>,
    pub(super) named: Arc<Named>,
    pub(super) limits: Limits,
    pub(super) watch: Arc<Watch>,
    functions: Functions,
}

impl Planner {
    /// # Errors
    /// When a deployed function that the text names cannot be run.
    pub(super) fn new(
        text: String,
        tables: Arc<dyn Tables>,
        limits: Limits,
    ) -> Result<Self, QueryError> {
        let deployed = tables.functions(&text).map_err(QueryError::Failed)?;
        let (planners, options) = (expr_planners(), ConfigOptions::default());
        // What SQL has goes before what is deployed: nobody's name makes the questions of others fail.
        let functions = Functions::new(scalar_functions(), &deployed, planners, options);
        Ok(Self {
            text,
            named: Arc::new(Named::new(Arc::clone(&tables))),
            tables,
            limits,
            watch: Arc::default(),
            functions: functions.with_windows(),
        })
    }

    /// What a statement says, by the rules of what may be asked.
    pub(super) async fn logical(
        &self,
        state: &SessionState,
        statement: Statement,
    ) -> Result<LogicalPlan, QueryError> {
        let refused = |error: DataFusionError| self.refused(&error);
        let statement = Parsed::Statement(Box::new(statement));
        let plan = state.statement_to_plan(statement).await.map_err(refused)?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(refused)?;
        if self.functions.deployed().each.is_empty() {
            return Ok(plan);
        }
        with_sequences(plan).map_err(refused)
    }

    /// How it is done.
    pub(super) async fn physical(
        &self,
        state: &SessionState,
        statement: Statement,
    ) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
        let plan = self.logical(state, statement).await?;
        let plan = state.create_physical_plan(&plan).await;
        let plan = plan.map_err(|error| self.refused(&error))?;
        with_pauses(plan).map_err(|error| self.failed(&error))
    }

    /// What a plan is made and run with: no disk, no network, one thread.
    pub(super) fn state(&self) -> Result<SessionState, DataFusionError> {
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
                named: Arc::clone(&self.named),
                watch: Arc::clone(&self.watch),
            }),
        );
        Ok(SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(catalogs))
            .with_scalar_functions(self.functions.scalars())
            .with_expr_planners(expr_planners())
            .with_table_factories(std::collections::HashMap::new())
            .build())
    }

    /// The planner's error, about the text.
    fn refused(&self, error: &DataFusionError) -> QueryError {
        let text = &self.text;
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
        if let Some(error) = self.functions.missing(text, &message) {
            return error.into();
        }
        if let Some(name) = missing_table(&message) {
            return self.no_table(name).into();
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
        let at = told.unwrap_or_else(|| parse::guilty(text, &message));
        locate::worded(at, &message).into()
    }

    fn no_table(&self, name: &str) -> SqlError {
        let mut parts: Vec<&str> = name.split('.').collect();
        let table = parts.pop().unwrap_or_default();
        let groups = self.tables.groups();
        let group = parts
            .pop()
            .filter(|group| groups.iter().any(|own| own == group));
        let at = parse::word(&self.text, table);
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
    pub(super) fn failed(&self, error: &DataFusionError) -> QueryError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => QueryError::Memory(self.limits.memory),
            _ => {
                let told = told_of_rejection(error);
                QueryError::Failed(told.unwrap_or_else(|| sql_error(error).reason))
            }
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
