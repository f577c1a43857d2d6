//! Steps: what is in the tables after them, and what a reader sees meanwhile.

use super::*;

/// Every kind of type, with ordinary and extreme values and NULLs.
pub(super) const TYPES: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'very happy');
    CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
    CREATE TYPE pair AS (a text, b int, c int[]);
    CREATE TABLE source (
        id int, "bool" bool, "int2" int2, "int8" int8, "oid" oid, "float4" float4, "float8" float8,
        "numeric" numeric, numeric_10_3 numeric(10,3), "text" text, "varchar" varchar(5),
        "char" char(4), "bytea" bytea, "date" date, "time" time(3), timetz timetz,
        "timestamp" timestamp, "timestamptz" timestamptz, "interval" interval, "uuid" uuid,
        "json" json, "jsonb" jsonb, ints int[], texts text[], mood mood, moods mood[], even even,
        evens even[], pair pair, pairs pair[], "int4range" int4range, multirange int4multirange,
        "cidr" cidr, "bit" bit(3), varbit varbit, "box" box, boxes box[], "xml" xml,
        "regclass" regclass, regtypes regtype[], "name" name, lsn pg_lsn, "tsvector" tsvector,
        "money" money, "internal" "char", vector int2vector, "jsonpath" jsonpath);
    INSERT INTO source VALUES
    (1, true, 1, 2, 4000000000, 1.5, 'NaN', 'NaN', 12.34, 'a "quoted" \ back{slash},', 'vc', 'ab',
        '\x00ff5c', 'infinity', '24:00', '12:00+02', '-infinity', '0044-03-15 12:00:00.123456 BC',
        '1 year -2 days 03:04:05.6', '00000000-0000-0000-0000-00000000000a', '{"b":1, "a" : 1.00}',
        '{"a":[1.00,null],"b":"x\"y\\z"}', '{1,NULL,3}', '{{a,"b c"},{"NULL",NULL}}', 'sad',
        '{sad,"very happy"}', 2, '{2,4}', ROW('a "b"', 1, NULL),
        ARRAY[ROW('x,y', 1, '{2}')::pair, NULL], '[1,5)', '{[1,2)}', '10.0.0.0/8', '101', '1',
        '(1,2),(0,0)', ARRAY['(1,2),(0,0)'::box, '(3,3),(2,2)'], '<a>b</a>', 'pg_class',
        '{int4,text}', 'n', '16/B374D848', 'a:1 ''b c''', 12.5, 'c', '1 2', '$.a[*]'),
    (2, false, -32768, -9223372036854775808, 0, '-Infinity', 1e-300, '-Infinity', 0.001, '', E'\t\n\r',
        '', '', '4713-01-01 BC', '00:00', '00:00-15', '294276-12-31 23:59:59.999999', 'infinity',
        '-00:00:01', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'null', 'null', '[2:3]={1,2}', '{}',
        'very happy', '{}', 4, '{}', ROW('', NULL, '{}'), '{}', 'empty', '{}', '::1/128', '000', '',
        '(0,0),(0,0)', '{}', 'just text', 'source', '{}', '', '0/0', '', '-1', '', '', '$');
    INSERT INTO source VALUES (3);"#;

