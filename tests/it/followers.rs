//! Many clients follow one projection while it is written to, and leave and come back as they like: each has
//! exactly the source's rows at every position that it is told.

use std::cell::Cell;
use std::collections::BTreeMap;

use fastrand::Rng;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use tokio_postgres::Client;

use crate::harness::{Daemon, http, wait};
use crate::world::{World, one};

const FOLLOWERS: u64 = 16;
const ACCOUNTS: i32 = 400;
/// What all amounts come to, always.
const TOTAL: i64 = 100 * ACCOUNTS as i64;

/// Each transaction leaves the total as it is, and gives the rows that it writes greater versions.
async fn transaction(client: &Client, rng: &mut Rng) {
    let mut id = || rng.i32(1..=ACCOUNTS);
    let (a, b) = (id(), id());
    let (a, b) = (a.min(b), a.max(b) + i32::from(a == b));
    let sql = match rng.u8(0..20) {
        0 => "UPDATE accounts SET amount = amount, version = nextval('versions')".to_owned(),
        // Created again and again in one transaction: a rush for whoever follows.
        1 => format!(
            "DO $$ BEGIN FOR i IN 1..5 LOOP
               UPDATE accounts SET version = nextval('versions') WHERE id > {a}; END LOOP; END $$"
        ),
        2..5 => format!(
            "WITH gone AS (DELETE FROM accounts WHERE id = {a} AND EXISTS (
               SELECT FROM accounts WHERE id = {b} FOR UPDATE) RETURNING amount)
             UPDATE accounts SET amount = accounts.amount + gone.amount, version = nextval('versions')
               FROM gone WHERE id = {b}"
        ),
        5..8 => format!(
            "INSERT INTO accounts VALUES ({a}, 0, nextval('versions')) ON CONFLICT DO NOTHING"
        ),
        _ => format!(
            "UPDATE accounts SET version = nextval('versions'),
               amount = amount + CASE id WHEN {a} THEN -1 ELSE 1 END
               WHERE id IN ({a}, {b})
                 AND 2 = (SELECT count(*) FROM (SELECT FROM accounts WHERE id IN ({a}, {b}) ORDER BY id FOR UPDATE) x)"
        ),
    };
    // Two may lock the same rows in another order: one of them is ended, and has changed nothing.
    if let Err(error) = client.batch_execute(&sql).await {
        assert_eq!(error.code().map(|code| code.code()), Some("40P01"), "{sql}: {error}");
    }
}

/// What one client makes of what it is given.
#[derive(Default)]
struct Page {
    rows: BTreeMap<i64, (i64, i64)>,
    versions: BTreeMap<i64, i64>,
    id: Option<String>,
    positions: u32,
}

impl Page {
    /// `Some`: it is told its position.
    fn take(&mut self, event: &str) -> Option<u64> {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let name = field("event: ")?;
        let data: Value = serde_json::from_str(field("data: ").expect("data")).expect("JSON");
        match name {
            "gone" => self.begin_anew(),
            "away" => {}
            _ => return self.given(name, &data, field("id: ").expect("an id")),
        }
        None
    }

    /// It keeps nothing.
    fn begin_anew(&mut self) {
        *self = Page { positions: self.positions, ..Page::default() };
    }

    fn given(&mut self, name: &str, data: &Value, id: &str) -> Option<u64> {
        self.id = Some(id.to_owned());
        match name {
            "reset" => self.rows.clear(),
            "position" => {
                let total: i64 = self.rows.values().map(|(amount, _)| amount).sum();
                assert_eq!(total, TOTAL, "at {data}");
                self.positions += 1;
                return data["lsn"].as_str().map(number);
            }
            "upsert" | "delete" => {
                let key = data["key"][0].as_i64().expect("a key");
                let Some(row) = data["row"].as_object() else {
                    self.rows.remove(&key);
                    return None;
                };
                let (amount, version) = (row["amount"].as_i64(), row["version"].as_i64());
                let (amount, version) = (amount.expect("it"), version.expect("it"));
                let before = self.versions.insert(key, version);
                assert!(before <= Some(version), "{key} goes back from {before:?}: {data}");
                self.rows.insert(key, (amount, version));
            }
            other => panic!("{other}: {data}"),
        }
        None
    }
}

