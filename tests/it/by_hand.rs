//! What an operator does by hand: dead letters looked at, tried again and dropped; a generation built
//! anew; a daemon that is away, and a token that is another one.

use std::fs;
use std::process::Output;

use redis::AsyncCommands;
use serde_json::Value;

use crate::harness::{Daemon, wait};
use crate::world::{World, one, until_metric};

/// What a command prints; it must have gone well.
fn printed(output: &Output) -> String {
    let (out, err) = texts(output);
    assert!(output.status.success(), "{:?}: {out}{err}", output.status);
    out
}

/// What a command says that has failed.
fn refused(output: &Output, code: i32) -> String {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    format!("{out}{err}")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&output.stdout), text(&output.stderr))
}

async fn letters(daemon: &Daemon, projection: &str, sink: &str, count: f64) {
    let labels = [("sink", sink), ("projection", projection)];
    until_metric(daemon, "readside_dead_letters", &labels, |found| found == count).await;
}

#[tokio::test]
async fn letters_are_listed_shown_tried_again_and_dropped() {
    let world = World::new(
        "CREATE TABLE things (id text PRIMARY KEY, note text, rank numeric, many numeric[]);
         INSERT INTO things VALUES ('good', 'old', 1)",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\n\
         to.reporting = {{ table = 'things', indexes = ['(note)'] }}\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    assert_eq!(printed(&daemon.command(&["dead-letters", "list"]).await), "");

    let long = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i";
    world
        .execute(&format!(
            "INSERT INTO things VALUES ('much', ({long}), 1.50), (repeat('long', 200), 'x', 2)"
        ))
        .await;
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "reporting", &lsn).await;
    daemon.wait_for(&name, "search", &lsn).await;
    letters(&daemon, &name, "reporting", 1.0).await;
    letters(&daemon, &name, "search", 1.0).await;

    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    let of = |sink: &str| lines.iter().find(|line| line.contains(sink)).expect("a line");
    let id = |sink: &str| of(sink).split(' ').next().expect("an id").to_owned();
    for word in [&name, "much", "index row"] {
        assert!(of("reporting").contains(word), "{list}");
    }
    assert!(of("search").contains("longlong") && of("search").contains("the document's id"));
    let only = printed(&daemon.command(&["dead-letters", "list", "--sink", "search"]).await);
    assert_eq!(only.trim_end(), *of("search"));
    // Restarts change neither letters nor ids.
    daemon.restart();
    daemon.wait_for(&name, "reporting", &lsn).await;
    let again = printed(&daemon.command(&["dead-letters", "list", "--json"]).await);
    let mut ids: Vec<String> = Vec::new();
    for line in again.lines() {
        let letter: Value = serde_json::from_str(line).expect("JSON");
        ids.push(letter["id"].as_str().expect("an id").to_owned());
    }
    ids.sort();
    let mut before = vec![id("reporting"), id("search")];
    before.sort();
    assert_eq!(ids, before);

    let shown = printed(&daemon.command(&["dead-letters", "show", &id("reporting")]).await);
    for word in ["sink        reporting", "key         much", r#""rank": 1.50"#, r#""many": null"#]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    // Nothing has changed that could help.
    let said = refused(&daemon.command(&["dead-letters", "retry", &id("reporting")]).await, 1);
    assert!(said.contains("refused again: ") && said.contains("index row"), "{said}");
    letters(&daemon, &name, "reporting", 1.0).await;
    world.reporting.batch_execute("DROP INDEX things_note_idx").await.unwrap();
    let said = printed(&daemon.command(&["dead-letters", "retry", &id("reporting")]).await);
    assert_eq!(said, format!("{}  accepted\n", id("reporting")));
    letters(&daemon, &name, "reporting", 0.0).await;
    assert_eq!(
        one(&world.reporting, "SELECT rank::text FROM things WHERE id = 'much'").await,
        "1.50"
    );

    let said = printed(&daemon.command(&["dead-letters", "drop", "--all"]).await);
    assert_eq!(said, format!("{}  dropped\n", id("search")));
    letters(&daemon, &name, "search", 0.0).await;
    assert_eq!(printed(&daemon.command(&["dead-letters", "list"]).await), "");
    for command in ["show", "retry", "drop"] {
        let said = refused(&daemon.command(&["dead-letters", command, &id("search")]).await, 1);
        assert!(said.contains("there is no dead letter"), "{said}");
    }
    // Dropped is forgotten for good.
    daemon.restart();
    daemon.wait_ready().await;
    assert_eq!(printed(&daemon.command(&["dead-letters", "list"]).await), "");
}

#[tokio::test]
async fn a_halted_projection_goes_on_by_hand() {
    let world = World::new("CREATE TABLE things (id text PRIMARY KEY, note text)").await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\non_error = 'halt'\n\
         to.reporting = {{ table = 'things', indexes = ['(note)'] }}\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let long = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i";
    world.execute(&format!("INSERT INTO things VALUES ('much', ({long}))")).await;
    world.execute("INSERT INTO things VALUES (repeat('long', 200), 'x')").await;
    letters(&daemon, &name, "reporting", 1.0).await;
    letters(&daemon, &name, "search", 1.0).await;
    world.execute("INSERT INTO things VALUES ('after', 'y')").await;
    let lsn = world.lsn().await;
    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    let id = |sink: &str| {
        let line = list.lines().find(|line| line.contains(sink)).expect("a line");
        line.split(' ').next().expect("an id").to_owned()
    };
    let said = refused(&daemon.command(&["dead-letters", "retry", &id("reporting")]).await, 1);
    assert!(said.contains("refused again"), "{said}");
    world.reporting.batch_execute("DROP INDEX things_note_idx").await.unwrap();
    printed(&daemon.command(&["dead-letters", "retry", &id("reporting")]).await);
    printed(&daemon.command(&["dead-letters", "drop", &id("search")]).await);
    daemon.wait_for(&name, "reporting", &lsn).await;
    daemon.wait_for(&name, "search", &lsn).await;
    daemon.wait_ready().await;
    let rows = one(&world.reporting, "SELECT count(*)::text FROM things").await;
    assert_eq!(rows, "3");
    let documents = world.indexed("things").await.unwrap();
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["after", "much"]);
}

