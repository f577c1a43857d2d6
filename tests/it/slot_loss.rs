//! The slot is dropped, invalidated, or read by somebody else: what it held is lost, and everything is loaded anew.

use crate::harness::{Daemon, wait};
use crate::world::{World, one, until_logged};

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 2000) AS i;";

async fn start(world: &World, source: &str) -> Daemon {
    let items = world.projection("items", "items", &["id"]);
    let mut daemon = Daemon::start(&world.config_with(source, &items));
    daemon.wait_ready().await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    daemon
}

async fn drop_slot(world: &World) {
    world.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots").await;
    wait::until("the slot to be dropped", async || {
        let sql = "SELECT pg_drop_replication_slot('readside')";
        world.client.batch_execute(sql).await.map_err(|error| format!("{error:?}"))
    })
    .await;
}

/// What nobody will ever hear of.
async fn write_unheard(world: &World) {
    world
        .execute(
            "DELETE FROM items WHERE id % 100 = 0; UPDATE items SET v = 'unheard' WHERE id < 50;
             INSERT INTO items VALUES (5000, 'unheard')",
        )
        .await;
}

#[tokio::test]
async fn a_dropped_slot_is_made_again_and_readers_keep_what_they_have() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "").await;
    daemon.pause();
    drop_slot(&world).await;
    write_unheard(&world).await;
    daemon.resume();
    wait::until("the reload", async || {
        let count: i64 =
            world.reporting.query_one("SELECT count(*) FROM items", &[]).await.unwrap().get(0);
        assert!(count > 1900, "readers find {count} rows");
        let log = daemon.log();
        if log.contains("the slot is lost: everything is loaded anew") { Ok(()) } else { Err(log) }
    })
    .await;
    world.soon_same("items", "items", &["id"]).await;
    world.execute("UPDATE items SET v = 'heard' WHERE id < 10").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    let loaded = daemon.metrics().await;
    let loaded = loaded.get("readside_load_rows_total", &[("table", "public.items")]);
    assert!(loaded > Some(3900.0), "{loaded:?}");
}

#[tokio::test]
async fn a_lost_slot_stops_who_wants_to_be_asked() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "on_slot_loss = \"stop\"").await;
    let before = world.rows(&world.reporting, "items", &["id"]).await;
    drop_slot(&world).await;
    write_unheard(&world).await;
    assert!(!daemon.ended().await.success());
    let log = daemon.log();
    assert!(log.contains("source.on_slot_loss is \"stop\""), "{log}");
    daemon.restart();
    assert!(!daemon.ended().await.success(), "it needs a decision");
    assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, before);
    assert_eq!(one(&world.client, "SELECT count(*)::text FROM pg_replication_slots").await, "0");

    daemon.set_config(&world.config(&world.projection("items", "items", &["id"])));
    daemon.restart();
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

/// With hardly anything to send: a walsender that is ended tells its reader so first. When that one is
/// paused and the socket is full it does so for ever, and the checkpoint waits for it.
async fn invalidate_slot(world: &World) {
    world.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'").await;
    world.execute("SELECT pg_reload_conf()").await;
    let patience = 3 * wait::BOUND;
    wait::until_within("the slot's WAL to be removed", patience, async || {
        world.execute("SELECT pg_logical_emit_message(false, '', 'a segment')").await;
        world.execute("SELECT pg_switch_wal()").await;
        world.execute("CHECKPOINT").await;
        let sql = "SELECT coalesce(wal_status, 'none') FROM pg_replication_slots";
        let status = one(&world.client, sql).await;
        if status == "lost" { Ok(()) } else { Err(status) }
    })
    .await;
    world.execute("ALTER SYSTEM RESET max_slot_wal_keep_size").await;
    world.execute("SELECT pg_reload_conf()").await;
}

#[tokio::test]
async fn an_invalidated_slot_is_made_again() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "").await;
    // Away, and then there but too slow.
    for stopped in [true, false] {
        if stopped {
            daemon.terminate().await;
        } else {
            daemon.pause();
        }
        write_unheard(&world).await;
        invalidate_slot(&world).await;
        world.execute("DELETE FROM items WHERE id = 5000").await;
        if stopped {
            daemon.restart();
        } else {
            daemon.resume();
        }
        until_logged(&daemon, "the slot is lost: everything is loaded anew").await;
        world.soon_same("items", "items", &["id"]).await;
        world.execute("UPDATE items SET v = 'heard' WHERE id < 10").await;
        world.same(&mut daemon, "items", "items", &["id"]).await;
    }
}

