//! Fills: what a new generation finds under its target's name, and what readers see meanwhile.

use super::*;

const QUERY: &str = "SELECT 1 AS id, 'x'::text AS name, '{}'::json AS doc, 1.0::numeric AS n";

async fn world_and_projection() -> (World, SinkProjection) {
    let world = World::start().await;
    let mut p = world.projection("orders", &["id"], QUERY).await;
    p.targets = vec![target(
        "public",
        "orders",
        &["(name) INCLUDE (id)", "USING gin ((doc::jsonb))", WIDE],
    )];
    (world, p)
}

/// Behind the name of a fill its name would be too long.
const WIDE: &str = "(name, id, n, name, id, n, name, id, n)";

const INDEXES: &str = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1";
const RELATIONS: &str = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                         AND relkind = 'r' ORDER BY 1";

#[tokio::test]
async fn an_absent_target_appears_with_its_first_watermark() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    reader.batch_execute(
        "CREATE ROLE report; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO report",
    ).await.unwrap();
    let mut sink = world.sink(std::slice::from_ref(&p));
    assert_eq!(sink.open().await.unwrap(), [None]);
    sink.begin_fill(0, 1).await.unwrap();
    let first = [
        row(&p, &["1", "a\\\t\n\r", "{}", "1.0"], 5),
        row_of(&p, &[Some("2"), None, None, None], 5),
    ];
    assert_eq!(sink.fill(0, &first).await.unwrap().upserts, 2);
    assert_eq!(sink.fill(0, &[]).await.unwrap().upserts, 0);
    assert_eq!(sink.fill(0, &[row(&p, &["3", "c", "{}", "3"], 5)]).await.unwrap().upserts, 1);
    sink.end_fill(0).await.unwrap();
    sink.end_fill(0).await.unwrap();
    let changes = [tombstone(&p, &["3"], 7), row(&p, &["2", "b", "[]", "2"], 7)];
    let amended = sink.amend(0, &changes).await.unwrap();
    assert_eq!((amended.upserts, amended.deletes), (1, 1));
    assert_eq!(text(&reader, "SELECT to_regclass('orders')").await, "NULL");
    assert_eq!(text(&reader, "SELECT count(*) FROM readside.watermark").await, "0");

    // What is newer than the fill comes with its finish.
    let newer = vec![row(&p, &["4", "d", "{}", "4"], 8)];
    sink.apply(&finishing(9, vec![(0, newer)], 3)).await.unwrap();
    let content = "SELECT id, replace(name, E'\\t', '<tab>') = E'a\\\\<tab>\\n\\r', doc, n FROM orders ORDER BY id";
    assert_eq!(text(&reader, content).await, "1|t|{}|1.0\n2|f|[]|2\n4|f|{}|4");
    let watermark = "SELECT lsn, generation, target[1]::regclass FROM readside.watermark";
    assert_eq!(text(&reader, watermark).await, "0/9|3|orders");
    assert_eq!(
        text(&reader, INDEXES).await,
        "orders_doc_idx\norders_name_id_idx\norders_name_id_n_name1_id1_n1_name2_id2_n2_idx\norders_pkey"
    );
    let constraint = "SELECT conname FROM pg_constraint WHERE conrelid = 'orders'::regclass";
    assert_eq!(text(&reader, constraint).await, "orders_pkey");
    assert_eq!(text(&reader, RELATIONS).await, "orders");
    assert_eq!(text(&reader, "SELECT obj_description('orders'::regclass)").await, "NULL");
    // As in any table created there.
    assert_eq!(
        text(&reader, "SELECT has_table_privilege('report', 'orders', 'SELECT')").await,
        "t"
    );
    // Steps go on.
    sink.apply(&step(11, vec![(0, vec![tombstone(&p, &["4"], 10)])])).await.unwrap();
    assert_eq!(text(&reader, "SELECT count(*) FROM orders").await, "2");
}

