//! The functions that a statement may call, as the planner asks for them: the same for stages, flows and questions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference};
use datafusion::execution::SessionStateDefaults;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::ContextProvider;
use millstream_types::nearest;

use super::{POSITIONS, SqlFunctions};
use crate::error::SqlError;
use crate::parse;

/// All functions by name, and how a statement is planned.
pub(crate) struct Functions {
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    deployed: SqlFunctions,
    /// Deployed functions whose names SQL has already.
    taken: Vec<String>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: Arc<ConfigOptions>,
}

impl Functions {
    /// Those of DataFusion that are called on one row as `scalars` say, its aggregates, and the deployed ones.
    pub(crate) fn new(
        scalars: impl IntoIterator<Item = Arc<ScalarUDF>>,
        deployed: &SqlFunctions,
        planners: Vec<Arc<dyn ExprPlanner>>,
        options: ConfigOptions,
    ) -> Self {
        let scalars = scalars.into_iter();
        let mut scalars = by_name(scalars, |function| (function.name(), function.aliases()));
        let aggregates = by_name(all_default_aggregate_functions(), |function| {
            (function.name(), function.aliases())
        });
        let mut taken = Vec::new();
        for function in &deployed.each {
            let name = &function.name;
            if scalars.contains_key(name) || aggregates.contains_key(name) {
                taken.push(name.clone());
            } else {
                scalars.insert(name.clone(), function.udf());
            }
        }
        Self {
            scalars,
            aggregates,
            windows: HashMap::new(),
            deployed: deployed.clone(),
            taken,
            planners,
            options: Arc::new(options),
        }
    }

    /// The same with functions over windows of rows.
    pub(crate) fn with_windows(self) -> Self {
        let windows = SessionStateDefaults::default_window_functions();
        Self {
            windows: by_name(windows, |function| (function.name(), function.aliases())),
            ..self
        }
    }

    pub(crate) fn options(&self) -> &Arc<ConfigOptions> {
        &self.options
    }

    /// The deployed ones.
    pub(crate) fn deployed(&self) -> &SqlFunctions {
        &self.deployed
    }

    /// Those of one row, each once.
    pub(crate) fn scalars(&self) -> Vec<Arc<ScalarUDF>> {
        let own = self.scalars.iter();
        let own = own.filter(|(name, function)| name.as_str() == function.name());
        own.map(|(_, function)| Arc::clone(function)).collect()
    }

    pub(crate) fn is_aggregate(&self, name: &str) -> bool {
        self.aggregates.contains_key(name) && !self.scalars.contains_key(name)
    }

    pub(crate) fn is_scalar(&self, name: &str) -> bool {
        self.scalars.contains_key(name)
    }

    /// Whether a deployed function has the name of one that SQL has: a statement would not say which it means.
    pub(crate) fn check_names(&self, text: &str) -> Result<(), SqlError> {
        let Some(name) = self.taken.first() else {
            return Ok(());
        };
        let message = format!("function `{name}` has the name of one that SQL has");
        let error = SqlError::new(parse::called(text, name), message);
        Err(error.hint("deploy it under another name"))
    }

    /// The error about a function that is not there, when the planner's `message` is one.
    pub(crate) fn missing(&self, text: &str, message: &str) -> Option<SqlError> {
        let name = message.strip_prefix("Invalid function '")?;
        let name = name.split('\'').next()?;
        let message = format!("there is no function `{name}`");
        let error = SqlError::new(parse::called(text, name), message);
        Some(error.hint(self.instead_of(name)))
    }

    /// What to do about a function that is not there.
    pub(crate) fn instead_of(&self, name: &str) -> String {
        let is = |names: &[String]| names.iter().any(|own| own == name);
        if is(&self.deployed.not_for_sql) {
            return "it is deployed, but its document has no `sql:`; write there what it takes and returns: sql: { arguments: { x: float }, returns: float }".to_owned();
        }
        if is(&self.deployed.reaching_outside) {
            return "it is deployed, but what it reads or asks outside (`lookup`, `http`) may be another thing each time: let a stage call it, and query what that stores".to_owned();
        }
        let names = self.names();
        let names = names.iter().chain(&self.deployed.more).map(String::as_str);
        match nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the functions are those of Apache DataFusion, `json_…`, and deployed ones with `sql:` in their document".to_owned(),
        }
    }

    /// In order, so that of equally near names the same one is always proposed.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.scalars.keys().cloned().collect();
        if !self.windows.is_empty() {
            // Stages call functions of one row, and nothing else.
            names.extend(self.aggregates.keys().cloned());
            names.extend(self.windows.keys().cloned());
        }
        names.retain(|name| name != POSITIONS);
        names.sort();
        names
    }
}

/// Functions by their names and aliases.
fn by_name<F>(
    functions: impl IntoIterator<Item = Arc<F>>,
    names: impl Fn(&F) -> (&str, &[String]),
) -> HashMap<String, Arc<F>> {
    let mut all = HashMap::new();
    for function in functions {
        let (own, aliases) = names(&function);
        for name in aliases.iter().map(String::as_str).chain([own]) {
            all.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    all
}

/// Who knows tables.
pub(crate) trait Sources {
    /// The table of a name.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn source(&self, name: &TableReference) -> Result<Arc<dyn TableSource>>;

    /// The functions.
    fn functions(&self) -> &Functions;
}

/// What the planner asks for names.
pub(crate) struct Provider<'a, S>(pub(crate) &'a S);

impl<S: Sources> ContextProvider for Provider<'_, S> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        self.0.source(&name)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.0.functions().planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.0.functions().scalars.get(name).map(Arc::clone)
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.0.functions().aggregates.get(name).map(Arc::clone)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.0.functions().windows.get(name).map(Arc::clone)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.0.functions().options
    }

    fn udf_names(&self) -> Vec<String> {
        self.0.functions().names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
