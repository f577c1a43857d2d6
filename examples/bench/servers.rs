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

/// Of servers that run for long: what happens now and then happens often.
const TENDED: &[(&str, &str)] = &[
    ("shared_buffers", "512MB"),
    ("max_wal_size", "1GB"),
    ("checkpoint_timeout", "5min"),
    ("autovacuum_naptime", "10s"),
];

impl Servers {
    pub(crate) async fn start(scale: Scale) -> Result<Servers> {
        Servers::with(SETTINGS, scale).await.filled().await
    }

    /// The same, and the source counts statements by role.
    pub(crate) async fn counting(scale: Scale) -> Result<Servers> {
        let mut settings = SETTINGS.to_vec();
        settings.push(("shared_preload_libraries", "pg_stat_statements"));
        let servers = Servers::with(&settings, scale).await.filled().await?;
        let admin = servers.source.client("postgres").await;
        admin.batch_execute("CREATE EXTENSION pg_stat_statements").await?;
        Ok(servers)
    }

    async fn filled(self) -> Result<Servers> {
        let scale = self.scale;
        println!("Filling the source (scale {}) ...", scale.0);
        let begun = Instant::now();
        self.new_shop("shop", scale).await?;
        println!("  took {:.1} s", begun.elapsed().as_secs_f64());
        Ok(self)
    }

    /// Without data, with vacuums and checkpoints as users' have them.
    pub(crate) async fn tended() -> Servers {
        Servers::with(TENDED, Scale(0.0)).await
    }

    async fn with(settings: &[(&str, &str)], scale: Scale) -> Servers {
        let options = PostgresOptions { settings, fsync: true, ..Default::default() };
        let (source, target) = tokio::join!(Postgres::start(&options), Postgres::start(&options));
        Servers { source, target, scale }
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
