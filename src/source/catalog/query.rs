//! The catalog query. Everything in one statement is seen in one state; JSON spares a column list for
//! each of its parts. PostgreSQL 14 to 18; what a version lacks is replaced by a constant.

use std::fmt::Write as _;

use super::Scope;
use crate::pg;
use crate::source::quote::literal;

/// The first version with row filters and column lists.
const ROW_FILTERS: u32 = 150_000;
/// The first version that publishes schemas.
const SCHEMAS: u32 = 150_000;
/// The first version that tells of a conflict with recovery.
const CONFLICTING: u32 = 160_000;
/// The first version that says why a slot is invalid.
const INVALIDATION_REASON: u32 = 170_000;

pub(super) const TABLE_NAMES: &str = "\
    SELECT n.nspname, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384
    ORDER BY 1, 2
    LIMIT 100000";

pub(super) fn catalog(version: u32, scope: &Scope) -> String {
    let mut wanted = String::from("(NULL::text, NULL::text)");
    for table in &scope.tables {
        // Writing to a String cannot fail.
        let _ = write!(wanted, ", ({}, {})", literal(&table.schema), literal(&table.name));
    }
    let (filters, lists) = if version >= ROW_FILTERS {
        ("m.prqual IS NOT NULL", "m.prattrs IS NOT NULL")
    } else {
        ("false", "false")
    };
    let schemas = if version >= SCHEMAS { BY_SCHEMA } else { "" };
    let invalid = if version >= INVALIDATION_REASON {
        "s.invalidation_reason"
    } else if version >= CONFLICTING {
        "CASE WHEN s.conflicting THEN 'conflict with recovery' END"
    } else {
        "NULL::text"
    };
    TEMPLATE
        .replace("{wanted}", &wanted)
        .replace("{database_identity}", pg::DATABASE_IDENTITY)
        .replace("{schemas}", schemas)
        .replace("{filters}", filters)
        .replace("{lists}", lists)
        .replace("{invalid}", invalid)
        .replace("{publication}", &literal(&scope.publication))
        .replace("{slot}", &literal(&scope.slot))
}

// A table that has been in another schema meanwhile has another row that says where it is.
const BY_SCHEMA: &str = "
              UNION ALL
              SELECT concat_ws(' ', 'schema', m.oid, d.xmin, u.links)
              FROM up u
              JOIN pg_class c ON c.oid = u.oid
              JOIN pg_publication_namespace m ON m.pnnspid = c.relnamespace AND m.pnpubid = p.oid
              LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.objsubid = 0 AND d.refclassid = 'pg_namespace'::regclass";