fn number(lsn: &str) -> u64 {
    let (high, low) = lsn.split_once('/').expect("an LSN");
    let half = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
    half(high) << 32 | half(low)
}

/// One connection; `true` when the page has all before `until`.
async fn listen(url: &str, page: &mut Page, events: usize, until: &Cell<Option<u64>>) -> bool {
    let begins = page.id.as_deref().unwrap_or("0/0");
    if begins == "0/0" {
        page.rows.clear();
    }
    let request = http().get(format!("{url}/v1/changes/accounts?since=0/0"));
    let Ok(mut answer) = request.header("Last-Event-ID", begins).send().await else { return false };
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::GONE => page.begin_anew(),
        status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
    }
    if answer.status() != StatusCode::OK {
        return false;
    }
    let (mut text, mut taken) = (String::new(), 0);
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.push_str(std::str::from_utf8(&chunk).expect("events are not cut within a character"));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let position = page.take(&event);
            if until.get().is_some_and(|until| position.is_some_and(|at| at >= until)) {
                return true;
            }
            taken += 1;
            if taken > events && until.get().is_none() {
                return false;
            }
        }
    }
    false
}

async fn follow(url: String, seed: u64, until: &Cell<Option<u64>>) -> Page {
    let mut rng = Rng::with_seed(seed);
    let mut page = Page::default();
    // Some stay, others leave after whatever they have got, also in the middle of a transaction.
    loop {
        let events = if seed.is_multiple_of(3) { usize::MAX } else { rng.usize(0..3_000) };
        if listen(&url, &mut page, events, until).await {
            return page;
        }
        wait::delay(std::time::Duration::from_millis(rng.u64(1..50))).await;
    }
}

#[tokio::test]
async fn many_followers_have_what_there_is_at_every_position() {
    let world = World::new(&format!(
        "CREATE SEQUENCE versions;
         CREATE TABLE accounts (id int PRIMARY KEY, amount bigint, version bigint);
         INSERT INTO accounts SELECT i, 100, nextval('versions') FROM generate_series(1, {ACCOUNTS}) i"
    ))
    .await;
    let sinks = world.config("");
    let source = sinks.split("[sink.").next().expect("a source");
    let config = format!("{source}[projection.accounts]\ntable = 'accounts'\n");
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let until = Cell::new(None);
    let followers = (0..FOLLOWERS).map(|seed| follow(daemon.url(), seed, &until));
    let followers = join_all(followers);
    let writes = async {
        let other = world.postgres.client(&world.source).await;
        for round in 0..4 {
            let write = async |client: &Client, seed: u64| {
                let mut rng = Rng::with_seed(seed);
                for _ in 0..60 {
                    transaction(client, &mut rng).await;
                }
            };
            tokio::join!(write(&world.client, round), write(&other, 100 + round));
            if round == 1 {
                daemon.kill9();
                daemon.restart();
                daemon.wait_ready().await;
            }
        }
        let lsn = world.lsn().await;
        until.set(Some(number(&lsn)));
        // Whoever waits makes the source send its WAL.
        let (status, text) = daemon.get(&format!("/v1/wait?projection=accounts&lsn={lsn}")).await;
        assert_eq!(status, StatusCode::OK, "{text}");
    };
    let following =
        tokio::time::timeout(wait::BOUND * 2, async { tokio::join!(followers, writes).0 });
    let pages = following.await.expect("all are told their positions");
    let sql = "SELECT coalesce(string_agg(id || ':' || amount || ':' || version, ' ' ORDER BY id), '') FROM accounts";
    let expected = one(&world.client, sql).await;
    for (seed, page) in pages.iter().enumerate() {
        let row = |(id, (amount, version)): (&i64, &(i64, i64))| format!("{id}:{amount}:{version}");
        let rows: Vec<String> = page.rows.iter().map(row).collect();
        assert_eq!(rows.join(" "), expected, "follower {seed}");
        assert!(page.positions > 0);
    }
}
