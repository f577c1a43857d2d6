//! Read your writes: after `/v1/wait` has answered 200, the write is there, always.

use redis::AsyncCommands;

use crate::harness::{Daemon, wait};
use crate::world::{SINKS, World, one};

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v int);
    CREATE TABLE unpublished (id serial, v text);
    INSERT INTO items SELECT i, 0 FROM generate_series(1, 10) AS i;";

async fn start(world: &World) -> Daemon {
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    daemon.wait_ready().await;
    daemon
}

/// Writes `v` into the row, waits, and reads it in each sink.
async fn read_your_write(world: &World, daemon: &mut Daemon, id: i32, v: i32) {
    world.execute(&format!("UPDATE items SET v = {v} WHERE id = {id}")).await;
    let lsn = world.lsn().await;
    for sink in SINKS {
        daemon.wait_for(&world.name("items"), sink, &lsn).await;
        let found = match sink {
            "reporting" => {
                one(&world.reporting, &format!("SELECT v::text FROM items WHERE id = {id}")).await
            }
            "cache" => {
                let text: String =
                    world.redis.client().await.get(format!("items:{id}")).await.unwrap();
                serde_json::from_str::<serde_json::Value>(&text).unwrap()["v"].to_string()
            }
            _ => {
                let document = world.search.document(&world.name("items"), &id.to_string()).await;
                document.unwrap()["_source"]["v"].to_string()
            }
        };
        assert_eq!(found, v.to_string(), "row {id} in {sink} at {lsn}");
    }
}

#[tokio::test]
async fn a_write_that_was_waited_for_is_there() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let other = world.postgres.client(&world.source).await;
    for round in 0..150 {
        match round % 4 {
            // Another transaction, open, has written beyond.
            1 => other.batch_execute("BEGIN; INSERT INTO unpublished (v) VALUES ('open')").await.unwrap(),
            2 => other.batch_execute("ROLLBACK").await.unwrap(),
            3 => other.batch_execute("INSERT INTO unpublished (v) SELECT repeat('x', 500) FROM generate_series(1, 20)").await.unwrap(),
            _ => {}
        }
        read_your_write(&world, &mut daemon, round % 10 + 1, round).await;
    }
}

#[tokio::test]
async fn traffic_beside_it_does_not_disturb() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let other = world.postgres.client(&world.source).await;
    let busy = async {
        loop {
            let sql =
                "INSERT INTO unpublished (v) SELECT repeat('x', 200) FROM generate_series(1, 50)";
            other.batch_execute(sql).await.unwrap();
        }
    };
    let rounds = async {
        for round in 0..60 {
            read_your_write(&world, &mut daemon, round % 10 + 1, round).await;
        }
    };
    tokio::select! {
        () = busy => {}
        () = rounds => {}
    }
}

/// The end of the WAL at the very end of a page or a segment: the next record's header comes first.
#[tokio::test]
async fn page_boundaries_are_reached() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    for round in 0..8 {
        // Fills the rest of the page with one message, to within a record's alignment.
        world
            .execute(
                "DO $$ DECLARE rest int; BEGIN
                   FOR i IN 1..3 LOOP
                     rest := 8192 - (pg_current_wal_insert_lsn() - '0/0') % 8192;
                     IF rest > 120 THEN
                       PERFORM pg_logical_emit_message(false, '', repeat('x', (rest - 64 - i * 8)::int));
                     END IF;
                   END LOOP; END $$",
            )
            .await;
        if round % 4 == 3 {
            world.execute("SELECT pg_switch_wal()").await;
        }
        let lsn = world.lsn().await;
        for sink in SINKS {
            daemon.wait_for(&world.name("items"), sink, &lsn).await;
        }
        read_your_write(&world, &mut daemon, 1, round).await;
    }
    // What nothing will ever write at: a boundary plus a page header.
    let boundary = one(
        &world.client,
        "SELECT ('0/0'::pg_lsn + ceil((pg_current_wal_insert_lsn() - '0/0') / 8192) * 8192 + 24)::text",
    )
    .await;
    world
        .execute("SELECT pg_logical_emit_message(true, '', repeat('x', 9000)); SELECT pg_logical_emit_message(true, '', '')")
        .await;
    daemon.wait_for(&world.name("items"), "cache", &boundary).await;
}

