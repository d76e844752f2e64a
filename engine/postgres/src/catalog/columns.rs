//! Which tables PostgreSQL's catalog has here, and their columns.

use millstream_pipeline::{Column, ColumnKind};
use serde_json::{Map, Value};

use super::{INFORMATION_SCHEMA, PG_CATALOG};

/// One of them.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    /// Words `name:kind` or `name:kind=value`, where nothing else is said of a row: `t` is text, `i` a whole number, `b` a truth value.
    columns: &'static str,
    /// Whether it never has rows.
    pub(super) is_empty: bool,
}

const fn pg(name: &'static str, columns: &'static str) -> Known {
    Known {
        group: PG_CATALOG,
        name,
        columns,
        is_empty: false,
    }
}

const fn empty(name: &'static str, columns: &'static str) -> Known {
    Known {
        group: PG_CATALOG,
        name,
        columns,
        is_empty: true,
    }
}

const fn schema(name: &'static str, columns: &'static str, is_empty: bool) -> Known {
    Known {
        group: INFORMATION_SCHEMA,
        name,
        columns,
        is_empty,
    }
}

/// All of them.
pub(super) const TABLES: &[Known] = &[
    pg("pg_namespace", "oid:i nspname:t nspowner:i=10 nspacl:t"),
    pg(
        "pg_class",
        "oid:i relname:t relnamespace:i reltype:i=0 reloftype:i=0 relowner:i=10 relam:i=2 relfilenode:i=0 reltablespace:i=0 \
         relpages:i=0 reltuples:i=-1 relallvisible:i=0 reltoastrelid:i=0 relhasindex:b=false relisshared:b=false \
         relpersistence:t=p relkind:t=r relnatts:i=0 relchecks:i=0 relhasrules:b=false relhastriggers:b=false \
         relhassubclass:b=false relrowsecurity:b=false relforcerowsecurity:b=false relispopulated:b=true relreplident:t=n \
         relispartition:b=false relrewrite:i=0 relfrozenxid:i=0 relminmxid:i=0 relhasoids:b=false relacl:t={=r/millstream} reloptions:t \
         relpartbound:t",
    ),
    pg(
        "pg_attribute",
        "attrelid:i attname:t atttypid:i attstattarget:i=-1 attlen:i attnum:i attndims:i=0 attcacheoff:i=-1 atttypmod:i=-1 \
         attbyval:b=false attstorage:t=p attalign:t=i attnotnull:b=false atthasdef:b=false atthasmissing:b=false attidentity:t= \
         attgenerated:t= attisdropped:b=false attislocal:b=true attinhcount:i=0 attcollation:i=0 attcompression:t= attacl:t \
         attoptions:t attfdwoptions:t attmissingval:t",
    ),
    pg(
        "pg_type",
        "oid:i typname:t typnamespace:i=11 typowner:i=10 typlen:i typbyval:b=false typtype:t=b typcategory:t typispreferred:b=false \
         typisdefined:b=true typdelim:t=, typrelid:i=0 typsubscript:t=- typelem:i=0 typarray:i=0 typinput:t= typoutput:t= \
         typreceive:t= typsend:t= typmodin:t=- typmodout:t=- typalign:t=i typstorage:t=p typnotnull:b=false typbasetype:i=0 \
         typtypmod:i=-1 typndims:i=0 typcollation:i=0 typdefault:t typacl:t",
    ),
    pg(
        "pg_database",
        "oid:i=5 datname:t datdba:i=10 encoding:i=6 datlocprovider:t=c datistemplate:b=false datallowconn:b=true datconnlimit:i=-1 \
         datfrozenxid:i=0 datminmxid:i=0 dattablespace:i=1663 datcollate:t=C datctype:t=C daticulocale:t datcollversion:t datacl:t",
    ),
    pg(
        "pg_roles",
        "oid:i=10 rolname:t rolsuper:b=false rolinherit:b=true rolcreaterole:b=false rolcreatedb:b=false rolcanlogin:b=true \
         rolreplication:b=false rolconnlimit:i=-1 rolpassword:t rolvaliduntil:t rolbypassrls:b=false rolconfig:t",
    ),
    pg(
        "pg_user",
        "usename:t usesysid:i=10 usecreatedb:b=false usesuper:b=false",
    ),
    pg(
        "pg_am",
        "oid:i=2 amname:t=heap amhandler:t=heap_tableam_handler amtype:t=t",
    ),
    pg(
        "pg_tables",
        "schemaname:t tablename:t tableowner:t tablespace:t hasindexes:b=false hasrules:b=false hastriggers:b=false \
         rowsecurity:b=false",
    ),
    pg(
        "pg_settings",
        "name:t setting:t unit:t category:t= short_desc:t= context:t=user vartype:t=string source:t=default",
    ),
    pg(
        "pg_cursors",
        "name:t statement:t= is_holdable:b is_binary:b=false is_scrollable:b=false creation_time:t",
    ),
    empty("pg_attrdef", "oid:i adrelid:i adnum:i adbin:t"),
    empty(
        "pg_index",
        "indexrelid:i indrelid:i indnatts:i indnkeyatts:i indisunique:b indnullsnotdistinct:b indisprimary:b indisexclusion:b \
         indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b indisreplident:b indkey:t \
         indcollation:t indclass:t indoption:t indexprs:t indpred:t",
    ),
    empty(
        "pg_indexes",
        "schemaname:t tablename:t indexname:t tablespace:t indexdef:t",
    ),
    empty(
        "pg_constraint",
        "oid:i conname:t connamespace:i contype:t condeferrable:b condeferred:b convalidated:b conrelid:i contypid:i conindid:i \
         conparentid:i confrelid:i confupdtype:t confdeltype:t confmatchtype:t conislocal:b coninhcount:i connoinherit:b \
         conkey:t confkey:t conexclop:t conbin:t",
    ),
    empty(
        "pg_description",
        "objoid:i classoid:i objsubid:i description:t",
    ),
    empty("pg_shdescription", "objoid:i classoid:i description:t"),
    empty(
        "pg_proc",
        "oid:i proname:t pronamespace:i proowner:i prolang:i procost:i prorows:i provariadic:i prokind:t prosecdef:b \
         proleakproof:b proisstrict:b proretset:b provolatile:t proparallel:t pronargs:i pronargdefaults:i prorettype:i \
         proargtypes:t proallargtypes:t proargmodes:t proargnames:t prosrc:t probin:t proacl:t",
    ),
    empty(
        "pg_inherits",
        "inhrelid:i inhparent:i inhseqno:i inhdetachpending:b",
    ),
    empty(
        "pg_collation",
        "oid:i collname:t collnamespace:i collowner:i collprovider:t collisdeterministic:b collencoding:i collcollate:t \
         collctype:t colliculocale:t collversion:t",
    ),
    empty("pg_enum", "oid:i enumtypid:i enumsortorder:i enumlabel:t"),
    empty(
        "pg_range",
        "rngtypid:i rngsubtype:i rngmultitypid:i rngcollation:i rngsubopc:i rngcanonical:t rngsubdiff:t",
    ),
    empty(
        "pg_views",
        "schemaname:t viewname:t viewowner:t definition:t",
    ),
    empty(
        "pg_matviews",
        "schemaname:t matviewname:t matviewowner:t tablespace:t hasindexes:b ispopulated:b definition:t",
    ),
    empty(
        "pg_extension",
        "oid:i extname:t extowner:i extnamespace:i extrelocatable:b extversion:t extconfig:t extcondition:t",
    ),
    empty(
        "pg_tablespace",
        "oid:i spcname:t spcowner:i spcacl:t spcoptions:t",
    ),
    empty(
        "pg_stat_activity",
        "datid:i datname:t pid:i usename:t application_name:t state:t query:t",
    ),
    empty(
        "pg_stat_user_tables",
        "relid:i schemaname:t relname:t n_live_tup:i",
    ),
    empty(
        "pg_trigger",
        "oid:i tgrelid:i tgparentid:i tgname:t tgfoid:i tgtype:i tgenabled:t tgisinternal:b tgconstrrelid:i tgconstrindid:i \
         tgconstraint:i",
    ),
    empty(
        "pg_rewrite",
        "oid:i rulename:t ev_class:i ev_type:t ev_enabled:t is_instead:b",
    ),
    empty(
        "pg_policy",
        "oid:i polname:t polrelid:i polcmd:t polpermissive:b polroles:t polqual:t polwithcheck:t",
    ),
    empty("pg_policies", "schemaname:t tablename:t policyname:t"),
    empty("pg_statistic_ext", "oid:i stxrelid:i stxname:t"),
    empty("pg_publication", "oid:i pubname:t puballtables:b"),
    empty("pg_publication_rel", "oid:i prpubid:i prrelid:i"),
    empty("pg_publication_namespace", "oid:i pnpubid:i pnnspid:i"),
    empty("pg_subscription", "oid:i subname:t"),
    empty("pg_foreign_table", "ftrelid:i ftserver:i ftoptions:t"),
    empty(
        "pg_foreign_server",
        "oid:i srvname:t srvowner:i srvfdw:i srvtype:t srvversion:t srvoptions:t",
    ),
    empty("pg_foreign_data_wrapper", "oid:i fdwname:t"),
    empty(
        "pg_sequence",
        "seqrelid:i seqtypid:i seqstart:i seqincrement:i seqmax:i seqmin:i seqcache:i seqcycle:b",
    ),
    empty("pg_sequences", "schemaname:t sequencename:t"),
    empty(
        "pg_partitioned_table",
        "partrelid:i partstrat:t partnatts:i partdefid:i partattrs:t partclass:t partcollation:t partexprs:t",
    ),
    empty(
        "pg_depend",
        "classid:i objid:i objsubid:i refclassid:i refobjid:i refobjsubid:i deptype:t",
    ),
    empty(
        "pg_language",
        "oid:i lanname:t lanowner:i lanispl:b lanpltrusted:b",
    ),
    empty("pg_cast", "oid:i castsource:i casttarget:i"),
    empty("pg_operator", "oid:i oprname:t"),
    empty("pg_aggregate", "aggfnoid:i"),
    empty("pg_locks", "locktype:t pid:i"),
    empty("pg_auth_members", "roleid:i member:i admin_option:b"),
    empty("pg_db_role_setting", "setdatabase:i setrole:i"),
    empty(
        "pg_event_trigger",
        "oid:i evtname:t evtevent:t evtowner:i evtfoid:i evtenabled:t",
    ),
    empty("pg_user_mapping", "oid:i umuser:i"),
    empty(
        "pg_opclass",
        "oid:i opcmethod:i opcname:t opcnamespace:i opcowner:i opcfamily:i opcintype:i opcdefault:b opckeytype:i",
    ),
    empty(
        "pg_opfamily",
        "oid:i opfmethod:i opfname:t opfnamespace:i opfowner:i",
    ),
    empty("pg_conversion", "oid:i conname:t connamespace:i"),
    empty(
        "pg_seclabel",
        "objoid:i classoid:i objsubid:i provider:t label:t",
    ),
    empty(
        "pg_stat_user_indexes",
        "relid:i indexrelid:i schemaname:t relname:t indexrelname:t idx_scan:i",
    ),
    empty(
        "pg_statio_user_tables",
        "relid:i schemaname:t relname:t heap_blks_read:i",
    ),
    empty(
        "pg_stat_all_tables",
        "relid:i schemaname:t relname:t n_live_tup:i",
    ),
    empty("pg_prepared_xacts", "transaction:i gid:t"),
    schema(
        "schemata",
        "catalog_name:t schema_name:t schema_owner:t",
        false,
    ),
    schema(
        "tables",
        "table_catalog:t table_schema:t table_name:t table_type:t self_referencing_column_name:t reference_generation:t \
         is_insertable_into:t=NO is_typed:t=NO commit_action:t",
        false,
    ),
    schema(
        "columns",
        "table_catalog:t table_schema:t table_name:t column_name:t ordinal_position:i column_default:t is_nullable:t data_type:t \
         character_maximum_length:i character_octet_length:i numeric_precision:i numeric_precision_radix:i numeric_scale:i \
         datetime_precision:i interval_type:t collation_name:t domain_name:t udt_catalog:t udt_schema:t=pg_catalog udt_name:t \
         dtd_identifier:t is_identity:t=NO identity_generation:t is_generated:t=NEVER generation_expression:t is_updatable:t=NO",
        false,
    ),
    schema(
        "views",
        "table_catalog:t table_schema:t table_name:t view_definition:t",
        true,
    ),
    schema(
        "table_constraints",
        "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t constraint_type:t",
        true,
    ),
    schema(
        "key_column_usage",
        "constraint_catalog:t constraint_schema:t constraint_name:t table_schema:t table_name:t column_name:t ordinal_position:i",
        true,
    ),
    schema(
        "referential_constraints",
        "constraint_schema:t constraint_name:t unique_constraint_schema:t unique_constraint_name:t",
        true,
    ),
    schema(
        "constraint_column_usage",
        "table_schema:t table_name:t column_name:t constraint_schema:t constraint_name:t",
        true,
    ),
    schema(
        "routines",
        "specific_schema:t specific_name:t routine_schema:t routine_name:t routine_type:t data_type:t",
        true,
    ),
    schema("sequences", "sequence_schema:t sequence_name:t", true),
];

