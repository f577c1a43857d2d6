//! Those that are compared: Readside in three sinks, and beside each who does the same work. Each has the
//! same source and a store of its own, and connects to the source as a role of its own, so that its
//! queries can be counted.

pub(crate) mod debezium;
pub(crate) mod pgsync;
pub(crate) mod program;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio_postgres::Client;

use crate::catch_up::{TO_POSTGRES, TO_REDIS, config, settled, settled_one, start as begin};
use crate::harness::{Daemon, Postgres, Redis, RedisOptions, Search, wait};
use crate::latency::{HASH, ROW};
use crate::peers::Subscription;
use crate::probe::{CUSTOMER, ORDER, Probe, Store};
use crate::servers::Servers;
use crate::shop::{self, ORDER_SUMMARY, TABLES};
use program::Program;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The four tables into Postgres.
    Tables,
    Subscription,
    /// The four tables into Redis hashes.
    Hashes,
    Debezium,
    /// Orders with customer and items into a search server.
    Documents,
    PgSync,
    /// The same as a table in Postgres.
    Summary,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Tables => "Readside, tables to Postgres",
            Kind::Subscription => "native subscription",
            Kind::Hashes => "Readside, tables to Redis hashes",
            Kind::Debezium => "Debezium Server, to Redis streams",
            Kind::Documents => "Readside, documents to OpenSearch",
            Kind::PgSync => "PGSync, documents to OpenSearch",
            Kind::Summary => "Readside, the query to Postgres",
        }
    }

    /// Its role on the source, and the first half of its slot's name.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Kind::Tables => "tables",
            Kind::Subscription => "subscription",
            Kind::Hashes => "hashes",
            Kind::Debezium => "debezium",
            Kind::Documents => "documents",
            Kind::PgSync => "pgsync",
            Kind::Summary => "summary",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Kind::Tables | Kind::Hashes | Kind::Documents | Kind::Summary)
    }

    /// Row 1 of its store is this row of the source.
    pub(crate) fn probed(self) -> &'static str {
        match self {
            Kind::Documents | Kind::PgSync | Kind::Summary => ORDER,
            Kind::Tables | Kind::Subscription | Kind::Hashes | Kind::Debezium => CUSTOMER,
        }
    }
}

enum Running {
    Readside(Daemon),
    Program(Program),
    Subscription(Subscription),
}

pub(crate) struct Contender {
    pub(crate) kind: Kind,
    database: String,
    running: Running,
    redis: Option<Redis>,
}

