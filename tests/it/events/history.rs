//! Histories: as of any moment they show what the source had then.

use crate::harness::{Daemon, wait};
use crate::world::{World, one, until_logged, until_metric};

const SHOP: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer int, total numeric, note text);
    INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 8) AS i;
    INSERT INTO orders SELECT i, i % 10, i, NULL FROM generate_series(1, 40) AS i;";

/// Name, key, and what it shows.
const MODELS: [(&str, &str, &str); 3] = [
    ("plain", "id", "SELECT id, customer, total, note FROM orders"),
    (
        "named",
        "id",
        "SELECT o.id, o.total, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer",
    ),
    (
        "totals",
        "customer",
        "SELECT customer, count(*) AS n, sum(total) AS total FROM orders GROUP BY customer",
    ),
];

fn config(world: &World) -> String {
    let model = |(name, key, query): &(&str, &str, &str)| {
        let from = match *name {
            "plain" => "table = \"orders\"".to_owned(),
            _ => format!("query = \"{query}\"\nkey = [\"{key}\"]"),
        };
        format!(
            "[projection.{}]\n{from}\n\
             to.reporting = {{ table = \"{name}\", history = \"{name}_history\" }}\n\
             to.cache = {{ json = \"{name}:{{{key}}}\" }}\n",
            world.name(name)
        )
    };
    world.config(&MODELS.iter().map(model).collect::<String>())
}

/// What the source shows at a moment, of each model.
struct Picture {
    at: String,
    models: Vec<String>,
}

async fn rows(client: &tokio_postgres::Client, query: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(q::text, ' ' ORDER BY q::text), '') FROM ({query}) AS q"
    );
    one(client, &sql).await
}

/// Nobody writes meanwhile.
async fn picture(world: &World) -> Picture {
    let mut models = Vec::new();
    for (_, _, query) in MODELS {
        models.push(rows(&world.client, query).await);
    }
    Picture { at: one(&world.client, "SELECT clock_timestamp()::text").await, models }
}

async fn change(world: &World, rng: &mut fastrand::Rng) {
    let id = rng.u8(1..60);
    let sql = match rng.u8(0..8) {
        0 => format!("INSERT INTO orders VALUES ({id}, {id} % 10, 1, 'new') ON CONFLICT (id) DO UPDATE SET total = 7"),
        1 => format!("DELETE FROM orders WHERE id = {id}"),
        2 => format!("BEGIN; DELETE FROM orders WHERE id = {id}; INSERT INTO orders VALUES ({id}, 3, 2, 'again'); COMMIT"),
        3 => format!("UPDATE customers SET name = name || '!' WHERE id = {id} % 8 + 1"),
        4 => format!("UPDATE orders SET id = id + 100 WHERE id = {id} AND NOT EXISTS (SELECT FROM orders WHERE id = {id} + 100)"),
        5 => "BEGIN; UPDATE orders SET total = total + 1; UPDATE orders SET total = total + 1 WHERE id < 9; COMMIT".into(),
        6 => format!("BEGIN; INSERT INTO orders VALUES (99, 1, 1); DELETE FROM orders WHERE id = 99; UPDATE orders SET note = '{id}' WHERE id = 5; COMMIT"),
        _ => format!("UPDATE orders SET customer = customer + 1, note = NULL WHERE id = {id}"),
    };
    world.execute(&sql).await;
}

async fn settled(world: &World, daemon: &mut Daemon) {
    let lsn = world.lsn().await;
    for (name, _, _) in MODELS {
        daemon.wait_for(&world.name(name), "reporting", &lsn).await;
    }
}

/// Every picture is what the history shows as of its moment; of each key the versions follow one another.
async fn same(world: &World, pictures: &[Picture]) {
    for (at, (name, key, query)) in MODELS.iter().enumerate() {
        let columns = query.split_once("SELECT ").unwrap().1.split_once(" FROM").unwrap().0;
        let columns: Vec<&str> = columns
            .split(", ")
            .map(|c| c.rsplit_once(" AS ").map_or(c, |(_, name)| name))
            .map(|c| c.rsplit_once('.').map_or(c, |(_, name)| name))
            .collect();
        let columns = columns.join(", ");
        for Picture { at: moment, models } in pictures {
            let as_of = format!(
                "SELECT {columns} FROM {name}_history WHERE valid_from <= '{moment}'
                 AND (valid_to > '{moment}' OR valid_to IS NULL)"
            );
            assert_eq!(rows(&world.reporting, &as_of).await, models[at], "{name} as of {moment}");
        }
        let broken = format!(
            "SELECT count(*)::text FROM (SELECT valid_from, lag(valid_to) OVER w AS before, row_number() OVER w AS n
             FROM {name}_history WINDOW w AS (PARTITION BY {key} ORDER BY lsn)) AS v
             WHERE n > 1 AND (before IS NULL OR before > valid_from)"
        );
        assert_eq!(one(&world.reporting, &broken).await, "0", "{name}");
        let open = format!("SELECT {columns} FROM {name}_history WHERE valid_to IS NULL");
        let now = format!("SELECT {columns} FROM {name}");
        assert_eq!(
            rows(&world.reporting, &open).await,
            rows(&world.reporting, &now).await,
            "{name}"
        );
    }
}