#[tokio::test]
async fn a_slot_that_somebody_else_has_advanced_is_not_gone_on_with() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "").await;
    world.source_net.cut();
    write_unheard(&world).await;
    wait::until("the slot to be advanced", async || {
        let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
        world.client.batch_execute(end).await.map_err(|error| format!("{error:?}"))?;
        let advance = "SELECT pg_replication_slot_advance('readside', pg_current_wal_lsn())";
        world.client.batch_execute(advance).await.map_err(|error| format!("{error:?}"))
    })
    .await;
    world.execute("DELETE FROM items WHERE id = 5000").await;
    world.source_net.heal();
    until_logged(&daemon, "by somebody else").await;
    world.soon_same("items", "items", &["id"]).await;
    world.execute("UPDATE items SET v = 'heard' WHERE id < 10").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn a_second_daemon_on_the_same_slot_delivers_nothing_before_it_has_it() {
    let world = World::new(ITEMS).await;
    let mut first = start(&world, "").await;
    let items = world.projection("items", "items", &["id"]);
    let mut second = Daemon::start(&world.config(&items));
    until_logged(&second, "another process reads it").await;
    for round in 0..3 {
        world.execute(&format!("UPDATE items SET v = 'round {round}' WHERE id % 3 = 0")).await;
        world.same(&mut first, "items", "items", &["id"]).await;
    }
    let generation = "SELECT string_agg(DISTINCT generation::text, ' ') FROM readside.watermark";
    assert_eq!(one(&world.reporting, generation).await, "1");
    first.kill9();
    world.execute("DELETE FROM items WHERE id % 100 = 1").await;
    world.same(&mut second, "items", "items", &["id"]).await;
    assert!(second.log().contains("by somebody else"), "what the first one has read is lost to it");
}

/// What was made again under the same name has not seen what was written before.
#[tokio::test]
async fn a_slot_or_publication_that_was_made_again_stops_who_wants_to_be_asked() {
    let make_slot = "SELECT pg_create_logical_replication_slot('readside', 'pgoutput')";
    let make_publication = "CREATE PUBLICATION readside FOR TABLE ONLY items";
    for (lost, made_again) in [
        ("SELECT pg_drop_replication_slot('readside')", Some(make_slot)),
        ("DROP PUBLICATION readside", None),
        ("DROP PUBLICATION readside", Some(make_publication)),
    ] {
        for stopped in [true, false] {
            let world = World::new(ITEMS).await;
            let mut daemon = start(&world, "on_slot_loss = \"stop\"").await;
            let before = world.rows(&world.reporting, "items", &["id"]).await;
            match stopped {
                true => drop(daemon.terminate().await),
                false => world.source_net.cut(),
            }
            wait::until("it to be gone", async || {
                let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
                           WHERE active";
                world.client.batch_execute(end).await.map_err(|error| format!("{error:?}"))?;
                world.client.batch_execute(lost).await.map_err(|error| format!("{error:?}"))
            })
            .await;
            write_unheard(&world).await;
            if let Some(sql) = made_again {
                world.execute(sql).await;
            }
            let there = "SELECT concat_ws(' ', (SELECT string_agg(concat_ws(' ', slot_name, confirmed_flush_lsn), ' ')
                         FROM pg_replication_slots), (SELECT string_agg(oid::text, ' ') FROM pg_publication))";
            let found = one(&world.client, there).await;
            match stopped {
                true => daemon.restart(),
                false => world.source_net.heal(),
            }
            assert!(!daemon.ended().await.success(), "{lost} {}", daemon.log());
            let log = daemon.log();
            assert!(log.contains("source.on_slot_loss is \"stop\""), "{log}");
            assert_eq!(one(&world.client, there).await, found, "nothing was touched");
            daemon.restart();
            assert!(!daemon.ended().await.success(), "it needs a decision");
            assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, before);
            daemon.set_config(&world.config(&world.projection("items", "items", &["id"])));
            daemon.restart();
            world.soon_same("items", "items", &["id"]).await;
            world.same(&mut daemon, "items", "items", &["id"]).await;
        }
    }
}
