//! Plans.
use super::*;

#[test]
fn try_all() {
    let queries = [
        "SELECT * FROM orders",
        "SELECT order_id, total_cents * 2 AS twice FROM orders WHERE status = 'open'",
        "SELECT o.order_id, c.email FROM orders o JOIN customers c ON c.customer_id = o.customer_id WHERE c.country = 'DE' AND o.total_cents > 5",
        "SELECT o.order_id, c.email, i.item_id FROM customers c, orders o, order_items i WHERE c.customer_id = o.customer_id AND i.order_id = o.order_id",
        "SELECT o.order_id, o.customer_id, o.status, c.email AS customer_email, count(i.item_id) AS item_count, sum(i.quantity) FROM orders o JOIN customers c ON c.customer_id = o.customer_id LEFT JOIN order_items i ON i.order_id = o.order_id LEFT JOIN products p ON p.product_id = i.product_id GROUP BY o.order_id, c.customer_id",
        "SELECT status, count(*), max(total_cents) FROM orders GROUP BY status HAVING count(*) > 3",
        "SELECT count(*) FROM orders",
        "SELECT o.order_id, (SELECT count(*) FROM order_items i WHERE i.order_id = o.order_id) AS n FROM orders o",
        "SELECT o.order_id, (SELECT email FROM customers c WHERE c.customer_id = o.customer_id) FROM orders o",
        "SELECT c.customer_id, (SELECT o.status FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c",
        "SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id AND o.total_cents > 100) AND NOT EXISTS (SELECT 1 FROM events)",
        "SELECT c.customer_id FROM customers c WHERE customer_id IN (SELECT customer_id FROM orders) AND customer_id NOT IN (SELECT order_id FROM events)",
        "SELECT c.customer_id, l.order_id FROM customers c LEFT JOIN LATERAL (SELECT o.order_id, o.created_at FROM orders o WHERE o.customer_id = c.customer_id ORDER BY o.created_at DESC LIMIT 3) l ON true",
        "SELECT c.customer_id, t.n FROM customers c CROSS JOIN LATERAL (SELECT count(*) AS n, sum(o.total_cents) AS s FROM orders o WHERE o.customer_id = c.customer_id) t",
        "SELECT DISTINCT ON (customer_id) customer_id, order_id FROM orders ORDER BY customer_id, created_at DESC",
        "SELECT DISTINCT status FROM orders",
        "WITH x AS (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) SELECT a.customer_id, a.n, b.n AS m FROM x a JOIN x b ON b.customer_id = a.n",
        "SELECT order_id AS id, 'o' AS kind FROM orders UNION ALL SELECT id, 'b' FROM big",
        "SELECT b.id, o.order_id FROM big b JOIN orders o ON o.order_id = b.ref",
        "SELECT o.order_id, p.order_id AS parent FROM orders o LEFT JOIN orders p ON p.order_id = o.parent_id",
        "SELECT c.email FROM orders o RIGHT JOIN customers c USING (customer_id)",
        "SELECT order_id FROM orders WHERE total_cents > (SELECT avg(total_cents) FROM orders)",
        "SELECT order_id, EXISTS (SELECT 1 FROM order_items i WHERE i.order_id = o.order_id) AS has FROM orders o",
        "SELECT o.order_id, x.d FROM orders o CROSS JOIN LATERAL (SELECT o.total_cents * 2 AS d) x WHERE x.d > 3",
        "SELECT total_cents / 100 AS euros, count(*) FROM orders GROUP BY total_cents / 100",
        "SELECT total_cents / 100 AS euros, count(*) FROM orders o GROUP BY 1 ORDER BY 1",
    ];
    for query in queries {
        match plan(query, &shop()) {
            Ok(planned) => println!(
                "--- {query}\n{}key {:?} missing {:?}",
                explain(&planned, &shop()),
                planned.key,
                planned.missing
            ),
            Err(fault) => println!(
                "--- {query}\nFAULT {} | {:?} | {}",
                fault.what,
                fault.hint,
                query.get(fault.span.clone()).unwrap_or("?")
            ),
        }
    }
}
