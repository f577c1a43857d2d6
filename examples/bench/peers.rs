//! What Readside is measured against.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::header::CONTENT_TYPE;
use tokio_postgres::Client;

use crate::harness::postgres::program;
use crate::harness::process::{RunAs, run};
use crate::harness::{Postgres, http, wait};
use crate::shop::TABLES;

/// Far beyond what any of these takes.
const BOUND: Duration = Duration::from_secs(1_800);

/// `COPY … TO STDOUT | COPY … FROM STDIN`.
pub(crate) async fn copy_pipe(
    source: (&Postgres, &str),
    target: (&Postgres, &str),
    table: &str,
) -> Result<Duration> {
    let psql = program("psql").display().to_string();
    let (from, to) = (source.0.url(source.1), target.0.url(target.1));
    let pipe = format!(
        "{psql} -qXc 'COPY {table} TO STDOUT' {from} | {psql} -qXc 'COPY {table} FROM STDIN' {to}"
    );
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || {
        let mut command = RunAs::Ourselves.command("/bin/sh".as_ref());
        command.args(["-c", &pipe]);
        run("COPY into COPY", command)
    })
    .await?;
    Ok(begun.elapsed())
}

/// pg_recvlogical to nothing.
pub(crate) async fn recvlogical(
    source: &Postgres,
    database: &str,
    slot: &str,
    end: &str,
) -> Result<Duration> {
    let (url, slot, end) = (source.url(database), slot.to_owned(), end.to_owned());
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || {
        let mut command = RunAs::Ourselves.command(&program("pg_recvlogical"));
        command.args(["--start", "--no-loop", "--file=/dev/null", "--option=proto_version=1"]);
        command.args(["--option=publication_names=bench", "--dbname", &url, "--slot", &slot]);
        command.args(["--endpos", &end]);
        run("pg_recvlogical", command)
    })
    .await?;
    Ok(begun.elapsed())
}

/// A native subscription.
pub(crate) struct Subscription {
    client: Client,
    name: String,
}

impl Subscription {
    /// `client` is the target's. It fills the tables, too, or finds them filled.
    pub(crate) async fn create(
        source: &str,
        client: Client,
        name: &str,
        publication: &str,
        copies: bool,
    ) -> Result<Subscription> {
        let create = format!(
            "CREATE SUBSCRIPTION {name} CONNECTION '{source}' PUBLICATION {publication}
             WITH (copy_data = {copies}, enabled = {copies})"
        );
        client.batch_execute(&create).await?;
        Ok(Subscription { client, name: name.to_owned() })
    }

    pub(crate) async fn enable(&self) -> Result<()> {
        Ok(self.client.batch_execute(&format!("ALTER SUBSCRIPTION {} ENABLE", self.name)).await?)
    }

