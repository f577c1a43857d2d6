//! The source goes on as another server: a standby that was promoted, a backup that was restored,
//! another system. Its positions then mean what they say, or nothing.

use futures_util::future::join;
use readside::pg::Params;
use readside::source::replication::ReplicationConnection;
use reqwest::StatusCode;

use crate::harness::{Daemon, Postgres, PostgresOptions, http, wait};
use crate::world::{World, one, until_logged};

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 2000) AS i;";

async fn start(world: &World) -> Daemon {
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    daemon.wait_ready().await;
    daemon
}

/// Rows come and go in all sinks, and are there.
async fn write(world: &World, daemon: &mut Daemon, round: i32) {
    world
        .execute(&format!(
            "UPDATE items SET v = 'round {round}' WHERE id % 7 = {round};
             DELETE FROM items WHERE id = 1000 + {round};
             INSERT INTO items VALUES (10000 + {round}, 'of round {round}')"
        ))
        .await;
    world.same(daemon, "items", "items", &["id"]).await;
}

/// Until all sinks are as the new source, whose readers find the rows of the old one meanwhile.
async fn followed(world: &World, daemon: &mut Daemon) {
    wait::until("the reload", async || {
        let count: i64 =
            world.reporting.query_one("SELECT count(*) FROM items", &[]).await.unwrap().get(0);
        assert!(count > 1900, "readers find {count} rows");
        let log = daemon.log_of_this_start();
        if log.contains("everything is loaded anew") { Ok(()) } else { Err(log) }
    })
    .await;
    world.soon_same("items", "items", &["id"]).await;
    write(world, daemon, 5).await;
    daemon.kill9();
    daemon.restart();
    write(world, daemon, 6).await;
}

async fn watermark(world: &World) -> i64 {
    let sql = "SELECT (lsn - '0/0')::bigint::text FROM readside.watermark";
    one(&world.reporting, sql).await.parse().unwrap()
}

/// The position of the source goes on without any transaction.
async fn push_position(world: &World) {
    world.execute("SELECT pg_logical_emit_message(false, 'none', repeat('x', 20000000))").await;
}

async fn promote(standby: &Postgres) {
    let client = standby.client("postgres").await;
    assert_eq!(one(&client, "SELECT pg_promote()::text").await, "true");
}

#[tokio::test]
async fn a_failover_that_loses_nothing() {
    let mut world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let standby = world.postgres.standby().await;
    write(&world, &mut daemon, 0).await;
    world.source_net.cut();
    let follower = standby.client("postgres").await;
    let end = one(&world.client, "SELECT pg_current_wal_lsn()::text").await;
    wait::until("the standby to have it all", async || {
        let sql = format!("SELECT (pg_last_wal_replay_lsn() >= '{end}')::text");
        let has = one(&follower, &sql).await;
        if has == "true" { Ok(()) } else { Err(has) }
    })
    .await;
    promote(&standby).await;
    world.move_source(&standby).await;
    // The slot has stayed behind.
    followed(&world, &mut daemon).await;
    let log = daemon.log();
    assert!(log.contains("nothing that was applied is lost"), "{log}");
    assert!(!log.contains("another past"), "{log}");
}