#[tokio::test]
async fn the_difference_is_applied_to_a_target_with_the_same_columns() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    let rows = |texts: &[[&str; 4]]| texts.iter().map(|t| row(&p, t, 5)).collect::<Vec<_>>();
    let old = rows(&[
        ["1", "a", "{}", "1"],
        ["2", "b", "{}", "2"],
        ["3", "c", "{}", "3"],
        ["4", "d", "{}", "4.0"],
    ]);
    fill(&mut sink, 0, &old, 6, 1).await.unwrap();
    let oid = text(&reader, "SELECT 'orders'::regclass::oid").await;
    let untouched = "SELECT ctid, xmin FROM orders WHERE id = 1";
    let version = text(&reader, untouched).await;
    reader
        .batch_execute("CREATE VIEW v AS SELECT * FROM orders; DROP INDEX orders_name_id_idx")
        .await
        .unwrap();

    // A row less, a text that equality would not see, a row more.
    let new = rows(&[
        ["1", "a", "{}", "1"],
        ["2", "b", "{ }", "2"],
        ["4", "d", "{}", "4.00"],
        ["5", "e", "{}", "5"],
    ]);
    fill(&mut sink, 0, &new, 7, 2).await.unwrap();
    assert_eq!(
        text(&reader, "SELECT * FROM v ORDER BY id").await,
        "1|a|{}|1\n2|b|{ }|2\n4|d|{}|4.00\n5|e|{}|5"
    );
    assert_eq!(text(&reader, "SELECT 'orders'::regclass::oid").await, oid);
    assert_eq!(text(&reader, untouched).await, version);
    assert_eq!(text(&reader, "SELECT lsn, generation FROM readside.watermark").await, "0/7|2");
    assert_eq!(
        text(&reader, INDEXES).await,
        "orders_doc_idx\norders_name_id_idx\norders_name_id_n_name1_id1_n1_name2_id2_n2_idx\norders_pkey"
    );
    assert_eq!(text(&reader, RELATIONS).await, "orders");

    // What leaves the configuration goes, both of the first fill and of the second; what others have made
    // stays.
    reader.batch_execute("CREATE INDEX theirs ON orders (name, id)").await.unwrap();
    let mut fewer = p.clone();
    (fewer.targets, fewer.fingerprint) =
        (vec![target("public", "orders", &["(id)"])], "fewer".into());
    let mut sink = world.sink(std::slice::from_ref(&fewer));
    sink.open().await.unwrap();
    fill(&mut sink, 0, &new, 8, 3).await.unwrap();
    assert_eq!(text(&reader, INDEXES).await, "orders_id_idx\norders_pkey\ntheirs");
    assert_eq!(text(&reader, "SELECT count(*) FROM v").await, "4");
}

#[tokio::test]
async fn a_truncated_target_is_noticed_by_the_next_step() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    fill(&mut sink, 0, &[row(&p, &["1", "a", "{}", "1"], 5)], 6, 1).await.unwrap();
    sink.apply(&step(7, vec![(0, vec![])])).await.unwrap();
    reader.batch_execute("TRUNCATE orders").await.unwrap();
    let error = retryable(sink.apply(&step(8, vec![(0, vec![])])).await);
    assert!(error.contains("replaced"), "{error}");
    let found = sink.open().await.unwrap();
    let found = found[0].as_ref().unwrap();
    // Nothing may be sent that is older than what readers have seen.
    assert_eq!((found.fingerprint.as_str(), found.reaching.0), ("", 7));
    fill(&mut sink, 0, &[row(&p, &["2", "b", "{}", "2"], 8)], 9, 2).await.unwrap();
    assert_eq!(text(&reader, "SELECT id FROM orders").await, "2");
    assert_eq!(positions(&sink.open().await.unwrap()), [Some(9)]);
}

