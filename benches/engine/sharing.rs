//! What more projections over the same joins cost.

use crate::shop::{self, SUMMARY, Shop, Wal};
use crate::summary::print_sizes;
use crate::{at_most, cpu_seconds, memory_mb};

/// The same joins, shown otherwise.
const SECOND: &str = "
  SELECT o.order_id, c.full_name, sum(i.quantity) AS pieces, max(p.name COLLATE \"C\") AS last_name
  FROM orders o
  JOIN customers c ON c.customer_id = o.customer_id
  LEFT JOIN order_items i ON i.order_id = o.order_id
  LEFT JOIN products p ON p.product_id = i.product_id
  GROUP BY o.order_id, c.customer_id";

const PROJECTIONS: i64 = 20;

pub(crate) fn run(scale: f64) {
    let shop = Shop::new(scale);
    println!("\nProjections over the same joins, {} orders:", shop.orders);
    let mut engine = shop.engine();
    let _summary = shop::add(&mut engine, SUMMARY);
    let one_mb = memory_mb();
    let _second = shop::add(&mut engine, SECOND);
    let more = (memory_mb() / one_mb - 1.0) * 100.0;
    at_most("a second one adds memory", more, "%", 20.0);
    print_sizes(&engine);
    drop(engine);

    let one = seconds(shop, 1);
    let all = seconds(shop, PROJECTIONS);
    at_most(&format!("{PROJECTIONS} of them take the time of one"), all / one, "times", 4.0);
}

/// What the standard WAL takes with so many projections, each of which shows something else.
fn seconds(shop: Shop, projections: i64) -> f64 {
    let mut engine = shop.engine();
    for n in 0..projections {
        let text = SUMMARY.replace("o.total_cents,", &format!("o.total_cents + {n} AS total,"));
        shop::add(&mut engine, &text);
    }
    let started = cpu_seconds();
    Wal::new(shop).run(&mut engine, 20_000, 250);
    cpu_seconds() - started
}