/// The standby keeps the slot in step with the primary's, which shows nobody what the standby does not have: so a
/// failover under load is a reconnect to another host.
#[tokio::test]
#[ignore = "of PostgreSQL 17 and later"]
async fn a_failover_that_takes_the_slot_along() {
    let mut world = World::new(ITEMS).await;
    let reporting = Postgres::start(&PostgresOptions::default()).await;
    reporting.create_database(&world.sink).await;
    world.move_reporting(&reporting).await;
    world.execute("SELECT pg_create_physical_replication_slot('standby', true)").await;
    let follows = [
        ("primary_slot_name", "standby"),
        ("hot_standby_feedback", "on"),
        ("sync_replication_slots", "on"),
    ];
    let standby = world.postgres.standby_with(&follows).await;
    let follower = standby.client("postgres").await;
    world.execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'").await;
    world.execute("SELECT pg_reload_conf()").await;
    let items = world.projection("items", "items", &["id"]);
    let way = format!("127.0.0.1:{}/{}", world.source_net.port(), world.source);
    let ports = (world.postgres.port(), standby.port());
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}/{}", ports.0, ports.1, world.source);
    let hosts = format!("{hosts}?target_session_attrs=read-write");
    let mut daemon = Daemon::start(&world.config(&items).replacen(&way, &hosts, 1));
    daemon.wait_ready().await;
    wait::until("the slot to be there, too", async || {
        // It is taken along once the standby has all that it needs.
        world.execute("UPDATE items SET v = v || '.' WHERE id = 1").await;
        world.execute("SELECT pg_log_standby_snapshot()").await;
        let sql = "SELECT string_agg(s::text, ' ') FROM pg_replication_slots AS s
                   WHERE slot_name = 'readside' AND failover AND synced AND NOT temporary";
        let row = follower.query_one(sql, &[]).await.map_err(|e| e.to_string())?;
        row.get::<_, Option<String>>(0).map(drop).ok_or_else(|| standby.log())
    })
    .await;
    let system = "SELECT system_identifier::text FROM pg_control_system()";
    assert_eq!(one(&world.client, system).await, one(&follower, system).await);
    for round in 0..3 {
        write(&world, &mut daemon, round).await;
    }

    let writer = world.postgres.client(&world.source).await;
    // It ends with its server.
    let load = async {
        for number in 0.. {
            let sql = format!(
                "UPDATE items SET v = 'under load {number}' WHERE id % 20 = {number} % 20;
                 INSERT INTO items VALUES (20000 + {number}, 'under load')"
            );
            if writer.batch_execute(&sql).await.is_err() {
                break;
            }
        }
    };
    let before = watermark(&world).await;
    let fails = async {
        wait::until("the load to be delivered", async || {
            let now = watermark(&world).await;
            if now > before + 100_000 { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        world.postgres.kill9();
        promote(&standby).await;
    };
    join(load, fails).await;
    world.move_source(&standby).await;
    write(&world, &mut daemon, 3).await;
    daemon.restart();
    write(&world, &mut daemon, 4).await;
    let log = daemon.log();
    assert!(!log.contains("everything is loaded anew"), "{log}");
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
}

#[tokio::test]
#[ignore = "of PostgreSQL 17 and later"]
async fn a_slot_that_stays_behind_is_told_once_and_can_be_altered() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", world.postgres.port(), world.source);
    let params = Params::parse(&url, None).unwrap();
    let alter = async |fails_over: bool| {
        let mut connection = ReplicationConnection::connect(&params, "a test").await.unwrap();
        let sql = format!("ALTER_REPLICATION_SLOT readside (FAILOVER {fails_over})");
        wait::until("the slot to be free", async || {
            connection.query(&sql).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    };
    let told = |daemon: &Daemon| daemon.log_of_this_start().matches("does not fail over").count();
    assert_eq!(told(&daemon), 0);
    daemon.kill9();
    alter(false).await;
    daemon.restart();
    daemon.wait_ready().await;
    // The pipeline begins anew.
    world.execute("ALTER TABLE items ADD COLUMN w int DEFAULT 7").await;
    world.soon_same("items", "items", &["id"]).await;
    daemon.wait_ready().await;
    assert_eq!(told(&daemon), 1, "{}", daemon.log());
    assert!(daemon.log().contains("ALTER_REPLICATION_SLOT readside (FAILOVER true)"));
    daemon.kill9();
    alter(true).await;
    daemon.restart();
    write(&world, &mut daemon, 1).await;
    assert_eq!(told(&daemon), 0);
}

#[tokio::test]
async fn a_failover_that_loses_the_last_changes() {
    let mut world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let standby = world.postgres.standby().await;
    let follower = standby.client("postgres").await;
    follower.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
    follower.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    wait::until("the standby to follow no more", async || {
        let count = one(&follower, "SELECT count(*)::text FROM pg_stat_wal_receiver").await;
        if count == "0" { Ok(()) } else { Err(count) }
    })
    .await;
    push_position(&world).await;
    write(&world, &mut daemon, 0).await;
    write(&world, &mut daemon, 1).await;
    let before = watermark(&world).await;
    world.source_net.cut();
    promote(&standby).await;
    world.move_source(&standby).await;
    until_logged(&daemon, "the last changes were lost in a failover").await;
    followed(&world, &mut daemon).await;
    assert!(watermark(&world).await < before, "the new source has not overtaken the old one");
}

#[tokio::test]
async fn a_source_that_was_restored_to_the_past() {
    for overtakes in [false, true] {
        let mut world = World::new(ITEMS).await;
        let mut daemon = start(&world).await;
        let restored = world.postgres.restored().await;
        if !overtakes {
            push_position(&world).await;
        }
        write(&world, &mut daemon, 0).await;
        write(&world, &mut daemon, 1).await;
        let changes = format!("{}/v1/changes/{}", daemon.url(), world.name("items"));
        let mut follower = http().get(&changes).send().await.unwrap();
        let begins = follower.chunk().await.unwrap().expect("where it begins");
        let begins = String::from_utf8(begins.to_vec()).unwrap();
        let id = begins.lines().find_map(|line| line.strip_prefix("id: ")).expect(&begins);
        world.move_source(&restored).await;
        if overtakes {
            // Only its transactions tell.
            push_position(&world).await;
        }
        until_logged(&daemon, "it was restored to the past").await;
        // What it holds never was; who comes back with it is told, if that can be known.
        let rest = tokio::time::timeout(wait::BOUND, follower.text()).await;
        let rest = rest.expect("the answer ends").unwrap();
        assert!(rest.contains("event: gone"), "{rest}");
        if !overtakes {
            let again = http().get(format!("{changes}?since={id}")).send().await.unwrap();
            assert_eq!(again.status(), StatusCode::GONE, "{}", again.text().await.unwrap());
        }
        followed(&world, &mut daemon).await;
    }
}

/// Occurrences have no place in another history: who looks on is told, and does not wait for what never comes.
#[tokio::test]
async fn who_looks_on_at_events_is_told_of_another_history() {
    let mut world = World::new(ITEMS).await;
    let items = world.projection("items", "items", &["id"]);
    let event = format!(
        "[event.{}]\ntable = 'items'\nwhen = 'old IS NULL'\ndata = 'new.id'\n\
         to.reporting = {{ table = 'made' }}\n",
        world.name("made")
    );
    let mut daemon = Daemon::start(&world.config(&format!("{items}{event}")));
    daemon.wait_ready().await;
    let restored = world.postgres.restored().await;
    push_position(&world).await;
    write(&world, &mut daemon, 0).await;
    let events = format!("{}/v1/events", daemon.url());
    let mut follower = http().get(&events).send().await.unwrap();
    let begins = follower.chunk().await.unwrap().expect("where it begins");
    let begins = String::from_utf8(begins.to_vec()).unwrap();
    let id = begins.lines().find_map(|line| line.strip_prefix("id: ")).expect(&begins).to_owned();
    world.move_source(&restored).await;
    until_logged(&daemon, "it was restored to the past").await;
    let rest = tokio::time::timeout(wait::BOUND, follower.text()).await;
    let rest = rest.expect("the answer ends").unwrap();
    assert!(rest.contains("event: gone"), "{rest}");
    let again = http().get(format!("{events}?since={id}")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::GONE, "{}", again.text().await.unwrap());
    let tail = daemon.command(&["events", "tail", "--since", &id]).await;
    assert_eq!(tail.status.code(), Some(1), "{tail:?}");
    // Its log begins anew, and keeps nobody from going on.
    followed(&world, &mut daemon).await;
    let lsn = world.lsn().await;
    daemon.wait_for(&world.name("made"), "reporting", &lsn).await;
}

#[tokio::test]
async fn another_system_is_refused_until_it_is_accepted() {
    let mut world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    push_position(&world).await;
    write(&world, &mut daemon, 0).await;
    let rows = world.rows(&world.reporting, "items", &["id"]).await;

    let options = PostgresOptions { own_system: true, ..PostgresOptions::default() };
    let other = Postgres::start(&options).await;
    other.create_database(&world.source).await;
    world.move_source(&other).await;
    world.execute(ITEMS).await;
    world.execute("DELETE FROM items WHERE id > 1950").await;
    let status = daemon.ended().await;
    assert!(!status.success());
    let system =
        one(&world.client, "SELECT system_identifier::text FROM pg_control_system()").await;
    let log = daemon.log();
    assert!(log.contains(&format!("source.accept_system = \"{system}\"")), "{log}");
    assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, rows, "nothing was touched");

    let accept = format!("accept_system = \"{system}\"");
    let items = world.projection("items", "items", &["id"]);
    daemon.set_config(&world.config_with(&accept, &items));
    daemon.restart();
    followed(&world, &mut daemon).await;
    let owner = one(&world.reporting, "SELECT owner FROM readside.watermark").await;
    assert_eq!(owner, format!("{system}/readside"));
    // What it has taken over is its own now.
    daemon.terminate().await;
    daemon.set_config(&world.config(&items));
    daemon.restart();
    write(&world, &mut daemon, 2).await;
}

/// With the state go position and timeline; the sinks still hold the rows of what never was.
#[tokio::test]
async fn a_state_that_is_lost_together_with_the_last_changes() {
    let mut world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    let restored = world.postgres.restored().await;
    push_position(&world).await;
    write(&world, &mut daemon, 0).await;
    let before = watermark(&world).await;
    daemon.kill9();
    daemon.lose_state();
    world.move_source(&restored).await;
    daemon.restart();
    world.soon_same("items", "items", &["id"]).await;
    write(&world, &mut daemon, 1).await;
    assert!(watermark(&world).await < before);
}

/// Such a commit is in the WAL, and read from there, while the server itself does not count it as ended.
#[tokio::test]
async fn a_commit_that_waits_for_a_standby_is_no_return_to_the_past() {
    let settings = &[("synchronous_standby_names", "nobody"), ("synchronous_commit", "local")];
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let mut world = World::with(&options, ITEMS).await;
    // Commits of the sink's server wait for nobody.
    let reporting = Postgres::start(&PostgresOptions::default()).await;
    reporting.create_database(&world.sink).await;
    world.move_reporting(&reporting).await;
    let mut daemon = start(&world).await;
    let stuck = world.postgres.client(&world.source).await;
    let pid = one(&stuck, "SELECT pg_backend_pid()::text").await;
    let committed = async move {
        // The subtransaction is a transaction with a number of its own.
        let sql = "SET synchronous_commit = on; BEGIN; UPDATE items SET v = 'stuck' WHERE id < 50;
                   SAVEPOINT s; DELETE FROM items WHERE id = 60; COMMIT";
        stuck.batch_execute(sql).await.unwrap();
    };
    crate::harness::beside(committed);
    wait::until("the commit to wait", async || {
        let sql = format!(
            "SELECT coalesce(wait_event, 'nothing') FROM pg_stat_activity WHERE pid = {pid}"
        );
        let event = one(&world.client, &sql).await;
        if event == "SyncRep" { Ok(()) } else { Err(event) }
    })
    .await;
    wait::until("the commit to be applied", async || {
        let rows = world.cached("items").await;
        let v = rows["1"]["v"].clone();
        if v == "stuck" { Ok(()) } else { Err(v) }
    })
    .await;
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
    world.execute(end).await;
    wait::until("the stream to begin again", async || {
        let log = daemon.log();
        if log.matches(" streaming ").count() > 1 { Ok(()) } else { Err(log) }
    })
    .await;
    daemon.kill9();
    daemon.restart();
    until_logged(&daemon, " streaming ").await;
    let log = daemon.log();
    assert!(!log.contains("restored to the past"), "{log}");
    assert!(!log.contains("everything is loaded anew"), "{log}");
    world.execute("ALTER SYSTEM SET synchronous_standby_names = ''").await;
    world.execute("SELECT pg_reload_conf()").await;
    write(&world, &mut daemon, 1).await;
    assert_eq!(daemon.log().matches("a load begins").count(), 1, "{}", daemon.log());
}
