//! Plans.
use super::*;

#[test]
fn print_plans() {
    let queries = [
        ("a_table_as_it_is", "SELECT * FROM orders"),
        (
            "conditions_go_down_to_their_table",
            "SELECT o.order_id, c.email FROM orders o JOIN customers c ON c.customer_id = o.customer_id WHERE c.country = 'DE' AND o.total_cents > 5",
        ),
        (
            "a_comma_joins_by_the_equalities_of_where",
            "SELECT c.email, i.item_id, p.name FROM products p, customers c, order_items i, orders o WHERE c.customer_id = o.customer_id AND i.order_id = o.order_id AND p.product_id = i.product_id",
        ),
        (
            "columns_that_a_primary_key_decides_are_joined_to_the_groups",
            "SELECT o.order_id, o.status, c.email AS customer_email, count(i.item_id) AS item_count, sum(i.quantity) AS pieces, array_agg(p.name ORDER BY i.item_id) AS names FROM orders o JOIN customers c ON c.customer_id = o.customer_id LEFT JOIN order_items i ON i.order_id = o.order_id LEFT JOIN products p ON p.product_id = i.product_id GROUP BY o.order_id, c.customer_id",
        ),
        (
            "having_over_groups_goes_below_them_where_it_is_about_keys",
            "SELECT status, count(*), max(total_cents) FROM orders GROUP BY status HAVING count(*) > 3 AND status <> 'x'",
        ),
        ("an_aggregate_without_groups_is_one_row", "SELECT count(*) FROM orders"),
        (
            "an_expression_of_group_by_is_known_again",
            "SELECT total_cents / 100 AS euros, total_cents / 100 + 1 AS more, count(*) FROM orders o GROUP BY o.total_cents / 100",
        ),
        (
            "a_scalar_aggregate_is_grouped_by_what_it_is_compared_with",
            "SELECT o.order_id, (SELECT count(*) FROM order_items i WHERE i.order_id = o.order_id) + 1 AS n FROM orders o",
        ),
        (
            "a_scalar_subquery_over_a_key_is_a_left_join",
            "SELECT o.order_id, (SELECT email FROM customers c WHERE c.customer_id = o.customer_id) FROM orders o",
        ),
        (
            "a_scalar_subquery_of_several_rows_is_an_error_of_its_row",
            "SELECT c.customer_id, (SELECT o.status FROM orders o WHERE o.customer_id = c.customer_id) FROM customers c",
        ),
        (
            "a_scalar_subquery_alone_stands_beside_each_row",
            "SELECT order_id FROM orders WHERE total_cents > (SELECT avg(total_cents) FROM orders)",
        ),
        (
            "exists_is_a_semi_join",
            "SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id AND o.total_cents > 100) AND NOT EXISTS (SELECT 1 FROM events)",
        ),
        (
            "exists_as_a_value_is_a_mark",
            "SELECT order_id, EXISTS (SELECT 1 FROM order_items i WHERE i.order_id = o.order_id) AS has FROM orders o",
        ),
        (
            "in_and_not_in",
            "SELECT customer_id FROM customers WHERE customer_id IN (SELECT customer_id FROM orders) AND customer_id NOT IN (SELECT order_id FROM events) AND customer_id NOT IN (SELECT order_id FROM orders)",
        ),
        (
            "lateral_with_limit_is_the_first_of_each_partition",
            "SELECT c.customer_id, l.order_id FROM customers c LEFT JOIN LATERAL (SELECT o.order_id, o.created_at FROM orders o WHERE o.customer_id = c.customer_id ORDER BY o.created_at DESC LIMIT 3) l ON true",
        ),
        (
            "lateral_with_an_aggregate_has_a_row_for_each_row",
            "SELECT c.customer_id, t.n FROM customers c CROSS JOIN LATERAL (SELECT count(*) AS n, sum(o.total_cents) AS s FROM orders o WHERE o.customer_id = c.customer_id) t",
        ),
        (
            "lateral_without_from_is_computed",
            "SELECT o.order_id, x.d FROM orders o CROSS JOIN LATERAL (SELECT o.total_cents * 2 AS d) x WHERE x.d > 3",
        ),
        (
            "distinct_on_is_the_first_of_each",
            "SELECT DISTINCT ON (customer_id) customer_id, order_id FROM orders ORDER BY customer_id, created_at DESC",
        ),
        ("distinct_is_a_group", "SELECT DISTINCT status FROM orders ORDER BY status"),
        (
            "a_query_of_with_is_one_node_for_its_users",
            "WITH x AS (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) SELECT a.customer_id, a.n, b.n AS m FROM x a JOIN x b ON b.customer_id = a.n",
        ),
        (
            "union_all_brings_columns_to_one_type",
            "SELECT order_id AS id, 'o' AS kind FROM orders UNION ALL SELECT id, 'b' FROM big",
        ),
        (
            "both_sides_of_an_equality_are_of_one_type",
            "SELECT b.id, o.order_id FROM big b JOIN orders o ON o.order_id = b.ref",
        ),
        (
            "a_table_beside_itself",
            "SELECT o.order_id, p.order_id AS parent FROM orders o LEFT JOIN orders p ON p.order_id = o.parent_id AND p.status = 'open' AND o.status = 'open'",
        ),
        (
            "a_right_join_is_turned_around",
            "SELECT c.customer_id, o.order_id FROM orders o RIGHT JOIN customers c USING (customer_id)",
        ),
    ];
    for (name, query) in queries {
        println!("@@@ {name}\n{query}\n@@\n{}", explained(query));
    }
    println!("@@@ end");
}
