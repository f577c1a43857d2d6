//! The shop's application: transactions drawn from a seed, over all of its tables.

use fastrand::Rng;
use tokio_postgres::Client;

use crate::world::World;

pub(super) struct Writer {
    client: Client,
    rng: Rng,
}

impl Writer {
    pub(super) async fn new(world: &World, rng: Rng) -> Writer {
        Writer { client: world.postgres.client(&world.source).await, rng }
    }

    /// One to five statements; one in eight is rolled back. In one of four transactions foreign
    /// keys are not looked at, so that rows name others that are not there.
    pub(super) async fn transaction(&mut self) {
        let unchecked = self.rng.u32(0..4) == 0;
        let mut sql = String::from("BEGIN;");
        if unchecked {
            sql += "SET LOCAL session_replication_role = replica;";
        }
        for _ in 0..self.rng.u32(1..6) {
            sql += &self.statement(unchecked);
            sql += ";";
        }
        sql += if self.rng.u32(0..8) == 0 { "ROLLBACK" } else { "COMMIT" };
        self.execute(&sql).await;
    }

    /// Orders alone, for several writers at once: what one of them changes is locked in the order
    /// of the keys.
    pub(super) async fn order(&mut self) {
        let (seed, cents) = (self.rng.u32(0..1000), self.rng.u32(0..100_000));
        let sql = match self.rng.u32(0..10) {
            0..3 => place_order(seed, cents),
            3..5 => delete_orders(seed % 53, 53),
            5 => format!(
                "UPDATE customers SET full_name = 'Renamed {cents}' WHERE customer_id = {}",
                any("customers", "customer_id", seed)
            ),
            6..8 => {
                let customer = any("customers", "customer_id", cents);
                format!(
                    "UPDATE orders
                     SET customer_id = {customer}, created_at = created_at + interval '7 hours'
                     WHERE {}",
                    locked(seed % 29, 29)
                )
            }
            _ => format!(
                "UPDATE orders SET total_cents = {cents}, status = {} WHERE {}",
                status(seed),
                locked(seed % 31, 31)
            ),
        };
        self.execute(&format!("BEGIN; {sql}; COMMIT")).await;
    }

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn statement(&mut self, unchecked: bool) -> String {
        match self.rng.u32(0..100) {
            0..22 => place_order(self.rng.u32(0..1000), self.rng.u32(0..100_000)),
            22..56 => self.of_orders(),
            56..70 => self.of_customers_and_warehouses(),
            70..88 => self.of_products(),
            88..96 => self.cart_event(),
            96 => truncated(self.rng.usize(..)).into(),
            _ if unchecked => {
                format!("DELETE FROM {} % 23 = {}", parent(self.rng.usize(..)), self.rng.u32(0..23))
            }
            _ => self.of_orders(),
        }
    }

    fn of_orders(&mut self) -> String {
        let (n, rest) = (self.rng.u32(0..100_000), self.rng.u32(0..23));
        let some_orders = format!("WHERE order_id % 23 = {rest}");
        let some_items = format!("WHERE item_id % 23 = {rest}");
        match self.rng.u32(0..9) {
            0 => format!("UPDATE orders SET status = {} {some_orders}", status(n)),
            1 => format!("UPDATE orders SET total_cents = {n} {some_orders}"),
            2 => {
                let customer = any("customers", "customer_id", n);
                format!("UPDATE orders SET customer_id = {customer} {some_orders}")
            }
            3 => {
                let earlier = format!("created_at - interval '{n} seconds'");
                format!("UPDATE orders SET created_at = {earlier} {some_orders}")
            }
            4 => delete_orders(rest, 23),
            5 => {
                let order = any("orders", "order_id", n);
                let there = "AND EXISTS (SELECT FROM orders)";
                format!("UPDATE order_items SET order_id = {order} {some_items} {there}")
            }
            6 => {
                let product = any("products", "product_id", n);
                format!("UPDATE order_items SET product_id = {product} {some_items}")
            }
            7 => format!("UPDATE order_items SET quantity = {} {some_items}", n % 4),
            _ => format!("DELETE FROM order_items {some_items}"),
        }
    }

    fn of_customers_and_warehouses(&mut self) -> String {
        let (n, rest) = (self.rng.u32(0..100_000), self.rng.u32(0..23));
        let some = format!("WHERE customer_id % 23 = {rest}");
        let country = country(n);
        match self.rng.u32(0..8) {
            0 => format!("UPDATE customers SET full_name = 'Renamed {n}' {some}"),
            1 => format!(
                "INSERT INTO customers (email, full_name)
                 SELECT gen_random_uuid(), 'New {n}' FROM generate_series(0, {})",
                n % 3
            ),
            2 => format!(
                "INSERT INTO addresses (customer_id, country, city)
                 SELECT customer_id, {country}, 'City {n}' FROM customers {some}
                 ON CONFLICT (customer_id) DO UPDATE SET country = excluded.country"
            ),
            3 => format!("DELETE FROM addresses {some}"),
            4 => {
                format!("UPDATE deliveries SET distance_km = {n} / 100.0 WHERE country = {country}")
            }
            5 => format!(
                "INSERT INTO deliveries (warehouse_id, country, distance_km)
                 SELECT warehouse_id, {country}, {n} / 100.0 FROM warehouses
                 WHERE warehouse_id % 3 = {}
                 ON CONFLICT (warehouse_id, country) DO NOTHING",
                rest % 3
            ),
            6 => format!("DELETE FROM deliveries WHERE country = {country} AND distance_km > 300"),
            _ if n % 2 == 0 => format!("INSERT INTO warehouses (name) VALUES ('New {n}')"),
            _ => format!(
                "UPDATE warehouses SET name = 'Other {n}' WHERE warehouse_id % 3 = {}",
                n % 3
            ),
        }
    }

