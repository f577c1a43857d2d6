//! Projections, sinks and events come, change and go.

use redis::AsyncCommands;
use reqwest::StatusCode;

use super::{SHOP, generations, loaded, strings};
use crate::events::stream;
use crate::harness::{Daemon, wait};
use crate::world::{SINKS, World, one, until_metric};

#[tokio::test]
async fn projections_come_change_and_go_and_the_others_go_on() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let sums = |what: &str| {
        let query = format!("SELECT customer, {what} AS n FROM orders GROUP BY customer");
        world.query("sums", &query, &["customer"])
    };
    let mut daemon = Daemon::start(&world.config(&orders));
    daemon.wait_ready().await;
    assert!(daemon.status().await["reload"].is_null());
    let generation = generations(&world, &daemon, "orders").await;
    let pid = daemon.pid();

    // One over a table that is followed already, one over another.
    let more = format!("{orders}{customers}{}", sums("count(*)"));
    let reload = daemon.reload(&world.config(&more)).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    let named = |how: &str, name: &str| format!("{how} projection {}", world.name(name));
    assert_eq!(strings(&reload["changes"]), [named("added", "customers"), named("added", "sums")]);
    world
        .execute(
            "UPDATE orders SET total = -total WHERE id < 10; DELETE FROM customers WHERE id = 3",
        )
        .await;
    daemon.wait_ready().await;
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    world.same(&mut daemon, "customers", "customers", &["id"]).await;
    let expected = "(SELECT customer, count(*) AS n FROM orders GROUP BY customer)";
    world.same(&mut daemon, "sums", expected, &["customer"]).await;
    assert_eq!(loaded(&daemon, "orders").await, 3000.0);
    // The one that was deleted meanwhile may be among them.
    let of_customers = loaded(&daemon, "customers").await;
    assert!((49.0..=50.0).contains(&of_customers), "{of_customers}");
    assert_eq!(generations(&world, &daemon, "orders").await, generation);
    let sums_before = generations(&world, &daemon, "sums").await;

    // Another query: a generation beside the one that readers see, from the state.
    let changed = format!("{orders}{customers}{}", sums("sum(total)"));
    let reload = daemon.reload(&world.config(&changed)).await;
    assert_eq!(strings(&reload["changes"]), [named("changed", "sums")]);
    let expected = "(SELECT customer, sum(total) AS n FROM orders GROUP BY customer)";
    world.soon_same("sums", expected, &["customer"]).await;
    wait::until("another generation in each sink", async || {
        let now = generations(&world, &daemon, "sums").await;
        let newer = now.iter().zip(&sums_before).all(|(now, before)| now > before);
        if newer && now.len() == 3 { Ok(()) } else { Err(format!("{now:?} {sums_before:?}")) }
    })
    .await;
    assert_eq!(loaded(&daemon, "orders").await, 3000.0, "from the state");

    // What goes leaves its targets as they are.
    let reload = daemon.reload(&world.config(&orders)).await;
    assert_eq!(
        strings(&reload["changes"]),
        [named("removed", "customers"), named("removed", "sums")]
    );
    let gone = format!("/v1/wait?projection={}&lsn=0/1", world.name("customers"));
    assert_eq!(daemon.get(&gone).await.0, StatusCode::NOT_FOUND);
    let metrics = daemon.metrics().await;
    let of_gone = [("projection", &*world.name("customers"))];
    assert_eq!(metrics.get("readside_sink_lag_bytes", &of_gone), None);
    world
        .execute("UPDATE customers SET name = 'other'; UPDATE orders SET total = 7 WHERE id < 20")
        .await;
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    let count =
        one(&world.reporting, "SELECT count(*)::text FROM customers WHERE name <> 'other'").await;
    assert_eq!(count, "49");
    let watermarks = format!(
        "SELECT count(*)::text FROM readside.watermark WHERE projection = '{}'",
        world.name("customers")
    );
    assert_eq!(one(&world.reporting, &watermarks).await, "1");

    // Back again: as if it had been away.
    let reload = daemon.reload(&world.config(&format!("{orders}{customers}"))).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    world.soon_same("customers", "customers", &["id"]).await;
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    assert_eq!(
        (loaded(&daemon, "orders").await, loaded(&daemon, "customers").await),
        (3000.0, of_customers + 49.0)
    );
    assert_eq!(generations(&world, &daemon, "orders").await, generation);
    assert_eq!((daemon.pid(), daemon.exited()), (pid, None), "{}", daemon.log());
    let applied = daemon.metrics().await.get("readside_reload_total", &[("result", "applied")]);
    assert_eq!(applied, Some(4.0));
}

