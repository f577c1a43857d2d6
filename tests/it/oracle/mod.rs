//! The differential oracle: random transactions on a schema with all that Postgres knows of changes,
//! while Readside and its sinks are killed at random. Then every sink must equal the source; and
//! while the writers go on, every settled watermark that a reader meets must be a state that the
//! source was in at that position.
//!
//! A failure tells its seed: `READSIDE_SEED=… cargo test --test it oracle` plays it again (the
//! transactions and faults are the same, their interleaving is the machine's). For a long run with
//! fresh seeds, the search server's kills included: `READSIDE_ORACLE_MINUTES=60`.

mod faults;
mod history;
mod picture;
mod reader;
mod schema;
mod workload;

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::{join, join_all};
use readside::lsn::Lsn;
use reqwest::StatusCode;

use self::faults::Targets;
use self::history::{History, present};
use self::picture::Sink;
use self::reader::{Observation, Store};
use self::schema::TABLES;
use self::workload::{Shared, write};
use crate::harness::search::PrivateSearch;
use crate::harness::{self, Daemon, Postgres, PostgresOptions, Redis, RedisOptions, unique, wait};

/// For all sinks to catch up, on a machine that does other things, too.
const CATCH_UP_BOUND: Duration = Duration::from_secs(240);
const WRITERS: usize = 4;

#[tokio::test]
async fn oracle_with_postgres_and_redis() {
    for seed in seeds(&[3]) {
        Trial::new(seed, None).await.run(3, Duration::from_secs(15)).await;
    }
}

#[tokio::test]
async fn oracle_with_all_sinks() {
    for seed in seeds(&[2]) {
        let search = SearchSink::start().await;
        Trial::new(seed, Some(search)).await.run(2, Duration::from_secs(12)).await;
    }
}

/// The seeds of every run; or the one that `READSIDE_SEED` names, again; or new ones for some time.
fn seeds(fixed: &'static [u64]) -> Box<dyn Iterator<Item = u64>> {
    if let Ok(seed) = std::env::var("READSIDE_SEED") {
        return Box::new(std::iter::once(seed.parse().expect("READSIDE_SEED is a number")));
    }
    let Some(minutes) = minutes() else { return Box::new(fixed.iter().copied()) };
    let deadline = Instant::now() + Duration::from_secs(60 * minutes);
    Box::new(std::iter::from_fn(move || (Instant::now() < deadline).then(|| fastrand::u64(..))))
}

fn minutes() -> Option<u64> {
    let minutes = std::env::var("READSIDE_ORACLE_MINUTES").ok()?;
    Some(minutes.parse().expect("READSIDE_ORACLE_MINUTES is a number"))
}

struct SearchSink {
    place: schema::Search,
    /// In long runs it is killed, so it is nobody else's.
    own: Option<PrivateSearch>,
}

impl SearchSink {
    async fn start() -> SearchSink {
        let prefix = unique("oracle");
        if minutes().is_none() {
            let url = harness::Search::shared().await.url().into();
            return SearchSink { place: schema::Search { url, prefix }, own: None };
        }
        let own = harness::Search::private().await;
        let url = own.search.url().into();
        SearchSink { place: schema::Search { url, prefix }, own: Some(own) }
    }
}

struct Trial {
    rng: Rng,
    source: Postgres,
    database: String,
    reporting: Postgres,
    cache: Redis,
    search: Option<SearchSink>,
    daemon: Option<Daemon>,
    history: History,
    /// Numbers of commits, and positions at or after their ends.
    answered: Vec<(i64, Lsn)>,
    /// Readings that could only be of one commit, all right.
    exact: usize,
}

impl Trial {
    async fn new(seed: u64, search: Option<SearchSink>) -> Trial {
        eprintln!("oracle: READSIDE_SEED={seed}");
        let settings = [("max_prepared_transactions", "10")];
        let options = PostgresOptions { settings: &settings, ..PostgresOptions::default() };
        let source = Postgres::start(&options).await;
        let database = source.new_database().await;
        let client = source.client(&database).await;
        client.batch_execute(&schema::ddl(&database)).await.unwrap();
        let sequence = "BEGIN; INSERT INTO sequence VALUES (1, 0); SELECT oracle.seal(); COMMIT";
        client.batch_execute(sequence).await.unwrap();
        let reporting = Postgres::start(&PostgresOptions::default()).await;
        reader::prepare_postgres(&reporting, "postgres").await;
        let cache =
            Redis::start(&RedisOptions { appendonly: true, ..RedisOptions::default() }).await;
        let mut sinks = vec![Sink::Reporting, Sink::Cache];
        sinks.extend(search.as_ref().map(|_| Sink::Search));
        Trial {
            rng: Rng::with_seed(seed),
            source,
            database,
            reporting,
            cache,
            search,
            daemon: None,
            history: History::new(sinks),
            answered: Vec::new(),
            exact: 0,
        }
    }

