//! The statements, to be read. What they do is tested against a real server in tests/it.

use super::target::{Nulls, Stored, Table, fill_name, show};
use crate::config::{Place, PostgresTarget};
use crate::sink::{Role, SinkProjection};
use crate::value::{Column, Type};

/// Columns of the key are NOT NULL, but for those under names that begin with `maybe`.
fn table(columns: &[(&str, Type, &str)], key: Vec<usize>) -> Table {
    let column = |(name, ty, sql_type): &(&str, Type, &str)| Column {
        name: name.to_string(),
        ty: ty.clone(),
        sql_type: sql_type.to_string(),
        type_oid: 0,
        typmod: -1,
        not_null: !name.starts_with("maybe"),
    };
    let stored = |(_, _, sql_type): &(&str, Type, &str)| Stored {
        oid: 0,
        typmod: -1,
        declared: sql_type.to_string(),
        base: sql_type.split('(').next().unwrap().to_string(),
    };
    let projection = SinkProjection {
        shapes: Vec::new(),
        name: "p".into(),
        role: Role::Rows,
        columns: columns.iter().map(column).collect(),
        key,
        targets: Vec::new(),
        fingerprint: String::new(),
    };
    let target = PostgresTarget {
        schema: "public".into(),
        table: "t".into(),
        indexes: Vec::new(),
        history: None,
        place: Place::default(),
    };
    Table::new(0, &projection, &target, columns.iter().map(stored).collect(), Nulls::InKeys)
}

#[test]
fn rows_travel_as_arrays_of_their_own_type_or_as_text() {
    let table = table(
        &[
            ("id", Type::Int8, "bigint"),
            ("price", Type::Numeric, "numeric(10,2)"),
            ("name", Type::Text, "text"),
            ("tags", Type::Array(Box::new(Type::Text), b','), "text[]"),
        ],
        vec![0, 1],
    );
    insta::assert_snapshot!(table.live.upsert, @r#"INSERT INTO "public"."t" AS t ("id", "price", "name", "tags") SELECT u.c0, u.c1, u.c2, u.c3::text[] FROM unnest($1::bigint[], $2::numeric[], $3::text[], $4::text[]) AS u(c0, c1, c2, c3) ON CONFLICT ("id", "price") DO UPDATE SET "price" = excluded."price", "name" = excluded."name", "tags" = excluded."tags""#);
    insta::assert_snapshot!(table.live.delete, @r#"DELETE FROM "public"."t" AS t USING unnest($1::bigint[], $2::numeric[]) AS u(c0, c1) WHERE t."id" = u.c0 AND t."price" = u.c1 AND t."price"::text = (u.c1)::text"#);
    insta::assert_snapshot!(table.upsert_different("true").replace(&table.fill.name, "FILL"), @r#"INSERT INTO "public"."t" AS t ("id", "price", "name", "tags") SELECT f."id", f."price", f."name", f."tags" FROM "public"."FILL" AS f WHERE true AND NOT EXISTS (SELECT FROM "public"."t" AS t WHERE t."id" = f."id" AND t."price" = f."price" AND t."price"::text = f."price"::text AND t."name" IS NOT DISTINCT FROM f."name" AND t."tags"::text IS NOT DISTINCT FROM f."tags"::text) ON CONFLICT ("id", "price") DO UPDATE SET "price" = excluded."price", "name" = excluded."name", "tags" = excluded."tags""#);
    insta::assert_snapshot!(table.delete_missing().replace(&table.fill.name, "FILL"), @r#"DELETE FROM "public"."t" AS t WHERE NOT EXISTS (SELECT FROM "public"."FILL" AS f WHERE t."id" = f."id" AND t."price" = f."price" AND t."price"::text = f."price"::text)"#);
}

#[test]
fn an_empty_key_conflicts_on_a_constant() {
    let table = table(&[("n", Type::Int8, "bigint")], vec![]);
    insta::assert_snapshot!(table.live.upsert, @r#"INSERT INTO "public"."t" AS t ("n") SELECT u.c0 FROM unnest($1::bigint[]) AS u(c0) ON CONFLICT ((true)) DO UPDATE SET "n" = excluded."n""#);
    insta::assert_snapshot!(table.live.delete, @r#"DELETE FROM "public"."t""#);
    insta::assert_snapshot!(table.create_key("t"), @"CREATE UNIQUE INDEX ON t ((true))");
}

#[test]
fn two_nulls_of_a_key_are_one() {
    let columns = [("id", Type::Int8, "bigint"), ("maybe", Type::Numeric, "numeric")];
    let table = table(&columns, vec![0, 1]);
    insta::assert_snapshot!(table.create("TABLE", "t"), @r#"CREATE TABLE t ("id" bigint NOT NULL, "maybe" numeric)"#);
    insta::assert_snapshot!(table.create_key("t"), @r#"CREATE UNIQUE INDEX ON t ("id", "maybe") NULLS NOT DISTINCT"#);
    insta::assert_snapshot!(table.live.delete, @r#"DELETE FROM "public"."t" AS t USING unnest($1::bigint[], $2::numeric[]) AS u(c0, c1) WHERE t."id" = u.c0 AND (t."maybe" = u.c1 AND t."maybe"::text = (u.c1)::text OR t."maybe" IS NULL AND u.c1 IS NULL)"#);
    insta::assert_snapshot!(table.delete_missing().replace(&table.fill.name, "FILL"), @r#"DELETE FROM "public"."t" AS t WHERE NOT EXISTS (SELECT FROM "public"."FILL" AS f WHERE t."id" = f."id" AND (t."maybe" IS NULL) = (f."maybe" IS NULL) AND coalesce(t."maybe"::text, '') = coalesce(f."maybe"::text, ''))"#);
}

#[test]
fn a_key_that_is_all_there_is_has_nothing_to_update() {
    let table = table(&[("id", Type::Uuid, "uuid")], vec![0]);
    assert!(
        table.live.upsert.ends_with("ON CONFLICT (\"id\") DO NOTHING"),
        "{}",
        table.live.upsert
    );
}

#[test]
fn the_name_of_a_fill_is_the_same_in_every_version() {
    assert_eq!(fill_name("orders"), "readside_fill_00125d9250be8b4c");
}

#[test]
fn names_are_quoted_for_people_where_sql_would_fold_them() {
    for (name, shown) in [("orders", "orders"), ("o_1", "o_1"), ("1o", "\"1o\"")] {
        assert_eq!(show(name), shown);
    }
    assert_eq!(show("Group \"of\""), "\"Group \"\"of\"\"\"");
}

#[test]
fn copy_is_binary_where_each_column_has_such_a_form() {
    let of = |ty, oid| super::binary::Binary::of(&ty, oid);
    assert!(of(Type::Int8, 20).is_some() && of(Type::Text, 25).is_some());
    assert_eq!(of(Type::Int8, 23), None, "a column of another type");
    assert_eq!(of(Type::Interval, 1186), None);
    let table = table(&[("id", Type::Int8, "bigint"), ("n", Type::Interval, "interval")], vec![0]);
    assert!(table.binary.is_none());
    let copy = table.copy.replace(&table.fill.name, "FILL");
    insta::assert_snapshot!(copy, @r#"COPY "public"."FILL" ("id", "n") FROM STDIN"#);
}
