//! Queries and their plans.

use super::*;

#[test]
fn a_table_as_it_is() {
    let query = "SELECT * FROM orders";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, customer_id integer, status text, total_cents bigint, created_at timestamp with time zone, parent_id integer
    the projection's rows by order_id
      rows of public.orders
    "#);
}

#[test]
fn conditions_go_down_to_their_table() {
    let query = "SELECT o.order_id, c.email FROM orders o JOIN customers c ON c.customer_id = \
         o.customer_id WHERE c.country = 'DE' AND o.total_cents > 5";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, email text
    the projection's rows by order_id
      columns o.order_id, c.email
        join on c.customer_id = o.customer_id
          a change of the second changes each row of the first that refers to it
          where o.total_cents > 5
            rows of public.orders
          where c.country = 'DE'
            rows of public.customers
    "#);
}

#[test]
fn a_comma_joins_by_the_equalities_of_where() {
    let query = "SELECT c.email, i.item_id, p.name FROM products p, customers c, order_items \
         i, orders o WHERE c.customer_id = o.customer_id AND i.order_id = o.order_id \
         AND p.product_id = i.product_id";
    insta::assert_snapshot!(explained(query), @r#"
    email text, item_id bigint, name text
    the projection's rows by item_id
      columns c.email, i.item_id, p.name
        join on c.customer_id = o.customer_id
          a change of the second changes each row of the first that refers to it
          columns p.name, i.item_id, o.customer_id
            join on i.order_id = o.order_id
              a change of the second changes each row of the first that refers to it
              columns p.name, i.item_id, i.order_id
                join on p.product_id = i.product_id
                  a change of the first changes each row of the second that refers to it
                  rows of public.products
                  rows of public.order_items
              rows of public.orders
          rows of public.customers
    "#);
}

#[test]
fn columns_that_a_primary_key_decides_are_joined_to_the_groups() {
    let query = "SELECT o.order_id, o.status, c.email AS customer_email, count(i.item_id) AS \
         item_count, sum(i.quantity) AS pieces, array_agg(p.name ORDER BY i.item_id) \
         AS names FROM orders o JOIN customers c ON c.customer_id = o.customer_id \
         LEFT JOIN order_items i ON i.order_id = o.order_id LEFT JOIN products p ON \
         p.product_id = i.product_id GROUP BY o.order_id, c.customer_id";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, status text, customer_email text, item_count bigint, pieces bigint, names text[]
    the projection's rows by order_id
      columns o.order_id, o.status, c.email, count, sum, array_agg
        join on c.customer_id = c.customer_id
          a change of the second changes each row of the first that refers to it
          columns o.order_id, c.customer_id, count, sum, array_agg, o.status
            join on o.order_id = o.order_id
              a change of either side changes one row
              count, sum, array_agg of each o.order_id, c.customer_id
                columns o.order_id, c.customer_id, i.item_id, i.quantity, p.name
                  left join on p.product_id = i.product_id
                    a change of the second changes each row of the first that refers to it
                    columns o.order_id, c.customer_id, i.item_id, i.product_id, i.quantity
                      left join on i.order_id = o.order_id
                        a change of the first changes each row of the second that refers to it
                        columns o.order_id, c.customer_id
                          join on c.customer_id = o.customer_id
                            a change of the second changes each row of the first that refers to it
                            rows of public.orders
                            rows of public.customers
                        rows of public.order_items
                    rows of public.products
              rows of public.orders
          rows of public.customers
    "#);
}

#[test]
fn having_over_groups_goes_below_them_where_it_is_about_keys() {
    let query = "SELECT status, count(*), max(total_cents) FROM orders GROUP BY status HAVING \
         count(*) > 3 AND status <> 'x'";
    insta::assert_snapshot!(explained(query), @r#"
    status text, count bigint, max bigint
    the projection's rows by status
      where count(*) > 3
        count, max of each orders.status
          where status <> 'x'
            rows of public.orders
    "#);
}

#[test]
fn an_aggregate_without_groups_is_one_row() {
    let query = "SELECT count(*) FROM orders";
    insta::assert_snapshot!(explained(query), @r#"
    count bigint
    the projection's rows: one row
      count of all rows
        rows of public.orders
    "#);
}

#[test]
fn an_expression_of_group_by_is_known_again() {
    let query = "SELECT total_cents / 100 AS euros, total_cents / 100 + 1 AS more, count(*) \
         FROM orders o GROUP BY o.total_cents / 100";
    insta::assert_snapshot!(explained(query), @r#"
    euros bigint, more bigint, count bigint
    the projection's rows by euros
      columns o.total_cents / 100, more, count
        computed: o.total_cents / 100, count, more
          count of each o.total_cents / 100
            computed: o.total_cents / 100
              rows of public.orders
    "#);
}

#[test]
fn a_scalar_aggregate_is_grouped_by_what_it_is_compared_with() {
    let query = "SELECT o.order_id, (SELECT count(*) FROM order_items i WHERE i.order_id = \
         o.order_id) + 1 AS n FROM orders o";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, n bigint
    the projection's rows by order_id
      computed: o.order_id, n
        computed: o.order_id, count
          left join on i.order_id = o.order_id
            a change of either side changes one row
            rows of public.orders
            count of each i.order_id
              rows of public.order_items
    "#);
}

#[test]
fn a_scalar_subquery_over_a_key_is_a_left_join() {
    let query = "SELECT o.order_id, (SELECT email FROM customers c WHERE c.customer_id = \
         o.customer_id) FROM orders o";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, email text
    the projection's rows by order_id
      columns o.order_id, c.email
        left join on c.customer_id = o.customer_id
          a change of the second changes each row of the first that refers to it
          rows of public.orders
          rows of public.customers
    "#);
}

#[test]
fn a_scalar_subquery_of_several_rows_is_an_error_of_its_row() {
    let query = "SELECT c.customer_id, (SELECT o.status FROM orders o WHERE o.customer_id = \
         c.customer_id) FROM customers c";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer, status text
    the projection's rows by customer_id
      columns c.customer_id, status
        left join on o.customer_id = c.customer_id
          a change of either side changes one row
          rows of public.customers
          status of each o.customer_id
            rows of public.orders
    "#);
}

#[test]
fn a_scalar_subquery_alone_stands_beside_each_row() {
    let query = "SELECT order_id FROM orders WHERE total_cents > (SELECT avg(total_cents) \
         FROM orders)";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer
    the projection's rows by order_id
      columns orders.order_id
        join on total_cents > (SELECT avg(total_cents) FROM orders)
          a change of the second changes each row of the first that refers to it
          rows of public.orders
          avg of all rows
            rows of public.orders
    "#);
}

#[test]
fn exists_is_a_semi_join() {
    let query = "SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o \
         WHERE o.customer_id = c.customer_id AND o.total_cents > 100) AND NOT EXISTS \
         (SELECT 1 FROM events)";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer
    the projection's rows by customer_id
      those that have no of one row
        columns c.customer_id
          those that have on o.customer_id = c.customer_id
            rows of public.customers
            where o.total_cents > 100
              rows of public.orders
        distinct row
          rows of public.events
    "#);
}

#[test]
fn exists_as_a_value_is_a_mark() {
    let query = "SELECT order_id, EXISTS (SELECT 1 FROM order_items i WHERE i.order_id = \
         o.order_id) AS has FROM orders o";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, has boolean
    the projection's rows by order_id
      computed: o.order_id, has
        left join on i.order_id = o.order_id
          a change of either side changes one row
          rows of public.orders
          computed: i.order_id, exists
            distinct i.order_id
              rows of public.order_items
    "#);
}

#[test]
fn in_and_not_in() {
    let query = "SELECT customer_id FROM customers WHERE customer_id IN (SELECT customer_id \
         FROM orders) AND customer_id NOT IN (SELECT order_id FROM events) AND \
         customer_id NOT IN (SELECT order_id FROM orders)";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer
    the projection's rows by customer_id
      those that have on customers.customer_id = orders.customer_id
        those that have no on customers.customer_id = events.order_id
          columns customers.customer_id
            those that have no on customers.customer_id = orders.order_id
              rows of public.customers
              rows of public.orders
          rows of public.events
        rows of public.orders
    "#);
}

#[test]
fn lateral_with_limit_is_the_first_of_each_partition() {
    let query = "SELECT c.customer_id, l.order_id FROM customers c LEFT JOIN LATERAL (SELECT \
         o.order_id, o.created_at FROM orders o WHERE o.customer_id = c.customer_id \
         ORDER BY o.created_at DESC LIMIT 3) l ON true";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer, order_id integer
    the projection's rows by customer_id, order_id
      columns c.customer_id, o.order_id
        left join on o.customer_id = c.customer_id and true
          a change of the first changes each row of the second that refers to it
          rows of public.customers
          columns o.order_id, o.customer_id
            the first 3 of each o.customer_id
              rows of public.orders
    "#);
}

#[test]
fn lateral_with_an_aggregate_has_a_row_for_each_row() {
    let query = "SELECT c.customer_id, t.n FROM customers c CROSS JOIN LATERAL (SELECT \
         count(*) AS n, sum(o.total_cents) AS s FROM orders o WHERE o.customer_id = \
         c.customer_id) t";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer, n bigint
    the projection's rows by customer_id
      columns c.customer_id, count
        computed: c.customer_id, count
          left join on o.customer_id = c.customer_id
            a change of either side changes one row
            rows of public.customers
            count of each o.customer_id
              rows of public.orders
    "#);
}

#[test]
fn lateral_without_from_is_computed() {
    let query = "SELECT o.order_id, x.d FROM orders o CROSS JOIN LATERAL (SELECT \
         o.total_cents * 2 AS d) x WHERE x.d > 3";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, d bigint
    the projection's rows by order_id
      where x.d > 3
        computed: o.order_id, d
          rows of public.orders
    "#);
}

#[test]
fn distinct_on_is_the_first_of_each() {
    let query = "SELECT DISTINCT ON (customer_id) customer_id, order_id FROM orders ORDER BY \
         customer_id, created_at DESC";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer, order_id integer
    the projection's rows by customer_id
      columns orders.customer_id, orders.order_id
        the first 1 of each orders.customer_id
          rows of public.orders
    "#);
}

#[test]
fn distinct_is_a_group() {
    let query = "SELECT DISTINCT status FROM orders ORDER BY status";
    insta::assert_snapshot!(explained(query), @r#"
    status text
    the projection's rows by status
      distinct orders.status
        rows of public.orders
    note: ORDER BY at the top has no effect: a read model has no order, its readers have
    "#);
}

#[test]
fn a_query_of_with_is_one_node_for_its_users() {
    let query = "WITH x AS (SELECT customer_id, count(*) AS n FROM orders GROUP BY \
         customer_id) SELECT a.customer_id, a.n, b.n AS m FROM x a JOIN x b ON \
         b.customer_id = a.n";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer, n bigint, m bigint
    the projection's rows by customer_id
      columns customer_id, n, n
        join on b.customer_id = a.n
          a change of the second changes each row of the first that refers to it
          [1] count of each orders.customer_id
            rows of public.orders
          computed: n, key
            [1] as above: count of each orders.customer_id
    "#);
}

#[test]
fn union_all_brings_columns_to_one_type() {
    let query = "SELECT order_id AS id, 'o' AS kind FROM orders UNION ALL SELECT id, 'b' FROM \
         big";
    insta::assert_snapshot!(explained(query), @r#"
    id bigint, kind text
    the projection's rows, which show no key of their own
      the rows of all of them
        columns order_id, kind
          computed: kind, order_id
            computed: orders.order_id, kind
              rows of public.orders
        columns big.id, ?column?
          computed: big.id, ?column?
            rows of public.big
    "#);
}

#[test]
fn both_sides_of_an_equality_are_of_one_type() {
    let query = "SELECT b.id, o.order_id FROM big b JOIN orders o ON o.order_id = b.ref";
    insta::assert_snapshot!(explained(query), @r#"
    id bigint, order_id integer
    the projection's rows by id
      columns b.id, o.order_id
        join on o.order_id = b.ref
          a change of the second changes each row of the first that refers to it
          rows of public.big
          computed: o.order_id, key
            rows of public.orders
    "#);
}

#[test]
fn a_table_beside_itself() {
    let query = "SELECT o.order_id, p.order_id AS parent FROM orders o LEFT JOIN orders p ON \
         p.order_id = o.parent_id AND p.status = 'open' AND o.status = 'open'";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, parent integer
    the projection's rows by order_id
      columns o.order_id, p.order_id
        left join on p.order_id = o.parent_id and o.status = 'open'
          a change of the second changes each row of the first that refers to it
          rows of public.orders
          where p.status = 'open'
            rows of public.orders
    "#);
}

#[test]
fn a_right_join_is_turned_around() {
    let query = "SELECT c.customer_id, o.order_id FROM orders o RIGHT JOIN customers c USING \
         (customer_id)";
    insta::assert_snapshot!(explained(query), @r#"
    customer_id integer, order_id integer
    the projection's rows by customer_id, order_id
      columns c.customer_id, o.order_id
        left join on o.customer_id = c.customer_id
          a change of the first changes each row of the second that refers to it
          rows of public.customers
          rows of public.orders
    "#);
}

/// A condition may guard the one behind it.
#[test]
fn conditions_stay_in_their_order() {
    let query = "SELECT o.order_id FROM orders o JOIN customers c ON c.customer_id = o.customer_id \
         WHERE o.total_cents <> 0 AND 10 / o.total_cents > 1 AND c.country = 'DE' AND o.order_id > 7";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer
    the projection's rows by order_id
      columns o.order_id
        join on c.customer_id = o.customer_id
          a change of the second changes each row of the first that refers to it
          where o.total_cents <> 0 and 10 / o.total_cents > 1 and o.order_id > 7
            rows of public.orders
          where c.country = 'DE'
            rows of public.customers
    "#);
}

#[test]
fn what_is_in_a_value_stands_beside_its_row() {
    let query = "SELECT o.order_id, e.ordinality, e.value ->> 'sku' AS sku FROM orders o, \
         jsonb_array_elements(jsonb_build_array(o.status)) WITH ORDINALITY e WHERE o.total_cents > 5";
    insta::assert_snapshot!(explained(query), @r#"
    order_id integer, ordinality bigint, sku text
    the projection's rows by order_id, ordinality
      computed: o.order_id, e.ordinality, sku
        columns o.order_id, e.value, e.ordinality
          rows of jsonb_build_array(o.status)
            where o.total_cents > 5
              rows of public.orders
    "#);
}
