//! Plans over a small shop, and every refusal with its place.

mod plans;
mod refusals;
mod shapes;

use super::{Planned, Schema, Table, explain, plan};
use crate::sql::expr::{Collation, Database};
use crate::value::{Column, Type};

/// customers, orders, order_items, products, events (no key), settings (one row by nature).
pub(super) fn shop() -> Schema {
    let tables = [
        (
            "customers",
            "customer_id int4!, email text!, full_name text, country text",
            "customer_id",
        ),
        (
            "orders",
            "order_id int4!, customer_id int4!, status text!, total_cents int8!, created_at timestamptz!, \
             parent_id int4",
            "order_id",
        ),
        (
            "order_items",
            "item_id int8!, order_id int4!, product_id int4, quantity int4!, price numeric",
            "item_id",
        ),
        ("products", "product_id int4!, name text!, price numeric, active bool!", "product_id"),
        ("prices", "product_id int4!, country text!, price numeric!", "product_id, country"),
        ("events", "order_id int4, kind text, at timestamptz, data jsonb", ""),
        ("big", "id int8!, ref int8", "id"),
    ];
    let tables = tables.into_iter().map(|(name, columns, key)| table(name, columns, key));
    let database = Database { ordered_by_bytes: true, ..Database::default() };
    Schema { tables: tables.collect(), database, ..Schema::default() }
}

fn table(name: &str, columns: &str, key: &str) -> Table {
    let columns: Vec<Column> = columns.split(", ").map(column).collect();
    let at = |name: &str| columns.iter().position(|column| column.name == name);
    let key: Option<Vec<usize>> = key.split(", ").map(at).collect();
    Table {
        schema: "public".into(),
        name: name.into(),
        collations: vec![Collation::Default; columns.len()],
        primary_key: key,
        columns,
        generated: Vec::new(),
        kept: None,
    }
}

fn column(text: &str) -> Column {
    let (name, ty) = text.split_once(' ').expect("a name and a type");
    let (ty, not_null) = (ty.trim_end_matches('!'), ty.ends_with('!'));
    let (ty, type_oid) = match ty {
        "int4" => (Type::Int4, 23),
        "int8" => (Type::Int8, 20),
        "text" => (Type::Text, 25),
        "numeric" => (Type::Numeric, 1700),
        "bool" => (Type::Bool, 16),
        "timestamptz" => (Type::TimestampTz, 1184),
        "jsonb" => (Type::Jsonb, 3802),
        other => panic!("no type {other}"),
    };
    let sql_type = ty.to_string();
    Column { name: name.into(), ty, sql_type, type_oid, typmod: -1, not_null }
}

pub(super) fn planned(query: &str) -> Planned {
    plan(query, &shop()).unwrap_or_else(|fault| panic!("{query}: {fault:?}"))
}

/// The plan in words, with the names and types of the result.
pub(super) fn explained(query: &str) -> String {
    let planned = planned(query);
    let columns: Vec<String> =
        planned.columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
    format!("{}\n{}", columns.join(", "), explain(&planned))
}

proptest::proptest! {
    /// Words of SQL in any order.
    #[test]
    fn any_text_is_planned_or_refused(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "SELECT", "FROM", "orders", "o", "customers", "c", "JOIN", "LEFT JOIN", "ON", "WHERE", "=",
            "customer_id", "o.order_id", "c.customer_id", "count(*)", "sum(total_cents)", "GROUP BY",
            "(", ")", ",", "*", "1", "'x'", "AND", "EXISTS", "IN", "UNION ALL", "DISTINCT", "ORDER BY",
            "LIMIT", "LATERAL", "WITH", "AS", "true", "HAVING", "NOT", "USING", ".",
        ]),
        0..25,
    )) {
        let text = words.join(" ");
        if let Err(fault) = plan(&text, &shop()) {
            assert!(text.get(fault.span).is_some(), "{text}");
        }
    }
}