/// One of them.
pub(super) fn find(group: &str, name: &str) -> Option<&'static Known> {
    TABLES
        .iter()
        .find(|table| table.group == group && table.name == name)
}

impl Known {
    fn words(&self) -> impl Iterator<Item = (&'static str, ColumnKind, Option<&'static str>)> {
        self.columns.split_whitespace().filter_map(|word| {
            let (name, rest) = word.split_once(':')?;
            let (kind, value) = match rest.split_once('=') {
                Some((kind, value)) => (kind, Some(value)),
                None => (rest, None),
            };
            let kind = match kind {
                "i" => ColumnKind::Int64,
                "b" => ColumnKind::Bool,
                _ => ColumnKind::String,
            };
            Some((name, kind, value))
        })
    }

    /// Its columns.
    pub(super) fn columns(&self) -> Vec<Column> {
        let column = |(name, kind, _): (&str, ColumnKind, _)| Column {
            name: name.to_owned(),
            kind,
            nullable: true,
        };
        self.words().map(column).collect()
    }

    /// A row of which only some is said.
    pub(super) fn row(&self, mut said: Value) -> Value {
        let mut row = Map::new();
        for (name, kind, usual) in self.words() {
            let own = said.get_mut(name).map(Value::take);
            let value = own.or_else(|| {
                let usual = usual?;
                Some(match kind {
                    ColumnKind::Int64 => usual.parse::<i64>().ok()?.into(),
                    ColumnKind::Bool => (usual == "true").into(),
                    _ => usual.into(),
                })
            });
            row.insert(name.to_owned(), value.unwrap_or(Value::Null));
        }
        row.into()
    }
}