#[tokio::test]
async fn every_committed_version_is_there_whatever_is_killed() {
    let mut rng = fastrand::Rng::with_seed(3);
    let world = World::new(SHOP).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    settled(&world, &mut daemon).await;
    let mut pictures = vec![picture(&world).await];
    for round in 0..6 {
        if round % 2 == 1 {
            world.reporting_net.cut();
        }
        for _ in 0..rng.u8(3..25) {
            change(&world, &mut rng).await;
            pictures.push(picture(&world).await);
        }
        if round % 3 != 2 {
            daemon.kill9();
            change(&world, &mut rng).await;
            pictures.push(picture(&world).await);
            daemon.restart();
        }
        world.reporting_net.heal();
    }
    settled(&world, &mut daemon).await;
    same(&world, &pictures).await;
    // One row as of a moment is found by the primary key.
    let plan = "SET enable_seqscan = off; EXPLAIN SELECT * FROM plain_history WHERE id = 7
        AND valid_from <= now() AND (valid_to > now() OR valid_to IS NULL)";
    let plan = world.reporting.simple_query(plan).await.unwrap();
    assert!(format!("{plan:?}").contains("plain_history_pkey"), "{plan:?}");
    // Nothing was loaded again.
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM readside.gap").await, "0");
    let sql = "SELECT count(*)::text FROM named_history WHERE valid_to IS NOT NULL";
    assert!(one(&world.reporting, sql).await.parse::<u32>().unwrap() > 100);
}

/// The first one, of a process that has filled the sink itself.
#[tokio::test]
async fn an_outage_of_the_sink_costs_no_version() {
    let mut rng = fastrand::Rng::with_seed(5);
    let world = World::new(SHOP).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    settled(&world, &mut daemon).await;
    let mut pictures = vec![picture(&world).await];
    world.reporting_net.cut();
    // What is durable twice over has left memory.
    for _ in 0..2 {
        for _ in 0..12 {
            change(&world, &mut rng).await;
            pictures.push(picture(&world).await);
        }
        let end = one(&world.client, "SELECT (pg_current_wal_insert_lsn() - '0/0')::text").await;
        let end: f64 = end.parse().unwrap();
        until_metric(&daemon, "readside_durable_lsn", &[], |lsn| lsn >= end).await;
    }
    world.reporting_net.heal();
    settled(&world, &mut daemon).await;
    same(&world, &pictures).await;
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM readside.gap").await, "0");
}

#[tokio::test]
async fn a_kill_right_after_the_fill_costs_no_version_and_no_letter() {
    let world = World::new(SHOP).await;
    let noted = world.name("noted");
    let config = format!(
        "{}[projection.{noted}]\ntable = \"orders\"\nto.reporting = {{ table = \"noted\", \
         indexes = [\"(note)\"], history = \"noted_history\" }}\n",
        config(&world)
    );
    // Too long for an index's entry.
    let note = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i";
    world.execute(&format!("UPDATE orders SET note = ({note}) WHERE id = 5")).await;
    let place = [("READSIDE_FAILPOINT", "watermark@reporting")];
    let mut daemon = Daemon::start_with(&config, &place);
    daemon.ended().await;
    // It dies at each step that ends a fill.
    let settled_now = "SELECT count(*)::text FROM readside.watermark WHERE settled";
    while one(&world.reporting, settled_now).await != "4" {
        daemon.restart();
        daemon.ended().await;
    }
    let mut pictures = vec![picture(&world).await];
    for id in 1..5 {
        let sql = format!("UPDATE orders SET total = total + 1 WHERE id IN (1, {id})");
        world.execute(&sql).await;
        pictures.push(picture(&world).await);
    }
    daemon.restart_with(&[("READSIDE_FAILPOINT", "nowhere")]);
    settled(&world, &mut daemon).await;
    same(&world, &pictures).await;
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM readside.gap").await, "0");
    let labels = [("sink", "reporting"), ("projection", &*noted)];
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 1.0).await;
    world.execute("UPDATE orders SET note = 'short' WHERE id = 5").await;
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 0.0).await;
    let remembered = "SELECT count(*)::text FROM readside.refused";
    assert_eq!(one(&world.reporting, remembered).await, "0");
}

#[tokio::test]
async fn a_history_goes_on_after_a_gap() {
    let world = World::new(SHOP).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    settled(&world, &mut daemon).await;
    let mut pictures = vec![picture(&world).await];
    world.execute("UPDATE orders SET total = 1000 WHERE id = 1").await;
    pictures.push(picture(&world).await);
    settled(&world, &mut daemon).await;
    daemon.kill9();
    wait::until("the slot to be free", async || {
        let drop = "SELECT pg_drop_replication_slot('readside') IS NOT NULL";
        world.client.batch_execute(drop).await.map_err(|error| error.to_string())
    })
    .await;
    world
        .execute("UPDATE orders SET total = 2000 WHERE id = 1; DELETE FROM orders WHERE id = 2")
        .await;
    daemon.restart();
    until_logged(&daemon, "everything is loaded anew").await;
    daemon.wait_ready().await;
    settled(&world, &mut daemon).await;
    pictures.push(picture(&world).await);
    world.execute("UPDATE orders SET total = 3000 WHERE id = 1").await;
    settled(&world, &mut daemon).await;
    pictures.push(picture(&world).await);
    same(&world, &pictures).await;
    let sql = "SELECT string_agg(concat_ws(':', projection,
        after < until, after_lsn > '0/0', after_lsn < until_lsn), ' ' ORDER BY projection) FROM readside.gap";
    let told = one(&world.reporting, sql).await;
    let expected: Vec<String> = ["named", "plain", "totals"]
        .iter()
        .map(|name| format!("{}:t:t:t", world.name(name)))
        .collect();
    assert_eq!(told, expected.join(" "));
    let versions =
        "SELECT string_agg(total::text, ' ' ORDER BY lsn) FROM plain_history WHERE id = 1";
    assert_eq!(one(&world.reporting, versions).await, "1 1000 2000 3000");
    until_metric(&daemon, "readside_sink_up", &[("sink", "reporting")], |up| up == 1.0).await;
}