#[tokio::test]
async fn every_type_arrives_as_the_source_prints_it() {
    let world = World::start().await;
    world.source.batch_execute(TYPES).await.unwrap();
    let query = "SELECT * FROM source ORDER BY id";
    let p = world.projection("types", &["id"], query).await;
    let rows = world.rows(&p, query, 5).await;
    assert_eq!(rows.len(), 3);

    let expected = text(&world.source, query).await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    let outcome = sink.apply(&step(6, vec![(0, rows.clone())])).await.unwrap();
    assert!(outcome.poison.is_empty(), "{:?}", outcome.poison);
    assert_eq!((outcome.upserts, outcome.deletes), (3, 0));
    assert_eq!(text(&reader, "SELECT * FROM types ORDER BY id").await, expected, "by upserts");

    // The same by COPY, over the same table: nothing differs, so nothing is written.
    let version = text(&reader, "SELECT ctid, xmin FROM types ORDER BY id").await;
    let outcome = fill(&mut sink, 0, &rows, 7, 2).await.unwrap();
    assert!(outcome.poison.is_empty(), "{:?}", outcome.poison);
    assert_eq!(text(&reader, "SELECT ctid, xmin FROM types ORDER BY id").await, version);

    // And into a new table.
    reader.batch_execute("DROP TABLE types").await.unwrap();
    assert_eq!(sink.open().await.unwrap(), [None]);
    fill(&mut sink, 0, &rows, 8, 3).await.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM types ORDER BY id").await, expected, "by COPY");

    // Enums, composites and names of catalog entries are text, domains their base type.
    let types = "
        SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = 'types'::regclass AND attnum > 0
        AND attname IN ('numeric_10_3', 'varchar', 'char', 'time', 'mood', 'moods', 'even', 'evens',
            'pair', 'pairs', 'int4range', 'regclass', 'regtypes', 'boxes')";
    let expected = "numeric_10_3 numeric(10,3), varchar character varying(5), char character(4), \
        time time(3) without time zone, mood text, moods text[], even integer, evens integer[], \
        pair text, pairs text[], int4range int4range, boxes box[], regclass text, regtypes text[]";
    assert_eq!(text(&reader, types).await, expected);
}

#[tokio::test]
async fn rows_are_written_changed_and_deleted_with_their_watermark() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 'x'::text AS name").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;

    sink.apply(&step(10, vec![(0, vec![row(&p, &["1", "a"], 9), row(&p, &["2", "b"], 9)])]))
        .await
        .unwrap();
    let changes =
        vec![row(&p, &["1", "A"], 11), tombstone(&p, &["2"], 11), tombstone(&p, &["9"], 11)];
    let outcome = sink.apply(&step(12, vec![(0, changes)])).await.unwrap();
    assert_eq!((outcome.upserts, outcome.deletes), (1, 2));
    assert_eq!(text(&reader, "SELECT * FROM t").await, "1|A");

    // A watermark moves without entries, too.
    sink.apply(&step(0x1_0000_000F, vec![(0, vec![])])).await.unwrap();
    let watermark = "SELECT projection, lsn, settled, generation, owner FROM readside.watermark";
    let expected = format!("t|1/F|t|1|{OWNER}");
    assert_eq!(text(&reader, watermark).await, expected);
    // A step of nothing at all is none.
    sink.apply(&step(0x1_0000_0010, vec![])).await.unwrap();
    assert_eq!(text(&reader, watermark).await, expected);

    // Another process finds it.
    let mut other = world.sink(std::slice::from_ref(&p));
    let watermark = other.open().await.unwrap().remove(0).unwrap();
    assert_eq!((watermark.lsn, watermark.reaching), (Lsn(0x1_0000_000F), Lsn(0x1_0000_000F)));
    assert_eq!(watermark.committed_at, 1_000_000 * 0x1_0000_000F);
    assert_eq!((watermark.generation, watermark.fingerprint), (1, p.fingerprint.clone()));
    assert!(watermark.settled);
}

#[tokio::test]
async fn committed_at_is_the_source_commit_time() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id").await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    sink.apply(&step(86_400, vec![(0, vec![])])).await.unwrap();
    let committed_at =
        text(&world.reader().await, "SELECT committed_at FROM readside.watermark").await;
    assert_eq!(committed_at, "2000-01-02 00:00:00+00");
}

