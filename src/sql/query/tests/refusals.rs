//! What is refused: its name, its place («so») and what to write instead.
use super::*;

#[test]
fn print_refusals() {
    let groups: &[(&str, &[&str])] = &[
        (
            "what_is_no_select",
            &[
                "",
                "SELECT 1; SELECT 2",
                "DELETE FROM orders",
                "SELECT",
                "SELECT order_id FROM orders WHERE",
                "SELECT order_id FROM orders WHERE order_id == 3",
                "SELECT order_id FROM orders WHERE order_id = $1",
                "SELECT order_id INTO x FROM orders",
                "VALUES (1), (2)",
                "TABLE orders",
                "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
                "SELECT 1 AS one",
            ],
        ),
        (
            "names_that_mean_nothing",
            &[
                "SELECT * FROM ordrs",
                "SELECT * FROM shop.orders",
                "SELECT statsu FROM orders",
                "SELECT o.statsu FROM orders o",
                "SELECT x.status FROM orders o",
                "SELECT orders.status FROM orders o",
                "SELECT customer_id FROM orders o JOIN customers c ON c.customer_id = o.customer_id",
                "SELECT xmin FROM orders",
                "SELECT o.ctid FROM orders o",
                "SELECT c.* FROM orders o",
                "SELECT * FROM orders, orders",
                "SELECT order_id, order_id FROM orders",
                "SELECT status, count(*) FROM orders GROUP BY 3",
                "SELECT order_id FROM orders JOIN order_items USING (ordr_id)",
                "SELECT x FROM (SELECT order_id FROM orders) t (a, b)",
            ],
        ),
        (
            "what_is_not_maintained",
            &[
                "SELECT order_id FROM orders LIMIT 10",
                "SELECT order_id FROM orders ORDER BY order_id FETCH FIRST 3 ROWS ONLY",
                "SELECT order_id, row_number() OVER (ORDER BY order_id) FROM orders",
                "SELECT sum(total_cents) OVER w FROM orders WINDOW w AS (ORDER BY order_id)",
                "SELECT o.order_id FROM orders o FULL JOIN order_items i ON i.order_id = o.order_id",
                "SELECT o.order_id FROM orders o NATURAL JOIN order_items i",
                "SELECT status, count(*) FROM orders GROUP BY ROLLUP (status)",
                "SELECT status, count(*) FROM orders GROUP BY GROUPING SETS ((status), ())",
                "SELECT status FROM orders UNION SELECT name FROM products",
                "SELECT order_id FROM orders EXCEPT SELECT order_id FROM order_items",
                "SELECT order_id FROM orders INTERSECT ALL SELECT order_id FROM order_items",
                "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t",
                "SELECT order_id FROM orders FOR UPDATE",
                "SELECT order_id FROM orders TABLESAMPLE SYSTEM (10)",
                "SELECT * FROM generate_series(1, 3) g",
                "SELECT o.order_id, x FROM orders o, unnest(ARRAY[1]) x",
                "SELECT o.order_id FROM orders o, LATERAL jsonb_array_elements('[]') e",
                "SELECT order_id, now() AS at FROM orders",
            "SELECT order_id, current_date AS at FROM orders",
            "SELECT upper(statsu) FROM orders",
            "SELECT max(c.email COLLATE \"en_US\") FROM customers c",
                "SELECT order_id, random() AS r FROM orders",
                "SELECT status, stddev(total_cents) FROM orders GROUP BY status",
                "SELECT status, percentile_cont(0.5) WITHIN GROUP (ORDER BY total_cents) FROM orders GROUP BY status",
            ],
        ),
        (
            "groups",
            &[
                "SELECT status, total_cents FROM orders GROUP BY status",
                "SELECT order_id FROM orders WHERE count(*) > 1",
                "SELECT o.order_id FROM orders o JOIN customers c ON count(*) = 1",
                "SELECT status, sum(count(*)) FROM orders GROUP BY status",
                "SELECT status, sum(status) FROM orders GROUP BY status",
                "SELECT data, count(*) FROM events GROUP BY data",
                "SELECT DISTINCT data FROM events",
                "SELECT count(DISTINCT data) FROM events",
                "SELECT max(active) FROM products",
                "SELECT o.order_id, count(p.*) FROM orders o JOIN products p ON p.product_id = o.order_id GROUP BY o.order_id",
                "SELECT status FROM orders HAVING total_cents > 1",
            ],
        ),
        (
            "joins",
            &[
                "SELECT o.order_id FROM orders o, products p",
                "SELECT o.order_id FROM orders o JOIN products p ON p.price > o.total_cents",
                "SELECT o.order_id FROM orders o LEFT JOIN products p ON p.price > o.total_cents",
                "SELECT o.order_id FROM orders o LEFT JOIN products p ON EXISTS (SELECT 1 FROM events)",
                "SELECT o.order_id FROM orders o JOIN customers c ON o.status",
                "SELECT o.order_id, to_jsonb(c) FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id",
            ],
        ),
        (
            "subqueries",
            &[
                "SELECT order_id, (SELECT name, price FROM products) FROM orders",
                "SELECT order_id FROM orders o WHERE (SELECT max(price) FROM products p WHERE p.price > o.total_cents) > 1",
                "SELECT order_id FROM orders o WHERE status = 'x' OR order_id IN (SELECT order_id FROM events)",
                "SELECT order_id FROM orders o WHERE order_id NOT IN (SELECT order_id FROM events e WHERE e.kind = o.status)",
                "SELECT order_id FROM orders WHERE total_cents > ALL (SELECT total_cents FROM orders)",
                "SELECT order_id FROM orders WHERE order_id IN (SELECT order_id, kind FROM events)",
                "SELECT order_id FROM orders o WHERE EXISTS (SELECT 1 FROM events e WHERE e.order_id > o.order_id)",
                "SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id AND EXISTS (SELECT 1 FROM order_items i WHERE i.order_id = o.order_id AND i.price = c.customer_id))",
                "SELECT order_id, (SELECT o.total_cents + p.price FROM products p WHERE p.product_id = o.order_id) AS x FROM orders o",
                "SELECT order_id, (SELECT sum(o.total_cents)) AS x FROM orders o",
                "SELECT t.s FROM (SELECT status AS s FROM orders ORDER BY status) t",
                "SELECT order_id FROM orders o WHERE EXISTS (SELECT max(price) FROM products p WHERE p.product_id = o.order_id)",
                "SELECT order_id FROM orders o LEFT JOIN LATERAL (SELECT count(*) AS n FROM events e WHERE e.order_id = o.order_id) t ON t.n > 1",
                "SELECT order_id, (SELECT kind FROM events e WHERE e.order_id = o.order_id UNION ALL SELECT status FROM orders) AS x FROM orders o",
            ],
        ),
    ];
    for (name, queries) in groups {
        println!("@@ {name}");
        for query in *queries {
            println!("{}", refusal(query));
        }
    }
    println!("@@ end");
}

/// The query with the place marked, and what is said of it.
fn refusal(query: &str) -> String {
    let fault = match plan(query, &shop()) {
        Err(fault) => fault,
        Ok(_) => return format!("NOT REFUSED {query}"),
    };
    let (before, rest) = query.split_at(fault.span.start);
    let (at, after) = rest.split_at(fault.span.len());
    let hint = fault.hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    format!("{before}«{at}»{after}\n  {}{hint}", fault.what)
}