    fn of_products(&mut self) -> String {
        let (n, rest) = (self.rng.u32(0..100_000), self.rng.u32(0..23));
        let some = format!("WHERE product_id % 23 = {rest}");
        let some_reviews = format!("WHERE review_id % 23 = {rest}");
        match self.rng.u32(0..8) {
            0 => format!("UPDATE products SET name = 'Product ''{n}\"', price_cents = {n} {some}"),
            1 => format!("INSERT INTO products (name, price_cents) VALUES ('New {n}', {n})"),
            2 => format!(
                "INSERT INTO product_categories (product_id, category_id)
                 SELECT product_id, category_id FROM products, categories
                 {some} AND category_id % 5 = {} ON CONFLICT DO NOTHING",
                n % 5
            ),
            3 => format!("DELETE FROM product_categories {some}"),
            4 => format!(
                "UPDATE categories SET name = 'Category {}' WHERE category_id % 5 = {}",
                n % 7,
                rest % 5
            ),
            5 => format!(
                "INSERT INTO reviews (product_id, customer_id, rating) VALUES ({}, {}, {})",
                any("products", "product_id", n),
                any("customers", "customer_id", n),
                1 + n % 5
            ),
            6 => {
                let rating = 1 + n % 5;
                format!("UPDATE reviews SET rating = {rating}, customer_id = NULL {some_reviews}")
            }
            _ => format!("DELETE FROM reviews {some_reviews}"),
        }
    }

    fn cart_event(&mut self) -> String {
        let cart = self.rng.u32(1..60);
        let (product, quantity, cents) =
            (self.rng.u32(1..200), self.rng.u32(1..5), self.rng.u32(1..9999));
        let item = format!(
            r#"{{"product_id": {product}, "quantity": {quantity}, "price_cents": {cents}}}"#
        );
        let (kind, payload) = match self.rng.u32(0..8) {
            0 => ("CartOpened", format!(r#"{{"customer_id": {product}}}"#)),
            1 => ("CartCheckedOut", "{}".into()),
            2 => ("ItemRemoved", item),
            _ => ("ItemAdded", item),
        };
        format!(
            "INSERT INTO cart_events (cart_id, type, payload) VALUES ({cart}, '{kind}', '{payload}')"
        )
    }
}

/// With up to four items; none when there is no customer or no product.
fn place_order(seed: u32, cents: u32) -> String {
    format!(
        "WITH placed AS (
           INSERT INTO orders (customer_id, status, total_cents, created_at)
           SELECT customer_id, {}, {cents}, '2026-05-01Z'::timestamptz + {cents} * interval '1 minute'
           FROM customers WHERE customer_id = {}
           RETURNING order_id)
         INSERT INTO order_items (order_id, product_id, quantity, price_cents)
         SELECT order_id, product_id, 1 + product_id % 3, price_cents
         FROM placed, (SELECT * FROM products WHERE product_id % 19 = {}
                      ORDER BY product_id LIMIT {}) p",
        status(seed),
        any("customers", "customer_id", seed),
        cents % 19,
        seed % 5
    )
}

fn delete_orders(rest: u32, of: u32) -> String {
    format!(
        "WITH doomed AS MATERIALIZED (
           SELECT order_id FROM orders WHERE order_id % {of} = {rest} ORDER BY order_id FOR UPDATE),
         items AS (DELETE FROM order_items WHERE order_id IN (SELECT order_id FROM doomed))
         DELETE FROM orders WHERE order_id IN (SELECT order_id FROM doomed)"
    )
}

/// Locked in the order of their keys, so that several writers do not wait for each other in a circle.
fn locked(rest: u32, of: u32) -> String {
    format!(
        "order_id IN (SELECT order_id FROM orders WHERE order_id % {of} = {rest}
                      ORDER BY order_id FOR UPDATE)"
    )
}

/// The key of some row that is there.
fn any(table: &str, key: &str, seed: u32) -> String {
    format!(
        "(SELECT {key} FROM {table} ORDER BY {key}
          OFFSET {seed} % greatest((SELECT count(*) FROM {table}), 1) LIMIT 1)"
    )
}

fn status(seed: u32) -> &'static str {
    ["'pending'", "'confirmed'", "'shipped'", "'cancelled'"][seed as usize % 4]
}

fn country(seed: u32) -> &'static str {
    ["'DE'", "'FR'", "'PL'", "'IS'"][seed as usize % 4]
}

fn truncated(seed: usize) -> &'static str {
    [
        "TRUNCATE orders CASCADE",
        "TRUNCATE order_items",
        "TRUNCATE reviews, product_categories",
        "TRUNCATE addresses",
        "TRUNCATE warehouses CASCADE",
        "TRUNCATE cart_events",
    ][seed % 6]
}

/// Up to the number that it is divided by.
fn parent(seed: usize) -> &'static str {
    [
        "customers WHERE customer_id",
        "products WHERE product_id",
        "orders WHERE order_id",
        "categories WHERE category_id",
        "warehouses WHERE warehouse_id",
    ][seed % 5]
}
