//! The load reads each row as of a snapshot that the stream's beginning covers, whatever happens to
//! the tables meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use readside::engine::{Entry, TableLayout};
use readside::lsn::Lsn;
use readside::pg::{self, Params, Session};
use readside::source::catalog::{Catalog, Scope, TableName};
use readside::source::load::{
    self, Chunk, LoadEvent, LoadJob, LoadLeaf, LoadPlan, LoadTable, Window,
};
use readside::source::replication::Lifetime;
use readside::source::slot;
use readside::value;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::harness::{Postgres, PostgresOptions, beside, wait};

/// A table's rows as Postgres prints them, by key.
type Rows = BTreeMap<String, (u16, String)>;

struct Source {
    postgres: Postgres,
    client: Client,
    session: Session,
}

async fn source() -> Source {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let session = pg::connect(&params(&postgres), "readside").await.unwrap();
    Source { postgres, client, session }
}

fn params(postgres: &Postgres) -> Params {
    Params::parse(&postgres.url("postgres"), None).unwrap()
}

impl Source {
    async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn tables(&self, names: &[&str]) -> Vec<LoadTable> {
        let tables = names.iter().map(|name| TableName::new("public", *name)).collect();
        let scope = Scope { publication: "p".into(), slot: "s".into(), tables };
        let catalog = Catalog::read(&self.session, &scope).await.unwrap();
        scope.tables.iter().map(|name| load_table(catalog.table(name).unwrap())).collect()
    }

    async fn window(&self) -> slot::Created {
        let cancel = CancellationToken::new();
        slot::open_window(&params(&self.postgres), "readside", "s", &|_| {}, &cancel).await.unwrap()
    }

    async fn job(&self, names: &[&str]) -> LoadJob {
        let tables = self.tables(names).await;
        let created = self.window().await;
        LoadJob {
            params: params(&self.postgres),
            application_name: "readside".into(),
            plan: LoadPlan::make(&self.session, &tables).await.unwrap(),
            tables,
            done: HashSet::new(),
            window: created.window,
            lsn: created.consistent_point,
            rows_per_second: None,
            workers: 2,
        }
    }

    /// The rows as Postgres prints them, in the form of `Loaded::rows`.
    async fn rows(&self, table: &LoadTable) -> Rows {
        let columns: Vec<String> =
            table.layout.columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
        let sql = format!("SELECT tableoid, {} FROM {}", columns.join(", "), table.name.quoted());
        let rows = self.session.rows(&sql).await.unwrap();
        rows.into_iter()
            .map(|mut row| {
                let leaf: u32 = row.remove(0).unwrap().parse().unwrap();
                let leaf = table.leaves.iter().find(|l| l.oid == leaf).unwrap().number;
                let key = table.layout.identity.iter().map(|at| row[*at].clone());
                (show(key), (leaf, show(row.iter().cloned())))
            })
            .collect()
    }
}

fn load_table(table: &readside::source::catalog::Table) -> LoadTable {
    let columns: Vec<_> = table.columns.iter().map(|c| c.column.clone()).collect();
    let position = |name: &String| columns.iter().position(|c| c.name == *name).unwrap();
    let identity = table.row_key().unwrap().iter().map(position).collect();
    let leaves = table.leaves.iter().zip(0..);
    LoadTable {
        keyless: false,
        name: table.name.clone(),
        layout: TableLayout { columns, identity },
        leaves: leaves
            .map(|(leaf, number)| LoadLeaf { oid: leaf.oid, name: leaf.name.clone(), number })
            .collect(),
    }
}

fn show(fields: impl Iterator<Item = Option<String>>) -> String {
    fields.map(|f| f.map_or("NULL".into(), |f| format!("{f:?}"))).collect::<Vec<_>>().join(",")
}

