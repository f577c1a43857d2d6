//! At the end: every row of the source against every row of the three stores.

use std::fmt::Debug;

use anyhow::Result;

use crate::harness::Daemon;
use crate::stores::{Rows, SINKS, Stores, TABLES};

/// Waits until all sinks have all there is, then compares.
pub(crate) async fn settled_and_equal(daemon: &mut Daemon, stores: &mut Stores) -> Result<bool> {
    let position = stores.position().await?;
    for sink in SINKS {
        for table in &TABLES {
            daemon.wait_for(table.name, sink, &position).await;
        }
    }
    let mut equal = true;
    let mut total = 0;
    for table in &TABLES {
        let expected = stores.source_documents(table).await?;
        total += expected.len();
        let found = stores.reporting_documents(table).await?;
        equal &= is_equal(SINKS[0], table.name, &expected, &found);
        let found = stores.search_documents(table).await;
        equal &= is_equal(SINKS[2], table.name, &expected, &found);

        let expected = stores.source_fields(table).await?;
        let found = stores.cache_fields(table).await?;
        equal &= is_equal(SINKS[1], table.name, &expected, &found);
    }
    if equal {
        println!("\nEqual at {position}: all {total} rows, in {}.", SINKS.join(", "));
    }
    Ok(equal)
}

/// Names the first row that differs.
fn is_equal<T: PartialEq + Debug>(
    sink: &str,
    table: &str,
    expected: &Rows<T>,
    found: &Rows<T>,
) -> bool {
    let keys = expected.keys().chain(found.keys());
    let mut differing = keys.filter(|key| expected.get(*key) != found.get(*key));
    let Some(key) = differing.next() else { return true };
    println!("\nDIFFERENT: {table} in {sink}, {} rows more, first {key}:", differing.count());
    println!("  source: {:?}", expected.get(key));
    println!("  {sink}: {:?}", found.get(key));
    false
}
