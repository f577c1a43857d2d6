//! Debezium Server into Redis streams, set for throughput and latency as its documentation describes
//! (batch and queue sizes, poll interval); everything else is its default but for `skipped.operations`,
//! which by default hides TRUNCATE.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use super::program::{Launch, Program, homes};
use crate::harness::scratch::Scratch;
use crate::harness::{Postgres, Redis};
use crate::shop::TABLES;

pub(crate) const SETTINGS: &str = "poll.interval.ms=5 max.batch.size=8192 max.queue.size=32768 \
    snapshot.max.threads=2 skipped.operations=none tombstones.on.delete=false";

pub(crate) fn start(
    source: &Postgres,
    (user, database): (&str, &str),
    redis: &Redis,
) -> Result<Program> {
    let homes = homes()?;
    let scratch = Scratch::new("debezium");
    let tables = TABLES.map(|table| format!("public.{table}")).join(",");
    let mut text = format!(
        "quarkus.http.host=127.0.0.1\n\
         quarkus.http.port=0\n\
         quarkus.log.console.json=false\n\
         debezium.sink.type=redis\n\
         debezium.sink.redis.address=127.0.0.1:{}\n\
         debezium.format.key=json\n\
         debezium.format.value=json\n\
         debezium.format.schemas.enable=false\n\
         debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
         debezium.source.offset.storage.file.filename=offsets.dat\n\
         debezium.source.offset.flush.interval.ms=1000\n\
         debezium.source.database.hostname=127.0.0.1\n\
         debezium.source.database.port={}\n\
         debezium.source.database.user={user}\n\
         debezium.source.database.password=trusted\n\
         debezium.source.database.dbname={database}\n\
         debezium.source.topic.prefix=shop\n\
         debezium.source.plugin.name=pgoutput\n\
         debezium.source.slot.name={user}_{database}\n\
         debezium.source.publication.name={user}_{database}\n\
         debezium.source.publication.autocreate.mode=filtered\n\
         debezium.source.table.include.list={tables}\n",
        redis.port(),
        source.port(),
    );
    for setting in SETTINGS.split_whitespace() {
        writeln!(text, "debezium.source.{setting}")?;
    }
    let config = scratch.path().join("config");
    fs::create_dir(&config)?;
    fs::write(config.join("application.properties"), text)?;
    let mut runner = None;
    for entry in fs::read_dir(&homes.debezium)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jar") {
            runner = Some(path);
        }
    }
    let runner = runner.ok_or_else(|| anyhow::anyhow!("Debezium Server has no runner"))?;
    let classes = format!("{}:{}/lib/*", runner.display(), homes.debezium.display());
    let arguments = ["-Xmx1g", "-cp", &classes, "io.debezium.server.Main"].map(Into::into).into();
    let program = homes.java.join("bin/java");
    let launch = Launch { program, arguments, environment: Vec::new() };
    Ok(Program::start("Debezium Server", scratch, launch))
}

/// The stream of a table.
pub(crate) fn stream(table: &str) -> String {
    format!("shop.public.{table}")
}