fn shown(layout: &TableLayout, entry: &Entry) -> (String, (u16, String)) {
    let text = |at: usize, datum: &[u8]| {
        (!value::is_null(datum)).then(|| {
            let mut out = Vec::new();
            value::write_text(&layout.columns[at].ty, datum, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        })
    };
    let row = value::columns(&layout.columns, entry.value().unwrap());
    let row: Vec<Option<String>> =
        row.enumerate().map(|(at, datum)| text(at, datum.unwrap())).collect();
    let key = show(layout.identity.iter().map(|at| row[*at].clone()));
    (key, (entry.leaf(), show(row.into_iter())))
}

/// What came out of a load.
#[derive(Default)]
struct Loaded {
    rows: Vec<Rows>,
    chunks: Vec<u32>,
    counted: u64,
    bound: Lsn,
    replanned: Vec<(Vec<u32>, Vec<Chunk>)>,
    failed: Vec<String>,
}

impl Loaded {
    fn take(&mut self, event: LoadEvent, tables: &[LoadTable]) {
        self.rows.resize_with(tables.len(), Rows::new);
        match event {
            LoadEvent::Rows { table, entries, .. } => {
                let layout = &tables[table].layout;
                self.rows[table].extend(entries.iter().map(|entry| shown(layout, entry)));
            }
            LoadEvent::Loaded { chunk, rows, bound, .. } => {
                self.chunks.push(chunk);
                self.counted += rows;
                self.bound = self.bound.max(bound);
            }
            LoadEvent::Replanned { dropped, chunks, .. } => self.replanned.push((dropped, chunks)),
            LoadEvent::Failed { error, .. } => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                self.failed.push(format!("{error}: {}", source.unwrap_or_default()));
            }
        }
    }
}

/// A load in the background; its events.
fn start(job: LoadJob) -> (mpsc::Receiver<LoadEvent>, CancellationToken) {
    let (out, events) = mpsc::channel(4);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    beside(async move {
        match load::run(job, out, stop).await {
            Ok(()) | Err(load::Error::Cancelled | load::Error::Receiver) => {}
            Err(error) => panic!("{error:?}"),
        }
    });
    (events, cancel)
}

async fn finish(job: LoadJob) -> Loaded {
    let tables = job.tables.clone();
    let (mut events, _cancel) = start(job);
    let mut loaded = Loaded::default();
    while let Some(event) = events.recv().await {
        loaded.take(event, &tables);
    }
    loaded
}

#[tokio::test]
async fn every_type_and_partition_is_loaded() {
    let source = source().await;
    source
        .sql(
            r#"
            CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
            CREATE TYPE pair AS (a int, b text);
            CREATE DOMAIN price AS numeric(12,3);
            CREATE TABLE types (
                id bigint PRIMARY KEY, b bool, i2 int2, i4 int4, f4 float4, f8 float8, n numeric,
                t text, vc varchar(9), c char(5), by bytea, d date, ti time, tz timetz,
                ts timestamp, tstz timestamptz, iv interval, u uuid, j json, jb jsonb, m mood,
                p pair, pr price, ia int[], ta text[], ra int4range, ip inet, o oid, x xml, bx box);
            INSERT INTO types
            SELECT g, g % 2 = 0, g, -g, g / 3.0, g / 7.0, g * 1.10, E'tab\tnew\nline\\N\r' || g, '',
                'x', '\x00ff5c', '2024-02-29', '12:34:56.7', '12:34:56+02', 'infinity',
                '4713-01-01 00:00:00+00 BC', '1 year 2 mons -3 days 04:05:06.7',
                gen_random_uuid(), '{"a" : 1}', '{"b": [1, null]}', 'it''s ok',
                ('(' || g || ',"q""x")')::pair, g, ARRAY[g, NULL], ARRAY['a,b', NULL, '{', E'\\'], int4range(1, g + 2),
                '10.0.0.0/8', g, '<a/>', '(1,1),(0,0)'
            FROM generate_series(1, 300) g;
            INSERT INTO types (id) SELECT g FROM generate_series(301, 310) g;
            CREATE TABLE parts (at date, id int, note text, PRIMARY KEY (at, id))
                PARTITION BY RANGE (at);
            CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
            CREATE TABLE parts_2 (note text, id int NOT NULL, at date NOT NULL);
            ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
            INSERT INTO parts SELECT '2024-01-01'::date + g, g, 'n' || g FROM generate_series(0, 700) g;
            CREATE TABLE empty (id int PRIMARY KEY);
            "#,
        )
        .await;
    let job = source.job(&["types", "parts", "empty"]).await;
    let tables = job.tables.clone();
    assert_eq!(job.plan.rows_expected.len(), 3);
    let loaded = finish(job).await;
    for (table, rows) in tables.iter().zip(&loaded.rows) {
        assert_eq!(*rows, source.rows(table).await, "{}", table.name);
    }
    assert_eq!(loaded.counted, 310 + 701);
    assert_eq!(loaded.chunks.len(), 4);
    assert!(loaded.bound > Lsn::ZERO);
}

