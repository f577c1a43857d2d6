//! Rows that are refused, servers that die, other pipelines.

use super::*;

#[tokio::test]
async fn only_the_refused_rows_are_refused_and_their_older_versions_go() {
    let world = World::start().await;
    let query = "SELECT 1 AS id, 1 AS v, 'x'::text AS name";
    let p = world.projection("t", &["id"], query).await;
    let other = world.projection("other", &["id"], query).await;
    let reader = world.reader().await;
    let mut sink = opened(&world, &[p.clone(), other.clone()]).await;
    let old: Vec<Entry> = (0..1000).map(|id| row(&p, &[&id.to_string(), "0", "old"], 5)).collect();
    sink.apply(&step(6, vec![(0, old), (1, vec![])])).await.unwrap();
    reader
        .batch_execute("ALTER TABLE t ADD CHECK (v % 100 <> 7); CREATE INDEX ON t (name)")
        .await
        .unwrap();

    let long = "y".repeat(9000);
    let random: String = (0..9000)
        .map(|i: u32| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 90))
        .collect();
    let mut new: Vec<Entry> =
        (0..1000).map(|v| row(&p, &[&v.to_string(), &v.to_string(), "new"], 8)).collect();
    new[500] = row(&p, &["500", "1", &random], 8);
    new[501] = row(&p, &["501", "1", &long], 8);
    new.push(tombstone(&p, &["5000"], 8));
    let step = step(9, vec![(0, new), (1, vec![row(&other, &["1", "1", "o"], 8)])]);
    let outcome = sink.apply(&step).await.unwrap();

    let mut refused: Vec<String> = Vec::new();
    for poison in &outcome.poison {
        assert_eq!(poison.projection, 0);
        let mut key = Vec::new();
        value::write_text(&p.columns[0].ty, poison.entry.key(), &mut key).unwrap();
        refused.push(format!("{}: {}", String::from_utf8(key).unwrap(), poison.error));
    }
    refused.sort();
    assert_eq!(refused.len(), 11, "{refused:#?}");
    assert!(refused[0].starts_with("107: ") && refused[0].contains("t_v_check"), "{}", refused[0]);
    assert!(refused[4].starts_with("500: index row"), "{}", refused[4]);
    assert_eq!((outcome.upserts, outcome.deletes), (1000 + 1 - 11, 1));
    assert_eq!(text(&reader, "SELECT count(*), min(name), max(v) FROM t").await, "989|new|999");
    assert_eq!(text(&reader, "SELECT * FROM other").await, "1|1|o");
    assert_eq!(text(&reader, "SELECT DISTINCT lsn FROM readside.watermark").await, "0/9");
}

#[tokio::test]
async fn a_refused_row_does_not_cost_the_backlog_before_it() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 1 AS v").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    reader.batch_execute("ALTER TABLE t ADD CHECK (v <> 7)").await.unwrap();
    let part = |id: &str, v: &str| vec![(0, vec![row(&p, &[id, v], 5)])];
    sink.apply(&unsettled(step(1, part("1", "1")))).await.unwrap();
    assert_eq!(sink.apply(&unsettled(step(1, part("1", "7")))).await.unwrap().poison.len(), 1);
    assert_eq!(sink.apply(&unsettled(step(1, part("2", "2")))).await.unwrap().poison.len(), 0);
    assert_eq!(sink.apply(&step(9, part("3", "7"))).await.unwrap().poison.len(), 1);
    assert_eq!(text(&reader, "SELECT * FROM t").await, "2|2");
    assert_eq!(text(&reader, "SELECT lsn FROM readside.watermark").await, "0/9");
}

/// What the engine knows for the first row under its key is inserted; where somebody else was before it, it wins.
#[tokio::test]
async fn a_row_that_somebody_wrote_is_overwritten_by_the_first_of_its_key() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 'x'::text AS v").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    sink.apply(&step(2, vec![(0, vec![row(&p, &["1", "a"], 1)])])).await.unwrap();
    reader.batch_execute("INSERT INTO t VALUES (3, 'theirs')").await.unwrap();

    let mut arrangement = Arrangement::default();
    for id in ["2", "3", "4"] {
        arrangement.put(row(&p, &[id, "ours"], 5));
    }
    let first: Vec<Entry> = arrangement.changes_from(0).unwrap().cloned().collect();
    assert!(first.iter().all(Entry::is_first));
    let changes = [vec![row(&p, &["1", "b"], 5)], first].concat();
    let outcome = sink.apply(&step(6, vec![(0, changes)])).await.unwrap();
    assert!(outcome.poison.is_empty(), "{:?}", outcome.poison);
    let all = "1|b\n2|ours\n3|ours\n4|ours";
    assert_eq!(text(&reader, "SELECT * FROM t ORDER BY id").await, all);
}

