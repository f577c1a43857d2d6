//! The standard data and the standard WAL, the same in every run.

use anyhow::{Context, Result};
use tokio_postgres::Client;

/// 1 is the standard.
#[derive(Clone, Copy)]
pub(crate) struct Scale(pub(crate) f64);

impl Scale {
    fn of(self, standard: u32) -> i64 {
        ((f64::from(standard) * self.0) as i64).max(20)
    }

    pub(crate) fn customers(self) -> i64 {
        self.of(100_000)
    }

    pub(crate) fn products(self) -> i64 {
        self.of(10_000)
    }

    pub(crate) fn orders(self) -> i64 {
        self.of(1_000_000)
    }

    pub(crate) fn items(self) -> i64 {
        self.orders() * 3
    }

    pub(crate) fn rows(self) -> i64 {
        self.customers() + self.products() + self.orders() + self.items()
    }

    pub(crate) fn transactions(self) -> i64 {
        self.of(200_000)
    }
}

pub(crate) const TABLES: [&str; 4] = ["customers", "products", "orders", "order_items"];

/// The tables as a sink of Readside's has them: with their primary keys and nothing else.
pub(crate) const TARGET_TABLES: &str = "
    CREATE TABLE customers (customer_id bigint PRIMARY KEY, email text NOT NULL,
      full_name text NOT NULL, created_at timestamptz NOT NULL);
    CREATE TABLE products (product_id bigint PRIMARY KEY, name text NOT NULL,
      price_cents integer NOT NULL);
    CREATE TABLE orders (order_id bigint PRIMARY KEY, customer_id bigint NOT NULL,
      status text NOT NULL, total_cents bigint NOT NULL, created_at timestamptz NOT NULL);
    CREATE TABLE order_items (item_id bigint PRIMARY KEY, order_id bigint NOT NULL,
      product_id bigint NOT NULL, quantity integer NOT NULL, price_cents integer NOT NULL);";

/// The list of orders: four joined tables and a group for each row.
pub(crate) const ORDER_SUMMARY: &str = "
    SELECT o.order_id, o.customer_id, o.status, o.total_cents, o.created_at,
           c.email AS customer_email, c.full_name AS customer_name, count(i.item_id) AS item_count,
           jsonb_agg(jsonb_build_object('product', p.name, 'quantity', i.quantity) ORDER BY i.item_id)
             FILTER (WHERE i.item_id IS NOT NULL) AS items
    FROM orders o
    JOIN customers c ON c.customer_id = o.customer_id
    LEFT JOIN order_items i ON i.order_id = o.order_id
    LEFT JOIN products p ON p.product_id = i.product_id
    GROUP BY o.order_id, c.customer_id";

