//! What the JSON is made of that a query builds.

use super::planned;
use crate::value::Type;

/// The last column's.
fn shape(query: &str) -> String {
    fn words(ty: &Type) -> String {
        match ty {
            Type::Composite(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|(name, ty)| format!("{name} {}", words(ty))).collect();
                format!("{{{}}}", parts.join(", "))
            }
            Type::Array(element, _) => format!("[{}]", words(element)),
            other => other.to_string(),
        }
    }
    let planned = planned(query);
    assert_eq!(planned.shapes.len(), planned.columns.len(), "{query}");
    planned.shapes.last().and_then(Option::as_ref).map_or("?".into(), words)
}

#[test]
fn parts_have_the_types_of_what_they_are_built_from() {
    for (query, expected) in [
        (
            "SELECT order_id, jsonb_build_object('a', order_id, 'b', status, 'c', created_at) FROM orders",
            "{a integer, b text, c timestamp with time zone}",
        ),
        ("SELECT order_id, json_build_array(order_id, 7) FROM orders", "[integer]"),
        ("SELECT order_id, jsonb_build_array(order_id, status) FROM orders", "?"),
        ("SELECT order_id, to_jsonb(total_cents) FROM orders", "bigint"),
        (
            "SELECT customer_id, jsonb_agg(jsonb_build_object('id', order_id) ORDER BY order_id) \
             FROM orders GROUP BY customer_id",
            "[{id integer}]",
        ),
        (
            "SELECT customer_id, coalesce(jsonb_agg(jsonb_build_object('id', order_id)) \
             FILTER (WHERE order_id > 3), '[]') FROM orders GROUP BY customer_id",
            "[{id integer}]",
        ),
        ("SELECT customer_id, jsonb_agg(status) FROM orders GROUP BY customer_id", "[text]"),
        (
            "SELECT c.customer_id, (SELECT jsonb_agg(o.order_id) FROM orders o \
             WHERE o.customer_id = c.customer_id) FROM customers c",
            "[integer]",
        ),
        (
            "SELECT order_id, CASE WHEN order_id > 1 THEN jsonb_build_object('a', order_id) \
             ELSE jsonb_build_object('b', status) END FROM orders",
            "{b text, a integer}",
        ),
        (
            "SELECT order_id, CASE WHEN order_id > 1 THEN jsonb_build_object('a', order_id) \
             ELSE jsonb_build_object('a', status) END FROM orders",
            "?",
        ),
        // Names that depend on the row, or that two have, or that no store takes.
        ("SELECT order_id, jsonb_build_object(status, 1) FROM orders", "?"),
        ("SELECT order_id, jsonb_build_object('a', 1, 'a', status) FROM orders", "?"),
        ("SELECT order_id, jsonb_build_object('', 1) FROM orders", "?"),
        ("SELECT order_id, coalesce(to_jsonb(order_id), '\"none\"') FROM orders", "?"),
        ("SELECT order_id, status FROM orders", "?"),
    ] {
        assert_eq!(shape(query), expected, "{query}");
    }
}
