//! Every message about the source that `check` can give, by real servers. Nothing is created by it.

use readside::config::{self, Config, Environment};
use readside::pg::Params;
use readside::source::check;
use tokio_postgres::Client;

use crate::harness::{Certificates, Postgres, PostgresOptions};

const CONFIG: &str = r#"[source]
url = "URL"
slot = "readside"
publication = "readside"

[state]
dir = "/tmp/unused"

[sink.cache.redis]
url = "redis://127.0.0.1:1/0"
"#;

/// A configuration of one projection for each table.
fn config(url: &str, tables: &[&str]) -> Config {
    let mut text = CONFIG.replace("URL", url);
    for (number, table) in tables.iter().enumerate() {
        text.push_str(&format!(
            "\n[projection.p{number}]\ntable = '{table}'\nkey = [\"id\"]\n\
             to.cache = {{ hash = \"p{number}:{{id}}\" }}\n"
        ));
    }
    config::parse("readside.toml", &text, &Environment::default(), &|_, _| Ok(())).unwrap_or_else(
        |faults| {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        },
    )
}

/// All faults as a terminal shows them, without what differs from run to run.
async fn faults(url: &str, tables: &[&str], hide: &[(&str, &str)]) -> String {
    let config = config(url, tables);
    let params =
        Params::parse(config.source.url.expose(), config.source.password.as_ref()).unwrap();
    let checked = check::check(&config, &params).await;
    let shown: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
    let mut shown = shown.join("\n\n");
    for (text, name) in hide {
        shown = shown.replace(text, name);
    }
    shown
}

struct Source {
    client: Client,
    postgres: Postgres,
}

async fn source(settings: &[(&str, &str)]) -> Source {
    let postgres = Postgres::start(&PostgresOptions { settings, ..Default::default() }).await;
    let client = postgres.client("postgres").await;
    Source { client, postgres }
}

impl Source {
    async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn faults_as(&self, user: &str, tables: &[&str]) -> String {
        let port = self.postgres.port().to_string();
        faults(&self.postgres.url_as(user, "postgres"), tables, &[(&port, "PORT")]).await
    }

    async fn faults(&self, tables: &[&str]) -> String {
        self.faults_as("postgres", tables).await
    }
}

