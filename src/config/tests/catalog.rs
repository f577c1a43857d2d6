//! The second stage: columns, keys and templates against a catalog.

use super::super::resolve::{Relation, Resolved, resolve};
use super::*;
use crate::value::{Column, Type};

fn column(name: &str, ty: Type, sql_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        sql_type: sql_type.to_owned(),
        type_oid: 0,
        typmod: -1,
        not_null: false,
    }
}

fn columns() -> Vec<Column> {
    vec![
        column("order_id", Type::Int8, "bigint"),
        column("customer_id", Type::Int4, "integer"),
        column("created_at", Type::TimestampTz, "timestamp with time zone"),
        column("status", Type::Text, "text"),
        column("region", Type::Text, "character varying(10)"),
        column("ref", Type::Uuid, "uuid"),
        column("total", Type::Numeric, "numeric(10,2)"),
    ]
}

/// The projection `orders` with its Redis targets replaced, against a table of this key.
fn resolved(targets: &str, key: Option<&[&str]>) -> Result<Resolved, Vec<Diagnostic>> {
    let text = SHOP.replace("key = [\"order_id\"]\n", "");
    let at = text.find("to.cache").expect("targets in Redis");
    let config = config_of(&format!("{}to.cache = {targets}\n", &text[..at]), &[]);
    let columns = columns();
    let position = |name: &&str| columns.iter().position(|c| c.name == **name).expect("a column");
    let key: Option<Vec<usize>> = key.map(|key| key.iter().map(position).collect());
    resolve(&config.projections[1], Relation { columns: &columns, key: key.as_deref() })
}

fn faults(targets: &str, key: Option<&[&str]>) -> String {
    match resolved(targets, key) {
        Ok(_) => "no faults".to_owned(),
        Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
    }
}

#[test]
fn templates_that_tell_rows_apart() {
    for (template, key) in [
        ("order:{order_id}", &["order_id"][..]),
        ("{order_id}", &["order_id"]),
        ("{customer_id}:{order_id}", &["order_id"]),
        ("{customer_id}:{order_id}", &["order_id", "customer_id"]),
        // One free text is found between its neighbours' ends, wherever it stands.
        ("{status}:{order_id}", &["order_id", "status"]),
        ("{order_id}:{status}", &["order_id", "status"]),
        ("{customer_id}:{status}:{order_id}", &["order_id", "status", "customer_id"]),
        // Free texts beyond the key do no harm where the key is read from an end.
        ("{status}:{region}:{order_id}", &["order_id"]),
        ("{order_id}:{status}:{region}", &["order_id"]),
        // A minus sign begins an integer and does not go on with one.
        ("{customer_id}-{order_id}", &["order_id", "customer_id"]),
        ("{created_at}-{order_id}-{status}", &["order_id", "created_at", "status"]),
        // A time holds colons, but none can follow it, or stand before it.
        ("{created_at}:{status}", &["created_at", "status"]),
        ("{status}:{created_at}", &["created_at", "status"]),
        // All uuids have one length.
        ("{ref}{order_id}", &["ref", "order_id"]),
        ("{status}{ref}", &["ref", "status"]),
        ("{ref}-{status}", &["ref", "status"]),
        ("{created_at}:{order_id}", &["order_id", "created_at"]),
        ("{ref}:{order_id}", &["ref", "order_id"]),
        // A query of one row.
        ("total", &[]),
    ] {
        let targets = format!("{{ hash = \"{template}\" }}");
        assert_eq!(faults(&targets, Some(key)), "no faults", "{template}");
    }
}

#[test]
fn templates_that_do_not() {
    for (template, key) in [
        ("{customer_id}{order_id}", &["order_id"][..]),
        ("{status}:{region}", &["status", "region"]),
        ("{status}:{order_id}:{region}", &["order_id"]),
        ("{status}{order_id}", &["order_id"]),
        // An integer may begin with a minus sign.
        ("{status}-{order_id}", &["order_id", "status"]),
        ("order", &["order_id"]),
    ] {
        let targets = format!("{{ hash = \"{template}\" }}");
        assert_ne!(faults(&targets, Some(key)), "no faults", "{template}");
    }
}

#[test]
fn key_and_member_are_read_apart() {
    let targets = "{ set = \"tag:{status}\", member = \"{region}\" }";
    assert_eq!(faults(targets, Some(&["status", "region"])), "no faults");
}

#[test]
fn the_key_is_the_configured_one_before_the_tables() {
    let config = config_of(SHOP, &[]);
    let columns = columns();
    let relation = Relation { columns: &columns, key: Some(&[5]) };
    let resolved = resolve(&config.projections[1], relation).expect("no faults");
    assert_eq!(resolved, Resolved { key: vec![0], score_expressions: Vec::new() });
}

#[test]
fn expressions_as_scores_are_handed_on() {
    let targets = "{ sorted_set = \"a\", member = \"{order_id}\", score = \"-total\" }";
    let resolved = resolved(targets, Some(&["order_id"])).expect("no faults");
    let score = &resolved.score_expressions[0];
    assert_eq!((score.target, score.sql.as_str()), (1, "-total"));
    assert_eq!(score.place.to_string(), "readside.toml:28:63");
}

