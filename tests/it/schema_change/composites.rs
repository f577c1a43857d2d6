//! A column's type is the same one, and its values print differently.

use crate::harness::{Daemon, wait};
use crate::world::World;

/// In the cache: a table has such a column as text.
async fn soon_same(world: &World) {
    wait::until("the rows", async || {
        let (rows, cached) =
            (world.rows(&world.client, "people", &["id"]).await, world.cached("people").await);
        if rows == cached { Ok(()) } else { Err(format!("{cached:?}, not {rows:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_composite_that_was_altered_is_loaded_anew() {
    let world = World::new(
        "CREATE TYPE addr AS (street text, zip text);
         CREATE TABLE people (id int PRIMARY KEY, a addr, more addr[]);
         INSERT INTO people SELECT i, ('s' || i, 'z')::addr, ARRAY[('t', 'z')::addr]
           FROM generate_series(1, 20) AS i;",
    )
    .await;
    let mut daemon = Daemon::start(&world.config(&world.projection("people", "people", &["id"])));
    daemon.wait_ready().await;
    soon_same(&world).await;
    for sql in [
        "ALTER TYPE addr RENAME ATTRIBUTE zip TO postcode",
        "ALTER TYPE addr ADD ATTRIBUTE city text",
        "ALTER TYPE addr DROP ATTRIBUTE street",
        "ALTER TYPE addr RENAME TO address",
    ] {
        world.execute(sql).await;
        soon_same(&world).await;
        world.execute("UPDATE people SET id = id + 100 WHERE id % 100 < 5").await;
        soon_same(&world).await;
    }
    let log = daemon.log();
    assert!(!log.contains("no longer what its projections need"), "{log}");
    // Nor while nobody looks.
    daemon.terminate().await;
    world.execute("ALTER TYPE address RENAME ATTRIBUTE city TO town").await;
    daemon.restart();
    soon_same(&world).await;
}