#[tokio::test]
async fn a_table_with_other_columns_is_replaced_and_keeps_what_people_gave_it() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    fill(&mut sink, 0, &[row(&p, &["1", "a", "{}", "1"], 5)], 6, 1).await.unwrap();
    reader.batch_execute(
        "CREATE ROLE \"Reader 1\"; CREATE ROLE holder;
         GRANT SELECT, INSERT ON orders TO \"Reader 1\" WITH GRANT OPTION;
         GRANT SELECT (id), UPDATE (name) ON orders TO PUBLIC;
         COMMENT ON TABLE orders IS 'it''s ours';
         COMMENT ON COLUMN orders.name IS 'the name';
         CREATE POLICY \"own rows\" ON orders AS RESTRICTIVE FOR SELECT TO \"Reader 1\" USING (id > 0);
         CREATE POLICY writes ON orders USING (true) WITH CHECK (name <> '');
         ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
         ALTER TABLE orders OWNER TO holder",
    ).await.unwrap();
    let given = "
        SELECT relowner::regrole, relrowsecurity, relforcerowsecurity, relacl,
            obj_description(oid), col_description(oid, (SELECT attnum FROM pg_attribute WHERE attrelid = oid AND attname = 'name')),
            (SELECT string_agg(attname || attacl::text, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = oid),
            (SELECT array_agg((policyname, permissive, roles, cmd, qual, with_check) ORDER BY policyname) FROM pg_policies)
        FROM pg_class WHERE oid = 'orders'::regclass";
    let before = text(&reader, given).await;

    let query = "SELECT 'x'::text AS name, 1 AS id, 1::bigint AS total";
    let mut q = world.projection("orders", &["id"], query).await;
    q.targets = vec![target("public", "orders", &["(total)"])];
    let mut sink = world.sink(std::slice::from_ref(&q));
    // Its columns are no longer those of the watermark.
    assert_eq!(sink.open().await.unwrap(), [None]);
    let rows = [row(&q, &["b", "2", "20"], 7)];
    sink.begin_fill(0, 2).await.unwrap();
    sink.fill(0, &rows).await.unwrap();
    sink.end_fill(0).await.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM orders").await, "1|a|{}|1", "readers have the old one");
    sink.apply(&finishing(8, vec![(0, vec![])], 2)).await.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM orders").await, "b|2|20");
    assert_eq!(text(&reader, given).await, before);
    assert_eq!(text(&reader, INDEXES).await, "orders_pkey\norders_total_idx");
    assert_eq!(text(&reader, "SELECT count(*) FROM readside.watermark").await, "1");
    assert_eq!(positions(&world.sink(&[q]).open().await.unwrap()), [Some(8)]);
}

#[tokio::test]
async fn a_view_refuses_the_swap_by_name() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    drop(sink);
    reader.batch_execute("CREATE VIEW \"Big orders\" AS SELECT id FROM orders").await.unwrap();
    let q = world.projection("orders", &["id"], "SELECT 1 AS id").await;
    sink = world.sink(std::slice::from_ref(&q));
    sink.open().await.unwrap();
    let error = fatal(fill(&mut sink, 0, &[row(&q, &["1"], 5)], 6, 2).await);
    insta::assert_snapshot!(error, @r#"
    public.orders cannot be replaced by a table with other columns: view "Big orders" depends on it
    hint: drop what depends on it and create it again afterwards
    "#);
    assert_eq!(text(&reader, "SELECT count(*) FROM \"Big orders\"").await, "0");
}