#[tokio::test]
async fn sinks_and_events_come_and_go() {
    let world = World::new(SHOP).await;
    let archive = world.postgres.new_database().await;
    let archived = world.postgres.client(&archive).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let mut daemon = Daemon::start(&world.config(&orders));
    daemon.wait_ready().await;

    let event = world.name("raised");
    let with_event = |to: &str| {
        format!(
            "[event.{event}]\ntable = 'orders'\nwhen = 'new.total > old.total'\n\
             data = 'new.id, new.total'\n{to}"
        )
    };
    let sink = format!("[sink.archive.postgres]\nurl = \"{}\"\n", world.postgres.url(&archive));
    let to = "to.reporting = { table = 'raised' }\nto.archive = { table = 'raised' }\n";
    let all = format!("{}to.archive = {{ table = \"orders\" }}\n{sink}{}", orders, with_event(to));
    let reload = daemon.reload(&world.config(&all)).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    let changes = [
        format!("added event {event}"),
        format!("changed projection {}", world.name("orders")),
        "added sink archive".to_owned(),
    ];
    assert_eq!(strings(&reload["changes"]), changes);
    daemon.wait_ready().await;
    for round in 1..=3 {
        world.execute(&format!("UPDATE orders SET total = total + 1 WHERE id = {round}")).await;
        let lsn = world.lsn().await;
        for sink in SINKS.iter().chain(&["archive"]) {
            daemon.wait_for(&world.name("orders"), sink, &lsn).await;
        }
        for sink in ["reporting", "archive"] {
            daemon.wait_for(&event, sink, &lsn).await;
        }
        if round == 1 {
            // Again with an event less beside it: what has been told is not told again.
            let other =
                with_event(to).replace(&event, &world.name("lowered")).replace("> old", "< old");
            let other = other.replace("'raised'", "'lowered'");
            let reload = daemon.reload(&world.config(&format!("{all}{other}"))).await;
            assert_eq!(reload["result"], "applied", "{reload}");
        }
        if round == 2 {
            assert_eq!(daemon.reload(&world.config(&all)).await["result"], "applied");
        }
    }
    world.compare("orders", "orders", &["id"]).await;
    let sum = "SELECT sum(total)::text FROM orders";
    assert_eq!(one(&archived, sum).await, one(&world.client, sum).await);
    let told = "SELECT string_agg(id::text, ' ' ORDER BY lsn, ordinal) FROM raised";
    assert_eq!(one(&archived, told).await, "1 2 3");
    assert_eq!(one(&world.reporting, told).await, "1 2 3");

    // The new sink goes; of the others nothing is filled again.
    let generation = generations(&world, &daemon, "orders").await;
    let reload = daemon.reload(&world.config(&orders)).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    world.execute("UPDATE orders SET total = total + 1").await;
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    assert_eq!(generations(&world, &daemon, "orders").await, generation[..3]);
    let sinks: Vec<_> = daemon.status().await["sinks"].as_array().unwrap().to_vec();
    assert_eq!(sinks.iter().map(|sink| &sink["name"]).collect::<Vec<_>>(), SINKS);
    assert_eq!(daemon.metrics().await.get("readside_sink_up", &[("sink", "archive")]), None);
    assert_eq!(loaded(&daemon, "orders").await, 3000.0);
    let unmatched = daemon.metrics().await.series("readside_event_unmatched_total", &[]);
    assert_eq!(unmatched, [], "no event is left that could take a change");
    assert_eq!(one(&archived, told).await, "1 2 3", "its tables stay as they are");
}

/// What is removed and added again begins as if it were new: nothing of what a sink refused before, or was
/// ordered of it, is known any more.
#[tokio::test]
async fn what_is_added_again_has_no_letters_of_before() {
    let world = World::new(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text)",
    )
    .await;
    let (kept, made) = (world.name("kept"), world.name("made"));
    let other = format!("[projection.{kept}]\ntable = 't'\nto.reporting = {{ table = 't' }}\n");
    let event = format!(
        "[event.{made}]\ntable = 'u'\nwhen = 'old IS NULL'\ndata = 'new.id, new.v'\n\
         on_error = 'halt'\nto.cache = {{ stream = 'made:{{v}}' }}\n"
    );
    let mut daemon = Daemon::start(&world.config(&format!("{other}{event}")));
    daemon.wait_ready().await;
    let mut redis = world.redis.client().await;
    let () = redis.set("made:a", "no stream").await.unwrap();
    world.execute("INSERT INTO u VALUES (1, 'a')").await;
    let labels = [("sink", "cache"), ("projection", made.as_str())];
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 1.0).await;
    let listed = async |daemon: &Daemon| {
        let list = daemon.command(&["dead-letters", "list"]).await;
        String::from_utf8(list.stdout).unwrap().lines().count()
    };
    // A list is of what is durable.
    assert_eq!(listed(&daemon).await, 1);
    assert_eq!(daemon.reload(&world.config(&other)).await["result"], "applied");
    daemon.wait_ready().await;
    // Nor does anything count what nobody reads.
    wait::until("the table to be counted no more", async || {
        let metrics = daemon.metrics().await;
        let of = |table| metrics.series("readside_changes_total", &[("table", table)]);
        assert_ne!(of("public.t"), []);
        let left = of("public.u");
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let () = redis.del("made:a").await.unwrap();
    assert_eq!(daemon.reload(&world.config(&format!("{other}{event}"))).await["result"], "applied");
    daemon.wait_ready().await;
    assert_eq!(listed(&daemon).await, 0);
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 0.0).await;
    world.execute("INSERT INTO u VALUES (2, 'a')").await;
    let lsn = world.lsn().await;
    daemon.wait_for(&made, "cache", &lsn).await;
    let sent = stream(&world, "made:a").await;
    assert_eq!(sent.len(), 1, "what happened before it was added again is none of its");
}
