//! A row that is changed in the source and looked for in a store, again and again without a pause, from
//! the moment the commit is answered.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_postgres::{Client, Statement};

use crate::harness::{Postgres, wait};
use crate::steady::{Load, Mix};

/// Of customer 1 and of order 1; loads leave them alone.
pub(crate) const CUSTOMER: &str = "UPDATE customers SET full_name = $1 WHERE customer_id = 1";
pub(crate) const ORDER: &str = "UPDATE orders SET status = $1 WHERE order_id = 1";

/// One that takes longer is not waited for.
pub(crate) const LOST: Duration = Duration::from_secs(20);

/// Where the row is in one store.
pub(crate) enum Store {
    Postgres(Client, Statement),
    Redis(redis::aio::MultiplexedConnection, redis::Cmd),
    Search(reqwest::Client, String),
}

impl Store {
    pub(crate) async fn postgres(client: Client, row: &str) -> Result<Store> {
        let row = client.prepare(row).await?;
        Ok(Store::Postgres(client, row))
    }

    pub(crate) fn redis(connection: redis::aio::MultiplexedConnection, command: &str) -> Store {
        let mut row = redis::Cmd::new();
        row.arg(command.split(' ').collect::<Vec<_>>());
        Store::Redis(connection, row)
    }

    pub(crate) fn search(url: &str, document: &str) -> Store {
        Store::Search(crate::harness::http(), format!("{url}/{document}"))
    }

    pub(crate) async fn holds(&mut self, value: &str) -> Result<bool> {
        match self {
            Store::Postgres(client, row) => match client.query_opt(&*row, &[]).await? {
                Some(row) => Ok(row.try_get::<_, &str>(0)? == value),
                None => Ok(false),
            },
            Store::Redis(connection, row) => {
                let answer: redis::Value = row.query_async(connection).await?;
                Ok(format!("{answer:?}").contains(value))
            }
            Store::Search(http, url) => {
                Ok(http.get(&*url).send().await?.text().await?.contains(value))
            }
        }
    }
}

pub(crate) struct Probe {
    source: Client,
    update: Statement,
    store: Store,
}

/// How many probes, in which time at most.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) probes: usize,
    pub(crate) time: Duration,
}

/// What probes have met. In milliseconds; infinite where a probe was lost.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    pub(crate) fn of(mut times: Vec<f64>) -> Option<Latency> {
        times.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| times.get(times.len() * part / 100).copied();
        Some(Latency { p50: at(50)?, p99: at(99)? })
    }
}

impl Probe {
    pub(crate) async fn new(
        source: &Postgres,
        database: &str,
        update: &str,
        store: Store,
    ) -> Result<Probe> {
        let source = source.client(database).await;
        let update = source.prepare(update).await?;
        Ok(Probe { source, update, store })
    }

    /// Milliseconds; infinite when the row does not come.
    pub(crate) async fn once(&mut self, value: &str) -> Result<f64> {
        self.within(value, LOST).await
    }

    pub(crate) async fn within(&mut self, value: &str, bound: Duration) -> Result<f64> {
        self.source.execute(&self.update, &[&value]).await?;
        let answered = Instant::now();
        while !self.store.holds(value).await? {
            if answered.elapsed() > bound {
                return Ok(f64::INFINITY);
            }
        }
        Ok(answered.elapsed().as_secs_f64() * 1e3)
    }

    /// While the source takes so many transactions per second.
    pub(crate) async fn under_load(
        &mut self,
        (source, database): (&Postgres, &str),
        (rate, mix): (u32, Mix),
        patience: Patience,
    ) -> Result<Latency> {
        let mut load = Load::start(source, database, rate, mix).await;
        let mut times = Vec::with_capacity(patience.probes);
        let begun = Instant::now();
        while times.len() < patience.probes && begun.elapsed() < patience.time {
            // Not in step with anything.
            wait::delay(Duration::from_millis(fastrand::u64(5..25))).await;
            let time = self.once(&format!("probe {rate}/{}.", times.len())).await?;
            times.push(time);
            if time.is_infinite() {
                break;
            }
        }
        let achieved = load.stop().await?;
        println!("    ({achieved:.0} transactions per second, {} probes)", times.len());
        Ok(Latency::of(times).unwrap_or(Latency { p50: f64::INFINITY, p99: f64::INFINITY }))
    }
}
