//! Events compile or are refused, by name and place.

use super::*;
use crate::sql::expr::Collation;
use crate::sql::query::Table;

fn table(name: &str, columns: &[(&str, Type, u32)], key: &[usize]) -> Table {
    let column = |(name, ty, oid): &(&str, Type, u32)| Column {
        name: (*name).into(),
        ty: ty.clone(),
        sql_type: ty.to_string(),
        type_oid: *oid,
        typmod: -1,
        not_null: true,
    };
    Table {
        schema: "public".into(),
        name: name.into(),
        columns: columns.iter().map(column).collect(),
        collations: vec![Collation::Default; columns.len()],
        primary_key: Some(key.to_vec()),
        generated: Vec::new(),
        kept: None,
    }
}

fn compiled(when: &str, data: &str) -> std::result::Result<Event, Vec<(Part, Fault)>> {
    let schema = Schema {
        tables: vec![
            table("customers", &[("id", Type::Int8, 20), ("email", Type::Text, 25)], &[0]),
            table(
                "orders",
                &[
                    ("id", Type::Int4, 23),
                    ("customer", Type::Int4, 23),
                    ("status", Type::Text, 25),
                    ("total", Type::Numeric, 1700),
                ],
                &[0],
            ),
        ],
        ..Schema::default()
    };
    let texts = Texts { when: Some(when), data };
    compile(Of::Table(1), texts, &schema, &[vec![0], vec![0]])
}

/// What is refused, the text that it points at, and what to do.
fn refused(when: &str, data: &str) -> String {
    let told = |(part, fault): (Part, Fault)| {
        let text = if part == Part::When { when } else { data };
        let hint = fault.hint.unwrap_or_default();
        format!("{part:?} `{}`: {}; {hint}", &text[fault.span], fault.what)
            .trim_end_matches("; ")
            .to_owned()
    };
    let faults = compiled(when, data).expect_err("refused");
    faults.into_iter().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_are_those_that_postgres_gives() {
    let event = compiled(
        "old IS NULL",
        "new.id, upper(new.status), new.total * 2, new.total::text, 1 AS one, \
         (SELECT email FROM customers WHERE id = new.customer), to_jsonb(NEW)",
    )
    .expect("sound");
    let names: Vec<&str> = event.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "upper", "?column?", "total", "one", "email", "to_jsonb"]);
    assert!(!event.looks_at_old);
    assert_eq!(event.lookups.len(), 1);
    let event = compiled("new IS NOT NULL", "new.*, old.status AS before").expect("sound");
    assert_eq!(event.columns.len(), 5);
    assert!(event.looks_at_old);
}

#[test]
fn equal_look_ups_are_one_and_may_build_on_another() {
    let event = compiled(
        "(SELECT c.email FROM customers c WHERE c.id = new.customer) IS NOT NULL",
        "(SELECT c.email FROM customers c WHERE c.id = new.customer), \
         (SELECT o.status FROM orders o WHERE o.id = \
           (SELECT c.id FROM customers c WHERE c.id = new.id AND c.email <> new.status)::int) AS other",
    )
    .expect("sound");
    assert_eq!(event.lookups.len(), 3);
    assert!(event.lookups[0].in_condition && !event.lookups[1].in_condition);
    assert_eq!(event.lookups[1].conditions.len(), 1);
}

#[test]
fn what_is_refused() {
    let refusals = [
        refused("status = 'x'", "new.id"),
        refused("new.stat = 'x'", "new.id"),
        refused("new.total", "new.id"),
        refused("old IS DISTINCT FROM new", "new.id"),
        refused("true", "new.id, old.id"),
        refused("true", "new.id,"),
        refused("true", "*"),
        refused("true", "(SELECT email FROM customers)"),
        refused("true", "(SELECT email FROM customers WHERE id = new.customer LIMIT 1)"),
        refused("true", "(SELECT email FROM customers WHERE id = new.total)"),
        refused("true", "(SELECT email FROM nobody WHERE id = new.id)"),
        refused("EXISTS (SELECT FROM customers WHERE id = new.id)", "new.id"),
        refused("true", "now()"),
        refused("new.stat = 'x'", "now()"),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r"
    When `status`: `status` of which version?; write new.status or old.status
    When `new.stat`: there is no column `new.stat`
    When `new.total`: the condition is numeric, not true or false
    When `old`: `old` is a whole row, which has no value of its own here; write old.COLUMN, old IS NULL, or to_jsonb(old); to compare rows, compare their columns
    Data `old.id`: two columns of the data are called `id`; name one of them by AS
    Data `new.id,`: the expression cannot be read: Expected: an expression, found: EOF
    Data `*`: this is no list of columns; write new.* or old.*
    Data `SELECT email FROM customers`: a look-up in customers names its whole key by =: id is missing; write customers.id = …
    Data `SELECT email FROM customers WHERE id = new.customer LIMIT 1`: a subquery in an event looks up one row by its key, and nothing else; write (SELECT VALUE FROM TABLE WHERE KEY = new.COLUMN)
    Data `id = new.total`: id is bigint, and is compared with numeric; cast the other side: (new.total)::bigint
    Data `nobody`: table public.nobody does not exist
    When `SELECT FROM customers WHERE id = new.id`: a subquery may not stand here
    Data `now`: now reads the clock; a read model changes with its rows alone
    When `new.stat`: there is no column `new.stat`
    Data `now`: now reads the clock; a read model changes with its rows alone
    ");
}
