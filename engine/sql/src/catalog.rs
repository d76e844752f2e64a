//! What a statement may name: the table `message`, its columns, and functions of one row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, TableType, WindowUDF,
};
use datafusion::sql::planner::{ContextProvider, NullOrdering, ParserOptions};
use millstream_pipeline::{Column, ColumnKind};

/// The only table.
pub(crate) const TABLE: &str = "message";
/// The subject as text.
pub(crate) const SUBJECT: &str = "_subject";
/// When the server took the message in.
pub(crate) const TIME: &str = "_time";
/// The number that the station gave to the message; only stored messages have one.
pub(crate) const SEQUENCE: &str = "_sequence";
/// The headers as a map of texts; values of a repeated name are joined by `, `.
pub(crate) const HEADERS: &str = "_headers";
/// The columns that every message has, whatever its payload. A payload column of the same name is hidden.
pub(crate) const METADATA: [&str; 3] = [SUBJECT, TIME, HEADERS];

/// Says of a column that its text is JSON.
const JSON: &str = "millstream.json";

const UTC: &str = "UTC";
/// Functions that read the file being scanned, for there is none, and those that make as many values of nothing as a number
/// says: one row would take all memory there is.
const NO_FUNCTIONS: [&str; 6] = [
    "input_file_name",
    "file_row_index",
    "range",
    "generate_series",
    "array_repeat",
    "array_resize",
];

/// Where the values of a table column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A member of the payload.
    Member(ColumnKind),
    Subject,
    Time,
    Headers,
    Sequence,
}

/// One column of the table `message`.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) nullable: bool,
}

impl Source {
    pub(crate) fn is_json(&self) -> bool {
        self.origin == Origin::Member(ColumnKind::Json)
    }

    pub(crate) fn field(&self) -> Field {
        let field = Field::new(&self.name, self.data_type(), self.nullable);
        if self.is_json() {
            return field.with_metadata([(JSON.to_owned(), String::new())].into());
        }
        field
    }

    pub(crate) fn data_type(&self) -> DataType {
        match &self.origin {
            Origin::Member(ColumnKind::Bool) => DataType::Boolean,
            Origin::Member(ColumnKind::Int64) => DataType::Int64,
            Origin::Member(ColumnKind::Float64) => DataType::Float64,
            Origin::Member(ColumnKind::String | ColumnKind::Json) | Origin::Subject => {
                DataType::Utf8
            }
            Origin::Member(ColumnKind::Timestamp) | Origin::Time => timestamp(),
            Origin::Headers => headers(),
            Origin::Sequence => DataType::Int64,
        }
    }
}

/// Whether a column is one whose text is JSON, handed on as it is.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().contains_key(JSON)
}

/// Nanoseconds in UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))
}

/// The names that Arrow's map builder gives to its parts.
fn headers() -> DataType {
    let entry = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Utf8, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entry), false)),
        false,
    )
}

/// What the planner asks for names.
pub(crate) struct Catalog {
    sources: Vec<Source>,
    table: Arc<dyn TableSource>,
    functions: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: Arc<ConfigOptions>,
}

impl Catalog {
    pub(crate) fn new(columns: &[Column]) -> Self {
        let sources = sources(columns);
        let fields: Vec<_> = sources.iter().map(Source::field).collect();
        let mut functions = HashMap::new();
        for function in scalar_functions() {
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
        Self {
            sources,
            table: Arc::new(MessageTable(Arc::new(Schema::new(fields)))),
            functions,
            aggregates,
            planners: SessionStateDefaults::default_expr_planners(),
            options: Arc::new(ConfigOptions::default()),
        }
    }

    /// The table's columns, in the order of its schema.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) fn config(&self) -> &Arc<ConfigOptions> {
        &self.options
    }

    pub(crate) fn is_aggregate(&self, name: &str) -> bool {
        self.aggregates.contains_key(name) && !self.functions.contains_key(name)
    }

    /// Names are as written: JSON members differ by case. Function names are not.
    pub(crate) fn parser_options() -> ParserOptions {
        ParserOptions {
            parse_float_as_decimal: false,
            enable_ident_normalization: false,
            support_varchar_with_length: true,
            enable_options_value_normalization: false,
            collect_spans: true,
            map_string_types_to_utf8view: false,
            default_null_ordering: NullOrdering::NullsMax,
        }
    }
}

/// The functions of one row that a statement may call.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.retain(|function| !NO_FUNCTIONS.contains(&function.name()));
    functions
}

/// The columns of a message: those of its payload, and the metadata.
pub(crate) fn sources(columns: &[Column]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::with_capacity(columns.len() + METADATA.len());
    for column in columns {
        let taken = sources.iter().any(|source| source.name == column.name);
        if !taken && !METADATA.contains(&column.name.as_str()) {
            sources.push(Source {
                name: column.name.clone(),
                origin: Origin::Member(column.kind),
                nullable: column.nullable,
            });
        }
    }
    for (name, origin) in METADATA
        .into_iter()
        .zip([Origin::Subject, Origin::Time, Origin::Headers])
    {
        sources.push(Source {
            name: name.to_owned(),
            origin,
            nullable: false,
        });
    }
    sources
}

/// A table without rows: the plan's scan is replaced by the messages of a batch.
struct MessageTable(SchemaRef);

impl TableSource for MessageTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if name.table() == TABLE {
            Ok(Arc::clone(&self.table))
        } else {
            Err(plan_datafusion_err!("no table `{name}`"))
        }
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

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
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
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
