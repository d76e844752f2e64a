//! The numbers that things in PostgreSQL's catalog are known by.

use super::rows::MORE_TYPES;
use super::{Catalog, INFORMATION_SCHEMA, PG_CATALOG, all_kinds, formatted, oid};
use crate::encode::type_of;

/// Tables that need no group in front of their name have numbers from here on.
pub(super) const VISIBLE: u32 = 1 << 30;
/// Tables of other groups from here on.
const HIDDEN: u32 = 1 << 29;
/// Tables of the catalog itself from here on.
const CATALOG: u32 = 1 << 28;

/// The number of a group of tables.
pub(super) fn of_group(group: &str) -> u32 {
    match group {
        PG_CATALOG => 11,
        INFORMATION_SCHEMA => 13_000,
        group => 16_384 + hash(&[group]) % (1 << 20),
    }
}

/// The number of a table, the same on every server and after every restart.
pub(super) fn of_table(group: &str, name: &str, is_first: bool) -> u32 {
    let (base, size) = match group {
        // Numbers that tools know.
        PG_CATALOG if name == "pg_class" => return 1259,
        PG_CATALOG if name == "pg_type" => return 1247,
        PG_CATALOG if name == "pg_attribute" => return 1249,
        PG_CATALOG if name == "pg_proc" => return 1255,
        PG_CATALOG if name == "pg_namespace" => return 2615,
        PG_CATALOG | INFORMATION_SCHEMA => (CATALOG, CATALOG),
        _ if is_first => (VISIBLE, VISIBLE),
        _ => (HIDDEN, HIDDEN),
    };
    base + hash(&[group, name]) % size
}

/// FNV-1a over the parts.
fn hash(parts: &[&str]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let mixed = bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    mixed ^ (mixed >> 16)
}

impl Catalog {
    /// The number of a table by its name as SQL writes it.
    pub(super) fn table_number(&self, name: &str) -> Option<u32> {
        let parts: Vec<String> = name
            .split('.')
            .map(|part| part.trim_matches('"').to_owned())
            .collect();
        let first = self.first();
        match parts.as_slice() {
            [name] => {
                if self.tables.names(&first).contains(name) {
                    return Some(of_table(&first, name, true));
                }
                super::columns::find(PG_CATALOG, name).map(|_| of_table(PG_CATALOG, name, false))
            }
            [group, name] => Some(of_table(group, name, *group == first)),
            _ => None,
        }
    }

    /// The number of a type by one of its names.
    pub(super) fn type_number(name: &str) -> Option<u32> {
        let name = name.rsplit('.').next().unwrap_or(name);
        let known = |kind: &millstream_sql::query::CellKind| {
            formatted(kind) == name || type_of(kind).name() == name
        };
        let more = || MORE_TYPES.iter().find(|more| more.name == name);
        let found = all_kinds().find(known).map(|kind| oid(&kind));
        found.or_else(|| more().map(|more| more.oid))
    }
}