#[tokio::test]
async fn a_long_reader_delays_the_swap() {
    let (world, p) = world_and_projection().await;
    drop(opened(&world, std::slice::from_ref(&p)).await);
    let q = world.projection("orders", &["id"], "SELECT 1 AS id").await;
    let mut sink = world.sink(std::slice::from_ref(&q));
    sink.open().await.unwrap();
    sink.begin_fill(0, 2).await.unwrap();
    sink.fill(0, &[row(&q, &["1"], 5)]).await.unwrap();
    sink.end_fill(0).await.unwrap();

    let reader = world.reader().await;
    reader.batch_execute("BEGIN; SELECT * FROM orders").await.unwrap();
    let error = retryable(sink.apply(&finishing(6, vec![(0, vec![])], 2)).await);
    assert!(error.contains("a long transaction uses it"), "{error}");
    // The fill is still there, so delivery need not begin again.
    sink.open().await.unwrap();
    let finish = finishing(6, vec![(0, vec![])], 2);
    let (finished, ended) =
        tokio::join!(sink.apply(&finish), reader.batch_execute("SELECT pg_sleep(0.2); COMMIT"));
    ended.unwrap();
    finished.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM orders").await, "1");
    // Its answer may have been lost: asked again, it is done already.
    assert_eq!(positions(&sink.open().await.unwrap()), [Some(6)]);
    sink.apply(&finish).await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_not_ours_is_refused_when_it_is_another() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut errors = String::new();
    for (kind, definition) in [
        ("TABLE", "orders (id int PRIMARY KEY, \"Name\" varchar, doc json, n numeric)"),
        ("TABLE", "orders (n numeric(3,1), id int UNIQUE, name text, doc json, extra int)"),
        ("TABLE", "orders (id int, name text, doc json, n numeric)"),
        ("VIEW", "orders AS SELECT 1 AS id, 'x'::text AS name, '{}'::json AS doc, 1.0 AS n"),
    ] {
        reader.batch_execute(&format!("CREATE {kind} {definition}")).await.unwrap();
        let mut sink = world.sink(std::slice::from_ref(&p));
        assert_eq!(sink.open().await.unwrap(), [None]);
        errors.push_str(&fatal(sink.begin_fill(0, 1).await));
        errors.push('\n');
        reader.batch_execute(&format!("DROP {kind} orders")).await.unwrap();
    }
    assert_eq!(text(&reader, RELATIONS).await, "");
    insta::assert_snapshot!(errors, @r#"
    public.orders exists with other columns: it lacks name text; it also has "Name" character varying
    hint: choose another name for the target, or drop or rename that table
    public.orders exists with other columns: it lacks n numeric; it also has n numeric(3,1), extra integer
    hint: choose another name for the target, or drop or rename that table
    public.orders exists without a unique index on (id)
    hint: type:
    ALTER TABLE "public"."orders" ADD PRIMARY KEY ("id");
    public.orders exists and is a view
    hint: choose another name for the target
    "#);
}

#[tokio::test]
async fn a_table_with_our_columns_and_key_is_taken_over() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    reader.batch_execute(
        "CREATE TABLE orders (n numeric, id int UNIQUE, name text, doc json);
         INSERT INTO orders VALUES (7, 1, 'old', '{}'), (8, 2, 'gone', '{}'), (8, NULL, 'none', '{}')",
    ).await.unwrap();
    let mut sink = world.sink(std::slice::from_ref(&p));
    assert_eq!(sink.open().await.unwrap(), [None]);
    fill(&mut sink, 0, &[row(&p, &["1", "a", "{}", "1"], 5)], 6, 1).await.unwrap();
    assert_eq!(text(&reader, "SELECT id, name, n FROM orders").await, "1|a|1");
}

#[tokio::test]
async fn leftovers_are_dropped_and_a_lost_fill_begins_again() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let leftovers =
        "SELECT count(*) FROM pg_class WHERE relname LIKE 'readside_fill%' AND relkind = 'r'";
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    sink.begin_fill(0, 1).await.unwrap();
    sink.fill(0, &[row(&p, &["1", "a", "{}", "1"], 5)]).await.unwrap();
    assert_eq!(text(&reader, leftovers).await, "1");
    // The process dies; another one of ours, with other projections.
    drop(sink);
    world.sink(&[]).open().await.unwrap();
    assert_eq!(text(&reader, leftovers).await, "0");

    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    sink.begin_fill(0, 1).await.unwrap();
    sink.fill(0, &[row(&p, &["1", "a", "{}", "1"], 5)]).await.unwrap();
    // Begun again: from nothing.
    sink.begin_fill(0, 2).await.unwrap();
    sink.fill(0, &[row(&p, &["1", "b", "{}", "1"], 5)]).await.unwrap();
    // The same process, with the fill's table gone.
    reader
        .batch_execute(&format!(
            "DROP TABLE {}",
            text(
                &reader,
                "SELECT relname FROM pg_class WHERE relname LIKE 'readside_fill%' AND relkind = 'r'"
            )
            .await
        ))
        .await
        .unwrap();
    sink.open().await.unwrap();
    let error = retryable(sink.end_fill(0).await);
    assert!(error.contains("must begin again"), "{error}");
    fill(&mut sink, 0, &[row(&p, &["1", "c", "{}", "1"], 5)], 6, 3).await.unwrap();
    assert_eq!(text(&reader, "SELECT name FROM orders").await, "c");
}

