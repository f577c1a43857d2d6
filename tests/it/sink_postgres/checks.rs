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
    insta::assert_snapshot!(found, @r#"
    sink reporting: public.held is written by another pipeline: the watermark of held names the owner 7000/other
      choose another table or database; or, if that pipeline is no more, type:
      DELETE FROM readside.watermark WHERE projection = 'held';
    sink reporting: public.held2 is written by another pipeline: the watermark of held names the owner 7000/other
      choose another table or database; or, if that pipeline is no more, type:
      DELETE FROM readside.watermark WHERE projection = 'held';
    sink reporting: the index "(nothing)" of public.indexed is refused: column "nothing" does not exist (SQLSTATE 42703)
      write what follows CREATE INDEX ON public.indexed in SQL, e.g. (customer_id, created_at DESC)
    sink reporting: the index "(doc)" of public.indexed is refused: data type json has no default operator class for access method "btree" (SQLSTATE 42704)
      write what follows CREATE INDEX ON public.indexed in SQL, e.g. (customer_id, created_at DESC)
    sink reporting: the index "(id); DROP TABLE held" of public.indexed is refused: cannot insert multiple commands into a prepared statement (SQLSTATE 42601)
      write what follows CREATE INDEX ON public.indexed in SQL, e.g. (customer_id, created_at DESC)
    sink reporting: the index "" of public.indexed is refused: syntax error at end of input (SQLSTATE 42601)
      write what follows CREATE INDEX ON public.indexed in SQL, e.g. (customer_id, created_at DESC)
    sink reporting: public.other exists with other columns: it lacks n integer; it also has n bigint
      choose another name for the target, or drop or rename that table
    "#);
    assert_eq!(text(&reader, "SELECT to_regclass('held')").await, "held");
}

#[tokio::test]
async fn a_history_that_is_there_with_other_columns_is_refused() {
    let world = World::start().await;
    let reader = world.reader().await;
    let mut kept = world.projection("kept", &["id"], "SELECT 1 AS id, 2 AS n").await;
    for target in &mut kept.targets {
        if let Target::Postgres(target) = target {
            target.history = Some(("public".into(), "kept_history".into()));
        }
    }
    let url = || world.server.url(&world.database);
    let mut ours = PostgresSink::new(&world.config(), OWNER.into(), vec![kept.clone()]);
    ours.open().await.unwrap();
    fill(&mut ours, 0, &[], 1, 1).await.unwrap();
    assert_eq!(faults(&world, url(), &[kept.clone()]).await, "");
    // One column more is added to it, one of another type cannot be.
    reader.batch_execute("ALTER TABLE kept_history DROP n").await.unwrap();
    assert_eq!(faults(&world, url(), &[kept.clone()]).await, "");
    reader.batch_execute("ALTER TABLE kept_history ADD n text").await.unwrap();
    insta::assert_snapshot!(faults(&world, url(), &[kept.clone()]).await, @r"
    sink reporting: public.kept_history exists with other columns: it lacks n integer; it also has n text
      choose another name for the target, or drop or rename that table
    ");
    reader
        .batch_execute("DROP TABLE kept_history; CREATE TABLE kept_history (x int)")
        .await
        .unwrap();
    let found = faults(&world, url(), &[kept]).await;
    assert!(found.contains("public.kept_history exists with other columns"), "{found}");
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
    insta::assert_snapshot!(found, @r#"
    sink reporting: the role "Weak" may not create the schema readside
      type:
      GRANT CREATE ON DATABASE DATABASE TO "Weak";
    sink reporting: the role "Weak" may not create tables in the schema public
      type:
      GRANT USAGE, CREATE ON SCHEMA "public" TO "Weak";
    sink reporting: the role "Weak" may not read and write the table public.t
      type:
      GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."t" TO "Weak";
    sink reporting: the role "Weak" may not create the schema far
      type:
      GRANT CREATE ON DATABASE DATABASE TO "Weak";
    "#);

    // With the schema made by somebody else.
    drop(opened(&world, &[world.projection("other", &["id"], "SELECT 1 AS id").await]).await);
    let found = faults(&world, url.clone(), &[]).await;
    insta::assert_snapshot!(found, @r#"
    sink reporting: the role "Weak" may not write readside.watermark
      type:
      GRANT USAGE ON SCHEMA readside TO "Weak";
      GRANT SELECT, INSERT, UPDATE, DELETE ON readside.watermark TO "Weak";
    "#);

    // What the hints say suffices.
    reader
        .batch_execute(&format!(
        "GRANT CREATE ON DATABASE {} TO \"Weak\"; GRANT USAGE, CREATE ON SCHEMA public TO \"Weak\";
         GRANT SELECT, INSERT, UPDATE, DELETE ON t TO \"Weak\"; GRANT USAGE ON SCHEMA readside TO \"Weak\";
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
    insta::assert_snapshot!(found, @r#"
    sink reporting: 127.0.0.1:1: cannot connect: Connection refused (os error 111)
      start the server, or correct host and port in the url
    sink reporting: the Postgres URL cannot be read: it must begin with postgres:// or postgresql://
      correct the url; its parameters are libpq's
    sink reporting: 127.0.0.1:PORT: FATAL: database "absent" does not exist (SQLSTATE 3D000)
      create the database, or correct its name in the url
    sink reporting: 127.0.0.1:PORT: FATAL: role "nobody" does not exist (SQLSTATE 28000)
      correct user and password, or let them in by a line in the server's pg_hba.conf
    sink reporting: 127.0.0.1:PORT: the server does not speak TLS, but sslmode demands it
      let the server speak TLS (ssl = on), and name the authority that signed its certificate: sslrootcert=FILE in the url
    sink reporting: its transactions are read-only by default
      set default_transaction_read_only = off for the role or the database
    "#);
}