#[tokio::test]
async fn values_of_a_unique_column_may_change_hands() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 'x'::text AS email").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    sink.apply(&step(6, vec![(0, vec![row(&p, &["1", "a"], 5), row(&p, &["2", "b"], 5)])]))
        .await
        .unwrap();
    reader.batch_execute("CREATE UNIQUE INDEX ON t (email)").await.unwrap();
    let moved = vec![row(&p, &["1", "b"], 7), row(&p, &["2", "c"], 7)];
    let outcome = sink.apply(&step(8, vec![(0, moved)])).await.unwrap();
    assert!(outcome.poison.is_empty(), "{:?}", outcome.poison);
    assert_eq!(text(&reader, "SELECT * FROM t ORDER BY id").await, "1|b\n2|c");
    // A constraint that speaks at the commit is made to speak at the row.
    reader.batch_execute("DROP INDEX t_email_idx; ALTER TABLE t ADD UNIQUE (email) DEFERRABLE INITIALLY DEFERRED").await.unwrap();
    let outcome = sink.apply(&step(10, vec![(0, vec![row(&p, &["3", "c"], 9)])])).await.unwrap();
    assert_eq!(outcome.poison.len(), 1);
    assert_eq!(text(&reader, "SELECT lsn FROM readside.watermark").await, "0/A");
}

#[tokio::test]
async fn a_fill_leaves_out_what_its_table_and_its_target_refuse() {
    let world = World::start().await;
    let mut p = world.projection("t", &["id"], "SELECT 1 AS id, 'x'::text AS name, 1 AS v").await;
    p.targets = vec![target("public", "t", &["((1 / v))", "(name)"])];
    let reader = world.reader().await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    let random: String = (0..9000)
        .map(|i: u32| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 90))
        .collect();
    let rows: Vec<Entry> = (0..1000)
        .map(|id: u32| {
            let name = if id == 77 { random.clone() } else { format!("n{id}") };
            let v = if id == 500 { 0 } else { id + 1 };
            let id = (id != 3).then(|| id.to_string());
            row_of(&p, &[id.as_deref(), Some(&name), Some(&v.to_string())], 5)
        })
        .collect();
    sink.begin_fill(0, 1).await.unwrap();
    // COPY finds the missing key, the indexes the others.
    assert_eq!(sink.fill(0, &rows).await.unwrap().poison.len(), 1);
    sink.end_fill(0).await.unwrap();
    let outcome = sink.apply(&finishing(6, vec![(0, vec![])], 1)).await.unwrap();
    let mut keys: Vec<&[u8]> = outcome.poison.iter().map(|poison| poison.entry.key()).collect();
    keys.sort();
    assert_eq!(keys, [rows[77].key(), rows[500].key()]);
    let known = |poison: &readside::sink::Poison| {
        rows.iter().any(|row| row.value() == poison.entry.value())
    };
    assert!(outcome.poison.iter().all(known));
    assert_eq!(text(&reader, "SELECT count(*) FROM t").await, "997");
    assert_eq!(
        text(&reader, "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass").await,
        "3"
    );

    // The target has a constraint that the fill's table does not know.
    reader.batch_execute("ALTER TABLE t ADD CHECK (name <> 'wrong')").await.unwrap();
    let rows = [row(&p, &["1", "wrong", "1"], 7), row(&p, &["2", "right", "1"], 7)];
    let outcome = fill(&mut sink, 0, &rows, 8, 2).await.unwrap();
    assert_eq!(outcome.poison.len(), 1);
    assert_eq!(outcome.poison[0].entry.key(), rows[0].key());
    assert_eq!(text(&reader, "SELECT id, name FROM t").await, "2|right");
}

