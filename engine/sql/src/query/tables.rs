//! What a statement may name, as the planner asks for it: nothing is looked up before a statement names it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::{PartitionStream as _, StreamingTableExec};
use millstream_pipeline::{Column, ColumnKind};

use super::bounds::{bounds, narrows};
use super::source::{Records, Watch};
use super::{Table, Tables};
use crate::catalog::{Origin, SEQUENCE, Source, sources};

/// The tables that a question named. Each is looked up once, so that all of the question sees the same messages.
#[derive(Debug)]
pub(super) struct Named {
    tables: Arc<dyn Tables>,
    found: Mutex<HashMap<Name, Option<Arc<dyn Table>>>>,
}

/// The group of a table, and its own name.
type Name = (String, String);

impl Named {
    pub(super) fn new(tables: Arc<dyn Tables>) -> Self {
        Self {
            tables,
            found: Mutex::default(),
        }
    }

    /// A table of a group, the first one where none is given.
    pub(super) fn find(
        &self,
        group: Option<&str>,
        name: &str,
    ) -> Result<Option<Arc<dyn Table>>, String> {
        let group = match group {
            Some(group) => group.to_owned(),
            None => self.tables.groups().into_iter().next().unwrap_or_default(),
        };
        let key = (group, name.to_owned());
        // Only this query's thread asks. What is in there is whole whoever panicked.
        let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = known.get(&key) {
            return Ok(table.clone());
        }
        let table = self.tables.table(&key.0, name)?;
        known.insert(key, table.clone());
        Ok(table)
    }
}

/// The groups of tables as a catalog.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) named: Arc<Named>,
    pub(super) watch: Arc<Watch>,
}

impl CatalogProvider for Groups {
    fn schema_names(&self) -> Vec<String> {
        self.named.tables.groups()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let known = self.named.tables.groups();
        let known = known.iter().any(|group| group == name);
        known.then(|| {
            Arc::new(Group {
                name: name.to_owned(),
                named: Arc::clone(&self.named),
                watch: Arc::clone(&self.watch),
            }) as Arc<dyn SchemaProvider>
        })
    }
}

#[derive(Debug)]
struct Group {
    name: String,
    named: Arc<Named>,
    watch: Arc<Watch>,
}

#[async_trait]
impl SchemaProvider for Group {
    fn table_names(&self) -> Vec<String> {
        self.named.tables.names(&self.name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let found = self.named.find(Some(&self.name), name);
        let found = found.map_err(|why| DataFusionError::External(why.into()))?;
        let watch = Arc::clone(&self.watch);
        Ok(found.map(|table| Arc::new(Provider::new(table, watch)) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        let names = self.named.tables.names(&self.name);
        names.iter().any(|own| own == name)
    }
}

#[derive(Debug)]
struct Provider {
    table: Arc<dyn Table>,
    sources: Vec<Source>,
    schema: SchemaRef,
    watch: Arc<Watch>,
}

impl Provider {
    fn new(table: Arc<dyn Table>, watch: Arc<Watch>) -> Self {
        // Members may be missing: a table has messages of older versions, too. What is nested stays as it was written.
        let nullable = |column: Column| Column {
            nullable: true,
            kind: match column.kind {
                kind if kind.is_nested() => ColumnKind::Json,
                kind => kind,
            },
            ..column
        };
        let columns: Vec<Column> = table.columns().into_iter().map(nullable).collect();
        let mut sources = sources(&columns);
        if table.is_stored() {
            sources.retain(|source| !matches!(source.origin, Origin::Sequence | Origin::Key));
            sources.push(Source {
                name: SEQUENCE.to_owned(),
                origin: Origin::Sequence,
                nullable: false,
            });
        } else {
            sources.retain(|source| matches!(source.origin, Origin::Member(_)));
        }
        let fields: Vec<Field> = sources.iter().map(Source::field).collect();
        Self {
            table,
            sources,
            schema: Arc::new(Schema::new(fields)),
            watch,
        }
    }
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let each = filters.iter().map(|filter| {
            if self.table.is_stored() && narrows(filter) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        });
        Ok(each.collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sources = match projection {
            None => self.sources.clone(),
            Some(columns) => columns
                .iter()
                .map(|column| self.sources[*column].clone())
                .collect(),
        };
        let table = Arc::clone(&self.table);
        let records = Records::new(table, bounds(filters), sources, Arc::clone(&self.watch));
        let schema = Arc::clone(records.schema());
        // A filter that is only narrowed by may leave fewer rows than the limit asks for.
        let limit = limit.filter(|_| filters.is_empty());
        let plan =
            StreamingTableExec::try_new(schema, vec![Arc::new(records)], None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}
