//! The rows of PostgreSQL's catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_sql::query::{CellKind, Tables as _};
use serde_json::{Value, json};

use super::columns::{Known, TABLES};
use super::names::{of_group, of_table};
use super::{
    Catalog, DATABASE, INFORMATION_SCHEMA, OWNER, PG_CATALOG, all_kinds, formatted, oid, type_name,
};
use crate::cursors::Cursor;
use crate::encode::{modifier, size, type_of};

pub(super) fn of(catalog: &Catalog, table: &Known) -> Vec<Value> {
    let said: Vec<Value> = match (table.group, table.name) {
        (PG_CATALOG, "pg_namespace") => groups(catalog)
            .map(|group| json!({ "oid": of_group(&group), "nspname": group }))
            .collect(),
        (PG_CATALOG, "pg_class") => classes(catalog),
        (PG_CATALOG, "pg_attribute") => attributes(catalog),
        (PG_CATALOG, "pg_type") => types(),
        (PG_CATALOG, "pg_cursors") => cursors(catalog),
        (PG_CATALOG, "pg_database") => vec![json!({ "datname": DATABASE })],
        (PG_CATALOG, "pg_roles") => vec![json!({ "rolname": OWNER })],
        (PG_CATALOG, "pg_user") => vec![json!({ "usename": OWNER })],
        (PG_CATALOG, "pg_am") => vec![json!({})],
        (PG_CATALOG, "pg_tables") => catalog
            .own()
            .into_iter()
            .map(|(group, name)| json!({ "schemaname": group, "tablename": name, "tableowner": OWNER }))
            .collect(),
        (PG_CATALOG, "pg_settings") => catalog
            .session
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

fn cursors(catalog: &Catalog) -> Vec<Value> {
    let cursors = catalog.session.cursors();
    let row = |(name, cursor): (&String, &Arc<Cursor>)| json!({ "name": name, "is_holdable": cursor.is_held });
    cursors.iter().map(row).collect()
}

pub(super) fn groups(catalog: &Catalog) -> impl Iterator<Item = String> {
    catalog.groups().into_iter()
}

/// All tables, those of the catalog too: their group, their name and their number.
pub(super) fn all(catalog: &Catalog) -> Vec<(String, String, u32)> {
    let first = catalog.first();
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
                "attndims": i32::from(matches!(kind, CellKind::List(_))), "atttypmod": modifier(kind),
            }));
        }
    }
    rows
}

/// A type that no column here has and tools look for.
pub(super) struct MoreType {
    pub(super) oid: u32,
    pub(super) name: &'static str,
    size: i16,
    category: &'static str,
    kind: &'static str,
    array: u32,
}

const fn more(
    oid: u32,
    name: &'static str,
    size: i16,
    category: &'static str,
    kind: &'static str,
    array: u32,
) -> MoreType {
    MoreType {
        oid,
        name,
        size,
        category,
        kind,
        array,
    }
}

/// Those types.
pub(super) const MORE_TYPES: &[MoreType] = &[
    more(18, "char", 1, "Z", "b", 1002),
    more(19, "name", 64, "S", "b", 1003),
    more(24, "regproc", 4, "N", "b", 1008),
    more(26, "oid", 4, "N", "b", 1028),
    more(705, "unknown", -2, "X", "p", 0),
    more(1042, "bpchar", -1, "S", "b", 1014),
    more(1043, "varchar", -1, "S", "b", 1015),
    more(1186, "interval", 16, "T", "b", 1187),
    more(2205, "regclass", 4, "N", "b", 2210),
    more(2206, "regtype", 4, "N", "b", 2211),
    more(2249, "record", -1, "P", "p", 2287),
    more(2278, "void", 4, "P", "p", 0),
    more(2950, "uuid", 16, "U", "b", 2951),
    more(3802, "jsonb", -1, "U", "b", 3807),
];

fn types() -> Vec<Value> {
    let row = |more: &MoreType| {
        json!({
            "oid": more.oid, "typname": more.name, "typlen": more.size, "typcategory": more.category, "typtype": more.kind,
            "typarray": more.array, "typinput": format!("{}in", more.name), "typoutput": format!("{}out", more.name),
        })
    };
    let own = all_kinds().map(|kind| type_row(&kind));
    own.chain(MORE_TYPES.iter().map(row)).collect()
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
    let name = type_of(kind).name().to_owned();
    let form = match kind {
        CellKind::List(_) => "array_",
        _ => &name,
    };
    json!({
        "oid": oid(kind), "typname": name, "typlen": size(kind), "typcategory": category, "typelem": element,
        "typarray": array, "typinput": format!("{form}in"), "typoutput": format!("{form}out"),
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
            let (digits, scale) = match kind {
                CellKind::Decimal { precision, scale } => (Some(*precision), Some(*scale)),
                CellKind::Int16 | CellKind::Int32 | CellKind::Int64 => (binary, Some(0)),
                _ => (binary, None),
            };
            let base = digits.map(|_| if binary.is_some() { 2 } else { 10 });
            let fraction = match kind {
                CellKind::Time | CellKind::Timestamp | CellKind::TimestampUtc => Some(6),
                CellKind::Date => Some(0),
                _ => None,
            };
            rows.push(json!({
                "table_catalog": DATABASE, "table_schema": group, "table_name": name, "column_name": column,
                "ordinal_position": index + 1, "is_nullable": if is_always { "NO" } else { "YES" },
                "data_type": type_name(kind), "udt_catalog": DATABASE, "udt_name": type_of(kind).name(),
                "numeric_precision": digits, "numeric_precision_radix": base, "numeric_scale": scale,
                "datetime_precision": fraction,
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
        .chain(MORE_TYPES.iter().map(|more| {
            let name = match more.name {
                "char" => "\"char\"",
                "bpchar" => "character",
                "varchar" => "character varying",
                other => other,
            };
            (more.oid, name.to_owned())
        }))
        .collect()
}

/// Names of types and their numbers, each name once.
pub(super) fn type_numbers() -> Vec<(String, u32)> {
    let own = all_kinds().flat_map(|kind| {
        let names = [type_of(&kind).name().to_owned(), formatted(&kind)];
        names.map(|name| (name, oid(&kind)))
    });
    let more = MORE_TYPES
        .iter()
        .map(|more| (more.name.to_owned(), more.oid));
    let all: BTreeMap<_, _> = own.chain(more).collect();
    all.into_iter().collect()
}
