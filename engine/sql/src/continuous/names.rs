//! What a query may name: its sources, and functions.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{TableSource, TableType};
use millstream_pipeline::{Column, ColumnKind};
use millstream_spec::{QuerySource, QuerySpec, ValueType};

use super::{Stations, windows};
use crate::catalog::{Source, sources};
use crate::functions::{Functions, Sources, SqlFunctions, scalar_functions};

/// Functions that tell the time of the server, which the query's own clock stands for.
const CLOCKS: [&str; 4] = ["now", "current_timestamp", "current_date", "current_time"];

/// A source that a query names.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// The name that the query gives it.
    pub(crate) name: String,
    pub(crate) station: String,
    pub(crate) source: QuerySource,
    pub(crate) columns: Vec<Source>,
    schema: SchemaRef,
}

impl TableSource for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }
}

/// What a query may name.
pub(crate) struct Names<'a> {
    spec: &'a QuerySpec,
    stations: &'a dyn Stations,
    /// Those that were asked for.
    tables: Mutex<HashMap<String, Arc<Table>>>,
    functions: Functions,
}

impl<'a> Names<'a> {
    pub(crate) fn new(
        spec: &'a QuerySpec,
        stations: &'a dyn Stations,
        clock: &Arc<AtomicI64>,
        deployed: &SqlFunctions,
    ) -> Self {
        let mut scalars = scalar_functions();
        scalars.retain(|function| !CLOCKS.contains(&function.name()));
        let scalars = scalars.into_iter().chain(windows::functions(clock));
        let mut options = ConfigOptions::default();
        options.optimizer.skip_failed_rules = false;
        // A subquery of one row is joined like any other input.
        options
            .optimizer
            .enable_physical_uncorrelated_scalar_subquery = false;
        let planners = SessionStateDefaults::default_expr_planners();
        Self {
            spec,
            stations,
            tables: Mutex::default(),
            functions: Functions::new(scalars, deployed, planners, options).with_windows(),
        }
    }

    pub(crate) fn config(&self) -> &Arc<ConfigOptions> {
        self.functions.options()
    }

    /// A source by the name that the query gives it.
    pub(crate) fn table(&self, name: &str) -> Result<Arc<Table>> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tables.get(name) {
            return Ok(Arc::clone(known));
        }
        let table = Arc::new(self.look(name)?);
        tables.insert(name.to_owned(), Arc::clone(&table));
        Ok(table)
    }

    fn look(&self, name: &str) -> Result<Table> {
        let source = self.spec.sources.get(name).cloned().unwrap_or_default();
        let station = source.station.clone().unwrap_or_else(|| name.to_owned());
        let known = self
            .stations
            .columns(&station)
            .map_err(|why| plan_datafusion_err!("station `{station}` cannot be read: {why}"))?;
        let Some(known) = known else {
            return Err(plan_datafusion_err!("no table `{name}`"));
        };
        let columns = if source.columns.is_empty() {
            known
        } else {
            declared(&source)?
        };
        if columns.is_empty() {
            return Err(plan_datafusion_err!(
                "nothing is known of the columns of `{station}`; give the station a schema, or declare them under `sources`"
            ));
        }
        let columns = sources(&columns);
        let fields: Vec<_> = columns.iter().map(Source::field).collect();
        Ok(Table {
            name: name.to_owned(),
            station,
            source,
            columns,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// All names of tables.
    pub(crate) fn table_names(&self) -> Vec<String> {
        let mut names = self.stations.names();
        names.extend(self.spec.sources.keys().cloned());
        names
    }
}

fn declared(source: &QuerySource) -> Result<Vec<Column>> {
    let column = |(name, kind): (&String, &String)| {
        let wrong = |why: String| plan_datafusion_err!("column `{name}`: {why}");
        let kind = match kind.parse::<ValueType>().map_err(wrong)? {
            ValueType::Decimal(precision, scale) => ColumnKind::Decimal { precision, scale },
            ValueType::List(_) | ValueType::Map(_) | ValueType::Struct(_) => {
                return Err(wrong(format!(
                    "`{kind}` is nested; declare it in the `columns` or the schema of the station, or take `json`"
                )));
            }
            plain => {
                let kind = plain.to_string().parse::<ColumnKind>();
                kind.map_err(|why| wrong(why.to_string()))?
            }
        };
        Ok(Column {
            name: name.clone(),
            kind,
            nullable: true,
        })
    };
    source.columns.iter().map(column).collect()
}

impl Sources for Names<'_> {
    fn source(&self, name: &TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.table(name.table())?;
        Ok(table)
    }

    fn functions(&self) -> &Functions {
        &self.functions
    }
}