/// Some megabytes of wide rows, so that there are several chunks.
const WIDE: &str = "
    CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, pad text)
        WITH (autovacuum_enabled = false);
    ALTER TABLE wide ALTER COLUMN pad SET STORAGE PLAIN;
    INSERT INTO wide SELECT g, 0, repeat('x', 3000) FROM generate_series(1, 14000) g;";

#[tokio::test]
async fn what_is_done_is_not_read_again() {
    let source = source().await;
    source.sql(WIDE).await;
    let mut job = source.job(&["wide"]).await;
    let chunks = job.plan.chunks.len();
    assert!(chunks >= 3, "{chunks} chunks");
    job.done = job.plan.chunks[1..].iter().map(|chunk| chunk.id).collect();
    let first = job.plan.chunks[0].id;
    let part = finish(job).await;
    assert_eq!(part.chunks, [first]);
    assert!(part.counted > 1000 && part.counted < 14000, "{}", part.counted);
    assert_eq!(part.counted, part.rows[0].len() as u64);

    let mut job = source.job(&["wide"]).await;
    job.done = job.plan.chunks.iter().map(|chunk| chunk.id).collect();
    assert_eq!(finish(job).await.chunks, [0_u32; 0]);
}

#[tokio::test]
async fn rows_written_meanwhile_are_loaded_or_streamed() {
    let source = source().await;
    source.sql(WIDE).await;
    let mut job = source.job(&["wide"]).await;
    let tables = job.tables.clone();
    let before = source.rows(&tables[0]).await;
    let start_lsn = job.lsn;
    job.rows_per_second = Some(20_000);
    let (mut events, _cancel) = start(job);
    let mut loaded = Loaded::default();
    // The first rows are there: the load is under way.
    loaded.take(events.recv().await.unwrap(), &tables);
    source
        .sql(
            "INSERT INTO wide SELECT g, 1, repeat('y', 3000) FROM generate_series(20001, 21000) g;
             UPDATE wide SET n = 2 WHERE id % 7 = 0;
             DELETE FROM wide WHERE id % 11 = 0;",
        )
        .await;
    while let Some(event) = events.recv().await {
        loaded.take(event, &tables);
    }
    let after = source.rows(&tables[0]).await;
    // What nobody has touched is there as it is; of the rest, any version from before to after, for the
    // stream brings what has changed since `start_lsn`.
    let untouched = |key: &&String| before.get(*key) == after.get(*key);
    for key in before.keys().filter(untouched) {
        assert_eq!(loaded.rows[0].get(key), before.get(key), "{key}");
    }
    for (key, row) in &loaded.rows[0] {
        assert!(before.get(key) == Some(row) || after.get(key) == Some(row), "{key}");
    }
    assert!(loaded.bound > start_lsn);
}

#[tokio::test]
async fn a_table_that_moves_is_planned_again() {
    let source = source().await;
    source.sql(WIDE).await;
    // Room at the table's beginning, into which VACUUM FULL moves the rows from its end.
    source.sql("DELETE FROM wide WHERE id <= 6000").await;
    let mut job = source.job(&["wide"]).await;
    let tables = job.tables.clone();
    let mut plan = job.plan.clone();
    job.workers = 1;
    let (mut events, _cancel) = start(job);
    let mut loaded = Loaded::default();
    let mut done = HashSet::new();
    // The first chunk is read, the second begun at most as far as the queue reaches.
    while done.is_empty() {
        let event = events.recv().await.unwrap();
        if let LoadEvent::Loaded { chunk, .. } = &event {
            done.insert(*chunk);
        }
        loaded.take(event, &tables);
    }
    // It comes between two chunks, or waits for the one that holds the lock.
    let client = source.postgres.client("postgres").await;
    let (ended, is_ended) = tokio::sync::watch::channel(false);
    beside(async move {
        client.batch_execute("VACUUM FULL wide").await.unwrap();
        ended.send_replace(true);
    });
    wait::until("VACUUM FULL to stand in line", async || {
        let sql = "SELECT pid FROM pg_stat_activity WHERE query = 'VACUUM FULL wide'
                   AND wait_event_type = 'Lock'";
        match source.session.rows(sql).await.unwrap().len() {
            1 => Ok(()),
            _ if *is_ended.borrow() => Ok(()),
            other => Err(other),
        }
    })
    .await;
    while let Some(event) = events.recv().await {
        loaded.take(event, &tables);
    }
    let (dropped, chunks) = &loaded.replanned[0];
    assert_eq!(*dropped, plan.chunks.iter().map(|c| c.id).collect::<Vec<_>>());
    assert!(chunks.iter().all(|c| !dropped.contains(&c.id)));
    plan.replace(dropped, chunks);
    assert!(plan.chunks.iter().all(|chunk| loaded.chunks.contains(&chunk.id)));
    assert_eq!(loaded.rows[0], source.rows(&tables[0]).await);
}