#[tokio::test]
async fn answers_say_what_is_wrong() {
    let world = World::new(ITEMS).await;
    let daemon = start(&world).await;
    let name = world.name("items");
    let far = "FF/0";
    for (query, expected) in [
        (format!("projection={name}&sink=cache&lsn=0/1"), 200),
        (format!("projection={name}&lsn=0/1"), 200),
        (format!("projection={name}&sink=cache&lsn={far}&timeout=100ms"), 408),
        (format!("projection={name}&sink=cache&lsn={far}&timeout=0s"), 408),
        (format!("projection={name}&sink=nobody&lsn=0/1"), 404),
        ("projection=nothing&sink=cache&lsn=0/1".to_owned(), 404),
        (format!("projection={name}&sink=cache&lsn=0-1"), 400),
        (format!("projection={name}&sink=cache&lsn="), 400),
        (format!("projection={name}&sink=cache"), 400),
        ("sink=cache&lsn=0/1".to_owned(), 400),
        (format!("projection={name}&sink=cache&lsn=0/1&timeout=soon"), 400),
        (format!("projection={name}&sink=cache&lsn=0/1&timeot=1s"), 400),
        (format!("projection={name}&sink=search&lsn=0/1&search=true"), 200),
        (format!("projection={name}&sink=cache&lsn=0/1&search=true"), 400),
    ] {
        let (status, answer) = daemon.get(&format!("/v1/wait?{query}")).await;
        assert_eq!(status.as_u16(), expected, "{query}: {answer}");
    }
}

#[tokio::test]
async fn an_idle_source_lets_slot_and_watermarks_move_on() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world
        .execute(
            "INSERT INTO unpublished (v) SELECT repeat('x', 1000) FROM generate_series(1, 2000)",
        )
        .await;
    let lsn = world.lsn().await;
    let name = world.name("items");
    wait::until("the slot to move on", async || {
        let sql = format!("SELECT (confirmed_flush_lsn >= '{lsn}')::text FROM pg_replication_slots WHERE slot_name = 'readside'");
        let moved = one(&world.client, &sql).await;
        if moved == "true" { Ok(()) } else { Err(moved) }
    })
    .await;
    wait::until("every watermark to move on", async || {
        let sql = format!("SELECT ((lsn >= '{lsn}') AND settled)::text FROM readside.watermark WHERE projection = '{name}'");
        let reporting = one(&world.reporting, &sql).await;
        let cache: String = world.redis.client().await.hget(format!("readside:watermark:{name}"), "lsn").await.unwrap();
        let cache = one(&world.client, &format!("SELECT ('{cache}'::pg_lsn >= '{lsn}')::text")).await;
        let search = world.search.document("readside-watermark", &name).await.unwrap();
        let search = search["_source"]["lsn"].as_str().unwrap().to_owned();
        let search = one(&world.client, &format!("SELECT ('{search}'::pg_lsn >= '{lsn}')::text")).await;
        let all = [reporting, cache, search];
        if all.iter().all(|moved| moved == "true") { Ok(()) } else { Err(all.join(" ")) }
    })
    .await;
    // And the whole of it says that all is well.
    let metrics = daemon.metrics().await;
    for name in ["readside_sink_lag_bytes", "readside_sink_lag_seconds", "readside_dead_letters"] {
        assert!(
            metrics.series(name, &[]).iter().all(|(_, value)| *value < 1e6),
            "{}",
            metrics.text()
        );
    }
}

/// Who has waited sees it in metrics and status, too, at the first look.
#[tokio::test]
async fn what_was_waited_for_is_counted() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let name = world.name("items");
    for round in 1..=10 {
        world.execute(&format!("INSERT INTO items VALUES ({})", 100 + round)).await;
        let lsn = world.lsn().await;
        for sink in SINKS {
            daemon.wait_for(&name, sink, &lsn).await;
        }
        let metrics = daemon.metrics().await;
        let inserted = [("table", "public.items"), ("op", "insert")];
        let counted = metrics.get("readside_changes_total", &inserted);
        assert_eq!(counted, Some(f64::from(round)));
        let status = daemon.status().await;
        assert_eq!(status["projections"][0]["rows"], 10 + round, "{status}");
        assert_eq!(daemon.get("/readyz").await.1, "ready");
    }
}
