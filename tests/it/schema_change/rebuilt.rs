//! A quarantined projection is rebuilt by hand, without a restart.

use super::{TABLES, quarantined, start};
use crate::world::World;

#[tokio::test]
async fn a_rebuild_takes_the_table_as_it_is_now() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    for (sql, reason) in [
        ("ALTER TABLE items DROP v", "column v is gone"),
        ("ALTER TABLE items ALTER id TYPE bigint", "column id was integer and is bigint"),
    ] {
        world.execute(sql).await;
        world.execute("UPDATE items SET n = n + 1; UPDATE others SET v = v || '+'").await;
        quarantined(&daemon, &world.name("items"), reason).await;
        let rebuilt = daemon.command(&["rebuild", &world.name("items")]).await;
        assert!(rebuilt.status.success(), "{rebuilt:?} {}", daemon.log());
        world.same(&mut daemon, "items", "items", &["id"]).await;
        world.same(&mut daemon, "others", "others", &["id"]).await;
    }
}

/// One projection's rebuild is no other's: a read model changes its columns when it is asked to.
#[tokio::test]
async fn a_rebuild_is_of_one_projection() {
    let world = World::new(TABLES).await;
    let items = world.projection("items", "items", &["id"]);
    let twin = world.projection("twin", "items", &["id"]);
    let mut daemon = crate::harness::Daemon::start(&world.config(&(items + &twin)));
    daemon.wait_ready().await;
    let before = world.rows(&world.reporting, "twin", &["id"]).await;
    world.execute("ALTER TABLE items DROP v").await;
    world.execute("UPDATE items SET n = n + 1").await;
    for name in ["items", "twin"] {
        quarantined(&daemon, &world.name(name), "column v is gone").await;
    }
    assert!(daemon.command(&["rebuild", &world.name("items")]).await.status.success());
    world.same(&mut daemon, "items", "items", &["id"]).await;
    quarantined(&daemon, &world.name("twin"), "column v is gone").await;
    assert_eq!(world.rows(&world.reporting, "twin", &["id"]).await, before);
}
