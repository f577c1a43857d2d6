//! What is refused: its name, its place («so») and what to write instead.

use super::*;

/// Each query with the place marked, and what is said of it.
fn refusals(queries: &[&str]) -> String {
    queries.iter().map(|query| refusal(query)).collect::<Vec<_>>().join("\n")
}

fn refusal(query: &str) -> String {
    let fault = plan(query, &shop()).expect_err(query);
    let (before, rest) = query.split_at(fault.span.start);
    let (at, after) = rest.split_at(fault.span.len());
    let hint = fault.hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    format!("{before}«{at}»{after}\n  {}{hint}", fault.what)
}

#[test]
fn what_is_no_select() {
    let queries = [
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
    ];
    insta::assert_snapshot!(refusals(&queries), @r#"
    «»
      the query is empty
      hint: write a SELECT
    «SELECT 1; SELECT 2»
      there is more than one statement
      hint: write one SELECT; another one is another projection
    «DELETE FROM orders»
      the query is no SELECT
      hint: write one SELECT: a read model is the answer to a query
    «SELECT»
      the query cannot be read: Expected: an expression, found: EOF
    «SELECT order_id FROM orders WHERE»
      the query cannot be read: Expected: an expression, found: EOF
    SELECT order_id FROM orders WHERE order_id «==» 3
      there is no operator ==
      hint: write =
    SELECT order_id FROM orders WHERE order_id = «$1»
      a read model has no parameters
      hint: write the value itself
    SELECT order_id «INTO» x FROM orders
      SELECT INTO makes a table
      hint: leave it out: the targets of the projection say where its rows go
    «VALUES (1), (2)»
      the query reads no table
      hint: name a table in FROM: a read model follows a table's changes
    «»TABLE orders
      the query cannot be read: Expected: an SQL statement, found: TABLE
    WITH x AS («DELETE FROM orders RETURNING *») SELECT * FROM x
      a query that changes rows is no read model
      hint: write a SELECT
    «SELECT 1 AS one»
      the query reads no table
      hint: name a table in FROM: a read model follows a table's changes
    "#);
}

#[test]
fn names_that_mean_nothing() {
    let queries = [
        "SELECT * FROM ordrs",
        "SELECT * FROM shop.orders",
        "SELECT statsu FROM orders",
        "SELECT o.statsu FROM orders o",
        "SELECT x.status FROM orders o",
        "SELECT orders.status FROM orders o",
        "SELECT customer_id FROM orders o JOIN customers c ON c.customer_id = \
         o.customer_id",
        "SELECT xmin FROM orders",
        "SELECT o.ctid FROM orders o",
        "SELECT c.* FROM orders o",
        "SELECT * FROM orders, orders",
        "SELECT order_id, order_id FROM orders",
        "SELECT status, count(*) FROM orders GROUP BY 3",
        "SELECT order_id FROM orders JOIN order_items USING (ordr_id)",
        "SELECT x FROM (SELECT order_id FROM orders) t (a, b)",
    ];
    insta::assert_snapshot!(refusals(&queries), @r#"
    SELECT * FROM «ordrs»
      table public.ordrs does not exist
    SELECT * FROM «shop.orders»
      table shop.orders does not exist
    SELECT «statsu» FROM orders
      there is no column `statsu`
      hint: did you mean `status`?
    SELECT «o.statsu» FROM orders o
      `o` has no column `statsu`
      hint: did you mean `status`?
    SELECT «x.status» FROM orders o
      there is no `x` in FROM
    SELECT «orders.status» FROM orders o
      there is no `orders` in FROM
    SELECT «customer_id» FROM orders o JOIN customers c ON c.customer_id = o.customer_id
      column `customer_id` is ambiguous
      hint: write o.customer_id or c.customer_id
    SELECT «xmin» FROM orders
      `xmin` is a system column, which is not replicated
      hint: use columns of the table's own
    SELECT «o.ctid» FROM orders o
      `ctid` is a system column, which is not replicated
      hint: use columns of the table's own
    SELECT «c.*» FROM orders o
      there is no `c` in FROM
    SELECT * FROM orders, «orders»
      the name `orders` stands twice in FROM
      hint: give each of them an alias of its own
    «SELECT order_id, order_id FROM orders»
      the result has two columns `order_id`
      hint: give one of them another name by AS
    SELECT status, count(*) FROM orders GROUP BY «3»
      the SELECT list has no item 3
    SELECT order_id FROM orders JOIN order_items USING («ordr_id»)
      USING: one side has no column `ordr_id`
    SELECT x FROM («SELECT order_id FROM orders) t (a, b»)
      there are 1 columns, and 2 names for them
    "#);
}

#[test]
fn what_is_not_maintained() {
    let queries = [
        "SELECT order_id FROM orders LIMIT 10",
        "SELECT order_id FROM orders ORDER BY order_id FETCH FIRST 3 ROWS ONLY",
        "SELECT order_id, row_number() OVER (ORDER BY order_id) FROM orders",
        "SELECT sum(total_cents) OVER w FROM orders WINDOW w AS (ORDER BY order_id)",
        "SELECT status, count(*) FROM orders GROUP BY ROLLUP (status)",
        "SELECT status, count(*) FROM orders GROUP BY GROUPING SETS ((status), ())",
        "SELECT order_id FROM orders EXCEPT ALL SELECT order_id FROM order_items",
        "SELECT order_id FROM orders INTERSECT ALL SELECT order_id FROM order_items",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n \
         FROM t",
        "SELECT order_id FROM orders FOR UPDATE",
        "SELECT order_id FROM orders TABLESAMPLE SYSTEM (10)",
        "SELECT * FROM generate_series(1, 3) g",
        "SELECT o.order_id, x FROM orders o, regexp_split_to_table(o.status, ',') x",
        "SELECT o.order_id, x FROM orders o, LATERAL jsonb_each(to_jsonb(o), to_jsonb(o)) x",
        "SELECT o.order_id FROM orders o, LATERAL jsonb_array_elements(o.status) e",
        "SELECT o.order_id FROM orders o FULL JOIN LATERAL jsonb_each(to_jsonb(o.status)) e ON true",
        "SELECT o.order_id, (SELECT count(*) FROM jsonb_each(to_jsonb(o.status || c.country)) e) AS n FROM orders o JOIN customers c ON c.customer_id = o.customer_id",
        "SELECT order_id, now() AS at FROM orders",
        "SELECT order_id, current_date AS at FROM orders",
        "SELECT upper(statsu) FROM orders",
        "SELECT max(c.email COLLATE \"en_US\") FROM customers c",
        "SELECT order_id, random() AS r FROM orders",
        "SELECT status, stddev(total_cents::float8) FROM orders GROUP BY status",
        "SELECT status, percentile_cont(0.5) WITHIN GROUP (ORDER BY total_cents) FROM \
         orders GROUP BY status",
    ];
    insta::assert_snapshot!(refusals(&queries), @r#"
    SELECT order_id FROM orders «LIMIT» 10
      LIMIT at the top is not supported: the reader of the read model chooses
      hint: leave it out and let readers write LIMIT; for the first of each group write DISTINCT ON, or LATERAL (SELECT … ORDER BY … LIMIT n)
    SELECT order_id FROM orders ORDER BY order_id «FETCH» FIRST 3 ROWS ONLY
      LIMIT at the top is not supported: the reader of the read model chooses
      hint: leave it out and let readers write LIMIT; for the first of each group write DISTINCT ON, or LATERAL (SELECT … ORDER BY … LIMIT n)
    SELECT order_id, «row_number»() OVER (ORDER BY order_id) FROM orders
      window functions are not supported
      hint: write an aggregate with GROUP BY, or LATERAL (SELECT … ORDER BY … LIMIT n) for the first of each group
    SELECT sum(total_cents) OVER w FROM orders «WINDOW» w AS (ORDER BY order_id)
      window functions are not supported
      hint: write an aggregate with GROUP BY, or LATERAL (SELECT … ORDER BY … LIMIT n)
    SELECT status, count(*) FROM orders GROUP BY ROLLUP («status»)
      GROUPING SETS, CUBE and ROLLUP are not supported
      hint: make a projection of each grouping
    SELECT status, count(*) FROM orders GROUP BY GROUPING SETS ((«status»), ())
      GROUPING SETS, CUBE and ROLLUP are not supported
      hint: make a projection of each grouping
    SELECT order_id FROM orders «EXCEPT ALL» SELECT order_id FROM order_items
      EXCEPT ALL is not supported
      hint: write EXCEPT, or NOT EXISTS (SELECT … WHERE …): rows that are there several times have no key
    SELECT order_id FROM orders «INTERSECT ALL» SELECT order_id FROM order_items
      INTERSECT ALL is not supported
      hint: write INTERSECT, or EXISTS (SELECT … WHERE …): rows that are there several times have no key
    WITH «RECURSIVE» t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t
      WITH RECURSIVE is not supported
      hint: write the levels as joins
    SELECT order_id FROM orders «FOR» UPDATE
      FOR UPDATE and FOR SHARE lock rows of the source
      hint: leave it out
    SELECT order_id FROM orders «TABLESAMPLE» SYSTEM (10)
      TABLESAMPLE gives other rows each time
      hint: leave it out
    SELECT * FROM «generate_series(1, 3) g»
      generate_series in FROM is not supported: its rows come from no table
      hint: keep a table of the days or numbers, and join it
    SELECT o.order_id, x FROM orders o, «regexp_split_to_table(o.status, ',') x»
      the function regexp_split_to_table in FROM is not supported
      hint: there are unnest, jsonb_array_elements, jsonb_to_recordset, jsonb_each, jsonb_object_keys and the like
    SELECT o.order_id, x FROM orders o, LATERAL «jsonb_each(to_jsonb(o), to_jsonb(o)) x»
      jsonb_each in FROM takes one argument here
      hint: write one call for each, WITH ORDINALITY, and compare the ordinalities
    SELECT o.order_id FROM orders o, LATERAL jsonb_array_elements(«o.status») e
      jsonb_array_elements takes no text
      hint: cast the argument, as in (…)::jsonb
    SELECT o.order_id FROM orders o FULL JOIN LATERAL «jsonb_each(to_jsonb(o.status)) e» ON true
      RIGHT and FULL JOIN with LATERAL are not possible
    SELECT o.order_id, (SELECT count(*) FROM jsonb_each(«to_jsonb(o.status || c.country)») e) AS n FROM orders o JOIN customers c ON c.customer_id = o.customer_id
      a function in FROM of a value of the query around it is supported where that is of one table with a primary key
      hint: join the function where the value's table stands, and group there
    SELECT order_id, «now»() AS at FROM orders
      now reads the clock
      hint: a read model changes with its rows alone
    SELECT order_id, «current_date» AS at FROM orders
      current_date reads the clock
      hint: a read model changes with its rows alone
    SELECT upper(«statsu») FROM orders
      there is no column `statsu`
      hint: did you mean `status`?
    SELECT max(«c.email COLLATE "en_US"») FROM customers c
      collation "en_US" is not supported
      hint: write COLLATE "C"
    SELECT order_id, «random»() AS r FROM orders
      random gives another value at each call
      hint: a read model must have one answer
    SELECT status, «stddev(total_cents»::float8) FROM orders GROUP BY status
      the aggregate stddev(double precision) is not supported
      hint: cast the argument to numeric: of floats the last digits depend on the rows' order
    SELECT status, «percentile_cont(0.5) WITHIN GROUP (ORDER BY total_cents)» FROM orders GROUP BY status
      the aggregate percentile_cont is not supported
      hint: there are count, sum, avg, min, max, bool_and, bool_or, array_agg, string_agg, json_agg, jsonb_agg, json_object_agg and jsonb_object_agg
    "#);
}

#[test]
fn groups() {
    let queries = [
        "SELECT status, total_cents FROM orders GROUP BY status",
        "SELECT order_id FROM orders WHERE count(*) > 1",
        "SELECT o.order_id FROM orders o JOIN customers c ON count(*) = 1",
        "SELECT status, sum(count(*)) FROM orders GROUP BY status",
        "SELECT status, sum(status) FROM orders GROUP BY status",
        "SELECT data, count(*) FROM events GROUP BY data",
        "SELECT DISTINCT data FROM events",
        "SELECT count(DISTINCT data) FROM events",
        "SELECT max(active) FROM products",
        "SELECT o.order_id, count(p.*) FROM orders o JOIN products p ON p.product_id \
         = o.order_id GROUP BY o.order_id",
        "SELECT status FROM orders HAVING total_cents > 1",
    ];
    insta::assert_snapshot!(refusals(&queries), @r#"
    SELECT status, «total_cents» FROM orders GROUP BY status
      column `total_cents` is neither grouped by nor inside an aggregate
      hint: add it to GROUP BY, or the primary key of its table
    SELECT order_id FROM orders WHERE «count»(*) > 1
      an aggregate is not allowed in WHERE
      hint: write conditions on aggregates in HAVING
    SELECT o.order_id FROM orders o JOIN customers c ON «count»(*) = 1
      an aggregate is not allowed in ON
    SELECT status, sum(«count»(*)) FROM orders GROUP BY status
      an aggregate is not allowed in an aggregate
    SELECT status, «sum(status)» FROM orders GROUP BY status
      there is no aggregate sum(text)
    «SELECT data, count(*) FROM events GROUP BY data»
      GROUP BY of `data`, which is jsonb, is not supported
      hint: group by its text
    «SELECT DISTINCT data FROM events»
      DISTINCT of `data`, which is jsonb, is not supported
      hint: cast it to text
    SELECT «count(DISTINCT data)» FROM events
      DISTINCT of jsonb is not supported
      hint: cast it to text
    SELECT «max(active)» FROM products
      there is no aggregate max(boolean)
    SELECT o.order_id, «count(p».*) FROM orders o JOIN products p ON p.product_id = o.order_id GROUP BY o.order_id
      this argument of count is not supported
      hint: write an expression, or count(*)
    SELECT status FROM orders HAVING «total_cents» > 1
      column `total_cents` is neither grouped by nor inside an aggregate
      hint: add it to GROUP BY, or the primary key of its table
    "#);
}

#[test]
fn joins() {
    let queries = [
        "SELECT o.order_id FROM orders o, products p",
        "SELECT o.order_id FROM orders o JOIN products p ON p.price > o.total_cents",
        "SELECT o.order_id FROM orders o LEFT JOIN products p ON p.price > \
         o.total_cents",
        "SELECT o.order_id FROM orders o LEFT JOIN products p ON p.product_id = \
         o.order_id AND EXISTS (SELECT 1 FROM events e WHERE e.order_id = o.order_id AND e.kind = p.name)",
        "SELECT o.order_id FROM orders o JOIN customers c ON o.status",
        "SELECT o.order_id, to_jsonb(c) FROM orders o LEFT JOIN (SELECT * FROM customers) c ON \
         c.customer_id = o.customer_id",
        "SELECT o.order_id, o AS row FROM orders o",
    ];
    insta::assert_snapshot!(refusals(&queries), @r#"
    SELECT o.order_id FROM orders o, «products p»
      no equality joins `products p` with what stands before it: all rows would be paired with all
      hint: add a condition such as a.id = b.a_id to ON or WHERE
    SELECT o.order_id FROM orders o JOIN «products p» ON p.price > o.total_cents
      no equality joins `products p` with what stands before it: all rows would be paired with all
      hint: add a condition such as a.id = b.a_id to ON or WHERE
    SELECT o.order_id FROM orders o LEFT JOIN products p ON «p.price > o.total_cents»
      no equality joins the two sides: all rows would be compared with all
      hint: add a condition such as a.id = b.a_id
    SELECT o.order_id FROM orders o LEFT JOIN products p ON p.product_id = o.order_id AND EXISTS («SELECT 1 FROM events e WHERE e.order_id = o.order_id AND e.kind = p.name»)
      a subquery in ON of an outer join that looks at both sides is not supported
      hint: join the subquery first, in FROM
    SELECT o.order_id FROM orders o JOIN customers c ON «o.status»
      the condition is text, not boolean
      hint: write a comparison
    SELECT o.order_id, to_jsonb(«c») FROM orders o LEFT JOIN (SELECT * FROM customers) c ON c.customer_id = o.customer_id
      the whole row of `c`, which an outer join may leave out, is not supported
      hint: name its columns: CASE WHEN t.id IS NOT NULL THEN jsonb_build_object(…) END
    SELECT o.order_id, «o» AS row FROM orders o
      the whole row of `o` as a value is not supported
      hint: write to_jsonb(o), or name its columns
    "#);
}

#[test]
fn subqueries() {
    let queries = [
        "SELECT order_id, (SELECT name, price FROM products) FROM orders",
        "SELECT order_id FROM orders o WHERE (SELECT max(price) FROM products p WHERE \
         p.price > o.total_cents) > 1",
        "SELECT order_id FROM orders o WHERE status = 'x' OR (parent_id, status) IN (SELECT \
         order_id, kind FROM events)",
        "SELECT order_id FROM orders WHERE order_id IN (SELECT order_id, kind FROM \
         events)",
        "SELECT order_id FROM orders o WHERE EXISTS (SELECT 1 FROM events e WHERE \
         e.order_id > o.order_id)",
        "SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o \
         WHERE o.parent_id = c.customer_id AND EXISTS (SELECT 1 FROM order_items i \
         WHERE i.order_id = o.order_id AND i.price = c.country::int))",
        "SELECT order_id, (SELECT DISTINCT o.total_cents + p.price FROM products p WHERE \
         p.product_id = o.order_id) AS x FROM orders o",
        "SELECT order_id, (SELECT sum(o.total_cents)) AS x FROM orders o",
        "SELECT order_id FROM orders o WHERE EXISTS (SELECT max(price) FROM products \
         p WHERE p.product_id = o.order_id)",
        "SELECT order_id FROM orders o LEFT JOIN LATERAL (SELECT count(*) AS n FROM \
         events e WHERE e.order_id = o.order_id) t ON t.n > 1",
        "SELECT order_id, (SELECT kind FROM events e WHERE e.order_id = o.order_id \
         UNION ALL SELECT status FROM orders) AS x FROM orders o",
    ];
    insta::assert_snapshot!(refusals(&queries), @r#"
    SELECT order_id, («SELECT name, price FROM products») FROM orders
      the subquery has 2 columns, and one is wanted
    SELECT order_id FROM orders o WHERE (SELECT max(price) FROM products p WHERE «p.price > o.total_cents») > 1
      in a subquery with an aggregate, a condition on the surrounding query's columns has to be an equality with a column of the subquery's own
      hint: write inner.column = outer.column, or join in FROM and group there
    SELECT order_id FROM orders o WHERE status = 'x' OR («parent_id, status) IN (SELECT order_id, kind FROM events»)
      IN of several columns as a value is not supported where one of them may be NULL
      hint: write EXISTS (SELECT … WHERE …)
    SELECT order_id FROM orders WHERE «order_id IN (SELECT order_id, kind FROM events)»
      the subquery has 2 columns, and 1 are compared
    SELECT order_id FROM orders o WHERE EXISTS (SELECT 1 FROM events e WHERE «e.order_id > o.order_id»)
      no equality joins the two sides: all rows would be compared with all
      hint: add a condition such as a.id = b.a_id
    SELECT c.customer_id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.parent_id = c.customer_id AND EXISTS («SELECT 1 FROM order_items i WHERE i.order_id = o.order_id AND i.price = c.country»::int))
      a subquery looks at columns of a query two levels around it, which is not supported
      hint: join that query's table once more in between, or write a join instead of the subquery
    SELECT order_id, (SELECT DISTINCT «o.total_cents + p.price» FROM products p WHERE p.product_id = o.order_id) AS x FROM orders o
      columns of the surrounding query in this subquery's SELECT list are not supported
      hint: give out the subquery's own columns, and compute with them outside
    «SELECT order_id, (SELECT sum(o.total_cents)) AS x FROM orders o»
      column `total_cents` is looked at by a subquery in a way that is not supported
      hint: join in FROM instead, or compare it by = in the subquery's WHERE
    SELECT order_id FROM orders o WHERE EXISTS («SELECT max(price) FROM products p WHERE p.product_id = o.order_id»)
      EXISTS over an aggregate without GROUP BY is always true
      hint: leave the aggregate out
    SELECT order_id FROM orders o LEFT JOIN LATERAL («SELECT count(*) AS n FROM events e WHERE e.order_id = o.order_id) t» ON t.n > 1
      LEFT JOIN LATERAL of one row or of a function is supported ON true
      hint: write ON true, and the condition in WHERE
    SELECT order_id, («SELECT kind FROM events e WHERE e.order_id = o.order_id UNION ALL SELECT status FROM orders») AS x FROM orders o
      UNION inside a subquery that looks at the surrounding query is not supported
      hint: write one subquery for each of the queries
    "#);
}

/// Text is refused or planned, whatever it is; and what is deep does not run out of stack.
#[test]
fn long_and_deep_queries_are_refused() {
    let deep = |open: &str, close: &str, times: usize| {
        format!("SELECT {}1{} AS x FROM orders", open.repeat(times), close.repeat(times))
    };
    let many = |times: usize, by: &str| {
        format!("SELECT order_id FROM orders WHERE {}", vec!["order_id = 1"; times].join(by))
    };
    let joins = (0..2_000).map(|at| format!(" JOIN orders o{at} ON o{at}.order_id = o.order_id"));
    for query in [
        deep("(", ")", 1_000),
        deep("abs(", ")", 1_000),
        deep("(SELECT ", ")", 400),
        many(1_000, " AND "),
        format!("SELECT o.order_id FROM orders o{}", joins.collect::<String>()),
        format!("SELECT 1 IN ({}) AS x FROM orders", vec!["1"; 10_000].join(", ")),
    ] {
        assert!(plan(&query, &shop()).is_err(), "{}", &query[..80]);
    }
    assert!(plan(&many(200, " AND "), &shop()).is_ok());
    assert!(plan(&many(200, " OR "), &shop()).is_ok());
}
