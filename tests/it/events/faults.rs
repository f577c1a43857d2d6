//! Kills, outages and lost slots: what is lost and what comes twice is nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ids, stream};
use crate::harness::{Daemon, wait};
use crate::world::{World, one, until_logged, until_metric};

const TICKS: &str = "CREATE TABLE ticks (id int PRIMARY KEY, n int NOT NULL);
    CREATE TABLE names (n int PRIMARY KEY, name text);
    INSERT INTO ticks SELECT i, 0 FROM generate_series(1, 50) AS i;
    INSERT INTO names SELECT i, 'n' || i FROM generate_series(0, 100000) AS i;";

/// Each update of a row is an event; those of `named` wait for their commit.
fn config(world: &World) -> String {
    let event = |name: &str, data: &str| {
        format!(
            "[event.{full}]\ntable = \"ticks\"\nwhen = \"old.n <> new.n\"\n\
             data = \"new.id, old.n AS before, new.n AS after{data}\"\n\
             to.cache = {{ stream = \"{name}\" }}\nto.search = {{ index = \"{full}\" }}\n\
             to.reporting = {{ table = \"{name}\" }}\n",
            full = world.name(name)
        )
    };
    let lookup = ", (SELECT name FROM names WHERE n = new.n)";
    world.config(&[event("ticked", ""), event("named", lookup)].concat())
}

/// One number after the other; some transactions are of many rows.
async fn tick(world: &World, rng: &mut fastrand::Rng) {
    let sql = match rng.u8(0..4) {
        0 => "UPDATE ticks SET n = n + 1".to_owned(),
        1 => "BEGIN; UPDATE ticks SET n = n + 1; UPDATE ticks SET n = n + 1 WHERE id < 9; COMMIT"
            .into(),
        _ => format!("UPDATE ticks SET n = n + 1 WHERE id = {}", rng.u8(1..=50)),
    };
    world.execute(&sql).await;
}

/// Every step of every row, once and in order, in all stores; the streams may repeat some.
async fn whole(world: &World, daemon: &mut Daemon) {
    let lsn = world.lsn().await;
    for name in ["ticked", "named"] {
        let full = world.name(name);
        for sink in ["reporting", "cache", "search"] {
            daemon.wait_for(&full, sink, &lsn).await;
        }
        let steps = format!(
            "SELECT coalesce(string_agg(id || ':' || before || '-' || after, ' ' ORDER BY id, lsn, ordinal), '') FROM {name}"
        );
        let expected =
            "SELECT coalesce(string_agg(id || ':' || i - 1 || '-' || i, ' ' ORDER BY id, i), '')
             FROM ticks, generate_series(1, n) AS i";
        assert_eq!(
            one(&world.reporting, &steps).await,
            one(&world.client, expected).await,
            "{name}"
        );
        let sql = format!("SELECT lsn::text || '/' || ordinal FROM {name} ORDER BY lsn, ordinal");
        let rows = world.reporting.query(&sql, &[]).await.unwrap();
        let all: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let mut seen = BTreeSet::new();
        let streamed = ids(&stream(world, name).await);
        let once: Vec<&String> = streamed.iter().filter(|id| seen.insert(id.as_str())).collect();
        assert_eq!(once, all.iter().collect::<Vec<_>>(), "{name}");
        let documents = world.search.documents(&full).await;
        let documents: BTreeSet<String> = documents.into_iter().map(|(id, _)| id).collect();
        assert_eq!(documents, all.into_iter().collect(), "{name}");
    }
}

#[tokio::test]
async fn kills_and_outages_lose_nothing_and_repeat_nothing_in_tables() {
    let mut rng = fastrand::Rng::with_seed(5);
    let world = World::new(TICKS).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    for round in 0..8 {
        let away = [&world.reporting_net, &world.cache_net, &world.search_net];
        if round % 2 == 1 {
            away[round % 3].cut();
        }
        for _ in 0..rng.u8(5..40) {
            tick(&world, &mut rng).await;
        }
        daemon.kill9();
        for _ in 0..rng.u8(0..10) {
            tick(&world, &mut rng).await;
        }
        daemon.restart();
        for _ in 0..rng.u8(0..10) {
            tick(&world, &mut rng).await;
        }
        away[round % 3].heal();
        if round % 3 == 2 {
            whole(&world, &mut daemon).await;
        }
    }
    whole(&world, &mut daemon).await;
}

