//! A table that others begin to inherit from: its rows are also theirs, and the stream does not say so.

use super::quarantined;
use crate::harness::Daemon;
use crate::world::World;

#[tokio::test]
async fn a_table_that_becomes_a_parent_is_quarantined_until_it_is_none() {
    let world = World::new(
        "CREATE TABLE items (id int PRIMARY KEY, v text);
         CREATE TABLE others (id int PRIMARY KEY, v text);
         INSERT INTO items VALUES (1, 'v'), (2, 'v');",
    )
    .await;
    let items = world.projection("items", "items", &["id"]);
    let others = world.projection("others", "others", &["id"]);
    let mut daemon = Daemon::start(&world.config(&(items + &others)));
    daemon.wait_ready().await;
    let before = world.rows(&world.reporting, "items", &["id"]).await;
    world.execute("CREATE TABLE child () INHERITS (items)").await;
    let why = "public.items is an inheritance parent: its rows are also in public.child";
    quarantined(&daemon, &world.name("items"), why).await;
    world.execute("INSERT INTO child VALUES (7, 'x'); UPDATE items SET v = 'w'").await;
    for column in ["one", "two"] {
        world.execute(&format!("ALTER TABLE others ADD {column} int DEFAULT 7")).await;
        world.execute(&format!("INSERT INTO others VALUES ({})", column.len())).await;
        world.soon_same("others", "others", &["id"]).await;
        world.execute("TRUNCATE others").await;
        quarantined(&daemon, &world.name("items"), why).await;
    }
    assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, before);
    world.execute("ALTER TABLE child NO INHERIT items").await;
    world.soon_same("items", "items", &["id"]).await;
    world.execute("DELETE FROM items WHERE id = 1").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}
