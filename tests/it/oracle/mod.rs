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
mod matrix;
mod occurrence;
mod picture;
mod reader;
mod schema;
mod told;
mod versions;
mod workload;

use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::{join, join_all, join3};
use readside::lsn::Lsn;
use reqwest::StatusCode;
use tokio_postgres::Client;

use self::faults::{Losses, Targets};
use self::history::{History, present};
use self::occurrence::EVENTS;
use self::picture::Sink;
use self::reader::{Observation, Store};
use self::schema::TABLES;
use self::told::{Logs, Stores};
use self::workload::{Shared, write};
use crate::harness::search::PrivateSearch;
use crate::harness::{
    self, Cache, Daemon, Postgres, PostgresOptions, Proxy, RedisOptions, unique, wait,
};

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

/// Each connection is cut, falls silent, is slow or throttled at a byte of its own.
#[tokio::test]
async fn oracle_over_a_fickle_network() {
    for seed in seeds(&[4]) {
        let search = SearchSink::start().await;
        let mut trial = Trial::new(seed, Some(search)).await.over_networks().await;
        trial.fill().await;
        for _ in 0..2 {
            let networks = trial.networks.clone().expect("it has some");
            let mut rng = trial.rng.fork();
            let fickle = async |targets: &mut Targets<'_>| {
                targets.daemon();
                networks.fickle(&mut rng);
                wait::delay(Duration::from_secs(10)).await;
                networks.heal();
            };
            trial.round(fickle).await;
            trial.compare().await;
        }
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
    /// In long runs it is killed.
    own: Option<PrivateSearch>,
    /// In others it is left alone.
    spared: Option<PrivateSearch>,
}

impl SearchSink {
    async fn start() -> SearchSink {
        let mut sink = SearchSink::own().await;
        if minutes().is_none() {
            sink.spared = sink.own.take();
        }
        sink
    }

    /// A server of this trial alone: a watermark there is named by its projection, and those are the same in each trial.
    async fn own() -> SearchSink {
        let prefix = unique("oracle");
        let own = harness::Search::private().await;
        let url = own.search.url().into();
        SearchSink { place: schema::Search { url, prefix }, own: Some(own), spared: None }
    }
}

/// Proxies on the daemon's way to each server; readers and writers go past them.
struct Networks {
    source: Proxy,
    reporting: Proxy,
    cache: Proxy,
    search: Proxy,
    /// Of the servers and of their proxies.
    ports: Vec<(u16, u16)>,
}

impl Networks {
    fn all(&self) -> [&Proxy; 4] {
        [&self.source, &self.reporting, &self.cache, &self.search]
    }

    fn fickle(&self, rng: &mut Rng) {
        self.all().iter().for_each(|proxy| proxy.fickle(rng.u64(..)));
    }

    fn heal(&self) {
        self.all().iter().for_each(|proxy| proxy.heal());
    }
}