#[tokio::test]
async fn a_commit_that_nobody_sees_yet_is_waited_for() {
    let source = source().await;
    source.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    source.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    source.sql("SELECT pg_reload_conf()").await;
    let mut job = source.job(&["t"]).await;
    // Its commit is in the WAL, and it waits for the standby.
    let stuck = source.postgres.client("postgres").await;
    beside(async move {
        stuck
            .batch_execute("SET application_name = 'stuck'; INSERT INTO t VALUES (2)")
            .await
            .unwrap();
    });
    let waits = "SELECT backend_xid FROM pg_stat_activity
                 WHERE application_name = 'stuck' AND wait_event = 'SyncRep'";
    let xid = wait::until("the commit to be stuck", async || {
        match &source.session.rows(waits).await.unwrap()[..] {
            [row] => Ok(row[0].clone().unwrap()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // As if a slot had been made when that commit was in the WAL: the stream does not have it.
    let xid: u64 = xid.parse().unwrap();
    job.window = Window::parse(&format!("{0}:{0}:", xid + 1)).unwrap();
    assert_eq!(source.rows(&job.tables[0]).await.len(), 1, "nobody sees it");
    let tables = job.tables.clone();
    let (mut events, _cancel) = start(job);
    // Long enough for the log line that says for whom it waits.
    let early = wait::poll(Duration::from_millis(1500), async || events.try_recv()).await;
    assert!(early.is_err(), "{early:?}");
    source.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    source.sql("SELECT pg_reload_conf()").await;
    let mut loaded = Loaded::default();
    while let Some(event) = events.recv().await {
        loaded.take(event, &tables);
    }
    assert_eq!(loaded.rows[0].len(), 2);
}

#[tokio::test]
async fn a_commit_that_the_new_slot_leaves_out_is_loaded() {
    let source = source().await;
    source.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    source.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    source.sql("SELECT pg_reload_conf()").await;
    let open = async |id: u32| {
        let client = source.postgres.client("postgres").await;
        client.batch_execute(&format!("BEGIN; INSERT INTO t VALUES ({id})")).await.unwrap();
        client
    };
    let waits = async |what: &str, sql: &str| {
        wait::until(what, async || match &source.session.rows(sql).await.unwrap()[..] {
            [row] => Ok(row[0].clone().unwrap()),
            other => Err(format!("{other:?}")),
        })
        .await
    };
    let locked =
        "SELECT transactionid FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted";
    let mut job = source.job(&["t"]).await;
    // The slot's creation waits for those that run, and once more for those that run then.
    let first = open(1).await;
    let params = params(&source.postgres);
    let cancel = CancellationToken::new();
    let creation =
        slot::create(&params, "readside", "readside", Lifetime::Permanent, &|_| {}, &cancel);
    tokio::pin!(creation);
    let meanwhile = async {
        let xid = waits("the creation to wait for the first", locked).await;
        let second = open(2).await;
        first.batch_execute("ROLLBACK").await.unwrap();
        let wait_second = async || {
            let now = waits("the creation to wait for the second", locked).await;
            if now == xid { Err(now) } else { Ok(()) }
        };
        wait::until("the creation to go on", wait_second).await;
        let stuck = source.postgres.client("postgres").await;
        beside(async move {
            let sql = "SET application_name = 'stuck'; INSERT INTO t VALUES (3)";
            stuck.batch_execute(sql).await.unwrap();
        });
        let sql = "SELECT backend_xid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let xid = waits("the commit to be stuck", sql).await;
        second.batch_execute("ROLLBACK").await.unwrap();
        xid.parse::<u64>().unwrap()
    };
    let (created, stuck) = tokio::join!(creation, meanwhile);
    let created = created.unwrap();
    assert!(created.window.has_ended(stuck), "the stream leaves it out: {}", created.window);
    assert_eq!(source.rows(&job.tables[0]).await.len(), 0, "nobody sees it");

    (job.window, job.lsn) = (created.window, created.consistent_point);
    let tables = job.tables.clone();
    let (mut events, _cancel) = start(job);
    let early = wait::poll(Duration::from_millis(200), async || events.try_recv()).await;
    assert!(early.is_err(), "{early:?}");
    source.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    source.sql("SELECT pg_reload_conf()").await;
    let mut loaded = Loaded::default();
    while let Some(event) = events.recv().await {
        loaded.take(event, &tables);
    }
    assert_eq!(loaded.rows[0].keys().collect::<Vec<_>>(), ["\"3\""]);
}

#[tokio::test]
async fn a_table_that_goes_away_does_not_stop_the_others() {
    let source = source().await;
    source
        .sql(
            "CREATE TABLE goes (id int PRIMARY KEY); INSERT INTO goes VALUES (1);
             CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);
             CREATE TABLE stays (id int PRIMARY KEY); INSERT INTO stays VALUES (1);",
        )
        .await;
    let job = source.job(&["goes", "other", "stays"]).await;
    source.sql("DROP TABLE goes, other; CREATE TABLE other (id int PRIMARY KEY)").await;
    let mut failures = finish(job).await;
    assert_eq!(failures.rows[2].len(), 1);
    failures.failed.sort();
    let [goes, other] = &failures.failed[..] else { panic!("{:?}", failures.failed) };
    assert!(goes.contains("public.goes cannot be read"), "{goes}");
    assert!(other.contains("public.other is another table"), "{other}");
}

#[tokio::test]
async fn broken_connections_are_opened_again() {
    let mut source = source().await;
    source.sql(WIDE).await;
    let mut job = source.job(&["wide"]).await;
    job.rows_per_second = Some(50_000);
    let tables = job.tables.clone();
    let (mut events, _cancel) = start(job);
    let mut loaded = Loaded::default();
    loaded.take(events.recv().await.unwrap(), &tables);
    source.postgres.stop_immediate().await;
    source.postgres.restart().await;
    while let Some(event) = events.recv().await {
        loaded.take(event, &tables);
    }
    assert_eq!(loaded.rows[0].len(), 14000);
}

#[tokio::test]
async fn one_row_is_fetched_when_its_transaction_shows() {
    let source = source().await;
    source
        .sql(
            "CREATE TABLE parts (a text, b int, big text, PRIMARY KEY (a, b)) PARTITION BY LIST (b);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
             INSERT INTO parts VALUES ('it''s', 2, repeat('z', 9));",
        )
        .await;
    let table = source.tables(&["parts"]).await.remove(0);
    let running = source.postgres.client("postgres").await;
    running.batch_execute("BEGIN; UPDATE parts SET big = 'new'").await.unwrap();
    let xid = running.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap();
    let xid: u32 = xid.get::<_, String>(0).parse().unwrap();
    let fetch = load::fetch_row(&source.session, &table, &["it's", "2"], Lsn(7), xid);
    tokio::pin!(fetch);
    let early = wait::poll(Duration::from_millis(200), async || {
        tokio::select! {
            biased;
            done = &mut fetch => Ok(done.is_ok()),
            () = tokio::task::yield_now() => Err("it waits"),
        }
    })
    .await;
    assert!(early.is_err(), "{early:?}");
    running.batch_execute("COMMIT").await.unwrap();
    let fetched = fetch.await.unwrap();
    let entry = fetched.entry.unwrap();
    assert_eq!(
        shown(&table.layout, &entry),
        ("\"it's\",\"2\"".into(), (1, "\"it's\",\"2\",\"new\"".into()))
    );
    assert_eq!(entry.lsn(), Lsn(7));
    assert!(fetched.bound > Lsn::ZERO);
    let gone = load::fetch_row(&source.session, &table, &["none", "2"], Lsn(7), xid).await.unwrap();
    assert!(gone.entry.is_none());
    // An error leaves the session as it was.
    let bad = load::fetch_row(&source.session, &table, &["none", "x"], Lsn(7), xid).await;
    assert!(matches!(bad, Err(load::FetchError::Pg(_))), "{bad:?}");
    load::fetch_row(&source.session, &table, &["none", "2"], Lsn(7), xid).await.unwrap();
}