#[tokio::test]
async fn a_fill_goes_on_over_a_lost_connection_without_doing_rows_twice() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    sink.begin_fill(0, 1).await.unwrap();
    sink.fill(0, &[row(&p, &["1", "a", "{}", "1"], 5)]).await.unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'readside'";
    assert_eq!(text(&reader, kill).await, "2");
    let rows = [row(&p, &["2", "b", "{}", "2"], 5)];
    retryable(sink.fill(0, &rows).await);
    sink.open().await.unwrap();
    sink.fill(0, &rows).await.unwrap();
    sink.end_fill(0).await.unwrap();
    sink.apply(&finishing(6, vec![(0, vec![])], 1)).await.unwrap();
    assert_eq!(text(&reader, "SELECT id FROM orders ORDER BY id").await, "1\n2");
}

#[tokio::test]
async fn a_target_that_was_replaced_is_filled_anew() {
    let (world, p) = world_and_projection().await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    let entry = |id| row(&p, &[id, "a", "{}", "1"], 5);
    sink.apply(&step(6, vec![(0, vec![entry("1")])])).await.unwrap();
    reader.batch_execute("CREATE TABLE copy (LIKE orders INCLUDING ALL); DROP TABLE orders; ALTER TABLE copy RENAME TO orders").await.unwrap();
    // Neither rows nor a bare watermark go into the stranger.
    for entries in [vec![entry("2")], vec![]] {
        retryable(sink.apply(&step(8, vec![(0, entries)])).await);
        assert_eq!(text(&reader, "SELECT count(*) FROM orders").await, "0");
        assert_eq!(text(&reader, "SELECT lsn FROM readside.watermark").await, "0/6");
        assert_eq!(sink.open().await.unwrap(), [None]);
    }
    fill(&mut sink, 0, &[entry("1"), entry("2")], 9, 2).await.unwrap();
    assert_eq!(text(&reader, "SELECT count(*) FROM orders").await, "2");

    // Dropped.
    reader.batch_execute("DROP TABLE orders").await.unwrap();
    retryable(sink.apply(&step(10, vec![(0, vec![entry("3")])])).await);
    assert_eq!(sink.open().await.unwrap(), [None]);
    // A column less.
    fill(&mut sink, 0, &[entry("1")], 11, 3).await.unwrap();
    reader.batch_execute("ALTER TABLE orders DROP COLUMN name").await.unwrap();
    retryable(sink.apply(&step(12, vec![(0, vec![entry("3")])])).await);
    assert_eq!(sink.open().await.unwrap(), [None]);
    fill(&mut sink, 0, &[entry("1")], 13, 4).await.unwrap();
    // A column more is the owner's own affair.
    reader.batch_execute("ALTER TABLE orders ADD COLUMN note text").await.unwrap();
    assert_eq!(positions(&sink.open().await.unwrap()), [Some(13)]);
    sink.apply(&step(14, vec![(0, vec![entry("3")])])).await.unwrap();
    assert_eq!(text(&reader, "SELECT id, note FROM orders ORDER BY id").await, "1|NULL\n3|NULL");
}

