//! Rows are named by other columns for a while: the stream's old tuples hold those alone.

use crate::harness::Daemon;
use crate::world::World;

#[tokio::test]
async fn an_identity_that_was_another_one_for_a_moment() {
    let world = World::new(
        "CREATE TABLE items (id int PRIMARY KEY, code text NOT NULL UNIQUE, v text);
         INSERT INTO items SELECT i, 'c' || i, 'v' FROM generate_series(1, 100) AS i;
         CREATE TABLE others (id int PRIMARY KEY, v text);",
    )
    .await;
    let items = world.projection("items", "items", &["id"]);
    let others = world.projection("others", "others", &["id"]);
    let mut daemon = Daemon::start(&world.config(&(items + &others)));
    daemon.wait_ready().await;
    let another = "ALTER TABLE items REPLICA IDENTITY USING INDEX items_code_key";
    let back = "ALTER TABLE items REPLICA IDENTITY DEFAULT";
    for (at, steps) in [
        // One transaction.
        vec![format!("{another}; DELETE FROM items WHERE id = 1; {back}")],
        // Three, after changes under the old identity.
        vec![
            "UPDATE items SET v = 'w'".to_owned(),
            another.to_owned(),
            "DELETE FROM items WHERE id = 2; UPDATE items SET code = 'moved' WHERE id = 3".into(),
            back.to_owned(),
        ],
        // All columns are more than enough.
        vec![
            "ALTER TABLE items REPLICA IDENTITY FULL".to_owned(),
            "DELETE FROM items WHERE id = 4; UPDATE items SET id = 500 WHERE id = 5".into(),
            back.to_owned(),
        ],
        // It stays another one.
        vec![another.to_owned(), "DELETE FROM items WHERE id = 6".into()],
    ]
    .into_iter()
    .enumerate()
    {
        for sql in &steps {
            world.execute(sql).await;
        }
        world.execute(&format!("INSERT INTO others VALUES ({at}, 'goes on')")).await;
        world.same(&mut daemon, "others", "others", &["id"]).await;
        world.soon_same("items", "items", &["id"]).await;
        // Whatever was loaded again is followed.
        world.execute(&format!("DELETE FROM items WHERE id = 10 + {at}")).await;
        world.soon_same("items", "items", &["id"]).await;
    }
}