    async fn run(mut self, rounds: u32, time: Duration) {
        // What the first load finds.
        self.round(Duration::from_secs(1), false).await;
        for _ in 0..rounds {
            self.round(time, true).await;
            self.compare().await;
        }
        assert!(self.exact > 0, "no reader met anything");
    }

    /// Writers, readers and faults for a time; then what the readers met is judged.
    async fn round(&mut self, time: Duration, faults: bool) {
        let shared = Shared::new();
        let mut faulty = self.rng.fork();
        let writers = (0..WRITERS).map(|_| self.rng.fork()).collect::<Vec<_>>();
        let config = self.config();
        let reporting_url = self.reporting.url("postgres");
        let cache_url = self.cache.url();
        let reporting = Store::Reporting { postgres: &reporting_url, tables: TABLES };
        let cache = Store::Cache { url: &cache_url };
        let pause = Duration::from_millis(30);
        let url = self.source.url(&self.database);
        let writing = join_all(writers.into_iter().map(|rng| write(&url, rng, &shared)));
        let reading =
            join(reader::read(&reporting, &shared, pause), reader::read(&cache, &shared, pause));
        let mut targets = Targets {
            daemon: &mut self.daemon,
            config: &config,
            source: &mut self.source,
            reporting: &mut self.reporting,
            cache: &mut self.cache,
            search: self.search.as_mut().and_then(|search| search.own.as_mut()),
        };
        let deadline = Instant::now() + time;
        let faults = async {
            while Instant::now() < deadline {
                // Now and then a restart is not left the time to finish.
                let longest = if faulty.u32(0..4) == 0 { 300 } else { 4_000 };
                wait::delay(Duration::from_millis(faulty.u64(20..longest))).await;
                if faults {
                    targets.strike(&mut faulty).await;
                }
            }
            shared.stop.set(true);
        };
        let ((), (_, (reporting, cache))) = join(faults, join(writing, reading)).await;
        let mut readings = reporting.unwrap_or_else(|wrong| panic!("{wrong}"));
        readings.extend(cache.unwrap_or_else(|wrong| panic!("{wrong}")));
        eprintln!("oracle: {:?}", shared.counts.borrow());
        self.answered.append(&mut shared.answered.borrow_mut());
        self.judge(readings).await;
    }

    async fn judge(&mut self, readings: Vec<Observation>) {
        let client = self.source.client(&self.database).await;
        match self.history.check(&client, &self.answered, readings).await {
            Ok(checked) => {
                eprintln!("oracle: {checked}");
                self.exact += checked.exact;
            }
            Err(wrong) => panic!("{wrong}"),
        }
    }

    /// With the writers at rest: every sink is to equal what the source answers.
    async fn compare(&mut self) {
        let client = self.source.client(&self.database).await;
        let sql = "SELECT pg_current_wal_insert_lsn()::text";
        let lsn: String = client.query_one(sql, &[]).await.unwrap().get(0);
        let config = self.config();
        let daemon = self.daemon.get_or_insert_with(|| Daemon::start(&config));
        let (reporting, cache) = (self.reporting.url("postgres"), self.cache.url());
        let mut stores = vec![
            Store::Reporting { postgres: &reporting, tables: TABLES },
            Store::Cache { url: &cache },
        ];
        stores.extend(self.search.as_ref().map(|search| Store::Search(&search.place)));
        for store in stores {
            let sink = store.sink();
            for table in TABLES {
                reached(daemon, table.name, sink.name(), &lsn).await;
            }
            let reading = store.read().await.unwrap_or_else(|e| panic!("{}: {e}", sink.name()));
            for table in TABLES {
                let expected = present(&client, table, sink).await;
                let logged = self.history.picture(table, sink);
                assert!(
                    logged.same(&expected),
                    "the oracle's own log is wrong about {}:\n{}",
                    table.name,
                    logged.difference(&expected)
                );
                let found = reading.pictures.get(table.name).cloned().unwrap_or_default();
                assert!(
                    found.same(&expected),
                    "{} in {} is not what the source holds at {lsn}:\n{}",
                    table.name,
                    sink.name(),
                    found.difference(&expected)
                );
            }
        }
    }

    fn config(&self) -> String {
        schema::config(
            &self.source.url(&self.database),
            &self.reporting.url("postgres"),
            &self.cache.url(),
            self.search.as_ref().map(|search| &search.place),
        )
    }
}

/// Until `/v1/wait` says so.
async fn reached(daemon: &mut Daemon, projection: &str, sink: &str, lsn: &str) {
    let http = harness::http();
    let query = format!("projection={projection}&sink={sink}&lsn={lsn}&timeout=5s");
    let url = format!("{}/v1/wait?{query}", daemon.url());
    let what = format!("{projection} in {sink} at {lsn}");
    wait::until_within(&what, CATCH_UP_BOUND, async || {
        if let Some(status) = daemon.exited() {
            panic!("the daemon ended by itself ({status})");
        }
        let answer = http.get(&url).send().await.map_err(|e| format!("{e:?}"))?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            status => Err(format!("{status} {:?}", answer.text().await)),
        }
    })
    .await;
}