#[tokio::test]
async fn several_targets_of_one_projection_are_filled_and_written() {
    let (world, mut p) = world_and_projection().await;
    p.targets = vec![target("public", "orders", &[]), target("archive", "orders", &["(name)"])];
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    let outcome =
        sink.apply(&step(6, vec![(0, vec![row(&p, &["1", "a", "{}", "1"], 5)])])).await.unwrap();
    assert_eq!(outcome.upserts, 1);
    assert_eq!(text(&reader, "SELECT a.name, b.name FROM orders a, archive.orders b").await, "a|a");
    reader.batch_execute("DROP TABLE archive.orders").await.unwrap();
    assert_eq!(sink.open().await.unwrap(), [None]);
    fill(&mut sink, 0, &[row(&p, &["1", "b", "{}", "1"], 7)], 8, 2).await.unwrap();
    assert_eq!(text(&reader, "SELECT a.name, b.name FROM orders a, archive.orders b").await, "b|b");
}

/// All columns are such that COPY takes them in its binary format.
#[tokio::test]
async fn binary_rows_arrive_as_the_source_prints_them() {
    let world = World::start().await;
    world.source.batch_execute(super::steps::TYPES).await.unwrap();
    world
        .source
        .batch_execute(
            r#"INSERT INTO source (id, "bool", "int2", "int8", "float4", "float8", "date", "time",
                 "timestamp", "timestamptz", "text", mood, even, "numeric", numeric_10_3) VALUES
               (-2147483648, true, 32767, 9223372036854775807, '-0', '-0', '5874897-12-31', '23:59:59.999',
                'infinity', '-infinity', 'naïve €', 'sad', -2, '-1e131071', -9999999.999),
               (2147483647, false, -1, -1, '1e-45', '1.7976931348623157e308', '-infinity', '00:00',
                '4713-01-01 00:00:00 BC', '1999-12-31 23:59:59.999999+00', E'\\N', NULL, NULL,
                '1e-16383', 1000),
               (0, NULL, 0, 0, 'Infinity', '5e-324', '1999-12-31', '00:00:00.001', '2000-01-01', NULL,
                E'\\.', NULL, 0, 0.00, '0.01'),
               (-1, NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Infinity', NULL),
               (-2, NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 120034.5006, 'NaN')"#,
        )
        .await
        .unwrap();
    let columns = r#"id, "bool", "int2", "int8", "float4", "float8", "text", "varchar", "date", "time",
        "timestamp", "timestamptz", "uuid", "json", mood, even, "numeric", numeric_10_3"#;
    let query = format!("SELECT {columns} FROM source ORDER BY id");
    let p = world.projection("types", &["id"], &query).await;
    let rows = world.rows(&p, &query, 5).await;
    assert_eq!(rows.len(), 8);
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    let outcome = fill(&mut sink, 0, &rows, 8, 3).await.unwrap();
    assert!(outcome.poison.is_empty(), "{:?}", outcome.poison);
    let reader = world.reader().await;
    let shown = format!("SELECT {columns} FROM types ORDER BY id");
    let expected = text(&world.source, &query).await;
    assert_eq!(text(&reader, &shown).await, expected, "by COPY");

    reader
        .batch_execute("UPDATE types SET text = 'other', \"numeric\" = 1, int8 = 1")
        .await
        .unwrap();
    let outcome = sink.apply(&step(9, vec![(0, rows)])).await.unwrap();
    assert!(outcome.poison.is_empty(), "{:?}", outcome.poison);
    assert_eq!(text(&reader, &shown).await, expected, "by upserts");
}

#[tokio::test]
async fn a_row_that_binary_copy_refuses_is_the_only_one_refused() {
    let world = World::start().await;
    let p = world.projection("short", &["id"], "SELECT 1 AS id, 'x'::varchar(3) AS name").await;
    let mut sink = world.sink(std::slice::from_ref(&p));
    sink.open().await.unwrap();
    let rows = [row(&p, &["1", "abc"], 5), row(&p, &["2", "abcd"], 5), row(&p, &["3", ""], 5)];
    let outcome = fill(&mut sink, 0, &rows, 8, 3).await.unwrap();
    let refused: Vec<_> = outcome.poison.iter().map(|poison| poison.error.as_str()).collect();
    assert_eq!(refused, ["value too long for type character varying(3) (SQLSTATE 22001)"]);
    let reader = world.reader().await;
    assert_eq!(text(&reader, "SELECT id FROM short ORDER BY id").await, "1\n3");
}