// Oids are cast: JSON would have them as strings. `tree` is each wanted table with all below it.
const TEMPLATE: &str = r#"
WITH RECURSIVE wanted (schema, name) AS (VALUES {wanted}),
roots AS (
  SELECT c.*, n.nspname
  FROM wanted w
  JOIN pg_namespace n ON n.nspname = w.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
),
tree (root, oid) AS (
  SELECT oid, oid FROM roots
  UNION ALL
  SELECT t.root, i.inhrelid
  FROM tree t
  JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending
),
leaves AS (
  SELECT t.root, c.*, n.nspname
  FROM tree t
  JOIN pg_class c ON c.oid = t.oid AND c.relkind <> 'p'
  JOIN pg_namespace n ON n.oid = c.relnamespace
),
needed (oid) AS (
  SELECT a.atttypid
  FROM roots r
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION
  SELECT inner_type.oid
  FROM needed d
  JOIN pg_type t ON t.oid = d.oid
  CROSS JOIN LATERAL (
    SELECT t.typbasetype WHERE t.typtype = 'd'
    UNION ALL
    SELECT t.typelem WHERE t.typcategory = 'A'
    UNION ALL
    SELECT a.atttypid FROM pg_attribute a
    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  ) AS inner_type (oid)
)
SELECT json_build_object(
  'server', (SELECT row_to_json(x) FROM (SELECT
      current_setting('server_version_num')::int AS version,
      (SELECT system_identifier FROM pg_control_system()) AS system_id,
      pg_is_in_recovery() AS in_recovery,
      current_setting('wal_level') AS wal_level,
      current_setting('synchronous_standby_names') AS synchronous_standby_names,
      current_setting('max_replication_slots')::int AS replication_slots_max,
      (SELECT count(*) FROM pg_replication_slots) AS replication_slots_used,
      current_setting('max_wal_senders')::int AS wal_senders_max,
      (SELECT count(*) FROM pg_stat_replication) AS wal_senders_used,
      d.datname AS database,
      {database_identity} AS database_identity,
      pg_encoding_to_char(d.encoding) AS encoding,
      -- The columns that only some versions have are NULL elsewhere.
      coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS locale_provider,
      coalesce(to_jsonb(d) ->> 'datlocale', d.datcollate) AS collate,
      coalesce(to_jsonb(d) ->> 'datlocale', d.datctype) AS ctype
    FROM pg_database d WHERE d.datname = current_database()) x),
  'role', (SELECT row_to_json(x) FROM (SELECT
      r.rolname AS name,
      r.rolsuper AS superuser,
      r.rolreplication OR r.rolsuper AS replication,
      r.rolbypassrls OR r.rolsuper AS bypass_rls,
      has_database_privilege(current_database(), 'CREATE') AS can_create
    FROM pg_roles r WHERE r.rolname = current_user) x),
  'publication', (SELECT row_to_json(x) FROM (SELECT
      p.oid::int8 AS oid,
      p.xmin::text::int8 AS touched,
      pg_get_userbyid(p.pubowner) AS owner,
      pg_has_role(p.pubowner, 'USAGE') AS owned,
      p.puballtables AS all_tables,
      p.pubinsert AS insert,
      p.pubupdate AS update,
      p.pubdelete AS delete,
      p.pubtruncate AS truncate,
      p.pubviaroot AS via_partition_root,
      obj_description(p.oid, 'pg_publication') AS comment,
      (SELECT json_agg(g.relid::int8) FROM pg_get_publication_tables(p.pubname) g
       WHERE g.relid IN (SELECT t.oid FROM tree t)) AS members,
      (SELECT json_agg(json_build_object(
          'schema', n.nspname, 'name', c.relname, 'filter', {filters}, 'list', {lists}))
       FROM pg_publication_rel m
       JOIN pg_class c ON c.oid = m.prrelid
       JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE m.prpubid = p.oid AND c.oid IN (SELECT t.oid FROM tree t)
         AND ({filters} OR {lists})) AS narrowed
    FROM pg_publication p WHERE p.pubname = {publication}) x),
  'slot', (SELECT row_to_json(x) FROM (SELECT
      s.plugin,
      s.database,
      s.temporary,
      (to_jsonb(s) ->> 'failover')::boolean AS failover,
      CASE WHEN s.active_pid IS NOT NULL THEN
        (SELECT json_build_object('pid', s.active_pid, 'role', max(a.usename::text),
                                  'application_name', max(a.application_name))
         FROM pg_stat_activity a WHERE a.pid = s.active_pid) END AS active,
      s.confirmed_flush_lsn AS confirmed_flush,
      s.restart_lsn AS restart,
      s.wal_status,
      {invalid} AS invalid,
      (w.lsn - s.restart_lsn)::int8 AS retained_bytes,
      (w.lsn - s.confirmed_flush_lsn)::int8 AS unconfirmed_bytes,
      w.lsn AS wal_end
    FROM pg_replication_slots s,
      (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                   ELSE pg_current_wal_lsn() END AS lsn) w
    WHERE s.slot_name = {slot}) x),
  'types', (SELECT json_agg(x) FROM (SELECT
      t.oid::int8 AS oid,
      n.nspname AS schema,
      t.typname AS name,
      ascii(t.typtype::text) AS typtype,
      ascii(t.typcategory::text) AS category,
      CASE WHEN t.typcategory = 'A' THEN t.typelem::int8 ELSE 0 END AS elem,
      t.typbasetype::int8 AS base,
      ascii(t.typdelim::text) AS delim,
      t.typarray::int8 AS array,
      t.typtypmod AS typmod,
      format_type(t.oid, NULL) AS sql_type,
      (SELECT json_agg(json_build_array(a.attname, a.atttypid::int8) ORDER BY a.attnum)
       FROM pg_attribute a
       WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      ) AS attributes,
      (SELECT json_agg(json_build_array(e.oid::int8, e.enumlabel) ORDER BY e.enumsortorder)
       FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
    FROM needed d JOIN pg_type t ON t.oid = d.oid JOIN pg_namespace n ON n.oid = t.typnamespace) x),
  'tables', (SELECT json_agg(x ORDER BY x.oid) FROM (SELECT
      r.oid::int8 AS oid,
      r.nspname AS schema,
      r.relname AS name,
      r.relkind AS kind,
      r.relpersistence AS persistence,
      (SELECT json_agg(c) FROM (SELECT
          a.attname AS name,
          a.attnum AS number,
          a.atttypid::int8 AS type_oid,
          a.atttypmod AS typmod,
          format_type(a.atttypid, a.atttypmod) AS sql_type,
          a.attnotnull AS not_null,
          CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generated,
          coalesce(l.collisdeterministic, true) AS deterministic,
          nullif(l.collname, 'default') AS collation
        FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum) c) AS columns,
      (SELECT json_agg(a.attname ORDER BY k.place)
       FROM pg_index i
       CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
       WHERE i.indrelid = r.oid AND i.indisprimary AND k.place <= i.indnkeyatts) AS primary_key,
      CASE WHEN r.relkind = 'r' THEN
        (SELECT json_agg(json_build_object('schema', n.nspname, 'name', c.relname)
                         ORDER BY n.nspname, c.relname)
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE i.inhparent = r.oid) END AS children,
      (SELECT json_agg(y ORDER BY y.oid) FROM (SELECT
          l.oid::int8 AS oid,
          l.nspname AS schema,
          l.relname AS name,
          l.relkind AS kind,
          l.relpersistence AS persistence,
          coalesce(pg_relation_filenode(l.oid), 0)::int8 AS filenode,
          CASE WHEN l.reltuples >= 0 AND (l.reltuples > 0 OR l.relpages > 0)
               THEN round(l.reltuples)::int8 END AS rows_estimate,
          l.relreplident AS replica_identity,
          row_security_active(l.oid) AS row_security,
          coalesce(has_table_privilege(l.oid, 'SELECT'), false) AS can_select,
          coalesce(has_schema_privilege(l.relnamespace, 'USAGE'), false) AS can_use_schema,
          pg_has_role(l.relowner, 'USAGE') AS owned,
          -- Attached anew a partition has another link.
          (WITH RECURSIVE up (oid, links) AS (
              SELECT l.oid, NULL::text
              UNION ALL
              SELECT i.inhparent, concat_ws(' ', u.links, i.xmin)
              FROM up u
              JOIN pg_class c ON c.oid = u.oid AND c.relispartition
              JOIN pg_inherits i ON i.inhrelid = u.oid)
            SELECT json_agg(DISTINCT way.text)
            FROM pg_publication p
            CROSS JOIN LATERAL (
              SELECT concat_ws(' ', 'relation', m.oid, u.links)
              FROM up u JOIN pg_publication_rel m ON m.prrelid = u.oid AND m.prpubid = p.oid
              {schemas}
              UNION ALL
              SELECT concat_ws(' ', 'all', p.oid) WHERE p.puballtables
            ) AS way (text)
            WHERE p.pubname = {publication}) AS membership,
          (SELECT json_agg(c) FROM (SELECT
              a.attname AS name,
              a.attnum AS number,
              CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END AS missing,
              a.xmin::text::int8 AS touched,
              CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generated
            FROM pg_attribute a
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum) c) AS columns,
          (SELECT json_agg(c) FROM (SELECT
              ic.relname AS name,
              i.indisprimary AS primary,
              i.indisreplident AS replica_identity,
              i.indisvalid AS valid,
              i.indimmediate AS immediate,
              i.indpred IS NOT NULL AS partial,
              i.indexprs IS NOT NULL AS on_expressions,
              k.columns,
              k.nullable
            FROM pg_index i
            JOIN pg_class ic ON ic.oid = i.indexrelid
            CROSS JOIN LATERAL (
              SELECT coalesce(json_agg(a.attname ORDER BY k.place), '[]') AS columns,
                     coalesce(json_agg(a.attname ORDER BY k.place) FILTER (WHERE NOT a.attnotnull),
                              '[]') AS nullable
              FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              WHERE k.place <= i.indnkeyatts
            ) k
            WHERE i.indrelid = l.oid AND i.indisunique
            ORDER BY i.indisprimary DESC, ic.relname) c) AS unique_indexes
        FROM leaves l WHERE l.root = r.oid) y) AS leaves
    FROM roots r) x)
)::text"#;