#[tokio::test]
async fn a_sound_source_has_no_faults_and_stays_as_it_is() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE ROLE readside LOGIN REPLICATION;
             GRANT CREATE ON DATABASE postgres TO readside;
             CREATE SCHEMA shop AUTHORIZATION readside;
             SET ROLE readside;
             CREATE TABLE shop.\"Group\" (id int PRIMARY KEY);
             CREATE TABLE shop.parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM (1) TO (9);
             RESET ROLE;",
        )
        .await;
    assert_eq!(source.faults_as("readside", &["shop.\"Group\"", "shop.parts"]).await, "");
    let made = "SELECT FROM pg_publication UNION ALL SELECT FROM pg_replication_slots";
    assert_eq!(source.client.query(made, &[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn connections_that_cannot_be_had() {
    // Nobody listens there: the port is the discard service's.
    insta::assert_snapshot!(faults("postgres://readside@127.0.0.1:9/shop", &["t"], &[]).await, @r#"
    error: the source cannot be reached: 127.0.0.1:9: cannot connect: Connection refused (os error 111)
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:9/shop"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: start the server, or correct host and port in the url
    "#);
    let certificates = Certificates::make();
    let options = PostgresOptions {
        tls: Some(&certificates),
        hba: Some(
            "local all all trust\n\
             host all postgres 127.0.0.1/32 trust\n\
             hostssl shop readside 127.0.0.1/32 scram-sha-256\n\
             host shop trusted 127.0.0.1/32 trust\n",
        ),
        ..Default::default()
    };
    let postgres = Postgres::start(&options).await;
    let client = postgres.client("postgres").await;
    client
        .batch_execute("CREATE ROLE readside LOGIN PASSWORD 'right'; CREATE ROLE trusted LOGIN")
        .await
        .unwrap();
    client.batch_execute("CREATE DATABASE shop").await.unwrap();
    let port = postgres.port().to_string();
    let fault = async |user: &str, database: &str, more: &str| {
        let url = format!("{}{more}", postgres.url_as(user, database));
        faults(&url, &["t"], &[(&port, "PORT")]).await
    };
    insta::assert_snapshot!(fault("readside:wrong", "shop", "?sslmode=require").await, @r#"
    error: the source does not let us in: 127.0.0.1:PORT: FATAL: password authentication failed for user "readside" (SQLSTATE 28P01)
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/shop?sslmode=require"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: correct source.password or source.password_file; a role's password is set by:
          ALTER ROLE readside PASSWORD '…';
    "#);
    insta::assert_snapshot!(fault("readside", "shop", "?sslmode=require").await, @r#"
    error: the source does not let us in: 127.0.0.1:PORT: the server asks for the password of "readside", but none is given
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/shop?sslmode=require"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: set source.password or source.password_file
    "#);
    insta::assert_snapshot!(fault("readside:right", "shop", "?sslmode=verify-full").await, @r#"
    error: the source's url cannot be used: sslmode=verify-ca and verify-full need root certificates: name a file by sslrootcert, put it at ~/.postgresql/root.crt, or write sslrootcert=system for the system's
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/shop?sslmode=verify-full"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: correct the url
    "#);
    insta::assert_snapshot!(fault("stranger", "shop", "?sslmode=disable").await, @r#"
    error: the source does not let us in: 127.0.0.1:PORT: FATAL: no pg_hba.conf entry for host "127.0.0.1", user "stranger", database "shop", no encryption (SQLSTATE 28000)
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/shop?sslmode=disable"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: add a line to the server's pg_hba.conf, and run SELECT pg_reload_conf():
          host shop stranger ADDRESS/32 scram-sha-256
    "#);
    insta::assert_snapshot!(fault("postgres", "nowhere", "").await, @r#"
    error: the source does not let us in: 127.0.0.1:PORT: FATAL: database "nowhere" does not exist (SQLSTATE 3D000)
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/nowhere"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: correct the database in the url
    "#);
    client.batch_execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC").await.unwrap();
    insta::assert_snapshot!(fault("trusted", "shop", "").await, @r#"
    error: the source does not let us in: 127.0.0.1:PORT: FATAL: permission denied for database "shop" (SQLSTATE 42501); User does not have CONNECT privilege.
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/shop"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: run on the source:
          GRANT CONNECT ON DATABASE shop TO trusted;
    "#);
}

#[tokio::test]
async fn a_role_without_any_rights() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE ROLE \"Reader\" LOGIN;
             CREATE SCHEMA shop;
             CREATE TABLE shop.orders (id int PRIMARY KEY);
             CREATE TABLE secret (id int PRIMARY KEY, owner text);
             GRANT SELECT ON secret TO \"Reader\";
             ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON secret USING (owner = current_user);
             CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (2);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (2) TO (3);
             GRANT SELECT ON parts TO \"Reader\";",
        )
        .await;
    let tables = ["shop.orders", "secret", "parts"];
    insta::assert_snapshot!(source.faults_as("Reader", &tables).await, @r#"
    error: role "Reader" may not replicate
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: run on the source, as a superuser:
          ALTER ROLE "Reader" REPLICATION;

    error: role "Reader" may not read table shop.orders
      --> readside.toml:13:9
       |
    13 | table = 'shop.orders'
       |         ^^^^^^^^^^^^^
       |
    hint: run on the source:
          GRANT USAGE ON SCHEMA shop TO "Reader";
          GRANT SELECT ON shop.orders TO "Reader";

    error: row security hides rows from role "Reader" in table public.secret
      --> readside.toml:18:9
       |
    18 | table = 'secret'
       |         ^^^^^^^^
       |
    hint: run on the source, as a superuser:
          ALTER ROLE "Reader" BYPASSRLS;

    error: role "Reader" may not read 2 partitions of public.parts, such as public.parts_1
      --> readside.toml:23:9
       |
    23 | table = 'parts'
       |         ^^^^^^^
       |
    hint: run on the source:
          GRANT SELECT ON public.parts_1, public.parts_2 TO "Reader";

    error: publication readside does not exist, and role "Reader" may not create it in database postgres
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: run on the source, as a superuser:
          CREATE PUBLICATION readside FOR TABLE ONLY shop.orders, ONLY public.secret, ONLY public.parts_1, ONLY public.parts_2;
    "#);
    source.sql("GRANT CREATE ON DATABASE postgres TO \"Reader\"").await;
    insta::assert_snapshot!(source.faults_as("Reader", &["secret"]).await, @r#"
    error: role "Reader" may not replicate
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: run on the source, as a superuser:
          ALTER ROLE "Reader" REPLICATION;

    error: row security hides rows from role "Reader" in table public.secret
      --> readside.toml:13:9
       |
    13 | table = 'secret'
       |         ^^^^^^^^
       |
    hint: run on the source, as a superuser:
          ALTER ROLE "Reader" BYPASSRLS;

    error: publication readside does not exist, and role "Reader" does not own public.secret
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: run on the source, as a superuser:
          CREATE PUBLICATION readside FOR TABLE ONLY public.secret;
    "#);
}

#[tokio::test]
async fn tables_that_cannot_be_used() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE SCHEMA shop;
             CREATE TABLE shop.customers (id int PRIMARY KEY);
             CREATE TABLE orders (id int PRIMARY KEY);
             CREATE VIEW v AS SELECT 1 AS id;
             CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id;
             CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
             CREATE TABLE parent (id int PRIMARY KEY);
             CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
             CREATE SEQUENCE s;
             CREATE TABLE doubled (id int, \"Twice\" int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY);
             CREATE EXTENSION postgres_fdw;
             CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
             CREATE FOREIGN TABLE f (id int) SERVER elsewhere;
             CREATE TABLE parts (id int) PARTITION BY RANGE (id);
             CREATE FOREIGN TABLE parts_f PARTITION OF parts FOR VALUES FROM (1) TO (2)
                 SERVER elsewhere;",
        )
        .await;
    let tables = [
        "ordres",
        "customers",
        "\"Nothing like it\"",
        "v",
        "mv",
        "u",
        "parent",
        "s",
        "pg_catalog.pg_class",
        "f",
        "parts",
        "doubled",
        "child",
    ];
    insta::assert_snapshot!(source.faults(&tables).await, @r#"
    error: table public.ordres does not exist
      --> readside.toml:13:9
       |
    13 | table = 'ordres'
       |         ^^^^^^^^
       |
    hint: did you mean public.orders?

    error: table public.customers does not exist
      --> readside.toml:18:9
       |
    18 | table = 'customers'
       |         ^^^^^^^^^^^
       |
    hint: did you mean shop.customers?

    error: table public."Nothing like it" does not exist
      --> readside.toml:23:9
       |
    23 | table = '"Nothing like it"'
       |         ^^^^^^^^^^^^^^^^^^^
       |
    hint: create it, or correct the name; it is written as in SQL

    error: public.v is a view: it has no rows and no changes of its own
      --> readside.toml:28:9
       |
    28 | table = 'v'
       |         ^^^
       |
    hint: name the tables that it reads

    error: public.mv is a materialized view: its changes are not replicated
      --> readside.toml:33:9
       |
    33 | table = 'mv'
       |         ^^^^
       |
    hint: name the tables that it reads

    error: public.u is an unlogged table: its changes are not in the WAL
      --> readside.toml:38:9
       |
    38 | table = 'u'
       |         ^^^
       |
    hint: run on the source:
          ALTER TABLE public.u SET LOGGED;

    error: public.parent is an inheritance parent: its rows are also in public.child
      --> readside.toml:43:9
       |
    43 | table = 'parent'
       |         ^^^^^^^^
       |
    hint: name those tables each by a projection of its own, or make it a partitioned table

    error: public.s is not a table
      --> readside.toml:48:9
       |
    48 | table = 's'
       |         ^^^
       |
    hint: name a table

    error: pg_catalog.pg_class is a table of the system: it is never replicated
      --> readside.toml:53:9
       |
    53 | table = 'pg_catalog.pg_class'
       |         ^^^^^^^^^^^^^^^^^^^^^
       |
    hint: name another

    error: public.f is a foreign table: its changes are in another server's WAL
      --> readside.toml:58:9
       |
    58 | table = 'f'
       |         ^^^
       |
    hint: connect to that server instead

    error: public.parts has a partition that cannot be used: public.parts_f is a foreign table: its changes are in another server's WAL
      --> readside.toml:63:9
       |
    63 | table = 'parts'
       |         ^^^^^^^
       |
    hint: connect to that server instead

    error: the replica identity of public.doubled has generated columns, which are not replicated: "Twice"
      --> readside.toml:68:9
       |
    68 | table = 'doubled'
       |         ^^^^^^^^^
       |
    hint: make a unique index on ordinary columns its replica identity, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.doubled REPLICA IDENTITY FULL;
    "#);
}

#[tokio::test]
async fn a_partition_beside_its_table() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE TABLE sales (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
             CREATE TABLE sales_eu PARTITION OF sales FOR VALUES IN ('eu') PARTITION BY RANGE (id);
             CREATE TABLE sales_eu_1 PARTITION OF sales_eu FOR VALUES FROM (0) TO (100);
             CREATE TABLE sales_us PARTITION OF sales FOR VALUES IN ('us');",
        )
        .await;
    assert_eq!(source.faults(&["sales_eu", "sales_us"]).await, "");
    let told = source.faults(&["sales_eu_1", "sales"]).await;
    let what = "error: public.sales and public.sales_eu_1 have rows in common";
    assert!(told.starts_with(what), "{told}");
    let told = source.faults(&["sales", "sales_us"]).await;
    let what = "error: public.sales_us and public.sales have rows in common";
    assert!(told.starts_with(what), "{told}");
}

#[tokio::test]
async fn tables_without_a_usable_replica_identity() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
             CREATE TABLE keyless (id int);
             CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
             CREATE TABLE partial (id int NOT NULL);
             CREATE UNIQUE INDEX partial_id ON partial (id) WHERE id > 0;
             CREATE TABLE nullable (id int UNIQUE);
             CREATE TABLE expressed (id int NOT NULL);
             CREATE UNIQUE INDEX expressed_id ON expressed (abs(id));
             CREATE TABLE usable (id int NOT NULL UNIQUE);
             CREATE TABLE dropped (id int PRIMARY KEY, n int NOT NULL UNIQUE);
             ALTER TABLE dropped REPLICA IDENTITY USING INDEX dropped_n_key;
             ALTER TABLE dropped DROP CONSTRAINT dropped_n_key;
             CREATE TABLE parts (id int) PARTITION BY RANGE (id);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (2);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (2) TO (3);
             ALTER TABLE parts_1 ADD PRIMARY KEY (id);
             CREATE TABLE differ (id int, n int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
             CREATE TABLE differ_1 PARTITION OF differ FOR VALUES FROM (1) TO (2);
             CREATE TABLE differ_2 PARTITION OF differ FOR VALUES FROM (2) TO (3);
             CREATE UNIQUE INDEX differ_1_n ON differ_1 (n);
             ALTER TABLE differ_1 REPLICA IDENTITY USING INDEX differ_1_n;",
        )
        .await;
    let tables = [
        "nothing",
        "keyless",
        "deferred",
        "partial",
        "nullable",
        "expressed",
        "usable",
        "dropped",
        "parts",
        "differ",
    ];
    insta::assert_snapshot!(source.faults(&tables).await, @r#"
    error: table public.nothing has no usable replica identity: it is set to NOTHING; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:13:9
       |
    13 | table = 'nothing'
       |         ^^^^^^^^^
       |
    hint: run on the source:
          ALTER TABLE public.nothing REPLICA IDENTITY DEFAULT;

    error: table public.keyless has no usable replica identity: there is no primary key; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:18:9
       |
    18 | table = 'keyless'
       |         ^^^^^^^^^
       |
    hint: add a primary key, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.keyless REPLICA IDENTITY FULL;

    error: table public.deferred has no usable replica identity: index deferred_pkey is deferrable; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:23:9
       |
    23 | table = 'deferred'
       |         ^^^^^^^^^^
       |
    hint: make the primary key NOT DEFERRABLE, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.deferred REPLICA IDENTITY FULL;

    error: table public.partial has no usable replica identity: there is no primary key, and index partial_id is partial; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:28:9
       |
    28 | table = 'partial'
       |         ^^^^^^^^^
       |
    hint: add a primary key, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.partial REPLICA IDENTITY FULL;

    error: table public.nullable has no usable replica identity: there is no primary key, and index nullable_id_key has columns without NOT NULL: id; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:33:9
       |
    33 | table = 'nullable'
       |         ^^^^^^^^^^
       |
    hint: add a primary key, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.nullable REPLICA IDENTITY FULL;

    error: table public.expressed has no usable replica identity: there is no primary key, and index expressed_id is on expressions; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:38:9
       |
    38 | table = 'expressed'
       |         ^^^^^^^^^^^
       |
    hint: add a primary key, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.expressed REPLICA IDENTITY FULL;

    error: table public.usable has no usable replica identity: there is no primary key; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:43:9
       |
    43 | table = 'usable'
       |         ^^^^^^^^
       |
    hint: run on the source:
          ALTER TABLE public.usable REPLICA IDENTITY USING INDEX usable_id_key;

    error: table public.dropped has no usable replica identity: the index that it names has been dropped; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:48:9
       |
    48 | table = 'dropped'
       |         ^^^^^^^^^
       |
    hint: run on the source:
          ALTER TABLE public.dropped REPLICA IDENTITY DEFAULT;

    error: partition public.parts_2 of public.parts has no usable replica identity: there is no primary key; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:53:9
       |
    53 | table = 'parts'
       |         ^^^^^^^
       |
    hint: add a primary key, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.parts_2 REPLICA IDENTITY FULL;

    error: the partitions of public.differ have different replica identities
      --> readside.toml:58:9
       |
    58 | table = 'differ'
       |         ^^^^^^^^
       |
    hint: give them all the one that their primary key is, by this for each of them:
          ALTER TABLE PARTITION REPLICA IDENTITY DEFAULT;
    "#);
}

#[tokio::test]
async fn publications_that_hide_or_lack() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE TABLE a (id int PRIMARY KEY, n int);
             CREATE TABLE b (id int PRIMARY KEY, n int);
             CREATE PUBLICATION readside FOR TABLE a WHERE (id > 5), b (id)
                 WITH (publish = 'insert, delete', publish_via_partition_root = true);",
        )
        .await;
    insta::assert_snapshot!(source.faults(&["a", "b"]).await, @r#"
    error: publication readside has publish_via_partition_root: a TRUNCATE of a partition is not replicated
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: name another publication by source.publication; or, if nobody needs it as it is, run on the source:
          ALTER PUBLICATION readside SET (publish_via_partition_root = false);

    error: publication readside does not publish update, truncate
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: name another publication by source.publication; or, if nobody needs it as it is, run on the source:
          ALTER PUBLICATION readside SET (publish = 'insert, update, delete, truncate');

    error: publication readside has a row filter on public.a
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: name another publication by source.publication; or, if nobody needs it as it is, run on the source:
          ALTER PUBLICATION readside DROP TABLE ONLY public.a;
          ALTER PUBLICATION readside ADD TABLE ONLY public.a;

    error: publication readside has a column list on public.b
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: name another publication by source.publication; or, if nobody needs it as it is, run on the source:
          ALTER PUBLICATION readside DROP TABLE ONLY public.b;
          ALTER PUBLICATION readside ADD TABLE ONLY public.b;
    "#);
    // Another pipeline's; one that belongs to somebody else; one that only the tables' owner could fill.
    source
        .sql(
            "DROP PUBLICATION readside; CREATE PUBLICATION readside FOR TABLE a;
             COMMENT ON PUBLICATION readside IS 'made by readside for slot other after 0/1';",
        )
        .await;
    insta::assert_snapshot!(source.faults(&["a", "b"]).await, @r#"
    error: publication readside lacks public.b, and it was made by the pipeline of slot other
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: run on the source while that pipeline is stopped:
          ALTER PUBLICATION readside ADD TABLE ONLY public.b;
    "#);
    source
        .sql(
            "COMMENT ON PUBLICATION readside IS NULL;
             CREATE ROLE reader LOGIN REPLICATION; GRANT SELECT ON a, b TO reader;",
        )
        .await;
    insta::assert_snapshot!(source.faults_as("reader", &["a", "b"]).await, @r#"
    error: publication readside lacks public.b, and it belongs to role postgres
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: run on the source, as its owner:
          ALTER PUBLICATION readside ADD TABLE ONLY public.b;
    "#);
    source.sql("ALTER PUBLICATION readside OWNER TO postgres").await;
    source.sql("GRANT CREATE ON DATABASE postgres TO reader").await;
    source.sql("ALTER PUBLICATION readside OWNER TO reader").await;
    insta::assert_snapshot!(source.faults_as("reader", &["a", "b"]).await, @r#"
    error: publication readside lacks public.b, and role reader does not own public.b
     --> readside.toml:4:15
      |
    4 | publication = "readside"
      |               ^^^^^^^^^^
      |
    hint: run on the source, as a superuser:
          ALTER PUBLICATION readside ADD TABLE ONLY public.b;
    "#);
    // What it lacks for us it may lack.
    assert_eq!(source.faults_as("reader", &["a"]).await, "");
}

#[tokio::test]
async fn settings_of_the_server() {
    let source = source(&[
        ("wal_level", "replica"),
        ("max_wal_senders", "0"),
        ("max_replication_slots", "0"),
        ("synchronous_standby_names", "FIRST 1 (berlin, \"Readside\")"),
    ])
    .await;
    source.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    insta::assert_snapshot!(source.faults(&["t"]).await, @r#"
    error: wal_level is replica, and must be logical
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: run on the source, and restart it:
          ALTER SYSTEM SET wal_level = logical;

    error: synchronous_standby_names = 'FIRST 1 (berlin, "Readside")' makes application_name readside a synchronous standby: each commit would wait for readside
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: list the standbys by their own names there, without *; or set another application_name in the url

    error: all walsenders are in use (max_wal_senders = 0)
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: run on the source, and restart it:
          ALTER SYSTEM SET max_wal_senders = 4;

    error: all replication slots are in use (max_replication_slots = 0)
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: drop one that nobody needs, or run on the source, and restart it:
          ALTER SYSTEM SET max_replication_slots = 4;
    "#);
    let url = format!("{}?sslmode=require", source.postgres.url("postgres"));
    let port = source.postgres.port().to_string();
    insta::assert_snapshot!(faults(&url, &["t"], &[(&port, "PORT")]).await, @r#"
    error: the source cannot be reached by TLS: 127.0.0.1:PORT: the server does not speak TLS, but sslmode demands it
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres?sslmode=require"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: correct sslmode or sslrootcert in the url, or the server's certificate
    "#);
    // Another name in the url is another standby.
    let url = format!("{}?application_name=reader", source.postgres.url("postgres"));
    assert!(!faults(&url, &["t"], &[]).await.contains("synchronous"));
}

#[tokio::test]
async fn a_database_of_any_encoding() {
    let source = source(&[]).await;
    source.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").await;
    let client = source.postgres.client("ascii").await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let port = source.postgres.port().to_string();
    let shown = faults(&source.postgres.url("ascii"), &["t"], &[(&port, "PORT")]).await;
    insta::assert_snapshot!(shown, @r#"
    error: database ascii has the encoding SQL_ASCII: its texts may be in any encoding
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/ascii"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: dump it, and restore it into a database with ENCODING 'UTF8'
    "#);
}

#[tokio::test]
async fn a_standby() {
    let mut source = source(&[]).await;
    source
        .sql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION readside FOR TABLE t")
        .await;
    source.postgres.stop_fast().await;
    std::fs::write(source.postgres.data_dir().join("standby.signal"), "").unwrap();
    source.postgres.restart().await;
    insta::assert_snapshot!(source.faults(&["t"]).await, @r#"
    error: the source is a standby: no publication can be made there, and positions are another's
     --> readside.toml:2:7
      |
    2 | url = "postgres://***@127.0.0.1:PORT/postgres"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: name the primary in the url; target_session_attrs=read-write finds it among several hosts
    "#);
}

#[tokio::test]
async fn a_replication_connection_that_cannot_be_had() {
    let source = source(&[]).await;
    source
        .sql(
            "CREATE ROLE reader LOGIN REPLICATION CONNECTION LIMIT 1;
             CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO reader;
             CREATE PUBLICATION readside FOR TABLE t;",
        )
        .await;
    insta::assert_snapshot!(source.faults_as("reader", &["t"]).await, @"");
}

#[tokio::test]
async fn slots_that_are_not_ours() {
    let source = source(&[]).await;
    source.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    source.sql("SELECT pg_create_logical_replication_slot('readside', 'test_decoding')").await;
    insta::assert_snapshot!(source.faults(&["t"]).await, @r#"
    error: replication slot readside uses the output plugin test_decoding, not pgoutput
     --> readside.toml:3:8
      |
    3 | slot = "readside"
      |        ^^^^^^^^^^
      |
    hint: name another one by source.slot; or, if nobody needs it, run on the source:
          SELECT pg_drop_replication_slot('readside');
    "#);
    source
        .sql(
            "SELECT pg_drop_replication_slot('readside');
             SELECT pg_create_logical_replication_slot('readside', 'pgoutput');
             CREATE PUBLICATION other;",
        )
        .await;
    // One of ours is no fault: a check may run beside the daemon.
    let stream = async |name: &str| {
        let params = Params::parse(&source.postgres.url("postgres"), None).unwrap();
        let connection =
            readside::source::replication::ReplicationConnection::connect(&params, name);
        let connection = connection.await.unwrap();
        let pid = connection.process_id().to_string();
        let lsn = readside::lsn::Lsn::ZERO;
        (connection.start("readside", "other", lsn).await.unwrap(), pid)
    };
    let (ours, _) = stream("readside").await;
    assert_eq!(source.faults(&["t"]).await, "");
    drop(ours);
    crate::harness::wait::until("the slot to be free", async || {
        let free = "SELECT FROM pg_replication_slots WHERE NOT active";
        match source.client.query(free, &[]).await.unwrap().len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let (_theirs, pid) = stream("warehouse").await;
    let shown = source.faults(&["t"]).await.replace(&pid, "PID");
    insta::assert_snapshot!(shown, @r#"
    error: replication slot readside is in use by pid PID (role postgres, application 'warehouse')
     --> readside.toml:3:8
      |
    3 | slot = "readside"
      |        ^^^^^^^^^^
      |
    hint: stop that program, or name another slot by source.slot
    "#);
}
