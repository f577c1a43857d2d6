//! A shop's order summary.

use readside::engine::Engine;

use crate::shop::{self, ITEMS, PRODUCTS, SUMMARY, Shop, Wal, product};
use crate::{at_least, at_most, cpu_seconds, memory_mb};

/// For the standard data.
const MEMORY_MB_MAX: f64 = 1.2 * 1024.0;

pub(crate) fn run(scale: f64) {
    let shop = Shop::new(scale);
    println!("\nOrder summary of {} orders, {} items:", shop.orders, shop.items);
    let mut engine = shop.engine();
    let tables_mb = memory_mb();
    let started = cpu_seconds();
    let _output = shop::add(&mut engine, SUMMARY);
    println!(
        "  filled in {:.1} s; the tables' rows are {tables_mb:.0} MB",
        cpu_seconds() - started
    );
    at_most("memory", memory_mb(), "MB", MEMORY_MB_MAX * scale);
    print_sizes(&engine);

    let mut wal = Wal::new(shop);
    let (seconds, changes) = wal.run(&mut engine, 40_000, 250);
    let rate = f64::from(changes) / seconds / 1e3;
    at_least("the standard WAL, 250 transactions a batch", rate, "k changes/s", 60.0);
    let (seconds, changes) = wal.run(&mut engine, 20_000, 1);
    let rate = f64::from(changes) / seconds / 1e3;
    println!("  each transaction alone: {rate:.1} k changes/s, {:.1} us each", seconds * 50.0);

    let (started, times) = (cpu_seconds(), 10_000);
    for n in 0..times {
        let id = n * 7_919 % shop.items;
        engine.put(ITEMS, shop.item(wal.lsn, id, (id / 3 + 1) % shop.orders)).unwrap();
        wal.commit(&mut engine);
    }
    let us = (cpu_seconds() - started) * 1e6 / times as f64;
    at_most("one change alone: an item moved to another order", us, "us", 30.0);
    at_most("memory in the end", memory_mb(), "MB", MEMORY_MB_MAX * scale);

    for orders in [8_333.min(shop.orders / 2), 50_000.min(shop.orders / 2), shop.orders] {
        // Two of three items stay what they are.
        (0..orders).for_each(|order| {
            let old = shop.item(wal.lsn, order * 3, order);
            let row = shop::with_product(&old, 0);
            engine.put(ITEMS, row).unwrap();
        });
        wal.commit(&mut engine);
        let (before, started) = (memory_mb(), cpu_seconds());
        engine.put(PRODUCTS, product(wal.lsn, 0, &format!("Renamed {orders}"))).unwrap();
        wal.commit(&mut engine);
        let ms = (cpu_seconds() - started) * 1e3;
        let limit = match orders {
            0..10_000 => 500.0,
            10_000..100_000 => 3_000.0,
            _ => 60_000.0,
        };
        at_most(&format!("a product of {orders} orders renamed"), ms, "ms", limit);
        println!("    memory {before:.0} MB before, {:.0} MB after", memory_mb());
    }
}

pub(crate) fn print_sizes(engine: &Engine) {
    for kept in engine.kept() {
        let what = format!("{:?}", kept.what);
        println!("    {what:<76} {:>9} rows {:>6} MB", kept.rows, kept.bytes >> 20);
    }
}
