//! PostgreSQL's own catalog, as far as tools ask for it: tables like `pg_class` over what can be asked here, and questions to them
//! in words that the engine has.
//!
//! `rewrite` makes the questions, `empty` finds those without rows, `columns` says which columns the tables have, `rows` fills them.

mod columns;
mod empty;
mod names;
mod rewrite;
mod rows;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_pipeline::{Column, ColumnKind, Record};
use millstream_sql::SqlFunctions;
use millstream_sql::query::{Bounds, CellKind, Page, Pages, Table, Tables};
use millstream_types::{Message, Timestamp};
use serde_json::Value;

use crate::encode::type_of;
use crate::session::Session;

pub(crate) use self::rewrite::rewritten;

/// The groups that this adds.
const PG_CATALOG: &str = "pg_catalog";
const INFORMATION_SCHEMA: &str = "information_schema";
/// The one database.
const DATABASE: &str = "millstream";
/// Who owns everything.
const OWNER: &str = "millstream";
/// How long columns of a table are remembered: finding them may mean to read messages, and tools ask several times at once.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Columns that stored messages have besides those of their payload.
const METADATA: [(&str, CellKind); 4] = [
    ("_subject", CellKind::Text),
    ("_time", CellKind::TimestampUtc),
    ("_headers", CellKind::Json),
    ("_sequence", CellKind::Int64),
];

type Kinds = Arc<Vec<(String, CellKind)>>;

/// The columns of tables, for a while.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<(String, String), (Instant, Kinds)>>);

/// What can be asked, and PostgreSQL's catalog of it, as a session sees it.
pub(crate) struct Catalog {
    tables: Arc<dyn Tables>,
    cache: Arc<Cache>,
    session: Arc<Session>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

/// Tables with another group first.
#[derive(Debug)]
struct Ordered {
    tables: Arc<dyn Tables>,
    first: String,
}

impl Tables for Ordered {
    fn groups(&self) -> Vec<String> {
        let mut groups = self.tables.groups();
        groups.sort_by_key(|group| *group != self.first);
        groups
    }

    fn names(&self, group: &str) -> Vec<String> {
        self.tables.names(group)
    }

    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        self.tables.table(group, name)
    }
}

impl Catalog {
    pub(crate) fn new(
        tables: &Arc<dyn Tables>,
        cache: &Arc<Cache>,
        session: &Arc<Session>,
    ) -> Self {
        let groups = tables.groups();
        let path = session.search_path().into_iter();
        let first = path.into_iter().find(|name| groups.contains(name));
        let tables = match first {
            Some(first) if groups.first() != Some(&first) => Arc::new(Ordered {
                tables: Arc::clone(tables),
                first,
            }),
            // A path of other servers changes nothing.
            _ => Arc::clone(tables),
        };
        Self {
            tables,
            cache: Arc::clone(cache),
            session: Arc::clone(session),
        }
    }

    /// What can be asked without the catalog.
    pub(crate) fn plain(&self) -> Arc<dyn Tables> {
        Arc::clone(&self.tables)
    }

    /// The group that needs not to be named.
    fn first(&self) -> String {
        let groups = self.tables.groups();
        groups.into_iter().next().unwrap_or_default()
    }

    /// Groups and names of all tables that hold something.
    fn own(&self) -> Vec<(String, String)> {
        let names = |group: String| {
            let names = self.tables.names(&group).into_iter();
            names
                .map(move |name| (group.clone(), name))
                .collect::<Vec<_>>()
        };
        self.tables.groups().into_iter().flat_map(names).collect()
    }

    /// The columns of a table; none where they cannot be found.
    fn kinds(&self, group: &str, name: &str) -> Kinds {
        let key = (group.to_owned(), name.to_owned());
        let now = Instant::now();
        // What is in there is whole whoever panicked.
        let known = || self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((found, kinds)) = known().get(&key)
            && now.duration_since(*found) < REMEMBERED
        {
            return Arc::clone(kinds);
        }
        let table = self.tables.table(group, name).ok().flatten();
        let kinds = Arc::new(table.map_or_else(Vec::new, |table| kinds_of(&*table)));
        let mut all = known();
        all.retain(|_, (found, _)| now.duration_since(*found) < REMEMBERED);
        all.insert(key, (now, Arc::clone(&kinds)));
        kinds
    }
}

