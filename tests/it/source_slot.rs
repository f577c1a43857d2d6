//! Slots: made once, judged from the catalog, and waiting for whom.

use readside::pg::{self, Params, Session};
use readside::source::catalog::{Catalog, Scope};
use readside::source::publication;
use readside::source::replication::Lifetime;
use readside::source::slot::{self, Foreign, Holder, State};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::harness::{Postgres, PostgresOptions, wait};

struct Source {
    client: Client,
    session: Session,
    params: Params,
    postgres: Postgres,
}

async fn source() -> Source {
    let options =
        PostgresOptions { settings: &[("max_prepared_transactions", "5")], ..Default::default() };
    let postgres = Postgres::start(&options).await;
    let client = postgres.client("postgres").await;
    let params = Params::parse(&postgres.url("postgres"), None).unwrap();
    let session = pg::connect(&params, "readside").await.unwrap();
    Source { client, session, params, postgres }
}

fn scope() -> Scope {
    Scope { publication: "readside".into(), slot: "readside".into(), tables: Vec::new() }
}

impl Source {
    async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn catalog(&self) -> Catalog {
        Catalog::read(&self.session, &scope()).await.unwrap()
    }

    async fn state(&self) -> State {
        slot::state(&self.catalog().await)
    }

    async fn create(&self) -> Result<slot::Created, slot::Error> {
        let cancel = CancellationToken::new();
        slot::create(&self.params, "readside", "readside", Lifetime::Permanent, &|_| {}, &cancel)
            .await
    }
}

#[tokio::test]
async fn a_slot_is_made_once_and_kept() {
    let source = source().await;
    assert_eq!(source.state().await, State::Missing);
    publication::ensure(&source.session, &source.catalog().await, &scope()).await.unwrap();
    let created = source.create().await.unwrap();
    let version = source.catalog().await.server.version;
    let slot = source.catalog().await.slot.unwrap();
    assert_eq!(slot.failover, (version >= 170_000).then_some(true));
    assert!(created.window.covers(&created.window));
    drop(created.connection);
    assert_eq!(source.state().await, State::Usable(created.consistent_point));
    // Another one of that name is an error, and nothing is lost.
    assert!(matches!(source.create().await, Err(slot::Error::Pg(_))));
    assert_eq!(source.state().await, State::Usable(created.consistent_point));
    // A publication that was made again is not in the WAL that the slot still has to read.
    source.sql("DROP PUBLICATION readside; SELECT pg_switch_wal()").await;
    publication::ensure(&source.session, &source.catalog().await, &scope()).await.unwrap();
    assert!(matches!(source.state().await, State::Lost(_)));
}

#[tokio::test]
async fn slots_of_others_are_known() {
    let source = source().await;
    let foreign = async |sql: &str| {
        source.sql(sql).await;
        let state = source.state().await;
        source.sql("SELECT pg_drop_replication_slot('readside')").await;
        state
    };
    let plugin = "SELECT pg_create_logical_replication_slot('readside', 'test_decoding')";
    assert_eq!(foreign(plugin).await, State::Foreign(Foreign::Plugin("test_decoding".into())));
    let physical = "SELECT pg_create_physical_replication_slot('readside')";
    assert_eq!(foreign(physical).await, State::Foreign(Foreign::Physical));
    let temporary = "SELECT pg_create_logical_replication_slot('readside', 'pgoutput', true)";
    assert_eq!(foreign(temporary).await, State::Foreign(Foreign::Temporary));
    let other = source.postgres.new_database().await;
    let client = source.postgres.client(&other).await;
    let sql = "SELECT pg_create_logical_replication_slot('readside', 'pgoutput')";
    client.batch_execute(sql).await.unwrap();
    assert_eq!(source.state().await, State::Foreign(Foreign::Database(other)));
}

#[tokio::test]
async fn a_slot_whose_wal_is_gone_is_lost() {
    let source = source().await;
    source.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'").await;
    source.sql("SELECT pg_reload_conf()").await;
    source.create().await.unwrap();
    wait::until("the slot's WAL to be removed", async || {
        source.sql("SELECT pg_switch_wal(); CREATE TABLE IF NOT EXISTS t (); DROP TABLE t").await;
        source.sql("CHECKPOINT").await;
        match source.state().await {
            State::Lost(reason) => Ok(reason),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_creation_that_waits_names_for_whom() {
    let source = source().await;
    source.sql("CREATE TABLE t (id int)").await;
    let open = source.postgres.client("postgres").await;
    open.batch_execute("SET application_name = 'shop'; BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let blocker = async || {
        wait::until("the creation to wait", async || {
            let sql = "SELECT pid FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted";
            let rows = source.session.rows(sql).await.unwrap();
            let Some(row) = rows.first() else { return Err("nobody waits") };
            let pid = row[0].as_ref().unwrap().parse().unwrap();
            slot::blocker(&source.session, pid).await.unwrap().ok_or("not any more")
        })
        .await
    };
    let creation = source.create();
    tokio::pin!(creation);
    let named = tokio::select! {
        created = &mut creation => panic!("it did not wait: {created:?}"),
        named = blocker() => named,
    };
    let Holder::Session { application_name, role, doing, .. } = &named.holder else {
        panic!("{named:?}")
    };
    assert_eq!(
        (application_name.as_str(), role.as_str(), doing.as_str()),
        ("shop", "postgres", "idle in transaction, Client ClientRead")
    );
    open.batch_execute("PREPARE TRANSACTION 'the gid'").await.unwrap();
    let named = tokio::select! {
        created = &mut creation => panic!("it did not wait: {created:?}"),
        named = wait::until("the prepared one", async || match blocker().await {
            named if matches!(named.holder, Holder::Prepared { .. }) => Ok(named),
            other => Err(other.to_string()),
        }) => named,
    };
    let text = named.to_string();
    assert!(text.ends_with("prepared by role postgres as 'the gid'"), "{text}");
    source.sql("ROLLBACK PREPARED 'the gid'").await;
    creation.await.unwrap();
}

#[tokio::test]
async fn a_creation_that_is_stopped_leaves_no_slot() {
    let source = source().await;
    source.sql("CREATE TABLE t (id int)").await;
    let open = source.postgres.client("postgres").await;
    open.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let cancel = CancellationToken::new();
    let creation =
        slot::create(&source.params, "readside", "readside", Lifetime::Permanent, &|_| {}, &cancel);
    tokio::pin!(creation);
    let slots =
        async || source.session.rows("SELECT FROM pg_replication_slots").await.unwrap().len();
    let begun = wait::until("the creation to begin", async || match slots().await {
        1 => Ok(()),
        other => Err(other),
    });
    tokio::select! {
        created = &mut creation => panic!("it did not wait: {created:?}"),
        () = begun => {}
    }
    cancel.cancel();
    let stopped = creation.await;
    assert!(matches!(stopped, Err(slot::Error::Cancelled(_))), "{stopped:?}");
    wait::until("the slot to be gone", async || match slots().await {
        0 => Ok(()),
        other => Err(other),
    })
    .await;
}