impl Contender {
    /// It begins to load.
    pub(crate) async fn start(
        servers: &Servers,
        search: &Search,
        kind: Kind,
        database: &str,
    ) -> Result<Contender> {
        let source = &servers.source;
        let admin = source.client(database).await;
        let role = kind.role();
        let exists = admin.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role]).await?;
        if exists.is_none() {
            admin.batch_execute(&format!("CREATE ROLE {role} SUPERUSER LOGIN")).await?;
        }
        let slot = format!("{role}_{database}");
        let from = source.url_as(role, database);
        let into = servers.target.url(&slot);
        if matches!(kind, Kind::Tables | Kind::Summary | Kind::Subscription) {
            servers.new_target(&slot).await;
        }
        let redis = match kind {
            Kind::Hashes | Kind::Debezium | Kind::PgSync => {
                Some(Redis::start(&RedisOptions::default()).await)
            }
            _ => None,
        };
        let own = || redis.as_ref().context("it has a Redis");
        let running = match kind {
            Kind::Tables => Running::Readside(
                begin(&config(&slot, &from, "postgres", &into, TO_POSTGRES)).await,
            ),
            Kind::Hashes => {
                let url = own()?.url();
                Running::Readside(begin(&config(&slot, &from, "redis", &url, TO_REDIS)).await)
            }
            Kind::Documents => {
                let to = format!("{{ index = \"{slot}\" }}");
                let url = search.url();
                Running::Readside(begin(&summary(&slot, &from, "elasticsearch", url, &to)).await)
            }
            Kind::Summary => {
                let to = "{ table = \"order_summary\" }";
                Running::Readside(begin(&summary(&slot, &from, "postgres", &into, to)).await)
            }
            Kind::Subscription => {
                let target = servers.target.client(&slot).await;
                target.batch_execute(shop::TARGET_TABLES).await?;
                let publish = format!("CREATE PUBLICATION {slot} FOR TABLE {}", TABLES.join(", "));
                admin.batch_execute(&publish).await?;
                Running::Subscription(
                    Subscription::create(&from, target, &slot, &slot, true).await?,
                )
            }
            Kind::Debezium => Running::Program(debezium::start(source, (role, database), own()?)?),
            Kind::PgSync => {
                let columns = ["order_id", "customer_id", "status", "total_cents", "created_at"];
                let to = (search.url(), &*slot);
                let program = pgsync::start(source, (role, database), to, own()?, &columns).await?;
                Running::Program(program)
            }
        };
        Ok(Contender { kind, database: database.to_owned(), running, redis })
    }

    /// Its slot, its index, its database.
    pub(crate) fn name(&self) -> String {
        format!("{}_{}", self.kind.role(), self.database)
    }

    pub(crate) fn slot(&self) -> String {
        match self.kind {
            Kind::PgSync => format!("{}_{}", self.database, self.name()),
            _ => self.name(),
        }
    }

    /// Until its store has all `rows` (for documents, as many orders), and what was committed so far.
    pub(crate) async fn loaded(
        &mut self,
        servers: &Servers,
        search: &Search,
        rows: i64,
    ) -> Result<()> {
        let end = shop::position(&servers.source.client(&self.database).await).await?;
        let name = self.name();
        if let Running::Readside(daemon) = &mut self.running {
            return match self.kind {
                Kind::Tables | Kind::Hashes => settled(daemon, &end).await,
                _ => settled_one(daemon, &name, &end).await,
            };
        }
        while self.rows(servers, search).await? < rows {
            self.runs()?;
            wait::delay(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Of one that does not tell how far it is.
    async fn rows(&self, servers: &Servers, search: &Search) -> Result<i64> {
        let name = self.name();
        if self.kind == Kind::PgSync {
            return Ok(i64::try_from(search.count(&name).await.unwrap_or(0))?);
        }
        if let Some(redis) = &self.redis {
            let (mut client, mut rows) = (redis.client().await, 0);
            for table in TABLES {
                let mut length = redis::cmd("XLEN");
                length.arg(debezium::stream(table));
                rows += length.query_async::<i64>(&mut client).await?;
            }
            return Ok(rows);
        }
        let target = servers.target.client(&name).await;
        let tables = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'";
        let ready: i64 = target.query_one(tables, &[]).await?.try_get(0)?;
        Ok(if ready == 4 { i64::MAX } else { 0 })
    }

    /// An error when it has ended by itself.
    pub(crate) fn runs(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Readside(daemon) => {
                ensure!(daemon.exited().is_none(), "Readside ended:\n{}", daemon.log());
            }
            Running::Program(program) => {
                let what = self.kind.name();
                ensure!(program.exited().is_none(), "{what} ended:\n{}", program.log_tail());
            }
            Running::Subscription(_) => {}
        }
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Readside(daemon) => {
                daemon.terminate().await;
            }
            Running::Program(program) => program.terminate().await,
            Running::Subscription(subscription) => subscription.disable().await?,
        }
        Ok(())
    }

    pub(crate) async fn resume(&mut self) -> Result<()> {
        match &mut self.running {
            Running::Readside(daemon) => daemon.restart(),
            Running::Program(program) => program.restart(),
            Running::Subscription(subscription) => subscription.enable().await?,
        }
        Ok(())
    }

    /// Of the process that does the work.
    pub(crate) async fn pid(&self, target: &Postgres) -> Result<u32> {
        Ok(match &self.running {
            Running::Readside(daemon) => daemon.pid(),
            Running::Program(program) => program.pid(),
            Running::Subscription(_) => {
                let client = target.client("postgres").await;
                let sql =
                    "SELECT pid FROM pg_stat_subscription WHERE subname = $1 AND relid IS NULL";
                let row = client.query_one(sql, &[&self.name()]).await?;
                u32::try_from(row.try_get::<_, i32>(0)?)?
            }
        })
    }

    /// A change of row 1 of its store.
    pub(crate) async fn store(&self, servers: &Servers, search: &Search) -> Result<Store> {
        let name = self.name();
        Ok(match self.kind {
            Kind::Tables | Kind::Subscription => {
                Store::postgres(servers.target.client(&name).await, ROW).await?
            }
            Kind::Summary => {
                let row = "SELECT status FROM order_summary WHERE order_id = 1";
                Store::postgres(servers.target.client(&name).await, row).await?
            }
            Kind::Hashes | Kind::Debezium => {
                let client = self.redis.as_ref().context("it has a Redis")?.client().await;
                let newest = format!("XREVRANGE {} + - COUNT 1", debezium::stream("customers"));
                Store::redis(client, if self.kind.is_ours() { HASH } else { &newest })
            }
            Kind::Documents | Kind::PgSync => {
                Store::search(search.url(), &format!("{name}/_doc/1"))
            }
        })
    }

    pub(crate) async fn probe(&self, servers: &Servers, search: &Search) -> Result<Probe> {
        let store = self.store(servers, search).await?;
        Probe::new(&servers.source, &self.database, self.kind.probed(), store).await
    }

    /// It leaves nothing on the source.
    pub(crate) async fn remove(mut self, source: &Client) -> Result<()> {
        if let Running::Subscription(subscription) = self.running {
            subscription.drop().await?;
            return Ok(());
        }
        self.stop().await?;
        let slots = "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots
                     WHERE slot_name = $1";
        source.query(slots, &[&self.slot()]).await?;
        if self.kind == Kind::PgSync {
            source
                .batch_execute(
                    "DO $$ DECLARE t record; BEGIN
                       FOR t IN SELECT tgname, tgrelid::regclass AS of FROM pg_trigger
                                WHERE NOT tgisinternal LOOP
                         EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.of);
                       END LOOP;
                     END $$",
                )
                .await?;
        }
        Ok(())
    }
}

/// The projection has the slot's name: a search server knows one pipeline for each.
fn summary(slot: &str, source: &str, sink: &str, url: &str, to: &str) -> String {
    format!(
        "[source]\nurl = \"{source}\"\nslot = \"{slot}\"\n[sink.store.{sink}]\nurl = \"{url}\"\n\
         [projection.{slot}]\nquery = \"\"\"{ORDER_SUMMARY}\"\"\"\nto.store = {to}\n"
    )
}