fn kinds_of(table: &dyn Table) -> Vec<(String, CellKind)> {
    let kind = |kind| match kind {
        ColumnKind::Bool => CellKind::Bool,
        ColumnKind::Int64 => CellKind::Int64,
        ColumnKind::Float64 => CellKind::Float64,
        ColumnKind::String => CellKind::Text,
        ColumnKind::Timestamp => CellKind::TimestampUtc,
        ColumnKind::Date => CellKind::Date,
        ColumnKind::Decimal { precision, scale } => CellKind::Decimal {
            precision,
            scale: scale.cast_signed(),
        },
        // Questions see what is nested as JSON.
        ColumnKind::Json | ColumnKind::List(_) | ColumnKind::Map(_) | ColumnKind::Struct(_) => {
            CellKind::Json
        }
    };
    let hidden = |name: &str| {
        METADATA
            .iter()
            .any(|(own, _)| table.is_stored() && *own == name)
    };
    let own = table
        .columns()
        .into_iter()
        .filter(|column| !hidden(&column.name));
    let own = own.map(|column| (column.name, kind(column.kind)));
    let more = METADATA.into_iter().filter(|_| table.is_stored());
    own.chain(more.map(|(name, kind)| (name.to_owned(), kind)))
        .collect()
}

/// What PostgreSQL calls a kind.
fn type_name(kind: &CellKind) -> &'static str {
    match kind {
        CellKind::Bool => "boolean",
        CellKind::Int16 => "smallint",
        CellKind::Int32 => "integer",
        CellKind::Int64 => "bigint",
        CellKind::Float32 => "real",
        CellKind::Float64 => "double precision",
        CellKind::Decimal { .. } => "numeric",
        CellKind::Text => "text",
        CellKind::Bytes => "bytea",
        CellKind::Date => "date",
        CellKind::Time => "time without time zone",
        CellKind::Timestamp => "timestamp without time zone",
        CellKind::TimestampUtc => "timestamp with time zone",
        CellKind::Json => "json",
        CellKind::List(_) => "ARRAY",
    }
}

/// The kinds that have a row in `pg_type`.
fn all_kinds() -> impl Iterator<Item = CellKind> {
    let decimal = CellKind::Decimal {
        precision: 38,
        scale: 10,
    };
    let scalars = [
        CellKind::Bool,
        CellKind::Int16,
        CellKind::Int32,
        CellKind::Int64,
        CellKind::Float32,
        CellKind::Float64,
        decimal,
        CellKind::Text,
        CellKind::Bytes,
        CellKind::Date,
        CellKind::Time,
        CellKind::Timestamp,
        CellKind::TimestampUtc,
        CellKind::Json,
    ];
    let lists = scalars
        .clone()
        .into_iter()
        .filter(|kind| *kind != CellKind::Json);
    let lists = lists.map(|kind| CellKind::List(Box::new(kind)));
    scalars.into_iter().chain(lists)
}

/// What `format_type` says of a kind.
fn formatted(kind: &CellKind) -> String {
    match kind {
        CellKind::List(of) => format!("{}[]", type_name(of)),
        kind => type_name(kind).to_owned(),
    }
}

fn oid(kind: &CellKind) -> u32 {
    type_of(kind).oid()
}

impl Tables for Catalog {
    fn groups(&self) -> Vec<String> {
        let mut groups = self.tables.groups();
        groups.extend([PG_CATALOG.to_owned(), INFORMATION_SCHEMA.to_owned()]);
        groups
    }

    fn names(&self, group: &str) -> Vec<String> {
        if group == PG_CATALOG || group == INFORMATION_SCHEMA {
            let own = columns::TABLES.iter().filter(|table| table.group == group);
            return own.map(|table| table.name.to_owned()).collect();
        }
        self.tables.names(group)
    }

    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        if group != PG_CATALOG && group != INFORMATION_SCHEMA {
            return self.tables.table(group, name);
        }
        let Some(found) = columns::find(group, name) else {
            return Ok(None);
        };
        let columns = found.columns();
        let rows = rows::of(self, found);
        Ok(Some(Arc::new(Rows { columns, rows })))
    }

    fn functions(&self, text: &str) -> Result<SqlFunctions, String> {
        self.tables.functions(text)
    }
}

/// A table in memory.
#[derive(Debug)]
struct Rows {
    columns: Vec<Column>,
    rows: Vec<Value>,
}

impl Table for Rows {
    fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    fn is_stored(&self) -> bool {
        false
    }

    fn pages(&self, _: &Bounds) -> Box<dyn Pages> {
        Box::new(Once(self.rows.clone()))
    }
}

/// All rows as one page.
struct Once(Vec<Value>);

impl Pages for Once {
    fn next(&mut self) -> Result<Page, String> {
        let record = |row: Value| {
            let message = Message {
                payload: row.to_string().into(),
                ..Message::default()
            };
            Record::new(message, Timestamp::default())
        };
        Ok(Page {
            records: std::mem::take(&mut self.0)
                .into_iter()
                .map(record)
                .collect(),
            sequences: Vec::new(),
        })
    }
}
