//! Sinks that somebody has put back to an older state, while Readside runs and while it does not: their
//! watermarks tell, and they are made equal again.

use crate::harness::{Daemon, Postgres, Search};
use crate::world::World;

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 2000) AS i;";

/// Deletions that a backup has not seen are remembered, or have been forgotten already.
#[tokio::test]
async fn backups_of_all_sinks_are_made_equal_again() {
    let mut world = World::new(ITEMS).await;
    let mut search = Search::private().await;
    world.search_net.lead_to(search.port());
    world.search = search.search.again();
    let items = world.projection("items", "items", &["id"]);
    let mut daemon = Daemon::start(&world.config(&items));
    let mut reporting: Option<Postgres> = None;
    for (round, tombstones) in ["256MiB", "1KiB"].into_iter().enumerate() {
        daemon.restart_with(&[("READSIDE__STATE__TOMBSTONES", tombstones)]);
        daemon.wait_ready().await;
        world.same(&mut daemon, "items", "items", &["id"]).await;
        let backup = reporting.as_ref().unwrap_or(&world.postgres).restored().await;
        world.redis.copy();
        search.copy().await;
        for at in 0..4 {
            let sql = format!(
                "DELETE FROM items WHERE id % 10 = {round} AND id % 4 = {at};
                 UPDATE items SET v = 'round {round}.{at}' WHERE id % 7 = {at};
                 INSERT INTO items VALUES (10000 + 10 * {round} + {at}, 'new')"
            );
            world.execute(&sql).await;
            world.same(&mut daemon, "items", "items", &["id"]).await;
        }
        if round == 1 {
            daemon.terminate().await;
        }
        world.move_reporting(&backup).await;
        world.redis.restore().await;
        search.restore().await;
        if round == 1 {
            daemon.restart();
        }
        world.execute("UPDATE items SET v = 'after the backups' WHERE id = 5").await;
        world.soon_same("items", "items", &["id"]).await;
        world.same(&mut daemon, "items", "items", &["id"]).await;
        reporting = Some(backup);
    }
}
