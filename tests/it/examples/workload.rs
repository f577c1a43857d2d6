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

    /// One to five statements; one in eight is rolled back. In one of four transactions foreign keys are not
    /// looked at, so that rows name others that are not there.
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

    /// Orders alone, by an application that several run of: what one of them changes is locked in one order.
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
                let (customer, rest) = (any("customers", "customer_id", cents), seed % 29);
                format!("UPDATE orders SET customer_id = {customer}, created_at = created_at + interval '7 hours'
                         WHERE {}", locked(rest, 29))
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
        let (seed, cents) = (self.rng.u32(0..1000), self.rng.u32(0..100_000));
        let rest = seed % 23;
        match self.rng.u32(0..100) {
            0..22 => place_order(seed, cents),
            22..28 => format!("UPDATE orders SET status = {} WHERE order_id % 23 = {rest}", status(seed)),
            28..32 => format!("UPDATE orders SET total_cents = {cents} WHERE order_id % 23 = {rest}"),
            32..36 => format!("UPDATE orders SET customer_id = {} WHERE order_id % 23 = {rest}", any("customers", "customer_id", cents)),
            36..40 => format!("UPDATE order_items SET order_id = {} WHERE item_id % 23 = {rest}
                               AND EXISTS (SELECT FROM orders)", any("orders", "order_id", cents)),
            40..43 => format!("UPDATE order_items SET product_id = {}, quantity = {} WHERE item_id % 23 = {rest}",
                              any("products", "product_id", cents), seed % 4),
            43..47 => delete_orders(seed % 17, 17),
            47..50 => format!("DELETE FROM order_items WHERE item_id % 23 = {rest}"),
            50..53 => format!("UPDATE customers SET full_name = 'Renamed {cents}' WHERE customer_id % 23 = {rest}"),
            53..56 => format!("UPDATE products SET name = 'Product ''{cents}\"', price_cents = {cents} WHERE product_id % 23 = {rest}"),
            56..58 => format!("INSERT INTO customers (email, full_name) SELECT gen_random_uuid(), 'New {cents}' FROM generate_series(1, {})", 1 + seed % 3),
            58..60 => format!("INSERT INTO products (name, price_cents) VALUES ('New {cents}', {cents})"),
            60..63 => format!("INSERT INTO addresses (customer_id, country, city) VALUES ({}, {}, 'City {seed}')
                               ON CONFLICT (customer_id) DO UPDATE SET country = excluded.country",
                              any("customers", "customer_id", cents), country(seed)),
            63..65 => format!("DELETE FROM addresses WHERE customer_id % 23 = {rest}"),
            65..67 => format!("UPDATE deliveries SET distance_km = {cents} / 100.0 WHERE country = {}", country(seed)),
            67..70 => format!("INSERT INTO deliveries (warehouse_id, country, distance_km) VALUES ({}, {}, {rest})
                               ON CONFLICT (warehouse_id, country) DO NOTHING", any("warehouses", "warehouse_id", cents), country(seed)),
            70..72 => format!("DELETE FROM deliveries WHERE country = {} AND warehouse_id % 3 = {}", country(seed), cents % 3),
            72..74 => format!("UPDATE warehouses SET name = 'Warehouse {cents}' WHERE warehouse_id % 3 = {}", seed % 3),
            74..75 => format!("INSERT INTO warehouses (name) VALUES ('New {cents}')"),
            75..77 => format!("INSERT INTO product_categories (product_id, category_id) VALUES ({}, {}) ON CONFLICT DO NOTHING",
                              any("products", "product_id", cents), any("categories", "category_id", seed)),
            77..79 => format!("DELETE FROM product_categories WHERE product_id % 23 = {rest}"),
            79..80 => format!("UPDATE categories SET name = 'Category {}' WHERE category_id % 5 = {}", cents % 7, seed % 5),
            80..84 => format!("INSERT INTO reviews (product_id, customer_id, rating, body) VALUES ({}, {}, {}, NULL)",
                              any("products", "product_id", cents), any("customers", "customer_id", seed), 1 + seed % 5),
            84..86 => format!("UPDATE reviews SET rating = {}, customer_id = NULL WHERE review_id % 23 = {rest}", 1 + cents % 5),
            86..88 => format!("DELETE FROM reviews WHERE review_id % 23 = {rest}"),
            88..96 => self.cart_event(),
            96 => truncated(seed).into(),
            _ if unchecked => format!("DELETE FROM {} % 23 = {rest}", parent(seed)),
            _ => format!("UPDATE orders SET created_at = created_at - interval '{seed} minutes' WHERE order_id % 23 = {rest}"),
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
         FROM placed, (SELECT * FROM products WHERE product_id % 19 = {} ORDER BY product_id LIMIT {}) p",
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
        "order_id IN (SELECT order_id FROM orders WHERE order_id % {of} = {rest} ORDER BY order_id FOR UPDATE)"
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

fn truncated(seed: u32) -> &'static str {
    [
        "TRUNCATE orders CASCADE",
        "TRUNCATE order_items",
        "TRUNCATE reviews, product_categories",
        "TRUNCATE addresses",
        "TRUNCATE warehouses CASCADE",
        "TRUNCATE cart_events",
    ][seed as usize % 6]
}

/// Up to the number that it is divided by.
fn parent(seed: u32) -> &'static str {
    [
        "customers WHERE customer_id",
        "products WHERE product_id",
        "orders WHERE order_id",
        "categories WHERE category_id",
        "warehouses WHERE warehouse_id",
    ][seed as usize % 5]
}
