-- What BI tools ask PostgreSQL's catalog, as their public sources have it. `want` begins a line of the answer, as psql writes it without
-- alignment, or `nothing`.

-- ask: Grafana, the server's version
-- want: 1500
SELECT current_setting('server_version_num')::int/100 as version

-- ask: Grafana, whether there is TimescaleDB
-- want: nothing
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'

-- ask: Grafana, tables
-- want: flights
select quote_ident(table_name) as "table" from information_schema.tables
 where quote_ident(table_schema) not in ('information_schema', 'pg_catalog', '_timescaledb_cache', 'timescaledb_information')
 and quote_ident(table_schema) IN (
   SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
   FROM generate_series(
     array_lower(string_to_array(current_setting('search_path'),','),1),
     array_upper(string_to_array(current_setting('search_path'),','),1)
   ) as i, string_to_array(current_setting('search_path'),',') s)

-- ask: Grafana, columns
-- want: _time|timestamp with time zone
select quote_ident(column_name) as "column", data_type as "type" from information_schema.columns where quote_ident(table_name) = 'flights'

-- ask: Metabase, tables
-- want: stations|flights|TABLE||
SELECT n.nspname AS "schema", c.relname AS "name",
 CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
 WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END AS "type", d.description AS "description",
 NULLIF(stat.n_live_tup, 0) AS "estimated_row_count"
 FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
 LEFT JOIN pg_catalog.pg_description AS d ON c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
 LEFT JOIN pg_stat_user_tables AS stat ON n.nspname = stat.schemaname AND c.relname = stat.relname
 WHERE c.relnamespace = n.oid AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 AND c.relkind IN ('r', 'p', 'v', 'f', 'm') AND n.nspname IN ('stations') ORDER BY "type" ASC, "schema" ASC, "name" ASC

-- ask: Metabase, privileges
-- want: |stations|flights|f|t|f|f
with table_privileges as (
 select NULL as role, t.schemaname as schema, t.objectname as table,
 pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'update') as update,
 pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'select') as select,
 pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'insert') as insert,
 pg_catalog.has_table_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"."' || replace(t.objectname, '"', '""') || '"', 'delete') as delete
 from (
  select schemaname, tablename as objectname from pg_catalog.pg_tables
  union select schemaname, viewname as objectname from pg_catalog.pg_views
  union select schemaname, matviewname as objectname from pg_catalog.pg_matviews
 ) t
 where t.schemaname !~ '^pg_' and t.schemaname <> 'information_schema'
 and pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')
) select t.* from table_privileges t

-- ask: Metabase, fields
-- want: carrier|text|9|stations|flights|f||f|f
SELECT "c"."column_name" AS "name",
 CASE WHEN "c"."udt_schema" IN ('public', 'pg_catalog') THEN FORMAT('%s', "c"."udt_name")
 ELSE FORMAT('"%s"."%s"', "c"."udt_schema", "c"."udt_name") END AS "database-type",
 "c"."ordinal_position" - 1 AS "database-position", "c"."table_schema" AS "table-schema", "c"."table_name" AS "table-name",
 "pk"."column_name" IS NOT NULL AS "pk?",
 COL_DESCRIPTION(CAST(CAST(FORMAT('%I.%I', CAST("c"."table_schema" AS TEXT), CAST("c"."table_name" AS TEXT)) AS REGCLASS) AS OID), "c"."ordinal_position") AS "field-comment",
 (("column_default" IS NULL) OR (LOWER("column_default") = 'null')) AND ("is_nullable" = 'NO')
 AND NOT ((("column_default" IS NOT NULL) AND ("column_default" LIKE '%nextval(%')) OR ("is_identity" <> 'NO')) AS "database-required",
 (("column_default" IS NOT NULL) AND ("column_default" LIKE '%nextval(%')) OR ("is_identity" <> 'NO') AS "database-is-auto-increment"
 FROM "information_schema"."columns" AS "c"
 LEFT JOIN (SELECT "tc"."table_schema", "tc"."table_name", "kc"."column_name" FROM "information_schema"."table_constraints" AS "tc"
 INNER JOIN "information_schema"."key_column_usage" AS "kc" ON ("tc"."constraint_name" = "kc"."constraint_name")
 AND ("tc"."table_schema" = "kc"."table_schema") AND ("tc"."table_name" = "kc"."table_name")
 WHERE "tc"."constraint_type" = 'PRIMARY KEY') AS "pk" ON ("c"."table_schema" = "pk"."table_schema")
 AND ("c"."table_name" = "pk"."table_name") AND ("c"."column_name" = "pk"."column_name")
 WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND ("c"."table_schema" IN ('stations'))
 ORDER BY "table-schema" ASC, "table-name" ASC, "database-position" ASC

-- ask: Metabase, enums
-- want: nothing
SELECT nspname, typname, enumlabel FROM pg_enum JOIN pg_type ON pg_enum.enumtypid = pg_type.oid
 JOIN pg_catalog.pg_namespace n ON n.oid = pg_type.typnamespace WHERE nspname = 'stations'

-- ask: DBeaver, who it is
-- want: stations|millstream
SELECT current_schema(),session_user

-- ask: DBeaver, the database
-- want: 5|5|millstream|10|6|
SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datname='millstream'

-- ask: DBeaver, keywords
-- want: ilike,limit,offset
select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absolute,action}'::text[])

-- ask: DBeaver, schemas
-- want: 11|11|pg_catalog|10||
SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n
 LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname

-- ask: DBeaver, tables
-- want: flights|r
SELECT relname, relkind FROM (SELECT c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr,
 pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c
 LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass
 WHERE c.relnamespace='stations'::regnamespace AND c.relkind not in ('i','I','c')) x

-- ask: DBeaver, columns
-- want: carrier|10||
SELECT attname, attnum, def_value, description FROM (
 SELECT c.relname,a.*,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid
 FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid)
 LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum)
 LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid)
 LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid
 WHERE NOT a.attisdropped AND c.relkind not in ('i','I','c') AND c.oid='flights'::regclass ORDER BY a.attnum) x

-- ask: DBeaver, types
-- want: int8|bigint
SELECT typname, format_type(oid, NULL) FROM (SELECT t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description
 FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem
 LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid
 WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')) x

-- ask: DBeaver, constraints
-- want: nothing
SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description FROM pg_catalog.pg_constraint c
 INNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid
 LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass
 WHERE c.conrelid='flights'::regclass ORDER BY c.oid

-- ask: Tableau, tables
-- want: stations|flights
select n.nspname, c.relname from pg_catalog.pg_class c, pg_catalog.pg_namespace n where c.relnamespace = n.oid
 and c.relkind in ('r', 'v', 'm', 'f') and n.nspname like 'stations' escape '\'