    /// Until its worker has ended.
    pub(crate) async fn disable(&self) -> Result<()> {
        self.client.batch_execute(&format!("ALTER SUBSCRIPTION {} DISABLE", self.name)).await?;
        let ended = "SELECT count(pid) = 0 FROM pg_stat_subscription WHERE subname = $1";
        while !self.client.query_one(ended, &[&self.name]).await?.try_get::<_, bool>(0)? {
            wait::delay(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Until the source has heard that everything before `end` was applied.
    pub(crate) async fn applied(&self, source: &Client, end: &str) -> Result<()> {
        let sql = "SELECT coalesce(max(replay_lsn) >= $1::text::pg_lsn, false)
                   FROM pg_stat_replication WHERE application_name = $2";
        let begun = Instant::now();
        while !source.query_one(sql, &[&end, &self.name]).await?.try_get::<_, bool>(0)? {
            ensure!(begun.elapsed() < BOUND, "the subscription does not get there");
            wait::delay(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(crate) async fn drop(self) -> Result<()> {
        Ok(self.client.batch_execute(&format!("DROP SUBSCRIPTION {}", self.name)).await?)
    }
}

/// Copies of the indices behind the tables' aliases, `raw_TABLE`: who writes to them finds the same documents.
pub(crate) async fn clone_indices(url: &str) -> Result<()> {
    let http = http();
    let block = async |index: &str, blocked: bool| {
        let settings = format!(r#"{{"index.blocks.write": {blocked}}}"#);
        let request = http.put(format!("{url}/{index}/_settings")).body(settings);
        request.header(CONTENT_TYPE, "application/json").send().await?.error_for_status()
    };
    for table in TABLES {
        let answer = http.get(format!("{url}/_alias/{table}")).send().await?.error_for_status()?;
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await?)?;
        let index = answer.as_object().and_then(|indices| indices.keys().next());
        let index = index.with_context(|| format!("no index behind {table}"))?;
        block(index, true).await?;
        let copy = format!("{url}/{index}/_clone/raw_{table}");
        http.post(copy).send().await?.error_for_status()?;
        block(index, false).await?;
        block(&format!("raw_{table}"), false).await?;
    }
    Ok(())
}

/// The rows as they are after the changes: (table, key, columns with their text).
pub(crate) struct ChangedRows(Vec<(&'static str, Vec<(String, String)>)>);

impl ChangedRows {
    /// Those that a transaction after `xid` has written last.
    pub(crate) async fn read(source: &Client, xid: i64) -> Result<ChangedRows> {
        Self::matching(source, &format!("WHERE xmin::text::bigint > {xid}")).await
    }

    /// A fifth of all rows.
    pub(crate) async fn sample(source: &Client) -> Result<ChangedRows> {
        Self::matching(source, "TABLESAMPLE SYSTEM (20) REPEATABLE (1)").await
    }

    async fn matching(source: &Client, which: &str) -> Result<ChangedRows> {
        source.batch_execute("SET TimeZone = 'UTC'").await?;
        let mut rows = Vec::new();
        for table in TABLES {
            let sql = format!("SELECT * FROM {table} {which}");
            for message in source.simple_query(&sql).await? {
                let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
                let columns = row.columns().iter().enumerate().map(|(at, column)| {
                    (column.name().to_owned(), row.get(at).unwrap_or_default().to_owned())
                });
                rows.push((table, columns.collect()));
            }
        }
        Ok(ChangedRows(rows))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// HSET of each row, for an order ZADD as well, five hundred rows in a pipeline.
    pub(crate) async fn to_redis(
        &self,
        redis: &mut redis::aio::MultiplexedConnection,
    ) -> Result<Duration> {
        let begun = Instant::now();
        for rows in self.0.chunks(500) {
            let mut pipeline = redis::pipe();
            for (table, columns) in rows {
                let key = format!("raw:{table}:{}", columns[0].1);
                pipeline.hset_multiple(key, columns).ignore();
                if *table == "orders" {
                    let key = format!("raw:customer:{}:orders", columns[1].1);
                    pipeline.zadd(key, &columns[0].1, columns[0].1.parse::<f64>()?).ignore();
                }
            }
            pipeline.query_async::<()>(redis).await?;
        }
        Ok(begun.elapsed())
    }

    /// NDJSON by two thousand documents a request, into the indices of [`clone_indices`].
    pub(crate) async fn to_search(&self, url: &str) -> Result<Duration> {
        let http = http();
        let begun = Instant::now();
        for rows in self.0.chunks(2_000) {
            let mut body = String::new();
            for (table, columns) in rows {
                let id = &columns[0].1;
                writeln!(body, r#"{{"index":{{"_index":"raw_{table}","_id":"{id}"}}}}"#)?;
                for (at, (name, value)) in columns.iter().enumerate() {
                    body.push(if at == 0 { '{' } else { ',' });
                    match value.parse::<i64>() {
                        Ok(number) => write!(body, r#""{name}":{number}"#)?,
                        Err(_) => write!(body, r#""{name}":"{}""#, value.replacen(' ', "T", 1))?,
                    }
                }
                body.push_str("}\n");
            }
            let request =
                http.post(format!("{url}/_bulk")).header(CONTENT_TYPE, "application/x-ndjson");
            let answer = request.body(body).send().await?.error_for_status()?.text().await?;
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            let errors = answer["errors"].as_bool().context("the answer of a bulk request")?;
            ensure!(!errors, "a document was refused: {answer}");
        }
        Ok(begun.elapsed())
    }
}
