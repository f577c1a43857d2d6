//! Rows that one sink refuses for good: named, counted, absent there, and back when they are accepted.

use crate::harness::Daemon;
use crate::world::{World, one, until_logged, until_metric};

#[tokio::test]
async fn a_refused_row_is_named_and_leaves_its_older_version_nowhere() {
    let world = World::new(
        "CREATE TABLE things (id text PRIMARY KEY, note text, rank numeric);
         INSERT INTO things VALUES ('good', 'old', 1), ('bad|row', 'old', 2);",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\n\
         to.reporting = {{ table = 'things', indexes = ['(note)'] }}\n\
         to.cache = {{ sorted_set = 'ranks', member = '{{id}}', score = 'rank' }}\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;

    // Too long for an index's entry, no score for Redis, too long for Elasticsearch's ids.
    world
        .execute(
            "UPDATE things SET note = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i),
                               rank = 'NaN' WHERE id = 'bad|row';
             INSERT INTO things VALUES (repeat('long', 200), 'note', 3)",
        )
        .await;
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&name, sink, &lsn).await;
        let labels = [("sink", sink), ("projection", &*name)];
        until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 1.0).await;
    }
    // Whether or not they were durable at this moment.
    daemon.restart();
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&name, sink, &lsn).await;
        let labels = [("sink", sink), ("projection", &*name)];
        until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 1.0).await;
    }
    let log = daemon.log();
    for words in ["index row requires", "the score \"rank\" is not a number", "the document's id"] {
        let line = log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("WARN") && line.contains(&name) && line.contains("lsn="), "{line}");
        let key = if words.contains("id") { "key=longlong" } else { "key=bad|row" };
        assert!(line.contains(key), "{line}");
    }
    let kept = "SELECT string_agg(left(id, 4), ' ' ORDER BY id COLLATE \"C\") FROM things";
    let rows: String = world.reporting.query_one(kept, &[]).await.unwrap().get(0);
    assert_eq!(rows, "good long");
    let mut redis = world.redis.client().await;
    let members: Vec<String> =
        redis::cmd("ZRANGE").arg(&["ranks", "0", "-1"]).query_async(&mut redis).await.unwrap();
    assert_eq!(members, ["good".to_owned(), "long".repeat(200)]);
    let documents = world.indexed("things").await.unwrap();
    assert_eq!(documents.keys().collect::<Vec<_>>(), [r"bad\|row", "good"]);

    world
        .execute("UPDATE things SET note = 'short', rank = 2; DELETE FROM things WHERE rank = 2 AND id LIKE 'long%'")
        .await;
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&name, sink, &lsn).await;
        let labels = [("sink", sink), ("projection", &*name)];
        until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 0.0).await;
    }
    let rows: String = world.reporting.query_one(kept, &[]).await.unwrap().get(0);
    assert_eq!(rows, "bad| good");
}

#[tokio::test]
async fn a_refused_row_halts_a_projection_that_says_so() {
    let world = World::new("CREATE TABLE things (id text PRIMARY KEY)").await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\non_error = 'halt'\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.execute("INSERT INTO things VALUES ('before')").await;
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "search", &lsn).await;
    world
        .execute("INSERT INTO things VALUES (repeat('long', 200)); INSERT INTO things VALUES ('x')")
        .await;
    until_logged(&daemon, "the sink refuses a row for good").await;
    halted(&daemon).await;
    // A restart begins with the refused row, whatever was durable.
    daemon.restart();
    until_logged(&daemon, "streaming").await;
    halted(&daemon).await;
    world.execute("UPDATE things SET id = 'short' WHERE id LIKE 'long%'").await;
    let lsn = world.lsn().await;
    let position = one(&world.client, &format!("SELECT ('{lsn}'::pg_lsn - '0/0')::text")).await;
    let position: f64 = position.parse().unwrap();
    until_metric(&daemon, "readside_durable_lsn", &[], |durable| durable >= position).await;
    daemon.restart();
    daemon.wait_for(&name, "search", &lsn).await;
    let documents = world.indexed("things").await.unwrap();
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["before", "short", "x"]);
    daemon.wait_ready().await;
}

/// A fill begins again when it goes on, and meets the row again.
#[tokio::test]
async fn a_dropped_row_halts_no_fill_again() {
    let world = World::new(
        "CREATE TABLE things (id text PRIMARY KEY);
         INSERT INTO things VALUES ('a'), (repeat('long', 200)), (repeat('longer', 200)), ('z')",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\non_error = 'halt'\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    until_logged(&daemon, "the sink refuses a row for good").await;
    halted(&daemon).await;
    let dropped = daemon.command(&["dead-letters", "drop", "--all"]).await;
    assert!(dropped.status.success(), "{dropped:?}");
    daemon.wait_ready().await;
    let documents = world.indexed("things").await.unwrap();
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["a", "z"]);
    // Another version halts it anew.
    world.execute("UPDATE things SET id = id || 'er' WHERE id LIKE 'longer%'").await;
    halted(&daemon).await;
}

async fn halted(daemon: &Daemon) {
    crate::harness::wait::until("readyz to name the halted projection", async || {
        let (status, text) = daemon.get("/readyz").await;
        if status == 503 && text.contains("halted") { Ok(()) } else { Err(text) }
    })
    .await;
}

/// What jsonb does not take has no document on the source, either: the row's matter, not the sink's.
#[tokio::test]
async fn json_without_a_document_refuses_just_its_row() {
    let world = World::new(
        r#"CREATE TABLE things (id int PRIMARY KEY, kind text, j json);
           INSERT INTO things VALUES (1, 'a', '{"a": 1}'), (2, 'a', '"\u0000"'), (3, 'a', '"\ud800"');"#,
    )
    .await;
    let (plain, moving) = (world.name("things"), world.name("moving"));
    let config = world.config(&format!(
        "[projection.{plain}]\ntable = 'things'\n\
         to.reporting = {{ table = 'things' }}\nto.cache = {{ json = 't:{{id}}' }}\n\
         to.search = {{ index = '{plain}' }}\n\
         [projection.{moving}]\ntable = 'things'\n\
         to.search = {{ index = '{moving}', id = '{{kind}}:{{id}}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let refused = async |count: f64| {
        let lanes = [
            (&plain, "reporting", 0.0),
            (&plain, "cache", count),
            (&plain, "search", count),
            (&moving, "search", count),
        ];
        for (projection, sink, count) in lanes {
            let labels = [("sink", sink), ("projection", projection.as_str())];
            until_metric(&daemon, "readside_dead_letters", &labels, |found| found == count).await;
        }
    };
    refused(2.0).await;
    world
        .execute(
            r#"UPDATE things SET j = '{"a": "\u0000"}', kind = 'b' WHERE id = 1; UPDATE things SET j = '2' WHERE id = 2"#,
        )
        .await;
    let lsn = world.lsn().await;
    for (projection, sink) in
        [(&plain, "reporting"), (&plain, "cache"), (&plain, "search"), (&moving, "search")]
    {
        let query = format!("/v1/wait?projection={projection}&sink={sink}&lsn={lsn}&timeout=30s");
        let (status, answer) = daemon.get(&query).await;
        assert_eq!(status, 200, "{answer}");
    }
    refused(2.0).await;
    assert_eq!(world.cached("t").await.keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(world.indexed("things").await.unwrap().keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(world.indexed("moving").await.unwrap().keys().collect::<Vec<_>>(), ["a:2"]);
}