#[tokio::test]
async fn a_halted_history_goes_on_from_the_refused_row() {
    let world = World::new("CREATE TABLE things (id text PRIMARY KEY, note text)").await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\non_error = 'halt'\nto.reporting = \
         {{ table = 'things', indexes = ['(note)'], history = 'things_history' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.execute("INSERT INTO things VALUES ('before', 'x')").await;
    daemon.wait_for(&name, "reporting", &world.lsn().await).await;
    let long = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i";
    world.execute(&format!("INSERT INTO things VALUES ('much', ({long}))")).await;
    letters(&daemon, &name, "reporting", 1.0).await;
    world.execute("INSERT INTO things VALUES ('after', 'y')").await;
    let lsn = world.lsn().await;
    let end = one(&world.client, &format!("SELECT ('{lsn}'::pg_lsn - '0/0')::text")).await;
    let end: f64 = end.parse().unwrap();
    // What is durable has left memory; a restart meets the refused row again.
    until_metric(&daemon, "readside_durable_lsn", &[], |durable| durable >= end).await;
    daemon.restart();
    wait::until("readyz to name the halted projection", async || {
        let (status, text) = daemon.try_get("/readyz").await?;
        if status == 503 && text.contains("halted") { Ok(()) } else { Err(text) }
    })
    .await;
    world.reporting.batch_execute("DROP INDEX things_note_idx").await.unwrap();
    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    let id = list.split(' ').next().expect("an id");
    printed(&daemon.command(&["dead-letters", "retry", id]).await);
    daemon.wait_for(&name, "reporting", &lsn).await;
    daemon.wait_ready().await;
    letters(&daemon, &name, "reporting", 0.0).await;
    let things = "SELECT string_agg(id, ' ' ORDER BY id) FROM things";
    assert_eq!(one(&world.reporting, things).await, "after before much");
    let versions =
        "SELECT string_agg(id || ' ' || (valid_to IS NULL), ', ' ORDER BY id) FROM things_history";
    assert_eq!(one(&world.reporting, versions).await, "after true, before true, much true");
}

#[tokio::test]
async fn a_row_that_cannot_be_computed_is_a_letter_of_no_sink() {
    let world = World::new(
        "CREATE TABLE things (id int PRIMARY KEY, a int, b int);
         INSERT INTO things VALUES (1, 6, 3), (2, 6, 0)",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\nquery = 'SELECT id, a / b AS q FROM things'\n\
         to.reporting = {{ table = 'things' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    assert!(list.lines().count() == 1 && list.contains("division by zero"), "{list}");
    let id = list.split(' ').next().expect("an id");
    let lsn = list.split("  ").nth(4).expect("an LSN").to_owned();
    assert!(list.starts_with(&format!("{id}  -  {name}  2  {lsn}  division")), "{list}");
    assert!(lsn.contains('/'), "{list}");
    // The last change of what cannot be computed.
    let before = world.lsn().await;
    world.execute("UPDATE things SET a = 7 WHERE id = 2").await;
    wait::until("the change to be the letter's", async || {
        let list = printed(&daemon.command(&["dead-letters", "list"]).await);
        let sql = format!(
            "SELECT ('{}'::pg_lsn >= '{before}')::text",
            list.split("  ").nth(4).unwrap_or("0/0")
        );
        if one(&world.client, &sql).await == "true" { Ok(()) } else { Err(list) }
    })
    .await;
    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    // It is missing in each sink of its projection, and in no other.
    let of = async |sink| printed(&daemon.command(&["dead-letters", "list", "--sink", sink]).await);
    assert_eq!((of("reporting").await, of("cache").await), (list.clone(), String::new()));
    let said = refused(&daemon.command(&["dead-letters", "retry", "--all"]).await, 0);
    assert!(said.contains("no dead letters that a sink has refused"), "{said}");
    let shown = printed(&daemon.command(&["dead-letters", "show", id]).await);
    assert!(shown.contains("the row cannot be computed"), "{shown}");
    for command in ["retry", "drop"] {
        let said = refused(&daemon.command(&["dead-letters", command, id]).await, 1);
        assert!(said.contains("goes by itself"), "{said}");
    }
    world.execute("UPDATE things SET b = 2").await;
    letters(&daemon, &name, "reporting", 0.0).await;
    assert_eq!(printed(&daemon.command(&["dead-letters", "list"]).await), "");
}

#[tokio::test]
async fn a_rebuild_brings_a_new_generation() {
    let world = World::new(
        "CREATE TABLE things (id int PRIMARY KEY, note text);
         INSERT INTO things SELECT i, 'note ' || i FROM generate_series(1, 500) AS i",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&world.projection("things", "things", &["id"]));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    // What nobody but us should do.
    world.reporting.batch_execute("DELETE FROM things WHERE id > 400").await.unwrap();
    let mut redis = world.redis.client().await;
    let _: () = redis.set("things:7", "other").await.unwrap();
    let _: () = redis.set("things:777", "{}").await.unwrap();
    let said = printed(&daemon.command(&["rebuild", &name]).await);
    assert_eq!(said, format!("{name}: rebuilt, 500 rows\n"));
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM things").await, "500");
    let seven: String = redis.get("things:7").await.unwrap();
    assert_eq!(seven, r#"{"id": 7, "note": "note 7"}"#);
    let status = daemon.status().await;
    let of = &status["projections"][0];
    for lane in of["sinks"].as_array().expect("a list") {
        assert_eq!(lane["state"], "live", "{of}");
        assert!(lane["generation"].as_u64().expect("a number") >= 2, "{of}");
    }
    // What happens afterwards arrives in the new generation.
    world
        .execute("UPDATE things SET note = 'new' WHERE id = 7; DELETE FROM things WHERE id = 8")
        .await;
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&name, sink, &lsn).await;
    }
    let documents = world.indexed("things").await.unwrap();
    assert_eq!((documents.len(), &documents["7"]["note"]), (499, &Value::from("new")));

    let said = printed(&daemon.command(&["rebuild", &name, "--sink", "search", "--no-wait"]).await);
    assert!(said.contains("has begun"), "{said}");
    for (arguments, words) in [
        (&["rebuild", "nothing"][..], "there is no projection nothing"),
        (&["rebuild", &name, "--sink", "other"], "does not go to a sink other"),
    ] {
        let said = refused(&daemon.command(arguments).await, 1);
        assert!(said.contains(words), "{said}");
    }
}

/// Ordered is done, also when the daemon does not live to see its end.
#[tokio::test]
async fn a_rebuild_survives_the_daemon() {
    let world = World::new(
        "CREATE TABLE things (id int PRIMARY KEY, note text);
         INSERT INTO things SELECT i, 'note ' || i FROM generate_series(1, 500) AS i",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&world.projection("things", "things", &["id"]));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.reporting_net.cut();
    until_metric(&daemon, "readside_sink_up", &[("sink", "reporting")], |up| up == 0.0).await;
    printed(&daemon.command(&["rebuild", &name, "--sink", "reporting", "--no-wait"]).await);
    daemon.kill9();
    world.reporting.batch_execute("DELETE FROM things WHERE id > 400").await.unwrap();
    world.reporting_net.heal();
    daemon.restart();
    daemon.wait_ready().await;
    wait::until("the rows to be back", async || {
        let rows = one(&world.reporting, "SELECT count(*)::text FROM things").await;
        if rows == "500" { Ok(()) } else { Err(rows) }
    })
    .await;
}

#[tokio::test]
async fn a_rebuild_revives_what_was_quarantined() {
    let world = World::new(
        "CREATE TABLE things (id int PRIMARY KEY, note text);
         INSERT INTO things VALUES (1, 'a')",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\nquery = 'SELECT id, note FROM things'\n\
         to.reporting = {{ table = 'things' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.execute("ALTER TABLE things RENAME COLUMN note TO other").await;
    world.execute("INSERT INTO things VALUES (2, 'b')").await;
    wait::until("the projection to stand apart", async || {
        let status = daemon.status().await;
        let state = status["projections"][0]["state"].clone();
        if state == "quarantined" { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
    let said = refused(&daemon.command(&["rebuild", &name]).await, 1);
    assert!(said.contains("stays as it is") && said.contains("note"), "{said}");
    world.execute("ALTER TABLE things RENAME COLUMN other TO note").await;
    // A look at the catalog may have found that as well, and the pipeline is being built.
    let rebuilt = wait::until("the rebuild", async || {
        let output = daemon.command(&["rebuild", &name]).await;
        let (_, err) = texts(&output);
        if err.contains("try again in a moment") { Err(err) } else { Ok(output) }
    });
    let said = printed(&rebuilt.await);
    assert_eq!(said, format!("{name}: rebuilt, 2 rows\n"));
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "reporting", &lsn).await;
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM things").await, "2");
}

/// Two rows of one step have halted it: the first retry sends both.
#[tokio::test]
async fn all_letters_of_a_halted_projection_are_tried_again_at_once() {
    let world = World::new("CREATE TABLE things (id text PRIMARY KEY, note text)").await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\non_error = 'halt'\n\
         to.reporting = {{ table = 'things', indexes = ['(note)'] }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let long = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i";
    let rows = ["a", "b", "c"].map(|id| format!("('{id}', ({long}))")).join(", ");
    world.execute(&format!("INSERT INTO things VALUES {rows}")).await;
    letters(&daemon, &name, "reporting", 3.0).await;
    // Whoever cannot be found stops nobody else.
    let unknown = "0123456789abcdef";
    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    let id = list.split(' ').next().expect("an id");
    let said = refused(&daemon.command(&["dead-letters", "retry", unknown, id]).await, 1);
    assert!(said.contains(&format!("{unknown}  there is no dead letter")), "{said}");
    assert!(said.contains(&format!("{id}  refused again")), "{said}");

    world.reporting.batch_execute("DROP INDEX things_note_idx").await.unwrap();
    let said = printed(&daemon.command(&["dead-letters", "retry", "--all"]).await);
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.lines().next().expect("a line").ends_with("  accepted"), "{said}");
    daemon.wait_for(&name, "reporting", &world.lsn().await).await;
    daemon.wait_ready().await;
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM things").await, "3");
}

/// A sink that is away answers nobody: that is known without waiting for it.
#[tokio::test]
async fn a_retry_does_not_wait_for_a_sink_that_is_away() {
    let world = World::new("CREATE TABLE things (id text PRIMARY KEY, note text)").await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\ntable = 'things'\n\
         to.reporting = {{ table = 'things', indexes = ['(note)'] }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let long = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i";
    world.execute(&format!("INSERT INTO things VALUES ('a', ({long})), ('b', ({long}))")).await;
    letters(&daemon, &name, "reporting", 2.0).await;
    world.reporting.batch_execute("DROP INDEX things_note_idx").await.unwrap();
    world.reporting_net.cut();
    until_metric(&daemon, "readside_sink_up", &[("sink", "reporting")], |up| up == 0.0).await;
    let said = refused(&daemon.command(&["dead-letters", "retry", "--all"]).await, 1);
    assert_eq!(said.matches("  waits: the sink is away").count(), 2, "{said}");
    // It goes with what the sink is sent next.
    world.reporting_net.heal();
    letters(&daemon, &name, "reporting", 0.0).await;
    assert_eq!(one(&world.reporting, "SELECT count(*)::text FROM things").await, "2");
}

/// What is quarantined keeps its letters, and they are counted.
#[tokio::test]
async fn letters_of_a_quarantined_projection_are_counted() {
    let world = World::new("CREATE TABLE things (id text PRIMARY KEY, note text)").await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\nquery = 'SELECT id, note FROM things'\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.execute("INSERT INTO things VALUES (repeat('long', 200), 'x')").await;
    letters(&daemon, &name, "search", 1.0).await;
    world.execute("ALTER TABLE things RENAME COLUMN note TO other").await;
    world.execute("INSERT INTO things VALUES ('b', 'b')").await;
    let standing = async |daemon: &Daemon| {
        wait::until("the projection to stand apart", async || {
            let (_, text) = daemon.try_get("/v1/status").await?;
            let status: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let of = &status["projections"][0];
            if of["state"] == "quarantined" { Ok(of.clone()) } else { Err(of.to_string()) }
        })
        .await
    };
    standing(&daemon).await;
    // The next pipeline does not have it at all.
    let said = refused(&daemon.command(&["rebuild", &name]).await, 1);
    assert!(said.contains("stays as it is"), "{said}");
    let of = standing(&daemon).await;
    assert_eq!(of["sinks"][0]["dead_letters"], 1, "{of}");
    letters(&daemon, &name, "search", 1.0).await;
    let list = printed(&daemon.command(&["dead-letters", "list"]).await);
    assert_eq!(list.lines().count(), 1, "{list}");
    // Nor can it be compared; that it goes there is known all the same.
    let said = refused(&daemon.command(&["verify", &name, "--sink", "search"]).await, 1);
    assert!(said.contains("is quarantined") && said.contains("note"), "{said}");
}

#[tokio::test]
async fn a_daemon_that_is_away_and_a_token_that_is_another_one() {
    let world = World::new("CREATE TABLE things (id int PRIMARY KEY)").await;
    let config = world.config(&world.projection("things", "things", &["id"]));
    let scratch = tempfile::tempdir().unwrap();
    let token = scratch.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let token = token.display().to_string();
    let mut daemon = Daemon::start_with(&config, &[("READSIDE__HTTP__TOKEN_FILE", &token)]);
    daemon.wait_ready().await;
    printed(&daemon.command(&["dead-letters", "list"]).await);
    fs::write(&token, "other").unwrap();
    let commands: [&[&str]; 4] = [
        &["status"],
        &["dead-letters", "list"],
        &["dead-letters", "drop", "0"],
        &["rebuild", "things"],
    ];
    for command in commands {
        let said = refused(&daemon.command(command).await, 1);
        assert!(said.contains("wants the token of http.token_file"), "{said}");
    }
    daemon.kill9();
    for command in commands {
        let said = refused(&daemon.command(command).await, 1);
        assert!(said.contains("is `readside run` running?"), "{said}");
    }
}