#[tokio::test]
async fn what_one_sink_lacks_is_kept_in_the_state_and_goes_when_it_has_it() {
    let world = World::new(TICKS).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    world.reporting_net.cut();
    until_metric(&daemon, "readside_sink_up", &[("sink", "reporting")], |up| up == 0.0).await;
    // More than a page of the log, in one transaction and in several.
    world.execute("INSERT INTO ticks SELECT i, 0 FROM generate_series(51, 3000) AS i").await;
    for _ in 0..3 {
        world.execute("UPDATE ticks SET n = n + 1").await;
    }
    let lsn = world.lsn().await;
    daemon.wait_for(&world.name("ticked"), "search", &lsn).await;
    daemon.restart();
    daemon.wait_for(&world.name("ticked"), "search", &lsn).await;
    world.execute("UPDATE ticks SET n = n + 1 WHERE id < 5").await;
    world.reporting_net.heal();
    whole(&world, &mut daemon).await;
}

#[tokio::test]
async fn a_lost_slot_leaves_a_gap_that_is_told() {
    let world = World::new(TICKS).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    world.execute("UPDATE ticks SET n = 1 WHERE id = 1").await;
    let lsn = world.lsn().await;
    // What a sink lacks, and the state too, goes with the slot.
    for sink in ["reporting", "cache"] {
        daemon.wait_for(&world.name("ticked"), sink, &lsn).await;
    }
    daemon.kill9();
    let drop = "SELECT pg_drop_replication_slot('readside') IS NOT NULL";
    wait::until("the slot to be free", async || {
        world.client.batch_execute(drop).await.map_err(|error| error.to_string())
    })
    .await;
    world.execute("UPDATE ticks SET n = 2 WHERE id = 1").await;
    daemon.restart();
    until_logged(&daemon, "occurrences may be missing").await;
    daemon.wait_ready().await;
    world.execute("UPDATE ticks SET n = 3 WHERE id = 1").await;
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&world.name("ticked"), sink, &lsn).await;
    }
    let sql =
        "SELECT string_agg(concat_ws(':', CASE type WHEN 'readside.gap' THEN 'gap' ELSE 'tick' END,
        ordinal > 0, before, after), ' ' ORDER BY lsn, ordinal) FROM ticked";
    assert_eq!(one(&world.reporting, sql).await, "tick:t:0:1 gap:f tick:t:2:3");
    let types: Vec<String> = stream(&world, "ticked")
        .await
        .iter()
        .map(|entry| entry["type"].as_str().unwrap().to_owned())
        .collect();
    let ours = world.name("ticked");
    assert_eq!(types, [ours.as_str(), "readside.gap", ours.as_str()]);
}

/// Its table was rewritten and is loaded again, and the load has to wait: what is committed until it begins is in its
/// rows, and makes no occurrence.
#[tokio::test]
async fn a_gap_ends_where_the_load_begins() {
    let world = World::new(
        "CREATE TABLE ticks (id int PRIMARY KEY, n int NOT NULL);
         CREATE TABLE others (id int PRIMARY KEY);",
    )
    .await;
    let (event, others) = (world.name("ticked"), world.name("others"));
    let config = world.config(&format!(
        "[event.{event}]\ntable = 'ticks'\nwhen = 'old IS NULL'\ndata = 'new.id, new.n'\n\
         to.reporting = {{ table = 'ticked' }}\n\
         [projection.{others}]\ntable = 'others'\nto.reporting = {{ table = 'others' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.execute("INSERT INTO ticks VALUES (1, 1)").await;
    daemon.wait_for(&event, "reporting", &world.lsn().await).await;
    let open = world.postgres.client(&world.source).await;
    open.batch_execute("BEGIN; INSERT INTO others VALUES (1)").await.unwrap();
    world.execute("ALTER TABLE ticks ALTER n TYPE int USING n + 1").await;
    until_logged(&daemon, "creating the slot waits for").await;
    world.execute("INSERT INTO ticks VALUES (2, 2)").await;
    let missed = world.lsn().await;
    daemon.kill9();
    daemon.restart();
    open.batch_execute("COMMIT").await.unwrap();
    until_logged(&daemon, "occurrences may be missing").await;
    daemon.wait_ready().await;
    world.execute("INSERT INTO ticks VALUES (3, 3)").await;
    daemon.wait_for(&event, "reporting", &world.lsn().await).await;
    let sql = format!(
        "SELECT string_agg(concat_ws(':', CASE type WHEN 'readside.gap' THEN 'gap' END, id, n,
         lsn >= '{missed}'), ' ' ORDER BY lsn, ordinal) FROM ticked"
    );
    assert_eq!(one(&world.reporting, &sql).await, "1:1:f gap:t 3:3:t");
}

#[tokio::test]
async fn a_transaction_that_a_kill_cuts_is_told_whole_and_once() {
    let world = World::new(TICKS).await;
    world.execute("INSERT INTO ticks SELECT i, 0 FROM generate_series(51, 12000) AS i").await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    for round in 1..=2 {
        world.execute("UPDATE ticks SET n = n + 1").await;
        let labels = [("table", "public.ticks"), ("op", "update")];
        let some = f64::from(round) * 2000.0;
        until_metric(&daemon, "readside_changes_total", &labels, |count| count >= some).await;
        daemon.kill9();
        daemon.restart();
        daemon.wait_ready().await;
    }
    whole(&world, &mut daemon).await;
}

