//! The catalog of a zoo of tables, and what is found when they change.

use std::sync::Arc;
use std::time::Duration;

use readside::pg::{self, Params, Session};
use readside::source::catalog::{
    Catalog, CatalogChange, ExistingRows, Identity, IndexFault, Kind, Scope, Table, TableName,
    Unusable, diff,
};
use readside::source::{publication, watch};
use readside::value::Type;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::harness::{Postgres, PostgresOptions, beside, wait};

struct Source {
    postgres: Postgres,
    client: Client,
    session: Session,
}

async fn source() -> Source {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let client = postgres.client("postgres").await;
    let params = Params::parse(&postgres.url("postgres"), None).unwrap();
    let session = pg::connect(&params, "readside").await.unwrap();
    Source { postgres, client, session }
}

fn scope(tables: &[&str]) -> Scope {
    let tables = tables.iter().map(|table| {
        let (schema, name) = table.split_once('.').unwrap_or(("public", table));
        TableName::new(schema, name)
    });
    Scope { publication: "readside".into(), slot: "readside".into(), tables: tables.collect() }
}

impl Source {
    async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn read(&self, tables: &[&str]) -> Catalog {
        Catalog::read(&self.session, &scope(tables)).await.unwrap()
    }

    async fn table(&self, name: &str) -> Table {
        self.read(&[name]).await.tables.pop().unwrap()
    }
}