#[tokio::test]
async fn a_numeric_key_moves_between_equal_values() {
    let world = World::start().await;
    let p = world.projection("t", &["k"], "SELECT 1.0::numeric AS k, 1 AS v").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;

    sink.apply(&step(10, vec![(0, vec![row(&p, &["1.0", "1"], 9)])])).await.unwrap();
    let moved = vec![tombstone(&p, &["1.0"], 10), row(&p, &["1.00", "2"], 10)];
    sink.apply(&step(11, vec![(0, moved)])).await.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM t").await, "1.00|2");

    // The new row first, its tombstone in a later step of the same backlog.
    sink.apply(&unsettled(step(11, vec![(0, vec![row(&p, &["1.000", "3"], 12)])]))).await.unwrap();
    sink.apply(&step(13, vec![(0, vec![tombstone(&p, &["1.00"], 12)])])).await.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM t").await, "1.000|3");
}

#[tokio::test]
async fn a_query_without_a_key_is_a_table_of_one_row() {
    let world = World::start().await;
    let p = world.projection("total", &[], "SELECT 1::bigint AS n, 'x'::text AS s").await;
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    for n in ["1", "2"] {
        sink.apply(&step(10, vec![(0, vec![row(&p, &[n, "s"], 9)])])).await.unwrap();
    }
    assert_eq!(text(&reader, "SELECT * FROM total").await, "2|s");
    fill(&mut sink, 0, &[row(&p, &["3", "t"], 11)], 12, 2).await.unwrap();
    assert_eq!(text(&reader, "SELECT * FROM total").await, "3|t");
    sink.apply(&step(14, vec![(0, vec![tombstone(&p, &[], 13)])])).await.unwrap();
    assert_eq!(text(&reader, "SELECT count(*) FROM total").await, "0");
    assert_eq!(positions(&world.sink(&[p]).open().await.unwrap()), [Some(14)]);
}

