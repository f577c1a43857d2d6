//! Two daemons of one group over one world, and readers of its sinks.

use std::cell::Cell;

use fastrand::Rng;
use redis::AsyncCommands;
use serde_json::Value;
use tokio_postgres::Client;

use crate::events::{ids, stream};
use crate::harness::{Daemon, Proxy, Search, wait};
use crate::world::{SINKS, World, one};

/// Row 0 counts the transactions.
const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items VALUES (0, '0');
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 500) AS i;";

pub(super) struct Pair {
    pub(super) world: World,
    pub(super) daemons: [Daemon; 2],
    /// Each one's way to the source.
    pub(super) nets: [Proxy; 2],
    pub(super) rng: Rng,
}

impl Pair {
    /// Both are ready.
    pub(super) async fn start() -> Pair {
        Pair::start_with("", |_| String::new()).await
    }

    /// With more tables and more of the configuration.
    pub(super) async fn start_with(sql: &str, more: impl Fn(&World) -> String) -> Pair {
        let world = World::new(&[ITEMS, sql].concat()).await;
        let port = world.postgres.port();
        let nets = [Proxy::start(port).await, Proxy::start(port).await];
        let config = |net: &Proxy, slot: &str| config(&world, net, slot) + &more(&world);
        let daemons = [config(&nets[0], "one"), config(&nets[1], "two")];
        let daemons = daemons.map(|config| Daemon::start(&config));
        let mut pair = Pair { world, daemons, nets, rng: Rng::with_seed(11) };
        for daemon in &mut pair.daemons {
            daemon.wait_ready().await;
        }
        pair
    }

    /// A daemon's configuration with more projections.
    pub(super) fn config(&self, at: usize, more: &str) -> String {
        config(&self.world, &self.nets[at], ["one", "two"][at]) + more
    }

    /// The leader, and the other one.
    pub(super) async fn roles(&mut self) -> (usize, usize) {
        let leader = wait::until("a leader", async || {
            for (at, daemon) in self.daemons.iter().enumerate() {
                if role(daemon).await?.0 == "leader" {
                    return Ok(at);
                }
            }
            Err("nobody leads".to_owned())
        })
        .await;
        (leader, 1 - leader)
    }

    /// Until the other one leads.
    pub(super) async fn until_replaced(&self, at: usize) {
        wait::until(&format!("daemon {} to lead", 1 - at), async || {
            let (role, term) = self.role(1 - at).await?;
            if role == "leader" { Ok(()) } else { Err(format!("{role} {term}")) }
        })
        .await;
    }

    pub(super) async fn role(&self, at: usize) -> Result<(String, u64), String> {
        role(&self.daemons[at]).await
    }

    pub(super) async fn until_leads(&self, at: usize, term: u64) {
        self.until_role(at, "leader", term).await;
    }

    pub(super) async fn until_stands_by(&self, at: usize, term: u64) {
        self.until_role(at, "standby", term).await;
    }

