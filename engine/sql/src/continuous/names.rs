//! What a query may name: its sources, and functions.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, TableType, WindowUDF,
};
use datafusion::sql::planner::ContextProvider;
use millstream_pipeline::{Column, ColumnKind};
use millstream_spec::{QuerySource, QuerySpec, ValueType};

use super::{Stations, windows};
use crate::catalog::{Source, sources};
use crate::functions::scalar_functions;

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

/// What the planner asks for names.
pub(crate) struct Names<'a> {
    spec: &'a QuerySpec,
    stations: &'a dyn Stations,
    /// Those that were asked for.
    tables: Mutex<HashMap<String, Arc<Table>>>,
    functions: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: Arc<ConfigOptions>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(
        spec: &'a QuerySpec,
        stations: &'a dyn Stations,
        clock: &Arc<AtomicI64>,
    ) -> Self {
        let mut functions = HashMap::new();
        let builtin = scalar_functions();
        let builtin = builtin
            .into_iter()
            .filter(|function| !CLOCKS.contains(&function.name()));
        for function in builtin.chain(windows::functions(clock)) {
            for alias in function.aliases() {
                functions.insert(alias.clone(), Arc::clone(&function));
            }
            functions.insert(function.name().to_owned(), function);
        }
        let mut aggregates = HashMap::new();
        for function in all_default_aggregate_functions() {
            for alias in function.aliases() {
                aggregates.insert(alias.clone(), Arc::clone(&function));
            }
            aggregates.insert(function.name().to_owned(), function);
        }
        let windows = SessionStateDefaults::default_window_functions();
        let windows = windows.into_iter().flat_map(|function| {
            let names: Vec<String> = function.aliases().to_vec();
            let own = function.name().to_owned();
            let names = names.into_iter().chain([own]);
            names
                .map(move |name| (name, Arc::clone(&function)))
                .collect::<Vec<_>>()
        });
        let mut options = ConfigOptions::default();
        options.optimizer.skip_failed_rules = false;
        // A subquery of one row is joined like any other input.
        options
            .optimizer
            .enable_physical_uncorrelated_scalar_subquery = false;
        Self {
            spec,
            stations,
            tables: Mutex::default(),
            functions,
            aggregates,
            windows: windows.collect(),
            planners: SessionStateDefaults::default_expr_planners(),
            options: Arc::new(options),
        }
    }

    pub(crate) fn config(&self) -> &Arc<ConfigOptions> {
        &self.options
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

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.table(name.table())?;
        Ok(table)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.get(name).map(Arc::clone)
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).map(Arc::clone)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).map(Arc::clone)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.windows.keys().cloned().collect()
    }
}