#[tokio::test]
async fn a_killed_server_loses_nothing_and_repeats_nothing() {
    let mut world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 1 AS v").await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    let step_of = |round: u64| {
        let rows =
            (0..500).map(|id: u32| row(&p, &[&id.to_string(), &round.to_string()], round * 10 + 1));
        step(round * 10 + 5, vec![(0, rows.collect())])
    };
    for round in 1..=3_u64 {
        sink.apply(&step_of(round)).await.unwrap();
        // Killed while the next one is under way, at another moment each time.
        let next = step_of(round + 1);
        let killed = {
            let pid =
                rustix::process::Pid::from_raw(i32::try_from(world.server.pid()).unwrap()).unwrap();
            let apply = sink.apply(&next);
            let kill = async {
                for _ in 0..round * 3 {
                    tokio::task::yield_now().await;
                }
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            };
            tokio::join!(apply, kill).0
        };
        world.server.restart().await;
        let position = positions(&sink.open().await.unwrap())[0].unwrap();
        let (before, after) = (round * 10 + 5, round * 10 + 15);
        assert!(position == before || position == after, "{position}");
        assert!(killed.is_err() || position == after, "an answered step is durable");
        let reader = world.reader().await;
        let expected = format!("{}|500", if position == before { round } else { round + 1 });
        assert_eq!(text(&reader, "SELECT DISTINCT v, count(*) OVER () FROM t").await, expected);
        sink.apply(&next).await.unwrap();
        sink.apply(&next).await.unwrap();
        let expected = format!("{}|500", round + 1);
        assert_eq!(text(&reader, "SELECT DISTINCT v, count(*) OVER () FROM t").await, expected);
    }
}

#[tokio::test]
async fn a_target_of_another_pipeline_is_refused() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id").await;
    let mut ours = opened(&world, std::slice::from_ref(&p)).await;
    let theirs = |p: &SinkProjection| {
        PostgresSink::new(&world.config(), "7000/other".into(), vec![p.clone()])
    };
    insta::assert_snapshot!(fatal(theirs(&p).open().await), @r"
    public.t is written by another pipeline: the watermark of t names the owner 7123456789/readside
    hint: choose another table or database; or, if that pipeline is no more, type:
    DELETE FROM readside.watermark WHERE projection = 't';
    ");
    // Under another name, too.
    let mut renamed = p.clone();
    renamed.name = "u".into();
    let error = fatal(theirs(&renamed).open().await);
    assert!(error.contains("the watermark of t names the owner 7123456789/readside"), "{error}");

    // Our own projection under another name goes on as ours.
    let mut sink = world.sink(&[renamed]);
    assert_eq!(sink.open().await.unwrap(), [None]);
    fill(&mut sink, 0, &[], 6, 2).await.unwrap();
    let reader = world.reader().await;
    assert_eq!(text(&reader, "SELECT projection FROM readside.watermark").await, "u");

    // Taken over while we run.
    reader
        .batch_execute("UPDATE readside.watermark SET owner = '7000/other', projection = 't'")
        .await
        .unwrap();
    let error = fatal(ours.apply(&step(8, vec![(0, vec![row(&p, &["1"], 7)])])).await);
    assert!(error.contains("another pipeline"), "{error}");
    assert_eq!(text(&reader, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn a_step_that_comes_too_late_changes_nothing() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 1 AS v").await;
    let mut late = opened(&world, std::slice::from_ref(&p)).await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    sink.apply(&step(20, vec![(0, vec![row(&p, &["1", "2"], 19)])])).await.unwrap();
    let error = retryable(late.apply(&step(10, vec![(0, vec![row(&p, &["1", "1"], 9)])])).await);
    assert!(error.contains("already further"), "{error}");
    assert_eq!(text(&world.reader().await, "SELECT v FROM t").await, "2");
}

#[tokio::test]
async fn trouble_of_the_server_is_retryable_and_named() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    let next = || step(8, vec![(0, vec![row(&p, &["1"], 7)])]);

    // A lock that somebody holds.
    reader.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let error = retryable(sink.apply(&next()).await);
    assert!(error.contains("55P03") && error.contains("holds a lock"), "{error}");
    reader.batch_execute("COMMIT").await.unwrap();
    retryable(sink.apply(&next()).await);
    sink.open().await.unwrap();
    sink.apply(&next()).await.unwrap();

    // Read-only.
    reader
        .batch_execute(&format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            world.database
        ))
        .await
        .unwrap();
    sink.open().await.unwrap();
    let error = retryable(sink.apply(&next()).await);
    assert!(error.contains("read-only"), "{error}");

    // A role without rights.
    reader.batch_execute(&format!("SET default_transaction_read_only = off; ALTER DATABASE {} RESET default_transaction_read_only; CREATE ROLE weak LOGIN; GRANT USAGE ON SCHEMA readside TO weak", world.database)).await.unwrap();
    let url = world.server.url_as("weak", &world.database);
    let error =
        retryable(PostgresSink::new(&config(url), OWNER.into(), vec![p.clone()]).open().await);
    assert!(error.contains("42501"), "{error}");

    // Nobody there; a URL that is none.
    let refused =
        PostgresSink::new(&config("postgres://127.0.0.1:1/x".into()), OWNER.into(), vec![])
            .open()
            .await;
    assert!(retryable(refused).contains("cannot connect"));
    fatal(PostgresSink::new(&config("mysql://x".into()), OWNER.into(), vec![]).open().await);
}