    async fn until_role(&self, at: usize, wanted: &str, term: u64) {
        wait::until(&format!("daemon {at} to be {wanted} in term {term}"), async || {
            let found = role(&self.daemons[at]).await?;
            if found == (wanted.to_owned(), term) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// Until the standby counts its positions as the leader does, whose sinks it can go on with then. It sees
    /// that when they move.
    pub(super) async fn until_shares_history(&mut self, standby: usize) {
        let sql = "SELECT min(history) FROM readside.watermark";
        let leaders = one(&self.world.reporting, sql).await;
        wait::until("the standby to share the leader's history", async || {
            self.world.execute(COUNT).await;
            let found = role(&self.daemons[standby]).await;
            let log = self.daemons[standby].log();
            let shares = log.contains(&format!("history=\"{leaders}\""));
            if shares && found.is_ok() { Ok(()) } else { Err(format!("{leaders}: {log}")) }
        })
        .await;
        self.daemons[standby].wait_ready().await;
    }

    /// Transactions that count, change, delete and insert.
    pub(super) async fn work(&mut self, transactions: usize) {
        for _ in 0..transactions {
            let id = self.rng.u32(1..600);
            let change = match self.rng.u8(0..4) {
                0 => format!("DELETE FROM items WHERE id = {id}"),
                1 => format!("UPDATE items SET v = v || '+' WHERE id % 50 = {id} % 50 AND id > 0"),
                _ => format!(
                    "INSERT INTO items VALUES ({id}, 'new') ON CONFLICT (id) DO UPDATE SET v = 'again'"
                ),
            };
            self.world.execute(&format!("BEGIN; {COUNT}; {change}; COMMIT")).await;
        }
    }

    /// All sinks are as the source, by what this daemon says.
    pub(super) async fn same(&mut self, at: usize) {
        let world = &self.world;
        world.same(&mut self.daemons[at], "items", "items", &["id"]).await;
        // Each count was told, once and in order where rows and watermark are written together.
        let lsn = world.lsn().await;
        for sink in SINKS {
            self.daemons[at].wait_for(&world.name("counted"), sink, &lsn).await;
        }
        let end: u64 =
            one(&world.client, "SELECT v FROM items WHERE id = 0").await.parse().unwrap();
        let sql = "SELECT coalesce(string_agg(n, ' ' ORDER BY lsn, ordinal), '') FROM counted";
        let all: Vec<String> = (1..=end).map(|n| n.to_string()).collect();
        assert_eq!(one(&world.reporting, sql).await, all.join(" "));
        let sql = "SELECT lsn::text || '/' || ordinal FROM counted ORDER BY lsn, ordinal";
        let rows = world.reporting.query(sql, &[]).await.unwrap();
        let told: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let mut streamed = ids(&stream(world, "counted").await);
        let mut seen = std::collections::HashSet::new();
        streamed.retain(|id| seen.insert(id.clone()));
        assert_eq!(streamed, told);
        let mut documents: Vec<String> =
            world.search.documents(&world.name("counted")).await.into_iter().map(|d| d.0).collect();
        let mut told = told;
        documents.sort();
        told.sort();
        assert_eq!(documents, told);
    }

    /// In each sink.
    pub(super) async fn generations(&self) -> Vec<Value> {
        self.of_watermarks("generation").await
    }

    pub(super) async fn terms(&self) -> Vec<Value> {
        self.of_watermarks("term").await
    }

    async fn of_watermarks(&self, field: &str) -> Vec<Value> {
        let (world, name) = (&self.world, self.world.name("items"));
        let sql =
            format!("SELECT {field}::text FROM readside.watermark WHERE projection = '{name}'");
        let reporting: Value = one(&world.reporting, &sql).await.parse::<u64>().unwrap().into();
        let mut redis = world.redis.client().await;
        let cache: u64 = redis.hget(format!("readside:watermark:{name}"), field).await.unwrap();
        let search = world.search.document("readside-watermark", &name).await.unwrap();
        vec![reporting, cache.into(), search["_source"][field].clone()]
    }

    /// Rows that the daemon has written since it began, as far as it knows.
    pub(super) async fn written(&self, at: usize) -> f64 {
        let metrics = self.daemons[at].metrics().await;
        metrics.get("readside_rows_written_total", &[]).unwrap_or(0.0)
    }
}

const COUNT: &str = "UPDATE items SET v = (v::bigint + 1)::text WHERE id = 0";

/// One transaction after the other, until the end.
pub(super) async fn count(client: &Client, ended: &Cell<bool>) {
    while !ended.get() {
        let sql =
            format!("BEGIN; {COUNT}; UPDATE items SET v = v || '.' WHERE id % 100 = 7; COMMIT");
        client.batch_execute(&sql).await.unwrap();
    }
}

fn config(world: &World, net: &Proxy, slot: &str) -> String {
    let counted = format!(
        "[event.{full}]\ntable = \"items\"\nwhen = \"new.id = 0 AND old.id = 0\"\n\
         data = \"new.v AS n\"\nto.cache = {{ stream = \"counted\" }}\n\
         to.reporting = {{ table = \"counted\" }}\nto.search = {{ index = \"{full}\" }}\n",
        full = world.name("counted")
    );
    let group = "[ha]\ngroup = \"shop\"\nlease = \"2s\"\n";
    let items = world.projection("items", "items", &["id"]);
    let slot = format!("slot = \"{slot}\"");
    let config = world.config_with(&slot, &[group, &items, &counted].concat());
    let way = |port: u16| format!("127.0.0.1:{port}/{}", world.source);
    config.replace(&way(world.source_net.port()), &way(net.port()))
}

/// Role and term.
async fn role(daemon: &Daemon) -> Result<(String, u64), String> {
    let (_, text) = daemon.try_get("/v1/status").await?;
    let status: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let ha = &status["ha"];
    let found = ha["role"].as_str().zip(ha["term"].as_u64());
    found.map(|(role, term)| (role.to_owned(), term)).ok_or(text)
}

/// Looks at the counter in each sink, on connections of its own.
pub(super) struct Readers {
    reporting: Client,
    cache: redis::aio::MultiplexedConnection,
    search: Search,
    index: String,
}

impl Readers {
    pub(super) async fn new(world: &World) -> Readers {
        Readers {
            reporting: world.reporting_client().await,
            cache: world.redis.client().await,
            search: world.search.again(),
            index: world.name("items"),
        }
    }

    /// Does the work, while no reader may see the counter go back.
    pub(super) async fn during<T>(mut self, work: impl Future<Output = T>) -> T {
        let read = async {
            let mut seen = [0; 3];
            loop {
                let found = self.counters().await;
                for ((sink, found), seen) in SINKS.into_iter().zip(found).zip(&mut seen) {
                    assert!(found >= *seen, "{sink} went back from {seen} to {found}");
                    *seen = found;
                }
            }
        };
        tokio::select! {
            done = work => done,
            never = read => never,
        }
    }

    async fn counters(&mut self) -> [u64; 3] {
        let sql = "SELECT v FROM items WHERE id = 0";
        let reporting = one(&self.reporting, sql).await.parse().unwrap();
        let cached: String = self.cache.get("items:0").await.unwrap();
        let cached: Value = serde_json::from_str(&cached).unwrap();
        let document = self.search.document(&self.index, "0").await.unwrap();
        let counter = |row: &Value| row["v"].as_str().unwrap().parse().unwrap();
        [reporting, counter(&cached), counter(&document["_source"])]
    }
}
