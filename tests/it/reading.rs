//! Rows read from the state, and followed as they change: a read model without any store.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Daemon, PostgresOptions, http, wait};
use crate::world::{World, until_metric};

/// No sink at all.
fn config(world: &World, projections: &str) -> String {
    let sinks = world.config("");
    let source = sinks.split("[sink.").next().expect("a source");
    format!("{source}{projections}")
}

async fn row(daemon: &Daemon, path: &str) -> Value {
    let (status, text) = daemon.get(path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn a_row_is_read_by_its_key() {
    let world = World::new(
        "CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric(10, 2));
         CREATE TABLE items (order_id int, line int, name text, PRIMARY KEY (order_id, line));
         INSERT INTO orders VALUES (7, 'Ann', 12.50);
         INSERT INTO items VALUES (7, 1, 'pen'), (7, 2, 'ink')",
    )
    .await;
    let projections = "[projection.orders]\ntable = 'orders'\n\
         [projection.items]\ntable = 'items'\n\
         [projection.counts]\nquery = 'SELECT order_id, count(*) AS n FROM items GROUP BY order_id'\n\
         [projection.all]\nquery = 'SELECT count(*) AS n FROM items'\n";
    let mut daemon = Daemon::start(&config(&world, projections));
    daemon.wait_ready().await;
    let lsn = world.lsn().await;
    let (status, text) = daemon.get(&format!("/v1/wait?projection=orders&lsn={lsn}")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let seven = json!({ "id": 7, "customer": "Ann", "total": 12.50 });
    assert_eq!(row(&daemon, r#"/v1/read/orders?key=["7"]"#).await, seven);
    assert_eq!(row(&daemon, "/v1/read/orders?key=[7]").await, seven);
    let (_, text) = daemon.get("/v1/read/orders?key=[7]").await;
    assert!(text.contains("12.50"), "all digits: {text}");
    assert_eq!(row(&daemon, r#"/v1/read/items?key=[7,"2"]"#).await["name"], "ink");
    assert_eq!(row(&daemon, "/v1/read/counts?key=[7]").await["n"], 2);
    assert_eq!(row(&daemon, "/v1/read/all").await, json!({ "n": 2 }));

    // One's own writes, without a pause.
    for n in 0..20 {
        world.execute(&format!("UPDATE orders SET customer = 'Ann {n}' WHERE id = 7")).await;
        let lsn = world.lsn().await;
        let path = format!("/v1/read/orders?key=[7]&lsn={lsn}");
        assert_eq!(row(&daemon, &path).await["customer"], format!("Ann {n}"));
    }
    // A transaction under way is not seen, however far it has come.
    let mut other = world.postgres.client(&world.source).await;
    let open = other.transaction().await.unwrap();
    open.batch_execute(
        "UPDATE orders SET customer = 'Bob' WHERE id = 7;
         INSERT INTO items SELECT 8, i, repeat('x', 500) FROM generate_series(1, 20000) AS i",
    )
    .await
    .unwrap();
    assert_eq!(row(&daemon, "/v1/read/orders?key=[7]").await["customer"], "Ann 19");
    open.rollback().await.unwrap();

    for (path, status, words) in [
        ("/v1/read/orders?key=[8]", StatusCode::NOT_FOUND, "no row under this key"),
        ("/v1/read/nothing?key=[8]", StatusCode::NOT_FOUND, "no projection nothing"),
        ("/v1/read/orders", StatusCode::BAD_REQUEST, "key: missing"),
        ("/v1/read/orders?key=7", StatusCode::BAD_REQUEST, "not a JSON array"),
        ("/v1/read/orders?key=[%22x%22]", StatusCode::BAD_REQUEST, "key: id: "),
        ("/v1/read/items?key=[7]", StatusCode::BAD_REQUEST, "1 values where the key has 2"),
        ("/v1/read/orders?key=[7]&lsn=x", StatusCode::BAD_REQUEST, "lsn: "),
        ("/v1/read/orders?keys=[7]", StatusCode::BAD_REQUEST, "no such parameter"),
        (
            "/v1/read/orders?key=[7]&lsn=FFFFFF/0&timeout=20ms",
            StatusCode::REQUEST_TIMEOUT,
            "not reached in time",
        ),
    ] {
        let (found, text) = daemon.get(path).await;
        assert_eq!(found, status, "{path}: {text}");
        assert!(text.contains(words), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_key_is_a_value_however_it_is_written() {
    let world = World::new(
        "CREATE TABLE rates (rate numeric, region text, n int, PRIMARY KEY (rate, region));
         CREATE TABLE hours (at timestamptz PRIMARY KEY, open bool);
         CREATE TABLE flags (flag bool PRIMARY KEY);
         INSERT INTO rates VALUES (1.50, 'a', 1), (1.5, 'b', 2), (100, 'a', 3);
         INSERT INTO hours VALUES ('2026-03-01 12:00+02', true);
         INSERT INTO flags VALUES (true)",
    )
    .await;
    let projections = "[projection.rates]\ntable = 'rates'\n\
         [projection.hours]\ntable = 'hours'\n\
         [projection.flags]\ntable = 'flags'\n";
    let mut daemon = Daemon::start(&config(&world, projections));
    daemon.wait_ready().await;
    for (path, n) in [
        ("/v1/read/rates?key=[1.5,%22a%22]", 1),
        ("/v1/read/rates?key=[%2201.500%22,%22b%22]", 2),
        ("/v1/read/rates?key=[1e2,%22a%22]", 3),
    ] {
        assert_eq!(row(&daemon, path).await["n"], n, "{path}");
    }
    for at in ["2026-03-01%2010:00:00%2B00", "2026-03-01T10:00:00%2B00:00", "2026-03-01T10:00:00Z"]
    {
        let path = format!("/v1/read/hours?key=[%22{at}%22]");
        assert_eq!(row(&daemon, &path).await["open"], true, "{path}");
    }
    for flag in ["true", "%22true%22", "%22t%22"] {
        let path = format!("/v1/read/flags?key=[{flag}]");
        assert_eq!(row(&daemon, &path).await["flag"], true, "{path}");
    }
    // The newest way of writing counts, and what is gone is gone.
    world.execute("UPDATE rates SET rate = 1.5000 WHERE region = 'a' AND n = 1").await;
    world.execute("DELETE FROM rates WHERE region = 'b'").await;
    let lsn = world.lsn().await;
    let path = format!("/v1/read/rates?key=[1.50,%22a%22]&lsn={lsn}");
    let (_, text) = daemon.get(&path).await;
    assert!(text.contains("1.5000"), "{text}");
    let (status, text) = daemon.get("/v1/read/rates?key=[1.50,%22b%22]").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
}

/// A page that follows a projection.
struct Page {
    rows: BTreeMap<String, Value>,
    id: String,
    position: Option<String>,
}

/// Takes events until the page has all that was committed before `lsn`; then hangs up.
async fn follow(daemon: &Daemon, query: &str, page: &mut Page, lsn: &str) {
    // Whoever waits makes the source send its WAL.
    let (status, text) = daemon.get(&format!("/v1/wait?projection=orders&lsn={lsn}")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let mut request = http().get(format!("{}/v1/changes/orders{query}", daemon.url()));
    if !page.id.is_empty() {
        request = request.header("Last-Event-ID", &page.id);
    }
    let mut answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let wanted = number(lsn);
    let following = async {
        loop {
            let chunk = answer.chunk().await.unwrap().expect("more events");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                page.take(&event);
                if page.position.as_deref().is_some_and(|position| number(position) >= wanted) {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(wait::BOUND, following).await.expect("the position comes");
}

fn number(lsn: &str) -> u64 {
    let (high, low) = lsn.split_once('/').expect("an LSN");
    let half = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
    half(high) << 32 | half(low)
}

impl Page {
    fn new() -> Page {
        Page { rows: BTreeMap::new(), id: String::new(), position: None }
    }

    fn take(&mut self, event: &str) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let Some(name) = field("event: ") else { return };
        let data: Value = serde_json::from_str(field("data: ").expect("data")).expect("JSON");
        self.id = field("id: ").expect("an id").to_owned();
        match name {
            "upsert" => drop(self.rows.insert(data["key"].to_string(), data["row"].clone())),
            "reset" => self.rows.clear(),
            "delete" => drop(self.rows.remove(&data["key"].to_string())),
            "position" => {
                self.position = Some(data["lsn"].as_str().expect("an LSN").to_owned());
            }
            other => panic!("{other}: {data}"),
        }
    }

    async fn is_exact(&self, world: &World) {
        let rows = world
            .client
            .query("SELECT '[' || id || ']', to_jsonb(o)::text FROM orders AS o", &[])
            .await
            .unwrap();
        let row = |row: &tokio_postgres::Row| {
            (row.get::<_, String>(0), serde_json::from_str(row.get(1)).unwrap())
        };
        let expected: BTreeMap<String, Value> = rows.iter().map(row).collect();
        assert_eq!(self.rows, expected);
    }
}

#[tokio::test]
async fn a_page_follows_a_projection_over_every_interruption() {
    let world = World::new(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);
         INSERT INTO orders SELECT i, 'a\nb ' || i FROM generate_series(1, 1500) AS i",
    )
    .await;
    let mut daemon = Daemon::start(&config(&world, "[projection.orders]\ntable = 'orders'\n"));
    daemon.wait_ready().await;
    let mut page = Page::new();
    let lsn = world.lsn().await;
    follow(&daemon, "?since=0/0", &mut page, &lsn).await;
    page.is_exact(&world).await;
    // What happens while nobody listens, and across a restart.
    world
        .execute(
            "DELETE FROM orders WHERE id % 3 = 0; UPDATE orders SET note = 'new' WHERE id < 90",
        )
        .await;
    let lsn = world.lsn().await;
    follow(&daemon, "?since=0/0", &mut page, &lsn).await;
    page.is_exact(&world).await;
    world
        .execute("DELETE FROM orders WHERE id % 7 = 0; INSERT INTO orders VALUES (3, 'back')")
        .await;
    let lsn = world.lsn().await;
    let (status, text) = daemon.get(&format!("/v1/wait?projection=orders&lsn={lsn}")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    daemon.restart();
    daemon.wait_ready().await;
    // When it has stored something it forgets what nobody needs: not these deletions.
    world.execute("UPDATE orders SET note = 'newer' WHERE id = 1").await;
    let lsn = world.lsn().await;
    let (status, text) = daemon.get(&format!("/v1/wait?projection=orders&lsn={lsn}")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    let updated = number(&lsn) as f64;
    until_metric(&daemon, "readside_durable_lsn", &[], |durable| durable >= updated).await;
    let lsn = world.lsn().await;
    follow(&daemon, "", &mut page, &lsn).await;
    page.is_exact(&world).await;

    // From now on: nothing of before.
    let mut late = Page::new();
    let following = follow_later(&daemon, &world, &mut late);
    following.await;
    assert_eq!(late.rows.len(), 1, "{:?}", late.rows);

    // No longer the same rows, also for those who follow them.
    let mut followers = Vec::new();
    for _ in 0..3 {
        let url = format!("{}/v1/changes/orders?since={}", daemon.url(), page.id);
        followers.push(http().get(url).send().await.unwrap());
    }
    world.execute("ALTER TABLE orders ADD COLUMN more int").await;
    wait::until("the new column to be followed", async || {
        let (_, text) = daemon.get("/v1/read/orders?key=[1]").await;
        if text.contains("more") { Ok(()) } else { Err(text) }
    })
    .await;
    world.execute("UPDATE orders SET note = 'other' WHERE id = 1").await;
    for mut follower in followers {
        let mut text = String::new();
        while let Some(chunk) =
            tokio::time::timeout(wait::BOUND, follower.chunk()).await.unwrap().unwrap()
        {
            text += std::str::from_utf8(&chunk).unwrap();
        }
        assert!(text.contains("event: gone"), "{text}");
    }
    let (status, text) = daemon.get(&format!("/v1/changes/orders?since={}", page.id)).await;
    assert_eq!(status, StatusCode::GONE, "{text}");
    assert!(text.contains("since=0/0"), "{text}");
    for (path, status) in [
        ("/v1/changes/nothing", StatusCode::NOT_FOUND),
        ("/v1/changes/orders?since=x", StatusCode::BAD_REQUEST),
    ] {
        let (found, text) = daemon.get(path).await;
        assert_eq!(found, status, "{text}");
    }
}

/// A page that begins now, and a change after it has begun.
async fn follow_later(daemon: &Daemon, world: &World, page: &mut Page) {
    let mut answer =
        http().get(format!("{}/v1/changes/orders", daemon.url())).send().await.unwrap();
    let greeting = answer.chunk().await.unwrap().expect("a greeting");
    page.take(std::str::from_utf8(&greeting).unwrap());
    assert!(page.position.is_some() && page.rows.is_empty());
    world.execute("UPDATE orders SET note = 'late' WHERE id = 1").await;
    while page.rows.is_empty() {
        let chunk = tokio::time::timeout(wait::BOUND, answer.chunk()).await.expect("in time");
        for event in std::str::from_utf8(&chunk.unwrap().expect("more")).unwrap().split("\n\n") {
            page.take(event);
        }
    }
}

/// A browser takes every answer but a 200 for the end, and then asks no more: it is told that the rows are
/// away, and when to come again.
#[tokio::test]
async fn a_page_that_comes_during_the_load_is_told_to_come_again() {
    let world = World::new(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);
         CREATE TABLE pool (id int PRIMARY KEY)",
    )
    .await;
    // The load begins when it has ended.
    let other = world.postgres.client(&world.source).await;
    other.batch_execute("BEGIN; INSERT INTO pool VALUES (1)").await.unwrap();
    let mut daemon = Daemon::start(&config(&world, "[projection.orders]\ntable = 'orders'\n"));
    wait::until("the load to wait", async || {
        let (_, text) = daemon.try_get("/v1/status").await?;
        if text.contains("\"waiting_for\":\"") { Ok(()) } else { Err(text) }
    })
    .await;
    let asked = http().get(format!("{}/v1/changes/orders?since=0/0", daemon.url()));
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("retry: 2000\nevent: away\ndata: {"), "{text}");
    assert!(text.contains("being loaded") || text.contains("being built"), "{text}");
    // What has to wait for a position is told why there is none to come.
    let (status, text) = daemon.get("/v1/read/orders?key=[1]&lsn=FF/0&timeout=1ms").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    other.batch_execute("COMMIT").await.unwrap();
    daemon.wait_ready().await;
    let (status, text) = daemon.get("/v1/read/orders?key=x&lsn=FF/0&timeout=1ms").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    let (status, text) = daemon.get("/v1/read/orders?key=[1]&lsn=FF/0&timeout=1ms").await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{text}");
}

/// Whoever stands beyond what is known here makes the source be asked; not each of them.
#[tokio::test]
async fn many_who_stand_beyond_the_source_share_its_answer() {
    let options =
        PostgresOptions { settings: &[("log_connections", "on")], ..PostgresOptions::default() };
    let world = World::with(&options, "CREATE TABLE orders (id int PRIMARY KEY)").await;
    let mut daemon = Daemon::start(&config(&world, "[projection.orders]\ntable = 'orders'\n"));
    daemon.wait_ready().await;
    let connections = || world.postgres.log().matches("connection authorized").count();
    let before = connections();
    let url = format!("{}/v1/changes/orders?since=FF/0", daemon.url());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let asked = http().get(&url);
        asking.spawn(async move { asked.send().await.unwrap().status() });
    }
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::GONE);
    }
    let opened = connections() - before;
    assert!(opened < 30, "{opened} connections for 60 clients");
}