#[tokio::test]
async fn a_zoo_of_tables_is_described() {
    let source = source().await;
    source
        .sql(
            r#"
            CREATE SCHEMA "Shop";
            CREATE TYPE "Shop".mood AS ENUM ('sad', 'ok', 'it''s');
            CREATE DOMAIN "Shop".price AS numeric(10,2);
            CREATE TYPE "Shop".pair AS (a int, m "Shop".mood, prices "Shop".price[]);
            CREATE COLLATION folded (provider = icu, locale = 'und', deterministic = false);
            CREATE TABLE "Shop"."Group" (
                id bigint PRIMARY KEY,
                gone int,
                "Name" varchar(20) COLLATE folded NOT NULL,
                m "Shop".mood[],
                p "Shop".pair,
                boxes box[],
                v int2vector,
                twice bigint GENERATED ALWAYS AS (id * 2) STORED
            );
            ALTER TABLE "Shop"."Group" DROP COLUMN gone;
            INSERT INTO "Shop"."Group" (id, "Name") VALUES (1, 'a');
            ALTER TABLE "Shop"."Group" ADD COLUMN note text DEFAULT 'it''s {a,"b"}';
            ALTER TABLE "Shop"."Group" ADD COLUMN list int[] DEFAULT '{1,2}';
            ANALYZE "Shop"."Group";
            CREATE VIEW v AS SELECT 1 AS one;
            CREATE MATERIALIZED VIEW mv AS SELECT 1 AS one;
            CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
            CREATE TABLE parent (id int PRIMARY KEY);
            CREATE TABLE child (extra int) INHERITS (parent);
            CREATE TABLE orders (id int, at date, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
            CREATE TABLE orders_2024 PARTITION OF orders
                FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY RANGE (id);
            CREATE TABLE orders_2024_low (id int NOT NULL, at date NOT NULL);
            ALTER TABLE orders_2024_low ADD COLUMN dropped int;
            ALTER TABLE orders_2024_low DROP COLUMN dropped;
            ALTER TABLE orders_2024 ATTACH PARTITION orders_2024_low FOR VALUES FROM (0) TO (100);
            CREATE TABLE orders_2025 PARTITION OF orders
                FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
            CREATE TABLE empty (id int PRIMARY KEY) PARTITION BY RANGE (id);
            "#,
        )
        .await;
    let names =
        ["Shop.Group", "v", "mv", "u", "parent", "child", "orders", "empty", "pg_catalog.pg_class"];
    let catalog = source.read(&[&names[..], &["nowhere"]].concat()).await;
    assert_eq!(catalog.tables.len(), names.len());
    let table = |name: &str| catalog.table(&scope(&[name]).tables[0]).unwrap();

    let group = table("Shop.Group");
    let columns: Vec<String> = group
        .columns
        .iter()
        .map(|c| {
            let marks = [
                c.column.not_null.then_some(" NOT NULL"),
                (!c.deterministic).then_some(" folded"),
                c.generated.as_ref().map(|_| " generated"),
            ];
            let marks: String = marks.into_iter().flatten().collect();
            format!("{} {} {:?}{marks}", c.column.name, c.column.sql_type, c.column.ty)
        })
        .collect();
    insta::assert_snapshot!(columns.join("\n"), @r#"
    id bigint Int8 NOT NULL
    Name character varying(20) Text NOT NULL folded
    m "Shop".mood[] Array(Text, 44)
    p "Shop".pair Composite([("a", Int4), ("m", Text), ("prices", Array(Numeric, 44))])
    boxes box[] Array(Text, 59)
    v int2vector Array(Int2, 32)
    twice bigint Int8 generated
    note text Text
    list integer[] Array(Int4, 44)
    "#);
    assert_eq!(group.added_default("note"), Some("it's {a,\"b\"}"));
    assert_eq!(group.added_default("list"), Some("{1,2}"));
    assert_eq!(group.added_default("Name"), None);
    assert_eq!(group.primary_key.as_deref(), Some(&["id".to_string()][..]));
    assert_eq!(group.leaves.len(), 1);
    assert_eq!(group.leaves[0].oid, group.oid);
    assert_eq!(group.leaves[0].rows_estimate, Some(1));
    let moods: Vec<&str> = catalog.enums.values().map(|e| e.name.name.as_str()).collect();
    assert_eq!(moods, ["mood"]);
    let labels = &catalog.enums.values().next().unwrap().labels;
    assert_eq!(labels.iter().map(|l| l.1.as_str()).collect::<Vec<_>>(), ["sad", "ok", "it's"]);
    let with_enums = group.columns.iter().filter(|c| !c.enums.is_empty());
    assert_eq!(with_enums.map(|c| c.column.name.as_str()).collect::<Vec<_>>(), ["m", "p"]);

    let kinds = names.map(|name| table(name).kind);
    assert_eq!(
        kinds,
        [
            Kind::Table,
            Kind::View,
            Kind::MaterializedView,
            Kind::Unlogged,
            Kind::Table,
            Kind::Table,
            Kind::Partitioned,
            Kind::Partitioned,
            Kind::System,
        ]
    );
    assert_eq!(table("parent").children, [TableName::new("public", "child")]);
    assert_eq!(table("orders").children, []);
    let leaves: Vec<&str> =
        table("orders").leaves.iter().map(|leaf| leaf.name.name.as_str()).collect();
    assert_eq!(leaves, ["orders_2024_low", "orders_2025"]);
    let own_numbers = |leaf: usize| {
        table("orders").leaves[leaf].columns.iter().map(|c| c.number).collect::<Vec<_>>()
    };
    assert_eq!(own_numbers(0), [1, 2]);
    assert_eq!(table("orders").identity(), Identity::Columns(vec!["at".into(), "id".into()]));
    assert_eq!(table("empty").identity(), Identity::Columns(vec!["id".into()]));
    assert_eq!(table("empty").leaves, []);

    assert_eq!(catalog.server.wal_level, "logical");
    assert_eq!(catalog.server.encoding, "UTF8");
    assert_eq!(catalog.server.version, source.session.version());
    assert!(catalog.role.superuser && catalog.role.replication && catalog.role.can_create);
    assert_eq!((&catalog.publication, &catalog.slot), (&None, &None));
    // What was kept as text is the same when it is read again.
    assert_eq!(Catalog::parse(catalog.text().to_owned()).unwrap(), catalog);
    assert_eq!(source.table("Shop.Group").await.column("id").unwrap().column.ty, Type::Int8);
}

#[tokio::test]
async fn replica_identities_are_what_postgres_accepts() {
    let source = source().await;
    source
        .sql(
            "CREATE TABLE full_rows (a int); ALTER TABLE full_rows REPLICA IDENTITY FULL;
             CREATE TABLE nothing (a int PRIMARY KEY);
             ALTER TABLE nothing REPLICA IDENTITY NOTHING;
             CREATE TABLE keyless (a int UNIQUE);
             CREATE TABLE deferring (a int PRIMARY KEY DEFERRABLE);
             CREATE TABLE by_index (a int PRIMARY KEY, b int NOT NULL DEFAULT 0, c int NOT NULL DEFAULT 0);
             CREATE UNIQUE INDEX by_index_c_b ON by_index (c, b) INCLUDE (a);
             ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_c_b;
             CREATE TABLE dropped (a int PRIMARY KEY, b int NOT NULL DEFAULT 0 UNIQUE);
             ALTER TABLE dropped REPLICA IDENTITY USING INDEX dropped_b_key;
             ALTER TABLE dropped DROP CONSTRAINT dropped_b_key;
             CREATE TABLE twofold (a int PRIMARY KEY); ALTER TABLE twofold REPLICA IDENTITY FULL;",
        )
        .await;
    let columns = |names: &[&str]| Identity::Columns(names.iter().map(|n| (*n).into()).collect());
    for (name, expected) in [
        ("full_rows", Identity::Full),
        ("nothing", Identity::Unusable(Unusable::Nothing)),
        ("keyless", Identity::Unusable(Unusable::NoPrimaryKey)),
        (
            "deferring",
            Identity::Unusable(Unusable::Index {
                name: "deferring_pkey".into(),
                fault: IndexFault::Deferrable,
            }),
        ),
        ("by_index", columns(&["c", "b"])),
        ("dropped", Identity::Unusable(Unusable::IndexDropped)),
        ("twofold", Identity::Full),
    ] {
        let table = source.table(name).await;
        assert_eq!(table.identity(), expected, "{name}");
        // Postgres' own opinion: an UPDATE of a published table fails without one.
        source.sql(&format!("INSERT INTO {name} VALUES (1)")).await;
    }
    assert_eq!(source.table("twofold").await.row_key(), Some(vec!["a".into()]));
    source.sql("CREATE PUBLICATION all_of_them FOR ALL TABLES").await;
    for (name, accepted) in [
        ("full_rows", true),
        ("nothing", false),
        ("keyless", false),
        ("deferring", false),
        ("dropped", false),
        ("twofold", true),
    ] {
        let update = source.client.batch_execute(&format!("UPDATE {name} SET a = 2")).await;
        assert_eq!(update.is_ok(), accepted, "{name}");
    }
}

#[tokio::test]
async fn what_the_wal_does_not_tell_is_found() {
    let source = source().await;
    source
        .sql(
            "CREATE TYPE mood AS ENUM ('sad', 'ok');
             CREATE TYPE pair AS (a int, b text);
             CREATE TABLE plain (id int PRIMARY KEY, n int, m mood[], p pair);
             INSERT INTO plain VALUES (1, 2, '{ok}', '(1,x)');
             CREATE TABLE other (id int PRIMARY KEY);
             CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
             CREATE TABLE parts_3 (id int PRIMARY KEY);
             INSERT INTO parts_3 VALUES (25);
             CREATE PUBLICATION readside FOR TABLE plain, other, parts_1, parts_2;",
        )
        .await;
    let tables = ["plain", "other", "parts"];
    let name = |table: &str| TableName::new("public", table);
    let mut last = source.read(&tables).await;
    let oid = |catalog: &Catalog, table: &str| catalog.table(&name(table)).unwrap().oid;
    let changes = async |last: &mut Catalog, sql: &str| {
        source.sql(sql).await;
        let now = source.read(&tables).await;
        let changes = diff(last, &now);
        *last = now;
        changes
    };
    let (plain, other) = (oid(&last, "plain"), oid(&last, "other"));
    let rewritten = |values_may_differ| CatalogChange::LeafRewritten {
        table: name("plain"),
        leaf: plain,
        values_may_differ,
    };

    assert_eq!(changes(&mut last, "INSERT INTO plain VALUES (2)").await, []);
    assert_eq!(changes(&mut last, "VACUUM FULL plain").await, [rewritten(false)]);
    assert_eq!(changes(&mut last, "TRUNCATE plain").await, [rewritten(false)]);
    let sql = "ALTER TABLE plain ALTER COLUMN n TYPE int USING n + 1";
    assert_eq!(changes(&mut last, sql).await, [rewritten(true)]);
    let retyped = |column: &str, from: &str, to: &str| CatalogChange::ColumnRetyped {
        table: name("plain"),
        column: column.into(),
        from: from.into(),
        to: to.into(),
    };
    let sql = "ALTER TABLE plain ALTER COLUMN n TYPE bigint";
    assert_eq!(changes(&mut last, sql).await, [rewritten(true), retyped("n", "integer", "bigint")]);
    let sql = "ALTER TYPE pair RENAME ATTRIBUTE b TO c";
    let altered = CatalogChange::ColumnTypeAltered {
        table: name("plain"),
        column: "p".into(),
        sql_type: "public.pair".into(),
    };
    assert_eq!(changes(&mut last, sql).await, [altered]);
    assert_eq!(
        changes(&mut last, "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'").await,
        [CatalogChange::EnumLabelRenamed {
            enum_type: name("mood"),
            from: "ok".into(),
            to: "fine".into(),
            columns: vec![(name("plain"), "m".into())],
        }]
    );
    assert_eq!(changes(&mut last, "ALTER TYPE mood ADD VALUE 'great'").await, []);
    let added = |column: &str, existing| CatalogChange::ColumnAdded {
        table: name("plain"),
        column: column.into(),
        existing,
    };
    assert_eq!(
        changes(&mut last, "ALTER TABLE plain ADD COLUMN a int").await,
        [added("a", ExistingRows::Null)]
    );
    assert_eq!(
        changes(&mut last, "ALTER TABLE plain ADD COLUMN b text DEFAULT 'x'").await,
        [added("b", ExistingRows::Constant("x".into()))]
    );
    // A volatile default writes each row anew; the constant of before goes into the rows with it, and
    // with it the mark that there is one: its column counts as altered.
    assert_eq!(
        changes(&mut last, "ALTER TABLE plain ADD COLUMN c float DEFAULT random()").await,
        [rewritten(true), added("c", ExistingRows::Unknown)]
    );
    assert_eq!(
        changes(&mut last, "ALTER TABLE plain RENAME COLUMN a TO z").await,
        [CatalogChange::ColumnRenamed { table: name("plain"), from: "a".into(), to: "z".into() }]
    );
    assert_eq!(
        changes(&mut last, "ALTER TABLE plain DROP COLUMN z").await,
        [CatalogChange::ColumnDropped { table: name("plain"), column: "z".into() }]
    );
    assert_eq!(
        changes(&mut last, "ALTER TABLE plain REPLICA IDENTITY FULL").await,
        [CatalogChange::IdentityChanged { table: name("plain"), identity: Identity::Full }]
    );

    let others = || CatalogChange::ChildrenChanged { table: name("plain") };
    let sql = "CREATE TABLE heir () INHERITS (plain)";
    assert_eq!(changes(&mut last, sql).await, [others()]);
    assert_eq!(changes(&mut last, "DROP TABLE heir").await, [others()]);

    let part = |catalog: &Catalog, at: usize| catalog.table(&name("parts")).unwrap().leaves[at].oid;
    let (parts_1, parts_2) = (part(&last, 0), part(&last, 1));
    let attached = changes(
        &mut last,
        "ALTER TABLE parts ATTACH PARTITION parts_3 FOR VALUES FROM (20) TO (30)",
    )
    .await;
    let parts_3 = part(&last, 2);
    assert_eq!(attached, [CatalogChange::LeafAttached { table: name("parts"), leaf: parts_3 }]);
    assert_eq!(
        changes(&mut last, "ALTER TABLE parts DETACH PARTITION parts_1").await,
        [CatalogChange::LeafGone { table: name("parts"), leaf: parts_1 }]
    );
    assert_eq!(
        changes(&mut last, "DROP TABLE parts_2").await,
        [CatalogChange::LeafGone { table: name("parts"), leaf: parts_2 }]
    );

    assert_eq!(
        changes(&mut last, "ALTER PUBLICATION readside DROP TABLE other").await,
        [CatalogChange::LeafUnpublished { table: name("other"), leaf: other }]
    );
    assert_eq!(
        changes(&mut last, "ALTER PUBLICATION readside SET (publish = 'insert')").await,
        [CatalogChange::PublicationNarrowed]
    );
    let sql = "DROP PUBLICATION readside; CREATE PUBLICATION readside FOR TABLE plain";
    assert_eq!(changes(&mut last, sql).await, [CatalogChange::PublicationGone]);

    assert_eq!(
        changes(&mut last, "DROP TABLE other").await,
        [CatalogChange::TableGone { table: name("other") }]
    );
    let appeared = changes(&mut last, "CREATE TABLE other (id int PRIMARY KEY)").await;
    let other = oid(&last, "other");
    assert_eq!(appeared, [CatalogChange::TableAppeared { table: name("other"), oid: other }]);
    let replaced =
        changes(&mut last, "DROP TABLE other; CREATE TABLE other (id int PRIMARY KEY)").await;
    assert_eq!(
        replaced,
        [CatalogChange::TableReplaced {
            table: name("other"),
            old_oid: other,
            new_oid: oid(&last, "other"),
        }]
    );
}

#[tokio::test]
async fn a_publication_is_made_once_and_grows() {
    let source = source().await;
    source
        .sql(
            "CREATE TABLE a (id int PRIMARY KEY);
             CREATE TABLE b (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE b_1 PARTITION OF b FOR VALUES FROM (0) TO (10);",
        )
        .await;
    let ensure = async |tables: &[&str]| {
        let catalog = source.read(tables).await;
        publication::ensure(&source.session, &catalog, &scope(tables)).await
    };
    let name = |table: &str| TableName::new("public", table);
    let made = ensure(&["a"]).await.unwrap();
    assert_eq!((made.created, made.added), (true, vec![name("a")]));
    assert_eq!(ensure(&["a"]).await.unwrap(), publication::Ensured::default());
    let grown = ensure(&["a", "b"]).await.unwrap();
    assert_eq!((grown.created, grown.added), (false, vec![name("b_1")]));
    source.sql("CREATE TABLE b_2 PARTITION OF b FOR VALUES FROM (10) TO (20)").await;
    assert_eq!(ensure(&["a", "b"]).await.unwrap().added, [name("b_2")]);
    assert_eq!(ensure(&["a", "b"]).await.unwrap(), publication::Ensured::default());
    let members = source
        .client
        .query("SELECT tablename::text FROM pg_publication_tables ORDER BY 1", &[])
        .await
        .unwrap();
    let members: Vec<String> = members.iter().map(|row| row.get(0)).collect();
    assert_eq!(members, ["a", "b_1", "b_2"]);

    // Another slot's pipeline uses it as it is.
    let other = Scope { slot: "second".into(), ..scope(&["a", "b"]) };
    let catalog = Catalog::read(&source.session, &other).await.unwrap();
    let used = publication::ensure(&source.session, &catalog, &other).await.unwrap();
    assert_eq!(used, publication::Ensured::default());
    source.sql("CREATE TABLE c (id int PRIMARY KEY)").await;
    let other = Scope { slot: "second".into(), ..scope(&["a", "c"]) };
    let catalog = Catalog::read(&source.session, &other).await.unwrap();
    let refused = publication::ensure(&source.session, &catalog, &other).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "publication readside lacks public.c, and it was made by the pipeline of slot readside; \
         run: ALTER PUBLICATION readside ADD TABLE ONLY public.c"
    );
}

#[tokio::test]
async fn the_watch_tells_changes_and_survives_the_server() {
    let Source { mut postgres, client, session } = source().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    client
        .batch_execute("SELECT pg_create_logical_replication_slot('readside', 'pgoutput')")
        .await
        .unwrap();
    let scope = scope(&["t"]);
    let before = Arc::new(Catalog::read(&session, &scope).await.unwrap());
    client.batch_execute("ALTER TABLE t ADD COLUMN n int DEFAULT 7").await.unwrap();

    let (out, mut readings) = tokio::sync::mpsc::channel(1);
    let params = Params::parse(&postgres.url("postgres"), None).unwrap();
    let (interval, cancel) = (Duration::from_millis(10), CancellationToken::new());
    let stop = cancel.clone();
    beside(watch::run(params, "readside".into(), scope, before, interval, out, stop));
    let first = readings.recv().await.unwrap();
    let added = CatalogChange::ColumnAdded {
        table: TableName::new("public", "t"),
        column: "n".into(),
        existing: ExistingRows::Constant("7".into()),
    };
    assert_eq!(first.changes, [added]);
    assert_eq!(readings.recv().await.unwrap().changes, []);

    postgres.kill9();
    postgres.restart().await;
    let client = postgres.client("postgres").await;
    client.batch_execute("INSERT INTO t SELECT generate_series(1, 10000)").await.unwrap();
    wait::until("the slot to retain what was written", async || {
        let reading = readings.recv().await.unwrap();
        assert_eq!(reading.changes, []);
        let retained = reading.catalog.slot.as_ref().unwrap().wal.retained_bytes;
        if retained > 500_000 { Ok(()) } else { Err(retained) }
    })
    .await;
    cancel.cancel();
    while readings.recv().await.is_some() {}
}