struct Trial {
    rng: Rng,
    source: Postgres,
    database: String,
    reporting: Postgres,
    cache: Cache,
    search: Option<SearchSink>,
    daemon: Option<Daemon>,
    networks: Option<Rc<Networks>>,
    /// Rows of a step in Postgres and Redis, where it is not the default.
    step_rows: Option<u32>,
    history: History,
    logs: Logs,
    losses: Losses,
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
            Cache::start(&RedisOptions { appendonly: true, ..RedisOptions::default() }).await;
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
            networks: None,
            step_rows: None,
            history: History::new(sinks),
            logs: Logs::default(),
            losses: Losses::default(),
            answered: Vec::new(),
            exact: 0,
        }
    }

    async fn over_networks(mut self) -> Trial {
        let search = self.search.as_ref().expect("there is a search server");
        let search_port = search.place.url.rsplit(':').next().and_then(|port| port.parse().ok());
        let search_port: u16 = search_port.expect("its url ends with the port");
        let source = Proxy::start(self.source.port()).await;
        let reporting = Proxy::start(self.reporting.port()).await;
        let cache = Proxy::start(self.cache.port()).await;
        let search = Proxy::start(search_port).await;
        let ports = vec![
            (self.source.port(), source.port()),
            (self.reporting.port(), reporting.port()),
            (self.cache.port(), cache.port()),
            (search_port, search.port()),
        ];
        self.networks = Some(Rc::new(Networks { source, reporting, cache, search, ports }));
        self
    }

    /// So that there are backlogs.
    fn with_small_steps(self) -> Trial {
        Trial { step_rows: Some(40), ..self }
    }

    async fn run(mut self, rounds: u32, time: Duration) {
        self.fill().await;
        for _ in 0..rounds {
            let mut rng = self.rng.fork();
            let deadline = Instant::now() + time;
            let strike = async |targets: &mut Targets<'_>| {
                while Instant::now() < deadline {
                    // Now and then a restart is not left the time to finish.
                    let longest = if rng.u32(0..4) == 0 { 300 } else { 4_000 };
                    wait::delay(Duration::from_millis(rng.u64(20..longest))).await;
                    targets.strike(&mut rng).await;
                }
            };
            self.round(strike).await;
            self.compare().await;
        }
        assert!(self.exact > 0, "no reader met anything");
    }

    /// What the first load finds.
    async fn fill(&mut self) {
        self.round(async |_: &mut Targets<'_>| wait::delay(Duration::from_secs(1)).await).await;
    }

    /// Writers and readers go on while the faults happen; then what the readers met is judged.
    async fn round(&mut self, faults: impl AsyncFnOnce(&mut Targets<'_>)) {
        let shared = Shared::new();
        let writers = (0..WRITERS).map(|_| self.rng.fork()).collect::<Vec<_>>();
        let config = self.config();
        let reporting_url = self.reporting.url("postgres");
        let cache_urls = self.cache.urls();
        let reporting = Store::Reporting { postgres: &reporting_url, tables: TABLES };
        let cache = Store::Cache { urls: &cache_urls };
        let pause = Duration::from_millis(30);
        let url = self.source.url(&self.database);
        let writing = join_all(writers.into_iter().map(|rng| write(&url, rng, &shared)));
        let search = self.search.as_ref().map(|search| search.place.clone());
        let reading = join3(
            reader::read(&reporting, &shared, pause),
            reader::read(&cache, &shared, pause),
            reader::follow_number(search.as_ref(), &shared, pause),
        );
        let mut targets = Targets {
            daemon: &mut self.daemon,
            config: &config,
            source: &mut self.source,
            reporting: &mut self.reporting,
            cache: &mut self.cache,
            search: self.search.as_mut().and_then(|search| search.own.as_mut()),
            restored: &shared.restored,
            losses: &self.losses,
        };
        let faults = async {
            faults(&mut targets).await;
            shared.stop.set(true);
        };
        let ((), (_, (reporting, cache, search))) = join(faults, join(writing, reading)).await;
        search.unwrap_or_else(|wrong| panic!("{wrong}"));
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
        let daemon = self.daemon.get_or_insert_with(|| Daemon::start_noting_syncs(&config));
        let (reporting, cache) = (self.reporting.url("postgres"), self.cache.urls());
        let mut stores = vec![
            Store::Reporting { postgres: &reporting, tables: TABLES },
            Store::Cache { urls: &cache },
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
        self.compare_logs(&client, &lsn).await;
    }

    /// The same of what only grows.
    async fn compare_logs(&mut self, source: &Client, lsn: &str) {
        let daemon = self.daemon.as_mut().expect("it runs");
        for event in EVENTS {
            for sink in told::sinks(event, self.search.is_some()) {
                reached(daemon, event.name, sink.name(), lsn).await;
            }
        }
        let mut stores = Stores {
            reporting: &self.reporting.client("postgres").await,
            cache: self.cache.clients().await,
            search: self.search.as_ref().map(|search| &search.place),
        };
        let logs = &mut self.logs;
        match logs.compare(source, &mut stores, &self.history, &self.losses).await {
            Ok(compared) => eprintln!("oracle: {compared}"),
            Err(wrong) => panic!("at {lsn}: {wrong}"),
        }
    }

    fn config(&self) -> String {
        let mut config = schema::config(
            &self.source.url(&self.database),
            &self.reporting.url("postgres"),
            &self.cache.url(),
            self.search.as_ref().map(|search| &search.place),
            self.step_rows,
        );
        for (server, proxy) in self.networks.iter().flat_map(|networks| &networks.ports) {
            config = config.replace(&format!(":{server}"), &format!(":{proxy}"));
        }
        config
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