#[tokio::test]
async fn names_are_taken_to_the_letter() {
    let world = World::start().await;
    let query = r#"SELECT 1 AS "Order", 'x'::text AS "a ""b"".c", 2 AS "select", 3 AS "täble""#;
    let mut p = world.projection("Sales \"2024\"", &["Order", "select"], query).await;
    p.targets = vec![target("My Schema", "Group \"of\" 'all' \\ things", &[r#"("täble" DESC)"#])];
    let reader = world.reader().await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    sink.apply(&step(10, vec![(0, vec![row(&p, &["1", "a", "2", "3"], 9)])])).await.unwrap();
    sink.apply(&step(12, vec![(0, vec![row(&p, &["1", "b", "2", "3"], 9)])])).await.unwrap();
    fill(&mut sink, 0, &[row(&p, &["1", "c", "2", "4"], 13)], 14, 2).await.unwrap();
    let table = r#"SELECT * FROM "My Schema"."Group ""of"" 'all' \ things""#;
    assert_eq!(text(&reader, table).await, "1|c|2|4");
    let indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'My Schema' ORDER BY 1";
    insta::assert_snapshot!(text(&reader, indexes).await, @r#"
    Group "of" 'all' \ things_pkey
    Group "of" 'all' \ things_täble_idx
    "#);
    assert_eq!(positions(&world.sink(&[p]).open().await.unwrap()), [Some(14)]);
}

#[tokio::test]
async fn a_wide_table_and_a_large_step_fit() {
    let world = World::start().await;
    // More columns than a function may have arguments.
    let columns: Vec<String> =
        (0..300).map(|n| format!("{n} AS c{n}, 'x{n}'::text AS t{n}")).collect();
    let query = format!("SELECT {}", columns.join(", "));
    let p = world.projection("wide", &["c0"], &query).await;
    let narrow = "SELECT n, 'r' || n AS r, n % 7 = 0 AS b FROM generate_series(1, 10000) AS n";
    let q = world.projection("narrow", &["n"], narrow).await;
    let mut sink = opened(&world, &[p.clone(), q.clone()]).await;
    let wide = world.rows(&p, &query, 9).await;
    let many = world.rows(&q, narrow, 9).await;
    let outcome = sink.apply(&step(10, vec![(0, wide), (1, many)])).await.unwrap();
    assert_eq!(outcome.upserts, 10_001);
    let reader = world.reader().await;
    let digest = "SELECT count(*), sum(n), sum(length(r)), count(*) FILTER (WHERE b)";
    let expected = text(&world.source, &format!("{digest} FROM ({narrow}) AS s")).await;
    assert_eq!(text(&reader, &format!("{digest} FROM narrow")).await, expected);
    assert_eq!(text(&reader, "SELECT c299, t299 FROM wide").await, "299|x299");
}

#[tokio::test]
async fn readers_see_all_projections_and_watermarks_move_together() {
    let world = World::start().await;
    let a = world.projection("a", &["id"], "SELECT 1 AS id, 1::bigint AS v").await;
    let b = world.projection("b", &["id"], "SELECT 1 AS id, 1::bigint AS v").await;
    let mut sink = opened(&world, &[a.clone(), b.clone()]).await;
    let reader = world.reader().await;
    let polling = async {
        // One statement, one snapshot: both tables and both watermarks are of one step.
        let sql = "SELECT coalesce((SELECT v FROM a), 0), coalesce((SELECT v FROM b), 0), \
                   array_agg(DISTINCT (lsn - '0/0')::bigint) FROM readside.watermark";
        let mut seen = 0;
        while seen < 400 {
            let row = reader.query_one(sql, &[]).await.unwrap();
            let (a, b, lsns): (i64, i64, Vec<i64>) = (row.get(0), row.get(1), row.get(2));
            let expected = if a == 0 { 1 } else { a + 10 };
            assert_eq!((a, lsns), (b, vec![expected]));
            assert!(a >= seen, "went back from {seen} to {a}");
            seen = a;
        }
    };
    let writing = async {
        for v in 1..=400_u64 {
            let text = v.to_string();
            let entries = |p| vec![row(p, &["1", &text], v + 9)];
            let step = step(v + 10, vec![(0, entries(&a)), (1, entries(&b))]);
            // Every third one comes in two unsettled halves before it is settled.
            if v % 3 == 0 {
                let mut half = unsettled(step.clone());
                half.projections.truncate(1);
                sink.apply(&half).await.unwrap();
            }
            sink.apply(&step).await.unwrap();
        }
    };
    tokio::join!(polling, writing);
}

#[tokio::test]
async fn unsettled_steps_are_invisible_until_settled_and_gone_without_it() {
    let world = World::start().await;
    let p = world.projection("t", &["id"], "SELECT 1 AS id, 1 AS v").await;
    let mut sink = opened(&world, std::slice::from_ref(&p)).await;
    let reader = world.reader().await;
    let content = "SELECT string_agg(id::text, ',' ORDER BY id) FROM t";
    let part = |id: &str, lsn| vec![(0, vec![row(&p, &[id, "1"], lsn)])];

    sink.apply(&unsettled(step(1, part("1", 10)))).await.unwrap();
    sink.apply(&unsettled(step(1, part("2", 11)))).await.unwrap();
    assert_eq!(text(&reader, content).await, "NULL");
    assert_eq!(text(&reader, "SELECT lsn FROM readside.watermark").await, "0/1");
    sink.apply(&step(20, part("3", 12))).await.unwrap();
    assert_eq!(text(&reader, content).await, "1,2,3");
    assert_eq!(text(&reader, "SELECT lsn FROM readside.watermark").await, "0/14");

    sink.apply(&unsettled(step(20, part("4", 21)))).await.unwrap();
    let pid = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'readside' AND state = 'idle in transaction'";
    assert_eq!(text(&reader, pid).await, "t");
    retryable(sink.apply(&step(30, part("5", 22))).await);
    retryable(sink.apply(&step(30, part("5", 22))).await);
    assert_eq!(positions(&sink.open().await.unwrap()), [Some(20)]);
    sink.apply(&step(30, part("5", 22))).await.unwrap();
    assert_eq!(text(&reader, content).await, "1,2,3,5");
}