/// What was made before is not lost when somebody wants more of it, or less.
#[tokio::test]
async fn what_a_sink_lacks_outlives_a_change_of_the_data() {
    let world = World::new("CREATE TABLE t (id int PRIMARY KEY, v text, w int)").await;
    let name = world.name("made");
    let config = |data: &str| {
        world.config(&format!(
            "[event.{name}]\ntable = 't'\nwhen = 'old IS NULL'\ndata = '{data}'\n\
             to.reporting = {{ table = 'made' }}\nto.cache = {{ stream = 'made' }}\n"
        ))
    };
    let mut daemon = Daemon::start(&config("new.id, new.v"));
    daemon.wait_ready().await;
    world.cache_net.cut();
    until_metric(&daemon, "readside_sink_up", &[("sink", "cache")], |up| up == 0.0).await;
    for (id, data) in
        [(1, "new.id::text AS id, new.w, new.v"), (2, "new.w, new.id::bigint AS id"), (3, "")]
    {
        world.execute(&format!("INSERT INTO t VALUES ({id}, 'v{id}', {id}0)")).await;
        let lsn = world.lsn().await;
        daemon.wait_for(&name, "reporting", &lsn).await;
        if !data.is_empty() {
            // A column of another type takes another table.
            world.reporting.batch_execute("DROP TABLE made").await.unwrap();
            daemon.set_config(&config(data));
            daemon.restart();
        }
    }
    world.cache_net.heal();
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "cache", &lsn).await;
    let sent: Vec<Value> =
        stream(&world, "made").await.iter().map(|entry| entry["data"].clone()).collect();
    let as_now = |id: i64, w: Value| json!({ "id": id, "w": w });
    assert_eq!(sent, [as_now(1, Value::Null), as_now(2, json!(20)), as_now(3, json!(30))]);
    assert!(!daemon.log().contains("occurrences may be missing"), "{}", daemon.log());
}

/// They are of no table: what is loaded anew says nothing of them.
#[tokio::test]
async fn messages_outlive_a_reload_of_all_tables() {
    let world = World::new("CREATE TABLE items (id int PRIMARY KEY, n int)").await;
    let (event, items) = (world.name("said"), world.name("items"));
    let message = format!(
        "[event.{event}]\nmessage = 'said'\ndata = 'content'\nto.reporting = {{ table = 'said' }}\n"
    );
    let table =
        format!("[projection.{items}]\ntable = 'items'\nto.reporting = {{ table = 'items' }}\n");
    let say = async |what: &str| {
        let sql = format!("SELECT pg_logical_emit_message(true, 'said', '{what}')");
        world.execute(&sql).await;
    };
    let mut daemon = Daemon::start(&world.config(&message));
    daemon.wait_ready().await;
    say("first").await;
    daemon.wait_for(&event, "reporting", &world.lsn().await).await;
    // The first table of all, and one that is no more what it was.
    for (round, change) in ["", "ALTER TABLE items ALTER n TYPE int USING n + 1"].iter().enumerate()
    {
        daemon.terminate().await;
        daemon.set_config(&world.config(&format!("{message}{table}")));
        say(&format!("while stopped {round}")).await;
        world.execute(change).await;
        world.execute(&format!("INSERT INTO items VALUES ({round}, 1)")).await;
        say(&format!("then {round}")).await;
        daemon.restart();
        say(&format!("later {round}")).await;
        daemon.wait_for(&event, "reporting", &world.lsn().await).await;
        daemon.wait_for(&items, "reporting", &world.lsn().await).await;
    }
    let told = "SELECT string_agg(coalesce(content, type), ', ' ORDER BY lsn, ordinal) FROM said";
    assert_eq!(
        one(&world.reporting, told).await,
        "first, while stopped 0, then 0, later 0, while stopped 1, then 1, later 1"
    );
    let rows = "SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM items";
    assert_eq!(one(&world.reporting, rows).await, one(&world.client, rows).await);

    // Another publication cannot be read from before it was made: what was said there is missing, and that is told.
    daemon.terminate().await;
    say("unheard").await;
    world.execute("CREATE PUBLICATION another FOR TABLE items").await;
    let config = world.config_with("publication = 'another'", &format!("{message}{table}"));
    daemon.set_config(&config);
    daemon.restart();
    until_logged(&daemon, "occurrences may be missing").await;
    daemon.wait_ready().await;
    say("heard").await;
    daemon.wait_for(&event, "reporting", &world.lsn().await).await;
    assert!(one(&world.reporting, told).await.ends_with("later 1, readside.gap, heard"));
}