pub(crate) async fn fill(client: &Client, scale: Scale) -> Result<()> {
    let example = include_str!("../../config/examples/shop.sql");
    let (schema, _) = example.split_once("\nINSERT").context("the example's own rows")?;
    client.batch_execute(schema).await?;
    let (customers, products) = (scale.customers(), scale.products());
    let (orders, items) = (scale.orders(), scale.items());
    let rows = format!(
        "SET synchronous_commit = off;
         SET session_replication_role = replica;
         INSERT INTO customers (email, full_name, created_at)
         SELECT format('customer%s@example.com', n), format('Customer %s', n),
                timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second'
         FROM generate_series(1::bigint, {customers}) n;
         INSERT INTO products (name, price_cents)
         SELECT format('Product %s', n), 100 + (n * 37) % 9900 FROM generate_series(1::bigint, {products}) n;
         INSERT INTO orders (customer_id, status, total_cents, created_at)
         SELECT 1 + (n * 7919) % {customers}, (ARRAY['pending', 'confirmed', 'shipped'])[1 + n % 3],
                100 + n % 100000, timestamptz '2026-02-01 00:00:00+00' + n * interval '1 second'
         FROM generate_series(1::bigint, {orders}) n;
         INSERT INTO order_items (order_id, product_id, quantity, price_cents)
         SELECT 1 + (n - 1) / 3, 1 + (n * 31) % {products}, 1 + n % 3, 100 + (n * 37) % 9900
         FROM generate_series(1::bigint, {items}) n;
         RESET session_replication_role;
         RESET synchronous_commit;"
    );
    client.batch_execute(&rows).await?;
    client.batch_execute("VACUUM ANALYZE").await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

/// Writes the standard WAL. Of twenty transactions sixteen are new orders with three items, two change
/// the status of five orders, one changes five customers or products, and one deletes five items.
pub(crate) async fn write_wal(client: &Client, scale: Scale) -> Result<()> {
    let (customers, products) = (scale.customers(), scale.products());
    let (orders, items) = (scale.orders(), scale.items());
    let procedure = format!(
        "CREATE OR REPLACE PROCEDURE standard_wal(first integer, last integer) LANGUAGE plpgsql AS $$
         DECLARE
           the_order bigint;
           n bigint;
         BEGIN
           FOR i IN first .. last LOOP
             -- A loop's own variable is an integer.
             n := i;
             CASE
             WHEN n % 20 < 16 THEN
               INSERT INTO orders (customer_id, total_cents, created_at)
               VALUES (1 + (n * 7919) % {customers}, 100 + n % 100000,
                       timestamptz '2026-06-01 00:00:00+00' + n * interval '1 second')
               RETURNING order_id INTO the_order;
               INSERT INTO order_items (order_id, product_id, quantity, price_cents)
               SELECT the_order, 1 + (n * 31 + k * 17) % {products}, k, 100 + (n * 37 + k) % 9900
               FROM generate_series(1, 3) k;
             WHEN n % 20 < 18 THEN
               UPDATE orders SET status = CASE status WHEN 'pending' THEN 'confirmed' ELSE 'shipped' || n END
               WHERE order_id = ANY (ARRAY(SELECT 1 + (n * 104729 + k * 15485863) % {orders}
                                           FROM generate_series(1, 5) k));
             WHEN n % 40 = 18 THEN
               UPDATE customers SET full_name = 'Customer of change ' || n
               WHERE customer_id = ANY (ARRAY(SELECT 1 + (n * 7907 + k * 611953) % {customers}
                                              FROM generate_series(1, 5) k));
             WHEN n % 40 = 38 THEN
               UPDATE products SET price_cents = 100 + (n + product_id) % 9900
               WHERE product_id = ANY (ARRAY(SELECT 1 + (n * 613 + k * 7919) % {products}
                                             FROM generate_series(1, 5) k));
             ELSE
               DELETE FROM order_items
               WHERE item_id = ANY (ARRAY(SELECT 1 + (n / 20 * 5 + k) * 29 % {items}
                                          FROM generate_series(1, 5) k));
             END CASE;
             COMMIT;
           END LOOP;
         END $$"
    );
    client.batch_execute(&procedure).await?;
    client.batch_execute("SET synchronous_commit = off").await?;
    client.batch_execute(&format!("CALL standard_wal(1, {})", scale.transactions())).await?;
    client.batch_execute("RESET synchronous_commit").await?;
    Ok(())
}

/// Behind every commit so far.
pub(crate) async fn position(client: &Client) -> Result<String> {
    let row = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?;
    Ok(row.try_get(0)?)
}

/// Sums over all rows, to be equal in the source and in a copy of it.
pub(crate) async fn sums(client: &Client) -> Result<Vec<i64>> {
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM customers),
                    (SELECT sum(customer_id * length(full_name))::bigint FROM customers),
                    (SELECT sum(product_id * price_cents)::bigint FROM products),
                    (SELECT sum(order_id + length(status) + total_cents)::bigint FROM orders),
                    (SELECT count(*) FROM order_items),
                    (SELECT sum(item_id + price_cents * quantity)::bigint FROM order_items)",
            &[],
        )
        .await?;
    (0..row.len()).map(|at| Ok(row.try_get(at)?)).collect()
}
