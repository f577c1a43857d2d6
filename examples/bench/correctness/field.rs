//! All that follow the same source at the same time, each in its own stores.

use anyhow::{Context, Result};

use super::copies::{self, Consumer, Documents, QUERY};
use crate::catch_up::start;
use crate::contender::program::Program;
use crate::contender::{debezium, pgsync};
use crate::harness::search::PrivateSearch;
use crate::harness::{Daemon, Postgres, Redis, RedisOptions};
use crate::peers::Subscription;
use crate::shop::{self, TABLES};

pub(super) const FOLLOWERS: [&str; 7] = [
    "Readside, Postgres",
    "Readside, Redis",
    "Readside, OpenSearch",
    "native subscription",
    "Debezium Server, Redis streams",
    "PGSync, OpenSearch",
    "REFRESH MATERIALIZED VIEW",
];

pub(super) struct Field {
    pub(super) source: Postgres,
    target: Postgres,
    redis: Redis,
    /// PGSync's own.
    _queue: Redis,
    search: PrivateSearch,
    readside: Daemon,
    debezium: Program,
    pgsync: Program,
    consumer: Consumer,
}

const NOTE: &str = "ALTER TABLE orders ADD note text";

impl Field {
    /// They begin to load.
    pub(super) async fn start(
        source: Postgres,
        target: Postgres,
        search: PrivateSearch,
    ) -> Result<Field> {
        let kept = RedisOptions { appendonly: true, ..Default::default() };
        let (redis, queue) = tokio::join!(Redis::start(&kept), Redis::start(&kept));
        for database in ["projected", "subscribed"] {
            target.create_database(database).await;
        }
        source.create_database("consumed").await;
        let consumed = source.client("consumed").await;
        let subscribed = target.client("subscribed").await;
        for client in [&consumed, &subscribed] {
            client.batch_execute(shop::TARGET_TABLES).await?;
            client.batch_execute(NOTE).await?;
        }
        let admin = source.client("shop").await;
        let tables = TABLES.join(", ");
        admin
            .batch_execute(&format!(
                "CREATE PUBLICATION subscribed FOR TABLE {tables};
                 CREATE MATERIALIZED VIEW refreshed AS {QUERY}"
            ))
            .await?;
        let readside = start(&format!(
            "[source]\nurl = \"{}\"\n[sink.pg.postgres]\nurl = \"{}\"\n\
             [sink.redis.redis]\nurl = \"{}\"\n[sink.search.elasticsearch]\nurl = \"{}\"\n\
             [projection.documents]\nquery = \"\"\"{QUERY}\"\"\"\n\
             to.pg = {{ table = \"documents\" }}\nto.redis = {{ json = \"order:{{order_id}}\" }}\n\
             to.search = {{ index = \"documents\" }}\n",
            source.url("shop"),
            target.url("projected"),
            redis.url(),
            search.search.url(),
        ))
        .await;
        let name = "subscribed";
        Subscription::create(&source.url("shop"), subscribed, name, name, true).await?;
        let debezium = debezium::start(&source, ("postgres", "shop"), &redis)?;
        let columns = ["order_id", "customer_id", "status", "note"];
        let to = (search.search.url(), "nested");
        let pgsync = pgsync::start(&source, ("postgres", "shop"), to, &queue, &columns).await?;
        let consumer = Consumer::new(consumed);
        Ok(Field {
            source,
            target,
            redis,
            _queue: queue,
            search,
            readside,
            debezium,
            pgsync,
            consumer,
        })
    }

    /// What one of them shows now.
    pub(super) async fn copy(&mut self, at: usize) -> Result<Documents> {
        let mut redis = self.redis.client().await;
        match at {
            0 => copies::relation(&self.target.client("projected").await, "documents").await,
            1 => copies::strings(&mut redis).await,
            2 => copies::documents(self.search.search.documents("documents").await),
            3 => copies::tables(&self.target.client("subscribed").await).await,
            4 => self.consumer.documents(&mut redis).await,
            5 => copies::pgsync(self.search.search.documents("nested").await),
            _ => {
                let source = self.source.client("shop").await;
                source.batch_execute("REFRESH MATERIALIZED VIEW refreshed").await?;
                copies::relation(&source, "refreshed").await
            }
        }
    }

    pub(super) async fn kill_all(&mut self) -> Result<()> {
        self.readside.restart();
        self.debezium.restart();
        self.pgsync.restart();
        // The subscription's worker lives there.
        self.target.restart().await;
        Ok(())
    }

    pub(super) async fn sinks_go(&mut self) {
        self.target.stop_immediate().await;
        self.redis.stop().await;
        self.search.kill9();
    }

    pub(super) async fn sinks_come_back(&mut self) {
        tokio::join!(self.target.restart(), self.redis.restart(), self.search.restart());
    }

    /// As a service manager does. Gives those that had ended by themselves, by their place.
    pub(super) fn start_again(&mut self) -> Result<Vec<usize>> {
        let status = self.readside.exited();
        anyhow::ensure!(status.is_none(), "Readside ended:\n{}", self.readside.log());
        let mut ended = Vec::new();
        for (at, program) in [(4, &mut self.debezium), (5, &mut self.pgsync)] {
            if program.exited().is_some() {
                ended.push(at);
                program.restart();
            }
        }
        Ok(ended)
    }

    /// The answer of the query on the source.
    pub(super) async fn truth(&self) -> Result<Documents> {
        copies::tables(&self.source.client("shop").await).await.context("on the source")
    }
}
