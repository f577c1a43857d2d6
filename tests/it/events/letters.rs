//! Occurrences that a sink refuses: nobody else has them, so the letter keeps them whole.

use redis::AsyncCommands;
use serde_json::{Value, json};

use super::stream;
use crate::harness::Daemon;
use crate::world::{World, one, until_metric};

/// The letter of this sink, as `show` prints it and with its id.
async fn letter(daemon: &Daemon, sink: &str) -> (String, String) {
    let list = daemon.command(&["dead-letters", "list", "--sink", sink]).await;
    let list = String::from_utf8(list.stdout).unwrap();
    let id = list.split_whitespace().next().unwrap_or_else(|| panic!("no letter: {list}"));
    let shown = daemon.command(&["dead-letters", "show", id]).await;
    (id.to_owned(), String::from_utf8(shown.stdout).unwrap())
}

#[tokio::test]
async fn a_refused_occurrence_is_kept_and_sent_again() {
    let world = World::new("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    world
        .reporting
        .batch_execute(
            "CREATE TABLE made (lsn pg_lsn, ordinal bigint, type text, committed_at timestamptz,
             id int, v text CONSTRAINT good CHECK (v <> 'bad'), PRIMARY KEY (lsn, ordinal))",
        )
        .await
        .unwrap();
    let name = world.name("made");
    let config = world.config(&format!(
        "[event.{name}]\ntable = 't'\nwhen = 'old IS NULL'\ndata = 'new.id, new.v'\n\
         to.reporting = {{ table = 'made' }}\nto.cache = {{ stream = 'made:{{v}}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let mut redis = world.redis.client().await;
    let () = redis.set("made:bad", "no stream").await.unwrap();
    for id in [1, 2, 3] {
        let v = if id == 2 { "bad" } else { "good" };
        world.execute(&format!("INSERT INTO t VALUES ({id}, '{v}')")).await;
    }
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache"] {
        daemon.wait_for(&name, sink, &lsn).await;
    }
    // A list is of what is durable.
    for sink in ["reporting", "cache"] {
        letter(&daemon, sink).await;
    }
    // Long after everybody has passed it, and after a restart.
    daemon.restart();
    daemon.wait_ready().await;
    let committed = "SELECT lsn || '/' || ordinal FROM made ORDER BY lsn";
    for sink in ["reporting", "cache"] {
        let (id, shown) = letter(&daemon, sink).await;
        assert!(shown.contains(r#""data": {"v": "bad", "id": 2}"#), "{shown}");
        assert!(shown.contains(&format!(r#""type": "{name}""#)), "{shown}");
        let refused = daemon.command(&["dead-letters", "retry", &id]).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    world.reporting.batch_execute("ALTER TABLE made DROP CONSTRAINT good").await.unwrap();
    let () = redis.del("made:bad").await.unwrap();
    for sink in ["reporting", "cache"] {
        let (id, _) = letter(&daemon, sink).await;
        let accepted = daemon.command(&["dead-letters", "retry", &id]).await;
        assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    }
    let ids = world.reporting.query(committed, &[]).await.unwrap();
    let ids: Vec<String> = ids.iter().map(|row| row.get(0)).collect();
    let sent = stream(&world, "made:bad").await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["data"], json!({ "id": 2, "v": "bad" }));
    assert_eq!(ids.len(), 3);
    assert_eq!(sent[0]["id"], Value::from(ids[1].as_str()));
    assert!(daemon.command(&["dead-letters", "list"]).await.stdout.trim_ascii().is_empty());
}

#[tokio::test]
async fn an_event_that_is_to_halt_stands_still_over_restarts_and_goes_on_in_order() {
    let world = World::new("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let name = world.name("kept");
    let config = world.config(&format!(
        "[event.{name}]\ntable = 't'\nwhen = 'old IS NULL'\ndata = 'new.id, 6 / new.id AS part, new.v'\n\
         on_error = 'halt'\nto.cache = {{ stream = 'kept:{{v}}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let mut redis = world.redis.client().await;
    let () = redis.set("kept:a", "no stream").await.unwrap();
    world.execute("INSERT INTO t VALUES (1, 'a')").await;
    halted(&daemon).await;
    world.execute("INSERT INTO t VALUES (2, 'a'), (3, 'a')").await;
    letter(&daemon, "cache").await;
    daemon.restart();
    halted(&daemon).await;
    let () = redis.del("kept:a").await.unwrap();
    let (id, _) = letter(&daemon, "cache").await;
    let accepted = daemon.command(&["dead-letters", "retry", &id]).await;
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "cache", &lsn).await;
    let ids = async || -> Vec<Value> {
        stream(&world, "kept:a").await.iter().map(|entry| entry["data"]["id"].clone()).collect()
    };
    assert_eq!(ids().await, [1, 2, 3]);

    // What cannot be computed shows the change, is refused again, and lets the others go on.
    world.execute("INSERT INTO t VALUES (0, 'a')").await;
    halted(&daemon).await;
    world.execute("INSERT INTO t VALUES (6, 'a')").await;
    let (id, shown) = letter(&daemon, "cache").await;
    assert!(shown.contains(r#"{"old": null, "new": {"v": "a", "id": 0}}"#), "{shown}");
    assert!(shown.contains("division by zero"), "{shown}");
    let dropped = daemon.command(&["dead-letters", "drop", &id]).await;
    assert_eq!(dropped.status.code(), Some(0), "{dropped:?}");
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "cache", &lsn).await;
    assert_eq!(ids().await, [1, 2, 3, 6]);
    daemon.wait_ready().await;
}

async fn halted(daemon: &Daemon) {
    crate::harness::wait::until("readyz to name the halted event", async || {
        let (status, text) = daemon.try_get("/readyz").await?;
        if status == 503 && text.contains("halted") { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Killed in the moment when the sink has taken a step with its watermark, and nothing else is known of what
/// it has refused: rows are sent again, occurrences of a stream are named by the sink itself.
#[tokio::test]
async fn what_is_refused_in_the_moment_of_a_kill_is_a_letter() {
    let world = World::new("CREATE TABLE t (id text PRIMARY KEY, n numeric, v text)").await;
    world
        .reporting
        .batch_execute(
            "CREATE TABLE made (lsn pg_lsn, ordinal bigint, type text, committed_at timestamptz,
             id text CHECK (id !~ 'bad'), v text, PRIMARY KEY (lsn, ordinal))",
        )
        .await
        .unwrap();
    let (rows, made) = (world.name("things"), world.name("made"));
    // What the cache refuses by itself, and what we do not send it.
    let unsent = world.name("unsent");
    let config = world.config(&format!(
        "[projection.{rows}]\ntable = 't'\n\
         to.reporting = {{ table = 'things', indexes = ['(v)'] }}\n\
         to.cache = {{ sorted_set = 'ranks', member = '{{id}}', score = 'n' }}\n\
         to.search = {{ index = '{rows}', mappings = {{ properties = {{ v = {{ type = 'keyword' }} }} }} }}\n\
         [event.{made}]\ntable = 't'\nwhen = 'old IS NULL'\ndata = 'new.id, new.v'\n\
         to.reporting = {{ table = 'made' }}\nto.cache = {{ stream = 'made:{{id}}' }}\n\
         to.search = {{ index = '{made}', mappings = {{ properties = {{ data = {{ properties = {{ v = {{ type = 'keyword' }} }} }} }} }} }}\n\
         [event.{unsent}]\ntable = 't'\nwhen = 'old IS NULL'\ndata = 'new.id, new.v::json AS v'\n\
         to.cache = {{ stream = 'unsent' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let mut redis = world.redis.client().await;
    for (round, sink) in ["cache", "reporting", "search"].into_iter().enumerate() {
        let round = round + 1;
        let () = redis.set(format!("made:bad{round}"), "no stream").await.unwrap();
        daemon.kill9();
        // Too long for an index's entry and for a keyword, no score, and json that has no document.
        world
            .execute(&format!(
                "INSERT INTO t SELECT 'bad{round}', 'NaN',
                    '\"\\u0000' || string_agg(md5(i::text || '{round}'), '') || '\"'
                 FROM generate_series(1, 1200) AS i;
                 INSERT INTO t VALUES ('good{round}', 1, '1')"
            ))
            .await;
        let lsn = world.lsn().await;
        // Its first step is the one with these, unless it was taken before they have come.
        while !has_passed(&world, sink, &[&rows, &made], &lsn).await {
            daemon.restart_with(&[("READSIDE_FAILPOINT", &format!("watermark@{sink}"))]);
            daemon.ended().await;
        }
        daemon.restart();
        let mut lanes = vec![("cache", &unsent)];
        for name in [&rows, &made] {
            lanes.extend(["reporting", "cache", "search"].map(|sink| (sink, name)));
        }
        for (sink, name) in lanes {
            daemon.wait_for(name, sink, &lsn).await;
            let labels = [("sink", sink), ("projection", name.as_str())];
            let all = |count| count == round as f64;
            until_metric(&daemon, "readside_dead_letters", &labels, all).await;
        }
    }
    // The occurrence is there, whoever has named it.
    let () = redis.del("made:bad1").await.unwrap();
    let list = daemon.command(&["dead-letters", "list", "--sink", "cache"]).await;
    let list = String::from_utf8(list.stdout).unwrap();
    let of_first = |line: &&str| line.contains("made:bad1") && line.contains("holds a string");
    let id = list.lines().find(of_first).and_then(|line| line.split_whitespace().next());
    let accepted = daemon.command(&["dead-letters", "retry", id.expect(&list)]).await;
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    assert_eq!(stream(&world, "made:bad1").await[0]["data"]["id"], json!("bad1"));
    let refused = format!("readside:refused:{{readside:watermark:{made}}}");
    let remembered: usize = redis.hlen(&refused).await.unwrap();
    assert_eq!(remembered, 2);
    let dropped = daemon.command(&["dead-letters", "drop", "--all"]).await;
    assert_eq!(dropped.status.code(), Some(0), "{dropped:?}");
    crate::harness::wait::until("Redis to forget what was dropped", async || {
        let remembered: usize = redis.clone().hlen(&refused).await.unwrap();
        if remembered == 0 { Ok(()) } else { Err(remembered.to_string()) }
    })
    .await;
    for round in 1..=3 {
        assert_eq!(stream(&world, &format!("made:good{round}")).await.len(), 1, "it comes once");
    }
}

/// Whether the sink's own watermarks are past `lsn`.
async fn has_passed(world: &World, sink: &str, projections: &[&String], lsn: &str) -> bool {
    let mut positions = Vec::new();
    for projection in projections {
        positions.push(match sink {
            "reporting" => {
                let sql = format!(
                    "SELECT lsn::text FROM readside.watermark WHERE projection = '{projection}'"
                );
                one(&world.reporting, &sql).await
            }
            "cache" => {
                let key = format!("readside:watermark:{projection}");
                world.redis.client().await.hget(key, "lsn").await.unwrap()
            }
            _ => {
                let document = world.search.document("readside-watermark", projection).await;
                document.unwrap()["_source"]["lsn"].as_str().unwrap().to_owned()
            }
        });
    }
    let passed = |at: &String| format!("'{at}'::pg_lsn >= '{lsn}'::pg_lsn");
    let all: Vec<String> = positions.iter().map(passed).collect();
    one(&world.client, &format!("SELECT ({})::text", all.join(" AND "))).await == "true"
}
