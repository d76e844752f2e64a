//! The rows of PostgreSQL's catalog.

use millstream_sql::query::{CellKind, Tables as _};
use serde_json::{Value, json};

use super::columns::{Known, TABLES};
use super::names::{of_group, of_table};
use super::{
    Catalog, DATABASE, INFORMATION_SCHEMA, OWNER, PG_CATALOG, all_kinds, formatted, oid, type_name,
};
use crate::encode::{size, type_of};
use crate::session::Session;

pub(super) fn of(catalog: &Catalog, table: &Known) -> Vec<Value> {
    let said: Vec<Value> = match (table.group, table.name) {
        (PG_CATALOG, "pg_namespace") => groups(catalog)
            .map(|group| json!({ "oid": of_group(&group), "nspname": group }))
            .collect(),
        (PG_CATALOG, "pg_class") => classes(catalog),
        (PG_CATALOG, "pg_attribute") => attributes(catalog),
        (PG_CATALOG, "pg_type") => all_kinds().map(|kind| type_row(&kind)).collect(),
        (PG_CATALOG, "pg_database") => vec![json!({ "datname": DATABASE })],
        (PG_CATALOG, "pg_roles") => vec![json!({ "rolname": OWNER })],
        (PG_CATALOG, "pg_user") => vec![json!({ "usename": OWNER })],
        (PG_CATALOG, "pg_am") => vec![json!({})],
        (PG_CATALOG, "pg_tables") => catalog
            .own()
            .into_iter()
            .map(|(group, name)| json!({ "schemaname": group, "tablename": name, "tableowner": OWNER }))
            .collect(),
        (PG_CATALOG, "pg_settings") => Session::default()
            .all()
            .into_iter()
            .map(|(name, value)| json!({ "name": name, "setting": value }))
            .collect(),
        (INFORMATION_SCHEMA, "schemata") => groups(catalog)
            .map(|group| json!({ "catalog_name": DATABASE, "schema_name": group, "schema_owner": OWNER }))
            .collect(),
        (INFORMATION_SCHEMA, "tables") => tables(catalog),
        (INFORMATION_SCHEMA, "columns") => columns(catalog),
        _ => Vec::new(),
    };
    said.into_iter().map(|said| table.row(said)).collect()
}

fn groups(catalog: &Catalog) -> impl Iterator<Item = String> {
    catalog.groups().into_iter()
}

/// All tables, those of the catalog too: their group, their name and their number.
fn all(catalog: &Catalog) -> Vec<(String, String, u32)> {
    let first = catalog
        .tables
        .groups()
        .into_iter()
        .next()
        .unwrap_or_default();
    let own = catalog.own().into_iter();
    let system = TABLES
        .iter()
        .map(|table| (table.group.to_owned(), table.name.to_owned()));
    own.chain(system)
        .map(|(group, name)| {
            let number = of_table(&group, &name, group == first);
            (group, name, number)
        })
        .collect()
}

fn classes(catalog: &Catalog) -> Vec<Value> {
    let row = |(group, name, number): (String, String, u32)| json!({ "oid": number, "relname": name, "relnamespace": of_group(&group) });
    all(catalog).into_iter().map(row).collect()
}

fn attributes(catalog: &Catalog) -> Vec<Value> {
    let mut rows = Vec::new();
    for (group, name, number) in all(catalog) {
        // Columns of the catalog itself are not described.
        if group == PG_CATALOG || group == INFORMATION_SCHEMA {
            continue;
        }
        for (index, (column, kind)) in catalog.kinds(&group, &name).iter().enumerate() {
            rows.push(json!({
                "attrelid": number, "attname": column, "atttypid": oid(kind), "attlen": size(kind), "attnum": index + 1,
                "attndims": i32::from(matches!(kind, CellKind::List(_))),
            }));
        }
    }
    rows
}

fn type_row(kind: &CellKind) -> Value {
    let category = match kind {
        CellKind::Bool => "B",
        CellKind::Text => "S",
        CellKind::Date | CellKind::Time | CellKind::Timestamp | CellKind::TimestampUtc => "D",
        CellKind::List(_) => "A",
        CellKind::Json | CellKind::Bytes => "U",
        _ => "N",
    };
    let (element, array) = match kind {
        CellKind::List(of) => (oid(of), 0),
        CellKind::Json => (0, 0),
        kind => (0, oid(&CellKind::List(Box::new(kind.clone())))),
    };
    json!({
        "oid": oid(kind), "typname": type_of(kind).name(), "typlen": size(kind), "typcategory": category, "typelem": element,
        "typarray": array,
    })
}

fn tables(catalog: &Catalog) -> Vec<Value> {
    let row = |(group, name, _): (String, String, u32)| {
        let kind = if group == PG_CATALOG || group == INFORMATION_SCHEMA {
            "VIEW"
        } else {
            "BASE TABLE"
        };
        json!({ "table_catalog": DATABASE, "table_schema": group, "table_name": name, "table_type": kind })
    };
    all(catalog).into_iter().map(row).collect()
}

fn columns(catalog: &Catalog) -> Vec<Value> {
    let mut rows = Vec::new();
    for (group, name) in catalog.own() {
        for (index, (column, kind)) in catalog.kinds(&group, &name).iter().enumerate() {
            let is_always = group == "stations"
                && matches!(
                    column.as_str(),
                    "_subject" | "_time" | "_headers" | "_sequence"
                );
            let binary = match kind {
                CellKind::Int16 => Some(16),
                CellKind::Int32 => Some(32),
                CellKind::Int64 => Some(64),
                CellKind::Float32 => Some(24),
                CellKind::Float64 => Some(53),
                _ => None,
            };
            rows.push(json!({
                "table_catalog": DATABASE, "table_schema": group, "table_name": name, "column_name": column,
                "ordinal_position": index + 1, "is_nullable": if is_always { "NO" } else { "YES" },
                "data_type": type_name(kind), "udt_catalog": DATABASE, "udt_name": type_of(kind).name(),
                "numeric_precision": binary, "numeric_precision_radix": binary.map(|_| 2),
                "dtd_identifier": (index + 1).to_string(), "domain_name": Value::Null, "collation_name": Value::Null,
            }));
        }
    }
    rows
}

/// What `format_type` says, by the number of a type.
pub(super) fn type_names() -> Vec<(u32, String)> {
    all_kinds()
        .map(|kind| (oid(&kind), formatted(&kind)))
        .collect()
}
