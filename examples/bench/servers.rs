//! The source with the standard data, and the server of the Postgres sinks.

use std::time::Instant;

use anyhow::Result;
use tokio_postgres::Client;

use crate::harness::{Postgres, PostgresOptions};
use crate::shop::{self, Scale};

const SETTINGS: &[(&str, &str)] = &[
    ("shared_buffers", "512MB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
];

pub(crate) struct Servers {
    pub(crate) source: Postgres,
    pub(crate) target: Postgres,
    pub(crate) scale: Scale,
}

impl Servers {
    pub(crate) async fn start(scale: Scale) -> Result<Servers> {
        let options = PostgresOptions { settings: SETTINGS, fsync: true, ..Default::default() };
        let (source, target) = tokio::join!(Postgres::start(&options), Postgres::start(&options));
        let servers = Servers { source, target, scale };
        println!("Filling the source (scale {}) ...", scale.0);
        let begun = Instant::now();
        servers.new_shop("shop", scale).await?;
        println!("  took {:.1} s", begun.elapsed().as_secs_f64());
        Ok(servers)
    }

    /// A source database of its own.
    pub(crate) async fn new_shop(&self, name: &str, scale: Scale) -> Result<Client> {
        self.source.create_database(name).await;
        let client = self.source.client(name).await;
        shop::fill(&client, scale).await?;
        Ok(client)
    }

    /// A sink's database of its own.
    pub(crate) async fn new_target(&self, name: &str) -> Client {
        self.target.create_database(name).await;
        self.target.client(name).await
    }
}
