//! Sinks that somebody has put back to an older state, while Readside runs and while it does not: their
//! watermarks tell, and they are made equal again.

use crate::harness::{Daemon, Postgres, Search, wait};
use crate::world::{World, one, until_metric};

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

/// Versions that the sink had durably are kept no longer: it has a gap where they were, and the right rows.
#[tokio::test]
async fn a_history_that_was_put_back_goes_on_behind_a_gap() {
    let mut world = World::new(ITEMS).await;
    let name = world.name("items");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'items'\n\
         to.reporting = {{ table = 'items', history = 'items_history' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_for(&name, "reporting", &world.lsn().await).await;
    let backup = world.postgres.restored().await;
    // What is durable twice over is in nobody's memory.
    for round in 0..3 {
        let sql = format!(
            "DELETE FROM items WHERE id % 10 = {round};
             UPDATE items SET v = 'round {round}' WHERE id % 7 = {round}"
        );
        world.execute(&sql).await;
        daemon.wait_for(&name, "reporting", &world.lsn().await).await;
        let end = one(&world.client, "SELECT (pg_current_wal_insert_lsn() - '0/0')::text").await;
        let end: f64 = end.parse().unwrap();
        until_metric(&daemon, "readside_durable_lsn", &[], |lsn| lsn >= end).await;
    }
    world.move_reporting(&backup).await;
    world.execute("UPDATE items SET v = 'after the backup' WHERE id = 5").await;
    let rows =
        |of: &str| format!("SELECT string_agg(concat_ws(':', id, v), ' ' ORDER BY id) FROM {of}");
    let expected = one(&world.client, &rows("items")).await;
    wait::until("the table to be right again", async || {
        let found = one(&world.reporting, &rows("items")).await;
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
    let open = "items_history WHERE valid_to IS NULL";
    assert_eq!(one(&world.reporting, &rows(open)).await, expected);
    let sql = "SELECT string_agg(projection || (after_lsn < until_lsn), ' ') FROM readside.gap";
    assert_eq!(one(&world.reporting, sql).await, format!("{name}true"));
}
