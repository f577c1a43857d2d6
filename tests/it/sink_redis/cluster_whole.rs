//! The whole daemon with a cluster as its sink: tables and queries of every kind of target, events,
//! and what people ask by hand, while it and the nodes are killed.

use std::collections::BTreeSet;

use readside::lsn::Lsn;
use redis::AsyncCommands;

use super::Connection;
use super::cluster::{client_of, written};
use crate::harness::wait;
use crate::harness::{Daemon, Postgres, PostgresOptions, RedisCluster, RedisOptions, readside};

const SCHEMA: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, status text, total int NOT NULL);
    INSERT INTO orders SELECT i, i % 5, 'new', i FROM generate_series(1, 300) AS i";

const PROJECTIONS: &str = r#"
    [projection.orders]
    table = "orders"
    to.cache = [
      { hash = "order:{id}" },
      { json = "doc:{id}", columns = ["id", "status"], ttl = "1h" },
      { sorted_set = "customer:{customer}:orders", member = "{id}", score = "total" },
      { set = "status:{status}", member = "{id}" } ]
    [projection.customers]
    query = "SELECT customer, count(*) AS orders, sum(total) AS total FROM orders GROUP BY customer"
    to.cache = [ { json = "customer:{customer}" }, { set = "with:{orders}", member = "{customer}" } ]
    [event.changed]
    table = "orders"
    when = "old.total <> new.total"
    data = "new.id, new.customer, old.total AS before, new.total AS after"
    to.cache = [ { stream = "changes:{customer}" }, { list = "all-changes" } ]
"#;

struct Place {
    postgres: Postgres,
    database: String,
    client: tokio_postgres::Client,
    cluster: RedisCluster,
}

impl Place {
    async fn new() -> Place {
        let postgres = Postgres::start(&PostgresOptions::default()).await;
        let database = postgres.new_database().await;
        let client = postgres.client(&database).await;
        client.batch_execute(SCHEMA).await.unwrap();
        let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
        Place { database, client, postgres, cluster: RedisCluster::start(&options).await }
    }

    fn config(&self) -> String {
        format!(
            "[source]\nurl = {:?}\n[sink.cache.redis]\nurl = {:?}\n{PROJECTIONS}",
            self.postgres.url(&self.database),
            self.cluster.url()
        )
    }