#[test]
fn unknown_columns() {
    insta::assert_snapshot!(faults(
        "[ { hash = \"order:{order_di}\", columns = [\"status\", \"reigon\"] },
  { sorted_set = \"c:{customer}\", member = \"{order_id}\", score = \"Created_at\" } ]",
        Some(&["order_id"]),
    ), @r#"
    error: `hash` names a column `order_di`, which projection `orders` does not have
      --> readside.toml:28:30
       |
    28 | to.cache = [ { hash = "order:{order_di}", columns = ["status", "reigon"] },
       |                              ^^^^^^^^^^
       |
    hint: did you mean `order_id`?

    error: `columns` names a column `reigon`, which projection `orders` does not have
      --> readside.toml:28:64
       |
    28 | to.cache = [ { hash = "order:{order_di}", columns = ["status", "reigon"] },
       |                                                                ^^^^^^^^
       |
    hint: did you mean `region`?

    error: `sorted_set` names a column `customer`, which projection `orders` does not have
      --> readside.toml:29:21
       |
    29 |   { sorted_set = "c:{customer}", member = "{order_id}", score = "Created_at" } ]
       |                     ^^^^^^^^^^
       |
    hint: known here: `order_id`, `customer_id`, `created_at`, `status`, `region`, `ref`, `total`

    error: `score` names a column `Created_at`, which projection `orders` does not have
      --> readside.toml:29:65
       |
    29 |   { sorted_set = "c:{customer}", member = "{order_id}", score = "Created_at" } ]
       |                                                                 ^^^^^^^^^^^^
       |
    hint: did you mean `created_at`?
    "#);
}

#[test]
fn unknown_columns_in_the_key() {
    let config = config_of(&edited("key = [\"order_id\"]", "key = [\"ref\", \"oder_id\"]"), &[]);
    let relation = Relation { columns: &columns(), key: None };
    let faults = resolve(&config.projections[1], relation).expect_err("an unknown column");
    insta::assert_snapshot!(faults[0], @r#"
    error: `key` names a column `oder_id`, which projection `orders` does not have
      --> readside.toml:27:15
       |
    27 | key = ["ref", "oder_id"]
       |               ^^^^^^^^^
       |
    hint: did you mean `order_id`?
    "#);
}

#[test]
fn no_key() {
    insta::assert_snapshot!(faults("{ hash = \"order:{order_id}\" }", None), @r#"
    error: table public.orders has no primary key
      --> readside.toml:26:9
       |
    26 | table = "orders"
       |         ^^^^^^^^
       |
    hint: add key = ["COLUMN", …] with the columns that tell its rows apart
    "#);
}

#[test]
fn key_not_in_the_templates() {
    insta::assert_snapshot!(faults(
        "[ { hash = \"order:{customer_id}\" }, { set = \"a\", member = \"{customer_id}\" } ]",
        Some(&["order_id", "ref"]),
    ), @r#"
    error: `hash` of projection `orders` does not hold the whole key: `order_id`, `ref` are missing, so two rows could share an entry
      --> readside.toml:28:23
       |
    28 | to.cache = [ { hash = "order:{customer_id}" }, { set = "a", member = "{customer_id}" } ]
       |                       ^^^^^^^^^^^^^^^^^^^^^
       |
    hint: add {order_id} to the template; where only distinct entries are wanted, SELECT DISTINCT them in a query, or build the key in the query

    error: `set` and `member` of projection `orders` do not hold the whole key: `order_id`, `ref` are missing, so two rows could share an entry
      --> readside.toml:28:56
       |
    28 | to.cache = [ { hash = "order:{customer_id}" }, { set = "a", member = "{customer_id}" } ]
       |                                                        ^^^
       |
    hint: add {order_id} to the template; where only distinct entries are wanted, SELECT DISTINCT them in a query, or build the key in the query
    "#);
}

#[test]
fn neighbours_without_a_separator() {
    insta::assert_snapshot!(
        faults("{ hash = \"{customer_id}{order_id}\" }", Some(&["order_id"])), @r#"
    error: `hash` of projection `orders` could be equal for two rows: where `order_id` begins or ends cannot be told in it
      --> readside.toml:28:21
       |
    28 | to.cache = { hash = "{customer_id}{order_id}" }
       |                     ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: put a separator between the columns, or build the key in the query
    "#
    );
}

#[test]
fn two_free_texts() {
    insta::assert_snapshot!(
        faults("{ hash = \"o:{status}:{region}\" }", Some(&["status", "region"])), @r#"
    error: `hash` of projection `orders` could be equal for two rows: where `status`, `region` begins or ends cannot be told in it
      --> readside.toml:28:21
       |
    28 | to.cache = { hash = "o:{status}:{region}" }
       |                     ^^^^^^^^^^^^^^^^^^^^^
       |
    hint: keep one column of free text in a template, with separators that the other columns never hold, or build the key in the query
    "#
    );
}

#[test]
fn score_of_text() {
    insta::assert_snapshot!(faults(
        "{ sorted_set = \"a\", member = \"{order_id}\", score = \"status\" }",
        Some(&["order_id"]),
    ), @r#"
    error: `score` takes a number or a time, but column `status` is text
      --> readside.toml:28:63
       |
    28 | to.cache = { sorted_set = "a", member = "{order_id}", score = "status" }
       |                                                               ^^^^^^^^
       |
    hint: name a column of a number or a time; times count in seconds
    "#);
}
