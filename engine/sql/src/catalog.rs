//! What a statement may name: the table `message`, its columns, and functions of one row.

use std::sync::Arc;

use arrow::array::MapFieldNames;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{TableSource, TableType};
use datafusion::sql::planner::{NullOrdering, ParserOptions};
use millstream_pipeline::{Column, ColumnKind, Item};

use crate::compile::Surroundings;
use crate::functions::json::Arrows;
use crate::functions::{Functions, Sources, positions, scalar_functions};

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
/// The key, where one is declared.
pub(crate) const KEY: &str = "_key";
/// The columns that every message has, whatever its payload. A payload column of the same name is hidden.
pub(crate) const METADATA: [&str; 5] = [SUBJECT, TIME, HEADERS, SEQUENCE, KEY];
/// The whole payload, where nothing is known of its members.
pub(crate) const PAYLOAD: &str = "payload";
/// What stands before the name of a column that is a nested column's own JSON, byte for byte.
const RAW: &str = "_raw:";

/// Says of a column that its text is JSON.
const JSON: &str = "millstream.json";

const UTC: &str = "UTC";
/// Where the values of a table column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A member of the payload.
    Member(ColumnKind),
    /// A nested member as its JSON stands in the payload: what is passed on untouched keeps members that no schema knows.
    Raw(String, ColumnKind),
    /// All of the payload, which is JSON.
    Payload,
    Subject,
    Time,
    Headers,
    Sequence,
    Key,
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
        matches!(
            self.origin,
            Origin::Member(ColumnKind::Json) | Origin::Raw(..) | Origin::Payload
        )
    }

    /// The member of the payload that it is read from, and as what.
    pub(crate) fn member(&self) -> Option<(&str, &ColumnKind)> {
        match &self.origin {
            Origin::Member(kind) => Some((&self.name, kind)),
            Origin::Raw(member, _) => Some((member, &ColumnKind::Json)),
            _ => None,
        }
    }

    pub(crate) fn field(&self) -> Field {
        let field = Field::new(&self.name, self.data_type(), self.nullable);
        if self.is_json() { json(field) } else { field }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match &self.origin {
            Origin::Member(kind) => data_type(kind),
            Origin::Raw(..) | Origin::Payload | Origin::Subject | Origin::Key => DataType::Utf8,
            Origin::Time => timestamp(),
            Origin::Headers => headers(),
            Origin::Sequence => DataType::Int64,
        }
    }
}

/// The type of a column's values.
pub(crate) fn data_type(kind: &ColumnKind) -> DataType {
    match kind {
        ColumnKind::Bool => DataType::Boolean,
        ColumnKind::Int64 => DataType::Int64,
        ColumnKind::Float64 => DataType::Float64,
        ColumnKind::String | ColumnKind::Json => DataType::Utf8,
        ColumnKind::Timestamp => timestamp(),
        ColumnKind::Date => DataType::Date32,
        ColumnKind::Decimal { precision, scale } => {
            DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX))
        }
        ColumnKind::List(item) => DataType::List(Arc::new(inner("item", &item.kind))),
        ColumnKind::Map(item) => {
            let entry = vec![
                Field::new("key", DataType::Utf8, false),
                inner("value", &item.kind),
            ];
            let entries = Field::new("entries", DataType::Struct(entry.into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        ColumnKind::Struct(members) => {
            let fields = members
                .iter()
                .map(|member| inner(&member.name, &member.kind));
            DataType::Struct(fields.collect())
        }
    }
}

/// A part of a nested type. Whether it may be null is checked when it is read; expressions make such parts null.
fn inner(name: &str, kind: &ColumnKind) -> Field {
    let field = Field::new(name, data_type(kind), true);
    if *kind == ColumnKind::Json {
        json(field)
    } else {
        field
    }
}

/// The field marked as one whose text is JSON.
pub(crate) fn json(field: Field) -> Field {
    field.with_metadata([(JSON.to_owned(), String::new())].into())
}

/// Whether a column is one whose text is JSON, handed on as it is.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().contains_key(JSON)
}

/// Nanoseconds in UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))
}

/// What a map calls its parts, as DataFusion's own maps do.
pub(crate) fn entry_names() -> MapFieldNames {
    MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

/// As for any map of texts.
pub(crate) fn headers() -> DataType {
    data_type(&ColumnKind::Map(Box::new(Item {
        kind: ColumnKind::String,
        nullable: true,
    })))
}

/// What statements of a stage may name.
pub(crate) struct Catalog {
    sources: Vec<Source>,
    table: Arc<dyn TableSource>,
    functions: Functions,
}

impl Catalog {
    pub(crate) fn new(around: &Surroundings<'_>) -> Self {
        let sources = stage_sources(around.columns);
        let fields: Vec<_> = sources.iter().map(Source::field).collect();
        let scalars = scalar_functions().into_iter().chain([positions()]);
        Self {
            sources,
            table: Arc::new(MessageTable(Arc::new(Schema::new(fields)))),
            functions: Functions::new(
                scalars,
                around.functions,
                expr_planners(),
                ConfigOptions::default(),
            ),
        }
    }

    /// The table's columns, in the order of its schema.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The columns that statements name.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Source> {
        let raw = |source: &&Source| matches!(source.origin, Origin::Raw(..));
        self.sources.iter().filter(move |source| !raw(source))
    }

    pub(crate) fn config(&self) -> &Arc<ConfigOptions> {
        self.functions.options()
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

/// How operators become functions.
pub(crate) fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Arrows)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

/// The columns of a message: those of its payload, and the metadata.
pub(crate) fn sources(columns: &[Column]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::with_capacity(columns.len() + METADATA.len());
    for column in columns {
        let taken = sources.iter().any(|source| source.name == column.name);
        if !taken && !METADATA.contains(&column.name.as_str()) {
            sources.push(Source {
                name: column.name.clone(),
                origin: Origin::Member(column.kind.clone()),
                nullable: column.nullable,
            });
        }
    }
    let origins = [
        (SUBJECT, Origin::Subject, false),
        (TIME, Origin::Time, false),
        (HEADERS, Origin::Headers, false),
        (SEQUENCE, Origin::Sequence, true),
        (KEY, Origin::Key, true),
    ];
    sources.extend(origins.map(|(name, origin, nullable)| Source {
        name: name.to_owned(),
        origin,
        nullable,
    }));
    sources
}

/// What a stage sees: the same, and nested columns once more as they are written. Without columns the payload is one.
fn stage_sources(columns: Option<&[Column]>) -> Vec<Source> {
    let mut sources = sources(columns.unwrap_or_default());
    if columns.is_none() {
        sources.insert(
            0,
            Source {
                name: PAYLOAD.to_owned(),
                origin: Origin::Payload,
                nullable: false,
            },
        );
    }
    let raw = sources.iter().filter_map(|source| match &source.origin {
        Origin::Member(kind) if kind.is_nested() => Some(Source {
            name: raw_name(&source.name),
            origin: Origin::Raw(source.name.clone(), kind.clone()),
            nullable: source.nullable,
        }),
        _ => None,
    });
    let raw: Vec<Source> = raw.collect();
    sources.extend(raw);
    sources
}

/// The column that is a nested column's own JSON.
pub(crate) fn raw_name(column: &str) -> String {
    format!("{RAW}{column}")
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

impl Sources for Catalog {
    fn source(&self, name: &TableReference) -> Result<Arc<dyn TableSource>> {
        if name.table() == TABLE {
            Ok(Arc::clone(&self.table))
        } else {
            Err(plan_datafusion_err!("no table `{name}`"))
        }
    }

    fn functions(&self) -> &Functions {
        &self.functions
    }
}