    async fn text(&self, sql: &str) -> String {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn change(&self, rng: &mut fastrand::Rng) {
        let (id, customer, total) = (rng.u32(1..=300), rng.u32(0..5), rng.u32(0..1_000));
        let sql = match rng.u8(0..6) {
            0 => format!("UPDATE orders SET customer = {customer} WHERE id % 7 = {}", id % 7),
            1 => format!("DELETE FROM orders WHERE id = {id}"),
            2 => format!(
                "INSERT INTO orders VALUES ({id}, {customer}, NULL, {total})
                 ON CONFLICT (id) DO UPDATE SET status = 'again'"
            ),
            3 => format!("UPDATE orders SET status = 'paid', total = {total} WHERE id = {id}"),
            4 => format!("UPDATE orders SET total = total + 1 WHERE customer = {customer}"),
            _ => format!("UPDATE orders SET total = {total} WHERE id = {id}"),
        };
        self.client.batch_execute(&sql).await.unwrap();
    }

    /// At rest: `verify` finds nothing.
    async fn is_whole(&self, daemon: &mut Daemon) {
        let lsn = self.text("SELECT pg_current_wal_insert_lsn()::text").await;
        for projection in ["orders", "customers", "changed"] {
            daemon.wait_for(projection, "cache", &lsn).await;
        }
        for projection in ["orders", "customers"] {
            let output = daemon.command(&["verify", projection]).await;
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        }
        let members = self
            .text(
                "SELECT coalesce(string_agg(format('%s:%s', customer, id), ' ' ORDER BY customer, id), '') FROM orders",
            )
            .await;
        let mut found = BTreeSet::new();
        for customer in 0..5 {
            let key = format!("customer:{customer}:orders");
            let mut client = client_of(&self.cluster, &key).await;
            let ids: Vec<u32> = client.zrange(&key, 0, -1).await.unwrap();
            found.extend(ids.into_iter().map(|id| (customer, id)));
        }
        let found: Vec<_> = found.iter().map(|(c, id)| format!("{c}:{id}")).collect();
        assert_eq!(found.join(" "), members);
    }

    async fn until_it_dies(&self, daemon: &mut Daemon, rng: &mut fastrand::Rng, point: &str) {
        wait::until(&format!("death at {point}"), async || {
            self.change(rng).await;
            daemon.exited().map(drop).ok_or_else(|| daemon.log_of_this_start())
        })
        .await;
    }

    /// In the stream of its slot, and in the list of another one.
    async fn each_event_is_there_once(&self) {
        let mut listed = ids_of(&mut client_of(&self.cluster, "all-changes").await).await;
        let mut streamed = Vec::new();
        for customer in 0..5 {
            let key = format!("changes:{customer}");
            streamed.extend(stream(&mut client_of(&self.cluster, &key).await, &key).await);
        }
        assert!(listed.is_sorted_by_key(|id| in_order(id)), "{listed:?}");
        listed.sort();
        streamed.sort();
        assert_eq!(listed, streamed, "each event is in its stream and in the list");
        let distinct: BTreeSet<_> = listed.iter().collect();
        assert_eq!(distinct.len(), listed.len(), "an event came twice");
        assert!(!listed.is_empty());
    }
}

/// Of an event's id: its position and its number.
fn in_order(id: &str) -> (Lsn, u64) {
    let (lsn, ordinal) = id.rsplit_once('/').unwrap();
    (lsn.parse().unwrap(), ordinal.parse().unwrap())
}

async fn ids_of(client: &mut Connection) -> Vec<String> {
    let entries: Vec<String> = client.lrange("all-changes", 0, -1).await.unwrap();
    let id = |entry: String| {
        let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
        entry["id"].as_str().unwrap().to_owned()
    };
    entries.into_iter().map(id).collect()
}

async fn stream(client: &mut Connection, key: &str) -> Vec<String> {
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(client).await.unwrap();
    entries.into_iter().map(|(_, fields)| fields[1].clone()).collect()
}

#[tokio::test]
async fn kills_of_readside_and_of_nodes_lose_nothing() {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut place = Place::new().await;
    let mut daemon = Daemon::start(&place.config());
    daemon.wait_ready().await;
    for _ in 0..30 {
        place.change(&mut rng).await;
    }
    place.is_whole(&mut daemon).await;
    place.each_event_is_there_once().await;
    for point in ["recorded", "begun", "spread", "delivered", "watermark"] {
        daemon.kill9();
        daemon.restart_with(&[("READSIDE_FAILPOINT", &format!("{point}@cache:2"))]);
        place.until_it_dies(&mut daemon, &mut rng, point).await;
        daemon.restart();
        for _ in 0..10 {
            place.change(&mut rng).await;
        }
        place.is_whole(&mut daemon).await;
        place.each_event_is_there_once().await;
    }
    for _ in 0..4 {
        for _ in 0..20 {
            place.change(&mut rng).await;
        }
        place.cluster.restart_one().await;
        for _ in 0..20 {
            place.change(&mut rng).await;
        }
        place.cluster.whole().await;
        place.is_whole(&mut daemon).await;
        place.each_event_is_there_once().await;
    }
    // The state is lost, and the fill after it is cut short.
    daemon.kill9();
    daemon.lose_state();
    daemon.restart_with(&[("READSIDE_FAILPOINT", "swap@cache")]);
    place.until_it_dies(&mut daemon, &mut rng, "swap").await;
    daemon.restart();
    place.is_whole(&mut daemon).await;
}

#[tokio::test]
async fn letters_repairs_and_rebuilds_find_their_node() {
    let place = Place::new().await;
    for key in ["order:7", "customer:3"] {
        let mut client = client_of(&place.cluster, key).await;
        client.sadd::<_, _, ()>(key, "the application's").await.unwrap();
    }
    let mut daemon = Daemon::start(&place.config());
    daemon.wait_ready().await;
    let lsn = place.text("SELECT pg_current_wal_insert_lsn()::text").await;
    daemon.wait_for("orders", "cache", &lsn).await;
    daemon.wait_for("customers", "cache", &lsn).await;
    let output = daemon.command(&["dead-letters", "list"]).await;
    let letters = String::from_utf8(output.stdout).unwrap();
    assert_eq!(letters.matches("holds a set").count(), 2, "{letters}");
    let found = written(&place.cluster).await;
    assert!(!found.contains_key("doc:7") && found.contains_key("doc:8"), "it left whole");

    for key in ["order:7", "customer:3"] {
        client_of(&place.cluster, key).await.del::<_, ()>(key).await.unwrap();
    }
    let output = daemon.command(&["dead-letters", "retry", "--all"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait::until("the letters to be accepted", async || {
        let found = written(&place.cluster).await;
        if found.contains_key("doc:7") && found.contains_key("customer:3") {
            Ok(())
        } else {
            Err("they are missing")
        }
    })
    .await;

    // By hand, in different slots.
    let mut client = client_of(&place.cluster, "order:9").await;
    client.hset::<_, _, _, ()>("order:9", "status", "wrong").await.unwrap();
    client_of(&place.cluster, "order:10").await.del::<_, ()>("order:10").await.unwrap();
    let mut client = client_of(&place.cluster, "status:new").await;
    client.sadd::<_, _, ()>("status:new", "999").await.unwrap();
    let output = daemon.command(&["verify", "orders"]).await;
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    for place in ["order:9", "order:10", "status:new"] {
        assert!(told.contains(place), "{told}");
    }
    daemon.command(&["verify", "orders", "--repair"]).await;
    assert!(daemon.command(&["verify", "orders"]).await.status.success());

    let before = written(&place.cluster).await;
    let mut client = client_of(&place.cluster, "order:3000").await;
    for (field, text) in [("id", "3000"), ("customer", "1"), ("status", "new"), ("total", "1")] {
        client.hset::<_, _, _, ()>("order:3000", field, text).await.unwrap();
    }
    assert!(daemon.command(&["rebuild", "orders"]).await.status.success());
    wait::until("what no row has to leave", async || {
        let found = written(&place.cluster).await;
        if found == before { Ok(()) } else { Err("it is there") }
    })
    .await;

    let checked = readside(&["check"], Some(&daemon.config_file()));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
