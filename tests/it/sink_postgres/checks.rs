//! `readside check`: every fault at once, and nothing is created.

use std::fmt::Write as _;

use readside::sink::postgres::check;

use super::*;

/// What a check finds, without the port.
async fn faults(world: &World, url: String, projections: &[SinkProjection]) -> String {
    let mut found = String::new();
    for fault in check(&config(url), Some(OWNER), projections).await {
        writeln!(found, "{}", fault.what).unwrap();
        if let Some(hint) = fault.hint {
            writeln!(found, "  {}", hint.replace('\n', "\n  ")).unwrap();
        }
    }
    found.replace(&world.server.port().to_string(), "PORT").replace(&world.database, "DATABASE")
}

#[tokio::test]
async fn a_good_sink_has_no_faults_and_stays_untouched() {
    let world = World::start().await;
    let mut p = world.projection("t", &["id"], "SELECT 1 AS id, 'x'::text AS name").await;
    p.targets = vec![target("public", "t", &["(name)"]), target("new", "t", &[])];
    let reader = world.reader().await;
    let objects = "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_namespace)";
    let before = text(&reader, objects).await;
    assert_eq!(faults(&world, world.server.url(&world.database), &[p]).await, "");
    assert_eq!(text(&reader, objects).await, before);
}

#[tokio::test]
async fn every_fault_of_the_targets_is_told() {
    let world = World::start().await;
    let reader = world.reader().await;
    let mut held = world.projection("held", &["id"], "SELECT 1 AS id").await;
    let mut theirs = PostgresSink::new(&world.config(), "7000/other".into(), vec![held.clone()]);
    theirs.open().await.unwrap();
    fill(&mut theirs, 0, &[], 1, 1).await.unwrap();
    held.targets.push(target("public", "held2", &[]));
    let mut indexed =
        world.projection("indexed", &["id"], "SELECT 1 AS id, '{}'::json AS doc").await;
    indexed.targets = vec![target(
        "public",
        "indexed",
        &["(id)", "(nothing)", "(doc)", "(id); DROP TABLE held", ""],
    )];
    let other = world.projection("other", &["id"], "SELECT 1 AS id, 2 AS n").await;
    reader.batch_execute("CREATE TABLE other (id int PRIMARY KEY, n bigint)").await.unwrap();
    let found = faults(&world, world.server.url(&world.database), &[held, indexed, other]).await;
    insta::assert_snapshot!(found, @"");
    assert_eq!(text(&reader, "SELECT to_regclass('held')").await, "held");
}

#[tokio::test]
async fn missing_privileges_come_with_the_statements_to_type() {
    let world = World::start().await;
    let reader = world.reader().await;
    reader.batch_execute(
        "CREATE ROLE \"Weak\" LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE TABLE t (id int PRIMARY KEY)",
    ).await.unwrap();
    let p = world.projection("t", &["id"], "SELECT 1 AS id").await;
    let mut q = p.clone();
    q.targets = vec![target("far", "away", &[]), target("public", "u", &[])];
    let url = world.server.url_as("Weak", &world.database);
    let found = faults(&world, url.clone(), &[p.clone(), q.clone()]).await;
    insta::assert_snapshot!(found, @"");

    // With the schema made by somebody else.
    drop(opened(&world, &[world.projection("other", &["id"], "SELECT 1 AS id").await]).await);
    let found = faults(&world, url.clone(), &[]).await;
    insta::assert_snapshot!(found, @"");

    // What the hints say suffices.
    reader
        .batch_execute(&format!(
        "GRANT CREATE ON DATABASE {} TO \"Weak\"; GRANT USAGE, CREATE ON SCHEMA public TO \"Weak\";
         ALTER TABLE t OWNER TO \"Weak\"; GRANT USAGE ON SCHEMA readside TO \"Weak\";
         GRANT SELECT, INSERT, UPDATE, DELETE ON readside.watermark TO \"Weak\"", world.database))
        .await
        .unwrap();
    assert_eq!(faults(&world, url.clone(), &[p.clone(), q.clone()]).await, "");
    let mut sink = PostgresSink::new(&config(url), OWNER.into(), vec![p, q]);
    sink.open().await.unwrap();
    for projection in 0..2 {
        fill(&mut sink, projection, &[], 1, 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_cannot_serve_says_why() {
    let world = World::start().await;
    let reader = world.reader().await;
    let mut found = faults(&world, "postgres://127.0.0.1:1/x".into(), &[]).await;
    found += &faults(&world, "mysql://x".into(), &[]).await;
    found += &faults(&world, world.server.url("absent"), &[]).await;
    found += &faults(&world, world.server.url_as("nobody", &world.database), &[]).await;
    found += &faults(&world, world.server.url(&world.database) + "?sslmode=require", &[]).await;
    let read_only =
        format!("ALTER DATABASE {} SET default_transaction_read_only = on", world.database);
    reader.batch_execute(&read_only).await.unwrap();
    found += &faults(&world, world.server.url(&world.database), &[]).await;
    insta::assert_snapshot!(found, @"");
}
